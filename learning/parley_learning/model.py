"""Models: a trunk that all objectives share and one head an objective, as a flat float32 vector.

`mlp`: hidden layers h = tanh(W·h + b) in the trunk; a head is a linear unit for each of its objective's outputs.
`logistic`: the trunk is one linear direction, a weight a feature; a head scales and shifts it, (scale, bias) an output. With one objective
of one output that is a generalised linear model; with several it is the strictest form of sharing, one ranking for all up to its sign.

Order in the vector: trunk (per layer the weight matrix row by row, then the biases), then the heads in objective order (the weights of
each output, then the biases). First parameters are the same to the bit on every machine. Torch is not imported here: `outputs` is what
evaluation and prediction use, and `train` follows the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import pairwise
from math import sqrt
from typing import Final, assert_never

import numpy as np

from parley_learning.arrays import Float32s, Float64s, check_vector
from parley_learning.draws import uniform
from parley_learning.errors import ColumnError, VectorError
from parley_learning.objective import Objective
from parley_learning.vector import TRUNK, Layout, head

MAX_LAYERS: Final = 8
MAX_UNITS: Final = 4096


@unique
class ModelKind(StrEnum):
    """Kinds of models that this version has."""

    LOGISTIC = "logistic"
    MLP = "mlp"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model: its kind, the units of its hidden layers (none for logistic), its features in order, its goals in order of their ids."""

    kind: ModelKind
    hidden: tuple[int, ...]
    features: tuple[str, ...]
    goals: tuple[Objective, ...]

    def __post_init__(self) -> None:
        if not self.features or not self.goals or list(self.objectives) != sorted(set(self.objectives)):
            raise ColumnError("model: wanted at least one feature, and objectives distinct and in order")
        if (self.kind is ModelKind.MLP) != bool(self.hidden):
            raise ColumnError(f"model: wanted hidden layers for mlp and none for logistic, got {self.kind} with hidden {list(self.hidden)}")
        if len(self.hidden) > MAX_LAYERS or any(not 1 <= units <= MAX_UNITS for units in self.hidden):
            raise ColumnError(f"model: wanted at most {MAX_LAYERS} hidden layers of 1 to {MAX_UNITS} units, got {list(self.hidden)}")

    @property
    def objectives(self) -> tuple[str, ...]:
        """The ids of the objectives, in order."""
        return tuple(goal.id for goal in self.goals)

    def goal(self, objective: str) -> Objective | None:
        """Return the objective of that id, or None."""
        return next((goal for goal in self.goals if goal.id == objective), None)

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """The hidden layers as (inputs, units), in order."""
        widths = (len(self.features), *self.hidden)
        return tuple(pairwise(widths))


def parse_model(table: Mapping[str, object], features: tuple[str, ...], goals: tuple[Objective, ...]) -> ModelSpec:
    """Return the model of a study's `model` table (`kind`, `hidden`); ColumnError names what this version does not have."""
    kind, hidden = table.get("kind"), table.get("hidden") or ()
    if unknown := sorted(set(table) - {"kind", "hidden"}):
        raise ColumnError(f"model: wanted only kind and hidden, got {', '.join(unknown)}")
    if kind not in tuple(ModelKind):
        raise ColumnError(f"model: this version has the kinds {', '.join(ModelKind)}, got {kind!r}")
    if not isinstance(hidden, (list, tuple)) or not all(isinstance(units, int) for units in hidden):
        raise ColumnError(f"model: wanted hidden as a list of whole numbers, got {hidden!r}")
    return ModelSpec(ModelKind(str(kind)), tuple(hidden), features, goals)


def layout(spec: ModelSpec) -> Layout:
    """Return the segments of the model's vector."""
    match spec.kind:
        case ModelKind.MLP:
            trunk, an_output = sum((inputs + 1) * units for inputs, units in spec.layers), spec.hidden[-1] + 1
        case ModelKind.LOGISTIC:
            trunk, an_output = len(spec.features), 2
        case _:
            assert_never(spec.kind)
    return Layout(((TRUNK, trunk), *((head(goal.id), an_output * goal.outputs) for goal in spec.goals)))


