from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from parley_policies.errors import Conflict, OfferInvalid, Refused
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.cohort_terms import smallest_sum
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.terms import Terms, required_threshold

from tests.policies.policy_oracle import broken_rules
from tests.policies.policy_samples import GATEWAY, IDS, TODAY, UNTIL, Federation, changed, key_of, member_of, policy_text, proposal_of


def oracle_says(federation: Federation, party: str, terms: Terms) -> list[str]:
    directory = {name: asdict(member) for name, member in federation.members.items()}
    policy, proposal = tomllib.loads(federation.texts[party]), federation.proposal.model_dump(mode="json")
    return broken_rules(policy, terms.model_dump(mode="json"), proposal, directory, TODAY)


def check(federation: Federation, party: str, terms: Terms) -> None:
    check_terms(federation.policy(party).policy, terms, federation.proposal, federation.offer(party), federation.members, today=TODAY)


def test_six_parties_get_the_terms_that_their_policies_meet_in() -> None:
    values: dict[str, dict[str, Any]] = {
        "a-clinic": {"min_parties": {"trunk": 4, "head:*": 3, "summary": 5}, "max_small_changes": 1},
        "b-clinic": {"clip_max": 2.0},
        "c-clinic": {"record_count": "exact"},
        "d-fund": {"rounds_a_study": 31},
        "e-fund": {"valid_until": date(2027, 9, 30)},
        "f-fund": {"record_count": "hidden", "weight_cap": 0.4},
    }
    federation = Federation.of(values=values)
    terms = federation.terms()
    assert [member.party for member in terms.members] == list(IDS[:6])
    assert (terms.max_colluders, terms.threshold, terms.gateway_may_lie) == (1, 5, True)
    assert (terms.max_small_changes, terms.clip_bound, terms.valid_until) == (1, 2.0, "2027-09-30")
    preprocess, train = terms.steps
    assert (preprocess.workload, preprocess.rounds, preprocess.segments[0].floor, preprocess.encoding.width) == ("preprocess@1", 1, 5, 64)
    assert (train.workload, train.rounds, train.encoding.width, train.encoding.bound) == ("train@1", 30, 32, 2.0)
    assert [(item.name, item.floor, len(item.members)) for item in train.segments] == [
        ("trunk", 4, 6),
        ("head:cost", 3, 3),
        ("head:illness", 3, 3),
    ]
    assert [member.records for member in terms.members] == ["rounded:600"] * 2 + ["exact:600"] + ["rounded:600"] * 2 + ["hidden"]
    assert {member.weight for member in terms.members} == {1}
    assert terms.timing.round_seconds == 3600
    assert terms.members[0].trust == "first-use"
    assert terms.members[0].offer == federation.offer("a-clinic").digest()
    for party in IDS[:6]:
        check(federation, party, terms)
        assert oracle_says(federation, party, terms) == []


def test_order_of_offers_does_not_matter() -> None:
    federation = Federation.of(IDS[:4], {"b-clinic": {"clip_max": 1.0, "record_count": "hidden"}, "d-fund": {"min_parties": 4}})
    offers = federation.offers()
    digests = {negotiate(federation.proposal, order, federation.members, GATEWAY).terms[0].digest() for order in permutations(offers)}
    assert len(digests) == 1
    assert negotiate(federation.proposal, [*offers, offers[0]], federation.members, GATEWAY).terms[0].digest() in digests


def test_thresholds_follow_protocol() -> None:
    assert [required_threshold(n, 1, gateway_may_lie=True) for n in (3, 4, 5, 6)] == [3, 3, 4, 5]
    assert [required_threshold(n, 2, gateway_may_lie=False) for n in (3, 5, 8)] == [3, 3, 5]


def conflict_of(federation: Federation) -> Conflict:
    with pytest.raises(Conflict) as caught:
        federation.together()
    return caught.value


def test_floor_that_too_few_members_reach_is_a_conflict_when_nothing_remains() -> None:
    clinics = IDS[:3]
    federation = Federation.of(clinics, {"b-clinic": {"min_parties": 4}})
    conflict = conflict_of(federation)
    assert (conflict.field, conflict.parties) == ("sums.min_parties.summary", ("b-clinic",))
    assert "at least 4 members, got 3" in str(conflict)
    conflict = conflict_of(Federation.of(clinics, {"c-clinic": {"min_parties": {"summary": 3, "head:*": 3, "trunk": 4}}}))
    assert (conflict.field, conflict.parties) == ("sums.min_parties.trunk", ("c-clinic",))


def test_a_head_below_its_floor_stays_at_home_and_the_trunk_goes_on() -> None:
    values = {"b-clinic": {"min_parties": {"trunk": 3, "summary": 3, "head:*": 4}}}
    federation = Federation.of(IDS[:6], values)
    terms = federation.terms()
    assert [segment.name for segment in terms.steps[1].segments] == ["trunk", "head:cost"]
    for party in IDS[:6]:
        check(federation, party, terms)
        assert oracle_says(federation, party, terms) == []


