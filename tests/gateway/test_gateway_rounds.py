"""Whole studies against a running gateway: sums exact to the bit, dropouts, restarts, ends; and the log that an audit accepts."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import pytest
from parley_audit.claims import Audience
from parley_audit.export import write_export
from parley_audit.verify import verify
from parley_gateway.store import read_everything, read_leaves
from parley_protocol.ids import Phase
from parley_protocol.problems import Slug
from parley_protocol.records import StudyChange

from tests.gateway.federation import Federation
from tests.gateway.parties import GATEWAY_KEY, RefusedError, check_sums

NAMES = [f"p{index}" for index in range(6)]


class Folder:
    """An export in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        files = self.files

        class File(io.BytesIO):
            def close(self) -> None:
                files[name] = self.getvalue()
                super().close()

        return File()

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        return io.BytesIO(self.files[name])

    def names(self) -> list[str]:
        return list(self.files)


def audited(tmp_path: Path) -> tuple[bool, str]:
    """Export the whole log of a stopped gateway and verify it as an auditor would."""
    note, leaves = read_leaves(tmp_path / "data" / "gateway.db")
    folder = Folder()
    write_export(folder, leaves, checkpoint=note, gateway=GATEWAY_KEY.public, origin="gw.example/log", audience=Audience.PARTY)
    report = verify(folder, gateway_key=GATEWAY_KEY.public)
    return report.ok, str(report.fault)


def spooled(tmp_path: Path) -> set[tuple[str, int]]:
    """Return who has files in the spool, and how many."""
    return set(Counter(path.parent.name for path in (tmp_path / "data" / "spool").glob("*/*")).items())


def run(tmp_path: Path, work: Callable[[Federation], Awaitable[None]], names: list[str] | None = None) -> None:
    async def inner() -> None:
        federation = await Federation.of(tmp_path, names or NAMES)
        try:
            federation.serve()
            await work(federation)
        finally:
            await federation.close()

    asyncio.run(inner())


def ended(federation: Federation, change: str, study: str = "heart") -> Callable[[], bool]:
    return lambda: all(change in party.studies[study].events for party in federation.parties.values())


def test_a_study_runs_to_its_end_and_every_sum_is_exact(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        await federation.propose(rounds=3)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.FINISHED))
        for party in federation.parties.values():
            study = party.studies["heart"]
            assert study.number == 4
            assert {segment for _, segment in study.sums} == {"summary", "trunk", "head:a", "head:b"}
            check_sums(study)
        assert spooled(tmp_path) == {(name, 1) for name in NAMES}, "the last round's updates, and no other"
        history = await federation.parties["p3"].request("GET", "/v1/studies/heart/history?after=1")
        assert [row["round"] for row in history["rounds"]] == [2, 3, 4]

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")
    stored = read_everything(tmp_path / "data" / "gateway.db")
    assert stored.events == ()
    assert [study.state for study in stored.studies] == ["FINISHED"]


def test_a_party_that_dies_before_its_upload_is_left_out_and_joins_again(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        lost = federation.parties["p1"]

        async def dies(_: str, kind: str) -> None:
            if kind == "upload" and lost.studies["heart"].number == 1:
                lost.before = None
                raise ConnectionAbortedError

        lost.before = dies
        await federation.propose(rounds=4, grace=0.4)
        await federation.parties["p0"].start("heart")
        others = [name for name in NAMES if name != "p1"]
        task = federation.serving.pop("p1")
        with pytest.raises(ConnectionAbortedError):
            await task
        await federation.rounds("heart", 3, *others)
        run_of = federation.parties["p0"].studies["heart"]
        assert "p1" not in run_of.lists[2]
        assert {segment for number, segment in run_of.sums if number == 2} == {"trunk", "head:b"}
        lost.studies["heart"].state = None  # its process starts again
        federation.serve("p1")
        await federation.until(ended(federation, StudyChange.FINISHED))
        assert lost.studies["heart"].chain == run_of.chain
        for party in federation.parties.values():
            check_sums(party.studies["heart"])
        assert "p1" in run_of.lists[max(run_of.lists)]

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")


def test_a_round_that_cannot_go_on_waits_and_says_for_whom(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        for name in ("p4", "p5"):
            party = federation.parties[name]

            async def dies(_: str, kind: str) -> None:
                if kind == "upload":
                    await asyncio.sleep(60)

            party.before = dies
        await federation.propose(rounds=1, grace=0.3)
        await federation.parties["p0"].start("heart")

        async def waits() -> list[str]:
            status: list[str] = (await federation.control("study.show", study="heart"))["waits_for"]
            return status

        async with asyncio.timeout(10):
            while await waits() != ["p4", "p5"]:  # noqa: ASYNC110 - the gateway tells nobody when it begins to wait
                await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        assert await waits() == ["p4", "p5"]
        assert federation.parties["p0"].studies["heart"].number == 0
        described = await federation.parties["p0"].request("GET", "/v1/studies/heart")
        assert (described["phase"], described["waits_for"]) == (Phase.COLLECT, ["p4", "p5"])

    run(tmp_path, work)


@pytest.mark.parametrize("kind", ["open", "keys", "boxes", "upload", "list", "certified", "opened"])
def test_a_gateway_that_is_restarted_at_any_moment_goes_on(tmp_path: Path, kind: str) -> None:
    """The third party meets a restart when it is about to take this message of round 2; the others find the gateway away for a moment."""

    async def work(federation: Federation) -> None:
        for party in federation.parties.values():
            party.patient = True
        third = federation.parties["p2"]
        restarting: list[asyncio.Task[None]] = []

        async def restarts(_: str, got: str) -> None:
            if got == kind and third.studies["heart"].number == 1 and not restarting:
                restarting.append(asyncio.create_task(federation.restart()))
                await asyncio.sleep(0.05)

        third.before = restarts
        await federation.propose(rounds=3)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.FINISHED), 40)
        assert len(restarting) == 1
        await restarting[0]
        for party in federation.parties.values():
            assert party.studies["heart"].number == 4
            assert party.errors == []
            check_sums(party.studies["heart"])

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")


