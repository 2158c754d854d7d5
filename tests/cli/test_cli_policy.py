"""`parley policy`: check, show, words, diff, schema, init."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from parley.main import main
from parley_policies.model.loader import load_policy

FINGERPRINT = "SHA256:" + "A" * 43
ROOT = Path(__file__).parents[2]
PARTY = f"""
schema = "parley.party/1"
[party]
id = "clinic-a"
policy = "policy.toml"
state = "state"
control = "state/control.sock"
[gateways.main]
url = "http://localhost:8443"
fingerprint = "{FINGERPRINT}"
[keys]
dir = "keys"
passphrase = "env:PASS"
[data.visits]
files = {{ visits = "visits.csv" }}
query = "sql/visits.sql"
[data.visits.map]
age = "age_years"
ill = "ill"
[training]
work_dir = "state/work"
"""
NAMED = ["--party", "clinic-a", "--gateway-fingerprint", FINGERPRINT, "--dataset", "visits", "--column", "age"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARLEY_HOME", raising=False)


def ran(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == code
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert body["ok"] is (code == 0)
    return body


def hospital() -> Path:
    for folder in (ROOT / "docs" / "examples", ROOT.parent / "shared" / "design" / "examples"):
        if (folder / "policy-hospital.toml").is_file():
            return folder / "policy-hospital.toml"
    pytest.skip("1 example policy is neither in docs/examples nor beside the repository")


def test_init_with_everything_named(capsys: pytest.CaptureFixture[str]) -> None:
    body = ran(capsys, "policy", "init", "--profile", "demo-open", *NAMED, "--set", "min_people=20", "--days", "30")
    assert body["result"]["file"] == "policy.toml"
    policy = load_policy(Path("policy.toml").read_bytes()).policy
    assert (policy.party, policy.data.columns, policy.data.min_people) == ("clinic-a", ("age",), 20)
    assert (policy.identity.valid_until - policy.identity.valid_from).days == 30


def test_init_takes_from_party_toml_what_is_not_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "party.toml").write_text(PARTY)
    ran(capsys, "policy", "init", "--profile", "demo-open")
    policy = load_policy((tmp_path / "policy.toml").read_bytes()).policy
    assert (policy.party, policy.data.datasets, policy.data.columns) == ("clinic-a", ("visits",), ("age", "ill"))
    assert policy.gateway.fingerprints == (FINGERPRINT,)


def test_init_overwrites_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("mine")
    body = ran(capsys, "policy", "init", "--profile", "demo-open", *NAMED, code=10)
    assert body["problems"][0]["type"] == "urn:parley:problem:conflict"
    assert (tmp_path / "policy.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--profile", "lax"], 3, "demo-open"),
        (["--profile", "demo-open", "--party", "a"], 3, "no default"),
        (["--profile", "demo-open", *NAMED, "--set", "min_people"], 2, "NAME=TOML"),
        (["--profile", "demo-open", *NAMED, "--set", "no_such=1"], 3, "no_such"),
        (["--profile", "demo-open", *NAMED, "--set", "min_people='many'"], 3, "min_people"),
        (["--profile", "demo-open", *NAMED, "--days", "0"], 2, "days"),
        ([], 2, "--profile"),
    ],
)
def test_init_names_what_is_wrong_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    assert says in json.dumps(ran(capsys, "policy", "init", *arguments, code=code)["problems"])
    assert not Path("policy.toml").exists()


def test_check_says_digest_and_what_cannot_be_upheld(capsys: pytest.CaptureFixture[str]) -> None:
    result = ran(capsys, "policy", "check", str(hospital()))["result"]
    assert result["digest"] == load_policy(hospital().read_bytes()).digest
    assert "differential_privacy.required" in {each["clause"] for each in result["unsupported"]}
    assert main(["policy", "check", str(hospital())]) == 0
    text = capsys.readouterr().out
    assert "noise is not added yet" in text
    ran(capsys, "policy", "init", "--profile", "demo-open", *NAMED)
    assert ran(capsys, "policy", "check", "policy.toml")["result"]["unsupported"] == []
    assert main(["policy", "check", "policy.toml"]) == 0
    assert "upholds every clause" in capsys.readouterr().out


def test_check_notes_what_matches_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    ran(capsys, "policy", "init", "--profile", "demo-open", *NAMED, "--set", 'purposes=["dpv:ScientificResearch", "dpv:NoSuch", "text:x"]')
    notes = ran(capsys, "policy", "check", "policy.toml")["result"]["notes"]
    assert len(notes) == 1
    assert notes[0].startswith("purpose.granted: dpv:NoSuch is not in the taxonomy")


def test_check_notes_what_the_day_makes_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = hospital().read_text().replace("valid_from  = 2027-01-01", "valid_from  = 2001-01-01").replace("2027-12-31", "2001-12-31")
    Path("old.toml").write_text(text.replace("review_by = 2027-06-30", "review_by = 2001-06-30"))
    notes = " ".join(ran(capsys, "policy", "check", "old.toml")["result"]["notes"])
    assert "2001-12-31" in notes
    assert "DSFA-2026-044" in notes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("required    = false", "required    = 0"), "differential_privacy.required"),
        (("[purpose]", "[purposes]"), "purpose"),
        (("version     = 1", ""), "identity.version"),
        (("trust ", "trusts "), "peers.trust"),
    ],
)
def test_check_of_a_malformed_policy_is_3_and_names_file_and_field(
    capsys: pytest.CaptureFixture[str], change: tuple[str, str], says: str
) -> None:
    ran(capsys, "policy", "init", "--profile", "demo-open", *NAMED)
    text = Path("policy.toml").read_text()
    assert change[0] in text
    Path("policy.toml").write_text(text.replace(*change))
    (problem,) = ran(capsys, "policy", "check", "policy.toml", code=3)["problems"]
    assert "policy.toml" in problem["detail"]
    assert says in problem["detail"] + (problem["do"] or "")
    assert problem["wanted"]


def test_files_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("absent.toml", str(tmp_path)):
        assert ran(capsys, "policy", "check", name, code=3)["problems"][0]["type"] == "urn:parley:problem:file-invalid"


def test_show_says_of_each_clause_whether_it_was_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "party.toml").write_text(PARTY)
    ran(capsys, "policy", "init", "--profile", "demo-open")
    written = ran(capsys, "policy", "show")["result"]["clauses"]
    full = ran(capsys, "policy", "show", "--full")["result"]["clauses"]
    assert {clause["origin"] for clause in written} == {"written"}
    assert {clause["origin"] for clause in full} == {"written", "default"}
    assert len(full) > len(written)
    assert main(["policy", "show", "policy.toml"]) == 0
    assert "sums.max_small_changes" in capsys.readouterr().out


def test_show_without_a_file_needs_a_party(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--home" in ran(capsys, "policy", "show", code=3)["problems"][0]["do"]


def test_show_full_says_unit_lattice_and_who_upholds(capsys: pytest.CaptureFixture[str]) -> None:
    clauses = {each["clause"]: each for each in ran(capsys, "policy", "show", str(hospital()), "--full")["result"]["clauses"]}
    people = clauses["data.min_people"]
    assert (people["unit"], people["upheld"], people["origin"]) == ("people", "enforced here", "written")
    assert people["lattice"].startswith("the larger")
    assert main(["policy", "show", str(hospital()), "--full"]) == 0
    assert "two policies together" in capsys.readouterr().out


def test_words_say_every_clause_and_what_is_not_upheld(capsys: pytest.CaptureFixture[str]) -> None:
    result = ran(capsys, "policy", "words", str(hospital()))["result"]
    lines = {line["clause"]: line for section in result["sections"] for line in section["lines"]}
    clauses = [row.clause for row in load_policy(hospital().read_bytes()).rows()]
    assert list(lines) == clauses
    assert lines["schemes.dealers_granted"] == {
        "clause": "schemes.dealers_granted",
        "text": "No party may deal a key.",
        "upheld": "checked by every party",
        "written": True,
    }
    assert any("noise is not added yet" in each for each in result["unsupported"])
    assert main(["policy", "words", str(hospital())]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ P +No party may deal a key\.$", text, re.MULTILINE)
    assert "D*" not in text
    assert re.search(r"^ E\* +It was not made from a profile\.$", text, re.MULTILINE)
    assert "would refuse every study" in text


def test_words_of_this_party(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "party.toml").write_text(PARTY)
    ran(capsys, "policy", "init", "--profile", "demo-open")
    result = ran(capsys, "policy", "words")["result"]
    assert result["sections"][0]["lines"][0]["text"] == "This is the policy of clinic-a."
    assert result["unsupported"] == []
    assert main(["policy", "words"]) == 0
    assert "refuse every study" not in capsys.readouterr().out


def changed_hospital(*edits: tuple[str, str]) -> Path:
    text = hospital().read_text()
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    Path("new.toml").write_text(text)
    return Path("new.toml")


def test_diff_says_what_loosens_and_who_must_sign(capsys: pytest.CaptureFixture[str]) -> None:
    new = changed_hospital(
        ("version     = 3", "version     = 4"), ("trunk = 4,", "trunk = 3,"), ("min_people    = 200", "min_people    = 300")
    )
    result = ran(capsys, "policy", "diff", str(hospital()), str(new))["result"]
    assert [(each["clause"], each["direction"]) for each in result["changes"]] == [
        ("sums.min_parties", "loosens"),
        ("data.min_people", "tightens"),
        ("identity.version", "neutral"),
    ]
    assert result["counts"] == {"loosens": 1, "tightens": 1, "neutral": 1}
    assert result["signatures"]["all_of"] == ["role:data-protection-officer", "role:it-security"]
    assert result["changes"][1]["now"] == "A dataset is used only while at least 300 people are left in it after exclusions."
    assert main(["policy", "diff", str(hospital()), str(new)]) == 0
    text = capsys.readouterr().out
    assert "loosens sums.min_parties: all of role:data-protection-officer, role:it-security must sign" in text
    assert "tightens: permits less" in text


def test_diff_of_what_only_tightens_needs_any_one(capsys: pytest.CaptureFixture[str]) -> None:
    new = changed_hospital(("version     = 3", "version     = 4"), ('["class:hospital", "class:insurer"]', '["class:hospital"]'))
    result = ran(capsys, "policy", "diff", str(hospital()), str(new))["result"]
    assert result["signatures"]["says"] == "only tightens: any one of role:data-protection-officer, role:it-security must sign"
    assert result["changes"][0]["removed"] == ["class:insurer"]


def test_diff_notes_what_stands_against_the_new_file(capsys: pytest.CaptureFixture[str]) -> None:
    new = changed_hospital(("min_people    = 200", "min_people    = 300"))
    notes = " ".join(ran(capsys, "policy", "diff", str(hospital()), str(new))["result"]["notes"])
    assert "the version does not grow (3, then 3)" in notes
    assert "identity.supersedes names another file" in notes
    other = hospital().with_name("policy-insurer.toml")
    assert "policies of two parties" in " ".join(ran(capsys, "policy", "diff", str(hospital()), str(other))["result"]["notes"])
    assert ran(capsys, "policy", "diff", str(hospital()), str(hospital()))["result"]["changes"] == []
    assert main(["policy", "diff", str(hospital()), str(hospital())]) == 0
    assert "no clause changes" in capsys.readouterr().out
    Path("bad.toml").write_text("x")
    ran(capsys, "policy", "diff", str(hospital()), "bad.toml", code=3)


def test_schema_is_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert "differential_privacy" in ran(capsys, "policy", "schema")["result"]["properties"]
    assert main(["policy", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org/")
