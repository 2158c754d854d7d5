from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parley_learning.arrays import Float32s
from parley_learning.combine import parameters_digest
from parley_learning.errors import DataError, VectorError
from parley_learning.metrics import auc
from parley_learning.model import ModelKind, ModelSpec, arrays, from_arrays, initial_parameters, layout, outputs
from parley_learning.objective import Objective, ObjectiveKind, means
from parley_learning.settings import TrainSettings
from parley_learning.train import Target, gradients, local_update
from parley_learning.vector import head

SEED = bytes(range(32))
GOALS = (Objective("cost", "costly", ObjectiveKind.BINARY), Objective("illness", "ill", ObjectiveKind.BINARY))
MLP = ModelSpec(ModelKind.MLP, (5, 4), ("a", "b", "c"), GOALS)
DEEP = replace(MLP, hidden=(5, 4, 3))
LOGISTIC = ModelSpec(ModelKind.LOGISTIC, (), ("a", "b", "c"), GOALS)
PINNED_MLP = (
    "6147d17174647c0105493f177a02c5b26c7f97cc0f33a51f38971cf94d16493b"  # computed apart from this code, with hashlib, math and struct alone
)
SPECS = [MLP, DEEP, replace(MLP, hidden=(2,)), LOGISTIC]


def _some_parameters(spec: ModelSpec) -> Float32s:
    return np.random.default_rng(3).normal(0, 0.5, layout(spec).length).astype(np.float32)


def _some_rows(rows: int, spec: ModelSpec) -> tuple[Float32s, dict[str, Float32s]]:
    draw = np.random.default_rng(4)
    features = draw.normal(0, 1, (rows, len(spec.features))).astype(np.float32)
    cost = np.where(draw.random(rows) < 0.3, np.nan, draw.random(rows) < 0.5).astype(np.float32)
    return features, {"cost": cost, "illness": (features[:, 0] + draw.normal(0, 0.5, rows) > 0).astype(np.float32)}


def test_the_layout_is_the_trunk_and_a_head_an_objective() -> None:
    assert layout(MLP).segments == (("trunk", 4 * 5 + 6 * 4), ("head:cost", 5), ("head:illness", 5))
    assert layout(LOGISTIC).segments == (("trunk", 3), ("head:cost", 2), ("head:illness", 2))


def test_first_parameters_are_pinned_to_the_bit() -> None:
    assert parameters_digest(initial_parameters(MLP, SEED)) == PINNED_MLP
    assert initial_parameters(LOGISTIC, SEED).tolist() == [0, 0, 0, 1, 0, 1, 0]


def test_first_parameters_are_spread_as_documented_and_heads_begin_at_nothing() -> None:
    spec = replace(MLP, hidden=(200,))
    first = arrays(spec, initial_parameters(spec, SEED))
    limit = np.sqrt(6 / 203)
    weight = first["trunk.0.weight"]
    assert 0.95 * limit < np.abs(weight).max() <= limit
    assert abs(float(weight.mean())) < 0.1 * limit
    assert not first["trunk.0.bias"].any()
    assert not first["head:cost.weight"].any()


@pytest.mark.parametrize("spec", SPECS)
def test_parameters_and_named_arrays_are_inverse(spec: ModelSpec) -> None:
    parameters = _some_parameters(spec)
    assert from_arrays(spec, arrays(spec, parameters)).tobytes() == parameters.tobytes()
    named = arrays(spec, parameters)
    with pytest.raises(VectorError, match="wanted float32 of shape"):
        from_arrays(spec, {**named, "head:cost.bias": np.zeros(2, dtype=np.float32)})
    with pytest.raises(VectorError, match="got none"):
        from_arrays(spec, {})


def test_outputs_follow_the_formula() -> None:
    features = np.array([[1.0, -2.0, 0.5]], dtype=np.float32)
    logistic = np.array([0.5, 0.25, 2.0, 3.0, -1.0, 0.5, 1.0], dtype=np.float32)
    assert outputs(LOGISTIC, logistic, features)["cost"].tolist() == [[3.0 * 1.0 - 1.0]]
    assert outputs(LOGISTIC, logistic, features)["illness"].tolist() == [[0.5 * 1.0 + 1.0]]
    parameters = _some_parameters(MLP)
    named = arrays(MLP, parameters)
    first = np.tanh(named["trunk.0.weight"].astype(np.float64) @ features[0] + named["trunk.0.bias"])
    second = np.tanh(named["trunk.1.weight"].astype(np.float64) @ first + named["trunk.1.bias"])
    expected = second @ named["head:cost.weight"].T + named["head:cost.bias"]
    assert outputs(MLP, parameters, features)["cost"][0] == pytest.approx(expected)
    with pytest.raises(VectorError, match="features: wanted"):
        outputs(MLP, parameters, features[:, :2])


