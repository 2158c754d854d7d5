"""Generated schedules: a federation of real state machines under faults drawn from a seed.

Messages are dropped, delayed, duplicated, reordered and corrupted; parties leave and return; parties and gateway crash before and after
each persisted write. A crash before it loses the event, which the other side sends again; after it, the state is built anew by replaying
what was recorded, and what was recorded as sent is sent again. The party with index i puts 2^i into every coordinate, so that a sum says
whose updates are in it. After every step and at the end `check_*` say what must hold; then all faults cease, everybody returns, and the
study must go on. A message is acknowledged after its write; inbox and outbox are durable; what a fault delivers besides is not acknowledged.

    python -m tests.simulation.schedules --schedules 10000 --processes 2
    python -m tests.simulation.schedules --seed 17 --parties 5        # one schedule again
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing import get_context

import numpy as np
from blake3 import blake3
from parley_crypto import ring
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms
from parley_protocol import opening
from parley_protocol.bound import load_envelope, own_segments
from parley_protocol.certificates import Chain, extend
from parley_protocol.codec import load_post
from parley_protocol.effects import OpenNow, SealNow, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.messages import Opened, OpenedSegment
from parley_protocol.phases import Event
from parley_protocol.promises import Promise
from parley_protocol.relays import Boxes

from tests.attacks.observed import snapshot
from tests.simulation.remembered import remembering
from tests.simulator import GATEWAY_KEY, START, SimParty, make_terms, round_of

ENDED = frozenset({Phase.CLOSED, Phase.ABORTED, Phase.RELEASED})
Item = tuple[str, bytes]
STEPS = 110  # drawn faults and deliveries of one schedule
NORMAL, BEFORE, AFTER, CORRUPT, DUPLICATE, REORDER = "normal", "crash before", "crash after", "corrupt", "duplicate", "reorder"


class Finding(AssertionError):
    """A schedule that broke what must hold."""


def check(holds: bool, what: str) -> None:  # noqa: FBT001
    """Raise Finding unless `holds`."""
    if not holds:
        raise Finding(what)


def corrupted(rng: random.Random, raw: bytes) -> bytes:
    """Return a message with one bit flipped, or cut off."""
    place = rng.randrange(len(raw))
    return raw[:place] if rng.random() < 0.3 else raw[:place] + bytes([raw[place] ^ (1 << rng.randrange(8))]) + raw[place + 1 :]


@dataclass
class Sealer(SimParty):
    """A party that takes its boxes first and seals later, as one that trains does."""

    sealing: tuple[str, ...] | None = None

    def _take(self, kind: str, message: object, vector: Callable[[str], RingVector]) -> list[Send]:
        if not isinstance(message, Boxes):
            return super()._take(kind, message, vector)
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
            self.kept, self.journal, self.sent = (party.chain, party.number, party.parameters, dict(party.promises)), [], []

    def restart(self) -> None:
        """Build the state anew from what is recorded: it must be the same, and cause the same messages."""
        lost, again = self.party, self._empty()
        sends = [send for kind, raw in self.journal for send in self.apply(again, kind, raw)]
        check(sends == self.sent, f"{self.me}: a replay sends something else")
        if self.journal:
            states = [None if party.state is None else snapshot(party.state) for party in (lost, again)]
            check(states[0] == states[1] or lost.state is None, f"{self.me}: a replay gives another state")
            check((lost.chain, lost.base, lost.promises) == (again.chain, again.base, again.promises), f"{self.me}: a replay forgets")
        self.party = again
        self.check_no_secrets()

    def check_no_secrets(self) -> None:
        """A round that is over, or whose shares are said to be destroyed, has left nothing."""
        state = self.party.state
        if state is not None and (state.phase in ENDED or state.promise.destroyed):
            check(state.seed == b"" and not state.held and not state.keys, f"{self.me}: secrets of a round in {state.phase}")


@dataclass
class Schedule:
    """A federation and one schedule of faults."""

    seed: int
    count: int = 5
    now: float = 0.0
    number: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    away: set[str] = field(default_factory=set)
    gateway: GatewayRound | None = None
    recorded: list[tuple[object, ...]] = field(default_factory=list)  # what happened to the gateway's round
    uploads: dict[tuple[int, str], bytes] = field(default_factory=dict)
    bases: dict[str, int] = field(default_factory=dict)  # opened: by which round
    survivors: frozenset[str] = frozenset()  # of the newest opened round

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed * 16 + self.count)
        segments: dict[str, tuple[int, list[int] | None]] = {"trunk": (2, None)}
        if self.count > 3 and self.rng.random() < 0.3:
            segments["head:a"] = (1, [0, 1, 2])
        self.terms = make_terms(self.count, segments=segments)
        self.chain = Chain.start(self.terms.digest())
        self.ids = [member.party for member in self.terms.members]
        start = (self.chain, 0, START, dict[int, Promise]())
        self.members = {party: Member(self.terms, party, start) for party in self.ids}
        self.inbox: dict[str, list[Item]] = {party: [] for party in self.ids}
        self.fault = self.rng.choice([0.05, 0.15, 0.35])

    # the gateway

    @property
    def state(self) -> GatewayRound:
        assert self.gateway is not None
        return self.gateway

    def is_over(self) -> bool:
        return self.gateway is None or self.gateway.phase in ENDED

    def moment(self) -> Moment:
        return Moment(self.now, frozenset(self.away))

    def open_round(self) -> None:
        self.number += 1
        present = frozenset(self.ids) - self.away
        self.gateway = GatewayRound.open(GatewaySpec(self.terms, self.number, 0, self.chain, present, self.now))
        self.recorded = []
        for party in sorted(present):
            self.inbox[party].append(("open", json.dumps({"round": self.number}).encode()))

    def happen(self, event: tuple[object, ...], mode: str) -> None:
        """Let one event happen to the gateway's round, with a crash before or after it is written down."""
        if mode == BEFORE:
            self.restart_gateway()
            return
        before = self.state.phase
        moved, effects = applied(self.state, event)
        if moved is not self.state:
            self.gateway = moved
            self.recorded.append(event)
        self.inbox_from(effects)
        if self.state.phase is not before and self.is_over():
            self.counts[self.state.phase] += 1
        if mode == AFTER:
            self.restart_gateway()
        elif any(isinstance(effect, OpenNow) for effect in effects) and self.state.phase is Phase.REVEAL:
            self.open_sums()

    def inbox_from(self, effects: Iterable[object]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                assert effect.to is not None
                self.inbox[effect.to].append((effect.kind, effect.body.canonical()))

    def restart_gateway(self) -> None:
        """Build the round anew from what is recorded."""
        if self.gateway is None:
            return
        again = GatewayRound.open(self.gateway.spec)
        for event in self.recorded:
            again, _ = applied(again, event)
        check(again == self.gateway, f"gateway: a replay gives another state in {self.gateway.phase}")
        self.gateway = again

    def open_sums(self) -> None:
        """Open the round, check the sums, and go on."""
        state, step = self.state, self.terms.steps[0]
        rebuilt, listed, rows = opening.rebuild(state), state.require_listed(), []
        for name in listed.openable:
            parties = sorted(listed.parties & set(step.segment(name).members))
            total = opening.open_segment(state, rebuilt, name, (self.upload(party, name) for party in parties))
            self.check_sum(name, parties, total)
            body = blake3(ring.to_bytes(total)).hexdigest()
            rows.append(OpenedSegment(name=name, length=step.segment(name).length, parties=len(parties), body=body))
        check(listed.base not in self.bases, f"round {self.number}: a second opened list on the base of round {self.bases.get(listed.base)}")
        self.bases[listed.base] = self.number
        assert state.certificate is not None
        self.chain, _ = extend(self.chain, self.terms, Envelope.load(state.certificate.dump()))
        self.survivors = listed.parties
        opened = Opened(
            study=self.terms.study,
            agreement=self.terms.digest(),
            round=self.number,
            base=state.base,
            certificate=listed.digest(),
            segments=tuple(rows),
        ).sign(GATEWAY_KEY)
        self.happen(("opened", opened.dump(), self.now), NORMAL)

    def check_sum(self, name: str, parties: list[str], total: RingVector) -> None:
        """The sum is that of the listed members' updates of this version, bit for bit."""
        expected = ring.zeros(total.size, self.terms.steps[0].encoding.width)
        for party in parties:
            ring.add_into(expected, contribution(self.terms, party, name, len(self.bases)))
        check(np.array_equal(total, expected), f"round {self.number}, {name}: wanted the sum of {parties} {expected}, got {total}")

    def upload(self, party: str, segment: str) -> RingVector:
        step, offset = self.terms.steps[0], 0
        for name in own_segments(step, self.state.live, party):
            size = step.segment(name).length * step.encoding.width // 8
            if name == segment:
                raw = self.uploads[(self.number, party)][offset : offset + size]
                return ring.from_bytes(raw, step.segment(name).length, step.encoding.width)
            offset += size
        raise AssertionError(segment)

    # the wire

    def deliver(self, party: str, mode: str) -> None:
        """Give a party its next message, or what a fault makes of it."""
        member, box = self.members[party], self.inbox[party]
        kind, raw = box[min(member.read, len(box) - 1)]
        match mode:
            case "corrupt":
                member.handle(kind, corrupted(self.rng, raw), NORMAL) if kind != "open" else None
            case "duplicate":
                member.handle(*box[self.rng.randrange(member.read + 1)], NORMAL)
            case "reorder":
                member.handle(*box[self.rng.randrange(member.read, len(box))], NORMAL)
            case _:
                member.handle(kind, raw, mode)
                member.read += mode == NORMAL

    def post(self, party: str, mode: str) -> None:
        """Give the gateway a party's next message, or what a fault makes of it."""
        outbox = self.members[party].outbox
        index = self.rng.randrange(len(outbox)) if mode == REORDER else 0
        kind, raw, body = outbox[index]
        if mode == CORRUPT:
            self.taken(party, kind, corrupted(self.rng, raw), body, CORRUPT)
        elif self.taken(party, kind, raw, body, mode) and mode in {NORMAL, REORDER}:
            del outbox[index]

    def taken(self, party: str, kind: str, raw: bytes, body: bytes, mode: str) -> bool:
        """Hand a message to the gateway; say whether it answered."""
        try:
            message = load_post(kind, raw)
            number = round_of(message) if mode != CORRUPT else self.number
            if self.gateway is None or self.is_over() or number != self.number:
                return True
            crash = mode if mode in {BEFORE, AFTER} else NORMAL
            if kind == Event.COLLECT and mode != CORRUPT:
                check(self.uploads.setdefault((number, party), body) == body, f"{party}: another body of one round")
            self.happen(("post", party, kind, raw, self.moment()), crash)
        except RemoteProtocolError as error:
            self.counts["refused by the gateway"] += 1
            words = str(error)
            late = f" in {self.state.phase}: wanted" in words or "has an opened list already" in words
            check(late or mode == CORRUPT, f"gateway refused {kind} of {party}: {words}")
        return True

    # one schedule

    def step(self) -> None:
        """Do one thing that the seed chooses."""
        rng, here = self.rng, [party for party in self.ids if party not in self.away]
        mode = NORMAL if rng.random() >= self.fault else rng.choice([BEFORE, AFTER, CORRUPT, DUPLICATE, REORDER])
        unread = [party for party in here if self.members[party].read < len(self.inbox[party])]
        unsent = [party for party in here if self.members[party].outbox]
        sealing = [party for party in here if self.members[party].party.wants_to_seal()]
        draw = rng.random()
        if draw < 0.04:
            self.move_somebody()
        elif draw < 0.08:
            self.now += rng.choice([1, 11, 61])
            if not self.is_over():
                self.happen(("tick", self.moment()), mode if mode in {BEFORE, AFTER} else NORMAL)
        elif draw < 0.10:
            self.counts["restarts"] += 1
            self.members[rng.choice(self.ids)].restart()
            self.restart_gateway()
        elif self.is_over() and not (unread or unsent) or (self.is_over() and rng.random() < 0.1):
            self.open_round()
        elif sealing and rng.random() < 0.3:
            self.count_mode("seal", mode)
            self.members[rng.choice(sealing)].handle("seal", b"", mode if mode in {BEFORE, AFTER} else NORMAL)
        elif unread and (not unsent or rng.random() < 0.5):
            self.count_mode("deliver", mode)
            self.deliver(rng.choice(unread), mode)
        elif unsent:
            self.count_mode("post", mode)
            self.post(rng.choice(unsent), mode)

    def count_mode(self, what: str, mode: str) -> None:
        if mode != NORMAL:
            self.counts[f"{what}: {mode}"] += 1

    def move_somebody(self) -> None:
        party = self.rng.choice(self.ids)
        self.counts["leaves" if party not in self.away else "returns"] += 1
        self.away ^= {party}

    def run(self) -> Counter[str]:
        """Run the schedule and settle; Finding says what did not hold, and how to see it again."""
        try:
            for _ in range(STEPS):
                self.step()
            self.settle()
        except Exception as error:
            raise Finding(f"{error!r}\n  python -m tests.simulation.schedules --seed {self.seed} --parties {self.count}") from error
        return self.counts

    def settle(self) -> None:
        """Faults cease and everybody is back: a round with all members must open, and all must come to the same version."""
        self.away.clear()
        for _ in range(4):
            self.finish()
            if self.gateway is not None and self.state.phase is Phase.CLOSED and self.survivors == frozenset(self.ids):
                break
            self.open_round()
        check(self.survivors == frozenset(self.ids) and self.state.phase is Phase.CLOSED, f"no way on from round {self.number}: {self.state.phase}")
        for party, member in self.members.items():
            check(member.party.chain == self.chain, f"{party}: another chain than the gateway's")
            check(member.party.state is None or member.party.state.phase in ENDED, f"{party}: still in a round")
        check(len({member.party.base for member in self.members.values()}) == 1, "parties hold different versions")

    def finish(self) -> None:
        """Let everything arrive, and time pass, until the round is over."""
        for _ in range(30):
            while self.arrive():
                pass
            if self.is_over():
                return
            self.now += 61
            self.happen(("tick", self.moment()), NORMAL)
        raise Finding(f"round {self.number} is stuck in {self.state.phase}, waiting for {self.state.waits_for()}")

    def arrive(self) -> bool:
        moved = False
        for party, member in self.members.items():
            while member.read < len(self.inbox[party]):
                self.deliver(party, NORMAL)
                moved = True
            if member.party.wants_to_seal():
                member.handle("seal", b"", NORMAL)
            while member.outbox:
                self.post(party, NORMAL)
                moved = True
        return moved


def applied(state: GatewayRound, event: tuple[object, ...]) -> tuple[GatewayRound, tuple[object, ...]]:
    """Return a gateway's round after a recorded event."""
    match event:
        case ("post", str(party), str(kind), bytes(raw), Moment() as at):
            return state.on_post(party, Event(kind), load_post(kind, raw), at)
        case ("tick", Moment() as at):
            return state.on_tick(at)
        case ("opened", bytes(raw), float(now)):
            return state.on_opened(load_envelope(raw.decode(), "opened"), now)
        case _:
            raise AssertionError(event)


def run_one(job: tuple[int, int]) -> Counter[str]:
    """Run the schedule of a seed with so many parties."""
    seed, parties = job
    with remembering():
        return Schedule(seed, parties).run()


def run_many(jobs: list[tuple[int, int]], processes: int, progress: Callable[[int, Counter[str]], None]) -> Counter[str]:
    """Run schedules and return what happened in all of them together."""
    total: Counter[str] = Counter()
    with get_context("spawn").Pool(processes) as pool:
        for done, counts in enumerate(pool.imap_unordered(run_one, jobs, chunksize=20), start=1):
            total += counts
            progress(done, total)
    return total


def main(arguments: list[str] | None = None) -> int:
    """Run schedules from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--parties", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, help="run this schedule alone")
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    if chosen.seed is not None:
        print(dict(run_one((chosen.seed, chosen.parties))))
        return 0

    def progress(done: int, total: Counter[str]) -> None:
        if done % 200 == 0:
            took = time.monotonic() - started
            print(f"{done:6d} schedules, {total[Phase.CLOSED]} rounds opened, {took:.0f} s", file=sys.stderr, flush=True)

    jobs = [(seed, chosen.parties) for seed in range(chosen.first, chosen.first + chosen.schedules)]
    total = run_many(jobs, chosen.processes, progress)
    print(f"{chosen.schedules} schedules of {chosen.parties} parties without a finding, {time.monotonic() - started:.0f} s")
    for name, count in sorted(total.items()):
        print(f"  {name}: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
