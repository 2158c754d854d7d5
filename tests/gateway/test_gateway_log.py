"""Attack: an enrolled party reads in the log what does not concern it: a study that it was not invited to, what others put in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from parley_audit.claims import Audience
from parley_audit.export import write_export
from parley_audit.verify import verify
from parley_crypto.checkpoint import parse_and_verify
from parley_crypto.merkle import Frontier, leaf_hash
from parley_crypto.signing import Envelope
from parley_gateway.store import read_leaves
from parley_party.config import GatewayLink
from parley_party.logexport import FetchedLog, fetch_log
from parley_party.store import LogView
from parley_policies.negotiation.terms import Terms
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.keyparts import KeyPart
from parley_protocol.logentries import HiddenLeaf, hash_of, load_entry
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.problems import Slug
from parley_protocol.records import (
    EnrolmentRecord,
    GatewayRecord,
    OfferRecord,
    Participation,
    PolicyActivated,
    RevocationRecord,
    StudyChange,
    StudyEvent,
)

from tests.gateway.federation import Federation
from tests.gateway.parties import GATEWAY_KEY, Party, RefusedError
from tests.gateway.test_gateway_rounds import NAMES, Folder, ended

PUBLIC = {GatewayRecord.kind, EnrolmentRecord.kind, RevocationRecord.kind}
OF_STUDY = {OfferRecord.kind, Terms.kind, KeyPart.kind, StudyEvent.kind, SurvivorList.kind, Opened.kind}
WHOLE = "/v1/log/entries?start=0&end=256"


def run(tmp_path: Path, work: Callable[[Federation, Party], Awaitable[None]]) -> None:
    """Finish a study of six, each with its policy and offer logged, while a seventh party is enrolled and one is revoked."""

    async def inner() -> None:
        federation = await Federation.of(tmp_path, NAMES)
        outsiders = [await federation.enrol(name) for name in ("q0", "q1")]
        for party in outsiders:
            federation.parties.pop(party.name)
        try:
            federation.serve()
            for party in (*federation.parties.values(), outsiders[0]):
                await party.sign("record", "", PolicyActivated(party=party.name, policy="0" * 64, at=1))
            made = await federation.propose(rounds=2)
            offered = OfferRecord(party="p0", study="heart", proposal=made.digest(), offer="1" * 64, at=1)
            await federation.parties["p0"].sign("record", "heart", offered)
            await federation.parties["p0"].start("heart")
            await federation.until(ended(federation, StudyChange.FINISHED))
            await federation.control("member.revoke", party="q1", reason="left")
            await work(federation, outsiders[0])
        finally:
            for party in outsiders:
                await party.__aexit__()
            await federation.close()

    asyncio.run(inner())


async def entries(party: Party, target: str = WHOLE) -> list[dict[str, str]]:
    answer = await party.request("GET", target)
    rows: list[dict[str, str]] = answer["entries"]
    return rows


def kinds(rows: list[dict[str, str]]) -> Counter[str]:
    return Counter(Envelope.load(row["leaf"].encode()).payload_type for row in rows if "leaf" in row)


def payloads(rows: list[dict[str, str]]) -> list[bytes]:
    return [Envelope.load(row["leaf"].encode()).payload for row in rows if "leaf" in row]


async def require_whole_tree(party: Party, rows: list[dict[str, str]]) -> None:
    note = (await party.request("GET", "/v1/log/checkpoint"))["checkpoint"]
    checkpoint = parse_and_verify(note, GATEWAY_KEY.public, "gw.example/log")
    tree = Frontier(hash_of(load_entry(row)) for row in rows)
    assert (tree.size, tree.root()) == (checkpoint.size, checkpoint.root)


def test_an_uninvited_party_reads_nothing_of_a_study(tmp_path: Path) -> None:
    async def work(federation: Federation, stranger: Party) -> None:
        rows = await entries(stranger)
        assert kinds(rows) == {GatewayRecord.kind: 1, EnrolmentRecord.kind: 8, RevocationRecord.kind: 1, PolicyActivated.kind: 1}
        assert not any(b"heart" in payload for payload in payloads(rows))
        assert [PolicyActivated.parse(p).party for p in payloads(rows) if b'"policy"' in p] == ["q0"]
        hidden = [index for index, row in enumerate(rows) if "hash" in row]
        assert all(set(rows[index]) == {"hash"} for index in hidden)
        for index in hidden:  # asked for alone, each stays hidden
            assert await entries(stranger, f"/v1/log/entries?start={index}&end={index + 1}") == [rows[index]]
        await require_whole_tree(stranger, rows)
        for target in ("", "/history?after=0", "/sums/1"):
            with pytest.raises(RefusedError) as refused:
                await stranger.request("GET", f"/v1/studies/heart{target}")
            assert refused.value.problem.slug is Slug.UNKNOWN_STUDY
        assert federation.parties["p0"].studies["heart"].number == 3

    run(tmp_path, work)


def test_a_member_reads_its_study_and_of_participation_records_its_own(tmp_path: Path) -> None:
    async def work(federation: Federation, _: Party) -> None:
        for name in ("p0", "p5"):
            rows = await entries(federation.parties[name])
            found = kinds(rows)
            assert set(found) == PUBLIC | OF_STUDY | {PolicyActivated.kind, Participation.kind}
            assert (found[Terms.kind], found[SurvivorList.kind], found[Opened.kind]) == (
                1,
                3,
                3,
            )  # one round of statistics, two of training
            assert (found[PolicyActivated.kind], found[Participation.kind]) == (1, 1)
            own = [p for p in payloads(rows) if b'"joined"' in p]
            assert [Participation.parse(payload).party for payload in own] == [name]
            await require_whole_tree(federation.parties[name], rows)

    run(tmp_path, work)
    _, leaves = read_leaves(tmp_path / "data" / "gateway.db")
    assert Counter(Envelope.load(leaf).payload_type for leaf in leaves)[Participation.kind] == len(NAMES)


def test_who_was_invited_keeps_reading_after_a_restart(tmp_path: Path) -> None:
    async def work(federation: Federation, stranger: Party) -> None:
        member = federation.parties["p1"]
        before, others = await entries(member), await entries(stranger)
        await federation.silence(*NAMES)
        await federation.restart()
        stranger.port = federation.port
        after = (await entries(member), await entries(stranger))
        assert (after[0][: len(before)], after[1][: len(others)]) == (before, others)

    run(tmp_path, work)


def _link(federation: Federation) -> GatewayLink:
    return GatewayLink(url=f"http://127.0.0.1:{federation.port}", fingerprint=GATEWAY_KEY.public.fingerprint)


async def _fetched(federation: Federation, party: Party) -> FetchedLog:
    return await fetch_log(_link(federation), party=party.name, key=party.authentication, seen=LogView(0, 0, ""))


def test_what_a_party_fetches_makes_an_export_that_verifies(tmp_path: Path) -> None:
    async def work(federation: Federation, stranger: Party) -> None:
        for party, studies in ((federation.parties["p2"], ["heart"]), (stranger, [])):
            log = await _fetched(federation, party)
            assert log.party == party.name
            folder = Folder()
            header = write_export(
                folder,
                log.leaves,
                checkpoint=log.checkpoint,
                gateway=log.key,
                origin=log.origin,
                audience=Audience.PARTY,
                party=log.party,
            )
            report = verify(folder, gateway_key=GATEWAY_KEY.public)
            assert report.ok, report.fault
            assert [study.study for study in report.studies] == studies
            assert report.withheld == header.withheld == sum(isinstance(leaf, HiddenLeaf) for leaf in log.leaves)

    run(tmp_path, work)


def test_a_hash_that_the_gateway_makes_up_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(federation: Federation, stranger: Party) -> None:
        def made_up(row: Any) -> Any:  # noqa: ANN401 - JSON
            entry = load_entry(row)
            return HiddenLeaf(leaf_hash(b"made up")) if isinstance(entry, HiddenLeaf) else entry

        monkeypatch.setattr("parley_party.client.load_entry", made_up)
        with pytest.raises(RemoteProtocolError, match="not those of the checkpoint"):
            await _fetched(federation, stranger)

    run(tmp_path, work)
