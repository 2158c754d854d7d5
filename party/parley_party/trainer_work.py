"""What the trainer process does with each command. It holds one study's rows and nothing of any other party but opened sums.

No keys, no network, no clock, no entropy: seeds come with the commands. torch is imported where it is first needed; the process has been
importing it in a thread since it started (trainer), so that reading the data need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Final, assert_never

import numpy as np
from numpy.typing import NDArray
from parley_learning.columns import Columns
from parley_learning.model import initial_parameters, outputs
from parley_learning.objective import named_predictions
from parley_learning.rows import LocalRows, local_rows
from parley_learning.study import StudyLearning, parse_study
from parley_learning.workloads.evaluate import evaluate
from parley_learning.workloads.preprocess import Scaling, scaling_from_sum, standardise, summary_vector
from parley_protocol.problems import Slug

from parley_party.dataset import Dataset
from parley_party.datasource import read_dataset, read_in_order
from parley_party.errors import TrainerRefused
from parley_party.trainer_commands import (
    Baselines,
    Command,
    Evaluate,
    Hello,
    Load,
    Predict,
    ScalingSum,
    Start,
    StudyTables,
    Summary,
    Update,
)
from parley_party.trainer_frames import Arrays, Frame

_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A study and this party's rows for it."""

    study: StudyLearning
    objectives: tuple[str, ...]
    dataset: Dataset


@dataclass(frozen=True, slots=True)
class Scaled:
    """The rows standardised by the opened sum of everyone's summaries."""

    scaling: Scaling
    training: LocalRows
    held_out: LocalRows | None  # None if no row is held out


class Trainer:
    """One study's work: a command and its arrays in, the frame to send back out, or PartyError or LearningError."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self._about = about
        self._loaded: Loaded | None = None
        self._scaled: Scaled | None = None

    def answer(self, command: Command, arrays: Arrays) -> Frame:  # noqa: PLR0911 - one return a command
        """Carry out one command."""
        match command:
            case Hello():
                return Frame(self._about)
            case Load():
                return self._load(command)
            case Summary():
                loaded = self._need_rows()
                return Frame(_NOTHING, {"summary": summary_vector(loaded.study.columns, loaded.dataset.training())})
            case ScalingSum():
                return self._scale(_array(arrays, "sum", np.float64))
            case Start():
                return Frame(_NOTHING, {"parameters": initial_parameters(self._need_rows().study.model, bytes.fromhex(command.seed))})
            case Update():
                return self._update(command, _array(arrays, "parameters", np.float32))
            case Evaluate():
                return self._evaluate(_array(arrays, "parameters", np.float32))
            case Baselines():
                return self._baselines(command)
            case Predict():
                return self._predict(command, _array(arrays, "parameters", np.float32))
            case _:
                assert_never(command)

    def _load(self, command: Load) -> Frame:
        study = _parse(command.study)
        dataset, findings = read_dataset(command.dataset, study.columns.needed(command.objectives))
        self._loaded, self._scaled = Loaded(study, command.objectives, dataset), None
        return Frame(
            {
                "training_rows": dataset.training_rows,
                "held_out_rows": dataset.held_out_rows,
                "people": dataset.people,
                "people_held_out": dataset.people_held_out,
                "excluded": asdict(dataset.excluded),
                "digest": dataset.digest,
                "findings": [asdict(finding) for finding in findings],
            }
        )

    def _scale(self, total: NDArray[np.float64]) -> Frame:
        loaded = self._need_rows()
        study, objectives, dataset = loaded.study, loaded.objectives, loaded.dataset
        scaling = scaling_from_sum(study.columns, total)
        held_out = local_rows(study, dataset.kept(), scaling, objectives) if dataset.held_out_rows else None
        self._scaled = Scaled(scaling, local_rows(study, dataset.training(), scaling, objectives), held_out)
        return Frame(_NOTHING)

    def _update(self, command: Update, parameters: NDArray[np.float32]) -> Frame:
        from parley_learning.workloads.train import make_update, own_parts  # noqa: PLC0415 - imports torch, see above

        loaded, scaled = self._need_rows(), self._need_scaling()
        begun = perf_counter()
        update = make_update(loaded.study, scaled.training, parameters, command.clip_bound, bytes.fromhex(command.seed))
        parts = own_parts(loaded.study, loaded.objectives, update)
        return Frame({"norm": update.norm, "clipped": update.clipped, "seconds": perf_counter() - begun}, parts)

    def _evaluate(self, parameters: NDArray[np.float32]) -> Frame:
        loaded, held_out = self._need_rows(), self._need_held_out()
        scores = evaluate(loaded.study.model, parameters, held_out.features, held_out.labels)
        return Frame({"scores": {objective: asdict(score) for objective, score in scores.items()}})

    def _baselines(self, command: Baselines) -> Frame:
        from parley_learning.workloads.local import local_scores  # noqa: PLC0415 - imports torch, see above

        loaded = self._need_rows()
        if not loaded.dataset.held_out_rows:
            raise _no_held_out(loaded.dataset)
        dataset = loaded.dataset
        scores = local_scores(loaded.study, loaded.objectives, dataset.training(), dataset.kept(), bytes.fromhex(command.seed))
        return Frame({"scores": {objective: asdict(score) for objective, score in scores.items()}})

    def _predict(self, command: Predict, parameters: NDArray[np.float32]) -> Frame:
        study, scaling = self._need_rows().study, self._need_scaling().scaling
        columns = Columns(study.columns.features)
        features = standardise(columns, read_in_order(command.dataset, columns.specs), scaling)
        found = outputs(study.model, parameters, features)
        return Frame(_NOTHING, named_predictions(study.objectives, found))

    def _need_rows(self) -> Loaded:
        if self._loaded is None:
            raise TrainerRefused("trainer", wanted="load before this command", got="no data", do="load first")
        return self._loaded

    def _need_scaling(self) -> Scaled:
        if self._scaled is None:
            raise TrainerRefused("trainer", wanted="scaling before this command", got="no opened sum", do="load, then give scaling")
        return self._scaled

    def _need_held_out(self) -> LocalRows:
        held_out = self._need_scaling().held_out
        if held_out is None:
            raise _no_held_out(self._need_rows().dataset)
        return held_out


def _no_held_out(dataset: Dataset) -> TrainerRefused:
    return TrainerRefused(f"dataset {dataset.name}", wanted="held-out rows to measure on", got="none", do="set held_out in party.toml")


def _parse(tables: StudyTables) -> StudyLearning:
    return parse_study(tables.columns, tables.objectives, tables.model, tables.training)


def _array(arrays: Arrays, name: str, kind: type[np.floating[Any]]) -> NDArray[Any]:
    if set(arrays) != {name} or arrays[name].dtype != kind or arrays[name].ndim != 1:
        got = ", ".join(f"{each} {array.dtype}{list(array.shape)}" for each, array in arrays.items()) or "no array"
        wanted = f"one flat array {name} of {np.dtype(kind)}"
        raise TrainerRefused(
            "trainer command", problem=Slug.MALFORMED_REQUEST, wanted=wanted, got=got, do="compare the versions of both sides"
        )
    return arrays[name]
