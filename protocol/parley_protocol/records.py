"""The statements that stand in the log besides agreements, certificates and opened sums.

Each is canonical JSON in a DSSE envelope, signed by whoever acts; the envelope's bytes are the leaf. What is personal, sensitive or easily
guessed stands here only as a salted digest (`salted_digest`): whoever forgets the salt forgets the fact, and the log still verifies. Times
are whole seconds since 1970, as the signer's clock had them: the order of leaves is what counts.

    >>> salted_digest(bytes(32), b"schema = ...") == salted_digest(bytes(32), b"schema = ...")
    True
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from enum import StrEnum, unique
from typing import Annotated, ClassVar, Final, Self

from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document, Signed, Statement
from parley_crypto.tags import Tag, bind, digest
from parley_policies.errors import CredentialInvalid
from parley_policies.negotiation.credentials import Described, check_names, read_credential
from parley_policies.negotiation.terms import Count, Credentials, PartyId, Positive, SegmentName, StudyId
from pydantic import Field, model_validator

from parley_protocol.ids import EnvelopeText, Hex32
from parley_protocol.limits import GATEWAY_ID_CHARACTERS, LEGAL_NAME_CHARACTERS, TEXT_CHARACTERS, URL_CHARACTERS

SALT_BYTES: Final = 32
RECORD: Final = "record"  # the kind of a post with a statement that a party logs about itself
MAX_SUBPROCESSORS: Final = 64

Name = Annotated[str, Field(min_length=1, max_length=LEGAL_NAME_CHARACTERS)]
PartyClass = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]  # ISO 3166-1 alpha-2, as declared
Text = Annotated[str, Field(max_length=TEXT_CHARACTERS)]
Seconds = Count  # since 1970, UTC


def salted_digest(salt: bytes, body: bytes) -> str:
    """Return the digest that stands in the log for `body`: 64 hexadecimal digits, worthless without the 32-byte salt."""
    if len(salt) != SALT_BYTES:
        raise MalformedError(f"salt: wanted {SALT_BYTES} bytes, got {len(salt)}")
    return digest(Tag.SALTED, salt, body)


# The gateway about itself.


class Subprocessor(Document):
    """Whoever works for the gateway's operator and could see what the gateway sees."""

    name: Name
    country: Country
    service: Text


class GatewayRecord(Statement):
    """Signed by the gateway: who operates it, as declared. A new one at each change; the newest counts."""

    kind: ClassVar[str] = "application/vnd.parley.gateway-record.v1+json"

    id: Annotated[str, Field(min_length=1, max_length=GATEWAY_ID_CHARACTERS)]
    url: Annotated[str, Field(max_length=URL_CHARACTERS)]
    key: Hex32  # its Ed25519 key: of the log and of its statements
    log_origin: Annotated[str, Field(min_length=1, max_length=GATEWAY_ID_CHARACTERS + 64)]
    legal_name: Name
    country: Country
    privacy_contact: Text
    security_contact: Text
    incident_notice_hours: Count
    change_notice_days: Count
    subprocessors: Annotated[tuple[Subprocessor, ...], Field(max_length=MAX_SUBPROCESSORS)]
    at: Seconds


# Membership.


