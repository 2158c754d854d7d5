"""Merkle trees and their proofs, after RFC 6962 and RFC 9162 (section 2.1), with SHA-256.

A leaf is hashed with 0x00 before it, an inner node with 0x01, so that neither can pass for the other. `Frontier` only appends and gives
roots, in O(log n) memory: enough to re-derive a log. `Tree` keeps the hashes of all complete subtrees (64 bytes a leaf) and makes
inclusion and consistency proofs for any size it has had, in O(log² n). Both take leaf *hashes*; they store no leaf and do no IO.

`verify_inclusion` and `verify_consistency` raise VerificationError. A consistency proof from the empty tree says nothing and is refused;
two empty trees are consistent only if both roots are the hash of nothing.

    >>> tree = Tree([leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"c")])
    >>> verify_inclusion(leaf_hash(b"b"), 1, 3, tree.inclusion_proof(1), tree.root())
    >>> verify_consistency(2, 3, tree.consistency_proof(2), tree.root(2), tree.root())
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from parley_crypto.errors import MalformedError, VerificationError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
MAX_SIZE: Final = 2**63
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def leaf_hash(leaf: bytes) -> bytes:
    """Return SHA-256(0x00 || leaf), 32 bytes (RFC 9162, section 2.1.1)."""
    return hashlib.sha256(_LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right), 32 bytes (RFC 9162, section 2.1.1)."""
    return hashlib.sha256(_NODE + left + right).digest()


class Frontier:
    """The right border of a tree: appends and gives the root, holding one hash per set bit of the size."""

    __slots__ = ("_peaks", "size")

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # roots of complete subtrees, from the largest to the smallest
        for leaf in leaf_hashes:
            self.append(leaf)

    def append(self, leaf: bytes) -> int:
        """Append a leaf hash and return its index."""
        _require_hash("leaf hash", leaf)
        index, node = self.size, leaf
        while index & 1:
            node = node_hash(self._peaks.pop(), node)
            index >>= 1
        self._peaks.append(node)
        self.size += 1
        return self.size - 1

    def root(self) -> bytes:
        """Return the root, 32 bytes; of the empty tree the hash of nothing."""
        return _folded(self._peaks)


class Tree:
    """A tree that makes proofs. Level h holds the roots of the complete subtrees of 2^h leaves, one after the other."""

    __slots__ = ("_levels",)

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._levels: list[bytearray] = [bytearray()]
        for leaf in leaf_hashes:
            self.append(leaf)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf: bytes) -> int:
        """Append a leaf hash and return its index; a complete subtree is hashed once and kept."""
        _require_hash("leaf hash", leaf)
        index, height, node = self.size, 0, leaf
        self._levels[0] += leaf
        position = index
        while position & 1:
            node = node_hash(self._node(height, position - 1), node)
            height, position = height + 1, position >> 1
            if height == len(self._levels):
                self._levels.append(bytearray())
            self._levels[height] += node
        return index

    def leaf(self, index: int) -> bytes:
        """Return the leaf hash at `index`."""
        _require_range("leaf index", index, 0, self.size - 1)
        return self._node(0, index)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` leaves (all by default)."""
        size = self._size(size)
        return self._subtree(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return PATH(index, D_size) of RFC 9162, section 2.1.3.1, from the leaf's sibling upward."""
        size = self._size(size)
        _require_range("leaf index", index, 0, size - 1)
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency_proof(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """Return PROOF(old, D_new) of RFC 9162, section 2.1.4.1; empty if both sizes are the same. `old` is at least 1."""
        new = self._size(new)
        _require_range("older tree size", old, 1, new)
        path: list[bytes] = []
        start, end = 0, new
        while old != end:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        if start > 0:  # the old tree does not end at this subtree's left edge from 0: its root is not known to the verifier
            path.append(self._subtree(start, end))
        return tuple(reversed(path))

    def _size(self, size: int | None) -> int:
        if size is None:
            return self.size
        _require_range("tree size", size, 0, self.size)
        return size

    def _node(self, height: int, position: int) -> bytes:
        return bytes(self._levels[height][position * HASH_BYTES : (position + 1) * HASH_BYTES])

    def _subtree(self, start: int, end: int) -> bytes:
        """Return the root over leaves start … end - 1, of which the complete subtrees are kept: O(log n) hashes."""
        peaks: list[bytes] = []
        while start < end:
            height = (end - start).bit_length() - 1
            peaks.append(self._node(height, start >> height))
            start += 1 << height
        return _folded(peaks)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash `leaf` stands at `index` of the tree of `size` leaves with `root` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size <= MAX_SIZE:
        raise VerificationError(f"inclusion proof: wanted 0 ≤ index < tree size, got index {index} of {size}")
    _require_hashes("inclusion proof", (leaf, root, *proof))
    fn, sn, node = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise VerificationError(f"inclusion proof of leaf {index} in {size}: got {len(proof)} hashes, which is too many")
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise VerificationError(f"inclusion proof of leaf {index} in {size}: got {len(proof)} hashes, which is too few")
    _require_root(f"inclusion proof of leaf {index} in {size}", root, node)


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old <= new <= MAX_SIZE:
        raise VerificationError(f"consistency proof: wanted older size ≤ newer size, got {old} and {new}")
    what = f"consistency proof from {old} to {new} leaves"
    if old == new:
        if proof:
            raise VerificationError(f"{what}: wanted no hash, got {len(proof)}")
        if old == 0:
            _require_root(what, old_root, EMPTY_ROOT)
        _require_root(what, new_root, old_root)
        return
    if old == 0:
        raise VerificationError(f"{what}: wanted an older tree with leaves; every tree begins with the empty one")
    if not proof:
        raise VerificationError(f"{what}: wanted hashes, got none")
    _require_hashes(what, (old_root, new_root, *proof))
    _walk_consistency(what, (old, new), proof, (old_root, new_root))


def _walk_consistency(what: str, sizes: tuple[int, int], proof: Sequence[bytes], roots: tuple[bytes, bytes]) -> None:
    old, new = sizes
    path = [roots[0], *proof] if old & (old - 1) == 0 else list(proof)  # an old tree of 2^h leaves is itself the first node
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise VerificationError(f"{what}: got {len(proof)} hashes, which is too many")
        if fn & 1 or fn == sn:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new_node = node_hash(new_node, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise VerificationError(f"{what}: got {len(proof)} hashes, which is too few")
    _require_root(what + ", older root", roots[0], old_node)
    _require_root(what + ", newer root", roots[1], new_node)


def _split(size: int) -> int:
    """Return the largest power of two below `size` (size ≥ 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def _folded(peaks: Sequence[bytes]) -> bytes:
    """Return the root over complete subtrees given from left to right, each smaller than the one before."""
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = node_hash(peak, node)
    return node


def _require_hash(what: str, node: bytes) -> None:
    if len(node) != HASH_BYTES:
        raise MalformedError(f"{what}: wanted {HASH_BYTES} bytes, got {len(node)}")


def _require_hashes(what: str, nodes: Iterable[bytes]) -> None:
    for node in nodes:
        if len(node) != HASH_BYTES:
            raise VerificationError(f"{what}: wanted hashes of {HASH_BYTES} bytes, got one of {len(node)}")


def _require_range(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise MalformedError(f"{what}: wanted {least} to {most}, got {value}")


def _require_root(what: str, wanted: bytes, got: bytes) -> None:
    if wanted != got:
        raise VerificationError(f"{what}: wanted root {wanted.hex()}, got {got.hex()}")
