"""Terms that break one hidden clause of one party: the gateway computes them as it always does, from an offer that it made laxer.

So nothing but that clause is broken, and every other member would sign. The gateway knows the offer and not the policy; what stands in the
policy alone it can only hit by guessing, and here it guesses right. Each says by which clause the victim must refuse, and which checks of
its service stand against it: with all of them taken out, it signs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from parley_policies.negotiation import checker, clauses
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.encoding import train_encoding
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.terms import Terms, required_threshold

from tests.attacks.guards import Guard, Patch, Same
from tests.member_secrets import secrets_of
from tests.policies.policy_samples import IDS, Federation, changed, key_of, member_of, proposal_of

PARTIES: Final = (*IDS[:6], "h-clinic")  # three with the objective cost, four with illness
VICTIM: Final = "c-clinic"
BESIDE: Final = "g-fund"  # whom the victim may not be with, where that is the clause
EVERYONE: Final = (*PARTIES[:6], BESIDE, "h-clinic")
Ignore = Callable[[Offer], Mapping[str, Any]]


@dataclass(frozen=True)
class Broken:
    """One clause: the victim's policy (`values` and `edits` of the sample), what the gateway ignores of its offer, who else is there."""

    clause: str
    ignore: Ignore
    without: tuple[Guard | Patch, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    edits: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)  # values of everybody else's policy
    others_edits: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Any] | None = None  # BESIDE is invited too, enrolled like this
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.clause

    def federation(self) -> Federation:
        """Return the parties with their policies, the proposal, and the directory."""
        parties = PARTIES if self.beside is None else EVERYONE
        values = {party: dict(self.values if party == VICTIM else self.others) for party in parties}
        made = Federation.of(parties, values, dict.fromkeys(parties, self.others_edits) | {VICTIM: self.edits})
        return made if self.beside is None else replace(made, members={**made.members, BESIDE: member_of(BESIDE, **self.beside)})

    def terms(self, federation: Federation, own: Offer) -> Terms:
        """Return what the gateway proposes after the victim offered `own`: right in all but the clause."""
        careless = changed(own, **self.ignore(own))
        offers = [careless if party == VICTIM else federation.offer(party) for party in federation.texts]
        terms, *_ = (found for found in negotiate(federation.proposal, offers, federation.members, federation.gateway).terms if _has(found))
        members = [changed(row, offer=own.digest()) if row.party == VICTIM else row for row in terms.members]
        return changed(terms, members=[row.model_dump() for row in members])


def _has(terms: Terms) -> bool:
    return VICTIM in {member.party for member in terms.members}


def says(**fields: Any) -> Ignore:  # noqa: ANN401 - any field of an offer
    """Take these values for what the offer says."""
    return lambda _: fields


def floors(least: int) -> Ignore:
    """Take `least` for every floor."""
    return lambda offer: {"segments": [{"name": item.name, "min_parties": least} for item in offer.segments]}


def shares(segment: str) -> Ignore:
    """Take the offer for one that shares this segment too."""
    return lambda offer: {"segments": [*(item.model_dump() for item in offer.segments), {"name": segment, "min_parties": 3}]}


