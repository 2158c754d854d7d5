"""The kinds of leaves, each with its verifier. A kind that is not registered here fails closed.

A leaf is the bytes of a DSSE envelope in canonical form. Its payload type says which verifier judges it; what was written for another kind
cannot pass, since signatures cover the payload type. To log a new kind of statement, write its verifier and register it in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import rfc8785
from parley_crypto.errors import CryptoError
from parley_crypto.signing import Envelope
from parley_crypto.statement import Statement
from parley_policies.negotiation.terms import Terms
from parley_protocol.errors import ProtocolError
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

from parley_audit.agreements import verify_agreement, verify_event, verify_key_part
from parley_audit.checks import Check
from parley_audit.errors import FaultError
from parley_audit.ledger import Leaf, Ledger
from parley_audit.membership import verify_enrolled, verify_gateway, verify_offer, verify_policy, verify_revocation, verify_shown
from parley_audit.rounds import verify_certificate, verify_participation, verify_sums

# What reading untrusted bytes as a document may raise: canonical JSON has no integers beyond 2^53, and says so in its own way.
UNREADABLE: Final = (CryptoError, rfc8785.CanonicalizationError)

Verifier = Callable[[Ledger, Leaf], Statement]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of leaf: its statement, the check that a fault in it belongs to, and who judges it."""

    of: type[Statement]
    check: Check
    verify: Verifier


KINDS: Final[Mapping[str, Kind]] = {
    kind.of.kind: kind
    for kind in (
        Kind(GatewayRecord, Check.GATEWAY, verify_gateway),
        Kind(EnrolmentRecord, Check.ENROLMENTS, verify_enrolled),
        Kind(CredentialsShown, Check.ENROLMENTS, verify_shown),
        Kind(RevocationRecord, Check.ENROLMENTS, verify_revocation),
        Kind(PolicyActivated, Check.POLICIES, verify_policy),
        Kind(OfferRecord, Check.POLICIES, verify_offer),
        Kind(Terms, Check.AGREEMENTS, verify_agreement),
        Kind(KeyPart, Check.AGREEMENTS, verify_key_part),
        Kind(StudyEvent, Check.EVENTS, verify_event),
        Kind(SurvivorList, Check.CERTIFICATES, verify_certificate),
        Kind(Opened, Check.OPENED, verify_sums),
        Kind(Participation, Check.PARTICIPATION, verify_participation),
    )
}


def read_leaf(raw: bytes) -> tuple[Envelope, Kind]:
    """Return a leaf's envelope and kind; FaultError (without an index) if it is no canonical envelope or of an unknown kind."""
    try:
        envelope = Envelope.load(raw)
    except CryptoError as error:
        raise FaultError(Check.LEAVES, str(error)) from error
    if envelope.dump() != raw:
        raise FaultError(Check.LEAVES, f"{envelope.payload_type[:120]!r}: wanted the envelope in canonical form")
    kind = KINDS.get(envelope.payload_type)
    if kind is None:
        raise FaultError(
            Check.LEAVES, f"{envelope.payload_type[:120]!r}: this version knows no verifier for this kind of leaf; verify with a newer one"
        )
    return envelope, kind


def parse_leaf(raw: bytes) -> Statement:
    """Return a leaf's statement **without** checking any signature: to choose what an export shows, never to believe it."""
    envelope, kind = read_leaf(raw)
    return kind.of.parse(envelope.payload)


def study_of(statement: Statement) -> str | None:
    """Return the study that a statement is about, None where it is about no study."""
    study = getattr(statement, "study", None)
    return study if isinstance(study, str) else None


def verify_leaf(ledger: Ledger, index: int, raw: bytes) -> Statement:
    """Judge one leaf against the ledger, enter it there and return its statement; FaultError names the check and the leaf."""
    try:
        envelope, kind = read_leaf(raw)
    except FaultError as error:
        raise FaultError(error.fault.check, error.fault.message, index) from error
    try:
        statement = kind.verify(ledger, Leaf(index, envelope))
    except (*UNREADABLE, ProtocolError) as error:
        raise FaultError(kind.check, str(error), index) from error
    ledger.passed(Check.LEAVES)
    return statement