def test_a_late_post_is_answered_as_if_it_had_counted(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        posts: list[tuple[str, str, dict[str, str]]] = []
        first = federation.parties["p0"]
        plain, upload = first.post, first.upload
        bodies: list[bytes] = []

        async def remembered(kind: str, study: str, body: dict[str, str]) -> str:
            posts.append((kind, study, body))
            return await plain(kind, study, body)

        async def kept(body: bytes, digest: str | None = None) -> int:
            bodies.append(body)
            return await upload(body, digest)

        first.post = remembered  # type: ignore[assignment,method-assign]  # a wire tap
        first.upload = kept  # type: ignore[method-assign]  # and another
        await federation.propose(rounds=1)
        await first.start("heart")
        await federation.until(ended(federation, StudyChange.FINISHED))
        leaves = len((await first.request("GET", "/v1/log/entries?start=0&end=256"))["entries"])
        last = spooled(tmp_path)
        assert last == {(name, 1) for name in NAMES}
        for late in bodies:
            await upload(late)
        assert spooled(tmp_path) == (last - {("p0", 1)}) | {("p0", 2)}
        for kind, study, body in posts:
            await plain(kind, study, body)
            raw = json.dumps({"kind": kind, "study": study, "body": body, "more": ""}).encode()
            with pytest.raises(RefusedError):
                await first.request("POST", "/v1/messages", raw)
        assert len((await first.request("GET", "/v1/log/entries?start=0&end=256"))["entries"]) == leaves
        assert spooled(tmp_path) == last, "an update that came too late is not kept"

    run(tmp_path, work)


def test_a_member_stops_a_study_and_an_open_round_is_finished_first(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        stopper = federation.parties["p5"]
        asked: list[str] = []

        async def stops(study: str, kind: str) -> None:
            if kind == "list" and stopper.studies["heart"].number == 2 and not asked:
                asked.append(await stopper.sign("stop", study, stopper.event(study, StudyChange.STOPPED, "our board said so")))

        stopper.before = stops
        await federation.propose(rounds=9)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.STOPPED))
        assert {party.studies["heart"].number for party in federation.parties.values()} == {3}
        assert stopper.reasons["heart"] == "stopped by p5: our board said so"

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")


def test_the_operator_stops_a_study_between_rounds(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        await federation.propose(rounds=9, grace=0.3)
        await federation.silence("p0", "p1")
        party = federation.parties["p0"]
        await party.start("heart")
        await asyncio.sleep(0.5)
        stopped = await federation.control("study.stop", study="heart", reason="maintenance")
        assert (stopped["state"], stopped["rounds_done"]) == ("STOPPED", 0)
        federation.serve()
        await federation.until(ended(federation, StudyChange.STOPPED))

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")


def test_a_study_is_for_its_members(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        await federation.propose(rounds=1)
        stranger = await federation.enrol("stranger")
        for target in ("/v1/studies/heart", "/v1/studies/heart/sums/1", "/v1/studies/heart/history?after=0"):
            with pytest.raises(RefusedError) as found:
                await stranger.request("GET", target)
            assert found.value.problem.slug is Slug.UNKNOWN_STUDY
        assert await stranger.request("GET", "/v1/studies") == {"studies": []}
        with pytest.raises(RefusedError) as found:
            await federation.parties["p0"].request("GET", "/v1/studies/heart/sums/7")
        assert found.value.problem.slug is Slug.NOT_FOUND
        with pytest.raises(RefusedError) as found:
            await federation.parties["p1"].start("heart")
        assert found.value.problem.slug is Slug.NOT_ENTITLED
        del federation.parties["stranger"]
        await stranger.__aexit__()

    run(tmp_path, work)


def test_two_studies_run_side_by_side(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        await federation.propose("one", rounds=2)
        await federation.propose("two", rounds=2)
        await asyncio.gather(federation.parties["p0"].start("one"), federation.parties["p0"].start("two"))
        await federation.until(
            lambda: ended(federation, StudyChange.FINISHED, "one")() and ended(federation, StudyChange.FINISHED, "two")()
        )
        for party in federation.parties.values():
            check_sums(party.studies["one"])
            check_sums(party.studies["two"])

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")
