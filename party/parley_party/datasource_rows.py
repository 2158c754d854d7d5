"""Rows after reading: their order, the held-out ones, and the digest that freezes a dataset. Pure.

Files may be cut and ordered otherwise tomorrow and hold the same rows; so rows are put into an order that depends on their values alone,
by a 64-bit hash of each row, which also mixes them. Equal rows are interchangeable. The hash is no security: the digest is BLAKE3.

    >>> values = np.array([[1.0], [2.0], [3.0]])
    >>> order = order_of(values, np.zeros(3, dtype=bool))
    >>> digest_of(("age",), values[order], np.zeros(3, dtype=bool)) == digest_of(("age",), values, np.zeros(3, dtype=bool))
    False
"""

from __future__ import annotations

from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from parley_crypto.tags import Tag, bind

HASH_BITS: Final = 60  # of a unit's hash, as datasource computes it in SQL
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio
_MIX: Final = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def canonical(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `values` with one bit pattern each for zero and for missing (NaN)."""
    plain = values + 0.0  # -0.0 becomes 0.0
    plain[np.isnan(plain)] = np.nan
    return plain


def row_hashes(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return a 64-bit hash a row of float64[rows, columns], by the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    hashes = np.zeros(len(values), dtype=np.uint64)
    for column in canonical(values).T:
        hashes += np.ascontiguousarray(column).view(np.uint64) + _GOLDEN
        for shift, factor in _MIX:
            hashes = (hashes ^ (hashes >> np.uint64(shift))) * factor
        hashes ^= hashes >> np.uint64(31)
    return hashes


def held_out_share(unit_hashes: NDArray[np.uint64], bits: int, fraction: float) -> NDArray[np.bool_]:
    """Return which rows are held out: those whose unit's hash of `bits` bits lies in the lowest `fraction` of the hashes."""
    return unit_hashes.astype(np.float64) < fraction * 2.0**bits


def order_of(values: NDArray[np.float64], held_out: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the order of rows that depends on nothing but the rows and their marks."""
    return np.argsort(row_hashes(np.column_stack([held_out.astype(np.float64), values])), kind="stable")


def digest_of(columns: tuple[str, ...], values: NDArray[np.float64], held_out: NDArray[np.bool_]) -> str:
    """Return the BLAKE3 of a dataset in its order: names, number of rows, marks, then each column as little-endian float64."""
    hasher = blake3(bind(Tag.DATASET, len(values), *columns))
    hasher.update(np.ascontiguousarray(held_out, dtype="|b1").tobytes())
    for column in canonical(values).T:
        hasher.update(np.ascontiguousarray(column, dtype="<f8").tobytes())
    return hasher.hexdigest()


def digest_of_list(texts: list[str]) -> str:
    """Return the BLAKE3 of an exclusion list: its distinct entries in order."""
    hasher = blake3(bind(Tag.DATASET, "exclusions"))
    for text in sorted(set(texts)):
        hasher.update(len(text.encode()).to_bytes(4, "big") + text.encode())
    return hasher.hexdigest()
