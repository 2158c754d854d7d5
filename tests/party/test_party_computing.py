"""A study's computing at a party: a trainer that died is started once more, whatever it was asked for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from parley.demo_studies import SHARED
from parley_crypto.tags import Tag, digest
from parley_learning.metrics import Score
from parley_party.computing import Computing
from parley_party.dataset import Excluded
from parley_party.errors import DataError, TrainerDied
from parley_party.publicstate import PublicState, StudyMath
from parley_party.trainer_client import BaselineScores, TrainerClient, TrainerRows

from tests.demo.demo_samples import negotiate

SCORE = Score(metric="auc", value=0.75, rows=4, events=2)
ROWS = TrainerRows(8, 4, 8, 4, Excluded(), "", ())


class FakeTrainer:
    """A child process that dies at its first command, or answers."""

    def __init__(self, *, dies: bool) -> None:
        self.dies = dies
        self.stopped = False

    async def scaling(self, _: NDArray[np.float64]) -> None:
        if self.dies:
            raise TrainerDied("trainer", wanted="an answer", got="ended by SIGKILL")

    async def evaluate(self, _: NDArray[np.float32]) -> dict[str, Score]:
        return {"subprime": SCORE}

    async def baselines(self, _: bytes) -> dict[str, BaselineScores]:
        return {"subprime": BaselineScores(SCORE, SCORE)}

    async def stop(self) -> None:
        self.stopped = True


def computing(*trainers: FakeTrainer, people: int = ROWS.people) -> Computing:
    found = negotiate(SHARED)
    waiting = iter(trainers)

    async def start() -> tuple[TrainerClient, TrainerRows]:
        return cast(TrainerClient, next(waiting)), ROWS

    return Computing(StudyMath.of(found.terms, found.proposal), "lender-tx", start, people)


def finished_state() -> PublicState:
    return PublicState(41, 2, 0, digest(Tag.PARAMETERS, "certificate"), (1.0, 2.0), np.zeros(3, dtype=np.float32))


def test_a_trainer_that_died_before_the_scores_is_started_once_more() -> None:
    first, second = FakeTrainer(dies=True), FakeTrainer(dies=False)
    result: dict[str, Any] = asyncio.run(computing(first, second).result(finished_state()))
    assert result["federated"] == {"subprime": {"metric": "auc", "value": 0.75, "rows": 4, "events": 2}}
    assert (result["version"], result["training_rows"], result["held_out_rows"]) == (41, 8, 4)
    assert first.stopped


def test_a_second_death_is_told() -> None:
    with pytest.raises(TrainerDied, match="SIGKILL"):
        asyncio.run(computing(FakeTrainer(dies=True), FakeTrainer(dies=True)).result(finished_state()))


def test_the_number_of_people_is_known_before_a_trainer_was_started() -> None:
    assert computing().people == ROWS.people


def test_data_that_changed_since_the_offer_give_no_vectors() -> None:
    trainer = FakeTrainer(dies=False)
    with pytest.raises(DataError, match="wanted the 9 people of our offer, got 8"):
        asyncio.run(computing(trainer, people=9).warm_up())
    assert trainer.stopped
