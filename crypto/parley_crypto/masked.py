"""The masked scheme's vector side (Bonawitz et al. 2017, section 4): x + PRG(self) ± PRG(pair), and its removal from a sum.

A member adds the mask of its own self-mask seed, adds the pair masks towards members of higher id and subtracts those towards lower ids:
over a full cohort pair masks cancel. Opening removes the survivors' self masks, and for each dropout the pair masks that survivors had
with it. Keys are derived here, so that party and gateway cannot disagree about a context.

The tags of a segment (`sumproof`) are masked under the same keys, by the keystream beside the vector's. For a gateway that must not read
the sum, each member adds a pad from the members' key before it seals, and members take all survivors' pads off what was opened; tags need
none, for their offsets are one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parley_crypto import keystream, ring, sumproof
from parley_crypto.derive import derive, segment_key
from parley_crypto.errors import MalformedError
from parley_crypto.keys import AgreementKey
from parley_crypto.ring import RingVector
from parley_crypto.tags import Tag
from parley_crypto.tagsize import TAGS


@dataclass(frozen=True, slots=True)
class Context:
    """What every mask of one segment in one round is bound to (invariant 5)."""

    agreement: str
    round: int
    base: str
    segment: str

    def self_key(self, seed: bytes, party: str) -> bytes:
        """Return the keystream key of a party's self mask from its 32-byte seed."""
        return derive(seed, Tag.MASK_SELF, self.agreement, self.round, self.base, self.segment, party)

    def pair_key(self, mine: AgreementKey, theirs: bytes, me: str, peer: str) -> bytes:
        """Return the keystream key of the mask between two parties; the same from either side."""
        low, high = sorted((me, peer))
        return derive(mine.exchange(theirs), Tag.MASK_PAIR, self.agreement, self.round, self.base, self.segment, low, high)

    def proof_key(self, members_key: bytes) -> bytes:
        """Return the key of the segment's tags from the members' key (invariant 13)."""
        return segment_key(members_key, Tag.SUM_PROOF, self.agreement, self.round, self.base, self.segment)

    def pad_key(self, members_key: bytes, party: str) -> bytes:
        """Return the keystream key of a member's pad from the members' key."""
        return segment_key(members_key, Tag.PAD, self.agreement, self.round, self.base, self.segment, party)


def add_pad(vector: RingVector, key: bytes) -> None:
    """Add the pad of `key` (`Context.pad_key`) to an encoded vector in place, before it is sealed."""
    keystream.add_mask(vector, key)


def remove_pads(total: RingVector, keys: Iterable[bytes]) -> None:
    """Take the pads of all survivors' keys off an opened sum, in place."""
    keystream.apply_masks(total, subtracted=keys)


@dataclass(frozen=True, slots=True, repr=False)
class MaskedSealing:
    """One member's masks for one segment."""

    self_key: bytes
    added: tuple[bytes, ...]  # pair keys towards members of higher id
    subtracted: tuple[bytes, ...]  # pair keys towards members of lower id

    @classmethod
    def prepare(cls, context: Context, *, me: str, self_seed: bytes, mask_key: AgreementKey, peers: dict[str, bytes]) -> MaskedSealing:
        """Derive the masks of `me` towards `peers` (id -> X25519 mask key; without itself)."""
        pair = {peer: context.pair_key(mask_key, theirs, me, peer) for peer, theirs in peers.items()}
        return cls(
            context.self_key(self_seed, me),
            tuple(key for peer, key in pair.items() if peer > me),
            tuple(key for peer, key in pair.items() if peer < me),
        )

    def seal(self, vector: RingVector) -> None:
        """Add all masks to `vector` in place."""
        keystream.apply_masks(vector, added=(self.self_key, *self.added), subtracted=self.subtracted)

    def seal_tags(self, tags: sumproof.Tags, bits: int) -> bytes:
        """Return the segment's tags with all masks added, as wire bytes: what follows the sealed vector."""
        sealed = _MaskedTags(bits, tags)
        sealed.add_mask(self.self_key)
        for key in self.added:
            sealed.add_mask(key)
        for key in self.subtracted:
            sealed.add_mask(key, sign=-1)
        return sumproof.to_bytes(sealed.values, bits)


class MaskedOpening:
    """The running sum of one segment, of its tags where it has them, and the removal of their masks: all at once, when it is opened."""

    def __init__(self, context: Context, length: int, width: int, *, tag_bits: int | None = None) -> None:
        self._context = context
        self._total = ring.zeros(length, width)
        self._to_add: list[bytes] = []
        self._to_subtract: list[bytes] = []
        self._tags = None if tag_bits is None else _MaskedTags(tag_bits)

    def combine(self, sealed: RingVector) -> None:
        """Add one survivor's sealed vector."""
        ring.add_into(self._total, sealed)

    def combine_tags(self, raw: bytes | memoryview) -> None:
        """Add one survivor's sealed tags."""
        tags = self._required_tags()
        tags.add(sumproof.from_bytes(raw, tags.bits))

    def remove_self(self, party: str, seed: bytes) -> None:
        """Have a survivor's self mask taken off."""
        self._remove(self._context.self_key(seed, party), sign=1)

    def remove_dropout(self, dropout: str, mask_key: AgreementKey, survivors: dict[str, bytes]) -> None:
        """Have the pair masks taken off that `survivors` (id -> X25519 mask key) had with a dropout whose mask key was rebuilt."""
        for survivor, theirs in survivors.items():
            # the survivor of lower id added this mask, the one of higher id subtracted it
            self._remove(self._context.pair_key(mask_key, theirs, dropout, survivor), sign=1 if dropout > survivor else -1)

    def _remove(self, key: bytes, *, sign: int) -> None:
        (self._to_subtract if sign > 0 else self._to_add).append(key)
        if self._tags is not None:
            self._tags.add_mask(key, sign=-sign)

    def open(self) -> RingVector:
        """Return the plain sum."""
        keystream.apply_masks(self._total, added=self._to_add, subtracted=self._to_subtract)
        self._to_add.clear()
        self._to_subtract.clear()
        return self._total

    def open_tags(self) -> sumproof.Tags:
        """Return the two plain tags of the sum: they still carry the survivors' offsets, which only members can take off."""
        return self._required_tags().values

    def _required_tags(self) -> _MaskedTags:
        if self._tags is None:
            raise MalformedError(f"tags of {self._context.segment}: wanted an opening made with tag_bits, got one without tags")
        return self._tags


class _MaskedTags:
    """Two tags modulo 2^bits, to which masks are added."""

    __slots__ = ("bits", "values")

    def __init__(self, bits: int, values: sumproof.Tags = (0, 0)) -> None:
        self.bits = bits
        self.values = values

    def add(self, tags: sumproof.Tags, *, sign: int = 1) -> None:
        modulus = 1 << self.bits
        first, second = self.values
        self.values = (first + sign * tags[0]) % modulus, (second + sign * tags[1]) % modulus

    def add_mask(self, key: bytes, *, sign: int = 1) -> None:
        self.add(sumproof.from_bytes(keystream.beside(key, TAGS * self.bits // 8), self.bits), sign=sign)
