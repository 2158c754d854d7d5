"""Shamir sharing: the prime, the field's edges, and everything that is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto import keystream, sharing
from parley_crypto.derive import derive
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.sharing import PRIME
from parley_crypto.tags import Tag

SECRET, SEED = bytes(range(32)), bytes(32)


def is_probably_prime(number: int) -> bool:
    """Miller and Rabin, with the first twenty primes as bases."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71):
        power = pow(base, odd, number)
        if power in {1, number - 1}:
            continue
        if all((power := power * power % number) != number - 1 for _ in range(twos - 1)):
            return False
    return True


def test_the_field_is_one_and_holds_every_secret() -> None:
    assert is_probably_prime(PRIME)
    assert PRIME > 1 << 256
    assert not any(is_probably_prime((1 << 256) + gap) for gap in range(1, 297, 2))  # the smallest such prime


def test_one_share_of_a_threshold_of_one_is_the_secret() -> None:
    assert sharing.split(SECRET, threshold=1, count=2, seed=SEED) == (b"\0" + SECRET,) * 2


def test_the_polynomial_is_the_seeds() -> None:
    """Three points on a parabola: the shares at 1, 2, 3 have the second difference 2a everywhere."""
    values = [int.from_bytes(share, "big") for share in sharing.split(SECRET, threshold=3, count=6, seed=SEED)]
    second = [(values[i] - 2 * values[i + 1] + values[i + 2]) % PRIME for i in range(4)]
    assert len(set(second)) == 1
    assert (3 * values[0] - 3 * values[1] + values[2]) % PRIME == int.from_bytes(SECRET, "big")


def test_coefficients_are_one_keystream_of_the_seed() -> None:
    """Written another way: powers instead of Horner's rule, over thresholds beyond any reduction step."""
    for threshold, count in ((2, 3), (67, 70), (200, 201)):
        raw = b"".join(bytes(block) for block in keystream.stream(derive(SEED, Tag.SHAMIR), 48 * (threshold - 1)))
        tail = [int.from_bytes(raw[48 * index :][:48], "big") for index in range(threshold - 1)]
        shares = sharing.split(SECRET, threshold=threshold, count=count, seed=SEED)
        for x in (1, 2, count):
            value = int.from_bytes(SECRET, "big") + sum(a * pow(x, degree, PRIME) for degree, a in enumerate(tail, 1))
            assert int.from_bytes(shares[x - 1], "big") == value % PRIME
        ranked = dict(enumerate(shares, 1))
        assert sharing.combine(dict(list(ranked.items())[-threshold:]), threshold=threshold) == SECRET


@given(st.sets(st.one_of(st.integers(1, 500), st.integers(1, PRIME - 1)), min_size=1, max_size=12))
def test_weights_are_lagrange_s(xs: set[int]) -> None:
    for x, weight in zip(sorted(xs), sharing.lagrange_at_zero(tuple(sorted(xs))), strict=True):
        numerator = denominator = 1
        for other in xs - {x}:
            numerator, denominator = numerator * other % PRIME, denominator * (other - x) % PRIME
        assert weight * denominator % PRIME == numerator


@pytest.mark.parametrize(("threshold", "count"), [(0, 3), (4, 3), (-1, 3), (1, 0)])
def test_thresholds_outside_the_count_are_refused(threshold: int, count: int) -> None:
    with pytest.raises(MalformedError, match="wanted a secret of 32 bytes"):
        sharing.split(SECRET, threshold=threshold, count=count, seed=SEED)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_secrets_of_another_length_are_refused(size: int) -> None:
    with pytest.raises(MalformedError, match="wanted a secret of 32 bytes"):
        sharing.split(bytes(size), threshold=2, count=3, seed=SEED)


@pytest.mark.parametrize("share", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_what_is_no_field_element_is_no_share(share: bytes) -> None:
    shares = sharing.split(SECRET, threshold=2, count=3, seed=SEED)
    with pytest.raises(MalformedError, match="share: wanted 33 bytes below the prime"):
        sharing.combine({1: shares[0], 2: share}, threshold=2)


@pytest.mark.parametrize("rank", [0, -1, PRIME])
def test_a_share_at_the_secrets_own_place_is_refused(rank: int) -> None:
    shares = sharing.split(SECRET, threshold=2, count=3, seed=SEED)
    with pytest.raises(MalformedError, match="distinct positive x"):
        sharing.combine({rank: shares[0], 2: shares[1]}, threshold=2)


def test_no_threshold_at_all_is_refused() -> None:
    with pytest.raises(MalformedError):
        sharing.combine({}, threshold=0)


def test_a_value_beyond_256_bits_is_no_secret() -> None:
    with pytest.raises(VerificationError, match="no 256-bit secret"):
        sharing.combine({1: (1 << 256).to_bytes(33, "big")}, threshold=1)
