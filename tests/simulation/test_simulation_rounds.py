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


def test_too_few_after_boxes_release_the_round_at_its_deadline_and_go_on_from_the_same_base() -> None:
    """Who went away has sealed, perhaps: with it gone the round is proven never to open, and the next one starts from where it did."""
    simulation = Simulation(make_terms(6))
    bases = {party.base for party in simulation.parties.values()}
    assert simulation.run({"party-001": Phase.COLLECT, "party-004": Phase.COLLECT}) is Phase.RELEASED
    assert not simulation.sums
    simulation.away.clear()
    assert simulation.run() is Phase.CLOSED
    assert_sums_exact(simulation)
    assert simulation.state.listed is not None
    assert bases == {simulation.state.listed.base}


def test_too_few_signatures_release_the_round_too() -> None:
    simulation = Simulation(make_terms(6))
    assert simulation.run({"party-001": Phase.CONFIRM, "party-004": Phase.CONFIRM}) is Phase.RELEASED
    simulation.away.clear()
    assert simulation.run() is Phase.CLOSED
    assert_sums_exact(simulation)


@pytest.mark.parametrize("phase", [Phase.COLLECT, Phase.CONFIRM])
def test_with_too_few_to_release_a_round_waits_and_names_whom_until_one_returns(phase: Phase) -> None:
    """Of six three must release; two are left."""
    simulation = Simulation(make_terms(6))
    gone = ("party-001", "party-002", "party-004", "party-005")
    assert simulation.run(dict.fromkeys(gone, phase)) is phase
    assert simulation.state.waits_for() == gone
    simulation.come_back("party-001")  # past the deadline: who returns helps to release
    assert simulation.state.phase is Phase.RELEASED
    simulation.away.clear()
    assert simulation.run() is Phase.CLOSED
    assert_sums_exact(simulation)


def test_a_member_that_was_away_from_the_start_helps_to_release() -> None:
    """Two are left of the round; the third is one that was never in it."""
    simulation = Simulation(make_terms(6))
    simulation.away = {"party-005"}
    gone = ("party-001", "party-002", "party-004")
    assert simulation.run(dict.fromkeys(gone, Phase.CONFIRM)) is Phase.CONFIRM
    simulation.come_back("party-005")
    assert simulation.state.phase is Phase.RELEASED
    simulation.away.clear()
    assert simulation.run() is Phase.CLOSED
    assert_sums_exact(simulation)


def test_a_member_that_signed_and_went_away_learns_of_the_release_and_goes_on() -> None:
    simulation = Simulation(make_terms(6))
    gone = ("party-001", "party-004")
    assert simulation.run(dict.fromkeys(gone, Phase.REVEAL) | {"party-005": Phase.CONFIRM}) is Phase.REVEAL
    simulation.come_back(*gone)  # once a certificate was sent the round can only be finished
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
