"""The demo over five splits of its data: does sharing help, whom, and by how much? And what does it take?

Each split runs the whole demo (`parley demo`): a gateway and six services as processes, real cryptography, a lender killed on the way. Four
models a party, scored by its own service on its own held-out rows by the area under the ROC curve: logistic and MLP trained on its rows
alone, the federation inside its objective, the federation of all six.

The named baselines of the same run are the plain reference (`benchmarks.plain_federation`), which is the product's own training and step
summed in one process without cryptography, and what nobody could have: one model over all rows pooled. Settings of the federation and of
the local models were chosen on the seeds 11, 12 and 13; these are 1 to 5. Takes minutes.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from parley.demo_plan import DemoPlan, work_folder
from parley.demo_progress import DemoProgress
from parley.demo_report import run_demo
from parley_learning.study import StudyLearning, parse_study
from parley_party.dataset import DatasetConfig, HeldOut, MappedColumn
from parley_party.datasource import read_dataset

from benchmarks.harness import Row, run
from benchmarks.plain_federation import PlainModel, PlainParty, federate, pool, score

SEEDS: Final = (1, 2, 3, 4, 5)
PLAIN: Final = "all six, no cryptography"
POOLED: Final = "pooled, no cryptography"
MEASURED: Final = {  # as in report.json
    "local logistic": "auc_local_logistic",
    "local MLP": "auc_local_mlp",
    "same objective": "auc_same_objective",
    "all six": "auc_federated",
}
MODELS: Final = (*MEASURED, PLAIN, POOLED)
LEAST_AUC: Final = 0.80
DEMO_SECONDS: Final = 120.0
ROUND_SECONDS: Final = 0.25
Scores = dict[str, dict[str, float]]  # by party, by model


@dataclass(frozen=True, slots=True)
class Split:
    """What one split gave: scores, seconds of the whole demo, the median of its undisturbed rounds, whether its log verified."""

    scores: Scores
    seconds: float
    round_seconds: float
    verified: bool


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


def measure_seed(seed: int) -> Split:
    """Run the demo and the plain reference on one split of the data."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo-report"
        report = run_demo(DemoPlan(seed, out, work_folder(out)), DemoProgress(quiet=True))
    plain = measure_plain(seed)
    scores = {
        party["id"]: {model: float(party[name]) for model, name in MEASURED.items()} | plain[party["id"]] for party in report["parties"]
    }
    return Split(scores, report["seconds"]["total"], report["round_seconds"]["median"], bool(report["audit_verified"]))


def measure_plain(seed: int) -> Scores:
    """Return every party's scores of the plain reference on one split."""
    with tempfile.TemporaryDirectory() as folder:
        parties = demo_parties(seed, Path(folder))
    everyone, draws = demo_study(HOMEOWNER, SUBPRIME), seed_bytes(seed)
    together = federate(everyone, parties, DEMO_ROUNDS, DEMO_CLIP_BOUND, draws)
    shared, holder = pool(everyone, parties)
    pooled = federate(shared, [holder], DEMO_ROUNDS, DEMO_CLIP_BOUND, draws)
    return {party.id: {PLAIN: _auc(everyone, together, party), POOLED: _auc(everyone, pooled, party)} for party in parties}


def _auc(study: StudyLearning, model: PlainModel, party: PlainParty) -> float:
    auc = score(study, model, party)[party.objectives[0]].value
    if auc is None:
        raise ValueError("demo data: wanted both labels among the held-out rows, got one")
    return auc


def rows(splits: Mapping[int, Split]) -> list[Row]:
    """Return the rows of the report: means by seed, means by party, the mean of all, how they compare, and what it took."""
    parties = [party.id for party in DEMO_PARTIES]
    out = [Row(f"seed {s}: {m}", fmean(split.scores[p][m] for p in parties), "AUC") for s, split in splits.items() for m in MODELS]
    by_party = {p: {m: fmean(split.scores[p][m] for split in splits.values()) for m in MODELS} for p in parties}
    out += [Row(f"{p}: {m}", by_party[p][m], "AUC") for p in parties for m in MODELS]
    mean = {m: fmean(by_party[p][m] for p in parties) for m in MODELS}
    out += [Row(f"mean: {m}", mean[m], "AUC", LEAST_AUC if m == "all six" else None) for m in MODELS]
    out.append(Row("mean: all six above local MLP", mean["all six"] - mean["local MLP"], "AUC", 0.0))
    out.append(Row("parties that all six serves worse than same objective", _hurt(by_party, parties), "parties"))
    out.append(Row("logs that verify", sum(split.verified for split in splits.values()), "demos", len(splits)))
    out.append(Row("longest demo", max(split.seconds for split in splits.values()), "s", DEMO_SECONDS, "<="))
    out.append(Row("median round, worst demo", max(split.round_seconds for split in splits.values()), "s", ROUND_SECONDS, "<="))
    return out


def _hurt(by_party: Scores, parties: Sequence[str]) -> int:
    return sum(by_party[p]["all six"] < by_party[p]["same objective"] for p in parties)


def measure() -> list[Row]:
    """Run every seed."""
    torch.set_num_threads(1)
    return rows({seed: measure_seed(seed) for seed in SEEDS})


if __name__ == "__main__":
    run("demo_seeds", measure)
