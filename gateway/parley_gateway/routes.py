"""The gateway's HTTP interface: checks who asks, bounds what comes, and hands it to whom it concerns. No decision is made here.

Every request but the greeting and an enrolment carries a token (`parley_service.auth`). Bodies are bounded before they are read, and a
token's body digest is checked before a byte of the body is believed. Uploads and large sums are streamed. Bodies, tokens and values never
reach the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from parley_protocol.codec import POSTS
from parley_protocol.limits import INBOX_ANSWER_BYTES, KIB, LOG_ENTRIES, MESSAGE_BYTES, PROTOCOL_MAX, PROTOCOL_MIN
from parley_protocol.logentries import HiddenLeaf, Reach, dump_entry
from parley_protocol.problems import Slug
from parley_service.answers import problem_middleware
from parley_service.auth import Checked, TokenVerifier, body_digest
from parley_service.errors import RequestError
from parley_service.logs import get_log

from parley_gateway.config import GatewayConfig
from parley_gateway.desk import Desk
from parley_gateway.enrolment import entry_of
from parley_gateway.negotiation import StudyRecord
from parley_gateway.ratelimit import RateLimiter
from parley_gateway.store import GatewayStore
from parley_gateway.studies import Studies
from parley_gateway.sums import sums_path
from parley_gateway.tlog import TransparencyLog

_LOG: Final = get_log("parley.gateway.http")
_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
_BLOCK_BYTES: Final = 128 * KIB  # of large sums, for each party that fetches them
_BURST_SECONDS: Final = 10
_STRANGERS_PER_SECOND: Final = 10
_STRANGERS: Final = frozenset({Slug.NOT_AUTHENTICATED, Slug.UNKNOWN_PARTY, Slug.WRONG_KEY})
_KIND: Final = re.compile(r"[a-z-]{1,40}")
_NUMBER: Final = re.compile(r"(0|[1-9][0-9]{0,17})")
_KEPT_SUMS_BYTES: Final = 4 << 20  # of one study's newest sums, in memory: every member fetches them at once
_HISTORY_ROWS: Final = 10_000
_RECORDS_A_READ: Final = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: an enrolled party, and the body that its token names."""

    party: str
    body: bytes


Route = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]