class Enrolment(Statement):
    """A party's own statement, signed by its identity key and its authentication key: both signatures are its proof of possession.

    `invite_proof` shows that the party held the invite's token (see `invite_proof`), without the token ever standing in a log.
    """

    kind: ClassVar[str] = "application/vnd.parley.enrolment.v1+json"

    party: PartyId
    legal_name: Name
    party_class: PartyClass
    country: Country
    identity: Hex32
    authentication: Hex32
    gateway: Hex32  # the gateway's key, from the invite: an enrolment is good for one federation only
    log_origin: Annotated[str, Field(min_length=1, max_length=GATEWAY_ID_CHARACTERS + 64)]
    invite_proof: Hex32
    credentials: Credentials = ()  # what issuers say of the party: public, and for each member to judge
    at: Seconds

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` of the identity key."""
        return VerifyKey.from_hex(self.identity).fingerprint


class EnrolmentRecord(Statement):
    """Signed by the gateway: this party is enrolled. Holds the party's own statement with its two signatures."""

    kind: ClassVar[str] = "application/vnd.parley.enrolment-record.v1+json"

    enrolment: EnvelopeText
    at: Seconds


class CredentialsShown(Statement):
    """Signed by the party: from here on it shows these credentials, in place of any that it showed before."""

    kind: ClassVar[str] = "application/vnd.parley.credentials-shown.v1+json"

    party: PartyId
    credentials: Credentials
    at: Seconds


class RevocationRecord(Statement):
    """Signed by the gateway: this party's keys count no longer from here on."""

    kind: ClassVar[str] = "application/vnd.parley.revocation.v1+json"

    party: PartyId
    identity: Hex32
    reason: Text
    at: Seconds


def invite_proof(token: bytes, *, party: str, identity: str, authentication: str, gateway: str) -> str:
    """Return HMAC-SHA256 under SHA-256(token) of the party and the keys it enrols: 64 hexadecimal digits.

    The gateway keeps SHA-256(token) only; a proof seen by others is good for exactly these keys.
    """
    return proof_for_invite(hashlib.sha256(token).digest(), party=party, identity=identity, authentication=authentication, gateway=gateway)


def proof_for_invite(token_digest: bytes, *, party: str, identity: str, authentication: str, gateway: str) -> str:
    """Return the proof that `invite_proof` gives, from the token's SHA-256 as the gateway keeps it."""
    message = bind(Tag.ENROL, party, identity, authentication, gateway)
    return hmac.new(token_digest, message, hashlib.sha256).hexdigest()


def verify_enrolment(envelope: Envelope) -> Enrolment:
    """Return the enrolment if both keys that it names signed it, and nobody else; MalformedError or VerificationError otherwise.

    The keys stand in the statement itself, so it is parsed first and believed only after. Whether the party was invited is the
    gateway's to check; whether the keys are whose they claim to be, people compare by fingerprint.
    """
    claimed = Enrolment.parse(envelope.payload)
    for key in (claimed.identity, claimed.authentication):
        Signed(envelope, Enrolment).verify(VerifyKey.from_hex(key))
    if claimed.identity == claimed.authentication:
        raise VerificationError(f"enrolment of {claimed.party}: wanted two keys, got the identity key as authentication key")
    if len(envelope.signatures) != 2:  # noqa: PLR2004 - identity and authentication
        raise VerificationError(f"enrolment of {claimed.party}: wanted 2 signatures, got {len(envelope.signatures)}")
    check_shown(claimed.credentials, claimed)
    return claimed


def check_shown(credentials: Iterable[str], party: Described) -> None:
    """Return if each credential is its issuer's and names exactly the party that shows it; VerificationError otherwise.

    Whether anybody believes the issuer, and whether it is in force, is each member's to judge: an enrolment outlives a credential.
    """
    for text in credentials:
        try:
            check_names(read_credential(text), party)
        except CredentialInvalid as error:
            raise VerificationError(f"{party.party}: {error}") from error


# Policies and offers, as salted digests.


class PolicyActivated(Statement):
    """Signed by the party: from here on this policy is in force there."""

    kind: ClassVar[str] = "application/vnd.parley.policy-activated.v1+json"

    party: PartyId
    policy: Hex32  # salted digest of the file's bytes
    at: Seconds


class OfferRecord(Statement):
    """Signed by the party: it disclosed this offer to the negotiation of a study."""

    kind: ClassVar[str] = "application/vnd.parley.offer-record.v1+json"

    party: PartyId
    study: StudyId
    proposal: Hex32  # digest of the proposal that it answers
    offer: Hex32  # salted digest of the offer's canonical JSON
    at: Seconds


# The life of a study.


@unique
class StudyChange(StrEnum):
    """What happened to a study."""

    FINALIZED = "finalized"  # the agreement is in force
    TERMINATED = "terminated"  # the negotiation ended without one
    STARTED = "started"
    STOPPED = "stopped"  # ended before its rounds were done
    FINISHED = "finished"  # all rounds done


CLOSING: Final = frozenset({StudyChange.STOPPED, StudyChange.FINISHED})


class StudyEvent(Statement):
    """Signed by whoever acts: the gateway, or the party `by`.

    It names the newest certificate that the signer knew and how many there were. A party's STOPPED asks for the end: a round that may have
    been opened is still finished. What ends a study is the gateway's own STOPPED or FINISHED, whose count and head must be exact, so that
    leaving out the last certificates shows.
    """

    kind: ClassVar[str] = "application/vnd.parley.study-event.v1+json"

    study: StudyId
    change: StudyChange
    by: PartyId | None  # None: the gateway
    agreement: Hex32 | None  # None only where there is none: TERMINATED
    certificates: Count  # opened rounds so far
    head: Hex32 | None  # digest of the newest certificate, before the first one of the agreement
    reason: Text
    at: Seconds

    @model_validator(mode="after")
    def _names_its_agreement(self) -> Self:
        without = self.change is StudyChange.TERMINATED
        if (self.agreement is None) != without or (self.head is None) != without:
            raise ValueError(f"{self.change}: wanted agreement and head {'absent' if without else 'present'}")
        if self.certificates and self.change not in CLOSING:
            raise ValueError(f"{self.change}: wanted 0 certificates, got {self.certificates}")
        return self


# What a party put in.


class JoinedRound(Document):
    """One certified round whose list names the party. With the certificate it gives the party's manifest back, digest and all."""

    round: Positive
    segments: tuple[SegmentName, ...]
    size: Positive  # bytes uploaded
    body: Hex32  # BLAKE3 of the sealed update


class Participation(Statement):
    """Signed by the gateway when a study closes: which certified rounds a party joined, and what it uploaded."""

    kind: ClassVar[str] = "application/vnd.parley.participation.v1+json"

    study: StudyId
    agreement: Hex32
    party: PartyId
    joined: tuple[JoinedRound, ...]  # in order
    missed: tuple[Positive, ...]  # certified rounds without the party, in order

    @property
    def uploaded(self) -> int:
        """Bytes of all sealed updates that were counted."""
        return sum(joined.size for joined in self.joined)
