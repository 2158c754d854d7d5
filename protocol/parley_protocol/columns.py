"""Columns: many values of one size in one text, base64 of one after the other.

Relays of a round carry keys, digests and signatures of every member. As columns in id order they cost a third more than the bare bytes;
as one JSON object each they cost three to six times as much. A column says nothing by itself: the reader rebuilds from it the statement
that its author signed, and verifies the signature.

    >>> unpack(pack([b"ab", b"cd"]), 2, 2, "keys")
    (b'ab', b'cd')
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from parley_protocol.errors import RemoteProtocolError


def pack(values: Iterable[bytes]) -> str:
    """Return values, which the reader knows to be of one size, as one text."""
    return base64.b64encode(b"".join(values)).decode()


def unpack(text: str, size: int, count: int, what: str) -> tuple[bytes, ...]:
    """Return `count` values of `size` bytes each; RemoteProtocolError unless the text holds exactly that."""
    raw = decoded(text, what)
    if len(raw) != size * count:
        raise RemoteProtocolError(f"{what}: wanted {count} values of {size} bytes, got {len(raw)} bytes")
    return tuple(raw[start : start + size] for start in range(0, len(raw), size))


def decoded(text: str, what: str) -> bytes:
    """Return the bytes of a text in base64; RemoteProtocolError if it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RemoteProtocolError(f"{what}: wanted base64, got {text[:40]!r}") from error
