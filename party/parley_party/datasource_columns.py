"""Whether a column is what a study asks for: type, unit, range, missing values. Pure: numbers in, a verdict in words out.

What is shown is counts and bounds, the bounds rounded outward to three digits, so that no line holds a value of one person.

    >>> spec = parse_columns({"age": {"type": "float", "unit": "year", "range": (18, 110)}}).specs[0]
    >>> judge(spec, MappedColumn("age_years"), "BIGINT", measure(np.array([17.0, 40.0]), spec)).verdict
    <Verdict.MISFIT: 'does not fit'>
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from enum import StrEnum, unique
from typing import Final

import numpy as np
from numpy.typing import NDArray
from parley_learning.columns import ColumnSpec, ColumnType

from parley_party.dataset import MappedColumn
from parley_party.errors import DataError

EXACT: Final = 2**53  # up to here every whole number is a float64
_DIGITS: Final = 3
_WHOLE: Final = frozenset("TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT".split())  # noqa: SIM905 - read as one line
_BROKEN: Final = frozenset({"FLOAT", "DOUBLE", "DECIMAL"})


@unique
class Family(StrEnum):
    """What kind of value an SQL type holds."""

    WHOLE = "whole numbers"
    NUMBER = "numbers"
    BOOL = "true or false"
    TEXT = "text"
    OTHER = "neither numbers nor text"

    @property
    def numeric(self) -> bool:
        """Whether its values are read as float64."""
        return self in {Family.WHOLE, Family.NUMBER, Family.BOOL}


@unique
class Verdict(StrEnum):
    """What came out for one column."""

    FITS = "fits"
    LOOK = "fits, look at it"
    MISFIT = "does not fit"
    ABSENT = "not mapped"


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of `data check`: the column, what was wanted, what was got, the verdict, and what to do."""

    column: str
    wanted: str
    got: str
    verdict: Verdict
    do: str = ""

    @property
    def fits(self) -> bool:
        """Whether a study may use the column."""
        return self.verdict in {Verdict.FITS, Verdict.LOOK}


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """Counts and bounds of one column. `low` and `high` are over the finite values, and NaN where there are none."""

    rows: int
    missing: int = 0
    infinite: int = 0
    broken: int = 0  # finite, and not whole
    low: float = math.nan
    high: float = math.nan
    below: int = 0
    above: int = 0
    readable: int = 0  # of a text column: values that read as a number

    def bounds(self) -> str:
        """Return the bounds in words, rounded outward."""
        return f"{_outward(self.low, down=True)} to {_outward(self.high, down=False)}" if math.isfinite(self.low) else "no values"


def family_of(kind: str) -> Family:
    """Return the family of an SQL type as duckdb names it, such as `DECIMAL(10,2)`."""
    name = kind.split("(", 1)[0].strip().upper()
    if kind.endswith("]"):
        return Family.OTHER
    if name in _WHOLE:
        return Family.WHOLE
    if name in _BROKEN:
        return Family.NUMBER
    return {"BOOLEAN": Family.BOOL, "VARCHAR": Family.TEXT, "ENUM": Family.TEXT}.get(name, Family.OTHER)


def measure(values: NDArray[np.float64], spec: ColumnSpec | None = None) -> ColumnFacts:
    """Count and bound one column, float64[rows] with NaN where missing; `below` and `above` are against the range of `spec`."""
    present = values[~np.isnan(values)]
    finite = present[np.isfinite(present)]
    low, high = (spec.low, spec.high) if spec is not None else (-math.inf, math.inf)
    return ColumnFacts(
        rows=len(values),
        missing=len(values) - len(present),
        infinite=len(present) - len(finite),
        broken=int((finite != np.floor(finite)).sum()),
        low=float(finite.min()) if len(finite) else math.nan,
        high=float(finite.max()) if len(finite) else math.nan,
        below=int((finite < low).sum()),
        above=int((finite > high).sum()),
    )


def judge(spec: ColumnSpec, mapped: MappedColumn, kind: str, facts: ColumnFacts) -> Finding:
    """Compare a column of SQL type `kind` with what a study asks. The first misfit decides; a doubt is `LOOK`."""
    asked, got = wanted(spec), describe(kind, facts, mapped.unit)
    misfit = _type_misfit(spec, kind, facts) or _unit_misfit(spec, mapped) or _value_misfit(spec, facts)
    if misfit:
        return Finding(spec.name, asked, f"{misfit[0]} ({got})", Verdict.MISFIT, misfit[1])
    doubt = _doubt(spec, mapped, facts)
    return Finding(spec.name, asked, got, Verdict.LOOK if doubt else Verdict.FITS, doubt)


def describe(kind: str, facts: ColumnFacts, unit: str | None = None) -> str:
    """Return what a column holds, in words: type, rows, missing, bounds."""
    parts = [f"{family_of(kind)}, {kind}", f"{facts.rows} rows"]
    if facts.missing:
        parts.append(f"{facts.missing} missing")
    if family_of(kind).numeric:
        parts.append(facts.bounds() + (f" {unit}" if unit else ""))
    return ", ".join(parts)


