"""Terms that wait here until people of this party have approved them (approval.agreement), and what they said.

The service checks terms first; what it would sign by itself is then held, durably, until every role has approved exactly these terms. One
refusal ends the negotiation; what leaves gives no reason. Approvals are kept in the store and stay here.

An approval that was given outlives a crash: whoever starts the service asks `Negotiation.resume` for each study that waits. It counts only
while the key that signed it holds its role.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from parley_crypto.signing import Envelope
from parley_policies.approvals.agreements import approvals_of, read_agreement_approval
from parley_policies.approvals.holders import Holders
from parley_policies.approvals.statements import AgreementApproval, Decision, load_signed
from parley_policies.errors import ApprovalInvalid
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.terms import Terms
from parley_protocol.negotiation import StudyState
from parley_protocol.problems import Slug
from parley_service.logs import get_log

from parley_party.activation import history
from parley_party.config import PartyConfig
from parley_party.errors import StudyError
from parley_party.house import House
from parley_party.reading import read
from parley_party.store import PartyStore
from parley_party.tables import ApprovalRow, HeldTermsRow, StudyRow

_LOG: Final = get_log("approving")
WAITS: Final = StudyState.AGREED  # the state of a study whose terms wait here for people


@dataclass(frozen=True, slots=True)
class Said:
    """What was said to terms so far: the approvals that count now, as signed and as read, and the roles that are still asked."""

    envelopes: tuple[Envelope, ...]
    by_role: dict[str, AgreementApproval]
    lacking: tuple[str, ...]

    @property
    def waits(self) -> bool:
        """Whether somebody must still be asked: not if one has refused."""
        refused = any(each.decision is Decision.REFUSED for each in self.by_role.values())
        return bool(self.lacking) and not refused


async def said_to(store: PartyStore, policy: PrivacyPolicy, holders: Holders, terms: Terms) -> Said:
    """Return what counts, by the policy in force and the keys of its roles, of what was said to `terms`."""
    counting = []
    for row in await store.approvals(terms.digest()):
        envelope = load_signed(row.envelope, "approval")
        try:
            read_agreement_approval(holders, policy, terms, envelope)
        except ApprovalInvalid as error:  # the role or its key changed since
            _LOG.warning("approval no longer counts", study=terms.study, role=row.role, reason=str(error))
        else:
            counting.append(envelope)
    by_role = dict(approvals_of(holders, policy, terms, counting))
    return Said(tuple(counting), by_role, tuple(role for role in policy.approval.agreement if role not in by_role))


class Approving:
    """What people of this party say to terms. `resume` decides anew on a study whose terms wait."""

    def __init__(self, house: House, store: PartyStore, resume: Callable[[StudyRow], Awaitable[None]]) -> None:
        self._house = house
        self._store = store
        self._resume = resume

    async def said(self, terms: Terms) -> Said:
        """Return what counts today of what was said to `terms`."""
        guard = self._house.guard
        return await said_to(self._store, guard.policy, self._holders(), terms)

    def held(self, terms: Terms) -> HeldTermsRow:
        """Return terms as the store holds them."""
        return HeldTermsRow(study=terms.study, terms=terms.canonical().decode(), at=self._house.clock())

    async def waiting(self, row: StudyRow) -> Terms:
        """Return the terms of a study that wait for people; StudyError if none do."""
        held = await self._store.held_terms(row.study)
        if row.state != WAITS or held is None:
            raise StudyError(
                f"study {row.study}", problem=Slug.WRONG_STATE, wanted="terms that wait for approval here", got=f"state {row.state}"
            )
        return Terms.parse(held.terms.encode())

    async def say(self, row: StudyRow, text: str) -> AgreementApproval:
        """Take a role's signed word on the terms that wait, write it down, and decide; ApprovalInvalid if it does not count."""
        terms = await self.waiting(row)
        said = read_agreement_approval(self._holders(), self._house.guard.policy, terms, load_signed(text, "approval"))
        await self._store.approve(ApprovalRow(terms=said.terms, role=said.role, envelope=text, at=self._house.clock()))
        await self._resume(row)
        return said

    def _holders(self) -> Holders:
        guard = self._house.guard
        return guard.holders or Holders.none(guard.policy.party)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Terms that wait here for people, and what was said to them so far."""

    terms: Terms
    said: Said


def waiting_here(config: PartyConfig) -> tuple[Waiting, ...]:
    """Return the terms that wait for people, by study, from the store of a running or stopped service."""
    known = history(config)
    if not known:
        return ()
    active = known[-1].activated

    async def ask(store: PartyStore) -> tuple[Waiting, ...]:
        held = [await store.held_terms(row.study) for row in await store.studies() if row.state == WAITS]
        terms = [Terms.parse(row.terms.encode()) for row in held if row is not None]
        return tuple([Waiting(each, await said_to(store, active.file.policy, active.holders, each)) for each in terms])

    return read(config, ask, ())
