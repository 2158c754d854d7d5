from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_policies.model.changes import NEUTRAL_CLAUSES, Direction, changes, is_tightening, signatures
from parley_policies.model.loader import load_policy

from tests.policies.policy_clauses import INCOMPARABLE, NEUTRAL, PAIRS, policy_with
from tests.policies.policy_samples import EXAMPLES
from tests.policies.policy_values import fields


def test_the_tables_name_every_clause() -> None:
    assert sorted([*PAIRS, *INCOMPARABLE, *NEUTRAL]) == sorted(name for name, _ in fields())
    assert set(NEUTRAL) == NEUTRAL_CLAUSES


@pytest.mark.parametrize("name", ["policy-hospital.toml", "policy-insurer.toml"])
def test_the_same_policy_changes_nothing(name: str) -> None:
    policy = load_policy((EXAMPLES / name).read_bytes(), name).policy
    assert changes(policy, policy) == ()
    assert is_tightening(policy, policy)


@pytest.mark.parametrize("clause", sorted(PAIRS))
def test_each_clause_loosens_one_way_and_tightens_the_other(clause: str) -> None:
    stricter, laxer = (policy_with(**{clause: value}) for value in PAIRS[clause])
    (loosened,) = changes(stricter, laxer)
    assert (loosened.clause, loosened.direction) == (clause, Direction.LOOSENS)
    assert not is_tightening(stricter, laxer)
    (tightened,) = changes(laxer, stricter)
    assert (tightened.clause, tightened.direction) == (clause, Direction.TIGHTENS)
    assert is_tightening(laxer, stricter)
    assert (tightened.old, tightened.new) == (loosened.new, loosened.old)
    assert loosened.now != loosened.before
    assert loosened.now in loosened.says
    json.dumps([loosened.old, loosened.new])


@pytest.mark.parametrize("clause", sorted(INCOMPARABLE))
def test_what_cannot_be_compared_loosens_both_ways(clause: str) -> None:
    one, other = (policy_with(**{clause: value}) for value in INCOMPARABLE[clause])
    for old, new in ((one, other), (other, one)):
        (change,) = changes(old, new)
        assert (change.clause, change.direction) == (clause, Direction.LOOSENS)


@pytest.mark.parametrize("clause", sorted(NEUTRAL))
def test_what_permits_nothing_is_neutral(clause: str) -> None:
    one, other = (policy_with(**{clause: value}) for value in NEUTRAL[clause])
    for old, new in ((one, other), (other, one)):
        (change,) = changes(old, new)
        assert (change.clause, change.direction) == (clause, Direction.NEUTRAL)
        assert is_tightening(old, new)


@pytest.mark.parametrize(
    ("clause", "one", "other"),
    [
        ("peers.countries", ["EEA"], ["EU", "NO", "IS", "LI"]),
        ("schemes.accepted", ["masked", "homomorphic"], ["homomorphic", "masked"]),
        ("sharing.record_count", "exact", "rounded:1"),
        ("sharing.segments", {"summary": True, "trunk": True}, {"summary": True, "trunk": True, "norm": False}),
        ("sums.min_parties", {"trunk": 4, "summary": 4, "head:*": 4}, {"trunk": 4, "summary": 4, "head:*": 4, "head:cost": 4}),
    ],
)
def test_another_way_to_write_the_same_is_neutral(clause: str, one: Any, other: Any) -> None:  # noqa: ANN401 - values of any clause
    (change,) = changes(policy_with(**{clause: one}), policy_with(**{clause: other}))
    assert change.direction is Direction.NEUTRAL


@pytest.mark.parametrize("clause", ["peers.countries", "purpose.granted", "approval.policy"])
def test_a_value_replaced_by_another_loosens(clause: str) -> None:
    values = {"peers.countries": ("DE", "FR"), "purpose.granted": ("text:a", "text:b"), "approval.policy": ("role:a", "role:b")}[clause]
    one, other = (policy_with(**{clause: [value]}) for value in values)
    assert not is_tightening(one, other)
    assert not is_tightening(other, one)


