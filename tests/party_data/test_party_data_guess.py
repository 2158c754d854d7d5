"""A guessed party.toml loads, and its map fits the guessed columns."""

from __future__ import annotations

import gzip
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_learning.columns import Columns, parse_columns
from parley_party import config as party_config
from parley_party.dataset import DatasetConfig, Exclusion, HeldOut, MappedColumn
from parley_party.datasource import check_dataset, read_dataset
from parley_party.datasource_config import dataset_config
from parley_party.datasource_guess import _nice_range, _study_name, guess_columns, guess_party_toml, guess_query
from parley_party.errors import DataError

ADULT = Path(__file__).parents[3] / "shared" / "data" / "adult" / "adult.csv.gz"
HEADER = 'Patient ID,Age (years),"Größe ""cm""",flag,smoker,city,weight,const,born,remark,5th'


def row(i: int) -> str:
    city = ["Bonn", "Köln", "", "Ulm"][3 if i == 1 else i % 3]
    size = "?" if i % 9 == 0 else f"{150 + i % 40}.5"
    weight = "" if i % 7 == 0 else str(50 + i % 60)
    return (
        f"P{i // 2},{18 + i % 70},{size},{i % 2},{'yes' if i % 3 else 'no'},{city},{weight},1,19{30 + i % 60}-01-01,remark {i},{i * 0.001}"
    )


@pytest.fixture(name="csv")
def csv_fixture(tmp_path: Path) -> Path:
    path = tmp_path / "Visits 2026.csv"
    path.write_text("\n".join([HEADER, *(row(i) for i in range(200))]) + "\n", encoding="utf-8")
    return path


def guessed(csv: Path) -> tuple[DatasetConfig, Columns, str]:
    """Write what is guessed as `party init --from-csv` does, and load it as the service does."""
    folder = csv.parent
    text = guess_party_toml(csv, "klinikum-nord")
    name, query = guess_query(csv)
    (folder / name).write_text(query, encoding="utf-8")
    (folder / "party.toml").write_text(text, encoding="utf-8")
    loaded = party_config.load(folder / "party.toml")
    assert loaded.party.id == "klinikum-nord"
    (dataset,) = loaded.data
    columns = parse_columns(tomllib.loads(guess_columns(csv))["columns"])
    return dataset_config(loaded, dataset), columns, text


def test_a_guess_round_trips(csv: Path) -> None:
    config, columns, text = guessed(csv)
    assert config.name == "visits_2026"
    assert {spec.name: str(spec.type) for spec in columns.specs} == {
        "age_years": "int",
        "c_5th": "float",
        "city_bonn": "bool",
        "city_k_ln": "bool",
        "flag": "bool",
        "gr_e_cm": "float",
        "smoker": "bool",
        "weight": "int",
    }
    assert set(config.columns) == {spec.name for spec in columns.specs}
    found = check_dataset(config, columns.specs)
    assert found.fits, found.findings
    dataset, _ = read_dataset(config, columns.specs)
    assert dataset.people + dataset.people_held_out == 100
    assert text.count("LOOK") > 8
    assert tomllib.loads(text)["data"]["visits_2026"]["unit"] == "Patient ID"


def test_ranges_are_rounded_outward_and_missing_is_seen(csv: Path) -> None:
    _, columns, _ = guessed(csv)
    specs = {spec.name: spec for spec in columns.specs}
    assert (specs["age_years"].low, specs["age_years"].high) == (10, 90)
    assert (specs["gr_e_cm"].low, specs["gr_e_cm"].high) == (150, 190)
    assert {name for name, spec in specs.items() if spec.missing_allowed} == {"gr_e_cm", "weight"}


def test_rare_values_and_ids_are_not_written(csv: Path) -> None:
    text = guess_party_toml(csv, "p") + guess_columns(csv)
    assert "Ulm" not in text
    assert "remark 7" not in text
    assert "# remark: left out" in text
    assert "# const: left out" in text
    assert "# born: left out" in text
    assert "1 rows hold values that fewer than 10 rows share" in text


def test_without_an_id_every_row_is_a_person(tmp_path: Path) -> None:
    csv = tmp_path / "x.csv"
    csv.write_text("a,b\n1.5,2\n2.5,3\n", encoding="utf-8")
    assert '# unit = "…"' in guess_party_toml(csv, "p")
    config, columns, _ = guessed(csv)
    assert config.unit is None
    assert [spec.name for spec in columns.specs] == ["a", "b"]


def test_a_file_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none at"):
        guess_party_toml(tmp_path / "x.csv", "p")
    broken = tmp_path / "x.csv"
    broken.write_bytes(b"\xff\xfe\x00\x01" * 50)
    with pytest.raises(DataError):
        guess_columns(broken)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_nice_ranges_hold_the_values(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    if low < high:
        lowest, highest = _nice_range(low, high)
        assert lowest <= low
        assert highest >= high


@given(st.lists(st.text(max_size=60), max_size=8))
def test_every_name_becomes_a_study_column(sources: list[str]) -> None:
    taken: set[str] = set()
    for source in sources:
        name = _study_name(source, taken)
        assert name not in taken
        taken.add(name)
    if taken:
        table: dict[str, dict[str, Any]] = {name: {"type": "bool"} for name in taken}
        assert len(parse_columns(table).specs) == len(taken)


def test_party_toml_becomes_a_dataset(tmp_path: Path, csv: Path) -> None:
    text = guess_party_toml(csv, "p").replace(
        "held_out = 0.34", 'held_out_column = "flag"\nheld_out_value = true\nexclude = { table = "gone", column = "who" }'
    )
    text = text.replace("files = { ", 'files = { gone = "gone.csv", ')
    (tmp_path / "party.toml").write_text(text, encoding="utf-8")
    (tmp_path / guess_query(csv)[0]).write_text("SELECT 1", encoding="utf-8")
    config = dataset_config(party_config.load(tmp_path / "party.toml"), "visits_2026")
    assert config.held_out == HeldOut(column="flag", value="true")
    assert config.exclude == Exclusion("gone", "who")
    assert config.files["gone"] == str(tmp_path / "gone.csv")
    assert (config.query, config.unit, config.threads) == ("SELECT 1", "Patient ID", 1)
    assert config.columns["age_years"] == MappedColumn("Age (years)")
    assert config.columns["gr_e_cm"].sql == 'TRY_CAST("Größe ""cm""" AS DOUBLE)'
    with pytest.raises(DataError, match=r"dataset other: wanted a \[data"):
        dataset_config(party_config.load(tmp_path / "party.toml"), "other")


@pytest.mark.skipif(not ADULT.exists(), reason="1 data test skipped: shared data are absent")
def test_a_real_file_round_trips(tmp_path: Path) -> None:
    csv = tmp_path / "adult.csv.gz"
    lines = gzip.decompress(ADULT.read_bytes()).splitlines(keepends=True)
    csv.write_bytes(gzip.compress(b"".join(lines[:3000])))
    config, columns, _ = guessed(csv)
    assert {"age", "fnlwgt", "capital_gain", "sex_female", "income_per_year_50k"} <= {spec.name for spec in columns.specs}
    found = check_dataset(replace(config, held_out=HeldOut()), columns.specs)
    assert found.fits, found.findings
    assert found.training_rows == 2999
