"""The same federated computation in one process and without cryptography: the named baseline of benchmarks and the oracle of tests.

Every party's summary and updates are summed in the clear; what a party computes and what the step does is the product's own code
(`parley_learning`). Nothing here is secure, and nothing here is used by a service.

    >>> model = federate(study, parties, rounds=40, clip_bound=1.0, seed=bytes(32))    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from parley_crypto.tags import Tag, digest
from parley_learning.arrays import Float32s, Float64s, Values
from parley_learning.columns import Columns
from parley_learning.combine import apply_step, mean_of
from parley_learning.metrics import Score
from parley_learning.model import initial_parameters, layout
from parley_learning.rows import local_rows
from parley_learning.study import StudyLearning
from parley_learning.workloads.evaluate import evaluate
from parley_learning.workloads.preprocess import Scaling, scaling_from_sum, summary_vector
from parley_learning.workloads.train import make_update, own_parts


@dataclass(frozen=True, slots=True)
class PlainParty:
    """A party in the clear: its objectives, its training and held-out tables, its weight in every sum."""

    id: str
    objectives: tuple[str, ...]
    training: Values
    held_out: Values
    weight: int = 1


@dataclass(frozen=True, slots=True)
class PlainModel:
    """What a federation arrives at: parameters, scaling, and how many of all updates were clipped."""

    parameters: Float32s
    scaling: Scaling
    clipped: float


def federate(study: StudyLearning, parties: Sequence[PlainParty], rounds: int, clip_bound: float, seed: bytes) -> PlainModel:
    """Run `preprocess@1` once and `train@1` for `rounds` rounds over these parties; every segment opens in every round."""
    summaries = np.sum([summary_vector(study.columns, party.training) for party in parties], axis=0)
    scaling = scaling_from_sum(study.columns, summaries)
    rows = {party.id: local_rows(study, party.training, scaling, party.objectives) for party in parties}
    parameters = initial_parameters(study.model, seed)
    clipped = 0
    for number in range(rounds):
        totals = {name: np.zeros(length, dtype=np.float64) for name, length in layout(study.model).segments}
        weights = dict.fromkeys(totals, 0)
        for party in parties:
            update = make_update(study, rows[party.id], parameters, clip_bound, round_seed(seed, party.id, number))
            clipped += update.clipped
            _add(totals, weights, party, own_parts(study, party.objectives, update))
        parameters = apply_step(layout(study.model), parameters, {name: mean_of(totals[name], weights[name]) for name in totals})
    return PlainModel(parameters, scaling, clipped / (rounds * len(parties)))


def _add(totals: dict[str, Float64s], weights: dict[str, int], party: PlainParty, parts: dict[str, Float32s]) -> None:
    for name, part in parts.items():
        totals[name] += party.weight * part.astype(np.float64)
        weights[name] += party.weight


def score(study: StudyLearning, model: PlainModel, party: PlainParty) -> dict[str, Score]:
    """Return the held-out scores of a party's objectives."""
    test = local_rows(study, party.held_out, model.scaling, party.objectives)
    return evaluate(study.model, model.parameters, test.features, test.labels)


def pool(study: StudyLearning, parties: Sequence[PlainParty]) -> tuple[StudyLearning, PlainParty]:
    """Return one party that holds everyone's training rows, which no organization could, and the study with labels that may be missing."""
    specs = tuple(spec if spec.is_feature else replace(spec, missing_allowed=True) for spec in study.columns.specs)
    merged = {spec.name: np.concatenate([_column(party, spec.name) for party in parties]) for spec in specs}
    objectives = tuple(objective.id for objective in study.objectives)
    return replace(study, columns=Columns(specs)), PlainParty("pooled", objectives, merged, {})


def _column(party: PlainParty, name: str) -> Float64s:
    rows = len(next(iter(party.training.values())))
    return party.training.get(name, np.full(rows, np.nan))


def round_seed(seed: bytes, party: str, number: int) -> bytes:
    """Return the 32-byte seed of one party's training in one round."""
    return bytes.fromhex(digest(Tag.DRAWS, seed, party, number))
