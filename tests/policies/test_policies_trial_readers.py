"""What a trial shows to a reader of one policy: nothing that only another party's policy says (policy.md, Explaining)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from parley_policies.trial.facts import Facts
from parley_policies.trial.telling import overview_of
from parley_policies.trial.trial import Trial

from tests.policies.scenario_files import lines, policy_table, scenario, toml

READER, OTHER = "klinikum-nord", "kasse-b"
SILENT: dict[str, Any] = {
    "data": {"min_people": 900, "datasets": ["claims", "heart_failure"]},
    "gateway": {"incident_notice_hours_at_most": 11, "change_notice_days_at_least": 77},
    "limits": {"hours": "20:00-06:00 Europe/Berlin"},
    "purpose": {"prohibited": ["dpv:Marketing", "text:rating of an individual"]},
    "peers": {"denied": ["class:data-broker"]},
    "sharing": {"clip_bound": {"max": 9.0}},
}


def held(changes: dict[str, Any]) -> Trial:
    """Return a trial without any facts, in which the other party's policy differs in `changes`."""
    told = scenario("everybody-agrees")
    text = toml(policy_table({"policies": {OTHER: changes}}, OTHER))
    return replace(told, policies={**told.policies, OTHER: text}).held_with(Facts())


def shown(trial: Trial, *readable: str) -> str:
    overview = overview_of(trial, readable=readable, loosening=())
    return json.dumps([lines(overview), overview.assumptions(), overview.as_data()], default=str)


@pytest.mark.parametrize("section", sorted(SILENT))
def test_a_clause_that_binds_nothing_shows_in_nothing(section: str) -> None:
    plain, changed = held({}), held({section: SILENT[section]})
    assert shown(plain, READER) == shown(changed, READER)
    if section in {"data", "gateway"}:
        assert shown(plain, *plain.offers) != shown(changed, *changed.offers)


def test_the_reader_sees_what_was_assumed_of_it() -> None:
    overview = overview_of(held({}), readable=(READER,), loosening=())
    assert [item for item in overview.assumed if item.of == READER and item.value == "heart_failure"]
    assert not [item for item in overview.assumed if item.of == OTHER and item.why != "another member's policy"]


def test_records_of_a_party_that_is_out_are_not_shown() -> None:
    trial = held({"purpose": {"granted": ["dpv:Marketing"], "prohibited": []}})
    assert OTHER not in dict(overview_of(trial, readable=(READER,), loosening=()).records)
