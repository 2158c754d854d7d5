"""The members' key: 32 bytes that all members of an agreement share and nobody else knows, the gateway least of all.

Each member boxes its key part to every other (`keyparts` says how it is committed to and signed); the key is derived from all of them, so
that one honest member's part is enough to make it unguessable. One member that talks gives it away, and with it what it protects: the
proofs of sums against the gateway, and sums that only the parties read. Only a party's service may import this module: the gateway carries
the boxes and cannot open them.

Nothing here draws randomness: `OwnSecrets` is made of bytes that the caller drew and keeps sealed until it has the key.

    own = OwnSecrets.of(entropy)                                # 96 random bytes, at the offer
    part, boxes = make_key_part(terms, me, own)                 # at the acceptance
    keys = take_key_parts(terms, me, own, texts, boxes_to_me)   # once all have accepted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from parley_crypto.channel import open_box, seal_box
from parley_crypto.derive import derive
from parley_crypto.errors import CryptoError, MalformedError
from parley_crypto.keys import AgreementKey
from parley_crypto.tags import Tag
from parley_policies.negotiation.terms import Terms

from parley_protocol.errors import RemoteProtocolError
from parley_protocol.keyparts import (
    PART_BYTES,
    KeyPart,
    box_of,
    box_tree,
    check_key_part,
    commitment_to,
    graph_seed,
    hash_of_key_part,
    recipients,
    signed_key_part,
)
from parley_protocol.problems import Slug

SECRET_BYTES: Final = 3 * PART_BYTES
GATEWAY: Final = "the gateway"


class KeyPartError(RemoteProtocolError):
    """A key part or a box that a member cannot go on with. `culprit` is a member, or the gateway where it altered what was signed."""

    usual_problem = Slug.VERIFICATION_FAILED

    def __init__(self, culprit: str, message: str) -> None:
        super().__init__(f"members' key, fault of {culprit}: {message}")
        self.culprit: Final = culprit


@dataclass(frozen=True, repr=False)
class OwnSecrets:
    """What a party draws for one offer: the private half of its channel key, its seed part and its key part, 32 bytes each."""

    channel: bytes
    seed_part: bytes
    key_part: bytes

    @classmethod
    def of(cls, entropy: bytes) -> Self:
        """Return the secrets made of 96 random bytes; MalformedError for another number of them."""
        if len(entropy) != SECRET_BYTES:
            raise MalformedError(f"secrets of an offer: wanted {SECRET_BYTES} bytes, got {len(entropy)}")
        return cls(entropy[:PART_BYTES], entropy[PART_BYTES : 2 * PART_BYTES], entropy[2 * PART_BYTES :])

    def __repr__(self) -> str:
        return "OwnSecrets(redacted)"

    def dump(self) -> bytes:
        """Return the 96 bytes, for the store's sealed column alone."""
        return self.channel + self.seed_part + self.key_part

    @cached_property
    def _private(self) -> AgreementKey:
        return AgreementKey(self.channel)

    @property
    def channel_key(self) -> str:
        """The public half of the channel key, for the offer: 64 hexadecimal digits."""
        return self._private.public.hex()

    def commitment(self, proposal: str, party: str) -> str:
        """Return the commitment that stands in the offer of `party` on the proposal of that digest."""
        return commitment_to(proposal, party, self.seed_part, self.key_hash(proposal, party))

    def key_hash(self, proposal: str, party: str) -> str:
        """Return the hash that stands for the key part."""
        return hash_of_key_part(proposal, party, self.key_part)

    def seal(self, terms: Terms, me: str, recipient: str) -> bytes:
        """Return the key part in a box for `recipient`."""
        theirs = bytes.fromhex(terms.member(recipient).channel_key)
        return seal_box(self._private, theirs, self.key_part, Tag.KEY_BOX, terms.digest(), me, recipient)

    def open(self, terms: Terms, sender: str, me: str, box: bytes) -> bytes:
        """Return the key part in a box from `sender`; CryptoError if it does not open."""
        theirs = bytes.fromhex(terms.member(sender).channel_key)
        return open_box(self._private, theirs, box, Tag.KEY_BOX, terms.digest(), sender, me)


@dataclass(frozen=True, slots=True, repr=False)
class StudyKeys:
    """What the members of an agreement share: the members' key (32 bytes, secret) and the graph seed (32 bytes, known to all)."""

    members_key: bytes
    graph_seed: bytes

    def __repr__(self) -> str:
        return f"StudyKeys(graph_seed={self.graph_seed.hex()[:16]}…, members_key redacted)"


def make_key_part(terms: Terms, me: str, own: OwnSecrets) -> tuple[KeyPart, dict[str, bytes]]:
    """Return this member's key part, to be signed, and a box for each other member. The same arguments give the same bytes."""
    boxes = {recipient: own.seal(terms, me, recipient) for recipient in recipients(terms, me)}
    part = KeyPart(
        study=terms.study,
        agreement=terms.digest(),
        party=me,
        seed_part=own.seed_part.hex(),
        key_hash=own.key_hash(terms.proposal_digest, me),
        boxes=box_tree(terms, me, boxes).root().hex(),
    )
    return part, boxes


def take_key_parts(terms: Terms, me: str, own: OwnSecrets, texts: Sequence[str], boxes: Mapping[str, str]) -> StudyKeys:
    """Return what all members share; KeyPartError names whose fault it is if one key part or box is not right.

    `texts` are all members' signed key parts in id order, `boxes` by sender those for this member, as the gateway hands them on.
    """
    ids = tuple(member.party for member in terms.members)
    if len(texts) != len(ids) or set(boxes) != set(ids) - {me}:
        raise KeyPartError(GATEWAY, f"wanted {len(ids)} key parts and a box of each other member, got {len(texts)} and {len(boxes)} boxes")
    parts: dict[str, KeyPart] = {}
    opened = {me: own.key_part}
    for party, text in zip(ids, texts, strict=True):
        parts[party] = _read(terms, party, text)
    for party, text in boxes.items():
        opened[party] = _opened(terms, me, own, parts[party], text)
    digest = terms.digest()
    secret = derive(b"".join(opened[party] for party in ids), Tag.MEMBERS_KEY, digest)
    return StudyKeys(secret, graph_seed(terms, parts))


def _read(terms: Terms, party: str, text: str) -> KeyPart:
    try:
        _, part = signed_key_part(terms, party, text)
    except RemoteProtocolError as error:
        raise KeyPartError(GATEWAY, str(error)) from error
    if (part.study, part.agreement) != (terms.study, terms.digest()):  # genuine, and not meant for us: who passed it on is at fault
        raise KeyPartError(GATEWAY, f"key part of {party}: wanted one for agreement {terms.digest()}, got one for {part.agreement}")
    try:
        check_key_part(terms, part)
    except RemoteProtocolError as error:
        raise KeyPartError(party, str(error)) from error
    return part


def _opened(terms: Terms, me: str, own: OwnSecrets, part: KeyPart, text: str) -> bytes:
    try:
        box = box_of(terms, part, me, text)
    except RemoteProtocolError as error:
        raise KeyPartError(GATEWAY, str(error)) from error
    try:
        key_part = own.open(terms, part.party, me, box)
    except CryptoError as error:
        raise KeyPartError(part.party, str(error)) from error
    got = hash_of_key_part(terms.proposal_digest, part.party, key_part)
    if got != part.key_hash:
        raise KeyPartError(part.party, f"box for {me}: wanted the key part with hash {part.key_hash}, got one with {got}")
    return key_part