def wanted(spec: ColumnSpec) -> str:
    """Return in words what a study asks of a column."""
    unit = f" in {spec.unit}" if spec.unit else ""
    bounds = "" if spec.type is ColumnType.BOOL else f" from {spec.low:g} to {spec.high:g}"
    return f"{spec.type}{unit}{bounds}{', missing allowed' if spec.missing_allowed else ''}"


def absent(spec: ColumnSpec, available: Iterable[str]) -> Finding:
    """Return the finding for a column that party.toml does not map; `available` are the columns of the query."""
    if spec.name in set(available):
        do = f'the query has a column of that name: write {spec.name} = "{spec.name}" in the dataset\'s map'
    else:
        do = f'write {spec.name} = "…" in the dataset\'s map: a column of the query, or SQL over its columns'
    return Finding(spec.name, wanted(spec), "nothing", Verdict.ABSENT, do)


def broken(column: str, asked: str, error: DataError) -> Finding:
    """Return the finding for a column whose map names what the query does not have, or does not bind."""
    return Finding(column, asked, error.got or str(error), Verdict.MISFIT, error.do or "correct it in the dataset's map")


def refuse_misfits(dataset: str, findings: Iterable[Finding]) -> None:
    """Raise DataError that names every column that does not fit; nothing if all do."""
    listed = list(findings)
    bad = [finding for finding in listed if not finding.fits]
    if not bad:
        return
    first = bad[0]
    if len(bad) == 1:
        raise DataError(f"dataset {dataset}, column {first.column}", wanted=first.wanted, got=first.got, do=first.do)
    lines = "".join(f"\n  column {each.column}: wanted {each.wanted}, got {each.got}; {each.do}" for each in bad)
    raise DataError(f"dataset {dataset}: {len(bad)} of {len(listed)} columns do not fit{lines}")


def _type_misfit(spec: ColumnSpec, kind: str, facts: ColumnFacts) -> tuple[str, str] | None:
    family = family_of(kind)
    match family:
        case Family.TEXT if spec.type is ColumnType.BOOL:
            return "text", f"write SQL that is true or false, such as {{ sql = \"{spec.name} = 'yes'\" }}"
        case Family.TEXT:
            present = facts.rows - facts.missing
            do = f'write {spec.name} = {{ sql = "TRY_CAST(… AS DOUBLE)" }}: what is no number becomes missing'
            return f"text of which {facts.readable} of {present} values read as numbers", do
        case Family.OTHER:
            return family.value, "write SQL that gives a number, such as { sql = \"date_diff('year', born, seen)\" }"
        case Family.BOOL if spec.type is not ColumnType.BOOL:
            return family.value, f'ask for bool, or write {spec.name} = {{ sql = "CAST(… AS INTEGER)" }}'
        case _:
            return _number_misfit(spec, facts)


def _number_misfit(spec: ColumnSpec, facts: ColumnFacts) -> tuple[str, str] | None:
    if facts.infinite:
        return f"{facts.infinite} infinite values", 'write SQL that makes them missing, such as { sql = "if(isfinite(x), x, NULL)" }'
    if spec.type is not ColumnType.FLOAT and facts.broken:
        return f"{facts.broken} values that are not whole", "round them in SQL, or ask for float"
    if spec.type is ColumnType.INT and max(-facts.low, facts.high) > EXACT:
        return "whole numbers beyond ±2^53", "they look like ids: ids are no columns of a study"
    if spec.type is ColumnType.BOOL and facts.below + facts.above:
        return "numbers other than 0 and 1", f'write SQL that is true or false, such as {{ sql = "{spec.name} > 0" }}'
    return None


def _unit_misfit(spec: ColumnSpec, mapped: MappedColumn) -> tuple[str, str] | None:
    if not mapped.unit or mapped.unit == spec.unit:
        return None
    if not spec.unit:
        return f"unit {mapped.unit}", f"the study asks for {spec.name} without a unit: leave it out, or settle it with the sponsor"
    return f"unit {mapped.unit}", f'convert it in SQL and write unit = "{spec.unit}"'


def _value_misfit(spec: ColumnSpec, facts: ColumnFacts) -> tuple[str, str] | None:
    if facts.rows == facts.missing:
        return "no values at all", "map another column, or correct its SQL"
    if facts.below or facts.above:
        got = f"{facts.below + facts.above} of {facts.rows} rows outside the range: {facts.below} below, {facts.above} above"
        return got, "correct unit or SQL, or leave those rows out in the query"
    if facts.missing and not spec.missing_allowed:
        return f"{facts.missing} of {facts.rows} rows without a value", "fill them or leave those rows out in the query"
    return None


def _doubt(spec: ColumnSpec, mapped: MappedColumn, facts: ColumnFacts) -> str:
    if spec.unit and not mapped.unit:
        return f'no unit is written: taken as {spec.unit}; write {{ sql = "…", unit = "{spec.unit}" }} to have it checked'
    if facts.low == facts.high:
        return "every row holds the same value: see whether the SQL means what it should"
    return ""


_NORMAL: Final = 1e-300  # below it a float has fewer digits than it prints


def _outward(value: float, *, down: bool) -> str:
    """Return `value` with three digits, rounded down or up."""
    rounded = Context(prec=_DIGITS, rounding=ROUND_FLOOR if down else ROUND_CEILING).create_decimal(repr(value))
    return f"{rounded:g}" if value and abs(value) < _NORMAL else f"{float(rounded):g}"
