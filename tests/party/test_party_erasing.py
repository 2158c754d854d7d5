"""What a closed round leaves at a party: nothing in the store's pages, free ones included, and soon nothing in its write-ahead file."""

from __future__ import annotations

import asyncio
import base64
import secrets
from pathlib import Path

import pytest
from parley_party.store import PACKAGE, Change, Outgoing, PartyStore
from parley_party.tables import EvidenceRow, RoundRow
from parley_service.database import Database, migrate, open_engine
from parley_service.keyfile import StorageKey

LARGE = 20_000  # characters of one relay: it fills pages of its own, which become free ones


def found(folder: Path, needles: list[bytes]) -> list[tuple[str, int]]:
    return [(path.name, index) for path in folder.iterdir() for index, needle in enumerate(needles) if needle in path.read_bytes()]


@pytest.mark.parametrize("outcome", ["opened", "aborted", "refused"])
def test_seed_events_and_messages_of_a_closed_round_are_off_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    monkeypatch.setattr("parley_service.database.FLUSH_SECONDS", 0.02)
    folder = tmp_path / "state"
    seed = secrets.token_bytes(32)
    sealed = StorageKey(secrets.token_bytes(32)).seal(seed, "heart", 3)
    relays = [base64.b64encode(secrets.token_bytes(size)).decode() for size in (90, LARGE)]
    needles = [sealed, *(relay[start : start + 40].encode() for relay in relays for start in (0, len(relay) - 40))]

    async def scenario() -> None:
        engine = open_engine(folder / "party.db")
        migrate(engine, PACKAGE)
        database = Database(engine)
        store = PartyStore(database)
        row = RoundRow(study="heart", number=3, step=0, base="b", parameters="p", entered="{}", seed=sealed)
        await store.apply("f", Change(cursor=1))
        async with asyncio.timeout(10):
            while (folder / "party.db-wal").stat().st_size:  # noqa: ASYNC110 - what is watched is the disk
                await asyncio.sleep(0.01)  # the start's own flush must not be what erases
        await store.apply("f", Change(round=row))
        for relay in relays:
            await store.apply("f", Change(event=("heart", 3, "boxes", relay), outgoing=(Outgoing("heart", 3, "share", relay),)))
        assert {index for _, index in found(folder, needles)} == set(range(len(needles)))
        assert not found(folder, [seed]), "it never lies there in the clear"
        row.seed, row.outcome = b"", outcome
        await store.apply(
            "f", Change(round=row, forget_events_of=("heart", 3), evidence=(EvidenceRow(at=1, study="heart", kind="k", body="b"),))
        )
        async with asyncio.timeout(10):
            while found(folder, needles):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        await database.close()
        assert not found(folder, needles)

    asyncio.run(scenario())
