"""Which class a message of a round has on the wire.

Bodies are strict: unknown fields and unknown kinds are refused, and so are values of another type that could be read as the wanted one.

>>> load_post("advertise", b'{"statement":"{}"}').statement
'{}'
"""

from __future__ import annotations

from typing import Final

from parley_crypto.statement import Document, first_fault
from pydantic import ValidationError

from parley_protocol.errors import RemoteProtocolError
from parley_protocol.messages import Boxes, Certified, Keys, ListProposal, Post, RoundAborted, RoundOpen, SharePost, SumOpened
from parley_protocol.phases import Event

OPEN: Final = "open"
WITHDRAWN: Final = "withdrawn"

POSTS: Final[dict[str, type[Post]]] = {
    Event.ADVERTISE: Post,
    Event.SHARE: SharePost,
    Event.COLLECT: Post,
    Event.CONFIRM: Post,
    Event.REVEAL: Post,
    WITHDRAWN: Post,
}
RELAYS: Final[dict[str, type[Document]]] = {
    OPEN: RoundOpen,
    Event.KEYS: Keys,
    Event.BOXES: Boxes,
    Event.LIST: ListProposal,
    Event.CERTIFIED: Certified,
    Event.OPENED: SumOpened,
    Event.ABORTED: RoundAborted,
}


def load_post(kind: str, raw: bytes) -> Post:
    """Parse the body of a party's message of a round; RemoteProtocolError if the kind is unknown or the body does not fit."""
    if kind not in POSTS:
        raise RemoteProtocolError(f"message kind {kind!r}: wanted one of {', '.join(POSTS)}")
    try:
        return POSTS[kind].model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise RemoteProtocolError(f"message {kind}: {first_fault(error)}") from error


def load_relay(kind: str, raw: bytes) -> Document:
    """Parse the body of a gateway's message of a round; RemoteProtocolError if the kind is unknown or the body does not fit."""
    if kind not in RELAYS:
        raise RemoteProtocolError(f"message kind {kind!r}: wanted one of {', '.join(RELAYS)}")
    try:
        return RELAYS[kind].model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise RemoteProtocolError(f"message {kind}: {first_fault(error)}") from error
