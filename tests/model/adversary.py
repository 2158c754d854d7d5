"""The world of the safety check: honest members, and an adversary that is the gateway and up to c members.

It sees everything sent, shows anything to anyone in any order and as often as it likes, and its members sign anything at any time and keep
all their shares. So it can show whatever enough honest members gave; a crash and restart changes no record and is no step. Members of one
kind are alike: a state is, for each kind, the sorted tuple of their local states. A list is *openable* once honest members that revealed
for it and the conspirators together are t of the agreement that its round ran under; then nothing can close it again. Both kinds of shares
of one member are two openable lists of one round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parley_policies.negotiation import terms
from parley_protocol import promises

from tests.model.automaton import Automaton
from tests.model.members import AGREEMENT, RULED_BY, Guard, Kind, Room

State = tuple[tuple[int, ...], ...]
BITS = 4  # of one count in the packed sum: at most 15 members


@dataclass(frozen=True, slots=True)
class Size:
    """One agreement: n members, of which the adversary holds `held`, under terms that foresee `colluders` of them."""

    members: int
    colluders: int
    held: int

    @property
    def threshold(self) -> int:
        """The least t that terms may have."""
        return terms.required_threshold(self.members, self.colluders, gateway_may_lie=True)

    def honest_needed(self, guard: Guard) -> int:
        """How many honest members must have given something so that the adversary can show enough of it."""
        match guard.kind:
            case Kind.BEGUN:
                return 1
            case Kind.DESTROYED:
                return promises.releases_needed(members=self.members, threshold=self.threshold, colluders=self.colluders) - self.held
            case Kind.SIGNED | Kind.REVEALED | Kind.AMENDED:
                return self.threshold - self.held


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many states there are, and the shortest way to one with two openable lists, if any."""

    states: int
    violation: tuple[str, ...]


class World:
    """Explores all states, breadth first."""

    def __init__(self, room: Room, sizes: dict[str, Size], kinds: Sequence[tuple[Automaton, int]], *, reduce: bool = True) -> None:
        self._room, self._sizes, self._kinds = room, sizes, [automaton for automaton, _ in kinds]
        self._reduce = reduce
        self._start: State = tuple((0,) * count for _, count in kinds)
        shift = {count: BITS * index for index, count in enumerate(room.counts())}
        self._wanted = {guard: (shift[self._counted(guard)], self._size(guard).honest_needed(guard)) for guard in self._guards()}
        self._bit = {guard: 1 << index for index, guard in enumerate(self._wanted)}
        self._gave = [[sum(given << BITS * i for i, given in enumerate(row)) for row in kind.gave] for kind in self._kinds]
        self._moves = [self._table(kind.moves) for kind in self._kinds]
        self._at_once = [self._table(kind.at_once) for kind in self._kinds]
        self._lists = [Guard(Kind.REVEALED, number, name) for number in room.rounds for name in room.lists]
        self._seen_sums: dict[int, tuple[int, bool]] = {}

    @property
    def shape(self) -> object:
        """All that the answer depends on, besides the rules: n = 4 without conspirators is n = 5 with one."""
        return self._room, tuple(self._wanted.values()), tuple((kind.records[0], len(self._start[i])) for i, kind in enumerate(self._kinds))

    def _counted(self, guard: Guard) -> Guard:
        return Guard(Kind.SIGNED, guard.number, guard.name) if guard.kind is Kind.BEGUN else guard

    def _size(self, guard: Guard) -> Size:
        return self._sizes[AGREEMENT if guard.kind is Kind.AMENDED else RULED_BY[guard.number]]

    def _guards(self) -> Iterator[Guard]:
        yield from self._room.counts()
        yield from (Guard(Kind.BEGUN, number, name) for number in self._room.rounds for name in self._room.lists)

    def _table(self, moves: tuple[tuple[tuple[Guard | None, int], ...], ...]) -> list[list[tuple[int, int]]]:
        return [[(0 if guard is None else self._bit[guard], to) for guard, to in row] for row in moves]

    def _shown(self, given: int) -> tuple[int, bool]:
        """Return what can be shown after these counts, as bits, and whether two lists can be opened."""
        known = self._seen_sums.get(given)
        if known is None:
            enough = {guard for guard, (shift, least) in self._wanted.items() if (given >> shift) % (1 << BITS) >= least}
            bits = sum(self._bit[guard] for guard in enough)
            known = self._seen_sums[given] = (bits, sum(listed in enough for listed in self._lists) > 1)
        return known

    def _sum(self, state: State) -> int:
        return sum(self._gave[kind][local] for kind, locals_ in enumerate(state) for local in locals_)

    def check(self) -> Verdict:
        """Visit every state; stop at the first with two openable lists."""
        before: dict[State, State | None] = {self._start: None}
        queue = [self._start]
        for state in queue:  # grows while it is read
            shown, violated = self._shown(self._sum(state))
            if violated:
                return Verdict(len(before), self._told(before, state))
            for after in self._after(state, shown):
                if after not in before:
                    before[after] = state
                    queue.append(after)
        return Verdict(len(before), ())

    def _after(self, state: State, shown: int) -> Iterator[State]:
        """Yield the next states; of one member alone where that is enough.

        Steps of different members never stand in each other's way. So where all that a member may ever do next is open to it now, one of
        these steps may as well come next: staying for ever gives the adversary less than any of them.
        """
        for after in self._taken(state, shown, self._at_once):
            yield after
            return
        ready = self._ready(state, shown) if self._reduce else None
        yield from self._taken(state, shown, self._moves, ready)

    def _ready(self, state: State, shown: int) -> tuple[int, int] | None:
        for kind, locals_ in enumerate(state):
            for local in locals_:
                row = self._moves[kind][local]
                if row and all(guard & shown == guard for guard, _ in row):
                    return kind, local
        return None

    def _taken(
        self, state: State, shown: int, tables: list[list[list[tuple[int, int]]]], only: tuple[int, int] | None = None
    ) -> Iterator[State]:
        for kind, locals_ in enumerate(state):
            table, previous = tables[kind], -1
            for position, local in enumerate(locals_):
                if local == previous or only not in {None, (kind, local)}:  # one like it was moved already
                    continue
                previous = local
                for guard, to in table[local]:
                    if guard & shown == guard:
                        moved = tuple(sorted((*locals_[:position], to, *locals_[position + 1 :])))
                        yield (*state[:kind], moved, *state[kind + 1 :])

    def _told(self, before: dict[State, State | None], state: State) -> tuple[str, ...]:
        told: list[str] = []
        at: State | None = state
        while at is not None:
            told.append("; ".join(str(self._kinds[kind].records[local]) for kind, locals_ in enumerate(at) for local in locals_))
            at = before[at]
        return tuple(reversed(told))
