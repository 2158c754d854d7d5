"""Learning goals: what a head predicts, how its label reads, how it is scored. One registry by kind.

This version has one kind, `binary`: label 0 or 1, a head that gives log-odds, the logistic loss (binary cross-entropy with
logits), the area under the ROC curve as metric. For it, as for every loss with its canonical link, the derivative of the loss by the
head's output is `link(output) - label`; `train` relies on that. Torch is not imported here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

import numpy as np
import numpy.typing as npt

from parley_learning.arrays import Float64s
from parley_learning.errors import ColumnError, DataError

OBJECTIVE_NAME: Final = re.compile(r"[a-z0-9_]{1,63}")  # what a segment name can carry


@unique
class ObjectiveKind(StrEnum):
    """Kinds of objectives that this version has."""

    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Objective:
    """One learning goal: its id, the name of its label column, its kind."""

    id: str
    label: str
    kind: ObjectiveKind


def parse_objectives(entries: Sequence[Mapping[str, object]]) -> tuple[Objective, ...]:
    """Return a study's `[[objectives]]` in id order; ColumnError names the first that this version cannot learn."""
    objectives = tuple(sorted((_objective(entry) for entry in entries), key=lambda objective: objective.id))
    ids = [objective.id for objective in objectives]
    if not ids or len(set(ids)) != len(ids):
        raise ColumnError(f"objectives: wanted at least one and each once, got {', '.join(ids) or 'none'}")
    return objectives


def _objective(entry: Mapping[str, object]) -> Objective:
    name, label, kind = (entry.get(key) for key in ("id", "label", "kind"))
    if not isinstance(name, str) or not OBJECTIVE_NAME.fullmatch(name):
        raise ColumnError(f"objective {name!r}: wanted an id of a-z, 0-9 and _ with at most 63 characters")
    if not isinstance(label, str):
        raise ColumnError(f"objective {name}: wanted the name of its label column, got {label!r}")
    if kind not in tuple(ObjectiveKind):
        raise ColumnError(f"objective {name}: this version has the kinds {', '.join(ObjectiveKind)}, got {kind!r}")
    return Objective(name, label, ObjectiveKind(str(kind)))


def link(kind: ObjectiveKind, outputs: Float64s) -> Float64s:
    """Return the predictions that a head's outputs mean: for a binary objective the probability of 1."""
    match kind:
        case ObjectiveKind.BINARY:
            return np.asarray(0.5 * (1.0 + np.tanh(0.5 * outputs)), dtype=np.float64)  # the logistic function, without overflow


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
