"""A whole negotiation of given policies, offline: the same pure functions that services run, without services, keys or a network.

Each party whose policy is given answers as its service would (`make_offer`), the gateway's part is played (`negotiate`), and every chosen
member checks the terms against its own full policy (`check_terms`). Nothing is signed. `assume` names clauses that this version cannot
uphold and that are treated as if it did; without it a party that has one refuses, by name.

    trial = hold(study, {"clinic-a": policy, …}, Facts(), shape_of(study), today=date(2027, 1, 20))
    trial.members, trial.value
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from parley_policies.errors import Conflict, Refused
from parley_policies.model.loader import PolicyFile
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.offer import Offer, make_offer
from parley_policies.negotiation.outcome import Negotiated
from parley_policies.negotiation.proposal import Proposal, ProposedSegment
from parley_policies.negotiation.study_file import StudyFile
from parley_policies.trial.facts import Facts
from parley_policies.trial.settling import Settled, channel_key, commitment, salt, settle

Shape = tuple[tuple[ProposedSegment, ...], int]  # segments of the model, coordinates of the summary


@dataclass(frozen=True, slots=True)
class Trial:
    """What was tried and what came of it: each party's offer or refusal, and the cohorts or the conflict."""

    proposal: Proposal
    settled: Settled
    assume: frozenset[str]
    offers: Mapping[str, Offer]
    refused: Mapping[str, Refused]  # what a party's own policy says to the study
    outcome: Negotiated | Conflict
    unsigned: Mapping[str, Refused] = field(default_factory=dict)  # what a member's own policy says to the terms: then nothing is agreed

    @property
    def value(self) -> int:
        """The use of data: records times parts of the model; 0 without an agreement."""
        return 0 if isinstance(self.outcome, Conflict) else self.outcome.value

    @property
    def members(self) -> frozenset[str]:
        """The parties that are in a cohort."""
        if isinstance(self.outcome, Conflict):
            return frozenset()
        return frozenset(member.party for terms in self.outcome.terms for member in terms.members)

    def with_policy(self, file: PolicyFile) -> Trial:
        """Return the same trial with another policy of one party. `file` pins throwaway keys, as those of `settled` do."""
        party = file.policy.party
        settled = replace(self.settled, policies={**self.settled.policies, party: file})
        offers = {other: offer for other, offer in self.offers.items() if other != party}
        refused = {other: error for other, error in self.refused.items() if other != party}
        return _negotiated(self.proposal, settled, self.assume, offers, refused, (party,))


def hold(
    study: StudyFile,
    policies: Mapping[str, PolicyFile],
    facts: Facts,
    shape: Shape,
    *,
    today: date,
    assume: frozenset[str] = frozenset(),
) -> Trial:
    """Return what came of the negotiation of `study` among `policies` (by party); `shape` as the learning code computes it."""
    settled = settle(study, policies, facts, today=today)
    invited = tuple(party for party in settled.policies if party in settled.members)
    return _negotiated(study.propose(*shape), settled, assume, {}, {}, invited)


def _negotiated(
    proposal: Proposal,
    settled: Settled,
    assume: frozenset[str],
    offers: Mapping[str, Offer],
    refused: Mapping[str, Refused],
    asked: tuple[str, ...],
) -> Trial:
    """Ask the parties `asked` for offers, beside those that are known, and negotiate."""
    given, refusals = dict(offers), dict(refused)
    for party in asked:
        try:
            given[party] = _offer(proposal, settled, assume, party)
        except Refused as error:
            refusals[party] = error
    trial = Trial(proposal, settled, assume, given, refusals, _outcome(proposal, settled, given))
    return replace(trial, unsigned=_unsigned(trial))


def _offer(proposal: Proposal, settled: Settled, assume: frozenset[str], party: str) -> Offer:
    data = settled.data[party]
    return make_offer(
        settled.policies[party],
        proposal,
        dataset=data.dataset,
        records=data.records,
        objectives=data.objectives,
        members=settled.members,
        gateway=settled.gateway,
        today=settled.day,
        salt=salt(party),
        channel_key=channel_key(party),
        commitment=commitment(party),
        assume=assume,
    )


def _outcome(proposal: Proposal, settled: Settled, offers: Mapping[str, Offer]) -> Negotiated | Conflict:
    try:
        return negotiate(proposal, offers.values(), settled.members, settled.gateway)
    except Conflict as conflict:
        return conflict


def _unsigned(trial: Trial) -> dict[str, Refused]:
    """Return the members that would not sign, with the clause: what an offer could not say stops the terms here."""
    if isinstance(trial.outcome, Conflict):
        return {}
    found = {}
    for terms in trial.outcome.terms:
        for member in terms.members:
            policy, offer = trial.settled.policies[member.party].policy, trial.offers[member.party]
            try:
                check_terms(policy, terms, trial.proposal, offer, trial.settled.members, today=trial.settled.day, assume=trial.assume)
            except Refused as error:
                found[member.party] = error
    return found
