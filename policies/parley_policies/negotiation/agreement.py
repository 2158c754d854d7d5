"""The agreement: terms with the signatures of **all** members. Its digest is bound into every later key, box and message.

An agreement proves only that its members signed; whether its terms are acceptable is what each of them checked before (`checker`), and
whether its keys are the right ones is what a reader compares with the keys it knows.

    >>> agreement = Agreement.load(assemble(terms, envelopes))        # doctest: +SKIP
    >>> agreement.digest == agreement.terms.digest()                  # doctest: +SKIP
    True
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from parley_crypto.errors import CryptoError
from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Statement

from parley_policies.errors import OUTWARD_REASON, AgreementInvalid
from parley_policies.negotiation.terms import PartyId, Sha256, StudyId, Terms


class Refusal(Statement):
    """A member does not sign the proposed terms. The reason is the same whatever the clause (errors.Refused)."""

    kind: ClassVar[str] = "application/vnd.parley.refusal.v1+json"

    study: StudyId
    terms_digest: Sha256
    party: PartyId
    reason: Literal["this party's policy does not permit the study"] = OUTWARD_REASON


@dataclass(frozen=True, slots=True)
class Agreement:
    """Terms that every member signed. Comes only through `load`, which verifies each signature."""

    terms: Terms
    envelope: Envelope

    @classmethod
    def load(cls, envelope: Envelope) -> Agreement:
        """Return the agreement in `envelope`; AgreementInvalid unless it holds terms and the valid signature of every member.

        The members' keys stand in the terms themselves, so the terms are parsed first and count for nothing until all have signed.
        """
        if envelope.payload_type != Terms.kind:
            raise AgreementInvalid(f"agreement: wanted {Terms.kind}, got {envelope.payload_type[:120]}")
        try:
            terms = Terms.parse(envelope.payload)
            keys = terms.keys()
        except CryptoError as error:
            raise AgreementInvalid(f"agreement: {error}") from error
        signed = envelope.signed_by(keys, len(keys))
        if missing := sorted(set(keys) - set(signed)):
            raise AgreementInvalid(
                f"agreement on study {terms.study}: wanted valid signatures of all {len(keys)} members, got {len(signed)}; "
                f"lacking {', '.join(missing)}"
            )
        return cls(terms, envelope)

    @property
    def digest(self) -> str:
        """The agreement digest: SHA-256 of the canonical terms, 64 hexadecimal digits."""
        return self.envelope.payload_digest


def acceptance(terms: Terms, key: SigningKey) -> Envelope:
    """Return `terms` signed with a member's identity key; AgreementInvalid if the key is no member's."""
    if key.public.hex not in {member.identity for member in terms.members}:
        raise AgreementInvalid(f"acceptance on study {terms.study}: wanted the key of a member, got {key.public.fingerprint}")
    return terms.sign(key)


def read_acceptance(terms: Terms, party: str, envelope: Envelope) -> Envelope:
    """Return `envelope` reduced to `party`'s signature on exactly `terms`; AgreementInvalid if it is none."""
    try:
        member = terms.member(party)
        payload = envelope.verify(Terms.kind, member.key)
    except CryptoError as error:
        raise AgreementInvalid(f"acceptance of {party} on study {terms.study}: {error}") from error
    if payload != terms.canonical():
        raise AgreementInvalid(f"acceptance of {party}: wanted terms {terms.digest()}, got {envelope.payload_digest}")
    own = tuple(signature for signature in envelope.signatures if signature.keyid == member.key.fingerprint)
    return Envelope(envelope.payload_type, envelope.payload, own[:1])


def assemble(terms: Terms, acceptances: Iterable[Envelope]) -> Envelope:
    """Return one envelope with all signatures, in rank order; AgreementInvalid if one is on other terms. Who lacks, `load` says."""
    joined = Envelope(Terms.kind, terms.canonical(), ())
    for envelope in acceptances:
        try:
            joined = joined.joined(envelope)
        except CryptoError as error:
            raise AgreementInvalid(f"agreement on study {terms.study}: {error}") from error
    rank = {member.key.fingerprint: index for index, member in enumerate(terms.members)}
    ordered = sorted(joined.signatures, key=lambda signature: rank.get(signature.keyid, len(rank)))
    return Envelope(joined.payload_type, joined.payload, tuple(ordered))
