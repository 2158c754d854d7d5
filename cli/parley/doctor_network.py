"""What `parley doctor` looks at between here and a gateway: name, proxy, TLS and who issued it, key, clock, long poll, a chunk up and back.

Works before `join`. What is sent before TLS was looked at is nothing; what is sent at all goes through the proxy that the config names,
and never around it. The handshake that shows a refused certificate's issuer checks nothing and carries nothing.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment

from cryptography import x509
from parley_party.client import GatewayClient, Greeting, proxy_for, tls_context
from parley_party.config import GatewayLink
from parley_party.errors import GatewayRefusedError, GatewayUnreachableError
from parley_party.keystore import PartyKeys
from parley_protocol.limits import CLOCK_SKEW_SECONDS, CONNECT_SECONDS
from parley_protocol.problems import Slug

from parley.verdicts import Verdict, bad, doubt, failed_by, good
from parley.words import size, span

_GOOD_CLOCK_SECONDS: Final = 5.0
_PORTS: Final = {"http": 80, "https": 443}
_INSPECTED: Final = "A proxy that inspects TLS sees metadata and sealed updates, never an update; signatures still hold."
_EARLY: Final = 1.0  # an empty poll may come back this much before its time


@dataclass(frozen=True, slots=True)
class Joined:
    """A federation that this party joined: who we are, and how far the store has read the inbox."""

    party: str
    keys: PartyKeys
    cursor: int
    is_served: bool  # our service holds a long poll at this moment


def check_link(link: GatewayLink, joined: Joined | None, poll_seconds: float | None, tell: Callable[[str], None]) -> Iterator[Verdict]:
    """Look at the way to one gateway, nearest things first; what cannot work after a failure is not tried."""
    parts = urlsplit(link.url)
    proxy = proxy_for(link.proxy, link.url)
    for verdict in (_proxy(link, proxy, parts), _name(parts, proxy), _tls(link, parts, proxy)):
        yield verdict
        if verdict.slug is Slug.CANNOT_REACH:
            return
    yield from asyncio.run(_talk(link, joined, poll_seconds, tell))


def _proxy(link: GatewayLink, proxy: str | None, parts: SplitResult) -> Verdict:
    named = getproxies_environment().get(parts.scheme)
    if proxy is not None:
        where = "as the environment says" if link.proxy.from_environment else "as party.toml says"
        return good("proxy", f"{_without_password(proxy)}, {where}")
    if named and not link.proxy.from_environment:
        says = f"none, as party.toml says, though the environment names {_without_password(named)}"
        return doubt("proxy", says, 'If calls must leave through it, write proxy = "env" in party.toml.')
    return good("proxy", "none: calls go directly" + (", by NO_PROXY" if named else ""))


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url if parts.username is None else url.replace(parts.netloc, f"…@{parts.hostname}" + (f":{parts.port}" if parts.port else ""))


def _name(parts: SplitResult, proxy: str | None) -> Verdict:
    """Resolve the host that is dialled: the gateway's, or the proxy's, which then resolves the gateway's."""
    dialled = parts if proxy is None else urlsplit(proxy)
    host, port = dialled.hostname or "", dialled.port or _PORTS.get(dialled.scheme, 443)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        do = "Ask who runs the network; a firewall may allow the proxy alone." if proxy is None else "Correct the proxy's name."
        return bad("dns", f"{host}: {error.strerror or error}", do, Slug.CANNOT_REACH)
    addresses = sorted({str(row[4][0]) for row in found})
    return good("dns", f"{host} is {', '.join(addresses[:4])}" + ("" if proxy is None else f"; the proxy resolves {parts.hostname}"))


def _tls(link: GatewayLink, parts: SplitResult, proxy: str | None) -> Verdict:
    if parts.scheme == "http":
        return good("tls", "none: http, on this machine alone")
    try:
        seen = _handshake(parts, proxy, tls_context(link.ca_file))
    except ssl.SSLCertVerificationError as error:
        return _distrusted(link, parts, proxy, error)
    except (OSError, HTTPException) as error:
        do = "Check address and firewall: TCP, outbound." if proxy is None else "Check whether the proxy lets this address through."
        return bad("tls", f"no handshake: {error}", do, Slug.CANNOT_REACH)
    if link.ca_file is not None:
        return doubt("tls", f"{seen}; trusted by {link.ca_file}", _INSPECTED)
    return good("tls", seen)


def _handshake(parts: SplitResult, proxy: str | None, context: ssl.SSLContext) -> str:
    """Return TLS version and issuer of the certificate that is shown."""
    connection = _connection(parts, proxy, context)
    try:
        connection.connect()
        if not isinstance(connection.sock, ssl.SSLSocket):
            raise OSError("the connection is not encrypted")
        raw = connection.sock.getpeercert(binary_form=True) or b""
        certificate = x509.load_der_x509_certificate(raw)
        version, until = connection.sock.version(), certificate.not_valid_after_utc.date()
        return f"{version}, issued by {certificate.issuer.rfc4514_string()}, valid until {until}"
    finally:
        connection.close()


def _connection(parts: SplitResult, proxy: str | None, context: ssl.SSLContext) -> HTTPConnection:
    host, port = parts.hostname or "", parts.port or _PORTS["https"]
    if proxy is None:
        return HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=context)
    via = urlsplit(proxy)
    connection = HTTPSConnection(via.hostname or "", via.port or _PORTS["http"], timeout=CONNECT_SECONDS, context=context)
    connection.set_tunnel(host, port, headers=_proxy_authorization(via))
    return connection


