"""Exports: a log, or a part of it, as a folder of six files that anyone can verify without network.

| file | content |
|---|---|
| `export.json` | `ExportHeader` in canonical JSON: for whom, which log and gateway key, how many leaves, which studies |
| `checkpoint.txt` | the signed note over size and root |
| `leaves.jsonl` | a line a leaf, in order: the leaf itself, or `{"withheld":"<leaf hash>"}` |
| `keys.json` | the parties' keys as the enrolments among the leaves give them |
| `openings.jsonl` | texts whose salted digests stand in leaves: `Opening` in canonical JSON, a line each |
| `README.txt` | what it is, what it can prove and what not |

A party is shown by the gateway only what concerns it, and of other leaves the hash (`parley_protocol.logentries`). An export that it makes
names it in the header and withholds those leaves: the tree can be computed all the same.

The same leaves, checkpoint and arguments give the same bytes. Nothing here touches a disk: files are opened through the `Sink` or `Source`
handed in. Making an export checks no signature, so that a faulty log can be exported as evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, BinaryIO, Final, Literal, Protocol

from parley_crypto.checkpoint import parse_and_verify
from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document, Statement
from parley_policies.negotiation.terms import Count, PartyId, StudyId
from parley_protocol.ids import Hex32
from parley_protocol.logentries import HiddenLeaf, LogEntry, hash_of
from parley_protocol.records import Enrolment, EnrolmentRecord, GatewayRecord, Participation, PolicyActivated, RevocationRecord
from pydantic import Field

from parley_audit.claims import Audience, proven, unproven
from parley_audit.errors import ExportError, FaultError
from parley_audit.leaves import UNREADABLE, parse_leaf, study_of

HEADER: Final = "export.json"
CHECKPOINT: Final = "checkpoint.txt"
LEAVES: Final = "leaves.jsonl"
KEYS: Final = "keys.json"
OPENINGS: Final = "openings.jsonl"
README: Final = "README.txt"
FILES: Final = (HEADER, CHECKPOINT, LEAVES, KEYS, OPENINGS, README)


class Source(Protocol):
    """A folder to read from."""

    def names(self) -> Collection[str]:
        """Return the names of all files in it."""
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading."""
        ...


class Sink(Protocol):
    """A folder to write to."""

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file for writing."""
        ...


class ExportHeader(Document):
    """What an export says about itself; every field is checked against the rest."""

    format: Literal["parley.export/1"] = "parley.export/1"
    audience: Audience
    origin: Annotated[str, Field(min_length=1, max_length=512)]
    gateway: Hex32
    size: Count  # leaves of the log
    withheld: Count  # of them, how many are here as hashes only
    studies: tuple[StudyId, ...] | None  # in order; None: all
    party: PartyId | None  # to whom the gateway showed this much; None: it was made from the whole log
    openings: Count


class Opening(Document):
    """A text whose salted digest stands in a leaf, with its salt. Whoever gets it knows the fact; without it nobody does."""

    leaf: Count
    salt: Hex32
    body: Annotated[str, Field(max_length=1_048_576)]


class ListedKey(Document):
    """One party in the list of keys."""

    party: PartyId
    legal_name: str
    identity: Hex32
    authentication: Hex32
    fingerprint: str  # of the identity key, as people compare it
    revoked: bool

    @classmethod
    def of(cls, enrolment: Enrolment, *, revoked: bool) -> ListedKey:
        """Return the entry of a party as it enrolled."""
        return cls(
            party=enrolment.party,
            legal_name=enrolment.legal_name,
            identity=enrolment.identity,
            authentication=enrolment.authentication,
            fingerprint=VerifyKey.from_hex(enrolment.identity).fingerprint,
            revoked=revoked,
        )


class KeyList(Document):
    """The parties' keys, in id order."""

    format: Literal["parley.keys/1"] = "parley.keys/1"
    members: tuple[ListedKey, ...]


