from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.fixedpoint import FixedPoint
from parley_learning.arrays import Float64s
from parley_learning.columns import Columns, parse_columns
from parley_learning.errors import DataError, VectorError
from parley_learning.rows import local_rows
from parley_learning.study import StudyLearning
from parley_learning.workloads.preprocess import (
    SUMMARY_BOUND,
    SUMMARY_FRACTION_BITS,
    SUMMARY_WIDTH,
    Scaling,
    content_keys,
    scaling_from_sum,
    standardise,
    summary_length,
    summary_vector,
)

COLUMNS = parse_columns(
    {
        "age": {"type": "float", "unit": "year", "range": [18, 110], "missing": "allowed"},
        "smokes": {"type": "bool"},
        "ill": {"type": "bool", "objectives": ["illness"]},
    }
)
ages = st.one_of(st.just(float("nan")), st.floats(min_value=18, max_value=110))
party_tables = st.lists(st.tuples(ages, st.booleans()), min_size=1, max_size=30).map(
    lambda rows: {"age": np.array([age for age, _ in rows]), "smokes": np.array([float(smokes) for _, smokes in rows])}
)


def _opened(columns: Columns, tables: list[dict[str, Float64s]]) -> Float64s:
    """The sum of everyone's summaries as the ring gives it: encoded, added, decoded."""
    fixed = FixedPoint(SUMMARY_WIDTH, SUMMARY_FRACTION_BITS, SUMMARY_BOUND, len(tables))
    total = fixed.encode(summary_vector(columns, tables[0]))
    for table in tables[1:]:
        total = total + fixed.encode(summary_vector(columns, table))
    return fixed.decode(total)


def test_the_summary_is_rows_then_present_sum_and_sum_of_squares_a_column() -> None:
    table = {"age": np.array([18.0, 110.0, np.nan]), "smokes": np.array([1.0, 0.0, 1.0])}
    assert summary_vector(COLUMNS, table).tolist() == [3.0, 2.0, 1.0, 1.0, 3.0, 2.0, 2.0]
    assert summary_length(COLUMNS) == 7
    assert len(content_keys(COLUMNS)) == 3


@given(st.lists(party_tables, min_size=1, max_size=5))
def test_the_scaling_from_the_opened_sum_is_that_of_all_rows_together(tables: list[dict[str, Float64s]]) -> None:
    scaling = scaling_from_sum(COLUMNS, _opened(COLUMNS, tables))
    age = np.concatenate([table["age"] for table in tables])
    present = age[~np.isnan(age)]
    if present.size:
        assert scaling.mean[0] == pytest.approx(present.mean(), abs=1e-4)
        assert scaling.deviation[0] == pytest.approx(present.std(), abs=1e-2)
    assert scaling.mean[1] == pytest.approx(np.isnan(age).mean(), abs=1e-9)
    assert scaling.deviation[1] == pytest.approx(np.isnan(age).std(), abs=1e-6)


def test_standardised_rows_have_mean_0_and_deviation_1_and_missing_is_0() -> None:
    draw = np.random.default_rng(1)
    age = np.where(draw.random(400) < 0.25, np.nan, draw.uniform(20, 80, 400))
    table = {"age": age, "smokes": (draw.random(400) < 0.3).astype(np.float64)}
    matrix = standardise(COLUMNS, table, scaling_from_sum(COLUMNS, summary_vector(COLUMNS, table)))
    assert matrix.dtype == np.float32
    present = ~np.isnan(age)
    assert not matrix[~present, 0].any()
    assert matrix[present, 0].mean() == pytest.approx(0, abs=1e-5)
    assert matrix[present, 0].std() == pytest.approx(1, abs=1e-5)
    for flag in (1, 2):
        assert matrix[:, flag].mean() == pytest.approx(0, abs=1e-5)
        assert matrix[:, flag].std() == pytest.approx(1, abs=1e-5)


def test_a_constant_or_absent_feature_becomes_0() -> None:
    table = {"age": np.full(5, np.nan), "smokes": np.ones(5)}
    scaling = scaling_from_sum(COLUMNS, _opened(COLUMNS, [table, table]))
    assert scaling.deviation == (0.0, 0.0, 0.0)
    assert not standardise(COLUMNS, table, scaling).any()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"age": np.array([17.0])}, "column smokes: wanted bool"),
        ({"age": np.array([17.0]), "smokes": np.ones(1)}, r"column age: wanted 18 to 110 year, got 17 to 17"),
        ({"age": np.array([np.inf]), "smokes": np.ones(1)}, "column age: wanted 18 to 110"),
        ({"age": np.array([20.0]), "smokes": np.array([np.nan])}, "column smokes: wanted no missing value"),
        ({"age": np.array([20.0, 30.0]), "smokes": np.ones(1)}, "columns of one length"),
        ({"age": np.zeros(0), "smokes": np.zeros(0)}, "at least one row"),
    ],
)
def test_values_that_do_not_fit_name_the_column(table: dict[str, Float64s], message: str) -> None:
    with pytest.raises(DataError, match=message):
        summary_vector(COLUMNS, table)


@pytest.mark.parametrize(
    ("total", "message"),
    [
        (np.zeros(6), "opened summary: wanted"),
        (np.array([0, 0, 0, 0, 0, 0, 0.0]), "values present"),
        (np.array([5, 6, 1, 1, 5, 1, 1.0]), "column age: wanted 0 to 5 values present, got 6"),
        (np.array([5, 5, 9, 1, 5, 1, 1.0]), "column age: wanted a sum from 0 to 5, got 9"),
        (np.array([5, 5, 1, np.nan, 5, 1, 1.0]), "finite"),
    ],
)
def test_a_sum_that_no_summaries_can_have_is_refused(total: Float64s, message: str) -> None:
    with pytest.raises(VectorError, match=message):
        scaling_from_sum(COLUMNS, total)


def test_the_same_question_has_the_same_key_in_another_range_and_study() -> None:
    other = parse_columns({"age": {"type": "int", "unit": "month", "range": [0, 2000]}, "weight": {"type": "float", "range": [0, 300]}})
    assert content_keys(other)[:2] == content_keys(COLUMNS)[:2]
    assert content_keys(other)[2] != content_keys(COLUMNS)[2]


def test_a_scaling_of_another_study_is_refused() -> None:
    with pytest.raises(VectorError, match="scaling: wanted 3 features, got 1"):
        standardise(COLUMNS, {"age": np.ones(1) * 20, "smokes": np.ones(1)}, Scaling((0.0,), (1.0,)))


def test_rows_hold_features_and_the_partys_own_labels(study: StudyLearning, table: Callable[[int, int], dict[str, Float64s]]) -> None:
    values = table(30, 1)
    del values["costly"]
    scaling = scaling_from_sum(study.columns, summary_vector(study.columns, values))
    rows = local_rows(study, values, scaling, ("illness",))
    assert rows.features.shape == (30, 4)
    assert rows.labels["illness"].tolist() == values["ill"].tolist()
    for bad, message in [
        ({**values, "ill": np.full(30, np.nan)}, "30 rows without one"),
        ({**values, "ill": np.full(30, 2.0)}, "column ill: wanted 0 and 1"),
        ({**values, "ill": np.ones(29)}, "column ill: wanted the label of illness"),
    ]:
        with pytest.raises(DataError, match=message):
            local_rows(study, bad, scaling, ("illness",))
    with pytest.raises(DataError, match="column costly: wanted the label of cost"):
        local_rows(study, values, scaling, ("cost",))
    with pytest.raises(DataError, match="at least one objective"):
        local_rows(study, values, scaling, ())
