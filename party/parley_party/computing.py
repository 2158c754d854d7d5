"""What a round's vectors are computed by: one trainer process per study, started when it is first needed and again if it died.

The trainer returns real vectors by segment; here they become ring elements, multiplied by the member's weight and encoded with headroom
for everyone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from parley_crypto.ring import RingVector
from parley_policies.negotiation.proposal import PREPROCESS
from parley_service.logs import get_log

from parley_party.errors import DataError, TrainerDied
from parley_party.publicstate import PublicState, StudyMath
from parley_party.trainer_client import TrainerClient, TrainerRows

_LOG: Final = get_log("computing")


@dataclass(frozen=True, slots=True)
class Vectors:
    """A party's encoded vectors for one round by segment, and the processor time that they took."""

    by_segment: Mapping[str, RingVector]
    cpu_seconds: float = 0.0


class Computing:
    """The vectors of one study at one party.

    `people` is how many the dataset held when the party offered. Data are frozen from then on: a trainer that finds another number gives
    no vectors. So a party that was started again takes part in a round while its trainer still reads.
    """

    def __init__(self, math: StudyMath, me: str, start: Callable[[], Awaitable[tuple[TrainerClient, TrainerRows]]], people: int) -> None:
        self._math = math
        self._me = me
        self._start = start  # starts a trainer and lets it read the data
        self._people = people
        self._trainer: TrainerClient | None = None
        self._rows: TrainerRows | None = None
        self._scaled = False
        self._one_at_a_time = asyncio.Lock()

    async def warm_up(self) -> None:
        """Start the trainer and read the data, before the first round needs them."""
        async with self._one_at_a_time:
            await self._ready()

    @property
    def people(self) -> int:
        """How many people the dataset holds after exclusions."""
        return self._people

    async def vectors(self, state: PublicState) -> Vectors:
        """Return this party's encoded vectors for the round after `state`, by segment. A trainer that died is started once more."""
        try:
            return await self._vectors(state)
        except TrainerDied as error:
            _LOG.warning("trainer died", study=self._math.terms.study, reason=str(error))
            await self.close()
            return await self._vectors(state)

    async def result(self, state: PublicState) -> dict[str, Any]:
        """Return what this party gained: scores of the shared model and of its own ones. They are data and stay here.

        A trainer that died is started once more: a round that the others finished first ends the one that was computing for it.
        """
        try:
            return await self._result(state)
        except TrainerDied as error:
            _LOG.warning("trainer died", study=self._math.terms.study, reason=str(error))
            await self.close()
            return await self._result(state)

    async def _result(self, state: PublicState) -> dict[str, Any]:
        async with self._one_at_a_time:
            trainer = await self._ready(state)
            federated = await trainer.evaluate(state.parameters)
            local = await trainer.baselines(self._math.training_seed(state, self._me))
        rows = self._rows
        return {
            "version": state.number,
            "federated": {objective: asdict(score) for objective, score in federated.items()},
            "local": {objective: asdict(pair) for objective, pair in local.items()},
            "training_rows": 0 if rows is None else rows.training_rows,
            "held_out_rows": 0 if rows is None else rows.held_out_rows,
        }

    async def close(self) -> None:
        """End the trainer."""
        trainer, self._trainer, self._scaled = self._trainer, None, False
        if trainer is not None:
            await trainer.stop()

    async def _vectors(self, state: PublicState) -> Vectors:
        step = self._math.workload(state)
        seconds = 0.0
        async with self._one_at_a_time:
            trainer = await self._ready(state)
            parts: Mapping[str, NDArray[np.floating]]
            if step.workload == PREPROCESS:
                parts, factor = {step.segments[0].name: await trainer.summary()}, 1.0
            else:
                seed = self._math.training_seed(state, self._me)
                update = await trainer.update(state.parameters, self._math.terms.clip_bound, seed)
                parts, factor, seconds = update.parts, self._math.factor(self._me), update.seconds
        encoding = self._math.encoding(step)
        mine = {segment.name for segment in step.segments if self._me in segment.members}
        encoded = {name: encoding.encode(part.astype(np.float64) * factor) for name, part in parts.items() if name in mine}
        return Vectors(encoded, seconds)

    async def _ready(self, state: PublicState | None = None) -> TrainerClient:
        if self._trainer is None:
            self._trainer, self._rows = await self._started()
        if state is not None and state.summary and not self._scaled:
            await self._trainer.scaling(np.array(state.summary, dtype=np.float64))
            self._scaled = True
        return self._trainer

    async def _started(self) -> tuple[TrainerClient, TrainerRows]:
        trainer, rows = await self._start()
        if rows.people != self._people:
            await trainer.stop()
            raise DataError(
                f"data of study {self._math.terms.study}",
                wanted=f"the {self._people} people of our offer",
                got=str(rows.people),
                do="Bring the data back as they were, or stop the study and propose a new one.",
            )
        return trainer, rows
