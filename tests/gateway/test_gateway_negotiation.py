"""From a proposal to an agreement, or to none: each answer verified, each end said to everyone and logged."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_gateway.negotiation import StudyRecord
from parley_gateway.store import read_everything, read_leaves, read_notes
from parley_policies.negotiation.agreement import Refusal, acceptance
from parley_policies.negotiation.offer import Decline
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import Terms
from parley_protocol.keyparts import KeyPart, graph_seed
from parley_protocol.negotiation import NO_TERMS, Terminated, TermsProposed
from parley_protocol.problems import Slug
from parley_protocol.records import EnrolmentRecord, GatewayRecord, StudyChange, StudyEvent

from tests.gateway.federation import Federation, proposal, started, write_config
from tests.gateway.parties import Party, RefusedError
from tests.member_secrets import accept_post, secrets_of

NAMES = [f"p{index}" for index in range(4)]


def run(tmp_path: Path, work: Callable[[Federation], Awaitable[None]], clock: Callable[[], float] = time.time) -> None:
    async def inner() -> None:
        federation = Federation(tmp_path, await started(tmp_path, clock))
        try:
            for name in NAMES:
                await federation.enrol(name)
            await work(federation)
        finally:
            await federation.close()

    asyncio.run(inner())


async def refused(work: Awaitable[Any]) -> Slug:
    with pytest.raises(RefusedError) as found:
        await work
    return found.value.problem.slug


def last_event(tmp_path: Path) -> StudyEvent:
    _, leaves = read_leaves(tmp_path / "data" / "gateway.db")
    return StudyEvent.parse(Envelope.load(leaves[-1]).payload)


async def state(federation: Federation, study: str = "heart") -> str:
    return str((await federation.control("study.show", study=study))["state"])


def test_a_proposal_is_its_sponsors_and_names_enrolled_parties(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        p0, p1 = federation.parties["p0"], federation.parties["p1"]
        made = proposal("heart", NAMES)
        assert await refused(p1.sign("propose", "heart", made)) is Slug.NOT_ENTITLED
        assert await refused(p0.sign("propose", "lung", made)) is Slug.PROTOCOL_BROKEN
        text = made.sign(SigningKey(bytes(32))).dump().decode()
        assert await refused(p0.post("propose", "heart", {"statement": text})) is Slug.VERIFICATION_FAILED
        with pytest.raises(RefusedError, match="got nobody, p9"):
            await p0.sign("propose", "heart", proposal("heart", [*NAMES, "nobody", "p9"]))
        assert await refused(p0.sign("propose", "heart", proposal("heart", NAMES, answer_by="2020-01-01"))) is Slug.MALFORMED_REQUEST
        await p0.sign("propose", "heart", made)
        await p0.sign("propose", "heart", made)  # again: nothing happens
        assert await refused(p0.sign("propose", "heart", proposal("heart", NAMES, rounds=7))) is Slug.CONFLICT
        for party in federation.parties.values():
            assert [message["kind"] for message in await party.poll()] == ["request"]

    run(tmp_path, work)


def test_when_all_signed_the_agreement_is_in_the_log(tmp_path: Path) -> None:
    shared: set[tuple[bytes, bytes]] = set()

    async def work(federation: Federation) -> None:
        federation.serve()
        await federation.propose()
        shown = await federation.control("study.show", study="heart")
        assert (shown["state"], shown["waits_for"]) == ("FINALIZED", ["p0"])
        agreement = await federation.control("agreement.show", study="heart")
        assert agreement["digest"] == federation.parties["p2"].studies["heart"].terms.digest()
        explained = await federation.control("study.explain", study="heart")
        assert ["who", "p0", "takes part"] in explained["rows"]
        shared.update((keys.members_key, keys.graph_seed) for keys in (party.keys["heart"] for party in federation.parties.values()))

    run(tmp_path, work)
    _, leaves = read_leaves(tmp_path / "data" / "gateway.db")
    kinds = [Envelope.load(leaf).payload_type for leaf in leaves]
    assert kinds[-6:] == [Terms.kind, *[KeyPart.kind] * len(NAMES), StudyEvent.kind]
    assert len(Envelope.load(leaves[-6]).signatures) == len(NAMES)
    ((members_key, seed),) = shared
    raw = (tmp_path / "data" / "gateway.db").read_bytes()
    assert not any(form in raw for form in (members_key, members_key.hex().encode(), secrets_of("p0").key_part.hex().encode()))
    stored = read_everything(tmp_path / "data" / "gateway.db")
    (entry,) = stored.studies
    proposed = Proposal.parse(Envelope.load(entry.proposal.encode()).payload)
    terms = Terms.parse(Envelope.load(leaves[-6]).payload)
    record = StudyRecord(entry, proposed, {answer.party: answer for answer in stored.answers}, terms)
    assert record.graph_seed() == seed
    assert {answer.boxes for answer in stored.answers} == {""}
    parts = [KeyPart.parse(Envelope.load(leaf).payload) for leaf in leaves[-5:-1]]
    assert graph_seed(terms, {part.party: part for part in parts}) == seed


def test_a_party_that_declines_is_left_out(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        p0, p3 = federation.parties["p0"], federation.parties["p3"]
        made = proposal("heart", NAMES)
        await p0.sign("propose", "heart", made)
        decline = Decline(study="heart", proposal_digest=made.digest(), party="p3")
        assert await refused(federation.parties["p2"].sign("decline", "heart", decline)) is Slug.PROTOCOL_BROKEN
        await p3.sign("decline", "heart", decline)
        other = proposal("heart", NAMES, rounds=8).digest()
        assert await refused(p3.sign("decline", "heart", Decline(study="heart", proposal_digest=other, party="p3"))) is Slug.PROTOCOL_BROKEN
        federation.serve("p0", "p1", "p2")
        await federation.until(lambda: all("heart" in federation.parties[name].studies for name in NAMES[:3]))
        assert [message["kind"] for message in await p3.poll()] == ["request", "terminated"]
        assert [member.party for member in p0.studies["heart"].terms.members] == NAMES[:3]
        start = p0.event("heart", StudyChange.STARTED, "").model_copy(update={"by": "p3"})
        assert await refused(p3.sign("start", "heart", start)) is Slug.UNKNOWN_STUDY
        assert p3.reasons == {}
        await _require_nothing_shown(p3, "heart")

    run(tmp_path, work)


async def _require_nothing_shown(party: Party, study: str) -> None:
    """A party that is left out reads no more of the study than one that was never invited."""
    assert (await party.request("GET", "/v1/studies"))["studies"] == []
    assert await refused(party.request("GET", f"/v1/studies/{study}")) is Slug.UNKNOWN_STUDY
    rows = (await party.request("GET", "/v1/log/entries?start=0&end=256"))["entries"]
    shown = [Envelope.load(row["leaf"].encode()) for row in rows if "leaf" in row]
    assert {envelope.payload_type for envelope in shown} == {GatewayRecord.kind, EnrolmentRecord.kind}
    assert len(shown) < len(rows)


def test_offers_that_cannot_meet_end_it_and_only_the_operator_reads_why(tmp_path: Path) -> None:
    """Which clause stands against it is its owner's; the operator of the gateway holds the offers anyway."""

    async def work(federation: Federation) -> None:
        for party in federation.parties.values():
            party.floor = 9
        federation.serve()
        await federation.parties["p0"].sign("propose", "heart", proposal("heart", NAMES))
        await federation.until(lambda: all("heart" in party.reasons for party in federation.parties.values()))
        assert {party.reasons["heart"] for party in federation.parties.values()} == {NO_TERMS}
        described = await federation.control("study.show", study="heart")
        assert (described["state"], described["reason"]) == ("TERMINATED", NO_TERMS)

    run(tmp_path, work)
    assert any("sums.min_parties" in note.text for note in read_notes(tmp_path / "data" / "gateway.db", "heart"))
    event = last_event(tmp_path)
    assert (event.change, event.by, event.agreement, event.reason) == (StudyChange.TERMINATED, None, None, NO_TERMS)


