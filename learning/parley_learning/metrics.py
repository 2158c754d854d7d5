"""How well a head does on held-out rows, one metric a kind of objective. For all of them larger is better and 1 is the best.

| kind | metric | 1/2 or 0 is |
|---|---|---|
| `binary` | `auc`: the exact area under the ROC curve | 1/2: chance |
| `multiclass` | `macro_auc`: the mean of one class against the rest, over classes that the rows hold | 1/2: chance |
| `regression` | `r2`: the part of the variance explained | 0: always the rows' mean |
| `count` | `d2`: the part of the Poisson deviance explained | 0: always the rows' mean |
| `survival` | `concordance`: the share of comparable pairs in the right order (Harrell 1982) | 1/2: chance |

A metric that the rows do not determine (all labels equal, no comparable pair) is None. Scores are data: they stay at home unless disclosed.

    >>> auc(np.array([0.1, 0.9]), np.array([0.0, 1.0]))
    1.0
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, assert_never

import numpy as np
import numpy.typing as npt

from parley_learning.arrays import Float32s, Float64s
from parley_learning.errors import DataError
from parley_learning.objective import Objective, ObjectiveKind, predictions

_LEAST_RATE: Final = 1e-12


@unique
class Metric(StrEnum):
    """The metric of each kind of objective."""

    AUC = "auc"
    MACRO_AUC = "macro_auc"
    R2 = "r2"
    D2 = "d2"
    CONCORDANCE = "concordance"


METRICS: Final[dict[ObjectiveKind, Metric]] = {
    ObjectiveKind.BINARY: Metric.AUC,
    ObjectiveKind.MULTICLASS: Metric.MACRO_AUC,
    ObjectiveKind.REGRESSION: Metric.R2,
    ObjectiveKind.COUNT: Metric.D2,
    ObjectiveKind.SURVIVAL: Metric.CONCORDANCE,
}


@dataclass(frozen=True, slots=True)
class Score:
    """How a head does on labelled rows: metric and value (None where the rows do not determine it), their number, those with an event.

    Events are the labels 1 of a binary objective and the events seen of a survival one; 0 for other kinds.
    """

    metric: str
    value: float | None
    rows: int
    events: int


def score_of(goal: Objective, outputs: Float64s, labels: Float32s) -> Score:
    """Return the score of outputs, float64[rows, k], against labels (see `objective.targets`); rows without a label do not count."""
    known = ~np.isnan(labels if labels.ndim == 1 else labels[:, 0])
    found, truth = outputs[known], labels[known].astype(np.float64)
    value, events = _value(goal, found, truth) if len(truth) else (None, 0)
    return Score(METRICS[goal.kind].value, value, len(truth), events)


def _value(goal: Objective, outputs: Float64s, truth: Float64s) -> tuple[float | None, int]:
    """Return the metric and the number of events, of at least one labelled row."""
    predicted = predictions(goal, outputs)
    match goal.kind:
        case ObjectiveKind.BINARY:
            return auc(outputs[:, 0], truth), int(np.count_nonzero(truth == 1))
        case ObjectiveKind.MULTICLASS:
            return _macro_auc(predicted, truth), 0
        case ObjectiveKind.REGRESSION:
            return _explained(_squares(truth, predicted[:, 0]), _squares(truth, truth.mean())), 0
        case ObjectiveKind.COUNT:
            return _explained(_deviance(truth, predicted[:, 0]), _deviance(truth, truth.mean())), 0
        case ObjectiveKind.SURVIVAL:
            seen = truth[:, 1] == 1
            return concordance(-predicted.sum(axis=1), truth[:, 0], seen), int(np.count_nonzero(seen))
    assert_never(goal.kind)


def auc(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.floating]) -> float | None:
    """Return the exact area under the ROC curve, ties counting one half; None if all labels are equal.

    Equal to the Mann-Whitney statistic over midranks (Hanley and McNeil 1982). DataError for lengths that differ, for labels
    other than 0 and 1, or for scores that are not numbers.
    """
    if scores.shape != labels.shape or scores.ndim != 1:
        raise DataError(f"auc: wanted one score a label, got shapes {scores.shape} and {labels.shape}")
    if np.isnan(scores).any() or not np.isin(labels, (0, 1)).all():
        raise DataError("auc: wanted scores that are numbers and labels 0 or 1")
    ones = int(np.count_nonzero(labels))
    zeros = labels.size - ones
    if not ones or not zeros:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    twice_midrank = 2 * np.cumsum(count) - count + 1  # integers: no rounding before the last division
    wins = int(twice_midrank[place[labels == 1]].sum()) - ones * (ones + 1)
    return wins / (2 * ones * zeros)


def concordance(risk: Float64s, time: Float64s, seen: npt.NDArray[np.bool_]) -> float | None:
    """Return Harrell's C: of the pairs whose order is known, the share in which who had the event earlier has the larger risk.

    All are of one length. A pair counts if the earlier one's event was seen and the other was under observation beyond it; equal risks
    count one half. None if there is no such pair.
    """
    pairs = wins = 0
    for index in np.flatnonzero(seen):
        later = risk[time > time[index]]
        pairs += 2 * later.size
        wins += 2 * int(np.count_nonzero(later < risk[index])) + int(np.count_nonzero(later == risk[index]))
    return wins / pairs if pairs else None


def _macro_auc(predicted: Float64s, truth: Float64s) -> float | None:
    found = [auc(predicted[:, number], (truth == number).astype(np.float64)) for number in range(predicted.shape[1])]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def _explained(left: float, whole: float) -> float | None:
    return 1.0 - left / whole if whole > 0 else None


def _squares(truth: Float64s, found: Float64s | np.float64) -> float:
    return float(((truth - found) ** 2).sum())


def _deviance(truth: Float64s, rate: Float64s | np.float64) -> float:
    """Return the Poisson deviance, Σ 2·(y·log(y / rate) - (y - rate))."""
    rate = np.maximum(rate, _LEAST_RATE)
    logs = np.where(truth > 0, truth * np.log(np.where(truth > 0, truth, 1.0) / rate), 0.0)
    return float(2.0 * (logs - (truth - rate)).sum())
