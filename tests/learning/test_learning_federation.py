"""The parts together, in the clear: what a round of parties arrives at, and that sharing helps where there is something to share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from parley_learning.arrays import Float64s
from parley_learning.errors import DataError
from parley_learning.metrics import Score
from parley_learning.model import initial_parameters, layout
from parley_learning.rows import local_rows
from parley_learning.settings import TrainSettings
from parley_learning.study import StudyLearning
from parley_learning.workloads.evaluate import evaluate
from parley_learning.workloads.local import fit_linear, linear_outputs, local_scores
from parley_learning.workloads.preprocess import scaling_from_sum, summary_vector
from parley_learning.workloads.train import make_update, own_parts

from benchmarks.plain_federation import PlainParty, federate, pool, score

SEED = bytes(range(32))
Table = Callable[[int, int], dict[str, Float64s]]


def _parties(table: Table, rows: int) -> list[PlainParty]:
    return [
        PlainParty(f"{objective}-{number}", (objective,), table(rows, 10 * number + shift), table(400, 500 + 10 * number + shift))
        for shift, objective in enumerate(("cost", "illness"))
        for number in range(3)
    ]


def _auc(found: Score) -> float:
    assert found.value is not None
    return found.value


def test_an_update_is_clipped_and_sends_its_own_segments_alone(study: StudyLearning, table: Table) -> None:
    values = table(60, 1)
    rows = local_rows(study, values, scaling_from_sum(study.columns, summary_vector(study.columns, values)), ("illness",))
    parameters = initial_parameters(study.model, SEED)
    update = make_update(study, rows, parameters, 1e-3, SEED)
    assert update.clipped
    assert np.linalg.norm(update.vector) <= 1e-3
    parts = own_parts(study, ("illness",), update)
    assert list(parts) == ["trunk", "head:illness"]
    assert [part.size for part in parts.values()] == [dict(layout(study.model).segments)[name] for name in parts]


def test_a_federation_learns_and_is_the_same_each_time(study: StudyLearning, table: Table) -> None:
    parties = _parties(table, 40)
    settings = replace(study, settings=TrainSettings(epochs=2, batch_rows=16, learning_rate=0.2))
    model = federate(settings, parties, 15, 1.0, SEED)
    again = federate(settings, list(reversed(parties)), 15, 1.0, SEED)
    np.testing.assert_allclose(model.parameters, again.parameters, atol=1e-4)  # plain sums round by order; sums in the ring do not
    for party in parties:
        assert _auc(score(settings, model, party)[party.objectives[0]]) > 0.75


def test_pooling_knows_each_row_only_by_its_own_label(study: StudyLearning, table: Table) -> None:
    parties = _parties(table, 20)
    for party in parties:
        values = dict(party.training)
        del values["ill" if party.objectives == ("cost",) else "costly"]
        parties[parties.index(party)] = replace(party, training=values)
    shared, holder = pool(study, parties)
    assert np.isnan(holder.training["ill"]).sum() == 60
    assert federate(shared, [holder], 1, 1.0, SEED).parameters.shape == (layout(study.model).length,)


def test_the_local_baselines_are_fair_to_the_party_alone(study: StudyLearning, table: Table) -> None:
    found = local_scores(study, ("cost", "illness"), table(200, 1), table(300, 2), SEED)
    for scores in found.values():
        assert _auc(scores.linear) > 0.85
        assert _auc(scores.mlp) > 0.85
        assert scores.linear.rows == 300
        assert 0 < scores.linear.events < 300


def test_the_local_linear_model_of_a_binary_objective_is_at_its_optimum(study: StudyLearning, table: Table) -> None:
    values = table(150, 1)
    rows = local_rows(study, values, scaling_from_sum(study.columns, summary_vector(study.columns, values)), ("illness",))

    def loss(weights: Float64s) -> float:
        found = linear_outputs(weights, rows.features)[:, 0]
        return float(np.logaddexp(0, found).sum() - (found * rows.labels["illness"]).sum() + 5.0 * (weights[:-1] ** 2).sum())

    best = fit_linear(study.objective("illness"), rows, penalty=10.0)
    for place in range(len(best)):
        for step in (-0.01, 0.01):
            other = best.copy()
            other[place] += step
            assert loss(other) > loss(best)


def test_rows_without_a_label_are_not_scored_and_one_sided_labels_have_no_auc(study: StudyLearning) -> None:
    features, parameters = np.zeros((4, 4), dtype=np.float32), initial_parameters(study.model, SEED)
    labels = np.array([1, np.nan, 1, np.nan], dtype=np.float32)
    assert evaluate(study.model, parameters, features, {"cost": labels}) == {"cost": Score("auc", None, 2, 2)}
    with pytest.raises(DataError, match="objective other"):
        evaluate(study.model, parameters, features, {"other": labels})
