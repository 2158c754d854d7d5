"""How a party comes to the members' key: what it draws and keeps sealed, what it reveals once, and what makes it stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
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
from parley_party.publicstate import StudyMath
from parley_party.store import Change, PartyStore
from parley_party.studies import Negotiation
from parley_party.studykeys import draw_secrets, keys_of, secrets_of
from parley_party.tables import StudyRow
from parley_policies.enforcement.guard import Guard
from parley_policies.negotiation.agreement import acceptance, assemble
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.members_key import make_key_part, take_key_parts
from parley_protocol.negotiation import AcceptPost, Finalized, MemberEntry, Move, StudyState, TermsProposed
from parley_protocol.records import StudyChange, StudyEvent
from parley_protocol.relays import LogProof, Post
from parley_service.database import Database, migrate, open_engine
from parley_service.errors import ServiceError
from parley_service.keyfile import StorageKey
from parley_service.secrets import Secret, SecretReference

from tests import member_secrets
from tests.demo.demo_samples import GATEWAY, TODAY, Negotiated, key_of, negotiate, policies

URL = "http://127.0.0.1:1"
ME = SHARED.sponsor
FOUND: Negotiated = negotiate(SHARED)
TERMS = FOUND.terms
IDS = tuple(member.party for member in TERMS.members)
CHEAT = next(party for party in IDS if party != ME)
NOW = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC).timestamp()
NO_PROOF = LogProof(checkpoint="", old_size=0, consistency=(), index=0, inclusion=())  # the federation checks it before

Work = Callable[[Negotiation, PartyStore, StorageKey], Awaitable[None]]


def run(folder: Path, work: Work) -> None:
    async def main() -> None:
        engine = open_engine(folder / "party.db")
        migrate(engine, "parley_party")
        database = Database(engine)
        store = PartyStore(database)
        made = keystore.create(folder / "keys", Secret("passphrase"), n=16)
        keys = keystore.PartyKeys(key_of(ME), made.authentication, made.witness, made.storage)
        house = House(ME, keys, Guard(policies()[ME], URL), lambda: NOW)
        outbox = Outbox("demo", GatewayClient(GatewayLink(url=URL), party=ME, key=SigningKey(bytes(32))), store, house.clock)
        (folder / "party.toml").write_text(party_toml(ME, SecretReference.parse("env:UNUSED")))
        datasets = Datasets(load(folder / "party.toml"), house.guard.policy)
        await outbox.apply(Change(study=offered(keys.storage)))
        await work(Negotiation("demo", house, store, outbox, datasets, lambda: GATEWAY), store, keys.storage)
        await database.close()

    asyncio.run(main())


def offered(storage: StorageKey) -> StudyRow:
    """Return the study as it stands after our offer, whose secrets are those that the demo's terms were made with."""
    entries = [
        MemberEntry(
            party=member.party,
            legal_name=member.legal_name,
            party_class=member.party_class,
            country=member.country,
            identity=member.identity,
            authentication=member.identity,
            revoked=False,
        )
        for member in FOUND.members.values()
    ]
    return StudyRow(
        study=SHARED.id,
        federation="demo",
        state=StudyState.OFFERED,
        proposal=FOUND.proposal.sign(key_of(ME)).dump().decode(),
        members=json.dumps([entry.model_dump() for entry in entries]),
        offer=FOUND.offers[ME].sign(key_of(ME)).dump().decode(),
        salt=bytes(16),
        secrets=storage.seal(member_secrets.secrets_of(ME).dump(), SHARED.id, "offer"),
    )


def finalized(*, key_parts: Sequence[str] | None = None) -> Finalized:
    texts = tuple(member_secrets.key_part(TERMS, party, key_of(party)).dump().decode() for party in IDS)
    return Finalized(
        agreement=assemble(TERMS, (acceptance(TERMS, key_of(party)) for party in IDS)).dump().decode(),
        log=NO_PROOF,
        key_parts=texts if key_parts is None else tuple(key_parts),
        boxes=member_secrets.handed_on(TERMS, ME),
    )


async def accepted(negotiation: Negotiation) -> None:
    await negotiation.on_terms(SHARED.id, TermsProposed(terms=TERMS.canonical().decode()), Change())


async def row_of(store: PartyStore) -> StudyRow:
    row = await store.study(SHARED.id)
    assert row is not None
    return row


def test_the_acceptance_carries_the_key_part_that_was_committed_to(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, store: PartyStore, storage: StorageKey) -> None:
        await accepted(negotiation)
        (message,) = await store.outgoing("demo")
        assert message.kind == Move.ACCEPT
        post = AcceptPost.model_validate_json(message.body)
        assert post.model_dump() == member_secrets.accept_post(TERMS, ME, key_of(ME))
        assert secrets_of(await row_of(store), storage) == member_secrets.secrets_of(ME)

    run(tmp_path, work)


