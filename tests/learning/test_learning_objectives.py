"""Every kind of objective: its loss against torch's own, its metric against its definition, and that a shared model learns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parley_learning.arrays import Float32s, Float64s
from parley_learning.errors import ColumnError, DataError
from parley_learning.metrics import METRICS, concordance, score_of
from parley_learning.model import arrays, initial_parameters, layout, outputs
from parley_learning.modelcard import make_card
from parley_learning.modelfile import dump, load, predict
from parley_learning.objective import Objective, ObjectiveKind, loss, means, named_predictions, predictions, targets
from parley_learning.rows import LocalRows, local_rows
from parley_learning.settings import TrainSettings
from parley_learning.study import StudyLearning, parse_study
from parley_learning.train import Target, gradients, local_update
from parley_learning.workloads.local import fit_linear, linear_outputs, local_scores
from parley_learning.workloads.preprocess import scaling_from_sum, summary_vector

from benchmarks.plain_federation import PlainParty, federate, score

SEED = bytes(range(32))
COLUMNS: dict[str, dict[str, object]] = {
    "age": {"type": "float", "range": [0, 120]},
    "smokes": {"type": "bool"},
    "ill": {"type": "bool", "objectives": ["illness"]},
    "stage": {"type": "int", "range": [0, 3], "objectives": ["stage"], "missing": "allowed"},
    "cost": {"type": "float", "unit": "EUR", "range": [0, 50_000], "objectives": ["cost"]},
    "visits": {"type": "int", "range": [0, 60], "objectives": ["visits"]},
    "months": {"type": "float", "range": [0, 60], "objectives": ["life"]},
    "died": {"type": "bool", "objectives": ["life"]},
}
GOALS: list[dict[str, object]] = [
    {"id": "illness", "label": "ill", "kind": "binary"},
    {"id": "stage", "label": "stage", "kind": "multiclass"},
    {"id": "cost", "label": "cost", "kind": "regression"},
    {"id": "visits", "label": "visits", "kind": "count"},
    {"id": "life", "label": "months", "kind": "survival", "event": "died", "intervals": 6},
]
ALL = tuple(sorted(str(goal["id"]) for goal in GOALS))


def the_study(kind: str = "mlp") -> StudyLearning:
    model: dict[str, object] = {"kind": "mlp", "hidden": [8]} if kind == "mlp" else {"kind": kind}
    return parse_study(COLUMNS, GOALS, model, {"batch_rows": 16, "learning_rate": 0.1})


def the_table(rows: int, seed: int) -> dict[str, Float64s]:
    """Old smokers are ill, in a later stage, cost more, come more often, and die sooner."""
    draw = np.random.default_rng(seed)
    age, smokes = draw.uniform(20, 90, rows), (draw.random(rows) < 0.4).astype(np.float64)
    risk = (age - 55) / 15 + 1.5 * smokes
    months = draw.exponential(30 * np.exp(-risk / 2))
    stage = np.digitize(risk + draw.normal(0, 0.7, rows), [-1.0, 0.5, 2.0]).astype(np.float64)
    return {
        "age": age,
        "smokes": smokes,
        "ill": (risk + draw.normal(0, 1, rows) > 0.5).astype(np.float64),
        "stage": np.where(draw.random(rows) < 0.2, np.nan, stage),
        "cost": (15_000 + 5_000 * risk + draw.normal(0, 4_000, rows)).clip(0, 50_000),
        "visits": draw.poisson(np.exp(1 + risk / 3)).clip(0, 60).astype(np.float64),
        "months": np.minimum(months, 60.0),
        "died": (months < 60).astype(np.float64),
    }


def some_rows(study: StudyLearning, rows: int = 80, seed: int = 5) -> LocalRows:
    values = the_table(rows, seed)
    return local_rows(study, values, scaling_from_sum(study.columns, summary_vector(study.columns, values)), ALL)


def test_every_kind_has_a_head_of_its_own_width() -> None:
    study = the_study()
    heads = {name: length for name, length in layout(study.model).segments if name != "trunk"}
    assert heads == {"head:cost": 9, "head:illness": 9, "head:life": 6 * 9, "head:stage": 4 * 9, "head:visits": 9}
    assert set(METRICS) == set(ObjectiveKind) == {goal.kind for goal in study.objectives}


@pytest.mark.parametrize(
    ("goal", "columns", "message"),
    [
        ({"kind": "multiclass", "label": "cost"}, {}, "wanted type int for the label of the multiclass"),
        ({"kind": "multiclass", "label": "stage"}, {"stage": {"type": "int", "range": [1, 3], "objectives": ["x"]}}, "a range from 0"),
        ({"kind": "multiclass", "label": "stage"}, {"stage": {"type": "int", "range": [0, 5_000], "objectives": ["x"]}}, "1000 classes"),
        ({"kind": "count", "label": "visits"}, {"visits": {"type": "int", "range": [-1, 3], "objectives": ["x"]}}, "a range from 0"),
        ({"kind": "regression", "label": "ill"}, {}, "wanted type float or int"),
        ({"kind": "survival", "label": "months"}, {}, "wanted event ="),
        ({"kind": "survival", "label": "months", "event": "cost"}, {}, "wanted type bool for the event"),
        ({"kind": "survival", "label": "months", "event": "died", "intervals": 0}, {}, "1 to 100 intervals"),
        ({"kind": "regression", "label": "cost", "intervals": 4}, {}, "survival objective alone"),
    ],
)
def test_a_label_that_does_not_fit_its_kind_is_named(goal: dict[str, object], columns: dict[str, dict[str, object]], message: str) -> None:
    named = [str(goal["label"]), *([str(goal["event"])] if "event" in goal else [])]
    table = {name: {**entry, "objectives": ["x"] if name in named else []} for name, entry in COLUMNS.items()} | columns
    with pytest.raises(ColumnError, match=message):
        parse_study(table, [{"id": "x", **goal}], {"kind": "logistic"})


def _of_torch(goal: Objective, found: torch.Tensor, labels: Float32s) -> torch.Tensor:
    """The mean loss over the labelled rows in torch's own words."""
    known = ~np.isnan(labels if labels.ndim == 1 else labels[:, 0])
    out, truth = found[torch.tensor(known)], torch.tensor(labels[known].astype(np.float64))
    match goal.kind:
        case ObjectiveKind.BINARY:
            return torch.nn.functional.binary_cross_entropy_with_logits(out[:, 0], truth)
        case ObjectiveKind.MULTICLASS:
            return torch.nn.functional.cross_entropy(out, truth.long())
        case ObjectiveKind.REGRESSION:
            place = 2 * (truth - goal.low) / (goal.high - goal.low) - 1
            return 0.5 * torch.nn.functional.mse_loss(out[:, 0], place)
        case ObjectiveKind.COUNT:
            return torch.nn.functional.poisson_nll_loss(out[:, 0], truth / goal.high, log_input=True)
        case ObjectiveKind.SURVIVAL:  # the likelihood person by person: survive each interval before, then die in one or be lost
            total = torch.zeros((), dtype=torch.float64)
            for row, (time, event) in zip(out, truth, strict=True):
                hazard = torch.sigmoid(row)
                number = int(min(time / 10, 5)) if event else int(time // 10)
                total = total - torch.log1p(-hazard[:number]).sum() - (torch.log(hazard[number]) if event else 0.0)
            return total / len(out)


@pytest.mark.parametrize("objective", ALL)
def test_a_loss_is_torch_s_own_and_its_slope_is_mean_less_wanted(objective: str) -> None:
    study = the_study()
    goal, labels = study.objective(objective), some_rows(study).labels[objective]
    found = torch.tensor(np.random.default_rng(7).normal(0, 1, (80, goal.outputs)), requires_grad=True)
    expected = _of_torch(goal, found, labels)
    expected.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    rows = np.count_nonzero(~np.isnan(labels if labels.ndim == 1 else labels[:, 0]))
    array = found.detach().numpy()
    assert loss(goal, array, labels) / rows == pytest.approx(float(expected.detach()), rel=1e-6)
    wanted, weight = targets(goal, labels)
    assert found.grad is not None
    np.testing.assert_allclose(weight * (means(goal.kind, array) - wanted) / rows, found.grad.numpy(), rtol=1e-5, atol=1e-7)
    residual = Target.of(goal, labels).residual(torch.tensor(array, dtype=torch.float32))
    np.testing.assert_allclose(residual.numpy(), found.grad.numpy(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "logistic"])
def test_gradients_of_all_kinds_together_are_the_slope_of_their_losses(kind: str) -> None:
    study = the_study(kind)
    spec, rows = study.model, some_rows(study)
    parameters = np.random.default_rng(3).normal(0, 0.3, layout(spec).length).astype(np.float32)

    def total(at: Float32s) -> float:
        found = outputs(spec, at, rows.features)
        known = {goal.id: np.count_nonzero(~np.isnan(rows.labels[goal.id].reshape(80, -1)[:, 0])) for goal in spec.goals}
        return sum(loss(goal, found[goal.id], rows.labels[goal.id]) / known[goal.id] for goal in spec.goals)

    tensors = {name: torch.from_numpy(array) for name, array in arrays(spec, parameters).items()}
    slope = gradients(spec, tensors, torch.from_numpy(rows.features), [Target.of(goal, rows.labels[goal.id]) for goal in spec.goals])
    flat = np.zeros_like(parameters)
    for name, place in arrays(spec, flat).items():
        place[...] = slope[name].numpy()
    for direction in np.random.default_rng(9).normal(0, 1, (5, parameters.size)).astype(np.float32):
        step = (direction * 1e-3).astype(np.float32)
        change = total(parameters + step) - total(parameters - step)
        assert change / 2e-3 == pytest.approx(float(flat.astype(np.float64) @ direction), rel=2e-2, abs=2e-3)


def test_who_is_at_risk_in_which_interval() -> None:
    goal = Objective("life", "months", ObjectiveKind.SURVIVAL, 0.0, 30.0, "died", 3)
    labels = np.array([[5, 1], [10, 1], [30, 1], [9, 0], [10, 0], [30, 0], [np.nan, np.nan]], dtype=np.float32)
    wanted, weight = targets(goal, labels)
    assert wanted.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert weight.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert goal.interval_ends == (10.0, 20.0, 30.0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.booleans()), min_size=1, max_size=12))
