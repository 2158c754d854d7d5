"""`parley data check`: what fits, what does not, and what the policy has against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.cli_federation import PASSPHRASE, SAMPLES, STUDY, VARIABLE, Federation, problem, result, run, shown


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    folder = tmp_path / "north"
    result("party", "init", folder, "--from-csv", SAMPLES / "north.csv", "--passphrase", f"env:{VARIABLE}")
    return folder


def study(folder: Path, before: str = "", after: str = "") -> Path:
    file = folder / "study.toml"
    file.write_text(STUDY.format(id="s", use="dpv:ScientificResearch").replace(before, after))
    return file


def test_data_that_fit(home: Path) -> None:
    found = result("--home", home, "data", "check", "north", "--study", study(home))["datasets"][0]
    assert (found["fits"], found["objectives"], found["notes"]) == (True, ["readmission"], [])
    assert found["training_rows"] + found["held_out_rows"] == 300
    assert {column["verdict"] for column in found["columns"]} == {"fits"}
    text = shown("--home", home, "data", "check", "--study", study(home))
    assert "int from 18 to 110" in text


def test_data_are_described_without_a_study(home: Path) -> None:
    found = result("--home", home, "data", "check")["datasets"]
    assert [each["dataset"] for each in found] == ["north"]
    assert len(found[0]["columns"]) == 6


def test_a_misfit_names_the_column_what_was_wanted_and_what_came(home: Path) -> None:
    file = study(home, "range = [18, 110]", "range = [50, 60]")
    body = run("--home", home, "data", "check", "--study", file, code=9)
    first = body["problems"][0]
    assert first["detail"] == "dataset north, column age"
    assert first["wanted"] == "int from 50 to 60"
    assert "outside the range" in first["got"]
    verdicts = {column["column"]: column["verdict"] for column in body["result"]["datasets"][0]["columns"]}
    assert (verdicts["age"], verdicts["bmi"]) == ("does not fit", "fits")
    assert "does not fit" in shown("--home", home, "data", "check", "--study", file, code=9)


def test_a_column_that_is_not_mapped_says_what_to_write(home: Path) -> None:
    body = run("--home", home, "data", "check", "--study", study(home, "smoker     =", "drinker    ="), code=9)
    assert 'write drinker = "…"' in body["problems"][0]["do"]
    assert "data.columns" in body["result"]["datasets"][0]["notes"][0]


def test_what_the_policy_has_against_it_is_a_note(home: Path) -> None:
    policy = home / "policy.toml"
    policy.write_text(policy.read_text().replace("min_people  = 50", "min_people  = 5000"))
    note = result("--home", home, "data", "check")["datasets"][0]["notes"][0]
    assert note.startswith("the policy says no: data.min_people")
    policy.write_text("nonsense")
    assert "cannot be read" in result("--home", home, "data", "check")["datasets"][0]["notes"][0]


def test_what_is_not_there_is_named(home: Path) -> None:
    assert problem("--home", home, "data", "check", "nix", code=9)["wanted"].endswith("north")
    assert problem("--home", home, "data", "check", "nix", "--study", study(home), code=9)["wanted"].endswith("north")
    assert problem("--home", home, "data", "check", "--study", "none.toml", code=2)["got"] == "none.toml, which is no file"
    assert problem("--home", home, "data", "check", "--study", "unknown", code=2)["type"].endswith("unknown-study")
    file = study(home, "[wishes]", "[wishis]")
    assert problem("--home", home, "data", "check", "--study", file, code=3)["detail"].startswith("study file study.toml")
    (home / "north.sql").write_text("DROP TABLE data")
    assert problem("--home", home, "data", "check", code=9)


def test_a_study_is_named_by_its_id(federation: Federation) -> None:
    assert federation.at("north", "data", "check", "--study", "readmission")["datasets"][0]["fits"]
