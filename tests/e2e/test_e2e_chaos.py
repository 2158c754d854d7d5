"""kill -9 of any process at any moment: the study goes on, nothing acknowledged is lost, nothing is opened twice, the log verifies."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.federation_processes import Federation, federation

RUNS = int(os.environ.get("CHAOS_RUNS", "1"))
ROUNDS = 14
KILLS = 7

pytestmark = pytest.mark.e2e


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
        return list(store.execute(query))


def party_store(running: Federation, party: str) -> Path:
    return running.folder / party / "state" / "party.db"


async def kill_and_restart(running: Federation, chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.1, 1.2))
        victim = chance.choice([running.gateway, running.gateway, *running.parties.values()])
        victim.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.6))
        victim.start()
        await victim.up()


@pytest.mark.timeout(280)
@pytest.mark.parametrize("seed", range(RUNS))
def test_chaos_a_study_survives_kills_of_every_process(tmp_path: Path, seed: int) -> None:
    async def run() -> None:
        async with federation(tmp_path, 4) as running:
            await running.propose(ROUNDS)
            await running.until("FINALIZED", seconds=90)
            await running.sponsor.call("study.start", {"study": "illness"})
            await kill_and_restart(running, random.Random(seed))
            await running.until("FINISHED", seconds=150, result=True)
            check(running)

    asyncio.run(run())


def check(running: Federation) -> None:
    stores = [party_store(running, party) for party in running.parties]
    newest = {rows(store, "SELECT base, number FROM versions ORDER BY number DESC LIMIT 1")[0] for store in stores}
    assert len(newest) == 1  # every party arrived at the same model
    assert {number for _, number in newest} == {ROUNDS + 1}
    chains = {tuple(rows(store, "SELECT round, certificate FROM certificates ORDER BY round")) for store in stores}
    assert len({tuple(number for number, _ in chain) for chain in chains}) == 1
    assert all(len(chain) == ROUNDS + 1 for chain in chains)
    for store in stores:  # a base version's update was sealed once, and every secret of a closed round is gone
        assert rows(store, "SELECT base FROM rounds WHERE sealed GROUP BY base HAVING count(*) > 1") == []
        assert rows(store, "SELECT number FROM rounds WHERE outcome != '' AND length(seed) > 0") == []
        assert rows(store, "SELECT count(*) FROM outbox") == [(0,)]
