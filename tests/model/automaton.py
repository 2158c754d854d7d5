"""All records one member can ever have, as a graph, and a smaller graph that is as strong in the adversary's hands.

`unfold` takes every step that the real rules allow, from the start on. `reduced` then leaves out what helps no adversary, by two facts that
are computed, not argued: records from which the same can be given away, now and later, are one (partition refinement); and y simulates x
if it has given away at least as much and can follow each step of x under the same guard or none (greatest fixed point). What the adversary
may show depends on sums of counts that only grow, and so does the property that it attacks: hence a step to a record that the present one
simulates is useless to it, and a step to one that simulates the present one may be taken at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.model.members import Guard, Member, Room, steps

Move = tuple[Guard | None, int]


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
    merged = _merged(full)
    above = _simulators(merged)
    moves = tuple(tuple(move for move in row if state not in above[move[1]]) for state, row in enumerate(merged.moves))
    at_once = tuple(tuple(move for move in row if move[1] in above[state]) for state, row in enumerate(moves))
    return Automaton(full.room, merged.records, moves, merged.gave, at_once)


def _merged(full: Automaton) -> Automaton:
    """Merge records that give the same away now and after each step (the coarsest bisimulation)."""
    block = _numbered(full.gave)
    while True:
        finer = _numbered((block[state], frozenset((guard, block[to]) for guard, to in row)) for state, row in enumerate(full.moves))
        if max(finer) == max(block):
            break
        block = finer
    first = [block.index(number) for number in range(max(block) + 1)]
    moves = tuple(tuple(dict.fromkeys((guard, block[to]) for guard, to in full.moves[state])) for state in first)
    records, gave = tuple(full.records[state] for state in first), tuple(full.gave[state] for state in first)
    return Automaton(full.room, records, moves, gave, tuple(() for _ in first))


def _numbered(keys: Iterable[object]) -> list[int]:
    """Number equal keys alike, in order of their first appearance: the start keeps number 0."""
    numbers: dict[object, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _simulators(automaton: Automaton) -> list[set[int]]:
    """Return for each state those that simulate it."""
    states, moves, gave = range(len(automaton.moves)), automaton.moves, automaton.gave
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