PINNED: Final = ", ".join(f'{party} = "{key_of(party).public.fingerprint}"' for party in PARTIES if party != "f-fund")
BY_ID = Guard(clauses, "check_peers", "no denied party")
BY_NAME = Guard(clauses, "_check_peer", "no denied party")
COLLUDERS = Guard(checker, "_check_protection", "schemes.colluding_parties_survived")
FLOOR = Guard(checker, "_check_own_segment", "sums.min_parties.", "segment.floor")
WEIGHTS = Guard(checker, "_check_weights", "of any sum of")
BROKEN: Final = (
    Broken("sums.min_parties.summary", floors(3), (FLOOR,), {"min_parties": 6}),
    Broken("sums.min_parties.trunk", floors(3), (FLOOR,), {"min_parties": {"summary": 3, "trunk": 5, "head:*": 3}}),
    Broken("sums.min_parties.head:illness", floors(3), (FLOOR,), {"min_parties": {"summary": 3, "trunk": 3, "head:*": 4}}),
    Broken(
        "sharing.segments.head:illness",
        shares("head:illness"),
        (Guard(checker, "_check_own_segment", "only what this policy shares"),),
        {"segments": {"summary": True, "trunk": True}, "min_parties": {"summary": 3, "trunk": 3, "head:*": 3}},
    ),
    Broken("schemes.colluding_parties_survived", says(colluders=1), (COLLUDERS,), {"colluders": 3, "min_parties": 5}),
    Broken(
        "schemes.colluding_parties_survived",
        says(uncounted=(), trust="pinned"),
        (COLLUDERS, FLOOR),
        edits={"trust": f'trust = "pinned"\nfingerprints = {{ {PINNED} }}'},
        name="a phantom",
    ),
    Broken(
        "sums.max_small_changes",
        says(max_small_changes=2),
        (Guard(checker, "_check_protection", "sums.max_small_changes"),),
        {"max_small_changes": 1},
    ),
    Broken(
        "sharing.clip_bound",
        says(clip_bound={"min": 0.1, "max": 4.0}),
        (Guard(checker, "_check_clip_bound", "sharing.clip_bound", "granted.min"),),
        {"clip_max": 0.5},
    ),
    Broken("sharing.weight_cap", says(weight_cap=0.6), (WEIGHTS,), {"weight_cap": 0.15}),
    Broken("sharing.weight_cap_of_others", says(weight_cap_of_others=0.6), (WEIGHTS,), {"weight_cap_of_others": 0.15}),
    Broken("limits.rounds_a_study", says(rounds=41), (Guard(checker, "_check_rounds", "limits.rounds_a_study"),), {"rounds_a_study": 20}),
    Broken(
        "sharing.mib_a_round", says(mib_a_round=64.0), (Guard(checker, "_check_steps", "sharing.mib_a_round"),), {"mib_a_round": 0.00007}
    ),
    Broken(
        "schemes.gateway_may_lie",
        says(gateway_may_lie=False),
        (Guard(checker, "_check_protection", "schemes.gateway_may_lie"),),
        others_edits={"gateway_may_lie": "gateway_may_lie = false"},
    ),
    Broken(
        "disclosure.opened_sums_readable_by",
        says(opened_sums_readable_by="gateway"),
        (Guard(checker, "_check_protection", "disclosure.opened_sums_readable_by"),),
        edits={"opened_sums_readable_by": 'opened_sums_readable_by = "parties"'},
    ),
    Broken(
        "identity.valid_until",
        says(valid_until="2027-12-31"),
        (Guard(checker, "_check_validity", "a day from"),),
        {"valid_until": date(2027, 9, 30)},
    ),
    Broken("peers.denied", says(apart=()), (BY_ID, BY_NAME), edits={"denied": f'denied = ["{BESIDE}"]'}, beside={}, name="a denied party"),
    Broken(
        "peers.denied",
        says(apart=()),
        (BY_NAME,),
        {"peers": ["class:demo", "class:broker"]},
        {"denied": 'denied = ["class:broker"]'},
        {"peers": ["class:demo", "class:broker"]},
        beside={"party_class": "broker"},
        name="a denied class",
    ),
    Broken(
        "peers.granted",
        says(apart=()),
        (Guard(clauses, "_check_peer", "peers.grantedone of "),),
        others={"peers": ["class:demo", "class:broker"]},
        beside={"party_class": "broker"},
        name="a class that is not granted",
    ),
    Broken(
        "peers.countries",
        says(apart=()),
        (Guard(clauses, "_check_peer", "peers.countries"),),
        others={"countries": ["DE", "US", "BR"]},
        beside={"country": "BR"},
    ),
)


# Terms that are not what the offers lead to: whom they are of, what is computed, or which offer they answer.

Place = tuple[str | int, ...]
Edits = Mapping[Place, object]
OTHER: Final = "z-party"
N: Final = len(PARTIES)


@dataclass(frozen=True)
class Altered:
    """Honest terms of PARTIES with edits: a place to its value, or to a function of the value there."""

    name: str
    clause: str
    edits: Callable[[Federation, Offer], Edits]
    without: tuple[Guard | Patch, ...]

    def __str__(self) -> str:
        return self.name

    def federation(self) -> Federation:
        """Return the parties; the directory knows BESIDE, whom nobody invited."""
        made = Federation.of(PARTIES)
        return replace(made, members={**made.members, BESIDE: member_of(BESIDE)})

    def terms(self, federation: Federation, own: Offer) -> Terms:
        """Return honest terms on the victim's offer `own`, altered."""
        offers = [own if party == VICTIM else federation.offer(party) for party in federation.texts]
        honest = negotiate(federation.proposal, offers, federation.members, federation.gateway).terms[0]
        return edited(honest, self.edits(federation, own))


