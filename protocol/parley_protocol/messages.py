"""Messages of a round.

Statements are what a party (or the gateway) signs; each names the agreement digest, the round and the base version digest (invariant 5).
Relays are what the gateway passes on: they carry other people's statements as envelopes and are themselves worth nothing. A message on the
wire is `{"kind", "study", "body"}`; `codec` maps a kind to its class.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from parley_crypto.statement import Document, Statement
from parley_policies.negotiation.terms import Count, PartyId, Positive, SegmentName, StudyId
from pydantic import Field

from parley_protocol.ids import Base64, EnvelopeText, Hex32

ShareHex = Annotated[str, Field(pattern=r"^[0-9a-f]{66}$")]  # a field element above 2^256: 33 bytes
Reason = Annotated[str, Field(max_length=2_000)]


class RoundStatement(Statement):
    """What every statement of a round is bound to."""

    study: StudyId
    agreement: Hex32
    round: Positive
    base: Hex32


class Advertise(RoundStatement):
    """ADVERTISE: one party's fresh keys of this round."""

    kind: ClassVar[str] = "application/vnd.parley.advertise.v1+json"

    party: PartyId
    step: Count  # index into the agreement's steps
    parameters: Hex32  # digest of the public state itself: equal parameters of two versions are recognised (invariant 8)
    channel_key: Hex32  # X25519, for boxes
    mask_key: Hex32  # X25519, for pairwise masks


class Share(RoundStatement):
    """SHARE: hashes of the self-mask seeds and of every share that went into the boxes beside it."""

    kind: ClassVar[str] = "application/vnd.parley.share.v1+json"

    party: PartyId
    keys: Hex32  # digest of the set of ADVERTISE statements it answers: a gateway that shows different sets is seen
    seed_hashes: dict[SegmentName, Hex32]
    share_hashes: dict[PartyId, tuple[Hex32, ...]]  # per recipient: mask-key share, then a self-mask share per segment in order


class Manifest(RoundStatement):
    """COLLECT: what a party uploaded, and whose boxes it used."""

    kind: ClassVar[str] = "application/vnd.parley.manifest.v1+json"

    party: PartyId
    boxes_from: tuple[PartyId, ...]
    segments: tuple[SegmentName, ...]  # the body is these segments' ring bytes, one after the other
    size: Count  # bytes; 0 for a member none of whose segments is in the round: it signs and reveals like the others
    body: Hex32  # BLAKE3 of the body


class Survivor(Document):
    """One member of a survivor list and the digest of its manifest."""

    party: PartyId
    manifest: Hex32


class SurvivorList(RoundStatement):
    """CONFIRM: the list whose sums are opened. With t signatures it is the round's certificate; its digest is the certificate's."""

    kind: ClassVar[str] = "application/vnd.parley.certificate.v1+json"

    step: Count
    parameters: Hex32
    previous: Hex32  # the certificate before it, or for the first one the agreement digest
    boxes_from: tuple[PartyId, ...]
    survivors: tuple[Survivor, ...]  # in id order
    openable: tuple[SegmentName, ...]  # in the step's order

    @property
    def parties(self) -> frozenset[str]:
        """The ids of the survivors."""
        return frozenset(survivor.party for survivor in self.survivors)


class Reveal(RoundStatement):
    """REVEAL: for survivors shares of self-mask seeds of the openable segments, for dropouts a share of the mask key; never both."""

    kind: ClassVar[str] = "application/vnd.parley.reveal.v1+json"

    party: PartyId
    certificate: Hex32
    seeds: dict[SegmentName, dict[PartyId, ShareHex]]
    mask_keys: dict[PartyId, ShareHex]


class OpenedSegment(Document):
    """One opened sum, by its digest."""

    name: SegmentName
    length: Positive
    parties: Positive  # how many were summed
    body: Hex32  # BLAKE3 of the ring bytes, little-endian


class Opened(RoundStatement):
    """The gateway's statement of what a certificate opened."""

    kind: ClassVar[str] = "application/vnd.parley.opened.v1+json"

    certificate: Hex32
    segments: tuple[OpenedSegment, ...]


class Withdrawn(RoundStatement):
    """A party's signed word that it takes no further part in this round, and why."""

    kind: ClassVar[str] = "application/vnd.parley.withdrawn.v1+json"

    party: PartyId
    reason: Reason


# What a party posts.


class Post(Document):
    """A party's statement in its envelope."""

    statement: EnvelopeText


class SharePost(Post):
    """SHARE with its boxes, which are authenticated by the keys of ADVERTISE."""

    boxes: dict[PartyId, Base64]


# What the gateway relays.


class LogProof(Document):
    """A checkpoint, its consistency with the one that the party saw last, and where the certificate before this round stands in it."""

    checkpoint: str
    old_size: Count
    consistency: tuple[Hex32, ...]
    leaf: EnvelopeText  # the newest certificate with its signatures, or for the first round the agreement
    index: Count
    inclusion: tuple[Hex32, ...]


class RoundOpen(Document):
    """The gateway opens a round; the party knows its base version itself."""

    agreement: Hex32
    round: Positive
    step: Count
    previous: Hex32
    log: LogProof


class Keys(Document):
    """All ADVERTISE statements of the round."""

    agreement: Hex32
    round: Positive
    adverts: tuple[EnvelopeText, ...]


class Boxes(Document):
    """All SHARE statements, and the boxes addressed to this party."""

    agreement: Hex32
    round: Positive
    shares: tuple[EnvelopeText, ...]
    boxes: dict[PartyId, Base64]


class ListProposal(Document):
    """The survivor list to confirm, as canonical JSON text, and the manifests it names."""

    agreement: Hex32
    round: Positive
    payload: EnvelopeText
    manifests: tuple[EnvelopeText, ...]


class Certified(Document):
    """The certificate: a survivor list with at least t signatures."""

    agreement: Hex32
    round: Positive
    certificate: EnvelopeText


class SumOpened(Document):
    """The sums are open. Small ones (`limits.INLINE_BYTES`) come along, others are fetched; either way their digests are in `opened`."""

    agreement: Hex32
    round: Positive
    certificate: EnvelopeText
    opened: EnvelopeText
    sums: Base64  # the opened segments' ring bytes, one after the other; empty where they must be fetched


class RoundAborted(Document):
    """The gateway gave the round up before any box was handed out."""

    agreement: Hex32
    round: Positive
    reason: Reason
