"""A duckdb session that sees the named files and nothing else.

Order matters here, so the steps are numbered in the code:
1. connect in memory, with extensions, their installation, stored secrets and Python's own variables off, and no spill files on disk;
2. find the files of each table, and allow exactly these paths;
3. make a view a table;
4. switch all other access to files and network off, and lock every setting, so that no later SQL can switch it on again.

Errors from step 3 on may quote lines of a file, so duckdb's message is not passed on: only its kind.

    with open_tables(config) as connection:
        connection.execute(checked_query(connection, config.query, set(config.files)))
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from parley_party.dataset import DatasetConfig
from parley_party.datasource_query import literal, quoted
from parley_party.errors import DataError

MAX_FILES: Final = 10_000  # a table
_TABLE_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_NUMBER: Final = re.compile(r"[-+]?[0-9]+([.,][0-9]*)?(_[0-9]+)?")  # also as duckdb renames a second column of that name
_RESERVED: Final = "parley_"
_WILDCARDS: Final = frozenset("*?[")
_READERS: Final = {
    ".csv": "read_csv({files}, header = true, sample_size = -1, union_by_name = true)",
    ".tsv": "read_csv({files}, header = true, sample_size = -1, union_by_name = true)",
    ".parquet": "read_parquet({files}, union_by_name = true)",
}
_ALIASES: Final = {".txt": ".csv", ".pq": ".parquet"}


@contextmanager
def open_tables(config: DatasetConfig) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a session in which each name of `config.files` is a view over its files; DataError if a table has no readable file."""
    options: dict[str, str | bool | int | float | list[str]] = {
        "allow_community_extensions": False,
        "allow_persistent_secrets": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": f"{config.memory_mib}MiB",
        "python_enable_replacements": False,
        "temp_directory": "",
        "threads": config.threads,
    }
    connection = duckdb.connect(":memory:", config=options)  # 1
    try:
        tables = {name: matching_files(config, name) for name in config.files}
        allowed = sorted({str(path) for paths in tables.values() for path in paths})
        connection.execute(f"SET allowed_paths = [{', '.join(map(literal, allowed))}]")  # 2
        for name, paths in tables.items():
            _make_view(connection, config, name, paths)  # 3
        connection.execute("SET enable_external_access = false")  # 4
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def matching_files(config: DatasetConfig, table: str) -> tuple[Path, ...]:
    """Return the files of a table, resolved and in order; DataError if its name is no table name or nothing matches."""
    thing = f"dataset {config.name}, files.{table}"
    if not _TABLE_NAME.fullmatch(table) or table.startswith(_RESERVED):
        raise DataError(thing, wanted=f"a name of a-z, 0-9 and _ that does not begin with {_RESERVED}", got=repr(table), do="rename it")
    pattern = config.folder / config.files[table]
    paths = tuple(sorted(path for path in _expand(pattern) if path.is_file()))
    if not paths:
        raise DataError(thing, wanted="at least one file", got=f"none at {pattern}", do="correct the path; it is relative to party.toml")
    if len(paths) > MAX_FILES:
        raise DataError(thing, wanted=f"at most {MAX_FILES} files", got=f"{len(paths)} at {pattern}", do="name them more narrowly")
    return paths


def kind_of(path: Path) -> str:
    """Return ".csv", ".tsv" or ".parquet" for a file's name, or its own ending where it is none of them."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return _ALIASES.get(suffix.lower(), suffix.lower())


def _expand(pattern: Path) -> list[Path]:
    if pattern.is_file():  # a name may hold a [ of its own
        return [pattern.resolve()]
    parts = pattern.parts
    fixed = next((index for index, part in enumerate(parts) if _WILDCARDS & set(part)), len(parts))
    if fixed == len(parts):
        return []
    return [path.resolve() for path in Path(*parts[:fixed]).resolve().glob(str(Path(*parts[fixed:])))]


def _make_view(connection: duckdb.DuckDBPyConnection, config: DatasetConfig, name: str, paths: tuple[Path, ...]) -> None:
    thing = f"dataset {config.name}, files.{name}"
    kinds = {kind_of(path) for path in paths}
    reader = _READERS.get(next(iter(kinds)), "") if len(kinds) == 1 else ""
    if not reader:
        raise DataError(
            thing,
            wanted="files of one kind: .csv, .tsv (also .gz) or .parquet",
            got=", ".join(sorted(kind or "no ending" for kind in kinds)),
            do="name a table for each kind",
        )
    listed = f"[{', '.join(literal(str(path)) for path in paths)}]"
    try:
        connection.execute(f"CREATE VIEW {quoted(name)} AS SELECT * FROM {reader.format(files=listed)}")  # noqa: S608 - both are quoted
    except duckdb.Error as error:
        got = f"{type(error).__name__} from duckdb on reading {len(paths)} file(s), first {paths[0]}"
        do = "check that the file is whole, is UTF-8 and has a header line"
        raise DataError(thing, wanted="readable CSV or Parquet", got=got, do=do) from None
    names = [str(row[0]) for row in connection.execute(f"DESCRIBE {quoted(name)}").fetchall()]
    numbers = sum(bool(_NUMBER.fullmatch(each)) for each in names)
    if 2 * numbers > len(names):  # then the first person would be taken for the header
        got = f"{numbers} of {len(names)} columns named by a number"
        raise DataError(thing, wanted="a header line with the columns' names", got=got, do="write one as the first line of each file")
