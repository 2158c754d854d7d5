"""`parley agreement`: list, show, verify; and an agreement that somebody changed in the store."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from parley_crypto.signing import Envelope
from parley_policies.negotiation.agreement import Agreement

from tests.cli.cli_federation import Federation, problem, result, run, shown

pytestmark = pytest.mark.services


def test_an_agreement_is_found_by_study_and_by_digest(federation: Federation) -> None:
    for name in ("north", "gateway"):
        found = federation.at(name, "agreement", "show", "readmission")
        assert federation.at(name, "agreement", "show", found["digest"][:10]) == found
        assert federation.at(name, "agreement", "show", "sha256:" + found["digest"]) == found
        agreement = Agreement.load(Envelope.load(found["envelope"].encode()))
        assert agreement.digest == found["digest"]
        assert found["digest"] in {each["digest"] for each in federation.at(name, "agreement", "list")["agreements"]}
        text = shown("--home", federation.home(name), "agreement", "show", "readmission")
        assert "1 party may conspire and still learn nothing" in text
        assert "at least 3 of 3" in text
        assert found["digest"][:16] in shown("--home", federation.home(name), "agreement", "list")


def test_every_check_of_an_agreement_holds(federation: Federation) -> None:
    found = federation.at("north", "agreement", "verify", "readmission")
    assert found["verified"]
    assert [check["holds"] for check in found["checks"]] == [True] * 5
    assert found["checks"][-1]["detail"] == "3 certificates, the newest of round 3"
    assert federation.at("gateway", "agreement", "verify", "readmission")["verified"]
    assert "yes" in shown("--home", federation.home("north"), "agreement", "verify", "readmission")


def test_an_unknown_agreement_says_which_there_are(federation: Federation) -> None:
    said = problem("--home", federation.home("north"), "agreement", "show", "nix", code=2)
    assert "readmission (" in said["wanted"]
    assert problem("--home", federation.home("north"), "agreement", "verify", "abcdefabcdef", code=2)


def changed(home: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(home / "state" / "party.db") as store:
        store.execute(sql, values)
    store.close()


def test_a_changed_signature_is_named(federation: Federation, tmp_path: Path) -> None:
    home = federation.stopped("north", tmp_path)
    envelope = json.loads(result("--home", home, "agreement", "show", "readmission")["envelope"])
    envelope["signatures"][1]["sig"] = envelope["signatures"][0]["sig"]
    changed(home, "UPDATE studies SET agreement = ? WHERE study = 'readmission'", json.dumps(envelope, separators=(",", ":")))
    for verb in ("show", "verify"):
        assert "lacking north" in problem("--home", home, "agreement", verb, "readmission", code=6)["detail"]


def test_what_this_party_wrote_down_for_itself_counts(federation: Federation, tmp_path: Path) -> None:
    home = federation.stopped("south", tmp_path)
    changed(home, "DELETE FROM evidence WHERE kind = 'terms accepted'")
    members = [dict(entry) for entry in json.loads(_members(home))]
    members[0]["identity"] = members[1]["identity"]
    changed(home, "UPDATE studies SET members = ?", json.dumps(members))
    changed(home, "DELETE FROM certificates WHERE round = 2")
    body = run("--home", home, "agreement", "verify", "readmission", code=6)
    assert [check["holds"] for check in body["result"]["checks"]] == [True, False, True, False, False]
    assert len(body["problems"]) == 3
    assert "wanted a successor of round 1" in body["result"]["checks"][-1]["detail"]


def _members(home: Path) -> str:
    with sqlite3.connect(home / "state" / "party.db") as store:
        found = str(store.execute("SELECT members FROM studies WHERE study = 'readmission'").fetchone()[0])
    store.close()
    return found
