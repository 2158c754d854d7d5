"""A party's process and its disk, for schedules of faults: what is recorded, what is to be sent, and a restart that builds it anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from parley_crypto import ring
from parley_crypto.ring import RingVector
from parley_policies.negotiation.terms import Terms
from parley_protocol.certificates import Chain
from parley_protocol.effects import SealNow, Send
from parley_protocol.ids import Phase
from parley_protocol.phases import Event
from parley_protocol.promises import Promise
from parley_protocol.relays import Boxes, RoundRelay

from tests.attacks.observed import snapshot
from tests.simulator import SimParty

ENDED: Final = frozenset({Phase.CLOSED, Phase.ABORTED, Phase.RELEASED})
Item = tuple[str, bytes]
NORMAL, BEFORE, AFTER = "normal", "crash before", "crash after"


class FindingError(AssertionError):
    """A schedule that broke what must hold."""


def check(holds: bool, what: str) -> None:  # noqa: FBT001
    """Raise Finding unless `holds`."""
    if not holds:
        raise FindingError(what)


@dataclass
class Sealer(SimParty):
    """A party that takes its boxes first and seals later, as one that trains does."""

    sealing: tuple[str, ...] | None = None

    def _take(self, message: RoundRelay, vector: Callable[[str], RingVector]) -> list[Send]:
        if not isinstance(message, Boxes):
            return super()._take(message, vector)
        assert self.state is not None
        self.state, effects = self.state.on_boxes(message)
        self.sealing = next(effect.segments for effect in effects if isinstance(effect, SealNow))
        return []

    def wants_to_seal(self) -> bool:
        return self.sealing is not None and self.state is not None and self.state.phase is Phase.COLLECT

    def seal(self) -> list[Send]:
        """Seal 2^i, moved by the version that it was computed from: an update of another version shows too."""
        assert self.state is not None
        assert self.sealing is not None
        self.state, self.body, effects = self.state.seal({name: self.vector(name) for name in self.sealing}, self.key)
        self.sealing = None
        return [effect for effect in effects if isinstance(effect, Send)]

    def vector(self, segment: str) -> RingVector:
        return contribution(self.terms, self.me, segment, self.number)


def contribution(terms: Terms, party: str, segment: str, version: int) -> RingVector:
    """Return what a party puts into every coordinate: 2^i in the digit of the version."""
    value = 1 << (terms.rank(party) - 1 + 6 * (version % 2))
    return np.full(terms.steps[0].segment(segment).length, value, dtype=ring.dtype_of(terms.steps[0].encoding.width))


@dataclass
class Member:
    """A party's process and its disk: what is recorded since the last opened round, and what is to be sent."""

    terms: Terms
    me: str
    kept: tuple[Chain, int, str, dict[int, Promise]]
    journal: list[Item] = field(default_factory=list)
    outbox: list[tuple[str, bytes, bytes]] = field(default_factory=list)  # kind, message, the update's body
    sent: list[tuple[str, bytes, bytes]] = field(default_factory=list)  # all that the journal caused
    read: int = 0  # messages of its inbox that it acknowledged
    party: Sealer = field(init=False)

    def __post_init__(self) -> None:
        self.party = self._empty()

    def _empty(self) -> Sealer:
        chain, number, parameters, promises = self.kept
        return Sealer(self.terms, self.me, chain, number, parameters, None, dict(promises))

    def apply(self, party: Sealer, kind: str, raw: bytes) -> list[tuple[str, bytes, bytes]]:
        """Let one event happen to a party; return what it sends."""
        match kind:
            case "open":
                number = int(json.loads(raw)["round"])
                entered = party.state.spec.round if party.state is not None else 0
                sends = party.open(number) if number > max(entered, party.chain.round) else []
            case "seal":
                sends = party.seal()
            case _:
                sends = party.take(kind, raw, party.vector)
        return [(send.kind, send.body.canonical(), party.body if send.kind == Event.COLLECT else b"") for send in sends]

    def handle(self, kind: str, raw: bytes, mode: str) -> None:
        """Let one event happen, with a crash before or after it is written down."""
        if mode == BEFORE:
            self.restart()
            return
        sends = self.apply(self.party, kind, raw)
        self.journal.append((kind, raw))
        self.outbox += sends
        self.sent += sends
        self.check_no_secrets()
        if mode == AFTER:
            self.restart()
        state = self.party.state
        if kind == Event.OPENED and self.party.chain.head != self.kept[0].head and state is not None and state.phase is Phase.CLOSED:
            party = self.party
            party.promises[state.spec.round] = state.promise
            self.kept, self.journal, self.sent = (party.chain, party.number, party.parameters, dict(party.promises)), [], []

    def restart(self) -> None:
        """Build the state anew from what is recorded: it must be the same, and cause the same messages."""
        lost, again = self.party, self._empty()
        sends = [send for kind, raw in self.journal for send in self.apply(again, kind, raw)]
        check(sends == self.sent, f"{self.me}: a replay sends something else")
        if self.journal:
            states = [None if party.state is None else snapshot(party.state) for party in (lost, again)]
            past = lost.state is None or lost.state.spec.round <= lost.chain.round  # of which only the promise is kept
            check(past or states[0] == states[1], f"{self.me}: a replay gives another state")
            check((lost.chain, lost.base, lost.promises) == (again.chain, again.base, again.promises), f"{self.me}: a replay forgets")
        self.party = again
        self.check_no_secrets()

    def check_no_secrets(self) -> None:
        """A round that is over, or whose shares are said to be destroyed, has left nothing."""
        state = self.party.state
        if state is not None and (state.phase in ENDED or state.promise.destroyed):
            check(state.seed == b"" and not state.held and not state.keys, f"{self.me}: secrets of a round in {state.phase}")
