"""The stage of `parley demo --lying-gateway`: a running study, the liar between its parties and their gateway, and what parties wrote down.

An act tells lies through `tell`, which waits until every party that was lied to has written a refusal of its own into its evidence. Nothing
here knows what a refusal says: words come from the parties' stores, and what they sent meanwhile from the wire.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from parley_crypto.signing import Envelope
from parley_crypto.statement import Document
from parley_party import config as party_config
from parley_party import reading
from parley_party.tables import CertificateRow, EvidenceRow
from parley_policies.negotiation.terms import Terms
from parley_protocol.codec import OPEN
from parley_protocol.columns import unpack
from parley_protocol.phases import Event

from parley.attack_liar import Liar, Said
from parley.attack_lies import LogKey
from parley.demo_folders import party_file
from parley.demo_plan import DemoError, DemoPlan
from parley.demo_studies import DemoStudy

REFUSALS: Final = ("refused", "passed over", "sum not proven", "declined", "terms refused")
REFUSE_SECONDS: Final = 30.0
_QUIET_SECONDS: Final = 0.3
_LOOK_SECONDS: Final = 0.05
_DIGEST: Final = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24,}…?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What one party wrote down about a lie: how it took it, in which message, and why."""

    party: str
    how: str
    message: str
    words: str


@dataclass(slots=True)
class Played:
    """One act as it went: who was lied to, what each wrote, what left the parties meanwhile, and what is wrong with that."""

    lied_to: set[str] = field(default_factory=set)
    refusals: list[Refusal] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)  # who answered a lie with nothing at all
    reveals: int = 0
    opened: int = 0  # sums that a party took while it was lied to
    faults: list[str] = field(default_factory=list)


Lie = tuple[str, Document]


@dataclass(slots=True)
class Stage:
    """A study that runs through the liar."""

    plan: DemoPlan
    study: DemoStudy
    liar: Liar
    log: LogKey
    check: Callable[[], None]
    played: Played = field(default_factory=Played)

    @property
    def parties(self) -> tuple[str, ...]:
        """The study's parties, in id order."""
        return tuple(sorted(self.study.parties))

    def terms(self) -> Terms:
        """Return the agreed terms, as they stand in the log."""
        for leaf in map(Envelope.load, self.log.leaves()):
            if leaf.payload_type == Terms.kind:
                terms = Terms.parse(leaf.payload)
                if terms.study == self.study.id:
                    return terms
        raise DemoError(f"study {self.study.id}", wanted="an agreement in the log", got="none")

    async def hold(self, kind: str) -> Mapping[str, Said]:
        """Stop all parties before their next message of this kind, and return it by party."""
        self.check()
        return await self.liar.hold(kind, self.parties)

    async def hold_training(self, kind: str) -> Mapping[str, Said]:
        """Stop all parties at the next message of this kind in a round of training: from the second certificate on."""
        while len(await self._certificates(self.parties[0])) < 2:  # noqa: PLR2004 - of the summary and a first round of training
            self.check()
            await asyncio.sleep(_LOOK_SECONDS)
        return await self.hold(kind)

    async def tell(self, lies: Mapping[str, Sequence[Lie]], study: str = "") -> None:
        """Lie to some parties, and wait until each has refused every lie; what it wrote is kept."""
        before = {party: len(await self._refused(party)) for party in lies}
        certified = {party: len(await self._certificates(party)) for party in lies}
        posts = len(self.liar.posts)
        self.say(lies, study)
        deadline = time.monotonic() + REFUSE_SECONDS
        waiting = set(lies)
        while waiting and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
            self.check()
            for party in sorted(waiting):
                if len(await self._refused(party)) >= before[party] + len(lies[party]):
                    waiting.discard(party)
        for party in sorted(lies):
            rows = (await self._refused(party))[before[party] :]
            self.played.refusals += [_refusal(party, row) for row in rows]
            self.played.opened += len(await self._certificates(party)) - certified[party]
            if len(rows) < len(lies[party]):
                self.played.faults.append(f"{party} was told {len(lies[party])} lies and refused {len(rows)}")
        self.count_reveals(posts, lies)

    async def whisper(self, lies: Mapping[str, Sequence[Lie]]) -> None:
        """Lie to parties that are to take no notice at all: they may write nothing down, and must send nothing."""
        posts = len(self.liar.posts)
        self.say(lies)
        await self.until(lambda: all(self.liar.is_heard(party) for party in lies))
        await asyncio.sleep(_QUIET_SECONDS)
        answered = {post.party for post in self.liar.posts[posts:]} & set(lies)
        self.played.silent |= set(lies) - answered
        self.played.faults += [f"{party} answered" for party in sorted(answered)]
        self.count_reveals(posts, lies)

    def say(self, lies: Mapping[str, Sequence[Lie]], study: str = "") -> None:
        """Lie, about another study where one is named, and wait for nothing."""
        self.played.lied_to |= set(lies)
        for party, told in lies.items():
            for kind, body in told:
                self.liar.lie(party, kind, study or self.study.id, body)

    def count_reveals(self, since: int, parties: Iterable[str]) -> None:
        """Count who of `parties` revealed shares in what was posted from number `since` on."""
        self.played.reveals += sum(post.kind == Event.REVEAL and post.party in set(parties) for post in self.liar.posts[since:])

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something on the wire; DemoError if it does not come."""
        deadline = time.monotonic() + REFUSE_SECONDS
        while not is_so():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"study {self.study.id}", wanted="parties that go on", got=f"nothing in {REFUSE_SECONDS:.0f} s")
            await asyncio.sleep(_LOOK_SECONDS)

    def go_on(self, parties: Iterable[str] | None = None) -> None:
        """Let the truth through."""
        self.liar.go_on(parties)

    def signatures(self, kind: str, number: int) -> dict[str, bytes]:
        """Return the signatures that parties posted in a round, of CONFIRM or RELEASE."""
        posts = [post for post in self.liar.posts if post.kind == kind and post.body.get("round") == number]
        return {post.party: unpack(str(post.body["signature"]), 64, 1, kind)[0] for post in posts}

    def earlier(self, party: str, kind: str, before: int) -> Said:
        """Return the newest message of a kind that a party was sent before some round."""
        rounds = [number for who, what, number in self.liar.told if (who, what) == (party, kind) and number < before]
        return self.liar.told[party, kind, max(rounds)]

    def first_open(self, party: str) -> Said:
        """Return the invitation to the first round."""
        return self.liar.told[party, OPEN, min(number for who, what, number in self.liar.told if (who, what) == (party, OPEN))]

    # what a party holds

    async def _refused(self, party: str) -> list[EvidenceRow]:
        rows: list[EvidenceRow] = await self._read(party, lambda store: store.evidence())
        return [row for row in rows if row.kind in REFUSALS]

    async def _certificates(self, party: str) -> list[CertificateRow]:
        rows: list[CertificateRow] = await self._read(party, lambda store: store.certificates(self.study.id))
        return rows

    async def _read(self, party: str, question: Callable[[Any], Awaitable[Any]]) -> Any:  # noqa: ANN401 - whatever the store has
        config = party_config.load(party_file(self.plan, party))
        return await asyncio.to_thread(partial(reading.read, config, question, []))


def _refusal(party: str, row: EvidenceRow) -> Refusal:
    body = json.loads(row.body)
    return Refusal(party, row.kind, str(body.get("message", "")), shortened(str(body.get("reason", ""))))


def shortened(words: str) -> str:
    """Return a party's words with long digests cut to eight digits, for people."""
    return _DIGEST.sub(r"\1…", words)
