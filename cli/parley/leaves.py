"""What a leaf of the log says, in words, and which study it is about. It says what is written there, not whether it verifies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from parley_audit.leaves import parse_leaf, study_of
from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Statement
from parley_policies.errors import CredentialInvalid
from parley_policies.negotiation.credentials import read_credential
from parley_policies.negotiation.terms import Terms
from parley_protocol.keyparts import KeyPart
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.records import (
    CredentialsShown,
    Enrolment,
    EnrolmentRecord,
    GatewayRecord,
    OfferRecord,
    Participation,
    PolicyActivated,
    RevocationRecord,
    StudyEvent,
)

from parley.words import short, size, when

_KINDS: Final[dict[type[Statement], str]] = {
    GatewayRecord: "gateway",
    EnrolmentRecord: "enrolment",
    CredentialsShown: "credentials",
    RevocationRecord: "revocation",
    PolicyActivated: "policy",
    OfferRecord: "offer",
    Terms: "agreement",
    KeyPart: "key part",
    StudyEvent: "study",
    SurvivorList: "certificate",
    Opened: "opened sums",
    Participation: "participation",
}


def leaf_row(raw: bytes) -> tuple[str, str, str]:
    """Return kind, study ("" for none) and what a leaf says; FaultError or an error of the crypto package for one that cannot be read."""
    statement = parse_leaf(raw)
    return _KINDS[type(statement)], study_of(statement) or "", _says(statement)


def _says(statement: Statement) -> str:
    match statement:
        case GatewayRecord():
            others = "".join(f", {item.name} ({item.country}, {item.service})" for item in statement.subprocessors)
            says = f"{statement.id} at {statement.url}, operated by {statement.legal_name} ({statement.country}){others}"
        case EnrolmentRecord():
            says = _enrolled(statement)
        case CredentialsShown():
            says = f"{statement.party} shows {credentials_said(statement.credentials) or 'no credentials'}"
        case RevocationRecord():
            says = f"keys of {statement.party} revoked: {statement.reason}"
        case PolicyActivated():
            says = f"{statement.party} activated a policy, salted digest {short(statement.policy)}"
        case OfferRecord():
            says = f"{statement.party} made an offer, salted digest {short(statement.offer)}"
        case Terms():
            members = ", ".join(member.party for member in statement.members)
            says = f"signed by {members}; {statement.threshold} must sign what is opened; digest {short(statement.digest())}"
        case KeyPart():
            says = f"{statement.party} gave its part of what the members share, under agreement {short(statement.agreement)}"
        case StudyEvent():
            reason = f": {statement.reason}" if statement.reason else ""
            says = f"{statement.change} by {statement.by or 'the gateway'} after {statement.certificates} rounds{reason}"
        case _:
            says = _says_of_round(statement)
    return says


def _says_of_round(statement: Statement) -> str:
    match statement:
        case SurvivorList():
            names = ", ".join(survivor.party for survivor in statement.survivors)
            return f"round {statement.round}: finished by {names}; may open {', '.join(statement.openable)}"
        case Opened():
            sums = ", ".join(f"{item.name} over {item.parties} parties" for item in statement.segments)
            return f"round {statement.round}: {sums}"
        case Participation():
            joined, missed = len(statement.joined), len(statement.missed)
            return f"{statement.party} joined {joined} rounds, missed {missed}, uploaded {size(statement.uploaded)}"
        case _:
            return ""


def _enrolled(record: EnrolmentRecord) -> str:
    try:
        party = Enrolment.parse(Envelope.load(record.enrolment.encode()).payload)
    except CryptoError:
        return "an enrolment that cannot be read"
    key = VerifyKey.from_hex(party.identity).fingerprint
    shown = credentials_said(party.credentials)
    return f"{party.party}: {party.legal_name}, {party.party_class}, {party.country}; key {key}; {when(record.at)}" + (
        f"; {shown}" if shown else ""
    )


def credentials_said(texts: Iterable[str]) -> str:
    """Return who vouches and until when; what cannot be read is said so."""
    found = []
    for text in texts:
        try:
            credential = read_credential(text)
        except CredentialInvalid:
            found.append("a credential that does not verify")
        else:
            found.append(f"a credential by {credential.issuer_fingerprint} until {credential.valid_until}")
    return ", ".join(found)
