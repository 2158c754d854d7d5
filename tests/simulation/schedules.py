"""Generated schedules: a federation of real state machines under faults drawn from a seed.

Messages are dropped, delayed, duplicated, reordered and corrupted; parties leave and return; parties and gateway crash before and after
each persisted write. A crash before it loses the event, which the other side sends again; after it, the state is built anew by replaying
what was recorded, and what was recorded as sent is sent again. The party with index i puts 2^i into every coordinate, so that a sum says
whose updates are in it. What must hold is checked after every step and at the end; then all faults cease, everybody returns, and the
study must go on. Inbox and outbox are durable, and a message is acknowledged after its write; what a fault delivers besides is not.

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
from parley_protocol import opening
from parley_protocol.bound import body_size, load_envelope, own_segments, segment_size
from parley_protocol.certificates import Chain, extend
from parley_protocol.codec import load_post, load_relay, round_of
from parley_protocol.effects import OpenNow, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.messages import Opened, OpenedSegment
from parley_protocol.phases import Event
from parley_protocol.promises import Promise
from parley_protocol.proving import check_sums

from tests.simulation.durable import AFTER, BEFORE, ENDED, NORMAL, FindingError, Item, Member, check, contribution
from tests.simulation.remembered import remembering
from tests.simulator import GATEWAY_KEY, GRAPH_SEED, MEMBERS_KEY, START, make_terms

STEPS = 110  # drawn faults and deliveries of one schedule
CORRUPT, DUPLICATE, REORDER = "corrupt", "duplicate", "reorder"


def corrupted(rng: random.Random, raw: bytes) -> bytes:
    """Return a message with one bit flipped, or cut off."""
    place = rng.randrange(len(raw))
    return raw[:place] if rng.random() < 0.3 else raw[:place] + bytes([raw[place] ^ (1 << rng.randrange(8))]) + raw[place + 1 :]


def is_of_another_round(raw: bytes, number: int) -> bool:
    """Say whether a message asks about another round than this one.

    RELEASE of a later round is an honest answer to a lying gateway: who gave it keeps out of all rounds until then, as it said.
    """
    try:
        return load_relay(Event.RELEASE, raw).round > number
    except RemoteProtocolError:
        return False


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
        self.chain = Chain.start(self.terms.digest(), GRAPH_SEED)
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
        rebuilt, listed, raw = opening.rebuild(state), state.require_listed(), {}
        for name in listed.openable:
            parties = sorted(listed.parties & set(step.segment(name).members))
            total, tags = opening.open_segment(rebuilt, name, (self.upload(party, name) for party in parties))
            self.check_sum(name, parties, total)
            raw[name] = ring.to_bytes(total) + tags
        check_sums(self.terms, listed, raw, MEMBERS_KEY)
        check(listed.base not in self.bases, f"round {self.number}: a second list on the base of round {self.bases.get(listed.base)}")
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
            segments=tuple(
                OpenedSegment(
                    name=name,
                    length=step.segment(name).length,
                    parties=len(listed.parties & set(step.segment(name).members)),
                    body=blake3(sums).hexdigest(),
                )
                for name, sums in raw.items()
            ),
        ).sign(GATEWAY_KEY)
        self.happen(("opened", opened.dump(), self.now, b"".join(raw.values())), NORMAL)

    def check_sum(self, name: str, parties: list[str], total: RingVector) -> None:
        """The sum is that of the listed members' updates of this version, bit for bit."""
        expected = ring.zeros(total.size, self.terms.steps[0].encoding.width)
        for party in parties:
            ring.add_into(expected, contribution(self.terms, party, name, len(self.bases)))
        check(np.array_equal(total, expected), f"round {self.number}, {name}: wanted the sum of {parties} {expected}, got {total}")

    def upload(self, party: str, segment: str) -> opening.Sealed:
        step = self.terms.steps[0]
        names = own_segments(step, self.state.live, party)
        start = body_size(step, names[: names.index(segment)])
        raw = self.uploads[(self.number, party)][start : start + segment_size(step, segment)]
        length, width = step.segment(segment).length, step.encoding.width
        return ring.from_bytes(raw[: length * width // 8], length, width), raw[length * width // 8 :]

    # the wire

    def deliver(self, party: str, mode: str) -> None:
        """Give a party its next message, or what a fault makes of it."""
        member, box = self.members[party], self.inbox[party]
        kind, raw = box[min(member.read, len(box) - 1)]
        match mode:
            case "corrupt":
                wrong = corrupted(self.rng, raw)
                if kind != "open" and not (kind == Event.RELEASE and is_of_another_round(wrong, self.number)):
                    member.handle(kind, wrong, NORMAL)
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
        elif self.is_over() and (not (unread or unsent) or rng.random() < 0.1):
            self.open_round()
        elif sealing and rng.random() < 0.3:
            crash = mode if mode in {BEFORE, AFTER} else NORMAL
            self.count_mode("seal", crash)
            self.members[rng.choice(sealing)].handle("seal", b"", crash)
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
        party = self.rng.choice(sorted(self.away) if len(self.away) > 1 or (self.away and self.rng.random() < 0.6) else self.ids)
        self.counts["leaves" if party not in self.away else "returns"] += 1
        self.away ^= {party}

    def run(self) -> Counter[str]:
        """Run the schedule and settle; FindingError says what did not hold, and how to see it again."""
        try:
            for _ in range(STEPS):
                self.step()
            self.settle()
        except Exception as error:
            raise FindingError(f"{error!r}\n  python -m tests.simulation.schedules --seed {self.seed} --parties {self.count}") from error
        return self.counts

    def settle(self) -> None:
        """Faults cease and everybody is back: a round with all members must open, and all must come to the same version."""
        self.away.clear()
        everyone = frozenset(self.ids)
        self.finish()
        for _ in range(3):
            if self.gateway is None or self.state.phase is not Phase.CLOSED or self.survivors != everyone:
                self.open_round()
                self.finish()
        check(self.survivors == everyone and self.state.phase is Phase.CLOSED, f"no way on: round {self.number} ended {self.state.phase}")
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
        raise FindingError(f"round {self.number} is stuck in {self.state.phase}, waiting for {self.state.waits_for()}")

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
        case ("opened", bytes(raw), float(now), bytes(sums)):
            return state.on_opened(load_envelope(raw.decode(), "opened"), now, sums)
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
        sys.stdout.write(f"{dict(run_one((chosen.seed, chosen.parties)))}\n")
        return 0

    def progress(done: int, total: Counter[str]) -> None:
        if done % 200 == 0:
            took = time.monotonic() - started
            sys.stderr.write(f"{done:6d} schedules, {total[Phase.CLOSED]} rounds opened, {took:.0f} s\n")

    jobs = [(seed, chosen.parties) for seed in range(chosen.first, chosen.first + chosen.schedules)]
    total = run_many(jobs, chosen.processes, progress)
    lines = [f"{chosen.schedules} schedules of {chosen.parties} parties without a finding, {time.monotonic() - started:.0f} s"]
    sys.stdout.write("\n".join([*lines, *(f"  {name}: {count}" for name, count in sorted(total.items()))]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
