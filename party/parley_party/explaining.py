"""Why a study's terms are what they are, as far as one member may know: its own clauses by name, all else as "another member's policy".

A member holds its own offer and the terms; the other offers were given to the gateway alone. `explain` wants one offer a member, so the
others are stood in for by offers that say what the terms say of them and bind nothing. Where a value is our own bound, our clause is
named; others may have wanted the same, which nobody here can know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Final

from parley_policies.negotiation.cohort_terms import HONEST_BESIDE_ONE
from parley_policies.negotiation.explain import ANOTHER, AtHome, Binding, Explanation, explain
from parley_policies.negotiation.meet import Bounds
from parley_policies.negotiation.offer import Offer, OfferedSegment
from parley_policies.negotiation.proposal import ClipWish, Proposal
from parley_policies.negotiation.terms import MemberTerms, Terms

_NOBODY: Final = 1  # a floor below every floor that terms may have


def explain_to(own: Offer, proposal: Proposal, terms: Terms) -> Explanation:
    """Return why `terms` are what they are, to the party whose offer `own` is."""
    offers = [own if member.party == own.party else _stand_in(own, member, terms) for member in terms.members]
    explanation = explain(proposal, offers, terms, readable={own.party})
    floors = {binding.term: binding for binding in _floors(own, terms)}
    bindings = tuple(floors.get(binding.term, binding) for binding in explanation.bindings)
    return replace(explanation, bindings=bindings, at_home=_at_home(proposal, terms))


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
            "opened_sums_readable_by": "parties" if terms.opened_sums_readable_by == "gateway" else "gateway",
            "rounds": sum(step.rounds for step in terms.steps) + 1,
            "valid_until": date.max,
        }
    )


def _floors(own: Offer, terms: Terms) -> Iterator[Binding]:
    """Say of each shared part whether its floor is ours: by our floor, or by the conspirators that we want survived.

    Made here, since what nobody among the stand-ins binds would be taken for the protocol's.
    """
    everyone = frozenset(member.party for member in terms.members)
    for segment in (segment for step in terms.steps for segment in step.segments):
        bounds = Bounds.of(own, frozenset(segment.members))
        clause, whose = f"sums.min_parties.{segment.name}", ANOTHER
        if own.party in segment.members and bounds.floors.get(segment.name) == segment.floor:
            whose = own.party
        elif segment.floor == terms.max_colluders + HONEST_BESIDE_ONE and Bounds.of(own, everyone).max_colluders == terms.max_colluders:
            clause, whose = "schemes.colluding_parties_survived", own.party
        yield Binding(f"min_parties of {segment.name}", str(segment.floor), clause, (whose,))


def _at_home(proposal: Proposal, terms: Terms) -> tuple[AtHome, ...]:
    shared = {segment.name for step in terms.steps for segment in step.segments}
    rows = []
    for segment in proposal.segments:
        if segment.name not in shared:
            able = [member for member in terms.members if set(member.objectives) & set(segment.objectives)]
            why = f"fewer share it than may be summed together; {len(able)} {'has' if len(able) == 1 else 'have'} its objective"
            rows += [AtHome(segment.name, len(able), why)] if able else []
    return tuple(rows)
