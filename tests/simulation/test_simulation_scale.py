"""Rounds with a neighbour graph, at the smallest size that has one; `make scale` runs five hundred parties."""

from __future__ import annotations

import json
from typing import Final

from parley_crypto.neighbours import SHARES, Ring, draw
from parley_policies.negotiation.terms import graph_of
from parley_protocol.columns import pack, unpack
from parley_protocol.ids import Phase

from tests.simulation.test_simulation_rounds import assert_sums_exact
from tests.simulator import GRAPH_SEED, Simulation, make_terms, party_ids

MEMBERS, THRESHOLD, COLLUDERS = 60, 41, 2
GRAPH: Final = graph_of(MEMBERS, COLLUDERS, THRESHOLD)
IDS: Final = party_ids(MEMBERS)
SEGMENTS: Final = {"trunk": (9, None), "head:a": (5, list(range(0, MEMBERS, 2)))}  # all members of the head mask with each other


def federation() -> Simulation:
    simulation = Simulation(make_terms(MEMBERS, colluders=COLLUDERS, floor=COLLUDERS + 2, segments=SEGMENTS, graph=GRAPH))
    assert simulation.terms.threshold == THRESHOLD
    return simulation


def share_ring() -> Ring:
    """Return the ring over which secrets of the first round are shared."""
    assert GRAPH is not None
    return draw(GRAPH_SEED, 1, SHARES, IDS, GRAPH.degree)


def cutting_set() -> set[str]:
    """Return members without whom one more could cut the trunk's ring in the first round: two windows of it but for that one."""
    assert GRAPH is not None
    order, half = draw(GRAPH_SEED, 1, "trunk", IDS, GRAPH.degree).order, GRAPH.degree // 2
    return {*order[:half], *order[half + 5 : 2 * half + 5]} - {order[0]}


def test_sums_are_exact_whoever_drops_out_in_whichever_phase() -> None:
    simulation = federation()
    for number, phase in enumerate([Phase.ADVERTISE, Phase.SHARE, Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL]):
        gone = IDS[3 * number : 3 * number + 6]
        assert simulation.run(dict.fromkeys(gone, phase)) is Phase.CLOSED
        assert_sums_exact(simulation)
        uploaded = phase in {Phase.CONFIRM, Phase.REVEAL}
        assert simulation.state.require_listed().parties == set(IDS) - (set() if uploaded else set(gone))
        simulation.away.clear()
    assert not any(party.refusals for party in simulation.parties.values())


def test_members_are_sent_keys_and_boxes_of_their_neighbours_alone() -> None:
    sent: dict[str, tuple[int, int]] = {}

    def note(to: str, kind: str, raw: bytes) -> bytes:
        if kind == "boxes":
            sent[to] = len(json.loads(raw)["parties"]), len(json.loads(raw)["boxes"])
        return raw

    simulation = federation()
    simulation.tamper = note
    assert simulation.run() is Phase.CLOSED
    assert GRAPH is not None
    assert sent == dict.fromkeys(IDS, (MEMBERS, GRAPH.degree))


def test_survivors_that_conspirators_could_split_are_no_sum_for_an_honest_gateway() -> None:
    """They are enough for the threshold and every floor; the head, whose members all mask with each other, is opened."""
    simulation = federation()
    gone = cutting_set()
    assert len(gone) == MEMBERS - THRESHOLD
    assert simulation.run(dict.fromkeys(gone, Phase.COLLECT)) is Phase.CLOSED
    assert simulation.state.require_listed().openable == ("head:a",)
    assert_sums_exact(simulation)


def test_a_list_that_cuts_the_ring_is_refused_by_every_party() -> None:
    simulation = federation()
    gone = cutting_set()

    def shorten(_to: str, kind: str, raw: bytes) -> bytes:
        if kind != "list":
            return raw
        body = json.loads(raw)
        kept = [index for index, party in enumerate(body["survivors"]) if party not in gone]
        for column, size in (("bodies", 32), ("signatures", 64)):
            values = unpack(body[column], size, MEMBERS, column)
            body[column] = pack(values[index] for index in kept)
        body["survivors"] = [body["survivors"][index] for index in kept]
        return json.dumps(body).encode()

    simulation.tamper = shorten
    assert simulation.run() is not Phase.CLOSED
    assert not simulation.sums
    refusal = "survivor list: wanted ('head:a',) to be opened, got ('trunk', 'head:a')"
    assert all(party.refusals == [refusal] for party in simulation.parties.values())


def test_each_neighbourhood_must_reveal_enough() -> None:
    """Of one member's holders one fewer reveals than its secrets need, of all members most do: the round waits for one more of them."""
    simulation, ring = federation(), share_ring()
    assert GRAPH is not None
    middle = GRAPH.degree // 2
    holders = ring.order[: GRAPH.degree + 1]
    assert set(holders) == set(ring.holders(holders[middle]))
    revealing = holders[middle - 1 : middle + GRAPH.threshold - 2]
    gone = sorted(set(holders) - set(revealing))
    assert simulation.run(dict.fromkeys(gone, Phase.REVEAL)) is Phase.REVEAL
    assert len(simulation.state.reveals) == MEMBERS - len(gone) >= GRAPH.threshold
    assert simulation.state.waits_for() == tuple(gone)
    simulation.come_back(holders[middle + GRAPH.threshold - 2])
    assert_sums_exact(simulation)


def test_with_one_neighbour_missing_a_round_is_not_released() -> None:
    """In a graph as tight as this one every holder of every secret must say that its shares are destroyed."""
    simulation = federation()
    silent = set(IDS[: MEMBERS - THRESHOLD + 1])
    simulation.tamper = lambda to, kind, raw: None if kind == "boxes" and to in silent else raw
    assert simulation.run() is Phase.COLLECT  # all are here and could still finish it: they get the time once more
    simulation.pump({IDS[-1]: Phase.RELEASE})
    assert simulation.state.spec.cohort.is_released(IDS, IDS)
    assert simulation.state.waits_for() == (IDS[-1],)
    assert not simulation.state.spec.cohort.is_released(set(IDS) - {IDS[-1]}, IDS)
    simulation.come_back(IDS[-1])
    assert simulation.state.phase is Phase.RELEASED
    simulation.tamper = None
    assert simulation.run() is Phase.CLOSED
    assert_sums_exact(simulation)
