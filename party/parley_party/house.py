"""Who this party is inside one federation: its keys, its active policy behind the guard, and its clock.

Asked for a verdict it answers with evidence to write down, or raises Refused. It knows whom the policy counts and which floors are the
party's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from parley_policies.approvals.activation import Activated
from parley_policies.enforcement.guard import Guard, Leaving, Standing, Verdict
from parley_policies.negotiation.members import Member, is_counted
from parley_policies.negotiation.terms import MemberTerms, StepTerms, Terms
from parley_protocol.phases import Event

from parley_party.keystore import PartyKeys
from parley_party.tables import EvidenceRow

_ANSWERS: Final[dict[str, tuple[Leaving, ...]]] = {
    Event.KEYS: (Leaving.SHARE,),
    Event.BOXES: (),
    Event.LIST: (Leaving.CONFIRM,),
    Event.CERTIFIED: (Leaving.REVEAL,),
}


@dataclass(slots=True, repr=False)
class House:
    """One party in one federation. `guard` is replaced when another policy comes into force: ask it anew each time."""

    me: str
    keys: PartyKeys
    guard: Guard
    clock: Callable[[], float]  # unix seconds

    def take_up(self, active: Activated) -> None:
        """From here on the guard asks another policy."""
        self.guard = Guard(active.file, self.guard.gateway_url, active.holders)

    def now(self) -> datetime:
        """Return the present time in UTC."""
        return datetime.fromtimestamp(self.clock(), tz=UTC)

    def counted(self, terms: Terms) -> frozenset[str]:
        """Return the members that this party's floors count today (protocol.md, Phantoms)."""
        policy, today = self.guard.policy, self.now().date()
        return frozenset(member.party for member in terms.members if is_counted(policy, _member(member), today))

    def own_floors(self, step: StepTerms) -> dict[str, int]:
        """Return this party's own floor for each of its segments of a step."""
        floors = {segment.name: self.guard.policy.sums.floor(segment.name) for segment in step.segments if self.me in segment.members}
        return {name: floor for name, floor in floors.items() if floor is not None}

    def own_segments(self, step: StepTerms) -> tuple[str, ...]:
        """Return the segments of a step that this party is a member of."""
        return tuple(segment.name for segment in step.segments if self.me in segment.members)

    def may_answer(self, standing: Standing, relay: str, number: int) -> tuple[EvidenceRow, ...]:
        """Ask the guard whether what a relay makes this party send may leave; Refused otherwise."""
        return tuple(self.may_send(kind, standing, number) for kind in _ANSWERS.get(relay, ()))

    def may_send(
        self, kind: Leaving, standing: Standing, number: int, *, step: int = 0, segments: Collection[str] = (), cpu_seconds: float = 0.0
    ) -> EvidenceRow:
        """Ask the guard whether a message of a round may leave; Refused otherwise."""
        verdict = self.guard.check_send(
            kind, standing=standing, step=step, round_number=number, segments=segments, cpu_seconds=cpu_seconds, now=self.now()
        )
        return self.evidence_of(verdict)

    def evidence_of(self, verdict: Verdict) -> EvidenceRow:
        """Return a verdict as evidence to keep."""
        return EvidenceRow(at=self.clock(), study=verdict.study, kind="verdict", body=json.dumps(verdict.as_data()))


def _member(member: MemberTerms) -> Member:
    names = (member.party, member.legal_name, member.party_class, member.country, member.identity)
    return Member(*names, credentials=member.credentials)
