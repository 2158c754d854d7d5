"""A new version of a policy that counts as tightening permits nothing that the old one did not: held against an independent judge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from parley_policies.model.changes import Direction, changes, is_tightening
from parley_policies.model.loader import load_policy

from tests.policies.policy_federations import Case, Clauses, cases
from tests.policies.policy_oracle import broken_rules
from tests.policies.policy_outcomes import examples, outcome_of
from tests.policies.policy_samples import TODAY, policy_text

TAKEN = ("weight_cap", "mib", "rounds", "withheld", "denied", "lying", "classes", "countries", "purposes", "pins", "readers")


def budgeted(*, required: bool, budget: str) -> str:
    edits = {"required": f"required = {str(required).lower()}\n{budget}"}
    return policy_text("a-clinic", edits)


@pytest.mark.parametrize(
    "budget",
    [
        "per_study = { epsilon = 1.0, delta = 1e-6 }",
        'lifetime = { dataset = "visits", epsilon = 1.0, delta = 1e-6, years = 5 }',
    ],
)
def test_to_take_a_budget_away_loosens_unless_noise_is_required(budget: str) -> None:
    """Where noise is not required, the budget is what asks for it: without it, studies without any noise would do."""

    def directions(old: str, new: str) -> set[Direction]:
        loaded = [load_policy(text.encode(), "policy.toml").policy for text in (old, new)]
        return {change.direction for change in changes(*loaded)}

    assert directions(budgeted(required=False, budget=budget), budgeted(required=False, budget="")) == {Direction.LOOSENS}
    assert directions(budgeted(required=True, budget=budget), budgeted(required=True, budget="")) == {Direction.TIGHTENS}
    assert directions(budgeted(required=False, budget=""), budgeted(required=False, budget=budget)) == {Direction.LOOSENS}
    assert Direction.LOOSENS in directions(budgeted(required=True, budget=budget), budgeted(required=False, budget=""))


@examples(60)
@given(cases(least=4, most=8), st.data())
def test_what_counts_as_tightening_permits_nothing_new(case: Case, data: st.DataObject) -> None:
    """Whatever the new version may sign, the old one might have signed, by every rule that the oracle knows."""
    outcome = outcome_of(case)
    if outcome is None:
        return
    terms = outcome.terms[0]
    party = data.draw(st.sampled_from([member.party for member in terms.members]))
    new = case.sides[party].clauses
    old = data.draw(old_versions(case, party))
    before, after = (load_policy(clauses.text(party).encode(), party).policy for clauses in (old, new))
    event("tightening" if is_tightening(before, after) else "loosening")
    if is_tightening(before, after):
        table = case.with_clauses(party, old).tables()[party]
        table["sharing"]["record_count"] = new.record_count  # told coarser than it might be: no rule of the old one is broken
        assert broken_rules(table, terms.model_dump(mode="json"), case.asked(), case.listed(), TODAY) == []


@st.composite
def old_versions(draw: st.DrawFn, case: Case, party: str) -> Clauses:
    """Draw policies near a party's own: laxer in some clauses, or taken over from another party in some."""
    clauses = case.sides[party].clauses
    for _ in range(draw(st.integers(1, 3))):
        if laxer := [found for _, found in clauses.looser()]:
            clauses = draw(st.sampled_from(laxer))
    other = draw(st.sampled_from(list(case.sides.values()))).clauses
    names = draw(st.sets(st.sampled_from(TAKEN), max_size=1))
    return replace(clauses, **{name: getattr(other, name) for name in names})
