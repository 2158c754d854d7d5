"""kill -9 of any process at any moment: the study goes on, nothing acknowledged is lost, nothing is opened twice, the log verifies.

The model in the end is the one of a run without failures over the same lists. Every other run is one whose sums only the parties can read.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.e2e.aftermath import check_aftermath
from tests.e2e.federation_processes import STUDY_ID, Federation, federation
from tests.e2e.stores import RoundSecrets, round_secrets

RUNS = int(os.environ.get("CHAOS_RUNS", "1"))
ROUNDS = 10
KILLS = 6

pytestmark = pytest.mark.e2e


async def kill_and_restart(running: Federation, chance: random.Random) -> list[RoundSecrets]:
    """Kill services one after the other; return what parties held of open rounds when they were killed."""
    held = []
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.1, 1.2))
        name, victim = chance.choice([("gateway", running.gateway)] * 2 + list(running.parties.items()))
        victim.kill()
        if name in running.parties and (secrets := round_secrets(running, name)) is not None:
            held.append(secrets)
        await asyncio.sleep(chance.uniform(0.0, 0.6))
        victim.start()
        await victim.up()
    return held


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(RUNS))
def test_chaos_a_study_survives_kills_of_every_process(tmp_path: Path, seed: int) -> None:
    async def run() -> None:
        async with federation(tmp_path, 4, readers=("gateway", "parties")[seed % 2]) as running:
            await running.propose(ROUNDS, round_seconds=10)
            await running.until("FINALIZED", seconds=90)
            await running.sponsor.call("study.start", {"study": STUDY_ID})
            held = await kill_and_restart(running, random.Random(seed))
            await running.until("FINISHED", seconds=200, result=True)
            await check_aftermath(running, ROUNDS + 1, held)

    asyncio.run(run())
