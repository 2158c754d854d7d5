"""Properties of Shamir sharing: any t shares give the secret, t - 1 fit every secret alike, a wrong share never passes unseen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto import sharing
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.sharing import PRIME

SECRETS = st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from([bytes(32), b"\xff" * 32, bytes(31) + b"\x01"]))
SEEDS = st.binary(min_size=32, max_size=32)


@st.composite
def sharings(draw: st.DrawFn) -> tuple[bytes, int, dict[int, bytes]]:
    count = draw(st.integers(1, 12))
    threshold = draw(st.integers(1, count))
    secret = draw(SECRETS)
    shares = sharing.split(secret, threshold=threshold, count=count, seed=draw(SEEDS))
    return secret, threshold, dict(enumerate(shares, start=1))


def chosen(data: st.DataObject, shares: dict[int, bytes], count: int) -> dict[int, bytes]:
    ranks = data.draw(st.permutations(sorted(shares)))[:count]
    return {rank: shares[rank] for rank in ranks}


@given(sharings(), st.data())
def test_any_t_shares_in_any_order_give_the_secret(made: tuple[bytes, int, dict[int, bytes]], data: st.DataObject) -> None:
    secret, threshold, shares = made
    count = data.draw(st.integers(threshold, len(shares)))
    assert sharing.combine(chosen(data, shares, count), threshold=threshold) == secret


@given(sharings(), SECRETS, st.data())
def test_fewer_than_t_shares_fit_every_secret(made: tuple[bytes, int, dict[int, bytes]], other: bytes, data: st.DataObject) -> None:
    """For every other secret there is exactly one value of a missing share that gives it: the shares at hand rule nothing out."""
    _, threshold, shares = made
    few = chosen(data, shares, threshold - 1)
    missing = next(rank for rank in range(1, len(shares) + 2) if rank not in few)
    ranks = (missing, *few)
    weights = dict(zip(ranks, sharing.lagrange_at_zero(ranks), strict=True))
    known = sum(int.from_bytes(share, "big") * weights[rank] for rank, share in few.items())
    needed = (int.from_bytes(other, "big") - known) * pow(weights[missing], -1, PRIME) % PRIME
    full = {**few, missing: needed.to_bytes(sharing.SHARE_BYTES, "big")}
    assert sharing.combine(full, threshold=threshold) == other
    with pytest.raises(MalformedError, match=f"got {threshold} and {threshold - 1}"):
        sharing.combine(few, threshold=threshold)


@given(sharings(), st.data())
def test_a_wrong_share_gives_another_secret_or_none(made: tuple[bytes, int, dict[int, bytes]], data: st.DataObject) -> None:
    secret, threshold, shares = made
    used = chosen(data, shares, threshold)
    rank = data.draw(st.sampled_from(sorted(used)))
    change = data.draw(st.integers(1, PRIME - 1))
    wrong = (int.from_bytes(used[rank], "big") + change) % PRIME
    try:
        got = sharing.combine({**used, rank: wrong.to_bytes(sharing.SHARE_BYTES, "big")}, threshold=threshold)
    except VerificationError:
        return
    assert got != secret


@given(SECRETS, SEEDS, SEEDS)
def test_a_sharing_repeats_from_its_seed_and_from_no_other(secret: bytes, seed: bytes, other: bytes) -> None:
    one = sharing.split(secret, threshold=3, count=5, seed=seed)
    assert one == sharing.split(secret, threshold=3, count=5, seed=seed)
    if seed != other:
        assert set(one).isdisjoint(sharing.split(secret, threshold=3, count=5, seed=other))


@given(SECRETS, SECRETS, SEEDS)
def test_shares_add_up(secret: bytes, other: bytes, seed: bytes) -> None:
    """Sharing is linear over the field: the sum of two sharings is a sharing of the sum."""
    total = int.from_bytes(secret, "big") + int.from_bytes(other, "big")
    both = zip(
        sharing.split(secret, threshold=2, count=3, seed=seed), sharing.split(other, threshold=2, count=3, seed=seed[::-1]), strict=True
    )
    added = {
        rank: ((int.from_bytes(one, "big") + int.from_bytes(two, "big")) % PRIME).to_bytes(33, "big")
        for rank, (one, two) in enumerate(both, start=1)
    }
    if total % PRIME < 1 << 256:
        assert int.from_bytes(sharing.combine(added, threshold=2), "big") == total % PRIME
