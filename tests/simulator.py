"""N parties and a gateway in memory: real cryptography and state machines, a fake clock and a fake wire.

The wire carries encoded bytes, as the services' does. Faults are given by the caller: who drops out in which phase of a round, and hooks
that see and may alter each message. Nothing of our own logic is faked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from blake3 import blake3
from parley_crypto import ring
from parley_crypto.keys import SigningKey
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import (
    EncodingTerms,
    GatewayTerms,
    GraphTerms,
    MemberTerms,
    SegmentTerms,
    StepTerms,
    Terms,
    TimingTerms,
    required_threshold,
)
from parley_protocol import opening
from parley_protocol.bound import body_size, load_envelope, own_segments, public_state_digest, segment_size
from parley_protocol.certificates import Chain, extend, verify_opened
from parley_protocol.codec import WITHDRAWN, load_post, load_relay, round_of
from parley_protocol.cohort import Cohort
from parley_protocol.effects import OpenNow, SealNow, Send
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.messages import Opened, OpenedSegment, SurvivorList
from parley_protocol.party_round import PartyRound
from parley_protocol.party_spec import PartySpec
from parley_protocol.phases import Event
from parley_protocol.promises import Promise, check_may_enter
from parley_protocol.proving import check_sums
from parley_protocol.relays import Post, ReleaseAsked, RoundRelay, SumOpened
from parley_protocol.release import release_post
from parley_protocol.unmasking import Unmasking, unmasking_of

from tests.member_secrets import secrets_of

GATEWAY_KEY = SigningKey(hashlib.sha256(b"gateway").digest())
START = hashlib.sha256(b"parameters").hexdigest()
MEMBERS_KEY = hashlib.sha256(b"members' key").digest()
GRAPH_SEED = hashlib.sha256(b"graph seed").digest()


def party_key(party: str) -> SigningKey:
    """Return the identity key of a simulated party."""
    return SigningKey(hashlib.sha256(party.encode()).digest())


def party_ids(count: int) -> list[str]:
    """Return `count` party ids in id order."""
    return [f"party-{index:03d}" for index in range(count)]


def make_terms(
    parties: int,
    *,
    colluders: int = 1,
    segments: Mapping[str, tuple[int, list[int] | None]] | None = None,
    floor: int = 3,
    width: int = 32,
    small_changes: int = 1_000,
    rounds: int = 100,
    graph: GraphTerms | None = None,
) -> Terms:
    """Return terms for `parties` members; `segments` maps a name to (length, member indices or None for all)."""
    ids = party_ids(parties)
    shape = segments or {"trunk": (8, None)}
    rows = tuple(
        SegmentTerms(name=name, length=length, members=tuple(ids if who is None else [ids[i] for i in who]), floor=floor)
        for name, (length, who) in shape.items()
    )
    encoding = EncodingTerms(width=width, fraction_bits=4 if width == 16 else 16, bound=8.0)
    return Terms(
        study="study",
        proposal_digest="0" * 64,
        purpose=("dpv:ScientificResearch",),
        taxonomy="2027-01-01+0123456789abcdef",
        gateway=GatewayTerms(id="gw", key=GATEWAY_KEY.public.hex, operator="Operator", countries=("DE",)),
        members=tuple(
            MemberTerms(
                party=party,
                legal_name=party,
                party_class="hospital",
                country="DE",
                identity=party_key(party).public.hex,
                objectives=(),
                records="hidden",
                weight=1,
                channel_key=secrets_of(party).channel_key,
                commitment=secrets_of(party).commitment("0" * 64, party),
            )
            for party in ids
        ),
        scheme="masked",
        gateway_may_lie=True,
        max_colluders=colluders,
        threshold=required_threshold(parties, colluders, gateway_may_lie=True),
        graph=graph,
        max_small_changes=small_changes,
        clip_bound=8.0,
        robustness="R0",
        opened_sums_readable_by="gateway",
        exclusions_required=False,
        steps=(StepTerms(workload="train@1", rounds=rounds, segments=rows, encoding=encoding),),
        timing=TimingTerms(grace_seconds=1, phase_seconds=10, round_seconds=60),
        valid_until="2099-01-01",
    )


def first_cohort(terms: Terms) -> Cohort:
    """Return who deals with whom in the first round of the first step."""
    return Cohort(terms, terms.steps[0], 1, GRAPH_SEED)


Tamper = Callable[[str, str, bytes], bytes | None]


@dataclass
class SimParty:
    """One party: its chain, its public state, and at most one round."""

    terms: Terms
    me: str
    chain: Chain
    number: int = 0
    parameters: str = START
    state: PartyRound | None = None
    promises: dict[int, Promise] = field(default_factory=dict)  # of earlier rounds
    body: bytes = b""
    refusals: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        return public_state_digest(self.terms.digest(), self.number, self.chain.head, self.parameters)

    @property
    def key(self) -> SigningKey:
        return party_key(self.me)

    def spec(self, number: int) -> PartySpec:
        counted = frozenset(member.party for member in self.terms.members)
        return PartySpec(self.terms, self.me, number, 0, self.base, self.parameters, self.chain, counted, {}, MEMBERS_KEY)

    def open(self, number: int) -> list[Send]:
        """Enter a round, unless an earlier one may still be opened."""
        if self.state is not None:
            leaves = self.state.phase in {Phase.ADVERTISE, Phase.SHARE}
            self.promises[self.state.spec.round] = self.state.promise.given_up() if leaves else self.state.promise
        try:
            check_may_enter(number, [promise for promise in self.promises.values() if promise.round > self.chain.round], None)
            seed = hashlib.sha256(f"{self.me}/{number}/seed".encode()).digest()
            self.state, effects = PartyRound.enter(self.spec(number), seed).advertise(self.key)
        except LocalProtocolError as error:
            self.refusals.append(str(error))
            return []
        return [effect for effect in effects if isinstance(effect, Send)]

    def take(self, kind: str, raw: bytes, vector: Callable[[str], RingVector]) -> list[Send]:
        """Handle one message of the gateway; a refusal is kept and changes nothing."""
        try:
            message = load_relay(kind, raw)
            if isinstance(message, SumOpened):
                self.close(message)
                return []
            if self.state is None or self.state.spec.round < message.round:
                return self._from_outside(message)
            return self._take(message, vector)
        except RemoteProtocolError as error:
            self.refusals.append(str(error))
            return []

    def _from_outside(self, message: RoundRelay) -> list[Send]:
        """Answer a message of a round that this party is not in: it can only say that it never will be."""
        if not isinstance(message, ReleaseAsked):
            return []
        if message.round <= self.chain.round:  # what it once knew of that round it has forgotten
            raise RemoteProtocolError(f"round {message.round}: it lies behind the chain, there is nothing to release")
        self.promises[message.round] = self.promises.get(message.round, Promise(message.round)).released_by_me()
        return [release_post(self.terms, message.round, self.me, self.key)]

    def _take(self, message: RoundRelay, vector: Callable[[str], RingVector]) -> list[Send]:
        assert self.state is not None
        self.state, effects = self.state.on_relay(message, self.key)
        sends = [effect for effect in effects if isinstance(effect, Send)]
        for effect in effects:
            if isinstance(effect, SealNow):
                self.state, self.body, more = self.state.seal({name: vector(name) for name in effect.segments}, self.key)
                sends += [item for item in more if isinstance(item, Send)]
        return sends

    def close(self, message: SumOpened) -> None:
        """Step: check certificate and statement, and move to the next public state."""
        if message.round <= self.chain.round:
            return
        certificate = self._certificate(message)
        verified = None if self.state is None else self.state.verified(certificate)
        chain, listed = extend(self.chain, self.terms, certificate, verified)
        opened = verify_opened(self.terms, listed, load_envelope(message.opened, "opened"))
        if message.sums:  # small ones come along
            self._prove(listed, _decoded(message.sums))
        if self.state is not None and self.state.spec.round == listed.round:
            self.state, _ = self.state.on_opened()
        self.promises = {number: promise for number, promise in self.promises.items() if number > listed.round}
        self.chain, self.number = chain, self.number + 1
        self.parameters = opened.digest()

    def _prove(self, listed: SurvivorList, raw: bytes) -> None:
        step, parts, start = self.terms.steps[listed.step], {}, 0
        for name in listed.openable:
            parts[name] = raw[start : start + segment_size(step, name)]
            start += len(parts[name])
        check_sums(self.terms, listed, parts, MEMBERS_KEY)

    def _certificate(self, message: SumOpened) -> Envelope:
        if message.certificate:
            return load_envelope(message.certificate, "certificate")
        if self.state is None or self.state.certificate is None or self.state.spec.round != message.round:
            raise RemoteProtocolError(f"round {message.round}: opened without its certificate, which we do not hold")
        return self.state.certificate


@dataclass
class Simulation:
    """The federation: drive rounds, drop parties, tamper with the wire."""

    terms: Terms
    tamper: Tamper | None = None
    now: float = 0.0
    round: int = 0
    parties: dict[str, SimParty] = field(default_factory=dict)
    gateway: GatewayRound | None = None
    chain: Chain | None = None
    bodies: dict[str, bytes] = field(default_factory=dict)
    sums: dict[str, RingVector] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)  # opened sums with their tags, as the gateway hands them out
    unmasking: Unmasking | None = None  # of the newest closed round, as a member may ask for it
    plain: dict[tuple[str, str], RingVector] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    inbox: list[tuple[str, str, bytes]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)  # of the chain, after each opened round
    order: list[str] = field(default_factory=list)  # in which parties answer; those not named come first, by id

    def __post_init__(self) -> None:
        self.chain = Chain.start(self.terms.digest(), GRAPH_SEED)
        self.parties = {m.party: SimParty(self.terms, m.party, Chain.start(self.terms.digest(), GRAPH_SEED)) for m in self.terms.members}

    @property
    def state(self) -> GatewayRound:
        assert self.gateway is not None
        return self.gateway

    @property
    def finished(self) -> bool:
        """Say whether the round's sums are open and told to everyone."""
        return self.state.phase is Phase.CLOSED and bool(self.sums)

    def vector(self, party: str, segment: str) -> RingVector:
        """Return a pseudo-random encoded vector of a party for this round, and remember it as the plain truth."""
        step = self.terms.steps[0]
        encoding = step.encoding
        seed = int.from_bytes(hashlib.sha256(f"{party}/{segment}/{self.round}".encode()).digest()[:8], "big")
        largest = int(encoding.bound * (1 << encoding.fraction_bits))
        values = np.random.default_rng(seed).integers(-largest, largest + 1, size=step.segment(segment).length)
        vector = values.astype(np.int64).astype(ring.dtype_of(encoding.width))
        self.plain[(party, segment)] = vector.copy()
        return vector

    def expected_sum(self, segment: str, survivors: frozenset[str]) -> RingVector:
        """Return the plain sum of the survivors' vectors."""
        terms = self.terms.steps[0].segment(segment)
        total = ring.zeros(terms.length, self.terms.steps[0].encoding.width)
        for party in sorted(survivors & set(terms.members)):
            ring.add_into(total, self.plain[(party, segment)])
        return total

    def open_round(self) -> None:
        """Open the next round with the parties that are here."""
        assert self.chain is not None
        waiting, self.inbox = self.inbox, []
        for to, kind, raw in waiting:  # a durable inbox: who was away takes first what it missed
            if to in self.away:
                self.inbox.append((to, kind, raw))
            else:
                self._deliver(to, kind, raw)
        self.round += 1
        self.plain, self.bodies, self.sums, self.raw = {}, {}, {}, {}
        present = frozenset(self.parties) - self.away
        self.gateway = GatewayRound.open(GatewaySpec(self.terms, self.round, 0, self.chain, present, self.now))
        for party in sorted(present, key=self._turn):
            self._post_all(party, self.parties[party].open(self.round))
        self._tick()

    def run(self, drops: Mapping[str, Phase] | None = None) -> Phase:
        """Run one round; `drops` says in which phase a party falls silent, before answering. Return the gateway's phase."""
        planned = dict(drops or {})
        self.drop(planned, Phase.ADVERTISE)
        self.open_round()
        self.pump(planned)
        return self.state.phase

    def drop(self, planned: Mapping[str, Phase], phase: Phase) -> None:
        """Let the parties that were planned to fall silent in `phase` do so."""
        self.away |= {party for party, when in planned.items() if when is phase}

    def pump(self, planned: Mapping[str, Phase] | None = None) -> None:
        """Deliver until nothing moves, letting time pass for the gone."""
        for _ in range(50):
            while self.inbox:
                for phase in Phase:
                    if phase is self.state.phase:
                        self.drop(planned or {}, phase)
                waiting, self.inbox = self.inbox, []
                held = [item for item in waiting if item[0] in self.away]
                for to, kind, raw in sorted(waiting, key=lambda item: self._turn(item[0])):
                    if to not in self.away:
                        self._deliver(to, kind, raw)
                self.inbox = held + self.inbox  # older messages stay before newer ones
                if all(item[0] in self.away for item in self.inbox):
                    break
            before = (self.state.phase, len(self.inbox))
            self.now += 61
            self._tick()
            if (self.state.phase, len(self.inbox)) == before:
                return

    def _turn(self, party: str) -> tuple[int, str]:
        return (self.order.index(party) if party in self.order else -1, party)

    def come_back(self, *parties: str) -> None:
        """Let parties return and answer what they missed."""
        self.away -= set(parties)
        self.pump()

    def _tick(self) -> None:
        self.gateway, effects = self.state.on_tick(Moment(self.now, frozenset(self.away)))
        self._effects(effects)

    def _deliver(self, to: str, kind: str, raw: bytes) -> None:
        shown = self.tamper(to, kind, raw) if self.tamper else raw
        if shown is not None:
            party = self.parties[to]
            self._post_all(to, party.take(kind, shown, lambda segment: self.vector(to, segment)))

    def _post_all(self, party: str, sends: list[Send]) -> None:
        for send in sends:
            if send.kind == Event.COLLECT:
                self.bodies[party] = self.parties[party].body
            self.post(party, send.kind, send.body.canonical())

    def post(self, party: str, kind: str, raw: bytes) -> None:
        """Hand a party's message to the gateway, which may refuse it."""
        if self.state.phase in {Phase.CLOSED, Phase.ABORTED, Phase.RELEASED}:
            return
        at = Moment(self.now, frozenset(self.away))
        post = load_post(kind, raw)
        if kind == WITHDRAWN:
            assert isinstance(post, Post)
            self.gateway, effects = self.state.on_withdrawn(party, post, at)
        else:
            try:
                self.gateway, effects = self.state.on_post(party, Event(kind), post, at)
            except RemoteProtocolError as error:
                of_another_round = round_of(post) != self.round
                late = of_another_round or f" in {self.state.phase}: wanted" in str(error)
                if self.tamper is None and not late:  # late statements are normal; anything else is a finding
                    raise
                return
        self._effects(effects)

    def _effects(self, effects: tuple[object, ...]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    assert effect.to is not None
                    self.inbox.append((effect.to, effect.kind, effect.body.canonical()))
                case OpenNow() if self.state.phase is Phase.REVEAL:
                    self._open()
                case _:
                    pass

    def _open(self) -> None:
        state, step = self.state, self.terms.steps[0]
        assert state.listed is not None
        assert state.certificate is not None
        assert self.chain is not None
        masks = opening.rebuild(state)
        self.unmasking = unmasking_of(state, masks)
        for name in state.listed.openable:
            members = [s.party for s in state.listed.survivors if s.party in step.segment(name).members]
            total, tags = opening.open_segment(masks, name, (self.upload(party, name) for party in members))
            self.raw[name] = ring.to_bytes(total) + tags
        opened = Opened(
            study=self.terms.study,
            agreement=self.terms.digest(),
            round=state.spec.round,
            base=state.base,
            certificate=state.listed.digest(),
            segments=tuple(
                OpenedSegment(
                    name=name,
                    length=step.segment(name).length,
                    parties=len(state.listed.parties & set(step.segment(name).members)),
                    body=blake3(raw).hexdigest(),
                )
                for name, raw in self.raw.items()
            ),
        ).sign(GATEWAY_KEY)
        self.chain, _ = extend(self.chain, self.terms, Envelope.load(state.certificate.dump()))
        self.heads.append(self.chain.head)
        self.sums = check_sums(self.terms, state.listed, self.raw, MEMBERS_KEY)
        inline = b"".join(self.raw[name] for name in state.listed.openable)
        self.gateway, effects = state.on_opened(opened, self.now, inline)
        self._effects(effects)

    def upload(self, party: str, segment: str) -> opening.Sealed:
        """Return one segment of a party's uploaded body."""
        step = self.terms.steps[0]
        names = own_segments(step, self.state.live, party)
        start = body_size(step, names[: names.index(segment)])
        raw, length, width = (
            self.bodies[party][start : start + segment_size(step, segment)],
            step.segment(segment).length,
            step.encoding.width,
        )
        return ring.from_bytes(raw[: length * width // 8], length, width), raw[length * width // 8 :]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RemoteProtocolError(f"opened sums: wanted base64, got {text[:40]!r}") from error
