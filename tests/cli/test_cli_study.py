"""`parley study`: proposing, reading, explaining, starting and stopping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.cli_federation import STUDY, Federation, problem, result, run, shown, wait_for

pytestmark = pytest.mark.services


def proposed(federation: Federation, folder: Path, name: str, use: str = "dpv:ScientificResearch") -> dict[str, Any]:
    """Propose a study at north and return it once it has come as far as it will by itself."""
    file = folder / f"{name}.toml"
    file.write_text(STUDY.format(id=name, use=use))
    assert federation.at("north", "study", "propose", file)["study"] == name
    wait_for(lambda: federation.at("north", "study", "show", name)["state"] in {"FINALIZED", "TERMINATED"}, name)
    found: dict[str, Any] = federation.at("north", "study", "show", name)
    return found


def test_a_finished_study(federation: Federation, tmp_path: Path) -> None:
    for home in (federation.home("north"), federation.stopped("north", tmp_path)):
        found = result("--home", home, "study", "show", "readmission")
        assert (found["state"], found["rounds_done"], found["rounds_total"]) == ("FINISHED", 3, 3)
        assert found["members"] == ["east", "north", "south"]
        assert found["result"]["federated"]["readmission"]["value"] > 0.5
        listed = result("--home", home, "study", "list")["studies"]
        assert ("readmission", "FINISHED") in {(each["study"], each["state"]) for each in listed}
        assert "alone, linear" in shown("--home", home, "study", "show", "readmission")
        assert "readmission" in shown("--home", home, "study", "list")


def test_a_gateway_shows_who_answered(federation: Federation) -> None:
    found = federation.at("gateway", "study", "show", "readmission")
    assert all(answer["accepted"] for answer in found["answers"].values())
    text = shown("--home", federation.home("gateway"), "study", "show", "readmission")
    assert text.count("signed the terms") == 3


def test_explain_names_our_own_clauses_alone(federation: Federation) -> None:
    found = federation.at("north", "study", "explain", "readmission")["explanation"]
    assert (found["n"], found["c"], found["t"], found["dropouts_survived"]) == (3, 1, 3, 0)
    assert found["members"] == ("east", "north", "south") or found["members"] == ["east", "north", "south"]
    assert found["out"] == []
    named = {name for binding in found["bindings"] for name in binding["whose"]}
    assert "north" in named
    assert not {"south", "east"} & named
    text = shown("--home", federation.home("north"), "study", "explain", "readmission")
    assert "no round can finish" in text
    assert "by sums.max_small_changes (north)" in text
    gateway = federation.at("gateway", "study", "explain", "readmission")
    assert "another member's policy" in str(gateway["rows"])


def test_logs_of_a_running_and_a_stopped_service_agree(federation: Federation, tmp_path: Path) -> None:
    live = shown("--home", federation.home("north"), "study", "logs", "readmission")
    stored = shown("--home", federation.stopped("north", tmp_path), "study", "logs", "readmission")
    assert live == stored
    assert "round 3: opened" in live
    assert "terms accepted" in live
    assert "finished" in shown("--home", federation.home("gateway"), "study", "logs", "readmission")


def test_the_last_round_is_recomputed_by_any_member_and_no_earlier_one(federation: Federation) -> None:
    for party in ("north", "south"):
        found = federation.at(party, "study", "recompute", "readmission")
        assert (found["round"], found["updates"]) == (3, len(federation.at("north", "study", "show", "readmission")["members"]))
        assert {segment["name"] for segment in found["segments"]} >= {"trunk"}
    assert "Recomputed, bit for bit" in shown("--home", federation.home("north"), "study", "recompute", "readmission")
    assert problem("--home", federation.home("north"), "study", "recompute", "readmission", "--round", "2", code=2)["type"].endswith(
        "not-found"
    )
    assert problem("--home", federation.home("north"), "study", "recompute", "readmission", "--round", "9", code=10)["wanted"]
    assert "sum recomputed" in shown("--home", federation.home("north"), "study", "logs", "readmission")


def test_what_is_unknown_is_named(federation: Federation, tmp_path: Path) -> None:
    home = federation.stopped("north", tmp_path)
    for verb in ("show", "explain", "logs"):
        assert problem("--home", home, "study", verb, "nix", code=2)["type"].endswith("unknown-study")
        assert problem("--home", federation.home("north"), "study", verb, "nix", code=2)["type"].endswith("unknown-study")
    assert problem("--home", federation.home("north"), "study", "start", "nix", code=2)
    assert problem("--home", federation.home("north"), "study", "recompute", "nix", code=2)["type"].endswith("unknown-study")
    assert problem("--home", federation.home("gateway"), "study", "show", "nix", code=2)


def test_what_needs_the_service_says_so(federation: Federation, tmp_path: Path) -> None:
    home = federation.stopped("north", tmp_path)
    file = tmp_path / "study.toml"
    file.write_text(STUDY.format(id="later", use="dpv:ScientificResearch"))
    for arguments in (
        ("propose", file),
        ("start", "readmission"),
        ("stop", "readmission", "--reason", "x", "--yes"),
        ("recompute", "readmission"),
        ("logs", "x", "--follow"),
    ):
        assert problem("--home", home, "study", *arguments, code=10)["type"].endswith("not-running")


def test_a_study_file_is_read_before_anything_is_sent(federation: Federation, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(STUDY.format(id="bad", use="dpv:ScientificResearch").replace("rounds     =", "runds     ="))
    said = problem("--home", federation.home("north"), "study", "propose", file, code=3)
    assert said["detail"].startswith("study file bad.toml: wishes.")
    assert problem("--home", federation.home("north"), "study", "propose", tmp_path / "none.toml", code=3)["wanted"]
    good = tmp_path / "good.toml"
    good.write_text(STUDY.format(id="readmission", use="dpv:ScientificResearch"))
    assert problem("--home", federation.home("north"), "study", "propose", good, code=2)["do"].startswith("Choose another id")
    assert problem("--home", federation.home("south"), "study", "propose", good, code=2)["got"] == "north"


def test_a_refused_study_says_at_home_which_clause_refused(federation: Federation, tmp_path: Path) -> None:
    found = proposed(federation, tmp_path, "marketing", use="dpv:Marketing")
    assert found["state"] == "TERMINATED"
    assert "purpose.prohibited" in found["reason"] or "purpose.granted" in found["reason"]
    text = shown("--home", federation.home("north"), "study", "explain", "marketing")
    assert "purpose." in text
    told = federation.at("north", "study", "explain", "marketing")
    assert told["explanation"] is None
    assert {each["clause"] for each in told["could_be_loosened"]} <= {"purpose.granted", "purpose.prohibited"}


def test_a_study_that_nobody_started_is_stopped(federation: Federation, tmp_path: Path) -> None:
    found = proposed(federation, tmp_path, "stopped")
    assert (found["state"], found["rounds_done"], found["rounds_total"]) == ("FINALIZED", 0, 3)
    stop = ("--home", federation.home("north"), "study", "stop", "stopped", "--reason", "not needed")
    assert problem(*stop, code=2)["wanted"] == "--yes, or a terminal to ask at"
    assert run(*stop, "--yes")["result"]["study"] == "stopped"
    wait_for(lambda: federation.at("south", "study", "show", "stopped")["state"] == "STOPPED", "STOPPED")
    assert "not needed" in federation.at("south", "study", "show", "stopped")["reason"]
    assert "not needed" in shown("--home", federation.home("gateway"), "study", "list")
