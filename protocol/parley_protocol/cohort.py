"""Who deals with whom in a round: whose keys a member needs, who holds shares of whose secrets, and whom a member masks towards.

Without a graph in the terms everybody deals with everybody: each member holds a share of each secret, t of them give it back, and the
members of a segment mask pairwise. With one (Bell et al., CCS 2020) secrets are shared among the neighbours on one ring, and masked towards
those on a ring of each segment; rings are drawn anew each round (`parley_crypto.neighbours`). `Cohort` is the one place that knows; the
machines at party and gateway ask it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from parley_crypto.neighbours import SHARES, Plan, Ring, draw
from parley_policies.negotiation.terms import GraphTerms, StepTerms, Terms, graph_of

from parley_protocol.promises import releases_needed


@dataclass(frozen=True)
class Cohort:
    """The members of an agreement in one round of one of its steps. `seed` (32 bytes) is the graph's; without a graph it is not used."""

    terms: Terms
    step: StepTerms
    round: int
    seed: bytes = field(repr=False)

    @cached_property
    def members(self) -> tuple[str, ...]:
        """All members of the agreement, in id order."""
        return tuple(member.party for member in self.terms.members)

    @property
    def threshold(self) -> int:
        """How many shares give a secret back."""
        return self.terms.threshold if self.terms.graph is None else self.terms.graph.threshold

    @cached_property
    def _shares(self) -> Ring | None:
        graph = self.terms.graph
        return None if graph is None else draw(self.seed, self.round, SHARES, self.members, graph.degree)

    @cached_property
    def _segments(self) -> dict[str, tuple[Ring, GraphTerms]]:
        """The rings of those segments whose members do not all mask towards each other, with what was planned for so many."""
        found, terms = {}, self.terms
        for segment in self.step.segments if terms.graph is not None else ():
            planned = graph_of(len(terms.members), terms.max_colluders, terms.threshold, among=len(segment.members))
            if planned is not None:
                found[segment.name] = draw(self.seed, self.round, segment.name, segment.members, planned.degree), planned
        return found

    @cached_property
    def _holders(self) -> dict[str, tuple[str, ...]]:
        return {}

    @cached_property
    def _whole(self) -> dict[tuple[str, frozenset[str]], bool]:
        return {}

    def holders(self, owner: str) -> tuple[str, ...]:
        """Return who holds shares of `owner`'s secrets, itself included, in id order: the one at index i holds the share at x = i + 1."""
        if self._shares is None:
            return self.members
        if owner not in self._holders:
            self._holders[owner] = self._shares.holders(owner)
        return self._holders[owner]

    def near(self, party: str, among: Collection[str]) -> tuple[str, ...]:
        """Return those of `among`, in id order, whose keys `party` needs: itself, and whom it shares or masks with."""
        held = frozenset(among)
        needed = {party, *self.holders(party)}
        for segment in self.step.segments:
            needed.update(self.masked_with(party, segment.name, held))
        return tuple(member for member in self.members if member in held and member in needed)

    def sharing(self, owner: str, among: Collection[str]) -> tuple[str, ...]:
        """Return those of `among`, in id order, that hold shares of `owner`'s secrets; it holds shares of theirs."""
        held = frozenset(among)
        return tuple(member for member in self.holders(owner) if member in held)

    def masked_with(self, party: str, segment: str, among: Collection[str]) -> tuple[str, ...]:
        """Return those of `among`, in id order, that `party` has a pair mask with in `segment`, without itself; none if it has no part."""
        held, members = frozenset(among), self.step.segment(segment).members
        if party not in members:
            return ()
        ring = self._segments.get(segment)
        peers = frozenset(members) if ring is None else ring[0].neighbours(party)
        return tuple(member for member in members if member in held and member in peers and member != party)

    def is_whole(self, segment: str, survivors: Collection[str]) -> bool:
        """Say whether no set of conspirators can split these survivors, so that only the sum of all of them can be opened."""
        if segment not in self._segments:
            return True
        ring, planned = self._segments[segment]
        asked = segment, frozenset(survivors) & frozenset(ring.order)
        if asked not in self._whole:  # mostly the same members are asked about in each phase
            cut = ring.cut(asked[1])
            self._whole[asked] = cut is None or cut > planned.cut
        return self._whole[asked]

    def is_released(self, releasers: Collection[str], owners: Collection[str]) -> bool:
        """Say whether no secret of `owners` can be rebuilt any more, once `releasers` have destroyed their shares."""
        terms, gone = self.terms, frozenset(releasers)
        if terms.graph is None:
            needed = releases_needed(members=len(self.members), threshold=terms.threshold, colluders=terms.max_colluders)
            return len(gone & frozenset(self.members)) >= needed
        needed_of = Plan(**terms.graph.model_dump()).releases
        return all(len(self.sharing(owner, gone)) >= needed_of(len(self.holders(owner))) for owner in owners)
