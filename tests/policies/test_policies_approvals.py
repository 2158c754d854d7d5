"""People's approval of an agreement: what counts, and what the guard lets leave."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from parley_crypto.signing import Envelope
from parley_policies.approvals.agreements import approvals_of, check_approved
from parley_policies.approvals.holders import Holders
from parley_policies.approvals.statements import Decision
from parley_policies.enforcement.guard import Guard, Leaving
from parley_policies.errors import ApprovalInvalid, Refused
from parley_policies.negotiation.terms import Terms

from tests.policies.approval_samples import DOCTOR, KEYS, OFFICER, PARTY, SECURITY, approval, file_of, role_key, word
from tests.policies.policy_samples import IDS, Federation

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
TERMS: Terms = Federation.of(IDS[:6]).terms()
OTHER: Terms = Federation.of(IDS[:5]).terms()
FILE = file_of(agreement=(OFFICER, DOCTOR))
HOLDERS = Holders(PARTY, MappingProxyType({role: key.public for role, key in KEYS.items()}))
GUARD = Guard(FILE, "http://127.0.0.1:8443", HOLDERS)
BOTH = (word(TERMS, OFFICER), word(TERMS, DOCTOR))


def accept(*approvals: Envelope, guard: Guard = GUARD, terms: Terms | None = TERMS) -> Any:  # noqa: ANN401 - a verdict, or what is raised
    return guard.check_send(Leaving.ACCEPTANCE, study="risk", terms=terms, approvals=approvals, now=NOW)


def refused(*approvals: Envelope, guard: Guard = GUARD, terms: Terms | None = TERMS) -> Refused:
    with pytest.raises(Refused) as caught:
        accept(*approvals, guard=guard, terms=terms)
    return caught.value


def test_an_acceptance_leaves_once_every_role_has_approved_these_terms() -> None:
    assert "approval.agreement" in accept(*BOTH).clauses
    assert refused().got == "none"
    lacking = refused(BOTH[0])
    assert (lacking.clause, lacking.got) == ("approval.agreement", OFFICER)
    assert lacking.do.startswith(f"{DOCTOR}: parley agreement approve {TERMS.study}")


def test_a_policy_that_asks_nobody_needs_no_approval() -> None:
    assert accept(guard=Guard(file_of(agreement=()), GUARD.gateway_url)).purpose == "acceptance"


def test_no_acceptance_leaves_without_its_terms() -> None:
    assert refused(*BOTH, terms=None).clause == "terms"


def test_without_keys_nothing_is_approved() -> None:
    with pytest.raises(ApprovalInvalid, match="no key holds this role"):
        accept(*BOTH, guard=Guard(FILE, GUARD.gateway_url))


def test_one_refusal_is_enough_and_the_last_word_counts() -> None:
    no = word(TERMS, DOCTOR, decision=Decision.REFUSED, reason="no ethics vote")
    assert "role:doctor refused: no ethics vote" in str(refused(*BOTH, no))
    assert accept(*BOTH[:1], no, BOTH[1])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (word(OTHER, DOCTOR), "wanted the terms"),
        (word(TERMS, DOCTOR, study="another"), "wanted the terms"),
        (word(TERMS, DOCTOR, party="b-clinic"), "wanted one for a-clinic, got one for b-clinic"),
        (word(TERMS, SECURITY), "wanted a role that approval.agreement names"),
        (word(TERMS, DOCTOR, key=KEYS[OFFICER]), "wanted the key that holds role:doctor"),
        (word(TERMS, DOCTOR, key=role_key("role:engineer")), "wanted the key that holds role:doctor"),
        (approval(FILE, OFFICER), "wanted application/vnd.parley.agreement-approval"),
        (Envelope(BOTH[1].payload_type, BOTH[1].payload, BOTH[0].signatures), "wanted the key that holds role:doctor"),
        (Envelope(BOTH[1].payload_type, BOTH[1].payload[:-1], BOTH[1].signatures), "approval: AgreementApproval"),
    ],
    ids=[
        "other terms",
        "other study",
        "other party",
        "other role",
        "key of another role",
        "own key",
        "policy",
        "foreign signature",
        "bytes",
    ],
)
def test_a_word_that_does_not_count_is_refused_by_name(bad: Envelope, words: str) -> None:
    with pytest.raises(ApprovalInvalid, match=words):
        accept(BOTH[0], bad)


def test_a_word_altered_after_signing_does_not_count() -> None:
    no = word(TERMS, DOCTOR, decision=Decision.REFUSED)
    turned = Envelope(no.payload_type, no.payload.replace(b"refused", b"approved"), no.signatures)
    with pytest.raises(ApprovalInvalid, match="does not verify"):
        accept(BOTH[0], turned)


def test_a_key_that_was_replaced_no_longer_approves() -> None:
    newer = Holders(PARTY, MappingProxyType({**HOLDERS.keys, DOCTOR: role_key(DOCTOR, 1).public}))
    with pytest.raises(ApprovalInvalid, match="wanted the key that holds role:doctor"):
        approvals_of(newer, FILE.policy, TERMS, BOTH)
    check_approved(FILE.policy, TERMS, approvals_of(newer, FILE.policy, TERMS, [BOTH[0], word(TERMS, DOCTOR, key=role_key(DOCTOR, 1))]))
