"""Why the terms are what they are: who is in, whose clause binds each term, what a dropout would cost, where policies differ.

Pure, from a proposal, the offers and what became of them (terms or a conflict). A reader sees by name only the policies in `readable`: its
own and those whose owner granted it. Any other is "another member's policy", and its values are not shown (policy.md, Explaining).

    explanation = explain(proposal, offers, terms, readable={"clinic-a"})
    for row in explanation.rows(): ...
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from parley_policies.errors import Conflict
from parley_policies.negotiation.cohort_terms import HONEST_BESIDE_ONE
from parley_policies.negotiation.meet import Bounds
from parley_policies.negotiation.offer import Offer, OfferedPrivacy, OfferedSegment
from parley_policies.negotiation.proposal import SUMMARY, ClipWish, Proposal
from parley_policies.negotiation.terms import MIN_FLOOR, SegmentTerms, Terms
from parley_policies.negotiation.weights import wanted_weights

ANOTHER: Final = "another member's policy"
SPONSOR: Final = "the sponsor's wish"
PROTOCOL: Final = "the protocol"
_COMPARED: Final = (
    "schemes",
    "segments",
    "gateway_may_lie",
    "colluders",
    "trust",
    "max_small_changes",
    "clip_bound",
    "privacy",
    "weight_cap",
    "weight_cap_of_others",
    "opened_sums_readable_by",
    "rounds",
    "mib_a_round",
    "valid_until",
)


@dataclass(frozen=True, slots=True)
class Binding:
    """One term, its value, the clause that it comes from, and whose: parties by name where the reader may see their policies."""

    term: str
    value: str
    clause: str
    whose: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GraphRow:
    """The neighbour graph: how many others each party deals with, how many of them rebuild its secrets, how many may conspire."""

    degree: int
    threshold: int
    near: int

    def says(self) -> str:
        """Return it as a sentence."""
        return (
            f"each party deals with {self.degree} others, drawn anew each round; {self.threshold} of them rebuild what a dropout leaves "
            f"behind, and {self.near} of them may conspire and still learn nothing"
        )


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A shared part: how many may be summed together, and at least how many must be."""

    name: str
    length: int
    members: tuple[str, ...]
    floor: int


@dataclass(frozen=True, slots=True)
class AtHome:
    """A part for an objective that too few parties share: each of them trains it alone."""

    segment: str
    parties: int
    why: str


@dataclass(frozen=True, slots=True)
class DropoutCost:
    """What one party's dropout in a round would cost: whether the round can go on without it, and which parts do not open then."""

    party: str
    goes_on: bool
    shut: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which policies differ, with the values of those that the reader may see."""

    field: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of it as plain data. n, c and t are 0 where there are no terms."""

    study: str
    members: tuple[str, ...]
    out: tuple[tuple[str, str], ...]
    n: int
    c: int
    t: int
    dropouts_survived: int
    graph: GraphRow | None  # None: every party deals with every other
    segments: tuple[SegmentRow, ...]
    at_home: tuple[AtHome, ...]
    bindings: tuple[Binding, ...]
    dropouts: tuple[DropoutCost, ...]
    differences: tuple[Difference, ...]
    conflict: Binding | None

    def as_data(self) -> dict[str, Any]:
        """Return the explanation as nested dicts and tuples, ready for JSON."""
        return asdict(self)

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """Return (topic, thing, sentence) for a table that people read, in the glossary's words."""
        rows = [("who", party, "takes part") for party in self.members]
        rows += [("who", party, why) for party, why in self.out]
        if self.conflict is not None:
            rows.append(("conflict", self.conflict.clause, f"{self.conflict.value} ({', '.join(self.conflict.whose)})"))
            return (*rows, *self._difference_rows())
        rows += [
            ("thresholds", "parties", f"{self.n} parties, of which {self.c} may conspire and still learn nothing"),
            ("thresholds", "signatures", f"{self.t} must sign what is opened; a round survives {_dropouts(self.dropouts_survived)}"),
            ("thresholds", "neighbours", "each party deals with every other" if self.graph is None else self.graph.says()),
        ]
        rows += [("shared part", row.name, f"at least {row.floor} of {len(row.members)} parties summed together") for row in self.segments]
        rows += [("stays at home", item.segment, item.why) for item in self.at_home]
        rows += [("terms", item.term, f"{item.value}, by {item.clause} ({self._whose(item)})") for item in self.bindings]
        rows += [("without", cost.party, _cost(cost)) for cost in self.dropouts]
        return (*rows, *self._difference_rows())

    def _whose(self, binding: Binding) -> str:
        everybody = len(self.members) > 1 and set(self.members) <= set(binding.whose)
        return ", ".join(["every member", *(name for name in binding.whose if name not in self.members)] if everybody else binding.whose)

    def _difference_rows(self) -> tuple[tuple[str, str, str], ...]:
        return tuple(
            ("policies differ", item.field, "; ".join(f"{party}: {value}" for party, value in item.values)) for item in self.differences
        )


