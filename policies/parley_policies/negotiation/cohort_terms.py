"""The terms of one chosen cohort: what the offers of its members meet in.

`terms_of` is pure and gives the same terms for the same cohort. What cannot be is a Conflict that names the field and the parties whose
clauses meet in it. Who is in the cohort, and which heads its members share, is chosen before (`cohorts`); a head that nobody chose gets no
segment: it stays at home with each of its parties, and `explain` says so. The trunk and the summary belong to every member, so there a
floor above the number of members is a conflict. Floors are as low as every member permits; only where no weights keep every cap in sums
that small are they raised, in all parts by the same number, as little as it takes: a policy that permits smaller sums never costs its
cohort. The gateway runs this and can only propose: every member checks the result against its own full policy (`checker`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from parley_policies.errors import Conflict
from parley_policies.negotiation.encoding import summary_encoding, train_encoding, upload_mib
from parley_policies.negotiation.meet import Bounds, meet_all
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.privacy import privacy_of
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


@dataclass(frozen=True, slots=True)
class Cohort:
    """Members, as their offers in id order, and who shares each head that is opened, in id order. `parts` None: whoever offers it."""

    offers: tuple[Offer, ...]
    parts: Mapping[str, tuple[str, ...]] | None = None

    @property
    def parties(self) -> frozenset[str]:
        """The members."""
        return _parties(self.offers)

    def sharing(self, proposed: ProposedSegment) -> tuple[Offer, ...]:
        """Return the offers of those who share a part."""
        if proposed.objectives and self.parts is not None:
            chosen = self.parts.get(proposed.name, ())
            return tuple(offer for offer in self.offers if offer.party in chosen)
        return tuple(offer for offer in self.offers if has_part(offer, proposed))


def has_part(offer: Offer, proposed: ProposedSegment) -> bool:
    """Whether an offer shares a part, and for a head serves one of its objectives."""
    if proposed.objectives and not set(proposed.objectives) & set(offer.objectives):
        return False
    return offer.min_parties(proposed.name) is not None


def terms_of(proposal: Proposal, cohort: Cohort, members: Directory, gateway: GatewayTerms, *, study: str) -> Terms:
    """Return terms that keep the offer of every member of `cohort`, as those of `study`; Conflict where none do."""
    if proposal.workload.name not in STEPS:
        raise Conflict("code.workloads", (), f"a workload of this version ({', '.join(STEPS)})", proposal.workload.name)
    _check_together(cohort, members, gateway)
    offers = cohort.offers
    bounds = meet_all(Bounds.of(offer, cohort.parties) for offer in offers)
    threshold = _threshold(offers, bounds)
    clip_bound = _clip_bound(offers, bounds)
    summary, *found = _segments(proposal, cohort, bounds.max_colluders)
    segments, weights = _weighted(offers, tuple(found), threshold)
    rounds = _rounds(proposal, offers, bounds)
    steps = (
        StepTerms(workload=PREPROCESS, rounds=1, segments=(summary,), encoding=summary_encoding(len(offers))),
        StepTerms(
            workload=TRAIN,
            rounds=rounds,
            segments=segments,
            encoding=train_encoding(clip_bound, len(offers)),
        ),
    )
    _check_bytes(offers, bounds, steps)
    return Terms(
        study=study,
        proposal_digest=proposal.digest(),
        purpose=proposal.purpose.uses,
        taxonomy=Taxonomy.load().version,
        gateway=gateway,
        members=tuple(_member(offer, members, weights[offer.party]) for offer in offers),
        scheme=_scheme(proposal, offers, bounds),
        gateway_may_lie=bounds.gateway_may_lie,
        max_colluders=bounds.max_colluders,
        threshold=threshold,
        graph=graph_of(len(offers), bounds.max_colluders, threshold),
        max_small_changes=int(bounds.max_small_changes),
        clip_bound=clip_bound,
        privacy=privacy_of(offers, clip_bound, sum(step.rounds for step in steps)),
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


def _parties(offers: Iterable[Offer]) -> frozenset[str]:
    return frozenset(offer.party for offer in offers)


def _check_together(cohort: Cohort, members: Directory, gateway: GatewayTerms) -> None:
    """Return if every two members may be in a cohort, and all saw this gateway."""
    refusing = {offer.party: cohort.parties & set(offer.apart) for offer in cohort.offers}
    apart = frozenset[str]().union(*refusing.values())
    if apart:
        meeting = apart | {party for party, others in refusing.items() if others}
        raise Conflict("peers", tuple(meeting), "members that every policy permits", f"{len(apart)} that some policy does not")
    if strangers := [offer for offer in cohort.offers if offer.gateway_digest != gateway.digest()]:
        raise Conflict("gateway", _parties_in_order(strangers), "offers to the gateway as it declares itself", "offers to another")
    for what, keys in (
        ("channel_key", {offer.party: offer.channel_key for offer in cohort.offers}),
        ("identity", {offer.party: members[offer.party].identity for offer in cohort.offers}),
    ):
        if twice := [party for party, key in keys.items() if list(keys.values()).count(key) > 1]:
            raise Conflict(what, tuple(twice), "a key of its own for each party", "one that several have")


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


def _segments(proposal: Proposal, cohort: Cohort, colluders: int) -> list[SegmentTerms]:
    """Return the summary and then the segments of the model that reach their floor."""
    everyone = ProposedSegment(name=SUMMARY, length=proposal.summary_length)
    found = []
    for proposed in (everyone, *proposal.segments):
        sharing = cohort.sharing(proposed)
        if not proposed.objectives and len(sharing) < len(cohort.offers):
            lacking = [offer for offer in cohort.offers if offer not in sharing]
            raise Conflict(f"sharing.segments.{proposed.name}", _parties_in_order(lacking), "shared by every member", "not offered")
        segment = _segment(proposed, sharing, colluders)
        if segment is not None:
            found.append(segment)
    if without := cohort.parties.difference(*(segment.members for segment in found[1:])):
        raise Conflict("sharing.segments", tuple(without), "at least one part of the model that enough parties share", "none")
    return found


def _segment(proposed: ProposedSegment, sharing: tuple[Offer, ...], colluders: int) -> SegmentTerms | None:
    together = _parties(sharing)
    own = max((offer_floor(offer, proposed.name, together) for offer in sharing), default=MIN_FLOOR)
    floor = max(own, colluders + HONEST_BESIDE_ONE, MIN_FLOOR)
    if len(sharing) >= floor:
        return SegmentTerms(name=proposed.name, length=proposed.length, members=_parties_in_order(sharing), floor=floor)
    if proposed.objectives:
        return None
    binding = [offer for offer in sharing if offer_floor(offer, proposed.name, together) == own] if own == floor else list(sharing)
    raise Conflict(f"sums.min_parties.{proposed.name}", _parties_in_order(binding), f"at least {floor} members", f"{len(sharing)}")


def offer_floor(offer: Offer, segment: str, together: frozenset[str]) -> int:
    """Return the fewest members that an offer permits in a segment that the parties `together` share."""
    return (offer.min_parties(segment) or MIN_FLOOR) + len(together & set(offer.uncounted))


def _check_bytes(cohort: tuple[Offer, ...], bounds: Bounds, steps: tuple[StepTerms, ...]) -> None:
    for step in steps:
        for offer in cohort:
            mib = upload_mib(sum(segment.length for segment in step.segments if offer.party in segment.members), step.encoding)
            if mib > bounds.mib_a_round[offer.party]:
                raise Conflict("sharing.mib_a_round", (offer.party,), f"at most {bounds.mib_a_round[offer.party]} MiB", f"{mib:.3f} MiB")


def _weighted(
    offers: tuple[Offer, ...], segments: tuple[SegmentTerms, ...], threshold: int
) -> tuple[tuple[SegmentTerms, ...], dict[str, int]]:
    """Return the segments, with floors raised by as little as it takes, and the largest weights that keep every cap."""
    wanted = wanted_weights({offer.party: offer.records for offer in offers})
    caps = {segment.name: _caps(tuple(offer for offer in offers if offer.party in segment.member_set)) for segment in segments}
    low, high = 0, max(len(segment.members) - segment.floor for segment in segments)
    best = (segments, fitted(wanted, _capped(segments, len(offers), threshold, caps)))
    if all(best[1].values()):
        return best
    best = _raised(segments, high, wanted, len(offers), threshold, caps)
    if not all(best[1].values()):
        tightest = min(min(offer.weight_cap, offer.weight_cap_of_others) for offer in offers)
        binding = [offer for offer in offers if tightest in {offer.weight_cap, offer.weight_cap_of_others}]
        least = min(len(segment.members) for segment in segments)
        raise Conflict("sharing.weight_cap", _parties_in_order(binding), f"caps that a sum over {least} members can keep", f"{tightest}")
    while high - low > 1:
        middle = (low + high) // 2
        tried = _raised(segments, middle, wanted, len(offers), threshold, caps)
        if all(tried[1].values()):
            high, best = middle, tried
        else:
            low = middle
    return best


def _raised(
    segments: tuple[SegmentTerms, ...], by: int, wanted: dict[str, int], members: int, threshold: int, caps: dict[str, dict[str, float]]
) -> tuple[tuple[SegmentTerms, ...], dict[str, int]]:
    raised = tuple(
        SegmentTerms(name=item.name, length=item.length, members=item.members, floor=min(len(item.members), item.floor + by))
        for item in segments
    )
    return raised, fitted(wanted, _capped(raised, members, threshold, caps))


def _capped(
    segments: tuple[SegmentTerms, ...], members: int, threshold: int, caps: dict[str, dict[str, float]]
) -> tuple[CappedSegment, ...]:
    return tuple(CappedSegment(item.members, smallest_sum(item, members, threshold), caps[item.name]) for item in segments)


def _caps(sharing: tuple[Offer, ...]) -> dict[str, float]:
    """Return each sharer's largest part of a sum: as it says itself, and as the strictest of the others does."""
    strictest = sorted((offer.weight_cap_of_others, offer.party) for offer in sharing)[:2]
    return {offer.party: min([offer.weight_cap, *(cap for cap, party in strictest if party != offer.party)]) for offer in sharing}


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
