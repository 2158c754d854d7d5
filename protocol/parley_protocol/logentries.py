"""Whom a leaf of the log concerns, and how a party is shown one: the leaf itself, or its RFC 6962 hash alone.

| leaf | shown to |
|---|---|
| `GatewayRecord`, `EnrolmentRecord`, `CredentialsShown`, `RevocationRecord` | every enrolled party |
| `PolicyActivated` | the party whose policy it is |
| `OfferRecord`, `Terms`, `KeyPart`, `StudyEvent`, `SurvivorList`, `Opened` | whom the study concerns (below) |
| `Participation` | the party whose record it is |

A study concerns the members of its terms; before there are terms, every invited party.

A hash is enough to compute the tree. It tells nobody what the leaf says: every leaf ends in a signature that only its signer can make, so
that a guessed statement cannot be compared with the hash. That there is a leaf, and when it came, everybody sees.

On the wire an entry is `{"leaf":"<text>"}` or `{"hash":"<64 hexadecimal digits>"}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from parley_crypto.errors import MalformedError
from parley_crypto.merkle import leaf_hash
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms

from parley_protocol.errors import RemoteProtocolError
from parley_protocol.keyparts import KeyPart
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.records import (
    CredentialsShown,
    EnrolmentRecord,
    GatewayRecord,
    OfferRecord,
    Participation,
    PolicyActivated,
    RevocationRecord,
    StudyEvent,
)

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_ABOUT: Final[Mapping[str, tuple[str, ...]]] = {  # kind -> which of its fields say whom it concerns
    **{each.kind: () for each in (GatewayRecord, EnrolmentRecord, CredentialsShown, RevocationRecord)},
    **{each.kind: ("study",) for each in (OfferRecord, Terms, KeyPart, StudyEvent, SurvivorList, Opened)},
    PolicyActivated.kind: ("party",),
    Participation.kind: ("study", "party"),
}


@dataclass(frozen=True, slots=True)
class HiddenLeaf:
    """A leaf that was not shown: its RFC 6962 leaf hash, 32 bytes."""

    hash: bytes


LogEntry: TypeAlias = bytes | HiddenLeaf


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a leaf concerns: the parties of a study ("" for no study), or of them one alone ("" for all)."""

    study: str = ""
    party: str = ""

    def includes(self, party: str, studies: Collection[str]) -> bool:
        """Say whether the leaf is shown to `party`, whom `studies` concern."""
        return self.party in {"", party} and (self.study == "" or self.study in studies)


def reach_of(leaf: Envelope) -> Reach:
    """Return whom a leaf concerns, without checking a signature; MalformedError for a kind that this version does not know."""
    fields = _ABOUT.get(leaf.payload_type)
    if fields is None:
        raise MalformedError(f"leaf of kind {leaf.payload_type[:120]!r}: nobody said to whom such leaves are shown")
    if not fields:
        return Reach()
    statement = json.loads(leaf.payload)
    return Reach(**{field: str(statement[field]) for field in fields})


def hash_of(entry: LogEntry) -> bytes:
    """Return the RFC 6962 leaf hash of an entry."""
    return entry.hash if isinstance(entry, HiddenLeaf) else leaf_hash(entry)


def dump_entry(entry: LogEntry) -> dict[str, str]:
    """Return an entry as it is sent."""
    return {"hash": entry.hash.hex()} if isinstance(entry, HiddenLeaf) else {"leaf": entry.decode()}


def load_entry(row: Any) -> LogEntry:  # noqa: ANN401 - JSON
    """Return an entry as it was sent; RemoteProtocolError if it is none."""
    match row:
        case {"leaf": str() as leaf, **rest} if not rest:
            return leaf.encode()
        case {"hash": str() as digest, **rest} if not rest and _HASH.fullmatch(digest):
            return HiddenLeaf(bytes.fromhex(digest))
    raise RemoteProtocolError("log entry", wanted="a leaf, or the 64 hexadecimal digits of its hash", got=str(row)[:80])