def explain(proposal: Proposal, offers: Iterable[Offer], outcome: Terms | Conflict, *, readable: Collection[str]) -> Explanation:
    """Return why `outcome` came of `offers`, for a reader who may see the policies of the parties in `readable`."""
    given = tuple(sorted(offers, key=lambda offer: offer.party))
    names = {offer.party for offer in given}
    out = tuple((party, "declined or did not answer") for party in sorted(set(proposal.invited) - names))
    differences = _differences(tuple(offer for offer in given if offer.party in readable))
    if isinstance(outcome, Conflict):
        return Explanation(
            study=proposal.id, members=tuple(sorted(names)), out=out, n=0, c=0, t=0, dropouts_survived=0, graph=None, segments=(),
            at_home=(), bindings=(), dropouts=(), differences=differences, conflict=_conflict(outcome, readable),
        )  # fmt: skip
    reader = _Reader(proposal, given, outcome, frozenset(readable))
    n, t = len(outcome.members), outcome.threshold
    return Explanation(
        study=outcome.study,
        members=tuple(member.party for member in outcome.members),
        out=out,
        n=n,
        c=outcome.max_colluders,
        t=t,
        dropouts_survived=n - t,
        graph=graph_row(outcome),
        segments=tuple(SegmentRow(item.name, item.length, item.members, item.floor) for item in _segments(outcome)),
        at_home=reader.at_home(),
        bindings=reader.bindings(),
        dropouts=tuple(_dropout(outcome, member.party) for member in outcome.members),
        differences=differences,
        conflict=None,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """What one reader may know: it turns offers that bind a term into names."""

    proposal: Proposal
    offers: tuple[Offer, ...]
    terms: Terms
    readable: frozenset[str]

    def bindings(self) -> tuple[Binding, ...]:
        terms, wishes = self.terms, self.proposal.wishes
        everyone = frozenset(member.party for member in terms.members)
        rounds = sum(step.rounds for step in terms.steps)
        return (
            self._bound("max_colluders", terms.max_colluders, "schemes.colluding_parties_survived", self._of("max_colluders", everyone)),
            self._bound("gateway_may_lie", terms.gateway_may_lie, "schemes.gateway_may_lie", self._of("gateway_may_lie", everyone)),
            self._bound("max_small_changes", terms.max_small_changes, "sums.max_small_changes", self._of("max_small_changes", everyone)),
            self._bound(
                "clip_bound",
                terms.clip_bound,
                "sharing.clip_bound",
                self._of("clip_max", everyone),
                SPONSOR if terms.clip_bound == wishes.clip_bound.max else "",
            ),
            *self._noise(),
            self._bound(
                "rounds", rounds, "limits.rounds_a_study", self._of("rounds", everyone), SPONSOR if rounds == wishes.rounds.max + 1 else ""
            ),
            *(self._floor(segment) for segment in _segments(terms)),
            self._weights(),
            self._bound(
                "opened_sums_readable_by",
                terms.opened_sums_readable_by,
                "disclosure.opened_sums_readable_by",
                self._of("opened_sums_readable_by", everyone),
            ),
            self._bound("valid_until", terms.valid_until, "identity.valid_until", self._of("valid_until", everyone)),
        )

    def _noise(self) -> tuple[Binding, ...]:
        """Return the cap of each member under the noise of all, and who demands it."""
        if self.terms.privacy is None:
            return ()
        caps = zip(self.terms.members, self.terms.privacy.clip_bounds, strict=True)
        value = f"{', '.join(f'{member.party} {cap:.3g}' for member, cap in caps)}, under noise of {self.terms.privacy.noise:.3g}"
        demanding = [offer.party for offer in self.offers if offer.privacy is not None]
        return (self._bound("caps under noise", value, "differential_privacy.per_study", demanding),)

    def at_home(self) -> tuple[AtHome, ...]:
        """Return the parts that are not shared though some member has their objective."""
        shared = {segment.name for segment in _segments(self.terms)}
        rows = []
        for proposed in self.proposal.segments:
            able = [offer for offer in self.offers if set(offer.objectives) & set(proposed.objectives)]
            if proposed.name not in shared and able:
                sharing = [offer for offer in able if offer.min_parties(proposed.name) is not None]
                few = len(sharing) < self._needed(proposed.name, sharing)
                why = f"{_parties(len(sharing))} it, {'fewer than may be summed together' if few else 'but no terms suit all of them'}"
                rows.append(AtHome(proposed.name, len(sharing), why))
        return tuple(rows)

    def _needed(self, segment: str, sharing: list[Offer]) -> int:
        """Return how many must be summed together where all of `sharing` are."""
        together = frozenset(offer.party for offer in sharing)
        floors = [Bounds.of(offer, together).floors[segment] for offer in sharing]
        return max([*floors, self.terms.max_colluders + HONEST_BESIDE_ONE, MIN_FLOOR])

    def _of(self, name: str, together: frozenset[str]) -> list[str]:
        """Return the parties whose own bound is the term's value."""
        terms = self.terms
        wanted: dict[str, object] = {
            "max_colluders": terms.max_colluders,
            "gateway_may_lie": terms.gateway_may_lie,
            "max_small_changes": terms.max_small_changes,
            "clip_max": terms.clip_bound,
            "opened_sums_readable_by": terms.opened_sums_readable_by,
            "rounds": sum(step.rounds for step in terms.steps),
            "valid_until": date.fromisoformat(terms.valid_until),
        }
        return [offer.party for offer in self.offers if getattr(Bounds.of(offer, together), name) == wanted[name]]

    def _floor(self, segment: SegmentTerms) -> Binding:
        together = frozenset(segment.members)
        binding = [
            offer.party
            for offer in self.offers
            if offer.party in together and Bounds.of(offer, together).floors.get(segment.name) == segment.floor
        ]
        term, clause = f"min_parties of {segment.name}", f"sums.min_parties.{segment.name}"
        if not binding and segment.floor == self.terms.max_colluders + HONEST_BESIDE_ONE > MIN_FLOOR:
            everyone = frozenset(member.party for member in self.terms.members)
            return self._bound(term, segment.floor, "schemes.colluding_parties_survived", self._of("max_colluders", everyone))
        return self._bound(term, segment.floor, clause, binding, "" if binding else PROTOCOL)

    def _weights(self) -> Binding:
        wanted = wanted_weights({offer.party: offer.records for offer in self.offers})
        given = {member.party: member.weight for member in self.terms.members}
        most = max(given[party] / wanted[party] for party in given)
        lowered = [party for party in given if given[party] < wanted[party] * most * (1 - 1e-3)]
        clause = "sharing.weight_cap" if lowered else "sharing.record_count"
        total = sum(given.values())
        value = ", ".join(f"{party} {100 * weight / total:.1f} %" for party, weight in given.items())
        return Binding("weights", value, clause, tuple(f"{party} lowered" for party in lowered) or ("as told",))

    def _bound(self, term: str, value: object, clause: str, parties: Iterable[str], other: str = "") -> Binding:
        return Binding(term, str(value).lower() if isinstance(value, bool) else str(value), clause, _named(parties, self.readable, other))


def graph_row(terms: Terms) -> GraphRow | None:
    """Return the neighbour graph of terms as people read it; None where every party deals with every other."""
    graph = terms.graph
    return None if graph is None else GraphRow(graph.degree, graph.threshold, graph.near)


def _named(parties: Iterable[str], readable: Collection[str], other: str = "") -> tuple[str, ...]:
    """Return those of `parties` that the reader may see by name, one entry for all others, and `other` where that binds too."""
    known = sorted(party for party in parties if party in readable)
    hidden = [ANOTHER] if set(parties) - set(known) else []
    return (*known, *hidden, *([other] if other else [])) or (ANOTHER,)


def _conflict(conflict: Conflict, readable: Collection[str]) -> Binding:
    """Return a conflict as the reader may see it: its values come from the clauses that meet in it, so all of those must be readable."""
    shown = set(conflict.parties) <= set(readable)
    value = f"wanted {conflict.wanted}, got {conflict.got}" if shown else "no value satisfies all"
    whose = _named(conflict.parties, readable) if conflict.parties else (PROTOCOL,)
    return Binding("conflict", value, conflict.field, whose)


def _segments(terms: Terms) -> tuple[SegmentTerms, ...]:
    return tuple(segment for step in terms.steps for segment in step.segments)


def _dropout(terms: Terms, party: str) -> DropoutCost:
    goes_on = len(terms.members) - 1 >= terms.threshold
    shut = tuple(
        segment.name
        for segment in _segments(terms)
        if segment.name != SUMMARY and party in segment.members and len(segment.members) - 1 < segment.floor
    )
    return DropoutCost(party, goes_on, shut)


def _cost(cost: DropoutCost) -> str:
    if not cost.goes_on:
        return "no round can finish"
    return f"rounds go on; these parts do not open: {', '.join(cost.shut)}" if cost.shut else "rounds go on, every part opens"


def _parties(count: int) -> str:
    return "1 party shares" if count == 1 else f"{count or 'no'} parties share"


def _dropouts(count: int) -> str:
    return "1 dropout" if count == 1 else f"{count or 'no'} dropouts"


def _differences(offers: tuple[Offer, ...]) -> tuple[Difference, ...]:
    rows = []
    for name in _COMPARED:
        values = tuple((offer.party, _shown(getattr(offer, name))) for offer in offers)
        if len({value for _, value in values}) > 1:
            rows.append(Difference(name, values))
    return tuple(rows)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_shown(item) for item in value) or "none"
    if isinstance(value, OfferedSegment):
        return f"{value.name} {value.min_parties}"
    if isinstance(value, OfferedPrivacy):
        return f"epsilon {value.epsilon:g} a {value.unit}"
    if isinstance(value, ClipWish):
        return f"{value.min} to {value.max}"
    return "none" if value is None else str(value)
