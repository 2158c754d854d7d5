"""What must still reach the gateway, and what left: the one door out for everything of a study.

Messages are written with the change that made them (persist before send) and taken off once acknowledged; a repeated message is the same
bytes, so the gateway knows it. Each one that leaves is written to the egress log with the guard's verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from parley_protocol.problems import Slug
from parley_service.logs import get_log

from parley_party.client import GatewayClient, Message
from parley_party.errors import GatewayRefusedError
from parley_party.store import Change, Egress, Outgoing, PartyStore, Sent

_RETRY: Final = frozenset({Slug.RATE_LIMITED, Slug.UNAVAILABLE, Slug.TIMED_OUT, Slug.CLOCK_SKEW, Slug.NOT_AUTHENTICATED, Slug.INTERNAL})
_LOG: Final = get_log("outbox")
SMALL_BYTES: Final = 1 << 20  # below it a thread costs more than the work
RETRY_SECONDS: Final = 0.5
RETRY_SECONDS_MAX: Final = 15.0


class Outbox:
    """The waiting messages of one federation."""

    def __init__(self, federation: str, client: GatewayClient, store: PartyStore, clock: Callable[[], float]) -> None:
        self._federation = federation
        self._client = client
        self._store = store
        self._clock = clock
        self._waiting: list[Outgoing] = []
        self._flushing = asyncio.Lock()
        self._refused: list[tuple[Outgoing, GatewayRefusedError]] = []
        self._sent: list[Sent] = []  # acknowledged, and taken off with the next write: after a crash they go out again, and are known

    async def load(self) -> None:
        """Take up what an earlier start of this service left."""
        self._waiting = await self._store.outgoing(self._federation)

    async def apply(self, change: Change) -> None:
        """Write a change durably; its messages wait here from then on."""
        sent, self._sent = self._sent, []
        added = await self._store.apply(self._federation, replace(change, sent=sent))
        kept = [item for item in self._waiting if (item.study, item.number) != change.forget_events_of]
        self._waiting = kept + added

    async def flush(self) -> None:
        """Send what waits, oldest first; GatewayUnreachableError leaves the rest for the next time."""
        async with self._flushing:
            while self._waiting:
                await self._send_first()

    async def _send_first(self) -> None:
        message = self._waiting[0]
        left, _ = await self._send(message, lambda: self._posted(message))
        self._waiting = [item for item in self._waiting if item.id != message.id]
        self._sent.append(Sent(message.id, tuple(left)))

    async def _posted(self, message: Outgoing) -> tuple[int, list[Message]]:
        return await self._client.post(message.kind, message.study, message.body), []

    async def flush_and_wait(self, after: int, wait: float) -> list[Message]:
        """Send what waits; the answer to the last message brings what then comes for this party, if it had anything to send."""
        async with self._flushing:
            while len(self._waiting) > 1 or (self._waiting and self._waiting[0].upload):
                await self._send_first()
            if not self._waiting:
                return []
            last = self._waiting.pop(0)
        # The lock is free while the answer is awaited: what is sealed meanwhile goes out at once.
        try:
            left, messages = await self._send(last, lambda: self._client.post_and_wait(last.kind, last.study, last.body, after, wait))
        except BaseException:
            self._waiting.insert(0, last)
            raise
        self._sent.append(Sent(last.id, tuple(left)))
        return messages

    def take_refused(self) -> list[tuple[Outgoing, GatewayRefusedError]]:
        """Return what the gateway refused since this was asked last, and why."""
        refused, self._refused = self._refused, []
        return refused

    async def settle(self) -> None:
        """Write down what was sent, where no other write has taken it along."""
        if self._sent:
            await self.apply(Change())

    async def _send(
        self, message: Outgoing, post: Callable[[], Awaitable[tuple[int, list[Message]]]]
    ) -> tuple[list[Egress], list[Message]]:
        left: list[Egress] = []
        messages: list[Message] = []
        try:
            if message.upload:
                left.append(self._egress(message, "sealed update", await self._client.upload(Path(message.upload)), "allowed"))
            size, messages = await post()
        except GatewayRefusedError as error:
            if error.problem in _RETRY:
                raise
            _LOG.warning("message refused", study=message.study, round=message.number, kind=message.kind, problem=str(error))
            left.append(self._egress(message, message.kind, len(message.body), f"refused by the gateway: {error.problem}"))
            self._refused.append((message, error))
        except FileNotFoundError:
            _LOG.warning("sealed update gone", study=message.study, round=message.number)
        else:
            left.append(self._egress(message, message.kind, size, "allowed"))
        return left, messages

    def _egress(self, message: Outgoing, kind: str, size: int, verdict: str) -> Egress:
        return Egress(self._clock(), message.study, message.number, kind, size, message.agreement, verdict)
