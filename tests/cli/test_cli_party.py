"""`parley party`: making a folder, joining by an invite, and what is refused on the way."""

from __future__ import annotations

import getpass
import json
import stat
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from parley_crypto.keys import SigningKey
from parley_party import config, keystore, reading
from parley_party.drafting import first_policy, study_draft
from parley_party.enrolment import federation_name
from parley_party.founding import data_tables
from parley_policies.model.loader import load_policy
from parley_policies.negotiation.study_file import load_study
from parley_service.secrets import Secret

from tests.cli.cli_federation import PASSPHRASE, SAMPLES, VARIABLE, Federation, problem, result, run, shown

PHRASE = ("--passphrase", f"env:{VARIABLE}")


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)


def edited(invite: Path, **changes: object) -> Path:
    """Write a changed copy of an invite; a key with two parts is inside the table `gateway`."""
    content = json.loads(invite.read_text())
    for name, value in changes.items():
        (content["gateway"] if name.startswith("gateway_") else content)[name.removeprefix("gateway_")] = value
    file = invite.with_name(f"edited-{time.monotonic_ns()}.invite")
    file.write_text(json.dumps(content))
    return file


def invited(federation: Federation, folder: Path, party: str) -> Path:
    file = folder / f"{party}.invite"
    member = ("--name", party, "--class", "demo", "--country", "DE")
    federation.at("gateway", "member", "invite", party, *member, "--out", file)
    return file


# --- init


def test_init_from_a_csv_file(tmp_path: Path) -> None:
    home = tmp_path / "clinic"
    made = result("party", "init", home, "--from-csv", SAMPLES / "visits.csv", *PHRASE)
    assert made["files"] == ["party.toml", "policy.toml", "study.draft.toml", "visits.sql", "keys/keys.sealed"]
    loaded = config.load(home / "party.toml")
    assert (loaded.party.id, list(loaded.data), loaded.gateways) == ("clinic", ["visits"], {})
    policy = load_policy((home / "policy.toml").read_bytes()).policy
    assert (policy.party, policy.data.datasets, policy.gateway.fingerprints) == ("clinic", ("visits",), ())
    assert set(policy.data.columns) == set(loaded.data["visits"].map)
    study = load_study((home / "study.draft.toml").read_bytes())
    assert (study.sponsor, study.objectives[0].label) == ("clinic", "readmission")
    assert stat.S_IMODE((home / "keys" / "keys.sealed").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "state").stat().st_mode) == 0o700
    assert PASSPHRASE not in "".join(path.read_text() for path in home.glob("*.toml"))
    assert result("--home", home, "data", "check", "--study", home / "study.draft.toml")["datasets"][0]["fits"]
    keys = keystore.load(home / "keys", Secret(PASSPHRASE))
    assert result("--home", home, "party", "fingerprint")["fingerprint"] == keys.identity.public.fingerprint == made["fingerprint"]


def test_init_without_data_says_how_to_describe_them(tmp_path: Path) -> None:
    home = tmp_path / "empty"
    result("party", "init", home, "--id", "clinic-b", *PHRASE)
    assert config.load(home / "party.toml").party.id == "clinic-b"
    assert "# [data.visits]" in (home / "party.toml").read_text()
    assert problem("--home", home, "data", "check", code=3)["wanted"] == "a table [data.NAME]"
    status = result("--home", home, "party", "status")
    assert (status["running"], status["studies"], status["federations"]) == (False, [], [])
    assert "no federation yet" in shown("--home", home, "party", "status")
    assert result("--home", home, "party", "egress")["messages"] == []
    assert result("--home", home, "study", "list") == {"studies": []}
    assert problem("--home", home, "study", "show", "x", code=2)["wanted"].endswith("none yet")
    assert problem("--home", home, "party", "serve", code=3)["do"] == "Say parley party join INVITE first."


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    home = tmp_path / "clinic"
    home.mkdir()
    (home / "policy.toml").write_text("mine")
    assert problem("party", "init", home, *PHRASE, code=10)["detail"] == str(home / "policy.toml")
    assert [path.name for path in home.iterdir()] == ["policy.toml"]
    assert (home / "policy.toml").read_text() == "mine"


def test_init_names_what_it_cannot_take(tmp_path: Path, federation: Federation) -> None:
    invite = invited(federation, tmp_path, "clinic-c")
    assert (
        problem("party", "init", tmp_path / "x", "--id", "other", "--invite", invite, *PHRASE, code=2)["wanted"]
        == "clinic-c, as in the invite"
    )
    assert problem("party", "init", tmp_path / "No Id", *PHRASE, code=2)["got"] == "No Id"
    assert problem("party", "init", tmp_path / "x", "--from-csv", tmp_path / "none.csv", *PHRASE, code=9)["do"]
    assert problem("party", "init", tmp_path / "x", "--profile", "nix", *PHRASE, code=3)["wanted"].startswith("one of demo-open")
    assert problem("party", "init", tmp_path / "x", "--passphrase", "env:NOT_SET_ANYWHERE", code=3)["got"] == "nothing"
    assert problem("party", "init", tmp_path / "x", code=3)["wanted"] == "a terminal"
    assert not (tmp_path / "x").exists()


