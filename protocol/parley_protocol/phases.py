"""The round's state machine as one table for both roles: phase × event -> phases it may lead to.

Both machines look their event up here before they look at its content, so that a message out of turn is refused in one place, and the
diagrams in the documentation are drawn from it.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final

from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase


@unique
class Event(StrEnum):
    """What can happen to a round, at a party (its inbox) or at the gateway (its posts)."""

    # the party's inbox
    KEYS = "keys"
    BOXES = "boxes"
    SEALED = "sealed"
    LIST = "list"
    CERTIFIED = "certified"
    OPENED = "opened"
    ABORTED = "aborted"
    RELEASED = "released"
    # the gateway's posts
    ADVERTISE = "advertise"
    SHARE = "share"
    COLLECT = "collect"
    CONFIRM = "confirm"
    REVEAL = "reveal"
    # both: the gateway asks for it, the party says it
    RELEASE = "release"
    # the gateway's clock
    EXPIRED = "expired"


_END: Final = {Event.OPENED: Phase.CLOSED, Event.RELEASE: Phase.RELEASE, Event.RELEASED: Phase.RELEASED}

PARTY: Final[dict[Phase, dict[Event, Phase]]] = {
    Phase.ADVERTISE: {Event.KEYS: Phase.SHARE, Event.ABORTED: Phase.ABORTED, **_END},
    Phase.SHARE: {Event.BOXES: Phase.COLLECT, Event.ABORTED: Phase.ABORTED, **_END},
    Phase.COLLECT: {Event.SEALED: Phase.CONFIRM, Event.LIST: Phase.REVEAL, **_END},
    Phase.CONFIRM: {Event.LIST: Phase.REVEAL, **_END},
    Phase.REVEAL: {Event.LIST: Phase.REVEAL, Event.CERTIFIED: Phase.REVEAL, **_END},
    Phase.RELEASE: _END,
}

GATEWAY: Final[dict[Phase, dict[Event, Phase]]] = {
    Phase.ADVERTISE: {Event.ADVERTISE: Phase.SHARE, Event.ABORTED: Phase.ABORTED},
    Phase.SHARE: {Event.SHARE: Phase.COLLECT, Event.ABORTED: Phase.ABORTED},
    Phase.COLLECT: {Event.COLLECT: Phase.CONFIRM, Event.EXPIRED: Phase.RELEASE},
    Phase.CONFIRM: {Event.CONFIRM: Phase.REVEAL, Event.EXPIRED: Phase.RELEASE},
    Phase.REVEAL: {Event.REVEAL: Phase.REVEAL, Event.OPENED: Phase.CLOSED},
    Phase.RELEASE: {Event.RELEASE: Phase.RELEASED},
}


def require(table: dict[Phase, dict[Event, Phase]], phase: Phase, event: Event, round_number: int) -> Phase:
    """Return the phase that `event` leads to; RemoteProtocolError if it is out of turn."""
    try:
        return table[phase][event]
    except KeyError:
        turns = ", ".join(table.get(phase, {})) or "nothing"
        raise RemoteProtocolError(f"round {round_number} in {phase}: wanted {turns}, got {event}") from None
