"""What SHARE binds its author to: a Merkle tree over the hashes of every share it dealt and of its self-mask seeds.

The tree (RFC 6962) has a leaf for each recipient in id order, the author included, and a last leaf for the seeds. Its root stands in the
signed statement. Each recipient gets the path to its own leaf and so knows that its shares are the ones that the gateway can check when
they are revealed: a wrong one names its culprit. A share and a seed have 256 bits of entropy, so their hashes need no salt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from parley_crypto.errors import CryptoError
from parley_crypto.merkle import Tree, leaf_hash, verify_inclusion
from parley_crypto.tags import Tag, bind

from parley_protocol.errors import RemoteProtocolError

HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ShareContext:
    """Whose secrets these are, and of which round."""

    agreement: str
    round: int
    owner: str

    def share_hash(self, recipient: str, secret: str, share: bytes) -> bytes:
        """Return the hash of one share, 32 bytes; `secret` is `mask` or `self/<segment>`."""
        return hashlib.sha256(bind(Tag.SHARE_HASH, self.agreement, self.round, self.owner, recipient, secret, share)).digest()

    def seed_hash(self, segment: str, seed: bytes) -> bytes:
        """Return the hash of one self-mask seed, 32 bytes."""
        return hashlib.sha256(bind(Tag.SEED_HASH, self.agreement, self.round, self.owner, segment, seed)).digest()


def recipient_leaf(hashes: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 leaf hash of one recipient's share hashes, in the order of the owner's secrets."""
    return leaf_hash(bind(Tag.SHARE_LEAF, *hashes))


def share_tree(rows: Sequence[Sequence[bytes]], seeds: Sequence[bytes]) -> Tree:
    """Return the tree over the share hashes of each recipient in id order, and over the seed hashes."""
    return Tree([*(recipient_leaf(row) for row in rows), seeds_leaf(seeds)])


def seeds_leaf(seeds: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 leaf hash of the owner's seed hashes, in the order of its secrets."""
    return leaf_hash(bind(Tag.SEED_LEAF, *seeds))


def path_length(index: int, size: int) -> int:
    """Return how many hashes the inclusion proof of leaf `index` in a tree of `size` leaves has (RFC 9162, section 2.1.3.1)."""
    if size == 1:
        return 0
    half = 1 << ((size - 1).bit_length() - 1)
    return 1 + (path_length(index, half) if index < half else path_length(index - half, size - half))


def check_dealt(root: bytes, hashes: Sequence[bytes], index: int, size: int, path: Sequence[bytes], owner: str) -> None:
    """Return if a recipient's shares are the ones that `owner` signed; RemoteProtocolError names the owner otherwise."""
    try:
        verify_inclusion(recipient_leaf(hashes), index, size, path, root)
    except CryptoError as error:
        raise RemoteProtocolError(f"box of {owner}: its shares are not the ones it signed") from error


def check_seeds_dealt(root: bytes, seeds: Sequence[bytes], size: int, path: Sequence[bytes], owner: str) -> None:
    """Return if these are the seed hashes that `owner` signed, the last of `size` leaves; RemoteProtocolError names the owner otherwise."""
    try:
        verify_inclusion(seeds_leaf(seeds), size - 1, size, path, root)
    except CryptoError as error:
        raise RemoteProtocolError(f"seed hashes of {owner}: not the ones it signed") from error
