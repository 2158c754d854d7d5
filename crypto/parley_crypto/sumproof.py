"""A proof that an opened sum is the sum of what the listed members sealed (protocol.md, invariant 13).

Beside its vector x each member seals two tags, over Z_2^m with m = 64 for ring widths up to 32, and m = 128 for 64:

    T_1 = o_1 + Σ_j r_j · x_j        T_2 = o_2 + Σ_j r_(j+1) · x_j        x_j as a signed number

The words r_0 … r_d are the keystream of a segment key that only members hold; the offsets o_1, o_2 are drawn from the same key for each
member. Tags are masked and summed as coordinates are. Whoever holds the key takes the listed members' offsets off the opened tags and
compares: a gateway that alters the sum, the tags, or both, or that hands out the sum of another list, is found out.

Soundness, for a gateway without the key (an affine authenticator after Wegman and Carter 1981; over a ring of powers of two as in SPDZ2k,
Cramer et al. 2018; the second tag shifted by one word as in UMAC's Toeplitz extension, Black et al. 1999):

1. The offsets are a one-time pad on the opened tags, so the gateway has seen nothing that depends on r. They are necessary: without them
   c · sum and c · tags would pass for every constant c, also for 0 and -1.
2. Let d ≠ 0 be the difference between the sum that it hands out and the true one. It passes if it adds Σ r_j·d_j and Σ r_(j+1)·d_j to the
   tags. Let 2^v be the largest power of two that divides all d_j, and d = 2^v · e. As |d_j| < 2^w, v is at most w - 1.
3. Take the last j with e_j odd. Both tags are affine in (r_j, r_(j+1)) with determinant e_j² - e_(j+1)·e_(j-1): odd, for e_j is odd and
   e_(j+1) is even. Whatever the other words are, the two differences divided by 2^v are uniform over pairs modulo 2^(m-v).
4. So a forgery passes with probability at most 2^-2(m-w+1): 2^-98 for w = 16, 2^-66 for w = 32, 2^-130 for w = 64.

The sum must not wrap: headroom is checked before sealing (`fixedpoint`). Against a member that helps the gateway this proves nothing.

    >>> import numpy as np
    >>> x, key = np.array([3, 2**32 - 5], dtype="<u4"), bytes(32)
    >>> check(x, tags(x, key, "a"), key, ["a"])
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley_crypto import keystream
from parley_crypto.derive import derive
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.ring import RingVector, dtype_of
from parley_crypto.tags import Tag
from parley_crypto.tagsize import TAGS, WIDE, tag_bits

Tags = tuple[int, int]
_Words = NDArray[np.integer[Any]]


def to_bytes(pair: Tags, bits: int) -> bytes:
    """Return the wire bytes of two tags of `bits` bits."""
    return b"".join(tag.to_bytes(bits // 8, "little") for tag in pair)


def from_bytes(raw: bytes | memoryview, bits: int) -> Tags:
    """Parse the wire bytes of two tags; MalformedError unless they are exactly 2 · bits / 8 bytes."""
    size = bits // 8
    if len(raw) != TAGS * size:
        raise MalformedError(f"tags: wanted {TAGS * size} bytes for {TAGS} tags of {bits} bits, got {len(raw)}")
    return int.from_bytes(raw[:size], "little"), int.from_bytes(raw[size:], "little")


def tags(vector: RingVector, key: bytes, party: str) -> Tags:
    """Return a member's two tags of its encoded vector, shape (d,), under the 32-byte key of this segment in this round."""
    bits = tag_bits(8 * vector.dtype.itemsize)
    first, second = _products(vector, key)
    offsets = _offsets(key, party, bits)
    return (first + offsets[0]) % (1 << bits), (second + offsets[1]) % (1 << bits)


