"""A round that can never be finished is released among kills: its secrets are destroyed, and its base version enters a later round.

Two of four parties are killed before their updates are there and stay away past the time-out. The other two are enough to release the
round: one is killed before it has written its word for that, one after, and the gateway between the two. Only then do the first two return.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import pytest
from parley_protocol.cohort import Cohort
from parley_protocol.ids import Phase
from parley_protocol.relays import Released
from parley_protocol.release import verify_released

from tests.e2e.aftermath import check_aftermath
from tests.e2e.failure_free import lists_of, math_of
from tests.e2e.federation_processes import STUDY_ID, Federation, federation
from tests.e2e.stores import certified, gateway_store, round_secrets, rows, store_of, until

RUNS = (int(os.environ.get("CHAOS_RUNS", "1")) + 3) // 4
ROUNDS = 6
ROUND_SECONDS = 6

pytestmark = pytest.mark.e2e


def outcome(running: Federation, party: str, number: int) -> str:
    return str(rows(store_of(running, party), f"SELECT outcome FROM rounds WHERE number = {number}")[0][0])  # noqa: S608


async def stuck(running: Federation, away: list[str]) -> int:
    """Pause the trainers of `away`; return the round that then waits for these two alone."""
    for party in away:
        for trainer in running.parties[party].children():
            os.kill(trainer, signal.SIGSTOP)
    shown = await running.until_shown(lambda shown: shown["phase"] == Phase.COLLECT and shown["waits_for"] == away, seconds=90)
    return int(shown["round"])


async def release_among_kills(running: Federation, number: int, before: str, after: str) -> None:
    """Kill `before` with the request unread, `after` with its word written, and the gateway while it waits; start them all again."""
    process = running.parties[before].process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)  # its open request keeps it present
    await running.until_shown(lambda shown: shown["phase"] == Phase.RELEASE, seconds=90)
    await until(lambda: outcome(running, after, number), "a word for the release is written")
    running.parties[after].kill()
    running.gateway.kill()
    running.parties[before].kill()
    assert outcome(running, before, number) == ""
    assert outcome(running, after, number) == "releasing"
    assert rows(store_of(running, after), f"SELECT seed FROM rounds WHERE number = {number}") == [(b"",)]  # noqa: S608
    for service in (running.gateway, running.parties[before], running.parties[after]):
        service.start()
    for service in (running.gateway, running.parties[before], running.parties[after]):
        await service.up()
    await until(lambda: {outcome(running, party, number) for party in (before, after)} == {"released"}, "both hold the proof")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(RUNS))
def test_chaos_a_round_is_released_among_kills_and_its_base_version_used_again(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def run() -> None:
        async with federation(tmp_path, 4, colluders=0, readers=("parties", "gateway")[seed % 2]) as running:
            order = chance.sample(sorted(running.parties), 4)
            away, (before, after) = sorted(order[:2]), order[2:]
            await running.propose(ROUNDS, round_seconds=ROUND_SECONDS)
            await running.until("FINALIZED", seconds=90)
            await running.sponsor.call("study.start", {"study": STUDY_ID})
            await until(lambda: certified(running, before) >= 1 + seed % 3, "some rounds")
            number = await stuck(running, away)
            held = [secrets for party in running.parties if (secrets := round_secrets(running, party)) and secrets.number == number]
            assert len(held) == len(running.parties)
            for party in away:
                running.parties[party].kill()
            await release_among_kills(running, number, before, after)
            for party in away:
                running.parties[party].start()
            await running.until("FINISHED", seconds=200, result=True)
            await check_aftermath(running, ROUNDS + 1, held)
            await asyncio.to_thread(check_released, running, number)

    asyncio.run(run())


def check_released(running: Federation, number: int) -> None:
    """The proof is kept, its members' word left their buildings, and the base version was opened once, in a later round."""
    assert rows(gateway_store(running), f"SELECT state FROM rounds WHERE number = {number}") == [("released",)]  # noqa: S608
    proofs = [proof for party in running.parties if (proof := kept_proof(running, party, number)) is not None]
    assert len(proofs) >= 2
    for party in {name for proof in proofs for name in proof.parties}:  # who came back to find the proof need not say it any more
        left = rows(store_of(running, party), f"SELECT verdict FROM egress WHERE kind = 'release' AND round = {number}")  # noqa: S608
        assert left, f"{party} said that it destroyed its shares"


def kept_proof(running: Federation, party: str, number: int) -> Released | None:
    """Check where the base version came up again, and verify the proof that a party keeps; None where nothing of its was out."""
    math, lists = math_of(running, party), lists_of(running, party)
    query = f"SELECT step, base, sealed, outcome, proof FROM rounds WHERE number = {number}"  # noqa: S608
    ((step, base, sealed, result, text),) = rows(store_of(running, party), query)
    (again,) = [listed.round for listed in lists if listed.base == base]
    assert again > number, party
    if not sealed:
        assert result in {"absent", "released"}, party
        return None
    assert result == "released", party
    proof = Released.model_validate(json.loads(text))
    cohort = Cohort(math.terms, math.terms.steps[step], number, math.keys.graph_seed)
    verify_released(cohort, proof, cohort.members)
    return proof
