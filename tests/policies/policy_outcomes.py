"""What becomes of random federations, and how hard the properties of negotiations are tried.

`NEGOTIATION_DEEP=1` tries many times as many federations (minutes).
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings
from parley_policies.errors import Conflict
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.outcome import Negotiated

from tests.policies.policy_brute import Brute
from tests.policies.policy_federations import Case
from tests.policies.policy_samples import GATEWAY

DEEP: Final = 20 if os.environ.get("NEGOTIATION_DEEP") else 1
SLOW: Final = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def examples(number: int) -> settings:
    """Return settings that try `number` federations, or many more when asked to."""
    return settings(max_examples=number * DEEP, deadline=None, suppress_health_check=SLOW, print_blob=True)


def outcome_of(case: Case, offers: list[Offer] | None = None) -> Negotiated | None:
    """Return what becomes of a federation; None where there is no cohort."""
    try:
        return negotiate(case.proposal, case.offers() if offers is None else offers, case.directory, GATEWAY)
    except Conflict:
        return None


def brute_of(case: Case) -> Brute:
    offering = {offer.party for offer in case.offers()}
    return Brute(
        {party: table for party, table in case.tables().items() if party in offering},
        case.asked(),
        case.listed(),
        {party: side.objectives for party, side in case.sides.items()},
        {party: side.people for party, side in case.sides.items()},
    )


def cohorts_of(outcome: Negotiated) -> list[tuple[frozenset[str], dict[str, frozenset[str]]]]:
    """Return each cohort's members, and its members by segment of the model."""
    return [
        (
            frozenset(member.party for member in terms.members),
            {segment.name: segment.member_set for step in terms.steps[1:] for segment in step.segments},
        )
        for terms in outcome.terms
    ]
