"""The masked scheme's vector side (Bonawitz et al. 2017, section 4): x + PRG(self) ± PRG(pair), and its removal from a sum.

A member adds the mask of its own self-mask seed, adds the pair masks towards members of higher id and subtracts those towards lower ids:
over a full cohort pair masks cancel. Opening removes the survivors' self masks, and for each dropout the pair masks that survivors had
with it. Keys are derived here, so that party and gateway cannot disagree about a context.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley_crypto import keystream, ring
from parley_crypto.derive import derive
from parley_crypto.keys import AgreementKey
from parley_crypto.ring import RingVector
from parley_crypto.tags import Tag


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
        keystream.add_mask(vector, self.self_key)
        for key in self.added:
            keystream.add_mask(vector, key)
        for key in self.subtracted:
            keystream.subtract_mask(vector, key)


class MaskedOpening:
    """The running sum of one segment, and the removal of its masks."""

    def __init__(self, context: Context, length: int, width: int) -> None:
        self._context = context
        self._total = ring.zeros(length, width)

    def combine(self, sealed: RingVector) -> None:
        """Add one survivor's sealed vector."""
        ring.add_into(self._total, sealed)

    def remove_self(self, party: str, seed: bytes) -> None:
        """Take a survivor's self mask off."""
        keystream.subtract_mask(self._total, self._context.self_key(seed, party))

    def remove_dropout(self, dropout: str, mask_key: AgreementKey, survivors: dict[str, bytes]) -> None:
        """Take off the pair masks that `survivors` (id -> X25519 mask key) had with a dropout whose mask key was rebuilt."""
        for survivor, theirs in survivors.items():
            key = self._context.pair_key(mask_key, theirs, dropout, survivor)
            if dropout > survivor:
                keystream.subtract_mask(self._total, key)
            else:
                keystream.add_mask(self._total, key)

    def open(self) -> RingVector:
        """Return the plain sum."""
        return self._total
