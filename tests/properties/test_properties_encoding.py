"""Properties of the fixed-point encoding: sums in the ring are sums of integers, nothing wraps, nothing silently changes."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto import ring
from parley_crypto.errors import EncodingError
from parley_crypto.fixedpoint import FixedPoint

WIDTHS = st.sampled_from([16, 32, 64])


@st.composite
def encodings(draw: st.DrawFn) -> FixedPoint:
    width, members = draw(WIDTHS), draw(st.integers(1, 200))
    room = (1 << (width - 1)) // members - 1
    fraction_bits = draw(st.integers(0, min(40, max(0, room.bit_length() - 2))))
    most = min(room, (1 << 52) - 1) >> fraction_bits
    return FixedPoint(width, fraction_bits, float(draw(st.integers(1, max(1, most)))), members)


@given(encodings(), st.data())
def test_the_sum_in_the_ring_is_the_sum_of_the_integers(encoding: FixedPoint, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, min(6, encoding.members)))
    largest = encoding.largest
    units = data.draw(st.lists(st.lists(st.integers(-largest, largest), min_size=3, max_size=3), min_size=count, max_size=count))
    total = ring.zeros(3, encoding.width)
    for row in units:
        values = np.array([float(Fraction(value, 1 << encoding.fraction_bits)) for value in row])
        encoded = encoding.encode(values)
        encoding.check_encoded(encoded)
        ring.add_into(total, encoded)
    exact = [Fraction(sum(column), 1 << encoding.fraction_bits) for column in zip(*units, strict=True)]
    assert encoding.decode(total).tolist() == [float(value) for value in exact]


@given(encodings(), st.data())
def test_encoding_is_off_by_half_a_unit_at_most(encoding: FixedPoint, data: st.DataObject) -> None:
    value = data.draw(st.floats(-encoding.bound, encoding.bound))
    decoded = encoding.decode(encoding.encode(np.array([value])))
    assert abs(Fraction(float(decoded[0])) - Fraction(value)) <= Fraction(1, 2 << encoding.fraction_bits)


@given(WIDTHS, st.integers(0, 52), st.floats(1e-6, 1e12), st.integers(1, 1_000))
def test_an_encoding_exists_exactly_if_no_sum_of_its_members_can_wrap(width: int, fraction_bits: int, bound: float, members: int) -> None:
    largest = ceil(Fraction(bound) * (1 << fraction_bits))
    fits = members * largest < 1 << (width - 1) and largest < 1 << 52
    if fits:
        encoding = FixedPoint(width, fraction_bits, bound, members)
        assert encoding.largest == largest
        edge = np.array([bound, -bound])
        total = sum((encoding.encode(edge) for _ in range(min(members, 50))), ring.zeros(2, width))
        assert encoding.decode(total)[0] == -encoding.decode(total)[1]
        assert (encoding.decode(total) * [1, -1] >= 0).all()
    else:
        with pytest.raises(EncodingError):
            FixedPoint(width, fraction_bits, bound, members)


@given(encodings(), st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 4))
def test_what_does_not_fit_is_refused_by_its_place(encoding: FixedPoint, value: float, place: int) -> None:
    vector = np.zeros(5)
    vector[place] = value
    fits = bool(np.isfinite(value)) and round(Fraction(value) * (1 << encoding.fraction_bits)) in range(
        -encoding.largest, encoding.largest + 1
    )
    if fits:
        assert encoding.encode(vector).size == 5
    else:
        with pytest.raises(EncodingError, match=f"coordinate {place} of 5"):
            encoding.encode(vector)


@given(encodings(), st.data())
def test_a_ring_element_is_within_the_bound_or_refused(encoding: FixedPoint, data: st.DataObject) -> None:
    unit = data.draw(st.integers(0, (1 << encoding.width) - 1))
    signed = unit - (1 << encoding.width) if unit >> (encoding.width - 1) else unit
    vector = np.array([0, unit], dtype=ring.dtype_of(encoding.width))
    for most, check in ((encoding.largest, encoding.check_encoded), (encoding.largest * encoding.members, encoding.decode)):
        if abs(signed) <= most:
            check(vector)
        else:
            with pytest.raises(EncodingError, match="coordinate 1 of 2"):
                check(vector)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), WIDTHS)
def test_ring_vectors_survive_the_wire(units: list[int], width: int) -> None:
    vector = np.array([unit % (1 << width) for unit in units], dtype=ring.dtype_of(width))
    raw = ring.to_bytes(vector)
    assert raw == b"".join(int(unit).to_bytes(width // 8, "little") for unit in vector)
    assert np.array_equal(ring.from_bytes(raw, len(units), width), vector)


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2), min_size=1, max_size=6), WIDTHS, st.randoms())
def test_ring_sums_are_modular_and_in_any_order(rows: list[list[int]], width: int, random: object) -> None:
    vectors = [np.array([unit % (1 << width) for unit in row], dtype=ring.dtype_of(width)) for row in rows]
    total = ring.zeros(2, width)
    for vector in sorted(vectors, key=lambda _: random.random()):  # type: ignore[attr-defined]
        ring.add_into(total, vector)
    assert total.tolist() == [sum(column) % (1 << width) for column in zip(*rows, strict=True)]
