"""The demo's six parties in memory: keys, policies and offers, through the real loaders and the real negotiation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from parley.demo_data import DEMO_PARTIES
from parley.demo_policies import COUNTRY, DATASET, Pins, policy_text
from parley.demo_studies import DemoStudy, study_text
from parley_crypto.keys import SigningKey
from parley_party.studies import proposal_of
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.negotiation.cohorts import negotiate as choose
from parley_policies.negotiation.members import Member
from parley_policies.negotiation.offer import Offer, make_offer
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.study_file import load_study
from parley_policies.negotiation.terms import GatewayTerms, Terms

from tests.member_secrets import secrets_of

TODAY: Final = date(2027, 3, 1)
GATEWAY_KEY: Final = SigningKey(bytes([200]) * 32)
GATEWAY: Final = GatewayTerms(
    id="gw.demo",
    key=GATEWAY_KEY.public.hex,
    operator="Demo operator",
    countries=(COUNTRY,),
    incident_notice_hours=24,
    change_notice_days=30,
)
ROWS: Final = {"insurer-fl": 483, "insurer-il": 252, "insurer-nj": 223, "lender-ca": 600, "lender-ny": 523, "lender-tx": 531}


def key_of(party: str) -> SigningKey:
    return SigningKey(party.encode().ljust(32, b".")[:32])


PINS: Final = Pins(GATEWAY_KEY.public.fingerprint, {party.id: key_of(party.id).public.fingerprint for party in DEMO_PARTIES})
MEMBERS: Final = {
    party.id: Member(party.id, party.legal_name, party.party_class, COUNTRY, key_of(party.id).public.hex) for party in DEMO_PARTIES
}


def policies() -> dict[str, PolicyFile]:
    return {party.id: load_policy(policy_text(party, PINS, TODAY).encode(), party.id) for party in DEMO_PARTIES}


@dataclass(frozen=True)
class Negotiated:
    """One demo study as its negotiation ends."""

    proposal: Proposal
    members: dict[str, Member]
    offers: dict[str, Offer]
    terms: Terms


def negotiate(study: DemoStudy) -> Negotiated:
    proposal = proposal_of(load_study(study_text(study, TODAY).encode(), study.id))
    members = {party: MEMBERS[party] for party in study.parties}
    active = policies()
    offers = {
        party.id: make_offer(
            active[party.id],
            proposal,
            dataset=DATASET,
            records=ROWS[party.id],
            objectives=(party.objective,),
            members=members,
            gateway=GATEWAY,
            today=TODAY,
            salt=bytes(16),
            channel_key=secrets_of(party.id).channel_key,
            commitment=secrets_of(party.id).commitment(proposal.digest(), party.id),
        )
        for party in DEMO_PARTIES
        if party.id in study.parties
    }
    return Negotiated(proposal, members, offers, choose(proposal, offers.values(), members, GATEWAY).terms[0])
