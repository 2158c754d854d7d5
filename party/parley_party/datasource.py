"""From files to numbers: a party's dataset, read as party.toml says, checked against the columns of a study.

Only the columns asked for are read, only rows of people who did not object, and no id of a person leaves duckdb. Nothing is repaired in
silence: a misfit names the column, what was wanted and what came, in counts and rounded bounds.

    >>> dataset, findings = read_dataset(config, columns.needed(("illness",)))    # doctest: +SKIP
    >>> dataset.training()["age"].mean()    # doctest: +SKIP

Sessions and what SQL may run in them are datasource_session's and datasource_query's; verdicts are datasource_columns'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
from numpy.typing import NDArray
from parley_crypto.tags import Tag
from parley_learning.columns import ColumnSpec

from parley_party.dataset import Dataset, DatasetConfig, Excluded, MappedColumn
from parley_party.datasource_columns import (
    ColumnFacts,
    Family,
    Finding,
    Verdict,
    absent,
    broken,
    describe,
    family_of,
    judge,
    measure,
    refuse_misfits,
    wanted,
)
from parley_party.datasource_query import ROWS, checked_expression, checked_query, first_line, literal, quoted
from parley_party.datasource_rows import HASH_BITS, canonical, digest_of, digest_of_list, held_out_share, order_of, row_hashes
from parley_party.datasource_session import open_tables
from parley_party.errors import DataError, QueryError

MAX_QUERY_BYTES: Final = 1 << 20
_HASH_DIGITS: Final = HASH_BITS // 4
_SEEN_BEFORE_DATA: Final = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)


@dataclass(frozen=True, slots=True)
class DatasetCheck:
    """What `data check` shows: a finding a column, and sizes. `digest` is empty unless every column fits."""

    dataset: str
    findings: tuple[Finding, ...]
    training_rows: int
    held_out_rows: int
    people: int
    excluded: Excluded
    digest: str

    @property
    def fits(self) -> bool:
        """Whether a study may use the dataset."""
        return all(finding.fits for finding in self.findings)


def query_text(query: str, folder: Path) -> str:
    """Return the SQL of party.toml's `query`: the text itself, or that of the file that it names (a path ending in .sql)."""
    if not query.strip().lower().endswith(".sql"):
        return query
    path = folder / query.strip()
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= MAX_QUERY_BYTES else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"query file {path}", wanted="a readable UTF-8 file", got=type(error).__name__, do="correct the path") from error
    if not text.strip():
        raise DataError(f"query file {path}", wanted=f"SQL of at most {MAX_QUERY_BYTES} bytes", got=f"{size} bytes", do="write one SELECT")
    return text


def read_dataset(config: DatasetConfig, specs: Sequence[ColumnSpec]) -> tuple[Dataset, tuple[Finding, ...]]:
    """Read the columns of `specs`; DataError that names every column that does not fit, or says that no row is left to train on."""
    with open_tables(config) as connection:
        reading = _read(_source(connection, config), specs)
    refuse_misfits(config.name, reading.findings)
    dataset = reading.dataset(config.name)
    if not dataset.training_rows:
        got = f"none of {len(dataset.held_out)} read, {dataset.held_out_rows} of them held out"
        raise DataError(f"dataset {config.name}", wanted="at least one training row", got=got, do="look at query and held_out")
    return dataset, reading.findings


def check_dataset(config: DatasetConfig, specs: Sequence[ColumnSpec] | None = None) -> DatasetCheck:
    """Compare a dataset with the columns of a study, or with none: then describe what is mapped (without a map, what the query gives).

    DataError only for what keeps the data from being read at all; a column that does not fit is a finding.
    """
    with open_tables(config) as connection:
        source = _source(connection, config)
        reading = _describe_all(source) if specs is None else _read(source, specs)
    dataset = reading.dataset(config.name)
    fits = all(finding.fits for finding in reading.findings)
    return DatasetCheck(
        config.name,
        reading.findings,
        dataset.training_rows,
        dataset.held_out_rows,
        dataset.people,
        dataset.excluded,
        dataset.digest if fits else "",
    )


