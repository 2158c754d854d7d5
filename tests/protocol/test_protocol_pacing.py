"""How often a sponsor may propose: never more than the limit in any window, and again exactly when it is said."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_protocol.pacing import DAY_SECONDS, OF_ALL_SPONSORS, OF_ONE_SPONSOR, Pace, TooManyProposalsError, check_pace
from parley_protocol.problems import Slug

LIMITS = (Pace(3, 100, "a while"), Pace(5, 1_000, "a long while"))


def accepts(earlier: list[float], now: float) -> bool:
    try:
        check_pace("proposals of acme", earlier, LIMITS, now=now)
    except TooManyProposalsError:
        return False
    return True


@given(st.lists(st.integers(0, 60), max_size=60))
def test_no_window_ever_holds_more_than_its_limit(gaps: list[int]) -> None:
    taken: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        if accepts(taken, now):
            taken.append(now)
    for limit in LIMITS:
        for first in taken:
            assert sum(first <= at < first + limit.seconds for at in taken) <= limit.most


@given(st.lists(st.integers(0, 3_000), max_size=8), st.integers(0, 3_000))
def test_the_order_of_earlier_ones_does_not_matter_and_waiting_helps(earlier: list[int], now: int) -> None:
    times = [float(at) for at in earlier]
    assert accepts(times, now) == accepts(times[::-1], now)
    if accepts(times, now):
        assert accepts(times, now + 1) or any(at > now for at in times)


def test_it_says_when_the_next_may_come_and_then_it_may() -> None:
    now = datetime(2027, 3, 1, 12, 0, 30, tzinfo=UTC).timestamp()
    earlier = [now + second for second in range(OF_ONE_SPONSOR[0].most)]
    with pytest.raises(TooManyProposalsError) as caught:
        check_pace("proposals of acme", earlier, OF_ONE_SPONSOR, now=now + 60)
    problem = caught.value.to_problem()
    assert (problem.slug, problem.status) == (Slug.TOO_MANY_PROPOSALS, 429)
    moment = re.fullmatch(r"Propose again after (\S+ \S+) UTC\.", problem.do or "")
    assert moment is not None
    again = datetime.strptime(moment[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()
    assert 0 <= again - (now + DAY_SECONDS) < 60
    check_pace("proposals of acme", earlier, OF_ONE_SPONSOR, now=again)


def test_all_sponsors_together_may_ask_more_than_one_and_less_than_many() -> None:
    for one, together in zip(OF_ONE_SPONSOR, OF_ALL_SPONSORS, strict=True):
        assert one.seconds == together.seconds
        assert one.most < together.most < 4 * one.most
