"""A consistent copy of a store while its service runs, without what must never be copied.

The copy is a new store of this version, made by its migrations; rows are then written into it table by table, in one transaction that sees
one moment of the source. What a `Part` leaves out is never written anywhere, not even for a moment (a whole copy that is cleaned afterwards
would leave it on the disk). The source is only read, and its service is not held up.

Which rows stay out, and what a restored store must know about itself, is the service's to say, as a `CopyRules`; `retire` applies the
same to a store in place, before it is put aside. SQL in these rules is the services' own text, never anybody's input.

    copy_store(state / "party.db", draft, CopyRules("parley_party", {"round_events": Part(where="0")}))
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parley_service.database import BUSY_MILLISECONDS, migrate, open_engine, read_store
from parley_service.errors import LockedError, StoreDamagedError, StoreError

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE: Final = 0xFF
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Part:
    """What of a table is copied: the rows where `where` holds (SQL), with `instead` (column -> SQL) in place of what they hold."""

    where: str = "1"
    instead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CopyRules:
    """How the store of a service is copied. Tables that `parts` does not name are copied whole.

    `then` are statements that a copy gets at its end; `retire` make a store in place what its copy would be, but for `then`;
    `carry` take along into a store that is restored what the one that it replaces, attached as `old`, still knows.
    """

    package: str
    parts: Mapping[str, Part]
    then: Sequence[str] = ()
    retire: Sequence[str] = ()
    carry: Sequence[str] = ()


def copy_store(source: Path, target: Path, rules: CopyRules) -> None:
    """Write a copy of the store at `source` into the new file `target`, as one file without side files.

    StoreError if there is no store or it is not of this version, StoreDamagedError if SQLite cannot read it.
    """
    _require_current(source, rules.package)
    engine = open_engine(target)
    migrate(engine, rules.package)
    engine.dispose()
    with _opened(target) as store:
        store.execute("ATTACH ? AS source", (f"{source.absolute().as_uri()}?mode=ro",))
        store.execute("BEGIN")
        for table in _tables(store):
            _copy_table(store, table, rules.parts.get(table, Part()))
        for statement in rules.then:
            store.execute(statement)
        store.execute("COMMIT")
        store.execute("DETACH source")
        store.execute("PRAGMA journal_mode=DELETE")


def _require_current(path: Path, package: str) -> None:
    read_store(path, package, lambda _: None)


def _tables(store: sqlite3.Connection) -> list[str]:
    rows = store.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    return [name for (name,) in rows if name != "alembic_version"]


def _copy_table(store: sqlite3.Connection, table: str, part: Part) -> None:
    columns = [row[1] for row in store.execute(f'PRAGMA main.table_info("{table}")')]
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(part.instead.get(column, f'"{column}"') for column in columns)
    store.execute(f'INSERT INTO main."{table}" ({names}) SELECT {values} FROM source."{table}" WHERE {part.where}')  # noqa: S608 - our own names


def retire(path: Path, rules: CopyRules) -> None:
    """Take out of a store in place, overwriting it, what a copy would not have, and leave it without side files.

    Raises as `copy_store`, and LockedError, having changed nothing, while anybody reads the store.
    """
    _require_current(path, rules.package)
    with _opened(path) as store:
        store.execute("PRAGMA journal_mode=DELETE")  # empties and removes the write-ahead file; first, since a reader stands in its way
        store.execute("BEGIN IMMEDIATE")
        for statement in rules.retire:
            store.execute(statement)
        store.execute("COMMIT")


def carry(old: Path, new: Path, rules: CopyRules) -> None:
    """Take along into `new` what `old` still knows; as `copy_store` raises."""
    for path in (old, new):
        _require_current(path, rules.package)
    with _opened(new) as store:
        store.execute("ATTACH ? AS old", (f"{old.absolute().as_uri()}?mode=ro",))
        store.execute("BEGIN IMMEDIATE")
        for statement in rules.carry:
            store.execute(statement)
        store.execute("COMMIT")
        store.execute("DETACH old")
        store.execute("PRAGMA journal_mode=DELETE")


def integrity_faults(path: Path) -> list[str]:
    """Return what SQLite finds wrong with the file at `path` (pages, indexes, rows), nothing if it is sound. The file is only read."""
    with _translated(), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
        return [str(text) for (text,) in store.execute("PRAGMA integrity_check(20)") if text != "ok"]


def side_files(path: Path) -> tuple[Path, ...]:
    """Return the files that SQLite may keep beside a store."""
    return tuple(path.with_name(path.name + suffix) for suffix in _SIDE_FILES)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with _translated(), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as store:
        for pragma in ("secure_delete=ON", "synchronous=FULL", f"busy_timeout={BUSY_MILLISECONDS}"):
            store.execute(f"PRAGMA {pragma}")
        yield store


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
        if code in _DAMAGED:
            raise StoreDamagedError(f"the store is damaged: {error}") from error
        if code == sqlite3.SQLITE_BUSY:
            raise LockedError("the store is being read or written", do="Wait until no other command works on it.") from error
        raise StoreError(f"the store refused: {error}") from error
