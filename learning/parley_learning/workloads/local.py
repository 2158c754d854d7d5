"""What a party reaches alone: the baselines that a federation is compared with. Imports torch: for the trainer process only.

Both use the features of the study, standardised by the party's own rows, and nothing from any other party. They are meant to be hard to
beat: settings were chosen for them as carefully as for the federation, on other splits of the demo's data than those reported.

    >>> local_scores(study, ("illness",), training_values, held_out_values, seed)["illness"].mlp    # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from parley_learning.arrays import Float32s, Float64s, Values
from parley_learning.errors import DataError
from parley_learning.metrics import Score, score_of
from parley_learning.model import ModelKind, ModelSpec, initial_parameters
from parley_learning.objective import Objective, ObjectiveKind, loss, means, targets
from parley_learning.rows import LocalRows, local_rows
from parley_learning.settings import TrainSettings
from parley_learning.study import StudyLearning
from parley_learning.train import local_update
from parley_learning.workloads.evaluate import evaluate
from parley_learning.workloads.preprocess import scaling_from_sum, summary_vector

LINEAR_PENALTY: Final = 30.0  # of a binary objective: half of it times the squared weights is added to the summed loss
PENALTIES: Final = (0.01, 0.1, 1.0, 10.0, 100.0)  # of the others, whose losses have other scales: the best of these over folds
_FOLDS: Final = 5
MLP_SETTINGS: Final = TrainSettings(epochs=80, batch_rows=32, learning_rate=0.05, weight_decay=0.05)
_STEPS: Final = 500
_ENOUGH: Final = 1e-8  # of the gradient, a row


@dataclass(frozen=True, slots=True)
class LocalScores:
    """One objective's held-out scores of the two models that a party can train alone; linear is logistic regression for a binary one."""

    linear: Score
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
        goal = study.objective(objective)
        weights = fit_linear(goal, rows, chosen_penalty(goal, rows))
        mlp, parameters = fit_mlp(study, objective, rows, seed)
        found[objective] = LocalScores(
            score_of(goal, linear_outputs(weights, test.features), test.labels[objective]),
            evaluate(mlp, parameters, test.features, test.labels)[objective],
        )
    return found


def fit_mlp(
    study: StudyLearning, objective: str, rows: LocalRows, seed: bytes, settings: TrainSettings = MLP_SETTINGS
) -> tuple[ModelSpec, Float32s]:
    """Return an MLP of the study's hidden layers (16 units for a logistic study) trained on these rows alone, and its parameters."""
    spec = ModelSpec(ModelKind.MLP, study.model.hidden or (16,), study.model.features, (study.objective(objective),))
    parameters = initial_parameters(spec, seed)
    return spec, parameters + local_update(spec, parameters, rows.features, rows.labels, settings, seed)


def chosen_penalty(goal: Objective, rows: LocalRows) -> float:
    """Return the ridge penalty for an objective: fixed for a binary one, else the one with the least loss on folds of these rows."""
    if goal.kind is ObjectiveKind.BINARY or len(rows.features) < _FOLDS:
        return LINEAR_PENALTY
    fold = np.arange(len(rows.features)) % _FOLDS
    return min(PENALTIES, key=lambda penalty: sum(_loss_apart(goal, rows, fold == number, penalty) for number in range(_FOLDS)))


def _loss_apart(goal: Objective, rows: LocalRows, apart: npt.NDArray[np.bool_], penalty: float) -> float:
    """Return the loss on the rows `apart` of a model fitted on the others; 0 where those have no label."""
    labels = rows.labels[goal.id]
    others = LocalRows(rows.features[~apart], {goal.id: labels[~apart]})
    if np.isnan(others.labels[goal.id]).all():
        return 0.0
    return loss(goal, linear_outputs(fit_linear(goal, others, penalty), rows.features[apart]), labels[apart])


def fit_linear(goal: Objective, rows: LocalRows, penalty: float) -> Float64s:
    """Return a linear model, float64[features + 1, outputs] with the biases last, trained on these rows alone to its optimum.

    The generalised linear model of the objective's kind with a ridge penalty (L-BFGS on a convex loss). DataError without a label.
    """
    labels = rows.labels[goal.id]
    known = ~np.isnan(labels if labels.ndim == 1 else labels[:, 0])
    if not known.any():
        raise DataError(f"objective {goal.id}: wanted at least one labelled row, got none")
    matrix, labels = np.column_stack([rows.features[known].astype(np.float64), np.ones(np.count_nonzero(known))]), labels[known]
    wanted, weight = (part.astype(np.float64) for part in targets(goal, labels))
    ridge = np.full((matrix.shape[1], 1), penalty)
    ridge[-1] = 1e-6 * penalty  # the biases are free, but for a trace that keeps one-sided labels finite

    def objective(flat: Float64s) -> tuple[float, Float64s]:
        weights = flat.reshape(matrix.shape[1], goal.outputs)
        found = matrix @ weights
        slope = matrix.T @ (weight * (means(goal.kind, found) - wanted)) + ridge * weights
        return loss(goal, found, labels) + 0.5 * float((ridge * weights**2).sum()), slope.ravel()

    start = np.zeros(matrix.shape[1] * goal.outputs)
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "ftol": 0.0, "gtol": _ENOUGH * len(matrix)})
    return np.asarray(best.x, dtype=np.float64).reshape(matrix.shape[1], goal.outputs)


def linear_outputs(weights: Float64s, features: Float32s) -> Float64s:
    """Return a linear model's outputs, float64[rows, outputs]."""
    return np.asarray(features.astype(np.float64) @ weights[:-1] + weights[-1], dtype=np.float64)
