"""What a step of a state machine asks its service to do.

The service records the event that caused the step and the messages that it sends in one transaction, and only then sends: persist
before send (invariant 11). Machines are deterministic, so the recorded events *are* the state, and a restart that replays them sends the
same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley_crypto.statement import Document


@dataclass(frozen=True, slots=True)
class Send:
    """Send `body` as a message of `kind`; `to` is a party id, or None for the gateway."""

    to: str | None
    kind: str
    body: Document


@dataclass(frozen=True, slots=True)
class SealNow:
    """The party's vector is needed: every member's box is here."""

    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenNow:
    """The gateway has what it needs to open the sums: add the uploads and take the masks off."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The round is over: `aborted` names the reason, or is None where sums were opened."""

    aborted: str | None
