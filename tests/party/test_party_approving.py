"""Terms wait at a party until its people have approved exactly these, and what they say outlives a crash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest
from parley.demo_studies import SHARED
from parley_crypto.keys import SigningKey
from parley_party import keystore
from parley_party.approving import WAITS
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
from parley_policies.approvals.activation import Activated
from parley_policies.approvals.holders import Holders
from parley_policies.approvals.statements import Decision
from parley_policies.enforcement.guard import Guard
from parley_policies.errors import OUTWARD_REASON, ApprovalInvalid
from parley_policies.model.loader import PolicyFile
from parley_policies.negotiation.agreement import Refusal
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.negotiation import Move, StudyState, Terminated, TermsProposed
from parley_service.database import Database, migrate, open_engine
from parley_service.secrets import Secret, SecretReference

from tests.demo.demo_samples import GATEWAY, key_of, policies
from tests.party.test_party_members_key import ME, NOW, TERMS, URL, offered
from tests.policies.approval_samples import DOCTOR, OFFICER, role_key, word

ROLES: Final = (OFFICER, DOCTOR)
HOLDERS: Final = Holders(ME, MappingProxyType({role: role_key(role).public for role in ROLES}))
Work = Callable[[Negotiation, PartyStore], Awaitable[None]]


def asking(roles: tuple[str, ...] = ROLES) -> PolicyFile:
    """Return the party's policy of the demo, asking these roles about agreements."""
    mine = policies()[ME]
    approval = mine.policy.approval.model_copy(update={"policy": roles, "agreement": roles})
    return replace(mine, policy=mine.policy.model_copy(update={"approval": approval}))


def started(folder: Path, *works: Work, row: StudyRow | None = None) -> None:
    """Run each of `works` at a party which has offered, each after another start of its service."""

    async def main(work: Work, *, first: bool) -> None:
        engine = open_engine(folder / "party.db")
        migrate(engine, "parley_party")
        database = Database(engine)
        store = PartyStore(database)
        if first:
            made = keystore.create(folder / "keys", Secret("passphrase"), n=16)
            (folder / "party.toml").write_text(party_toml(ME, SecretReference.parse("env:UNUSED")))
        else:
            made = keystore.load(folder / "keys", Secret("passphrase"))
        keys = keystore.PartyKeys(key_of(ME), made.authentication, made.witness, made.storage)
        house = House(ME, keys, Guard(asking(), URL, HOLDERS), lambda: NOW)
        outbox = Outbox("demo", GatewayClient(GatewayLink(url=URL), party=ME, key=SigningKey(bytes(32))), store, house.clock)
        datasets = Datasets(load(folder / "party.toml"), house.guard.policy)
        if first:
            await outbox.apply(Change(study=row or offered(keys.storage)))
        try:
            await work(Negotiation("demo", house, store, outbox, datasets, lambda: GATEWAY), store)
        finally:
            await database.close()

    for number, work in enumerate(works):
        asyncio.run(main(work, first=number == 0))


async def proposed(negotiation: Negotiation, terms: Terms = TERMS) -> None:
    await negotiation.on_terms(SHARED.id, TermsProposed(terms=terms.canonical().decode()), Change())


async def state(store: PartyStore) -> str:
    return (await row_of(store)).state


async def row_of(store: PartyStore) -> StudyRow:
    row = await store.study(SHARED.id)
    assert row is not None
    return row


async def left(store: PartyStore) -> list[str]:
    return [message.kind for message in await store.outgoing("demo")]


def signed(role: str, **changes: Any) -> str:  # noqa: ANN401 - any field of an approval
    return word(TERMS, role, **{"party": ME, "key": role_key(role), **changes}).dump().decode()


async def say(negotiation: Negotiation, store: PartyStore, text: str) -> None:
    await negotiation.approving.say(await row_of(store), text)


