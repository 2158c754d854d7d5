"""The HTTP interface refuses what it must, and says why in problem+json."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from blake3 import blake3
from parley_crypto.keys import SigningKey
from parley_gateway.store import read_leaves
from parley_protocol.limits import MESSAGE_BYTES
from parley_protocol.problems import Slug
from parley_protocol.records import PolicyActivated
from parley_service.auth import Audience, new_instance

from tests.gateway.federation import Federation, started, write_config
from tests.gateway.parties import GATEWAY_KEY, URL, Party, RefusedError


def run(tmp_path: Path, work: Callable[[Federation, Party], Awaitable[None]]) -> None:
    async def inner() -> None:
        federation = Federation(tmp_path, await started(tmp_path))
        try:
            await work(federation, await federation.enrol("a"))
        finally:
            await federation.close()

    asyncio.run(inner())


async def refused(work: Awaitable[Any]) -> Slug:
    with pytest.raises(RefusedError) as found:
        await work
    return found.value.problem.slug


def test_the_greeting_says_who_this_is(tmp_path: Path) -> None:
    async def work(_: Federation, a: Party) -> None:
        greeting = await a.greet()
        assert (greeting["id"], greeting["url"], greeting["key"]) == ("gw.example", URL, GATEWAY_KEY.public.hex)
        assert greeting["log_origin"] == "gw.example/log"
        assert greeting["operator"]["subprocessors"] == []
        assert abs(greeting["time"] - time.time()) < 5
        assert greeting["limits"]["chunk_bytes"] == 1 << 20

    run(tmp_path, work)


def test_a_request_without_a_token_that_holds_is_refused(tmp_path: Path) -> None:
    async def work(_: Federation, a: Party) -> None:
        target = "/v1/members"
        await a.greet()
        assert await refused(a.send("GET", target, b"", {})) is Slug.NOT_AUTHENTICATED
        assert await refused(a.send("GET", target, b"", {"Authorization": "Basic YTpi"})) is Slug.NOT_AUTHENTICATED
        assert await refused(a.request("GET", target, key=SigningKey(bytes(32)))) is Slug.WRONG_KEY
        assert await refused(a.request("GET", target, key=a.identity)) is Slug.WRONG_KEY
        assert await refused(a.request("GET", target, party="nobody")) is Slug.UNKNOWN_PARTY
        assert await refused(a.request("GET", target, now=time.time() + 100)) is Slug.CLOCK_SKEW
        assert await refused(a.request("GET", target, now=time.time() - 100)) is Slug.CLOCK_SKEW
        assert (
            await refused(a.request("GET", target, audience=Audience("https://evil.example", GATEWAY_KEY.public.fingerprint)))
            is Slug.NOT_AUTHENTICATED
        )
        assert await refused(a.request("GET", target, instance=new_instance())) is Slug.STALE_INSTANCE

    run(tmp_path, work)


def test_a_token_is_good_for_one_request(tmp_path: Path) -> None:
    async def work(federation: Federation, a: Party) -> None:
        await a.greet()
        raw = json.dumps({"kind": "record", "study": "", "body": {"statement": "{}"}}).encode()
        headers = {"Authorization": "Bearer " + a.token("GET", "/v1/members", b"")}
        await a.send("GET", "/v1/members", b"", headers)
        assert await refused(a.send("GET", "/v1/members", b"", headers)) is Slug.REPLAYED_REQUEST
        await federation.restart()
        assert await refused(a.send("GET", "/v1/members", b"", headers)) is Slug.STALE_INSTANCE
        await a.greet()
        headers = {"Authorization": "Bearer " + a.token("POST", "/v1/messages", raw)}
        assert await refused(a.send("POST", "/v1/messages", raw + b" ", headers)) is Slug.NOT_AUTHENTICATED
        headers = {"Authorization": "Bearer " + a.token("GET", "/v1/inbox?after=0&wait=0", b"")}
        assert await refused(a.send("GET", "/v1/inbox?after=1&wait=0", b"", headers)) is Slug.NOT_AUTHENTICATED

    run(tmp_path, work)


def test_bodies_are_strict_and_bounded(tmp_path: Path) -> None:
    async def work(_: Federation, a: Party) -> None:
        async def posted(body: object) -> Slug:
            return await refused(a.request("POST", "/v1/messages", body if isinstance(body, bytes) else json.dumps(body).encode()))

        assert await posted(b"{") is Slug.MALFORMED_REQUEST
        assert await posted(b"[" * 100_000) is Slug.MALFORMED_REQUEST
        assert await posted({"kind": "keys", "study": "x"}) is Slug.MALFORMED_REQUEST
        assert await posted({"kind": "keys", "study": "x", "body": {}, "more": 1}) is Slug.MALFORMED_REQUEST
        assert await posted({"kind": "nonsense", "study": "x", "body": {"statement": "{}"}}) is Slug.MALFORMED_REQUEST
        assert await posted({"kind": "propose", "study": "x", "body": {"statement": "{}", "more": 1}}) is Slug.PROTOCOL_BROKEN
        assert await posted({"kind": "advertise", "study": "x", "body": {"statement": "{}"}}) is Slug.UNKNOWN_STUDY
        assert await posted({"kind": "offer", "study": "x", "body": {"statement": "{}"}}) is Slug.UNKNOWN_STUDY
        assert await posted(bytes(MESSAGE_BYTES + 1)) is Slug.TOO_LARGE
        assert await refused(a.request("GET", "/v1/members", b"a body where there is none")) is Slug.TOO_LARGE

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("target", "slug"),
    [
        ("/v1/inbox", Slug.MALFORMED_REQUEST),
        ("/v1/inbox?after=0&wait=0&more=1", Slug.MALFORMED_REQUEST),
        ("/v1/inbox?after=0&after=0&wait=0", Slug.MALFORMED_REQUEST),
        ("/v1/inbox?after=-1&wait=0", Slug.MALFORMED_REQUEST),
        ("/v1/inbox?after=0&wait=nan", Slug.MALFORMED_REQUEST),
        ("/v1/inbox?after=0&wait=inf", Slug.MALFORMED_REQUEST),
        ("/v1/log/proof?old=0&new=1", Slug.MALFORMED_REQUEST),
        ("/v1/log/proof?old=1&new=9", Slug.MALFORMED_REQUEST),
        ("/v1/studies/none", Slug.UNKNOWN_STUDY),
        ("/v1/studies/none/sums/1", Slug.UNKNOWN_STUDY),
        ("/v1/studies/none/history?after=0", Slug.UNKNOWN_STUDY),
    ],
)
def test_addresses_are_strict(tmp_path: Path, target: str, slug: Slug) -> None:
    async def work(_: Federation, a: Party) -> None:
        assert await refused(a.request("GET", target)) is slug

    run(tmp_path, work)


def test_an_address_that_is_not_there_is_a_problem_too(tmp_path: Path) -> None:
    async def work(_: Federation, a: Party) -> None:
        assert await refused(a.request("GET", "/v2/nothing")) is Slug.NOT_FOUND
        assert await refused(a.request("POST", "/v1/members", b"{}")) is Slug.METHOD_NOT_ALLOWED

    run(tmp_path, work)


def test_an_upload_by_chunks_and_what_is_refused_of_it(tmp_path: Path) -> None:
    async def work(_: Federation, a: Party) -> None:
        body = bytes(range(256)) * 64
        target = f"/v1/uploads/{blake3(body).hexdigest()}"
        assert await a.request("GET", target) == {"received": 0}
        assert await a.put(target, body, 0, 5000) == {"received": 5000}
        with pytest.raises(RefusedError) as ahead:
            await a.put(target, body, 9000)
        assert (ahead.value.problem.slug, ahead.value.problem.got) == (Slug.WRONG_STATE, "those from 9000 on")
        assert await a.request("GET", target) == {"received": 5000}
        own = f"{target}?offset=5000&total={len(body)}"
        assert await refused(a.request("PUT", own, body[5000:])) is Slug.NOT_AUTHENTICATED  # of this part alone: not what is asked for
        assert await a.request("GET", target) == {"received": 5000}
        assert await a.put(target, body, 5000) == {"received": len(body)}
        other = f"/v1/uploads/{'0' * 64}"
        assert await refused(a.request("PUT", f"{other}?offset=0&total=4", b"evil")) is Slug.UPLOAD_DIGEST_MISMATCH
        assert await refused(a.request("PUT", f"{other}?offset=0&total={5 << 20}", b"x")) is Slug.TOO_LARGE
        assert await refused(a.request("PUT", f"{other}?offset=0&total={2 << 20}", bytes((1 << 20) + 1))) is Slug.TOO_LARGE

    run(tmp_path, work)


def test_a_chunk_that_breaks_off_leaves_what_came_before_it(tmp_path: Path) -> None:
    async def work(federation: Federation, a: Party) -> None:
        body = bytes(range(256)) * 64
        target = f"/v1/uploads/{blake3(body).hexdigest()}"
        await a.put(target, body, 0, 5000)
        rest = f"{target}?offset=5000&total={len(body)}"
        token = a.token("PUT", rest, b"", digest=blake3(body).hexdigest())
        reader, writer = await asyncio.open_connection("127.0.0.1", federation.port)
        head = f"PUT {rest} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body) - 5000}\r\n\r\n"
        writer.write(head.encode() + body[5000:6000])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        assert not reader.at_eof() or await reader.read() == b""
        assert await a.request("GET", target) == {"received": 5000}
        assert await a.put(target, body, 5000) == {"received": len(body)}

    run(tmp_path, work)


def test_what_is_posted_twice_is_logged_once(tmp_path: Path) -> None:
    async def work(federation: Federation, a: Party) -> None:
        statement = PolicyActivated(party="a", policy="0" * 64, at=1)
        first = await a.sign("record", "", statement)
        assert await a.sign("record", "", statement) == first
        await federation.restart()
        assert await a.sign("record", "", statement) == first
        assert await refused(a.sign("record", "", PolicyActivated(party="b", policy="0" * 64, at=1))) is Slug.PROTOCOL_BROKEN
        assert len((await a.request("GET", "/v1/log/entries?start=0&end=100"))["entries"]) == 3

    run(tmp_path, work)
    assert len(read_leaves(tmp_path / "data" / "gateway.db")[1]) == 3


def test_who_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    async def work(_: Federation, a: Party) -> None:
        async def many() -> None:
            for _ in range(400):
                await a.request("GET", "/v1/members")

        assert await refused(many()) is Slug.RATE_LIMITED

    run(tmp_path, work)


def test_a_stranger_that_keeps_knocking_is_told_to_wait_and_members_are_not(tmp_path: Path) -> None:
    async def work(_: Federation, a: Party) -> None:
        await a.greet()
        slugs = [await refused(a.send("GET", "/v1/members", b"", {})) for _ in range(150)]
        assert (slugs[0], slugs[-1]) == (Slug.NOT_AUTHENTICATED, Slug.RATE_LIMITED)
        assert (await a.request("GET", "/v1/members"))["members"]

    run(tmp_path, work)


def test_health_and_metrics_are_on_loopback_and_name_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        write_config(tmp_path, f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        federation = Federation(tmp_path, await started(tmp_path))
        try:
            await federation.enrol("klinik")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    assert await response.json() == {"ok": True, "checks": {"store": "ok"}}
                async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                    text = await response.text()
            assert "parley_gateway_log_leaves 2.0" in text
            assert 'parley_gateway_requests_total{route="/v1/enrolments",status="201"} 1.0' in text
            assert "klinik" not in text
        finally:
            await federation.close()

    asyncio.run(work())
