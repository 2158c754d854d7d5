from __future__ import annotations

import hashlib
import json

import pytest
from parley_audit.checks import Check
from parley_audit.leaves import KINDS, parse_leaf, study_of
from parley_audit.verify import verify
from parley_crypto.errors import CryptoError, MalformedError, VerificationError
from parley_crypto.signing import Envelope
from parley_crypto.statement import Statement
from parley_protocol.records import (
    PolicyActivated,
    StudyChange,
    StudyEvent,
    invite_proof,
    proof_for_invite,
    salted_digest,
    verify_enrolment,
)
from pydantic import ValidationError

from tests.audit.sample_log import authentication_key, enrolment, export, sample_leaves
from tests.simulator import GATEWAY_KEY, party_key


def test_a_salted_digest_needs_its_salt() -> None:
    body = b"min_parties = 3"
    made = salted_digest(b"\x01" * 32, body)
    assert made == salted_digest(b"\x01" * 32, body)
    assert len({made, salted_digest(b"\x02" * 32, body), salted_digest(b"\x01" * 32, b"min_parties = 4")}) == 3
    with pytest.raises(MalformedError, match="wanted 32 bytes, got 3"):
        salted_digest(b"abc", body)


def test_a_proof_of_invite_is_good_for_these_keys_only() -> None:
    bound = {"party": "p", "identity": "1" * 64, "authentication": "2" * 64, "gateway": "3" * 64}
    proof = invite_proof(b"token", **bound)
    assert proof == proof_for_invite(hashlib.sha256(b"token").digest(), **bound)
    others = [invite_proof(b"token", **(bound | {name: "4" * 64})) for name in bound] + [invite_proof(b"other", **bound)]
    assert len({proof, *others}) == 6
    assert b"token" not in enrolment("party-000").dump()


def test_an_enrolment_needs_both_keys() -> None:
    envelope = enrolment("party-000")
    assert verify_enrolment(envelope).party == "party-000"
    for key in (party_key("party-000"), authentication_key("party-000")):
        with pytest.raises(VerificationError, match="wanted a signature by"):
            verify_enrolment(Envelope.sign(envelope.payload_type, envelope.payload, key))
    with pytest.raises(VerificationError, match="wanted 2 signatures, got 3"):
        verify_enrolment(
            Envelope.sign(
                envelope.payload_type, envelope.payload, party_key("party-000"), authentication_key("party-000"), party_key("party-001")
            )
        )
    with pytest.raises(CryptoError):
        verify_enrolment(Envelope(PolicyActivated.kind, envelope.payload, envelope.signatures))


@pytest.mark.parametrize(
    "changes",
    [
        {"agreement": None},
        {"head": None},
        {"change": StudyChange.TERMINATED},
        {"certificates": 1},
        {"change": "paused"},
        {"certificates": -1},
    ],
)
def test_an_event_says_what_it_must(changes: dict[str, object]) -> None:
    good = {
        "study": "s",
        "change": "started",
        "by": None,
        "agreement": "1" * 64,
        "certificates": 0,
        "head": "1" * 64,
        "reason": "",
        "at": 1,
    }
    StudyEvent.model_validate(good)
    with pytest.raises(ValidationError):
        StudyEvent.model_validate(good | changes)


def test_every_kind_of_leaf_comes_back_from_its_bytes() -> None:
    seen: set[type[Statement]] = set()
    for leaf in sample_leaves():
        statement = parse_leaf(leaf)
        seen.add(type(statement))
        assert statement.canonical() == Envelope.load(leaf).payload
        assert study_of(statement) in {None, "study", "other"}
    assert seen == {kind.of for kind in KINDS.values()}
    assert all(name.startswith("application/vnd.parley.") and name.endswith(".v1+json") for name in KINDS)


def test_a_number_that_canonical_json_cannot_hold_is_a_fault_and_no_crash() -> None:
    body = {"party": "party-000", "policy": "1" * 64, "at": 2**60}
    leaf = Envelope.sign(PolicyActivated.kind, json.dumps(body, sort_keys=True, separators=(",", ":")).encode(), GATEWAY_KEY).dump()
    report = verify(export([leaf]), gateway_key=GATEWAY_KEY.public)
    assert report.fault is not None
    assert (report.fault.check, report.fault.leaf) == (Check.POLICIES, 0)
    folder = export([])
    folder.files["export.json"] = folder.files["export.json"].replace(b'"size":0', b'"size":%d' % 2**60)
    report = verify(folder, gateway_key=GATEWAY_KEY.public)
    assert report.fault is not None
    assert report.fault.check is Check.FORMAT
