"""Certificates: t signatures of distinct members on exactly one list, in the place of the chain that it belongs to."""

from __future__ import annotations

from contextlib import suppress

import pytest
from parley_crypto.signing import Envelope, Signature
from parley_protocol import certificates
from parley_protocol.certificates import Chain, extend, verify_certificate, verify_opened
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Opened, OpenedSegment, SurvivorList

from tests.attacks.adversary import SEGMENTS, SIX, Stage
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
from tests.simulator import GATEWAY_KEY, make_terms, party_key

TERMS = make_terms(6, segments=SEGMENTS)
START = Chain.start(TERMS.digest())


def stage() -> Stage:
    return Stage(TERMS).to(Phase.CONFIRM)


def signed(listed: SurvivorList, *signers: str) -> Envelope:
    return listed.sign(*(party_key(party) for party in signers))


def opened(listed: SurvivorList, **changes: object) -> Envelope:
    """The gateway's statement on a certified list, with some fields changed."""
    step = TERMS.steps[0]
    fields: dict[str, object] = {
        "study": listed.study,
        "agreement": listed.agreement,
        "round": listed.round,
        "base": listed.base,
        "certificate": listed.digest(),
        "segments": tuple(
            OpenedSegment(
                name=name, length=step.segment(name).length, parties=len(listed.parties & set(step.segment(name).members)), body="e" * 64
            )
            for name in listed.openable
        ),
    }
    return Opened.model_validate(fields | changes).sign(GATEWAY_KEY)


def certify_with_one_signature_less_than_t() -> None:
    verify_certificate(TERMS, signed(stage().listed(), *SIX[:4]))


def certify_with_a_signature_counted_twice() -> None:
    envelope = signed(stage().listed(), *SIX[:4])
    verify_certificate(TERMS, Envelope(envelope.payload_type, envelope.payload, (*envelope.signatures, envelope.signatures[0])))


def certify_with_a_stranger() -> None:
    listed = stage().listed()
    verify_certificate(TERMS, listed.sign(*(party_key(party) for party in SIX[:4]), GATEWAY_KEY))


def certify_with_a_signature_in_anothers_name() -> None:
    listed = stage().listed()
    envelope = signed(listed, *SIX[:4])
    forged = Signature(party_key(SIX[4]).public.fingerprint, signed(listed, SIX[0]).signatures[0].sig)
    verify_certificate(TERMS, Envelope(envelope.payload_type, envelope.payload, (*envelope.signatures, forged)))


def certify_with_signatures_on_another_list() -> None:
    at = stage()
    envelope, other = signed(at.listed(), *SIX[:4]), signed(at.listed(SIX[:5]), SIX[4])
    verify_certificate(TERMS, Envelope(envelope.payload_type, envelope.payload, envelope.signatures + other.signatures))


def certify_for_another_agreement() -> None:
    verify_certificate(TERMS, signed(stage().listed(agreement="a" * 64), *SIX))


def certify_for_another_study() -> None:
    verify_certificate(TERMS, signed(stage().listed(study="another"), *SIX))


def continue_another_chain() -> None:
    extend(START, TERMS, signed(stage().listed(previous="a" * 64), *SIX))


def go_back_in_rounds() -> None:
    chain, first = extend(START, TERMS, signed(stage().listed(), *SIX))
    extend(chain, TERMS, signed(stage().listed(previous=first.digest(), base="a" * 64, parameters="b" * 64), *SIX))


def certify_a_step_beyond_the_last() -> None:
    with suppress(IndexError):  # an accident instead of a refusal
        extend(START, TERMS, signed(stage().listed(step=1), *SIX))


def certify_members_out_of_order() -> None:
    listed = stage().listed()
    extend(START, TERMS, signed(stage().listed(survivors=listed.survivors[::-1]), *SIX))


def certify_a_survivor_without_boxes() -> None:
    extend(START, TERMS, signed(stage().listed(boxes_from=SIX[:5]), *SIX))


def certify_fewer_than_t_survivors() -> None:
    extend(START, TERMS, signed(stage().listed(SIX[:4]), *SIX))


def certify_a_part_below_its_floor() -> None:
    at = stage()
    extend(START, TERMS, signed(at.listed(SIX[1:], openable=("trunk", "head:a", "head:b")), *SIX))


def certify_nothing() -> None:
    extend(START, TERMS, signed(stage().listed(openable=()), *SIX))


def certify_a_part_twice() -> None:
    extend(START, TERMS, signed(stage().listed(openable=("trunk", "trunk")), *SIX))


def open_under_another_certificate() -> None:
    listed = stage().listed()
    verify_opened(TERMS, listed, opened(listed, certificate="a" * 64))


def open_another_round() -> None:
    listed = stage().listed()
    verify_opened(TERMS, listed, opened(listed, round=2))


def open_a_part_that_was_not_certified() -> None:
    listed = stage().listed()
    verify_opened(TERMS, listed, opened(listed, segments=()))


