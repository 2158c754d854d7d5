"""Terms: the concrete values that satisfy every member's policy. Signed by all members they are the agreement.

The digest of the canonical terms is the **agreement digest**: every later key, box, mask, signature and log leaf is bound to it.
Terms hold no secret and nothing a member did not grant to the others; who bound which value is not part of them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

from parley_crypto.errors import CryptoError, MalformedError
from parley_crypto.keys import VerifyKey, check_agreement_key
from parley_crypto.neighbours import plan
from parley_crypto.statement import Document, Statement
from pydantic import AfterValidator, Field, model_validator

from parley_policies.taxonomy.taxonomy import TaxonomyVersion

PartyId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
StudyId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
SegmentName = Annotated[str, Field(pattern=r"^[a-z]+(:[a-z0-9_]{1,63})?$", max_length=80)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**53)]  # canonical JSON has no larger whole numbers
Positive = Annotated[int, Field(ge=1, lt=2**53)]

MIN_FLOOR = 3
MAX_CREDENTIALS = 4  # that one member shows
MAX_CREDENTIAL_CHARACTERS = 4_096

CredentialText = Annotated[str, Field(max_length=MAX_CREDENTIAL_CHARACTERS)]  # an issuer's envelope, as JSON text
Credentials = Annotated[tuple[CredentialText, ...], Field(max_length=MAX_CREDENTIALS)]


def _usable(text: str) -> str:
    """Return an X25519 key's hexadecimal digits; ValueError for one of low order, or whose encoding is not the one it has."""
    try:
        check_agreement_key(bytes.fromhex(text))
    except CryptoError as error:
        raise ValueError(str(error)) from error
    return text


ChannelKey = Annotated[Sha256, AfterValidator(_usable)]  # an X25519 public key, 32 bytes in hexadecimal


class MemberTerms(Document):
    """One member as every other member sees it."""

    party: PartyId
    legal_name: str
    party_class: str
    country: str
    identity: Sha256  # the Ed25519 identity key, 32 bytes in hexadecimal
    objectives: tuple[str, ...]
    records: str  # "exact:N", "rounded:N" or "hidden", as the member's policy grants
    weight: Positive  # a constant of the agreement, from the banded count
    channel_key: ChannelKey  # made for this study: other members seal their key parts for it
    commitment: Sha256  # to the member's seed part and key part, from before there were terms (protocol.md, Members' key)
    trust: Literal["pinned", "first-use"] = "pinned"  # whom this member counts: shown to all where it is first use
    documents: tuple[Sha256, ...] = ()  # the member's legal documents, so that every signature covers them
    offer: Sha256 | None = None  # digest of the member's signed offer, which commits to its policy
    credentials: Credentials = ()  # what issuers say of the member, as it shows it: each other member judges it by its own policy

    @cached_property
    def key(self) -> VerifyKey:
        """The member's identity key."""
        return VerifyKey.from_hex(self.identity)


class SegmentTerms(Document):
    """A named slice of the flat vector with its own cohort."""

    name: SegmentName
    length: Positive  # coordinates
    members: tuple[PartyId, ...]  # in id order
    floor: Annotated[int, Field(ge=MIN_FLOOR)]  # fewest members in any sum of it that is ever opened

    @cached_property
    def member_set(self) -> frozenset[str]:
        """The members, to look one up."""
        return frozenset(self.members)


class EncodingTerms(Document):
    """How a real vector becomes ring elements: x -> rint(x · 2^fraction_bits) mod 2^width, |x| ≤ bound a coordinate."""

    width: Literal[16, 32, 64]
    fraction_bits: Annotated[int, Field(ge=0, le=52)]
    bound: Annotated[float, Field(gt=0)]


class StepTerms(Document):
    """One workload of the study and its rounds, in order: `preprocess@1`, then `train@1`."""

    workload: str
    rounds: Positive
    segments: tuple[SegmentTerms, ...]
    encoding: EncodingTerms

    def segment(self, name: str) -> SegmentTerms:
        """Return the segment of that name; MalformedError if the step has none."""
        for segment in self.segments:
            if segment.name == name:
                return segment
        raise MalformedError(f"segment {name!r}: wanted one of {', '.join(s.name for s in self.segments)}")


class GraphTerms(Document):
    """The neighbour graph of a large study (parley_crypto.neighbours); every party computes it itself and compares."""

    degree: Positive  # neighbours of each member; even
    threshold: Positive  # holders that rebuild a member's secrets
    near: Count  # colluders among one member's neighbours, at most
    cut: Count  # colluders in two windows of the ring, at most


class TimingTerms(Document):
    """The few time-outs of a round, in seconds."""

    grace_seconds: Annotated[float, Field(gt=0)]  # a member not connected for this long is not waited for
    phase_seconds: Annotated[float, Field(gt=0)]  # ADVERTISE, SHARE
    round_seconds: Annotated[float, Field(gt=0)]  # COLLECT, from the handing out of boxes


