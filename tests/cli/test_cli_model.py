"""`parley model`: versions, files and predictions, without a service and without torch."""

from __future__ import annotations

import csv
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from parley_learning.modelfile import load

from tests.cli.cli_federation import SAMPLES, Federation, problem, result, shown

pytestmark = pytest.mark.services


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_versions_are_listed_and_shown(federation: Federation) -> None:
    found = federation.at("north", "model", "list", "readmission")["versions"]
    assert [each["version"] for each in found] == [1, 2, 3]
    assert found[-1]["step"] == "2 of 2 rounds of train@1"
    cards = [federation.at(name, "model", "show", "readmission") for name in ("north", "south", "east")]
    assert cards[0] == cards[1] == cards[2], "every member computed the same model"
    assert cards[0]["version"] == 3
    assert federation.at("north", "model", "show", "readmission/1")["version"] == 1
    assert "2 of 2 rounds" in shown("--home", federation.home("north"), "model", "list", "readmission")
    assert "readmitted is 1" in shown("--home", federation.home("north"), "model", "show", "readmission")
    assert problem("--home", federation.home("north"), "model", "show", "readmission/9", code=2)["wanted"].endswith("(1 to 3)")
    assert problem("--home", federation.home("north"), "model", "list", "nix", code=2)


def test_an_export_is_the_same_at_every_member_and_asks_before_it_replaces(federation: Federation, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("north", "south")]
    for file in files:
        federation.at(file.stem, "model", "export", "readmission", "--out", file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load(files[0].read_bytes()).card.members == ("east", "north", "south")
    assert "# Model card" in (tmp_path / "north.safetensors.md").read_text()
    again = ("--home", federation.home("north"), "model", "export", "readmission/1", "--out", files[0])
    assert problem(*again, code=2)["wanted"] == "--yes, or a terminal to ask at"
    assert files[0].read_bytes() == files[1].read_bytes()
    result(*again, "--yes")
    assert load(files[0].read_bytes()).card.version == 1


def test_predictions_of_a_dataset_a_file_and_a_model_file_agree(federation: Federation, tmp_path: Path) -> None:
    home, model = federation.home("north"), tmp_path / "m.safetensors"
    result("--home", home, "model", "export", "readmission", "--out", model)
    sources: dict[str, tuple[str | Path, ...]] = {
        "dataset": ("--home", home, "model", "predict", "readmission", "--data", "visits"),
        "file": ("--home", home, "model", "predict", "readmission", "--data", SAMPLES / "north.csv"),
        "model": ("model", "predict", model, "--data", SAMPLES / "north.csv"),
        "like": ("--home", home, "model", "predict", model, "--data", SAMPLES / "north.csv", "--like", "visits"),
    }
    outs = {}
    for name, arguments in sources.items():
        out = tmp_path / f"{name}.csv"
        assert result(*arguments, "--out", out)["rows"] == 300
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        outs[name] = out.read_text()
    assert len(set(outs.values())) == 1
    rows = rows_of(tmp_path / "file.csv")
    assert [row["row"] for row in rows[:2]] == ["1", "2"]
    assert all(0 < float(row["readmission"]) < 1 for row in rows)


def test_a_file_with_other_names_is_refused_by_column(federation: Federation, tmp_path: Path) -> None:
    model, out = tmp_path / "m.safetensors", tmp_path / "p.csv"
    federation.at("north", "model", "export", "readmission", "--out", model)
    said = problem("model", "predict", model, "--data", SAMPLES / "new-patients.csv", "--out", out, code=9)
    assert "--like" in said["do"]
    assert "column age" in said["detail"]
    assert problem("model", "predict", model, "--data", "none.csv", "--out", out, code=2)["got"] == "none.csv, which is neither"
    (tmp_path / "broken.safetensors").write_bytes(model.read_bytes()[:-4])
    assert problem("model", "predict", tmp_path / "broken.safetensors", "--data", SAMPLES / "north.csv", "--out", out, code=3)
    assert not out.exists()


def test_predicting_needs_no_torch_and_no_network(federation: Federation, tmp_path: Path) -> None:
    model, out = tmp_path / "m.safetensors", tmp_path / "p.csv"
    federation.at("north", "model", "export", "readmission", "--out", model)
    program = "import sys\nfor name in ('torch', 'aiohttp', 'uvloop'): sys.modules[name] = None\nfrom parley.main import run; run()"
    line = [sys.executable, "-c", program, "model", "predict", str(model), "--data", str(SAMPLES / "north.csv"), "--out", str(out)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(out)) == 300