def check(total: RingVector, opened: Tags, key: bytes, parties: Collection[str]) -> None:
    """Return if `opened` are the summed tags of `total`, shape (d,), over exactly these members; VerificationError otherwise."""
    bits = tag_bits(8 * total.dtype.itemsize)
    expected = list(_products(total, key))
    for party in parties:
        for index, offset in enumerate(_offsets(key, party, bits)):
            expected[index] += offset
    if any((want - got) % (1 << bits) for want, got in zip(expected, opened, strict=True)):
        raise VerificationError(
            f"opened sum: its tags do not prove it the sum of what {len(parties)} members sealed; it was altered, or is of another list: "
            "the study halts, and the sum has to be recomputed from the signed uploads"
        )


def _offsets(key: bytes, party: str, bits: int) -> Tags:
    return from_bytes(derive(key, Tag.SUM_PROOF_OFFSET, party, length=TAGS * bits // 8), bits)


def _products(vector: RingVector, key: bytes) -> Tags:
    """Return Σ r_j·x_j and Σ r_(j+1)·x_j, not reduced. Written over the words: word k meets x_k and x_(k-1)."""
    width = 8 * vector.dtype.itemsize
    if vector.dtype != dtype_of(width):
        raise MalformedError(f"tags: wanted a ring vector, got {vector.dtype}")
    signed = vector.view(np.dtype(f"<i{width // 8}"))
    word = tag_bits(width) // 8
    most = min(keystream.BLOCK_BYTES // word, vector.size + 1)
    lifted = np.zeros(most + 1, dtype=np.int64)  # x_(start-1), then the coordinates of the block; past the end they are zero
    products = _Products(most)
    for block, raw in enumerate(keystream.stream(key, (vector.size + 1) * word)):
        start, count = block * most, len(raw) // word
        lifted[0] = signed[start - 1] if start else 0
        part = signed[start : start + count]
        lifted[1 : 1 + part.size] = part
        lifted[1 + part.size :] = 0
        if width == WIDE:
            products.add_wide(np.frombuffer(raw, dtype="<u4").reshape(count, 4), lifted[: count + 1])
        else:
            products.add(np.frombuffer(raw, dtype="<i8"), lifted[: count + 1])
    return products.first, products.second


class _Products:
    """Two running sums of products, and the buffer that the products of a block pass through."""

    def __init__(self, most: int) -> None:
        self.first = self.second = 0
        self._buffer = np.empty(most, dtype=np.int64)

    def add(self, words: _Words, lifted: _Words) -> None:
        """Add a block modulo 2^64: words, shape (n,), against coordinates, shape (n + 1,), from one place earlier."""
        self.first += self._dot(words, lifted[1:])
        self.second += self._dot(words, lifted[:-1])

    def add_wide(self, words: _Words, lifted: _Words) -> None:
        """Add a block modulo 2^128: words as four 32-bit limbs, shape (n, 4).

        The upper 64 bits of a word matter only modulo 2^64. A lower limb meets the coordinate in four 16-bit pieces, the topmost signed:
        products below 2^48, of which a block of 2^14 sums exactly.
        """
        upper = words.reshape(-1).view("<i8")[1::2]
        self.first += self._dot(upper, lifted[1:]) << 64
        self.second += self._dot(upper, lifted[:-1]) << 64
        pieces = lifted.view("<u2").reshape(-1, 4)
        for limb in range(2):
            lower = words[:, limb].astype(np.int64)
            for piece in range(4):
                part = (pieces if piece < 3 else pieces.view("<i2"))[:, piece].astype(np.int64)  # noqa: PLR2004 (the topmost)
                self.first += self._dot(lower, part[1:]) << (32 * limb + 16 * piece)
                self.second += self._dot(lower, part[:-1]) << (32 * limb + 16 * piece)

    def _dot(self, left: _Words, right: _Words) -> int:
        # faster than numpy's own dot of integers, which is not vectorised; both wrap around
        product = np.multiply(left, right, out=self._buffer[: left.size])
        return int(np.add.reduce(product))
