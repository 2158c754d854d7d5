"""What a party may be told of loosening its own policy: from its own policy and the terms alone, an upper bound each."""

from __future__ import annotations

from typing import Any

import pytest
from parley_party.own_loosening import OwnLoosening, Standing, own_loosenings

from tests.policies.policy_samples import IDS, TODAY, Federation, objectives_of

PARTIES = IDS[:6]


def standing(federation: Federation, party: str, *, agreed: bool = True) -> Standing:
    return Standing(
        policy=federation.policy(party),
        proposal=federation.proposal,
        members=federation.members,
        objectives=objectives_of(party),
        told="rounded:600",
        terms=federation.terms() if agreed else None,
    )


def loosened(federation: Federation, party: str, *, agreed: bool = True) -> dict[str, OwnLoosening]:
    return {each.clause: each for each in own_loosenings(standing(federation, party, agreed=agreed), today=TODAY)}


def test_nothing_is_offered_where_everybody_shares_everything() -> None:
    assert loosened(Federation.of(PARTIES), "a-clinic") == {}


def test_a_head_that_our_floor_keeps_at_home() -> None:
    federation = Federation.of(PARTIES, {"a-clinic": {"min_parties": {"summary": 3, "trunk": 3, "head:*": 4}}})
    found = loosened(federation, "a-clinic")
    floor = found["sums.min_parties.head:*"]
    assert (floor.before, floor.after, floor.gain) == ("4", "3", 1_800)
    assert floor.says().startswith("4 → 3: at most +1,800 records × shared parts; sums of head:* may then be read over 3 instead of 4")
    assert loosened(federation, "b-clinic") == {}, "another's floor is not ours to loosen, nor named"


def test_whom_our_own_policy_keeps_out() -> None:
    federation = Federation.of(PARTIES, edits={"a-clinic": {"denied": 'denied = ["f-fund"]'}})
    terms = Federation.of(PARTIES[:5]).terms()
    found = own_loosenings(
        Standing(federation.policy("a-clinic"), federation.proposal, federation.members, ("illness",), "hidden", terms), today=TODAY
    )
    (one,) = (each for each in found if each.clause == "peers.denied")
    assert (one.before, one.after) == ("f-fund", "without f-fund")
    assert one.gain is not None
    assert one.gain > 0


@pytest.mark.parametrize(
    ("values", "clause", "after"),
    [
        ({"purposes": ["dpv:Marketing"]}, "purpose.granted", "also dpv:ScientificResearch"),
        ({"columns": ["age", "ill", "costly"]}, "data.columns", "also sodium"),
        ({"min_parties": 7}, "sums.min_parties", "6"),
        ({"rounds_a_study": 3}, "limits.rounds_a_study", "6"),
    ],
)
def test_what_keeps_us_out_before_there_are_terms(values: dict[str, Any], clause: str, after: str) -> None:
    found = loosened(Federation.of(PARTIES, {"a-clinic": values}), "a-clinic", agreed=False)
    assert (found[clause].after, found[clause].gain) == (after, None)
    assert "our policy would no longer stand in the way" in found[clause].says()


def test_a_policy_that_stands_in_nobodys_way_is_left_alone() -> None:
    assert loosened(Federation.of(PARTIES), "a-clinic", agreed=False) == {}


def test_no_loosening_tells_of_another_members_policy() -> None:
    ours = {"a-clinic": {"min_parties": {"summary": 3, "trunk": 3, "head:*": 4}}}
    plain = Federation.of(PARTIES, ours)
    strict = Federation.of(PARTIES, {**ours, "c-clinic": {"clip_max": 1.0, "max_small_changes": 0}})
    assert loosened(plain, "a-clinic") == loosened(strict, "a-clinic")
