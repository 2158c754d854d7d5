"""Random draws that are the same on every platform and with every version of every library.

A seed of 32 bytes and a label are expanded by SHAKE-256 (FIPS 202) into 64-bit integers; everything else is integer and IEEE 754
arithmetic on those. Used for first parameters, on which all parties must agree to the bit, and for the order of rows in training.
It is not used for masks or noise: those need a source of their own (parley_crypto).

    >>> bool((uniform(bytes(32), "a", 3) < 1).all())
    True
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt
from parley_crypto.tags import Tag, bind

from parley_learning.arrays import Float64s
from parley_learning.errors import VectorError

SEED_BYTES: Final = 32
_MANTISSA_BITS: Final = 53


def integers(seed: bytes, label: str, count: int) -> npt.NDArray[np.uint64]:
    """Return `count` uniform 64-bit integers drawn from a 32-byte seed for one purpose, the label."""
    if len(seed) != SEED_BYTES:
        raise VectorError(f"seed for {label}: wanted {SEED_BYTES} bytes, got {len(seed)}")
    raw = hashlib.shake_256(bind(Tag.DRAWS, seed, label)).digest(8 * count)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64)


def uniform(seed: bytes, label: str, count: int) -> Float64s:
    """Return `count` draws in [0, 1), multiples of 2^-53."""
    return (integers(seed, label, count) >> np.uint64(64 - _MANTISSA_BITS)).astype(np.float64) * 2.0**-_MANTISSA_BITS


def permutation(seed: bytes, label: str, count: int) -> npt.NDArray[np.int64]:
    """Return 0 … count-1 in a random order: the order of `count` 64-bit draws (ties, of chance 2^-64 a pair, keep their order)."""
    return np.argsort(integers(seed, label, count), kind="stable").astype(np.int64)
