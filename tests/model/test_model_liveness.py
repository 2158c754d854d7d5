"""Exhaustive: under an honest gateway no live majority is stuck for ever, and the limits of that promise, so that they cannot drift.

With one malicious member that gives or withholds what it likes, and members that crash at any time: from every state that can be reached,
the members that are live come through without the others (docs/adr/0020). `pytest -s` prints the numbers of states.
Where more than three honest members have no malicious one among them, only one round is played; `MODEL_DEEP=1` goes on there too (minutes).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

import pytest
from parley_protocol import promises
from parley_protocol.errors import LocalProtocolError
from parley_protocol.promises import Promise, check_may_amend, check_may_enter, releases_needed

from tests.model.adversary import Size
from tests.model.honest import FIRST, SECOND, UNDER_NEW, At, Federation, Records, Town
from tests.model.members import AGREEMENT, Act, Guard, Kind, Member, Room, steps
from tests.model.openings import SIZES

Goal = frozenset[tuple[At, int]]
records = cache(Records)
DEEP = os.environ.get("MODEL_DEEP") == "1"


def promised(federation: Federation, town: Town) -> Iterator[tuple[int, Goal]]:
    """Yield how many live members are enough for what, in this state."""
    threshold, number = federation.size.threshold, town.number
    opened = frozenset({(At.OPENED, number)})
    match town.at:
        case At.COLLECT:
            yield threshold, opened
            yield federation.needed(town._replace(at=At.RELEASE)), opened | {(At.RELEASED, number)}
        case At.CONFIRM | At.RELEASE:
            yield federation.needed(town._replace(at=At.RELEASE)), opened | {(At.RELEASED, number)}
        case At.REVEAL:
            yield threshold, opened
        case At.RELEASED if number == FIRST and federation.goes_on:
            yield threshold, frozenset({(At.OPENED, SECOND)})
            yield threshold, frozenset({(At.OPENED, UNDER_NEW)})
        case At.AMEND:
            yield threshold, frozenset({(At.OPENED, UNDER_NEW)})


def stuck(federation: Federation, towns: set[Town]) -> tuple[int, list[tuple[Town, tuple[int, ...]]]]:
    """Return how many promises there were, and those that are not kept."""
    kept, broken = 0, []
    for town in towns:
        for least, goal in promised(federation, town):
            for live in federation.live_sets(town, least):
                kept += 1
                if not federation.reaches(town, live, goal):
                    broken.append((town, live))
    return kept, broken


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_no_live_majority_is_stuck(size: Size) -> None:
    goes_on = size.held == 1 or size.members == 3 or DEEP
    federation = Federation(size, records(), goes_on=goes_on)
    towns = federation.reachable()
    kept, broken = stuck(federation, towns)
    rounds = "two rounds or an amendment" if goes_on else "one round"
    print(f"\nhonest gateway, {rounds}, n={size.members} c={size.colluders}: {len(towns)} states, {kept} promises", end="")  # noqa: T201
    assert broken == []
    assert kept > 100


def test_the_check_is_not_vacuous(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were RELEASE to need every member, one that crashed or keeps silent would stop the study; the check sees it."""
    monkeypatch.setattr(promises, "releases_needed", lambda *, members, threshold, colluders: members)  # noqa: ARG005
    federation = Federation(Size(4, 1, 1), records())
    towns = [town for town in federation.reachable() if town.at is At.RELEASE and not town.gives]
    assert not any(federation.reaches(town, (0, 1, 2), frozenset({(At.RELEASED, FIRST)})) for town in towns)


# The limits of the promise.

FOUR = Size(4, 1, 1)


def test_a_lying_gateway_can_leave_a_round_neither_openable_nor_releasable() -> None:
    """It gives the certificate to one member and asks the others for RELEASE. Two lists open even so never (test_model_safety)."""
    revealed = Member(frozenset({AGREEMENT})).having(Promise(1).uploaded().confirmed("a").revealed("a"))
    released = Member(frozenset({AGREEMENT})).having(Promise(1).uploaded().confirmed("a").released_by_me())
    for now in (revealed, released):  # nothing but the other outcome's proof is left to them, or the certificate in the chain
        left = {step.act for step in steps(now, Room((1,), ("a", "b")))}
        assert left == {Act.SEE_RELEASED, Act.SEE_OPENED}
        with pytest.raises(LocalProtocolError, match="finished, released or given up first"):
            check_may_enter(2, now.rounds, None)
    reveals, releases = 1, 2  # of three honest members; the fourth, malicious, keeps silent
    assert reveals + FOUR.held < FOUR.threshold
    assert releases < releases_needed(members=4, threshold=FOUR.threshold, colluders=1)


@pytest.mark.parametrize(("live", "comes_through"), [(2, False), (3, True)])
def test_who_signs_and_withholds_its_reveal_blocks_while_fewer_than_t_honest_members_live(live: int, *, comes_through: bool) -> None:
    federation = Federation(FOUR, records())
    towns = [town for town in federation.reachable() if town.at is At.REVEAL and town.number == FIRST and not town.gives]
    signed = [town for town in towns if all(records().runs(local, FIRST) for local in town.members)]
    nothing_yet = [town for town in signed if not any(records().gave(local, Guard(Kind.REVEALED, FIRST, "a")) for local in town.members)]
    assert nothing_yet
    for town in nothing_yet:
        assert federation.reaches(town, tuple(range(live)), frozenset({(At.OPENED, FIRST)})) is comes_through


def test_with_one_signature_for_acceptance_and_bond_a_single_member_would_stop_the_study() -> None:
    """Why binding is a second step: whoever bound itself while one acceptance is withheld may do nothing else for ever."""
    check_may_amend("amendment", None, ())
    with pytest.raises(LocalProtocolError, match="no other round of this agreement"):
        check_may_enter(1, (), "amendment")
    with pytest.raises(LocalProtocolError, match="we signed another one"):
        check_may_amend("without the silent one", "amendment", ())
