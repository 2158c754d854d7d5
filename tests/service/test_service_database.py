"""The store: acknowledged means on the disk, one failing call undoes only itself, migrations go forward only."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from parley_protocol.problems import Slug
from parley_service.database import GROUP, Database, migrate, open_engine, read_store, schema_differences
from parley_service.errors import StoreDamagedError, StoreError, StoreNewerError
from sqlalchemy import Engine, MetaData, event
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session, SQLModel, select


class Note(SQLModel, table=True):
    __tablename__ = "service_test_note"
    metadata = MetaData()

    id: int | None = Field(default=None, primary_key=True)
    text: str = Field(unique=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(tmp_path / "state" / "a store?#%.db")
    Note.metadata.create_all(engine)
    yield engine
    engine.dispose()


def add(text: str) -> Callable[[Session], str]:
    def work(session: Session) -> str:
        session.add(Note(text=text))
        session.flush()
        return text

    return work


def texts(session: Session) -> list[str]:
    return sorted(note.text for note in session.exec(select(Note)).all())


def commits(engine: Engine) -> list[int]:
    counted = [0]

    @event.listens_for(engine, "commit")
    def _count(_: object) -> None:
        counted[0] += 1

    return counted


def test_the_file_is_private_and_durable(engine: Engine, tmp_path: Path) -> None:
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    for file in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_run_returns_what_the_work_returns_after_its_commit(engine: Engine) -> None:
    counted = commits(engine)

    async def scenario() -> tuple[str, list[str]]:
        database = Database(engine)
        text = await database.run(add("one"))
        assert counted == [1]
        found = await database.run(texts)
        await database.close()
        return text, found

    assert asyncio.run(scenario()) == ("one", ["one"])


def test_calls_share_commits_and_keep_their_order(engine: Engine) -> None:
    counted = commits(engine)

    async def scenario() -> list[str]:
        database = Database(engine)
        done: list[str] = []

        async def one(index: int) -> None:
            done.append(await database.run(add(f"{index:04}")))

        await asyncio.gather(*(one(index) for index in range(3 * GROUP)))
        await database.close()
        return done

    assert asyncio.run(scenario()) == [f"{index:04}" for index in range(3 * GROUP)]
    assert counted[0] <= 4


def test_one_that_fails_does_not_undo_the_others(engine: Engine) -> None:
    def fail_after_writing(session: Session) -> None:
        session.add(Note(text="undone"))
        session.flush()
        raise ZeroDivisionError

    async def scenario() -> list[object]:
        database = Database(engine)
        works: list[Callable[[Session], object]] = [add("a"), fail_after_writing, add("a"), add("b")]
        outcomes = await asyncio.gather(*(database.run(work) for work in works), return_exceptions=True)
        assert await database.run(texts) == ["a", "b"]
        await database.close()
        return list(outcomes)

    first, failed, duplicate, last = asyncio.run(scenario())
    assert (first, last) == ("a", "b")
    assert isinstance(failed, ZeroDivisionError)
    assert isinstance(duplicate, IntegrityError)


def test_a_commit_that_fails_acknowledges_nobody(engine: Engine) -> None:
    @event.listens_for(engine, "commit")
    def _fail(_: object) -> None:
        raise OSError("disk full")

    async def scenario() -> list[object]:
        database = Database(engine)
        outcomes = await asyncio.gather(database.run(add("a")), database.run(add("b")), return_exceptions=True)
        event.remove(engine, "commit", _fail)
        assert await database.run(texts) == []
        await database.close()
        return list(outcomes)

    assert all(isinstance(outcome, OSError) for outcome in asyncio.run(scenario()))


def test_a_transaction_that_sqlite_gave_up_acknowledges_nobody(engine: Engine) -> None:
    def give_up(session: Session) -> None:
        driver = session.connection().connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute("ROLLBACK")  # what SQLite does by itself when the disk is full
        raise OSError("disk full")

    async def scenario() -> list[object]:
        database = Database(engine)
        outcomes = await asyncio.gather(database.run(add("a")), database.run(give_up), database.run(add("b")), return_exceptions=True)
        assert await database.run(texts) == []
        assert await database.run(add("c")) == "c"
        await database.close()
        return list(outcomes)

    assert all(isinstance(outcome, StoreError) for outcome in asyncio.run(scenario()))


def test_work_of_a_cancelled_caller_is_done_all_the_same(engine: Engine) -> None:
    async def scenario() -> list[str]:
        database = Database(engine)
        task = asyncio.create_task(database.run(add("a")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = await database.run(texts)
        await database.close()
        return found

    assert asyncio.run(scenario()) == ["a"]


def test_close_carries_out_what_waits_and_refuses_what_comes(engine: Engine) -> None:
    async def scenario() -> None:
        database = Database(engine)
        task = asyncio.create_task(database.run(add("a")))
        await asyncio.sleep(0)
        await database.close()
        assert await task == "a"
        with pytest.raises(StoreError, match="closed"):
            await database.run(texts)

    asyncio.run(scenario())


def test_deleted_secrets_leave_the_disk(engine: Engine, tmp_path: Path) -> None:
    secret = "s3cret" * 100

    def delete(session: Session) -> None:
        session.delete(session.exec(select(Note)).one())

    async def scenario() -> None:
        database = Database(engine)
        await database.run(add(secret))
        await database.run(delete)
        await database.flush_deleted()
        assert not any(secret.encode() in file.read_bytes() for file in (tmp_path / "state").iterdir())
        await database.close()

    asyncio.run(scenario())


def left_on_disk(secret: str, folder: Path) -> bool:
    return any(secret.encode() in file.read_bytes() for file in folder.iterdir())


async def until_gone(secret: str, folder: Path) -> None:
    async with asyncio.timeout(10):
        while left_on_disk(secret, folder):  # noqa: ASYNC110 - what is watched is the disk
            await asyncio.sleep(0.01)


def test_deleted_secrets_leave_the_disk_soon_also_behind_a_reader(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley_service.database.FLUSH_SECONDS", 0.02)
    secret, folder = "s3cret" * 100, tmp_path / "state"

    def delete(session: Session) -> None:
        session.delete(session.exec(select(Note).where(Note.text == secret)).one())

    async def scenario() -> None:
        database = Database(engine)
        for text in ("a", secret):
            await database.run(add(text))
        reader = sqlite3.connect(folder / "a store?#%.db")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM service_test_note").fetchall()
        await database.run(delete)
        database.flush_deleted_soon()
        await asyncio.sleep(0.1)
        assert left_on_disk(secret, folder), "a reader still sees it"
        assert await database.run(add("b")) == "b", "nobody waits for the reader"
        reader.close()
        await until_gone(secret, folder)
        await database.run(add(secret))
        await database.run(delete)
        database.flush_deleted_soon()
        await until_gone(secret, folder)
        await database.close()

    asyncio.run(scenario())


def test_what_was_deleted_before_a_kill_leaves_the_disk_after_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley_service.database.FLUSH_SECONDS", 0.02)
    secret = "s3cret" * 100
    program = dedent("""
        import os, signal, sys
        from pathlib import Path
        from parley_service.database import open_engine
        with open_engine(Path(sys.argv[1])).connect() as connection:
            for statement in ("CREATE TABLE t (s)", f"INSERT INTO t VALUES ('{sys.argv[2]}')", "DELETE FROM t"):
                connection.exec_driver_sql(statement)
                connection.commit()
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    path = tmp_path / "state" / "store.db"
    done = subprocess.run([sys.executable, "-c", program, str(path), secret], check=False)
    assert done.returncode == -signal.SIGKILL
    assert left_on_disk(secret, path.parent)

    async def scenario() -> None:
        database = Database(open_engine(path))
        await database.run(lambda _: None)
        await until_gone(secret, path.parent)
        await database.close()

    asyncio.run(scenario())


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    program = dedent("""
        import asyncio, sys
        from pathlib import Path
        from parley_service.database import Database, open_engine
        from sqlalchemy import text

        async def main():
            engine = open_engine(Path(sys.argv[1]))
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE t (n INTEGER)"))
            database = Database(engine)
            async def write(first):
                for n in range(first, 10**9, 4):
                    await database.run(lambda session: session.connection().execute(text("INSERT INTO t VALUES (:n)"), {"n": n}) and None)
                    print(n, flush=True)
            await asyncio.gather(*(write(first) for first in range(4)))
        asyncio.run(main())
    """)
    path = tmp_path / "store.db"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(200)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    connection = sqlite3.connect(path)
    stored = [row[0] for row in connection.execute("SELECT n FROM t")]
    connection.close()
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


