from __future__ import annotations

import json
from typing import Any

import pytest
from parley_policies.errors import Conflict
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.explain import ANOTHER, SPONSOR, Binding, Explanation, explain

from tests.policies.policy_samples import GATEWAY, IDS, Federation

PARTIES = IDS[:6]
VALUES: dict[str, dict[str, Any]] = {
    "a-clinic": {"max_small_changes": 1, "min_parties": {"trunk": 4, "head:*": 3, "summary": 3}},
    "b-clinic": {"clip_max": 2.0, "rounds_a_study": 31},
    "c-clinic": {"max_small_changes": 1},
}
FEDERATION = Federation.of(PARTIES, VALUES)
TERMS = FEDERATION.terms()


def explained(*readable: str) -> Explanation:
    return explain(FEDERATION.proposal, FEDERATION.offers(), TERMS, readable=readable)


def binding(explanation: Explanation, term: str) -> Binding:
    return next(item for item in explanation.bindings if item.term == term)


def test_who_binds_what() -> None:
    everything = explained(*PARTIES)
    assert binding(everything, "max_small_changes").whose == ("a-clinic", "c-clinic")
    assert binding(everything, "clip_bound") == Binding("clip_bound", "2.0", "sharing.clip_bound", ("b-clinic",))
    assert binding(everything, "rounds") == Binding("rounds", "31", "limits.rounds_a_study", ("b-clinic",))
    assert binding(everything, "min_parties of trunk").whose == ("a-clinic",)
    assert (everything.n, everything.c, everything.t, everything.dropouts_survived) == (6, 1, 5, 1)
    assert [(row.name, row.floor) for row in everything.segments] == [("summary", 3), ("trunk", 4), ("head:cost", 3), ("head:illness", 3)]


def test_a_reader_sees_only_what_she_may() -> None:
    own = explained("a-clinic")
    assert binding(own, "max_small_changes").whose == ("a-clinic", ANOTHER)
    assert binding(own, "clip_bound").whose == (ANOTHER,)
    assert own.differences == ()
    text = json.dumps([row for row in own.rows() if row[0] == "terms" and row[1] != "weights"])
    assert "b-clinic" not in text
    assert "c-clinic" not in text


def test_the_sponsor_binds_too() -> None:
    federation = Federation.of(PARTIES)
    explanation = explain(federation.proposal, federation.offers(), federation.terms(), readable=PARTIES)
    assert binding(explanation, "clip_bound").whose[-1] == SPONSOR
    assert binding(explanation, "rounds").whose[-1] == SPONSOR


def test_a_floor_may_come_of_the_conspirators() -> None:
    wary = {"colluders": 2, "min_parties": {"summary": 4, "trunk": 4, "head:*": 4}}
    federation = Federation.of(IDS[:7], {"a-clinic": wary})  # four funds, three clinics
    explanation = explain(federation.proposal, federation.offers(), federation.terms(), readable=PARTIES)
    assert binding(explanation, "min_parties of trunk").clause == "sums.min_parties.trunk"
    head = binding(explanation, "min_parties of head:cost")
    assert (head.value, head.clause, head.whose) == ("4", "schemes.colluding_parties_survived", ("a-clinic",))
    assert [(item.segment, item.parties) for item in explanation.at_home] == [("head:illness", 3)]


def test_what_a_dropout_costs() -> None:
    explanation = explained("a-clinic")
    costs = {cost.party: cost for cost in explanation.dropouts}
    assert costs["d-fund"].goes_on
    assert costs["d-fund"].shut == ("head:cost",)
    assert costs["a-clinic"].shut == ("head:illness",)
    three = Federation.of(PARTIES[:3])
    alone = explain(three.proposal, three.offers(), three.terms(), readable=())
    assert alone.dropouts_survived == 0
    assert not any(cost.goes_on for cost in alone.dropouts)
    assert ("without", "a-clinic", "no round can finish") in alone.rows()


def test_weights_name_who_was_lowered() -> None:
    federation = Federation.of(PARTIES, {party: {"weight_cap": 0.34, "weight_cap_of_others": 0.34} for party in PARTIES})
    records = {**federation.records, "a-clinic": 5_000}
    federation = Federation(federation.proposal, federation.texts, records, federation.members)
    weights = binding(explain(federation.proposal, federation.offers(), federation.terms(), readable=()), "weights")
    assert weights.whose == ("a-clinic lowered",)
    assert weights.clause == "sharing.weight_cap"
    assert binding(explained("a-clinic"), "weights").whose == ("as told",)


def test_where_policies_differ() -> None:
    differences = {item.field: dict(item.values) for item in explained("a-clinic", "b-clinic", "c-clinic").differences}
    assert differences["max_small_changes"] == {"a-clinic": "1", "b-clinic": "2", "c-clinic": "1"}
    assert differences["segments"]["a-clinic"] == "summary 3, trunk 4, head:illness 3"
    assert set(differences) == {"max_small_changes", "segments", "clip_bound", "rounds"}


def test_who_is_out_is_told_without_why() -> None:
    offers = FEDERATION.offers()[:4]
    terms = negotiate(FEDERATION.proposal, offers, FEDERATION.members, GATEWAY).terms[0]
    explanation = explain(FEDERATION.proposal, offers, terms, readable=())
    assert explanation.out == (("e-fund", "declined or did not answer"), ("f-fund", "declined or did not answer"))
    assert [item.segment for item in explanation.at_home] == ["head:cost"]


def test_a_conflict_shows_its_values_only_to_those_who_may_read_them() -> None:
    federation = Federation.of(PARTIES[:3], {"b-clinic": {"min_parties": 5}})
    with pytest.raises(Conflict) as caught:
        federation.terms()
    shown = explain(federation.proposal, federation.offers(), caught.value, readable={"b-clinic"})
    assert shown.conflict == Binding("conflict", "wanted at least 5 members, got 3", "sums.min_parties.summary", ("b-clinic",))
    hidden = explain(federation.proposal, federation.offers(), caught.value, readable={"a-clinic"})
    assert hidden.conflict == Binding("conflict", "no value satisfies all", "sums.min_parties.summary", (ANOTHER,))
    assert hidden.rows()[-1] == ("conflict", "sums.min_parties.summary", f"no value satisfies all ({ANOTHER})")


def test_explanations_are_plain_data() -> None:
    data = json.loads(json.dumps(explained("a-clinic").as_data()))
    assert data["study"] == "risk"
    assert data["segments"][1]["floor"] == 4
    assert all(len(row) == 3 for row in explained("a-clinic").rows())
