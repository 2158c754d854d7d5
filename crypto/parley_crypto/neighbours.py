r"""Neighbour graphs for large studies: each party masks with, and shares its secrets among, a few neighbours (Bell et al., CCS 2020).

`plan` computes from (members n, colluders c, assumed dropouts d) how many neighbours a party has and how many of them rebuild its secrets;
it returns None where the full graph is the better choice. `draw` puts the members on a ring, in an order that nobody chooses: sorted by
HMAC-SHA256 under a key from the seed, the round number and a purpose. Each is joined to the g/2 nearest on either side. Who is present
plays no part in it. `Ring.cut` is the check against a gateway that chooses whom it lists, and `colluders_in_cut` what it is held against.

What `plan` guarantees for one ring, c colluders fixed before the seed is known (hypergeometric tails in whole numbers, so that all
parties compute the same; union bounds over members, and over pairs of windows for the cut):

1. *Secrets.* Except with probability 2^-40 every member has at most `near` colluders among its g neighbours, and the threshold is above
   that. Between members of one certified list no honest party answers for both secrets of a member, so colluders alone stay short of it.
2. *Opening.* With d dropouts anywhere (whoever sends no REVEAL), except with probability 2^-20 every member keeps `threshold` of its g
   neighbours. A member also holds its own share; that is not counted.
3. *Cuts.* Except with probability 2^-40 no two windows of g/2 successive positions hold more than `cut` colluders together, and with d
   dropouts, except with probability 2^-20, any two such windows keep more survivors than that: an honest list is not refused.

**Why the cut decides.** The masks of honest survivors hide everything but their sum exactly if the graph among them is connected (a
connected part that is cut off has its own sum opened). The graph is public, so whom a lying gateway leaves out is not random; only where
the colluders sit is. Let h = g/2 and H the honest survivors. *H is disconnected exactly if two disjoint windows of h successive positions
hold nobody of H and on both sides between them there is somebody of H.* Such windows separate: from one side to the other both arcs hold a
whole window, so two members on different sides are more than h apart both ways, and no edge joins them. Conversely, members of H that
follow each other on the ring at a distance of at most h are joined; if that fails at one place or none, H is a path and connected; if it
fails at two, each place is a gap of at least h positions without H, hence a window, with members of H on both sides. So, for survivors S,
the smallest set whose removal disconnects S is what S has in those two disjoint windows, with survivors on both sides between them, that
hold the fewest of S: `Ring.cut` is the vertex connectivity of the survivors' graph, not a bound. If it is above the number of
colluders that any two windows hold, every two windows that could separate hold an honest survivor, and H is connected, whoever colludes.
A side that consists of colluders alone is harmless, but who colludes is unknown: every survivor counts as honest on its side, and as a
colluder in the windows. For a side with some but fewer than k honest members nothing more is needed: there is no side at all.

Each further ring (segment, round) adds its own 2^-40. A gateway that waits for a favourable round has as many tries as there are rounds.

Not here: where the seed comes from (the members' parts of the agreement), thresholds of the whole study, the secrets themselves.

    >>> plan(members=100, colluders=10, dropouts=30)
    Plan(degree=36, threshold=11, near=10, cut=10)
    >>> ring = draw(bytes(32), 1, "trunk", ["a", "b", "c", "d", "e", "f", "g"], degree=4)
    >>> len(ring.neighbours("a")), len(ring.holders("a")), ring.cut(ring.order)
    (4, 5, 4)
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from math import comb
from typing import Final

from parley_crypto.derive import derive
from parley_crypto.errors import MalformedError
from parley_crypto.tags import Tag

SECURITY_BITS: Final = 40
CORRECTNESS_BITS: Final = 20
FULL_GRAPH_MEMBERS: Final = 50  # up to here nothing that a graph saves is worth a guarantee that is only probable
SHARES: Final = "shares"  # the purpose of the ring that secrets are shared over; the others are called by their segment
_SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """The neighbour graph of a study, as its agreement prints it."""

    degree: int  # g: neighbours of each member; even
    threshold: int  # t_g: holders that rebuild a member's secrets
    near: int  # colluders among one member's neighbours, at most
    cut: int  # colluders in two windows of the ring, at most: a survivor list is accepted only if its cut is larger

    def releases(self, holders: int) -> int:
        """Return how many of a member's `holders` must have released a round before nobody can ever rebuild that member's secrets in it.

        Those who have not released, with the colluders among those who say they have, are then fewer than the threshold.
        """
        return holders - self.threshold + self.near + 1


@lru_cache(maxsize=256)
def plan(members: int, colluders: int, dropouts: int) -> Plan | None:
    """Return the smallest graph for n members, c of which collude and d drop out, or None for the full graph.

    Masks to add, shares to send and bytes on the wire of a party all grow with its neighbours, so the graph is taken where it at least
    halves them (2·g ≤ n - 1) in a study of more than FULL_GRAPH_MEMBERS. The full graph holds against any c colluders for certain, and its
    rounds are released with more members away; within a factor of two, or where sealing is cheap anyway, that is worth more.
    """
    if not 0 <= colluders < members or not 0 <= dropouts < members:
        raise MalformedError(f"neighbour graph: wanted 0 ≤ colluders, dropouts < members, got {colluders} and {dropouts} of {members}")
    if members <= FULL_GRAPH_MEMBERS:
        return None
    for degree in range(2, (members - 1) // 2 + 1, 2):
        near = _most(members - 1, colluders, degree, union=members, bits=SECURITY_BITS)
        away = _most(members - 1, dropouts, degree, union=members, bits=CORRECTNESS_BITS)
        threshold = max(near, 1) + 1  # never 1: a share would be the secret
        if degree - away < threshold:
            continue
        cut = colluders_in_cut(members, colluders, degree)
        if degree - _most(members, dropouts, degree, union=_window_pairs(members, degree), bits=CORRECTNESS_BITS) > cut:
            return Plan(degree=degree, threshold=threshold, near=near, cut=cut)
    return None


def colluders_in_cut(members: int, colluders: int, degree: int) -> int:
    """Return how many of c colluders two windows of g/2 positions hold together at most, except with probability 2^-40.

    For a ring of other members than the plan's: survivors of that ring are accepted only if their cut is larger.
    """
    if degree >= members - 1:
        return min(colluders, members)  # a complete graph has no windows, and its cut is None
    return _most(members, min(colluders, members), degree, union=_window_pairs(members, degree), bits=SECURITY_BITS)


def _window_pairs(members: int, degree: int) -> int:
    """Return in how many ways two windows of g/2 successive positions lie on a ring of n > g + 1 positions, with some on both sides."""
    return members * (members - degree - 1) // 2


def _most(population: int, marked: int, drawn: int, *, union: int, bits: int) -> int:
    """Return the smallest m with union · P[more than m of the drawn are marked] ≤ 2^-bits, for draws without replacement."""
    total = comb(population, drawn)
    return next(found for found, tail in _tails(population, marked, drawn) if (union * tail) << bits > total)


def _tails(population: int, marked: int, drawn: int) -> Iterator[tuple[int, int]]:
    """Yield (m, number of draws with at least m marked) from the largest possible m down to 0: hypergeometric, in whole numbers."""
    unmarked = population - marked
    most = min(marked, drawn)
    ways = comb(marked, most) * comb(unmarked, drawn - most)
    tail = 0
    for found in range(most, -1, -1):
        tail += ways
        yield found, tail
        ways = ways * found * (unmarked - drawn + found) // ((marked - found + 1) * (drawn - found + 1))


@dataclass(frozen=True, slots=True)
class Ring:
    """Members in ring order, each joined to the degree/2 nearest on either side; to all others if there are no more than that."""

    order: tuple[str, ...]
    degree: int
    _positions: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.degree < 2 or self.degree % 2:  # noqa: PLR2004
            raise MalformedError(f"ring: wanted a degree that is even and at least 2, got {self.degree}")
        positions = {party: position for position, party in enumerate(self.order)}
        if len(positions) != len(self.order):
            raise MalformedError(f"ring: wanted distinct members, got {len(self.order)} of which {len(positions)} are distinct")
        object.__setattr__(self, "_positions", positions)

    @property
    def complete(self) -> bool:
        """Whether all members are joined to each other."""
        return self.degree >= len(self.order) - 1

    def neighbours(self, party: str) -> frozenset[str]:
        """Return the ids that `party` is joined to; without itself."""
        return frozenset(self._around(party)) - {party}

    def holders(self, party: str) -> tuple[str, ...]:
        """Return in id order who holds shares of the party's secrets: its neighbours and itself; the 1-based index is a share's x."""
        return tuple(sorted(self._around(party)))

    def cut(self, survivors: Collection[str]) -> int | None:
        """Return the fewest survivors whose removal disconnects the others (module docstring), or None if no removal does. O(n)."""
        if unknown := sorted(set(survivors) - self._positions.keys()):
            raise MalformedError(f"ring: wanted survivors among its {len(self.order)} members, got also {unknown[:8]}")
        return None if self.complete else _fewest_in_two_windows([party in survivors for party in self.order], self.degree // 2)

    def _around(self, party: str) -> tuple[str, ...]:
        if party not in self._positions:
            raise MalformedError(f"ring: wanted one of its {len(self.order)} members, got {party!r}")
        if self.complete:
            return self.order
        start, size = self._positions[party] - self.degree // 2, len(self.order)
        return tuple(self.order[(start + step) % size] for step in range(self.degree + 1))


def draw(seed: bytes, number: int, purpose: str, members: Iterable[str], degree: int) -> Ring:
    """Return the ring of `members` for round `number` and `purpose` (SHARES or a segment), the same for every order they are given in.

    Sorting by HMAC-SHA256(key, id) with the key from `seed` (32 bytes): a uniform permutation for whoever fixed ids before the seed.
    """
    if len(seed) != _SEED_BYTES or number < 0:
        raise MalformedError(f"ring: wanted a seed of {_SEED_BYTES} bytes and a round from 0, got {len(seed)} and {number}")
    key = derive(seed, Tag.NEIGHBOURS, number, purpose)
    return Ring(tuple(sorted(members, key=lambda party: (hmac.digest(key, party.encode(), "sha256"), party))), degree)


def _fewest_in_two_windows(alive: list[bool], width: int) -> int | None:
    """Return the fewest True in two disjoint windows of `width` successive positions that have True on both sides between them.

    The positions are unrolled: a second window starts at j in [first, last], both of which only grow with the first window's start i, so
    the least window among them is kept in a queue of candidates, each smaller than all after it.
    """
    size = len(alive)
    before = list(accumulate(alive * 3, initial=0))  # True at positions below p
    window = [before[start + width] - before[start] for start in range(2 * size)]
    previous = list(accumulate((p if here else -1 for p, here in enumerate(alive * 2)), max))  # last True up to p
    fewest: int | None = None
    queue: deque[int] = deque()
    first = end = width + 1  # end: the first start that was not queued yet
    for start in range(size):
        first = max(first, start + width + 1)
        while first < start + size and before[first] == before[start + width]:
            first += 1  # until a True lies between the first window and this start
        for candidate in range(max(end, first), previous[start + size - 1] - width + 1):
            while queue and window[queue[-1]] >= window[candidate]:
                queue.pop()
            queue.append(candidate)
            end = candidate + 1
        while queue and queue[0] < first:
            queue.popleft()
        # last also bounds: it only grows, so that nothing in the queue lies beyond it
        if queue and (fewest is None or window[start] + window[queue[0]] < fewest):
            fewest = window[start] + window[queue[0]]
    return fewest
