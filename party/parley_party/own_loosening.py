"""What this party could loosen in its own policy for one study, as far as it can know: its own policy, the proposal, and the terms if any.

Other members' offers were given to the gateway alone. They are stood in for by offers that say what the terms say of them and otherwise
stand in nobody's way; who takes no part is supposed to stay away unless it is we who keep it out. So each gain is the most that it can be,
and a clause that is not named here would bring nothing whatever the others want. The gateway's declaration is kept here only with terms;
before there are any, one is supposed that suits us.

    for each in own_loosenings(Standing(policy, proposal, members, objectives, "rounded:500", terms), today=day): each.says()
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from parley_crypto.keys import VerifyKey
from parley_policies.errors import Conflict, Refused
from parley_policies.model.countries import expanded
from parley_policies.model.loader import PolicyFile
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.clauses import not_permitted
from parley_policies.negotiation.cohort_terms import Cohort, terms_of
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Offer, OfferedSegment, make_offer
from parley_policies.negotiation.outcome import counted_records, data_used
from parley_policies.negotiation.proposal import SUMMARY, ClipWish, Proposal
from parley_policies.negotiation.records import HIDDEN, lower_end
from parley_policies.negotiation.terms import MIN_FLOOR, GatewayTerms, Terms
from parley_policies.negotiation.weights import wanted_weights
from parley_policies.trial.loosening import Around, ladders, smallest
from parley_policies.trial.settling import GATEWAY, channel_key, commitment, identity, salt

_PLENTY: Final = 1e9  # of what a stand-in does not bound


@dataclass(frozen=True, slots=True)
class Standing:
    """What a party knows of one study. `told` is its own number of records as it told it; `terms` None where there are none for it."""

    policy: PolicyFile
    proposal: Proposal
    members: Directory
    objectives: tuple[str, ...]
    told: str
    terms: Terms | None

    @property
    def party(self) -> str:
        """The party itself."""
        return self.policy.policy.party

    @property
    def people(self) -> int:
        """A number of people that the policy accepts: how many there are is asked when data are read."""
        return max(lower_end(self.told) or 0, self.policy.policy.data.min_people or 0, 1)


@dataclass(frozen=True, slots=True)
class OwnLoosening:
    """One clause of ours loosened by the smallest step that could help. `gain` is the most it can be; None before there are terms."""

    clause: str
    before: str
    after: str
    gain: int | None
    costs: str

    def says(self) -> str:
        """Return it as a sentence."""
        gain = "our policy would no longer stand in the way" if self.gain is None else f"at most {self.gain:+,} records × shared parts"
        return f"{self.before} → {self.after}: {gain}; {self.costs}"


def own_loosenings(standing: Standing, *, today: date) -> tuple[OwnLoosening, ...]:
    """Return what this party could loosen, the most useful first; nothing where its own policy stands in nobody's way."""
    day = min(today, standing.proposal.wishes.answer_by)
    gateway = standing.terms.gateway if standing.terms is not None else _suitable(standing.policy.policy)
    if standing.terms is None:
        standing = replace(standing, policy=_trusting(standing.policy, gateway))
    around = Around(standing.proposal, standing.members, gateway, standing.objectives, standing.people, day)
    now = _value(standing, standing.policy, gateway, day)
    if standing.terms is not None:
        now = max(now, _used(standing.terms))
    elif now:
        return ()
    found = []
    for ladder in ladders(standing.policy.policy, around):

        def gain(policy: PrivacyPolicy) -> int | None:
            value = _value(standing, _file(standing, policy), gateway, day)
            return value - now if value > now else None

        best = smallest(ladder, gain)
        if best is not None:
            step, more = best
            found.append(OwnLoosening(step.clause, step.before, step.after, None if standing.terms is None else more, step.costs))
    return tuple(sorted(found, key=lambda item: (-(item.gain or 0), item.clause, item.after)))


def _file(standing: Standing, policy: PrivacyPolicy) -> PolicyFile:
    return PolicyFile(standing.policy.name, policy, hashlib.sha256(policy.model_dump_json().encode()).hexdigest())


