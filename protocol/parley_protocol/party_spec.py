"""What a party enters a round with, and its own rules about which rounds and which lists of members it takes part in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from parley_policies.negotiation.terms import StepTerms, Terms, required_threshold

from parley_protocol.certificates import NO_LISTS, Chain, Lists, cohort_of, openable
from parley_protocol.cohort import Cohort
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError

HONEST_BESIDE_ONE: Final = 2  # a sum of c + 2 members hides each honest one behind another honest one


@dataclass(frozen=True)
class PartySpec:
    """What one party enters a round with. Made only for a base version that it computed itself and has not used."""

    terms: Terms
    me: str
    round: int
    step: int
    base: str
    parameters: str
    chain: Chain
    counted: frozenset[str]  # the members that this party's policy pins or trusts on first use, itself included
    own_floors: Mapping[str, int]  # its own policy's floor per segment, over counted members; one not named is the agreement's
    members_key: bytes = field(repr=False)  # 32 bytes that the members share and the gateway does not know
    earlier: Lists = field(default_factory=lambda: NO_LISTS)  # lists of earlier sums of the same content, in other studies too

    @property
    def workload(self) -> StepTerms:
        """The step of the agreement that this round belongs to."""
        return self.terms.steps[self.step]

    @cached_property
    def cohort(self) -> Cohort:
        """Who deals with whom in this round."""
        return cohort_of(self.terms, self.chain, step=self.step, round_number=self.round)

    @cached_property
    def agreement(self) -> str:
        """The agreement digest."""
        return self.terms.digest()

    def bound(self) -> dict[str, str | int]:
        """Return the fields that every statement of this party in this round carries."""
        return {"study": self.terms.study, "agreement": self.agreement, "round": self.round, "base": self.base}

    def own_floor(self, segment: str) -> int:
        """Return how many members that this party counts must be in a sum of `segment`; 0 for a segment of others."""
        terms = self.workload.segment(segment)
        return self.own_floors.get(segment, terms.floor if self.me in terms.members else 0)

    def check_entry(self) -> None:
        """Return if a round may be entered under these terms; LocalProtocolError if they, or the base version, do not hold up.

        The negotiation's checker has refused such terms before; what invariants 1 to 3 rest on is looked at again. Once this party has
        sealed, t others can certify a list without it, so its own floor must hold for the smallest list that the agreement allows.
        """
        terms, what = self.terms, f"round {self.round} of {self.terms.study}"
        if self.chain.agreement != self.agreement or self.base in self.chain.bases or self.round <= self.chain.round:
            raise LocalProtocolError(f"{what}: its base version has an opened list, or it lies behind the chain or outside the agreement")
        least = required_threshold(len(terms.members), terms.max_colluders, gateway_may_lie=terms.gateway_may_lie)
        if not least <= terms.threshold <= len(terms.members):
            raise LocalProtocolError(f"{what}: wanted a threshold of {least} to {len(terms.members)}, got {terms.threshold}")
        phantoms = {member.party for member in terms.members} - self.counted
        if len(phantoms) > terms.max_colluders:
            raise LocalProtocolError(
                f"{what}: wanted at most {terms.max_colluders} members that our policy does not count, got {sorted(phantoms)}"
            )
        for segment in self.workload.segments:
            own = self.own_floor(segment.name) + len(phantoms & set(segment.members)) if self.me in segment.members else 0
            floor = max(own, terms.max_colluders + HONEST_BESIDE_ONE)
            if segment.floor < floor:
                raise LocalProtocolError(
                    f"{what}, {segment.name}: wanted a floor of at least {floor}, by our policy and the colluders, got {segment.floor}"
                )

    def _openable(self, present: frozenset[str], earlier: Lists) -> tuple[str, ...]:
        return openable(self.cohort, self.chain, self.parameters, present, earlier)

    def live(self, present: frozenset[str]) -> tuple[str, ...]:
        """Return the segments that `present` may open; RemoteProtocolError if that is none or breaks this party's own rules."""
        together = self._openable(present, NO_LISTS)
        if not together:
            raise RemoteProtocolError(
                f"round {self.round}: with {', '.join(sorted(present)) or 'nobody'} no shared part could be opened; wanted enough parties "
                f"for a floor, and lists within {self.terms.max_small_changes} small changes"
            )
        if self.earlier and self._openable(present, self.earlier) != together:
            raise RemoteProtocolError(f"round {self.round}: its sums, with earlier ones over the same data, would isolate too few parties")
        for name in together:
            counted = present & self.counted & frozenset(self.workload.segment(name).members)
            if len(counted) < self.own_floor(name):
                raise RemoteProtocolError(
                    f"round {self.round}, {name}: wanted at least {self.own_floor(name)} parties that our policy counts, "
                    f"got {len(counted)} ({', '.join(sorted(counted))})"
                )
        return together
