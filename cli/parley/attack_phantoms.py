"""Parties that do not exist: a study whose floor is reached only by members that the gateway made up, with keys of its own.

The gateway can enrol whom it likes, so their entries are in order and their signatures good. It reads the victim's offer, writes the
phantoms' after it, leaves out of it whom the victim does not count, and computes terms as it always does.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date
from typing import Final

from parley_crypto.keys import AgreementKey, SigningKey
from parley_party.studies import proposal_of
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.members import Member
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.study_file import load_study
from parley_policies.negotiation.terms import GatewayTerms
from parley_protocol.bound import load_envelope
from parley_protocol.negotiation import MemberEntry, StudyRequest, TermsProposed

from parley.attack_lies import changed
from parley.demo_data import DEMO_PARTIES, SUBPRIME
from parley.demo_policies import COUNTRY
from parley.demo_studies import LENDERS, study_text

STUDY: Final = "lenders-phantoms"
VICTIM: Final = next(party for party in DEMO_PARTIES if party.objective == SUBPRIME)
NAMES: Final = ("lender-nv", "lender-wa")
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Phantoms:
    """The proposal of a phantom, and the invited parties as the gateway shows them."""

    proposal: Proposal
    sponsor: SigningKey
    entries: tuple[MemberEntry, ...]

    @classmethod
    def around(cls, victim: MemberEntry, today: date) -> Phantoms:
        """Return a study of the victim and phantoms alone, proposed by one of them."""
        keys = {name: SigningKey(secrets.token_bytes(_KEY_BYTES)) for name in NAMES}
        entries = [
            changed(victim, party=name, legal_name=f"Phantom {name}", identity=key.public.hex, authentication=key.public.hex)
            for name, key in keys.items()
        ]
        honest = proposal_of(load_study(study_text(LENDERS, today).encode(), "study.toml"))
        proposal = changed(honest, id=STUDY, sponsor=NAMES[0], invited=(victim.party, *NAMES))
        return cls(proposal, keys[NAMES[0]], (victim, *entries))

    def request(self) -> StudyRequest:
        """Return what asks the victim for its offer."""
        return StudyRequest(proposal=self.proposal.sign(self.sponsor).dump().decode(), members=self.entries)

    def terms(self, offered: str, gateway: GatewayTerms) -> TermsProposed:
        """Return terms on the victim's offer (its envelope) and the phantoms'."""
        offer = Offer.parse(load_envelope(offered, "offer").payload)
        careless = changed(offer, uncounted=())
        others = [changed(careless, party=name, channel_key=AgreementKey(secrets.token_bytes(_KEY_BYTES)).public.hex()) for name in NAMES]
        members = {
            entry.party: Member(entry.party, entry.legal_name, entry.party_class, COUNTRY, entry.identity, revoked=False)
            for entry in self.entries
        }
        terms = negotiate(self.proposal, [careless, *others], members, gateway).terms[0]
        rows = tuple(changed(row, offer=offer.digest()) if row.party == offer.party else row for row in terms.members)
        return TermsProposed(terms=changed(terms, members=rows).canonical().decode())
