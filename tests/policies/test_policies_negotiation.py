"""Soundness and order: what a negotiation gives, every member and an independent judge accept, in whatever order and by whatever names.

See `policy_outcomes` for how hard these properties are tried.
"""

from __future__ import annotations

from hypothesis import event, given
from hypothesis import strategies as st
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.terms import Terms

from tests.policies.policy_federations import Case, cases
from tests.policies.policy_oracle import broken_split, refusals
from tests.policies.policy_outcomes import examples, outcome_of
from tests.policies.policy_samples import TODAY


@examples(25)
@given(cases())
def test_an_offer_is_made_where_the_policy_permits_the_study(case: Case) -> None:
    tables, offering = case.tables(), {offer.party for offer in case.offers()}
    for party, policy in tables.items():
        found = refusals(policy, case.asked(), case.gateway(), case.listed(), TODAY, case.facts(party))
        assert (party in offering) == (not found), f"{party}: {found}"


@examples(50)
@given(cases())
def test_every_member_and_the_oracle_accept_every_cohort(case: Case) -> None:
    offers = {offer.party: offer for offer in case.offers()}
    outcome = outcome_of(case, list(offers.values()))
    event("no cohort" if outcome is None else f"{len(outcome.terms)} cohorts, {min(2, len(outcome.out))} or more out")
    if outcome is None:
        return
    tables, plain = case.tables(), [terms.model_dump(mode="json") for terms in outcome.terms]
    offered = {party: tables[party] for party in offers}
    assert broken_split(offered, plain, [left.party for left in outcome.out], case.asked(), case.listed(), TODAY) == []
    federation = case.federation()
    for terms in outcome.terms:
        assert Terms.parse(terms.canonical()) == terms
        for member in terms.members:
            policy = federation.policy(member.party).policy
            check_terms(policy, terms, case.proposal, offers[member.party], case.directory, today=TODAY)


@examples(25)
@given(cases(), st.data())
def test_order_changes_nothing(case: Case, data: st.DataObject) -> None:
    offers = case.offers()
    assert outcome_of(case, offers) == outcome_of(case, data.draw(st.permutations(offers)))


@examples(25)
@given(cases(), st.data())
def test_names_do_not_matter(case: Case, data: st.DataObject) -> None:
    """The same policies under other names are worth the same: only ties are broken by name."""
    names = list(case.sides)
    renamed = dict(zip(names, data.draw(st.permutations(names)), strict=True))
    first, second = outcome_of(case), outcome_of(case.renamed(renamed))
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert (first.value, first.method) == (second.value, second.method)
