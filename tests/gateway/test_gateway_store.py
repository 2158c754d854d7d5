"""The gateway's store: whole transactions, events without gaps, and a schema that the migrations give."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from parley_gateway.entries import Entries, Leaf, Member, Message, Note, RoundEntry, RoundEvent
from parley_gateway.store import GatewayStore, read_everything, read_leaves, read_notes
from parley_gateway.tables import METADATA
from parley_service.database import migrate, open_engine, schema_differences
from parley_service.errors import StoreError

MEMBER = Member("a", "A", "hospital", "DE", "11" * 32, "22" * 32, "{}", 1.0, 1)


def event(seq: int) -> RoundEvent:
    return RoundEvent("heart", 1, seq, "advertise", "a", b"{}", 1.0, "[]")


def test_the_migrations_give_exactly_the_tables(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "gateway.db")
    migrate(engine, "parley_gateway")
    assert schema_differences(engine, METADATA) == []
    engine.dispose()


def test_what_was_committed_is_loaded(tmp_path: Path) -> None:
    async def run() -> None:
        store = GatewayStore.open(tmp_path / "gateway.db")
        entries = Entries(
            members=[MEMBER],
            messages=[Message(1, "a", "id", "keys", "heart", b"{}")],
            rounds=[RoundEntry("heart", 1, 0, 1.0, "[]", "open")],
            events=[event(0), event(1)],
            leaves=[Leaf(0, b"h" * 32, b"leaf", "", "")],
            checkpoint=(1, "note"),
            facts={"x": "1"},
            notes=[Note("heart", 1.0, "hello")],
            shown={"a": 7},
        )
        await store.commit(entries)
        await store.close()
        store = GatewayStore.open(tmp_path / "gateway.db")
        stored = await store.load()
        assert stored.members[0].party == "a"
        assert stored.members[0].shown == 7
        assert [item.seq for item in stored.events] == [0, 1]
        assert stored.keys == {"11" * 32, "22" * 32}
        assert (stored.last_message, stored.checkpoint, stored.facts) == (1, (1, "note"), {"x": "1"})
        assert stored.last_rounds == {"heart": 1}
        await store.commit(Entries(events=[event(2)]))
        await store.close()

    asyncio.run(run())
    assert read_leaves(tmp_path / "gateway.db") == ("note", (b"leaf",))
    assert [note.text for note in read_notes(tmp_path / "gateway.db", "heart")] == ["hello"]
    assert len(read_everything(tmp_path / "gateway.db").events) == 3


def test_boxes_of_a_round_go_with_its_events_read_or_not_and_the_counter_stays(tmp_path: Path) -> None:
    async def run() -> None:
        store = GatewayStore.open(tmp_path / "gateway.db")
        boxes = [Message(1, "a", "x", "boxes", "heart", b"1"), Message(2, "a", "y", "boxes", "other", b"2")]
        await store.commit(Entries(messages=[*boxes, Message(3, "b", "z", "boxes", "heart", b"3")], events=[event(0)]))
        await store.commit(Entries(forgotten=[("heart", 1)]))
        stored = await store.load()
        assert (stored.last_message, stored.events) == (3, ())
        assert [message.seq for message in await store.messages_after("a", 0, 9, 9)] == [2]
        await store.commit(Entries(forgotten=[("heart", 1)], messages=[Message(4, "b", "w", "boxes", "heart", b"4")]))
        await store.commit(Entries(forgotten=[("heart", 1)], messages=[Message(5, "b", "v", "opened", "heart", b"5")]))
        assert [message.seq for message in await store.messages_after("b", 0, 9, 9)] == [4, 5], "4 was the newest when its round ended"
        await store.close()

    asyncio.run(run())


def test_an_event_that_would_leave_a_gap_is_refused_with_all_that_came_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        store = GatewayStore.open(tmp_path / "gateway.db")
        await store.commit(Entries(events=[event(0)]))
        with pytest.raises(StoreError, match="wanted number 1 next, got 2"):
            await store.commit(Entries(events=[event(2)], notes=[Note("heart", 1.0, "lost")]))
        assert await store.notes_after("heart", 0) == ()
        await store.close()

    asyncio.run(run())


def test_what_contradicts_the_store_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        store = GatewayStore.open(tmp_path / "gateway.db")
        await store.commit(Entries(leaves=[Leaf(0, b"h" * 32, b"leaf", "", "")]))
        with pytest.raises(StoreError, match="contradicts"):
            await store.commit(Entries(leaves=[Leaf(0, b"g" * 32, b"other", "", "")]))
        await store.close()

    asyncio.run(run())


def test_messages_of_rounds_are_forgotten_once_read_and_others_stay(tmp_path: Path) -> None:
    async def run() -> None:
        store = GatewayStore.open(tmp_path / "gateway.db")
        kinds = ["request", "keys", "boxes", "keys"]
        await store.commit(Entries(messages=[Message(seq, "a", "id", kind, "heart", b"{}") for seq, kind in enumerate(kinds, 1)]))
        await store.commit(Entries(read={"a": 3}))
        assert [message.seq for message in await store.messages_after("a", 0, 9, 64)] == [1, 4]
        await store.close()

    asyncio.run(run())
