"""The fixed-point encoding at its edges; its properties are in tests/properties, its attacks in tests/attacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto import ring
from parley_crypto.errors import EncodingError, MalformedError
from parley_crypto.fixedpoint import FixedPoint


@pytest.mark.parametrize(
    ("bound", "members", "fraction_bits"), [(0.0, 3, 4), (-1.0, 3, 4), (np.nan, 3, 4), (np.inf, 3, 4), (1.0, 0, 4), (1.0, 3, -1)]
)
def test_an_encoding_needs_a_bound_and_members(bound: float, members: int, fraction_bits: int) -> None:
    with pytest.raises(MalformedError, match="wanted a finite positive bound"):
        FixedPoint(32, fraction_bits, bound, members)


@pytest.mark.parametrize("width", [8, 31, 128])
def test_an_encoding_needs_a_width_of_the_ring(width: int) -> None:
    with pytest.raises(MalformedError, match="ring width"):
        FixedPoint(width, 4, 1.0, 3)


@pytest.mark.parametrize(("bound", "fraction_bits"), [(1.5, 52), (2.0**53, 0), (1e300, 52), (1.0, 53), (1e-300, 5_000)])
def test_values_that_a_float_cannot_hold_exactly_are_refused(bound: float, fraction_bits: int) -> None:
    with pytest.raises(EncodingError, match=r"wanted values below 2\^52"):
        FixedPoint(64, fraction_bits, bound, 1)


def test_rounding_is_to_the_nearest_and_halves_to_even() -> None:
    encoding = FixedPoint(16, 1, 8.0, 3)
    assert encoding.encode(np.array([0.24, 0.25, 0.26, 0.75, -0.25, -0.75])).astype(np.int16).tolist() == [0, 0, 1, 2, 0, -2]


def test_the_bound_itself_fits_and_the_next_unit_does_not() -> None:
    encoding = FixedPoint(32, 8, 4.0, 3)
    assert encoding.decode(encoding.encode(np.array([4.0, -4.0]))).tolist() == [4.0, -4.0]
    for value in (4.0 + 1 / 256, -4.0 - 1 / 256, 1e308, -1e308):
        with pytest.raises(EncodingError, match="coordinate 0 of 1"):
            encoding.encode(np.array([value]))


def test_a_huge_value_is_refused_without_a_warning() -> None:
    with pytest.raises(EncodingError, match="coordinate 1 of 2"):
        FixedPoint(64, 40, 100.0, 3).encode(np.array([0.0, 1.7e308]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_type_encodes_alike(dtype: type[np.floating]) -> None:
    values = np.array([0.5, -1.25, 3.0], dtype=dtype)
    assert FixedPoint(32, 8, 4.0, 3).encode(values).astype(np.int32).tolist() == [128, -320, 768]


@pytest.mark.parametrize("width", [16, 64])
def test_a_sum_of_another_width_is_refused(width: int) -> None:
    encoding = FixedPoint(32, 8, 4.0, 3)
    for check in (encoding.decode, encoding.check_encoded):
        with pytest.raises(MalformedError, match="ring vector: wanted uint32"):
            check(ring.zeros(3, width))


@given(st.data(), st.sampled_from([16, 32, 64]), st.sampled_from([1, 5, 16_385]))
def test_a_norm_is_exact(data: st.DataObject, width: int, size: int) -> None:
    ends = [-(1 << (width - 1)), (1 << (width - 1)) - 1, -1, 0, 1]
    some = data.draw(st.lists(st.one_of(st.sampled_from(ends), st.integers(ends[0], ends[1])), min_size=1, max_size=5))
    values = [some[index % len(some)] for index in range(size)]
    vector = np.array([value % (1 << width) for value in values], dtype=ring.dtype_of(width))
    assert ring.squared_norm(vector) == sum(value * value for value in values)
    assert ring.squared_norm(vector[::-1]) == ring.squared_norm(vector)


def test_a_sum_s_norm_is_at_most_its_members_clip_bounds() -> None:
    encoding = FixedPoint(32, 16, 4.0, 3)
    total = encoding.encode(np.array([3.0, -4.0]))
    encoding.check_norm(total, 5.0)
    encoding.check_norm(total + np.uint32(2), 5.0)  # what rounding by three members may have added
    for most in (4.999, 1.0, 0.0):
        with pytest.raises(EncodingError, match=f"an L2 norm of at most {most}"):
            encoding.check_norm(total, most)
    with pytest.raises(MalformedError, match="ring vector: wanted uint32"):
        encoding.check_norm(ring.zeros(2, 64), 5.0)


def test_an_empty_vector_is_one() -> None:
    encoding = FixedPoint(32, 8, 4.0, 3)
    assert encoding.decode(encoding.encode(np.zeros(0))).shape == (0,)
