"""What travels in a round besides statements: a party's posts, and what the gateway passes on.

Posts carry a party's statement in its envelope, or where both sides know what is signed, the signature alone. Relays carry other people's
statements as columns (`columns`): the reader rebuilds each statement from what all have in common and its own part, and verifies its
signature, so nothing is read that was not signed. A relay itself is worth nothing. A message on the wire is `{"kind", "study", "body"}`;
`codec` maps a kind to its class.
"""

from __future__ import annotations

from parley_crypto.statement import Document
from parley_policies.negotiation.terms import Count, PartyId, Positive, SegmentName

from parley_protocol.ids import Base64, Column, EnvelopeText, Hex32, Reason

# What a party posts.


class Post(Document):
    """A party's statement in its envelope."""

    statement: EnvelopeText


class SharePost(Post):
    """SHARE: the statement's Merkle tree as hashes, and the boxes, which the keys of ADVERTISE authenticate.

    `hashes` holds for each recipient in id order (the author included) the hash of each secret's share; `seeds` the hash of each self-mask
    seed; `boxes` a box for each recipient in id order but the author.
    """

    hashes: Column
    seeds: Column
    boxes: tuple[Base64, ...]


class ConfirmPost(Document):
    """CONFIRM: a signature on the proposed survivor list, whose bytes both sides have."""

    agreement: Hex32
    round: Positive
    listed: Hex32  # the list's digest
    signature: Base64


class ReleasePost(Document):
    """RELEASE: the signature on the statement that both sides can write down."""

    agreement: Hex32
    round: Positive
    signature: Base64


# What the gateway relays.


class LogProof(Document):
    """A checkpoint, its consistency with the one that the party saw last, and where a leaf that the party holds stands in it.

    The leaf is the newest certificate with its signatures as the gateway sent it, or before the first one the agreement.
    """

    checkpoint: str
    old_size: Count
    consistency: tuple[Hex32, ...]
    index: Count
    inclusion: tuple[Hex32, ...]


class RoundRelay(Document):
    """What every relay of a round names."""

    agreement: Hex32
    round: Positive


class RoundOpen(RoundRelay):
    """The gateway opens a round; the party knows its base version itself."""

    step: Count
    previous: Hex32
    log: LogProof


class Keys(RoundRelay):
    """Who advertised; of those that the reader deals with (itself included) keys and signatures, of the others the statements' digests."""

    parties: tuple[PartyId, ...]
    channel_keys: Column
    mask_keys: Column
    signatures: Column
    others: Column


class Boxes(RoundRelay):
    """Who sent boxes; of those that the reader holds shares of (without itself) root and signature of SHARE, its box, the leaf's path."""

    parties: tuple[PartyId, ...]
    roots: Column
    signatures: Column
    boxes: tuple[Base64, ...]
    paths: tuple[Column, ...]


class ListProposal(RoundRelay):
    """The survivor list to confirm: who is on it, what it opens, and of each manifest the body's digest and the signature."""

    survivors: tuple[PartyId, ...]
    openable: tuple[SegmentName, ...]
    bodies: Column
    signatures: Column


class Certified(RoundRelay):
    """The certificate: at least t signatures on the proposed list, as they stand in the log."""

    signers: tuple[PartyId, ...]
    signatures: Column


class SumOpened(RoundRelay):
    """The sums are open. Small ones (`limits.INLINE_BYTES`) come along, others are fetched; either way their digests are in `opened`."""

    certificate: EnvelopeText  # empty for a member that was sent it before and can have kept it; who has not asks for the history
    opened: EnvelopeText
    sums: Base64  # the opened segments' bytes, one after the other; empty where they must be fetched


class RoundAborted(RoundRelay):
    """The gateway gave the round up before any box was handed out."""

    reason: Reason


class ReleaseAsked(RoundRelay):
    """The round cannot be finished: the gateway asks every member to destroy its shares of it and to say so (RELEASE)."""

    reason: Reason


class Released(RoundRelay):
    """The proof that nobody can open the round: enough members' RELEASE statements, in id order."""

    parties: tuple[PartyId, ...]
    signatures: Column
