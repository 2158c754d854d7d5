"""Local training: plain minibatch gradient descent on a party's own rows, from shared parameters to the difference it makes.

The only module of this package that imports torch (about two seconds), so only a party's trainer process imports it; the trainer sets the
number of threads. No optimizer state lives from round to round, and gradients are written out: the models are small enough that the
bookkeeping of autograd would cost more than the arithmetic (measured: 3.5 ms an epoch of 600 rows in batches of 32, against 1.6). A test
holds them against autograd. Two calls with equal arguments on one machine give equal bytes; other machines may differ in the last bits,
which is no matter, since an update is made once and persisted. Clipping is `clip`'s.

    >>> delta = local_update(spec, parameters, features, {"illness": labels}, TrainSettings(), seed)    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

import numpy as np
import torch

from parley_learning.arrays import Float32s
from parley_learning.draws import permutation
from parley_learning.errors import DataError, VectorError
from parley_learning.model import ModelKind, ModelSpec, arrays
from parley_learning.objective import LARGEST_LOG_RATE, Objective, ObjectiveKind, check_labels, targets
from parley_learning.settings import TrainSettings
from parley_learning.vector import head

Tensors = Mapping[str, torch.Tensor]
_MATRIX: Final = 2


@dataclass(frozen=True, slots=True)
class Target:
    """One objective's labels of some rows as `objective.targets` gives them, float32[rows, outputs], and 1 for rows that have one."""

    goal: Objective
    wanted: torch.Tensor
    weight: torch.Tensor
    known: torch.Tensor

    @classmethod
    def of(cls, goal: Objective, labels: Float32s) -> Target:
        """Return the labels (see `objective.targets`) as tensors."""
        wanted, weight = targets(goal, labels)
        known = ~np.isnan(labels if labels.ndim == 1 else labels[:, 0])
        return cls(goal, torch.from_numpy(wanted), torch.from_numpy(weight), torch.from_numpy(known.astype(np.float32)))

    def rows(self, chosen: torch.Tensor) -> Target:
        """Return the labels of the chosen rows."""
        return Target(self.goal, self.wanted[chosen], self.weight[chosen], self.known[chosen])

    def residual(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the derivative of the mean loss over the labelled rows by each row's outputs, float32[rows, outputs]."""
        return (_means(self.goal.kind, outputs) - self.wanted) * (self.weight / self.known.sum().clamp_min(1.0))


def _means(kind: ObjectiveKind, outputs: torch.Tensor) -> torch.Tensor:
    """Return what outputs mean, as `objective.means` does for arrays."""
    match kind:
        case ObjectiveKind.BINARY | ObjectiveKind.SURVIVAL:
            return torch.sigmoid(outputs)
        case ObjectiveKind.MULTICLASS:
            return torch.softmax(outputs, dim=1)
        case ObjectiveKind.REGRESSION:
            return outputs
        case ObjectiveKind.COUNT:
            return torch.exp(outputs.clamp_max(LARGEST_LOG_RATE))
    assert_never(kind)


def local_update(
    spec: ModelSpec, parameters: Float32s, features: Float32s, labels: Mapping[str, Float32s], settings: TrainSettings, seed: bytes
) -> Float32s:
    """Return the change, float32[d], that training on these rows makes to `parameters`; heads of other objectives do not change.

    `features` is (rows, features), standardised; `labels` holds those of each objective that the party has (see `objective.targets`).
    The loss of a batch is the sum over objectives of the mean over its labelled rows. `seed` (32 bytes) orders the rows.
    """
    trained = parameters.copy()
    tensors = {name: torch.from_numpy(array) for name, array in arrays(spec, trained).items()}
    matrix, goals = _tensors(spec, features, labels)
    with torch.inference_mode():
        for chosen in _batches(len(matrix), settings, seed):
            _descend(spec, tensors, matrix[chosen], [target.rows(chosen) for target in goals], settings)
    return trained - parameters


def _tensors(spec: ModelSpec, features: Float32s, labels: Mapping[str, Float32s]) -> tuple[torch.Tensor, list[Target]]:
    if features.ndim != _MATRIX or features.shape[1] != len(spec.features) or not len(features):
        raise VectorError(f"features: wanted (rows, {len(spec.features)}) with at least one row, got shape {features.shape}")
    if not labels or not set(labels) <= set(spec.objectives):
        raise DataError(f"labels: wanted some of {', '.join(spec.objectives)}, got {', '.join(sorted(labels)) or 'none'}")
    found = []
    for goal in spec.goals:
        if goal.id in labels:
            check_labels(goal, labels[goal.id], len(features))
            found.append(Target.of(goal, labels[goal.id]))
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), found


