"""The demo's six policies and three studies: they load, differ, agree, and give what the demo promises to show."""

from __future__ import annotations

import pytest
from parley.demo_data import DEMO_CLIP_BOUND, DEMO_PARTIES, DEMO_ROUNDS
from parley.demo_policies import CHOICES, DATASET
from parley.demo_studies import DEMO_STUDIES, SHARED, DemoStudy, study_text
from parley_policies.errors import Refused
from parley_policies.model.profiles import check_place
from parley_policies.model.unsupported import check_supported
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.explain import explain
from parley_policies.negotiation.study_file import load_study

from tests.demo.demo_samples import GATEWAY_KEY, TODAY, negotiate, policies


def test_every_policy_is_one_that_this_version_upholds() -> None:
    for party, file in policies().items():
        check_supported(file.policy)
        assert file.policy.party == party
        assert file.policy.gateway.fingerprints == (GATEWAY_KEY.public.fingerprint,)
        assert file.policy.data.datasets == (DATASET,)


def test_every_party_pins_its_five_peers_and_keeps_its_scores_at_home() -> None:
    for party, file in policies().items():
        assert file.policy.peers.trust == "pinned"
        assert sorted(file.policy.peers.fingerprints) == sorted(other.id for other in DEMO_PARTIES if other.id != party)
        assert file.policy.disclosure.own_metrics == "none"


def test_the_policies_differ_in_every_clause_that_says_so() -> None:
    rows = {party: {row.clause: row.value for row in file.rows()} for party, file in policies().items()}
    for clause in CHOICES:
        assert len({str(rows[party][clause]) for party in rows}) > 1, clause
    assert len(CHOICES) >= 5


def test_the_policies_are_refused_off_loopback() -> None:
    for file in policies().values():
        check_place(file.policy, "http://127.0.0.1:8443")
        with pytest.raises(Refused, match=r"identity\.profile"):
            check_place(file.policy, "https://gateway.example")


@pytest.mark.parametrize("study", DEMO_STUDIES, ids=lambda study: study.id)
def test_all_who_are_invited_agree_and_each_would_sign(study: DemoStudy) -> None:
    found = negotiate(study)
    active = policies()
    assert [member.party for member in found.terms.members] == sorted(study.parties)
    for party, offer in found.offers.items():
        check_terms(active[party].policy, found.terms, found.proposal, offer, found.members, today=TODAY)
    assert found.terms.clip_bound == DEMO_CLIP_BOUND
    assert [step.rounds for step in found.terms.steps] == [1, DEMO_ROUNDS]


def test_the_shared_study_survives_one_dropout_and_shuts_the_lenders_head() -> None:
    found = negotiate(SHARED)
    terms = found.terms
    assert (len(terms.members), terms.max_colluders, terms.threshold, terms.max_small_changes) == (6, 1, 5, 2)
    assert {segment.floor for step in terms.steps for segment in step.segments} == {3}
    explanation = explain(found.proposal, found.offers.values(), terms, readable=set(found.offers))
    cost = next(item for item in explanation.dropouts if item.party == "lender-tx")
    assert cost.goes_on
    assert cost.shut == ("head:subprime",)
    assert len(explanation.differences) >= 5


def test_the_clip_bound_comes_of_two_parties_clauses() -> None:
    found = negotiate(SHARED)
    explanation = explain(found.proposal, found.offers.values(), found.terms, readable=set(found.offers))
    clip = next(item for item in explanation.bindings if item.term == "clip_bound")
    assert clip.whose == ("insurer-nj", "lender-ny")


def test_a_shorter_study_wishes_for_exactly_its_rounds() -> None:
    wishes = load_study(study_text(SHARED, TODAY, rounds=3).encode()).wishes
    assert (wishes.rounds.min, wishes.rounds.max) == (3, 3)
