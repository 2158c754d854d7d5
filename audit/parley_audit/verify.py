"""Verify an export offline: without network, clock, database or any extra, on any platform.

The argument, in the order of the checks (`parley_audit.checks.Check`):

1. The files are the six they should be, each in its one form, so nothing rides along unchecked.
2. The gateway's key signed size and root.  3. The lines hash to that root, so every leaf shown is the one logged, in its place.
4. Every leaf shown is an envelope of a known kind.  5. to 15. Each kind's verifier judges it against the leaves before it.
16. The list of keys is what the enrolments prove.  17. The texts beside the log have the digests that were logged.

`verify` returns a report and raises nothing that an export could cause; what the source itself raises (a file that cannot be read) passes.

    report = verify(folder, gateway_key=VerifyKey.from_hex("…"))
    report.ok, report.fault
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from parley_crypto.checkpoint import Checkpoint, parse_and_verify, signer_names
from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.merkle import Frontier, leaf_hash
from parley_protocol.limits import LEAF_BYTES
from parley_protocol.records import salted_digest

from parley_audit.checks import Check, Report, results
from parley_audit.claims import proven, unproven
from parley_audit.errors import FaultError
from parley_audit.export import (
    CHECKPOINT,
    FILES,
    HEADER,
    KEYS,
    LEAVES,
    OPENINGS,
    README,
    ExportHeader,
    ListedKey,
    Opening,
    Source,
    is_shown,
    keys_file,
    readme,
)
from parley_audit.leaves import UNREADABLE, verify_leaf
from parley_audit.ledger import Ledger

MAX_LINE_BYTES: Final = LEAF_BYTES + 1
MAX_SMALL_FILE_BYTES: Final = 16 * LEAF_BYTES
_WITHHELD: Final = re.compile(rb'\{"withheld":"([0-9a-f]{64})"\}')


@dataclass(slots=True)
class _Audit:
    """One run: what is known so far, for the report."""

    source: Source
    gateway_given: VerifyKey | None
    header: ExportHeader | None = None
    checkpoint: Checkpoint | None = None
    ledger: Ledger | None = None


def verify(source: Source, *, gateway_key: VerifyKey | None) -> Report:
    """Verify an export. Without `gateway_key` the export's own is taken, and the report says so."""
    audit = _Audit(source, gateway_key)
    try:
        _run(audit)
    except FaultError as error:
        return _report(audit, error)
    return _report(audit, None)


def _run(audit: _Audit) -> None:
    header = audit.header = _check_format(audit.source)
    key = VerifyKey.from_hex(header.gateway)
    ledger = audit.ledger = Ledger(key, header.origin)
    ledger.passed(*[Check.FORMAT] * len(FILES))
    if audit.gateway_given is not None and audit.gateway_given != key:
        raise FaultError(Check.CHECKPOINT, f"gateway key: wanted {audit.gateway_given.fingerprint}, got an export of {key.fingerprint}")
    audit.checkpoint = _check_checkpoint(audit.source, header, key)
    ledger.passed(Check.CHECKPOINT)
    _check_tree(audit.source, header, audit.checkpoint)
    ledger.counts[Check.TREE] = header.size
    _check_leaves(audit.source, header, ledger)
    _check_keys(audit.source, header, ledger)
    _check_openings(audit.source, header, ledger)


def _check_format(source: Source) -> ExportHeader:
    names = sorted(source.names())
    if names != sorted(FILES):
        raise FaultError(Check.FORMAT, f"wanted the files {', '.join(sorted(FILES))}, got {', '.join(names)[:400] or 'none'}")
    raw = _read(source, HEADER)
    try:
        header = ExportHeader.parse(raw.removesuffix(b"\n"))
    except UNREADABLE as error:
        raise FaultError(Check.FORMAT, f"{HEADER}: {error}") from error
    if raw != header.canonical() + b"\n":
        raise FaultError(Check.FORMAT, f"{HEADER}: wanted canonical JSON and one newline")
    if header.studies is not None and list(header.studies) != sorted(set(header.studies)):
        raise FaultError(Check.FORMAT, f"{HEADER}: wanted distinct studies in order, got {header.studies}")
    if header.party is not None and not header.audience.shows_everything:
        raise FaultError(Check.FORMAT, f"{HEADER}: wanted no party in an export for {header.audience}, got {header.party}")
    if _read(source, README) != readme(header):
        raise FaultError(Check.FORMAT, f"{README}: wanted the text that goes with {HEADER}")
    return header


def _check_checkpoint(source: Source, header: ExportHeader, key: VerifyKey) -> Checkpoint:
    try:
        note = _read(source, CHECKPOINT).decode()
        checkpoint = parse_and_verify(note, key, header.origin)
        names = signer_names(note)
    except (CryptoError, UnicodeDecodeError) as error:
        raise FaultError(Check.CHECKPOINT, str(error)) from error
    if len(names) != 1:
        raise FaultError(Check.CHECKPOINT, f"wanted the gateway's signature alone (this version knows no witnesses), got {len(names)}")
    if checkpoint.size != header.size:
        raise FaultError(Check.CHECKPOINT, f"wanted {header.size} leaves as in {HEADER}, got a checkpoint over {checkpoint.size}")
    return checkpoint