@given(st.sets(st.sampled_from(sorted(PAIRS.keys() - {"sums.min_parties"})), min_size=1, max_size=8), st.data())
def test_one_loosening_among_many_tightenings_is_found(clauses: set[str], data: st.DataObject) -> None:
    loosened = data.draw(st.sampled_from(sorted(clauses)))
    old = policy_with(**{name: PAIRS[name][0 if name == loosened else 1] for name in clauses})
    new = policy_with(**{name: PAIRS[name][1 if name == loosened else 0] for name in clauses})
    assert [change.clause for change in changes(old, new) if change.direction is Direction.LOOSENS] == [loosened]
    assert not is_tightening(old, new)


def test_a_smaller_floor_lowers_the_derived_number_of_conspirators_as_well() -> None:
    text = (EXAMPLES / "policy-hospital.toml").read_text().replace("colluding_parties_survived = 1 ", "# ")
    old, new = (load_policy(text.replace('trunk = 4, "head:*" = 3', f'trunk = 5, "head:*" = {floor}').encode()).policy for floor in (4, 3))
    assert [(change.clause, change.direction) for change in changes(old, new)] == [
        ("schemes.colluding_parties_survived", Direction.LOOSENS),
        ("sums.min_parties", Direction.LOOSENS),
    ]


def test_lists_say_what_was_added_and_removed() -> None:
    old = policy_with(**{"purpose.granted": ["dpv:ScientificResearch", "text:old"], "sharing.segments": {"trunk": True, "summary": True}})
    new = policy_with(**{"purpose.granted": ["dpv:ScientificResearch", "text:two words"], "sharing.segments": {"summary": True}})
    granted, segments = changes(old, new)
    assert (granted.added, granted.removed) == (("“text:two words”",), ("text:old",))
    assert (segments.added, segments.removed) == ((), ("trunk",))


X, Y, Z = "role:x", "role:y", "role:z"


@pytest.mark.parametrize(
    ("old", "new", "all_of", "any_of"),
    [
        ({"policy": [X, Y]}, {"policy": [X, Y], "loosen": True}, (X, Y), ()),
        ({"policy": [X, Y]}, {"policy": [X, Y], "tighten": True}, (), (X, Y)),
        ({"policy": [X, Y]}, {"policy": [X, Y], "tighten": True, "loosen": True}, (X, Y), ()),
        ({"policy": [X, Y]}, {"policy": [X]}, (X, Y), ()),
        ({"policy": [X]}, {"policy": [X, Y]}, (X, Y), ()),
        ({"policy": [X]}, {"policy": [X], "agreement": [Z]}, (X,), ()),
        ({"policy": [X, Y], "all": False}, {"policy": [X, Y], "all": False, "loosen": True}, (), (X, Y)),
        ({"policy": [X], "all": False}, {"policy": [Y], "all": False}, (X, Y), ()),
        ({"policy": []}, {"policy": [], "loosen": True}, (), ()),
        ({"policy": [X]}, {"policy": [X]}, (), (X,)),
    ],
)
def test_who_must_sign(old: dict[str, Any], new: dict[str, Any], all_of: tuple[str, ...], any_of: tuple[str, ...]) -> None:
    def policy(wanted: dict[str, Any]) -> Any:  # noqa: ANN401 - a policy
        return policy_with(
            **{
                "approval.policy": wanted["policy"],
                "approval.agreement": wanted.get("agreement", []),
                "approval.loosening_needs_all": wanted.get("all", True),
                "limits.rounds_a_study": 90 if wanted.get("loosen") else 60,
                "data.min_people": 90 if wanted.get("tighten") else 60,
            }
        )

    found = signatures(policy(old), policy(new))
    assert (found.all_of, found.any_of) == (all_of, any_of)
    assert all(role in str(found) for role in (*all_of, *any_of))
    assert ("nobody has to sign" in str(found)) == (not all_of and not any_of)
