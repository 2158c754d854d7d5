# ruff: noqa: ANN401 - JSON, and claims of any type
"""Small parties that speak the protocol with a gateway: real cryptography, real HTTP.

A party here has no policy, no data and no store: it offers what it is told to, and its vector is a function of its name and the round, so
that the plain sum is known. What it checks, it checks with the same code as a real party: certificates, proofs, opened sums.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Self

import aiohttp
import numpy as np
import yarl
from blake3 import blake3
from parley_crypto import ring
from parley_crypto.checkpoint import Checkpoint, check_follows, parse_and_verify
from parley_crypto.keys import SigningKey
from parley_crypto.merkle import leaf_hash, verify_inclusion
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_crypto.statement import Statement
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.offer import Offer, OfferedSegment
from parley_policies.negotiation.proposal import (
    ClipWish,
    Proposal,
)
from parley_policies.negotiation.terms import GatewayTerms, Terms
from parley_protocol import proving
from parley_protocol.bound import public_state_digest, segment_size
from parley_protocol.certificates import Chain, extend, verify_opened
from parley_protocol.codec import RELAYS, load_relay
from parley_protocol.effects import SealNow, Send
from parley_protocol.members_key import StudyKeys, take_key_parts
from parley_protocol.negotiation import Changed, Finalized, StudyRequest, Terminated, TermsProposed, load_move
from parley_protocol.party_round import PartyRound
from parley_protocol.party_spec import PartySpec
from parley_protocol.problems import Problem
from parley_protocol.records import Enrolment, StudyChange, StudyEvent, invite_proof
from parley_protocol.relays import LogProof, ReleaseAsked, Released, RoundAborted, RoundOpen, SumOpened
from parley_protocol.release import release_post
from parley_service.auth import Audience, body_digest, make_token

from tests.member_secrets import accept_post, secrets_of

GATEWAY_KEY = SigningKey(hashlib.sha256(b"gateway").digest())
URL = "http://127.0.0.1:8443"
START = hashlib.sha256(b"parameters").hexdigest()

GATEWAY_TERMS = GatewayTerms(
    id="gw.example",
    key=GATEWAY_KEY.public.hex,
    operator="Operator e. V.",
    countries=("DE",),
    incident_notice_hours=24,
    change_notice_days=30,
)


class RefusedError(Exception):
    """The gateway answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.slug}: {problem.detail}, wanted {problem.wanted}, got {problem.got}")
        self.problem = problem


