"""Which parties are summed together, and on what terms.

`negotiate` is pure and gives the same for the same offers in any order. Where no cohort can be formed it raises the Conflict that stands
against the cohort of all. A study that splits keeps its id with the first cohort; each further one is a study of its own, `risk--2`, with
an agreement and a model of its own. The gateway runs this and can only propose: every member checks the result (`checker`).

    negotiated = negotiate(proposal, offers, members, gateway)
    for terms in negotiated.terms: ...
"""

from __future__ import annotations

from collections.abc import Iterable

from parley_policies.errors import OfferInvalid
from parley_policies.negotiation.cohort_terms import terms_of
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.outcome import Negotiated, counted_records, data_used
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import GatewayTerms


def negotiate(proposal: Proposal, offers: Iterable[Offer], members: Directory, gateway: GatewayTerms) -> Negotiated:
    """Return the terms of the cohorts that use most data; Conflict if there is none, OfferInvalid for an offer out of place."""
    given = checked_offers(proposal, offers, members)
    terms = terms_of(proposal, given, members, gateway, study=proposal.id)
    value = data_used(terms, counted_records(given))
    return Negotiated((terms,), (), value, value, "exact")


def checked_offers(proposal: Proposal, offers: Iterable[Offer], members: Directory) -> tuple[Offer, ...]:
    """Return the offers in id order; OfferInvalid unless each is of an enrolled, invited party, for this proposal, and its only one."""
    chosen: dict[str, Offer] = {}
    digest = proposal.digest()
    for offer in offers:
        if offer.party in chosen and chosen[offer.party] != offer:
            raise OfferInvalid(f"offer of {offer.party}: wanted one, got two that differ")
        if (offer.study, offer.proposal_digest) != (proposal.id, digest):
            raise OfferInvalid(f"offer of {offer.party}: wanted study {proposal.id}, proposal {digest[:16]}…, got {offer.study}")
        if offer.party not in proposal.invited or offer.party not in members:
            raise OfferInvalid(f"offer of {offer.party}: wanted an enrolled party that was invited")
        chosen[offer.party] = offer
    return tuple(chosen[party] for party in sorted(chosen))