def test_a_new_passphrase_is_asked_twice_at_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["one", "two", "same", "same"])
    asked: list[str] = []

    def ask(prompt: str, **_: object) -> str:
        asked.append(prompt)
        return next(said)

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert problem("party", "init", tmp_path / "a", code=3)["got"] == "two texts"
    assert not (tmp_path / "a").exists()
    result("party", "init", tmp_path / "a")
    assert asked == ["new passphrase for the keys: ", "new passphrase for the keys, again: "] * 2
    keystore.load(tmp_path / "a" / "keys", Secret("same"))


def test_an_invite_fills_in_the_policy(tmp_path: Path, federation: Federation) -> None:
    invite = invited(federation, tmp_path, "clinic-d")
    home = tmp_path / "d"
    result("party", "init", home, "--invite", edited(invite, party_class="lender", country="US"), *PHRASE)
    policy = load_policy((home / "policy.toml").read_bytes()).policy
    fingerprint = json.loads(invite.read_text())["gateway"]["fingerprint"]
    assert (policy.party, policy.gateway.fingerprints, policy.peers.granted) == ("clinic-d", (fingerprint,), ("class:lender",))


# --- join


def joining(federation: Federation, folder: Path, party: str) -> tuple[Path, Path]:
    """Return an invite, and the folder of the party that it is for."""
    invite = invited(federation, folder, party)
    result("party", "init", folder / party, "--invite", invite, *PHRASE)
    return invite, folder / party


@pytest.mark.parametrize("profile", ["health-strict", "finance-strict"])
def test_a_strict_profile_grants_nobody_by_itself(tmp_path: Path, federation: Federation, profile: str) -> None:
    invite = invited(federation, tmp_path, f"init-{profile}")
    home = tmp_path / profile
    said = shown("party", "init", home, "--invite", invite, "--profile", profile, *PHRASE)
    assert "LOOK" in said
    assert "this machine alone" not in said
    policy = load_policy((home / "policy.toml").read_bytes()).policy
    assert (policy.peers.granted, policy.peers.countries, policy.identity.profile) == ((), (), profile)
    found = result("policy", "check", home / "policy.toml")["unsupported"]
    assert "differential_privacy.required" in [each["clause"] for each in found]


def test_join_writes_the_federation_and_keeps_every_byte(tmp_path: Path, federation: Federation) -> None:
    invite, home = joining(federation, tmp_path, "join-a")
    before = (home / "party.toml").read_text() + "# a last comment, without a newline"
    (home / "party.toml").write_text(before)
    fingerprint = federation.at("gateway", "gateway", "status")["fingerprint"]
    joined = result("--home", home, "party", "join", invite, "--fingerprint", fingerprint, "--name", "trial")
    after = (home / "party.toml").read_text()
    assert after.startswith(before)
    link = config.load(home / "party.toml").gateways["trial"]
    assert (link.url, link.fingerprint, joined["compared"]) == (federation.url, fingerprint, True)
    assert joined["party_fingerprint"] == result("--home", home, "party", "fingerprint")["fingerprint"]
    left = result("--home", home, "party", "egress")["messages"]
    assert [(item["kind"], item["verdict"]) for item in left] == [("enrolment", "allowed")]
    assert problem("--home", home, "party", "join", invite, code=10)["do"].startswith("It was joined before")
    assert (home / "party.toml").read_text() == after


def test_a_join_whose_end_was_lost_is_repeated_with_the_same_bytes(tmp_path: Path, federation: Federation) -> None:
    invite, home = joining(federation, tmp_path, "join-b")
    before = (home / "party.toml").read_text()
    result("--home", home, "party", "join", invite)
    (home / "party.toml").write_text(before)  # as after a crash between the answer and the last write
    result("--home", home, "party", "join", invite)
    assert len(list((home / "state" / "enrolments").iterdir())) == 1


def test_join_refuses_what_is_wrong_with_the_invite(tmp_path: Path, federation: Federation) -> None:
    invite, home = joining(federation, tmp_path, "join-c")
    join = ("--home", home, "party", "join")
    other = SigningKey(bytes(range(32))).public
    hours = 3_600
    assert problem(*join, edited(invite, expires=time.time() - 5 * hours), code=8)["type"].endswith("invite-expired")
    assert problem(*join, edited(invite, party="another"), code=10)["got"] == "one for another"
    assert problem(*join, edited(invite, token="ab" * 32), code=8)["type"].endswith("invite-unknown")
    assert problem(*join, edited(invite, gateway_fingerprint=other.fingerprint), code=3)["got"] == other.fingerprint
    wrong = edited(invite, gateway_key=other.hex, gateway_fingerprint=other.fingerprint)
    assert problem(*join, wrong, code=8)["type"].endswith("wrong-key")
    assert problem(*join, invite, "--fingerprint", other.fingerprint, code=8)["type"].endswith("wrong-key")
    assert problem(*join, edited(invite, gateway_log_origin="other/log"), code=10)["got"] == "127.0.0.1/log"
    assert problem(*join, edited(invite, gateway_url="http://127.0.0.1:1"), code=7)["do"] == "Run `parley doctor`."
    assert problem(*join, tmp_path / "none.invite", code=3)["wanted"] == "a file that can be read"
    said = problem(*join, edited(invite, token="open sesame"), code=3)
    assert "sesame" not in json.dumps(said)
    assert config.load(home / "party.toml").gateways == {}
    result(*join, invite)  # none of these used it up
    assert result("--home", home, "party", "fingerprint")["gateways"]


