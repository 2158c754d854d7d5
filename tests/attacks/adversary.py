"""The adversary's workplace: parties as real state machines, and whoever plays the gateway holds every statement that they sent.

A `Stage` drives honest parties up to a phase and keeps what a gateway sees: envelopes, boxes, bodies. From there an attack makes messages
of its own and shows them to parties, one by one. Members that an attack calls colluders lend their identity keys and their states.
`Stage.show` also checks what every refusal owes: nothing sent, nothing changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from parley_crypto import ring, sharing
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedOpening, MaskedSealing
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document
from parley_policies.negotiation.terms import StepTerms, Terms
from parley_protocol.bound import own_segments, public_state_digest
from parley_protocol.certificates import NO_LISTS, Chain, Lists, openable
from parley_protocol.codec import RELAYS, load_relay
from parley_protocol.effects import Send
from parley_protocol.errors import ProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import (
    Advertise,
    Boxes,
    Certified,
    Keys,
    ListProposal,
    Manifest,
    Post,
    Reveal,
    RoundAborted,
    SharePost,
    Survivor,
    SurvivorList,
)
from parley_protocol.party_round import PartyRound, PartySpec, check_may_follow

from tests.simulator import START, party_ids, party_key

Message = TypeVar("Message", bound=Document)
Relay = Keys | Boxes | ListProposal | Certified | RoundAborted
KINDS: dict[type[Document], str] = {of: kind for kind, of in RELAYS.items()}
SIX = tuple(party_ids(6))
EVERYONE = frozenset(SIX)
SEGMENTS: dict[str, tuple[int, list[int] | None]] = {"trunk": (8, None), "head:a": (5, [0, 1, 2]), "head:b": (4, [2, 3, 4, 5])}


def content(text: str, of: type[Any]) -> Any:  # noqa: ANN401 - whichever statement the envelope holds
    """Return the statement in an envelope, as an adversary reads it: without checking anything."""
    return of.parse(Envelope.load(text.encode()).payload)


def altered(message: Message, changes: Mapping[str, object]) -> Message:
    """Return a message with other values in some fields."""
    return type(message).model_validate({name: getattr(message, name) for name in type(message).model_fields} | dict(changes))


def snapshot(state: PartyRound) -> tuple[object, ...]:
    """Return all that an event may change in a party's round, as plain values."""
    return (
        state.phase,
        sorted((party, advert.digest()) for party, advert in state.adverts.items()),
        state.live,
        state.boxes_from,
        sorted((owner, sorted(shares.items())) for owner, shares in state.held.items()),
        None if state.manifest is None else state.manifest.dump(),
        state.confirmed,
        state.revealed,
        state.seed,
    )


def answer(state: PartyRound, kind: str, raw: bytes) -> tuple[PartyRound, Iterable[object]]:
    """Let a party take the bytes of a gateway's message."""
    key = party_key(state.spec.me)
    match load_relay(kind, raw):
        case Keys() as keys:
            return state.on_keys(keys, key)
        case Boxes() as boxes:
            return state.on_boxes(boxes)
        case ListProposal() as proposal:
            return state.on_list(proposal, key)
        case Certified() as certified:
            return state.on_certified(certified, key)
        case RoundAborted() as aborted:
            return state.on_aborted(aborted)
        case _:
            raise AssertionError(kind)


