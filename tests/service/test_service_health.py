"""Health, readiness, metrics; and refusals over HTTP as problems."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from parley_policies.errors import Refused
from parley_protocol.problems import CONTENT_TYPE, Problem, Slug
from parley_service.answers import problem_middleware
from parley_service.config import Listen
from parley_service.errors import ConfigError, RequestError, ServiceError
from parley_service.health import Check, HealthServer
from prometheus_client import CollectorRegistry, Counter


@asynccontextmanager
async def serving(
    registry: CollectorRegistry, checks: dict[str, Check]
) -> AsyncIterator[Callable[[str], Coroutine[Any, Any, tuple[int, str]]]]:
    server = HealthServer(Listen("127.0.0.1", 0), registry, checks)
    address = await server.start()

    async def get(path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as answer:
            return answer.status, await answer.text()

    try:
        yield get
    finally:
        await server.stop()


def test_health_readiness_and_metrics() -> None:
    async def scenario() -> None:
        registry = CollectorRegistry()
        Counter("parley_rounds", "Rounds opened", registry=registry).inc(3)
        wrong: dict[str, str | None] = {"store": None, "log": None}
        async with serving(registry, {"store": lambda: wrong["store"], "log": lambda: wrong["log"]}) as get:
            assert await get("/healthz") == (200, '{"ok": true}')
            assert (await get("/readyz"))[0] == 200
            wrong["log"] = "checkpoint is 2 h old"
            status, body = await get("/readyz")
            assert status == 503
            assert json.loads(body)["checks"] == {"store": "ok", "log": "checkpoint is 2 h old"}
            assert "parley_rounds_total 3.0" in (await get("/metrics"))[1]
            status, body = await get("/etc/passwd")
            assert Problem.load(body.encode()).slug is Slug.NOT_FOUND
            assert status == 404

    asyncio.run(scenario())


def test_an_address_in_use_or_off_loopback_is_refused() -> None:
    async def scenario() -> None:
        first = HealthServer(Listen("127.0.0.1", 0), CollectorRegistry(), {})
        taken = await first.start()
        with pytest.raises(ServiceError, match=str(taken.port)) as caught:
            await HealthServer(taken, CollectorRegistry(), {}).start()
        assert caught.value.problem is Slug.LOCKED
        await first.stop()
        with pytest.raises(ConfigError, match="loopback"):
            await HealthServer(Listen("0.0.0.0", 0), CollectorRegistry(), {}).start()  # noqa: S104  (refused)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("raised", "status", "slug"),
    [
        (RequestError("x", problem=Slug.STALE_INSTANCE, instance="ab"), 401, Slug.STALE_INSTANCE),
        (Refused("peers.denied", "not b", "b"), 403, Slug.REFUSED_BY_POLICY),
        (web.HTTPRequestEntityTooLarge(10, 11), 413, Slug.TOO_LARGE),
        (web.HTTPMethodNotAllowed("PUT", ["GET"]), 405, Slug.METHOD_NOT_ALLOWED),
    ],
)
def test_refusals_are_problems(raised: Exception, status: int, slug: Slug) -> None:
    async def refuse(_: web.Request) -> web.Response:
        raise raised

    async def scenario() -> None:
        app = web.Application(middlewares=[problem_middleware])
        app.router.add_get("/", refuse)
        async with TestClient(TestServer(app)) as client:
            answer = await client.get("/")
            problem = Problem.load(await answer.read())
            assert (answer.status, answer.content_type, problem.slug) == (status, CONTENT_TYPE, slug)
            assert problem.instance == ("ab" if slug is Slug.STALE_INSTANCE else None)
            assert "denied" not in str(problem)
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)

    asyncio.run(scenario())


def test_other_answers_of_aiohttp_pass() -> None:
    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPNotModified

    async def scenario() -> None:
        app = web.Application(middlewares=[problem_middleware])
        app.router.add_get("/", moved)
        async with TestClient(TestServer(app)) as client:
            assert (await client.get("/")).status == 304

    asyncio.run(scenario())
