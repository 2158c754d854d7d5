"""`parley gateway` and `parley member`: a folder, a service, its members."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from parley_gateway.config import load
from parley_service.lockfile import FolderLock

from tests.cli.cli_federation import VARIABLE, Federation, free_port, problem, result, run, shown

INIT = ("--url", "http://127.0.0.1:8443", "--operator", "Example Trust", "--country", "DE", "--passphrase", f"env:{VARIABLE}")
SERVE = "from parley.main import run; run()"


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "only for tests")


def served(home: Path, noun: str = "gateway") -> tuple[int, str]:
    """Start a service that cannot start; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", SERVE, "--home", str(home), noun, "serve"], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stderr


def test_init_makes_a_folder_that_loads_and_overwrites_nothing(tmp_path: Path) -> None:
    home = tmp_path / "gw"
    made = result("gateway", "init", home, *INIT)
    assert made["files"] == ["gateway.toml", "keys/keys.sealed", "data/gateway.db"]
    assert load(home / "gateway.toml").operator.legal_name == "Example Trust"
    assert stat.S_IMODE((home / "keys" / "keys.sealed").stat().st_mode) == 0o600
    before = (home / "gateway.toml").read_bytes()
    assert problem("gateway", "init", home, *INIT, code=10)["type"].endswith("conflict")
    assert (home / "gateway.toml").read_bytes() == before
    status = result("--home", home, "gateway", "status")
    assert (status["running"], status["fingerprint"], status["members"], status["log_leaves"]) == (False, made["fingerprint"], [], 0)
    assert "no members yet" in shown("--home", home, "gateway", "status")
    assert result("--home", home, "study", "list") == {"studies": []}


@pytest.mark.parametrize(
    ("option", "value"), [("--country", "Germany"), ("--url", "http://gw.example"), ("--passphrase", "opensesame"), ("--listen", "here")]
)
def test_init_names_what_is_wrong_and_writes_nothing(tmp_path: Path, option: str, value: str) -> None:
    arguments = list(INIT)
    if option in arguments:
        arguments[arguments.index(option) + 1] = value
    else:
        arguments += [option, value]
    said = problem("gateway", "init", tmp_path / "gw", *arguments, code=3)
    assert said["wanted"]
    assert "opensesame" not in json.dumps(said), "what may be a secret is not repeated"
    assert not (tmp_path / "gw" / "keys").exists()
    assert not (tmp_path / "gw" / "gateway.toml").exists()


def test_a_passphrase_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    assert VARIABLE in problem("gateway", "init", tmp_path / "gw", *INIT, code=3)["detail"]


def test_status_of_a_running_gateway(federation: Federation) -> None:
    status = federation.at("gateway", "gateway", "status")
    assert status["running"]
    assert {"north", "south", "east"} <= {member["party"] for member in status["members"]}
    assert "readmission" in {study["study"] for study in status["studies"]}
    assert "readmission" in shown("--home", federation.home("gateway"), "gateway", "status")


def test_the_store_of_a_stopped_gateway_says_the_same(federation: Federation, tmp_path: Path) -> None:
    home = federation.stopped("gateway", tmp_path)
    live, stored = (result("--home", folder, "study", "show", "readmission") for folder in (federation.home("gateway"), home))
    assert (live.pop("running"), stored.pop("running")) == (True, False)
    for name in ("round", "step"):  # what runs is not in the store
        live.pop(name), stored.pop(name)
    assert stored == live
    for verb in (("gateway", "status"), ("member", "list"), ("member", "show", "north"), ("study", "list")):
        assert result("--home", home, *verb)
    assert "FINISHED" in shown("--home", home, "study", "list")
    assert "round 1" in shown("--home", home, "study", "logs", "readmission")
    assert "readmission" in problem("--home", home, "study", "show", "nix", code=2)["wanted"]
    assert problem("--home", home, "member", "show", "nix", code=2)
    assert problem("--home", home, "member", "invite", "x", "--name", "X", "--class", "demo", "--country", "DE", code=10)
    assert not Path("x.invite.json").exists()


