"""`parley audit`: an export, its verification offline, and every way in which it must fail."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.cli_federation import Federation, problem, result, run, shown

pytestmark = pytest.mark.services
HEAVY = ("torch", "duckdb", "uvloop", "aiohttp", "sqlalchemy", "sqlmodel", "alembic", "structlog", "asyncio", "numpy", "safetensors")


@pytest.fixture
def export(federation: Federation, tmp_path: Path) -> Path:
    out = tmp_path / "export"
    made = federation.at("north", "audit", "export", "readmission", "--out", out)
    assert (made["verified"], made["for"]) == (True, "party")
    return out


def test_an_export_verifies_and_says_what_it_cannot_prove(export: Path, federation: Federation) -> None:
    found = result("audit", "verify", export)
    assert (found["verified"], found["fault"], found["witnesses"]) == (True, None, [])
    assert found["studies"][0]["certificates"] == 3
    text = shown("audit", "verify", export)
    for line in ("verified", "no witnesses", "It does not prove:", "taken from the export itself"):
        assert line in text
    fingerprint = federation.at("gateway", "gateway", "status")["fingerprint"]
    assert result("audit", "verify", export, "--fingerprint", fingerprint)["gateway_given"]
    assert problem("audit", "verify", export, "--fingerprint", "SHA256:" + "A" * 43, code=6)["detail"].startswith(
        "gateway key: wanted SHA256:AAA"
    )


def test_show_says_every_leaf_in_words(export: Path) -> None:
    leaves = result("audit", "show", export)["leaves"]
    kinds = [leaf["kind"] for leaf in leaves if leaf["study"] == "readmission"]
    assert kinds.count("certificate") == kinds.count("opened sums") == 3
    assert kinds.count("participation") == 1, "others' records are theirs"
    says = " / ".join(leaf["says"] for leaf in leaves)
    assert "operated by Example Trust (DE)" in says
    assert "joined 3 rounds, missed 0" in says
    assert "trunk over 3 parties" in says
    assert "Nothing was checked" in shown("audit", "show", export)


def test_verify_and_show_load_nothing_heavy(export: Path) -> None:
    program = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\nfrom parley.main import run; run()"
    for verb in ("verify", "show"):
        done = subprocess.run(
            [sys.executable, "-c", program, "audit", verb, str(export)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "check"),
    [
        ("leaves.jsonl", '"payloadType"', '"payloadtype"', "check 3 (tree) failed"),
        ("checkpoint.txt", "/log", "/lag", "check 2 (checkpoint) failed"),
        ("export.json", '"audience":"party"', '"audience":"public"', "check 1 (format) failed"),
        ("keys.json", "north clinic", "other clinic", "check 16 (keys) failed"),
    ],
)
def test_the_first_fault_is_named(export: Path, file: str, old: str, new: str, check: str) -> None:
    text = (export / file).read_text()
    assert old in text
    (export / file).write_text(text.replace(old, new, 1))
    body = run("audit", "verify", export, code=6)
    assert body["problems"][0]["detail"].startswith(check)
    assert not body["result"]["verified"]
    assert "DOES NOT VERIFY" in shown("audit", "verify", export, code=6)


def test_a_leaf_that_is_left_out_is_missed(export: Path) -> None:
    lines = (export / "leaves.jsonl").read_text().splitlines(keepends=True)
    (export / "leaves.jsonl").write_text("".join(lines[:-1]))
    assert problem("audit", "verify", export, code=6)["detail"].startswith("check 3 (tree) failed")
    (export / "leaves.jsonl").unlink()
    assert problem("audit", "verify", export, code=6)["detail"].startswith("check 1 (format) failed")
    assert problem("audit", "show", export, code=3)["wanted"] == "a file leaves.jsonl"
    assert problem("audit", "verify", export / "none", code=3)["got"] == "none of that name"


def test_parties_and_gateway_export_the_same_log(federation: Federation, tmp_path: Path) -> None:
    names = ("north", "south", "gateway")
    for name in names:
        federation.at(name, "audit", "export", "readmission", "--out", tmp_path / name)
    found = {name: result("audit", "verify", tmp_path / name) for name in names}
    assert all(each["verified"] for each in found.values())
    assert len({(each["size"], each["root"]) for each in found.values()}) == 1
    records = {name: (tmp_path / name / "leaves.jsonl").read_text().count("participation.v1") for name in names}
    assert records == {"north": 1, "south": 1, "gateway": 3}, "a party is shown its own record alone"


def test_a_public_export_withholds_parties_and_studies(federation: Federation, tmp_path: Path) -> None:
    made = federation.at("north", "audit", "export", "--all", "--for", "public", "--out", tmp_path / "public")
    assert made["withheld"] == made["leaves"] - 1
    found = result("audit", "verify", tmp_path / "public")
    assert (found["verified"], found["studies"]) == (True, [])
    assert "north" not in (tmp_path / "public" / "leaves.jsonl").read_text()
    said = problem("--home", federation.home("north"), "audit", "export", "readmission", "--for", "public", "--out", tmp_path / "x", code=3)
    assert "public export shows no study" in said["detail"]


def test_what_cannot_be_exported_is_named(federation: Federation, tmp_path: Path) -> None:
    audit = ("--home", federation.home("north"), "audit", "export")
    assert problem(*audit, "--out", tmp_path / "x", code=2)["got"] == "neither"
    assert problem(*audit, "readmission", "--all", "--out", tmp_path / "x", code=2)["got"] == "both"
    assert "readmission" in problem(*audit, "nix", "--out", tmp_path / "x", code=2)["wanted"]
    assert problem(*audit, "readmission", "--federation", "nix", "--out", tmp_path / "x", code=2)["wanted"] == "one of federation"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    assert problem(*audit, "--all", "--out", tmp_path / "full", code=10)
    assert not (tmp_path / "x").exists()


def test_a_log_that_does_not_continue_the_one_we_saw_is_refused(federation: Federation, tmp_path: Path) -> None:
    home = federation.stopped("east", tmp_path)
    _see(home, "log_root = '" + "ab" * 32 + "'")
    said = problem("--home", home, "audit", "export", "--all", "--out", tmp_path / "x", code=6)
    assert "it was rewritten, or forked" in said["detail"]
    _see(home, "log_size = 100000")
    assert "it went back" in problem("--home", home, "audit", "export", "--all", "--out", tmp_path / "x", code=6)["detail"]
    assert not (tmp_path / "x").exists()


def _see(home: Path, change: str) -> None:
    with sqlite3.connect(home / "state" / "party.db") as store:
        store.execute(f"UPDATE federations SET {change}")  # noqa: S608 - constants above
    store.close()


def test_an_export_needs_the_gateway_and_our_keys(federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = federation.stopped("east", tmp_path)
    file = home / "party.toml"
    text = file.read_text()
    file.write_text(text.replace(federation.url, "http://127.0.0.1:1"))
    assert problem("--home", home, "audit", "export", "--all", "--out", tmp_path / "x", code=7)["type"].endswith("cannot-reach")
    file.write_text(text)
    monkeypatch.setenv("PARLEY_TEST_PASSPHRASE", "another")
    assert problem("--home", home, "audit", "export", "--all", "--out", tmp_path / "x", code=3)["type"].endswith("file-invalid")
