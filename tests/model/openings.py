"""The rooms and sizes of the safety check.

The sizes are all n ≤ 5 and c ≤ 1; the adversary holds as many members as the terms foresee,
which includes every weaker one. Where an amendment changes the members, one honest member leaves, or one joins, or the one that joins is
the adversary's, or none of the honest ones stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.model.adversary import Size, World
from tests.model.automaton import Automaton, reduced, unfold
from tests.model.members import AGREEMENT, NEW, OTHER, Member, Room

SIZES = tuple(Size(n, c, c) for c in (1, 0) for n in (3, 4, 5))
TWO_ROUNDS = Room()
AMENDED = Room((1, 3), ("a", "b"), (NEW,))
TWO_AMENDMENTS = Room((1, 3, 4), ("a",), (NEW, OTHER))
ROUNDS_THEN_AMENDED = Room((1, 2, 3), ("a",), (NEW,))
ALL_OF_IT = Room((1, 2, 3, 4), ("a",), (NEW, OTHER))

STAYS = Member(frozenset({AGREEMENT, NEW, OTHER}))
LEAVES = Member(frozenset({AGREEMENT, OTHER}))
JOINS = Member(frozenset({NEW}))


@dataclass(frozen=True, slots=True)
class Change:
    """Who runs under which agreement: sizes by agreement, and how many honest members of each kind."""

    name: str
    sizes: dict[str, Size]
    kinds: tuple[tuple[Member, int], ...]

    @property
    def honest(self) -> int:
        """How many honest members there are in all."""
        return sum(count for _, count in self.kinds)


REPLACED = Change("n=3 c=1, all honest members replaced", dict.fromkeys((AGREEMENT, NEW, OTHER), Size(3, 1, 1)), ((LEAVES, 2), (JOINS, 2)))


def unchanged(size: Size) -> Change:
    """Return the amendment between the same members."""
    return Change(
        f"n={size.members} c={size.colluders}", dict.fromkeys((AGREEMENT, NEW, OTHER), size), ((STAYS, size.members - size.held),)
    )


def changes() -> Iterator[Change]:
    """Yield every amendment of the model: the same members, one less, one more, one more that is the adversary's, and all others."""
    yield REPLACED
    for size in SIZES:
        n, c, honest = size.members, size.colluders, size.members - size.held
        yield unchanged(size)
        if n > 3:
            sizes = {AGREEMENT: size, NEW: Size(n - 1, c, c), OTHER: size}
            yield Change(f"n={n} c={c}, one leaves", sizes, ((STAYS, honest - 1), (LEAVES, 1)))
        if n < 5:
            sizes = {AGREEMENT: size, NEW: Size(n + 1, c, c), OTHER: size}
            yield Change(f"n={n} c={c}, one joins", sizes, ((STAYS, honest), (JOINS, 1)))
        if n < 5 and not c:
            sizes = {AGREEMENT: size, NEW: Size(n + 1, 1, 1), OTHER: size}
            yield Change(f"n={n} c=0, a conspirator joins", sizes, ((STAYS, honest),))


Graph = Callable[[Member, Room], Automaton]


def small_graph(start: Member, room: Room) -> Automaton:
    """Return the reduced graph of one kind of member."""
    return reduced(unfold(start, room))


def world(room: Room, change: Change, graph: Graph = small_graph) -> World:
    """Return the world of the safety check, over the reduced graph of each kind of member unless another is given."""
    return World(room, change.sizes, [(graph(start, room), count) for start, count in change.kinds], reduce=graph is not unfold)
