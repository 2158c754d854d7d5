"""A party's real federation and store from a proposal on, and in place of the gateway whatever a test says that it sends.

Faked are the edges alone: the wire, the clock, and the data, of which there are as many people as the sample says. The party's policy, the
other parties and the directory are those of `tests.policies.policy_samples`; members sign with its keys.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parley_crypto.keys import SigningKey
from parley_crypto.statement import Document
from parley_party import keystore
from parley_party.client import GatewayClient, Greeting, Message
from parley_party.config import GatewayLink, load
from parley_party.datasets import Chosen, Datasets
from parley_party.federation import Federation
from parley_party.founding import party_toml
from parley_party.house import House
from parley_party.store import Outgoing, PartyStore
from parley_party.tables import StudyRow
from parley_policies.enforcement.guard import Guard
from parley_policies.model.loader import PolicyFile
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.negotiation import MemberEntry, StudyRequest, TermsProposed
from parley_service.database import Database, migrate, open_engine
from parley_service.secrets import Secret, SecretReference

from tests.policies import policy_samples
from tests.policies.policy_samples import GATEWAY_KEY, TODAY, key_of, objectives_of

URL = "http://127.0.0.1:1"
NOW = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC).timestamp()


class Counted(Datasets):
    """A dataset of which only the number of people is known; how often it was asked for is kept."""

    people: int
    objectives: tuple[str, ...]
    asked: int = 0

    async def choose(self, proposal: Proposal) -> Chosen:
        del proposal
        self.asked += 1
        return Chosen("visits", self.people, self.objectives)


@dataclass
class Bench:
    """One party, the samples that it negotiates with, and what the gateway sends it."""

    me: str
    federation: Federation
    store: PartyStore
    data: Counted
    sample: policy_samples.Federation
    house: House
    now: list[float] = field(default_factory=lambda: [NOW])
    seq: int = 0

    async def send(self, kind: str, study: str, body: Document) -> None:
        """Bring a message of the inbox."""
        self.seq += 1
        await self.federation._handle(Message(self.seq, kind, study, body.model_dump_json().encode()))

    async def request(self, proposal: Proposal | None = None) -> None:
        """Bring the sponsor's proposal and the directory."""
        proposal = proposal or self.sample.proposal
        members = [self.sample.members[party] for party in sorted(proposal.invited)]
        entries = tuple(
            MemberEntry(
                party=member.party,
                legal_name=member.legal_name,
                party_class=member.party_class,
                country=member.country,
                identity=member.identity,
                authentication=member.identity,
                revoked=member.revoked,
            )
            for member in members
        )
        text = proposal.sign(key_of(proposal.sponsor)).dump().decode()
        await self.send("request", proposal.id, StudyRequest(proposal=text, members=entries))

    async def propose_terms(self, terms: Terms, study: str = "") -> None:
        """Bring terms."""
        await self.send("terms", study or terms.study, TermsProposed(terms=terms.canonical().decode()))

    async def offer(self, study: str = "") -> Offer:
        """Return the offer that the party has sent."""
        (sent,) = await self.sent("offer", study or self.sample.proposal.id)
        return Offer.parse(load_envelope(json.loads(sent.body)["statement"], "offer").payload)

    async def sent(self, kind: str, study: str = "") -> list[Outgoing]:
        """Return the messages of a kind that the party sends, of one study or of all."""
        return [item for item in await self.store.outgoing("demo") if item.kind == kind and study in {"", item.study}]

    async def row(self, study: str = "") -> StudyRow:
        row = await self.store.study(study or self.sample.proposal.id)
        assert row is not None
        return row

    async def evidence(self, kind: str, study: str = "") -> list[dict[str, Any]]:
        """Return what the party noted of a kind."""
        rows = await self.store.evidence(study or None)
        return [json.loads(row.body) for row in rows if row.kind == kind]

    def activate(self, policy: PolicyFile) -> None:
        """Put another policy in force, as a new start of the service would."""
        self.house = House(self.me, self.house.keys, Guard(policy, URL), self.house.clock)
        self.federation.negotiation._house = self.house


def play(folder: Path, me: str, sample: policy_samples.Federation, work: Callable[[Bench], Awaitable[None]]) -> None:
    """Run `work` at the party `me`, which has joined the sample's gateway."""

    async def main() -> None:
        engine = open_engine(folder / "party.db")
        migrate(engine, "parley_party")
        database = Database(engine)
        store = PartyStore(database)
        keys = made_keys(folder / "keys", me)
        now = [NOW]
        house = House(me, keys, Guard(sample.policy(me), URL), lambda: now[0])
        (folder / "party.toml").write_text(party_toml(me, SecretReference.parse("env:UNUSED")))
        data = Counted(load(folder / "party.toml"), sample.policy(me).policy)
        data.people, data.objectives = sample.records[me], objectives_of(me)
        federation = Federation("demo", house, store, connected(sample), data, folder)
        try:
            await work(Bench(me, federation, store, data, sample, house, now))
        finally:
            await federation.close()
            await database.close()

    asyncio.run(main())


def made_keys(folder: Path, me: str) -> keystore.PartyKeys:
    """Return the party's keys: its identity is the sample's, the others are drawn, or read where they lie already."""
    made = keystore.load(folder, Secret("passphrase")) if folder.exists() else keystore.create(folder, Secret("passphrase"), n=16)
    return keystore.PartyKeys(key_of(me), made.authentication, made.witness, made.storage)


def connected(sample: policy_samples.Federation) -> GatewayClient:
    """Return a client that the sample's gateway has greeted, and that can reach nobody."""
    client = GatewayClient(GatewayLink(url=URL), party="unused", key=SigningKey(bytes(32)))
    declared = sample.gateway
    operator = {
        "legal_name": declared.operator,
        "country": declared.countries[0],
        "subprocessors": [{"country": country} for country in declared.countries],
        "incident_notice_hours": declared.incident_notice_hours,
        "change_notice_days": declared.change_notice_days,
    }
    client._greeting = Greeting(declared.id, URL, GATEWAY_KEY.public, "gw/log", operator, "instance", NOW, 1 << 22, 25.0)
    return client
