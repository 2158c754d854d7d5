"""The demo's three studies over five splits of its data: does sharing help, whom, and by how much?

Four models a party, scored on its own held-out rows by the area under the ROC curve: logistic and MLP trained on its rows alone, the
federation inside its objective, the federation of all six. Beside them what nobody could have: one model over all rows pooled.

The federations are the plain reference (`benchmarks.plain_federation`): the product's own training and step, summed in one process without
cryptography. Settings of the federation and of the local models were chosen on the seeds 11, 12 and 13; these are 1 to 5.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

import torch
from parley.demo_data import (
    DEMO_CLIP_BOUND,
    DEMO_MODEL,
    DEMO_OBJECTIVES,
    DEMO_PARTIES,
    DEMO_ROUNDS,
    DEMO_TRAINING,
    HELD_OUT,
    HOMEOWNER,
    SUBPRIME,
    TABLE,
    DemoParty,
    demo_columns,
    demo_map,
    demo_sql,
    write_demo_data,
)
from parley_learning.study import StudyLearning, parse_study
from parley_learning.workloads.local import local_scores
from parley_party.dataset import DatasetConfig, HeldOut, MappedColumn
from parley_party.datasource import read_dataset

from benchmarks.harness import Row, run
from benchmarks.plain_federation import PlainModel, PlainParty, federate, pool, score

SEEDS: Final = (1, 2, 3, 4, 5)
MODELS: Final = ("local logistic", "local MLP", "same objective", "all six", "pooled")
Scores = dict[str, dict[str, float]]  # by party, by model


def demo_study(*objectives: str) -> StudyLearning:
    """Return the learning part of the demo's study of these objectives."""
    goals = [goal for goal in DEMO_OBJECTIVES if goal["id"] in objectives]
    return parse_study(demo_columns(*objectives), goals, DEMO_MODEL, DEMO_TRAINING)


def demo_parties(seed: int, folder: Path) -> list[PlainParty]:
    """Write the parties' files into `folder` and read them as their services would."""
    write_demo_data({party.id: folder / f"{party.id}.csv" for party in DEMO_PARTIES}, seed)
    return [_read(party, folder) for party in DEMO_PARTIES]


def _read(party: DemoParty, folder: Path) -> PlainParty:
    columns = {name: MappedColumn(**entry) for name, entry in demo_map(party.objective).items()}
    files = {TABLE: f"{party.id}.csv"}
    config = DatasetConfig(
        party.id,
        files,
        demo_sql(party.objective),
        columns,
        held_out=HeldOut(column=HELD_OUT["column"], value=HELD_OUT["value"]),
        folder=folder,
    )
    dataset, _ = read_dataset(config, demo_study(party.objective).columns.specs)
    return PlainParty(party.id, (party.objective,), dataset.training(), dataset.kept())


def seed_bytes(seed: int) -> bytes:
    """Return the 32 bytes that first parameters and row orders of one split are drawn from."""
    return hashlib.sha256(f"demo training {seed}".encode()).digest()


def measure_seed(seed: int) -> Scores:
    """Return every party's scores on one split of the data."""
    with tempfile.TemporaryDirectory() as folder:
        parties = demo_parties(seed, Path(folder))
    everyone, draws = demo_study(HOMEOWNER, SUBPRIME), seed_bytes(seed)
    together = federate(everyone, parties, DEMO_ROUNDS, DEMO_CLIP_BOUND, draws)
    shared, holder = pool(everyone, parties)
    pooled = federate(shared, [holder], DEMO_ROUNDS, DEMO_CLIP_BOUND, draws)
    found: Scores = {}
    for objective in (HOMEOWNER, SUBPRIME):
        alone, members = demo_study(objective), [party for party in parties if party.objectives == (objective,)]
        same = federate(alone, members, DEMO_ROUNDS, DEMO_CLIP_BOUND, draws)
        for party in members:
            own = local_scores(alone, party.objectives, party.training, party.held_out, draws)[objective]
            federated = [_auc(alone, same, party), _auc(everyone, together, party), _auc(everyone, pooled, party)]
            found[party.id] = dict(zip(MODELS, [_known(own.logistic.auc), _known(own.mlp.auc), *federated], strict=True))
    return found


def _auc(study: StudyLearning, model: PlainModel, party: PlainParty) -> float:
    return _known(score(study, model, party)[party.objectives[0]].auc)


def _known(auc: float | None) -> float:
    if auc is None:
        raise ValueError("demo data: wanted both labels among the held-out rows, got one")
    return auc


def rows(by_seed: dict[int, Scores], seconds: float) -> list[Row]:
    """Return the rows of the report: means by seed, means by party, the mean of all, and how they compare."""
    parties = [party.id for party in DEMO_PARTIES]
    out = [Row(f"seed {s}: {m}", fmean(found[p][m] for p in parties), "AUC") for s, found in by_seed.items() for m in MODELS]
    by_party = {p: {m: fmean(found[p][m] for found in by_seed.values()) for m in MODELS} for p in parties}
    out += [Row(f"{p}: {m}", by_party[p][m], "AUC") for p in parties for m in MODELS]
    mean = {m: fmean(by_party[p][m] for p in parties) for m in MODELS}
    out += [Row(f"mean: {m}", mean[m], "AUC", 0.80 if m == "all six" else None) for m in MODELS]
    out.append(Row("mean: all six above local MLP", mean["all six"] - mean["local MLP"], "AUC", 0.0))
    out.append(Row("parties that all six serves worse than same objective", _hurt(by_party, parties), "parties"))
    out.append(Row("time", seconds, "s", 60.0, "<="))
    return out


def _hurt(by_party: Scores, parties: Sequence[str]) -> int:
    return sum(by_party[p]["all six"] < by_party[p]["same objective"] for p in parties)


def measure() -> list[Row]:
    """Run every seed."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    found = {seed: measure_seed(seed) for seed in SEEDS}
    return rows(found, time.perf_counter() - began)


if __name__ == "__main__":
    run("demo_seeds", measure)
