"""Shamir secret sharing over the prime 2^256 + 297 (Shamir 1979), for 256-bit secrets.

Shares are field elements at x = 1-based rank, 33 bytes big-endian. Coefficients come from the caller's seed, so a sharing repeats to the
byte.

    >>> shares = split(bytes(31) + bytes([7]), threshold=2, count=3, seed=bytes(32))
    >>> combine({1: shares[0], 3: shares[2]}, threshold=2)[-1]
    7
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from parley_crypto.derive import derive
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.tags import Tag

PRIME: Final = 2**256 + 297
SHARE_BYTES: Final = 33
SECRET_BYTES: Final = 32
_COEFFICIENT_BYTES: Final = 48  # reduced modulo a 257-bit prime: bias below 2^-127


def split(secret: bytes, *, threshold: int, count: int, seed: bytes) -> tuple[bytes, ...]:
    """Return `count` shares of a 32-byte secret, at x = 1 … count; any `threshold` of them give it back, fewer say nothing."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= count:
        raise MalformedError(f"sharing: wanted a secret of 32 bytes and 1 ≤ threshold ≤ {count}, got {len(secret)} and {threshold}")
    polynomial = [int.from_bytes(secret, "big")]
    for degree in range(1, threshold):
        raw = derive(seed, Tag.SHAMIR, degree, length=_COEFFICIENT_BYTES)
        polynomial.append(int.from_bytes(raw, "big") % PRIME)
    return tuple(_evaluate(polynomial, x).to_bytes(SHARE_BYTES, "big") for x in range(1, count + 1))


def combine(shares: Mapping[int, bytes], *, threshold: int) -> bytes:
    """Return the secret from at least `threshold` shares by x; VerificationError if they give no 256-bit secret."""
    if not 1 <= threshold <= len(shares):
        raise MalformedError(f"sharing: wanted a threshold of at least 1 and as many shares, got {threshold} and {len(shares)}")
    chosen = dict(sorted(shares.items())[:threshold])
    secret = sum(_element(raw) * weight for raw, weight in zip(chosen.values(), lagrange_at_zero(tuple(chosen)), strict=True)) % PRIME
    if secret >= 1 << (8 * SECRET_BYTES):
        raise VerificationError("sharing: the shares give no 256-bit secret; at least one of them is wrong")
    return secret.to_bytes(SECRET_BYTES, "big")


def lagrange_at_zero(xs: tuple[int, ...]) -> tuple[int, ...]:
    """Return the Lagrange coefficients at 0 for distinct x in [1, PRIME)."""
    if len(set(xs)) != len(xs) or not all(0 < x < PRIME for x in xs):
        raise MalformedError(f"sharing: wanted distinct positive x, got {xs[:8]}")
    weights = []
    for x in xs:
        numerator = denominator = 1
        for other in xs:
            if other != x:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - x) % PRIME
        weights.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return tuple(weights)


def _evaluate(polynomial: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % PRIME
    return value


def _element(raw: bytes) -> int:
    value = int.from_bytes(raw, "big")
    if len(raw) != SHARE_BYTES or value >= PRIME:
        raise MalformedError(f"share: wanted {SHARE_BYTES} bytes below the prime, got {len(raw)} bytes")
    return value
