"""Optimality: the value of a negotiation is the best there is, to loosen a clause never lowers it, nobody could have been added.

See `policy_outcomes` for how hard these properties are tried.
"""

from __future__ import annotations

from typing import Final

from hypothesis import event, given, note
from hypothesis import strategies as st

from tests.policies.policy_federations import Case, cases
from tests.policies.policy_outcomes import brute_of, cohorts_of, examples, outcome_of

BOUND_NOTHING: Final = ("small_changes", "readers", "valid_until")  # a term follows them, and nobody is left out over them


@examples(50)
@given(cases(least=5, most=8))
def test_the_value_is_the_best_there_is(case: Case) -> None:
    outcome, brute = outcome_of(case), brute_of(case)
    best = brute.optimum()
    event("no cohort" if outcome is None else f"{len(outcome.terms)} cohorts")
    assert (0 if outcome is None else outcome.value) == best
    if outcome is not None:
        assert (outcome.method, outcome.bound) == ("exact", best)
        assert sum(brute.worth(shared) for _, shared in cohorts_of(outcome)) == best


@examples(40)
@given(cases(least=5, hidden=False), st.data())
def test_to_loosen_a_clause_never_lowers_the_value(case: Case, data: st.DataObject) -> None:
    """With all counts told: a hidden one weighs as the lowest told, which a party that joins may lower."""
    party = data.draw(st.sampled_from(sorted(case.sides)))
    laxer = [(clause, clauses) for clause, clauses in case.sides[party].clauses.looser() if clause not in BOUND_NOTHING]
    if not laxer:
        return
    clause, clauses = data.draw(st.sampled_from(laxer))
    note(f"{party} loosens {clause}")
    before, after = outcome_of(case), outcome_of(case.with_clauses(party, clauses))
    event(f"{clause}: {'gained' if (after.value if after else 0) > (before.value if before else 0) else 'the same'}")
    assert (after.value if after else 0) >= (before.value if before else 0)


@examples(50)
@given(cases())
def test_nobody_left_out_could_have_been_added(case: Case) -> None:
    outcome = outcome_of(case)
    if outcome is None or not outcome.out:
        return
    brute = brute_of(case)
    for left in outcome.out:
        for members, shared in cohorts_of(outcome):
            assert not brute.could_join(left.party, members, shared), f"{left.party} could have joined {sorted(members)}"
