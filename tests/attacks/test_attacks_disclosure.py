"""What a curious sponsor learns of a rival's policy with 200 proposals, clause by clause, and what it does not (docs/threat-model.md).

For every clause of the schema there are policies that differ from the rival's in this clause alone. `TOLD`: the sponsor tells them apart,
sooner or later. `SILENT`: it does not, with all its proposals. `ALL_OR_NOTHING`: with that value the party takes part in no study at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final

import pytest
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.upheld import Section

from tests.attacks.curious import (
    HONEST,
    PARTIES,
    PEOPLE,
    QUESTIONS_ASKED,
    RIVAL,
    SPONSOR,
    Question,
    Watcher,
    candidates_left,
    changed_in,
    offer_of,
    policy_of,
    questions,
    rival_table,
)
from tests.policies.policy_federations import PURPOSE
from tests.policies.policy_samples import EXAMPLES, key_of

Candidates = Mapping[str, Sequence[object]]
TABLE: Final = rival_table()
ASKED: Final = questions()
KEY: Final = "SHA256:" + "B" * 43
SHARED: Final = {"summary": True, "trunk": True}


def pins(*parties: str) -> dict[str, str]:
    return {party: key_of(party).public.fingerprint for party in parties}


PINNED: Final = [party for party in PARTIES if party != "acme-us"]
TOLD: Final[Candidates] = {
    "identity.valid_until": [date(2027, 6, 30), date(2028, 6, 30)],
    "legal.documents": [[], [{"kind": "dpia", "reference": "D-1", "sha256": "3" * 64}]],
    "purpose.granted": [[PURPOSE, "dpv:Education"], ["dpv:Education"]],
    "purpose.diseases": [["MONDO:0005252"]],
    "peers.granted": [["class:fund", "class:broker"], ["acme", "acme-2", "acme-3"]],
    "peers.denied": [["acme-3"], ["corp"]],
    "peers.countries": [["DE", "US"]],
    "peers.transfers": [[{"country": "US", "instrument": "contract"}]],
    "peers.trust": ["first-use"],
    "peers.fingerprints": [pins(*(party for party in PINNED if party != absent)) for absent in ("acme-3", "corp")],
    "data.columns": [["age", "sodium", "ill"], ["age", "ill", "costly"]],
    "schemes.gateway_may_lie": [False],
    "schemes.colluding_parties_survived": [0],
    "sums.min_parties": [3, 5, {"summary": 4, "trunk": 4, "head:*": 4}],
    "sums.max_small_changes": [0, 2],
    "sharing.segments": [{"summary": True}, SHARED],
    "sharing.clip_bound": [{"min": 0.05, "max": 1.0}, {"min": 0.05, "max": 4.0}, {"min": 0.07, "max": 2.0}, {"min": 0.03, "max": 2.0}],
    "sharing.weight_cap": [0.3, 0.35, 0.5],
    "sharing.weight_cap_of_others": [0.35, 0.4, 0.5],
    "sharing.record_count": ["exact", "hidden", "rounded:100", "rounded:1000"],
    "sharing.mib_a_round": [0.5, 0.9, 2.0],
    "disclosure.opened_sums_readable_by": ["parties"],
    "model_use.allowed": [["internal-use"], ["internal-use", "publish-metrics", "sell"]],
    "model_use.forbidden": [["publish-metrics"]],
    "limits.rounds_a_study": [50, 61, 70],
}
SILENT: Final[Candidates] = {
    "identity.version": [2],
    "identity.valid_from": [date(2027, 2, 1)],
    "identity.supersedes": [None, "sha256:" + "9" * 64],
    "identity.profile": [None],
    "legal.controller": ["Somebody else"],
    "legal.role": ["processor"],
    "legal.basis": [[{"id": "eu-gdpr:A9-2-j"}]],
    "legal.professional_secrecy": ["Sec. 203 StGB"],
    "purpose.granted": [[PURPOSE, "dpv:NonCommercialResearch"]],  # nobody asked for it
    "purpose.prohibited": [[], ["dpv:Marketing", "dpv:Education"]],  # not granted anyway
    "gateway.countries": [["DE"], ["DE", "US"]],  # laxer or stricter: the gateway there is passes
    "gateway.incident_notice_hours_at_most": [24],
    "gateway.change_notice_days_at_least": [30],
    "peers.denied": [["acme-us"], ["class:broker"], ["zeta"]],  # not permitted anyway, or not invited
    "peers.countries": [["DE", "FR"]],
    "peers.transfers": [[{"country": "CH", "instrument": "adequacy"}]],
    "peers.fingerprints": [pins(*PINNED, "zeta"), pins(*PINNED, "acme-us")],  # not invited, or not permitted anyway
    "peers.trusted_set": [["corp"]],
    "data.datasets": [["visits", "claims"]],
    "data.columns": [["age", "sodium", "ill", "costly", "weight"]],
    "data.min_people": [1, 1_700],
    "data.exclusions_max_age_hours": [24],
    "schemes.accepted": [["masked", "homomorphic"], ["homomorphic", "masked"]],
    "schemes.key_bits_at_least": [2048],
    "schemes.colluding_parties_survived": [None],  # written or by default
    "schemes.dealers_granted": [["corp"]],
    "sums.min_parties": [{"summary": 4, "trunk": 4, "head:cost": 3, "head:*": 5}],  # of a head that it has no data for
    "sums.min_cell": [11],
    "differential_privacy.unit": ["person"],
    "differential_privacy.adjacency": ["add-or-remove-one"],
    "differential_privacy.noise_trust": ["cohort"],
    "sharing.segments": [SHARED | {"head:cost": True}],  # without the head that it has no data for
    "sharing.max_weight_ratio": [4.0],
    "disclosure.contribution_record": [["self", "corp"]],
    "model_use.allowed": [["internal-use", "publish-metrics", "teach"]],
    "model_use.forbidden": [[], ["sell"]],  # not allowed anyway
    "model_use.publication": ["free"],
    "model_use.benefit_least": ["model-quality"],
    "limits.studies_at_once": [1],
    "limits.rounds_a_day": [5],
    "limits.hours": ["20:00-06:00 Europe/Berlin"],
    "limits.cpu_seconds_a_round": [60],
    "code.workloads": [["preprocess@1", "train@1", "statistics@1"]],
    "code.custom": [["sha256:" + "4" * 64]],
    "retention.sealed_updates": ["until-study-closes"],
    "retention.model_versions_days": [10],
    "retention.evidence_days": [10],
    "retention.legal_hold": [True],
    "retention.withdrawal_notice_days": [30],
    "approval.loosening_needs_all": [False],
}
ALL_OR_NOTHING: Final[Candidates] = {
    "gateway.fingerprints": [[KEY]],
    "data.datasets": [["claims"]],
    "data.min_people": [PEOPLE + 1],
    "data.exclusions_required": [True],
    "data.erasure_effect": ["from-next-round"],
    "data.minimum_fairness_check": [["age"]],
    "code.workloads": [["preprocess@1"]],
    "sums.groups": [{"allowed": True, "min_parties": 4, "rounds_at_most": 1}],
    "differential_privacy.required": [True],
    "differential_privacy.per_study": [{"epsilon": 1.0, "delta": 1e-6}],
    "differential_privacy.lifetime": [{"dataset": "visits", "epsilon": 1.0, "delta": 1e-6, "years": 5}],
    "sharing.fraction_a_round": [0.5],
    "disclosure.own_metrics": ["sum-only"],
    "robustness.least": ["R1"],
}
ELSEWHERE: Final = {  # upheld outside the negotiation: who the party is; who signs, and whose word counts
    "identity.party",
    "peers.issuers",
    "approval.policy",
    "approval.agreement",
}


COMPARED: Final = {  # what the page shows: the rival pins everybody, or only those whom it knows, or those and the sponsor
    "everybody": TABLE,
    "two parties that it knows": changed_in(TABLE, "peers.fingerprints", pins(*HONEST)),
    "those two and the sponsor": changed_in(TABLE, "peers.fingerprints", pins(*HONEST, SPONSOR)),
}
MOMENTS: Final = (1, 10, 20, 40, QUESTIONS_ASKED)


def rows(candidates: Candidates) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(clause, [changed_in(TABLE, clause, value) for value in values]) for clause, values in candidates.items()]


def test_every_clause_of_the_schema_is_asked_about() -> None:
    clauses = {
        f"{name}.{field}"
        for name, info in PrivacyPolicy.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
        for field in info.annotation.model_fields
    }
    assert clauses == {*TOLD, *SILENT, *ALL_OR_NOTHING, *ELSEWHERE}
    assert len(ASKED) == QUESTIONS_ASKED


@pytest.mark.parametrize(("clause", "tables"), rows(TOLD), ids=list(TOLD))
def test_what_the_negotiation_needs_is_learned(clause: str, tables: list[dict[str, Any]]) -> None:
    assert candidates_left(ASKED, [TABLE, *tables])[-1] == 1, clause


@pytest.mark.parametrize(("clause", "tables"), rows(SILENT), ids=list(SILENT))
def test_what_it_does_not_need_is_not_learned(clause: str, tables: list[dict[str, Any]]) -> None:
    assert candidates_left(ASKED, [TABLE, *tables])[-1] == 1 + len(tables), clause


@pytest.mark.parametrize(("clause", "tables"), rows(ALL_OR_NOTHING), ids=list(ALL_OR_NOTHING))
def test_who_cannot_take_part_declines_and_says_no_more(clause: str, tables: list[dict[str, Any]]) -> None:
    proposal = Watcher(ASKED[:1]).proposals[0]
    for table in tables:
        assert offer_of(policy_of(table), proposal, PEOPLE) is None, clause


def test_the_number_of_people_is_told_in_its_band_and_no_finer() -> None:
    people = [PEOPLE, 1_500, 1_999, 1_499, 2_000]  # told as rounded:1500, rounded:1000, rounded:2000
    assert candidates_left(ASKED, [TABLE] * 5, people)[-1] == 3


def test_all_reasons_to_decline_look_alike() -> None:
    """One that declines over its purpose, one that cannot uphold its own policy, one with too few people: the sponsor is told the same."""
    watcher, plain = Watcher(ASKED[:1]), rival_table()
    declining = [("purpose.granted", ["dpv:Education"]), ("differential_privacy.required", True), ("data.min_people", 9_999)]
    told = {watcher.told(0, offer_of(policy_of(changed_in(plain, *change)), watcher.proposals[0], PEOPLE)) for change in declining}
    assert len(told) == 1


def test_a_denial_is_seen_as_an_absence() -> None:
    """No message says so; but with and without the denied party the sponsor sees two outcomes, and one proposal more tells which."""
    without, with_corp = Question(), Question(invited=("acme", "acme-2", "acme-3", "corp", RIVAL))
    watcher = Watcher([without, with_corp])
    denying = policy_of(changed_in(TABLE, "peers.denied", ["corp"]))
    told = [watcher.told(number, offer_of(denying, proposal, PEOPLE)) for number, proposal in enumerate(watcher.proposals)]
    assert '"rival"' in told[0]
    assert not ('"rival"' in told[1] and '"corp"' in told[1])
    foreign = policy_of(changed_in(changed_in(TABLE, "peers.granted", ["acme", "acme-2", "acme-3", "dell"]), "peers.denied", []))
    assert told == [watcher.told(number, offer_of(foreign, proposal, PEOPLE)) for number, proposal in enumerate(watcher.proposals)]


def test_a_bound_that_another_party_tightens_hides_the_rest() -> None:
    """The sponsor has no parties of its own to fill the study with: the rival's floor wants everyone, and another's range is narrower."""
    alone = [replace(question, invited=(SPONSOR, "corp", "dell", RIVAL)) for question in ASKED[:40]]
    tables = [changed_in(TABLE, "sharing.clip_bound", {"min": 0.05, "max": most}) for most in (2.0, 3.0, 4.0)]
    assert candidates_left(alone, tables, narrow=[("corp", 1.0)])[-1] == 3
    assert candidates_left(alone, tables)[-1] == 1


def test_the_page_shows_what_is_learned_and_how_fast() -> None:
    """Pins keep a policy: a study that is filled with strangers does not reach the floor, and its terms say nothing of the rival."""
    page = (EXAMPLES.parent / "threat-model.md").read_text(encoding="utf-8")
    for pinned, base in COMPARED.items():
        counts = [sum(column) for column in zip(*told_apart(base), strict=True)]
        assert f"| {pinned} | {' | '.join(str(count) for count in counts)} |" in page
    silent = set(SILENT) - set(TOLD) - set(ALL_OR_NOTHING)
    policies = sum(len(values) for clause, values in TOLD.items() if clause not in OF_TRUST)
    for text in (f"{len(TOLD)} clauses", f"{len(silent)} clauses", f"{policies} policies", f"{QUESTIONS_ASKED} proposals"):
        assert text in page


OF_TRUST: Final = ("peers.fingerprints", "peers.trust")  # which of the compared policies differ in


def told_apart(base: dict[str, Any]) -> list[list[int]]:
    """Return for each clause how many other policies the sponsor tells apart from `base`, after so many proposals."""
    found = []
    for clause, values in TOLD.items():
        if clause not in OF_TRUST:
            left = candidates_left(ASKED, [base, *(changed_in(base, clause, value) for value in values)])
            found.append([1 + len(values) - left[moment - 1] for moment in MOMENTS])
    return found
