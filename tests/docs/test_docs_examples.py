"""Every example file loads through the loader that reads the real ones, and the examples' promises about this version hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from parley_gateway import config as gateway_config
from parley_party import config as party_config
from parley_policies.errors import Refused
from parley_policies.model.loader import load_policy
from parley_policies.model.unsupported import check_supported
from parley_policies.negotiation.study_file import load_study
from parley_policies.trial.facts import load_facts

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_every_example_is_known_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.toml")} == {
        "facts.toml",
        "gateway.toml",
        "party.toml",
        "policy-hospital.toml",
        "policy-insurer.toml",
        "study.toml",
    }


def test_gateway_example_loads() -> None:
    assert gateway_config.load(EXAMPLES / "gateway.toml").gateway.public_url.startswith("https://")


def test_party_example_loads() -> None:
    assert party_config.load(EXAMPLES / "party.toml").data


def test_facts_example_loads() -> None:
    facts = load_facts((EXAMPLES / "facts.toml").read_bytes())
    assert set(facts.parties) < set(load_study((EXAMPLES / "study.toml").read_bytes()).invited)


def test_study_example_loads() -> None:
    assert load_study((EXAMPLES / "study.toml").read_bytes()).objectives


@pytest.mark.parametrize("name", ["policy-hospital.toml", "policy-insurer.toml"])
def test_policy_examples_load_and_would_refuse_in_this_version(name: str) -> None:
    loaded = load_policy((EXAMPLES / name).read_bytes(), name)
    with pytest.raises(Refused, match="a clause that this version can uphold"):
        check_supported(loaded.policy)
