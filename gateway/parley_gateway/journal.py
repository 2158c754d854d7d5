"""The journal: the one way in which anything becomes true at the gateway.

A change is built in a `Draft` (messages, leaves, events, rows), without waiting for anything in between, and recorded. Recorded drafts
are written in order, several in one transaction where they come close together; only after that are messages published and whoever waits
for the draft goes on (invariant 11: persist before send, acknowledge after fsync).

If the store cannot write, memory and disk differ: the journal calls `on_failure` and refuses everything from then on. A restart continues
from the disk.

    draft = journal.draft()
    draft.send(["klinik-a"], "keys", "heart", relay)
    await journal.record(draft)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document
from parley_protocol.logentries import reach_of
from parley_protocol.problems import Slug
from parley_protocol.relays import LogProof
from parley_service.errors import ServiceError, StoreError

from parley_gateway.entries import Entries, Message, Note
from parley_gateway.inbox import Inbox
from parley_gateway.store import GatewayStore
from parley_gateway.tlog import TransparencyLog

LINGER_SECONDS: Final = 0.004  # an answer that completes no phase waits so long for others to be written with it


@dataclass(slots=True)
class Draft:
    """A change that is being built. Its leaves are in the log already, so a draft that has some must be recorded."""

    _log: TransparencyLog
    now: float
    entries: Entries = field(default_factory=Entries)
    _bodies: dict[int, tuple[Document, bytes, str]] = field(default_factory=dict)

    def send(self, parties: Iterable[str], kind: str, study: str, body: Document) -> None:
        """Send one message to each of `parties`. A body that is sent to several is written once."""
        known = self._bodies.get(id(body))
        if known is None:
            raw = body.model_dump_json().encode()
            known = self._bodies[id(body)] = (body, raw, _message_id(kind, study, raw))
        _, raw, name = known
        self.entries.messages += [Message(0, party, name, kind, study, raw) for party in parties]

    def append(self, leaf: Envelope) -> int:
        """Append a signed statement to the log and return its index."""
        entry = self._log.append(leaf.dump(), reach_of(leaf))
        self.entries.leaves.append(entry)
        return entry.index

    def seal(self) -> None:
        """Sign a checkpoint over all leaves so far. Proofs of this draft are made after it."""
        self.entries.checkpoint = self._log.seal()

    def prove(self, *, old_size: int, index: int) -> LogProof:
        """Return a proof under the newest checkpoint."""
        return self._log.prove(old_size=old_size, index=index)

    @property
    def size(self) -> int:
        """Leaves under the newest checkpoint."""
        return self._log.newest[0]

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for it: it says something to parties, or to the log. One of many answers in a phase can wait a moment."""
        return bool(self.entries.messages or self.entries.leaves) or not self.entries.events

    def note(self, study: str, text: str) -> None:
        """Write a line into a study's log, for people."""
        self.entries.notes.append(Note(study, self.now, text))


def _message_id(kind: str, study: str, body: bytes) -> str:
    return blake3(b"%b\n%b\n%b" % (kind.encode(), study.encode(), body)).hexdigest()


class Journal:
    """Writes drafts in order and publishes them. Make it inside the event loop."""

    def __init__(
        self,
        store: GatewayStore,
        inbox: Inbox,
        log: TransparencyLog,
        *,
        last_message: int,
        clock: Callable[[], float],
        on_failure: Callable[[ServiceError], None],
    ) -> None:
        self._store: Final = store
        self._inbox: Final = inbox
        self._log: Final = log
        self._clock: Final = clock
        self._on_failure: Final = on_failure
        self._last_message = last_message
        self._waiting: list[tuple[Entries, asyncio.Future[None]]] = []
        self._writing: list[asyncio.Future[None]] = []
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: ServiceError | None = None

    def draft(self) -> Draft:
        """Return an empty change."""
        return Draft(self._log, self._clock())

    def record(self, draft: Draft) -> asyncio.Future[None]:
        """Have the draft written. The future is done once it is on the disk and published; who is cancelled meanwhile undoes nothing."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._failed is not None:
            future.set_exception(StoreError(f"the store failed before: {self._failed}"))
            return future
        if draft.entries.leaves and (draft.entries.checkpoint or (0, ""))[0] != self._log.size:
            draft.seal()
        self._number(draft.entries)
        self._waiting.append((draft.entries, future))
        if draft.is_urgent:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._flush)
        return future

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and (self._pump is None or self._pump.done()):
            self._pump = asyncio.create_task(self._write())
            self._pump.add_done_callback(self._require_written)

    def _number(self, entries: Entries) -> None:
        first = self._last_message + 1
        entries.messages = [
            Message(seq, row.party, row.id, row.kind, row.study, row.body) for seq, row in enumerate(entries.messages, start=first)
        ]
        self._last_message += len(entries.messages)

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            together = Entries()
            for entries, _ in group:
                together.absorb(entries)
            self._writing = [future for _, future in group]
            try:
                await self._store.commit(together)
            except ServiceError as error:
                self._fail(error)
                return
            if together.checkpoint is not None:
                self._log.publish(together.checkpoint)
            self._inbox.publish(together.messages)
            for _, future in group:
                if not future.done():  # its waiter may be gone
                    future.set_result(None)

    def _require_written(self, pump: asyncio.Task[None]) -> None:
        """A fault of ours in writing is a failure of the store too: nobody may wait for what is not written."""
        if not pump.cancelled() and (error := pump.exception()) is not None:
            self._fail(StoreError(f"writing failed: {error!r}", problem=Slug.INTERNAL))

    def _fail(self, error: ServiceError) -> None:
        self._failed = error
        waiting, self._waiting = self._waiting, []
        for future in [*self._writing, *(future for _, future in waiting)]:
            if not future.done():
                future.set_exception(StoreError(f"the store failed: {error}"))
                future.exception()  # looked at: nobody may be waiting
        self._on_failure(error)

    async def flush_deleted(self) -> None:
        """Have what was deleted (the shares of closed rounds) leave the disk too."""
        await self._store.flush_deleted()

    def abandon(self, draft: Draft) -> None:
        """Say that a draft was left unfinished. If anything stands in it, memory says what the disk never will: the journal fails."""
        if draft.entries != Entries():
            self._fail(StoreError("a change was left unfinished", problem=Slug.INTERNAL))

    async def settle(self) -> None:
        """Return when everything recorded is written."""
        self._flush()
        if self._pump is not None:
            await asyncio.shield(self._pump)
