"""A party's real federation, store and study run, and in place of the gateway whatever a test says that it answers and sends.

Only the wire is faked. Members sign with the demo's keys; `Scene.certified` makes a certificate as they would, over what `vectors` says
that each of them sealed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from parley.demo_policies import DATASET
from parley.demo_studies import SHARED
from parley_crypto import ring, sumproof
from parley_crypto.keys import SigningKey
from parley_crypto.masked import Context
from parley_crypto.signing import Envelope
from parley_crypto.tagsize import tag_bits
from parley_party import keystore
from parley_party.client import GatewayClient, Greeting, Message
from parley_party.computing import Computing
from parley_party.config import GatewayLink, load
from parley_party.datasets import Datasets
from parley_party.errors import DataError
from parley_party.federation import Federation
from parley_party.founding import party_toml
from parley_party.house import House
from parley_party.outbox import Outbox
from parley_party.publicstate import StudyMath
from parley_party.rounds import StudyRun
from parley_party.store import PACKAGE, Change, PartyStore
from parley_party.tables import StudyRow
from parley_policies.enforcement.guard import Guard, Standing
from parley_policies.model.loader import PolicyFile
from parley_policies.negotiation.agreement import Agreement, acceptance, assemble
from parley_policies.negotiation.terms import Terms
from parley_protocol.members_key import StudyKeys
from parley_protocol.messages import Opened, OpenedSegment, Survivor, SurvivorList
from parley_protocol.negotiation import StudyState
from parley_protocol.relays import SumOpened
from parley_service.database import Database, migrate, open_engine
from parley_service.secrets import Secret, SecretReference

from tests.demo.demo_samples import GATEWAY_KEY, TODAY, key_of, negotiate, policies
from tests.simulator import GRAPH_SEED, MEMBERS_KEY

URL = "http://127.0.0.1:1"
ME = SHARED.sponsor
NOW = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC).timestamp()
FOUND = negotiate(SHARED)
TERMS: Terms = FOUND.terms
AGREEMENT = Agreement.load(assemble(TERMS, (acceptance(TERMS, key_of(member.party)) for member in TERMS.members)))
PARTIES = tuple(member.party for member in TERMS.members)

Values = Mapping[str, NDArray[np.float64]]


class Wire(GatewayClient):
    """What the gateway answers to requests: JSON bodies by the beginning of their target."""

    answers: dict[str, bytes]

    async def _send(self, method: str, target: str, **_: object) -> bytearray:
        del method
        return bytearray(next(body for start, body in self.answers.items() if target.startswith(start)))


@dataclass
class Scene:
    """One party in one running study. `wire` says what the gateway answers, `send` brings a message of the inbox."""

    federation: Federation
    run: StudyRun
    store: PartyStore
    wire: Wire
    seq: int = 0
    certificates: list[Envelope] = field(default_factory=list)

    async def send(self, kind: str, body: Mapping[str, Any] | str) -> None:
        """Bring a message; what the party thinks of it is in its evidence."""
        self.seq += 1
        raw = body if isinstance(body, str) else json.dumps(body)
        await self.federation._handle(Message(self.seq, kind, SHARED.id, raw.encode()))

    async def complaints(self, kind: str = "passed over") -> list[str]:
        return [json.loads(row.body)["reason"] for row in await self.store.evidence(SHARED.id) if row.kind == kind]

    async def row(self) -> StudyRow:
        row = await self.store.study(SHARED.id)
        assert row is not None
        return row

    def certified(self, number: int, values: Values) -> tuple[SurvivorList, dict[str, bytes], Envelope]:
        """Return a list that all members signed on this party's base version, the segments' sums of what they sealed, the certificate."""
        run, step = self.run, TERMS.steps[self.run.state.step]
        listed = SurvivorList(
            study=TERMS.study,
            agreement=TERMS.digest(),
            round=number,
            base=run.math.base(run.state),
            step=run.state.step,
            parameters=run.math.parameters(run.state),
            previous=run.chain.head,
            boxes_from=PARTIES,
            survivors=tuple(Survivor(party=party, manifest="0" * 64) for party in PARTIES),
            openable=tuple(segment.name for segment in step.segments),
        )
        certificate = listed.sign(*(key_of(party) for party in PARTIES))
        return listed, {segment.name: self.summed(listed, segment.name, values) for segment in step.segments}, certificate

    def summed(self, listed: SurvivorList, segment: str, values: Values) -> bytes:
        """Return the sum of a segment with its tags; who has no values sealed zeros."""
        step = TERMS.steps[listed.step]
        encoding, width, length = self.run.math.encoding(step), step.encoding.width, step.segment(segment).length
        total, tags = ring.zeros(length, width), [0, 0]
        key = Context(listed.agreement, listed.round, listed.base, segment).proof_key(MEMBERS_KEY)
        for party in step.segment(segment).members:
            vector = encoding.encode(values.get(party, np.zeros(length)))
            ring.add_into(total, vector)
            tags = [mine + other for mine, other in zip(tags, sumproof.tags(vector, key, party), strict=True)]
        bits = tag_bits(width)
        return ring.to_bytes(total) + sumproof.to_bytes((tags[0] % (1 << bits), tags[1] % (1 << bits)), bits)

    def notice(self, listed: SurvivorList, sums: Mapping[str, bytes], certificate: Envelope) -> dict[str, Any]:
        """Return the message that brings sums as small ones come: their bytes inside, their digests signed by the gateway."""
        step = TERMS.steps[listed.step]
        opened = Opened(
            study=listed.study,
            agreement=listed.agreement,
            round=listed.round,
            base=listed.base,
            certificate=listed.digest(),
            segments=tuple(
                OpenedSegment(
                    name=name,
                    length=step.segment(name).length,
                    parties=len(step.segment(name).members),
                    body=blake3(sums[name]).hexdigest(),
                )
                for name in listed.openable
            ),
        )
        notice = SumOpened(
            agreement=listed.agreement,
            round=listed.round,
            certificate=certificate.dump().decode(),
            opened=opened.sign(GATEWAY_KEY).dump().decode(),
            sums=base64.b64encode(b"".join(sums[name] for name in listed.openable)).decode(),
        )
        return notice.model_dump(mode="json")

    async def open(self, listed: SurvivorList, sums: Mapping[str, bytes], certificate: Envelope) -> None:
        """Bring the sums of a certified round."""
        await self.send("opened", self.notice(listed, sums, certificate))


def summary(rows: float) -> NDArray[np.float64]:
    """Return a summary of so many rows, all in the middle of every column's range."""
    length = TERMS.steps[0].segments[0].length
    return np.array([rows, *[rows, rows / 2, rows / 3] * ((length - 1) // 3)])


@dataclass(frozen=True)
class Home:
    """What a party has before it is connected: its keys and policy, its store, and the study with its members' key."""

    folder: Path
    house: House
    store: PartyStore
    policy: PolicyFile
    math: StudyMath

    async def run(self, client: GatewayClient) -> StudyRun:
        """Return the study's rounds as they are taken up from the store, without data to compute on."""
        standing = Standing(AGREEMENT, self.policy.digest, DATASET)
        outbox = Outbox("demo", client, self.store, self.house.clock)
        run = StudyRun(self.math, standing, self.house, self.store, outbox, client, _computing(self.math), self.folder)
        await run.load(lambda _: None)
        return run


@asynccontextmanager
async def at_home(folder: Path) -> AsyncIterator[Home]:
    """Make a party's store and keys in `folder`; the store is closed at the end."""
    engine = open_engine(folder / "party.db")
    migrate(engine, PACKAGE)
    database = Database(engine)
    made = keystore.create(folder / "keys", Secret("passphrase"), n=16)
    keys = keystore.PartyKeys(key_of(ME), made.authentication, made.witness, made.storage)
    policy = policies()[ME]
    house = House(ME, keys, Guard(policy, URL), lambda: NOW)
    math = StudyMath.of(TERMS, FOUND.proposal, StudyKeys(MEMBERS_KEY, GRAPH_SEED))
    try:
        yield Home(folder, house, PartyStore(database), policy, math)
    finally:
        await database.close()


def play(folder: Path, work: Callable[[Scene], Awaitable[None]]) -> None:
    """Run `work` at a party whose study runs and has no certified round yet."""

    async def main() -> None:
        async with at_home(folder) as home:
            wire = Wire(GatewayLink(url=URL), party=ME, key=SigningKey(bytes(32)))
            wire.answers = {}
            wire._greeting = Greeting("gw", URL, GATEWAY_KEY.public, "gw/log", {"country": "DE"}, "instance", NOW, 1 << 22, 25.0)
            (folder / "party.toml").write_text(party_toml(ME, SecretReference.parse("env:UNUSED")))
            datasets = Datasets(load(folder / "party.toml"), home.policy.policy)
            federation = Federation("demo", home.house, home.store, wire, datasets, folder)
            row = StudyRow(
                study=SHARED.id,
                federation="demo",
                state=StudyState.RUNNING,
                proposal=FOUND.proposal.sign(key_of(ME)).dump().decode(),
                members="[]",
                agreement=AGREEMENT.envelope.dump().decode(),
            )
            await home.store.apply("demo", Change(study=row))
            run = await home.run(wire)
            federation.runs[SHARED.id] = run
            try:
                await work(Scene(federation, run, home.store, wire))
            finally:
                await federation.close()

    asyncio.run(main())


def _computing(math: StudyMath) -> Computing:
    async def no_data() -> Any:  # noqa: ANN401 - nothing comes back
        raise DataError("data", wanted="a trainer", got="none in this test")

    return Computing(math, ME, no_data, people=100_000)