def edited(terms: Terms, edits: Edits) -> Terms:
    """Return terms with values put in place."""
    table = _plain(terms.model_dump())
    for place, value in edits.items():
        here: Any = table
        for part in place[:-1]:
            here = here[part]
        here[place[-1]] = value(here[place[-1]]) if callable(value) else value
    return Terms.model_validate(table)


def _plain(value: Any) -> Any:  # noqa: ANN401 - plain data of terms
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return value


def puts(edits: Edits) -> Callable[[Federation, Offer], Edits]:
    """Alter terms the same way whatever they are."""
    return lambda *_: edits


def one_more(federation: Federation, own: Offer) -> Edits:
    """Put BESIDE among the members, with terms as if it had been invited."""
    wider = replace(Federation.of(EVERYONE), proposal=proposal_of(EVERYONE))
    offers = [changed(wider.offer(party)) for party in EVERYONE]
    terms = _plain(negotiate(wider.proposal, offers, wider.members, wider.gateway).terms[0].model_dump())
    mine = {"offer": own.digest(), "channel_key": own.channel_key, "commitment": own.commitment}
    terms["members"] = [row | mine if row["party"] == VICTIM else row for row in terms["members"]]
    edits: dict[Place, object] = {(key,): value for key, value in terms.items()}
    return edits | {("proposal_digest",): federation.proposal.digest()}


def replayed(_: Federation, own: Offer) -> Edits:
    """Answer an offer that the victim made on an older study, whose secrets it has spent."""
    old = changed(own, study="older", channel_key=secrets_of(OTHER).channel_key, commitment="1" * 64)
    return {(*MINE, "offer"): old.digest(), (*MINE, "channel_key"): old.channel_key, (*MINE, "commitment"): old.commitment}


def more_colluders(colluders: int) -> Edits:
    """Count more conspirators, and let as many sign as that needs."""
    return {("max_colluders",): colluders, ("threshold",): required_threshold(N, colluders, gateway_may_lie=True)}


def small_bound(*_: object) -> Edits:
    return {("clip_bound",): 0.05, (*TRAIN, "encoding"): train_encoding(0.05, N).model_dump()}


def swap_heads(segments: list[Any]) -> list[Any]:
    return [segments[0], *reversed(segments[1:])]


def same(function: str, thing: str) -> tuple[Same]:
    """Return the check that a term is the same as what it must be."""
    return (Same(checker, function, thing),)


