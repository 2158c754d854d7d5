"""An offer: what one party discloses of its policy for one proposal, no more. Or a decline, which says nothing.

`make_offer` runs the whole policy against the proposal first; where a clause says no it raises Refused, whose text stays at home. What
an offer holds is what the meet needs, cut to the proposal: a floor for each segment that is shared, never for others; clip bounds inside
the sponsor's range; the number of records as the policy lets it be told. The policy itself is bound by a salted digest.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Final, Literal

from parley_crypto.keys import VerifyKey
from parley_crypto.statement import Document, Statement
from parley_crypto.tags import Tag, digest
from pydantic import Field

from parley_policies.errors import OUTWARD_REASON, Refused
from parley_policies.model.loader import PolicyFile
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.protection import SchemeName
from parley_policies.model.unsupported import check_supported
from parley_policies.negotiation.clauses import (
    check_columns,
    check_dataset,
    check_gateway,
    check_in_force,
    check_invited,
    check_model_use,
    check_pins,
    check_purpose,
    check_workload,
    not_permitted,
)
from parley_policies.negotiation.members import Directory, uncounted
from parley_policies.negotiation.proposal import SUMMARY, ClipWish, ObjectiveId, Proposal
from parley_policies.negotiation.records import Records, banded
from parley_policies.negotiation.terms import ChannelKey, Count, GatewayTerms, PartyId, Positive, SegmentName, Sha256, StudyId

MIN_SALT_BYTES: Final = 16
Portion = Annotated[float, Field(ge=0, le=1)]


class OfferedSegment(Document):
    """A proposed segment that the party shares, and the smallest number of parties in a sum of it."""

    name: SegmentName
    min_parties: Positive


class OfferedPrivacy(Document):
    """The differential privacy that a party demands of the study: whose, between which neighbours, and how much loss it grants."""

    unit: Literal["record", "person", "party"]
    adjacency: Literal["add-or-remove-one", "replace-one"]
    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]  # noise is Gaussian: no loss is bounded with a delta of 0
    noise_trust: Literal["self", "cohort"]


class Offer(Statement):
    """What one party brings to the negotiation of one proposal. Signed with its identity key."""

    kind: ClassVar[str] = "application/vnd.parley.offer.v1+json"

    study: StudyId
    proposal_digest: Sha256
    party: PartyId
    gateway_digest: Sha256  # of the gateway's declarations that the party saw: terms with others are refused
    policy: Sha256  # salted digest of the policy file
    channel_key: ChannelKey  # made for this study
    commitment: Sha256  # to this party's seed part and key part
    documents: tuple[Sha256, ...]
    trust: Literal["pinned", "first-use"]
    objectives: tuple[ObjectiveId, ...]  # in id order
    records: Records
    schemes: tuple[SchemeName, ...]  # in the sponsor's order
    segments: tuple[OfferedSegment, ...]  # summary first, then in the proposal's order
    gateway_may_lie: bool
    colluders: Count  # conspirators that must learn nothing, without those below
    uncounted: tuple[PartyId, ...]  # invited parties that this one neither pins, nor believes an issuer about, nor trusts on first use
    apart: tuple[PartyId, ...]  # invited parties with which this one may be in no cohort; the gateway alone is told, for it must know
    max_small_changes: Count
    clip_bound: ClipWish
    privacy: OfferedPrivacy | None  # None: this party demands no noise
    max_weight_ratio: Annotated[float, Field(ge=1)]  # how far members with a laxer epsilon may outweigh this one
    weight_cap: Portion
    weight_cap_of_others: Portion
    rounds: Positive  # most rounds of the study, all its steps together
    mib_a_round: Annotated[float, Field(gt=0)]
    robustness: Literal["R0"]
    opened_sums_readable_by: Literal["gateway", "parties"]
    exclusions_required: bool
    valid_until: date

    def min_parties(self, segment: str) -> int | None:
        """Return this party's floor for a segment, or None where it does not share it."""
        return next((item.min_parties for item in self.segments if item.name == segment), None)