@dataclass
class Party:
    """One party: its keys, its connection, its studies."""

    name: str
    port: int
    born: int = field(default_factory=lambda: int(time.time()), kw_only=True)  # an enrolment sent again is the same bytes
    objective: str = "a"
    session: aiohttp.ClientSession | None = None
    instance: str = ""
    cursor: int = 0
    log: Checkpoint | None = None
    studies: dict[str, StudyRun] = field(default_factory=dict)
    keys: dict[str, StudyKeys] = field(default_factory=dict)
    moves: list[tuple[str, str]] = field(default_factory=list)  # study, kind of message
    reasons: dict[str, str] = field(default_factory=dict)  # study -> why it ended
    errors: list[str] = field(default_factory=list)
    before: Callable[[str, str], Awaitable[None]] | None = None  # called with study and kind before a relay is taken
    clock: Callable[[], float] = time.time
    patient: bool = False  # tries again while the gateway is away
    floor: int = 3
    rounds: int = 41
    small_changes: int = 1_000
    apart: tuple[str, ...] = ()

    @property
    def identity(self) -> SigningKey:
        return SigningKey(hashlib.sha256(f"{self.name}/identity".encode()).digest())

    @property
    def authentication(self) -> SigningKey:
        return SigningKey(hashlib.sha256(f"{self.name}/authentication".encode()).digest())

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.session is not None
        await self.session.close()

    # requests

    async def request(self, method: str, target: str, body: bytes = b"", **claims: Any) -> Any:
        raw = await self.raw(method, target, body, **claims)
        return json.loads(raw)

    async def raw(self, method: str, target: str, body: bytes = b"", **claims: Any) -> bytes:
        while True:
            try:
                if not self.instance:
                    await self.greet()
                return await self._once(method, target, body, **claims)
            except RefusedError as error:
                if error.problem.instance is None or "instance" in claims:
                    raise
                self.instance = error.problem.instance
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                if not self.patient:
                    raise
                await asyncio.sleep(0.05)

    def token(self, method: str, target: str, body: bytes, **claims: Any) -> str:
        given: dict[str, Any] = {
            "party": self.name,
            "audience": Audience(URL, GATEWAY_KEY.public.fingerprint),
            "instance": self.instance,
            "now": self.clock(),
        }
        return make_token(claims.pop("key", self.authentication), method=method, target=target, body=body, **(given | claims))

    async def _once(self, method: str, target: str, body: bytes, **claims: Any) -> bytes:
        headers = {"Authorization": "Bearer " + self.token(method, target, body, **claims)}
        return await self.send(method, target, body, headers)

    async def send(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        assert self.session is not None
        url = yarl.URL(f"http://127.0.0.1:{self.port}{target}", encoded=True)
        async with self.session.request(method, url, data=io.BytesIO(body) if body else None, headers=headers) as response:
            raw = await response.read()
            if response.status >= 400:
                assert response.content_type == "application/problem+json", raw
                raise RefusedError(Problem.load(raw))
            return raw

    async def greet(self) -> dict[str, Any]:
        greeting: dict[str, Any] = json.loads(await self.send("GET", "/v1/gateway", b"", {}))
        self.instance = greeting["instance"]
        return greeting

    async def post(self, kind: str, study: str, body: Mapping[str, Any]) -> str:
        raw = json.dumps({"kind": kind, "study": study, "body": body}).encode()
        return str((await self.request("POST", "/v1/messages", raw))["id"])

    async def sign(self, kind: str, study: str, statement: Statement) -> str:
        return await self.post(kind, study, {"statement": statement.sign(self.identity).dump().decode()})

    async def upload(self, body: bytes, digest: str | None = None) -> int:
        digest = digest or body_digest(body)
        answer = await self.request("PUT", f"/v1/uploads/{digest}?offset=0&total={len(body)}", body)
        return int(answer["received"])

    async def put(self, target: str, body: bytes, offset: int, end: int | None = None) -> dict[str, Any]:
        """Send a part of an upload; its token names the digest of all up to the end of this part."""
        place = f"{target}?offset={offset}&total={len(body)}"
        answer: dict[str, Any] = await self.request("PUT", place, body[offset:end], digest=body_digest(body[:end]))
        return answer

    # enrolment

    def enrolment(self, invite: Mapping[str, Any], **changes: Any) -> Envelope:
        keys = {"identity": self.identity.public.hex, "authentication": self.authentication.public.hex}
        content = {
            "party": invite["party"],
            "legal_name": invite["legal_name"],
            "party_class": invite["party_class"],
            "country": invite["country"],
            **keys,
            "gateway": invite["gateway"]["key"],
            "log_origin": invite["gateway"]["log_origin"],
            "invite_proof": invite_proof(bytes.fromhex(invite["token"]), party=invite["party"], gateway=invite["gateway"]["key"], **keys),
            "at": self.born,
        }
        return Enrolment.model_validate(content | changes).sign(self.identity, self.authentication)

    async def enrol(self, invite: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self.send("POST", "/v1/enrolments", self.enrolment(invite).dump(), {}))
        return answer

    # the inbox

    async def poll(self, wait: float = 0) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = (await self.request("GET", f"/v1/inbox?after={self.cursor}&wait={wait:g}"))["messages"]
        return messages

    async def serve(self) -> None:
        """Answer messages until cancelled."""
        while True:
            for message in await self.poll(5):
                await self.take(message)
                self.cursor = message["seq"]

    async def take(self, message: Mapping[str, Any]) -> None:
        kind, study, raw = message["kind"], message["study"], json.dumps(message["body"]).encode()
        if self.before is not None:
            await self.before(study, kind)
        if kind in RELAYS:
            await self.studies[study].take(kind, raw)
            return
        self.moves.append((study, kind))
        match load_move(kind, raw):
            case StudyRequest() as request:
                await self._offer(request)
            case TermsProposed() as proposed:
                terms = Terms.parse(proposed.terms.encode())
                await self.post("accept", study, accept_post(terms, self.name, self.identity))
            case Finalized() as finalized:
                agreement = Agreement.load(Envelope.load(finalized.agreement.encode()))
                self.check(finalized.log, agreement.envelope)
                own = secrets_of(self.name)
                self.keys[study] = take_key_parts(agreement.terms, self.name, own, finalized.key_parts, finalized.boxes)
                self.studies[study] = StudyRun(self, agreement.terms, Chain.start(agreement.digest), agreement.envelope)
            case Changed() as changed:
                event = StudyEvent.parse(Envelope.load(changed.event.encode()).payload)
                self.studies[study].events.append(event.change)
                self.reasons[study] = event.reason
            case Terminated() as terminated:
                self.reasons[study] = terminated.reason
            case other:
                raise AssertionError(other)

    def check(self, proof: LogProof, leaf: Envelope) -> None:
        """Check a log proof as a real party does: it extends what was seen, and the leaf stands in it."""
        checkpoint = parse_and_verify(proof.checkpoint, GATEWAY_KEY.public, "gw.example/log")
        seen = self.log or Checkpoint("gw.example/log", 0, hashlib.sha256(b"").digest())
        assert proof.old_size == seen.size, (self.name, proof.old_size, seen.size, checkpoint.size, self.moves)
        check_follows(seen, checkpoint, [bytes.fromhex(node) for node in proof.consistency])
        path = [bytes.fromhex(node) for node in proof.inclusion]
        verify_inclusion(leaf_hash(leaf.dump()), proof.index, checkpoint.size, path, checkpoint.root)
        self.log = checkpoint

    async def _offer(self, request: StudyRequest) -> None:
        envelope = Envelope.load(request.proposal.encode())
        proposal = Proposal.parse(envelope.payload)
        segments = ("summary", "trunk", f"head:{self.objective}")
        offer = Offer(
            study=proposal.id,
            proposal_digest=proposal.digest(),
            party=self.name,
            policy="0" * 64,
            channel_key=secrets_of(self.name).channel_key,
            commitment=secrets_of(self.name).commitment(proposal.digest(), self.name),
            documents=(),
            trust="pinned",
            objectives=(self.objective,),
            records="hidden",
            schemes=("masked",),
            segments=tuple(OfferedSegment(name=name, min_parties=self.floor) for name in segments),
            gateway_may_lie=True,
            colluders=1,
            uncounted=(),
            apart=tuple(party for party in proposal.invited if party in self.apart),
            privacy=None,
            max_weight_ratio=1.0,
            max_small_changes=self.small_changes,
            clip_bound=ClipWish(min=0.5, max=1.0),
            weight_cap=1.0,
            weight_cap_of_others=1.0,
            rounds=self.rounds,
            mib_a_round=64.0,
            robustness="R0",
            opened_sums_readable_by="gateway",
            exclusions_required=False,
            valid_until=date(2099, 1, 1),
            gateway_digest=GATEWAY_TERMS.digest(),
        )
        await self.sign("offer", proposal.id, offer)

    # events

    async def start(self, study: str) -> None:
        await self.sign("start", study, self.event(study, StudyChange.STARTED, ""))

    def event(self, study: str, change: StudyChange, reason: str) -> StudyEvent:
        run = self.studies[study]
        return StudyEvent(
            study=study,
            change=change,
            by=self.name,
            agreement=run.terms.digest(),
            certificates=run.number,
            head=run.chain.head,
            reason=reason,
            at=int(time.time()),
        )


@dataclass
class StudyRun:
    """One study at a party: its chain, its public state, at most one open round."""

    party: Party
    terms: Terms
    chain: Chain
    newest: Envelope  # what a new round is proven to follow: the newest certificate, before it the agreement
    number: int = 0
    parameters: str = START
    state: PartyRound | None = None
    sums: dict[tuple[int, str], RingVector] = field(default_factory=dict)
    lists: dict[int, tuple[str, ...]] = field(default_factory=dict)  # round -> survivors
    events: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    released: list[int] = field(default_factory=list)

    @property
    def step(self) -> int:
        """The step of the next round: the first has one round."""
        return 0 if self.number < self.terms.steps[0].rounds else 1

    async def take(self, kind: str, raw: bytes) -> None:
        relay = load_relay(kind, raw)
        key, name = self.party.identity, self.party.name
        effects: Sequence[object] = ()
        match relay:
            case RoundOpen():
                await self._open(relay)
            case SumOpened():
                await self._close(relay)
            case RoundAborted():
                self.aborted.append(relay.reason)
                self.state = None
            case ReleaseAsked() if self.state is None or relay.round != self.state.spec.round:
                effects = (release_post(self.terms, relay.round, name, key),)
            case _ if self.state is None or relay.round != self.state.spec.round:
                return
            case _:
                self.state, effects = self.state.on_relay(relay, key)
        if isinstance(relay, Released):
            self.released.append(relay.round)
        for effect in effects:
            await self._do(effect)

    async def _do(self, effect: object) -> None:
        match effect:
            case Send():
                await self.party.post(effect.kind, self.terms.study, effect.body.model_dump(mode="json"))
            case SealNow(segments):
                assert self.state is not None
                number = self.state.spec.round
                vectors = {segment: vector(self.terms, self.step, self.party.name, number, segment) for segment in segments}
                self.state, body, effects = self.state.seal(vectors, self.party.identity)
                if self.party.before is not None:
                    await self.party.before(self.terms.study, "upload")
                assert await self.party.upload(body) == len(body)
                for more in effects:
                    await self._do(more)
            case _:
                pass

    async def _open(self, relay: RoundOpen) -> None:
        self.party.check(relay.log, self.newest)
        assert relay.previous == self.chain.head == self.newest.payload_digest
        counted = frozenset(member.party for member in self.terms.members)
        base = public_state_digest(self.terms.digest(), self.number, self.chain.head, self.parameters)
        spec = PartySpec(
            self.terms,
            self.party.name,
            relay.round,
            self.step,
            base,
            self.parameters,
            self.chain,
            counted,
            {},
            self.party.keys[self.terms.study].members_key,
        )
        assert relay.step == self.step
        seed = hashlib.sha256(f"{self.party.name}/{relay.round}".encode()).digest()
        self.state, effects = PartyRound.enter(spec, seed).advertise(self.party.identity)
        for effect in effects:
            await self._do(effect)

    async def _close(self, relay: SumOpened) -> None:
        held = self.state.certificate if self.state is not None else None
        certificate = Envelope.load(relay.certificate.encode()) if relay.certificate else held
        assert certificate is not None
        chain, listed = extend(self.chain, self.terms, certificate)
        opened = verify_opened(self.terms, listed, Envelope.load(relay.opened.encode()))
        raw = await self.party.raw("GET", f"/v1/studies/{self.terms.study}/sums/{listed.round}")
        parts = {}
        for segment in opened.segments:
            size = segment_size(self.terms.steps[listed.step], segment.name)
            parts[segment.name], raw = raw[:size], raw[size:]
            assert blake3(parts[segment.name]).hexdigest() == segment.body
        assert not raw
        proven = proving.check_sums(self.terms, listed, parts, self.party.keys[self.terms.study].members_key)
        self.sums |= {(listed.round, name): total for name, total in proven.items()}
        self.lists[listed.round] = tuple(survivor.party for survivor in listed.survivors)
        self.chain, self.number, self.parameters, self.state = chain, self.number + 1, opened.digest(), None
        self.newest = certificate


def vector(terms: Terms, step: int, party: str, number: int, segment: str) -> RingVector:
    """Return the encoded vector of a party in a round: a function of the arguments."""
    encoding = terms.steps[step].encoding
    seed = int.from_bytes(hashlib.sha256(f"{party}/{number}/{segment}".encode()).digest()[:8], "big")
    largest = min(int(encoding.bound * (1 << encoding.fraction_bits)), 1 << 20)
    values = np.random.default_rng(seed).integers(-largest, largest + 1, size=terms.steps[step].segment(segment).length)
    return values.astype(np.int64).astype(ring.dtype_of(encoding.width))


def plain_sum(terms: Terms, step: int, number: int, segment: str, parties: Sequence[str]) -> RingVector:
    """Return the sum of what `parties` sealed."""
    shape = terms.steps[step].segment(segment)
    total = ring.zeros(shape.length, terms.steps[step].encoding.width)
    for party in parties:
        if party in shape.members:
            ring.add_into(total, vector(terms, step, party, number, segment))
    return total


def check_sums(run: StudyRun) -> None:
    """Check that every opened sum equals the plain sum of the survivors' vectors, bit for bit."""
    for (number, segment), total in run.sums.items():
        step = 0 if segment == "summary" else 1
        wanted = plain_sum(run.terms, step, number, segment, run.lists[number])
        assert np.array_equal(total, wanted), (number, segment)
