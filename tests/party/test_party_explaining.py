"""What one member may know of why the terms are what they are: never a name too many, never a wrong one."""

from __future__ import annotations

from typing import Any

import pytest
from parley_party.explaining import explain_to
from parley_policies.negotiation.explain import ANOTHER, PROTOCOL, SPONSOR, Explanation, explain
from parley_policies.negotiation.offer import Offer

from tests.policies.policy_samples import IDS, Federation

PARTIES = IDS[:6]
FEDERATIONS = {
    "each binds something": Federation.of(
        PARTIES,
        {
            "a-clinic": {"max_small_changes": 1, "min_parties": {"trunk": 4, "head:*": 3, "summary": 3}},
            "b-clinic": {"clip_max": 2.0, "rounds_a_study": 31},
            "c-clinic": {"max_small_changes": 1},
        },
    ),
    "one lets only the parties read": Federation.of(
        PARTIES, None, {"c-clinic": {"opened_sums_readable_by": 'opened_sums_readable_by = "parties"'}}
    ),
    "nobody but the sponsor": Federation.of(PARTIES),
    "conspirators": Federation.of(IDS[:7], {"a-clinic": {"colluders": 2, "min_parties": {"summary": 4, "trunk": 4, "head:*": 4}}}),
}


def both(federation: Federation, own: Offer) -> tuple[Explanation, Explanation]:
    """Return what the member is told, and what it would be told by somebody who knows every offer."""
    terms = federation.terms()
    return explain_to(own, federation.proposal, terms), explain(federation.proposal, federation.offers(), terms, readable={own.party})


@pytest.mark.parametrize("name", FEDERATIONS)
def test_a_member_is_told_what_is_true_of_its_own_clauses(name: str) -> None:
    federation = FEDERATIONS[name]
    for own in federation.offers():
        told, known = both(federation, own)
        assert (told.members, told.out, told.n, told.c, told.t, told.segments, told.dropouts) == (
            known.members, known.out, known.n, known.c, known.t, known.segments, known.dropouts,
        )  # fmt: skip
        for mine, true in zip(told.bindings, known.bindings, strict=True):
            assert (mine.term, mine.value) == (true.term, true.value)
            if mine.term == "weights":
                assert mine == true
                continue
            assert set(mine.whose) <= {own.party, ANOTHER, SPONSOR}, "nobody else is named, and the protocol binds nothing here"
            if own.party in true.whose:
                assert own.party in mine.whose
                assert mine.clause == true.clause
            elif mine.clause == true.clause:
                assert own.party not in mine.whose


def test_no_name_and_no_clause_of_another_member_is_told() -> None:
    federation = FEDERATIONS["each binds something"]
    own = next(offer for offer in federation.offers() if offer.party == PARTIES[3])
    told, _ = both(federation, own)
    rows: dict[str, Any] = {binding.term: binding for binding in told.bindings}
    assert rows["clip_bound"].whose == (ANOTHER,)
    assert rows["max_small_changes"].whose == (ANOTHER,)
    assert rows["min_parties of trunk"].whose == (ANOTHER,)
    assert PROTOCOL not in {name for binding in told.bindings for name in binding.whose}
    assert told.differences == ()


def test_what_stays_at_home_is_counted_by_the_terms() -> None:
    federation = Federation.of(PARTIES, {party: {"min_parties": {"trunk": 3, "summary": 3, "head:*": 5}} for party in PARTIES})
    own = federation.offers()[0]
    told, known = both(federation, own)
    assert [row.segment for row in told.at_home] == [row.segment for row in known.at_home]
    assert told.at_home
