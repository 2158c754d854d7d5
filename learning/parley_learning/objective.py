"""Learning goals: what a head predicts, how its label reads, what its outputs mean, and its loss. One registry by kind.

| kind | label | head's outputs | loss | prediction |
|---|---|---|---|---|
| `binary` | bool | log-odds | cross-entropy | probability of 1 |
| `multiclass` | int, `range = [0, classes - 1]` | a logit a class | cross-entropy | probability of each class |
| `regression` | float or int, in a range | place in it, -1 to 1 | half the squared error | value in the label's unit |
| `count` | int, `range = [0, most]` | log of the rate over `most` | Poisson | expected count |
| `survival` | float or int time in a range | log-odds of the event | discrete-time hazard | probability of no |
| | and a bool `event` | in each of `intervals` | | event by the end of each |

Every loss is one with its canonical link: its derivative by an output is `weight · (mean(output) - wanted)`, which `train` relies on, and
for which `targets` gives what is wanted and with which weight. Survival follows Singer and Willett (1993): a person is at risk in each
interval up to that of the event, or up to the last one that was lived through before it was lost from sight. Torch is not imported here.

    >>> goal = Objective("stage", "stage", ObjectiveKind.MULTICLASS, 0.0, 2.0)
    >>> goal.outputs, predictions(goal, np.zeros((1, 3))).round(2).tolist()
    (3, [[0.33, 0.33, 0.33]])
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, assert_never

import numpy as np

from parley_learning.arrays import Float32s, Float64s
from parley_learning.columns import Columns, ColumnSpec, ColumnType
from parley_learning.errors import ColumnError, DataError

OBJECTIVE_NAME: Final = re.compile(r"[a-z0-9_]{1,63}")  # what a segment name can carry
MAX_CLASSES: Final = 1_000
MAX_INTERVALS: Final = 100
DEFAULT_INTERVALS: Final = 10
LARGEST_LOG_RATE: Final = 20.0  # of a count over its largest: beyond it training has diverged, and exp must not
_KEYS: Final = frozenset({"id", "label", "kind", "event", "intervals"})


@unique
class ObjectiveKind(StrEnum):
    """Kinds of objectives."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    COUNT = "count"
    SURVIVAL = "survival"


_TYPES: Final[Mapping[ObjectiveKind, tuple[ColumnType, ...]]] = {
    ObjectiveKind.BINARY: (ColumnType.BOOL,),
    ObjectiveKind.MULTICLASS: (ColumnType.INT,),
    ObjectiveKind.REGRESSION: (ColumnType.FLOAT, ColumnType.INT),
    ObjectiveKind.COUNT: (ColumnType.INT,),
    ObjectiveKind.SURVIVAL: (ColumnType.FLOAT, ColumnType.INT),
}


@dataclass(frozen=True, slots=True)
class Objective:
    """One learning goal: its id, its label column with that column's range, its kind; for survival the event column and the intervals."""

    id: str
    label: str
    kind: ObjectiveKind
    low: float = 0.0
    high: float = 1.0
    event: str = ""
    intervals: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a label is made of."""
        return (self.label, self.event) if self.event else (self.label,)

    @property
    def outputs(self) -> int:
        """How many numbers the head gives a row."""
        match self.kind:
            case ObjectiveKind.MULTICLASS:
                return int(self.high) + 1
            case ObjectiveKind.SURVIVAL:
                return self.intervals
            case ObjectiveKind.BINARY | ObjectiveKind.REGRESSION | ObjectiveKind.COUNT:
                return 1
        assert_never(self.kind)

    @property
    def interval_ends(self) -> tuple[float, ...]:
        """For survival the end of each interval, in the label's unit."""
        return tuple(float(end) for end in np.linspace(self.low, self.high, self.intervals + 1)[1:])


def parse_objectives(entries: Sequence[Mapping[str, object]], columns: Columns) -> tuple[Objective, ...]:
    """Return a study's `[[objectives]]` in id order; ColumnError names the first that does not fit its columns."""
    objectives = tuple(sorted((_objective(entry, columns) for entry in entries), key=lambda objective: objective.id))
    ids = [objective.id for objective in objectives]
    if not ids or len(set(ids)) != len(ids):
        raise ColumnError(f"objectives: wanted at least one and each once, got {', '.join(ids) or 'none'}")
    return objectives


