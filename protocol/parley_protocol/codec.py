"""Which class a message of a round has on the wire.

Bodies are strict: unknown fields and unknown kinds are refused, and so are values of another type that could be read as the wanted one.

>>> load_post("advertise", b'{"statement":"{}"}').statement
'{}'
"""

from __future__ import annotations

import json
from typing import Final, TypeAlias

from parley_crypto.statement import first_fault
from pydantic import ValidationError

from parley_protocol.bound import load_envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.phases import Event
from parley_protocol.relays import (
    Boxes,
    Certified,
    ConfirmPost,
    Keys,
    ListProposal,
    Post,
    ReleaseAsked,
    Released,
    ReleasePost,
    RoundAborted,
    RoundOpen,
    RoundRelay,
    SharePost,
    SumOpened,
)

OPEN: Final = "open"
WITHDRAWN: Final = "withdrawn"

AnyPost: TypeAlias = Post | ConfirmPost | ReleasePost
POSTS: Final[dict[str, type[AnyPost]]] = {
    Event.ADVERTISE: Post,
    Event.SHARE: SharePost,
    Event.COLLECT: Post,
    Event.CONFIRM: ConfirmPost,
    Event.REVEAL: Post,
    Event.RELEASE: ReleasePost,
    WITHDRAWN: Post,
}
RELAYS: Final[dict[str, type[RoundRelay]]] = {
    OPEN: RoundOpen,
    Event.KEYS: Keys,
    Event.BOXES: Boxes,
    Event.LIST: ListProposal,
    Event.CERTIFIED: Certified,
    Event.OPENED: SumOpened,
    Event.ABORTED: RoundAborted,
    Event.RELEASE: ReleaseAsked,
    Event.RELEASED: Released,
}


def load_post(kind: str, raw: bytes) -> AnyPost:
    """Parse the body of a party's message of a round; RemoteProtocolError if the kind is unknown or the body does not fit."""
    if kind not in POSTS:
        raise RemoteProtocolError(f"message kind {kind!r}: wanted one of {', '.join(POSTS)}")
    try:
        return POSTS[kind].model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise RemoteProtocolError(f"message {kind}: {first_fault(error)}") from error


def load_relay(kind: str, raw: bytes) -> RoundRelay:
    """Parse the body of a gateway's message of a round; RemoteProtocolError if the kind is unknown or the body does not fit."""
    if kind not in RELAYS:
        raise RemoteProtocolError(f"message kind {kind!r}: wanted one of {', '.join(RELAYS)}")
    try:
        return RELAYS[kind].model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise RemoteProtocolError(f"message {kind}: {first_fault(error)}") from error


def round_of(post: AnyPost) -> int:
    """Return the round that a post says it is of, to choose what to check it against. Nothing is believed yet."""
    if not isinstance(post, Post):
        return post.round
    payload = load_envelope(post.statement, "statement").payload
    try:
        number = json.loads(payload)["round"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemoteProtocolError("statement", wanted="one that names its round", got=payload[:40].decode(errors="replace")) from error
    if not isinstance(number, int) or number < 1:
        raise RemoteProtocolError("statement", wanted="a round of at least 1", got=repr(number)[:40])
    return number