def _proxy_authorization(via: SplitResult) -> dict[str, str]:
    """Return the header for a proxy whose URL in the environment has user and password."""
    if via.username is None:
        return {}
    basic = base64.b64encode(f"{unquote(via.username)}:{unquote(via.password or '')}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {basic}"}


def _distrusted(link: GatewayLink, parts: SplitResult, proxy: str | None, error: ssl.SSLCertVerificationError) -> Verdict:
    """Say who issued a certificate that is not trusted: a proxy that inspects TLS shows itself here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    shown = "its issuer cannot be read"
    with suppress(OSError, ValueError, HTTPException):
        shown = _handshake(parts, proxy, context)
    trusted = "the system's authorities" if link.ca_file is None else str(link.ca_file)
    do = f"If your own organization's proxy issued it, write its CA as ca_file in party.toml. {_INSPECTED} If not, somebody listens: stop."
    return bad("tls", f"not trusted by {trusted} ({error.verify_message}): {shown}", do, Slug.CANNOT_REACH)


async def _talk(link: GatewayLink, joined: Joined | None, poll_seconds: float | None, tell: Callable[[str], None]) -> list[Verdict]:
    """Greet the gateway, and where we joined, do once what a study does all the time."""
    from parley_crypto.keys import SigningKey  # noqa: PLC0415

    key = SigningKey(secrets.token_bytes(32)) if joined is None else joined.keys.authentication  # nothing is signed before joining
    found: list[Verdict] = []
    async with GatewayClient(link, party="" if joined is None else joined.party, key=key) as client:
        before = time.time()
        try:
            greeting = await client.greet()
        except (GatewayUnreachableError, GatewayRefusedError) as error:
            return [failed_by("gateway", error)]
        found.append(_gateway(link, greeting))
        found.append(_clock(greeting.time - (before + time.time()) / 2))
        if joined is None:
            found.append(doubt("membership", "not joined yet, so no long poll and no chunk were tried", "parley party join INVITE"))
            return found
        try:
            found.append(await _membership(client, joined))
            found.append(await _chunk(client, greeting))
            found.append(await _poll(client, joined, greeting.long_poll_seconds if poll_seconds is None else poll_seconds, tell))
        except (GatewayUnreachableError, GatewayRefusedError) as error:
            found.append(failed_by("requests", error))
    return found


def _gateway(link: GatewayLink, greeting: Greeting) -> Verdict:
    says = f"{greeting.id}, operated by {greeting.operator.get('legal_name')}; fingerprint {greeting.key.fingerprint}"
    if greeting.url != link.url:
        do = f"Dial the address that it gives itself: request tokens are bound to {greeting.url}."
        return doubt("gateway", f"{says}; it calls itself {greeting.url}", do)
    return good("gateway", says + ("" if link.fingerprint is None else ", as pinned"))


def _clock(offset: float) -> Verdict:
    says = f"the gateway's is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} ours"
    if abs(offset) < _GOOD_CLOCK_SECONDS:
        return good("clock", says)
    if abs(offset) < CLOCK_SKEW_SECONDS:
        return doubt("clock", says, "Set this machine's clock by NTP.")
    return bad("clock", f"{says}: requests are refused from {CLOCK_SKEW_SECONDS} s on", "Set this machine's clock by NTP.", Slug.CLOCK_SKEW)


async def _membership(client: GatewayClient, joined: Joined) -> Verdict:
    entry = next((entry for entry in await client.members() if entry["party"] == joined.party), None)
    if entry is None or entry["revoked"] or entry["identity"] != joined.keys.identity.public.hex:
        says = f"{joined.party} is not enrolled there with our key, or was revoked"
        return bad("membership", says, "Call the gateway's operator.", Slug.NOT_ENTITLED)
    return good("membership", f"{joined.party} is enrolled as {entry['legal_name']}, {entry['party_class']}")


async def _chunk(client: GatewayClient, greeting: Greeting) -> Verdict:
    """Send random bytes of the size of one chunk, as a sealed update would travel; the gateway forgets them by itself."""
    with tempfile.TemporaryDirectory(prefix="parley-doctor-") as folder:
        path = Path(folder) / "chunk"
        await asyncio.to_thread(path.write_bytes, os.urandom(greeting.chunk_bytes))
        started = time.monotonic()
        try:
            sent = await client.upload(path)
        except GatewayRefusedError as error:
            if error.problem is Slug.TOO_LARGE or "413" in str(error.got):
                do = "A proxy between limits bodies: have its limit raised, or the operator lower max_chunk_mib in gateway.toml."
                return bad("chunk", f"{size(greeting.chunk_bytes)} did not pass", do, Slug.CANNOT_REACH)
            raise
    return good("chunk", f"{size(sent)} up and acknowledged in {span(time.monotonic() - started)}")


async def _poll(client: GatewayClient, joined: Joined, seconds: float, tell: Callable[[str], None]) -> Verdict:
    if joined.is_served:
        return good("long poll", "our running service holds one")
    tell(f"holding a long poll for {span(seconds)}")
    started = time.monotonic()
    do = "A proxy between cuts idle connections: have its time-out raised, or the operator lower long_poll_seconds in gateway.toml."
    try:
        messages = await client.inbox(joined.cursor, seconds)
    except GatewayUnreachableError as error:
        return bad("long poll", f"cut after {span(time.monotonic() - started)}: {error}", do, Slug.CANNOT_REACH)
    held = time.monotonic() - started
    if messages:
        return good("long poll", f"answered at once: {len(messages)} messages wait for our service")
    return good("long poll", f"held for {span(held)}") if held >= seconds - _EARLY else doubt("long poll", f"ended after {span(held)}", do)
