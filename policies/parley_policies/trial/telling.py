"""Tell what came of a trial to a reader: an `Overview` with what she may see.

A reader sees by name only the clauses of the policies in `readable` (policy.md, Explaining). Of a party that is out for a clause that she
may not see, she is told that it is out; and of what was assumed to fit policies that she may not see, that it was.

    overview = overview_of(trial, readable={"clinic-a"})
    for topic, thing, sentence in overview.rows(): ...
"""

from __future__ import annotations

from collections.abc import Collection

from parley_policies.errors import Conflict, Refused
from parley_policies.negotiation.clauses import check_peers
from parley_policies.negotiation.explain import ANOTHER, Explanation, explain
from parley_policies.negotiation.outcome import Left, Negotiated
from parley_policies.trial.overview import Out, Overview
from parley_policies.trial.relaxations import everything, relaxations
from parley_policies.trial.settling import OF_ITS_OWN_POLICY, Assumed
from parley_policies.trial.trial import Trial


def overview_of(trial: Trial, *, readable: Collection[str], loosening: Collection[str] | None = None) -> Overview:
    """Return what came of `trial`, for a reader who may see the policies of the parties in `readable`.

    Those of `loosening` (all of them where None) are also told what they could loosen, which takes a negotiation a clause.
    """
    outcome = trial.outcome
    agreed = outcome if isinstance(outcome, Negotiated) else None
    cohorts = () if agreed is None else tuple(_cohort(trial, index, readable) for index in range(len(agreed.terms)))
    offers = tuple(offer for offer in trial.offers.values() if offer.party in readable)
    conflict = explain(trial.proposal, offers, outcome, readable=readable).conflict if isinstance(outcome, Conflict) else None
    asking = set(readable) & (set(readable) if loosening is None else set(loosening)) & trial.settled.data.keys()
    loosened = relaxations(trial, asking)
    outside = asking - trial.members if agreed is not None else set()
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
        offered=everything(trial, trial.members | set(readable)),
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
    """Return why a party with an offer is in no cohort, to a reader who may see all the clauses that meet in it."""
    if set(left.whose) <= set(readable):
        return Out(left.party, left.clause, left.why + _denials(left, trial))
    return Out(left.party, "", f"its policy and others' leave it no place ({ANOTHER})")


def _denials(left: Left, trial: Trial) -> str:
    """Return by which clauses parties keep one another apart, where that is why one of them is left."""
    found = []
    for one in left.whose:
        beside = {left.party} if one != left.party else trial.members
        for other in sorted(beside & set(trial.offers[one].apart)):
            try:
                check_peers(trial.settled.policies[one].policy, (other,), trial.settled.members)
            except Refused as error:
                found.append(f"{error.clause} of {one}")
    return f", by {', '.join(dict.fromkeys(found))}" if found else ""


def _refused(trial: Trial, party: str, error: Refused, readable: Collection[str]) -> Out:
    if party not in readable:
        return Out(party, "", "declines")
    why = f"wanted {error.wanted}, got {error.got}" + (f"; {error.do}" if error.do else "")
    return Out(party, error.clause, trial.settled.told(why))
