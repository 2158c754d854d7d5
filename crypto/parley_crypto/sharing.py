"""Shamir secret sharing over the prime 2^256 + 297 (Shamir 1979), for 256-bit secrets.

Shares are field elements at x = 1-based rank, 33 bytes big-endian. Coefficients come from the caller's seed, all from one keystream, so a
sharing repeats to the byte.

    >>> shares = split(bytes(31) + bytes([7]), threshold=2, count=3, seed=bytes(32))
    >>> combine({1: shares[0], 3: shares[2]}, threshold=2)[-1]
    7
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from operator import mul
from typing import Final

from parley_crypto.derive import derive
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.tags import Tag

PRIME: Final = 2**256 + 297
SHARE_BYTES: Final = 33
SECRET_BYTES: Final = 32
_COEFFICIENT_BYTES: Final = 48  # reduced modulo a 257-bit prime: bias below 2^-127
_STEPS: Final = 64  # of Horner's rule between reductions: at x < 2^10 the value grows by 640 bits, which costs less than reducing it


def split(secret: bytes, *, threshold: int, count: int, seed: bytes) -> tuple[bytes, ...]:
    """Return `count` shares of a 32-byte secret, at x = 1 … count; any `threshold` of them give it back, fewer say nothing."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= count:
        raise MalformedError(f"sharing: wanted a secret of 32 bytes and 1 ≤ threshold ≤ {count}, got {len(secret)} and {threshold}")
    from parley_crypto import keystream  # noqa: PLC0415 - brings numpy, which an auditor, who reads sizes here, does without

    raw = b"".join(keystream.stream(derive(seed, Tag.SHAMIR), (threshold - 1) * _COEFFICIENT_BYTES))
    starts = range(0, len(raw), _COEFFICIENT_BYTES)
    polynomial = [int.from_bytes(secret, "big"), *(int.from_bytes(raw[at : at + _COEFFICIENT_BYTES], "big") % PRIME for at in starts)]
    polynomial.reverse()
    parts = [polynomial[at : at + _STEPS] for at in range(0, threshold, _STEPS)]
    return tuple(_evaluate(parts, x).to_bytes(SHARE_BYTES, "big") for x in range(1, count + 1))


def combine(shares: Mapping[int, bytes], *, threshold: int) -> bytes:
    """Return the secret from at least `threshold` shares by x; VerificationError if they give no 256-bit secret."""
    if not 1 <= threshold <= len(shares):
        raise MalformedError(f"sharing: wanted a threshold of at least 1 and as many shares, got {threshold} and {len(shares)}")
    chosen = sorted(shares.items())[:threshold]
    weights = lagrange_at_zero(tuple(x for x, _ in chosen))
    secret: int = sum(map(mul, (_element(raw) for _, raw in chosen), weights)) % PRIME
    if secret >= 1 << (8 * SECRET_BYTES):
        raise VerificationError("sharing: the shares give no 256-bit secret; at least one of them is wrong")
    return secret.to_bytes(SECRET_BYTES, "big")


@lru_cache(maxsize=256)
def lagrange_at_zero(xs: tuple[int, ...]) -> tuple[int, ...]:
    """Return the Lagrange coefficients at 0 for distinct x in [1, PRIME): Π_(j≠i) x_j / (x_j - x_i), with one inversion for all.

    Secrets of one round are mostly rebuilt from the same survivors: the last sets of x, which are public ranks, are remembered.
    """
    if len(set(xs)) != len(xs) or not all(0 < x < PRIME for x in xs):
        raise MalformedError(f"sharing: wanted distinct positive x, got {xs[:8]}")
    numerator = prod(xs) % PRIME
    # ranks are small numbers: their differences are multiplied in whole numbers, and reduced once
    denominators = [x * prod([other - x for other in xs if other != x]) % PRIME for x in xs]
    return tuple(numerator * inverse % PRIME for inverse in _inverses(denominators))


def _inverses(values: list[int]) -> list[int]:
    """Return the inverses modulo PRIME of values that are not 0, with one inversion (Montgomery 1987)."""
    before = [1]
    for value in values:
        before.append(before[-1] * value % PRIME)
    inverse = pow(before.pop(), -1, PRIME)
    out = []
    for value, product in zip(reversed(values), reversed(before), strict=True):
        out.append(inverse * product % PRIME)
        inverse = inverse * value % PRIME
    out.reverse()
    return out


def _evaluate(parts: list[list[int]], x: int) -> int:
    value = 0
    for part in parts:
        for coefficient in part:
            value = value * x + coefficient
        value %= PRIME
    return value


def _element(raw: bytes) -> int:
    value = int.from_bytes(raw, "big")
    if len(raw) != SHARE_BYTES or value >= PRIME:
        raise MalformedError(f"share: wanted {SHARE_BYTES} bytes below the prime, got {len(raw)} bytes")
    return value
