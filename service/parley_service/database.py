r"""The store's engine: SQLite, one worker thread, group commit, migrations.

`Database.run` hands a synchronous function and a session to the one worker thread and returns its result **after the commit is on the
disk** (WAL, synchronous=FULL): who awaits it may acknowledge. Calls that arrive while a commit is under way are executed together in the
next transaction, each in its own savepoint, so that many callers share one fsync and one that fails does not undo the others.

A function given to `run` must be quick, must not wait for anything, and must return plain values: rows are detached afterwards.
If the caller is cancelled, the function is carried out all the same.

Each service keeps its tables in its own `MetaData` (both services may live in one process in tests) and its migrations in a package
`migrations` with this `env.py`, and revisions under `versions/` as alembic writes them (never rename one: its id is in every store):

    from parley_service.database import run_migrations
    from parley_gateway.tables import METADATA
    run_migrations(METADATA)

Only this file and the stores and tables of the services know SQL.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.pool import QueuePool
from sqlmodel import Session

from parley_service.errors import StoreDamagedError, StoreError, StoreNewerError

T = TypeVar("T")
GROUP: Final = 256  # most calls in one transaction
BUSY_MILLISECONDS: Final = 5_000
FLUSH_SECONDS: Final = 2.0  # what was deleted is off the disk so long after, unless somebody reads the store meanwhile
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", f"busy_timeout={BUSY_MILLISECONDS}")
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE: Final = 0xFF  # extended result codes keep the primary one in the low byte
_CONNECTION: Final = "connection"  # under this name alembic's env finds the connection


def open_engine(path: Path, *, read_only: bool = False) -> Engine:
    """Return an engine for the SQLite file at `path`, which is created 0600 unless `read_only`; StoreError if it cannot be."""
    if not read_only:
        _create_private(path)
    address = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"

    def connect() -> sqlite3.Connection:  # by hand: as a URL of SQLAlchemy some characters of a path would be read twice
        return sqlite3.connect(address, uri=True, check_same_thread=False)  # the pool hands it to one thread at a time

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=1, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late for savepoints and for reads
        for pragma in ("query_only=ON", *_PRAGMAS[2:]) if read_only else _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _create_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same mode
    except OSError as error:
        raise StoreError(f"store {path}", wanted="a file that this service may write", got=error.strerror or "an error") from error


class _Outcome(Generic[T]):
    """What a call came to: its value, or the error that its caller will see. As a context it keeps the error instead of letting it pass."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.error: Exception | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self.error = _translated(error)
        return True


@dataclass(frozen=True, slots=True)
class _Call:
    work: Callable[[Session], Any]
    future: asyncio.Future[Any]


class Database:
    """The store of a running service. Make it inside the event loop; `close` it at the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._waiting: list[_Call] = []
        self._pump: asyncio.Task[None] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._deleted = True  # an earlier process may have been killed before it emptied the write-ahead file
        self._closed = False

    async def run(self, work: Callable[[Session], T]) -> T:
        """Return `work(session)` once its transaction is on the disk.

        An exception of `work` undoes what `work` did and is raised here (IntegrityError as it is, other database errors as StoreError).
        """
        if self._closed:
            raise StoreError("the store is closed: the service is stopping")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(work, future))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._carry_out())
        if self._deleted and self._flushing is None:
            self.flush_deleted_soon()
        return await future

    async def close(self) -> None:
        """Carry out what waits, then let go of the file. Later calls are refused."""
        self._closed = True
        if self._pump is not None:
            await self._pump
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
        await asyncio.get_running_loop().run_in_executor(self._worker, self._let_go)
        self._worker.shutdown()

    async def flush_deleted(self) -> bool:
        """Empty the write-ahead file, so that what was deleted (round secrets) is there no more; False if a reader stands in the way.

        Deleted rows are overwritten in their pages (`secure_delete`), but earlier copies of these lie in the write-ahead file until then.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._truncate_log)

    def flush_deleted_soon(self) -> None:
        """Have `flush_deleted` done in `FLUSH_SECONDS`, once for all deletions until then; again while a reader stands in the way."""
        self._deleted = True
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_until_done())

    async def _flush_until_done(self) -> None:
        while self._deleted and not self._closed:
            await asyncio.sleep(FLUSH_SECONDS)
            self._deleted = False
            self._deleted = not await self.flush_deleted() or self._deleted

    async def _carry_out(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            together: _Outcome[list[_Outcome[Any]]] = _Outcome()
            with together:
                together.value = await loop.run_in_executor(self._worker, self._commit, [call.work for call in group])
            outcomes = together.value or [together] * len(group)
            for call, outcome in zip(group, outcomes, strict=True):
                _settle(call.future, outcome)

    def _commit(self, works: Sequence[Callable[[Session], Any]]) -> list[_Outcome[Any]]:
        outcomes = []
        with self._engine.begin() as connection:
            for work in works:
                outcome: _Outcome[Any] = _Outcome()
                with outcome, _savepoint(connection) as session, session.begin():
                    outcome.value = work(session)
                _require_transaction(connection)
                outcomes.append(outcome)
        return outcomes

    def _let_go(self) -> None:
        self._truncate_log()
        self._engine.dispose()

    def _truncate_log(self) -> bool:
        """Checkpoint without waiting for readers, since everything else waits for this thread."""
        with self._engine.connect() as connection:
            driver = connection.connection.driver_connection
            if not isinstance(driver, sqlite3.Connection):
                return True
            driver.execute("PRAGMA busy_timeout=0")
            try:
                busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError:  # locked, or the disk is full: the next write says so to whom it matters
                return False
            finally:
                driver.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
            return not busy


def _savepoint(connection: Connection) -> Session:
    return Session(bind=connection, join_transaction_mode="create_savepoint", expire_on_commit=False)


def _require_transaction(connection: Connection) -> None:
    """Raise StoreError if SQLite gave up the whole transaction (disk full, I/O error), which it does without being asked."""
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection) and not driver.in_transaction:
        raise StoreError("the store gave up a transaction", wanted="room on the disk and a disk that works")