class Decline(Statement):
    """A party does not take part. The reason is the same whatever the clause (errors.Refused)."""

    kind: ClassVar[str] = "application/vnd.parley.decline.v1+json"

    study: StudyId
    proposal_digest: Sha256
    party: PartyId
    reason: Literal["this party's policy does not permit the study"] = OUTWARD_REASON


def make_offer(
    active: PolicyFile,
    proposal: Proposal,
    *,
    dataset: str,
    records: int,
    objectives: tuple[str, ...],
    members: Directory,
    gateway: GatewayTerms,
    today: date,
    salt: bytes,
    channel_key: str,
    commitment: str,
    assume: frozenset[str] = frozenset(),
) -> Offer:
    """Return this party's offer; Refused with the exact clause where its policy says no.

    `records` is the number of people after exclusions in `dataset`; `objectives` those of the study it has labels for; `members` the
    party's own view of the directory; `salt` at least 16 random bytes, kept by the party to prove later which policy it offered under;
    `channel_key` and `commitment` (hexadecimal) belong to secrets that it drew for this study. `assume` as in `check_proposal`.
    """
    policy = active.policy
    if len(salt) < MIN_SALT_BYTES:
        raise ValueError(f"salt: wanted at least {MIN_SALT_BYTES} bytes, got {len(salt)}")
    check_proposal(policy, proposal, members=members, gateway=gateway, today=today, assume=assume)
    served = _served(proposal, objectives)
    check_columns(policy, proposal, served)
    check_dataset(policy, dataset, records)
    _check_day(proposal, today)
    return Offer(
        study=proposal.id,
        proposal_digest=proposal.digest(),
        party=policy.party,
        gateway_digest=gateway.digest(),
        policy=salted_digest(active.digest, salt),
        channel_key=channel_key,
        commitment=commitment,
        documents=tuple(document.sha256 for document in policy.legal.documents),
        trust=policy.peers.trust,
        objectives=served,
        records=banded(policy.sharing.record_count, records),
        schemes=tuple(scheme for scheme in proposal.wishes.scheme if scheme in policy.schemes.accepted),
        segments=_segments(policy, proposal, served),
        gateway_may_lie=policy.schemes.gateway_may_lie,
        colluders=policy.colluders,
        uncounted=uncounted(policy, (members[party] for party in proposal.invited if party in members), today),
        apart=not_permitted(policy, proposal.invited, members),
        max_small_changes=policy.sums.max_small_changes,
        clip_bound=_clip_bound(policy, proposal),
        privacy=offered_privacy(policy),
        max_weight_ratio=policy.sharing.max_weight_ratio,
        weight_cap=_cap("weight_cap", policy.sharing.weight_cap),
        weight_cap_of_others=_cap("weight_cap_of_others", policy.sharing.weight_cap_of_others),
        rounds=_rounds(policy, proposal),
        mib_a_round=_mib(policy),
        robustness="R0",
        opened_sums_readable_by=policy.disclosure.opened_sums_readable_by,
        exclusions_required=policy.data.exclusions_required,
        valid_until=policy.identity.valid_until,
    )


def _check_day(proposal: Proposal, today: date) -> None:
    if today > proposal.wishes.answer_by:
        raise Refused("wishes.answer_by", f"an answer up to {proposal.wishes.answer_by}", f"{today}")


def check_proposal(
    policy: PrivacyPolicy,
    proposal: Proposal,
    *,
    members: Directory,
    gateway: GatewayTerms,
    today: date,
    assume: frozenset[str] = frozenset(),
) -> None:
    """Return if the policy permits the study as proposed, before any data are looked at; Refused by the clause's name otherwise.

    Whom the policy permits beside its owner is not asked here: the offer names those with whom it may not be, and terms are checked for
    their members. But an invited party with another key than the pinned one stops everything, since somebody may be between us.
    `assume` names clauses that are treated as if this version upheld them: for trying policies, never for a service.
    """
    check_supported(policy, assume)
    check_in_force(policy, today)
    check_invited(policy, proposal)
    check_purpose(policy, proposal)
    check_gateway(policy, gateway, VerifyKey.from_hex(gateway.key).fingerprint)
    check_pins(policy, proposal.invited, members)
    check_workload(policy, proposal)
    check_model_use(policy, proposal)
    if "masked" not in proposal.wishes.scheme:
        raise Refused("schemes.accepted", "a study that accepts the masked scheme", ", ".join(proposal.wishes.scheme))


