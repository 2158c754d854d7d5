"""Cohorts by integer programming: `best` chooses up to two groups of parties that use most data. The only module that imports scipy.

Variables, for each of two slots k: x[i,k] (party i is a member), y[i,s,k] (it shares head s), sizes of the slot and of its heads, c[k] (the
conspirators that its terms must survive). Maximised is records × parts of the model. Rows:

- a party is in one slot; what it shares it shares as a member; heads must fit its upload;
- floors, with those that a party counts as conspirators: Σ of the members that it counts ≥ floor · x[i,k], for heads likewise, and the size
  of an open head ≥ c[k] + 2;
- weight caps, as far as they are linear: own cap + Σ of what the others may weigh beside it ≥ 1;
- of parties that pairwise may not meet (a clique of the conflict graph) one is in a slot: a clique cover of all pairs, greedily;
- **odd cycles**: who is in a slot at all has no odd cycle in the conflict graph, since two slots cannot part one; so of the parties on an
  odd cycle one at least is left out. Fractional solutions that put everybody in both slots by halves are otherwise free, and proving
  anything takes exponentially long (n = 50 with 10 % of the pairs denied: .3 s instead of 15). Violated ones are found as shortest
  paths between the two copies of a party in the doubled graph, and added to the linear program until there are none (Grötschel,
  Lovász, Schrijver, Geometric Algorithms and Combinatorial Optimization, 8.3);
- `forbidden` groups, which the exact rules refused after an earlier call.

Three solves: the largest value; among those choices the parties that come first by id; among those the largest first cohort. HiGHS runs
on one thread without a time limit. A limit on nodes ends it, so that the answer is the same on a slow machine; then the bound says how much
is open. No policy, no offer is known here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from parley_policies.negotiation.choosing import CAP_SLACK, MAX_GROUPS, Group, Problem, in_order, most_colluders, pairs
from parley_policies.negotiation.cohort_terms import HONEST_BESIDE_ONE

NODES: Final = 200_000  # over the number of parties: nodes of one solve
CUT_ROUNDS: Final = 60  # linear programs solved to find odd cycles
VIOLATED: Final = 1e-4  # by how much a cycle must be violated to be added
SLOTS: Final = range(MAX_GROUPS)
HALF: Final = 0.5  # a binary variable above it is 1
_INFINITE: Final = math.inf
_OPTIMAL: Final = 0  # scipy's status of a result that is proven best

Row = tuple[Mapping[int, float], float, float]


@dataclass(frozen=True, slots=True)
class Best:
    """The groups found, the largest first; `bound` is proven: no choice is worth more. `exact`: this one is the best, or none exists."""

    groups: tuple[Group, ...]
    bound: int
    exact: bool


@dataclass(slots=True)
class _Program:
    """Rows and columns in the making."""

    upper: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def column(self, upper: float = 1.0, *, whole: bool = True) -> int:
        self.upper.append(upper)
        self.whole.append(int(whole))
        return len(self.upper) - 1

    def at_least(self, low: float, terms: Mapping[int, float]) -> None:
        self.rows.append((terms, low, _INFINITE))

    def at_most(self, high: float, terms: Mapping[int, float]) -> None:
        self.rows.append((terms, -_INFINITE, high))

    def maximised(self, gains: Mapping[int, float], *, relaxed: bool = False, nodes: int | None = None) -> Any:  # noqa: ANN401 - scipy's result
        """Return scipy's result of maximising Σ gain · column; its numbers are of the minimum of the negative."""
        cost = np.zeros(len(self.upper))
        cost[list(gains)] = [-gain for gain in gains.values()]
        entries = [(row, column, value) for row, (terms, _, _) in enumerate(self.rows) for column, value in terms.items()]
        rows, columns, values = zip(*entries, strict=True)
        matrix = csr_matrix((values, (rows, columns)), shape=(len(self.rows), len(self.upper)))
        lows, highs = [low for _, low, _ in self.rows], [high for _, _, high in self.rows]
        options = {"mip_rel_gap": 0.0} if nodes is None else {"mip_rel_gap": 0.0, "node_limit": nodes}
        return milp(
            cost,
            constraints=LinearConstraint(matrix, lows, highs),
            bounds=Bounds(0, self.upper),
            integrality=np.zeros(len(self.upper)) if relaxed else self.whole,
            options=options,
        )


