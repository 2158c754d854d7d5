"""A small study of two objectives, and rows for it drawn from a known model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from parley_learning.arrays import Float64s
from parley_learning.study import StudyLearning, parse_study

COLUMNS: dict[str, dict[str, object]] = {
    "age": {"type": "float", "unit": "year", "range": [0, 120]},
    "smokes": {"type": "bool"},
    "sodium": {"type": "float", "unit": "mmol/L", "range": [90, 180], "missing": "allowed"},
    "ill": {"type": "bool", "objectives": ["illness"]},
    "costly": {"type": "bool", "objectives": ["cost"]},
}
OBJECTIVES = [{"id": "illness", "label": "ill", "kind": "binary"}, {"id": "cost", "label": "costly", "kind": "binary"}]


@pytest.fixture
def study() -> StudyLearning:
    return parse_study(COLUMNS, OBJECTIVES, {"kind": "mlp", "hidden": [5, 4]}, {"batch_rows": 16})


@pytest.fixture
def logistic_study() -> StudyLearning:
    return parse_study(COLUMNS, OBJECTIVES, {"kind": "logistic"})


@pytest.fixture
def table() -> Callable[[int, int], dict[str, Float64s]]:
    """Return a function (rows, seed) -> a table in which old smokers are ill and costly, and some sodium values are missing."""

    def make(rows: int, seed: int) -> dict[str, Float64s]:
        draw = np.random.default_rng(seed)
        age, smokes, sodium = draw.uniform(20, 90, rows), draw.random(rows) < 0.4, draw.normal(140, 5, rows).clip(90, 180)
        risk = (age - 55) / 10 + 2 * smokes + draw.normal(0, 1, rows)
        return {
            "age": age,
            "smokes": smokes.astype(np.float64),
            "sodium": np.where(draw.random(rows) < 0.2, np.nan, sodium),
            "ill": (risk > 0.5).astype(np.float64),
            "costly": (risk + draw.normal(0, 1, rows) > 1).astype(np.float64),
        }

    return make
