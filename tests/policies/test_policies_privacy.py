"""Several ε in one cohort: bounds from the accountant's own formulas, and terms that give a member less than it demands are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log, sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_policies.errors import Conflict, Refused
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.offer import Offer, OfferedPrivacy
from parley_policies.negotiation.privacy import privacy_of, reach, rho_of
from parley_policies.negotiation.terms import Terms

from tests.policies.policy_samples import IDS, TODAY, Federation, changed

ASSUMED = frozenset({"differential_privacy.required", "differential_privacy.per_study"})
LEVELS = (0.5, 1.0, 2.0, 8.0)


@given(st.floats(0.01, 50), st.floats(1e-9, 0.1))
def test_rho_gives_epsilon_back(epsilon: float, delta: float) -> None:
    rho = rho_of(epsilon, delta)
    assert rho + 2 * sqrt(rho * log(1 / delta)) == pytest.approx(epsilon)


def federation(levels: Sequence[float | None], ratio: float = 100.0) -> Federation:
    """Return parties that demand these ε; None demands nothing."""
    ids = IDS[: len(levels)]
    edits: dict[str, Mapping[str, str]] = {}
    for party, epsilon in zip(ids, levels, strict=True):
        demand = (
            ""
            if epsilon is None
            else f"\nper_study = {{ epsilon = {epsilon}, delta = 1e-6 }}\nunit = 'person'\nadjacency = 'add-or-remove-one'"
        )
        edits[party] = {
            "required": f"required = {'false' if epsilon is None else 'true'}{demand}",
            "weight_cap": f"weight_cap = 0.9\nmax_weight_ratio = {ratio}",
            "weight_cap_of_others": "weight_cap_of_others = 0.9",
        }
    return Federation.of(ids, None, edits)


def offers_of(drawn: Federation) -> list[Offer]:
    return [drawn.offer(party, assume=ASSUMED) for party in drawn.texts]


def terms_for(drawn: Federation) -> Terms:
    return drawn.together(offers_of(drawn))


def check(drawn: Federation, party: str, terms: Terms, **arguments: Any) -> None:  # noqa: ANN401 - any argument
    offer = drawn.offer(party, assume=ASSUMED)
    check_terms(drawn.policy(party).policy, terms, drawn.proposal, offer, drawn.members, **{"today": TODAY, "assume": ASSUMED, **arguments})


def test_each_member_loses_what_it_grants_and_no_more() -> None:
    drawn = federation(LEVELS)
    terms = terms_for(drawn)
    assert terms.privacy is not None
    rounds = sum(step.rounds for step in terms.steps)
    for epsilon, bound in zip(LEVELS, terms.privacy.clip_bounds, strict=True):
        rho = rounds * bound**2 / (2 * terms.privacy.noise**2)
        assert rho + 2 * sqrt(rho * log(1e6)) == pytest.approx(epsilon)
    assert max(terms.privacy.clip_bounds) == terms.clip_bound
    for party in drawn.texts:
        check(drawn, party, terms)


def test_noise_relative_to_what_is_summed_is_far_below_the_strictest_epsilon_for_all() -> None:
    terms = terms_for(federation(LEVELS))
    strict = terms_for(federation((0.5, 0.5, 0.5, 0.5)))
    assert terms.privacy is not None
    assert strict.privacy is not None
    mine, others = (each.noise / sum(each.clip_bounds) for each in (terms.privacy, strict.privacy))
    assert others / mine > 4


def test_a_ratio_bounds_how_far_the_lax_outweigh_the_strict() -> None:
    terms = terms_for(federation((0.5, 8.0, 8.0, None), ratio=3.0))
    assert terms.privacy is not None
    bounds = terms.privacy.clip_bounds
    assert max(bounds) / min(bounds) == pytest.approx(3.0)
    assert bounds[3] == max(bounds)
    drawn = federation((0.5, 8.0, 8.0, None), ratio=3.0)
    for party in drawn.texts:
        check(drawn, party, terms)


@given(
    st.lists(st.tuples(st.none() | st.floats(0.1, 20), st.floats(1, 30)), min_size=2, max_size=8).filter(
        lambda rows: any(row[0] is not None for row in rows)
    ),
    st.integers(1, 200),
)
def test_bounds_are_the_largest_that_keep_every_demand_and_ratio(rows: list[tuple[float | None, float]], rounds: int) -> None:
    base = Federation.of(IDS[:3]).offer(IDS[0])
    offers = [
        base.model_copy(
            update={
                "party": f"p{number}",
                "clip_bound": base.clip_bound.model_copy(update={"min": 1e-300}),
                "max_weight_ratio": ratio,
                "privacy": None
                if epsilon is None
                else OfferedPrivacy(unit="record", adjacency="replace-one", epsilon=epsilon, delta=1e-5, noise_trust="self"),
            }
        )
        for number, (epsilon, ratio) in enumerate(rows)
    ]
    found = privacy_of(offers, 1.0, rounds)
    assert found is not None
    near, bounds = 1 + 1e-9, found.clip_bounds
    assert max(bounds) == 1.0
    most = min(ratio * bound for (_, ratio), bound in zip(rows, bounds, strict=True))
    for (epsilon, _), bound in zip(rows, bounds, strict=True):
        limits = [most] if epsilon is None else [most, found.noise * reach(epsilon, 1e-5, rounds)]
        assert bound <= min(limits) * near
        assert bound * near >= min(limits)


def test_the_strongest_unit_and_the_smallest_delta_stand_for_all() -> None:
    offers = [changed(offer, clip_bound={"min": 1e-6, "max": 1.0}) for offer in offers_of(federation(LEVELS))]
    assert offers[0].privacy is not None
    offers[0] = changed(offers[0], privacy={**offers[0].privacy.model_dump(), "unit": "party", "delta": 1e-9, "adjacency": "replace-one"})
    found = privacy_of(offers, 1.0, 10)
    assert found is not None
    assert (found.unit, found.adjacency, found.delta) == ("party", "replace-one", 1e-9)


def test_a_bound_below_what_a_member_accepts_is_a_conflict() -> None:
    drawn = federation((0.05, 20.0, 20.0, 20.0))
    offers = [changed(offer, clip_bound={"min": 0.5, "max": 1.0}) for offer in offers_of(drawn)]
    with pytest.raises(Conflict, match=r"sharing\.clip_bound: wanted at least 0.5"):
        privacy_of(offers, 1.0, 40)


@pytest.mark.parametrize(
    ("lie", "clause"),
    [
        ({"noise": 0.01}, "differential_privacy.per_study"),
        ({"delta": 1e-3}, "differential_privacy.per_study"),
        ({"unit": "record"}, "differential_privacy.unit"),
        ({"noise_trust": "cohort"}, "differential_privacy.noise_trust"),
    ],
)
def test_terms_with_less_protection_than_demanded_are_refused(lie: dict[str, Any], clause: str) -> None:
    drawn = federation(LEVELS)
    terms = terms_for(drawn)
    assert terms.privacy is not None
    lying = changed(terms, privacy={**terms.privacy.model_dump(), **lie})
    with pytest.raises(Refused) as refused:
        check(drawn, IDS[0], lying)
    assert refused.value.clause == clause


def test_terms_with_bounds_of_others_or_without_noise_are_refused() -> None:
    drawn = federation(LEVELS, ratio=20.0)
    terms = terms_for(drawn)
    assert terms.privacy is not None
    first, *rest = terms.privacy.clip_bounds
    for bounds, clause in (
        ((first * 2, *rest), "differential_privacy.per_study"),
        ((first / 20, *rest), "sharing.max_weight_ratio"),
        ((first, *rest[:-1]), "terms.privacy.clip_bounds"),
        ((first, *rest[:-1], rest[-1] * 2), "terms.privacy.clip_bounds"),
    ):
        with pytest.raises(Refused) as refused:
            check(drawn, IDS[0], changed(terms, privacy={**terms.privacy.model_dump(), "clip_bounds": bounds}))
        assert refused.value.clause == clause
    with pytest.raises(Refused, match="terms without noise"):
        check(drawn, IDS[0], changed(terms, privacy=None))


def test_this_version_signs_no_terms_with_noise() -> None:
    """Neither a member that demands it, which makes no offer at all, nor one that does not."""
    drawn = federation((1.0, 1.0, 1.0, None), ratio=10.0)
    terms = terms_for(drawn)
    with pytest.raises(Refused, match="this version adds no noise") as refused:
        check(drawn, IDS[3], terms, assume=frozenset())
    assert refused.value.clause == "differential_privacy.required"
    with pytest.raises(Refused, match=r"differential_privacy\.required"):
        drawn.offer(IDS[0])


def test_without_demands_there_is_no_noise() -> None:
    drawn = federation((None, None, None))
    assert terms_for(drawn).privacy is None
    assert replace(drawn).terms().privacy is None
