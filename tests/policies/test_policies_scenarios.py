"""Every federation of tests/scenarios comes out as its file says, and explains itself in the words that its file says."""

from __future__ import annotations

import pytest
from parley_policies.errors import Conflict
from parley_policies.trial.overview import Overview

from tests.policies.scenario_files import Scenario, lines, names, scenario

WANTED = 30
EXPECTED = frozenset(
    {"cohorts", "studies", "value", "out", "out_all", "at_home", "conflict", "unloosened", "floors", "c", "t", "says", "says_not"}
)


def test_there_are_enough() -> None:
    assert len(names()) >= WANTED


@pytest.mark.parametrize("name", names())
def test_a_federation_comes_out_as_its_file_says(name: str) -> None:
    told = scenario(name)
    assert set(told.expect) <= EXPECTED
    trial = told.held()
    assert not trial.unsigned, "a member's own check refuses what was negotiated for it"
    overview = told.overview()
    _check_who(told, overview)
    _check_terms(told, overview)
    said = lines(overview)
    for sentence in told.expect.get("says", ()):
        assert sentence in said
    for word in told.expect.get("says_not", ()):
        assert not [line for line in said if word in line]
    if "conflict" in told.expect:
        assert isinstance(trial.outcome, Conflict)
        assert trial.outcome.field == told.expect["conflict"]


def _check_who(told: Scenario, overview: Overview) -> None:
    expect = told.expect
    assert [list(cohort.members) for cohort in overview.cohorts] == expect["cohorts"]
    out = {item.party: item.clause for item in overview.out}
    if "out" in expect:
        assert out == expect["out"]
    if "out_all" in expect:
        assert out == dict.fromkeys(told.policies, expect["out_all"])
    if expect.get("unloosened"):
        assert overview.relaxations == ()


def _check_terms(told: Scenario, overview: Overview) -> None:
    expect = told.expect
    if "value" in expect:
        assert overview.value == expect["value"]
    if "studies" in expect:
        assert [cohort.study for cohort in overview.cohorts] == expect["studies"]
    if "at_home" in expect:
        assert sorted({item.segment for cohort in overview.cohorts for item in cohort.at_home}) == expect["at_home"]
    for number in ("c", "t"):
        if number in expect:
            assert {getattr(cohort, number) for cohort in overview.cohorts} == {expect[number]}
    if "floors" in expect:
        assert {row.name: row.floor for cohort in overview.cohorts for row in cohort.segments} == expect["floors"]
