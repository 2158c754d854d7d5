"""Invites and enrolments against a running gateway: once, in time, with the keys that were proven."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_gateway.store import read_leaves
from parley_policies.negotiation.credentials import Credential, issue
from parley_protocol.problems import Slug
from parley_protocol.records import RECORD, CredentialsShown, EnrolmentRecord, GatewayRecord, RevocationRecord, verify_enrolment
from parley_service.errors import AnsweredError

from tests.gateway.federation import Federation, started
from tests.gateway.parties import GATEWAY_KEY, Party, RefusedError

ISSUER = SigningKey(bytes([7]) * 32)


def run(tmp_path: Path, work: Callable[[Federation], Awaitable[None]]) -> None:
    async def inner() -> None:
        federation = Federation(tmp_path, await started(tmp_path))
        try:
            await work(federation)
        finally:
            await federation.close()

    asyncio.run(inner())


async def refused(work: Awaitable[Any]) -> Slug:
    with pytest.raises(RefusedError) as found:
        await work
    return found.value.problem.slug


def party(federation: Federation, name: str) -> Party:
    made = Party(name, federation.port)
    federation.parties[name] = made
    return made


def test_an_enrolment_stands_in_the_log_and_opens_the_door(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        invite = await federation.invite("a")
        async with Party("a", federation.port) as a:
            assert await refused(a.request("GET", "/v1/members")) is Slug.UNKNOWN_PARTY
            assert (await a.enrol(invite))["party"] == "a"
            (member,) = (await a.request("GET", "/v1/members"))["members"]
            assert (member["identity"], member["legal_name"], member["revoked"]) == (a.identity.public.hex, "A", False)

    run(tmp_path, work)
    _, (first, second) = read_leaves(tmp_path / "data" / "gateway.db")
    assert GatewayRecord.parse(Envelope.load(first).verify(GatewayRecord.kind, GATEWAY_KEY.public)).id == "gw.example"
    record = EnrolmentRecord.parse(Envelope.load(second).verify(EnrolmentRecord.kind, GATEWAY_KEY.public))
    assert verify_enrolment(Envelope.load(record.enrolment.encode())).party == "a"


def test_an_invite_is_good_once(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        invite = await federation.invite("a")
        async with Party("a", federation.port) as a:
            first = await a.enrol(invite)
            assert await a.enrol(invite) == first  # the same statement: an answer that was lost is given again
            a.name = "a-second-folder"
            assert await refused(a.enrol(invite)) is Slug.INVITE_USED
        await federation.restart()
        async with Party("a-third-folder", federation.port) as other:
            assert await refused(other.enrol(invite)) is Slug.INVITE_USED

    run(tmp_path, work)


def test_what_is_not_as_invited_is_refused(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        invite = await federation.invite("a")
        async with Party("a", federation.port) as a:

            async def sent(envelope: Envelope) -> Slug:
                return await refused(a.send("POST", "/v1/enrolments", envelope.dump(), {}))

            assert await sent(a.enrolment(invite | {"token": "00" * 32})) is Slug.INVITE_UNKNOWN
            assert await sent(a.enrolment(invite | {"party": "b"})) is Slug.INVITE_UNKNOWN
            assert await sent(a.enrolment(invite | {"legal_name": "Somebody else"})) is Slug.CONFLICT
            assert await sent(a.enrolment(invite | {"party_class": "insurer"})) is Slug.CONFLICT
            assert await sent(a.enrolment(invite, gateway="00" * 32)) is Slug.WRONG_KEY
            stranger = SigningKey(bytes(32)).public.hex
            assert await sent(a.enrolment(invite, identity=stranger)) is Slug.VERIFICATION_FAILED
            assert await refused(a.send("POST", "/v1/enrolments", b"{}", {})) is Slug.VERIFICATION_FAILED
            assert (await a.enrol(invite))["index"] == 1

    run(tmp_path, work)


def test_an_invite_expires(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        invite = await federation.control(
            "member.invite", **{"party": "a", "name": "A", "class": "hospital", "country": "DE", "valid_hours": 1e-6}
        )
        await asyncio.sleep(0.01)
        async with Party("a", federation.port) as a:
            assert await refused(a.enrol(invite)) is Slug.INVITE_EXPIRED

    run(tmp_path, work)


def test_one_key_enrols_once(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        await federation.enrol("a")
        b = await federation.invite("b")
        async with Party("a", federation.port) as a:  # the keys of a under the name of b
            assert await refused(a.enrol(b)) is Slug.CONFLICT

    run(tmp_path, work)


def test_a_revoked_party_is_out_at_once_and_comes_back_only_with_new_keys(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        a = await federation.enrol("a")
        with pytest.raises(AnsweredError, match="enrolled already"):
            await federation.invite("a")
        await federation.control("member.revoke", party="a", reason="its laptop was stolen")
        assert await refused(a.request("GET", "/v1/members")) is Slug.UNKNOWN_PARTY
        with pytest.raises(AnsweredError, match="revoked already"):
            await federation.control("member.revoke", party="a", reason="again")
        again = await federation.invite("a")
        assert await refused(a.enrol(again)) is Slug.CONFLICT
        async with Party("a-new", federation.port) as new:
            new_keys = Party("a", federation.port)
            assert new_keys.identity.public.hex == a.identity.public.hex
            assert (await new.enrol(again))["party"] == "a"

    run(tmp_path, work)
    _, leaves = read_leaves(tmp_path / "data" / "gateway.db")
    revocation = RevocationRecord.parse(Envelope.load(leaves[2]).verify(RevocationRecord.kind, GATEWAY_KEY.public))
    assert revocation.reason == "its laptop was stolen"


def credential(party: Party, **changes: Any) -> str:  # noqa: ANN401 - any field of a sample
    """Return what an issuer says of a party that was invited here."""
    facts: dict[str, Any] = {
        "issuer": ISSUER.public.hex,
        "party": party.name,
        "legal_name": party.name.title(),
        "party_class": "hospital",
        "country": "DE",
        "identity": party.identity.public.fingerprint,
        "valid_until": date(2027, 12, 31),
    }
    return issue(Credential.model_validate(facts | changes), ISSUER)


def test_credentials_are_shown_to_every_member_and_stand_in_the_log(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        b = await federation.enrol("b")
        invite = await federation.invite("a")
        async with Party("a", federation.port) as a:
            first = credential(a)
            statement = a.enrolment(invite, credentials=(first,))
            await a.send("POST", "/v1/enrolments", statement.dump(), {})
            assert await shown_to(b) == {"a": [first], "b": []}
            second = credential(a, valid_until=date(2028, 12, 31))
            await a.sign(RECORD, "", credentials_shown(a, second))
            assert await shown_to(b) == {"a": [second], "b": []}
            found = await federation.control("member.show", party="a")
            assert found["credentials"] == [{"issuer": ISSUER.public.fingerprint, "valid_until": "2028-12-31"}]
            await federation.restart()
            assert await shown_to(b) == {"a": [second], "b": []}

    run(tmp_path, work)
    _, leaves = read_leaves(tmp_path / "data" / "gateway.db")
    kinds = [Envelope.load(leaf).payload_type for leaf in leaves]
    assert kinds.count(CredentialsShown.kind) == 1


async def shown_to(party: Party) -> dict[str, list[str]]:
    members = (await party.request("GET", "/v1/members"))["members"]
    return {member["party"]: member["credentials"] for member in members}


def credentials_shown(party: Party, *credentials: str) -> CredentialsShown:
    return CredentialsShown(party=party.name, credentials=credentials, at=party.born)


def test_what_does_not_name_exactly_the_party_is_no_credential_of_its_own(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        b = await federation.enrol("b")
        invite = await federation.invite("a")
        async with Party("a", federation.port) as a:
            good = credential(a)
            bad = [credential(a, identity=b.identity.public.fingerprint), credential(a, party_class="insurer"), credential(b), "{}"]
            bad += [good.replace(good[200], "A" if good[200] != "A" else "B", 1)]
            for text in bad:
                statement = a.enrolment(invite, credentials=(text,)).dump()
                assert await refused(a.send("POST", "/v1/enrolments", statement, {})) is Slug.VERIFICATION_FAILED
            await a.enrol(invite)
            for text in bad:
                assert await refused(a.sign(RECORD, "", credentials_shown(a, text))) in {Slug.PROTOCOL_BROKEN, Slug.VERIFICATION_FAILED}
            assert await refused(b.sign(RECORD, "", credentials_shown(a, good))) is Slug.PROTOCOL_BROKEN
            assert await shown_to(b) == {"a": [], "b": []}

    run(tmp_path, work)


def test_an_invite_is_for_somebody_who_can_exist(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        good = {"party": "a", "name": "A", "class": "hospital", "country": "DE"}
        for wrong in (
            {"party": "No Spaces"},
            {"name": ""},
            {"class": "Hospital!"},
            {"country": "Germany"},
            {"valid_hours": -1},
            {"extra": 1},
        ):
            with pytest.raises(AnsweredError) as found:
                await federation.control("member.invite", **(good | wrong))
            assert found.value.problem is Slug.USAGE, wrong
        assert json.dumps(await federation.control("member.invite", **good)).count("token") == 1

    run(tmp_path, work)
