"""Invariant 6: masks are uniform in the ring, from 256-bit seeds, cancel exactly, and no mask is ever used twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from parley_crypto import keystream, ring
from parley_crypto.derive import derive
from parley_crypto.errors import MalformedError
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedSealing
from parley_crypto.ring import RingVector
from parley_crypto.tags import Tag
from parley_protocol.ids import Phase

from tests.attacks.adversary import SEGMENTS, SIX, Stage
from tests.simulator import make_terms

CONTEXT = Context("a" * 64, 1, "b" * 64, "trunk")
CHI_SQUARE_255 = 381.0  # exceeded with probability 5e-7 by uniform bytes; all inputs here are fixed


def chi_square(raw: bytes) -> float:
    """Return Pearson's statistic of the bytes against uniform ones, 255 degrees of freedom."""
    counts = np.bincount(np.frombuffer(raw, dtype=np.uint8), minlength=256)
    expected = len(raw) / 256
    return float(((counts - expected) ** 2).sum() / expected)


def sealed(width: int, vector: RingVector, *, party: str = SIX[2]) -> bytes:
    stage = Stage(make_terms(6, width=width, segments={"trunk": (vector.size, None)})).to(Phase.COLLECT)
    stage.seal(party, {"trunk": vector.copy()})
    return stage.bodies[party][: vector.nbytes]  # without the tags


@pytest.mark.parametrize("width", [16, 32, 64])
def test_a_sealed_zero_vector_looks_uniform(width: int) -> None:
    body = sealed(width, ring.zeros(200_000 * 8 // width, width))
    assert chi_square(body) < CHI_SQUARE_255
    by_place = np.frombuffer(body, dtype=np.uint8).reshape(-1, width // 8)
    assert all(chi_square(by_place[:, place].tobytes()) < CHI_SQUARE_255 for place in range(width // 8))
    bits = np.unpackbits(np.frombuffer(body, dtype=np.uint8))
    assert abs(float(bits.mean()) - 0.5) < 5 * 0.5 / len(bits) ** 0.5
    repeated = float((bits[1:] == bits[:-1]).mean())
    assert abs(repeated - 0.5) < 5 * 0.5 / len(bits) ** 0.5


@pytest.mark.parametrize("width", [16, 32, 64])
def test_a_sealed_vector_says_nothing_of_what_it_holds(width: int) -> None:
    """The mask is the same whatever is sealed: the sealed vectors of two contents differ by the contents."""
    zero = ring.zeros(1_000, width)
    full = zero + (8 << 4)
    one, other = (ring.from_bytes(sealed(width, vector), zero.size, width) for vector in (zero, full))
    assert np.array_equal(other - one, full)
    assert chi_square(sealed(width, np.resize(full, 200_000).astype(full.dtype))) < CHI_SQUARE_255


def test_pair_masks_cancel_and_self_masks_are_all_that_is_left() -> None:
    stage = Stage(make_terms(6, segments=SEGMENTS)).to(Phase.CONFIRM)
    for segment in stage.step.segments:
        total = ring.zeros(segment.length, 32)
        for party in segment.members:
            ring.add_into(total, stage.upload(party, segment.name))
        context = Context(stage.terms.digest(), 1, stage.base, segment.name)
        for party in segment.members:
            keystream.subtract_mask(total, context.self_key(stage.states[party]._secrets.self_seed(segment.name), party))
        assert np.array_equal(total, stage.truth(segment.members, segment.name))


def test_no_mask_is_used_twice_over_rounds_and_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """While sealing, a self mask's key occurs once for ever; a pair mask's once at either end, with opposite signs."""
    used: Counter[tuple[bytes, bool]] = Counter()
    original = keystream.apply_masks

    def recorded(vector: RingVector, *, added: Iterable[bytes] = (), subtracted: Iterable[bytes] = ()) -> None:
        added, subtracted = tuple(added), tuple(subtracted)
        used.update((key, False) for key in added)
        used.update((key, True) for key in subtracted)
        original(vector, added=added, subtracted=subtracted)

    monkeypatch.setattr(keystream, "apply_masks", recorded)
    terms, rounds = make_terms(6, segments=SEGMENTS), 3
    for number in range(1, rounds + 1):
        Stage(terms, number=number, version=number - 1, parameters=f"{number:064x}").to(Phase.CONFIRM)
    added = {key for key, subtract in used if not subtract}
    subtracted = {key for key, subtract in used if subtract}
    members = [6, 3, 4]
    assert set(used.values()) == {1}
    assert len(subtracted) == rounds * sum(n * (n - 1) // 2 for n in members)
    assert subtracted <= added
    assert len(added - subtracted) == rounds * sum(members)  # the self masks


@pytest.mark.parametrize("bit", range(0, 256, 17))
def test_every_bit_of_a_seed_matters(bit: int) -> None:
    seed = bytes(range(32))
    flipped = (int.from_bytes(seed, "big") ^ (1 << bit)).to_bytes(32, "big")
    one, other = ring.zeros(500, 32), ring.zeros(500, 32)
    keystream.add_mask(one, CONTEXT.self_key(seed, SIX[0]))
    keystream.add_mask(other, CONTEXT.self_key(flipped, SIX[0]))
    assert np.count_nonzero(one == other) <= 1


@pytest.mark.parametrize(
    "changed",
    [
        Context("c" * 64, 1, "b" * 64, "trunk"),
        Context("a" * 64, 2, "b" * 64, "trunk"),
        Context("a" * 64, 1, "c" * 64, "trunk"),
        Context("a" * 64, 1, "b" * 64, "head:a"),
    ],
    ids=["agreement", "round", "base", "segment"],
)
def test_every_part_of_the_context_gives_other_masks(changed: Context) -> None:
    mine, theirs = AgreementKey(bytes(range(32))), AgreementKey(bytes(range(1, 33)))
    assert CONTEXT.self_key(bytes(32), SIX[0]) != changed.self_key(bytes(32), SIX[0])
    assert CONTEXT.self_key(bytes(32), SIX[0]) != CONTEXT.self_key(bytes(32), SIX[1])
    pair = CONTEXT.pair_key(mine, theirs.public, SIX[0], SIX[1])
    assert pair == CONTEXT.pair_key(theirs, mine.public, SIX[1], SIX[0])
    assert pair != changed.pair_key(mine, theirs.public, SIX[0], SIX[1])
    assert pair != CONTEXT.pair_key(mine, theirs.public, SIX[0], SIX[2])


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_a_mask_from_less_than_256_bits_is_refused(size: int) -> None:
    with pytest.raises(MalformedError, match="wanted a key of 32 bytes"):
        keystream.add_mask(ring.zeros(4, 32), bytes(size))


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i4", ">u4", "<u1"])
def test_a_mask_goes_on_ring_vectors_only(dtype: str) -> None:
    vector = np.zeros(4, dtype=dtype)
    with pytest.raises(MalformedError):
        keystream.add_mask(vector, bytes(32))
    assert not vector.any()


def test_a_member_alone_in_its_pairs_is_still_masked() -> None:
    vector = ring.zeros(50_000, 32)
    seed = derive(b"x" * 32, Tag.SELF_SEED)
    MaskedSealing.prepare(CONTEXT, me=SIX[0], self_seed=seed, mask_key=AgreementKey(bytes(32)), peers={}).seal(vector)
    assert chi_square(ring.to_bytes(vector)) < CHI_SQUARE_255