def test_a_head_that_a_party_keeps_at_home_has_the_other_members() -> None:
    keeps = {"segments": {"summary": True, "trunk": True, "head:illness": False}}
    federation = Federation.of(("a-clinic", "b-clinic", "c-clinic", "h-clinic"), {"c-clinic": keeps})
    terms = federation.terms()
    assert terms.steps[1].segment("head:illness").members == ("a-clinic", "b-clinic", "h-clinic")
    assert terms.steps[1].segment("trunk").members == ("a-clinic", "b-clinic", "c-clinic", "h-clinic")
    check(federation, "c-clinic", terms)


def test_conflicts_name_field_and_parties() -> None:
    three = IDS[:3]
    conflict = conflict_of(Federation.of(IDS[:4], {"a-clinic": {"colluders": 4, "min_parties": 6}}))
    assert (conflict.field, conflict.parties) == ("schemes.colluding_parties_survived", ("a-clinic",))
    assert "t = 5" in str(conflict)
    conflict = conflict_of(
        Federation.of(three, {"a-clinic": {"clip_max": 0.5}}, {"b-clinic": {"clip_bound": "clip_bound = { min = 1.0, max = 2.0 }"}})
    )
    assert (conflict.field, conflict.parties) == ("sharing.clip_bound", ("a-clinic", "b-clinic"))
    conflict = conflict_of(Federation.of(three, {party: {"weight_cap": 0.3, "weight_cap_of_others": 0.3} for party in three}))
    assert conflict.field == "sharing.weight_cap"
    assert conflict.parties == three
    conflict = conflict_of(Federation.of(three, {"b-clinic": {"mib_a_round": 0.00001}}))
    assert (conflict.field, conflict.parties) == ("sharing.mib_a_round", ("b-clinic",))
    federation = Federation.of(three)
    with pytest.raises(Conflict, match=r"offers of at least 3 parties, got 2"):
        federation.together(federation.offers()[:2])
    offers = federation.offers()
    without_trunk = changed(offers[0], segments=offers[0].segments[:1])
    with pytest.raises(Conflict, match=r"sharing\.segments\.trunk.*a-clinic"):
        federation.together([without_trunk, *offers[1:]])
    fewer = changed(offers[0], rounds=3)
    with pytest.raises(Conflict, match=r"limits\.rounds_a_study.*a-clinic"):
        federation.together([fewer, *offers[1:]])
    apart = changed(offers[0], apart=("b-clinic",))
    with pytest.raises(Conflict, match=r"peers.*\(a-clinic, b-clinic\)"):
        federation.together([apart, *offers[1:]])
    other = changed(offers[0], schemes=("homomorphic",))
    with pytest.raises(Conflict, match=r"schemes\.accepted.*a-clinic"):
        federation.together([other, *offers[1:]])


def test_nothing_to_share_is_a_conflict() -> None:
    federation = Federation.of(IDS[:4])
    heads = [segment.model_dump() for segment in federation.proposal.segments[1:]]
    federation = replace(federation, proposal=changed(federation.proposal, segments=heads))
    federation = replace(federation, texts={party: policy_text(party, segments={"summary": True}) for party in federation.texts})
    conflict = conflict_of(federation)
    assert (conflict.field, conflict.parties) == ("sharing.segments", IDS[:4])


def test_offers_that_do_not_belong_are_refused() -> None:
    federation = Federation.of(IDS[:4])
    offers = federation.offers()

    def propose(*given: Offer, members: Mapping[str, Any] = federation.members) -> Terms:
        return negotiate(federation.proposal, given, members, GATEWAY).terms[0]

    with pytest.raises(OfferInvalid, match="two that differ"):
        propose(*offers, changed(offers[0], colluders=0))
    with pytest.raises(OfferInvalid, match="wanted study risk"):
        propose(*offers[1:], changed(offers[0], proposal_digest="0" * 64))
    with pytest.raises(OfferInvalid, match="invited"):
        propose(*offers, changed(offers[0], party="z-clinic"))
    with pytest.raises(OfferInvalid, match="enrolled"):
        propose(*offers, members={party: member_of(party) for party in IDS[1:4]})


def test_smallest_sum_counts_the_threshold_too() -> None:
    terms = Federation.of(IDS[:6]).terms()
    trunk, head = terms.steps[1].segment("trunk"), terms.steps[1].segment("head:cost")
    assert smallest_sum(trunk, 6, terms.threshold) == 5
    assert smallest_sum(head, 6, terms.threshold) == 3