class Routes:
    """Everything that the gateway answers over HTTP."""

    def __init__(
        self,
        config: GatewayConfig,
        desk: Desk,
        store: GatewayStore,
        log: TransparencyLog,
        studies: Studies,
        verifier: TokenVerifier,
    ) -> None:
        self._config: Final = config
        self._desk: Final = desk
        self._store: Final = store
        self._log: Final = log
        self._studies: Final = studies
        self._verifier: Final = verifier
        self._metrics: Final = desk.metrics
        rate = config.limits.requests_per_second_per_party
        self._limiter: Final = RateLimiter(per_second=rate, burst=rate * _BURST_SECONDS)
        self._strangers: Final = RateLimiter(per_second=_STRANGERS_PER_SECOND, burst=_STRANGERS_PER_SECOND * _BURST_SECONDS)
        self._sums: dict[str, tuple[int, bytes]] = {}
        self._requests: Final = count(1)  # since this start

    def application(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[self._observed, problem_middleware], client_max_size=0)
        app.add_routes(
            [
                web.get("/v1/gateway", self._gateway),
                web.post("/v1/enrolments", self._enrol),
                web.get("/v1/members", self._for(self._members)),
                web.get("/v1/inbox", self._for(self._inbox)),
                web.post("/v1/messages", self._for(self._message, MESSAGE_BYTES)),
                web.put("/v1/uploads/{digest}", self._upload),
                web.get("/v1/uploads/{digest}", self._for(self._uploaded)),
                web.get("/v1/studies", self._for(self._list_studies)),
                web.get("/v1/studies/{study}", self._for(self._study)),
                web.get("/v1/studies/{study}/sums/{round}", self._for(self._sum)),
                web.get("/v1/studies/{study}/rounds/{round}/unmasking", self._for(self._unmasking)),
                web.get("/v1/studies/{study}/rounds/{round}/updates/{party}", self._for(self._update)),
                web.get("/v1/studies/{study}/history", self._for(self._history)),
                web.get("/v1/log/checkpoint", self._for(self._checkpoint)),
                web.get("/v1/log/proof", self._for(self._proof)),
                web.get("/v1/log/entries", self._for(self._entries)),
            ]
        )
        return app

    @web.middleware
    async def _observed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the request, and name it in the log of whatever happens in it."""
        structlog.contextvars.bind_contextvars(request=next(self._requests))
        try:
            response = await handler(request)
        finally:
            structlog.contextvars.unbind_contextvars("request")
        resource = request.match_info.route.resource
        self._metrics.requests.labels(resource.canonical if resource else "none", response.status).inc()
        if response.status >= web.HTTPBadRequest.status_code:
            _LOG.info("refused", method=request.method, route=resource.canonical if resource else "none", status=response.status)
        return response

    def _for(self, route: Route, most: int = 0) -> Handler:
        """Return a handler that lets only an enrolled party through to `route`, with a body of at most `most` bytes."""

        async def handle(request: web.Request) -> web.StreamResponse:
            checked = self._checked(request)
            body = await _read(request, most)
            party = checked.check_body(body_digest(body))
            with self._present(party):
                return await route(request, Caller(party, body))

        return handle

    @contextlib.contextmanager
    def _present(self, party: str) -> Iterator[None]:
        """Count a request of a party, which is here for as long as it lasts."""
        clock, presence = self._desk.clock, self._desk.presence
        self._limiter.take(party, clock())
        presence.enter(party, clock())
        self._studies.arrived(party)
        try:
            yield
        finally:
            presence.leave(party, clock())

    def _checked(self, request: web.Request) -> Checked:
        """Check the token of a request; whoever comes with bad ones again and again is told to wait."""
        try:
            return self._verifier.verify_head(
                request.headers.get("Authorization"), method=request.method, target=request.raw_path, now=self._desk.clock()
            )
        except RequestError as error:
            if error.problem in _STRANGERS:
                self._strangers.take(self._address(request), self._desk.clock())
            raise

    # greeting and enrolment: anyone may ask

    async def _gateway(self, request: web.Request) -> web.Response:
        self._strangers.take(self._address(request), self._desk.clock())
        config, identity = self._config, self._desk.members.identity
        return _json(
            {
                "id": identity.id,
                "url": identity.url,
                "key": identity.key.hex,
                "fingerprint": identity.key.fingerprint,
                "log_origin": identity.log_origin,
                "operator": config.operator.model_dump(mode="json"),
                "instance": self._verifier.instance,
                "time": self._desk.clock(),
                "protocol": {"min": PROTOCOL_MIN, "max": PROTOCOL_MAX},
                "limits": {
                    "chunk_bytes": config.limits.chunk_bytes,
                    "upload_bytes": config.limits.upload_bytes,
                    "message_bytes": MESSAGE_BYTES,
                    "long_poll_seconds": config.limits.long_poll_seconds,
                },
            }
        )

    async def _enrol(self, request: web.Request) -> web.Response:
        self._strangers.take(self._address(request), self._desk.clock())
        member = await self._desk.members.enrol(await _read(request, MESSAGE_BYTES))
        _LOG.info("party.enrolled", party=member.party)
        return _json({"party": member.party, "index": member.leaf}, status=201)

    def _address(self, request: web.Request) -> str:
        """Return whose address counts: the connection's, or what a trusted proxy says."""
        remote = request.remote or "unknown"
        proxies = self._config.gateway.trusted_proxies
        for hop in [remote, *reversed(request.headers.get("X-Forwarded-For", "").split(","))]:
            try:
                address = ipaddress.ip_address(hop.strip())
            except ValueError:
                break
            remote = str(address)
            if not any(address in network for network in proxies):
                break
        return remote

    # the federation

    async def _members(self, _: web.Request, __: Caller) -> web.Response:
        return _json({"members": [entry_of(member).model_dump() for member in self._desk.members.all()]})

    async def _inbox(self, request: web.Request, caller: Caller) -> web.Response:
        return web.Response(body=await self._polled(_query(request, {"after", "wait"}), caller), content_type=_JSON)

    async def _polled(self, query: Mapping[str, str], caller: Caller) -> bytes:
        after, wait = _number(query, "after"), _seconds(query, "wait")
        self._metrics.polls.inc()
        try:
            answer = await self._desk.inbox.poll(caller.party, after, min(wait, self._config.limits.long_poll_seconds))
        finally:
            self._metrics.polls.dec()
        if len(answer) > _EMPTY_ANSWER_BYTES:
            self._limiter.give_back(caller.party)
        return answer

    async def _message(self, request: web.Request, caller: Caller) -> web.Response:
        """Take a message; with `after` and `wait` the answer also brings what then comes for the party, and saves it a poll."""
        query = _query(request, {"after", "wait"}) if request.query else None
        kind, study, body = _parsed(caller.body)
        post_id = body_digest(caller.body)
        if await self._studies.post(caller.party, kind, study, body, post_id) and kind in POSTS:
            self._limiter.give_back(caller.party)
        if query is None:
            return _json({"id": post_id})
        answer = await self._polled(query, caller)
        return web.Response(body=b'{"id":"%b",%b' % (post_id.encode(), answer.removeprefix(b"{")), content_type=_JSON)

    async def _upload(self, request: web.Request) -> web.Response:
        """Take bytes of an upload as they come. The token names the digest of the upload up to and including them (`arrival`)."""
        checked = self._checked(request)
        query = _query(request, {"offset", "total"})
        offset = _number(query, "offset")
        with self._present(checked.party):
            received = await self._desk.intake.take(
                checked.party,
                request.match_info["digest"],
                offset=offset,
                total=_number(query, "total"),
                pieces=_pieces(request, self._config.limits.chunk_bytes),
                check=checked.check_body,
            )
        self._metrics.uploaded.inc(max(0, received - offset))
        self._limiter.give_back(checked.party)
        return _json({"received": received})

    async def _uploaded(self, request: web.Request, caller: Caller) -> web.Response:
        return _json({"received": self._desk.intake.received(caller.party, request.match_info["digest"])})

    # studies

    async def _list_studies(self, _: web.Request, caller: Caller) -> web.Response:
        return _json({"studies": [self._studies.describe(record) for record in self._studies.seen_by(caller.party)]})

    async def _study(self, request: web.Request, caller: Caller) -> web.Response:
        return _json(self._studies.describe(self._studies.find(caller.party, request.match_info["study"])))

    def _member_of(self, request: web.Request, caller: Caller) -> StudyRecord:
        record = self._studies.find(caller.party, request.match_info["study"])
        if record.terms is None or caller.party not in record.members:
            raise RequestError(f"study {record.id}", problem=Slug.NOT_ENTITLED, wanted="a member of its agreement", got=caller.party)
        return record

    async def _sum(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Send a round's opened sums: small ones of the newest round from memory, large ones block by block from the disk."""
        record = self._member_of(request, caller)
        number = _number(request.match_info, "round")
        kept = self._sums.get(record.id)
        if kept is None or kept[0] != number:
            path = sums_path(self._desk.sums, record.id, number)
            try:
                size = (await asyncio.to_thread(path.stat)).st_size
                if size > _KEPT_SUMS_BYTES:
                    self._limiter.give_back(caller.party)
                    return await _sent(request, path, size)
                kept = (number, await asyncio.to_thread(path.read_bytes))
            except FileNotFoundError:
                raise RequestError(f"study {record.id}: no sums of round {number}", problem=Slug.NOT_FOUND) from None
            self._sums[record.id] = kept
        self._limiter.give_back(caller.party)
        return web.Response(body=kept[1], content_type=_BINARY)

    async def _unmasking(self, request: web.Request, caller: Caller) -> web.Response:
        """Say what takes the masks off the newest certified round, to a member that recomputes it."""
        record = self._member_of(request, caller)
        row = self._desk.kept.find(record.id, _number(request.match_info, "round"))
        self._limiter.give_back(caller.party)
        return web.Response(body=row.unmasking, content_type=_JSON)

    async def _update(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Send a sealed update of the newest certified round: of a member on its list, to a member."""
        record, party = self._member_of(request, caller), request.match_info["party"]
        path = self._desk.kept.update(record.id, _number(request.match_info, "round"), party)
        try:
            size = (await asyncio.to_thread(path.stat)).st_size
            self._limiter.give_back(caller.party)
            return await _sent(request, path, size)
        except FileNotFoundError:
            raise RequestError(f"study {record.id}: the sealed update of {party} is gone", problem=Slug.NOT_FOUND) from None

    async def _history(self, request: web.Request, caller: Caller) -> web.Response:
        record = self._member_of(request, caller)
        after = _number(_query(request, {"after"}), "after")
        rows: list[dict[str, Any]] = []
        size = 0
        while len(rows) < _HISTORY_ROWS:
            entries = await self._store.certificates_after(record.id, after, _RECORDS_A_READ)
            for entry in entries:
                size += len(entry.certificate) + len(entry.opened) + 100
                if rows and 2 * size > INBOX_ANSWER_BYTES:  # quotes inside are written as two characters
                    return _json({"rounds": rows, "more": True})
                rows.append({"round": entry.round, "certificate": entry.certificate, "opened": entry.opened})
            if len(entries) < _RECORDS_A_READ:
                return _json({"rounds": rows, "more": False})
            after = entries[-1].round
        return _json({"rounds": rows, "more": True})

    # the log

    async def _checkpoint(self, _: web.Request, __: Caller) -> web.Response:
        return _json({"checkpoint": self._log.published[1]})

    async def _proof(self, request: web.Request, _: Caller) -> web.Response:
        query = _query(request, {"old", "new"})
        return _json({"consistency": list(self._log.consistency(_number(query, "old"), _number(query, "new")))})

    async def _entries(self, request: web.Request, caller: Caller) -> web.Response:
        """Leaves that concern the caller; of others their hashes, counted as such: where a page ends tells nothing of them."""
        query = _query(request, {"start", "end"})
        start, end = _number(query, "start"), min(_number(query, "end"), self._log.published[0])
        studies = frozenset(record.id for record in self._studies.seen_by(caller.party))
        chosen: list[dict[str, str]] = []
        size = 0
        for leaf in await self._store.log_entries(start, min(end, start + LOG_ENTRIES)):
            is_shown = Reach(leaf.study, leaf.party).includes(caller.party, studies)
            size += 2 * len(leaf.body if is_shown else leaf.hash)
            if chosen and size > INBOX_ANSWER_BYTES:
                break
            chosen.append(dump_entry(leaf.body if is_shown else HiddenLeaf(leaf.hash)))
        return _json({"start": start, "entries": chosen})


_EMPTY_ANSWER_BYTES: Final = len(b'{"messages":[]}')


def _json(body: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(body, separators=(",", ":")).encode(), status=status, content_type=_JSON)


async def _read(request: web.Request, most: int) -> bytes:
    """Return the body; RequestError as for `_pieces`."""
    body = bytearray()
    async for piece in _pieces(request, most):
        body += piece
    return bytes(body)


async def _pieces(request: web.Request, most: int) -> AsyncIterator[bytes]:
    """Yield the body as it comes; RequestError if it is larger than `most` bytes, or broke off.

    The length is checked before the body is read, where it is told.
    """
    announced, size = request.content_length, 0
    if announced is not None and announced > most:
        raise RequestError("body of the request", problem=Slug.TOO_LARGE, wanted=f"at most {most} bytes", got=str(announced))
    if not request.can_read_body:
        return
    async for piece in request.content.iter_any():
        size += len(piece)
        if size > most:
            raise RequestError("body of the request", problem=Slug.TOO_LARGE, wanted=f"at most {most} bytes", got="more")
        yield piece
    if announced is not None and size != announced:
        raise RequestError("body of the request", problem=Slug.TRUNCATED_UPLOAD, wanted=f"{announced} bytes", got=str(size))


async def _sent(request: web.Request, path: Path, size: int) -> web.StreamResponse:
    """Answer with the bytes of a file, of which only a block is in memory."""
    response = web.StreamResponse()
    response.content_type, response.content_length = _BINARY, size
    with await asyncio.to_thread(path.open, "rb", 0) as file:
        await response.prepare(request)
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            await response.write(block)
    await response.write_eof()
    return response


def _parsed(raw: bytes) -> tuple[str, str, bytes]:
    """Return kind, study and body of a message; the body as JSON, for whoever knows its class."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError("message", wanted="a JSON object", got=str(error)[:200]) from error
    match message:
        case {"kind": str() as kind, "study": str() as study, "body": dict() as body, **rest} if not rest:
            if _KIND.fullmatch(kind) and len(study) <= 63:  # noqa: PLR2004 - as long as a study's id may be
                return kind, study, json.dumps(body, separators=(",", ":")).encode()
    raise RequestError("message", wanted="kind, study and body, and nothing else", got="another object")


def _query(request: web.Request, names: set[str]) -> Mapping[str, str]:
    found = request.query
    if set(found) != names or len(found) != len(names):
        raise RequestError(f"{request.path}: query", wanted=", ".join(sorted(names)), got=", ".join(found)[:200] or "nothing")
    return found


def _number(values: Mapping[str, str], name: str) -> int:
    text = values[name]
    if not _NUMBER.fullmatch(text):
        raise RequestError(name, wanted="a whole number of at least 0", got=text[:40])
    return int(text)


def _seconds(values: Mapping[str, str], name: str) -> float:
    try:
        seconds = float(values[name])
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 10_000:  # noqa: PLR2004 - also refuses what is not a number; the limit is applied by the caller
        raise RequestError(name, wanted="seconds of at least 0", got=values[name][:40])
    return seconds
