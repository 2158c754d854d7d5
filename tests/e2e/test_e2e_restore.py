"""A party is backed up in mid-round, goes on, is restored from the backup and comes back: nothing is signed twice, nothing secret is left.

The backup is taken out of the running service. While the party is away another one is too, so that the study waits for both.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from parley_gateway.backup import check as check_gateway
from parley_gateway.config import load as load_gateway
from parley_party import backup as party_backup
from parley_party import config as party_config
from parley_party.fence import FenceState
from parley_service.backup import backup, restore
from parley_service.database import FLUSH_SECONDS

from tests.e2e.federation_processes import STUDY_ID, Federation, federation
from tests.e2e.stores import certified, on_disk, round_secrets, rows, store_of, until

ROUNDS = 12
LOST = "party-3"
AWAY = "party-2"

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(240)
def test_a_party_is_restored_into_a_running_study(tmp_path: Path) -> None:
    async def run() -> None:
        async with federation(tmp_path, 4) as running:
            await running.propose(ROUNDS)
            await running.until("FINALIZED", seconds=90)
            await running.sponsor.call("study.start", {"study": STUDY_ID})
            await until(lambda: certified(running, LOST) >= 2, "two rounds")
            saved = await asyncio.to_thread(backed_up, running)
            await gone_on(running)
            await come_back(running, saved)
            await running.until("FINISHED", seconds=120, result=True)
            await asyncio.sleep(FLUSH_SECONDS + 1)
            check_nothing_is_left(running, saved)
            check_one_list_a_base_version(running, saved)
            await asyncio.to_thread(check_stores, running)

    asyncio.run(run())


def backed_up(running: Federation) -> dict[str, Any]:
    """Back the party up while a round is open; return the backup and what was secret then."""
    site = party_backup.site(party_config.load(running.folder / LOST / "party.toml"))
    for attempt in range(200):
        found = round_secrets(running, LOST)
        if found is None:
            time.sleep(0.01)
            continue
        path = running.folder / f"{attempt}.parley"
        backup(site, path, now=time.time())
        assert found.boxes
        return {"path": path, "site": site, "number": found.number, "secrets": found.raw, "boxes": found.boxes}
    raise AssertionError("no round was open")


async def gone_on(running: Federation) -> None:
    """Let two more rounds be certified with the party, then kill it, and another one, so that the study waits."""
    done = certified(running, LOST)
    await until(lambda: certified(running, LOST) >= done + 2, "two more rounds")
    for party in (LOST, AWAY):
        running.parties[party].kill()


async def come_back(running: Federation, saved: dict[str, Any]) -> None:
    raw = saved["path"].read_bytes()
    for secret in saved["secrets"]:
        assert secret not in raw
    before = certified(running, LOST)
    saved["sealed"] = {base for (base,) in rows(store_of(running, LOST), "SELECT base FROM rounds WHERE sealed")}
    restored = await asyncio.to_thread(restore, saved["site"], saved["path"], now=time.time())
    assert restored.remark == ""
    assert certified(running, LOST) < before, "the backup is older than what the party did"
    assert rows(store_of(running, LOST), f"SELECT state FROM fences WHERE study = '{STUDY_ID}'") == [(FenceState.RESTORED.value,)]  # noqa: S608
    for party in (LOST, AWAY):
        running.parties[party].start()
        await running.parties[party].up()


def aside(running: Federation) -> Path:
    (found,) = (running.folder / LOST / "state").glob("party.db.before-restore-*")
    return found


def check_nothing_is_left(running: Federation, saved: dict[str, Any]) -> None:
    for party in running.parties:
        for name, raw in on_disk(running.folder / party / "state").items():
            for secret in saved["secrets"]:
                assert secret not in raw, (party, name)
        assert rows(store_of(running, party), "SELECT count(*) FROM round_events") == [(0,)]
        assert rows(store_of(running, party), "SELECT count(*) FROM rounds WHERE length(seed) > 0") == [(0,)]
        assert not list((running.folder / party / "state").glob("rounds/*.sealed"))
    for name, raw in on_disk(running.folder / "gateway" / "data").items():
        for box in saved["boxes"]:
            assert box not in raw, name


def check_one_list_a_base_version(running: Federation, saved: dict[str, Any]) -> None:
    now, old = store_of(running, LOST), aside(running)
    assert rows(now, "SELECT state FROM fences") == [(FenceState.PASSED.value,)], "it took part again, and its round was certified"
    ((fence,),) = rows(old, "SELECT max(number) FROM rounds")
    sealed_after = {base for (base,) in rows(now, f"SELECT base FROM rounds WHERE sealed AND number > {fence}")}  # noqa: S608
    assert sealed_after
    assert not saved["sealed"] & sealed_after
    assert not rows(now, f"SELECT number FROM rounds WHERE number <= {fence} AND length(seed) > 0")  # noqa: S608
    newest = {
        rows(store_of(running, party), "SELECT base, number FROM versions ORDER BY number DESC LIMIT 1")[0] for party in running.parties
    }
    assert {number for _, number in newest} == {ROUNDS + 1}
    assert len(newest) == 1


def check_stores(running: Federation) -> None:
    for party in running.parties:
        for finding in party_backup.check(party_config.load(running.folder / party / "party.toml")):
            assert finding.sound, finding
    for finding in check_gateway(load_gateway(running.folder / "gateway" / "gateway.toml"), {}):
        assert finding.sound, finding
    joined = rows(running.folder / "gateway" / "data" / "gateway.db", "SELECT joined FROM certificates ORDER BY round")
    assert any(LOST in json.loads(text) for (text,) in joined[-2:]), "the restored party was in the last rounds"