def offered_privacy(policy: PrivacyPolicy) -> OfferedPrivacy | None:
    """Return the differential privacy that the policy demands of a study, or None; Refused where it demands some and grants no loss."""
    privacy, granted = policy.differential_privacy, policy.differential_privacy.per_study
    if granted is None:
        if privacy.required:
            raise Refused("differential_privacy.per_study", "epsilon and delta", "nothing written", "write differential_privacy.per_study")
        return None
    if granted.delta == 0:
        raise Refused("differential_privacy.per_study", "a delta above 0, since noise is Gaussian", "0")
    return OfferedPrivacy(
        unit=privacy.unit,
        adjacency=privacy.adjacency,
        epsilon=granted.epsilon,
        delta=granted.delta,
        noise_trust=privacy.noise_trust,
    )


def salted_digest(policy_digest: str, salt: bytes) -> str:
    """Return the digest by which an offer commits to a policy file without telling which (64 hexadecimal digits)."""
    return digest(Tag.SALTED, salt, policy_digest)


def _served(proposal: Proposal, objectives: tuple[str, ...]) -> tuple[str, ...]:
    known = {objective.id for objective in proposal.objectives}
    served = tuple(sorted(set(objectives) & known))
    if not served:
        raise Refused("data.columns", f"labels for at least one of {', '.join(sorted(known))}", "none", "map the label's column")
    return served


def _segments(policy: PrivacyPolicy, proposal: Proposal, served: tuple[str, ...]) -> tuple[OfferedSegment, ...]:
    """Return the segments that this party shares; what every member has must be among them, a head may stay at home."""
    names = {SUMMARY: True} | {segment.name: not segment.objectives for segment in proposal.segments_for(served)}
    shared = []
    for name, needed in names.items():
        floor = policy.sums.floor(name)
        if policy.sharing.shares(name) and floor is not None:
            shared.append(OfferedSegment(name=name, min_parties=floor))
        elif needed:
            raise Refused(f"sharing.segments.{name}", "true: every member of the study sends it", "not granted")
    return tuple(shared)


def _clip_bound(policy: PrivacyPolicy, proposal: Proposal) -> ClipWish:
    granted, wished = policy.sharing.clip_bound, proposal.wishes.clip_bound
    if granted is None:
        raise Refused("sharing.clip_bound", "a range", "nothing written", "write sharing.clip_bound")
    low, high = max(granted.min, wished.min), min(granted.max, wished.max)
    if low > high:
        raise Refused("sharing.clip_bound", f"a cap of {granted.min} to {granted.max}", f"{wished.min} to {wished.max} wished for")
    return ClipWish(min=low, max=high)


def _rounds(policy: PrivacyPolicy, proposal: Proposal) -> int:
    least = proposal.wishes.rounds.min + 1  # and one round of preprocess@1
    if policy.limits.rounds_a_study < least:
        raise Refused("limits.rounds_a_study", f"at most {policy.limits.rounds_a_study} rounds", f"at least {least} wished for")
    return min(policy.limits.rounds_a_study, proposal.wishes.rounds.max + 1)


def _cap(name: str, cap: float) -> float:
    if cap <= 0:
        raise Refused(f"sharing.{name}", "a number above 0", "nothing granted", f"write sharing.{name}")
    return cap


def _mib(policy: PrivacyPolicy) -> float:
    if policy.sharing.mib_a_round <= 0:
        raise Refused("sharing.mib_a_round", "a number above 0", "nothing granted", "write sharing.mib_a_round")
    return policy.sharing.mib_a_round
