"""Backups: one file, nothing secret in it, nothing replaced by it but on purpose, and never half a store."""

from __future__ import annotations

import asyncio
import io
import os
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from parley_party.fence import FenceState
from parley_party.store import COPY, PACKAGE, Change, Outgoing, PartyStore
from parley_party.tables import EvidenceRow, RoundRow, StudyRow
from parley_protocol.problems import Slug
from parley_service import backup as module
from parley_service import storecopy
from parley_service.backup import Site, backup, restore
from parley_service.backupfile import STORE, BackupHeader, read_header, write_backup
from parley_service.database import Database, migrate, open_engine
from parley_service.errors import ConfigError, LockedError, StoreDamagedError, StoreError, StoreNewerError
from parley_service.findings import faults_of
from parley_service.lockfile import FolderLock
from parley_service.storecopy import integrity_faults

NOW = 1_800_000_000.0
SEED = bytes(range(200, 248))
SECRETS = (SEED, b"boxes of an open round", b"shares that wait to be sent")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site("party", "clinic", tmp_path / "state", tmp_path / "state" / "party.db", COPY, {"sums": tmp_path / "state" / "sums"})
    asyncio.run(filled(made))
    sums = made.extra["sums"] / "heart" / "1.sums"
    sums.parent.mkdir(parents=True)
    sums.write_bytes(b"opened")
    return made


async def filled(site: Site) -> None:
    """Fill a store: round 1 is closed, round 2 is open."""
    engine = open_engine(site.store)
    migrate(engine, PACKAGE)
    database = Database(engine)
    store = PartyStore(database)
    study = StudyRow(study="heart", federation="f", state="RUNNING", proposal="p", members="[]", agreement="a")
    await store.apply("f", Change(study=study, cursor=7, evidence=(EvidenceRow(at=1, study="heart", kind="k", body="kept"),)))
    await store.apply("f", Change(round=round_row(1, outcome="opened")))
    waiting = (Outgoing("heart", 2, "share", SECRETS[2].decode()), Outgoing("heart", 0, "offer", "an offer"))
    change = Change(round=round_row(2, seed=SEED), event=("heart", 2, "boxes", SECRETS[1].decode()), outgoing=waiting)
    await store.apply("f", change)
    await database.close()


def round_row(number: int, *, seed: bytes = b"", outcome: str = "") -> RoundRow:
    return RoundRow(study="heart", number=number, step=0, base=f"base {number}", parameters="p", entered="{}", seed=seed, outcome=outcome)


