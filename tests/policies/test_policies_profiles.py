from __future__ import annotations

import tomllib
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_policies.errors import PolicyInvalid, Refused
from parley_policies.model.loader import load_policy
from parley_policies.model.profiles import PROFILES, check_place, placeholders, render_profile

from tests.policies.policy_samples import policy_text

GIVEN: dict[str, Any] = {
    "party": "a-clinic",
    "valid_from": date(2027, 1, 1),
    "valid_until": date(2027, 12, 31),
    "gateway_fingerprint": "SHA256:" + "A" * 43,
    "datasets": ["visits"],
    "columns": ["age"],
}


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_complete_files(name: str) -> None:
    loaded = load_policy(render_profile(name, **GIVEN).encode())
    assert loaded.policy.identity.profile == name
    missing = {row.clause for row in loaded.rows() if not row.written} - {
        # optional facts of a party, and permissions that the demonstration does not give
        "identity.supersedes", "legal.basis", "legal.professional_secrecy", "legal.documents", "purpose.diseases", "peers.transfers",
        "peers.fingerprints", "peers.issuers", "peers.trusted_set", "data.exclusions_max_age_hours", "data.minimum_fairness_check",
        "schemes.key_bits_at_least", "schemes.dealers_granted", "sums.min_cell", "differential_privacy.unit",
        "differential_privacy.adjacency", "differential_privacy.per_study", "differential_privacy.lifetime",
        "differential_privacy.noise_trust", "sharing.max_weight_ratio", "limits.rounds_a_day", "limits.hours",
        "limits.cpu_seconds_a_round", "code.custom", "retention.evidence_days", "retention.legal_hold",
        "retention.withdrawal_notice_days", "approval.loosening_needs_all",
    }  # fmt: skip
    assert not missing


def test_values_that_lack_or_are_unknown_are_named() -> None:
    lacking = {key: value for key, value in GIVEN.items() if key != "columns"}
    with pytest.raises(PolicyInvalid, match="columns: wanted a value"):
        render_profile("demo-open", **lacking)
    with pytest.raises(PolicyInvalid, match="min_partys: wanted a value that the profile takes"):
        render_profile("demo-open", **GIVEN, min_partys=3)
    with pytest.raises(PolicyInvalid, match="wanted one of demo-open"):
        render_profile("health-lax", **GIVEN)


@pytest.mark.parametrize("value", [object(), b"x", "a\nb", "a\x7fb", None])
def test_values_that_are_no_toml_are_refused(value: object) -> None:
    with pytest.raises(PolicyInvalid, match="controller"):
        render_profile("demo-open", **GIVEN, controller=value)


def test_a_value_that_does_not_fit_is_refused_by_the_loader() -> None:
    with pytest.raises(PolicyInvalid, match=r"sums\.min_parties"):
        render_profile("demo-open", **GIVEN, min_parties=2)


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40))
def test_text_stays_text(text: str) -> None:
    rendered = render_profile("demo-open", **GIVEN, controller=text)
    assert tomllib.loads(rendered)["legal"]["controller"] == text


def test_every_default_can_be_replaced() -> None:
    text = render_profile(
        "demo-open", **GIVEN, min_parties={"trunk": 4, "head:*": 3, "summary": 4}, segments={"trunk": True, "summary": True}, weight_cap=0.5
    )
    policy = load_policy(text.encode()).policy
    assert policy.sums.floor("trunk") == 4
    assert not policy.sharing.shares("head:x")
    assert placeholders("demo-open")["weight_cap"] == "0.6"
    assert placeholders("demo-open")["party"] is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8443", "http://localhost:1", "http://[::1]:80", "http://127.9.9.9"])
def test_demonstration_runs_on_loopback(url: str) -> None:
    check_place(load_policy(policy_text("a-clinic").encode()).policy, url)


@pytest.mark.parametrize("url", ["https://gateway.example", "http://10.0.0.1", "http://localhost.example", "not a url", ""])
def test_demonstration_is_refused_elsewhere(url: str) -> None:
    policy = load_policy(policy_text("a-clinic").encode()).policy
    with pytest.raises(Refused, match=r"identity\.profile"):
        check_place(policy, url)


def test_other_policies_may_go_anywhere() -> None:
    check_place(load_policy(policy_text("a-clinic", {"profile": ""}).encode()).policy, "https://gateway.example")
