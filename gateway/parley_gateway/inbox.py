"""The parties' inboxes: durable, read by long poll with a cursor, at least once.

Messages come here from the journal after they are on the disk; `publish` wakes whoever waits. The newest messages of each party are kept
in memory as ready JSON, older ones are read from the store. `after` acknowledges: what lies at or below it was taken over by the party.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from parley_protocol.limits import INBOX_ANSWER_BYTES, INBOX_MESSAGES
from parley_protocol.problems import Slug
from parley_service.errors import RequestError

from parley_gateway.entries import Message
from parley_gateway.store import GatewayStore

KEPT: Final = 256  # messages of one party in memory
POLLS: Final = 4  # open at once for one party
_ROOM: Final = 1_024  # bytes left in an answer for what is around the messages


def fragment(message: Message) -> bytes:
    """Return a message as JSON, as it stands in an answer. Ids and kinds are ours and need no escapes; the study's id neither."""
    head = f'{{"seq":{message.seq},"id":"{message.id}","kind":"{message.kind}","study":"{message.study}","body":'
    return head.encode() + message.body + b"}"


@dataclass(slots=True)
class _Box:
    """One party's newest messages. Below `floor` the store knows more."""

    floor: int
    kept: deque[tuple[int, bytes]] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    polls: int = 0
    read: int = 0

    def above(self, after: int) -> list[bytes]:
        """Return what is kept with a number above `after`, oldest first; the newest are at hand."""
        return [row for _, row in takewhile(lambda kept: kept[0] > after, reversed(self.kept))][::-1]


class Inbox:
    """All inboxes of a gateway."""

    def __init__(self, store: GatewayStore, last: int) -> None:
        self._store = store
        self._last = last  # highest number that is published
        self._start = last
        self._boxes: defaultdict[str, _Box] = defaultdict(lambda: _Box(self._start))
        self._closed = False

    def publish(self, messages: Iterable[Message]) -> None:
        """Take messages that are on the disk, in the order of their numbers, and wake whoever waits for them."""
        for message in messages:
            box = self._boxes[message.party]
            box.kept.append((message.seq, fragment(message)))
            if len(box.kept) > KEPT:
                box.floor, _ = box.kept.popleft()
            box.arrived.set()
            self._last = message.seq

    async def poll(self, party: str, after: int, wait: float) -> bytes:
        """Return the answer to a poll: messages above `after`, at once or as soon as one comes, or none after `wait` seconds."""
        box = self._boxes[party]
        box.read = max(box.read, min(after, self._last))
        if box.polls >= POLLS:
            raise RequestError(f"party {party}: too many polls at once", problem=Slug.RATE_LIMITED, wanted=f"at most {POLLS}")
        box.polls += 1
        try:
            return _answer(await self._wait(party, box, after, wait))
        finally:
            box.polls -= 1

    async def _wait(self, party: str, box: _Box, after: int, wait: float) -> list[bytes]:
        end = asyncio.get_running_loop().time() + wait
        while True:
            box.arrived.clear()
            rows = await self._rows(party, box, after)
            if rows or self._closed:
                return rows
            try:
                async with asyncio.timeout_at(end):
                    await box.arrived.wait()
            except TimeoutError:
                return []

    async def _rows(self, party: str, box: _Box, after: int) -> list[bytes]:
        if after < box.floor:
            stored = await self._store.messages_after(party, after, self._last, INBOX_MESSAGES)
            if stored:
                return [fragment(message) for message in stored]
        return box.above(after)[:INBOX_MESSAGES]

    def read(self, party: str) -> int:
        """Return the number up to which a party has said that it read, 0 if it has said nothing since the start."""
        return self._boxes[party].read

    def close(self) -> None:
        """Answer all open polls with nothing: the service stops."""
        self._closed = True
        for box in self._boxes.values():
            box.arrived.set()


def _answer(rows: list[bytes]) -> bytes:
    """Return an answer with as many of `rows` as fit, the first one always."""
    fitting, size = 0, _ROOM
    for row in rows:
        size += len(row) + 1
        if fitting and size > INBOX_ANSWER_BYTES:
            break
        fitting += 1
    return b'{"messages":[' + b",".join(rows[:fitting]) + b"]}"
