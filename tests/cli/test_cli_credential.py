"""`parley credential`, and parties that show what it makes: when they join, and later."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from parley.leaves import leaf_row
from parley_policies.negotiation.credentials import read_credential

from tests.audit.sample_log import credential, credentials_shown, enrolled, enrolment
from tests.cli.cli_federation import PASSPHRASE, VARIABLE, Federation, problem, result, shown

PHRASE = ("--passphrase", f"env:{VARIABLE}")


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    result("credential", "issuer", tmp_path / "issuer.key", *PHRASE)
    return tmp_path / "issuer.key"


def created(key: Path, party: str, fingerprint: str, out: Path, **changes: str) -> dict[str, Any]:
    facts = {"--name": party, "--class": "demo", "--country": "DE", "--fingerprint": fingerprint, **changes}
    arguments = [part for pair in facts.items() for part in pair]
    made: dict[str, Any] = result("credential", "create", party, "--key", key, *arguments, "--out", out, *PHRASE)
    return made


def joining(federation: Federation, folder: Path, party: str) -> tuple[Path, Path, str]:
    """Return an invite, the folder of the party that it is for, and that party's fingerprint."""
    invite = folder / f"{party}.invite"
    federation.at("gateway", "member", "invite", party, "--name", party, "--class", "demo", "--country", "DE", "--out", invite)
    fingerprint = result("party", "init", folder / party, "--invite", invite, *PHRASE)["fingerprint"]
    return invite, folder / party, fingerprint


def test_an_issuers_key_is_sealed_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "issuer.key"
    made = result("credential", "issuer", file, *PHRASE)
    assert made["fingerprint"].startswith("SHA256:")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["format"] == "parley.sealed/1"
    before = file.read_bytes()
    assert problem("credential", "issuer", file, *PHRASE, code=10)["wanted"] == "no file there yet"
    assert file.read_bytes() == before


def test_a_credential_says_what_its_issuer_was_told(tmp_path: Path, key: Path) -> None:
    fingerprint = "SHA256:" + "A" * 43
    made = created(key, "clinic-a", fingerprint, tmp_path / "a.json", **{"--days": "30"})
    credential = read_credential((tmp_path / "a.json").read_text().rstrip())
    assert (credential.party, credential.party_class, credential.identity) == ("clinic-a", "demo", fingerprint)
    assert made == result("credential", "show", tmp_path / "a.json")
    assert credential.issuer_fingerprint in shown("credential", "show", tmp_path / "a.json")


def test_what_is_no_credential_is_not_shown(tmp_path: Path, key: Path) -> None:
    created(key, "clinic-a", "SHA256:" + "A" * 43, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "b.json").write_text(text.replace(text[60], "A" if text[60] != "A" else "B", 1))
    assert problem("credential", "show", tmp_path / "b.json", code=6)["detail"].startswith("credential")
    assert problem("credential", "show", tmp_path / "none.json", code=3)["wanted"] == "a text that can be read"


def test_wrong_facts_and_wrong_passphrases_are_named(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = ("--name", "A", "--class", "demo", "--country", "DE")
    create = ("credential", "create", "clinic-a", "--key", key)
    said = problem(*create, *facts, "--fingerprint", "SHA256:short", *PHRASE, code=2)
    assert "identity" in said["got"]
    other = ("credential", "create", "clinic-a", "--key", tmp_path / "none.key")
    assert problem(*other, *facts, "--fingerprint", "SHA256:" + "A" * 43, *PHRASE, code=2)["got"] == "none"
    monkeypatch.setenv(VARIABLE, "another")
    assert problem(*create, *facts, "--fingerprint", "SHA256:" + "A" * 43, *PHRASE, code=3)["detail"].startswith("issuer key")
    assert not list(tmp_path.glob("*.credential.json"))


def test_a_party_shows_its_credential_when_it_joins(tmp_path: Path, key: Path, federation: Federation) -> None:
    invite, home, fingerprint = joining(federation, tmp_path, "vouched-a")
    file, foreign = tmp_path / "own.json", tmp_path / "foreign.json"
    made = created(key, "vouched-a", fingerprint, file)
    created(key, "vouched-a", "SHA256:" + "A" * 43, foreign)
    join = ("--home", home, "party", "join", invite)
    assert "identity" in problem(*join, "--credential", foreign, code=6)["detail"]  # before anything is sent
    assert problem(*join, "--credential", tmp_path / "none.json", code=3)["wanted"] == "a file that can be read"
    assert problem(*join, *["--credential", str(file)] * 5, code=3)["got"] == "5"
    result(*join, "--credential", file)
    member = federation.at("gateway", "member", "show", "vouched-a")
    assert member["credentials"] == [{"issuer": made["issuer"], "valid_until": made["valid_until"]}]
    assert made["issuer"] in shown("--home", federation.home("gateway"), "member", "show", "vouched-a")
    assert problem("--home", home, "party", "credentials", file, code=10)  # its service does not run


def test_a_running_party_shows_a_renewed_credential(tmp_path: Path, key: Path, federation: Federation) -> None:
    north = federation.home("north")
    fingerprint = federation.at("north", "party", "fingerprint")["fingerprint"]
    facts = federation.at("gateway", "member", "show", "north")
    options = {"--name": facts["legal_name"], "--class": facts["party_class"], "--country": facts["country"]}
    made = created(key, "north", fingerprint, tmp_path / "north.json", **options)
    told = result("--home", north, "party", "credentials", tmp_path / "north.json")
    assert told["credentials"] == 1
    member = federation.at("gateway", "member", "show", "north")
    assert member["credentials"] == [{"issuer": made["issuer"], "valid_until": made["valid_until"]}]
    left = federation.at("north", "party", "egress")["messages"]
    assert (left[-1]["kind"], left[-1]["verdict"]) == ("record", "allowed")
    created(key, "south", fingerprint, tmp_path / "south.json")
    assert problem("--home", north, "party", "credentials", tmp_path / "south.json", code=6)["detail"]


def test_the_log_says_who_vouches() -> None:
    ids = ("party-000", "party-001")
    issuer = read_credential(credential(ids[0])).issuer_fingerprint
    said = f"a credential by {issuer} until 2027-12-31"
    kind, _, says = leaf_row(enrolled(enrolment(ids[0], credentials=(credential(ids[0]),))).dump())
    assert kind == "enrolment"
    assert says.endswith(f"; {said}")
    assert leaf_row(credentials_shown(ids[1], credential(ids[1])).dump()) == ("credentials", "", f"party-001 shows {said}")
    assert leaf_row(credentials_shown(ids[1], "{}").dump())[2] == "party-001 shows a credential that does not verify"
    assert leaf_row(credentials_shown(ids[1]).dump())[2] == "party-001 shows no credentials"
