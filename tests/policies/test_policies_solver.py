"""The integer program by itself: small problems by hand, and a cover of what random federations rarely meet."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from parley_policies.negotiation.choosing import Candidate, Group, Problem, greedy, pairs, whole
from parley_policies.negotiation.solver import _simple, _violated, best

Pairs = frozenset[tuple[int, int]]


def problem(records: list[int], apart: Pairs, floor: int = 3, heads: dict[int, tuple[str, int]] | None = None) -> Problem:
    """Return a problem with one part for all, and for some parties a head with a floor."""
    candidates = tuple(
        Candidate(f"p{number}", count, floor, 1, dict([heads[number]]) if heads and number in heads else {}, 100, 1.0, 1.0)
        for number, count in enumerate(records)
    )
    neighbours = tuple(frozenset(b if a == n else a for a, b in apart if n in {a, b}) for n in range(len(records)))
    lengths = {name: 5 for name, _ in (heads or {}).values()}
    return Problem(candidates, neighbours, 1, lengths, frozenset(range(len(records))))


def brute(posed: Problem) -> int:
    """Return the best value of two disjoint sets in which nobody meets whom it may not, each as large as everybody's floor."""
    parties = sorted(posed.alive)
    groups = [
        frozenset(chosen)
        for size in range(3, len(parties) + 1)
        for chosen in combinations(parties, size)
        if not any(posed.apart[one] & set(chosen) for one in chosen)
        if all(posed.candidates[one].floor <= size for one in chosen)
    ]
    values = {group: sum(posed.candidates[one].records for one in group) for group in groups}
    return max([0, *values.values(), *(values[a] + values[b] for a, b in combinations(groups, 2) if not a & b)])


def test_a_triangle_leaves_one_out_and_the_rest_splits() -> None:
    posed = problem([5, 6, 7, 1, 1, 1, 1], frozenset({(0, 1), (1, 2), (0, 2)}))
    found = best(posed)
    assert (found.exact, found.bound, sum(map(posed.value, found.groups))) == (True, 17, 17)
    assert {0, 1, 2} - frozenset().union(*(group.members for group in found.groups)) == {0}


def test_without_pairs_all_are_in_one_cohort() -> None:
    found = best(problem([3, 4, 5, 6, 7, 8], frozenset()))
    assert [group.members for group in found.groups] == [frozenset(range(6))]


def test_ties_go_to_those_that_come_first() -> None:
    found = best(problem([2, 2, 2, 2, 2], frozenset({(0, 4)})))
    assert [sorted(group.members) for group in found.groups] == [[0, 1, 2, 3]]


def test_what_is_forbidden_is_not_chosen_again() -> None:
    posed = problem([2, 2, 2, 2], frozenset())
    everyone = Group(frozenset(range(4)))
    found = best(posed, [everyone])
    assert found.exact
    assert [sorted(group.members) for group in found.groups] == [[0, 1, 2]]


def test_a_head_below_its_floor_is_nobodys() -> None:
    heads = {0: ("head:a", 3), 1: ("head:a", 3), 2: ("head:a", 4)}
    posed = problem([2, 2, 2, 2], frozenset(), heads=heads)
    assert [dict(group.parts) for group in best(posed).groups] == [{}]
    assert [dict(group.parts) for group in best(problem([2] * 4, frozenset(), heads=heads | {2: ("head:a", 3)})).groups] == [
        {"head:a": frozenset({0, 1, 2})}
    ]


def test_a_floor_above_those_that_remain_takes_a_party_out_and_then_another() -> None:
    posed = problem([1] * 5, frozenset({(0, 1), (0, 2)}))
    raised = Problem(
        (Candidate("p0", 1, 4, 1, {}, 0, 1.0, 1.0), *posed.candidates[1:4], Candidate("p4", 1, 5, 1, {}, 0, 1.0, 1.0)),
        posed.apart, 1, {}, posed.alive,
    )  # fmt: skip
    reduced, out = raised.reduced()
    assert reduced.alive == {1, 2, 3}
    assert {party: clause for party, (clause, _) in out.items()} == dict.fromkeys((0, 4), "sums.min_parties")


def test_odd_cycles_are_found_in_walks_that_meet_a_party_twice() -> None:
    assert sorted(_simple([4, 0, 1, 2, 0])) == [0, 1, 2]
    assert sorted(_simple([5, 6, 5, 0, 1])) == [0, 1, 5]
    five = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)]
    assert set(_violated(dict.fromkeys(range(5), 0.0), five)) == {frozenset(range(5))}
    assert not set(_violated(dict.fromkeys(range(5), 0.25), five))
    assert not set(_violated(dict.fromkeys(range(4), 0.0), [(0, 1), (1, 2), (2, 3), (0, 3)]))


problems = st.integers(3, 9).flatmap(
    lambda size: st.builds(
        problem,
        st.lists(st.integers(1, 50), min_size=size, max_size=size),
        st.frozensets(st.sampled_from(list(combinations(range(size), 2))), max_size=12),
        st.integers(3, 4),
    )
)


@settings(max_examples=60, deadline=None)
@given(problems)
def test_the_program_equals_brute_force_and_the_greedy_answer_is_never_better(posed: Problem) -> None:
    reduced, _ = posed.reduced()
    found, optimum = best(reduced), brute(posed)
    assert found.exact
    assert sum(map(posed.value, found.groups)) == found.bound == optimum
    for groups in (found.groups, greedy(reduced, lambda _group: True)):
        taken = [party for group in groups for party in group.members]
        assert len(set(taken)) == len(taken)
        assert sum(map(posed.value, groups)) <= optimum
        for group in groups:
            assert not any(one in group.members and other in group.members for one, other in pairs(posed))
            assert whole(posed, group.members) == group
