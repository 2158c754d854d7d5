from __future__ import annotations

import pytest
from parley_learning.columns import ColumnType, parse_columns
from parley_learning.errors import ColumnError
from parley_learning.model import ModelKind, ModelSpec, parse_model
from parley_learning.objective import Objective, ObjectiveKind, parse_objectives
from parley_learning.settings import TrainSettings, parse_settings
from parley_learning.study import parse_study

AGE: dict[str, object] = {"type": "float", "unit": "year", "range": [0, 120]}
ILL: dict[str, object] = {"type": "bool", "objectives": ["illness"]}
GOAL = {"id": "illness", "label": "ill", "kind": "binary"}


def test_columns_stand_in_name_order_whatever_the_file_says() -> None:
    one = parse_columns({"b": AGE, "a": AGE, "ill": ILL})
    other = parse_columns({"ill": ILL, "a": AGE, "b": AGE})
    assert one == other
    assert one.feature_names == ("a", "b")


def test_a_feature_that_may_be_missing_brings_its_flag_right_after_it() -> None:
    columns = parse_columns({"a": {**AGE, "missing": "allowed"}, "b": {"type": "bool", "missing": "refused"}})
    assert columns.feature_names == ("a", "a_missing", "b")
    assert (columns.specs[1].type, columns.specs[1].low, columns.specs[1].high) == (ColumnType.BOOL, 0.0, 1.0)


def test_a_label_is_never_a_feature_of_anyone_and_needed_only_by_its_own_party() -> None:
    columns = parse_columns({"age": AGE, "ill": ILL, "costly": {"type": "bool", "objectives": ["cost"]}})
    assert columns.feature_names == ("age",)
    assert [spec.name for spec in columns.needed(("illness",))] == ["age", "ill"]
    with pytest.raises(ColumnError, match="objective other"):
        columns.needed(("other",))


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("Age", AGE, "wanted a name of a-z"),
        ("age", {"type": "category"}, "category.*one bool column"),
        ("age", {"type": "float"}, r"wanted range = \[low, high\]"),
        ("age", {"type": "float", "range": [3, 3]}, "low < high"),
        ("age", {"type": "float", "range": [0, float("inf")]}, "finite range"),
        ("age", {"type": "float", "range": [0, 1], "missing": "maybe"}, 'missing = "allowed"'),
        ("age", {"type": "bool", "range": [0, 1]}, "wanted no range for a bool"),
        ("age", {"type": "float", "range": [0, 1], "scale": 3}, "got scale"),
        ("age", {"type": "bool", "objectives": "illness"}, "objectives as a list"),
        ("age", {"type": "bool", "objectives": ["illness"]}, "at least one feature"),
    ],
)
def test_a_column_that_this_version_cannot_use_is_named(name: str, entry: dict[str, object], message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        parse_columns({name: entry})


def test_names_that_would_stand_twice_are_refused() -> None:
    with pytest.raises(ColumnError, match="one feature a_missing, got 2"):
        parse_columns({"a": {**AGE, "missing": "allowed"}, "a_missing": {"type": "bool"}})
    with pytest.raises(ColumnError, match="objective illness: wanted ill to name it"):
        parse_study({"a": AGE, "ill": ILL, "sick": ILL}, [GOAL], {"kind": "logistic"})


@pytest.mark.parametrize(
    ("goals", "message"),
    [
        ([], "at least one"),
        ([GOAL, GOAL], "each once"),
        ([{**GOAL, "kind": "ranking"}], "this version has the kinds binary, multiclass, .*, got 'ranking'"),
        ([{**GOAL, "id": "Ill-ness"}], "a-z, 0-9 and _"),
        ([{**GOAL, "label": None}], "name of its label column"),
        ([{**GOAL, "label": "age"}], "column age: wanted type bool for the label"),
        ([{**GOAL, "label": "old"}], "wanted a column old"),
        ([{**GOAL, "weight": 2}], "got weight"),
        ([{**GOAL, "event": "ill"}], "survival objective alone"),
        ([{**GOAL, "id": "other"}], "objective other"),
    ],
)
def test_objectives_are_checked_against_the_columns(goals: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        parse_study({"age": AGE, "ill": ILL}, goals, {"kind": "logistic"})


def test_a_column_for_an_objective_that_the_study_lacks_is_refused() -> None:
    with pytest.raises(ColumnError, match=r"column costly.*got cost"):
        parse_study({"age": AGE, "ill": ILL, "costly": {"type": "bool", "objectives": ["cost"]}}, [GOAL], {"kind": "logistic"})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "cnn"}, "this version has the kinds logistic, mlp, got 'cnn'"),
        ({"kind": "mlp"}, "hidden layers for mlp"),
        ({"kind": "logistic", "hidden": [4]}, "none for logistic"),
        ({"kind": "mlp", "hidden": [0]}, "of 1 to 4096 units"),
        ({"kind": "mlp", "hidden": 4}, "list of whole numbers"),
        ({"kind": "mlp", "hidden": [4], "dropout": 0.5}, "got dropout"),
    ],
)
def test_a_model_that_this_version_lacks_is_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        parse_model(table, ("a",), (Objective("illness", "ill", ObjectiveKind.BINARY),))


def test_objectives_stand_in_id_order() -> None:
    columns = parse_columns({"age": AGE, "ill": {"type": "bool", "objectives": ["illness", "cost"]}})
    goals = parse_objectives([GOAL, {**GOAL, "id": "cost"}], columns)
    assert [goal.id for goal in goals] == ["cost", "illness"]
    with pytest.raises(ColumnError, match="in order"):
        ModelSpec(ModelKind.LOGISTIC, (), ("a",), goals[::-1])


def test_training_settings_have_defaults_and_bounds() -> None:
    assert parse_settings({}) == TrainSettings()
    assert parse_settings({"epochs": 3, "learning_rate": 1}) == TrainSettings(epochs=3, learning_rate=1.0)


@pytest.mark.parametrize(
    "table",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"epochs": True},
        {"batch_rows": 0},
        {"learning_rate": 0},
        {"learning_rate": "fast"},
        {"learning_rate": float("nan")},
        {"weight_decay": -1},
        {"weight_decay": 10.0},
        {"momentum": 0.9},
    ],
)
def test_training_settings_out_of_bounds_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ColumnError, match="training: wanted"):
        parse_settings(table)
