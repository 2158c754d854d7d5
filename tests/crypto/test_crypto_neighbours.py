"""Neighbour graphs: the plan against tails computed another way, the ring, and the cut against brute force and maximum flow."""

from __future__ import annotations

import hmac
import random
from collections import Counter, deque
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations, pairwise
from math import comb, factorial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley_crypto import neighbours
from parley_crypto.errors import MalformedError
from parley_crypto.neighbours import Plan, Ring, colluders_in_cut, draw, plan

SEED = bytes(range(32))


def ids(count: int) -> tuple[str, ...]:
    return tuple(f"party-{number:03}" for number in range(count))


def more_than(population: int, marked: int, drawn: int) -> list[Fraction]:
    """P[more than m marked] for m = 0 … drawn, one draw after the other (no binomials): the oracle of the tails."""
    chances = [Fraction(1)]  # by number of marked so far
    for done in range(drawn):
        left = population - done
        longer = [Fraction(0)] * (done + 2)
        for found, chance in enumerate(chances):
            longer[found + 1] += chance * Fraction(max(marked - found, 0), left)
            longer[found] += chance * Fraction(left - max(marked - found, 0), left)
        chances = longer
    return [sum(chances[found + 1 :], Fraction(0)) for found in range(drawn + 1)]


def smallest(population: int, marked: int, drawn: int, bound: Fraction) -> int:
    return next(found for found, chance in enumerate(more_than(population, marked, drawn)) if chance <= bound)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (100, Plan(degree=36, threshold=11, near=10, cut=10)),
        (200, Plan(degree=58, threshold=21, near=20, cut=20)),
        (500, Plan(degree=90, threshold=33, near=32, cut=34)),
    ],
)
def test_the_plans_that_the_specification_names(members: int, expected: Plan) -> None:
    assert plan(members, members // 10, 3 * members // 10) == expected


def conditions(members: int, colluders: int, dropouts: int, degree: int) -> Plan | None:
    """Say what `plan` should find at one degree, from the oracle."""
    security, correctness = Fraction(1, 2**40), Fraction(1, 2**20)
    pairs = Fraction(members * (members - degree - 1), 2)
    near = smallest(members - 1, colluders, degree, security / members)
    cut = smallest(members, colluders, degree, security / pairs)
    away = smallest(members - 1, dropouts, degree, correctness / members)
    lost = smallest(members, dropouts, degree, correctness / pairs)
    threshold = max(near, 1) + 1
    return Plan(degree=degree, threshold=threshold, near=near, cut=cut) if degree - away >= threshold and degree - lost > cut else None


@pytest.mark.parametrize(
    ("members", "colluders", "dropouts"), [(51, 1, 5), (60, 6, 18), (90, 3, 20), (120, 12, 24), (64, 0, 0), (75, 7, 0)]
)
def test_a_plan_is_the_smallest_that_keeps_every_bound(members: int, colluders: int, dropouts: int) -> None:
    found = plan(members, colluders, dropouts)
    assert found is not None
    assert found == conditions(members, colluders, dropouts, found.degree)
    smaller = range(max(2, found.degree - 6), found.degree, 2)
    assert all(conditions(members, colluders, dropouts, degree) is None for degree in smaller)


def test_the_tails_to_the_last_digit() -> None:
    for population, marked, drawn in [(12, 5, 4), (12, 4, 9), (30, 0, 6), (30, 30, 7), (41, 13, 40), (9, 9, 9)]:
        chances = more_than(population, marked, drawn)
        tails = dict(neighbours._tails(population, marked, drawn))
        assert set(tails) == set(range(min(marked, drawn) + 1))
        for found, ways in tails.items():
            at_least = chances[found - 1] if found else Fraction(1)
            assert Fraction(ways, comb(population, drawn)) == at_least


def test_a_bound_met_exactly_is_met() -> None:
    at_least_two = Fraction(dict(neighbours._tails(4, 2, 2))[2], comb(4, 2))
    assert at_least_two == Fraction(1, 6)
    assert neighbours._most(4, 2, 2, union=3, bits=1) == 1  # 3 · 1/6 = 1/2: within
    assert neighbours._most(4, 2, 2, union=4, bits=1) == 2


@pytest.mark.parametrize(("members", "colluders", "dropouts"), [(1, 0, 0), (5, 1, 1), (30, 3, 9), (50, 5, 15), (60, 20, 20), (100, 33, 33)])
def test_the_full_graph_where_it_is_needed_or_cheap(members: int, colluders: int, dropouts: int) -> None:
    assert plan(members, colluders, dropouts) is None


@settings(max_examples=25)
@given(st.integers(51, 260), st.integers(0, 20), st.integers(0, 40))
def test_every_plan_halves_the_work_and_covers_a_certain_case(members: int, colluders: int, dropouts: int) -> None:
    found = plan(members, colluders, dropouts)
    if found is None:
        return
    assert found.degree % 2 == 0
    assert 2 * found.degree <= members - 1
    assert 2 <= found.threshold <= found.degree
    assert found.near <= min(colluders, found.degree, found.threshold - 1)
    assert found.near <= found.cut <= min(colluders, found.degree)
    assert found.cut == colluders_in_cut(members, colluders, found.degree)


@pytest.mark.parametrize(("members", "colluders", "dropouts"), [(0, 0, 0), (60, 60, 0), (60, -1, 0), (60, 0, 60), (60, 0, -1)])
def test_impossible_numbers_are_refused(members: int, colluders: int, dropouts: int) -> None:
    with pytest.raises(MalformedError, match="neighbour graph"):
        plan(members, colluders, dropouts)


def test_releases_leave_fewer_than_the_threshold_whoever_lies() -> None:
    found = plan(100, 10, 30)
    assert found is not None
    holders = found.degree + 1
    said = found.releases(holders)
    assert holders - said + found.near == found.threshold - 1  # those still able to answer, liars among those who released included
    assert Plan(degree=36, threshold=13, near=10, cut=10).releases(37) == 35


def test_colluders_in_the_cut_of_other_rings() -> None:
    assert colluders_in_cut(20, 3, 36) == 3  # complete
    assert colluders_in_cut(4, 9, 36) == 4
    assert colluders_in_cut(40, 90, 10) == 10  # all of them collude
    assert colluders_in_cut(500, 50, 90) == 34


def test_a_ring_joins_the_nearest_on_either_side() -> None:
    ring = Ring(ids(9), 4)
    assert ring.neighbours("party-000") == {"party-007", "party-008", "party-001", "party-002"}
    assert ring.holders("party-000") == ("party-000", "party-001", "party-002", "party-007", "party-008")


@given(st.integers(1, 40), st.integers(1, 25), st.integers(0, 2**40))
def test_neighbours_are_mutual_and_as_many_as_the_degree(members: int, half: int, number: int) -> None:
    ring = draw(SEED, number, "trunk", ids(members), 2 * half)
    for party in ring.order:
        near = ring.neighbours(party)
        assert len(near) == min(2 * half, members - 1)
        assert party not in near
        assert all(party in ring.neighbours(other) for other in near)
        assert ring.holders(party) == tuple(sorted(near | {party}))


def test_a_ring_is_the_seeds_and_not_the_callers() -> None:
    members = ids(30)
    ring = draw(SEED, 1, "trunk", members, 6)
    assert ring == draw(SEED, 1, "trunk", reversed(members), 6)
    assert sorted(ring.order) == sorted(members)
    others = [draw(SEED, 2, "trunk", members, 6), draw(SEED, 1, "head:a", members, 6), draw(bytes(32), 1, "trunk", members, 6)]
    assert len({ring.order, *(other.order for other in others)}) == 4


def test_a_ring_for_good() -> None:
    """Another implementation must find this order: HMAC-SHA256 under HKDF-SHA256 (RFC 5869) of the seed, written out here."""
    info = b"\0\0\0\x13parley/neighbours/1" + b"\0\0\0\x08" + (7).to_bytes(8, "big") + b"\0\0\0\x05trunk"
    key = hmac.digest(hmac.digest(bytes(32), SEED, "sha256"), info + b"\x01", "sha256")
    order = sorted("abcdef", key=lambda party: hmac.digest(key, party.encode(), "sha256"))
    assert draw(SEED, 7, "trunk", "abcdef", 2).order == tuple(order) == ("d", "c", "a", "f", "b", "e")


def test_all_orders_are_as_likely() -> None:
    """Chi-squared over the 24 orders of 4 members in 4,800 rounds: 23 degrees of freedom, above 61 with probability 3·10⁻⁵ (fixed seed)."""
    counts = Counter(draw(SEED, number, "trunk", "abcd", 2).order for number in range(4800))
    expected = 4800 / factorial(4)
    assert sum((counts[order] - expected) ** 2 / expected for order in counts) + (24 - len(counts)) * expected < 61


@pytest.mark.parametrize("degree", [0, -2, 1, 7])
def test_odd_and_empty_degrees_are_refused(degree: int) -> None:
    with pytest.raises(MalformedError, match="even"):
        Ring(ids(9), degree)


def test_what_is_not_a_ring_is_refused() -> None:
    with pytest.raises(MalformedError, match="distinct"):
        Ring(("a", "b", "a"), 2)
    with pytest.raises(MalformedError, match="32 bytes"):
        draw(bytes(31), 1, "trunk", ids(5), 2)
    with pytest.raises(MalformedError, match="round"):
        draw(SEED, -1, "trunk", ids(5), 2)
    ring = Ring(ids(9), 4)
    for ask in (ring.neighbours, ring.holders):
        with pytest.raises(MalformedError, match="stranger"):
            ask("stranger")
    with pytest.raises(MalformedError, match="stranger"):
        ring.cut({"party-001", "stranger"})


def edges(ring: Ring) -> dict[str, frozenset[str]]:
    return {party: ring.neighbours(party) for party in ring.order}


def connected(graph: dict[str, frozenset[str]], among: frozenset[str]) -> bool:
    if not among:
        return True
    start = next(iter(among))
    seen, waiting = {start}, deque([start])
    while waiting:
        for other in graph[waiting.popleft()] & among - seen:
            seen.add(other)
            waiting.append(other)
    return seen == among


def by_brute_force(graph: dict[str, frozenset[str]], survivors: frozenset[str]) -> int | None:
    """The smallest set of survivors whose removal disconnects the rest: all sets are tried, from the smallest."""
    for size in range(len(survivors)):
        for removed in combinations(sorted(survivors), size):
            if not connected(graph, survivors - set(removed)):
                return size
    return None


def by_flow(graph: dict[str, frozenset[str]], survivors: frozenset[str]) -> int | None:
    """The same by Menger: the fewest vertex-disjoint paths between survivors that are not joined."""
    apart = [(a, b) for a, b in combinations(sorted(survivors), 2) if b not in graph[a]]
    return min((disjoint_paths(graph, survivors, a, b) for a, b in apart), default=None)


def disjoint_paths(graph: dict[str, frozenset[str]], among: frozenset[str], source: str, sink: str) -> int:
    """Augmenting paths over vertices split into an entry and an exit, all of capacity one."""
    room: dict[tuple[str, bool], dict[tuple[str, bool], int]] = {(party, out): {} for party in among for out in (False, True)}
    for party in among:
        room[party, False][party, True] = len(among) if party in {source, sink} else 1
        room[party, True].setdefault((party, False), 0)
        for other in graph[party] & among:
            room[party, True][other, False] = 1
            room[other, False].setdefault((party, True), 0)
    paths = 0
    while (path := augmenting(room, (source, True), (sink, False))) is not None:
        for tail, head in pairwise(path):
            room[tail][head] -= 1
            room[head][tail] = room[head].get(tail, 0) + 1
        paths += 1
    return paths


def augmenting(
    room: dict[tuple[str, bool], dict[tuple[str, bool], int]], source: tuple[str, bool], sink: tuple[str, bool]
) -> list[tuple[str, bool]] | None:
    came = {source: source}
    waiting = deque([source])
    while waiting:
        here = waiting.popleft()
        if here == sink:
            path = [sink]
            while path[-1] != source:
                path.append(came[path[-1]])
            return path[::-1]
        for there, left in room[here].items():
            if left and there not in came:
                came[there] = here
                waiting.append(there)
    return None


@settings(max_examples=150)
@given(st.integers(1, 11), st.integers(1, 3), st.data())
def test_the_cut_is_the_connectivity(members: int, half: int, data: st.DataObject) -> None:
    ring = Ring(ids(members), 2 * half)
    survivors = frozenset(data.draw(st.sets(st.sampled_from(ring.order))))
    assert ring.cut(survivors) == by_brute_force(edges(ring), survivors)


@pytest.mark.parametrize(("members", "half"), [(6, 1), (7, 2), (8, 2), (8, 3), (9, 2)])
def test_the_cut_of_every_survivor_list(members: int, half: int) -> None:
    ring = Ring(ids(members), 2 * half)
    graph = edges(ring)
    for chosen in range(1 << members):
        survivors = frozenset(party for bit, party in enumerate(ring.order) if chosen >> bit & 1)
        assert ring.cut(survivors) == by_brute_force(graph, survivors)


@pytest.mark.parametrize("case", range(24))
def test_the_cut_by_maximum_flow(case: int) -> None:
    rng = random.Random(case)
    members, half = rng.randint(14, 30), rng.randint(1, 6)
    ring = draw(SEED, case, "trunk", ids(members), 2 * half)
    survivors = frozenset(party for party in ring.order if rng.random() < rng.choice((0.4, 0.7, 0.95)))
    assert ring.cut(survivors) == by_flow(edges(ring), survivors)


def test_whoever_colludes_the_honest_survivors_stay_connected() -> None:
    """The point of it: a list with a cut above the bound cannot be split by the colluders there are, on a ring of real size."""
    found = plan(100, 10, 30)
    assert found is not None
    refused = 0
    for case in range(60):
        rng = random.Random(case)
        ring = draw(SEED, case, "trunk", ids(100), found.degree)
        colluders = frozenset(rng.sample(ring.order, 10))
        survivors = listed_by_a_liar(ring, colluders, rng)
        cut = ring.cut(survivors)
        if cut is not None and cut <= found.cut:
            refused += 1
        else:
            assert connected(edges(ring), survivors - colluders)
    assert refused  # the liar cuts somebody off, and that is what is refused


def listed_by_a_liar(ring: Ring, colluders: frozenset[str], rng: random.Random) -> frozenset[str]:
    """Leave out the honest of two windows around a few members, then bring back a random number of them."""
    half, size = ring.degree // 2, len(ring.order)
    start, between = rng.randrange(size), rng.randint(1, size - ring.degree - 1)
    windows: Iterable[int] = (*range(start, start + half), *range(start + half + between, start + between + 2 * half))
    left_out = [party for party in (ring.order[position % size] for position in windows) if party not in colluders]
    return frozenset(ring.order) - set(rng.sample(left_out, len(left_out) - rng.choice((0, 0, 1, 4))))


def test_a_lying_gateway_that_cuts_one_member_off_is_seen() -> None:
    """Two windows emptied of honest members around one victim: t of the study are still listed, and the cut counts the colluders."""
    ring = draw(SEED, 3, "trunk", ids(200), 58)
    inside = {ring.order[position % 200] for position in (*range(10, 39), *range(40, 69))}
    colluders = set(sorted(inside)[:5])
    survivors = frozenset(ring.order) - (inside - colluders)
    assert len(survivors) > 2 * 200 // 3
    assert ring.cut(survivors) == 5
    assert ring.cut(ring.order) == 58
    assert not connected(edges(ring), survivors - colluders)


def test_complete_graphs_have_no_cut() -> None:
    assert Ring(ids(5), 4).cut(ids(5)) is None
    assert Ring(ids(4), 4).cut(ids(4)) is None
    assert Ring(ids(1), 4).cut(ids(1)) is None
    assert Ring(ids(6), 4).cut(ids(6)) == 4
    assert Ring(ids(6), 4).cut(ids(2)) is None  # the two are joined
    assert Ring((), 2).cut(()) is None


def test_honest_dropouts_are_not_refused() -> None:
    """Lists of 70 of 100 and 350 of 500 at random: each would fail with probability below 2^-20."""
    rng = random.Random(17)
    for members in (100, 500):
        found = plan(members, members // 10, 3 * members // 10)
        assert found is not None
        for number in range(60):
            ring = draw(SEED, number, "trunk", ids(members), found.degree)
            cut = ring.cut(set(rng.sample(ring.order, members - 3 * members // 10)))
            assert cut is not None
            assert cut > found.cut
