"""What a party reaches alone: the baselines that a federation is compared with. Imports torch: for the trainer process only.

Both use the features of the study, standardised by the party's own rows, and nothing from any other party. They are meant to be hard to
beat: settings were chosen for them as carefully as for the federation, on other splits of the demo's data than those reported.

    >>> local_scores(study, ("illness",), training_values, held_out_values, seed)["illness"].mlp    # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from parley_learning.arrays import Float32s, Float64s, Values
from parley_learning.errors import DataError
from parley_learning.model import ModelKind, ModelSpec, initial_parameters
from parley_learning.rows import LocalRows, local_rows
from parley_learning.settings import TrainSettings
from parley_learning.study import StudyLearning
from parley_learning.train import local_update
from parley_learning.workloads.evaluate import Score, evaluate
from parley_learning.workloads.preprocess import scaling_from_sum, summary_vector

LOGISTIC_PENALTY: Final = 30.0  # half of it times the squared weights is added to the summed loss
MLP_SETTINGS: Final = TrainSettings(epochs=80, batch_rows=32, learning_rate=0.05, weight_decay=0.05)
_NEWTON_STEPS: Final = 25
_NEWTON_ENOUGH: Final = 1e-8


@dataclass(frozen=True, slots=True)
class LocalScores:
    """One objective's held-out scores of the two models that a party can train alone."""

    logistic: Score
    mlp: Score


def local_scores(
    study: StudyLearning, objectives: tuple[str, ...], training: Values, held_out: Values, seed: bytes
) -> dict[str, LocalScores]:
    """Train both baselines for each of the party's objectives on its training rows and score them on its held-out rows."""
    scaling = scaling_from_sum(study.columns, summary_vector(study.columns, training))
    found = {}
    for objective in objectives:
        rows = local_rows(study, training, scaling, (objective,))
        test = local_rows(study, held_out, scaling, (objective,))
        logistic, weights = fit_logistic(study, objective, rows)
        mlp, parameters = fit_mlp(study, objective, rows, seed)
        found[objective] = LocalScores(
            evaluate(logistic, weights, test.features, test.labels)[objective],
            evaluate(mlp, parameters, test.features, test.labels)[objective],
        )
    return found


def fit_mlp(
    study: StudyLearning, objective: str, rows: LocalRows, seed: bytes, settings: TrainSettings = MLP_SETTINGS
) -> tuple[ModelSpec, Float32s]:
    """Return an MLP of the study's hidden layers (16 units for a logistic study) trained on these rows alone, and its parameters."""
    spec = ModelSpec(ModelKind.MLP, study.model.hidden or (16,), study.model.features, (objective,))
    parameters = initial_parameters(spec, seed)
    return spec, parameters + local_update(spec, parameters, rows.features, rows.labels, settings, seed)


def fit_logistic(study: StudyLearning, objective: str, rows: LocalRows, penalty: float = LOGISTIC_PENALTY) -> tuple[ModelSpec, Float32s]:
    """Return a logistic model trained on these rows alone to its optimum (Newton's method, ridge penalty), and its parameters."""
    labels = rows.labels[objective].astype(np.float64)
    known = ~np.isnan(labels)
    if not known.any():
        raise DataError(f"objective {objective}: wanted at least one labelled row, got none")
    weights = _newton(rows.features[known].astype(np.float64), labels[known], penalty)
    spec = replace(study.model, kind=ModelKind.LOGISTIC, hidden=(), objectives=(objective,))
    return spec, np.concatenate([weights[:-1], [1.0], weights[-1:]]).astype(np.float32)


def _newton(features: Float64s, labels: Float64s, penalty: float) -> Float64s:
    matrix = np.column_stack([features, np.ones(len(features))])
    ridge = np.full(matrix.shape[1], penalty)
    ridge[-1] = 1e-6 * penalty  # the bias is free, but for a trace that keeps one-sided labels finite
    weights = np.zeros(matrix.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = 0.5 * (1.0 + np.tanh(0.5 * (matrix @ weights)))
        gradient = matrix.T @ (chance - labels) + ridge * weights
        curvature = (matrix.T * (chance * (1.0 - chance))) @ matrix + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < _NEWTON_ENOUGH:
            break
    return weights
