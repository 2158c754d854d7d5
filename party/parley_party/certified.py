"""The certificate of a round whose sums are open, as a party comes by it, and its list. Signatures are checked once."""

from __future__ import annotations

from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.certificates import verify_certificate
from parley_protocol.messages import SurvivorList
from parley_protocol.party_round import PartyRound
from parley_protocol.relays import SumOpened


def certificate_of(notice: SumOpened, current: PartyRound | None) -> Envelope | None:
    """Return the certificate that came along, or the one that this party revealed for in the open round; None if it holds neither."""
    if notice.certificate:
        return load_envelope(notice.certificate, "certificate")
    return current.certificate if current is not None and current.spec.round == notice.round else None


def list_of(certificate: Envelope, terms: Terms, current: PartyRound | None) -> SurvivorList:
    """Return a certificate's list, verified: unless it is the one that this party revealed for, which it has verified before."""
    held = current.verified(certificate) if current is not None else None
    return held or verify_certificate(terms, certificate)