def write_export(
    sink: Sink,
    leaves: Sequence[LogEntry],
    *,
    checkpoint: str,
    gateway: VerifyKey,
    origin: str,
    audience: Audience,
    studies: Collection[str] | None = None,
    party: str | None = None,
    openings: Sequence[Opening] = (),
) -> ExportHeader:
    """Write the six files and return the header. `leaves` are exactly those that `checkpoint` covers.

    With `studies`, leaves of other studies are withheld; for the public everything but the gateway's own declarations is. `party` is to
    whom `leaves` were shown, some of them as hashes; without it they are the whole log. What is for the public names no party.
    """
    chosen = None if studies is None else tuple(sorted(set(studies)))
    viewer = None if audience is Audience.PUBLIC else party
    try:
        head = parse_and_verify(checkpoint, gateway, origin)
    except CryptoError as error:
        raise ExportError(f"checkpoint: {error}") from error
    if head.size != len(leaves):
        raise ExportError(f"leaves: wanted the {head.size} that the checkpoint covers, got {len(leaves)}")
    if audience is Audience.PUBLIC and (chosen is not None or openings):
        raise ExportError("a public export shows no study and opens no salted digest: ask for all studies and give no openings")
    if audience is not Audience.PUBLIC and viewer is None and any(isinstance(leaf, HiddenLeaf) for leaf in leaves):
        raise ExportError("leaves: wanted the party that they were shown to, since some are hashes, got none")
    statements = [None if isinstance(leaf, HiddenLeaf) else _parsed(leaf) for leaf in leaves]
    shown = [
        not isinstance(leaf, HiddenLeaf) and is_shown(statement, audience, chosen, viewer)
        for leaf, statement in zip(leaves, statements, strict=True)
    ]
    header = ExportHeader(
        audience=audience,
        origin=origin,
        gateway=gateway.hex,
        size=len(leaves),
        withheld=shown.count(False),
        studies=chosen,
        party=viewer,
        openings=len(openings),
    )
    _write(sink, HEADER, [header.canonical() + b"\n"])
    _write(sink, CHECKPOINT, [checkpoint.encode()])
    _write(sink, LEAVES, (_line(leaf, is_shown=show) for leaf, show in zip(leaves, shown, strict=True)))
    _write(sink, KEYS, [keys_file(_listed(s for s, show in zip(statements, shown, strict=True) if show))])
    _write(sink, OPENINGS, (o.canonical() + b"\n" for o in sorted(openings, key=lambda o: o.leaf)))
    _write(sink, README, [readme(header)])
    return header


def is_shown(statement: Statement | None, audience: Audience, studies: tuple[str, ...] | None, party: str | None) -> bool:
    """Say whether an export shows a leaf or withholds it; None is a leaf that cannot be read.

    No policy grants anything to the public yet, so it sees no party and no study. Where `party` made the export, others' own records are
    withheld, whoever showed them to it.
    """
    if audience is Audience.PUBLIC:
        return isinstance(statement, GatewayRecord)
    if party is not None and isinstance(statement, Participation | PolicyActivated) and statement.party != party:
        return False
    study = None if statement is None else study_of(statement)
    return study is None or studies is None or study in studies


def withheld_line(hashed: bytes) -> bytes:
    """Return the line that stands for a withheld leaf."""
    return b'{"withheld":"' + hashed.hex().encode() + b'"}'


def keys_file(keys: Iterable[ListedKey]) -> bytes:
    """Return `keys.json`: parties in id order, in canonical JSON."""
    return KeyList(members=tuple(sorted(keys, key=lambda key: key.party))).canonical() + b"\n"


def readme(header: ExportHeader) -> bytes:
    """Return `README.txt`, a function of the header."""
    shown = header.size - header.withheld
    viewer = "" if header.party is None else f", as the gateway showed it to {header.party}"
    lines = [
        f"Export of the log {header.origin}, for: {header.audience}{viewer}",
        "",
        f"The log has {header.size} leaves; {shown} are shown here, {header.withheld} are withheld (only their hashes are here).",
        f"Gateway key: {VerifyKey.from_hex(header.gateway).fingerprint}",
        "Compare this key with the one you were told outside the gateway.",
        "",
        "To verify, without network:  parley audit verify FOLDER",
        "The format of every file is described in docs/audit.md of Parley.",
        "",
        "If it verifies, this export proves:",
        *(f"- {line}" for line in proven(header.audience, header.studies, header.party)),
        "",
        "It does not prove:",
        *(f"- {line}" for line in unproven(header.audience, header.studies, header.party, gateway_given=None)),
    ]
    return ("\n".join(lines) + "\n").encode()


def _parsed(leaf: bytes) -> Statement | None:
    """Return the statement in a leaf, None where there is none to be read: such a leaf is evidence too."""
    try:
        return parse_leaf(leaf)
    except (FaultError, *UNREADABLE):
        return None


def _listed(statements: Iterable[Statement | None]) -> Iterable[ListedKey]:
    """Read the enrolments without judging them; the audit does."""
    enrolled: dict[str, Enrolment] = {}
    revoked: set[str] = set()
    for statement in statements:
        match statement:
            case EnrolmentRecord() if (party := _party_in(statement)) is not None:
                enrolled[party.party] = party
                revoked.discard(party.party)
            case RevocationRecord():
                revoked.add(statement.party)
            case _:
                pass
    return [ListedKey.of(party, revoked=party.party in revoked) for party in enrolled.values()]


def _party_in(record: EnrolmentRecord) -> Enrolment | None:
    try:
        return Enrolment.parse(Envelope.load(record.enrolment.encode()).payload)
    except UNREADABLE:
        return None


def _line(leaf: LogEntry, *, is_shown: bool) -> bytes:
    return (leaf if is_shown and not isinstance(leaf, HiddenLeaf) else withheld_line(hash_of(leaf))) + b"\n"


def _write(sink: Sink, name: str, chunks: Iterable[bytes]) -> None:
    with sink.create(name) as file:
        for chunk in chunks:
            file.write(chunk)