def test_an_invite_is_good_once(tmp_path: Path, federation: Federation) -> None:
    invite, home = joining(federation, tmp_path, "join-d")
    thief = tmp_path / "thief"
    result("party", "init", thief, "--invite", invite, *PHRASE)
    result("--home", home, "party", "join", invite)
    assert problem("--home", thief, "party", "join", invite, code=8)["type"].endswith("invite-used")
    assert config.load(thief / "party.toml").gateways == {}


def test_the_profile_for_this_machine_does_not_leave_it(tmp_path: Path, federation: Federation) -> None:
    invite, home = joining(federation, tmp_path, "join-e")
    said = problem("--home", home, "party", "join", edited(invite, gateway_url="https://gw.example"), code=4)
    assert said["wanted"].startswith("a gateway on loopback")


def test_what_still_stands_before_a_study_is_said(tmp_path: Path, federation: Federation) -> None:
    invite = invited(federation, tmp_path, "join-f")
    home = tmp_path / "f"
    result("party", "init", home, "--id", "join-f", *PHRASE)
    notes = result("--home", home, "party", "join", invite)["notes"]
    assert [note.partition(" ")[0] for note in notes] == ["policy.toml", "party.toml"]


# --- a running party


def test_status_and_egress_of_a_running_party(federation: Federation, tmp_path: Path) -> None:
    status = federation.at("north", "party", "status")
    assert (status["running"], status["federations"][0]["connected"]) == (True, True)
    home = federation.stopped("north", tmp_path)
    stopped = result("--home", home, "party", "status")
    assert not stopped["running"]
    assert "readmission" in {study["study"] for study in stopped["studies"]}
    left = result("--home", home, "party", "egress", "readmission", "--last", "3")
    kinds = {row["kind"]: row["messages"] for row in left["totals"]}
    assert (kinds["sealed update"], kinds["reveal"], len(left["messages"])) == (3, 3, 3)
    text = shown("--home", home, "party", "egress", "readmission")
    assert "sealed update" in text
    assert all(len(line) <= 160 for line in text.splitlines())


def test_serve_says_when_it_serves_and_ends_with_zero(federation: Federation) -> None:
    said = (federation.folder / "north.log").read_text()
    assert f"serving north at federation ({federation.url})" in said


# --- the pieces


def test_the_store_is_where_the_service_says(federation: Federation) -> None:
    loaded = config.load(federation.home("north") / "party.toml")
    assert reading.store_path(loaded).is_file()


@pytest.mark.parametrize(
    ("gateway", "taken", "name"),
    [
        ("gw.cardio-net.example", (), "cardio_net"),
        ("127.0.0.1", (), "federation"),
        ("localhost", (), "localhost"),
        ("cardio.example", ("cardio", "cardio_2"), "cardio_3"),
        ("9lives.example", (), "g_9lives"),
    ],
)
def test_federations_are_named_by_their_gateway(gateway: str, taken: tuple[str, ...], name: str) -> None:
    assert federation_name(gateway, taken) == name


def test_only_the_data_tables_are_taken() -> None:
    text = '[party]\nid = "a"\n[data.x]  # comment\nfiles = {}\n\n[data.x.map]\na = "b"\n# left out\n\n[log]\nlevel = "info"\n'
    assert data_tables(text) == '[data.x]  # comment\nfiles = {}\n\n[data.x.map]\na = "b"\n# left out\n'
    assert data_tables("[party]\n") == ""


def test_a_first_policy_grants_what_is_known_and_nothing_else() -> None:
    today = datetime.now(UTC).date()
    data = '[data.v]\nfiles = { d = "v.csv" }\nquery = "v.sql"\n[data.v.map]\nage = "a"\n'
    policy = load_policy(first_policy("demo-open", "p", data, gateway=None, today=today, values={}).encode()).policy
    assert (policy.data.datasets, policy.data.columns, policy.gateway.fingerprints) == (("v",), ("age",), ())


def test_a_draft_without_a_label_says_so() -> None:
    draft = study_draft("p", '[columns]\nage = { type = "int", range = [0, 9] }\n', answer_by=date(2027, 1, 31))
    assert 'label = "…"' in draft


def test_commands_say_what_json_says(federation: Federation) -> None:
    body: dict[str, Any] = run("--home", federation.home("north"), "party", "fingerprint")
    assert body["schema"] == "parley.party.fingerprint/1"
    assert body["result"]["fingerprint"] in shown("--home", federation.home("north"), "party", "fingerprint")
