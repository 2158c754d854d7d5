"""The columns of a study as learning sees them: which are features, which are labels, and where each stands in the matrix.

A column that names objectives is their label and never a feature; every other column is a feature of every objective. Columns stand in
name order whatever the order of the study file, so that all parties build the same matrix. A feature that may be missing brings
a second one, `<name>_missing`, 1 where it is; the missing value itself becomes the federated mean, which is 0 after standardisation.

This module reads no data: type, range and unit are checked where the values are.

    >>> columns = parse_columns({"age": {"type": "float", "unit": "year", "range": (18, 110), "missing": "allowed"},
    ...                          "ill": {"type": "bool", "objectives": ("illness",)}})
    >>> columns.feature_names, [spec.name for spec in columns.needed(("illness",))]
    (('age', 'age_missing'), ['age', 'ill'])
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from math import isfinite
from typing import Final

from parley_learning.errors import ColumnError

COLUMN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
MISSING_SUFFIX: Final = "_missing"
_KEYS: Final = frozenset({"type", "unit", "range", "missing", "objectives"})


@unique
class ColumnType(StrEnum):
    """Types of a column in this version; a category is mapped to one bool column a value by the party's query."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column of a study. `low` and `high` are the range, both included, in `unit`; those of a bool are 0 and 1."""

    name: str
    type: ColumnType
    unit: str
    low: float
    high: float
    missing_allowed: bool
    objectives: tuple[str, ...]

    @property
    def is_feature(self) -> bool:
        """Whether the column is an input of the model."""
        return not self.objectives

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features that the column becomes: itself, and its missing flag where it may be missing."""
        if not self.is_feature:
            return ()
        return (self.name, self.name + MISSING_SUFFIX) if self.missing_allowed else (self.name,)


@dataclass(frozen=True, slots=True)
class Columns:
    """All columns of a study, in name order."""

    specs: tuple[ColumnSpec, ...]

    @property
    def features(self) -> tuple[ColumnSpec, ...]:
        """The columns that are inputs, in name order."""
        return tuple(spec for spec in self.specs if spec.is_feature)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the feature matrix' columns, in order."""
        return tuple(name for spec in self.features for name in spec.features)

    def needed(self, objectives: tuple[str, ...]) -> tuple[ColumnSpec, ...]:
        """Return what a party with these objectives must map: every feature and its own labels, in name order."""
        for objective in objectives:
            if not any(objective in spec.objectives for spec in self.specs):
                raise ColumnError(f"objective {objective}: wanted a column that names it under `objectives`, got none; add its label")
        return tuple(spec for spec in self.specs if spec.is_feature or set(spec.objectives) & set(objectives))


def parse_columns(table: Mapping[str, Mapping[str, object]]) -> Columns:
    """Return the columns of a study's `[columns]` table; ColumnError names the first column that this version cannot use."""
    specs = tuple(_column(name, table[name]) for name in sorted(table))
    columns = Columns(specs)
    if not columns.features:
        raise ColumnError("columns: wanted at least one feature (a column without objectives), got none")
    names = columns.feature_names
    for name in sorted(names):
        if names.count(name) > 1:
            raise ColumnError(f"columns: wanted one feature {name}, got {names.count(name)}; rename or drop one")
    return columns


def _column(name: str, entry: Mapping[str, object]) -> ColumnSpec:
    if not COLUMN_NAME.fullmatch(name):
        raise ColumnError(f"column {name!r}: wanted a name of a-z, 0-9 and _ that begins with a letter and has at most 63 characters")
    if unknown := sorted(set(entry) - _KEYS):
        raise ColumnError(f"column {name}: wanted only {', '.join(sorted(_KEYS))}, got {', '.join(unknown)}")
    kind = _type(name, entry.get("type"))
    objectives = _objectives(name, entry.get("objectives") or ())
    low, high = _range(name, kind, entry.get("range"))
    return ColumnSpec(name, kind, str(entry.get("unit") or ""), low, high, _missing(name, entry.get("missing")), objectives)


def _type(name: str, value: object) -> ColumnType:
    try:
        return ColumnType(str(value))
    except ValueError as error:
        do = "; turn a category into one bool column a value in the query" if value == "category" else ""
        raise ColumnError(f"column {name}: wanted type {' or '.join(ColumnType)}, got {value!r}{do}") from error


def _objectives(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ColumnError(f"column {name}: wanted objectives as a list of names, got {value!r}")
    return tuple(sorted(set(value)))


def _missing(name: str, value: object) -> bool:
    if value not in (None, "allowed", "refused"):
        raise ColumnError(f'column {name}: wanted missing = "allowed" or "refused", got {value!r}')
    return value == "allowed"


def _range(name: str, kind: ColumnType, value: object) -> tuple[float, float]:
    if kind is ColumnType.BOOL:
        if value is not None:
            raise ColumnError(f"column {name}: wanted no range for a bool, got {value!r}")
        return 0.0, 1.0
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(isinstance(end, (int, float)) for end in value):  # noqa: PLR2004 - two ends
        raise ColumnError(f"column {name}: wanted range = [low, high] for type {kind}, got {value!r}")
    low, high = float(value[0]), float(value[1])
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ColumnError(f"column {name}: wanted a finite range with low < high, got [{low:g}, {high:g}]")
    return low, high
