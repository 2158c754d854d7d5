"""What a party takes out of a study: which rows a prediction is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parley_party.config import PartyConfig, load
from parley_party.dataset import HeldOut
from parley_party.errors import DataError
from parley_party.models import data_for, predictions_csv

CONFIG = """
schema = "parley.party/1"
[party]
id = "clinic-a"
policy = "policy.toml"
state = "state"
control = "state/control.sock"
[keys]
dir = "keys"
passphrase = "prompt"
[data.one]
files = { visits = "visits.csv", objections = "objections.csv" }
query = "visits.sql"
unit = "id"
exclude = { table = "objections", column = "id" }
[data.one.map]
age = "age"
[data.two]
files = { visits = "visits.csv", labs = "labs.csv" }
query = "visits.sql"
[data.two.map]
age = "age"
[training]
work_dir = "work"
"""


@pytest.fixture
def config(tmp_path: Path) -> PartyConfig:
    (tmp_path / "party.toml").write_text(CONFIG)
    (tmp_path / "visits.sql").write_text("SELECT * FROM visits")
    return load(tmp_path / "party.toml")


def test_a_dataset_keeps_its_exclusions_and_holds_nothing_back(config: PartyConfig) -> None:
    data = data_for(config, "one", None)
    assert data.exclude is not None
    assert data.held_out == HeldOut()


def test_a_file_takes_the_place_of_the_one_that_the_query_reads(config: PartyConfig, tmp_path: Path) -> None:
    data = data_for(config, "one", tmp_path / "new.csv")
    assert data.files == {"visits": str(tmp_path / "new.csv")}
    assert (data.unit, data.exclude) == (None, None)


def test_a_query_over_two_files_cannot_say_which_to_replace(config: PartyConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"wanted a query over one file, .*, got visits, labs"):
        data_for(config, "two", tmp_path / "new.csv")


def test_predictions_stand_beside_their_row_numbers() -> None:
    assert (
        predictions_csv({"a": np.array([0.25, 1.0]), "b": np.array([0.5, 0.125])}) == "row,a,b\n1,0.250000,0.500000\n2,1.000000,0.125000\n"
    )