def test_concordance_is_the_share_of_comparable_pairs_in_order(people: list[tuple[int, int, bool]]) -> None:
    risk, time = np.array([float(p[0]) for p in people]), np.array([float(p[1]) for p in people])
    seen = np.array([p[2] for p in people])
    pairs = [(one, other) for one in people for other in people if one[2] and one[1] < other[1]]
    found = concordance(risk, time, seen)
    if not pairs:
        assert found is None
        return
    assert found == pytest.approx(sum(1.0 if a[0] > b[0] else 0.5 if a[0] == b[0] else 0.0 for a, b in pairs) / len(pairs))


def test_metrics_are_what_they_are_defined_as() -> None:
    study = the_study()
    cost = study.objective("cost")
    truth = np.array([10_000, 20_000, 30_000, np.nan], dtype=np.float32)
    places = 2 * np.array([[12_000.0], [20_000.0], [28_000.0], [0.0]]) / 50_000 - 1
    assert score_of(cost, places, truth).value == pytest.approx(1 - (2 * 2_000**2) / (2 * 10_000**2))
    assert score_of(cost, places, np.full(4, np.nan, dtype=np.float32)).rows == 0
    visits = study.objective("visits")
    counts = np.array([0, 2, 4], dtype=np.float32)
    rates = np.array([0.5, 2.0, 3.0])
    deviance = 2 * (0.5 + (2 * np.log(1.0) - 0.0) + (4 * np.log(4 / 3) - 1.0))
    null = 2 * ((0 + 2.0) + 0.0 + (4 * np.log(2.0) - 2.0))
    assert score_of(visits, np.log(rates / 60)[:, None], counts).value == pytest.approx(1 - deviance / null)
    stage = study.objective("stage")
    assert score_of(stage, np.eye(4)[[0, 1, 2, 3]], np.array([0, 1, 2, 3], dtype=np.float32)).value == 1.0
    assert score_of(stage, np.zeros((2, 4)), np.array([1, 1], dtype=np.float32)).value is None
    assert score_of(cost, places, np.full(4, 7, dtype=np.float32)).value is None


