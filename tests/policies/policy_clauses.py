"""A stricter and a laxer value for every clause of a policy, and a policy to put them in: tables, as a TOML file would hold them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from parley_policies.errors import PolicyInvalid
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.reading import validated

from tests.policies.policy_samples import policy_text

PINS: Final = {"b-clinic": "SHA256:" + "B" * 43}
DOCUMENT: Final = {"kind": "dpia", "reference": "D-1", "sha256": "a" * 64, "review_by": date(2027, 6, 30)}

# clause -> (stricter, laxer)
PAIRS: Final[Mapping[str, tuple[Any, Any]]] = {
    "identity.valid_from": (date(2027, 2, 1), date(2027, 1, 1)),
    "identity.valid_until": (date(2027, 11, 30), date(2027, 12, 31)),
    "purpose.granted": (["dpv:ScientificResearch"], ["dpv:ScientificResearch", "DUO:0000006"]),
    "purpose.prohibited": (["dpv:Marketing", "text:sale"], ["dpv:Marketing"]),
    "purpose.diseases": (["MONDO:0005252"], []),
    "gateway.fingerprints": ([], ["SHA256:" + "A" * 43]),
    "gateway.countries": (["DE", "FR"], ["EU"]),
    "gateway.incident_notice_hours_at_most": (24, 72),
    "gateway.change_notice_days_at_least": (30, 14),
    "peers.granted": (["class:demo"], ["class:demo", "b-clinic"]),
    "peers.denied": (["c-fund"], []),
    "peers.countries": (["EU"], ["EEA"]),
    "peers.trust": ("pinned", "first-use"),
    "peers.transfers": ([], [{"country": "CH", "instrument": "adequacy"}]),
    "peers.issuers": ([], ["SHA256:" + "A" * 43]),
    "peers.trusted_set": ([], ["b-clinic"]),
    "data.columns": (["age"], ["age", "ill"]),
    "data.datasets": (["visits"], ["visits", "claims"]),
    "data.min_people": (200, 50),
    "data.exclusions_required": (True, False),
    "data.exclusions_max_age_hours": (24, 48),
    "data.erasure_effect": ("from-next-round", "from-next-study"),
    "data.minimum_fairness_check": (["age"], []),
    "schemes.accepted": (["masked"], ["masked", "homomorphic"]),
    "schemes.key_bits_at_least": (4096, 3072),
    "schemes.gateway_may_lie": (True, False),
    "schemes.colluding_parties_survived": (2, 1),
    "schemes.dealers_granted": ([], ["b-clinic"]),
    "sums.min_parties": (5, 4),
    "sums.groups": ({"allowed": False}, {"allowed": True, "min_parties": 4, "rounds_at_most": 5}),
    "sums.max_small_changes": (0, 2),
    "sums.min_cell": (11, 5),
    "differential_privacy.required": (True, False),
    "differential_privacy.unit": ("person", "record"),
    "differential_privacy.adjacency": ("replace-one", "add-or-remove-one"),
    "differential_privacy.per_study": ({"epsilon": 1.0, "delta": 1e-6}, {"epsilon": 4.0, "delta": 1e-6}),
    "differential_privacy.lifetime": (
        {"dataset": "visits", "epsilon": 10.0, "delta": 1e-5, "years": 5},
        {"dataset": "visits", "epsilon": 10.0, "delta": 1e-5, "years": 4},
    ),
    "differential_privacy.noise_trust": ("self", "cohort"),
    "sharing.segments": ({"summary": True, "trunk": True}, {"summary": True, "trunk": True, "head:*": True}),
    "sharing.clip_bound": ({"min": 0.1, "max": 1.0}, {"min": 0.1, "max": 2.0}),
    "sharing.weight_cap": (0.25, 0.4),
    "sharing.weight_cap_of_others": (0.25, 0.4),
    "sharing.max_weight_ratio": (2.0, 4.0),
    "sharing.record_count": ("rounded:500", "rounded:100"),
    "sharing.mib_a_round": (16.0, 64.0),
    "sharing.fraction_a_round": (0.5, 1.0),
    "disclosure.own_metrics": ("none", {"to": ["role:auditor"]}),
    "disclosure.opened_sums_readable_by": ("parties", "gateway"),
    "disclosure.contribution_record": (["self"], ["self", "role:auditor"]),
    "model_use.allowed": (["internal-use"], ["internal-use", "publish-metrics"]),
    "model_use.forbidden": (["sale", "re-identification"], ["sale"]),
    "model_use.publication": ("never", "after-approval"),
    "model_use.benefit_least": ("equal", "settlement"),
    "limits.rounds_a_study": (40, 60),
    "limits.studies_at_once": (1, 4),
    "limits.rounds_a_day": (20, 40),
    "limits.hours": ("22:00-04:00 Europe/Berlin", "20:00-06:00 Europe/Berlin"),
    "limits.cpu_seconds_a_round": (600, 900),
    "code.workloads": (["train@1"], ["preprocess@1", "train@1"]),
    "code.custom": ([], ["sha256:" + "a" * 64]),
    "robustness.least": ("R1", "R0"),
    "retention.sealed_updates": ("until-round-closes", "until-study-closes"),
    "retention.model_versions_days": (365, 3650),
    "retention.evidence_days": (3650, 365),
    "retention.withdrawal_notice_days": (0, 30),
    "approval.policy": (["role:counsel", "role:ciso"], ["role:ciso"]),
    "approval.agreement": (["role:counsel"], []),
    "approval.loosening_needs_all": (True, False),
}

# clause -> two values that cannot be compared: each way is a loosening
INCOMPARABLE: Final[Mapping[str, tuple[Any, Any]]] = {
    "identity.party": ("a-clinic", "b-clinic"),
    "identity.profile": ("demo-open", "health-strict"),
    "legal.controller": ("Clinic A", "Clinic A Holding"),
    "legal.role": ("controller", "processor"),
    "legal.basis": ([{"id": "eu-gdpr:A9-2-j"}], [{"citation": "45 CFR 164.514(b)(1)", "with": "expert determination"}]),
    "legal.professional_secrecy": ("Sec. 203 StGB", ""),
    "legal.documents": ([DOCUMENT], [{**DOCUMENT, "review_by": date(2028, 6, 30)}]),
    "peers.fingerprints": (PINS, {}),
    "retention.legal_hold": (True, False),  # on, data live longer; off, evidence may go
}

# clause -> two values, neither of which permits anything
NEUTRAL: Final[Mapping[str, tuple[Any, Any]]] = {
    "identity.version": (1, 2),
    "identity.supersedes": ("sha256:" + "a" * 64, "sha256:" + "b" * 64),
}


def policy_with(**clauses: Any) -> PrivacyPolicy:  # noqa: ANN401 - values of any clause
    """Return a policy with some clauses set: `section__field=value`, or `policy_with(**{"sums.min_parties": 4})`."""
    table: dict[str, Any] = tomllib.loads(policy_text("a-clinic", min_parties=4))
    for name, value in clauses.items():
        section, field = name.replace("__", ".").split(".")
        table.setdefault(section, {})[field] = value
    return validated(PrivacyPolicy, _frozen(table), "sample", PolicyInvalid)


def _frozen(value: Any) -> Any:  # noqa: ANN401 - what TOML holds
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
