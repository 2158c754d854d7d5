"""Which exception becomes which problem, at home and for others."""

from __future__ import annotations

import pytest
from parley_crypto.errors import CryptoError, EncodingError, MalformedError, VerificationError
from parley_policies.errors import AgreementInvalid, Conflict, Fault, OfferInvalid, PolicyError, PolicyInvalid, Refused
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.problems import Slug
from parley_service.errors import (
    AnsweredError,
    ConfigError,
    ControlError,
    ExtraMissingError,
    KeyFileError,
    LockedError,
    NotRunningError,
    RequestError,
    SecretError,
    StoreDamagedError,
    StoreError,
    StoreNewerError,
)
from parley_service.problems import KNOWN, Known, problem_of

CASES: list[tuple[Known, Slug, Slug]] = [
    (RemoteProtocolError("x", problem=Slug.CONFLICT), Slug.CONFLICT, Slug.CONFLICT),
    (VerificationError("x"), Slug.VERIFICATION_FAILED, Slug.VERIFICATION_FAILED),
    (EncodingError("x"), Slug.DATA_MISMATCH, Slug.DATA_MISMATCH),
    (MalformedError("x"), Slug.FILE_INVALID, Slug.MALFORMED_REQUEST),
    (CryptoError("x"), Slug.FILE_INVALID, Slug.FILE_INVALID),
    (PolicyInvalid("policy.toml", Fault("a", "b", "c")), Slug.CONFIG_INVALID, Slug.CONFIG_INVALID),
    (PolicyInvalid("policy.toml"), Slug.CONFIG_INVALID, Slug.CONFIG_INVALID),
    (Refused("sums", "4", "3"), Slug.REFUSED_BY_POLICY, Slug.REFUSED_BY_POLICY),
    (Conflict("rounds", ("a",), "1", "2"), Slug.NO_AGREEMENT, Slug.NO_AGREEMENT),
    (OfferInvalid("x"), Slug.VERIFICATION_FAILED, Slug.VERIFICATION_FAILED),
    (AgreementInvalid("x"), Slug.VERIFICATION_FAILED, Slug.VERIFICATION_FAILED),
    (PolicyError("x"), Slug.INTERNAL, Slug.INTERNAL),
    (TimeoutError(), Slug.TIMED_OUT, Slug.TIMED_OUT),
    (ConfigError("x"), Slug.CONFIG_INVALID, Slug.CONFIG_INVALID),
    (SecretError("x"), Slug.SECRET_UNAVAILABLE, Slug.SECRET_UNAVAILABLE),
    (KeyFileError("x"), Slug.FILE_INVALID, Slug.FILE_INVALID),
    (LockedError("x"), Slug.LOCKED, Slug.LOCKED),
    (StoreError("x"), Slug.STORE_FAILED, Slug.STORE_FAILED),
    (StoreDamagedError("x"), Slug.STORE_DAMAGED, Slug.STORE_DAMAGED),
    (StoreNewerError("x"), Slug.STORE_NEWER, Slug.STORE_NEWER),
    (ControlError("x"), Slug.MALFORMED_REQUEST, Slug.MALFORMED_REQUEST),
    (NotRunningError("x"), Slug.NOT_RUNNING, Slug.NOT_RUNNING),
    (ExtraMissingError("x"), Slug.EXTRA_MISSING, Slug.EXTRA_MISSING),
    (RequestError("x"), Slug.MALFORMED_REQUEST, Slug.MALFORMED_REQUEST),
]


@pytest.mark.parametrize(
    ("error", "at_home", "to_others"), CASES, ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value
)
def test_each_tree_has_its_problem(error: Known, at_home: Slug, to_others: Slug) -> None:
    assert isinstance(error, KNOWN)
    assert problem_of(error, outward=False).slug is at_home
    assert problem_of(error, outward=True).slug is to_others


def test_others_learn_no_clause() -> None:
    told = {
        problem_of(error, outward=True) for error in (Refused("peers.denied", "not b", "b"), Refused("sums.min_parties", "5", "4", "wait"))
    }
    assert len(told) == 1
    assert "denied" not in str(told)
    at_home = problem_of(Refused("peers.denied", "not b", "b"), outward=False)
    assert (at_home.detail, at_home.wanted, at_home.got) == ("peers.denied", "not b", "b")


def test_every_fault_of_a_file_is_told() -> None:
    problem = problem_of(PolicyInvalid("policy.toml", Fault("a", "1", "2"), Fault("b", "3", "4")), outward=False)
    assert (problem.detail, problem.wanted, problem.got) == ("policy policy.toml: a", "1", "2")
    assert "b: wanted 3, got 4" in (problem.do or "")


def test_an_answered_problem_is_handed_on() -> None:
    problem = problem_of(Refused("sums", "4", "3", "ask"), outward=False)
    assert AnsweredError(problem).to_problem() == problem