def _objective(entry: Mapping[str, object], columns: Columns) -> Objective:
    name, label, kind = (entry.get(key) for key in ("id", "label", "kind"))
    if not isinstance(name, str) or not OBJECTIVE_NAME.fullmatch(name):
        raise ColumnError(f"objective {name!r}: wanted an id of a-z, 0-9 and _ with at most 63 characters")
    if not isinstance(label, str):
        raise ColumnError(f"objective {name}: wanted the name of its label column, got {label!r}")
    if kind not in tuple(ObjectiveKind):
        raise ColumnError(f"objective {name}: this version has the kinds {', '.join(ObjectiveKind)}, got {kind!r}")
    if unknown := sorted(set(entry) - _KEYS):
        raise ColumnError(f"objective {name}: wanted only {', '.join(sorted(_KEYS))}, got {', '.join(unknown)}")
    of = ObjectiveKind(str(kind))
    spec = _label_column(name, label, of, columns)
    event, intervals = _survival(name, entry, of, columns)
    found = Objective(name, label, of, spec.low, spec.high, event, intervals)
    wanted = sorted(found.columns)
    if (got := sorted(each.name for each in columns.specs if name in each.objectives)) != wanted:
        raise ColumnError(f"objective {name}: wanted {', '.join(wanted)} to name it under `objectives`, and no other column, got {got}")
    return found


def _label_column(name: str, label: str, kind: ObjectiveKind, columns: Columns) -> ColumnSpec:
    spec = _column(name, label, columns)
    if spec.type not in _TYPES[kind]:
        raise ColumnError(
            f"column {label}: wanted type {' or '.join(_TYPES[kind])} for the label of the {kind} objective {name}, got {spec.type}"
        )
    if kind in {ObjectiveKind.MULTICLASS, ObjectiveKind.COUNT} and spec.low != 0:
        raise ColumnError(f"column {label}: wanted a range from 0 for the label of the {kind} objective {name}, got from {spec.low:g}")
    if kind is ObjectiveKind.MULTICLASS and not (spec.high.is_integer() and spec.high < MAX_CLASSES):
        raise ColumnError(f"column {label}: wanted range = [0, classes - 1] with at most {MAX_CLASSES} classes, got up to {spec.high:g}")
    return spec


def _survival(name: str, entry: Mapping[str, object], kind: ObjectiveKind, columns: Columns) -> tuple[str, int]:
    """Return the event column and the number of intervals; ("", 0) for other kinds."""
    event, intervals = entry.get("event"), entry.get("intervals")
    if kind is not ObjectiveKind.SURVIVAL:
        if event is not None or intervals is not None:
            raise ColumnError(f"objective {name}: wanted event and intervals for a survival objective alone, got them for {kind}")
        return "", 0
    if not isinstance(event, str):
        raise ColumnError(f"objective {name}: wanted event = the bool column that says whether the event was seen, got {event!r}")
    if (spec := _column(name, event, columns)).type is not ColumnType.BOOL:
        raise ColumnError(f"column {event}: wanted type bool for the event of objective {name}, got {spec.type}")
    intervals = DEFAULT_INTERVALS if intervals is None else intervals
    if not isinstance(intervals, int) or not 1 <= intervals <= MAX_INTERVALS:
        raise ColumnError(f"objective {name}: wanted 1 to {MAX_INTERVALS} intervals, got {intervals!r}")
    return event, intervals


def _column(name: str, column: str, columns: Columns) -> ColumnSpec:
    found = next((spec for spec in columns.specs if spec.name == column), None)
    if found is None:
        raise ColumnError(f"objective {name}: wanted a column {column} that names it under `objectives`, got none; add it to [columns]")
    return found


def check_labels(goal: Objective, labels: Float32s, rows: int) -> None:
    """Return if these are labels of so many rows; DataError for another shape, or a value outside of what the kind has."""
    survival = goal.kind is ObjectiveKind.SURVIVAL
    wanted = (rows, 2) if survival else (rows,)
    if labels.shape != wanted:
        raise DataError(f"labels of {goal.id}: wanted shape {wanted}, got {labels.shape}")
    found = labels[:, 0] if survival else labels
    present = found[~np.isnan(found)]
    inside = present.size == 0 or (goal.low <= present.min() and present.max() <= goal.high)
    whole = goal.kind in {ObjectiveKind.REGRESSION, ObjectiveKind.SURVIVAL} or bool((present == np.floor(present)).all())
    seen = not survival or bool(np.isin(labels[~np.isnan(found), 1], (0, 1)).all())
    if not (inside and whole and seen):
        raise DataError(
            f"labels of {goal.id}: wanted {goal.low:g} to {goal.high:g} as a {goal.kind} objective has them, or none, got others"
        )


def targets(goal: Objective, labels: Float32s) -> tuple[Float32s, Float32s]:
    """Return what the head's outputs should mean a row, and with which weight: float32[rows, outputs] each.

    `labels` is float32[rows], NaN for none; for survival float32[rows, 2] of time and event. A row without a label weighs 0.
    """
    known = ~np.isnan(labels if labels.ndim == 1 else labels[:, 0])
    filled = np.nan_to_num(labels)
    weight = np.repeat(known[:, None], goal.outputs, axis=1).astype(np.float32)
    match goal.kind:
        case ObjectiveKind.BINARY:
            wanted = filled[:, None]
        case ObjectiveKind.MULTICLASS:
            wanted = (filled[:, None] == np.arange(goal.outputs)).astype(np.float32)
        case ObjectiveKind.REGRESSION:
            wanted = (2.0 * (filled[:, None] - goal.low) / (goal.high - goal.low) - 1.0) * weight
        case ObjectiveKind.COUNT:
            wanted = filled[:, None] / goal.high
        case ObjectiveKind.SURVIVAL:
            wanted, at_risk = _hazards(goal, filled)
            weight *= at_risk
        case _:
            assert_never(goal.kind)
    return wanted.astype(np.float32), weight