def _batches(rows: int, settings: TrainSettings, seed: bytes) -> Iterator[torch.Tensor]:
    for epoch in range(settings.epochs):
        order = torch.from_numpy(permutation(seed, f"epoch {epoch}", rows))
        for start in range(0, rows, settings.batch_rows):
            yield order[start : start + settings.batch_rows]


def _descend(spec: ModelSpec, tensors: Tensors, rows: torch.Tensor, targets: list[Target], settings: TrainSettings) -> None:
    rate = settings.learning_rate
    for name, gradient in gradients(spec, tensors, rows, targets).items():
        tensor = tensors[name]
        if settings.weight_decay and not name.endswith(".bias"):
            tensor.mul_(1.0 - rate * settings.weight_decay)
        tensor.sub_(gradient, alpha=rate)


def gradients(spec: ModelSpec, tensors: Tensors, rows: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
    """Return the gradient of a batch's loss by each tensor that these targets reach, by the names of `model.arrays`."""
    match spec.kind:
        case ModelKind.MLP:
            return _mlp_gradients(len(spec.hidden), tensors, rows, targets)
        case ModelKind.LOGISTIC:
            return _logistic_gradients(tensors, rows, targets)
        case _:
            assert_never(spec.kind)


def _mlp_gradients(layers: int, tensors: Tensors, rows: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
    carried = [rows]
    for layer in range(layers):
        carried.append(torch.tanh(torch.addmm(tensors[f"trunk.{layer}.bias"], carried[-1], tensors[f"trunk.{layer}.weight"].T)))
    found: dict[str, torch.Tensor] = {}
    back = torch.zeros_like(carried[-1])
    for target in targets:
        name = head(target.goal.id)
        weight = tensors[f"{name}.weight"]
        residual = target.residual(torch.addmm(tensors[f"{name}.bias"], carried[-1], weight.T))
        found[f"{name}.weight"] = residual.T @ carried[-1]
        found[f"{name}.bias"] = residual.sum(0)
        back.addmm_(residual, weight)
    for layer in reversed(range(layers)):
        back = back * (1.0 - carried[layer + 1] ** 2)  # the derivative of tanh
        found[f"trunk.{layer}.weight"] = back.T @ carried[layer]
        found[f"trunk.{layer}.bias"] = back.sum(0)
        if layer:
            back = back @ tensors[f"trunk.{layer}.weight"]
    return found


def _logistic_gradients(tensors: Tensors, rows: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
    direction = torch.mv(rows, tensors["trunk.weight"])
    found: dict[str, torch.Tensor] = {}
    back = torch.zeros_like(direction)
    for target in targets:
        name = head(target.goal.id)
        scale = tensors[f"{name}.scale"]
        residual = target.residual(torch.outer(direction, scale[:, 0]) + tensors[f"{name}.bias"])
        found[f"{name}.scale"] = (residual.T @ direction)[:, None]
        found[f"{name}.bias"] = residual.sum(0)
        back.add_(torch.mv(residual, scale[:, 0]))
    found["trunk.weight"] = torch.mv(rows.T, back)
    return found
