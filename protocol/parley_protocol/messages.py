"""The statements of a round: what a party, or the gateway, signs.

Each names the agreement digest, the round and, but for RELEASE, the base version digest (invariant 5). How they travel is in `relays`.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from parley_crypto.statement import Document, Statement
from parley_policies.negotiation.terms import Count, PartyId, Positive, SegmentName, StudyId

from parley_protocol.ids import Column, Hex32, Reason


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
    """SHARE: binds its author to its self-mask seeds and to every share in the boxes beside it.

    `root` is the RFC 6962 root of a tree with a leaf for each recipient in id order (of the hashes of its shares) and a last leaf for the
    hashes of the seeds (`commitments`).
    """

    kind: ClassVar[str] = "application/vnd.parley.share.v1+json"

    party: PartyId
    keys: Hex32  # digest of the set of ADVERTISE statements it answers: a gateway that shows different sets is seen
    root: Hex32


class Manifest(RoundStatement):
    """COLLECT: what a party uploaded, and whose boxes it used."""

    kind: ClassVar[str] = "application/vnd.parley.manifest.v1+json"

    party: PartyId
    boxes: Hex32  # digest of the ids of all members whose boxes are in the round
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

    @cached_property
    def parties(self) -> frozenset[str]:
        """The ids of the survivors."""
        return frozenset(survivor.party for survivor in self.survivors)


class Reveal(RoundStatement):
    """REVEAL: for survivors shares of self-mask seeds of the openable segments, for dropouts a share of the mask key; never both.

    A column has a share for each owner, in id order, whose shares the author holds: the survivors that are members of the segment, or the
    dropouts.
    """

    kind: ClassVar[str] = "application/vnd.parley.reveal.v1+json"

    party: PartyId
    certificate: Hex32
    seeds: dict[SegmentName, Column]
    mask_keys: Column


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


class Release(Statement):
    """RELEASE: its author has sent no REVEAL for this round, never will, and has destroyed its shares of it (invariant 3)."""

    kind: ClassVar[str] = "application/vnd.parley.release.v1+json"

    study: StudyId
    agreement: Hex32
    round: Positive
    party: PartyId