def _hazards(goal: Objective, labels: Float32s) -> tuple[Float32s, Float32s]:
    """Return for each row and interval whether the event fell into it, and whether the person was at risk in it."""
    width = (goal.high - goal.low) / goal.intervals
    place = np.clip((labels[:, 0] - goal.low) / width, 0, None)
    seen = labels[:, 1] == 1
    number = np.arange(goal.intervals)
    reached = np.minimum(np.floor(place), goal.intervals - 1)  # where the event fell; the range's end belongs to the last interval
    happened = seen[:, None] & (number == reached[:, None])
    survived = number + 1 <= place[:, None]  # lived through to its end; counts also for who was lost from sight
    before = number < np.where(seen, reached, -1)[:, None]
    return happened.astype(np.float32), (happened | before | (~seen[:, None] & survived)).astype(np.float32)


def means(kind: ObjectiveKind, outputs: Float64s) -> Float64s:
    """Return what outputs, float64[rows, k], mean under the canonical link, as `targets` states what is wanted."""
    match kind:
        case ObjectiveKind.BINARY | ObjectiveKind.SURVIVAL:
            return np.asarray(0.5 * (1.0 + np.tanh(0.5 * outputs)), dtype=np.float64)  # the logistic function, without overflow
        case ObjectiveKind.MULTICLASS:
            shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float64)
        case ObjectiveKind.REGRESSION:
            return outputs
        case ObjectiveKind.COUNT:
            return np.asarray(np.exp(np.minimum(outputs, LARGEST_LOG_RATE)), dtype=np.float64)
    assert_never(kind)


def loss(goal: Objective, outputs: Float64s, labels: Float32s) -> float:
    """Return the summed loss of outputs, float64[rows, k], over the labelled rows; its derivative is `weight · (means - wanted)`."""
    wanted, weight = (part.astype(np.float64) for part in targets(goal, labels))
    match goal.kind:
        case ObjectiveKind.BINARY | ObjectiveKind.SURVIVAL:
            parts = np.logaddexp(0.0, outputs) - wanted * outputs
        case ObjectiveKind.MULTICLASS:
            top = outputs.max(axis=1, keepdims=True)
            whole = top + np.log(np.exp(outputs - top).sum(axis=1, keepdims=True))
            parts = wanted * (whole - outputs)
        case ObjectiveKind.REGRESSION:
            parts = 0.5 * (outputs - wanted) ** 2
        case ObjectiveKind.COUNT:
            capped = np.minimum(outputs, LARGEST_LOG_RATE)
            parts = (
                np.exp(capped) * (1.0 + outputs - capped) - wanted * outputs
            )  # beyond the cap the rate stays, so the loss goes on straight
        case _:
            assert_never(goal.kind)
    return float((weight * parts).sum())


def predictions(goal: Objective, outputs: Float64s) -> Float64s:
    """Return what a head's outputs, float64[rows, k], predict, in people's units: float64[rows, k], columns as the table above says."""
    found = means(goal.kind, outputs)
    match goal.kind:
        case ObjectiveKind.BINARY | ObjectiveKind.MULTICLASS:
            return found
        case ObjectiveKind.REGRESSION:
            return goal.low + (found + 1.0) * (goal.high - goal.low) / 2.0
        case ObjectiveKind.COUNT:
            return found * goal.high
        case ObjectiveKind.SURVIVAL:
            return np.asarray(np.cumprod(1.0 - found, axis=1), dtype=np.float64)
    assert_never(goal.kind)


def named_predictions(goals: Iterable[Objective], outputs: Mapping[str, Float64s]) -> dict[str, Float64s]:
    """Return every column of every objective's `predictions`, float64[rows], by its name."""
    found: dict[str, Float64s] = {}
    for goal in goals:
        found |= dict(zip(prediction_names(goal), predictions(goal, outputs[goal.id]).T, strict=True))
    return found


def prediction_names(goal: Objective) -> tuple[str, ...]:
    """Return a name for each column of `predictions`: the objective's id, with the class or the time where there are several."""
    match goal.kind:
        case ObjectiveKind.MULTICLASS:
            return tuple(f"{goal.id}={number}" for number in range(goal.outputs))
        case ObjectiveKind.SURVIVAL:
            return tuple(f"{goal.id}>{end:g}" for end in goal.interval_ends)
        case ObjectiveKind.BINARY | ObjectiveKind.REGRESSION | ObjectiveKind.COUNT:
            return (goal.id,)
    assert_never(goal.kind)
