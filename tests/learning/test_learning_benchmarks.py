from __future__ import annotations

import json

import pytest

from benchmarks.harness import Row, run

ROWS = [Row("round", 0.3, "s", 0.25, "<="), Row("mean AUC", 0.81, "AUC", 0.80), Row("baseline", 1.5, "s")]


def test_json_has_the_fields_of_the_interface(capsys: pytest.CaptureFixture[str]) -> None:
    run("example", lambda: ROWS, ["--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["benchmark"] == "example"
    assert report["machine"]["cores"] >= 1
    assert report["rows"][0] == {"name": "round", "value": 0.3, "unit": "s", "goal": 0.25, "compare": "<=", "met": False}
    assert [row["met"] for row in report["rows"]] == [False, True, None]


def test_the_table_shows_a_missed_goal_as_missed(capsys: pytest.CaptureFixture[str]) -> None:
    run("example", lambda: ROWS, [])
    out = capsys.readouterr().out
    assert out.count("missed") == 1
    assert "<= 0.25" in out
