"""Verifiers of the leaves about the gateway, its parties, and what they bring: enrolments, revocations, policies, offers."""

from __future__ import annotations

from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_protocol.records import (
    CredentialsShown,
    EnrolmentRecord,
    GatewayRecord,
    OfferRecord,
    PolicyActivated,
    RevocationRecord,
    check_shown,
    verify_enrolment,
)

from parley_audit.checks import Check
from parley_audit.ledger import Enrolled, Leaf, Ledger


def verify_gateway(ledger: Ledger, leaf: Leaf) -> GatewayRecord:
    """The gateway declares its operator under the key and the origin of this very log."""
    record = ledger.by_gateway(leaf, GatewayRecord, Check.GATEWAY)
    wanted = (ledger.gateway.hex, ledger.origin)
    if (record.key, record.log_origin) != wanted:
        raise leaf.fault(Check.GATEWAY, f"wanted this log's key and origin {wanted}, got {(record.key, record.log_origin)}")
    ledger.passed(Check.GATEWAY)
    return record


def verify_enrolled(ledger: Ledger, leaf: Leaf) -> EnrolmentRecord:
    """The party's own statement, signed by both its keys, for this gateway; no party and no key twice, unless revoked before.

    Credentials in it are their issuers' and name exactly this party; who believes an issuer is not asked.
    """
    record = ledger.by_gateway(leaf, EnrolmentRecord, Check.ENROLMENTS)
    envelope = Envelope.load(record.enrolment.encode())
    enrolment = verify_enrolment(envelope)
    if record.enrolment.encode() != envelope.dump():
        raise leaf.fault(Check.ENROLMENTS, f"enrolment of {enrolment.party}: wanted its envelope in canonical form")
    wanted = (ledger.gateway.hex, ledger.origin)
    if (enrolment.gateway, enrolment.log_origin) != wanted:
        raise leaf.fault(
            Check.ENROLMENTS,
            f"enrolment of {enrolment.party}: wanted this log's key and origin {wanted}, got {(enrolment.gateway, enrolment.log_origin)}",
        )
    known = ledger.members.get(enrolment.party)
    if known is not None and not known.revoked:
        raise leaf.fault(Check.ENROLMENTS, f"party {enrolment.party} is enrolled already, with {known.identity.fingerprint}")
    _require_fresh_keys(ledger, leaf, enrolment.party, {enrolment.identity, enrolment.authentication})
    ledger.members[enrolment.party] = Enrolled(enrolment, VerifyKey.from_hex(enrolment.identity))
    ledger.keys |= {enrolment.identity, enrolment.authentication}
    ledger.passed(Check.ENROLMENTS)
    return record


def _require_fresh_keys(ledger: Ledger, leaf: Leaf, party: str, keys: set[str]) -> None:
    """One key for two parties would let one organization count twice; a revoked key must not come back."""
    used = sorted(keys & (ledger.keys | {ledger.gateway.hex}))
    if used:
        raise leaf.fault(Check.ENROLMENTS, f"enrolment of {party}: wanted keys that nobody enrolled before, got {used[0]} again")


def verify_revocation(ledger: Ledger, leaf: Leaf) -> RevocationRecord:
    """An enrolled party's keys count no longer."""
    record = ledger.by_gateway(leaf, RevocationRecord, Check.ENROLMENTS)
    member = ledger.enrolled(leaf, record.party, Check.ENROLMENTS)
    if record.identity != member.identity.hex:
        raise leaf.fault(Check.ENROLMENTS, f"revocation of {record.party}: wanted key {member.identity.hex}, got {record.identity}")
    member.revoked = True
    ledger.passed(Check.ENROLMENTS)
    return record


def verify_shown(ledger: Ledger, leaf: Leaf) -> CredentialsShown:
    """An enrolled party shows other credentials: each is its issuer's and names exactly this party, whoever believes the issuer."""
    claimed = CredentialsShown.parse(leaf.envelope.payload)
    record = ledger.by_member(leaf, CredentialsShown, claimed.party, Check.ENROLMENTS)
    check_shown(record.credentials, ledger.enrolled(leaf, record.party, Check.ENROLMENTS).enrolment)
    ledger.passed(Check.ENROLMENTS)
    return record


def verify_policy(ledger: Ledger, leaf: Leaf) -> PolicyActivated:
    """A party logged the salted digest of its policy."""
    claimed = PolicyActivated.parse(leaf.envelope.payload)
    record = ledger.by_member(leaf, PolicyActivated, claimed.party, Check.POLICIES)
    ledger.salted[leaf.index] = record.policy
    ledger.passed(Check.POLICIES)
    return record


def verify_offer(ledger: Ledger, leaf: Leaf) -> OfferRecord:
    """A party logged the salted digest of its offer to a study."""
    claimed = OfferRecord.parse(leaf.envelope.payload)
    record = ledger.by_member(leaf, OfferRecord, claimed.party, Check.POLICIES)
    ledger.salted[leaf.index] = record.offer
    ledger.proposals[record.study, record.party] = record.proposal
    ledger.passed(Check.POLICIES)
    return record