def open_over_another_number_of_parties() -> None:
    listed = stage().listed()
    wrong = tuple(OpenedSegment(name=name, length=8, parties=5, body="e" * 64) for name in listed.openable)
    verify_opened(TERMS, listed, opened(listed, segments=wrong))


def verifying(words: str) -> tuple[Guard]:
    return (Guard(certificates, "verify_certificate", words),)


def extending(words: str, operand: str = "") -> tuple[Guard]:
    return (Guard(certificates, "extend", words, operand),)


def surviving(words: str, operand: str = "") -> tuple[Guard]:
    return (Guard(certificates, "_check_survivors", words, operand),)


FEW, AGREED, NEXT, STEP = "valid signatures of members, got", "wanted agreement", "wanted a successor", "wanted a step below"
ORDER, LISTED, ONLY, UNDER = "wanted distinct members", "members listed, got", "wanted only ", "under this certificate"
OTHER_OPENING = (Guard(certificates, "verify_opened", UNDER, "bound != "),)
OTHER_PARTS = (Guard(certificates, "verify_opened", UNDER, "got != wanted"),)
ATTACKS = (
    Attack("t - 1", certify_with_one_signature_less_than_t, f"wanted 5 {FEW} 4", verifying(FEW)),
    Attack("one twice", certify_with_a_signature_counted_twice, f"{FEW} 4", verifying(FEW)),
    Attack("a stranger", certify_with_a_stranger, f"{FEW} 4", verifying(FEW)),
    Attack("another's name", certify_with_a_signature_in_anothers_name, f"{FEW} 4", verifying(FEW)),
    Attack("on another list", certify_with_signatures_on_another_list, f"{FEW} 4", verifying(FEW)),
    Attack("another agreement", certify_for_another_agreement, AGREED, verifying(AGREED)),
    Attack("another study", certify_for_another_study, AGREED, verifying(AGREED)),
    Attack("another chain", continue_another_chain, NEXT, extending(NEXT, "listed.previous")),
    Attack("rounds backwards", go_back_in_rounds, NEXT, extending(NEXT, "listed.round")),
    Attack("a step too far", certify_a_step_beyond_the_last, STEP, extending(STEP)),
    Attack("out of order", certify_members_out_of_order, ORDER, surviving(ORDER, "not in_order")),
    Attack("without boxes", certify_a_survivor_without_boxes, ORDER, surviving(ORDER, "not set(survivors)")),
    Attack("fewer than t listed", certify_fewer_than_t_survivors, LISTED, surviving(LISTED)),
    Attack("below its floor", certify_a_part_below_its_floor, ONLY, extending(ONLY, "listed.openable != ")),
    Attack("a part twice", certify_a_part_twice, ONLY, extending(ONLY, "listed.openable != ")),
    Attack("nothing opened", certify_nothing, ONLY, extending(ONLY, "not listed.openable")),
    Attack("another certificate", open_under_another_certificate, UNDER, OTHER_OPENING),
    Attack("another round", open_another_round, UNDER, OTHER_OPENING),
    Attack("parts not certified", open_a_part_that_was_not_certified, UNDER, OTHER_PARTS),
    Attack("other parties", open_over_another_number_of_parties, UNDER, OTHER_PARTS),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_is_no_certificate_of_this_chain_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_it_is_taken(attack: Attack) -> None:
    check_mutations(attack)


def test_a_certificate_and_its_opening_are_taken() -> None:
    listed = stage().listed()
    chain, read = extend(START, TERMS, signed(listed, *SIX[1:]))
    assert (read, chain.head, chain.round, chain.bases) == (listed, listed.digest(), 1, frozenset({listed.base}))
    assert verify_opened(TERMS, listed, opened(listed)).certificate == chain.head


def test_a_member_whose_signature_is_wrong_does_not_hide_the_others() -> None:
    listed = stage().listed()
    envelope = signed(listed, *SIX[1:])
    junk = Signature(party_key(SIX[0]).public.fingerprint, bytes(64))
    assert verify_certificate(TERMS, Envelope(envelope.payload_type, envelope.payload, (junk, *envelope.signatures))) == listed


def test_an_opening_that_the_gateway_did_not_sign_is_refused() -> None:
    listed = stage().listed()
    by_a_party = Opened.parse(opened(listed).payload).sign(party_key(SIX[0]))
    with pytest.raises(RemoteProtocolError, match=r"opened sums of round 1: .*wanted a signature by"):
        verify_opened(TERMS, listed, by_a_party)


def test_a_list_that_is_no_canonical_json_is_refused() -> None:
    listed = stage().listed()
    loose = listed.canonical().replace(b'"round":1', b'"round": 1')
    envelope = Envelope.sign(SurvivorList.kind, loose, *(party_key(party) for party in SIX))
    with pytest.raises(RemoteProtocolError, match="canonical JSON"):
        verify_certificate(TERMS, envelope)
