"""All records one member can ever have, as a graph, and a smaller graph that is as strong in the adversary's hands.

`unfold` takes every step that the real rules allow, from the start on. `reduced` then leaves out what helps no adversary, by two facts that
are computed, not argued: records from which the same can be given away, now and later, are one (partition refinement); and y simulates x
if it has given away at least as much and can follow each step of x under the same guard or none (greatest fixed point). What the adversary
may show depends on sums of counts that only grow, and so does the property that it attacks: hence a step to a record that the present one
simulates is useless to it, and a step to one that simulates the present one may be taken at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.model.members import Guard, Member, Room, steps

Move = tuple[Guard | None, int]
Label = TypeVar("Label", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Automaton:
    """Local states by number, 0 the start: moves, what each has given away, an example record, and moves to be taken at once."""

    room: Room
    records: tuple[Member, ...]
    moves: tuple[tuple[Move, ...], ...]
    gave: tuple[tuple[bool, ...], ...]  # in the order of room.counts()
    at_once: tuple[tuple[Move, ...], ...]


def unfold(start: Member, room: Room) -> Automaton:
    """Return every record that the rules let a member reach from `start`, whatever it is shown."""
    numbers = {start: 0}
    records, moves = [start], []
    for record in records:  # grows while it is read
        found: list[Move] = []
        for step in steps(record, room):
            if step.after not in numbers:
                numbers[step.after] = len(records)
                records.append(step.after)
            found.append((step.guard, numbers[step.after]))
        moves.append(tuple(dict.fromkeys(found)))
    gave = tuple(tuple(record.gave(count) for count in room.counts()) for record in records)
    return Automaton(room, tuple(records), tuple(moves), gave, tuple(() for _ in records))


def reduced(full: Automaton) -> Automaton:
    """Return the smaller graph; reachability of whatever needs only enough of each count is unchanged."""
    first, all_moves = merged(full.moves, full.gave)
    gave = tuple(full.gave[state] for state in first)
    above = _simulators(all_moves, gave)
    moves = tuple(tuple(move for move in row if state not in above[move[1]]) for state, row in enumerate(all_moves))
    at_once = tuple(tuple(move for move in row if move[1] in above[state]) for state, row in enumerate(moves))
    return Automaton(full.room, tuple(full.records[state] for state in first), moves, gave, at_once)


def merged(moves: Sequence[Sequence[tuple[Label, int]]], seen: Iterable[object]) -> tuple[list[int], list[tuple[tuple[Label, int], ...]]]:
    """Merge states of which the same is seen, now and after each step (the coarsest bisimulation): a state of each sort, and its moves."""
    block = _numbered(seen)
    while True:
        finer = _numbered((block[state], frozenset((label, block[to]) for label, to in row)) for state, row in enumerate(moves))
        if max(finer) == max(block):
            break
        block = finer
    first = [block.index(number) for number in range(max(block) + 1)]
    return first, [tuple(dict.fromkeys((label, block[to]) for label, to in moves[state])) for state in first]


def _numbered(keys: Iterable[object]) -> list[int]:
    """Number equal keys alike, in order of their first appearance: the start keeps number 0."""
    numbers: dict[object, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _simulators(moves: Sequence[tuple[Move, ...]], gave: Sequence[tuple[bool, ...]]) -> list[set[int]]:
    """Return for each state those that simulate it."""
    states = range(len(moves))
    above = [{y for y in states if all(a <= b for a, b in zip(gave[x], gave[y], strict=True))} for x in states]
    shrank = True
    while shrank:
        shrank = False
        for x in states:
            unable = {y for y in above[x] if not all(_follows(moves[y], y, move, above) for move in moves[x])}
            above[x] -= unable
            shrank = shrank or bool(unable)
    return above


def _follows(moves: tuple[Move, ...], stay: int, move: Move, above: list[set[int]]) -> bool:
    guard, to = move
    return stay in above[to] or any(after in above[to] and its in {None, guard} for its, after in moves)
