"""Typed names that the protocol uses, and the phases of a round."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Annotated

from pydantic import Field

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
EnvelopeText = Annotated[str, Field(max_length=4_194_304)]  # a DSSE envelope as JSON text
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=65_536)]
Column = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=4_194_304)]  # values of one size, one after the other
Reason = Annotated[str, Field(max_length=2_000)]


@unique
class Phase(StrEnum):
    """Phases of a round (protocol.md). ABORTED is possible only before boxes are handed out, hence before any upload.

    In RELEASE shares are being destroyed; RELEASED is the round that is proven to be never opened.
    """

    ADVERTISE = "ADVERTISE"
    SHARE = "SHARE"
    COLLECT = "COLLECT"
    CONFIRM = "CONFIRM"
    REVEAL = "REVEAL"
    RELEASE = "RELEASE"
    CLOSED = "CLOSED"
    ABORTED = "ABORTED"
    RELEASED = "RELEASED"