def test_predictions_are_in_people_s_units_and_named() -> None:
    study = the_study()
    found = named_predictions(study.objectives, {goal.id: np.zeros((2, goal.outputs)) for goal in study.objectives})
    assert list(found) == [
        "cost", "illness", "life>10", "life>20", "life>30", "life>40", "life>50", "life>60", "stage=0", "stage=1",
        "stage=2", "stage=3", "visits",
    ]  # fmt: skip
    assert {name: values[0] for name, values in found.items() if name in {"cost", "illness", "life>20", "stage=3", "visits"}} == {
        "cost": 25_000.0, "illness": 0.5, "life>20": 0.25, "stage=3": 0.25, "visits": 60.0,
    }  # fmt: skip


def test_a_rate_that_diverged_does_not_overflow() -> None:
    goal = the_study().objective("visits")
    assert np.isfinite(predictions(goal, np.array([[1e6]]))).all()
    assert np.isfinite(loss(goal, np.array([[1e6]]), np.array([3], dtype=np.float32)))


@pytest.mark.parametrize("objective", ALL)
def test_the_local_linear_model_is_at_its_optimum(objective: str) -> None:
    study = the_study()
    goal, rows = study.objective(objective), some_rows(study)

    def total(weights: Float64s) -> float:
        return loss(goal, linear_outputs(weights, rows.features), rows.labels[objective]) + 5.0 * float((weights[:-1] ** 2).sum())

    best = fit_linear(goal, rows, penalty=10.0)
    for place in np.ndindex(best.shape):
        for step in (-0.02, 0.02):
            other = best.copy()
            other[place] += step
            assert total(other) > total(best)


