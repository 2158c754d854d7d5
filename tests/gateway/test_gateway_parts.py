"""Parts of the gateway by themselves: the log, presence, rate limits, the inbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from parley_crypto.checkpoint import parse_and_verify
from parley_crypto.keys import SigningKey
from parley_crypto.merkle import leaf_hash, verify_consistency, verify_inclusion
from parley_gateway.entries import Entries, Message
from parley_gateway.inbox import KEPT, POLLS, Inbox
from parley_gateway.presence import LINGER_SECONDS, Presence
from parley_gateway.ratelimit import RateLimiter
from parley_gateway.store import GatewayStore
from parley_gateway.tlog import TransparencyLog
from parley_protocol.logentries import Reach
from parley_protocol.problems import Slug
from parley_service.errors import RequestError, StoreDamagedError

KEY = SigningKey(bytes(range(32)))


# the log


def test_a_proof_of_the_log_verifies() -> None:
    log = TransparencyLog(KEY, "gw/log")
    leaves = [b"leaf %d" % index for index in range(7)]
    for leaf in leaves[:3]:
        log.append(leaf, Reach())
    old = parse_and_verify(log.seal()[1], KEY.public, "gw/log")
    for leaf in leaves[3:]:
        log.append(leaf, Reach())
    log.seal()
    proof = log.prove(old_size=3, index=4)
    new = parse_and_verify(proof.checkpoint, KEY.public, "gw/log")
    verify_consistency(3, 7, [bytes.fromhex(node) for node in proof.consistency], old.root, new.root)
    verify_inclusion(leaf_hash(leaves[4]), 4, 7, [bytes.fromhex(node) for node in proof.inclusion], new.root)


def test_what_is_not_published_is_not_served() -> None:
    log = TransparencyLog(KEY, "gw/log")
    log.append(b"leaf", Reach())
    checkpoint = log.seal()
    assert log.published[0] == 0
    with pytest.raises(RequestError, match="1 ≤ old ≤ new ≤ 0"):
        log.consistency(1, 1)
    log.publish(checkpoint)
    assert log.consistency(1, 1) == ()


def test_a_log_that_does_not_continue_its_checkpoint_is_refused() -> None:
    log = TransparencyLog(KEY, "gw/log")
    leaf = log.append(b"leaf", Reach())
    checkpoint = log.seal()
    assert TransparencyLog(KEY, "gw/log", [leaf.hash], checkpoint).newest == checkpoint
    with pytest.raises(StoreDamagedError):
        TransparencyLog(KEY, "gw/log", [leaf_hash(b"other")], checkpoint)
    with pytest.raises(StoreDamagedError):
        TransparencyLog(KEY, "gw/log", [leaf.hash], None)
    with pytest.raises(StoreDamagedError):
        TransparencyLog(KEY, "gw/log", [], checkpoint)


# presence


def test_a_party_is_present_while_it_asks_and_for_a_moment_after() -> None:
    presence = Presence(started=100.0)
    assert not presence.is_present("a", 100.0)
    presence.enter("a", 101.0)
    presence.enter("a", 102.0)
    presence.leave("a", 103.0)
    assert presence.is_present("a", 200.0)
    presence.leave("a", 200.0)
    assert presence.is_present("a", 199.9 + LINGER_SECONDS)
    assert not presence.is_present("a", 200.5 + LINGER_SECONDS)


def test_a_party_is_gone_after_the_grace_counted_from_the_start_if_it_never_came() -> None:
    presence = Presence(started=100.0)
    assert presence.gone({"a", "b"}, 104.0, 5.0) == frozenset()
    presence.enter("a", 104.0)
    assert presence.gone({"a", "b"}, 105.0, 5.0) == {"b"}
    presence.leave("a", 105.0)
    assert presence.gone({"a", "b"}, 110.0, 5.0) == {"a", "b"}


# rate limits


def test_a_bucket_fills_with_time_and_takes_back_what_was_useful() -> None:
    limiter = RateLimiter(per_second=2, burst=3)
    for _ in range(3):
        limiter.take("a", 10.0)
    with pytest.raises(RequestError) as refused:
        limiter.take("a", 10.0)
    assert refused.value.problem is Slug.RATE_LIMITED
    limiter.take("b", 10.0)
    limiter.give_back("a")
    limiter.take("a", 10.0)
    limiter.take("a", 10.5)
    with pytest.raises(RequestError):
        limiter.take("a", 10.5)
    limiter.take("a", 5.0 + 10.0)  # a clock that steps about never takes tokens away


# the inbox


def messages(first: int, count: int, party: str = "a") -> list[Message]:
    return [Message(seq, party, f"{seq:064x}", "keys", "heart", b'{"n":%d}' % seq) for seq in range(first, first + count)]


def seqs(answer: bytes) -> list[int]:
    return [row["seq"] for row in json.loads(answer)["messages"]]


def with_store(tmp_path: Path, work: Callable[[GatewayStore], Awaitable[None]]) -> None:
    async def run() -> None:
        store = GatewayStore.open(tmp_path / "gateway.db")
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def test_a_poll_waits_and_is_woken_with_all_that_came(tmp_path: Path) -> None:
    async def work(store: GatewayStore) -> None:
        inbox = Inbox(store, 0)
        poll = asyncio.create_task(inbox.poll("a", 0, 5))
        await asyncio.sleep(0.01)
        inbox.publish([*messages(1, 2), *messages(3, 1, "b")])
        assert seqs(await poll) == [1, 2]
        assert json.loads(await inbox.poll("a", 1, 0))["messages"] == [
            {"seq": 2, "id": f"{2:064x}", "kind": "keys", "study": "heart", "body": {"n": 2}}
        ]
        assert seqs(await inbox.poll("a", 2, 0.02)) == []
        assert seqs(await inbox.poll("b", 0, 0)) == [3]

    with_store(tmp_path, work)


def test_what_is_no_longer_in_memory_is_read_from_the_store(tmp_path: Path) -> None:
    async def work(store: GatewayStore) -> None:
        old = messages(1, 3)
        await store.commit(Entries(messages=old))
        inbox = Inbox(store, 3)  # a new start
        assert seqs(await inbox.poll("a", 0, 0)) == [1, 2, 3]
        many = messages(4, KEPT + 10)
        await store.commit(Entries(messages=many))
        inbox.publish(many)
        cursor, read = 0, []
        while rows := seqs(await inbox.poll("a", cursor, 0)):
            read += rows
            cursor = rows[-1]
        assert read == list(range(1, KEPT + 14))

    with_store(tmp_path, work)


def test_only_a_few_polls_at_once_and_all_are_answered_at_the_end(tmp_path: Path) -> None:
    async def work(store: GatewayStore) -> None:
        inbox = Inbox(store, 0)
        polls = [asyncio.create_task(inbox.poll("a", 0, 60)) for _ in range(POLLS)]
        await asyncio.sleep(0.01)
        with pytest.raises(RequestError, match="at most"):
            await inbox.poll("a", 0, 0)
        inbox.close()
        assert [seqs(answer) for answer in await asyncio.gather(*polls)] == [[]] * POLLS

    with_store(tmp_path, work)


def test_a_cursor_beyond_what_was_sent_acknowledges_nothing_to_come(tmp_path: Path) -> None:
    async def work(store: GatewayStore) -> None:
        inbox = Inbox(store, 0)
        inbox.publish(messages(1, 2))
        await inbox.poll("a", 10**12, 0)
        assert inbox.read("a") == 2

    with_store(tmp_path, work)
