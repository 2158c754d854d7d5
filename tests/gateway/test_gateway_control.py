"""The operator's verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from parley_crypto.checkpoint import parse_and_verify
from parley_crypto.merkle import Frontier, leaf_hash
from parley_gateway.app import control_path
from parley_gateway.config import load
from parley_protocol.problems import Slug
from parley_protocol.records import StudyChange
from parley_service.control import stream
from parley_service.errors import AnsweredError

from tests.gateway.federation import Federation
from tests.gateway.parties import GATEWAY_KEY
from tests.gateway.test_gateway_rounds import ended

NAMES = [f"p{index}" for index in range(4)]


def run(tmp_path: Path, work: Callable[[Federation], Awaitable[None]]) -> None:
    async def inner() -> None:
        federation = await Federation.of(tmp_path, NAMES)
        for party in federation.parties.values():
            party.objective = "a"
        try:
            await work(federation)
        finally:
            await federation.close()

    asyncio.run(inner())


def test_status_says_who_is_here(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        federation.serve("p0")
        await asyncio.sleep(0.6)
        status = await federation.control("status")
        assert {row["party"]: row["connected"] for row in status["members"]} == {"p0": True, "p1": False, "p2": False, "p3": False}
        assert status["fingerprint"] == GATEWAY_KEY.public.fingerprint
        assert status["log_leaves"] == 5
        await federation.silence("p0")
        await asyncio.sleep(0.5)
        assert not (await federation.control("member.show", party="p0"))["connected"]

    run(tmp_path, work)


def test_members_and_invites(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        await federation.invite("p9")
        listed = await federation.control("member.list")
        assert [row["party"] for row in listed["members"]] == NAMES
        assert [(row["party"], row["expired"]) for row in listed["invites"]] == [("p9", False)]
        assert "token" not in str(listed)
        with pytest.raises(AnsweredError) as found:
            await federation.control("member.show", party="p9")
        assert found.value.problem is Slug.NOT_FOUND

    run(tmp_path, work)


def test_what_is_not_an_argument_is_refused(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        for verb, arguments in (("status", {"x": 1}), ("member.show", {}), ("member.show", {"party": 3}), ("study.stop", {"study": "x"})):
            with pytest.raises(AnsweredError) as found:
                await federation.control(verb, **arguments)
            assert found.value.problem in {Slug.USAGE, Slug.UNKNOWN_STUDY}, verb
        for verb in ("study.show", "study.explain", "agreement.show"):
            with pytest.raises(AnsweredError) as found:
                await federation.control(verb, study="none")
            assert found.value.problem is Slug.UNKNOWN_STUDY

    run(tmp_path, work)


def test_the_log_of_a_study_is_followed_to_its_end(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        federation.serve()
        await federation.propose(rounds=2)
        path = control_path(load(tmp_path / "gateway.toml"))
        lines: list[str] = []

        async def follow() -> None:
            async for note in stream(path, "study.logs", {"study": "heart", "follow": True}):
                lines.append(note["text"])  # noqa: PERF401 - what came before the end is looked at meanwhile

        following = asyncio.create_task(follow())
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.FINISHED))
        await federation.until(lambda: bool(lines) and lines[-1].startswith("finished"))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert "round 2 opened: trunk (4 parties), head:a (4 parties)" in lines
        assert lines[0] == "proposed by p0 to p0, p1, p2, p3"

    run(tmp_path, work)


def test_the_leaves_for_an_export_are_exactly_those_of_the_checkpoint(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        path = control_path(load(tmp_path / "gateway.toml"))
        head, *rows = [item async for item in stream(path, "audit.leaves", {})]
        checkpoint = parse_and_verify(head["checkpoint"], GATEWAY_KEY.public, head["origin"])
        tree = Frontier(leaf_hash(row["leaf"].encode()) for row in rows)
        assert (tree.size, tree.root()) == (checkpoint.size, checkpoint.root)
        assert await federation.control("log.checkpoint") == head

    run(tmp_path, work)