MINE: Final[Place] = ("members", PARTIES.index(VICTIM))
THEIRS: Final[Place] = ("members", 0)
PREPROCESS, TRAIN = ("steps", 0), ("steps", 1)
TRUNK, COST, ILLNESS = ((*TRAIN, "segments", index) for index in range(3))
SECOND: Final = {"name": "trunk", "length": 16, "members": list(PARTIES), "floor": 3}
ILL: Final = [party for party in PARTIES if party.endswith("clinic")]
ALTERED: Final = (
    Altered(
        "a member whom nobody invited",
        "terms.members",
        one_more,
        (Guard(checker, "_check_member", "only parties that the proposal invites"),),
    ),
    Altered(
        "another key for a member",
        "terms.members.a-clinic.identity",
        puts({(*THEIRS, "identity"): key_of(OTHER).public.hex}),
        same("_check_member", "members..identity"),
    ),
    Altered(
        "another country for a member", "terms.members.a-clinic", puts({(*THEIRS, "country"): "US"}), same("_check_member", "members.")
    ),
    Altered(
        "an objective that is none",
        "terms.members",
        puts({(*THEIRS, "objectives"): ["illness", "other"]}),
        (Guard(checker, "_check_member", "objectives of the study"),),
    ),
    Altered(
        "an offer replayed from another study",
        "terms.members.offer",
        replayed,
        tuple(Same(checker, "_check_members", f"members.{name}") for name in ("offer", "channel_key", "commitment")),
    ),
    Altered(
        "our objectives",
        "terms.members.objectives",
        puts({(*MINE, "objectives"): ["cost", "illness"]}),
        same("_check_members", "members.objectives"),
    ),
    Altered(
        "our number of records", "terms.members.records", puts({(*MINE, "records"): "exact:9"}), same("_check_members", "members.records")
    ),
    Altered("our trust", "terms.members.trust", puts({(*MINE, "trust"): "pinned"}), same("_check_members", "members.trust")),
    Altered(
        "our documents", "terms.members.documents", puts({(*MINE, "documents"): ["0" * 64]}), same("_check_members", "members.documents")
    ),
    Altered("another study", "terms.study", puts({("study",): "other"}), (Guard(checker, "_check_bound", "terms.study"),)),
    Altered("another proposal", "terms.proposal_digest", puts({("proposal_digest",): "0" * 64}), same("_check_bound", "proposal_digest")),
    Altered("another purpose", "terms.purpose", puts({("purpose",): ["dpv:Marketing"]}), same("_check_bound", "purpose")),
    Altered("another taxonomy", "terms.taxonomy", puts({("taxonomy",): "2020-01-01+0123456789abcdef"}), same("_check_bound", "taxonomy")),
    Altered("longer waits", "terms.timing", puts({("timing", "grace_seconds"): 900.0}), same("_check_bound", "timing")),
    Altered("another operator", "terms.gateway", puts({("gateway", "operator"): "Somebody"}), same("_check_bound", "gateway")),
    Altered("fewer signers", "terms.threshold", puts({("threshold",): 4}), same("_check_protection", "threshold")),
    Altered(
        "a graph", "terms.graph", puts({("graph",): {"degree": 4, "threshold": 2, "near": 1, "cut": 1}}), same("_check_protection", "graph")
    ),
    Altered("another workload", "terms.steps", puts({(*PREPROCESS, "workload"): "statistics@1"}), same("_check_steps", "steps")),
    Altered(
        "the summary twice",
        "terms.steps.preprocess@1.rounds",
        puts({(*PREPROCESS, "rounds"): 2}),
        same("_check_steps", "steps.preprocess@1.rounds"),
    ),
    Altered(
        "the model before its round",
        "terms.steps.preprocess@1.segments",
        puts({(*PREPROCESS, "segments"): lambda old: [*old, SECOND]}),
        same("_check_steps", "steps.preprocess@1.segments"),
    ),
    Altered(
        "a coarser summary",
        "terms.steps.preprocess@1.encoding",
        puts({(*PREPROCESS, "encoding", "bound"): 1.0}),
        same("_check_steps", "steps.preprocess@1.encoding"),
    ),
    Altered(
        "a wider encoding",
        "terms.steps.train@1.encoding",
        puts({(*TRAIN, "encoding", "bound"): 20.0}),
        same("_check_steps", "steps.train@1.encoding"),
    ),
    Altered(
        "segments out of order",
        "terms.steps.train@1.segments",
        puts({(*TRAIN, "segments"): swap_heads}),
        same("_check_steps", "steps.train@1.segments"),
    ),
    Altered(
        "rounds beyond the wish",
        "terms.steps.train@1.rounds",
        puts({(*TRAIN, "rounds"): 60}),
        (Guard(checker, "_check_rounds", "as wished for"),),
    ),
    Altered("a bound below the wish", "terms.clip_bound", small_bound, (Guard(checker, "_check_clip_bound", "as wished for"),)),
    Altered("a longer trunk", "terms.steps.trunk.length", puts({(*TRUNK, "length"): 17}), same("_check_segment", "steps..length")),
    Altered(
        "a trunk without a member",
        "terms.steps.trunk.members",
        puts({(*TRUNK, "members"): list(PARTIES[1:])}),
        same("_check_segment", "steps..members"),
    ),
    Altered(
        "a head with a member that has no label for it",
        "terms.steps.head:illness.members",
        puts({(*ILLNESS, "members"): sorted([*ILL, "d-fund"])}),
        (Guard(checker, "_check_segment", "only parties with "),),
    ),
    Altered(
        "a floor that conspirators fill",
        "terms.steps.summary.floor",
        puts(more_colluders(2)),
        (Guard(checker, "_check_segment", ".floor"),),
    ),
)