def rows(store: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return list(connection.execute(query))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_backup_holds_the_store_without_what_is_secret_of_a_round(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "a.parley"
    header = backup(site, out, now=NOW)
    assert (header.kind, header.id, header.at) == ("party", "clinic", NOW)
    assert [entry.name for entry in header.files] == [STORE, "sums/heart/1.sums"]
    assert read_header(out) == header
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    raw = out.read_bytes()
    assert b"kept" in raw
    assert b"an offer" in raw
    for secret in SECRETS:
        assert secret in b"".join(files(site.folder).values()), "the store holds it, so the test can fail"
        assert secret not in raw
    assert {path.name for path in tmp_path.iterdir()} == {"a.parley", "state"}, "no draft is left"
    assert not [path for path in site.folder.iterdir() if path.name.startswith(".")]


def test_a_backup_replaces_nothing(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "a.parley"
    out.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="wanted no file of that name yet") as caught:
        backup(site, out, now=NOW)
    assert caught.value.problem is Slug.CONFLICT
    assert out.read_bytes() == b"mine"


def test_a_backup_that_could_not_be_written_leaves_no_file(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        backup(site, tmp_path / "a.parley", now=NOW)
    assert not (tmp_path / "a.parley").exists()


def test_a_backup_while_the_service_writes_is_of_one_moment(site: Site, tmp_path: Path) -> None:
    async def scenario() -> None:
        database = Database(open_engine(site.store))
        store = PartyStore(database)

        async def write() -> None:
            for number in range(3, 60):  # each transaction writes two rows that belong together
                note = EvidenceRow(at=1, study="heart", kind="round", body=str(number))
                await store.apply("f", Change(round=round_row(number, outcome="opened"), evidence=(note,)))

        async def copy() -> None:
            for index in range(4):
                await asyncio.to_thread(backup, site, tmp_path / f"{index}.parley", now=NOW)

        await asyncio.gather(write(), copy())
        await database.close()

    asyncio.run(scenario())
    for index in range(4):
        fresh = replace(site, folder=tmp_path / f"new{index}", store=tmp_path / f"new{index}" / "party.db", extra={})
        restore(fresh, tmp_path / f"{index}.parley", now=NOW)
        rounds = rows(fresh.store, "SELECT number FROM rounds WHERE number > 2 ORDER BY number")
        assert [str(number) for (number,) in rounds] == [
            body for (body,) in rows(fresh.store, "SELECT body FROM evidence WHERE kind = 'round'")
        ]


def test_what_is_restored_is_fenced_and_its_open_round_is_spent(site: Site, tmp_path: Path) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)
    (site.extra["sums"] / "heart" / "1.sums").write_bytes(b"damaged")
    before = rows(site.store, "SELECT * FROM evidence")
    restored = restore(site, tmp_path / "a.parley", now=NOW)
    assert restored.remark == ""
    assert rows(site.store, "SELECT * FROM evidence") == before
    assert rows(site.store, "SELECT number, outcome, sealed, length(seed) FROM rounds ORDER BY number") == [
        (1, "opened", 0, 0),
        (2, "lost", 1, 0),
    ]
    assert rows(site.store, "SELECT study, state, round FROM fences") == [("heart", FenceState.RESTORED.value, 2)]
    assert rows(site.store, "SELECT cursor FROM federations") == [(7,)]
    assert (site.extra["sums"] / "heart" / "1.sums").read_bytes() == b"opened"
    assert integrity_faults(site.store) == []


def test_the_old_store_stays_aside_without_its_round_secrets(site: Site, tmp_path: Path) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)
    restored = restore(site, tmp_path / "a.parley", now=NOW)
    assert restored.aside == site.folder / "party.db.before-restore-20270115T080000Z"
    assert rows(restored.aside, "SELECT body FROM evidence") == [("kept",)]
    for name, raw in files(site.folder).items():
        for secret in SECRETS:
            assert secret not in raw, name


def test_a_restored_store_takes_along_what_the_old_one_still_knows(site: Site, tmp_path: Path) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)

    async def go_on() -> None:
        database = Database(open_engine(site.store))
        await PartyStore(database).apply("f", Change(round=round_row(9, outcome="opened")))
        await database.close()

    asyncio.run(go_on())
    restore(site, tmp_path / "a.parley", now=NOW)
    assert rows(site.store, "SELECT round FROM fences") == [(9,)]


def test_a_damaged_store_is_replaced_and_the_remark_says_so(site: Site, tmp_path: Path) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)
    site.store.write_bytes(b"no database at all" * 100)
    site.store.with_name("party.db-wal").write_bytes(b"of the damaged one")
    restored = restore(site, tmp_path / "a.parley", now=NOW)
    assert "could not be read" in restored.remark
    assert integrity_faults(site.store) == []
    assert restored.aside is not None
    assert restored.aside.read_bytes().startswith(b"no database")
    assert not site.store.with_name("party.db-wal").exists()


def test_nothing_is_restored_onto_a_running_service(site: Site, tmp_path: Path) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)
    with FolderLock(site.folder):
        before = files(site.folder)
        with pytest.raises(LockedError):
            restore(site, tmp_path / "a.parley", now=NOW)
        assert files(site.folder) == before