def _settle(future: asyncio.Future[Any], outcome: _Outcome[Any]) -> None:
    if future.done():  # the caller was cancelled: the work is done all the same
        return
    if outcome.error is not None:
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome.value)


def _translated(error: Exception) -> Exception:
    """Return a database error as ours, others (and IntegrityError, which stores answer themselves) as they are."""
    if not isinstance(error, DatabaseError) or isinstance(error, IntegrityError):
        return error
    code = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in _DAMAGED:
        return StoreDamagedError(f"the store is damaged: {error.orig}")
    return StoreError(f"the store refused: {error.orig}")


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise _translated(error) from error


def read_store(path: Path, package: str, work: Callable[[Session], T]) -> T:
    """Return `work(session)` on the store of a stopped (or running) service, read-only. Refuses a store that this version cannot read."""
    if not path.is_file():
        raise StoreError(f"store {path}", wanted="a store written by a service", got="no such file", do="Start the service once.")
    engine = open_engine(path, read_only=True)
    try:
        with _ours(), engine.connect() as connection:
            revision, head, _ = _revisions(connection, package)
            if revision != head:
                raise StoreError(
                    f"store {path}",
                    wanted=f"revision {head}",
                    got=str(revision),
                    do="Start the service once: it brings its store up to date.",
                )
            with Session(bind=connection) as session:
                return work(session)
    finally:
        engine.dispose()


def store_revision(path: Path, package: str) -> str:
    """Return the revision of a store's tables; StoreNewerError if this version does not know it, StoreError if it has none."""
    engine = open_engine(path, read_only=True)
    try:
        with _ours(), engine.connect() as connection:
            revision, head, _ = _revisions(connection, package)
    finally:
        engine.dispose()
    if revision is None:
        raise StoreError(f"store {path}", wanted=f"tables of a revision up to {head}", got="none")
    return revision


def migrate(engine: Engine, package: str) -> None:
    """Bring the store up to this version, in one transaction. `package` is the service, such as `parley_gateway`.

    A store with a revision that this version does not have raises StoreNewerError and is left as it is.
    """
    with _ours(), engine.begin() as connection:
        revision, head, config = _revisions(connection, package)
        if revision == head:
            return
        config.attributes[_CONNECTION] = connection
        command.upgrade(config, "head")


def _revisions(connection: Connection, package: str) -> tuple[str | None, str | None, Config]:
    """Return the store's revision, this version's, and alembic's config; StoreNewerError if the first is not one of ours."""
    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreNewerError(f"store of {package}", wanted=f"a revision up to {scripts.get_current_head()}", got=revision[:80])
    return revision, scripts.get_current_head(), config


def run_migrations(metadata: MetaData) -> None:
    """Run the revisions that alembic chose; each service's `migrations/env.py` calls this and nothing else."""
    connection = context.config.attributes[_CONNECTION]
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


def schema_differences(engine: Engine, metadata: MetaData) -> list[Any]:
    """Return what alembic would still change to make the store equal the tables: a test wants an empty list."""
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))