def test_a_federation_learns_every_kind_together_and_beats_chance() -> None:
    study = replace(the_study(), settings=TrainSettings(epochs=3, batch_rows=16, learning_rate=0.1, weight_decay=0.0))
    parties = [PlainParty(f"p{number}", ALL, the_table(150, number), the_table(300, 50 + number)) for number in range(3)]
    model = federate(study, parties, 15, 2.0, SEED)
    found = score(study, model, parties[0])
    values: Mapping[str, float] = {name: each.value for name, each in found.items() if each.value is not None}
    assert values["illness"] > 0.75
    assert values["stage"] > 0.7
    assert values["cost"] > 0.4
    assert values["visits"] > 0.2
    assert values["life"] > 0.65
    assert found["stage"].rows < 300
    alone = local_scores(study, ALL, parties[0].training, parties[0].held_out, SEED)
    assert all(pair.linear.value is not None and pair.linear.value > 0.2 for pair in alone.values())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("stage", 1.5, "whole numbers"),
        ("stage", 4.0, "wanted 0 to 3"),
        ("visits", -1.0, "wanted 0 to 60"),
        ("cost", 60_000.0, "wanted 0 to 50000 EUR"),
        ("months", np.nan, "a label in every row"),
        ("died", 0.5, "wanted 0 and 1"),
    ],
)
def test_a_label_outside_of_what_the_study_says_is_refused(column: str, value: float, message: str) -> None:
    study, values = the_study(), the_table(10, 1)
    values[column][3] = value
    scaling = scaling_from_sum(study.columns, summary_vector(study.columns, values))
    with pytest.raises(DataError, match=message):
        local_rows(study, values, scaling, ALL)


def test_training_refuses_labels_of_another_kind() -> None:
    study = the_study()
    rows, parameters = some_rows(study), initial_parameters(study.model, SEED)
    for wrong in (rows.labels["cost"], np.array([[5, 2]] * 80, dtype=np.float32), np.array([[70, 1]] * 80, dtype=np.float32)):
        with pytest.raises(DataError, match="labels of life"):
            local_update(study.model, parameters, rows.features, {"life": wrong}, TrainSettings(), SEED)


def test_a_model_file_of_all_kinds_survives_and_predicts() -> None:
    study = the_study()
    values = the_table(20, 4)
    scaling = scaling_from_sum(study.columns, summary_vector(study.columns, values))
    parameters = np.random.default_rng(3).normal(0, 0.3, layout(study.model).length).astype(np.float32)
    card = make_card(
        study, scaling, parameters, study="s", title="S", version=1, agreement_digest="0" * 64, members=("a", "b", "c"), model_use={}
    )
    model = load(dump(card, parameters))
    assert model.spec == study.model
    found = predict(model, values)
    assert len(found) == 13
    survival = np.stack([found[f"life>{end}"] for end in range(10, 70, 10)])
    assert (np.diff(survival, axis=0) <= 0).all()
