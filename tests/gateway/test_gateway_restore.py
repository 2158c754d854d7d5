"""A gateway that was restored from a backup: its log is whole, the round that was open is lost, and no message is taken for an old one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from parley_gateway.backup import check, site
from parley_gateway.config import load
from parley_gateway.entries import Entries, KeptRound, Message, RoundEntry, RoundEvent
from parley_gateway.founding import PublicKey
from parley_gateway.store import COPY, GatewayStore, read_kept
from parley_protocol.records import StudyChange
from parley_service.backup import backup, restore
from parley_service.storecopy import copy_store

from tests.gateway.federation import Federation, started
from tests.gateway.parties import GATEWAY_KEY, check_sums
from tests.gateway.test_gateway_rounds import ended

NAMES = [f"p{index}" for index in range(4)]


def test_a_copy_has_no_events_no_relays_and_numbers_far_above(tmp_path: Path) -> None:
    async def run() -> None:
        store = GatewayStore.open(tmp_path / "gateway.db")
        await store.commit(
            Entries(
                messages=[Message(6, "a", "x", "request", "heart", b"kept"), Message(7, "a", "y", "boxes", "heart", b"a box")],
                rounds=[RoundEntry("heart", 1, 0, 1.0, "[]", "closed"), RoundEntry("heart", 2, 0, 2.0, "[]", "open")],
                events=[RoundEvent("heart", 2, 0, "share", "a", b"a share", 1.0, "[]")],
                kept=[KeptRound("heart", 1, 0.0, "{}", b"a seed")],
            )
        )
        last = 7
        for generation in range(2):
            target = tmp_path / f"{generation}.db"
            copy_store(tmp_path / "gateway.db" if generation == 0 else tmp_path / "0.db", target, COPY)
            raw = target.read_bytes()
            assert b"kept" in raw
            assert b"a box" not in raw
            assert b"a share" not in raw
            assert b"a seed" not in raw
            copy = GatewayStore.open(target)
            stored = await copy.load()
            assert [(entry.number, entry.state) for entry in stored.open_rounds] == [(2, "lost")]
            assert (stored.events, stored.kept, stored.last_rounds) == ((), (), {"heart": 2})
            assert stored.last_message >= last + (1 << 32)
            assert [message.seq for message in await copy.messages_after("a", 0, stored.last_message, 10)] == [6]
            last = stored.last_message
            await copy.close()
        await store.close()

    asyncio.run(run())


def test_a_federation_goes_on_after_its_gateway_was_restored(tmp_path: Path) -> None:
    """Nothing was logged after the backup, but messages were sent that the restored gateway does not know of."""
    out = tmp_path / "gateway.parley"

    async def run() -> None:
        federation = await Federation.of(tmp_path, NAMES)
        for party in federation.parties.values():
            party.objective = "a"
        federation.serve()
        gate, last = asyncio.Event(), federation.parties["p3"]

        async def before(_: str, kind: str) -> None:
            if kind in {"open", "boxes"}:
                await gate.wait()
                gate.clear()

        last.before = before
        await federation.propose(rounds=1)
        await federation.parties["p0"].start("heart")
        await federation.until(lambda: all(federation.parties[name].studies["heart"].state is not None for name in NAMES[:3]))
        place = site(load(tmp_path / "gateway.toml"), {})
        await asyncio.to_thread(backup, place, out, now=time.time())
        cursors = [party.cursor for party in federation.parties.values()]
        gate.set()
        await federation.until(
            lambda: all(p.cursor > old + 1 for p, old in zip(list(federation.parties.values())[:3], cursors, strict=False))
        )
        last.before = None
        await federation.silence(*NAMES)
        await federation.gateway.stop()
        restored = await asyncio.to_thread(restore, place, out, now=time.time())
        assert restored.remark == ""
        federation.gateway = await started(tmp_path)
        for party in federation.parties.values():
            party.port = federation.port
        federation.serve()
        await federation.until(ended(federation, StudyChange.FINISHED))
        assert all(run.number == 2 for party in federation.parties.values() for run in party.studies.values())
        check_sums(last.studies["heart"])
        await federation.close()
        (tmp_path / "keys").mkdir(exist_ok=True)
        (tmp_path / "keys" / "public.json").write_bytes(PublicKey(id="gw.example", log=GATEWAY_KEY.public.hex).canonical())
        assert [finding.faults for finding in check(load(tmp_path / "gateway.toml"), {}) if not finding.sound] == []
        assert [(entry.number, entry.state) for entry in read_kept(place.store).rounds][:2] == [(1, "released"), (2, "closed")]
        assert all(party.studies["heart"].released == [1] for party in federation.parties.values())

    asyncio.run(run())
