"""A party that was restored from a backup: what it stays out of, and why that is enough against a lying gateway."""

from __future__ import annotations

import asyncio
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_party.fence import Fence, FenceState
from parley_party.store import PACKAGE, Change, PartyStore
from parley_policies.negotiation.terms import Terms
from parley_protocol.errors import RemoteProtocolError
from parley_service.database import Database, migrate, open_engine

from tests.simulator import make_terms

RESTORED = Fence("heart", FenceState.RESTORED, round=3, since=1.0)


def may_seal(fence: Fence, terms: Terms, others: int) -> bool:
    try:
        fence.check_seal(terms, 9, others=others)
    except RemoteProtocolError:
        return False
    return True


def terms_of(members: int, colluders: int) -> Terms:
    return make_terms(members, colluders=colluders)


@pytest.mark.parametrize(("members", "colluders"), [(n, c) for n in range(3, 8) for c in (0, 1, 2) if n > c + 2])
def test_no_list_signed_before_the_restore_can_be_certified_once_the_party_goes_on(members: int, colluders: int) -> None:
    """Every set of answers: member 0 was restored, the last c conspire, an honest one is in one round of a base version only."""
    terms = terms_of(members, colluders)
    assert 2 * terms.threshold > members + colluders
    others = range(1, members)
    honest = set(range(1, members - colluders))
    refused = []
    for count in range(members):
        for answered in map(set, combinations(others, count)):
            earlier = {0, *others} - (answered & honest)  # the most that have signed, or will yet sign, another list for this base version
            if may_seal(RESTORED, terms, count):
                assert len(earlier) < terms.threshold, (answered, earlier)
            else:
                refused.append((count, len(earlier) >= terms.threshold))
    fewest = max(count for count, _ in refused)
    assert (fewest, True) in refused, "one answer less is not enough: the rule asks for no more than it must"
    assert fewest < members - 1, "with everyone there the party comes back"


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_fence_only_rises(first: int, second: int) -> None:
    fence = RESTORED.reached(first).reached(second)
    assert fence.round == max(3, first, second)
    assert fence.state is FenceState.KNOWN
    assert fence.passed(second).round == max(3, first, second)


def test_a_party_that_passed_remembers_what_it_may_not_release() -> None:
    terms = terms_of(4, 1)
    known = RESTORED.reached(5)
    assert known.holds
    assert not may_seal(known, terms, 2)
    assert may_seal(known, terms, 3)
    passed = known.passed(7)
    assert not passed.holds
    assert may_seal(passed, terms, 0)
    for fence, number in ((known, 3), (known, 6), (known, 100), (passed, 7), (passed, 1)):
        with pytest.raises(RemoteProtocolError, match="restored from a backup"):
            fence.check_release(number, sealed=False)
    known.check_release(6, sealed=True)
    passed.check_release(8, sealed=False)
    assert passed.passed(9) == passed


def test_the_store_keeps_a_fence(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = open_engine(tmp_path / "party.db")
        migrate(engine, PACKAGE)
        database = Database(engine)
        store = PartyStore(database)
        assert await store.fence("heart") is None
        for fence in (RESTORED, RESTORED.reached(8), RESTORED.reached(8).passed(9)):
            await store.apply("f", Change(fence=fence))
            assert await store.fence("heart") == fence
        assert await store.fence("other") is None
        await database.close()

    asyncio.run(scenario())
