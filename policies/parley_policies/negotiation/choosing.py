"""The problem of choosing cohorts, as small whole numbers, and the greedy answer to it.

A `Problem` holds what offers say that decides who can be with whom: for each party its records, the fewest members it wants beside itself,
whom it counts as conspirators, which parts of the model it may share and how much it may upload; and the pairs that no cohort may hold.
Parties are numbers here, in id order. Parties that can be in no cohort, whatever the others do, are taken out first (`Problem.reduced`):
a floor above the number of parties that remain for it takes a party out, which may take out another.

A `Group` is one cohort to be: its members and, for each head that is opened, who shares it. The trunk has every member. `greedy` builds
groups one after the other: the parties of most use first, as long as no pair stands against it, then out with those whose floors are not
reached. It is the fallback of the integer program (`solver`), and `completed` ends both: nobody stays out who could have been added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from parley_policies.negotiation.cohort_terms import HONEST_BESIDE_ONE
from parley_policies.negotiation.terms import MIN_FLOOR

MAX_GROUPS: Final = 2  # MAX_COHORTS of a proposal, which has one scheme in this version


@dataclass(frozen=True, slots=True)
class Candidate:
    """One party: `floor` members at least in its cohort, and `parts` it may share besides, each with a floor of its own."""

    party: str
    records: int
    floor: int
    colluders: int
    parts: Mapping[str, int]
    room: int  # coordinates that it may upload besides those that every member uploads
    own_cap: float  # its largest part of a sum, and any other member's
    others_cap: float
    uncounted: frozenset[int] = frozenset()  # those that it counts as conspirators


@dataclass(frozen=True, slots=True)
class Group:
    """One cohort: members, and for each open head who shares it."""

    members: frozenset[int]
    parts: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def key(self) -> tuple[object, ...]:
        """Return what tells groups apart."""
        return (tuple(sorted(self.members)), tuple(sorted((name, tuple(sorted(who))) for name, who in self.parts.items())))


@dataclass(frozen=True, slots=True)
class Problem:
    """Candidates in id order, the pairs that may not meet (as neighbours of each), and the model's parts."""

    candidates: tuple[Candidate, ...]
    apart: tuple[frozenset[int], ...]
    common: int  # parts of the model that every member shares
    lengths: Mapping[str, int]  # coordinates of the other parts
    alive: frozenset[int]

    def value(self, group: Group) -> int:
        """Return the records times parts of the model that a group uses."""
        records = [candidate.records for candidate in self.candidates]
        return self.common * sum(records[i] for i in group.members) + sum(records[i] for who in group.parts.values() for i in who)

    def compatible(self, party: int) -> frozenset[int]:
        """Return the others that may be in a cohort with a party."""
        return self.alive - self.apart[party] - {party}

    def everything(self) -> int:
        """Return what a choice that leaves nobody out would be worth."""
        return sum(self.worth(party) for party in self.alive)

    def worth(self, party: int) -> int:
        """Return what a party adds at most."""
        candidate = self.candidates[party]
        return candidate.records * (self.common + len(candidate.parts))

    def floor_of(self, party: int, part: str | None) -> int:
        """Return the fewest counted parties that a party wants in a part, or in its cohort."""
        candidate = self.candidates[party]
        return candidate.floor if part is None else candidate.parts[part]

    def lacking(self, party: int, others: frozenset[int], part: str | None = None) -> str:
        """Return the clause that `party` cannot keep even with all of `others` beside it in a part, or an empty string."""
        me = self.candidates[party]
        if len(others - me.uncounted) + 1 < self.floor_of(party, part):
            return "sums.min_parties"
        if me.own_cap < 1 and (part is not None or self.common):
            most = me.own_cap + sum(min(self.candidates[other].own_cap, me.others_cap) for other in others)
            if most < 1 - CAP_SLACK:
                return "sharing.weight_cap"
        return ""

    def sharing(self, part: str) -> frozenset[int]:
        """Return who may share a part."""
        return frozenset(party for party in self.alive if part in self.candidates[party].parts)

    def reduced(self) -> tuple[Problem, dict[int, tuple[str, int]]]:
        """Return the problem without whoever can be in no cohort, and for each of those the clause and how many remained beside it."""
        problem, out = self, dict[int, tuple[str, int]]()
        while True:
            lost = {party: (clause, len(problem.compatible(party))) for party in problem.alive if (clause := problem.hopeless(party))}
            smaller = problem.without(lost)
            if smaller == problem:
                return problem, out
            problem, out = smaller, out | lost

    def hopeless(self, party: int) -> str:
        """Return the clause for which a party can be in no cohort, or an empty string."""
        if clause := self.lacking(party, self.compatible(party)):
            return clause
        return "" if self.common or self.candidates[party].parts else "sharing.segments"

    def without(self, lost: Iterable[int]) -> Problem:
        """Return the problem without some parties, and without the heads that too few can share then."""
        problem = replace(self, alive=self.alive - set(lost))
        candidates = list(problem.candidates)
        for party in problem.alive:
            me = candidates[party]
            kept = {
                part: floor
                for part, floor in me.parts.items()
                if me.room >= self.lengths[part] and not problem.lacking(party, problem.compatible(party) & problem.sharing(part), part)
            }
            if len(kept) < len(me.parts):
                candidates[party] = replace(me, parts=kept)
        return replace(problem, candidates=tuple(candidates))


