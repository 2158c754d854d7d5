from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_policies.model.lattices import normal
from parley_policies.model.loader import load_policy
from parley_policies.model.sentences import SENTENCES, sentence
from parley_policies.model.upheld import lattice_of
from parley_policies.model.words import TITLES, words

from tests.policies.policy_clauses import INCOMPARABLE, NEUTRAL, PAIRS, policy_with
from tests.policies.policy_samples import EXAMPLES
from tests.policies.policy_values import fields, values_of

FIELDS = dict(fields())
HOSPITAL = load_policy((EXAMPLES / "policy-hospital.toml").read_bytes()).policy
INSURER = load_policy((EXAMPLES / "policy-insurer.toml").read_bytes()).policy


def said(policy: Any) -> dict[str, str]:  # noqa: ANN401 - a policy
    return {line.clause: line.text for paragraph in words(policy) for line in paragraph.lines}


def test_every_clause_has_a_sentence_and_every_section_a_title() -> None:
    assert set(SENTENCES) == set(FIELDS)
    assert list(TITLES) == list(dict.fromkeys(name.partition(".")[0] for name in FIELDS))


@pytest.mark.parametrize("policy", [HOSPITAL, INSURER], ids=["hospital", "insurer"])
def test_words_say_every_clause_once_in_order(policy: Any) -> None:  # noqa: ANN401 - a policy
    lines = [line.clause for paragraph in words(policy) for line in paragraph.lines]
    assert lines == list(FIELDS)
    for text in said(policy).values():
        assert text[0].isupper()
        assert text.endswith(".")
        assert "None" not in text
        assert "  " not in text


@pytest.mark.parametrize(("clause", "values"), sorted({**PAIRS, **INCOMPARABLE, **NEUTRAL}.items()))
def test_another_value_changes_that_sentence_and_no_other(clause: str, values: tuple[Any, Any]) -> None:
    one, other = (said(policy_with(**{clause: value})) for value in values)
    assert [name for name in one if one[name] != other[name]] == [clause]


@pytest.mark.parametrize("clause", sorted(FIELDS))
@given(data=st.data())
def test_two_values_never_read_the_same(clause: str, data: st.DataObject) -> None:
    one, other = (data.draw(values_of(FIELDS[clause])) for _ in range(2))
    lattice = lattice_of(FIELDS[clause])
    derived = clause == "schemes.colluding_parties_survived" and None in (one, other)  # the value in force is a number
    if not derived and normal(lattice, one) != normal(lattice, other):
        assert sentence(clause, one) != sentence(clause, other)


READS = {
    "schemes.dealers_granted": "No party may deal a key.",
    "identity.valid_until": "Its last day is 31 December 2027 (UTC); then our service stops by itself.",
    "purpose.diseases": "A study must say which disease it is about: heart failure (MONDO:0005252), or a form of it.",
    "gateway.countries": "The gateway's operator and every subprocessor must be in Germany (DE).",
    "data.min_people": "A dataset is used only while at least 200 people are left in it after exclusions.",
    "schemes.colluding_parties_survived": "If 1 other party conspires, even with the gateway, it learns no more about us than the readable "
    "result says.",
    "sums.min_parties": "Only sums of enough parties, ourselves included, are ever made readable: at least 4 for the shared part of the "
    "model (trunk), at least 3 for the part for any objective and at least 4 for summary statistics. No other part is.",
    "sharing.weight_cap": "Of a weighted sum at most 40 % may be ours.",
    "limits.hours": "Rounds begin only between 20:00 and 06:00 (Europe/Berlin).",
    "approval.policy": "A version of this policy is in force only once the roles data-protection-officer and it-security have signed it.",
    "differential_privacy.per_study": "One study may spend at most ε = 4 (δ = 0.000001): any outcome is at most about 54.6 times as likely "
    "because one of them takes part, apart from a chance of 0.000001.",
}


@pytest.mark.parametrize(("clause", "text"), READS.items())
def test_the_hospital_reads(clause: str, text: str) -> None:
    assert said(HOSPITAL)[clause] == text


@pytest.mark.parametrize("clause", [name for name, field in FIELDS.items() if not field.is_required()])
def test_what_is_not_written_is_said_plainly(clause: str) -> None:
    default = FIELDS[clause].get_default(call_default_factory=True)
    if clause != "schemes.colluding_parties_survived":  # the value in force is derived from the floors
        assert sentence(clause, default).endswith(".")


def test_what_an_author_writes_cannot_pass_for_our_words() -> None:
    forged = "A Ltd. Nobody has to sign this policy.\n\x1b[2K“No legal hold”\u202e"
    text = said(policy_with(**{"legal.controller": forged}))["legal.controller"]
    assert text == (
        "Responsible for the data (the controller) is “A Ltd. Nobody has to sign this policy.\\u000a\\u001b[2K\\“No legal hold\\”\\u202e”."
    )
    assert said(policy_with(**{"legal.controller": "{x}"}))["legal.controller"].endswith("“{x}”.")


@pytest.mark.parametrize(("epsilon", "text"), [(6.9, "about 992 times"), (7.0, "about 1,100 times"), (50.0, "bounds nothing that matters")])
def test_privacy_loss_is_said_as_odds(epsilon: float, text: str) -> None:
    budget = {"epsilon": epsilon, "delta": 0.0}
    line = said(policy_with(**{"differential_privacy.per_study": budget}))["differential_privacy.per_study"]
    assert text in line
    assert "apart from" not in line
