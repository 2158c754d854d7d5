"""A party's rows as training and evaluation take them: a standardised feature matrix, and the labels of its own objectives.

>>> rows = local_rows(study, values, scaling, ("illness",))    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parley_learning.arrays import Float32s, Float64s, Values
from parley_learning.columns import ColumnType
from parley_learning.errors import DataError
from parley_learning.objective import Objective
from parley_learning.study import StudyLearning
from parley_learning.workloads.preprocess import Scaling, row_count, standardise


@dataclass(frozen=True, slots=True)
class LocalRows:
    """Features, float32[rows, features], and labels by objective: float32[rows], NaN for none; for survival float32[rows, 2]."""

    features: Float32s
    labels: Mapping[str, Float32s]


def local_rows(study: StudyLearning, values: Values, scaling: Scaling, objectives: tuple[str, ...]) -> LocalRows:
    """Return the rows of a table for a party with these objectives; DataError names the first column that does not fit."""
    if not objectives:
        raise DataError("objectives: wanted at least one objective that this party has a label for, got none")
    labels = {objective: _labels(study, values, objective) for objective in objectives}
    return LocalRows(standardise(study.columns, values, scaling), labels)


def _labels(study: StudyLearning, values: Values, objective: str) -> Float32s:
    """Return the label of every row, in the column's unit; where a time or its event lacks, both do."""
    goal = study.objective(objective)
    parts = [_column(study, values, goal, name) for name in goal.columns]
    if len(parts) == 1:
        return parts[0].astype(np.float32)
    both = np.column_stack(parts)
    both[np.isnan(both).any(axis=1)] = np.nan
    return both.astype(np.float32)


def _column(study: StudyLearning, values: Values, goal: Objective, name: str) -> Float64s:
    spec = next(each for each in study.columns.specs if each.name == name)
    if name not in values or values[name].shape != (row_count(study.columns, values),):
        raise DataError(f"column {name}: wanted the label of {goal.id}, one value a row, got none or another length; map it")
    column = values[name]
    missing = np.isnan(column)
    if missing.any() and not spec.missing_allowed:
        raise DataError(f"column {name}: wanted a label in every row, got {np.count_nonzero(missing)} rows without one")
    present = column[~missing]
    if spec.type is ColumnType.BOOL and not np.isin(present, (0, 1)).all():
        raise DataError(f"column {name}: wanted 0 and 1, got other values; map it to a bool")
    if present.size and not (spec.low <= present.min() and present.max() <= spec.high):
        raise DataError(
            f"column {name}: wanted {spec.low:g} to {spec.high:g} {spec.unit}".rstrip() + f", got {present.min():g} to {present.max():g}"
        )
    if spec.type is ColumnType.INT and (present != np.floor(present)).any():
        raise DataError(f"column {name}: wanted whole numbers, got others")
    return column.copy()