def initial_parameters(spec: ModelSpec, seed: bytes) -> Float32s:
    """Return the first parameters, float32[d], drawn from a 32-byte seed that the agreement fixes.

    Hidden layers: uniform in ±sqrt(6 / (inputs + units)) (Glorot and Bengio 2010), biases 0. Heads begin at 0, so the first
    predictions favour nothing; the logistic model begins with weights 0 and scale 1.
    """
    parameters = np.zeros(layout(spec).length, dtype=np.float32)
    if spec.kind is ModelKind.LOGISTIC:
        places = layout(spec).slices()
        for goal in spec.goals:
            start = places[head(goal.id)].start
            parameters[start : start + goal.outputs] = 1.0
        return parameters
    start = 0
    for index, (inputs, units) in enumerate(spec.layers):
        limit = sqrt(6.0 / (inputs + units))
        draws = uniform(seed, f"layer {index}", inputs * units)
        parameters[start : start + inputs * units] = ((2.0 * draws - 1.0) * limit).astype(np.float32)
        start += (inputs + 1) * units
    return parameters


def arrays(spec: ModelSpec, parameters: Float32s) -> dict[str, Float32s]:
    """Return the parameters as named, shaped views: `trunk.0.weight` (units, inputs), `trunk.0.bias`, `head:<objective>.weight`, ….

    A head has `head:<objective>.weight` (outputs, inputs) and `.bias` (outputs,). The logistic model has `trunk.weight` (features,) and
    `head:<objective>.scale` (outputs, 1) and `.bias` (outputs,).
    """
    check_vector("parameters", parameters, layout(spec).length)
    parts = layout(spec).cut(parameters)
    named: dict[str, Float32s] = {}
    if spec.kind is ModelKind.LOGISTIC:
        named["trunk.weight"] = parts[TRUNK]
    start = 0
    for index, (inputs, units) in enumerate(spec.layers):
        middle, end = start + inputs * units, start + (inputs + 1) * units
        named[f"trunk.{index}.weight"] = parts[TRUNK][start:middle].reshape(units, inputs)
        named[f"trunk.{index}.bias"] = parts[TRUNK][middle:end]
        start = end
    factor = "weight" if spec.kind is ModelKind.MLP else "scale"
    for goal in spec.goals:
        segment = head(goal.id)
        middle = parts[segment].size - goal.outputs
        named[f"{segment}.{factor}"] = parts[segment][:middle].reshape(goal.outputs, -1)
        named[f"{segment}.bias"] = parts[segment][middle:]
    return named


def from_arrays(spec: ModelSpec, named: Mapping[str, Float32s]) -> Float32s:
    """Return the flat parameters of named arrays, the reverse of `arrays`; VectorError names the first that does not fit."""
    parameters = np.zeros(layout(spec).length, dtype=np.float32)
    places = arrays(spec, parameters)
    if set(named) != set(places):
        raise VectorError(f"arrays: wanted {', '.join(sorted(places))}, got {', '.join(sorted(named)) or 'none'}")
    for name, place in places.items():
        if named[name].shape != place.shape or named[name].dtype != np.float32:
            raise VectorError(f"array {name}: wanted float32 of shape {place.shape}, got {named[name].dtype} of {named[name].shape}")
        place[...] = named[name]
    check_vector("parameters", parameters, parameters.size)
    return parameters


def outputs(spec: ModelSpec, parameters: Float32s, features: Float32s) -> dict[str, Float64s]:
    """Return each head's outputs, float64[rows, outputs] (see `objective`); `features` is (rows, features)."""
    if features.ndim != 2 or features.shape[1] != len(spec.features):  # noqa: PLR2004 - a matrix
        raise VectorError(f"features: wanted (rows, {len(spec.features)}), got shape {features.shape}")
    named = arrays(spec, parameters)
    carried = features.astype(np.float64)
    for index in range(len(spec.layers)):
        carried = np.tanh(carried @ named[f"trunk.{index}.weight"].T.astype(np.float64) + named[f"trunk.{index}.bias"])
    if spec.kind is ModelKind.LOGISTIC:
        carried = (carried @ named["trunk.weight"].astype(np.float64))[:, None]
    factor = "weight" if spec.kind is ModelKind.MLP else "scale"
    return {
        objective: carried @ named[f"{head(objective)}.{factor}"].T.astype(np.float64) + named[f"{head(objective)}.bias"].astype(np.float64)
        for objective in spec.objectives
    }
