"""What people sign with the keys of their roles. Nothing of this leaves the party.

A role key (Ed25519) belongs to one role at one party, and never lies with the service. No statement holds a person's name: it names the
role, and the party keeps in its own records who holds which key.

    RoleKey             a key says of itself that it takes a role: proof that somebody holds it
    PolicyApproval      a role approves one policy file, byte for byte, and with it whose keys hold the roles
    AgreementApproval   a role approves or refuses one set of terms, byte for byte

    >>> from parley_crypto.keys import SigningKey
    >>> key = SigningKey(bytes(32))
    >>> signed = RoleKey(party="clinic-a", role="role:privacy-officer", key=key.public.hex).sign(key)
    >>> read_role_key(signed.dump().decode()).role
    'role:privacy-officer'
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Annotated, ClassVar, Final

from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Signed, Statement
from pydantic import Field

from parley_policies.errors import ApprovalInvalid
from parley_policies.model.kinds import Role, Whole
from parley_policies.negotiation.terms import PartyId, Sha256, StudyId

ENVELOPE_CHARACTERS: Final = 4_096
REASON_CHARACTERS: Final = 2_000
MAX_ROLES: Final = 32

EnvelopeText = Annotated[str, Field(max_length=ENVELOPE_CHARACTERS)]
UnixSeconds = Annotated[int, Field(ge=0)]  # when it was signed, by the signer's clock: for the record, nothing rests on it


class RoleKey(Statement):
    """Signed by `key` itself: this key takes `role` at `party`."""

    kind: ClassVar[str] = "application/vnd.parley.role-key.v1+json"

    party: PartyId
    role: Role
    key: Sha256  # Ed25519 public key, 32 bytes in hexadecimal

    @property
    def public(self) -> VerifyKey:
        """The key."""
        return VerifyKey.from_hex(self.key)


class PolicyApproval(Statement):
    """Signed by a role's key: this policy file may be in force, and these keys hold the roles."""

    kind: ClassVar[str] = "application/vnd.parley.policy-approval.v1+json"

    party: PartyId
    role: Role
    version: Whole  # of the policy, as written in the file: what a person reads
    policy: Sha256  # of the file's bytes
    holders: Annotated[tuple[EnvelopeText, ...], Field(max_length=MAX_ROLES)] | None  # RoleKeys by role; None: they stay as they are
    at: UnixSeconds


@unique
class Decision(StrEnum):
    """What a person says to an agreement."""

    APPROVED = "approved"
    REFUSED = "refused"


class AgreementApproval(Statement):
    """Signed by a role's key: this party may, or may not, sign exactly these terms."""

    kind: ClassVar[str] = "application/vnd.parley.agreement-approval.v1+json"

    party: PartyId
    role: Role
    study: StudyId
    terms: Sha256  # digest of the terms: of the agreement to be
    decision: Decision
    reason: Annotated[str, Field(max_length=REASON_CHARACTERS)] = ""  # for this house; what leaves says none
    at: UnixSeconds


def load_signed(text: str, what: str) -> Envelope:
    """Return the envelope in `text`; ApprovalInvalid if it is none, or has not exactly one signature."""
    try:
        envelope = Envelope.load(text.encode())
    except CryptoError as error:
        raise ApprovalInvalid(f"{what}: {error}") from error
    if len(envelope.signatures) != 1:
        raise ApprovalInvalid(f"{what}: wanted one signature, got {len(envelope.signatures)}")
    return envelope


def read_role_key(text: str) -> RoleKey:
    """Return the role key in `text`, which signed itself; ApprovalInvalid otherwise."""
    envelope = load_signed(text, "role key")
    try:
        claimed = RoleKey.parse(envelope.payload)
        return Signed(envelope, RoleKey).verify(claimed.public)
    except CryptoError as error:
        raise ApprovalInvalid(f"role key: {error}") from error
