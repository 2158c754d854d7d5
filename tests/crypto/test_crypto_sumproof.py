"""Tags of sums against an oracle in whole numbers, against forgeries, and through masks and pads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto import keystream, ring, sumproof
from parley_crypto.derive import derive
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedOpening, MaskedSealing, add_pad, remove_pads
from parley_crypto.ring import RingVector
from parley_crypto.tags import Tag
from parley_crypto.tagsize import tag_bits, tag_bytes

WIDTHS = st.sampled_from([16, 32, 64])
KEYS = st.binary(min_size=32, max_size=32)
KEY = bytes(range(32))
CONTEXT = Context("a" * 64, 3, "b" * 64, "trunk")
REFUSED = "opened sum: its tags do not prove it"


def signed_values(width: int, members: int = 1) -> st.SearchStrategy[list[int]]:
    """Coordinates of which `members` can be summed without wrapping, the ends of the range among them."""
    most = ((1 << (width - 1)) - 1) // members
    return st.lists(st.integers(-most, most), min_size=1, max_size=12)


def vector_of(values: list[int], width: int) -> RingVector:
    return np.array([value % (1 << width) for value in values], dtype=ring.dtype_of(width))


def words_of(key: bytes, count: int, bits: int) -> list[int]:
    raw = b"".join(bytes(block) for block in keystream.stream(key, count * bits // 8))
    return [int.from_bytes(raw[start : start + bits // 8], "little") for start in range(0, len(raw), bits // 8)]


def oracle(values: list[int], key: bytes, party: str, bits: int) -> tuple[int, int]:
    """Return the tags by their definition: whole numbers, one coordinate at a time."""
    words = words_of(key, len(values) + 1, bits)
    offsets = derive(key, Tag.SUM_PROOF_OFFSET, party, length=2 * bits // 8)
    first = int.from_bytes(offsets[: bits // 8], "little")
    second = int.from_bytes(offsets[bits // 8 :], "little")
    for index, value in enumerate(values):
        first += words[index] * value
        second += words[index + 1] * value
    return first % (1 << bits), second % (1 << bits)


def summed(pairs: list[sumproof.Tags], bits: int) -> sumproof.Tags:
    return sum(pair[0] for pair in pairs) % (1 << bits), sum(pair[1] for pair in pairs) % (1 << bits)


@given(st.data(), WIDTHS, KEYS)
def test_tags_are_what_they_are_defined_as(data: st.DataObject, width: int, key: bytes) -> None:
    values = data.draw(signed_values(width))
    assert sumproof.tags(vector_of(values, width), key, "p") == oracle(values, key, "p", tag_bits(width))


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("beyond", [-2, -1, 0, 1])
def test_tags_of_vectors_about_a_block_long(width: int, beyond: int) -> None:
    count = keystream.BLOCK_BYTES * 8 // tag_bits(width) + beyond
    values = [(index * 2_654_435_761 % (1 << width)) - (1 << (width - 1)) for index in range(count)]
    assert sumproof.tags(vector_of(values, width), KEY, "p") == oracle(values, KEY, "p", tag_bits(width))


@pytest.mark.parametrize("width", [16, 32, 64])
def test_tags_of_extreme_values_over_several_blocks(width: int) -> None:
    for value in ((1 << (width - 1)) - 1, -(1 << (width - 1)), -1):
        values = [value] * 70_000
        assert sumproof.tags(vector_of(values, width), KEY, "p") == oracle(values, KEY, "p", tag_bits(width))


@given(st.data(), WIDTHS, KEYS, st.integers(1, 5))
def test_summed_tags_prove_the_sum(data: st.DataObject, width: int, key: bytes, members: int) -> None:
    ids = [f"p{index}" for index in range(members)]
    length = data.draw(st.integers(1, 6))
    most = ((1 << (width - 1)) - 1) // members
    rows = data.draw(st.lists(st.lists(st.integers(-most, most), min_size=length, max_size=length), min_size=members, max_size=members))
    pairs = [sumproof.tags(vector_of(row, width), key, party) for party, row in zip(ids, rows, strict=True)]
    total = vector_of([sum(column) for column in zip(*rows, strict=True)], width)
    sumproof.check(total, summed(pairs, tag_bits(width)), key, ids)


@given(st.data(), WIDTHS, KEYS)
def test_altered_sums_tags_and_keys_are_refused(data: st.DataObject, width: int, key: bytes) -> None:
    values = data.draw(signed_values(width))
    bits = tag_bits(width)
    vector = vector_of(values, width)
    first, second = sumproof.tags(vector, key, "p")
    altered = vector.copy()
    where = data.draw(st.integers(0, len(values) - 1))
    altered[where] ^= vector.dtype.type(1 << data.draw(st.integers(0, width - 1)))
    off = data.draw(st.integers(1, (1 << bits) - 1))
    both = sumproof.tags(altered, bytes(32), "p")
    forgeries = [
        (altered, (first, second)),
        (vector, ((first + off) % (1 << bits), second)),
        (vector, (first, (second + off) % (1 << bits))),
        (vector, (second, first)),
        (altered, both),
    ]
    for total, pair in forgeries:
        if (total is vector and pair == (first, second)) or key == bytes(32):
            continue
        with pytest.raises(VerificationError, match=REFUSED):
            sumproof.check(total, pair, key, ["p"])
    with pytest.raises(VerificationError, match=REFUSED):
        sumproof.check(vector, (first, second), bytes([key[0] ^ 1]) + key[1:], ["p"])


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("factor", [0, -1, 2, 3])
def test_a_multiple_of_sum_and_tags_is_refused(width: int, factor: int) -> None:
    """What offsets are for: without them every constant multiple of sum and tags would pass."""
    bits = tag_bits(width)
    values = [7, -2, 100]
    opened = sumproof.tags(vector_of(values, width), KEY, "p")
    forged = (factor * opened[0]) % (1 << bits), (factor * opened[1]) % (1 << bits)
    with pytest.raises(VerificationError, match=REFUSED):
        sumproof.check(vector_of([factor * value for value in values], width), forged, KEY, ["p"])


def test_the_heaviest_bit_is_proved_by_both_tags() -> None:
    """A change by 2^(w-1) leaves the fewest bits to either tag: each of them must still refuse it alone."""
    vector = vector_of([5, 6, 7], 32)
    altered = vector ^ np.uint32(1 << 31)
    true, seen = sumproof.tags(vector, KEY, "p"), sumproof.tags(altered, KEY, "p")
    assert true[0] != seen[0]
    assert true[1] != seen[1]


def test_the_sum_of_another_list_is_refused() -> None:
    vectors = {party: vector_of([index, -3], 32) for index, party in enumerate("abc")}
    pairs = {party: sumproof.tags(vector, KEY, party) for party, vector in vectors.items()}
    listed = summed([pairs["a"], pairs["b"]], 64)
    total = vectors["a"] + vectors["b"]
    sumproof.check(total, listed, KEY, ["b", "a"])
    for others in (["a"], ["a", "c"], ["a", "b", "c"], []):
        with pytest.raises(VerificationError, match=f"what {len(others)} members sealed"):
            sumproof.check(total, listed, KEY, others)


@pytest.mark.parametrize(("width", "bits", "size"), [(16, 64, 16), (32, 64, 16), (64, 128, 32)])
def test_tags_on_the_wire(width: int, bits: int, size: int) -> None:
    assert (tag_bits(width), tag_bytes(width)) == (bits, size)
    pair = (1, (1 << bits) - 2)
    raw = sumproof.to_bytes(pair, bits)
    assert raw == b"\x01" + bytes(bits // 8 - 1) + b"\xfe" + b"\xff" * (bits // 8 - 1)
    assert sumproof.from_bytes(memoryview(raw), bits) == pair
    for other in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(MalformedError, match=f"tags: wanted {size} bytes"):
            sumproof.from_bytes(other, bits)


def test_what_is_no_ring_vector_gets_no_tags() -> None:
    for dtype in ("<f4", "<i4", ">u4", "<u1"):
        with pytest.raises(MalformedError):
            sumproof.tags(np.zeros(3, dtype=dtype), KEY, "p")
    with pytest.raises(MalformedError, match="ring width"):
        tag_bits(8)


def test_keys_of_proofs_and_pads_are_bound_to_their_context() -> None:
    others = [Context("c" * 64, 3, "b" * 64, "trunk"), Context("a" * 64, 4, "b" * 64, "trunk")]
    others += [Context("a" * 64, 3, "c" * 64, "trunk"), Context("a" * 64, 3, "b" * 64, "head:a")]
    made = {context.proof_key(KEY) for context in (CONTEXT, *others)} | {context.pad_key(KEY, "p") for context in (CONTEXT, *others)}
    made |= {CONTEXT.pad_key(KEY, "q"), CONTEXT.pad_key(bytes(32), "p"), CONTEXT.proof_key(bytes(32))}
    assert len(made) == 13


def test_the_keystream_beside_a_mask_is_no_part_of_it() -> None:
    mask = b"".join(bytes(block) for block in keystream.stream(KEY, 2 * keystream.BLOCK_BYTES + 32))
    beside = keystream.beside(KEY, 32)
    assert beside not in mask
    assert mask[:16] not in beside
    with pytest.raises(MalformedError, match="wanted a key of 32 bytes"):
        keystream.beside(bytes(16), 32)


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("padded", [False, True])
def test_masked_tags_prove_the_sum_of_the_survivors(width: int, *, padded: bool) -> None:
    """Five seal vectors and tags; the gateway opens for every set of dropouts and, of a padded round, reads nothing."""
    ids = [f"p{index}" for index in range(5)]
    keys = {party: AgreementKey(bytes([index + 1]) * 32) for index, party in enumerate(ids)}
    seeds = {party: bytes([index + 101]) * 32 for index, party in enumerate(ids)}
    bits = tag_bits(width)
    sealed: dict[str, tuple[RingVector, bytes]] = {}
    for index, party in enumerate(ids):
        vector = vector_of([1 << index, -(1 << index), 0], width)
        pair = sumproof.tags(vector, CONTEXT.proof_key(KEY), party)
        if padded:
            add_pad(vector, CONTEXT.pad_key(KEY, party))
        peers = {peer: keys[peer].public for peer in ids if peer != party}
        sealing = MaskedSealing.prepare(CONTEXT, me=party, self_seed=seeds[party], mask_key=keys[party], peers=peers)
        sealing.seal(vector)
        sealed[party] = vector, sealing.seal_tags(pair, bits)
        assert sealed[party][1] != sumproof.to_bytes(pair, bits)
    for dropouts in ([], ["p0"], ["p2"], ["p4"], ["p0", "p4"], ["p1", "p2"]):
        survivors = [party for party in ids if party not in dropouts]
        opening = MaskedOpening(CONTEXT, 3, width, tag_bits=bits)
        for party in survivors:
            opening.combine(sealed[party][0])
            opening.combine_tags(sealed[party][1])
            opening.remove_self(party, seeds[party])
        for dropout in dropouts:
            opening.remove_dropout(dropout, keys[dropout], {party: keys[party].public for party in survivors})
        total, expected = opening.open(), sum(1 << ids.index(party) for party in survivors)
        if padded:
            assert (total != vector_of([expected, -expected, 0], width)).all()
            remove_pads(total, (CONTEXT.pad_key(KEY, party) for party in survivors))
        assert total.tolist() == vector_of([expected, -expected, 0], width).tolist()
        sumproof.check(total, opening.open_tags(), CONTEXT.proof_key(KEY), survivors)


def test_an_opening_without_tags_says_so() -> None:
    opening = MaskedOpening(CONTEXT, 3, 32)
    for asked in (opening.open_tags, lambda: opening.combine_tags(bytes(16))):
        with pytest.raises(MalformedError, match="tags of trunk: wanted an opening made with tag_bits"):
            asked()