ENV = """
from parley_service.database import run_migrations
from sqlalchemy import Column, Integer, MetaData, String, Table
METADATA = MetaData()
Table("thing", METADATA, Column("id", Integer, primary_key=True), Column("name", String, nullable=False))
run_migrations(METADATA)
"""
FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.create_table("thing", sa.Column("id", sa.Integer(), primary_key=True))
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    with op.batch_alter_table("thing") as thing:
        thing.add_column(sa.Column("name", sa.String(), nullable=False, server_default=""))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service with one revision; `versions/0002.py` is for the test to add."""
    folder = tmp_path / "code" / "sample_service_of_test"
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    for init in (folder, folder / "migrations"):
        (init / "__init__.py").touch()
    (folder / "migrations" / "env.py").write_text(ENV)
    (versions / "0001.py").write_text(FIRST)
    monkeypatch.syspath_prepend(folder.parent)
    yield folder.name
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def versions_of(tmp_path: Path) -> Path:
    return tmp_path / "code" / "sample_service_of_test" / "migrations" / "versions"


def test_migrations_go_forward_and_are_idempotent(tmp_path: Path, package: str) -> None:
    path = tmp_path / "store.db"
    engine = open_engine(path)
    migrate(engine, package)
    migrate(engine, package)
    (versions_of(tmp_path) / "0002.py").write_text(SECOND)
    with pytest.raises(StoreError, match="revision 0002, got 0001"):
        read_store(path, package, lambda _: None)
    migrate(engine, package)
    assert read_store(path, package, lambda session: list(session.connection().exec_driver_sql("SELECT name FROM thing"))) == []
    table = MetaData()
    assert [change[0] for change in schema_differences(engine, table)] == ["remove_table"]
    engine.dispose()


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path, package: str) -> None:
    engine = open_engine(tmp_path / "store.db")
    migrate(engine, package)
    (versions_of(tmp_path) / "0002.py").write_text(SECOND + "    raise RuntimeError('power cut')\n")
    with pytest.raises(RuntimeError, match="power cut"):
        migrate(engine, package)
    with engine.connect() as connection:
        assert "name" not in {row[1] for row in connection.exec_driver_sql("PRAGMA table_info(thing)")}
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0001"
    engine.dispose()


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path, package: str) -> None:
    engine = open_engine(tmp_path / "store.db")
    migrate(engine, package)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(StoreNewerError, match="got 0099") as caught:
        migrate(engine, package)
    assert caught.value.problem is Slug.STORE_NEWER
    with pytest.raises(StoreNewerError, match="got 0099"):
        read_store(tmp_path / "store.db", package, texts)
    engine.dispose()


def test_a_damaged_store_is_called_damaged(tmp_path: Path, package: str) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this was a database once" * 100)
    engine = open_engine(path)
    with pytest.raises(StoreDamagedError):
        migrate(engine, package)
    engine.dispose()
    with pytest.raises(StoreDamagedError):
        read_store(path, package, lambda _: None)


def test_reading_writes_nothing_and_needs_a_store(tmp_path: Path, package: str) -> None:
    path = tmp_path / "store.db"
    with pytest.raises(StoreError, match="no such file"):
        read_store(path, package, lambda _: None)
    assert not path.exists()
    engine = open_engine(path)
    migrate(engine, package)
    with pytest.raises(StoreError, match="readonly"):
        read_store(path, package, lambda session: session.connection().exec_driver_sql("INSERT INTO thing VALUES (1)"))
    engine.dispose()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"store\.db"):
        open_engine(tmp_path / "file" / "store.db")
