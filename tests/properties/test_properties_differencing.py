"""Differencing against an oracle written apart: it tries combinations of sums one by one instead of computing ranks."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from parley_policies.enforcement.differencing import is_small_change, isolated
from parley_protocol.certificates import Chain, OpenedList, openable

from tests.simulator import first_cohort, make_terms, party_ids

MEMBERS = "abcdefgh"
LISTS = st.lists(st.frozensets(st.sampled_from(MEMBERS), min_size=1), max_size=4)
FEWEST = st.integers(1, 4)


def tried(sums: list[frozenset[str]], fewest: int) -> frozenset[str] | None:
    """Return members that some combination of at most four sums depends on alone, by trying coefficients from -2 to 2.

    That is exhaustive: the combinations that vanish outside a set are spanned by ones whose coefficients are, up to a common factor, minors
    of a 0/1 matrix of at most 3 × 3 (Cramer's rule), and no such minor exceeds 2.
    """
    assert len(sums) <= 4
    everyone = sorted(frozenset[str]().union(*sums))
    matrix = np.array([[member in members for member in everyone] for members in sums], dtype=int).reshape(len(sums), len(everyone))
    for coefficients in product(range(-2, 3), repeat=len(sums)):
        support = np.flatnonzero(np.array(coefficients, dtype=int) @ matrix)
        if 0 < support.size < fewest:
            return frozenset(everyone[index] for index in support)
    return None


@given(LISTS, FEWEST)
def test_exact_rank_agrees_with_trying_every_combination(sums: list[frozenset[str]], fewest: int) -> None:
    found, expected = isolated(sums, fewest), tried(sums, fewest)
    assert (found is None) == (expected is None)


@given(LISTS, FEWEST)
def test_what_is_said_to_be_isolated_is_so(sums: list[frozenset[str]], fewest: int) -> None:
    found = isolated(sums, fewest)
    assume(found is not None)
    assert found is not None
    assert 0 < len(found) < fewest
    everyone = sorted(frozenset[str]().union(*sums))
    inside = {everyone.index(member) for member in found}
    matrix = np.array([[member in members for member in everyone] for members in sums], dtype=int)
    supports = (set(np.flatnonzero(np.array(row, dtype=int) @ matrix)) for row in product(range(-2, 3), repeat=len(sums)))
    assert any(support and support <= inside for support in supports)


@given(LISTS, FEWEST, st.data())
def test_neither_order_nor_names_nor_repetition_matter(sums: list[frozenset[str]], fewest: int, data: st.DataObject) -> None:
    names = dict(zip(MEMBERS, data.draw(st.permutations(MEMBERS)), strict=True))
    other = [frozenset(names[member] for member in members) for members in data.draw(st.permutations(sums))]
    repeated = other + other[:2]
    assert (isolated(sums, fewest) is None) == (isolated(repeated, fewest) is None)


@given(LISTS, FEWEST, st.frozensets(st.sampled_from(MEMBERS), min_size=1))
def test_another_sum_never_hides_what_was_isolated(sums: list[frozenset[str]], fewest: int, more: frozenset[str]) -> None:
    if isolated(sums, fewest) is not None:
        assert isolated([*sums, more], fewest) is not None


@given(LISTS, FEWEST)
def test_a_larger_floor_isolates_no_less(sums: list[frozenset[str]], fewest: int) -> None:
    if isolated(sums, fewest) is not None:
        assert isolated(sums, fewest + 1) is not None


@given(
    st.lists(st.frozensets(st.sampled_from(MEMBERS), min_size=1), max_size=6), st.frozensets(st.sampled_from(MEMBERS), min_size=1), FEWEST
)
def test_a_small_change_is_one_from_the_last_list_or_for_a_new_list_from_any(
    earlier: list[frozenset[str]], new: frozenset[str], fewest: int
) -> None:
    distances = [len(new - old) + len(old - new) for old in earlier]
    near = [0 < distance < fewest for distance in distances]
    expected = any(near) if new not in earlier else bool(near) and near[-1]
    assert is_small_change(earlier, new, fewest) is expected


@given(st.lists(st.sets(st.integers(0, 7), min_size=6), min_size=1, max_size=8), st.integers(0, 3), st.booleans())
def test_a_chain_never_opens_what_isolates_and_never_exceeds_its_allowance(lists: list[set[int]], allowed: int, same: bool) -> None:  # noqa: FBT001
    """Offer list after list; whatever opens, all sums from one parameters together isolate nobody, and small changes stay in number."""
    terms = make_terms(8, small_changes=allowed)
    ids = party_ids(8)
    chain = Chain.start(terms.digest())
    for number, chosen in enumerate(lists, start=1):
        members = frozenset(ids[index] for index in chosen)
        parameters = f"{0 if same else number:064x}"
        if openable(first_cohort(terms), chain, parameters, members):
            opened = (*chain.opened, OpenedList("trunk", members, parameters))
            chain = Chain(chain.agreement, f"{number:064x}", number, chain.bases, opened)
    for parameters in {item.parameters for item in chain.opened}:
        sums = list(dict.fromkeys(item.members for item in chain.opened if item.parameters == parameters))
        if len(sums) <= 4:
            assert tried(sums, 3) is None
    changes = sum(is_small_change(chain.lists("trunk")[:index], members, 3) for index, members in enumerate(chain.lists("trunk")))
    assert changes == chain.small_changes("trunk", 3) <= allowed
