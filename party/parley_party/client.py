"""The only file that talks to a gateway: outbound HTTP, every request with a fresh token, through the configured proxy and never around it.

It moves bytes and JSON; what they mean is for others. A network fault is `GatewayUnreachableError` (worth a retry), an answer that
refuses is `GatewayRefusedError` with the gateway's problem. A token made for an earlier start of the gateway is made anew, once, by
itself.

    async with GatewayClient(link, party="klinik-a", key=authentication_key) as client:
        await client.greet()
        for message in await client.inbox(after=0, wait=25): ...
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from blake3 import blake3
from parley_crypto.errors import CryptoError
from parley_crypto.keys import SigningKey, VerifyKey
from parley_protocol.limits import (
    CHUNK_BYTES_MAX,
    CHUNK_BYTES_MIN,
    CONNECT_SECONDS,
    DOWNLOAD_BYTES_MAX,
    INBOX_ANSWER_BYTES,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    REQUEST_SECONDS,
    UNMASKING_BYTES,
)
from parley_protocol.logentries import LogEntry, load_entry
from parley_protocol.problems import CONTENT_TYPE, Problem, Slug
from parley_service.auth import Audience, body_digest, make_token

from parley_party.config import GatewayLink, Proxy
from parley_party.errors import GatewayRefusedError, GatewayUnreachableError

_SUCCESS: Final = range(200, 300)
UPDATE_SECONDS: Final = 3_600.0  # of a whole sealed update, which is not fetched in chunks
_NUMBERS: Final = 2**53  # below it every reader of JSON sees the same whole number
T = TypeVar("T")
_WHOLE_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 18
_NOT_OURS: Final = frozenset({Slug.WRONG_STATE, Slug.NOT_AUTHENTICATED})  # what is held is not what it said, or another beginning


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the inbox; `body` is JSON text as it came."""

    seq: int
    kind: str
    study: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a gateway says about itself, before anyone believes it."""

    id: str
    url: str
    key: VerifyKey
    log_origin: str
    operator: dict[str, Any]
    instance: str
    time: float
    chunk_bytes: int
    long_poll_seconds: float


class GatewayClient:
    """Requests of one party to one gateway."""

    def __init__(self, link: GatewayLink, *, party: str, key: SigningKey) -> None:
        self._link = link
        self._party = party
        self._key = key
        self._greeting: Greeting | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        connector = aiohttp.TCPConnector(ssl=tls_context(self._link.ca_file))
        # trust_env stays off: the proxy is the one that the config names, on every request, or none
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False, auto_decompress=False)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def greeting(self) -> Greeting:
        """What the gateway said at the last `greet`."""
        if self._greeting is None:
            raise GatewayUnreachableError(f"gateway {self._link.url}: not greeted yet")
        return self._greeting

    async def greet(self) -> Greeting:
        """Ask the gateway who it is; GatewayRefusedError if its key is not the one that party.toml pins."""
        body = _json(await self._send("GET", "/v1/gateway", signed=False))
        greeting = _greeting(body)
        pinned = self._link.fingerprint
        if pinned is not None and greeting.key.fingerprint != pinned:
            raise GatewayRefusedError(
                Problem(
                    Slug.WRONG_KEY,
                    f"gateway {self._link.url}",
                    wanted=f"the key {pinned} of party.toml",
                    got=greeting.key.fingerprint,
                    do="Call its operator and compare: either its key was changed, or somebody else answers.",
                )
            )
        self._greeting = greeting
        return greeting

    async def enrol(self, envelope: bytes) -> None:
        """Send an enrolment; it is authenticated by its own signatures and the invite."""
        await self._send("POST", "/v1/enrolments", body=envelope, signed=False)

    async def members(self) -> list[dict[str, Any]]:
        """Return the directory of enrolled parties."""
        return _rows(await self._send("GET", "/v1/members"), "members", dict)

    async def inbox(self, after: int, wait: float) -> list[Message]:
        """Return messages with a sequence number above `after`, waiting up to `wait` seconds for one."""
        raw = await self._send("GET", f"/v1/inbox?{urlencode({'after': after, 'wait': f'{wait:g}'})}", seconds=wait + REQUEST_SECONDS)
        return _messages(raw)

    async def post(self, kind: str, study: str, body: str) -> int:
        """Post a message (`body` is JSON text) and return the bytes sent; it is acknowledged when this returns."""
        raw = _posted(kind, study, body)
        await self._send("POST", "/v1/messages", body=raw)
        return len(raw)

    async def post_and_wait(self, kind: str, study: str, body: str, after: int, wait: float) -> tuple[int, list[Message]]:
        """Post a message and wait like `inbox`, in one request; return the bytes sent and what came."""
        raw = _posted(kind, study, body)
        target = f"/v1/messages?{urlencode({'after': after, 'wait': f'{wait:g}'})}"
        return len(raw), _messages(await self._send("POST", target, body=raw, seconds=wait + REQUEST_SECONDS))

    async def upload(self, path: Path) -> int:
        """Send a file, named by its BLAKE3, in chunks, resuming where the gateway says it stands; return the bytes that left.

        It is hashed once: each token names the digest of the file up to the end of its chunk, and the last of them is the file's name. If
        what the gateway holds is not the beginning of this file, all of it is sent, once.
        """
        size, most = file_size(path), self.greeting.chunk_bytes
        digests = _digests(path, most) if size <= _WHOLE_BYTES else await asyncio.to_thread(_digests, path, most)
        target = f"/v1/uploads/{digests[-1]}"
        received, sent = 0, 0
        if size > most:
            received = _number(_json(await self._send("GET", target)), "received")
        is_resumed = 0 < received < size
        if is_resumed and received % most:
            received = 0
        while received < size:
            chunk = _read(path, received, most)  # at most a chunk, just written or read before: no thread is worth it
            part = f"{target}?{urlencode({'offset': received, 'total': size})}"
            try:
                answer = await self._send("PUT", part, body=chunk, digest=digests[received // most])
            except GatewayRefusedError as error:
                if not is_resumed or error.problem not in _NOT_OURS:
                    raise
                is_resumed, received = False, 0
                continue
            sent += len(chunk)
            received = _advanced(received + len(chunk), _number(_json(answer), "received"), size)
        return sent

    async def sums(self, study: str, number: int, size: int) -> bytearray:
        """Return the opened sums of a round: exactly `size` bytes."""
        raw = await self._send("GET", f"/v1/studies/{study}/sums/{number}", largest=size)
        if len(raw) != size:
            raise GatewayRefusedError(Problem(Slug.PROTOCOL_BROKEN, f"sums of round {number}", wanted=f"{size} bytes", got=str(len(raw))))
        return raw

    async def unmasking(self, study: str, number: int) -> bytearray:
        """Return what takes the masks off the newest certified round, as JSON that nobody has checked."""
        return await self._send("GET", f"/v1/studies/{study}/rounds/{number}/unmasking", largest=UNMASKING_BYTES)

    async def update(self, study: str, number: int, party: str, size: int) -> bytearray:
        """Return a member's sealed update of the newest certified round: at most `size` bytes, which nobody has checked."""
        return await self._send("GET", f"/v1/studies/{study}/rounds/{number}/updates/{party}", seconds=UPDATE_SECONDS, largest=size)

    async def history(self, study: str, after: int) -> list[dict[str, Any]]:
        """Return certificates and statements of the rounds after `after`, in order."""
        return _rows(await self._send("GET", f"/v1/studies/{study}/history?{urlencode({'after': after})}"), "rounds", dict)

    async def study(self, study: str) -> dict[str, Any]:
        """Return what the gateway says of a study: its state, phase, and whom it waits for."""
        return dict(_json(await self._send("GET", f"/v1/studies/{study}")))

    async def consistency(self, old: int, new: int) -> list[str]:
        """Return the log's consistency proof between two sizes, as hexadecimal hashes."""
        return _rows(await self._send("GET", f"/v1/log/proof?{urlencode({'old': old, 'new': new})}"), "consistency", str)

    async def checkpoint(self) -> str:
        """Return the log's newest checkpoint note."""
        return _text(_json(await self._send("GET", "/v1/log/checkpoint")), "checkpoint")

    async def entries(self, start: int, end: int) -> AsyncIterator[LogEntry]:
        """Yield the log's leaves from `start` up to but not including `end`; of those that do not concern this party, the hashes."""
        while start < end:
            rows = _rows(await self._send("GET", f"/v1/log/entries?{urlencode({'start': start, 'end': end})}"), "entries", dict)
            if not rows:
                raise GatewayRefusedError(Problem(Slug.PROTOCOL_BROKEN, "log entries", wanted=f"{start} to {end}", got="none"))
            for row in rows:
                yield load_entry(row)
            start += len(rows)

    async def _send(
        self,
        method: str,
        target: str,
        *,
        body: bytes = b"",
        digest: str | None = None,
        signed: bool = True,
        seconds: float = REQUEST_SECONDS,
        largest: int = INBOX_ANSWER_BYTES,
    ) -> bytearray:
        if signed and self._greeting is None:
            await self.greet()
        digest = digest or body_digest(body)
        try:
            return await self._send_once(method, target, body, digest, signed=signed, seconds=seconds, largest=largest)
        except GatewayRefusedError as error:
            if error.answer.slug is not Slug.STALE_INSTANCE:
                raise
        await self.greet()  # it was restarted: its key is checked again, and the request is signed for this start
        return await self._send_once(method, target, body, digest, signed=signed, seconds=seconds, largest=largest)

    async def _send_once(
        self, method: str, target: str, body: bytes, digest: str, *, signed: bool, seconds: float, largest: int
    ) -> bytearray:
        if self._session is None:
            raise GatewayUnreachableError(f"gateway {self._link.url}: the client is closed")
        headers = {"Content-Length": str(len(body))} if body else {}
        if signed:
            headers["Authorization"] = "Bearer " + self._token(method, target, digest)
        proxy = proxy_for(self._link.proxy, self._link.url)
        try:
            async with asyncio.timeout(seconds):
                async with self._session.request(
                    method, self._link.url + target, data=_streamed(body), headers=headers, proxy=proxy, allow_redirects=False
                ) as response:
                    raw = await _bounded(response, min(largest, DOWNLOAD_BYTES_MAX))
                    if response.status in _SUCCESS:
                        return raw
                    raise GatewayRefusedError(_problem(response, raw))
        except TimeoutError as error:
            raise GatewayUnreachableError(f"gateway {self._link.url}: no answer in {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            by = f" through the proxy {proxy}" if proxy else ""
            raise GatewayUnreachableError(f"gateway {self._link.url}{by}: {str(error) or type(error).__name__}") from error

    def _token(self, method: str, target: str, digest: str) -> str:
        greeting = self.greeting
        return make_token(
            self._key,
            party=self._party,
            audience=Audience(greeting.url, greeting.key.fingerprint),
            method=method,
            target=target,
            body=b"",
            digest=digest,
            instance=greeting.instance,
            now=time.time(),
        )


def proxy_for(proxy: Proxy, url: str) -> str | None:
    """Return the proxy to use for `url`, or None for a direct call. From the environment only where the config says so."""
    if not proxy.from_environment:
        return proxy.url
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies_environment().get(parts.scheme)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that checks the gateway's certificate against the system's authorities, or those of `ca_file`."""
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _bounded(response: aiohttp.ClientResponse, largest: int) -> bytearray:
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > largest:
            raise GatewayRefusedError(Problem(Slug.TOO_LARGE, "answer of the gateway", wanted=f"at most {largest} bytes", got="more"))
    return raw


def _problem(response: aiohttp.ClientResponse, raw: bytearray) -> Problem:
    if response.content_type == CONTENT_TYPE:
        try:
            return Problem.load(bytes(raw))
        except CryptoError:
            pass  # somebody between us and the gateway answered in its name: say what came
    slug = Slug.NOT_AUTHENTICATED if response.status in {401, 407} else Slug.UNAVAILABLE
    return Problem(slug, f"{response.method} {response.url.path}", wanted="the gateway's answer", got=f"HTTP {response.status}")


def _streamed(body: bytes) -> bytes | AsyncIterator[memoryview] | None:
    """Return a body as the HTTP library wants it: a large one is written piece by piece."""
    return _pieces(body) if len(body) > _WHOLE_BYTES else body or None


async def _pieces(body: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(view), _PIECE_BYTES):
        yield view[start : start + _PIECE_BYTES]


def _json(raw: bytes | bytearray) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise GatewayUnreachableError(f"answer of the gateway: wanted JSON, got {raw[:40]!r}") from error
    if not isinstance(body, dict):
        raise GatewayUnreachableError(f"answer of the gateway: wanted a JSON object, got {type(body).__name__}")
    return body


def _posted(kind: str, study: str, body: str) -> bytes:
    return b'{"kind":%b,"study":%b,"body":%b}' % (json.dumps(kind).encode(), json.dumps(study).encode(), body.encode())


def _messages(raw: bytes | bytearray) -> list[Message]:
    return [
        Message(_number(row, "seq"), _text(row, "kind"), _text(row, "study"), json.dumps(row.get("body")).encode())
        for row in _rows(raw, "messages", dict)
    ]


def _rows(raw: bytes | bytearray, name: str, of: type[T]) -> list[T]:
    rows = _json(raw).get(name)
    if not isinstance(rows, list) or not all(isinstance(row, of) for row in rows):
        raise GatewayUnreachableError(f"answer of the gateway: wanted {name}, a list, got {str(rows)[:80]!r}")
    return rows


def _number(row: dict[str, Any], name: str) -> int:
    value = row.get(name)
    if type(value) is not int or not 0 <= value < _NUMBERS:
        raise GatewayUnreachableError(f"answer of the gateway: wanted {name}, a whole number, got {str(value)[:40]!r}")
    return value


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):  # halves of one, which no store takes
        raise GatewayUnreachableError(f"answer of the gateway: wanted {name}, a text, got {ascii(value)[:80]}")
    return value


def _greeting(body: dict[str, Any]) -> Greeting:
    try:
        protocol, limits = body["protocol"], body["limits"]
        greeting = Greeting(
            id=str(body["id"]),
            url=str(body["url"]),
            key=VerifyKey.from_hex(str(body["key"])),
            log_origin=str(body["log_origin"]),
            operator=dict(body["operator"]),
            instance=str(body["instance"]),
            time=float(body["time"]),
            chunk_bytes=min(max(int(limits["chunk_bytes"]), CHUNK_BYTES_MIN), CHUNK_BYTES_MAX),
            long_poll_seconds=float(limits["long_poll_seconds"]),
        )
        lowest, highest = int(protocol["min"]), int(protocol["max"])
    except (KeyError, TypeError, ValueError, CryptoError) as error:
        raise GatewayUnreachableError(f"answer of the gateway: wanted its id, key, protocol and limits ({error})") from error
    if lowest > PROTOCOL_MAX or highest < PROTOCOL_MIN:
        raise GatewayRefusedError(
            Problem(Slug.CONFLICT, "protocol version", wanted=f"{PROTOCOL_MIN} to {PROTOCOL_MAX}", got=f"{lowest} to {highest}")
        )
    return greeting


def _advanced(sent: int, held: int, size: int) -> int:
    if held not in {sent, size}:
        raise GatewayRefusedError(Problem(Slug.PROTOCOL_BROKEN, "upload", wanted=f"{sent} of {size} bytes held", got=str(held)))
    return held


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def file_size(path: Path) -> int:
    """Return the bytes of a file."""
    return path.stat().st_size


def _digests(path: Path, most: int) -> list[str]:
    """Return the BLAKE3 of a file up to the end of each chunk of `most` bytes; at least one, the last of the whole file."""
    hasher = blake3(max_threads=blake3.AUTO)
    digests: list[str] = []
    with path.open("rb") as file:
        while (chunk := file.read(most)) or not digests:
            hasher.update(chunk)
            digests.append(hasher.hexdigest())
    return digests
