from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_learning.clip import ClipCount, clip_update
from parley_learning.combine import apply_step, mean_of, parameters_digest
from parley_learning.draws import integers, permutation, uniform
from parley_learning.errors import VectorError
from parley_learning.vector import Layout, own_segments

LAYOUT = Layout((("trunk", 3), ("head:cost", 1), ("head:illness", 2)))
# Computed apart from this code, with hashlib and struct alone.
PINNED_A, PINNED_B = 16248001547495910192, 572811457878460249
PINNED_DIGEST = "2e24599e3619ea1b348ef3d3479eec05fe554fb97c49d4c712af46f79d5fb205"
finite = st.floats(min_value=-1e6, max_value=1e6, width=32)


@given(st.lists(finite, min_size=6, max_size=6))
def test_cutting_and_joining_are_inverse(values: list[float]) -> None:
    vector = np.array(values, dtype=np.float32)
    joined = LAYOUT.join(LAYOUT.cut(vector))
    assert joined.tobytes() == vector.tobytes()
    assert joined.dtype == np.float32


def test_a_vector_or_part_of_another_shape_is_refused() -> None:
    parts = LAYOUT.cut(np.zeros(6, dtype=np.float32))
    with pytest.raises(VectorError, match="wanted 6 values"):
        LAYOUT.cut(np.zeros(5, dtype=np.float32))
    with pytest.raises(VectorError, match="segment trunk: wanted 3"):
        LAYOUT.join({**parts, "trunk": np.zeros(4, dtype=np.float32)})
    with pytest.raises(VectorError, match="wanted trunk, head:cost, head:illness, got trunk"):
        LAYOUT.join({"trunk": parts["trunk"]})


def test_a_party_sends_the_trunk_and_its_own_heads() -> None:
    assert own_segments(LAYOUT, ("illness",)) == ("trunk", "head:illness")
    with pytest.raises(VectorError, match="head:other"):
        own_segments(LAYOUT, ("other",))


def test_draws_are_pinned_to_the_bit() -> None:
    assert integers(bytes(32), "a", 2).tolist() == [PINNED_A, PINNED_B]
    assert integers(bytes(32), "b", 1)[0] != PINNED_A
    assert integers(bytes(32), "a", 3).tolist()[:2] == [PINNED_A, PINNED_B]
    with pytest.raises(VectorError, match="32 bytes, got 31"):
        integers(bytes(31), "a", 1)


@given(st.binary(min_size=32, max_size=32), st.integers(min_value=0, max_value=200))
def test_draws_lie_in_their_ranges(seed: bytes, count: int) -> None:
    draws = uniform(seed, "x", count)
    assert ((draws >= 0) & (draws < 1)).all()
    assert sorted(permutation(seed, "x", count).tolist()) == list(range(count))


@given(st.lists(finite, min_size=1, max_size=40), st.floats(min_value=1e-3, max_value=1e3))
def test_a_clipped_update_lies_within_the_bound_and_keeps_its_direction(values: list[float], bound: float) -> None:
    delta = np.array(values, dtype=np.float32)
    update = clip_update(delta, bound)
    assert np.linalg.norm(update.vector.astype(np.float64)) <= bound
    assert update.norm == pytest.approx(np.linalg.norm(delta.astype(np.float64)))
    assert update.clipped == (update.norm > bound)
    if update.clipped:
        np.testing.assert_allclose(update.vector, delta * (bound / update.norm), rtol=1e-4, atol=1e-30)
    else:
        assert update.vector.tobytes() == delta.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_is_refused_and_not_clipped(bad: float) -> None:
    with pytest.raises(VectorError, match="diverged"):
        clip_update(np.array([1.0, bad], dtype=np.float32), 1.0)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_bound_without_meaning_is_refused(bound: float) -> None:
    with pytest.raises(VectorError, match="clip bound"):
        clip_update(np.ones(2, dtype=np.float32), bound)


def test_clipping_is_counted() -> None:
    count = ClipCount()
    for length in (0.5, 2.0, 3.0):
        count = count.add(clip_update(np.array([length], dtype=np.float32), 1.0))
    assert count == ClipCount(updates=3, clipped=2, largest_norm=3.0)


def test_only_segments_that_opened_move() -> None:
    parameters = np.arange(6, dtype=np.float32)
    following = apply_step(LAYOUT, parameters, {"trunk": mean_of(np.array([3.0, -3.0, 1.0]), weight=2)})
    assert following.tolist() == [1.5, -0.5, 2.5, 3.0, 4.0, 5.0]
    assert parameters.tolist() == [0, 1, 2, 3, 4, 5]
    assert apply_step(LAYOUT, parameters, {}).tobytes() == parameters.tobytes()


@given(st.lists(finite, min_size=6, max_size=6), st.lists(finite, min_size=6, max_size=6), st.integers(min_value=1, max_value=50))
def test_the_step_is_one_rounding_a_coordinate(values: list[float], totals: list[float], weight: int) -> None:
    parameters, total = np.array(values, dtype=np.float32), np.array(totals, dtype=np.float64)
    means = {name: mean_of(total[place], weight) for name, place in LAYOUT.slices().items()}
    expected = [np.float32(float(old) + sum_ / weight) for old, sum_ in zip(parameters, totals, strict=True)]
    backwards = dict(reversed(list(means.items())))
    assert apply_step(LAYOUT, parameters, means).tolist() == [float(value) for value in expected]
    assert apply_step(LAYOUT, parameters, backwards).tobytes() == apply_step(LAYOUT, parameters, means).tobytes()


def test_a_step_that_does_not_fit_is_refused() -> None:
    parameters = np.zeros(6, dtype=np.float32)
    for means, message in [
        ({"head:other": np.zeros(1)}, "head:other"),
        ({"head:cost": np.zeros(2)}, "mean of head:cost"),
        ({"head:cost": np.array([np.nan])}, "finite"),
        ({"head:cost": np.array([1e39])}, "diverged"),
    ]:
        with pytest.raises(VectorError, match=message):
            apply_step(LAYOUT, parameters, means)
    with pytest.raises(VectorError, match="total weight"):
        mean_of(np.zeros(1), 0)


def test_the_digest_of_parameters_is_pinned_and_sees_every_bit() -> None:
    parameters = np.array([0.0, 1.5, -2.25], dtype=np.float32)
    assert parameters_digest(parameters) == PINNED_DIGEST
    assert parameters_digest(parameters.astype(">f4").view(np.dtype(">f4"))) == PINNED_DIGEST
    assert parameters_digest(np.nextafter(parameters, np.float32(9))) != PINNED_DIGEST
    with pytest.raises(VectorError, match="finite"):
        parameters_digest(np.array([np.nan], dtype=np.float32))


def test_what_the_party_service_imports_does_not_import_torch() -> None:
    modules = ["study", "rows", "clip", "combine", "modelfile", "modelcard", "workloads.preprocess", "workloads.evaluate"]
    code = "import sys\n" + "".join(f"import parley_learning.{module}\n" for module in modules) + "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
