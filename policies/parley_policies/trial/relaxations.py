"""Which single loosening of a reader's own clause would let the study use more data, or let the reader in: found by negotiating again.

Of each clause the smallest step that helps (`loosening`), with the privacy that it costs beside the data that it gains. Loosening one
policy never lowers the optimum, so the smallest step is found by halving. Only the reader's own policy is changed; what others would have
to loosen is theirs to ask for. Nothing is searched where everybody takes part with everything, or for more than 30 parties.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from parley_policies.model.loader import PolicyFile
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.records import banded
from parley_policies.negotiation.weights import wanted_weights
from parley_policies.trial.loosening import Around, Ladder, ladders, smallest
from parley_policies.trial.overview import Relaxation
from parley_policies.trial.trial import Trial

MOST_PARTIES: Final = 30


def relaxations(trial: Trial, readers: Collection[str]) -> tuple[Relaxation, ...]:
    """Return what each of `readers` could loosen, by party, the largest gain first."""
    if len(trial.settled.policies) > MOST_PARTIES or _is_complete(trial):
        return ()
    found = []
    for party in sorted(set(readers) & set(trial.settled.data)):
        policy = trial.settled.policies[party].policy
        mine = [helpful for ladder in ladders(policy, around(trial, party)) for helpful in _try(trial, party, ladder)]
        found += sorted(mine, key=lambda item: (-item.gain, item.clause, item.after))
    return tuple(found)


def around(trial: Trial, party: str) -> Around:
    """Return what stands around one party's policy in a trial."""
    data = trial.settled.data[party]
    return Around(trial.proposal, trial.settled.members, trial.settled.gateway, data.objectives, data.records, trial.settled.day)


def everything(trial: Trial, parties: Collection[str]) -> int:
    """Return the value that a trial would have if all of `parties` whose policy was given took part with everything."""
    known = {party: data for party, data in trial.settled.data.items() if party in parties}
    told = {party: banded(trial.settled.policies[party].policy.sharing.record_count, data.records) for party, data in known.items()}
    counted = wanted_weights(told) if told else {}
    return sum(counted[party] * len(trial.proposal.segments_for(data.objectives)) for party, data in known.items())


def _is_complete(trial: Trial) -> bool:
    return trial.value >= everything(trial, trial.settled.data) and trial.members == trial.settled.data.keys()


def _try(trial: Trial, party: str, ladder: Ladder) -> list[Relaxation]:
    """Return the smallest step of a ladder that helps, or nothing."""

    def helpful(policy: PrivacyPolicy) -> Trial | None:
        tried = _again(trial, policy)
        return tried if tried.value > trial.value or party in tried.members - trial.members else None

    best = smallest(ladder, helpful)
    if best is None:
        return []
    step, tried = best
    admits = tuple(sorted(tried.members - trial.members))
    return [Relaxation(party, step.clause, step.before, step.after, admits, tried.value - trial.value, step.costs)]


def _again(trial: Trial, policy: PrivacyPolicy) -> Trial:
    digest = hashlib.sha256(policy.model_dump_json().encode()).hexdigest()
    return trial.with_policy(PolicyFile(trial.settled.policies[policy.party].name, policy, digest))