def test_to_one_offer_one_set_of_terms_is_answered(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, store: PartyStore, _: StorageKey) -> None:
        await accepted(negotiation)
        other = Terms.model_validate(TERMS.model_dump() | {"clip_bound": TERMS.clip_bound / 2})
        with pytest.raises(RemoteProtocolError, match="this party signed other terms"):
            await negotiation.on_terms(SHARED.id, TermsProposed(terms=other.canonical().decode()), Change())
        await accepted(negotiation)  # the same again changes nothing
        assert len(await store.outgoing("demo")) == 1

    run(tmp_path, work)


def test_with_all_key_parts_the_party_holds_the_key_sealed(tmp_path: Path) -> None:
    wanted = take_key_parts(TERMS, CHEAT, member_secrets.secrets_of(CHEAT), finalized().key_parts, member_secrets.handed_on(TERMS, CHEAT))

    async def work(negotiation: Negotiation, store: PartyStore, storage: StorageKey) -> None:
        await accepted(negotiation)
        assert await negotiation.on_finalized(SHARED.id, finalized(), Change()) is not None
        row = await row_of(store)
        assert (row.state, row.secrets) == (StudyState.FINALIZED, b"")
        assert keys_of(row, storage) == wanted
        with pytest.raises(ServiceError):
            storage.open(row.members_key, "another-study", "members' key")
        assert await negotiation.on_finalized(SHARED.id, finalized(), Change()) is None

    run(tmp_path, work)
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("party.db*"))
    own = member_secrets.secrets_of(ME)
    for secret in (wanted.members_key, own.key_part, own.channel):
        assert secret not in raw
        assert secret.hex().encode() not in raw


def test_a_bad_key_part_stops_the_study_and_names_who_made_it(tmp_path: Path) -> None:
    part, _ = make_key_part(TERMS, CHEAT, member_secrets.secrets_of(CHEAT))
    bad = part.model_copy(update={"seed_part": "1" * 64}).sign(key_of(CHEAT)).dump().decode()
    texts = [bad if party == CHEAT else text for party, text in zip(IDS, finalized().key_parts, strict=True)]

    async def work(negotiation: Negotiation, store: PartyStore, storage: StorageKey) -> None:
        await accepted(negotiation)
        assert await negotiation.on_finalized(SHARED.id, finalized(key_parts=texts), Change()) is None
        row = await row_of(store)
        assert (row.state, row.secrets, row.members_key) == (StudyState.STOPPED, b"", b"")
        assert f"fault of {CHEAT}" in row.reason
        with pytest.raises(StudyError, match="takes no part"):
            keys_of(row, storage)
        _, stop = await store.outgoing("demo")
        assert stop.kind == Move.STOP
        event = Signed(load_envelope(Post.model_validate_json(stop.body).statement, "event"), StudyEvent).verify(key_of(ME).public)
        assert (event.change, event.by, event.certificates, event.head) == (StudyChange.STOPPED, ME, 0, TERMS.digest())
        assert f"fault of {CHEAT}" in event.reason
        (kept,) = [item for item in await store.evidence(SHARED.id) if item.kind == "key part refused"]
        assert json.loads(kept.body)["culprit"] == CHEAT

    run(tmp_path, work)


def test_an_agreement_that_comes_after_the_end_is_not_taken_up(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, store: PartyStore, _: StorageKey) -> None:
        await accepted(negotiation)
        row = await row_of(store)
        row.state, row.secrets = StudyState.TERMINATED, b""
        await store.apply("demo", Change(study=row))
        with pytest.raises(RemoteProtocolError, match="not on the terms that we signed"):
            await negotiation.on_finalized(SHARED.id, finalized(), Change())

    run(tmp_path, work)


def test_each_offer_has_secrets_of_its_own(tmp_path: Path) -> None:
    async def work(_: Negotiation, store: PartyStore, storage: StorageKey) -> None:
        row = await row_of(store)
        drawn = {draw_secrets(row, storage).dump() for _ in range(4)}
        assert len(drawn) == 4
        assert secrets_of(row, storage).dump() in drawn

    run(tmp_path, work)


def test_digests_of_a_model_are_keyed_where_only_the_parties_read_it() -> None:
    shared = take_key_parts(TERMS, ME, member_secrets.secrets_of(ME), finalized().key_parts, finalized().boxes)
    open_math = StudyMath.of(TERMS, FOUND.proposal)
    state = open_math.first()
    blind = Terms.model_validate(TERMS.model_dump() | {"opened_sums_readable_by": "parties"})
    keyed = StudyMath.of(blind, FOUND.proposal, shared)
    assert open_math.parameters(state) == StudyMath.of(TERMS, FOUND.proposal, shared).parameters(state)
    assert keyed.parameters(state) != open_math.parameters(state)
    assert keyed.parameters(state) == StudyMath.of(blind, FOUND.proposal, shared).parameters(state)
    other = type(shared)(bytes(32), shared.graph_seed)
    assert StudyMath.of(blind, FOUND.proposal, other).parameters(state) != keyed.parameters(state)
    with pytest.raises(StudyError, match="sealed in the party's store"):
        StudyMath.of(blind, FOUND.proposal).base(state)