def test_terms_wait_until_every_role_has_approved_them(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        assert (await state(store), await left(store)) == (WAITS, [])
        await say(negotiation, store, signed(OFFICER))
        assert (await state(store), await left(store)) == (WAITS, [])
        await say(negotiation, store, signed(DOCTOR))
        assert (await state(store), await left(store)) == (StudyState.VERIFIED, [Move.ACCEPT])
        notes = [json.loads(row.body) for row in await store.evidence(SHARED.id) if row.kind == "terms accepted"]
        assert [note["approved"] for note in notes] == [sorted(ROLES)]

    started(tmp_path, work)


def test_nothing_that_leaves_names_a_role_or_a_person(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        for role in ROLES:
            await say(negotiation, store, signed(role))
        bodies = "".join(message.body for message in await store.outgoing("demo"))
        assert bodies
        for secret in (*ROLES, *(role_key(role).public.hex for role in ROLES), *(role_key(role).public.fingerprint for role in ROLES)):
            assert secret not in bodies

    started(tmp_path, work)


def test_one_refusal_ends_it_and_the_reason_stays_here(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        await say(negotiation, store, signed(OFFICER, decision=Decision.REFUSED, reason="no ethics vote"))
        assert await state(store) == StudyState.TERMINATED
        assert "role:privacy-officer refused: no ethics vote" in (await row_of(store)).reason
        (message,) = await store.outgoing("demo")
        assert message.kind == Move.REFUSE
        refusal = Refusal.parse(load_envelope(json.loads(message.body)["statement"], "refusal").payload)
        assert refusal.reason == OUTWARD_REASON
        with pytest.raises(StudyError, match="terms that wait for approval here"):
            await say(negotiation, store, signed(DOCTOR))

    started(tmp_path, work)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (signed(OFFICER, terms="0" * 64), "wanted the terms"),
        (signed(OFFICER, party="lender-ny"), f"wanted one for {ME}"),
        (signed(DOCTOR, key=role_key(OFFICER)), "wanted the key that holds role:doctor"),
        (signed(OFFICER, key=role_key("role:engineer")), "wanted the key that holds role:privacy-officer"),
        (signed("role:engineer"), "wanted a role that approval.agreement names"),
        ("{}", "approval: statement"),
    ],
    ids=["terms", "party", "role", "own key", "own role", "nothing"],
)
def test_a_word_that_does_not_count_changes_nothing(tmp_path: Path, text: str, words: str) -> None:
    async def work(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        await say(negotiation, store, signed(DOCTOR if "role:doctor" not in words else OFFICER))
        with pytest.raises(ApprovalInvalid, match=words):
            await say(negotiation, store, text)
        assert (await state(store), await left(store)) == (WAITS, [])

    started(tmp_path, work)


def test_a_word_that_was_written_down_before_a_crash_counts_after_it(tmp_path: Path) -> None:
    async def before(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        await say(negotiation, store, signed(OFFICER))

        async def dies(_: StudyRow) -> None:
            raise KeyboardInterrupt  # the process ends here

        negotiation.approving._resume = dies
        with pytest.raises(KeyboardInterrupt):
            await say(negotiation, store, signed(DOCTOR))
        assert (await state(store), await left(store)) == (WAITS, [])

    async def after(negotiation: Negotiation, store: PartyStore) -> None:
        await negotiation.resume(await row_of(store))
        assert (await state(store), await left(store)) == (StudyState.VERIFIED, [Move.ACCEPT])

    started(tmp_path, before, after)


def test_terms_that_wait_are_held_to(tmp_path: Path) -> None:
    other = Terms.model_validate(TERMS.model_dump() | {"clip_bound": TERMS.clip_bound / 2})

    async def work(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        with pytest.raises(RemoteProtocolError, match="this party holds other terms"):
            await proposed(negotiation, other)
        await proposed(negotiation)  # the same again changes nothing
        assert (await state(store), await left(store)) == (WAITS, [])

    started(tmp_path, work)


def test_the_gateway_ends_what_waits(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        await negotiation.on_terminated(SHARED.id, Terminated(reason="somebody refused"), Change())
        with pytest.raises(StudyError, match="terms that wait"):
            await say(negotiation, store, signed(OFFICER))
        await negotiation.resume(await row_of(store))
        assert await left(store) == []

    started(tmp_path, work)


def test_terms_are_checked_again_when_the_last_has_approved(tmp_path: Path) -> None:
    """Another policy came into force while people read: what they approved is no longer what it would sign."""

    async def work(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        await say(negotiation, store, signed(OFFICER))
        newer = replace(asking(), digest="1" * 64)
        negotiation._house.take_up(Activated(newer, HOLDERS, (), 2))
        await say(negotiation, store, signed(DOCTOR))
        assert await state(store) == StudyState.TERMINATED
        assert "activated since we offered" in (await row_of(store)).reason
        assert await left(store) == [Move.REFUSE]

    started(tmp_path, work)


def test_what_a_replaced_key_said_no_longer_counts(tmp_path: Path) -> None:
    async def work(negotiation: Negotiation, store: PartyStore) -> None:
        await proposed(negotiation)
        await say(negotiation, store, signed(OFFICER))
        newer = Holders(ME, MappingProxyType({**HOLDERS.keys, OFFICER: role_key(OFFICER, 1).public}))
        negotiation._house.take_up(Activated(asking(), newer, (), 2))
        await say(negotiation, store, signed(DOCTOR))
        assert (await negotiation.approving.said(TERMS)).lacking == (OFFICER,)
        assert (await state(store), await left(store)) == (WAITS, [])
        await say(negotiation, store, signed(OFFICER, key=role_key(OFFICER, 1)))
        assert await left(store) == [Move.ACCEPT]

    started(tmp_path, work)
