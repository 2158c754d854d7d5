from __future__ import annotations

import math
from dataclasses import fields, replace
from datetime import date
from itertools import permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from parley_policies.model.lattices import Lattice
from parley_policies.negotiation.meet import Bounds, lattice_of, meet, meet_all

from tests.policies.policy_samples import IDS, Federation, changed

names = st.sampled_from(["summary", "trunk", "head:cost", "head:illness"])
parties = st.sampled_from(IDS)
portions = st.floats(0.01, 1.0)
STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "schemes": st.frozensets(st.sampled_from(["masked", "homomorphic"])),
    "gateway_may_lie": st.booleans(),
    "max_colluders": st.integers(0, 9),
    "max_small_changes": st.integers(0, 9),
    "clip_min": st.floats(0, 9),
    "clip_max": st.floats(0, 9),
    "rounds": st.integers(1, 99),
    "robustness": st.sampled_from(["R0", "R1", "R2"]),
    "opened_sums_readable_by": st.sampled_from(["gateway", "parties"]),
    "exclusions_required": st.booleans(),
    "valid_until": st.dates(date(2027, 1, 1), date(2028, 1, 1)),
    "floors": st.dictionaries(names, st.integers(3, 9)),
    "weight_caps": st.dictionaries(parties, portions),
    "mib_a_round": st.dictionaries(parties, portions),
}
bounds = st.builds(Bounds, **STRATEGIES)


def test_every_field_declares_its_lattice() -> None:
    assert {item.name for item in fields(Bounds)} == set(STRATEGIES)
    assert all(lattice_of(item.name) in Lattice for item in fields(Bounds))


@given(bounds, bounds, bounds)
def test_meet_is_a_semilattice(a: Bounds, b: Bounds, c: Bounds) -> None:
    assert meet(a, b) == meet(b, a)
    assert meet(meet(a, b), c) == meet(a, meet(b, c))
    assert meet(a, a) == a
    assert meet(a, Bounds()) == a
    assert meet_all([]) == Bounds()


@given(bounds, bounds)
def test_meet_only_tightens(a: Bounds, b: Bounds) -> None:
    both = meet(a, b)
    assert meet(both, a) == both
    assert both.schemes <= a.schemes
    assert both.max_colluders >= a.max_colluders
    assert both.clip_max <= a.clip_max
    assert both.clip_min >= a.clip_min
    assert both.valid_until <= a.valid_until
    assert all(both.floors[name] >= floor for name, floor in a.floors.items())
    assert all(both.weight_caps[name] <= cap for name, cap in a.weight_caps.items())


def test_without_offers_everything_is_permitted() -> None:
    assert Bounds().rounds == math.inf
    assert Bounds().schemes == {"masked", "homomorphic"}


def test_offers_meet_the_same_in_any_order() -> None:
    federation = Federation.of(IDS[:4], {"b-clinic": {"max_small_changes": 0}, "c-clinic": {"min_parties": 4, "clip_max": 1.5}})
    offers = federation.offers()
    together = frozenset(IDS[:4])
    met = {meet_all(Bounds.of(offer, together) for offer in order).max_small_changes for order in permutations(offers)}
    assert met == {0}
    first = meet_all(Bounds.of(offer, together) for offer in offers)
    assert all(meet_all(Bounds.of(offer, together) for offer in order) == first for order in permutations(offers))
    assert first.floors == {"summary": 4, "trunk": 4, "head:illness": 4, "head:cost": 3}


def test_phantoms_raise_floors_and_conspirators() -> None:
    offer = changed(Federation.of(IDS[:4]).offer("a-clinic"), uncounted=("c-clinic", "d-fund"))
    assert Bounds.of(offer, frozenset(IDS[:4])).max_colluders == 3
    assert Bounds.of(offer, frozenset(IDS[:4])).floors["trunk"] == 5
    assert Bounds.of(offer, frozenset(IDS[:3])).floors["trunk"] == 4
    assert Bounds.of(offer, frozenset(IDS[:2])).floors["trunk"] == 3


@given(bounds)
def test_a_changed_field_changes_the_meet_of_itself(a: Bounds) -> None:
    tighter = replace(a, max_colluders=a.max_colluders + 1)
    assert meet(a, tighter) == tighter
