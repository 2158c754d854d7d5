"""A first party.toml and a first `[columns]` from a CSV file: types, ranges, missing values, categories. The engineer corrects it.

It guesses from counts and bounds. The ranges are the file's own, rounded outward: what is possible is for people to write. A text column
with few values becomes one bool column a value, if at least 10 rows hold it; rarer values are counted, not written.

    >>> print(guess_columns(Path("visits.csv")))    # doctest: +SKIP
    [columns]
    age = { type = "int", range = [10, 90] }
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Final

import duckdb
from parley_learning.columns import MISSING_SUFFIX

from parley_party.dataset import DatasetConfig
from parley_party.datasource_columns import EXACT, Family, family_of
from parley_party.datasource_query import literal, quoted
from parley_party.datasource_session import open_tables
from parley_party.errors import DataError

TABLE: Final = "data"
_QUERY: Final = "SELECT * FROM data"
_LOADED: Final = "parley_loaded"
LEAST_ROWS: Final = 10  # that hold a category before its name is written
MOST_CATEGORIES: Final = 8
HELD_OUT: Final = 0.34
_MEMORY_MIB: Final = 4096
_MOSTLY_NUMBERS: Final = 0.8
_NAME_LENGTH: Final = 48
_ID: Final = re.compile(r"(^|_)(id|uuid|pseudonym)$")


@dataclass(frozen=True, slots=True)
class _Column:
    """What one column of the file holds."""

    source: str  # its name in the file
    name: str  # its name as a study column
    family: Family
    rows: int
    present: int
    different: int
    readable: int  # values that read as finite numbers
    whole: bool
    low: float
    high: float
    categories: tuple[tuple[str, int], ...] = ()

    @property
    def missing(self) -> int:
        """Rows without a value, or for a column of numbers without a number."""
        return self.rows - (self.readable if self.is_number else self.present)

    @property
    def is_bool(self) -> bool:
        return self.family is Family.BOOL or (self.is_number and self.whole and (self.low, self.high) == (0, 1))

    @property
    def is_id(self) -> bool:
        return bool(_ID.search(self.name)) or (self.family is Family.TEXT and self.different == self.rows > LEAST_ROWS)

    @property
    def is_number(self) -> bool:
        return self.family in {Family.WHOLE, Family.NUMBER} or (
            self.family is Family.TEXT and self.present > 0 and self.readable >= _MOSTLY_NUMBERS * self.present
        )


@dataclass(frozen=True, slots=True)
class _Guess:
    """One study column: its line of the map, its line of `[columns]`, and what to look at. `spec` is empty for one left out."""

    name: str
    mapped: str
    spec: str
    look: str


def guess_party_toml(csv_path: Path, party_id: str) -> str:
    """Return a party.toml with one dataset over the file; DataError if it does not read as CSV or has nothing to map."""
    columns = _columns(csv_path)
    guesses = [guess for column in columns for guess in _guesses(column)]
    unit = next((column.source for column in columns if column.is_id), None)
    lines = [_HEAD.format(party=party_id)]
    lines.append(f"[data.{_dataset_name(csv_path)}]  # the name of your data; a privacy budget hangs on it, so settle it once")
    lines.append(f"files = {{ {TABLE} = {_text(str(csv_path.resolve()))} }}")
    lines.append(f"query = {_text(guess_query(csv_path)[0])}  # LOOK: a file with one SELECT; leave out rows there that must not be used")
    if unit is None:
        lines.append('# unit = "…"  # LOOK: the column that says whose row it is; without it every row counts as a person')
    else:
        lines.append(f"unit = {_text(unit)}  # LOOK: whose row it is; several rows of one person are one unit")
    lines.append(f"held_out = {HELD_OUT}  # share of the people, kept back to measure the model; these rows never train")
    lines.append(f"\n[data.{_dataset_name(csv_path)}.map]  # study column = column of the query, or {{ sql = …, unit = … }}")
    lines += [f"{guess.mapped}{_comment(guess.look)}" for guess in guesses]
    return "\n".join(lines) + "\n" + _TAIL


def guess_query(csv_path: Path) -> tuple[str, str]:
    """Return the name and the text of the query file that `guess_party_toml` names, to be written beside party.toml."""
    return f"{_dataset_name(csv_path)}.sql", f"-- one SELECT over the names in `files`; read-only\n{_QUERY}\n"


def guess_columns(csv_path: Path) -> str:
    """Return a `[columns]` block of study.toml that the map of `guess_party_toml` fits; DataError as there."""
    guesses = [guess for column in _columns(csv_path) for guess in _guesses(column)]
    lines = [
        "[columns]",
        "# LOOK: every party must map these. Write what is possible, not what one file happens to hold; add unit = where there is one.",
        '# LOOK: give the label of each objective objectives = ["…"]; a column without objectives is an input of the model.',
    ]
    return "\n".join([*lines, *(guess.spec for guess in guesses if guess.spec)]) + "\n"


def _columns(csv_path: Path) -> list[_Column]:
    config = DatasetConfig("guess", {TABLE: str(csv_path.resolve())}, _QUERY, memory_mib=_MEMORY_MIB)
    with open_tables(config) as connection:
        try:
            return list(_measured(connection))
        except duckdb.Error as error:
            got = f"{type(error).__name__} from duckdb"
            raise DataError(f"file {csv_path}", wanted="readable CSV", got=got, do="check that it is whole, UTF-8, with a header") from None


def _measured(connection: duckdb.DuckDBPyConnection) -> Iterator[_Column]:
    connection.execute(f"CREATE TABLE {_LOADED} AS {_QUERY}")  # so that the file is read once, not once a column
    taken: set[str] = set()
    for source, kind, *_ in connection.execute(f"DESCRIBE {_LOADED}").fetchall():
        name = _study_name(str(source), taken)
        taken.add(name)
        family = family_of(str(kind))
        value = f"TRY_CAST({quoted(source)} AS DOUBLE)" if family.numeric or family is Family.TEXT else "CAST(NULL AS DOUBLE)"
        row = connection.execute(
            f"SELECT count(*), count(c), count(DISTINCT c), count(v), coalesce(bool_and(v = floor(v)), false), min(v), max(v) "  # noqa: S608 - quoted
            f"FROM (SELECT {quoted(source)} AS c, if(isfinite({value}), {value}, NULL) AS v FROM {_LOADED})"
        ).fetchone()
        rows, present, different, readable, whole, low, high = row or (0, 0, 0, 0, False, None, None)
        low, high = (math.nan if end is None else float(end) for end in (low, high))
        categories = _categories(connection, str(source)) if family is Family.TEXT and different <= MOST_CATEGORIES else ()
        yield _Column(str(source), name, family, rows, present, different, readable, bool(whole), low, high, categories)


def _categories(connection: duckdb.DuckDBPyConnection, source: str) -> tuple[tuple[str, int], ...]:
    column = quoted(source)
    counted = f"SELECT {column}, count(*) FROM {_LOADED} WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 1"  # noqa: S608 - quoted
    return tuple((str(text), int(count)) for text, count in connection.execute(counted).fetchall())


def _guesses(column: _Column) -> Iterator[_Guess]:
    """Give the study columns that one column of the file becomes."""
    if column.different <= 1 or (column.is_number and column.low == column.high):
        yield _left_out(column, "every row holds the same value")
    elif column.is_id:
        yield _left_out(column, "it looks like an id: ids are no columns of a study")
    elif column.is_bool:
        yield _guess(column, "bool", "", "true or false: is it a label?")
    elif column.is_number:
        ends = _nice_range(column.low, column.high)
        kind = "int" if column.whole else "float"
        look = f"{'whole numbers' if column.whole else 'numbers'}, {column.missing or 'none'} of {column.rows} missing; which unit?"
        yield _guess(column, kind, f", range = [{_number(ends[0])}, {_number(ends[1])}]", look)
    elif column.categories:
        yield from _category_guesses(column)
    else:
        what = f"text with {column.different} different values" if column.family is Family.TEXT else column.family.value
        yield _left_out(column, f"{what}: write SQL that gives numbers or true and false")


def _guess(column: _Column, kind: str, bounds: str, look: str) -> _Guess:
    missing = ', missing = "allowed"' if column.missing else ""
    if column.family is Family.TEXT:  # text among numbers marks what is missing
        mapped = f"{column.name} = {{ sql = {_text(f'TRY_CAST({quoted(column.source)} AS DOUBLE)')} }}"
        look += f"; {column.present - column.readable} texts among the numbers become missing"
    else:
        mapped = f"{column.name} = {_text(column.source)}"
    return _Guess(column.name, mapped, f'{column.name} = {{ type = "{kind}"{bounds}{missing} }}', look)


def _category_guesses(column: _Column) -> Iterator[_Guess]:
    rare = sum(count for _, count in column.categories if count < LEAST_ROWS)
    taken: set[str] = set()
    for text, count in column.categories:
        if count < LEAST_ROWS:
            continue
        name = _study_name(f"{column.name}_{text}", taken)
        taken.add(name)
        sql = f"coalesce({quoted(column.source)} = {literal(text)}, false)"
        look = f"{count} of {column.rows} rows" + (
            f"; {column.missing} without a value count as no" if column.rows > column.present else ""
        )
        yield _Guess(name, f"{name} = {{ sql = {_text(sql)} }}", f'{name} = {{ type = "bool" }}', look)
    if rare or not taken:
        yield _left_out(column, f"{rare} rows hold values that fewer than {LEAST_ROWS} rows share: nothing is written for them")


def _left_out(column: _Column, why: str) -> _Guess:
    return _Guess(column.name, f"# {column.name}: left out", "", why)


def _nice_range(low: float, high: float) -> tuple[float, float]:
    """Return bounds rounded outward to the power of ten of their span, so at least a tenth of it."""
    lowest, highest = Decimal(repr(low)), Decimal(repr(high))  # exact: a bound must not cut off the value it came from
    step = Decimal(10) ** (highest - lowest).adjusted()
    down = (lowest / step).to_integral_value(ROUND_FLOOR) * step
    up = (highest / step).to_integral_value(ROUND_CEILING) * step
    return float(down), float(up)


def _study_name(source: str, taken: set[str]) -> str:
    """Return a study column's name for a column of a file: a-z, 0-9 and _, begins with a letter, not taken."""
    name = re.sub(r"[^a-z0-9]+", "_", source.lower()).strip("_")[:_NAME_LENGTH]
    name = name if name and name[0].isalpha() else f"c_{name}".rstrip("_")
    if name.endswith(MISSING_SUFFIX):  # the name of another feature's flag
        name += "_flag"
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _dataset_name(csv_path: Path) -> str:
    return _study_name(csv_path.name.split(".")[0], set())


def _text(value: str) -> str:
    """Return `value` as a TOML string, in single quotes where that spares backslashes."""
    if '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < EXACT else repr(value)


def _comment(look: str) -> str:
    return f"  # LOOK: {look}" if look else ""


_HEAD: Final = """\
# party.toml: one organization's service. Guessed from a CSV file: go through every line that says LOOK, then run `parley data check`.
schema = "parley.party/1"

[party]
id = "{party}"
policy = "policy.toml"
state = "state"
control = "state/control.sock"

[keys]
dir = "keys"
passphrase = "prompt"  # LOOK: env:NAME | file:PATH | credential:NAME | prompt
"""

_TAIL: Final = """
[training]
device = "cpu"
threads = 1
memory_mib = 2048
work_dir = "state/work"

[log]
format = "json"
level = "info"

[metrics]
listen = "127.0.0.1:9441"
"""
