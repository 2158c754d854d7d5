"""Evaluation on a party's own held-out rows: the metric of each of its objectives. The scores are data; they stay at home unless disclosed.

>>> evaluate(spec, parameters, features, {"illness": labels})["illness"].value    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping

from parley_learning.arrays import Float32s
from parley_learning.errors import DataError
from parley_learning.metrics import Score, score_of
from parley_learning.model import ModelSpec, outputs


def evaluate(spec: ModelSpec, parameters: Float32s, features: Float32s, labels: Mapping[str, Float32s]) -> dict[str, Score]:
    """Return a score for each objective in `labels` (see `objective.targets`); `features` is (rows, features), standardised."""
    found = outputs(spec, parameters, features)
    scores = {}
    for objective, values in sorted(labels.items()):
        goal = spec.goal(objective)
        if goal is None:
            raise DataError(f"objective {objective}: wanted one of {', '.join(spec.objectives)}")
        scores[objective] = score_of(goal, found[objective], values)
    return scores
