"""What a policy means for the agreements of this party: which of them it would not sign again, and because of which clause.

An agreement is kept under the policy that it was signed under. Once another version is in force its rounds rest here, until it is
negotiated anew; what this module says beforehand is for which of them a new negotiation on the same terms could succeed.

    for each in consequences(config, policy, today): print(each.study, each.clause or "would be signed again")
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from parley_policies.errors import Refused
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.negotiation import ENDED, MemberEntry, StudyState

from parley_party.config import PartyConfig
from parley_party.reading import read
from parley_party.store import PartyStore
from parley_party.studies import directory_of
from parley_party.tables import StudyRow


@dataclass(frozen=True, slots=True)
class Affected:
    """What a policy means for one agreement: `clause` stands against its terms, or "" where the policy would sign them again."""

    study: str
    state: str
    clause: str
    reason: str


async def affected(store: PartyStore, policy: PrivacyPolicy, today: date) -> tuple[Affected, ...]:
    """Return each agreement in force, and each set of terms that is signed or waits here, with what `policy` has against its terms."""
    rows = [row for row in await store.studies() if StudyState(row.state) not in ENDED]
    found = [(row, await _terms(store, row)) for row in rows]
    return tuple(_judged(policy, row, terms, today) for row, terms in found if terms is not None)


def consequences(config: PartyConfig, policy: PrivacyPolicy, today: date) -> tuple[Affected, ...]:
    """As `affected`, from the store of a running or stopped service."""
    return read(config, partial(affected, policy=policy, today=today), ())


async def _terms(store: PartyStore, row: StudyRow) -> Terms | None:
    if row.agreement:
        return Agreement.load(load_envelope(row.agreement, "agreement")).terms
    held = await store.held_terms(row.study)
    return None if held is None else Terms.parse(held.terms.encode())


def _judged(policy: PrivacyPolicy, row: StudyRow, terms: Terms, today: date) -> Affected:
    members = directory_of(MemberEntry.model_validate(entry) for entry in json.loads(row.members))
    proposal = Proposal.parse(load_envelope(row.proposal, "proposal").payload)
    offer = Offer.parse(load_envelope(row.offer, "our offer").payload)
    try:
        check_terms(policy, terms, proposal, offer, members, today=today)
    except Refused as error:
        return Affected(row.study, row.state, error.clause, str(error))
    return Affected(row.study, row.state, "", "")


def plain(found: Sequence[Affected]) -> list[dict[str, Any]]:
    """Return agreements under a policy as plain data for JSON."""
    return [{"study": each.study, "state": each.state, "clause": each.clause, "reason": each.reason} for each in found]
