"""A party recomputes a round of which a gateway, helped by another member, signed another sum: the study halts, and all are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

import pytest
from parley.demo_studies import SHARED
from parley_party.errors import GatewayRefusedError, GatewayUnreachableError, StudyError
from parley_party.store import Change
from parley_party.tables import CertificateRow
from parley_protocol.messages import Opened
from parley_protocol.negotiation import StudyState
from parley_protocol.problems import Problem, Slug
from parley_protocol.proving import SumNotProvenError

from tests import simulator
from tests.attacks.closed_rounds import Closed, closing, forged, statement
from tests.demo.demo_samples import GATEWAY_KEY, key_of
from tests.party.lying_gateway import TERMS, Scene, play
from tests.party.test_party_lying_gateway import halted

NAME = TERMS.steps[0].segments[0].name


@cache
def closed() -> Closed:
    """Return a round of the demo's members, each with its own key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulator, "party_key", key_of)
        patch.setattr(simulator, "GATEWAY_KEY", GATEWAY_KEY)
        return closing(simulator.Simulation(TERMS), {})


def played(folder: Path, opened: Opened | None, work: Callable[[Scene], Awaitable[None]], **bodies: bytes) -> None:
    """Run `work` at a party that took this round, whose sum was `opened`; None: that took none yet."""

    async def with_round(scene: Scene) -> None:
        one = closed()
        start = f"/v1/studies/{SHARED.id}/rounds/1"
        scene.wire.answers[f"{start}/unmasking"] = one.found.canonical()
        for party, body in (one.bodies | bodies).items():
            scene.wire.answers[f"{start}/updates/{party}"] = body

        async def away(*_: object) -> int:
            raise GatewayUnreachableError("gateway: away")  # what leaves stays where a test sees it

        scene.wire.post = away  # type: ignore[assignment,method-assign]  # the wire
        if opened is not None:
            certificate = one.listed.sign(*(key_of(member.party) for member in TERMS.members)).dump().decode()
            row = CertificateRow(study=SHARED.id, round=1, certificate=certificate, opened=opened.sign(GATEWAY_KEY).dump().decode())
            await scene.store.apply("demo", Change(certificate=row))
        await work(scene)

    play(folder, with_round)


async def recompute(scene: Scene, number: int | None = None) -> int:
    return (await scene.federation.recompute(await scene.row(), number)).updates


@pytest.mark.parametrize("number", [None, 1])
def test_the_true_sum_is_found_again_and_that_is_written_down(tmp_path: Path, number: int | None) -> None:
    async def work(scene: Scene) -> None:
        assert await recompute(scene, number) == len(TERMS.members)
        (note,) = [row for row in await scene.store.evidence(SHARED.id) if row.kind == "sum recomputed"]
        assert Opened.parse(note.body.encode()) == closed().opened
        assert (await scene.row()).state == StudyState.RUNNING

    played(tmp_path, closed().opened, work)


def test_a_sum_that_passed_every_check_is_found_out_and_the_study_halts(tmp_path: Path) -> None:
    signed = statement(TERMS, closed().listed, forged(TERMS, closed(), NAME))

    async def work(scene: Scene) -> None:
        with pytest.raises(SumNotProvenError, match="recomputed from the certified updates"):
            await recompute(scene)
        await halted(scene, f"the gateway signed for {signed.segments[0].body}, they give {closed().opened.segments[0].body}")

    played(tmp_path, signed, work)


def test_what_is_handed_out_in_place_of_a_certified_update_halts_the_study(tmp_path: Path) -> None:
    party, body = next(iter(closed().bodies.items()))

    async def work(scene: Scene) -> None:
        with pytest.raises(SumNotProvenError, match=f"cannot be recomputed .*: sealed update of {party}"):
            await recompute(scene)
        await halted(scene, "round 1 cannot be recomputed from what the gateway hands out")

    played(tmp_path, closed().opened, work, **{party: bytes(len(body))})


def test_nothing_handed_out_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(scene: Scene) -> None:
        async def gone(*_: object) -> bytearray:
            raise GatewayRefusedError(Problem(Slug.NOT_FOUND, "sealed updates of round 1"))

        monkeypatch.setattr(scene.wire, "unmasking", gone)
        with pytest.raises(GatewayRefusedError):
            await recompute(scene)
        assert (await scene.row()).state == StudyState.RUNNING
        assert SHARED.id in scene.federation.runs

    played(tmp_path, closed().opened, work)


def test_after_the_end_a_difference_is_written_down(tmp_path: Path) -> None:
    signed = statement(TERMS, closed().listed, forged(TERMS, closed(), NAME))

    async def work(scene: Scene) -> None:
        row = await scene.row()
        row.state = StudyState.FINISHED
        await scene.store.apply("demo", Change(study=row))
        with pytest.raises(SumNotProvenError):
            await recompute(scene)
        (reason,) = await scene.complaints("sum not proven")
        assert "the gateway signed for" in reason
        assert await scene.store.outgoing("demo") == []
        assert (await scene.row()).state == StudyState.FINISHED

    played(tmp_path, signed, work)


@pytest.mark.parametrize(("opened", "number"), [(False, None), (True, 2)])
def test_a_round_that_was_not_taken_cannot_be_recomputed(tmp_path: Path, number: int | None, *, opened: bool) -> None:
    async def work(scene: Scene) -> None:
        with pytest.raises(StudyError, match=r"among those it has taken|a certified round that this party has taken") as caught:
            await recompute(scene, number)
        assert caught.value.problem is Slug.WRONG_STATE

    played(tmp_path, closed().opened if opened else None, work)


def test_messages_are_taken_while_a_round_is_recomputed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched may take an hour; the party's rounds go on."""

    async def work(scene: Scene) -> None:
        fetched, go_on = scene.wire.update, asyncio.Event()

        async def slow(study: str, number: int, party: str, size: int) -> bytearray:
            await go_on.wait()
            return await fetched(study, number, party, size)

        monkeypatch.setattr(scene.wire, "update", slow)
        running = asyncio.create_task(recompute(scene))
        await asyncio.sleep(0)
        async with asyncio.timeout(10), scene.federation._lock:
            go_on.set()
        assert await running == len(TERMS.members)

    played(tmp_path, closed().opened, work)
