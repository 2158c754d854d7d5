"""The control socket: private, one request a connection, streams end with their client, and bugs answer nothing."""

# ruff: noqa: ASYNC240  (looking at a file for a moment blocks nobody in a test)

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from parley_crypto.errors import VerificationError
from parley_protocol.limits import CONTROL_CONNECTIONS, CONTROL_LINE_BYTES
from parley_protocol.problems import Slug
from parley_service.control import ControlServer, call, stream
from parley_service.errors import AnsweredError, ControlError, LockedError, NotRunningError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="control sockets need POSIX")

Scenario = Callable[[Path], Coroutine[Any, Any, None]]


class Service:
    """A service with a few verbs, which remembers how its streams ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def status(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"state": "serving", "asked": dict(arguments)}

    async def refuse(self, _: Mapping[str, Any]) -> None:
        raise ControlError("study x", problem=Slug.WRONG_STATE, wanted="RUNNING", got="AGREED", do="wait")

    async def unverified(self, _: Mapping[str, Any]) -> None:
        raise VerificationError("signature does not verify")

    async def bug(self, _: Mapping[str, Any]) -> None:
        raise ZeroDivisionError

    async def hang(self, _: Mapping[str, Any]) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            self.ended.set()

    async def count(self, arguments: Mapping[str, Any]) -> AsyncGenerator[int, None]:
        for number in range(int(arguments["to"])):
            yield number

    async def follow(self, _: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        try:
            yield "first"
            await asyncio.sleep(3600)
        finally:
            self.ended.set()

    async def half(self, _: Mapping[str, Any]) -> AsyncGenerator[int, None]:
        yield 1
        raise ControlError("study x", problem=Slug.WRONG_STATE)


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Service]:
    service = Service()
    names = ("status", "refuse", "unverified", "bug", "hang", "count", "follow", "half")
    server = ControlServer(path, {name: getattr(service, name) for name in names})
    await server.start()
    try:
        yield service
    finally:
        await server.stop()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario on a path for a socket, in each of the event loops that services use."""
    if request.param == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        return lambda scenario: asyncio.Runner(loop_factory=uvloop.new_event_loop).run(scenario(tmp_path / "state" / "control.sock"))
    return lambda scenario: asyncio.run(scenario(tmp_path / "state" / "control.sock"))


async def raw(path: Path, sent: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(sent)
    line = await reader.readline()
    writer.close()
    answer: dict[str, Any] = json.loads(line)
    return answer


def test_a_verb_answers_and_the_socket_is_private(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path):
            assert await call(path, "status", {"wide": True}) == {"state": "serving", "asked": {"wide": True}}
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert not path.exists()

    run(scenario)


def test_problems_arrive_whole(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path):
            with pytest.raises(AnsweredError, match="wanted RUNNING, got AGREED") as caught:
                await call(path, "refuse")
            assert (caught.value.problem, caught.value.do) == (Slug.WRONG_STATE, "wait")
            with pytest.raises(AnsweredError) as caught:
                await call(path, "unverified")
            assert caught.value.problem is Slug.VERIFICATION_FAILED
            with pytest.raises(AnsweredError) as caught:
                await call(path, "no-such-verb")
            assert caught.value.problem is Slug.NOT_FOUND

    run(scenario)


def test_a_bug_closes_the_connection_is_logged_and_the_service_goes_on(
    run: Callable[[Scenario], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path):
            with pytest.raises(ControlError, match="without an answer") as caught:
                await call(path, "bug")
            assert caught.value.problem is Slug.INTERNAL
            assert (await call(path, "status"))["state"] == "serving"

    with caplog.at_level(logging.ERROR, "asyncio"):
        run(scenario)
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)


def test_streams_yield_and_end(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path):
            assert [item async for item in stream(path, "count", {"to": 3})] == [0, 1, 2]
            assert [item async for item in stream(path, "count", {"to": 0})] == []
            items = stream(path, "half")
            assert await anext(items) == 1
            with pytest.raises(AnsweredError, match="study x"):
                await anext(items)

    run(scenario)


@pytest.mark.parametrize("verb", ["follow", "hang"])
def test_what_a_client_asked_for_ends_when_it_goes_away(run: Callable[[Scenario], None], verb: str) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path) as service:
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(json.dumps({"verb": verb, "arguments": {}}).encode() + b"\n")
            await asyncio.sleep(0.05)
            assert not service.ended.is_set()
            writer.close()
            await asyncio.wait_for(service.ended.wait(), 5)

    run(scenario)


def test_stopping_ends_what_is_being_answered(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path) as service:
            task = asyncio.create_task(call(path, "hang"))
            await asyncio.sleep(0.05)
        assert service.ended.is_set()
        with pytest.raises(ControlError, match="without an answer"):
            await task

    run(scenario)


def test_a_slow_answer_times_out(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path):
            with pytest.raises(ControlError) as caught:
                await call(path, "hang", seconds=0.05)
            assert caught.value.problem is Slug.TIMED_OUT

    run(scenario)


@pytest.mark.parametrize(
    "sent",
    [
        b"not json\n",
        b"[]\n",
        b'{"verb": "status"}\n',
        b'{"verb": 7, "arguments": {}}\n',
        b'{"verb": "status", "arguments": []}\n',
        b'{"verb": "status", "arguments": {}, "as": "root"}\n',
        b"[" * 100_000 + b"\n",
        b'"' + b"x" * (CONTROL_LINE_BYTES + 1),
        b"\xff\n",
    ],
    ids=lambda sent: sent[:20],
)
def test_lines_that_are_no_request_get_a_problem(run: Callable[[Scenario], None], sent: bytes) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path):
            answer = await raw(path, sent)
            assert answer["problem"]["type"] == "urn:parley:problem:malformed-request"
            assert (await call(path, "status"))["state"] == "serving"

    run(scenario)


def test_nobody_there(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        with pytest.raises(NotRunningError, match="nobody listens") as caught:
            await call(path, "status")
        assert caught.value.problem is Slug.NOT_RUNNING

    run(scenario)


def test_a_socket_left_behind_is_replaced_and_a_live_one_is_not(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path):
            with pytest.raises(LockedError):
                async with serving(path):
                    pass
            assert (await call(path, "status"))["state"] == "serving"
            path.rename(path.with_name("other"))
        path.with_name("other").rename(path)
        with pytest.raises(NotRunningError):
            await call(path, "status")
        async with serving(path):
            assert (await call(path, "status"))["state"] == "serving"

    run(scenario)


def test_connections_are_bounded(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        async with serving(path):
            idle = [await asyncio.open_unix_connection(str(path)) for _ in range(CONTROL_CONNECTIONS)]
            await asyncio.sleep(0.05)
            with pytest.raises(AnsweredError) as caught:
                await call(path, "status")
            assert caught.value.problem is Slug.RATE_LIMITED
            for _, writer in idle:
                writer.close()
            await asyncio.sleep(0.05)
            assert (await call(path, "status"))["state"] == "serving"

    run(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_long_path_works(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        deep = path.parent / ("d" * 60) / ("e" * 60) / "control.sock"
        assert len(os.fsencode(deep)) > 108
        async with serving(deep):
            assert (await call(deep, "status"))["state"] == "serving"
        assert not deep.exists()

    run(scenario)


def test_a_file_in_the_way_is_named_and_left_alone(run: Callable[[Scenario], None]) -> None:
    async def scenario(path: Path) -> None:
        path.parent.mkdir()
        path.write_text("policy")
        with pytest.raises(ControlError, match="left alone"):
            await ControlServer(path, {}).start()
        assert path.read_text() == "policy"

    run(scenario)
