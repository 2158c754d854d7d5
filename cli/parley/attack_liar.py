"""The lying gateway's mouth: an HTTP proxy between the parties and an honest gateway, which it impersonates.

Parties dial it as their gateway. What they send goes on to the honest process behind it, which keeps the books; what comes back it may
hold, replace, or put words of its own before. It reads everything that a gateway reads, and the acts that need it sign with the gateway's
key: that is all a lying gateway can be. It has no party's key, and so can answer for none. Nothing of the gateway's own code knows of it:
a real gateway has no place where a lie could be switched on.

An act stops the stream at one kind of message (`hold`), tells lies (`lie`), and lets the truth go on (`go_on`). A lie carries the number of
the last message that its reader has taken, so that what was held still comes after it.

    async with Liar(front, behind) as liar:
        truth = await liar.hold("keys", parties)
        liar.lie("lender-ca", "keys", "loans-shared", altered)
        liar.go_on()
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import web
from parley_crypto.statement import Document
from yarl import URL

from parley.demo_plan import WaitedTooLongError

HOLD_SECONDS: Final = 60.0
_TAKEN_SECONDS: Final = 0.5  # a post is the gateway's by then; what the answer still waits for is news
_INBOX: Final = "/v1/inbox"
_MESSAGES: Final = "/v1/messages"
_PASSED_ON: Final = ("Authorization", "Content-Type")
_NOT_HEARD: Final = ("Content-Length", "Transfer-Encoding", "Connection", "Date", "Server")


@dataclass(frozen=True, slots=True)
class Said:
    """A message that a party posted, or one that the gateway has for a party."""

    party: str
    kind: str
    study: str
    body: Mapping[str, Any]
    seq: int = 0


def _no_post(post: Said) -> bool:
    del post
    return False


def _same_rows(party: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    del party
    return rows


class Liar:
    """The proxy. Acts drive it from the same event loop."""

    def __init__(self, front: int, behind: int) -> None:
        self._front: Final = front
        self._behind: Final = f"http://127.0.0.1:{behind}"
        self.posts: Final[list[Said]] = []  # all that parties posted
        self.told: Final[dict[tuple[str, str, int], Said]] = {}  # the gateway's messages by party, kind and round
        self.keeps: Callable[[Said], bool] = _no_post  # posts that the honest gateway is not to hear of
        self.history: Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]] = _same_rows
        self._kind = ""
        self._free: set[str] = set()
        self._held: dict[str, Said] = {}
        self._lies: defaultdict[str, list[Said]] = defaultdict(list)
        self._wake: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._came: Final = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False)
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._front).start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.go_on()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    # what an act does

    async def hold(self, kind: str, parties: Iterable[str]) -> dict[str, Said]:
        """Hold the next message of this kind back from everyone; return the truth once each of `parties` would have had it."""
        self._kind, self._held = kind, {}
        self._free.clear()
        wanted = set(parties)
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                while not wanted <= set(self._held):
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            missing = ", ".join(sorted(wanted - set(self._held)))
            raise WaitedTooLongError(
                f"message {kind}", wanted=f"one for each party in {HOLD_SECONDS:.0f} s", got=f"none: {missing}"
            ) from None
        return {party: self._held[party] for party in wanted}

    def lie(self, party: str, kind: str, study: str, body: Document) -> None:
        """Have a party told this before anything else."""
        self._lies[party].append(Said(party, kind, study, body.model_dump(mode="json")))
        self._wake[party].set()

    def is_heard(self, party: str) -> bool:
        """Whether the party has taken every lie for it."""
        return not self._lies[party]

    def go_on(self, parties: Iterable[str] | None = None) -> None:
        """Let the truth through, to some parties or to all."""
        if parties is None:
            self._kind = ""
        self._free.update(self._held if parties is None else parties)
        for party in self._free:
            self._wake[party].set()

    # the wire

    async def _handle(self, request: web.Request) -> web.Response:
        party, raw = _party_of(request), await request.read()
        if request.method == "POST" and request.path == _MESSAGES:
            message = json.loads(raw)
            post = Said(party, message["kind"], message["study"], message["body"])
            self.posts.append(post)
            if self.keeps(post):
                return _json({"id": "", "messages": []})
        if request.path in {_INBOX, _MESSAGES} and "wait" in request.query:
            return await self._news(request, raw, party)
        status, headers, answer = await self._forward(request, raw)
        if request.path.endswith("/history") and status == web.HTTPOk.status_code:
            return _json({"rounds": self.history(party, json.loads(answer)["rounds"]), "more": False})
        return web.Response(status=status, headers=headers, body=answer)

    async def _news(self, request: web.Request, raw: bytes, party: str) -> web.Response:
        """Answer with lies if there are any, else with what the gateway has and is not held."""
        after, wake = int(request.query["after"]), self._wake[party]
        if self._lies[party] and request.method == "GET":
            return self._lied(party, after)
        wake.clear()
        forward = asyncio.ensure_future(self._forward(request, raw))
        try:
            if request.method == "POST":
                await asyncio.wait({forward}, timeout=_TAKEN_SECONDS)
            await _first(forward, wake)
            if not forward.done() and self._lies[party]:
                return self._lied(party, after)
            status, headers, answer = await forward
        finally:
            forward.cancel()
        if status != web.HTTPOk.status_code:
            return web.Response(status=status, headers=headers, body=answer)
        rows = json.loads(answer)["messages"]
        now, later = self._split(party, rows)
        if now or not later or request.method == "POST":  # what is held comes again with the next poll
            return _json({"id": "", "messages": now})
        self._held[party] = _said(party, later[0])
        self._came.set()
        while not (party in self._free or self._lies[party] or self._kind != later[0]["kind"]):
            wake.clear()
            await wake.wait()
        return self._lied(party, after) if self._lies[party] else _json({"id": "", "messages": later})

    def _split(self, party: str, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        for row in rows:
            self.told[party, row["kind"], int(row["body"].get("round", 0))] = _said(party, row)
        stops = [index for index, row in enumerate(rows) if row["kind"] == self._kind and party not in self._free]
        first = stops[0] if stops else len(rows)
        return rows[:first], rows[first:]

    def _lied(self, party: str, after: int) -> web.Response:
        lies, self._lies[party] = self._lies[party], []
        rows = [{"seq": after, "id": "", "kind": lie.kind, "study": lie.study, "body": lie.body} for lie in lies]
        return _json({"id": "", "messages": rows})

    async def _forward(self, request: web.Request, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._session is None:
            raise web.HTTPServiceUnavailable
        url = URL(f"{self._behind}{request.raw_path}", encoded=True)
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            async with self._session.request(request.method, url, data=raw or None, headers=headers, allow_redirects=False) as answer:
                kept = {name: value for name, value in answer.headers.items() if name not in _NOT_HEARD}
                return answer.status, kept, await answer.read()
        except aiohttp.ClientError:  # the gateway stops, or is not up yet: a party asks again
            return web.HTTPServiceUnavailable.status_code, {}, b""


async def _first(forward: asyncio.Future[Any], wake: asyncio.Event) -> None:
    """Return when the gateway answered, or somebody has something to say before."""
    waking = asyncio.ensure_future(wake.wait())
    try:
        await asyncio.wait({forward, waking}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waking.cancel()


def _party_of(request: web.Request) -> str:
    """Return the party that a request's token names, without checking it: the gateway behind does."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token.count(".") != 2:  # noqa: PLR2004 - header, claims, signature
        return ""
    claims = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("iss", ""))


def _said(party: str, row: Mapping[str, Any]) -> Said:
    return Said(party, row["kind"], row["study"], row["body"], row["seq"])


def _json(body: Mapping[str, Any]) -> web.Response:
    return web.Response(body=json.dumps(body, separators=(",", ":")).encode(), content_type="application/json")