CAP_SLACK: Final = 1e-9  # caps are compared exactly when terms are drawn up; here nothing may be lost to rounding

Fits = Callable[[Group], bool]


def whole(problem: Problem, members: Iterable[int]) -> Group | None:
    """Return the group of those among `members` that can be together, with every head that they can share; None if nobody remains.

    Whoever has too few others beside it leaves, one at a time: the one that wants most, of those the one of least use.
    """
    group = frozenset(members)
    while True:
        short = [party for party in group if _is_short(problem, party, group)]
        if not short:
            return Group(group, _heads(problem, group)) if group else None
        group -= {max(short, key=lambda party: (problem.candidates[party].floor, -problem.worth(party), party))}


def _is_short(problem: Problem, party: int, group: frozenset[int]) -> bool:
    floor = max(MIN_FLOOR, most_colluders(problem, group) + HONEST_BESIDE_ONE)
    return len(group) < floor or bool(problem.lacking(party, group - {party}))


def most_colluders(problem: Problem, group: frozenset[int]) -> int:
    """Return how many conspirators the terms of a group must survive."""
    return max((problem.candidates[party].colluders + len(problem.candidates[party].uncounted & group) for party in group), default=0)


def _heads(problem: Problem, group: frozenset[int]) -> dict[str, frozenset[int]]:
    """Return who shares each head of a group that can open, the head of most coordinates first where uploads are bounded."""
    least = max(MIN_FLOOR, most_colluders(problem, group) + HONEST_BESIDE_ONE)
    room = {party: problem.candidates[party].room for party in group}
    found = {}
    for part, length in sorted(problem.lengths.items(), key=lambda item: (-item[1], item[0])):
        sharing = frozenset(party for party in group if part in problem.candidates[party].parts and room[party] >= length)
        while short := [party for party in sharing if len(sharing) < least or problem.lacking(party, sharing - {party}, part)]:
            sharing -= {max(short, key=lambda party: (problem.floor_of(party, part), -problem.candidates[party].records, party))}
        if sharing:
            found[part] = sharing
            room |= {party: room[party] - length for party in sharing}
    return dict(sorted(found.items()))


def greedy(problem: Problem, fits: Fits) -> tuple[Group, ...]:
    """Return up to two groups that `fits` accepts, built one after the other; the same for the same problem."""
    found: list[Group] = []
    left = problem.alive
    while len(found) < MAX_GROUPS and (group := _one(problem, left, fits)) is not None:
        found.append(group)
        left -= group.members
    return completed(problem, tuple(found), fits)


def _one(problem: Problem, left: frozenset[int], fits: Fits) -> Group | None:
    """Return a group out of `left`: by use, as long as no pair stands against it; then whoever stands in the way of the rest leaves."""
    chosen: set[int] = set()
    for party in _by_use(problem, left):
        if not problem.apart[party] & chosen:
            chosen.add(party)
    while (group := whole(problem, chosen)) is not None and not fits(group):
        chosen = set(group.members) - {_by_use(problem, group.members)[-1]}
    return group


def _by_use(problem: Problem, parties: Iterable[int]) -> list[int]:
    """Return parties in order of use: what each adds, over what it keeps out; then in id order."""
    alive = frozenset(parties)
    lost = {party: sum(problem.worth(other) for other in problem.apart[party] & alive) for party in alive}
    return sorted(alive, key=lambda party: (lost[party] - problem.worth(party), party))


def completed(problem: Problem, groups: tuple[Group, ...], fits: Fits) -> tuple[Group, ...]:
    """Return the groups with everybody added that one of them has room for, the parties of most use first, until nobody can be."""
    found = list(groups)
    grown = True
    while grown:
        grown = False
        for party in _by_use(problem, problem.alive.difference(*(group.members for group in found))):
            for index, group in enumerate(found):
                larger = _larger(problem, group, party)
                if larger is not None and fits(larger):
                    found[index], grown = larger, True
                    break
    return tuple(found)


def _larger(problem: Problem, group: Group, party: int) -> Group | None:
    """Return a group with one more party that is worth more than it, or None."""
    if problem.apart[party] & group.members:
        return None
    larger = whole(problem, group.members | {party})
    if larger is None or not group.members < larger.members or problem.value(larger) <= problem.value(group):
        return None
    return larger


def in_order(problem: Problem, groups: Iterable[Group]) -> tuple[Group, ...]:
    """Return groups by value, the largest first, then by their first member."""
    return tuple(sorted(groups, key=lambda group: (-problem.value(group), min(group.members))))


def pairs(problem: Problem) -> Iterator[tuple[int, int]]:
    """Yield the pairs of candidates that may not meet, each once, in order."""
    for one in sorted(problem.alive):
        for other in sorted(problem.apart[one] & problem.alive):
            if one < other:
                yield one, other