def test_a_second_service_on_one_folder_is_refused(federation: Federation) -> None:
    for name, noun in (("gateway", "gateway"), ("north", "party")):
        code, said = served(federation.home(name), noun)
        assert code == 10, said
        assert "in use by another service" in said
        assert "serving" not in said


def test_serve_with_a_wrong_passphrase_config_or_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "gw"
    result("gateway", "init", home, *INIT, "--listen", f"127.0.0.1:{free_port()}")
    with FolderLock(home / "data"):
        assert served(home)[0] == 10
    monkeypatch.setenv(VARIABLE, "another")
    code, said = served(home)
    assert (code, "the passphrase it was sealed with" in said) == (3, True)
    monkeypatch.setenv(VARIABLE, "only for tests")
    with sqlite3.connect(home / "data" / "gateway.db") as store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    assert served(home)[0] == 12
    assert problem("--home", home, "gateway", "status", code=12)["type"].endswith("store-newer")
    text = (home / "gateway.toml").read_text()
    (home / "gateway.toml").write_text(text.replace("country =", "countri ="))
    code, said = served(home)
    assert (code, "did you mean country" in said) == (3, True)


def test_a_party_folder_is_no_gateway(federation: Federation) -> None:
    said = problem("--home", federation.home("north"), "gateway", "status", code=3)
    assert (said["wanted"], said["got"]) == ("the folder of a gateway: gateway.toml", "party.toml")


def test_an_invite_is_private_and_is_not_overwritten(federation: Federation, tmp_path: Path) -> None:
    file = tmp_path / "guest.invite"
    invite = ("member", "invite", "guest", "--name", "Guest", "--class", "demo", "--country", "DE", "--valid-hours", "1", "--out", file)
    said = federation.at("gateway", *invite)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = json.loads(file.read_text())
    assert (content["schema"], content["party"], content["gateway"]["url"]) == ("parley.invite/1", "guest", federation.url)
    assert content["token"] not in json.dumps(said)
    assert problem("--home", federation.home("gateway"), *invite, code=10)
    assert json.loads(file.read_text()) == content
    listed = federation.at("gateway", "member", "list")
    assert "guest" in {each["party"] for each in listed["invites"]}
    assert "guest" in shown("--home", federation.home("gateway"), "member", "list")


@pytest.mark.parametrize(("option", "value"), [("--country", "Germany"), ("--class", "Demo Class"), ("--valid-hours", "100000")])
def test_an_invite_that_cannot_be_is_named(federation: Federation, tmp_path: Path, option: str, value: str) -> None:
    wanted = {"--name": "Guest", "--class": "demo", "--country": "DE", "--valid-hours": "1"} | {option: value}
    options = [part for pair in wanted.items() for part in pair]
    file = tmp_path / "x.invite"
    said = problem("--home", federation.home("gateway"), "member", "invite", "guest-b", *options, "--out", file, code=2)
    assert said["wanted"]
    assert not file.exists()


def test_a_revoked_member_is_refused_from_then_on(federation: Federation, tmp_path: Path) -> None:
    file, home, gateway = tmp_path / "gone.invite", tmp_path / "gone", federation.home("gateway")
    federation.at("gateway", "member", "invite", "gone", "--name", "Gone", "--class", "demo", "--country", "DE", "--out", file)
    result("party", "init", home, "--invite", file, "--passphrase", f"env:{VARIABLE}")
    result("--home", home, "party", "join", file)
    revoke = ("--home", gateway, "member", "revoke", "gone", "--reason", "left")
    assert problem(*revoke, code=2)["wanted"] == "--yes, or a terminal to ask at"
    assert run(*revoke, "--yes")["result"]["revoked"]
    shown_member = result("--home", gateway, "member", "show", "gone")
    assert (shown_member["revoked"], shown_member["reason"]) == (True, "left")
    assert "revoked because" in shown("--home", gateway, "member", "show", "gone")
    assert problem("--home", home, "audit", "export", "--all", "--out", tmp_path / "log", code=8)
    assert problem(*revoke, "--yes", code=10)