def test_when_all_decline_everybody_is_told_the_same(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        made = proposal("heart", NAMES)
        await federation.parties["p0"].sign("propose", "heart", made)
        for name, party in federation.parties.items():
            await party.sign("decline", "heart", Decline(study="heart", proposal_digest=made.digest(), party=name))
        for party in federation.parties.values():
            party.cursor = (await party.poll())[0]["seq"]  # what was asked
            (ended,) = await party.poll(5)
            assert Terminated.model_validate(ended["body"]).reason == NO_TERMS

    run(tmp_path, work)


# how often a sponsor may propose

LIMITED = """proposals_a_day_per_sponsor = 2
proposals_a_month_per_sponsor = 3
"""


def test_a_sponsor_proposes_so_often_and_no_more(tmp_path: Path) -> None:
    write_config(tmp_path, LIMITED)
    days = [0.0]

    async def propose(federation: Federation, study: str, *names: str) -> None:
        await federation.parties[names[0]].sign("propose", study, proposal(study, names))

    async def work(federation: Federation) -> None:
        for party in federation.parties.values():
            party.clock = lambda: time.time() + days[0]
        await propose(federation, "one", *NAMES)
        await propose(federation, "two", *NAMES[:3])  # others are invited: counted all the same
        with pytest.raises(RefusedError, match="too-many-proposals: proposals of p0, wanted at most 2 a day, got one more, before 2"):
            await propose(federation, "three", *NAMES)
        await propose(federation, "three", *reversed(NAMES))  # of another sponsor
        await federation.restart()  # it is kept
        assert await refused(propose(federation, "four", *NAMES)) is Slug.TOO_MANY_PROPOSALS
        days[0] = 86_400.0 + 60
        await propose(federation, "four", *NAMES)
        with pytest.raises(RefusedError, match="at most 3 in 30 days"):
            await propose(federation, "five", *NAMES)
        days[0] = 30 * 86_400.0 + 60
        await propose(federation, "five", *NAMES)

    run(tmp_path, work, lambda: time.time() + days[0])


def test_a_member_that_refuses_the_terms_ends_it(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        p3 = federation.parties["p3"]
        federation.serve("p0", "p1", "p2")
        await federation.parties["p0"].sign("propose", "heart", proposal("heart", NAMES))
        (request,) = await p3.poll(5)
        await p3.take(request)
        p3.cursor = request["seq"]
        (proposed,) = await p3.poll(5)
        terms = Terms.parse(TermsProposed.model_validate(proposed["body"]).terms.encode())
        wrong = Refusal(study="heart", terms_digest="0" * 64, party="p3")
        assert await refused(p3.sign("refuse", "heart", wrong)) is Slug.PROTOCOL_BROKEN
        right = accept_post(terms, "p3", p3.identity)
        await _refuse_bad_key_parts(p3, terms, right)
        stranger = acceptance(terms, federation.parties["p1"].identity).dump().decode()
        assert await refused(p3.post("accept", "heart", right | {"statement": stranger})) is Slug.VERIFICATION_FAILED
        changed = terms.model_copy(update={"threshold": 2})
        other = changed.sign(p3.identity).dump().decode()
        assert await refused(p3.post("accept", "heart", right | {"statement": other})) is Slug.VERIFICATION_FAILED
        await p3.sign("refuse", "heart", wrong.model_copy(update={"terms_digest": terms.digest()}))
        await federation.until(lambda: "heart" in federation.parties["p0"].reasons)
        assert federation.parties["p0"].reasons["heart"] == "p3 did not sign: this party's policy does not permit the study"
        assert await refused(p3.post("accept", "heart", right)) is Slug.PROTOCOL_BROKEN

    run(tmp_path, work)
    assert last_event(tmp_path).change is StudyChange.TERMINATED


async def _refuse_bad_key_parts(p3: Party, terms: Terms, right: Mapping[str, Any]) -> None:
    """What the gateway can see without opening a box: whose key part it is, what it was committed to, and how many boxes of which size."""
    boxes: dict[str, str] = dict(right["boxes"])
    part = KeyPart.parse(Envelope.load(right["key_part"].encode()).payload)
    short = base64.b64encode(base64.b64decode(boxes["p0"])[:-1]).decode()
    for change, slug in (
        ({"key_part": accept_post(terms, "p2", SigningKey(bytes(32)))["key_part"]}, Slug.VERIFICATION_FAILED),
        ({"key_part": part.model_copy(update={"seed_part": "1" * 64}).sign(p3.identity).dump().decode()}, Slug.VERIFICATION_FAILED),
        ({"key_part": part.model_copy(update={"party": "p2"}).sign(p3.identity).dump().decode()}, Slug.PROTOCOL_BROKEN),
        ({"boxes": {name: box for name, box in boxes.items() if name != "p0"}}, Slug.PROTOCOL_BROKEN),
        ({"boxes": boxes | {"p3": boxes["p0"]}}, Slug.PROTOCOL_BROKEN),
        ({"boxes": boxes | {"p0": short}}, Slug.PROTOCOL_BROKEN),
        ({"boxes": boxes | {"p0": boxes["p1"]}}, Slug.PROTOCOL_BROKEN),  # not what it signed
    ):
        assert await refused(p3.post("accept", "heart", {**right, **change})) is slug, change


def test_the_sponsor_takes_a_proposal_back(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        p0, p1 = federation.parties["p0"], federation.parties["p1"]
        await p0.sign("propose", "heart", proposal("heart", NAMES))
        event = StudyEvent(
            study="heart", change=StudyChange.TERMINATED, by="p1", agreement=None, certificates=0, head=None, reason="no", at=1
        )
        assert await refused(p1.sign("stop", "heart", event)) is Slug.NOT_ENTITLED
        await p0.sign("stop", "heart", event.model_copy(update={"by": "p0", "reason": "a mistake"}))
        assert [message["kind"] for message in await p1.poll()] == ["request", "terminated"]

    run(tmp_path, work)
    event = last_event(tmp_path)
    assert (event.change, event.by, event.reason) == (StudyChange.TERMINATED, "p0", "a mistake")


def test_after_the_day_for_answers_terms_are_computed_from_what_came(tmp_path: Path) -> None:
    days = [0.0]

    async def work(federation: Federation) -> None:
        today = datetime.now(UTC).date()
        federation.serve("p0", "p1", "p2")
        await federation.parties["p0"].sign("propose", "heart", proposal("heart", NAMES, answer_by=today + timedelta(days=1)))
        await asyncio.sleep(0.5)
        assert (await federation.control("study.show", study="heart"))["waits_for"] == ["p3"]
        for party in federation.parties.values():
            party.clock = lambda: time.time() + days[0]
        days[0] = 2 * 86_400.0
        await federation.until(lambda: all("heart" in federation.parties[name].studies for name in NAMES[:3]))
        p3 = federation.parties["p3"]
        (request, *_) = await p3.poll(5)
        assert await refused(p3.take(request)) is Slug.WRONG_STATE

    run(tmp_path, work, lambda: time.time() + days[0])


def test_a_negotiation_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        for party in federation.parties.values():
            party.patient = True
        federation.serve("p0", "p1")
        await federation.parties["p0"].sign("propose", "heart", proposal("heart", NAMES))
        await asyncio.sleep(0.2)
        await federation.restart()
        federation.serve("p2")
        await asyncio.sleep(0.2)
        await federation.restart()
        federation.serve("p3")
        await federation.until(lambda: all("heart" in party.studies for party in federation.parties.values()))
        await federation.restart()
        assert await state(federation) == "FINALIZED"

    run(tmp_path, work)
