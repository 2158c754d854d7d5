"""Verdicts on columns: what fits, what does not, and what the engineer is told."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_learning.columns import ColumnSpec, ColumnType
from parley_party.dataset import MappedColumn
from parley_party.datasource_columns import (
    ColumnFacts,
    Family,
    Finding,
    Verdict,
    absent,
    describe,
    family_of,
    judge,
    measure,
    refuse_misfits,
    wanted,
)
from parley_party.errors import DataError

AGE = ColumnSpec("age", ColumnType.FLOAT, "year", 18, 110, missing_allowed=False, objectives=())
VISITS = ColumnSpec("visits", ColumnType.INT, "", 0, 50, missing_allowed=True, objectives=())
ILL = ColumnSpec("ill", ColumnType.BOOL, "", 0, 1, missing_allowed=False, objectives=("illness",))
YEARS = MappedColumn("age_years", unit="year")
PLAIN = MappedColumn("x")


def judged(spec: ColumnSpec, values: list[float], *, kind: str = "DOUBLE", mapped: MappedColumn = PLAIN) -> Finding:
    return judge(spec, mapped, kind, measure(np.array(values), spec))


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("BIGINT", Family.WHOLE),
        ("UTINYINT", Family.WHOLE),
        ("DECIMAL(10,2)", Family.NUMBER),
        ("FLOAT", Family.NUMBER),
        ("BOOLEAN", Family.BOOL),
        ("VARCHAR", Family.TEXT),
        ("ENUM('a', 'b')", Family.TEXT),
        ("DATE", Family.OTHER),
        ("TIMESTAMP WITH TIME ZONE", Family.OTHER),
        ("DOUBLE[]", Family.OTHER),
        ("INTEGER[3]", Family.OTHER),
        ("STRUCT(a INTEGER)", Family.OTHER),
    ],
)
def test_each_sql_type_has_a_family(kind: str, family: Family) -> None:
    assert family_of(kind) is family


def test_a_column_that_fits() -> None:
    finding = judged(AGE, [18.0, 110.0, 40.5], mapped=YEARS)
    assert finding == Finding("age", "float in year from 18 to 110", "numbers, DOUBLE, 3 rows, 18 to 110 year", Verdict.FITS)


@pytest.mark.parametrize(
    ("spec", "kind", "values", "told"),
    [
        (AGE, "DOUBLE", [17.0, 120.0, 130.0], "3 of 3 rows outside the range: 1 below, 2 above"),
        (AGE, "DOUBLE", [20.0, math.nan], "1 of 2 rows without a value"),
        (AGE, "DOUBLE", [math.nan, math.nan], "no values at all"),
        (AGE, "DOUBLE", [20.0, math.inf], "1 infinite values"),
        (AGE, "BOOLEAN", [0.0, 1.0], "true or false"),
        (AGE, "DATE", [], "neither numbers nor text"),
        (VISITS, "DOUBLE", [1.0, 2.5], "1 values that are not whole"),
        (VISITS, "HUGEINT", [1.0, 2.0**60], "beyond ±2^53"),
        (ILL, "BIGINT", [0.0, 2.0], "numbers other than 0 and 1"),
        (ILL, "DOUBLE", [0.0, 0.5], "not whole"),
        (ILL, "VARCHAR", [], "text"),
    ],
)
def test_a_misfit_says_what_came_and_what_to_do(spec: ColumnSpec, kind: str, values: list[float], told: str) -> None:
    finding = judged(spec, values, kind=kind)
    assert (finding.verdict, finding.fits) == (Verdict.MISFIT, False)
    assert told in finding.got
    assert finding.wanted == wanted(spec)
    assert finding.do


def test_text_is_counted_not_shown() -> None:
    finding = judge(AGE, PLAIN, "VARCHAR", ColumnFacts(rows=10, missing=2, readable=5))
    assert finding.got.startswith("text of which 5 of 8 values read as numbers")
    assert "TRY_CAST" in finding.do


@pytest.mark.parametrize(
    ("spec", "unit", "verdict"),
    [
        (AGE, "year", Verdict.FITS),
        (AGE, None, Verdict.LOOK),
        (AGE, "month", Verdict.MISFIT),
        (VISITS, None, Verdict.FITS),
        (VISITS, "visits", Verdict.MISFIT),
    ],
)
def test_the_unit_is_compared(spec: ColumnSpec, unit: str | None, verdict: Verdict) -> None:
    assert judged(spec, [20.0, 30.0], mapped=MappedColumn("x", unit=unit)).verdict is verdict


def test_a_column_that_never_changes_is_to_be_looked_at() -> None:
    finding = judged(ILL, [1.0, 1.0])
    assert (finding.verdict, finding.fits) == (Verdict.LOOK, True)
    assert "same value" in finding.do


def test_an_absent_column_says_how_to_map_it() -> None:
    assert 'write age = "age"' in absent(AGE, ["id", "age"]).do
    assert 'write age = "…"' in absent(AGE, ["id"]).do


def test_one_misfit_is_named_and_several_are_listed() -> None:
    good, low = judged(AGE, [20.0, 30.0], mapped=YEARS), judged(AGE, [1.0, 20.0], mapped=YEARS)
    refuse_misfits("d", [good])
    with pytest.raises(DataError, match=r"dataset d, column age: wanted float in year from 18 to 110, got 1 of 2 rows outside") as one:
        refuse_misfits("d", [good, low])
    assert one.value.do == low.do
    with pytest.raises(DataError, match=r"2 of 3 columns do not fit\n  column age: wanted .*\n  column visits: wanted"):
        refuse_misfits("d", [low, good, absent(VISITS, [])])


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
def test_bounds_are_rounded_outward(values: list[float]) -> None:
    facts = measure(np.array(values))
    low, high = (float(end) for end in facts.bounds().split(" to "))
    assert low <= facts.low
    assert high >= facts.high
    assert all(len(re.sub(r"e.*|[^0-9]", "", end).strip("0")) <= 3 for end in facts.bounds().split(" to "))


@given(st.lists(st.one_of(st.floats(-200, 200), st.just(math.nan)), max_size=30))
def test_every_value_is_counted_once(values: list[float]) -> None:
    facts = measure(np.array(values, dtype=np.float64), AGE)
    inside = sum(18 <= value <= 110 for value in values)
    assert facts.rows == facts.missing + facts.below + facts.above + inside
    assert judge(AGE, YEARS, "DOUBLE", facts).fits is (inside == len(values) > 0)


def test_a_description_without_numbers_has_no_bounds() -> None:
    assert describe("VARCHAR", ColumnFacts(rows=3, missing=1)) == "text, VARCHAR, 3 rows, 1 missing"
    assert describe("DOUBLE", measure(np.array([math.nan]))) == "numbers, DOUBLE, 1 rows, 1 missing, no values"