def read_in_order(config: DatasetConfig, specs: Sequence[ColumnSpec]) -> dict[str, NDArray[np.float64]]:
    """Return the columns of `specs` in the order in which the query gives its rows, for predictions that are written beside them.

    Every row is read: exclusions and held-out rows are the caller's, who leaves them out of `config` or means them.
    """
    with open_tables(config) as connection:
        reading = _read(_source(connection, config), specs)
    refuse_misfits(config.name, reading.findings)
    return dict(zip(reading.names, reading.values.T.copy(), strict=True))


@dataclass(frozen=True, slots=True)
class _Source:
    """A checked query in an open session, and the SQL type of each of its columns."""

    connection: duckdb.DuckDBPyConnection
    config: DatasetConfig
    query: str
    columns: Mapping[str, str]

    def thing(self, part: str) -> str:
        return f"dataset {self.config.name}, {part}"

    def column(self, name: str, part: str) -> str:
        """Return a column of the query as an identifier; DataError if the query has none of that name."""
        for known in self.columns:
            if known.lower() == name.lower():
                return quoted(known)
        near = get_close_matches(name, list(self.columns), n=3)
        do = f"the nearest of its {len(self.columns)} columns: {', '.join(near)}" if near else "select it in the query"
        raise DataError(self.thing(part), wanted=f"a column {name} of the query", got="none of that name", do=do)

    def select(self, items: Iterable[str], where: str = "") -> str:
        clause = f"\nWHERE {where}" if where else ""
        return f"SELECT {', '.join(items)}\nFROM (\n{self.query}\n) AS {ROWS}{clause}"

    def run(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run checked SQL. Errors that come after data were touched may quote them: only their kind is told."""
        try:
            return self.connection.execute(sql)
        except duckdb.OutOfMemoryException:
            got = f"more than memory_mib = {self.config.memory_mib}"
            raise DataError(self.thing("query"), wanted="memory for it", got=got, do="raise memory_mib, or read less") from None
        except duckdb.Error as error:
            do = "a value does not convert: use TRY_CAST in query and map, or check the files"
            raise DataError(self.thing("query"), wanted="rows", got=f"{type(error).__name__} from duckdb", do=do) from None


@dataclass(frozen=True, slots=True)
class _Reading:
    """Columns as read, before order and digest."""

    findings: tuple[Finding, ...]
    names: tuple[str, ...]  # of the columns that could be read as numbers
    values: NDArray[np.float64]
    held_out: NDArray[np.bool_]
    units: NDArray[np.uint64] | None  # a hash of each row's unit
    excluded: Excluded

    def dataset(self, name: str) -> Dataset:
        order = order_of(self.values, self.held_out)
        values, held_out = self.values[order], self.held_out[order]
        return Dataset(
            name=name,
            columns=self.names,
            values=values,
            held_out=held_out,
            people=self._people(~self.held_out),
            people_held_out=self._people(self.held_out),
            excluded=self.excluded,
            digest=digest_of(self.names, values, held_out),
        )

    def _people(self, rows: NDArray[np.bool_]) -> int:
        return int(rows.sum()) if self.units is None else len(np.unique(self.units[rows]))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A study column with its SQL and the type that it has."""

    name: str
    mapped: MappedColumn
    sql: str
    kind: str


def _source(connection: duckdb.DuckDBPyConnection, config: DatasetConfig) -> _Source:
    query = checked_query(connection, config.query, set(config.files))
    bare = _Source(connection, config, query, {})
    return _Source(connection, config, query, _types(bare, bare.select(["*"]), "query"))


def _types(source: _Source, sql: str, part: str) -> dict[str, str]:
    """Return name and SQL type of each column of `sql`, which has been checked; QueryError if duckdb cannot bind it."""
    try:
        rows = source.connection.execute(f"DESCRIBE {sql}").fetchall()
    except _SEEN_BEFORE_DATA as error:
        raise QueryError(source.thing(part), wanted="SQL over the tables' columns", got=first_line(error), do="correct it") from None
    except duckdb.Error as error:
        do = "check types, and that the files are whole"
        raise QueryError(source.thing(part), wanted="SQL that can run", got=f"{type(error).__name__} from duckdb", do=do) from None
    return {str(row[0]): str(row[1]) for row in rows}


def _bind(source: _Source, mapped: Mapping[str, MappedColumn]) -> tuple[list[_Asked], dict[str, DataError]]:
    """Give each mapped column its SQL and type, and say what is wrong with those that have none.

    SQL that may not run at all is no finding: it raises QueryError.
    """
    sql: dict[str, str] = {}
    wrong: dict[str, DataError] = {}
    for name, each in mapped.items():
        part = f"column {name}"
        if each.sql is not None:
            sql[name] = f"(\n{checked_expression(source.connection, each.sql, source.thing(part))}\n)"
        else:
            try:
                sql[name] = source.column(each.column or name, part)
            except DataError as error:
                wrong[name] = error
    kinds = _kinds(source, sql, wrong)
    return [_Asked(name, mapped[name], sql[name], kind) for name, kind in kinds.items()], wrong


def _kinds(source: _Source, sql: Mapping[str, str], wrong: dict[str, DataError]) -> dict[str, str]:
    """Return the SQL type of each expression. One pass binds all; if it fails, one by one, and the culprits go into `wrong`."""
    if not sql:
        return {}
    try:
        return dict(
            zip(sql, _types(source, source.select(f"{each} AS c{i}" for i, each in enumerate(sql.values())), "map").values(), strict=True)
        )
    except QueryError:
        kinds = {}
        for name, each in sql.items():
            try:
                kinds[name] = next(iter(_types(source, source.select([each]), f"column {name}").values()))
            except QueryError as error:
                wrong[name] = error
        if not wrong:
            raise
        return kinds


def _read(source: _Source, specs: Sequence[ColumnSpec]) -> _Reading:
    bound, wrong = _bind(source, {spec.name: source.config.columns[spec.name] for spec in specs if spec.name in source.config.columns})
    asked = {each.name: each for each in bound}
    reading = _fetch(source, bound)
    facts = _facts(source, bound, reading, {spec.name: spec for spec in specs})
    findings = []
    for spec in specs:
        if spec.name in wrong:
            findings.append(broken(spec.name, wanted(spec), wrong[spec.name]))
        elif spec.name in asked:
            findings.append(judge(spec, asked[spec.name].mapped, asked[spec.name].kind, facts[spec.name]))
        else:
            findings.append(absent(spec, source.columns))
    return replace(reading, findings=tuple(findings))


def _describe_all(source: _Source) -> _Reading:
    bound, wrong = _bind(source, dict(source.config.columns) or {name: MappedColumn(name) for name in source.columns})
    reading = _fetch(source, bound)
    facts = _facts(source, bound, reading, {})
    findings = [Finding(each.name, "", describe(each.kind, facts[each.name], each.mapped.unit), Verdict.FITS) for each in bound]
    return replace(reading, findings=(*findings, *(broken(name, "", error) for name, error in wrong.items())))


def _fetch(source: _Source, asked: Sequence[_Asked]) -> _Reading:
    """Read every column that holds numbers, with the hash of each row's unit and the held-out mark."""
    config = source.config
    numeric = [each for each in asked if family_of(each.kind).numeric]
    unit = source.column(config.unit, "unit") if config.unit is not None else None
    where, excluded = _exclusion(source, unit)
    items = [f"CAST({each.sql} AS DOUBLE) AS c{index}" for index, each in enumerate(numeric)]
    items.append(f"{_held_out_sql(source)} AS held_out")
    if unit is not None:
        items += [f"{_unit_hash(config.name, unit)} AS unit_hash", f"{unit} IS NULL AS no_unit"]
    table = source.run(source.select(items, where)).fetchnumpy()
    rows = len(table["held_out"])
    if unit is not None and table["no_unit"].any():
        got = f"{int(table['no_unit'].sum())} of {rows} rows without one"
        raise DataError(
            source.thing(f"unit {config.unit}"), wanted="whose row it is, in every row", got=got, do="leave them out in the query"
        )
    columns = [np.ma.filled(table[f"c{index}"].astype(np.float64), math.nan) for index in range(len(numeric))]
    values = canonical(np.column_stack(columns) if columns else np.empty((rows, 0)))
    units = None if unit is None else np.ma.filled(table["unit_hash"], 0).astype(np.uint64)
    held_out = np.ma.filled(table["held_out"], fill_value=False).astype(np.bool_)
    if config.held_out.fraction:
        hashes, bits = (row_hashes(values), 64) if units is None else (units, HASH_BITS)
        held_out |= held_out_share(hashes, bits, config.held_out.fraction)
    return _Reading((), tuple(each.name for each in numeric), values, held_out, units, excluded)


def _unit_text(sql: str) -> str:
    return f"trim(CAST({sql} AS VARCHAR))"


def _unit_hash(dataset: str, unit: str) -> str:
    """Return SQL for 60 bits of a hash of the unit: enough to split and to count people, and no id."""
    salt = literal(f"{Tag.DATASET}/unit/{dataset}/")
    return f"CAST('0x' || substr(md5({salt} || {_unit_text(unit)}), 1, {_HASH_DIGITS}) AS BIGINT)"


def _held_out_sql(source: _Source) -> str:
    held_out = source.config.held_out
    if not 0 <= held_out.fraction < 1:
        raise DataError(source.thing("held_out"), wanted="a fraction from 0 to below 1", got=f"{held_out.fraction:g}", do="correct it")
    if held_out.column is None:
        return "false"
    if held_out.value is None or held_out.fraction:
        raise DataError(source.thing("held_out"), wanted="either a fraction, or column and value", got="a mixture", do="keep one of them")
    return f"coalesce(CAST({source.column(held_out.column, 'held_out')} AS VARCHAR) = {literal(held_out.value)}, false)"


def _exclusion(source: _Source, unit: str | None) -> tuple[str, Excluded]:
    """Return the condition that leaves out people on the exclusion list, and what it left out. Lists that cannot match are refused."""
    exclude = source.config.exclude
    if exclude is None:
        return "", Excluded()
    part = f"exclude {exclude.table}.{exclude.column}"
    if unit is None:
        raise DataError(source.thing(part), wanted="a unit to compare it with", got="none", do="write unit = the column of people's ids")
    if exclude.table not in source.config.files:
        raise DataError(source.thing(part), wanted=f"one of {', '.join(source.config.files)}", got=repr(exclude.table), do="name its file")
    listed = f"SELECT {quoted(exclude.column)} FROM {quoted(exclude.table)}"  # noqa: S608 - both are quoted
    kinds = [next(iter(_types(source, sql, part).values())) for sql in (listed, source.select([unit]))]
    if kinds[0] != kinds[1] and {family_of(kind) for kind in kinds} not in ({Family.WHOLE}, {Family.TEXT}):
        got = f"{kinds[0]} against {kinds[1]}, which would match nobody"
        raise DataError(source.thing(part), wanted="ids of the unit's type", got=got, do="cast one of them in the query")
    entries = f"SELECT {_unit_text('entry')} FROM ({listed}) AS list(entry) WHERE entry IS NOT NULL"  # noqa: S608 - checked
    texts = [str(row[0]) for row in source.run(f"{entries} GROUP BY 1").fetchall()]
    condition = f"coalesce({_unit_text(unit)} IN ({entries}), false)"
    counted = source.run(source.select(["count(*)", f"count(DISTINCT {_unit_text(unit)})"], condition)).fetchone()
    rows, people = counted if counted is not None else (0, 0)
    return f"NOT {condition}", Excluded(int(rows), int(people), digest_of_list(texts))


def _facts(source: _Source, asked: Sequence[_Asked], reading: _Reading, specs: Mapping[str, ColumnSpec]) -> dict[str, ColumnFacts]:
    """Count every column: numbers from what was read, text and the rest in duckdb, so that no text reaches Python."""
    places = {name: index for index, name in enumerate(reading.names)}
    facts = {name: measure(reading.values[:, place], specs.get(name)) for name, place in places.items()}
    others = [each for each in asked if each.name not in places]
    if others:
        counts = ["count(*)"]
        for each in others:
            number = f"TRY_CAST({each.sql} AS DOUBLE)" if family_of(each.kind) is Family.TEXT else "NULL"
            counts += [f"count({each.sql})", f"count({number})"]
        counted = source.run(source.select(counts)).fetchone() or ()
        for index, each in enumerate(others):
            rows, present, readable = int(counted[0]), int(counted[1 + 2 * index]), int(counted[2 + 2 * index])
            facts[each.name] = ColumnFacts(rows, missing=rows - present, readable=readable)
    return facts