def _check_tree(source: Source, header: ExportHeader, checkpoint: Checkpoint) -> None:
    frontier, withheld = Frontier(), 0
    for line in _lines(source, LEAVES):
        hidden = _WITHHELD.fullmatch(line)
        withheld += hidden is not None
        frontier.append(leaf_hash(line) if hidden is None else bytes.fromhex(hidden[1].decode()))
    if (frontier.size, withheld) != (header.size, header.withheld):
        raise FaultError(
            Check.TREE, f"wanted {header.size} leaves with {header.withheld} withheld, got {frontier.size} with {withheld} withheld"
        )
    if frontier.root() != checkpoint.root:
        raise FaultError(
            Check.TREE,
            f"wanted the signed root {checkpoint.root.hex()}, got {frontier.root().hex()}: a leaf was altered, moved, left out or put in",
        )


def _check_leaves(source: Source, header: ExportHeader, ledger: Ledger) -> None:
    for index, line in enumerate(_lines(source, LEAVES)):
        if _WITHHELD.fullmatch(line) is not None:
            continue
        statement = verify_leaf(ledger, index, line)
        if not is_shown(statement, header.audience, header.studies, header.party):
            raise FaultError(Check.LEAVES, f"wanted this leaf withheld from an export for {header.audience}, got it shown", index)
    whole = header.studies is None and header.party is None and header.audience.shows_everything
    if whole and header.withheld:
        raise FaultError(Check.LEAVES, f"wanted the whole log, got {header.withheld} leaves withheld")


def _check_keys(source: Source, header: ExportHeader, ledger: Ledger) -> None:
    if header.party is not None and header.party not in ledger.members:
        raise FaultError(Check.KEYS, f"{HEADER}: wanted a party whose enrolment is among the leaves shown, got {header.party}")
    if _read(source, KEYS) != keys_file(ListedKey.of(m.enrolment, revoked=m.revoked) for m in ledger.members.values()):
        raise FaultError(Check.KEYS, f"{KEYS}: wanted the {len(ledger.members)} parties that the enrolments give, got another list")
    ledger.counts[Check.KEYS] = len(ledger.members)


def _check_openings(source: Source, header: ExportHeader, ledger: Ledger) -> None:
    last, count = -1, 0
    for line in _lines(source, OPENINGS):
        try:
            opening = Opening.parse(line)
        except UNREADABLE as error:
            raise FaultError(Check.OPENINGS, f"{OPENINGS}, line {count + 1}: {error}") from error
        if opening.leaf <= last or opening.leaf not in ledger.salted:
            raise FaultError(Check.OPENINGS, "wanted a leaf with a salted digest, each once and in order", opening.leaf)
        if salted_digest(bytes.fromhex(opening.salt), opening.body.encode()) != ledger.salted[opening.leaf]:
            raise FaultError(Check.OPENINGS, "the text beside the log is not the one whose digest was logged", opening.leaf)
        last, count = opening.leaf, count + 1
    if count != header.openings:
        raise FaultError(Check.OPENINGS, f"wanted {header.openings} texts beside the log, got {count}")
    ledger.counts[Check.OPENINGS] = count


def _report(audit: _Audit, error: FaultError | None) -> Report:
    header, ledger, checkpoint = audit.header, audit.ledger, audit.checkpoint
    fault = None if error is None else error.fault
    given = audit.gateway_given is not None
    return Report(
        audience="" if header is None else header.audience.value,
        origin="" if header is None else header.origin,
        size=0 if header is None else header.size,
        withheld=0 if header is None else header.withheld,
        root="" if checkpoint is None else checkpoint.root.hex(),
        gateway="" if ledger is None else ledger.gateway.fingerprint,
        gateway_given=given,
        checks=results({} if ledger is None else ledger.counts, fault),
        fault=fault,
        studies=() if ledger is None else tuple(trail.summary() for trail in ledger.trails.values()),
        proves=() if header is None or fault is not None else proven(header.audience, header.studies, header.party),
        proves_not=() if header is None else unproven(header.audience, header.studies, header.party, gateway_given=given),
    )


def _read(source: Source, name: str) -> bytes:
    with source.open(name) as file:
        raw = file.read(MAX_SMALL_FILE_BYTES + 1)
    if len(raw) > MAX_SMALL_FILE_BYTES:
        raise FaultError(Check.FORMAT, f"{name}: wanted at most {MAX_SMALL_FILE_BYTES} bytes, got more")
    return raw


def _lines(source: Source, name: str) -> Iterator[bytes]:
    with source.open(name) as file:
        yield from _split(file, name)


def _split(file: BinaryIO, name: str) -> Iterator[bytes]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if not line.endswith(b"\n"):
            raise FaultError(Check.FORMAT, f"{name}, line {number}: wanted at most {LEAF_BYTES} bytes and a newline at the end")
        yield line[:-1]