def test_nothing_is_restored_while_somebody_reads_the_store(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)
    monkeypatch.setattr(storecopy, "BUSY_MILLISECONDS", 10)
    before = rows(site.store, "SELECT number, outcome, seed FROM rounds")
    with closing(sqlite3.connect(site.store)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM rounds").fetchall()
        with pytest.raises(LockedError, match="being read"):
            restore(site, tmp_path / "a.parley", now=NOW)
    assert rows(site.store, "SELECT number, outcome, seed FROM rounds") == before
    assert restore(site, tmp_path / "a.parley", now=NOW).remark == ""


def altered(change: Callable[[BackupHeader], BackupHeader], source: Path, target: Path) -> None:
    """Write a backup whose header says something else, with a digest that fits."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            assert content is not None
            raw = content.read()
            header = change(read_header(source)).canonical()
            raw = {"backup.json": header, "backup.blake3": blake3(header).hexdigest().encode()}.get(member.name, raw)
            member.size = len(raw)
            new.addfile(member, io.BytesIO(raw))


@pytest.mark.parametrize(("field", "value"), [("kind", "gateway"), ("id", "other")])
def test_another_service_s_backup_is_refused(site: Site, tmp_path: Path, field: str, value: str) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)
    altered(lambda header: header.model_copy(update={field: value}), tmp_path / "a.parley", tmp_path / "b.parley")
    before = files(site.folder)
    with pytest.raises(StoreError, match="wanted one of the party clinic"):
        restore(site, tmp_path / "b.parley", now=NOW)
    assert {name: raw for name, raw in files(site.folder).items() if name != "service.lock"} == before


def test_a_backup_of_a_newer_version_is_refused(site: Site, tmp_path: Path) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)
    draft = tmp_path / STORE
    with tarfile.open(tmp_path / "a.parley") as tar:
        content = tar.extractfile(STORE)
        assert content is not None
        draft.write_bytes(content.read())
    with sqlite3.connect(draft) as store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    raw = draft.read_bytes()
    entry = read_header(tmp_path / "a.parley").files[0].model_copy(update={"size": len(raw), "blake3": blake3(raw).hexdigest()})
    header = read_header(tmp_path / "a.parley").model_copy(update={"revision": "9999", "files": (entry,)})
    newer = tmp_path / "newer.parley"
    write_backup(newer, header, {STORE: draft})
    before = rows(site.store, "SELECT * FROM rounds")
    with pytest.raises(StoreNewerError):
        restore(site, newer, now=NOW)
    assert rows(site.store, "SELECT * FROM rounds") == before


def test_any_damage_to_a_backup_is_found_and_changes_nothing(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "a.parley"
    backup(site, out, now=NOW)
    raw = out.read_bytes()
    before = files(site.folder)
    with tarfile.open(out) as tar:
        contents = [(member.name, member.offset_data, member.size) for member in tar.getmembers()]
    damaged = [raw[:100], raw[: len(raw) // 2], b"", b"a text file\n" * 100]
    damaged += [
        raw[: start + size // 2] + bytes([raw[start + size // 2] ^ 1]) + raw[start + size // 2 + 1 :] for _, start, size in contents
    ]
    for content in damaged:
        out.write_bytes(content)
        with pytest.raises(StoreDamagedError, match=r"a\.parley"):
            restore(site, out, now=NOW)
        assert {name: raw for name, raw in files(site.folder).items() if name != "service.lock"} == before


def test_a_backup_names_no_file_outside_of_its_folder(site: Site, tmp_path: Path) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)
    for name in ("../x.db", "/etc/x.db", "sums/../../x.sums", "a//b.sums"):
        with pytest.raises(StoreDamagedError, match="a backup that this version reads"):
            read_header(with_name(tmp_path, name))


def with_name(folder: Path, name: str) -> Path:
    def change(header: BackupHeader) -> BackupHeader:
        return header.model_copy(update={"files": (header.files[0].model_copy(update={"name": name}),)})

    altered(change, folder / "a.parley", folder / "outside.parley")
    return folder / "outside.parley"


@pytest.mark.parametrize("step", ["carry", "retire", "_keep_aside", "side_files", "sync_folder"])
def test_a_restore_that_is_cut_short_leaves_the_old_store_or_the_new_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    backup(site, tmp_path / "a.parley", now=NOW)

    class PowerCutError(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(module, step, cut)
        with pytest.raises(PowerCutError):
            restore(site, tmp_path / "a.parley", now=NOW)
    assert integrity_faults(site.store) == []
    assert rows(site.store, "SELECT body FROM evidence") == [("kept",)]
    assert restore(site, tmp_path / "a.parley", now=NOW + 1).remark == ""


def test_findings_collect_what_is_known_to_be_an_error_and_let_bugs_pass() -> None:
    def known() -> None:
        raise StoreError("this", wanted="a", got="b")

    def bug() -> None:
        raise ZeroDivisionError

    assert faults_of([known, lambda: None, known]) == ("this: wanted a, got b",) * 2
    with pytest.raises(ZeroDivisionError):
        faults_of([bug])
