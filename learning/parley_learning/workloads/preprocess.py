"""`preprocess@1`: the scale of every feature from one secure sum, before the first round of training.

Each party sends one segment, `summary`: its row count, then for every feature column in name order the count of values present, Σz and Σz²,
where z = (value - low) / (high - low) lies in [0, 1] by the study's range. The opened sum gives each feature's mean and deviation over all
rows of all parties; nobody learns another's. Every coordinate lies in [0, rows].

Resolution: the deviation comes from a difference of sums, so the encoding has `SUMMARY_FRACTION_BITS` fractional bits in a ring of 64, with
`SUMMARY_BOUND` as the most rows of one party. A deviation below 1e-5 of the range counts as zero: the feature is constant, and is 0
after standardisation.

    >>> total = sum(summary_vector(columns, values) for values in everyone)    # doctest: +SKIP
    >>> matrix = standardise(columns, values, scaling_from_sum(columns, total))    # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from parley_crypto.tags import Tag, digest

from parley_learning.arrays import Float32s, Float64s, Values, check_vector
from parley_learning.columns import Columns, ColumnSpec
from parley_learning.errors import DataError, VectorError

SUMMARY_WIDTH: Final = 64
SUMMARY_FRACTION_BITS: Final = 27
SUMMARY_BOUND: Final = 2.0**24  # rows of one party; bound and fraction use the 51 bits that a float64 holds exactly, with one to spare
LEAST_DEVIATION: Final = 1e-5  # as a fraction of the range
_PER_COLUMN: Final = 3  # present, Σz, Σz²


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and deviation of every feature (missing flags included) in feature order, in the columns' units; deviation 0: constant."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def summary_length(columns: Columns) -> int:
    """Return the coordinates of the `summary` segment."""
    return 1 + _PER_COLUMN * len(columns.features)


def summary_vector(columns: Columns, values: Values) -> Float64s:
    """Return a party's summary, float64[summary_length]; DataError names the first column that does not fit the study."""
    rows = row_count(columns, values)
    if rows > SUMMARY_BOUND:
        raise DataError(f"table: wanted at most {SUMMARY_BOUND:.0f} rows, got {rows}; sample them in the query")
    summary = [float(rows)]
    for spec in columns.features:
        present = _present(spec, values)
        unit = (present - spec.low) / (spec.high - spec.low)
        summary += [float(present.size), float(unit.sum()), float((unit * unit).sum())]
    return np.array(summary, dtype=np.float64)


def content_keys(columns: Columns) -> tuple[str, ...]:
    """Return one digest for each thing that the summary asks of a dataset: its rows, then every column in order.

    A register per dataset recognises by them a statistic that is asked again, in this study or another. They bind the column's name
    alone: a sum over another range or in another unit is a linear function of the same sums, so it is no new question.
    """
    return (digest(Tag.CONTENT, "rows"), *(digest(Tag.CONTENT, "moments", spec.name) for spec in columns.features))


def scaling_from_sum(columns: Columns, total: Float64s) -> Scaling:
    """Return the scaling from the opened sum, float64[summary_length]; VectorError if it cannot be a sum of summaries."""
    check_vector("opened summary", total, summary_length(columns))
    rows = float(total[0])
    means: list[float] = []
    deviations: list[float] = []
    for index, spec in enumerate(columns.features):
        present, first, second = (float(value) for value in total[1 + _PER_COLUMN * index :][:_PER_COLUMN])
        _check_sum(spec, rows, present, first)
        mean, deviation = _moments(present, first, second)
        means.append(spec.low + mean * (spec.high - spec.low))
        deviations.append(deviation * (spec.high - spec.low))
        if spec.missing_allowed:
            missing = 1.0 - present / rows
            means.append(missing)
            deviations.append(_deviation(missing * (1.0 - missing)))
    return Scaling(tuple(means), tuple(deviations))


def standardise(columns: Columns, values: Values, scaling: Scaling) -> Float32s:
    """Return the feature matrix, float32[rows, features]: (value - mean) / deviation, missing values and constant features 0."""
    if len(scaling.mean) != len(columns.feature_names) or len(scaling.deviation) != len(scaling.mean):
        raise VectorError(f"scaling: wanted {len(columns.feature_names)} features, got {len(scaling.mean)}")
    matrix = np.zeros((row_count(columns, values), len(columns.feature_names)), dtype=np.float64)
    place = 0
    for spec in columns.features:
        _present(spec, values)
        missing = np.isnan(values[spec.name])
        for feature in (np.where(missing, scaling.mean[place], values[spec.name]), missing)[: len(spec.features)]:
            if scaling.deviation[place] > 0:
                matrix[:, place] = (feature - scaling.mean[place]) / scaling.deviation[place]
            place += 1
    return matrix.astype(np.float32)


def row_count(columns: Columns, values: Values) -> int:
    """Return the rows of a table; DataError if a feature column lacks, lengths differ, or there is no row."""
    for spec in columns.features:
        if spec.name not in values:
            raise DataError(f"column {spec.name}: wanted {spec.type} in {spec.unit or 'no unit'}, got no such column; map it")
    lengths = {values[spec.name].shape for spec in columns.features}
    if len(lengths) != 1 or not all(len(shape) == 1 and shape[0] for shape in lengths):
        raise DataError(f"table: wanted columns of one length with at least one row, got shapes {sorted(lengths)}")
    return len(values[columns.features[0].name])


def _present(spec: ColumnSpec, values: Values) -> Float64s:
    column = values[spec.name]
    present = column[~np.isnan(column)]
    if present.size < column.size and not spec.missing_allowed:
        raise DataError(
            f'column {spec.name}: wanted no missing value (the study does not say missing = "allowed"), got {column.size - present.size}'
        )
    if present.size and not (spec.low <= present.min() and present.max() <= spec.high):
        raise DataError(
            f"column {spec.name}: wanted {spec.low:g} to {spec.high:g} {spec.unit}".rstrip()
            + f", got {present.min():g} to {present.max():g}; "
            "check the unit in the map"
        )
    return present


def _check_sum(spec: ColumnSpec, rows: float, present: float, first: float) -> None:
    if not 0 <= present <= rows or rows < 1:
        raise VectorError(f"opened summary, column {spec.name}: wanted 0 to {rows:g} values present, got {present:g}")
    if not -1 <= first <= present + 1:  # one unit of slack for the rounding of the encoding
        raise VectorError(f"opened summary, column {spec.name}: wanted a sum from 0 to {present:g}, got {first:g}")


def _moments(present: float, first: float, second: float) -> tuple[float, float]:
    if present < 1:
        return 0.0, 0.0
    mean = first / present
    return mean, _deviation(second / present - mean * mean)


def _deviation(variance: float) -> float:
    return sqrt(variance) if variance > LEAST_DEVIATION**2 else 0.0
