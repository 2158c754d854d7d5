"""Trials of policies: what is assumed, what a reader may see, and that neither order nor names of files matter."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from parley_learning.shape import shape_of
from parley_policies.errors import FactsInvalid
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.negotiation.study_file import load_study
from parley_policies.trial.facts import Facts, load_facts
from parley_policies.trial.relaxations import MOST_PARTIES, relaxations
from parley_policies.trial.telling import overview_of
from parley_policies.trial.trial import Trial, hold

from tests.policies.policy_samples import FROM, IDS, UNTIL, policy_text, study_of
from tests.policies.scenario_files import Scenario, scenario

PARTIES = IDS[:6]
OUT = ("purposes-clash", "columns", "too-few-people", "use-not-permitted", "rounds", "one-reader", "overdue-document")


def held(facts: str = "", parties: tuple[str, ...] = PARTIES, **values: dict[str, Any]) -> Trial:
    study = study_of(parties)
    policies = {party: load_policy(policy_text(party, **values.get(party.replace("-", "_"), {})).encode(), party) for party in parties}
    return hold(study, policies, load_facts(facts.encode()), shape_of(study), today=FROM)


def assumed(trial: Trial) -> dict[tuple[str, str], str]:
    return {(item.of, item.what): item.value for item in trial.settled.assumed}


def test_what_is_assumed_suits_everybody() -> None:
    trial = held(a_clinic={"min_people": 4_321})
    assert trial.members == set(PARTIES)
    found = assumed(trial)
    assert found["a-clinic", "number of records"] == "4,321"
    assert found["gateway", "countries"] in trial.settled.policies["a-clinic"].policy.gateway.countries
    assert {what for of, what in found if of == "b-clinic"} == {"class", "country", "dataset", "number of records", "has labels for"}


def test_what_facts_say_is_not_assumed() -> None:
    facts = (
        'schema = "parley.facts/1"\nday = 2027-02-01\n'
        '[gateway]\nid = "g"\noperator = "o"\ncountries = ["DE"]\nincident_notice_hours = 1\nchange_notice_days = 90\n'
        f'fingerprint = "SHA256:{"G" * 43}"\n'
        + "".join(
            f'[parties.{party}]\nclass = "demo"\ncountry = "DE"\nfingerprint = "SHA256:{"P" * 43}"\n'
            'dataset = "visits"\nrecords = 700\nobjectives = ["cost"]\n'
            for party in PARTIES
        )
    )
    trial = held(facts)
    assert trial.settled.assumed == ()
    assert trial.settled.day == date(2027, 2, 1)
    assert {error.clause for error in trial.refused.values()} == {"gateway.fingerprints"}, "no policy names that gateway"
    assert all("GGGG" in overview.why for overview in overview_of(trial, readable=PARTIES).out)


def test_the_day_is_one_that_suits_all_policies() -> None:
    assert held(a_clinic={"valid_from": date(2027, 2, 3)}).settled.day == date(2027, 2, 3)
    late = held(a_clinic={"valid_from": date(2027, 12, 1)})
    assert late.settled.day == date(2027, 6, 30), "the last day on which an offer counts"
    assert {party: error.clause for party, error in late.refused.items()} == {"a-clinic": "identity.valid_from"}
    assert held(a_clinic={"valid_from": FROM, "valid_until": UNTIL}).settled.day == FROM


@pytest.mark.parametrize("text", ['day = "soon"', "[gateway]\nplace = 1", "[parties.A]\nrecords = 1", "[parties.a]\nrecords = -1", "x = "])
def test_facts_are_read_strictly(text: str) -> None:
    with pytest.raises(FactsInvalid, match=r"facts file facts\.toml"):
        load_facts(text.encode())


def test_neither_order_nor_file_names_matter() -> None:
    told = scenario("purposes-clash")
    study, files = load_study(told.study.encode()), told.policy_files()

    def tried(policies: dict[str, PolicyFile]) -> str:
        trial = hold(study, policies, load_facts(told.facts.encode()), shape_of(study), today=FROM)
        return json.dumps(overview_of(trial, readable=policies).as_data())

    renamed = {party: replace(files[party], name="x") for party in reversed(files)}
    assert tried(files) == tried(renamed)


def seen(told: Scenario, reader: str) -> str:
    """Return what one reader is told, as JSON; offers of those who refuse are no part of it."""
    return json.dumps(replace(told, readers=(reader,)).overview().as_data())


@pytest.mark.parametrize("name", OUT)
def test_a_reader_cannot_tell_why_another_declines(name: str) -> None:
    told = scenario(name)
    refused = told.held().refused
    for party in refused:
        other = replace(told, policies={**told.policies, party: _refusing(told.policies[party])})
        assert other.held().refused[party].clause == "robustness.least" != refused[party].clause
        readers = [reader for reader in told.policies if reader not in refused]
        assert [seen(told, reader) for reader in readers[:2]] == [seen(other, reader) for reader in readers[:2]]


def _refusing(text: str) -> str:
    """Return a policy that refuses for another reason, which is asked before all others."""
    assert '"least" = "R0"' in text
    return text.replace('"least" = "R0"', '"least" = "R2"')


def test_relaxations_are_not_searched_for_too_many() -> None:
    many = tuple(f"p{index:02}" for index in range(MOST_PARTIES + 1))
    study = study_of(many)
    policies = {party: load_policy(policy_text(party).encode()) for party in many[1:]}
    policies[many[0]] = load_policy(policy_text(many[0], purposes=["dpv:Marketing"]).encode())
    trial = hold(study, policies, Facts(), shape_of(study), today=FROM)
    assert trial.refused.keys() == {"p00"}
    assert relaxations(trial, ("p00",)) == ()


def test_each_relaxation_holds_what_it_says() -> None:
    trial = held(a_clinic={"purposes": ["dpv:Marketing"]}, b_clinic={"rounds_a_study": 3})
    found = relaxations(trial, PARTIES)
    assert {(item.party, item.clause, item.after) for item in found} == {
        ("a-clinic", "purpose.granted", "also dpv:ScientificResearch"),
        ("b-clinic", "limits.rounds_a_study", "6"),
    }
    assert all(item.admits == (item.party,) and item.gain == 3_000 for item in found)
