"""Why a study's terms are what they are, as far as one member may know: its own clauses by name, all else as "another member's policy".

A member holds its own offer and the terms; the other offers were given to the gateway alone. `explain` wants one offer a member, so the
others are stood in for by offers that say what the terms say of them and bind nothing. Where a value is our own bound, our clause is
named; others may have wanted the same, which nobody here can know.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

from parley_policies.negotiation.explain import AtHome, Explanation, explain
from parley_policies.negotiation.offer import Offer, OfferedSegment
from parley_policies.negotiation.proposal import ClipWish, Proposal
from parley_policies.negotiation.terms import MemberTerms, Terms

_NOBODY: Final = 1  # a floor below every floor that terms may have


def explain_to(own: Offer, proposal: Proposal, terms: Terms) -> Explanation:
    """Return why `terms` are what they are, to the party whose offer `own` is."""
    offers = [own if member.party == own.party else _stand_in(own, member, terms) for member in terms.members]
    explanation = explain(proposal, offers, terms, readable={own.party})
    return replace(explanation, at_home=_at_home(proposal, terms))


def _stand_in(own: Offer, member: MemberTerms, terms: Terms) -> Offer:
    """Return an offer of another member that holds what the terms tell of it; every bound is one that the terms do not have."""
    shared = [segment.name for step in terms.steps for segment in step.segments if member.party in segment.members]
    return own.model_copy(
        update={
            "party": member.party,
            "objectives": member.objectives,
            "records": member.records,
            "trust": member.trust,
            "uncounted": (),
            "segments": tuple(OfferedSegment(name=name, min_parties=_NOBODY) for name in shared),
            "gateway_may_lie": not terms.gateway_may_lie,
            "colluders": terms.max_colluders + 1,
            "max_small_changes": terms.max_small_changes + 1,
            "clip_bound": ClipWish(min=terms.clip_bound, max=2 * terms.clip_bound),
            "rounds": sum(step.rounds for step in terms.steps) + 1,
            "valid_until": date.max,
        }
    )


def _at_home(proposal: Proposal, terms: Terms) -> tuple[AtHome, ...]:
    shared = {segment.name for step in terms.steps for segment in step.segments}
    rows = []
    for segment in proposal.segments:
        if segment.name not in shared:
            able = [member for member in terms.members if set(member.objectives) & set(segment.objectives)]
            rows.append(
                AtHome(segment.name, len(able), f"fewer share it than may be summed together; {len(able)} members have its objective")
            )
    return tuple(rows)
