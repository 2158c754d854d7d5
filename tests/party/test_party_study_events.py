"""What a party signs about a study before its rounds are taken up: the agreement is the head, whatever else is known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from parley.demo_studies import SHARED
from parley_crypto.keys import SigningKey
from parley_crypto.statement import Signed
from parley_party import keystore
from parley_party.client import GatewayClient
from parley_party.config import GatewayLink, load
from parley_party.datasets import Datasets
from parley_party.errors import StudyError
from parley_party.founding import party_toml
from parley_party.house import House
from parley_party.outbox import Outbox
from parley_party.store import Change, PartyStore
from parley_party.studies import Negotiation
from parley_party.tables import StudyRow
from parley_policies.enforcement.guard import Guard
from parley_policies.negotiation.agreement import acceptance, assemble
from parley_protocol.bound import load_envelope
from parley_protocol.negotiation import StudyState
from parley_protocol.records import StudyChange, StudyEvent
from parley_service.database import Database, migrate, open_engine
from parley_service.secrets import Secret, SecretReference

from tests.demo.demo_samples import GATEWAY, TODAY, key_of, negotiate, policies

URL = "http://127.0.0.1:1"
SPONSOR = SHARED.sponsor
NOW = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC).timestamp()


def party_keys(folder: Path) -> keystore.PartyKeys:
    made = keystore.create(folder, Secret("passphrase"), n=16)
    return keystore.PartyKeys(key_of(SPONSOR), made.authentication, made.witness, made.storage)


def run(folder: Path, work: Callable[[Negotiation, Outbox, PartyStore], Awaitable[None]]) -> None:
    async def main() -> None:
        engine = open_engine(folder / "party.db")
        migrate(engine, "parley_party")
        database = Database(engine)
        store = PartyStore(database)
        house = House(SPONSOR, party_keys(folder / "keys"), Guard(policies()[SPONSOR], URL), lambda: NOW)
        client = GatewayClient(GatewayLink(url=URL), party=SPONSOR, key=SigningKey(bytes(32)))
        outbox = Outbox("demo", client, store, house.clock)
        (folder / "party.toml").write_text(party_toml(SPONSOR, SecretReference.parse("env:UNUSED")))
        datasets = Datasets(load(folder / "party.toml"), house.guard.policy)
        await work(Negotiation("demo", house, store, outbox, datasets, lambda: GATEWAY), outbox, store)
        await database.close()

    asyncio.run(main())


def study_row(*, agreed: bool) -> StudyRow:
    found = negotiate(SHARED)
    agreement = assemble(found.terms, (acceptance(found.terms, key_of(member.party)) for member in found.terms.members))
    return StudyRow(
        study=SHARED.id,
        federation="demo",
        state=StudyState.FINALIZED if agreed else StudyState.OFFERED,
        proposal=found.proposal.sign(key_of(SPONSOR)).dump().decode(),
        members="[]",
        agreement=agreement.dump().decode() if agreed else "",
    )


def test_a_study_is_started_while_its_rounds_are_still_being_taken_up(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, outbox: Outbox, store: PartyStore) -> None:
        await outbox.apply(Change(study=study_row(agreed=True)))
        await negotiation.event(SHARED.id, StudyChange.STARTED, "", certificates=0, head="")
        (message,) = await store.outgoing("demo")
        envelope = load_envelope(json.loads(message.body)["statement"], "event")
        event = Signed(envelope, StudyEvent).verify(key_of(SPONSOR).public)
        assert event.head == event.agreement == negotiate(SHARED).terms.digest()
        assert (event.change, event.by, event.certificates) == (StudyChange.STARTED, SPONSOR, 0)

    run(tmp_path, work)


def test_a_study_without_an_agreement_is_not_started(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, outbox: Outbox, store: PartyStore) -> None:
        await outbox.apply(Change(study=study_row(agreed=False)))
        with pytest.raises(StudyError, match="wanted an agreement, got OFFERED"):
            await negotiation.event(SHARED.id, StudyChange.STARTED, "", certificates=0, head="")
        assert await store.outgoing("demo") == []

    run(tmp_path, work)
