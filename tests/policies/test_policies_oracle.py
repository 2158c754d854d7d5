"""The independent judge is no rubber stamp: what the package's checker refuses clause by clause, it refuses as well."""

from __future__ import annotations

import tomllib
from dataclasses import asdict

import pytest
from parley_policies.negotiation.terms import Terms

from tests.attacks.broken_terms import BROKEN, VICTIM, Broken
from tests.policies.policy_oracle import broken_rules
from tests.policies.policy_samples import TODAY, Federation


def rules_of(federation: Federation, party: str, terms: Terms) -> list[str]:
    directory = {name: asdict(member) for name, member in federation.members.items()}
    policy, proposal = tomllib.loads(federation.texts[party]), federation.proposal.model_dump(mode="json")
    return broken_rules(policy, terms.model_dump(mode="json"), proposal, directory, TODAY)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_the_judge_refuses_terms_that_break_one_clause(broken: Broken) -> None:
    federation = broken.federation()
    terms = broken.terms(federation, federation.offer(VICTIM))
    assert rules_of(federation, VICTIM, terms), broken.clause
    others = [member.party for member in terms.members if member.party != VICTIM]
    assert [rules_of(federation, party, terms) for party in others] == [[]] * len(others)
