from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_policies.errors import PolicyInvalid, Refused
from parley_policies.model.lattices import Lattice, is_within
from parley_policies.model.loader import load_policy
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.profiles import PROFILES, check_place, placeholders, render_profile
from parley_policies.model.unsupported import unsupported_clauses
from parley_policies.model.upheld import Section, Upheld, lattice_of, upheld_of

from tests.policies.policy_samples import EXAMPLES, policy_text

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
    missing = {row.clause for row in loaded.rows() if not row.written}
    if name != "demo-open":
        assert missing == {"identity.supersedes", "limits.hours", "limits.cpu_seconds_a_round"}  # no first policy has them; resources
        return
    missing -= {
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
    with pytest.raises(PolicyInvalid, match="wanted one of demo-open, health-strict, finance-strict"):
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


STRICT = {"health-strict": "policy-hospital.toml", "finance-strict": "policy-insurer.toml"}
# what an example has of its own party, and a strict profile takes
OWN: dict[str, Callable[[PrivacyPolicy], Any]] = {
    "diseases": lambda policy: policy.purpose.diseases,
    "denied": lambda policy: policy.peers.denied,
    "fairness": lambda policy: policy.data.minimum_fairness_check,
    "min_parties": lambda policy: policy.sums.min_parties,
    "datasets": lambda policy: policy.data.datasets,
    "columns": lambda policy: policy.data.columns,
    "gateway_fingerprint": lambda policy: policy.gateway.fingerprints[0],
    "valid_from": lambda policy: policy.identity.valid_from,
    "valid_until": lambda policy: policy.identity.valid_until,
}


@pytest.mark.parametrize("name", STRICT)
def test_a_strict_profile_demands_what_the_example_does(name: str) -> None:
    example = load_policy((EXAMPLES / STRICT[name]).read_bytes()).policy
    profile = load_policy(render_profile(name, party="p", **{key: own(example) for key, own in OWN.items()}).encode()).policy
    laxer = set()
    for section, sub in ((section, getattr(example, section)) for section in PrivacyPolicy.model_fields):
        for field, info in type(sub).model_fields.items() if isinstance(sub, Section) else ():
            lattice = lattice_of(info)
            if lattice is not Lattice.OWN and not is_within(lattice, getattr(getattr(profile, section), field), getattr(sub, field)):
                laxer.add(f"{section}.{field}")
    # the examples' own hours and processor time; a fraction that the insurer did not write, so that it grants none
    assert laxer == {
        "health-strict": {"limits.hours", "limits.cpu_seconds_a_round"},
        "finance-strict": {"sharing.fraction_a_round"},
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", STRICT)
def test_a_strict_profile_grants_nothing_that_only_people_can_say(name: str) -> None:
    policy = load_policy(render_profile(name, **GIVEN).encode()).policy
    assert (policy.peers.granted, policy.peers.countries, policy.gateway.countries, policy.peers.fingerprints) == ((), (), (), {})
    assert not any(policy.sharing.shares(segment) for segment in ("head:illness", "norm", "stem"))
    assert policy.peers.trust == "pinned"
    assert policy.differential_privacy.required
    assert policy.approval.policy
    check_place(policy, "https://gateway.example")


@pytest.mark.parametrize("name", STRICT)
def test_a_strict_profile_says_how_each_line_is_upheld(name: str) -> None:
    """The mark at the end of a line is what the clause itself declares."""
    marks = {Upheld.ENFORCED_HERE: "[E]", Upheld.CHECKED_BY_ALL: "[P]", Upheld.DECLARED: "[D]"}
    section, seen = "", 0
    for line in render_profile(name, **GIVEN).splitlines():
        if line.startswith("["):
            section = line[1 : line.index("]")]
        elif section not in {"", "identity"} and "=" in line and not line.startswith("#"):
            clause, comment = line.split("=")[0].strip(), line.rpartition("  # ")[2]
            field = type(getattr(load_policy(render_profile(name, **GIVEN).encode()).policy, section)).model_fields[clause]
            assert comment.startswith(marks[upheld_of(field)]), line
            seen += 1
    assert seen > 60


@pytest.mark.parametrize("name", STRICT)
def test_a_strict_profile_demands_what_this_version_cannot_uphold(name: str) -> None:
    clauses = {item.clause for item in unsupported_clauses(load_policy(render_profile(name, **GIVEN).encode()).policy)}
    assert "differential_privacy.required" in clauses
    assert not {clause for clause in clauses if clause.startswith(("peers.", "purpose.", "schemes.", "sharing."))}


def test_a_lifetime_budget_is_of_the_first_dataset_unless_another_is_named() -> None:
    def dataset(**values: Any) -> str | None:  # noqa: ANN401 - any value of a sample
        lifetime = load_policy(render_profile("health-strict", **{**GIVEN, **values}).encode()).policy.differential_privacy.lifetime
        return None if lifetime is None else lifetime.dataset

    assert dataset() == "visits"
    assert dataset(datasets=["a", "b"], lifetime_dataset="b") == "b"
    assert dataset(datasets=[]) == "LOOK"


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
