"""Rounds in memory: sums exact to the bit, dropouts in every phase, thresholds, waiting and returning."""

from __future__ import annotations

import numpy as np
import pytest
from parley_protocol.ids import Phase

from tests.simulator import Simulation, make_terms


def assert_sums_exact(simulation: Simulation) -> None:
    state = simulation.state
    assert state.phase is Phase.CLOSED
    assert state.listed is not None
    assert simulation.sums.keys() == set(state.listed.openable)
    for name, total in simulation.sums.items():
        assert np.array_equal(total, simulation.expected_sum(name, state.listed.parties))


def test_a_round_without_dropouts_opens_the_plain_sum() -> None:
    simulation = Simulation(make_terms(6, segments={"trunk": (100, None), "head:a": (7, [0, 1, 2]), "head:b": (5, [3, 4, 5])}))
    for _ in range(3):
        assert simulation.run() is Phase.CLOSED
        assert_sums_exact(simulation)
        assert set(simulation.sums) == {"trunk", "head:a", "head:b"}
    assert all(not party.refusals for party in simulation.parties.values())
    assert len({party.base for party in simulation.parties.values()}) == 1


@pytest.mark.parametrize("phase", [Phase.SHARE, Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL])
def test_one_of_six_may_drop_out_in_any_phase(phase: Phase) -> None:
    simulation = Simulation(make_terms(6, segments={"trunk": (50, None), "head:a": (7, [0, 1, 2]), "head:b": (5, [3, 4, 5])}))
    assert simulation.run({"party-001": phase}) is Phase.CLOSED
    assert_sums_exact(simulation)
    listed = simulation.state.listed
    assert listed is not None
    dropped_before_upload = phase in {Phase.SHARE, Phase.COLLECT}
    assert ("party-001" in listed.parties) is not dropped_before_upload
    assert ("head:a" in listed.openable) is not dropped_before_upload


def test_too_few_before_upload_abort_with_a_reason_that_names_the_missing() -> None:
    simulation = Simulation(make_terms(6))
    assert simulation.run({"party-001": Phase.SHARE, "party-004": Phase.SHARE}) is Phase.ABORTED
    aborted = [raw for to, kind, raw in simulation.inbox if kind == "aborted" and to == "party-001"]
    assert aborted
    assert b"party-001, party-004" in aborted[0]
    simulation.away.clear()
    assert simulation.run() is Phase.CLOSED
    assert_sums_exact(simulation)


def test_too_few_after_upload_wait_name_whom_and_finish_when_they_return() -> None:
    simulation = Simulation(make_terms(6))
    assert simulation.run({"party-001": Phase.COLLECT, "party-004": Phase.COLLECT}) is Phase.COLLECT
    assert simulation.state.waits_for() == ("party-001", "party-004")
    simulation.come_back("party-004")
    assert_sums_exact(simulation)


def test_a_certified_round_waits_for_reveals_and_finishes() -> None:
    simulation = Simulation(make_terms(6))
    assert simulation.run({"party-001": Phase.REVEAL, "party-004": Phase.REVEAL}) is Phase.REVEAL
    assert simulation.state.waits_for() == ("party-001", "party-004")
    simulation.come_back("party-001")
    assert_sums_exact(simulation)


def test_a_used_up_allowance_of_small_changes_makes_a_dropout_wait() -> None:
    simulation = Simulation(make_terms(6, small_changes=1))
    assert simulation.run() is Phase.CLOSED
    assert simulation.run({"party-001": Phase.COLLECT}) is Phase.CLOSED
    simulation.away.clear()
    assert simulation.run() is Phase.ABORTED  # six again after five would be the second small change
    simulation.away.add("party-001")
    assert simulation.run() is Phase.CLOSED  # the same five: no change
