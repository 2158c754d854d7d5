"""From offers to the problem of choosing cohorts: what each party can be in at all, who may not meet, and why somebody stays out.

An offer is what a party says, and it may say what nobody can agree to: it then leaves its own party out, and never stops the study of the
others. So here are judged alone: the gateway it saw, schemes, what every member must share, rounds, upload. Pairs that may not meet are
those of which one names the other in `apart`, whose clip ranges do not meet, or that have a key in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from parley_policies.negotiation.choosing import Candidate, Problem
from parley_policies.negotiation.cohort_terms import HONEST_BESIDE_ONE, has_part
from parley_policies.negotiation.encoding import SUMMARY_WIDTH, TRAIN_WIDTH
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.outcome import Left, counted_records
from parley_policies.negotiation.proposal import STEPS, SUMMARY, Proposal, ProposedSegment
from parley_policies.negotiation.terms import MIN_FLOOR, GatewayTerms

_MIB_BITS: Final = 8 << 20


def problem_of(
    proposal: Proposal, offers: tuple[Offer, ...], members: Directory, gateway: GatewayTerms
) -> tuple[Problem, tuple[Left, ...]]:
    """Return the problem, whose candidates are `offers` in that order, and those who can be in no cohort, with the reason."""
    out = {index: left for index, offer in enumerate(offers) if (left := _left(proposal, offer, gateway)) is not None}
    records = counted_records(offers)
    number = {offer.party: index for index, offer in enumerate(offers)}
    problem = Problem(
        candidates=tuple(_candidate(proposal, offer, records[offer.party], number) for offer in offers),
        apart=_apart(offers, members),
        common=sum(not segment.objectives for segment in proposal.segments),
        lengths={segment.name: segment.length for segment in proposal.segments if segment.objectives},
        alive=frozenset(range(len(offers))) - out.keys(),
    )
    reduced, hopeless = problem.reduced()
    return reduced, (*out.values(), *(_hopeless(offers[party], clause, others) for party, (clause, others) in hopeless.items()))


def _common(proposal: Proposal) -> tuple[ProposedSegment, ...]:
    """Return what every member shares: the summary, and the parts of the model that belong to no objective."""
    summary = ProposedSegment(name=SUMMARY, length=proposal.summary_length)
    return (summary, *(segment for segment in proposal.segments if not segment.objectives))


def _candidate(proposal: Proposal, offer: Offer, records: int, number: Mapping[str, int]) -> Candidate:
    least = max(MIN_FLOOR, offer.colluders + HONEST_BESIDE_ONE)
    floors = {segment.name: max(least, offer.min_parties(segment.name) or 0) for segment in (*_common(proposal), *proposal.segments)}
    heads = [segment.name for segment in proposal.segments if segment.objectives and has_part(offer, segment)]
    return Candidate(
        party=offer.party,
        records=records,
        floor=max(floors[segment.name] for segment in _common(proposal)),
        colluders=offer.colluders,
        parts={name: floors[name] for name in heads},
        room=_room(proposal, offer),
        own_cap=offer.weight_cap,
        others_cap=offer.weight_cap_of_others,
        uncounted=frozenset(number[party] for party in offer.uncounted if party in number),
    )


def _room(proposal: Proposal, offer: Offer) -> int:
    """Return how many coordinates the party may upload for heads, beside what every member uploads."""
    most = int(offer.mib_a_round * _MIB_BITS / TRAIN_WIDTH)
    return most - sum(segment.length for segment in proposal.segments if not segment.objectives)


def _left(proposal: Proposal, offer: Offer, gateway: GatewayTerms) -> Left | None:
    """Return why an offer can be in no cohort whatever the others say, or None."""
    return next((Left(offer.party, clause, why, (offer.party,)) for clause, why in _objections(proposal, offer, gateway)), None)


def _objections(proposal: Proposal, offer: Offer, gateway: GatewayTerms) -> Iterator[tuple[str, str]]:
    if offer.gateway_digest != gateway.digest():
        yield "gateway", "its offer is to a gateway that declared itself otherwise"
    if "masked" not in offer.schemes or "masked" not in proposal.wishes.scheme:
        yield "schemes.accepted", "it does not accept the masked scheme"
    if set(offer.objectives) - {objective.id for objective in proposal.objectives}:
        yield "data.columns", "it names an objective that the study does not have"
    for segment in _common(proposal):
        if offer.min_parties(segment.name) is None:
            yield f"sharing.segments.{segment.name}", f"every member shares {segment.name}, and it does not"
    if offer.rounds < proposal.wishes.rounds.min + len(STEPS.get(proposal.workload.name, ())) - 1:
        yield "limits.rounds_a_study", f"it permits {offer.rounds} rounds, fewer than the study needs"
    if proposal.summary_length * SUMMARY_WIDTH > offer.mib_a_round * _MIB_BITS or _room(proposal, offer) < 0:
        yield "sharing.mib_a_round", f"it permits {offer.mib_a_round} MiB a round, less than every member uploads"


def _hopeless(offer: Offer, clause: str, others: int) -> Left:
    says = {
        "sums.min_parties": f"it wants larger sums than can be formed: {others} of the other parties can be in a cohort with it",
        "sharing.weight_cap": f"its caps on weights cannot be kept: {others} of the other parties can be in a cohort with it",
        "sharing.segments": "it shares no part of the model that enough others share",
    }
    return Left(offer.party, clause, says[clause], (offer.party,))


def _apart(offers: tuple[Offer, ...], members: Directory) -> tuple[frozenset[int], ...]:
    apart: list[set[int]] = [set() for _ in offers]
    for first, one in enumerate(offers):
        for second in range(first):
            if pair_conflict(one, offers[second], members):
                apart[first].add(second)
                apart[second].add(first)
    return tuple(frozenset(others) for others in apart)


def pair_conflict(one: Offer, other: Offer, members: Directory) -> str:
    """Return the clause that keeps two parties apart in any cohort, or an empty string."""
    if other.party in one.apart or one.party in other.apart:
        return "peers"
    if max(one.clip_bound.min, other.clip_bound.min) > min(one.clip_bound.max, other.clip_bound.max):
        return "sharing.clip_bound"
    if one.channel_key == other.channel_key:
        return "channel_key"
    return "identity" if members[one.party].identity == members[other.party].identity else ""