def test_a_large_party_is_held_to_its_cap() -> None:
    federation = Federation.of(IDS[:6], {party: {"weight_cap": 0.4, "weight_cap_of_others": 0.4} for party in IDS[:6]})
    federation = replace(federation, records={**federation.records, "a-clinic": 5_000})
    terms = federation.terms()
    weights = {member.party: member.weight for member in terms.members}
    assert 1 < weights["a-clinic"] / weights["b-clinic"] <= 4 / 3 + 1e-9
    for party in IDS[:6]:
        check(federation, party, terms)


def pins(*parties: str) -> str:
    table = ", ".join(f'{party} = "{key_of(party).public.fingerprint}"' for party in parties)
    return f'trust = "pinned"\nfingerprints = {{ {table} }}'


def test_unpinned_members_count_as_conspirators() -> None:
    ids = IDS[:6]
    edits = {"a-clinic": {"trust": pins(*ids[1:5])}}
    federation = Federation.of(ids, None, edits)
    assert federation.offer("a-clinic").uncounted == ("f-fund",)
    terms = federation.together()
    assert (terms.max_colluders, terms.threshold) == (2, 5)
    assert terms.steps[1].segment("trunk").floor == 4
    # With c = 2 every floor is at least 4: neither head of three members can open.
    assert [segment.name for segment in terms.steps[1].segments] == ["trunk"]
    lower = changed(terms, max_colluders=1)
    with pytest.raises(Refused, match="f-fund neither pinned, vouched for nor trusted"):
        check(federation, "a-clinic", lower)
    check(federation, "b-clinic", federation.together())


FLOORS = [3, 4, {"trunk": 4, "head:*": 3, "summary": 3}, {"trunk": 3, "head:cost": 3, "head:*": 4, "summary": 4}]
ALL_SHARED = {"summary": True, "trunk": True, "head:*": True}
COST_ALONE = {"summary": True, "trunk": True, "head:cost": True}
policies = st.fixed_dictionaries(
    {},
    optional={
        "min_parties": st.sampled_from(FLOORS),
        "max_small_changes": st.integers(0, 3),
        "clip_max": st.sampled_from([0.5, 1.0, 2.0, 10.0]),
        "weight_cap": st.sampled_from([0.25, 0.34, 0.4, 0.6]),
        "weight_cap_of_others": st.sampled_from([0.34, 0.4, 0.5]),
        "record_count": st.sampled_from(["exact", "hidden", "rounded:100", "rounded:500"]),
        "rounds_a_study": st.sampled_from([6, 20, 41, 100]),
        "segments": st.sampled_from([ALL_SHARED, COST_ALONE]),
        "valid_until": st.dates(date(2027, 6, 1), UNTIL),
        "mib_a_round": st.sampled_from([1.0, 64.0]),
    },
)


@st.composite
def federations(draw: st.DrawFn) -> Federation:
    ids = IDS[: draw(st.integers(3, 8))]
    values = {party: draw(policies) for party in ids}
    edits: dict[str, dict[str, str]] = {}
    for party in ids:
        if draw(st.integers(0, 3)) == 0:
            edits[party] = {"trust": pins(*draw(st.sets(st.sampled_from(ids), min_size=len(ids) - 2)))}
        if draw(st.integers(0, 4)) == 0:
            edits[party] = {**edits.get(party, {}), "gateway_may_lie": "gateway_may_lie = false"}
        if draw(st.integers(0, 7)) == 0:
            edits[party] = {**edits.get(party, {}), "opened_sums_readable_by": 'opened_sums_readable_by = "parties"'}
    records = {party: draw(st.integers(50, 3_000)) for party in ids}
    return replace(Federation.of(ids, values, edits), records=records)


def outcome_of(federation: Federation, offers: list[Offer]) -> Terms | Conflict:
    try:
        return negotiate(federation.proposal, offers, federation.members, GATEWAY).terms[0]
    except Conflict as conflict:
        return conflict


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(federations())
def test_soundness_every_member_and_the_oracle_accept_what_is_proposed(federation: Federation) -> None:
    offers = federation.offers()
    outcome = outcome_of(federation, offers)
    if isinstance(outcome, Conflict):
        event(f"conflict over {outcome.field.split('.')[0]}")
        assert set(outcome.parties) <= set(federation.texts)
        assert str(outcome_of(federation, offers[::-1])) == str(outcome)
        return
    event("terms")
    assert Terms.parse(outcome.canonical()) == outcome
    assert outcome_of(federation, offers[::-1]) == outcome
    for party in (member.party for member in outcome.members):
        check(federation, party, outcome)
        assert oracle_says(federation, party, outcome) == []


def test_an_unknown_workload_is_a_conflict() -> None:
    federation = Federation.of(IDS[:4])
    proposal = changed(proposal_of(IDS[:4]), workload={**federation.proposal.workload.model_dump(), "name": "trees@1"})
    with pytest.raises(Conflict, match=r"code\.workloads"):
        negotiate(proposal, [], federation.members, GATEWAY)
