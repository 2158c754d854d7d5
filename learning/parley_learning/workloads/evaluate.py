"""Evaluation on a party's own held-out rows: the metric of each of its objectives. The scores are data; they stay at home unless disclosed.

>>> evaluate(spec, parameters, features, {"illness": labels})["illness"].auc    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parley_learning.arrays import Float32s
from parley_learning.errors import DataError
from parley_learning.model import ModelSpec, outputs
from parley_learning.objective import auc


@dataclass(frozen=True, slots=True)
class Score:
    """How an objective's head ranks held-out rows: the exact AUC (None where all labels are equal), labelled rows, those labelled 1."""

    auc: float | None
    rows: int
    positives: int


def evaluate(spec: ModelSpec, parameters: Float32s, features: Float32s, labels: Mapping[str, Float32s]) -> dict[str, Score]:
    """Return a score for each objective in `labels` (0, 1, or NaN for no label); `features` is (rows, features), standardised."""
    found = outputs(spec, parameters, features)
    scores = {}
    for objective, values in sorted(labels.items()):
        if objective not in found:
            raise DataError(f"objective {objective}: wanted one of {', '.join(spec.objectives)}")
        known = ~np.isnan(values)
        ones = int(np.count_nonzero(values[known] == 1))
        scores[objective] = Score(auc(found[objective][known], values[known]), int(np.count_nonzero(known)), ones)
    return scores
