"""What came of a trial, for a reader: who is in and who is out, by which clause, what stays at home, how much data are used.

A reader sees by name only the clauses of the policies in `readable` (policy.md, Explaining). Of a party that is out for a clause that she
may not see, she is told that it is out; and of what was assumed to fit policies that she may not see, that it was.

    overview = overview_of(trial, readable={"clinic-a"})
    for topic, thing, sentence in overview.rows(): ...
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Final

from parley_policies.errors import Conflict, Refused
from parley_policies.negotiation.explain import ANOTHER, Binding, Explanation, explain
from parley_policies.negotiation.outcome import Left, Negotiated
from parley_policies.negotiation.proposal import SUMMARY
from parley_policies.trial.relaxations import Relaxation, everything, relaxations
from parley_policies.trial.settling import OF_ITS_OWN_POLICY, Assumed
from parley_policies.trial.trial import Trial

UNIT: Final = "records × shared parts"
_METHOD: Final = {
    "exact": "no choice of cohorts uses more",
    "limit": "the search was cut short: at most {bound:,} were possible",
    "greedy": "found party by party: at most {bound:,} were possible",
}


@dataclass(frozen=True, slots=True)
class Out:
    """A party that takes no part, the clause that keeps it out, and why; both empty words where the reader may not see them."""

    party: str
    clause: str
    why: str

    def says(self) -> str:
        """Return the clause and why as a sentence."""
        return f"{self.clause}: {self.why}" if self.clause else self.why


@dataclass(frozen=True, slots=True)
class Overview:
    """All that is told of a trial, as plain data."""

    study: str
    title: str
    day: str
    readable: tuple[str, ...]
    invited: int
    records: tuple[tuple[str, str], ...]  # as each member's policy lets them be told
    cohorts: tuple[Explanation, ...]
    out: tuple[Out, ...]
    unsigned: tuple[Out, ...]  # members whose own check refuses the terms: then nothing is agreed
    value: int
    bound: int
    offered: int  # the value if everybody took part with everything
    method: str
    conflict: Binding | None
    assumed: tuple[Assumed, ...]
    relaxations: tuple[Relaxation, ...]
    unloosened: tuple[str, ...]  # readable parties that are out, and that no one clause of theirs would bring in

    def as_data(self) -> dict[str, Any]:
        """Return the overview as nested dicts and tuples, ready for JSON."""
        return asdict(self)

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """Return (topic, thing, sentence) of the negotiation as a whole; each cohort's `Explanation.rows` say more."""
        rows = [("outcome", self.study, self.headline())]
        if self.conflict is not None:
            rows.append(("outcome", self.conflict.clause, f"{self.conflict.value} ({', '.join(self.conflict.whose)})"))
        else:
            rows.append(("outcome", "data used", self.data_used()))
        rows += [("takes part", party, self._place(party)) for party in sorted(self.members)]
        rows += [("takes no part", out.party, out.says()) for out in self.out]
        rows += [("would not sign", out.party, out.says()) for out in self.unsigned]
        rows += [("could be loosened", item.party, item.says()) for item in self.relaxations]
        rows += [("could be loosened", party, "no one clause of its own brings it in") for party in self.unloosened]
        return tuple(rows)

    def assumptions(self) -> tuple[tuple[str, str, str, str], ...]:
        """Return (of whom, what, value, why) of what was assumed, one entry for all of whom the same was."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for item in self.assumed:
            found.setdefault((item.what, item.value, item.why), []).append(item.of)
        return tuple(("each party" if len(of) == self.invited > 1 else ", ".join(of), *said) for said, of in found.items())

    @property
    def members(self) -> frozenset[str]:
        """The parties that are in a cohort."""
        return frozenset(party for cohort in self.cohorts for party in cohort.members)

    @property
    def agreed(self) -> bool:
        """Whether there are cohorts whose members would all sign."""
        return bool(self.cohorts) and not self.unsigned

    def headline(self) -> str:
        """Return the outcome in a sentence."""
        everybody = self.invited
        if not self.agreed:
            return "no agreement is possible"
        if len(self.cohorts) == 1:
            return f"{len(self.members)} of {everybody} parties agree"
        return f"{len(self.members)} of {everybody} parties agree, in {len(self.cohorts)} cohorts, each with a model of its own"

    def data_used(self) -> str:
        """Return how much data are used, and whether more were possible, in a sentence."""
        share = self.value / self.offered if self.offered else 0.0
        return f"{self.value:,} of {self.offered:,} {UNIT} ({share:.0%}); {_METHOD[self.method].format(bound=self.bound)}"

    def _place(self, party: str) -> str:
        cohort = next(cohort for cohort in self.cohorts if party in cohort.members)
        parts = ", ".join(row.name for row in cohort.segments if party in row.members and row.name != SUMMARY)
        return f"in {cohort.study}, sharing {parts}; records told as {dict(self.records)[party]}"


def overview_of(trial: Trial, *, readable: Collection[str], loosen: bool = True) -> Overview:
    """Return what came of `trial`, for a reader who may see the policies of the parties in `readable`.

    With `loosen` also what each of them could loosen, which takes a negotiation a clause.
    """
    outcome = trial.outcome
    agreed = outcome if isinstance(outcome, Negotiated) else None
    cohorts = () if agreed is None else tuple(_cohort(trial, index, readable) for index in range(len(agreed.terms)))
    offers = tuple(offer for offer in trial.offers.values() if offer.party in readable)
    conflict = explain(trial.proposal, offers, outcome, readable=readable).conflict if isinstance(outcome, Conflict) else None
    loosened = relaxations(trial, readable) if loosen else ()
    outside = (set(readable) & trial.settled.data.keys()) - trial.members if loosen and agreed is not None else set()
    return Overview(
        study=trial.proposal.id,
        title=trial.proposal.title,
        day=trial.settled.day.isoformat(),
        readable=tuple(sorted(readable)),
        invited=len(trial.proposal.invited),
        records=tuple((offer.party, offer.records) for offer in trial.offers.values() if offer.party in {*trial.members, *readable}),
        cohorts=cohorts,
        out=_out(trial, agreed, readable),
        unsigned=tuple(_refused(trial, party, error, readable) for party, error in sorted(trial.unsigned.items())),
        value=trial.value,
        bound=0 if agreed is None else agreed.bound,
        offered=everything(trial),
        method="exact" if agreed is None else agreed.method,
        conflict=conflict,
        assumed=_assumed(trial, readable),
        relaxations=loosened,
        unloosened=tuple(sorted(party for party in outside if not any(party in item.admits for item in loosened if item.party == party))),
    )


def _cohort(trial: Trial, index: int, readable: Collection[str]) -> Explanation:
    """Return why the terms of one cohort are what they are, from the offers of its members alone."""
    agreed = trial.outcome
    if isinstance(agreed, Conflict):
        raise agreed
    terms = agreed.terms[index]
    offers = [trial.offers[member.party] for member in terms.members]
    return explain(trial.proposal, offers, terms, readable=readable)


def _out(trial: Trial, agreed: Negotiated | None, readable: Collection[str]) -> tuple[Out, ...]:
    left = {} if agreed is None else {item.party: item for item in agreed.out}
    found = []
    for party in sorted(set(trial.proposal.invited) - trial.members):
        if party not in trial.settled.policies:
            found.append(Out(party, "", "its policy was not given"))
        elif party in trial.refused:
            found.append(_refused(trial, party, trial.refused[party], readable))
        elif party in left:
            found.append(_left(left[party], trial, readable))
    return tuple(found)


def _assumed(trial: Trial, readable: Collection[str]) -> tuple[Assumed, ...]:
    """Return what was assumed, without what only a policy says that the reader may not see: most assumptions fit all policies."""
    if set(trial.settled.policies) <= set(readable):
        return trial.settled.assumed
    return tuple(
        item if item.of in readable and item.what in OF_ITS_OWN_POLICY else Assumed(item.of, item.what, "what policies permit", ANOTHER)
        for item in trial.settled.assumed
    )


def _left(left: Left, trial: Trial, readable: Collection[str]) -> Out:
    """Return why a party with an offer is in no cohort: a clause that may be any party's, so only to a reader of all of them."""
    if set(trial.offers) <= set(readable):
        return Out(left.party, left.clause, left.why)
    return Out(left.party, "", f"its policy and others' leave it no place ({ANOTHER})")


def _refused(trial: Trial, party: str, error: Refused, readable: Collection[str]) -> Out:
    if party not in readable:
        return Out(party, "", "declines")
    why = f"wanted {error.wanted}, got {error.got}" + (f"; {error.do}" if error.do else "")
    return Out(party, error.clause, trial.settled.told(why))
