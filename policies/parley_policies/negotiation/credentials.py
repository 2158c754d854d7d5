"""Credentials: what an issuer says of a party, signed with the issuer's own key, outside any federation.

An industry association or an authority vouches that a key belongs to an organization of that name, class and country. A party shows its
credentials when it joins; the gateway passes them on, and is not believed: each party checks them itself, against the issuers whose
fingerprints stand in its own policy. A member whose fingerprint is not pinned counts toward a floor only with a credential that

1. is signed by the key that it names as its issuer, and by nobody else;
2. names an issuer in `peers.issuers`;
3. names exactly this party, its legal name, class, country and the fingerprint of its identity key;
4. is in force on the day.

Anything else counts as no credential. Issuers cannot take one back before it ends: they keep them short. Issuers' keys are made and kept
outside the services (`parley credential`).

    >>> from parley_crypto.keys import SigningKey
    >>> issuer, clinic = SigningKey(bytes(32)), SigningKey(bytes([1]) * 32)
    >>> facts = dict(party="clinic-a", legal_name="Clinic A", party_class="hospital", country="DE", valid_until=date(2027, 12, 31))
    >>> credential = Credential(issuer=issuer.public.hex, identity=clinic.public.fingerprint, **facts)
    >>> read_credential(issue(credential, issuer)).party
    'clinic-a'
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Annotated, ClassVar, Final, Protocol

from parley_crypto.errors import CryptoError
from parley_crypto.keys import SigningKey, VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Signed, Statement
from pydantic import Field

from parley_policies.errors import CredentialInvalid
from parley_policies.model.kinds import Fingerprint
from parley_policies.negotiation.terms import MAX_CREDENTIAL_CHARACTERS, PartyId, Sha256

_NAME_CHARACTERS: Final = 200


class Credential(Statement):
    """Signed by an issuer: this key belongs to this organization."""

    kind: ClassVar[str] = "application/vnd.parley.credential.v1+json"

    issuer: Sha256  # the issuer's Ed25519 key, 32 bytes in hexadecimal: policies name its fingerprint
    party: PartyId
    legal_name: Annotated[str, Field(min_length=1, max_length=_NAME_CHARACTERS)]
    party_class: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]  # ISO 3166-1 alpha-2
    identity: Fingerprint  # of the party's identity key
    valid_until: date  # last day (UTC)

    @property
    def issuer_fingerprint(self) -> str:
        """The issuer's fingerprint, as policies name it."""
        return VerifyKey.from_hex(self.issuer).fingerprint


class Described(Protocol):
    """Whoever a credential may speak of: an enrolled party."""

    @property
    def party(self) -> str: ...  # noqa: D102
    @property
    def legal_name(self) -> str: ...  # noqa: D102
    @property
    def party_class(self) -> str: ...  # noqa: D102
    @property
    def country(self) -> str: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102


def issue(credential: Credential, key: SigningKey) -> str:
    """Return a credential signed by its issuer, as the text that is handed to the party; CredentialInvalid for another's key."""
    if key.public.hex != credential.issuer:
        raise CredentialInvalid(
            f"credential of {credential.party}: wanted the key of {credential.issuer_fingerprint}, got {key.public.fingerprint}"
        )
    return credential.sign(key).dump().decode()


def read_credential(text: str) -> Credential:
    """Return a credential that the key which it names as its issuer signed, alone; CredentialInvalid otherwise.

    Whether anybody believes that issuer is a policy's to say. The key stands in the statement itself, so it is parsed first and believed
    only after.
    """
    try:
        if len(text) > MAX_CREDENTIAL_CHARACTERS:
            raise CredentialInvalid(f"credential: wanted at most {MAX_CREDENTIAL_CHARACTERS} characters, got {len(text)}")
        envelope = Envelope.load(text.encode())
        claimed = Credential.parse(envelope.payload)
        credential = Signed(envelope, Credential).verify(VerifyKey.from_hex(claimed.issuer))
    except CryptoError as error:
        raise CredentialInvalid(f"credential: {error}") from error
    if len(envelope.signatures) != 1 or envelope.dump().decode() != text:
        raise CredentialInvalid(f"credential of {credential.party}: wanted its issuer's signature alone, in canonical form")
    return credential


def check_names(credential: Credential, member: Described) -> None:
    """Return if the credential names exactly this party; CredentialInvalid by the fact that differs."""
    facts = ("party", "legal_name", "party_class", "country")
    pairs = [(fact, getattr(member, fact), getattr(credential, fact)) for fact in facts]
    for fact, wanted, got in [*pairs, ("identity", member.fingerprint, credential.identity)]:
        if wanted != got:
            raise CredentialInvalid(f"credential of {credential.party}, {fact}: wanted {wanted}, got {got}")


def check_credential(text: str, member: Described, issuers: Collection[str], today: date) -> Credential:
    """Return the credential if it speaks for `member` today and one of `issuers` (fingerprints) gave it; CredentialInvalid otherwise."""
    credential = read_credential(text)  # 1
    if credential.issuer_fingerprint not in issuers:  # 2
        believed = ", ".join(issuers) or "nobody"
        raise CredentialInvalid(f"credential of {credential.party}, issuer: wanted one of {believed}, got {credential.issuer_fingerprint}")
    check_names(credential, member)  # 3
    if today > credential.valid_until:  # 4
        raise CredentialInvalid(f"credential of {credential.party}: wanted one in force on {today}, got one until {credential.valid_until}")
    return credential
