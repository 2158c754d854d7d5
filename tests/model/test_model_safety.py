"""Exhaustive: whatever the gateway and c members do, at most one list per base version can ever be opened (protocol.md, invariant 3).

Also across an amendment, with members that leave and join. `pytest -s` prints the numbers of states; `MODEL_DEEP=1` adds larger rooms
(minutes).
"""

from __future__ import annotations

import os
from functools import cache

import pytest

from tests.model.adversary import Size, Verdict
from tests.model.automaton import unfold
from tests.model.members import Member, Room
from tests.model.openings import (
    ALL_OF_IT,
    AMENDED,
    JOINS,
    LEAVES,
    ROUNDS_THEN_AMENDED,
    SIZES,
    STAYS,
    TWO_AMENDMENTS,
    TWO_ROUNDS,
    Change,
    changes,
    small_graph,
    unchanged,
    world,
)

DEEP = os.environ.get("MODEL_DEEP") == "1"
ROOMS = {"amended": AMENDED, "two amendments": TWO_AMENDMENTS, "two rounds, amended": ROUNDS_THEN_AMENDED}


MOST = {"amended": 6, "two amendments": 5, "two rounds, amended": 5}  # honest members and kinds of them; 6: five without a change
graph = cache(small_graph)
known: dict[object, Verdict] = {}


def check(name: str, room: Room, change: Change) -> Verdict:
    its = world(room, change, graph)
    verdict = known[its.shape] = known.get(its.shape) or its.check()
    print(f"\n{name}, {change.name}: {verdict.states} states", end="")  # noqa: T201 - the size of the check is part of its result
    assert verdict.violation == ()
    return verdict


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_two_rounds_never_open_two_lists(size: Size) -> None:
    assert check("two rounds", TWO_ROUNDS, unchanged(size)).states > 100


@pytest.mark.parametrize("change", list(changes()), ids=lambda change: change.name)
@pytest.mark.parametrize("room", ROOMS)
def test_an_amendment_never_opens_a_second_list(room: str, change: Change) -> None:
    if change.honest + len(change.kinds) > MOST[room] and not DEEP:
        pytest.skip("too many honest members for this room: MODEL_DEEP=1")
    assert check(room, ROOMS[room], change).states > 100


@pytest.mark.skipif(not DEEP, reason="minutes: MODEL_DEEP=1")
@pytest.mark.parametrize("change", [change for change in changes() if change.honest <= 4], ids=lambda change: change.name)
def test_two_rounds_and_two_amendments_open_one_list(change: Change) -> None:
    check("two rounds, two amendments", ALL_OF_IT, change)


@pytest.mark.parametrize("room", [TWO_ROUNDS, AMENDED, TWO_AMENDMENTS], ids=["rounds", "amended", "two amendments"])
def test_the_reduction_leaves_the_verdict_as_it_is(room: Room) -> None:
    """Beside it, every record and every order of steps, for the sizes at which that can be done."""
    change = unchanged(Size(3, 1, 1))
    full = world(room, change, unfold).check()
    small = world(room, change, graph).check()
    assert full.violation == small.violation == ()
    assert full.states > 10 * small.states


@pytest.mark.parametrize("start", [STAYS, LEAVES, JOINS], ids=["stays", "leaves", "joins"])
@pytest.mark.parametrize("room", [TWO_ROUNDS, AMENDED, TWO_AMENDMENTS, ROUNDS_THEN_AMENDED], ids=str)
def test_what_was_given_is_never_taken_back(start: Member, room: Room) -> None:
    """The reduction rests on it: along each step, counts only grow."""
    full = unfold(start, room)
    for state, row in enumerate(full.moves):
        for _, to in row:
            assert all(before <= after for before, after in zip(full.gave[state], full.gave[to], strict=True))
