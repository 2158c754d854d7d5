"""The terms of one chosen cohort: what the offers of its members meet in.

`terms_of` is pure and gives the same terms for the same offers. What cannot be is a Conflict that names the field and the parties whose
clauses meet in it. A head that fewer parties share than its floor gets no segment: it stays at home with each of its parties, and
`explain` says so. The trunk and the summary belong to every member, so there a floor above the number of members is a conflict. Who is in
the cohort is chosen before (`cohorts`). The gateway runs this and can only propose: every member checks the result against its own full
policy (`checker`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from parley_policies.errors import Conflict
from parley_policies.negotiation.encoding import summary_encoding, train_encoding, upload_mib
from parley_policies.negotiation.meet import Bounds, meet_all
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.proposal import PREPROCESS, STEPS, SUMMARY, TRAIN, Proposal, ProposedSegment
from parley_policies.negotiation.terms import (
    MIN_FLOOR,
    GatewayTerms,
    MemberTerms,
    SegmentTerms,
    StepTerms,
    Terms,
    TimingTerms,
    graph_of,
    required_threshold,
)
from parley_policies.negotiation.weights import CappedSegment, fitted, wanted_weights
from parley_policies.taxonomy.taxonomy import Taxonomy

HONEST_BESIDE_ONE: Final = 2  # a floor holds every conspirator, one honest member, and another that it hides among
SECONDS_AN_HOUR: Final = 3_600


def terms_of(proposal: Proposal, cohort: tuple[Offer, ...], members: Directory, gateway: GatewayTerms, *, study: str) -> Terms:
    """Return terms that keep the offer of every member of `cohort`, which is in id order, as those of `study`; Conflict where none do."""
    if proposal.workload.name not in STEPS:
        raise Conflict("code.workloads", (), f"a workload of this version ({', '.join(STEPS)})", proposal.workload.name)
    _check_together(cohort)
    bounds = meet_all(Bounds.of(offer, _parties(cohort)) for offer in cohort)
    threshold = _threshold(cohort, bounds)
    clip_bound = _clip_bound(cohort, bounds)
    summary, *segments = _segments(proposal, cohort, bounds.max_colluders)
    steps = (
        StepTerms(workload=PREPROCESS, rounds=1, segments=(summary,), encoding=summary_encoding(len(cohort))),
        StepTerms(
            workload=TRAIN,
            rounds=_rounds(proposal, cohort, bounds),
            segments=tuple(segments),
            encoding=train_encoding(clip_bound, len(cohort)),
        ),
    )
    _check_bytes(cohort, bounds, steps)
    weights = _weights(cohort, steps[1], threshold)
    return Terms(
        study=study,
        proposal_digest=proposal.digest(),
        purpose=proposal.purpose.uses,
        taxonomy=Taxonomy.load().version,
        gateway=gateway,
        members=tuple(_member(offer, members, weights[offer.party]) for offer in cohort),
        scheme=_scheme(proposal, cohort, bounds),
        gateway_may_lie=bounds.gateway_may_lie,
        max_colluders=bounds.max_colluders,
        threshold=threshold,
        graph=graph_of(len(cohort), bounds.max_colluders, threshold),
        max_small_changes=int(bounds.max_small_changes),
        clip_bound=clip_bound,
        robustness="R0",
        opened_sums_readable_by=_readers(bounds),
        exclusions_required=bounds.exclusions_required,
        steps=steps,
        timing=timing_of(proposal),
        valid_until=bounds.valid_until.isoformat(),
    )


def timing_of(proposal: Proposal) -> TimingTerms:
    """Return the time-outs that a proposal fixes."""
    wishes = proposal.wishes
    return TimingTerms(
        grace_seconds=wishes.grace_seconds, phase_seconds=wishes.phase_seconds, round_seconds=wishes.round_hours * SECONDS_AN_HOUR
    )


def smallest_sum(segment: SegmentTerms, members: int, threshold: int) -> int:
    """Return the fewest members in a sum of a segment that can open: its floor, and as many as remain when all but t of n are gone."""
    return max(segment.floor, len(segment.members) - (members - threshold))


def capped(step: StepTerms, members: int, threshold: int, caps: dict[str, dict[str, float]]) -> tuple[CappedSegment, ...]:
    """Return a step's segments with the caps on their members' weights, `caps` by segment and party."""
    return tuple(
        CappedSegment(segment.members, smallest_sum(segment, members, threshold), caps.get(segment.name, {})) for segment in step.segments
    )


def _parties(offers: Iterable[Offer]) -> frozenset[str]:
    return frozenset(offer.party for offer in offers)


def _check_together(cohort: tuple[Offer, ...]) -> None:
    together = _parties(cohort)
    apart = {party for offer in cohort for party in together & set(offer.apart)}
    refusing = {offer.party for offer in cohort if together & set(offer.apart)}
    if refusing:
        raise Conflict("peers", tuple(apart | refusing), "members that every policy permits", f"{len(apart)} that some policy does not")


def _threshold(cohort: tuple[Offer, ...], bounds: Bounds) -> int:
    n, c = len(cohort), bounds.max_colluders
    if n < MIN_FLOOR:
        raise Conflict("sums.min_parties", _parties_in_order(cohort), f"offers of at least {MIN_FLOOR} parties", f"{n}")
    threshold = required_threshold(n, c, gateway_may_lie=bounds.gateway_may_lie)
    if threshold > n:
        binding = [offer for offer in cohort if Bounds.of(offer, _parties(cohort)).max_colluders == c]
        raise Conflict(
            "schemes.colluding_parties_survived",
            _parties_in_order(binding),
            f"at most n = {n} members to sign a list",
            f"t = {threshold} against {c} conspirators",
        )
    return threshold


def _clip_bound(cohort: tuple[Offer, ...], bounds: Bounds) -> float:
    if bounds.clip_min > bounds.clip_max:
        binding = [offer for offer in cohort if offer.clip_bound.min == bounds.clip_min or offer.clip_bound.max == bounds.clip_max]
        raise Conflict(
            "sharing.clip_bound",
            _parties_in_order(binding),
            "ranges that meet",
            f"at least {bounds.clip_min} and at most {bounds.clip_max}",
        )
    return bounds.clip_max


def _rounds(proposal: Proposal, cohort: tuple[Offer, ...], bounds: Bounds) -> int:
    rounds = int(bounds.rounds) - 1  # one is preprocess@1's
    if rounds < proposal.wishes.rounds.min:
        binding = [offer for offer in cohort if offer.rounds == bounds.rounds]
        wanted = f"at least {proposal.wishes.rounds.min + 1} rounds with preprocess@1"
        raise Conflict("limits.rounds_a_study", _parties_in_order(binding), wanted, f"{rounds + 1}")
    return min(rounds, proposal.wishes.rounds.max)


def _scheme(proposal: Proposal, cohort: tuple[Offer, ...], bounds: Bounds) -> Literal["masked"]:
    if "masked" not in bounds.schemes or "masked" not in proposal.wishes.scheme:
        without = [offer for offer in cohort if "masked" not in offer.schemes]
        raise Conflict(
            "schemes.accepted", _parties_in_order(without), "masked accepted by all", ", ".join(sorted(bounds.schemes)) or "nothing"
        )
    return "masked"


def _readers(bounds: Bounds) -> Literal["gateway", "parties"]:
    return "parties" if bounds.opened_sums_readable_by == "parties" else "gateway"


def _segments(proposal: Proposal, cohort: tuple[Offer, ...], colluders: int) -> list[SegmentTerms]:
    """Return the summary and then the segments of the model that reach their floor."""
    everyone = ProposedSegment(name=SUMMARY, length=proposal.summary_length)
    found = []
    for proposed in (everyone, *proposal.segments):
        sharing = tuple(offer for offer in cohort if offer.min_parties(proposed.name) is not None)
        if not proposed.objectives and len(sharing) < len(cohort):
            lacking = [offer for offer in cohort if offer not in sharing]
            raise Conflict(f"sharing.segments.{proposed.name}", _parties_in_order(lacking), "shared by every member", "not offered")
        segment = _segment(proposed, sharing, colluders)
        if segment is not None:
            found.append(segment)
    if len(found) == 1:
        raise Conflict("sharing.segments", _parties_in_order(cohort), "at least one part of the model that enough parties share", "none")
    return found


def _segment(proposed: ProposedSegment, sharing: tuple[Offer, ...], colluders: int) -> SegmentTerms | None:
    together = _parties(sharing)
    own = meet_all(Bounds.of(offer, together) for offer in sharing).floors.get(proposed.name, MIN_FLOOR)
    floor = max(own, colluders + HONEST_BESIDE_ONE, MIN_FLOOR)
    if len(sharing) >= floor:
        return SegmentTerms(name=proposed.name, length=proposed.length, members=_parties_in_order(sharing), floor=floor)
    if proposed.objectives:
        return None
    binding = [offer for offer in sharing if Bounds.of(offer, together).floors[proposed.name] == own] if own == floor else list(sharing)
    raise Conflict(f"sums.min_parties.{proposed.name}", _parties_in_order(binding), f"at least {floor} members", f"{len(sharing)}")


def _check_bytes(cohort: tuple[Offer, ...], bounds: Bounds, steps: tuple[StepTerms, ...]) -> None:
    for step in steps:
        for offer in cohort:
            mib = upload_mib(sum(segment.length for segment in step.segments if offer.party in segment.members), step.encoding)
            if mib > bounds.mib_a_round[offer.party]:
                raise Conflict("sharing.mib_a_round", (offer.party,), f"at most {bounds.mib_a_round[offer.party]} MiB", f"{mib:.3f} MiB")


def _weights(cohort: tuple[Offer, ...], step: StepTerms, threshold: int) -> dict[str, int]:
    offers = {offer.party: offer for offer in cohort}
    caps = {
        segment.name: dict(meet_all(Bounds.of(offers[party], frozenset(segment.members)) for party in segment.members).weight_caps)
        for segment in step.segments
    }
    weights = fitted(wanted_weights({offer.party: offer.records for offer in cohort}), capped(step, len(cohort), threshold, caps))
    if not all(weights.values()):
        tightest = min(min(offer.weight_cap, offer.weight_cap_of_others) for offer in cohort)
        binding = [offer for offer in cohort if tightest in {offer.weight_cap, offer.weight_cap_of_others}]
        least = min(smallest_sum(segment, len(cohort), threshold) for segment in step.segments)
        raise Conflict("sharing.weight_cap", _parties_in_order(binding), f"caps that a sum over {least} members can keep", f"{tightest}")
    return weights


def _member(offer: Offer, members: Directory, weight: int) -> MemberTerms:
    member = members[offer.party]
    return MemberTerms(
        party=offer.party,
        legal_name=member.legal_name,
        party_class=member.party_class,
        country=member.country,
        identity=member.identity,
        objectives=offer.objectives,
        records=offer.records,
        weight=weight,
        channel_key=offer.channel_key,
        commitment=offer.commitment,
        trust=offer.trust,
        documents=offer.documents,
        offer=offer.digest(),
        credentials=member.credentials,
    )


def _parties_in_order(offers: Iterable[Offer]) -> tuple[str, ...]:
    return tuple(sorted(offer.party for offer in offers))
