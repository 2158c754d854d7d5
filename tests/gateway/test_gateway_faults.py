"""What a broken or malicious party cannot do to a round, and what happens when the gateway's own disk fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from parley_gateway import rounds as gateway_rounds
from parley_gateway.entries import Entries
from parley_gateway.store import GatewayStore
from parley_gateway.sums import open_round
from parley_protocol.bound import body_size, box_set_digest
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Opened, Withdrawn
from parley_protocol.problems import Slug
from parley_protocol.records import StudyChange
from parley_protocol.unmasking import Unmasking
from parley_service.errors import StoreError

from tests.gateway.federation import Federation, started
from tests.gateway.parties import Party, RefusedError, check_sums
from tests.gateway.test_gateway_rounds import audited, ended

NAMES = [f"p{index}" for index in range(4)]
Before = Callable[[str, str], Awaitable[None]]


def run(tmp_path: Path, work: Callable[[Federation], Awaitable[None]]) -> None:
    async def inner() -> None:
        federation = await Federation.of(tmp_path, NAMES)
        for party in federation.parties.values():
            party.objective = "a"
        try:
            federation.serve()
            await work(federation)
        finally:
            await federation.close()

    asyncio.run(inner())


async def refused(work: Awaitable[Any]) -> Slug:
    with pytest.raises(RefusedError) as found:
        await work
    return found.value.problem.slug


def at(party: Party, kind: str, attack: Callable[[], Awaitable[object]]) -> None:
    """Play an attack when the party is about to take its first message of this kind."""

    async def before(_: str, got: str) -> None:
        if got == kind:
            party.before = None
            await attack()

    party.before = before


def test_no_statement_counts_but_ones_own_of_this_round(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        p1, p2, p3 = (federation.parties[name] for name in ("p1", "p2", "p3"))
        gate = asyncio.Event()
        at(p3, "open", gate.wait)  # the gateway stays in ADVERTISE
        await federation.propose(rounds=1)
        await federation.parties["p0"].start("heart")
        await federation.until(lambda: p1.studies["heart"].state is not None)
        state = p1.studies["heart"].state
        assert state is not None
        advert = Advertise.model_validate(state._advert("p1", state._own_keys))
        envelope = json.loads(advert.sign(p1.identity).dump())
        own = json.dumps(envelope)
        assert await refused(p2.post("advertise", "heart", {"statement": own})) is Slug.PROTOCOL_BROKEN
        for change in ({"round": 9}, {"agreement": "0" * 64}, {"study": "lung"}, {"party": "p2"}, {"step": 1}):
            wrong = Advertise.model_validate(advert.model_dump() | change).sign(p1.identity).dump().decode()
            assert await refused(p1.post("advertise", "heart", {"statement": wrong})) is Slug.PROTOCOL_BROKEN, change
        for statement in ("", "{}", "[]", json.dumps(envelope | {"payload": "bm90IEpTT04="})):
            assert await refused(p1.post("advertise", "heart", {"statement": statement})) is Slug.PROTOCOL_BROKEN
        for kind in ("reveal", "collect"):
            assert await refused(p1.post(kind, "heart", {"statement": own})) is Slug.PROTOCOL_BROKEN, kind
        early = {"agreement": state.spec.agreement, "round": 1, "signature": "A" * 86 + "=="}
        for kind, body in (("confirm", early | {"listed": "0" * 64}), ("release", early)):
            assert await refused(p1.post(kind, "heart", body)) is Slug.PROTOCOL_BROKEN, kind
        await p1.post("advertise", "heart", {"statement": own})
        gate.set()
        await federation.until(ended(federation, StudyChange.FINISHED))
        check_sums(p1.studies["heart"])

    run(tmp_path, work)


def test_a_manifest_counts_only_with_its_body(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        p1 = federation.parties["p1"]
        played: list[Slug] = []

        async def attack() -> None:
            study = p1.studies["heart"]
            assert study.state is not None
            manifest = Manifest.model_validate(
                {
                    **study.state.spec.bound(),
                    "party": "p1",
                    "boxes": box_set_digest(study.terms, study.state.spec.round, study.state.boxes_from),
                    "segments": ("summary",),
                    "size": body_size(study.terms.steps[0], ("summary",)),
                    "body": blake3(b"never sent").hexdigest(),
                }
            )
            played.append(await refused(p1.sign("collect", "heart", manifest)))
            played.append(await refused(p1.sign("collect", "heart", manifest.model_copy(update={"size": 1}))))

        at(p1, "upload", attack)
        await federation.propose(rounds=1)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.FINISHED))
        assert played == [Slug.WRONG_STATE, Slug.PROTOCOL_BROKEN]
        check_sums(p1.studies["heart"])

    run(tmp_path, work)


def test_a_wrong_secret_halts_the_study_and_the_log_says_whose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def culprit(*_: object) -> None:
        raise RemoteProtocolError("round 1: the mask key that p2 shared is not the one it advertised")

    monkeypatch.setattr(gateway_rounds, "open_round", culprit)

    async def work(federation: Federation) -> None:
        await federation.propose(rounds=1)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.STOPPED))
        assert "that p2 shared" in federation.parties["p0"].reasons["heart"]
        status = await federation.control("study.show", study="heart")
        assert (status["state"], status["rounds_done"]) == ("STOPPED", 0)
        await federation.restart()
        assert (await federation.control("study.show", study="heart"))["state"] == "STOPPED"

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")


def test_a_store_that_fails_stops_the_service_and_nothing_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(federation: Federation) -> None:
        p0 = federation.parties["p0"]
        await federation.propose(rounds=4)
        whole = GatewayStore.commit

        async def broken(store: GatewayStore, entries: Entries) -> None:
            if any(event.kind == "confirm" for event in entries.events):
                raise StoreError("the store refused: disk full")
            await whole(store, entries)

        for party in federation.parties.values():
            party.patient = True
        monkeypatch.setattr(GatewayStore, "commit", broken)
        for task in federation.serving.values():
            task.cancel()
        await asyncio.gather(*federation.serving.values(), return_exceptions=True)
        federation.serving.clear()
        await p0.start("heart")
        federation.serve()
        await asyncio.wait_for(federation.gateway.failed.wait(), 10)
        assert "disk full" in str(federation.gateway.failure)
        for name in list(federation.serving):
            with pytest.raises((RefusedError, asyncio.TimeoutError)):
                await asyncio.wait_for(federation.serving[name], 2)
        federation.serving.clear()
        monkeypatch.setattr(GatewayStore, "commit", whole)
        await federation.gateway.stop()
        federation.gateway = await started(tmp_path)
        described = await federation.control("study.show", study="heart")
        assert (described["phase"], described["round"]) == (Phase.CONFIRM, 1)

    run(tmp_path, work)


def test_a_party_that_withdraws_is_not_waited_for(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        p3 = federation.parties["p3"]

        async def withdraws(study: str, kind: str) -> None:
            state = p3.studies["heart"].state if study in p3.studies else None
            if kind == "keys" and state is not None and state.spec.round == 1:
                statement = Withdrawn.model_validate({**state.spec.bound(), "party": "p3", "reason": "our policy ended"})
                await p3.sign("withdrawn", "heart", statement)
                p3.studies["heart"].state = None

        p3.before = withdraws
        await federation.propose(rounds=2, grace=5.0)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.FINISHED), 10)
        lists = federation.parties["p0"].studies["heart"].lists
        assert "p3" not in lists[1]
        assert "p3" in lists[3]

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")


def test_an_update_that_is_missing_in_the_spool_stops_its_study_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_round

    def missing(state: GatewayRound, bodies: Mapping[str, Path], path: Path) -> tuple[Opened, Unmasking]:
        if state.spec.terms.study == "heart":
            bodies["p2"].unlink()
        return whole(state, bodies, path)

    monkeypatch.setattr(gateway_rounds, "open_round", missing)

    async def work(federation: Federation) -> None:
        await federation.propose("heart", rounds=1)
        await federation.propose("lung", rounds=1)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.STOPPED, "heart"))
        assert federation.parties["p0"].reasons["heart"].endswith("an update is missing in the spool (p2)")
        await federation.parties["p0"].start("lung")
        await federation.until(ended(federation, StudyChange.FINISHED, "lung"))
        assert not federation.gateway.failed.is_set()

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")
