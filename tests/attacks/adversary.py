"""The adversary's workplace: parties as real state machines, and whoever plays the gateway holds every statement that they sent.

A `Stage` drives honest parties up to a phase and keeps what a gateway sees: statements, signatures, boxes, bodies. From there an attack
makes messages of its own and shows them to parties, one by one: `keys`, `boxes`, `proposal`, `signed` and `released` build relays honestly
from what the stage holds, so that an attack only puts another statement in the place of one. Members that an attack calls colluders lend
their identity keys and their states. `Stage.show` also checks what every refusal owes: nothing sent, nothing changed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from parley_crypto import ring, sharing
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedOpening, MaskedSealing
from parley_crypto.merkle import Tree
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope, Signature
from parley_policies.negotiation.terms import StepTerms, Terms
from parley_protocol.bound import body_size, key_set_digest, own_segments, public_state_digest, segment_size, statement_digest
from parley_protocol.certificates import NO_LISTS, Chain, Lists, cohort_of, openable
from parley_protocol.codec import AnyPost
from parley_protocol.columns import pack, unpack
from parley_protocol.commitments import HASH_BYTES, share_tree
from parley_protocol.effects import Send
from parley_protocol.errors import ProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Reveal, Share, Survivor, SurvivorList
from parley_protocol.opening import Sealed
from parley_protocol.party_round import PartyRound
from parley_protocol.party_spec import PartySpec
from parley_protocol.phases import Event
from parley_protocol.promises import check_may_enter
from parley_protocol.relays import (
    Boxes,
    Certified,
    ConfirmPost,
    Keys,
    ListProposal,
    Post,
    ReleaseAsked,
    Released,
    ReleasePost,
    RoundAborted,
    SharePost,
)
from parley_protocol.release import release_of

from tests.attacks.observed import KINDS, Given, Relay, answer, content, given_by, signature_on, snapshot
from tests.simulator import MEMBERS_KEY, START, party_ids, party_key

SIX = tuple(party_ids(6))
EVERYONE = frozenset(SIX)
SEGMENTS: dict[str, tuple[int, list[int] | None]] = {"trunk": (8, None), "head:a": (5, [0, 1, 2]), "head:b": (4, [2, 3, 4, 5])}


def _column(text: str) -> tuple[bytes, ...]:
    return unpack(text, HASH_BYTES, len(base64.b64decode(text)) // HASH_BYTES, "hashes")


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
    dealt: dict[str, tuple[str, ...]] = field(default_factory=dict)  # to whom
    manifests: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    signatures: dict[str, Envelope] = field(default_factory=dict)
    reveals: dict[str, Given] = field(default_factory=dict)
    releases: dict[str, bytes] = field(default_factory=dict)
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
            MEMBERS_KEY,
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
            before = self.before[party].promise
            leaves = not (before.out or before.signed or before.opened)  # nothing of its own is out: it destroys what it holds, and goes
            check_may_enter(self.number, [before.given_up() if leaves else before], None)
        seed = hashlib.sha256(f"{party}/{self.number}/{self.seeds}".encode()).digest()
        self.states[party], effects = PartyRound.enter(spec, seed).advertise(party_key(party))
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
                    self.posts[party], self.dealt[party] = post, self.states[party].parties
                case "collect", Post(statement=text):
                    self.manifests[party] = text
                case "confirm", ConfirmPost() as post:
                    self.signatures[party] = self._signature(party, post)
                case "reveal", Post(statement=text):
                    self.reveals[party] = given_by(self.states[party], content(text, Reveal))
                case "release", ReleasePost() as post:
                    (self.releases[party],) = unpack(post.signature, 64, 1, "release")
                case _:
                    raise AssertionError(send)
        return sends

    def _signature(self, party: str, post: ConfirmPost) -> Envelope:
        """Return a party's signature beside the list that it wrote down itself."""
        listed = self.states[party].listed
        assert listed is not None
        assert listed.digest() == post.listed
        (raw,) = unpack(post.signature, 64, 1, "signature")
        return Envelope(SurvivorList.kind, listed.canonical(), (Signature(party_key(party).public.fingerprint, raw),))

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
        """Show parties a list to sign. What of it does not travel they write down themselves."""
        proposal = self.proposal(listed, manifests)
        for party in parties:
            self.show(party, proposal)

    def reveal(self, listed: SurvivorList, parties: Iterable[str], signers: Iterable[str] | None = None) -> dict[str, Given]:
        """Have parties reveal under a certificate by `signers` (the parties themselves, if not said); return what they gave."""
        chosen = list(parties)
        certified = self.signed(listed, chosen if signers is None else signers)
        for party in chosen:
            self.show(party, certified)
        return {party: self.reveals[party] for party in chosen}

    # what a member posted, again

    def post(self, party: str, event: Event) -> AnyPost:
        """Return what a member posted in a phase of the round."""
        posts: dict[Event, Callable[[], AnyPost]] = {
            Event.ADVERTISE: lambda: Post(statement=self.adverts[party]),
            Event.SHARE: lambda: self.posts[party],
            Event.COLLECT: lambda: Post(statement=self.manifests[party]),
            Event.CONFIRM: lambda: self.confirmation(party, self.signatures[party]),
            Event.REVEAL: lambda: Post(statement=self.reveals[party].statement.sign(party_key(party)).dump().decode()),
            Event.RELEASE: lambda: ReleasePost(**self._bound(), signature=pack([self.releases[party]])),
        }
        return posts[event]()

    def confirmation(self, party: str, signed: Envelope) -> ConfirmPost:
        """Return CONFIRM with a member's signature on a list."""
        rows = {row.keyid: row.sig for row in signed.signatures}
        return ConfirmPost(**self._bound(), listed=signed.payload_digest, signature=pack([rows[party_key(party).public.fingerprint]]))

    # messages, honest unless told otherwise

    def _bound(self) -> dict[str, Any]:
        return {"agreement": self.terms.digest(), "round": self.number}

    def keys(self, members: Iterable[str] | None = None, **swapped: str) -> Keys:
        """Return KEYS of `members`; `swapped` replaces a member's advert (its id with underscores) by another text."""
        texts = {party: self.adverts[party] for party in sorted(self.adverts if members is None else members)}
        texts |= {party.replace("_", "-"): text for party, text in swapped.items()}
        rows = [(content(text, Advertise), signature_on(text)) for text in texts.values()]
        return Keys(
            **self._bound(),
            parties=tuple(texts),
            channel_keys=pack(bytes.fromhex(advert.channel_key) for advert, _ in rows),
            mask_keys=pack(bytes.fromhex(advert.mask_key) for advert, _ in rows),
            signatures=pack(signature for _, signature in rows),
            others="",
        )

    def key_set(self, **swapped: str) -> str:
        """Return the digest of all adverts, with some replaced."""
        texts = self.adverts | {party.replace("_", "-"): text for party, text in swapped.items()}
        return key_set_digest({party: statement_digest(Envelope.load(text.encode()).payload) for party, text in texts.items()})

    def recipients(self, owner: str) -> tuple[str, ...]:
        """Return to whom a member dealt shares, itself included."""
        known = (self.dealt.get(owner, ()), *(state.parties for state in self.states.values()))
        return next(parties for parties in known if parties)

    def tree(self, owner: str) -> Tree:
        """Return the Merkle tree over what a member says that it dealt."""
        post = self.posts[owner]
        seeds = _column(post.seeds)
        hashes, secrets = _column(post.hashes), len(seeds) + 1
        return share_tree([hashes[start : start + secrets] for start in range(0, len(hashes), secrets)], seeds)

    def box(self, owner: str, to: str) -> str:
        """Return a member's box to another; empty if there is none."""
        peers = [party for party in self.recipients(owner) if party != owner]
        return self.posts[owner].boxes[peers.index(to)] if to in peers else ""

    def path(self, owner: str, to: str) -> str:
        """Return the path from what a member dealt to another up to the root."""
        recipients = self.recipients(owner)
        return pack(self.tree(owner).inclusion_proof(recipients.index(to))) if to in recipients else ""

    def boxes(self, to: str, senders: Iterable[str] | None = None) -> Boxes:
        """Return BOXES of `senders` for one of them."""
        chosen = sorted(self.posts if senders is None else senders)
        owners = [party for party in chosen if party != to]
        return Boxes(
            **self._bound(),
            parties=tuple(chosen),
            roots=pack(bytes.fromhex(content(self.posts[owner].statement, Share).root) for owner in owners),
            signatures=pack(signature_on(self.posts[owner].statement) for owner in owners),
            boxes=tuple(self.box(owner, to) for owner in owners),
            paths=tuple(self.path(owner, to) for owner in owners),
        )

    def listed(self, parties: Iterable[str] | None = None, **changes: object) -> SurvivorList:
        """Return the survivor list of those who uploaded, or of `parties`; `changes` override its fields."""
        chosen = sorted(self.manifests if parties is None else parties)
        some = next(state for state in self.states.values() if state.boxes_from)
        still = openable(
            cohort_of(self.terms, self.history, step=0, round_number=self.number), self.history, self.parameters, frozenset(chosen)
        )
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
        """Return LIST: of a list what travels, with the manifests of its members or others."""
        survivors = tuple(survivor.party for survivor in listed.survivors)
        texts = [self.manifests[party] for party in survivors] if manifests is None else list(manifests)
        return ListProposal(
            **self._bound(),
            survivors=survivors,
            openable=listed.openable,
            bodies=pack(bytes.fromhex(content(text, Manifest).body) for text in texts),
            signatures=pack(signature_on(text) for text in texts),
        )

    def certificate(self, listed: SurvivorList, signers: Iterable[str]) -> Envelope:
        """Return a certificate: signatures that parties gave on exactly this list, and those of colluders' keys for the others."""
        envelope = Envelope(SurvivorList.kind, listed.canonical(), ())
        for party in signers:
            given = self.signatures.get(party)
            fresh = given is None or given.payload != listed.canonical()
            envelope = envelope.joined(listed.sign(party_key(party)) if fresh or given is None else given)
        return envelope

    def signed(self, listed: SurvivorList, signers: Iterable[str]) -> Certified:
        """Return CERTIFIED: the signatures of `certificate`, without the list that its readers have."""
        chosen = tuple(signers)
        rows = {row.keyid: row.sig for row in self.certificate(listed, chosen).signatures}
        return Certified(**self._bound(), signers=chosen, signatures=pack(rows[party_key(party).public.fingerprint] for party in chosen))

    def asked(self) -> ReleaseAsked:
        """Return RELEASE, as the gateway asks for it."""
        return ReleaseAsked(**self._bound(), reason="it cannot be finished")

    def release(self, parties: Iterable[str]) -> None:
        """Have parties destroy their shares."""
        for party in parties:
            self.show(party, self.asked())

    def lends(self, *parties: str) -> None:
        """Take RELEASE of members that are not in the round, or of colluders, which keep their shares."""
        for party in parties:
            self.releases[party] = release_of(self.terms, self.number, party).sign(party_key(party)).signatures[0].sig

    def released(self, parties: Iterable[str] | None = None) -> Released:
        """Return RELEASED with the statements of some members."""
        chosen = tuple(sorted(self.releases) if parties is None else parties)
        return Released(**self._bound(), parties=chosen, signatures=pack(self.releases[party] for party in chosen))

    def aborted(self) -> RoundAborted:
        return RoundAborted(**self._bound(), reason="the operator says so")

    def advert(self, party: str, signer: str | None = None, **changes: object) -> str:
        """Return a party's ADVERTISE with some fields changed, signed by its own key or another's."""
        original = content(self.adverts[party], Advertise).model_dump()
        return Advertise.model_validate(original | changes).sign(party_key(signer or party)).dump().decode()

    # what the adversary computes from what it holds

    def upload(self, party: str, segment: str) -> RingVector:
        """Return the sealed vector of one segment of a party's body."""
        return self.sealed(party, segment)[0]

    def sealed(self, party: str, segment: str) -> Sealed:
        """Return one segment of a party's body: the sealed vector, and its sealed tags."""
        names, length, width = (
            content(self.manifests[party], Manifest).segments,
            self.step.segment(segment).length,
            self.step.encoding.width,
        )
        start = body_size(self.step, names[: names.index(segment)])
        raw = self.bodies[party][start : start + segment_size(self.step, segment)]
        return ring.from_bytes(raw[: length * width // 8], length, width), raw[length * width // 8 :]

    def combined(self, shares: Mapping[str, bytes]) -> bytes:
        """Return a secret from shares by revealer."""
        ranked = {self.terms.rank(party): share for party, share in shares.items()}
        return sharing.combine(ranked, threshold=self.terms.threshold)

    def sum_of(self, survivors: Iterable[str], segment: str, reveals: Mapping[str, Given]) -> RingVector:
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
