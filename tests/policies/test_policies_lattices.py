from __future__ import annotations

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_policies.model.lattices import SCALES, Lattice, combined, is_within, normal
from parley_policies.model.protection import ClipRange, LifetimeBudget, MetricReaders
from parley_policies.model.upheld import Section, enforced, lattice_of, upheld_of
from pydantic import Field

from docs.generate import LAXER_DEFAULTS
from tests.policies.policy_values import fields, values_of

FIELDS = dict(fields())
OWN = {name for name, field in FIELDS.items() if lattice_of(field) is Lattice.OWN}
MET = sorted(FIELDS.keys() - OWN)


def test_every_clause_declares_its_lattice() -> None:
    assert len(FIELDS) > 60
    assert all(lattice_of(field) in Lattice for field in FIELDS.values())


def test_a_clause_without_lattice_is_caught() -> None:
    class Careless(Section):
        clause: Annotated[int, Field(json_schema_extra={"upheld": "declared"})] = 3
        other: Annotated[int, enforced("A clause.", lattice=Lattice.SMALLEST)] = 3

    with pytest.raises(LookupError):
        lattice_of(Careless.model_fields["clause"])
    assert lattice_of(Careless.model_fields["other"]) is Lattice.SMALLEST
    assert upheld_of(Careless.model_fields["other"])


def test_only_what_is_nobody_elses_is_never_combined() -> None:
    assert {name for name in OWN if not name.startswith("legal.")} == {
        "identity.party",
        "identity.version",
        "identity.supersedes",
        "identity.profile",
        "peers.fingerprints",
        "retention.legal_hold",
    }
    with pytest.raises(ValueError, match="never combined"):
        combined(Lattice.OWN, "a", "a")
    assert is_within(Lattice.OWN, "a", "a")
    assert not is_within(Lattice.OWN, "a", "b")


@pytest.mark.parametrize("name", MET)
@given(data=st.data())
def test_meet_laws_hold_for_every_clause(name: str, data: st.DataObject) -> None:
    lattice = lattice_of(FIELDS[name])
    a, b, c = (data.draw(values_of(FIELDS[name])) for _ in range(3))
    assert combined(lattice, a, b) == combined(lattice, b, a)
    assert combined(lattice, combined(lattice, a, b), c) == combined(lattice, a, combined(lattice, b, c))
    assert combined(lattice, a, a) == normal(lattice, a)
    assert normal(lattice, normal(lattice, a)) == normal(lattice, a)


@pytest.mark.parametrize("name", MET)
@given(data=st.data())
def test_within_is_a_partial_order_below_both(name: str, data: st.DataObject) -> None:
    lattice = lattice_of(FIELDS[name])
    a, b, c = (data.draw(values_of(FIELDS[name])) for _ in range(3))
    both = combined(lattice, a, b)
    assert is_within(lattice, a, a)
    assert is_within(lattice, both, a)
    assert is_within(lattice, both, b)
    if is_within(lattice, a, b) and is_within(lattice, b, a):
        assert normal(lattice, a) == normal(lattice, b)
    if is_within(lattice, a, b) and is_within(lattice, b, c):
        assert is_within(lattice, a, c)
    if is_within(lattice, c, a) and is_within(lattice, c, b):
        assert is_within(lattice, c, both), "the meet is the greatest value below both"


