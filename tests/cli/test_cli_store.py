"""`parley store`: a backup of a running service, a restore onto a stopped one, and what a check finds."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from parley_service.lockfile import FolderLock

from tests.cli.cli_federation import Federation, problem, result, run, shown


def findings(home: Path) -> dict[str, str]:
    return {row["what"]: row["of"] for row in result("--home", home, "store", "check")["findings"]}


def faults(home: Path) -> list[str]:
    """Return what a check of a damaged store finds."""
    said = run("--home", home, "store", "check", code=12)
    assert all(each["type"].endswith("store-damaged") for each in said["problems"])
    return [fault for row in said["result"]["findings"] for fault in row["faults"]]


def alter(store: Path, statement: str) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        assert connection.execute(statement).rowcount > 0


def test_a_running_service_is_checked_and_backed_up(federation: Federation, tmp_path: Path) -> None:
    party = findings(federation.home("north"))
    assert {"pages, indexes and rows", "readmission: certificates", "readmission: public states", "readmission: rounds"} <= set(party)
    assert (party["readmission: certificates"], party["readmission: public states"]) == ("3", "4")
    gateway = findings(federation.home("gateway"))
    assert {"the log", "readmission: certificates", "readmission: opened sums", "open rounds"} <= set(gateway)
    assert "sound" in shown("--home", federation.home("gateway"), "store", "check")
    for name in ("north", "gateway"):
        out = tmp_path / f"{name}.parley"
        made = federation.at(name, "store", "backup", out)
        assert (made["kind"], made["file"]) == ("gateway" if name == "gateway" else "party", str(out))
        assert made["files"][0]["name"] == "store.db"
        assert problem("--home", federation.home(name), "store", "backup", out, code=10)["type"].endswith("conflict")
        assert problem("--home", federation.home(name), "store", "restore", out, "--yes", code=10)["type"].endswith("locked")


@pytest.mark.parametrize(("name", "store"), [("north", "state/party.db"), ("gateway", "data/gateway.db")])
def test_a_stopped_service_gets_its_store_back(federation: Federation, tmp_path: Path, name: str, store: str) -> None:
    out = tmp_path / "a.parley"
    federation.at(name, "store", "backup", out)
    home = federation.stopped(name, tmp_path)
    before = result("--home", home, "study", "show", "readmission")
    (home / store).unlink()
    assert problem("--home", home, "store", "check", code=12)["type"].endswith("store-failed")
    made = result("--home", home, "store", "restore", out, "--yes")
    assert made["aside"] is None
    assert result("--home", home, "study", "show", "readmission") == before
    assert findings(home)
    again = result("--home", home, "store", "restore", out, "--yes")
    assert Path(again["aside"]).is_file()
    assert again["remark"] == ""


def test_without_a_yes_nothing_is_restored(federation: Federation, tmp_path: Path) -> None:
    out = tmp_path / "a.parley"
    federation.at("north", "store", "backup", out)
    home = federation.stopped("north", tmp_path)
    before = (home / "state" / "party.db").read_bytes()
    assert problem("--home", home, "store", "restore", out, code=2)["wanted"] == "--yes, or a terminal to ask at"
    assert (home / "state" / "party.db").read_bytes() == before


def test_what_is_no_backup_or_another_s_is_refused(federation: Federation, tmp_path: Path) -> None:
    out, text = tmp_path / "a.parley", tmp_path / "b.parley"
    federation.at("gateway", "store", "backup", out)
    text.write_text("a text")
    home = federation.stopped("north", tmp_path)
    assert "wanted" in json.dumps(problem("--home", home, "store", "restore", out, "--yes", code=12))
    assert problem("--home", home, "store", "restore", text, "--yes", code=12)["type"].endswith("store-damaged")
    assert problem("--home", home, "store", "restore", tmp_path / "none.parley", "--yes", code=3)["type"].endswith("file-invalid")
    with FolderLock(home / "state"):
        own = tmp_path / "own.parley"
        federation.at("north", "store", "backup", own)
        assert problem("--home", home, "store", "restore", own, "--yes", code=10)["type"].endswith("locked")


PARTY_DAMAGE = (
    ("DELETE FROM certificates WHERE round = (SELECT min(round) FROM certificates)", "wanted a successor of"),
    ("DELETE FROM versions WHERE number = 1", "wanted one for each certificate"),
    ("UPDATE versions SET base = '00' WHERE number = 2", "wanted the base version 00"),
    ("UPDATE rounds SET seed = x'01'", "wanted no secrets of it"),
    ("UPDATE rounds SET outcome = '' WHERE number = 1", "wanted its sealed seed"),
    ("UPDATE certificates SET opened = certificate", "opened sums of round"),
)
GATEWAY_DAMAGE = (
    ("UPDATE leaves SET body = x'7b7d' WHERE \"index\" = 2", "leaf 2: wanted number 2"),
    ('DELETE FROM leaves WHERE "index" = (SELECT max("index") FROM leaves)', "with the signed root"),
    ("UPDATE certificates SET leaf = 0", "wanted leaf 0 of the log"),
    ("DELETE FROM certificates WHERE round = (SELECT min(round) FROM certificates)", "wanted a successor of"),
)


@pytest.mark.parametrize(("statement", "fault"), PARTY_DAMAGE)
def test_a_check_finds_what_was_changed_at_a_party(federation: Federation, tmp_path: Path, statement: str, fault: str) -> None:
    home = federation.stopped("south", tmp_path)
    assert findings(home)
    alter(home / "state" / "party.db", statement)
    assert any(fault in found for found in faults(home)), faults(home)


@pytest.mark.parametrize(("statement", "fault"), GATEWAY_DAMAGE)
def test_a_check_finds_what_was_changed_at_a_gateway(federation: Federation, tmp_path: Path, statement: str, fault: str) -> None:
    home = federation.stopped("gateway", tmp_path)
    alter(home / "data" / "gateway.db", statement)
    assert any(fault in found for found in faults(home)), faults(home)


def test_a_check_finds_damaged_and_missing_sums_and_pages(federation: Federation, tmp_path: Path) -> None:
    home = federation.stopped("gateway", tmp_path)
    sums = home / "data" / "sums" / "readmission"
    first, second, _ = sorted(sums.glob("*.sums"))
    first.write_bytes(first.read_bytes()[:-1] + b"\xff\xff")
    second.unlink()
    assert len(faults(home)) == 2
    store = home / "data" / "gateway.db"
    shutil.copy(store, tmp_path / "whole.db")
    raw = bytearray(store.read_bytes())
    raw[4096 * 3 : 4096 * 8] = b"\xff" * (4096 * 5)
    store.write_bytes(raw)
    run("--home", home, "store", "check", code=12)
