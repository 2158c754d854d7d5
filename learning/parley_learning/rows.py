"""A party's rows as training and evaluation take them: a standardised feature matrix, and the labels of its own objectives.

>>> rows = local_rows(study, values, scaling, ("illness",))    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parley_learning.arrays import Float32s, Values
from parley_learning.errors import DataError
from parley_learning.study import StudyLearning
from parley_learning.workloads.preprocess import Scaling, row_count, standardise


@dataclass(frozen=True, slots=True)
class LocalRows:
    """Features, float32[rows, features], and float32[rows] of 0, 1 or NaN (no label) by objective."""

    features: Float32s
    labels: Mapping[str, Float32s]


def local_rows(study: StudyLearning, values: Values, scaling: Scaling, objectives: tuple[str, ...]) -> LocalRows:
    """Return the rows of a table for a party with these objectives; DataError names the first column that does not fit."""
    if not objectives:
        raise DataError("objectives: wanted at least one objective that this party has a label for, got none")
    labels = {objective: _labels(study, values, objective) for objective in objectives}
    return LocalRows(standardise(study.columns, values, scaling), labels)


def _labels(study: StudyLearning, values: Values, objective: str) -> Float32s:
    spec = study.columns.label(study.objective(objective).id)
    if spec.name not in values or values[spec.name].shape != (row_count(study.columns, values),):
        raise DataError(f"column {spec.name}: wanted the label of {objective}, one value a row, got none or another length; map it")
    column = values[spec.name]
    missing = np.isnan(column)
    if missing.any() and not spec.missing_allowed:
        raise DataError(f"column {spec.name}: wanted a label in every row, got {np.count_nonzero(missing)} rows without one")
    if not np.isin(column[~missing], (0, 1)).all():
        raise DataError(f"column {spec.name}: wanted 0 and 1, got other values; map it to a bool")
    return column.astype(np.float32)