@dataclass(slots=True)
class _Columns:
    """Where the variables of a problem stand."""

    member: dict[tuple[int, int], int]  # (party, slot)
    share: dict[tuple[int, str, int], int]  # (party, head, slot)

    def inside(self, party: int) -> dict[int, float]:
        """Return the terms whose sum is 1 if the party is in any slot."""
        return {self.member[party, slot]: 1.0 for slot in SLOTS}


def best(problem: Problem, forbidden: Iterable[Group] = ()) -> Best:
    """Return the groups that use most data, but for those that are `forbidden` in any slot; the same for the same problem everywhere."""
    if not problem.alive:
        return Best((), 0, exact=True)
    program, columns = _program(problem)
    for group in forbidden:
        _forbid(program, columns, group)
    _cut_odd_cycles(problem, program, columns)
    unit = reduce(math.gcd, (problem.candidates[party].records for party in problem.alive))
    gains = _gains(problem, columns, unit)
    nodes = max(1, NODES // len(problem.alive))
    first = program.maximised(gains, nodes=nodes)
    bound = min(problem.everything(), unit * math.floor(-first.mip_dual_bound + _rounding(gains)))
    if first.x is None:  # nothing was found before the limit: to choose nobody is always possible
        return Best((), bound, exact=False)
    found = _settled(problem, program, columns, gains, first.x, nodes)
    groups = _groups(problem, columns, found)
    value = sum(problem.value(group) for group in groups)
    exact = first.status == _OPTIMAL
    return Best(groups, value if exact else max(bound, value), exact=exact)


def _rounding(gains: Mapping[int, float]) -> float:
    """Return what is allowed for rounding in a bound on a sum of whole gains."""
    return 1e-6 + 1e-9 * sum(gains.values())


def _gains(problem: Problem, columns: _Columns, unit: int) -> dict[int, float]:
    gains = {column: problem.common * problem.candidates[party].records / unit for (party, _), column in columns.member.items()}
    return gains | {column: problem.candidates[party].records / unit for (party, _, _), column in columns.share.items()}


def _settled(
    problem: Problem, program: _Program, columns: _Columns, gains: Mapping[int, float], found: NDArray[np.float64], nodes: int
) -> NDArray[np.float64]:
    """Return the solution among those of the same value whose parties come first by id, and whose first cohort is the largest."""
    value = sum(gain for column, gain in gains.items() if found[column] > HALF)
    program.at_least(value - 0.5, gains)
    order = sorted(problem.alive)
    if any(_is_out(columns, found, party) for party in order):
        ranks = {column: float(len(order) - rank) for rank, party in enumerate(order) for column in columns.inside(party)}
        found = _or_else(program.maximised(ranks, nodes=nodes), found)
    for party in order:
        program.at_least(0.0 if _is_out(columns, found, party) else 1.0, columns.inside(party))
    count, firsts = len(order), [columns.member[party, 0] for party in order]
    heavy = {column: gains[column] + (1 - rank / count) / count for rank, column in enumerate(firsts)}
    return _or_else(program.maximised(heavy, nodes=nodes), found)


def _or_else(result: Any, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ANN401 - scipy's result
    return otherwise if result.x is None else np.asarray(result.x, dtype=np.float64)


def _is_out(columns: _Columns, found: NDArray[np.float64], party: int) -> bool:
    return all(found[column] < HALF for column in columns.inside(party))


def _groups(problem: Problem, columns: _Columns, found: NDArray[np.float64]) -> tuple[Group, ...]:
    groups = []
    for slot in SLOTS:
        members = frozenset(party for (party, at), column in columns.member.items() if at == slot and found[column] > HALF)
        parts: dict[str, set[int]] = {}
        for (party, part, at), column in columns.share.items():
            if at == slot and found[column] > HALF:
                parts.setdefault(part, set()).add(party)
        if members:
            groups.append(Group(members, {part: frozenset(who) for part, who in sorted(parts.items())}))
    return in_order(problem, groups)


def _program(problem: Problem) -> tuple[_Program, _Columns]:
    """Return the program without odd cycles."""
    program, order = _Program(), sorted(problem.alive)
    columns = _Columns(
        {(party, slot): program.column() for party in order for slot in SLOTS},
        {(party, part, slot): program.column() for party in order for part in sorted(problem.candidates[party].parts) for slot in SLOTS},
    )
    for party in order:
        program.at_most(1.0, columns.inside(party))
    for (party, _, slot), column in columns.share.items():
        program.at_most(0.0, {column: 1.0, columns.member[party, slot]: -1.0})
    for slot in SLOTS:
        _add_cohort(problem, program, columns, slot)
    for clique in _cliques(problem):
        for slot in SLOTS:
            program.at_most(1.0, {columns.member[party, slot]: 1.0 for party in clique})
    return program, columns


def _add_cohort(problem: Problem, program: _Program, columns: _Columns, slot: int) -> None:
    member = {party: columns.member[party, slot] for party in sorted(problem.alive)}
    _add_floors(problem, program, member, None)
    heads = {
        part: {party: columns.share[party, part, slot] for party in member if part in problem.candidates[party].parts}
        for part in sorted(problem.lengths)
    }
    for part, share in heads.items():
        _add_floors(problem, program, share, part)
    for party, column in member.items():
        own = {part: share[party] for part, share in heads.items() if party in share}
        if not problem.common:
            program.at_least(0.0, {column: -1.0} | dict.fromkeys(own.values(), 1.0))
        if sum(problem.lengths[part] for part in own) > problem.candidates[party].room:
            program.at_most(problem.candidates[party].room, {share: float(problem.lengths[part]) for part, share in own.items()})
    _add_conspirators(problem, program, member, [share for share in heads.values() if share])


def _add_floors(problem: Problem, program: _Program, share: Mapping[int, int], part: str | None) -> None:
    """Add the floors and the linear part of weight caps of one part (None: of the cohort), whose sharers' columns are `share`."""
    if not share:
        return
    size = program.column(len(share), whole=False)
    program.rows.append((dict.fromkeys(share.values(), 1.0) | {size: -1.0}, 0.0, 0.0))
    for party, column in share.items():
        me = problem.candidates[party]
        phantoms = {share[other]: -1.0 for other in sorted(me.uncounted & share.keys())}
        program.at_least(0.0, {size: 1.0, column: -float(problem.floor_of(party, part))} | phantoms)
        if me.own_cap < 1 and (part is not None or problem.common):
            caps = {share[other]: min(problem.candidates[other].own_cap, me.others_cap) for other in share if other != party}
            program.at_least(-CAP_SLACK, caps | {column: me.own_cap - 1.0})


def _add_conspirators(problem: Problem, program: _Program, member: Mapping[int, int], heads: list[dict[int, int]]) -> None:
    """Add that an open head has as many as conspire, and two: floors of its own sharers say so already where all reckon with as many."""
    reckoned = {problem.candidates[party].colluders for party in member}
    if not heads or (len(reckoned) == 1 and not any(problem.candidates[party].uncounted for party in member)):
        return
    most = most_colluders(problem, frozenset(member))
    conspirators = program.column(most, whole=False)
    for party, column in member.items():
        me = problem.candidates[party]
        phantoms = {member[other]: -1.0 for other in sorted(me.uncounted & member.keys())}
        program.at_least(-float(len(phantoms)), {conspirators: 1.0, column: -float(me.colluders + len(phantoms))} | phantoms)
    for share in heads:
        opened = program.column()
        for column in share.values():
            program.at_most(0.0, {column: 1.0, opened: -1.0})
        most_wanted = float(most + HONEST_BESIDE_ONE)
        program.at_least(HONEST_BESIDE_ONE - most_wanted, dict.fromkeys(share.values(), 1.0) | {conspirators: -1.0, opened: -most_wanted})


def _forbid(program: _Program, columns: _Columns, group: Group) -> None:
    """Forbid exactly this group in either slot: one of its parties is out, or another in, or a head is shared otherwise."""
    for slot in SLOTS:
        signs = {column: party in group.members for (party, at), column in columns.member.items() if at == slot}
        signs |= {column: party in group.parts.get(part, ()) for (party, part, at), column in columns.share.items() if at == slot}
        program.at_least(1.0 - sum(signs.values()), {column: -1.0 if inside else 1.0 for column, inside in signs.items()})


# the conflict graph


def _cliques(problem: Problem) -> Iterator[tuple[int, ...]]:
    """Yield sets of parties that pairwise may not meet, such that every pair is in one: the first pair left over, and whom it takes in."""
    left = dict.fromkeys(pairs(problem))
    while left:
        one, other = next(iter(left))
        clique, common = [one, other], problem.apart[one] & problem.apart[other] & problem.alive
        while common:
            party = max(common, key=lambda candidate: (len(problem.apart[candidate] & common), -candidate))
            clique.append(party)
            common &= problem.apart[party]
        clique.sort()
        for index, first in enumerate(clique):
            for second in clique[index + 1 :]:
                left.pop((first, second), None)
        yield tuple(clique)


def _cut_odd_cycles(problem: Problem, program: _Program, columns: _Columns) -> None:
    """Add the odd cycles that solutions of the linear program violate, until there are none."""
    edges, known = tuple(pairs(problem)), set[frozenset[int]]()
    if not edges:
        return
    gains = _gains(problem, columns, 1)
    largest = max(gains.values())
    scaled = {column: gain / largest for column, gain in gains.items()}
    for _ in range(CUT_ROUNDS):
        relaxed = program.maximised(scaled, relaxed=True)
        if relaxed.x is None:
            return
        outside = {party: max(0.0, 1.0 - sum(relaxed.x[column] for column in columns.inside(party))) for party in problem.alive}
        new = set(_violated(outside, edges)) - known
        if not new:
            return
        known |= new
        for cycle in sorted(new, key=sorted):
            terms = {column: 1.0 for party in sorted(cycle) for column in columns.inside(party)}
            program.at_most(len(cycle) - 1.0, terms)


def _violated(outside: Mapping[int, float], edges: Collection[tuple[int, int]]) -> Iterator[frozenset[int]]:
    """Yield odd cycles of which less than one party is out in a fractional solution, `outside` being how much of each party is."""
    number = {party: index for index, party in enumerate(sorted(outside))}
    count = len(number)
    cost = {party: value + 1e-9 for party, value in outside.items()}  # a zero would be no edge
    entries = [
        (number[one] + side * count, number[other] + (1 - side) * count, (cost[one] + cost[other]) / 2)
        for pair in edges
        for one, other in (pair, pair[::-1])
        for side in (0, 1)
    ]
    rows, targets, lengths = zip(*entries, strict=True)
    graph = csr_matrix((lengths, (rows, targets)), shape=(2 * count, 2 * count))
    distance, before = dijkstra(graph, indices=range(count), return_predecessors=True)
    parties = sorted(outside)
    for start in range(count):
        if distance[start, start + count] < 1 - VIOLATED:
            cycle = _simple(_path(before[start], start, count))
            if cycle:
                yield frozenset(parties[index] for index in cycle)


def _path(before: NDArray[np.int32], start: int, count: int) -> list[int]:
    """Return the closed walk from a party back to itself, as numbers of parties."""
    walk, node = [], start + count
    while node != start:
        walk.append(node % count)
        node = int(before[node])
    return walk


def _simple(walk: list[int]) -> list[int]:
    """Return the odd cycle in a closed walk of odd length that meets no party twice."""
    stack: list[int] = []
    for party in walk:
        if party in stack:
            cycle = stack[stack.index(party) :]
            if len(cycle) % 2:
                return cycle
            del stack[stack.index(party) :]
        stack.append(party)
    return stack