def _autograd(spec: ModelSpec, parameters: Float32s, features: Float32s, labels: Mapping[str, Float32s]) -> dict[str, torch.Tensor]:
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in arrays(spec, parameters).items()}
    carried = torch.tensor(features)
    for layer in range(len(spec.hidden)):
        carried = torch.tanh(carried @ tensors[f"trunk.{layer}.weight"].T + tensors[f"trunk.{layer}.bias"])
    if spec.kind is ModelKind.LOGISTIC:
        carried = (carried @ tensors["trunk.weight"])[:, None]
    loss = torch.zeros(())
    for objective, values in labels.items():
        factor = tensors[f"{head(objective)}.{'scale' if spec.kind is ModelKind.LOGISTIC else 'weight'}"]
        known = torch.tensor(~np.isnan(values))
        found = (carried @ factor.T + tensors[f"{head(objective)}.bias"])[known, 0]
        loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(found, torch.tensor(values)[known])
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return {name: tensor.grad for name, tensor in tensors.items() if tensor.grad is not None}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("objectives", [("cost",), ("cost", "illness")])
def test_gradients_are_those_of_autograd(spec: ModelSpec, objectives: tuple[str, ...]) -> None:
    parameters, (features, labels) = _some_parameters(spec), _some_rows(40, spec)
    chosen = {objective: labels[objective] for objective in objectives}
    tensors = {name: torch.from_numpy(array) for name, array in arrays(spec, parameters).items()}
    targets = [Target.of(goal, chosen[goal.id]) for goal in spec.goals if goal.id in chosen]
    expected = _autograd(spec, parameters, features, chosen)
    found = gradients(spec, tensors, torch.from_numpy(features), targets)
    assert set(found) == set(expected)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_training_repeats_and_leaves_the_heads_of_others_alone(spec: ModelSpec) -> None:
    parameters, (features, labels) = initial_parameters(spec, SEED), _some_rows(100, spec)
    before = parameters.tobytes()
    own = {"illness": labels["illness"]}
    delta = local_update(spec, parameters, features, own, TrainSettings(), SEED)
    parts = layout(spec).cut(delta)
    assert delta.tobytes() == local_update(spec, parameters, features, own, TrainSettings(), SEED).tobytes()
    assert delta.tobytes() != local_update(spec, parameters, features, own, TrainSettings(), bytes(32)).tobytes()
    assert not parts["head:cost"].any()
    assert parts["head:illness"].any()
    assert parts["trunk"].any()
    assert parameters.tobytes() == before


def test_training_learns_what_is_there() -> None:
    spec, (features, labels) = MLP, _some_rows(300, MLP)
    parameters = initial_parameters(spec, SEED)
    trained = parameters + local_update(spec, parameters, features, labels, TrainSettings(epochs=30), SEED)
    score = auc(outputs(spec, trained, features)["illness"][:, 0], labels["illness"])
    assert score is not None
    assert score > 0.9


def test_training_refuses_what_it_cannot_learn_from() -> None:
    parameters, (features, labels) = initial_parameters(MLP, SEED), _some_rows(10, MLP)
    for rows, own, message in [
        (features[:0], labels, "at least one row"),
        (features[:, :2], labels, "features: wanted"),
        (features, {}, "labels: wanted some of"),
        (features, {"other": labels["cost"]}, "got other"),
        (features, {"cost": labels["cost"][:3]}, "labels of cost"),
        (features, {"cost": labels["cost"] * 2}, "labels of cost: wanted 0 to 1"),
    ]:
        with pytest.raises((DataError, VectorError), match=message):
            local_update(MLP, parameters, rows, own, TrainSettings(), SEED)


def test_an_update_of_600_rows_and_38_features_takes_at_most_25_ms_of_a_core() -> None:
    spec = ModelSpec(ModelKind.MLP, (16,), tuple(f"f{index}" for index in range(38)), GOALS[1:])
    features = np.random.default_rng(5).normal(0, 1, (600, 38)).astype(np.float32)
    labels = {"illness": (features[:, 0] > 0).astype(np.float32)}
    parameters, seconds = initial_parameters(spec, SEED), []
    for _ in range(6):
        began = time.thread_time()
        local_update(spec, parameters, features, labels, TrainSettings(), SEED)
        seconds.append(time.thread_time() - began)
    assert min(seconds) < 0.025


@given(st.lists(st.tuples(st.integers(min_value=-3, max_value=3), st.booleans()), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([float(score) for score, _ in pairs]), np.array([float(label) for _, label in pairs])
    ones, zeros = scores[labels == 1], scores[labels == 0]
    if not ones.size or not zeros.size:
        assert auc(scores, labels) is None
        return
    wins = sum(1.0 if one > zero else 0.5 if one == zero else 0.0 for one in ones for zero in zeros)
    assert auc(scores, labels) == wins / (ones.size * zeros.size)


def test_auc_refuses_what_has_no_rank() -> None:
    with pytest.raises(DataError, match="numbers"):
        auc(np.array([np.nan, 1.0]), np.array([0.0, 1.0]))
    with pytest.raises(DataError, match="one score a label"):
        auc(np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="labels 0 or 1"):
        auc(np.zeros(2), np.array([0.0, 2.0]))


def test_the_link_of_a_binary_objective_is_a_probability_without_overflow() -> None:
    assert means(ObjectiveKind.BINARY, np.array([[-1e4], [0.0], [1e4]])).tolist() == [[0.0], [0.5], [1.0]]