@dataclass
class Stage:
    """One round of parties, without a gateway. `plain` is the truth that nobody but its party may learn."""

    terms: Terms
    number: int = 1
    chain: Chain | None = None
    parameters: str = START
    version: int = 0
    absent: frozenset[str] = frozenset()
    counted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    own_floors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    earlier: Mapping[str, Lists] = field(default_factory=dict)
    before: Mapping[str, PartyRound] = field(default_factory=dict)
    seeds: str = "seed"
    states: dict[str, PartyRound] = field(default_factory=dict)
    adverts: dict[str, str] = field(default_factory=dict)
    posts: dict[str, SharePost] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    signatures: dict[str, Envelope] = field(default_factory=dict)
    reveals: dict[str, Reveal] = field(default_factory=dict)
    plain: dict[tuple[str, str], RingVector] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for member in self.terms.members:
            if member.party not in self.absent:
                self._enter(member.party)

    # what the parties know

    @property
    def history(self) -> Chain:
        return Chain.start(self.terms.digest()) if self.chain is None else self.chain

    @property
    def base(self) -> str:
        return public_state_digest(self.terms.digest(), self.version, self.history.head, self.parameters)

    @property
    def step(self) -> StepTerms:
        return self.terms.steps[0]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.states))

    def spec(self, me: str) -> PartySpec:
        everyone = frozenset(member.party for member in self.terms.members)
        return PartySpec(
            self.terms,
            me,
            self.number,
            0,
            self.base,
            self.parameters,
            self.history,
            self.counted.get(me, everyone),
            self.own_floors.get(me, {}),
            self.earlier.get(me, NO_LISTS),
        )

    def vector(self, party: str, segment: str) -> RingVector:
        """Return a party's encoded vector: the same again from the same parameters, as repeated training would give."""
        encoding, length = self.step.encoding, self.step.segment(segment).length
        raw = hashlib.sha256(f"{party}/{segment}/{self.parameters}".encode()).digest()
        largest = int(encoding.bound * (1 << encoding.fraction_bits))
        values = np.random.default_rng(list(raw)).integers(-largest, largest + 1, size=length)
        self.plain[(party, segment)] = values.astype(np.int64).astype(ring.dtype_of(encoding.width))
        return self.plain[(party, segment)].copy()

    def _enter(self, party: str) -> None:
        spec = self.spec(party)
        if party in self.before:
            check_may_follow(self.before[party], spec)
        seed = hashlib.sha256(f"{party}/{self.number}/{self.seeds}".encode()).digest()
        self.states[party], effects = PartyRound(spec, seed).advertise(party_key(party))
        self._keep(party, effects)

    # showing messages

    def show(self, party: str, message: Relay) -> list[Send]:
        """Show a message to a party, over the wire's bytes; a refusal must leave it as it was, and is raised again."""
        state = self.states[party]
        before = snapshot(state)
        try:
            self.states[party], effects = answer(state, KINDS[type(message)], message.canonical())
        except ProtocolError:
            assert snapshot(state) == before
            assert self.states[party] is state
            raise
        return self._keep(party, effects)

    def seal(self, party: str, vectors: Mapping[str, RingVector] | None = None) -> None:
        """Let a party that has its boxes seal and upload."""
        state = self.states[party]
        names = own_segments(self.step, state.live, party)
        mine = {name: self.vector(party, name) for name in names} if vectors is None else dict(vectors)
        self.states[party], body, effects = state.seal(mine, party_key(party))
        self._keep(party, effects)
        self.bodies[party] = body

    def _keep(self, party: str, effects: Iterable[object]) -> list[Send]:
        sends = [effect for effect in effects if isinstance(effect, Send)]
        for send in sends:
            match send.kind, send.body:
                case "advertise", Post(statement=text):
                    self.adverts[party] = text
                case "share", SharePost() as post:
                    self.posts[party] = post
                case "collect", Post(statement=text):
                    self.manifests[party] = text
                case "confirm", Post(statement=text):
                    self.signatures[party] = Envelope.load(text.encode())
                case "reveal", Post(statement=text):
                    self.reveals[party] = content(text, Reveal)
                case _:
                    raise AssertionError(send)
        return sends

    # honest progress, up to a phase

    def to(self, phase: Phase, *, silent: Iterable[str] = ()) -> Stage:
        """Bring the round to `phase` as an honest gateway would; `silent` members do not answer from here on."""
        steps = {Phase.SHARE: self._share, Phase.COLLECT: self._collect, Phase.CONFIRM: self._seal, Phase.REVEAL: self._confirm}
        there = [party for party in self.ids if party not in set(silent)]
        order = list(Phase)
        for wanted, action in steps.items():
            if order.index(wanted) <= order.index(phase):
                reached = {state.phase for party, state in self.states.items() if party in there}
                if all(order.index(current) < order.index(wanted) for current in reached):
                    action(there)
        return self

    def _share(self, there: list[str]) -> None:
        keys = self.keys(there)
        for party in there:
            self.show(party, keys)

    def _collect(self, there: list[str]) -> None:
        for party in there:
            self.show(party, self.boxes(party, there))

    def _seal(self, there: list[str]) -> None:
        for party in there:
            self.seal(party)

    def _confirm(self, there: list[str]) -> None:
        proposal = self.proposal(self.listed())
        for party in there:
            self.show(party, proposal)

    # a list of the adversary's

    def confirm(self, listed: SurvivorList, parties: Iterable[str], manifests: Iterable[str] | None = None) -> None:
        """Have parties sign a list."""
        proposal = self.proposal(listed, manifests)
        for party in parties:
            self.show(party, proposal)

    def reveal(self, listed: SurvivorList, parties: Iterable[str], signers: Iterable[str] | None = None) -> dict[str, Reveal]:
        """Have parties reveal under a certificate by `signers` (the parties themselves, if not said); return what they gave."""
        chosen = list(parties)
        certified = self.signed(listed, chosen if signers is None else signers)
        for party in chosen:
            self.show(party, certified)
        return {party: self.reveals[party] for party in chosen}

    # messages, honest unless told otherwise

    def _bound(self) -> dict[str, Any]:
        return {"agreement": self.terms.digest(), "round": self.number}

    def keys(self, members: Iterable[str] | None = None, **swapped: str) -> Keys:
        """Return KEYS of `members`; `swapped` replaces a member's advert (its id with underscores) by another text."""
        texts = {party: self.adverts[party] for party in sorted(self.adverts if members is None else members)}
        texts |= {party.replace("_", "-"): text for party, text in swapped.items()}
        return Keys(**self._bound(), adverts=tuple(texts.values()))

    def boxes(self, to: str, senders: Iterable[str] | None = None) -> Boxes:
        chosen = sorted(self.posts if senders is None else senders)
        return Boxes(
            **self._bound(),
            shares=tuple(self.posts[party].statement for party in chosen),
            boxes={party: self.posts[party].boxes[to] for party in chosen if party != to},
        )

    def listed(self, parties: Iterable[str] | None = None, **changes: object) -> SurvivorList:
        """Return the survivor list of those who uploaded, or of `parties`; `changes` override its fields."""
        chosen = sorted(self.manifests if parties is None else parties)
        some = next(state for state in self.states.values() if state.boxes_from)
        still = openable(self.terms, self.step, self.history, self.parameters, frozenset(chosen))
        fields: dict[str, object] = {
            "study": self.terms.study,
            "agreement": self.terms.digest(),
            "round": self.number,
            "base": self.base,
            "step": 0,
            "parameters": self.parameters,
            "previous": self.history.head,
            "boxes_from": some.boxes_from,
            "survivors": tuple(Survivor(party=party, manifest=content(self.manifests[party], Manifest).digest()) for party in chosen),
            "openable": tuple(name for name in some.live if name in still),
        }
        return SurvivorList.model_validate(fields | changes)

    def proposal(self, listed: SurvivorList, manifests: Iterable[str] | None = None) -> ListProposal:
        texts = tuple(self.manifests[party] for party in sorted(listed.parties)) if manifests is None else tuple(manifests)
        return ListProposal(**self._bound(), payload=listed.canonical().decode(), manifests=texts)

    def signed(self, listed: SurvivorList, signers: Iterable[str]) -> Certified:
        """Return a certificate: signatures that parties gave on exactly this list, and those of colluders' keys for the others."""
        certificate = Envelope(SurvivorList.kind, listed.canonical(), ())
        for party in signers:
            given = self.signatures.get(party)
            fresh = given is None or given.payload != listed.canonical()
            certificate = certificate.joined(listed.sign(party_key(party)) if fresh or given is None else given)
        return Certified(**self._bound(), certificate=certificate.dump().decode())

    def aborted(self) -> RoundAborted:
        return RoundAborted(**self._bound(), reason="the operator says so")

    def advert(self, party: str, signer: str | None = None, **changes: object) -> str:
        """Return a party's ADVERTISE with some fields changed, signed by its own key or another's."""
        original = content(self.adverts[party], Advertise).model_dump()
        return Advertise.model_validate(original | changes).sign(party_key(signer or party)).dump().decode()

    # what the adversary computes from what it holds

    def upload(self, party: str, segment: str) -> RingVector:
        offset = 0
        for name in content(self.manifests[party], Manifest).segments:
            size = self.step.segment(name).length * self.step.encoding.width // 8
            if name == segment:
                return ring.from_bytes(self.bodies[party][offset : offset + size], self.step.segment(name).length, self.step.encoding.width)
            offset += size
        raise AssertionError(f"{party} uploaded no {segment}")

    def combined(self, shares: Mapping[str, str]) -> bytes:
        """Return a secret from shares by revealer."""
        ranked = {self.terms.rank(party): bytes.fromhex(share) for party, share in shares.items()}
        return sharing.combine(ranked, threshold=self.terms.threshold)

    def sum_of(self, survivors: Iterable[str], segment: str, reveals: Mapping[str, Reveal]) -> RingVector:
        """Return the sum that reveals on one list open, computed from uploads and shares alone."""
        parties = [party for party in sorted(survivors) if party in self.step.segment(segment).members]
        context = Context(self.terms.digest(), self.number, self.base, segment)
        opening = MaskedOpening(context, self.step.segment(segment).length, self.step.encoding.width)
        keys = {party: bytes.fromhex(content(text, Advertise).mask_key) for party, text in self.adverts.items()}
        for party in parties:
            opening.combine(self.upload(party, segment))
            opening.remove_self(party, self.combined({who: reveal.seeds[segment][party] for who, reveal in reveals.items()}))
        dropouts = {owner for reveal in reveals.values() for owner in reveal.mask_keys}
        for dropout in sorted(dropouts & set(self.step.segment(segment).members)):
            secret = self.combined({who: reveal.mask_keys[dropout] for who, reveal in reveals.items()})
            opening.remove_dropout(dropout, AgreementKey(secret), {party: keys[party] for party in parties})
        return opening.open()

    def unmasked(self, victim: str, segment: str, self_seed: bytes, mask_secret: bytes, peers: Iterable[str]) -> RingVector:
        """Return one victim's clear vector from both of its secrets: what holding both shares of one party gives away."""
        context = Context(self.terms.digest(), self.number, self.base, segment)
        theirs = {
            peer: bytes.fromhex(content(self.adverts[peer], Advertise).mask_key)
            for peer in peers
            if peer != victim and peer in self.step.segment(segment).members
        }
        mask = ring.zeros(self.step.segment(segment).length, self.step.encoding.width)
        sealing = MaskedSealing.prepare(context, me=victim, self_seed=self_seed, mask_key=AgreementKey(mask_secret), peers=theirs)
        sealing.seal(mask)
        return self.upload(victim, segment) - mask

    def truth(self, survivors: Iterable[str], segment: str) -> RingVector:
        """Return the plain sum of some members' vectors."""
        total = ring.zeros(self.step.segment(segment).length, self.step.encoding.width)
        for party in sorted(survivors):
            if party in self.step.segment(segment).members:
                ring.add_into(total, self.plain[(party, segment)])
        return total
