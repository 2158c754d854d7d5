"""Vectors over Z_{2^w}: unsigned numpy arrays that wrap around, little-endian on the wire, w bits a coordinate.

>>> from_bytes(to_bytes(zeros(3, 32)), 3, 32).tolist()
[0, 0, 0]
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from parley_crypto.errors import MalformedError

_NORM_BLOCK: Final = 1 << 14  # products below 2^32: this many sum exactly in 64 bits, and stay in the processor's cache
RingVector = NDArray[np.unsignedinteger[Any]]
_DTYPES: Final[dict[int, np.dtype[np.unsignedinteger[Any]]]] = {16: np.dtype("<u2"), 32: np.dtype("<u4"), 64: np.dtype("<u8")}


def dtype_of(width: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the little-endian unsigned dtype of `width` bits; MalformedError unless 16, 32 or 64."""
    try:
        return _DTYPES[width]
    except KeyError:
        raise MalformedError(f"ring width: wanted 16, 32 or 64 bits, got {width}") from None


def zeros(length: int, width: int) -> RingVector:
    """Return the zero vector of `length` coordinates."""
    return np.zeros(length, dtype=dtype_of(width))


def to_bytes(vector: RingVector) -> bytes:
    """Return the vector's wire bytes: length · w / 8 of them."""
    return vector.astype(vector.dtype.newbyteorder("<"), copy=False).tobytes()


def from_bytes(raw: bytes | bytearray | memoryview, length: int, width: int) -> RingVector:
    """Return a writable copy of wire bytes as a vector; MalformedError if they are not exactly `length` coordinates."""
    dtype = dtype_of(width)
    if len(raw) != length * dtype.itemsize:
        raise MalformedError(f"ring vector: wanted {length * dtype.itemsize} bytes for {length} coordinates, got {len(raw)}")
    return np.frombuffer(raw, dtype=dtype).copy()


def add_into(total: RingVector, vector: RingVector) -> None:
    """Add `vector` to `total` in place, modulo 2^w; both must have one shape and width."""
    if total.shape != vector.shape or total.dtype != vector.dtype:
        raise MalformedError(f"ring sum: wanted {total.shape} of {total.dtype}, got {vector.shape} of {vector.dtype}")
    np.add(total, vector, out=total)


def squared_norm(vector: RingVector) -> int:
    """Return Σ x_j² of the coordinates as signed numbers, exactly: by pieces of 16 bits, the topmost signed."""
    count = vector.dtype.itemsize // 2
    total = 0
    for start in range(0, vector.size, _NORM_BLOCK):
        raw = np.ascontiguousarray(vector[start : start + _NORM_BLOCK], dtype=dtype_of(16 * count))
        low, top = raw.view("<u2").reshape(-1, count), raw.view("<i2").reshape(-1, count)
        pieces = [(top if index == count - 1 else low)[:, index].astype(np.int64) for index in range(count)]
        for i, left in enumerate(pieces):
            total += int(np.dot(left, left)) << (32 * i)
            total += sum(int(np.dot(left, right)) << (16 * (i + j) + 1) for j, right in enumerate(pieces[i + 1 :], i + 1))
    return total