def _value(standing: Standing, policy: PolicyFile, gateway: GatewayTerms, day: date) -> int:
    """Return the most data that a cohort with us could use under `policy`; 0 where we would not answer, or no terms can be found."""
    try:
        own = _own_offer(standing, policy, gateway, day)
        offers = [own, *(_stand_in(standing, own, party) for party in _beside(standing, own))]
        together = Cohort(tuple(sorted(offers, key=lambda offer: offer.party)))
        terms = terms_of(standing.proposal, together, standing.members, gateway, study=own.study)
    except (Refused, Conflict):
        return 0
    return data_used(terms, counted_records(offers))


def _used(terms: Terms) -> int:
    """Return the data that are used under terms."""
    return data_used(terms, wanted_weights({member.party: member.records for member in terms.members}))


def _own_offer(standing: Standing, policy: PolicyFile, gateway: GatewayTerms, day: date) -> Offer:
    return make_offer(
        policy,
        standing.proposal,
        dataset=next(iter(policy.policy.data.datasets), ""),
        records=standing.people,
        objectives=standing.objectives,
        members=standing.members,
        gateway=gateway,
        today=day,
        salt=salt(standing.party),
        channel_key=channel_key(standing.party),
        commitment=commitment(standing.party),
    )


def _beside(standing: Standing, own: Offer) -> tuple[str, ...]:
    """Return who is reckoned with: the other members, and with whom we would no longer refuse to be."""
    if standing.terms is None:
        return tuple(party for party in standing.members if party != own.party and party not in own.apart)
    members = {member.party for member in standing.terms.members}
    kept_out = _kept_out(standing)
    return tuple(party for party in sorted(members | (kept_out - set(own.apart))) if party != own.party)


def _kept_out(standing: Standing) -> set[str]:
    """Return the invited parties that are no members and with which our policy as it is would not be."""
    return set(not_permitted(standing.policy.policy, standing.proposal.invited, standing.members))


def _stand_in(standing: Standing, own: Offer, party: str) -> Offer:
    """Return an offer of another party that holds what the terms tell of it, and bounds nothing."""
    proposal, terms = standing.proposal, standing.terms
    known = None if terms is None else next((member for member in terms.members if member.party == party), None)
    objectives = tuple(objective.id for objective in proposal.objectives) if known is None else known.objectives
    names = (SUMMARY, *(segment.name for segment in proposal.segments_for(objectives)))
    return own.model_copy(
        update={
            "party": party,
            "objectives": tuple(sorted(objectives)),
            "records": HIDDEN if known is None else known.records,
            "channel_key": channel_key(party),
            "commitment": commitment(party),
            "segments": tuple(OfferedSegment(name=name, min_parties=MIN_FLOOR) for name in names),
            "gateway_may_lie": False,
            "colluders": 0,
            "uncounted": (),
            "apart": (),
            "clip_bound": ClipWish(min=proposal.wishes.clip_bound.min, max=proposal.wishes.clip_bound.max),
            "max_weight_ratio": _PLENTY,
            "weight_cap": 1.0,
            "weight_cap_of_others": 1.0,
            "rounds": proposal.wishes.rounds.max + 1,
            "mib_a_round": _PLENTY,
        }
    )


def _suitable(policy: PrivacyPolicy) -> GatewayTerms:
    """Return a gateway that suits a policy as far as one can."""
    wanted = policy.gateway
    return GatewayTerms(
        id=GATEWAY,
        key=identity(GATEWAY).public.hex,
        operator=GATEWAY,
        countries=tuple(sorted(expanded(wanted.countries))[:1]) or ("DE",),
        incident_notice_hours=wanted.incident_notice_hours_at_most,
        change_notice_days=wanted.change_notice_days_at_least,
    )


def _trusting(file: PolicyFile, gateway: GatewayTerms) -> PolicyFile:
    """Return a policy that also names the supposed gateway's key."""
    key = VerifyKey.from_hex(gateway.key).fingerprint
    clause = file.policy.gateway.model_copy(update={"fingerprints": (*file.policy.gateway.fingerprints, key)})
    return replace(file, policy=file.policy.model_copy(update={"gateway": clause}))