@pytest.mark.parametrize(
    ("lattice", "stricter", "laxer"),
    [
        (Lattice.COUNTRIES, ("EU",), ("EEA",)),
        (Lattice.COUNTRIES, ("DE", "NO"), ("EEA", "US")),
        (Lattice.MEANING, ("dpv:ScientificResearch",), ("dpv:ResearchAndDevelopment", "DUO:0000006")),
        (Lattice.MEANING_OR_ANY, ("MONDO:0005252",), ()),
        (Lattice.MEANING_OR_ANY, ("MONDO:0005009",), ("MONDO:0005252",)),
        (Lattice.PROHIBITED, ("dpv:Marketing", "text:sale"), ("dpv:Advertising", "text:sale")),
        (Lattice.LARGEST, None, 10_000),
        (Lattice.SMALLEST, 10_000, None),
        (Lattice.FLOORS, {"trunk": 3}, 3),
        (Lattice.FLOORS, 4, {"trunk": 4, "head:*": 3}),
        (Lattice.FLOORS, {"head:cost": 5, "head:*": 4}, {"head:*": 4}),
        (Lattice.GRANTS, {"trunk": True}, {"trunk": True, "head:*": True}),
        (Lattice.GRANTS, {"head:*": True, "head:cost": False}, {"head:*": True}),
        (Lattice.COARSEST, "rounded:500", "rounded:100"),
        (Lattice.COARSEST, "hidden", "rounded:100"),
        (Lattice.COARSEST, "rounded:7", "exact"),
        (Lattice.METRICS, "none", "sum-only"),
        (Lattice.METRICS, MetricReaders(to=("role:auditor",)), MetricReaders(to=("role:auditor", "role:ciso"))),
        (Lattice.HOURS, "22:00-04:00 Europe/Berlin", "20:00-06:00 Europe/Berlin"),
        (Lattice.HOURS, "22:00-04:00 Europe/Berlin", None),
        (Lattice.TABLE, ClipRange(min=0.2, max=1.0), ClipRange(min=0.1, max=2.0)),
        (Lattice.TABLE, None, ClipRange(min=0.1, max=2.0)),
        (
            Lattice.TABLE,
            LifetimeBudget(epsilon=1.0, delta=1e-6, dataset="d", years=5),
            LifetimeBudget(epsilon=2.0, delta=1e-6, dataset="d", years=3),
        ),
    ],
)
def test_stricter_values_are_within_laxer_ones(lattice: Lattice, stricter: object, laxer: object) -> None:
    if lattice is Lattice.FLOORS and stricter == 4:  # a number for every segment grants more segments than a table does
        assert not is_within(lattice, stricter, laxer)
        assert is_within(lattice, {"trunk": 4, "head:*": 4}, laxer)
        return
    assert is_within(lattice, stricter, laxer)
    assert not is_within(lattice, laxer, stricter)


@pytest.mark.parametrize(
    ("lattice", "one", "other", "both"),
    [
        (Lattice.COARSEST, "rounded:100", "rounded:30", "rounded:300"),
        (Lattice.MEANING, ("dpv:CommercialPurpose",), ("dpv:ResearchAndDevelopment",), ("dpv:CommercialResearch",)),
        (Lattice.METRICS, "sum-only", MetricReaders(to=("role:auditor",)), "none"),
        (Lattice.TABLE, ClipRange(min=0.1, max=1.0), ClipRange(min=2.0, max=3.0), None),
        (Lattice.TABLE, ClipRange(min=0.1, max=2.0), ClipRange(min=0.5, max=3.0), ClipRange(min=0.5, max=2.0)),
        (Lattice.HOURS, "20:00-06:00 Europe/Berlin", "08:00-17:00 America/New_York", "08:00-08:01 Europe/Berlin"),
    ],
)
def test_what_does_not_fit_together_meets_in_the_strictest(lattice: Lattice, one: Any, other: Any, both: Any) -> None:  # noqa: ANN401
    if lattice is Lattice.HOURS:
        assert combined(lattice, one, other) == ("", frozenset())
        assert is_within(lattice, combined(lattice, one, other), both)
        return
    assert combined(lattice, one, other) == normal(lattice, both)


def test_lists_without_a_common_value_do_not_become_any() -> None:
    nothing = combined(Lattice.MEANING_OR_ANY, ("MONDO:1",), ("MONDO:2",))
    assert nothing == frozenset()
    assert combined(Lattice.MEANING_OR_ANY, nothing, ()) == frozenset()


def test_every_scale_names_each_word_of_its_clause_once() -> None:
    from typing import get_args  # noqa: PLC0415

    for name, field in FIELDS.items():
        if words := SCALES.get(lattice_of(field)):
            assert sorted(words) == sorted(get_args(field.annotation)), name


@pytest.mark.parametrize("name", MET)
@given(data=st.data())
def test_every_default_is_the_strictest_value(name: str, data: st.DataObject) -> None:
    field = FIELDS[name]
    if field.is_required() or name in LAXER_DEFAULTS:
        return
    if name == "schemes.colluding_parties_survived":
        return  # derived from the floors: see test_absent_fields_take_their_strictest_value
    default = field.get_default(call_default_factory=True)
    assert is_within(lattice_of(field), default, data.draw(values_of(field)))


def test_the_list_of_laxer_defaults_is_true() -> None:
    for name in LAXER_DEFAULTS:
        field = FIELDS[name]
        default = field.get_default(call_default_factory=True)
        stricter = {
            "limits.hours": "20:00-06:00 Europe/Berlin",
            "purpose.diseases": ("MONDO:1",),
            "data.minimum_fairness_check": ("age",),
            "model_use.forbidden": ("sale",),
            "schemes.key_bits_at_least": 8192,
        }.get(name, 1)
        assert not is_within(lattice_of(field), default, stricter), name
        assert is_within(lattice_of(field), stricter, default), name