class GatewayTerms(Document):
    """The gateway of the agreement, as its operator declared it."""

    id: str
    key: Sha256  # the log key, Ed25519
    operator: str
    countries: tuple[str, ...]  # of the operator and of every subprocessor
    incident_notice_hours: Count | None = None  # as promised; None: no promise, which no policy accepts
    change_notice_days: Count | None = None


class PrivacyTerms(Document):
    """Noise that hides every member in one sum, and how far each member clips for it (`privacy`)."""

    unit: Literal["record", "person", "party"]
    adjacency: Literal["add-or-remove-one", "replace-one"]
    noise_trust: Literal["self", "cohort"]
    delta: Annotated[float, Field(gt=0, lt=1)]  # the smallest that a member demands
    noise: Annotated[float, Field(gt=0)]  # standard deviation in each coordinate of an opened sum, model units
    clip_bounds: tuple[Annotated[float, Field(gt=0)], ...]  # L2 norm of each member's update, in the members' order


class Terms(Statement):
    """What all members sign. `digest()` is the agreement digest."""

    kind: ClassVar[str] = "application/vnd.parley.terms.v1+json"

    study: StudyId
    proposal_digest: Sha256  # of the signed study file, with columns, model and model_use
    purpose: tuple[str, ...]
    taxonomy: TaxonomyVersion  # by which members matched purpose and diseases
    gateway: GatewayTerms
    members: tuple[MemberTerms, ...]  # in id order; rank = 1 + index
    scheme: Literal["masked"]
    gateway_may_lie: bool
    max_colluders: Count
    threshold: Positive
    graph: GraphTerms | None = None  # None: everybody masks towards everybody, and shares with everybody
    max_small_changes: Count
    clip_bound: Annotated[float, Field(gt=0)]  # L2 norm of one member's update, model units; with noise the largest of all members
    privacy: PrivacyTerms | None = None  # None: sums are opened without noise
    robustness: Literal["R0"]
    opened_sums_readable_by: Literal["gateway", "parties"]
    exclusions_required: bool
    steps: tuple[StepTerms, ...]
    timing: TimingTerms
    valid_until: str  # ISO date: the earliest end of a member's policy

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ids = [member.party for member in self.members]
        if ids != sorted(set(ids)):
            raise ValueError("members: wanted distinct parties in id order")
        if len({member.identity for member in self.members}) != len(ids):
            raise ValueError("members: wanted an identity key of its own for each party")
        if len({member.channel_key for member in self.members}) != len(ids):
            raise ValueError("members: wanted a channel key of its own for each party")
        for step in self.steps:
            names = [segment.name for segment in step.segments]
            if len(set(names)) != len(names):
                raise ValueError(f"{step.workload}: wanted distinct segment names, got {names}")
            for segment in step.segments:
                if list(segment.members) != sorted(set(segment.members)) or not set(segment.members) <= set(ids):
                    raise ValueError(f"segment {segment.name}: wanted distinct members of the agreement in id order")
        return self

    @cached_property
    def _ranks(self) -> dict[str, int]:
        return {member.party: rank for rank, member in enumerate(self.members, start=1)}

    @cached_property
    def _keys(self) -> dict[str, VerifyKey]:
        return {member.party: member.key for member in self.members}

    def member(self, party: str) -> MemberTerms:
        """Return the member of that id; MalformedError if the agreement has none."""
        return self.members[self.rank(party) - 1]

    def rank(self, party: str) -> int:
        """Return the 1-based rank of a member, the x of its Shamir shares; MalformedError if the agreement has no such member."""
        try:
            return self._ranks[party]
        except KeyError:
            raise MalformedError(f"party {party!r}: wanted a member of the agreement on study {self.study}") from None

    def keys(self) -> dict[str, VerifyKey]:
        """Return each member's identity key by party id."""
        return dict(self._keys)


def required_threshold(members: int, colluders: int, *, gateway_may_lie: bool) -> int:
    """Return t: how many of n members must sign a list and hold shares (protocol.md, Thresholds).

    Against a lying gateway t = max(⌊2n/3⌋ + 1, ⌊(n + c)/2⌋ + 1), so 2t > n + c; honest-but-curious: t > max(n/2, c).
    """
    if gateway_may_lie:
        return max(2 * members // 3 + 1, (members + colluders) // 2 + 1)
    return max(members // 2, colluders) + 1


def graph_of(members: int, colluders: int, threshold: int, *, among: int | None = None) -> GraphTerms | None:
    """Return the neighbour graph of a study of n members of which c conspire; None where all deal with each other.

    As many dropouts are reckoned with as a round survives at all: n - t. `among` is how many of the members a segment has, if not all.
    """
    count = members if among is None else among
    planned = plan(count, min(colluders, count - 1), min(members - threshold, count - 1))
    if planned is None:
        return None
    return GraphTerms(degree=planned.degree, threshold=planned.threshold, near=planned.near, cut=planned.cut)
