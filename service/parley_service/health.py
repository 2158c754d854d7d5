"""/healthz, /readyz and /metrics on a loopback address of their own: no authentication, so nothing there that not everybody may know.

/healthz   200 while the process answers
/readyz    200 if every check passes, 503 otherwise; JSON with a line a check
/metrics   the Prometheus text of the service's own registry

health = HealthServer(config.metrics.listen, registry, {"store": store_is_open})
await health.start()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web
from parley_protocol.problems import Slug
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from parley_service.answers import problem_middleware
from parley_service.config import Listen
from parley_service.errors import ConfigError, ServiceError

Check = Callable[[], str | None]  # what is wrong, or None
_CHECKS: Final = web.AppKey("checks", dict[str, Check])
_REGISTRY: Final = web.AppKey("registry", CollectorRegistry)


class HealthServer:
    """Serves health and metrics at `listen`, which is a loopback address by the config's type."""

    def __init__(self, listen: Listen, registry: CollectorRegistry, checks: Mapping[str, Check]) -> None:
        self._listen = listen
        app = web.Application(middlewares=[problem_middleware])
        app[_CHECKS] = dict(checks)
        app[_REGISTRY] = registry
        app.add_routes([web.get("/healthz", _healthz), web.get("/readyz", _readyz), web.get("/metrics", _metrics)])
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> Listen:
        """Listen; return the address with the port that was taken. ConfigError if the address is in use."""
        if not self._listen.is_loopback:
            raise ConfigError("metrics.listen", wanted="a loopback address: this endpoint has no authentication", got=str(self._listen))
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._listen.host, self._listen.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ServiceError(
                f"address {self._listen}", problem=Slug.LOCKED, wanted="a free one", got=error.strerror or "an error"
            ) from error
        return Listen(self._listen.host, self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"ok": True})


async def _readyz(request: web.Request) -> web.Response:
    found = {name: check() for name, check in request.app[_CHECKS].items()}
    ready = not any(found.values())
    body = {"ok": ready, "checks": {name: wrong or "ok" for name, wrong in found.items()}}
    return web.json_response(body, status=200 if ready else 503)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(request.app[_REGISTRY]), headers={"Content-Type": CONTENT_TYPE_LATEST})
