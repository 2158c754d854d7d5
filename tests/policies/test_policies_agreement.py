from __future__ import annotations

import pytest
from parley_crypto.signing import Envelope, Signature
from parley_policies.errors import AgreementInvalid
from parley_policies.negotiation.agreement import Agreement, Refusal, acceptance, assemble, read_acceptance
from parley_policies.negotiation.terms import Terms
from pydantic import ValidationError

from tests.policies.policy_samples import IDS, Federation, changed, key_of

FOUR = IDS[:4]
TERMS = Federation.of(FOUR).terms()
SIGNED = [acceptance(TERMS, key_of(party)) for party in FOUR]


def test_signed_by_all_it_is_an_agreement() -> None:
    agreement = Agreement.load(assemble(TERMS, SIGNED))
    assert agreement.terms == TERMS
    assert agreement.digest == TERMS.digest()
    assert Agreement.load(Envelope.load(agreement.envelope.dump())) == agreement


def test_order_of_acceptances_does_not_matter() -> None:
    assert assemble(TERMS, SIGNED[::-1]) == assemble(TERMS, SIGNED)


@pytest.mark.parametrize("missing", range(4))
def test_one_signature_short_is_none(missing: int) -> None:
    rest = [envelope for index, envelope in enumerate(SIGNED) if index != missing]
    with pytest.raises(AgreementInvalid, match=rf"all 4 members, got 3; lacking {FOUR[missing]}"):
        Agreement.load(assemble(TERMS, rest))


def test_a_forged_signature_is_none() -> None:
    whole = assemble(TERMS, SIGNED)
    forged = Signature(whole.signatures[1].keyid, whole.signatures[0].sig)
    with pytest.raises(AgreementInvalid, match="lacking b-clinic"):
        Agreement.load(Envelope(whole.payload_type, whole.payload, (whole.signatures[0], forged, *whole.signatures[2:])))


def test_signatures_on_other_terms_are_none() -> None:
    other = changed(TERMS, threshold=4)
    with pytest.raises(AgreementInvalid, match="identical payloads"):
        assemble(TERMS, [*SIGNED[:3], acceptance(other, key_of("d-fund"))])
    whole = assemble(TERMS, SIGNED)
    with pytest.raises(AgreementInvalid, match="got 0"):
        Agreement.load(Envelope(whole.payload_type, other.canonical(), whole.signatures))


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", TERMS.canonical().replace(b'"threshold":3', b'"threshold": 3'), b"\xff"])
def test_what_is_no_terms_is_no_agreement(payload: bytes) -> None:
    with pytest.raises(AgreementInvalid):
        Agreement.load(Envelope.sign(Terms.kind, payload, *(key_of(party) for party in FOUR)))


def test_another_type_of_statement_is_no_agreement() -> None:
    with pytest.raises(AgreementInvalid, match=r"wanted application/vnd\.parley\.terms"):
        Agreement.load(Envelope.sign("application/json", TERMS.canonical(), *(key_of(party) for party in FOUR)))


def test_two_members_with_one_key_cannot_agree() -> None:
    members = [member.model_dump() for member in TERMS.members]
    members[1]["identity"] = members[0]["identity"]
    with pytest.raises(ValidationError, match="identity key of its own"):
        changed(TERMS, members=members)


def test_only_members_accept() -> None:
    with pytest.raises(AgreementInvalid, match="wanted the key of a member"):
        acceptance(TERMS, key_of("z-party"))


def test_an_acceptance_is_read_as_one_members_signature_on_these_terms() -> None:
    assert read_acceptance(TERMS, "b-clinic", SIGNED[1]) == SIGNED[1]
    crowded = Envelope(
        SIGNED[1].payload_type, SIGNED[1].payload, (Signature(key_of("a-clinic").public.fingerprint, bytes(64)), *SIGNED[1].signatures)
    )
    assert read_acceptance(TERMS, "b-clinic", crowded) == SIGNED[1]
    with pytest.raises(AgreementInvalid, match="a-clinic"):
        read_acceptance(TERMS, "a-clinic", SIGNED[1])
    with pytest.raises(AgreementInvalid, match="z-party"):
        read_acceptance(TERMS, "z-party", SIGNED[1])
    other = changed(TERMS, threshold=4)
    with pytest.raises(AgreementInvalid, match="wanted terms"):
        read_acceptance(TERMS, "b-clinic", acceptance(other, key_of("b-clinic")))


def test_refusing_says_nothing() -> None:
    refusal = Refusal(study="risk", terms_digest=TERMS.digest(), party="a-clinic")
    assert Refusal.parse(refusal.canonical()) == refusal
    assert "clause" not in refusal.canonical().decode()
