"""Neighbour graphs under attack: who deals with whom is drawn from a seed that all fixed, and nobody else has a say in it."""

from __future__ import annotations

import numpy as np
from parley_policies.negotiation.terms import Terms, graph_of
from parley_protocol.ids import Phase

from tests.simulator import Simulation, make_terms

MEMBERS = 52


def large_terms() -> Terms:
    """Terms of the smallest study in which members deal with some of the others only."""
    terms = make_terms(MEMBERS)
    graph = graph_of(MEMBERS, terms.max_colluders, terms.threshold)
    assert graph is not None
    return terms.model_copy(update={"graph": graph})


def test_a_round_among_neighbours_opens_the_plain_sum_though_some_drop_out() -> None:
    simulation = Simulation(large_terms())
    assert simulation.run({"party-003": Phase.SHARE, "party-007": Phase.COLLECT, "party-011": Phase.REVEAL}) is Phase.CLOSED
    assert simulation.state.listed is not None
    survivors = simulation.state.listed.parties
    assert len(survivors) == MEMBERS - 2
    assert np.array_equal(simulation.sums["trunk"], simulation.expected_sum("trunk", survivors))
    assert not [text for party in simulation.parties.values() for text in party.refusals]
