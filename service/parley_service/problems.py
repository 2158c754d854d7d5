"""Which exception is which problem: the one place where the trees of errors below the services become RFC 9457 problems.

`KNOWN` are the roots of those trees; whoever answers somebody catches these and nothing broader. Any other exception is a bug: it goes to
the log as one, and the answer, if there is one, is `internal`. The trees of gateway, party and command line derive from `ProblemError`.

`outward` problems go to another organization, by way of the gateway: a policy's refusal is then told in one sentence that is the same
whatever the clause (policy.md, Explaining). At home, on the control socket and the command line, the exact reason is told.

    >>> from parley_crypto.errors import VerificationError
    >>> problem_of(VerificationError("signature does not verify"), outward=True).slug.value
    'verification-failed'
"""

from __future__ import annotations

from typing import Final, assert_never

from parley_crypto.errors import CryptoError, EncodingError, MalformedError, VerificationError
from parley_policies.errors import (
    AgreementInvalid,
    ApprovalInvalid,
    Conflict,
    CredentialInvalid,
    FileInvalid,
    OfferInvalid,
    PolicyError,
    Refused,
)
from parley_protocol.problems import Problem, ProblemError, Slug

KNOWN: Final = (ProblemError, PolicyError, CryptoError, TimeoutError)
Known = ProblemError | PolicyError | CryptoError | TimeoutError


def problem_of(error: Known, *, outward: bool) -> Problem:
    """Return the problem that `error` is."""
    match error:
        case ProblemError():
            return error.to_problem()
        case Refused():
            return _refusal(error, outward=outward)
        case FileInvalid():
            return _file(error)
        case PolicyError():
            return _policy(error)
        case CryptoError():
            return Problem(_crypto(error, outward=outward), str(error))
        case TimeoutError():
            return Problem(Slug.TIMED_OUT, str(error) or "no answer in time")
        case other:
            assert_never(other)


def _refusal(error: Refused, *, outward: bool) -> Problem:
    if outward:
        return Problem(Slug.REFUSED_BY_POLICY, error.outward)
    return Problem(Slug.REFUSED_BY_POLICY, error.clause, wanted=error.wanted, got=error.got, do=error.do or None)


def _file(error: FileInvalid) -> Problem:
    if not error.faults:
        return Problem(Slug.CONFIG_INVALID, str(error))
    first, *others = error.faults
    do = "Correct it. The file also has: " + "; ".join(map(str, others)) if others else None
    return Problem(Slug.CONFIG_INVALID, f"{error.what} {error.file}: {first.field}", wanted=first.wanted, got=first.got, do=do)


def _policy(error: PolicyError) -> Problem:
    match error:
        case Conflict():
            parties = f" ({', '.join(error.parties)})" if error.parties else ""
            return Problem(Slug.NO_AGREEMENT, error.field + parties, wanted=error.wanted, got=error.got)
        case OfferInvalid() | AgreementInvalid() | ApprovalInvalid() | CredentialInvalid():
            return Problem(Slug.VERIFICATION_FAILED, str(error))
        case _:
            return Problem(Slug.INTERNAL, str(error))


def _crypto(error: CryptoError, *, outward: bool) -> Slug:
    match error:
        case VerificationError():
            return Slug.VERIFICATION_FAILED
        case EncodingError():
            return Slug.DATA_MISMATCH
        case MalformedError() if outward:
            return Slug.MALFORMED_REQUEST
        case _:
            return Slug.FILE_INVALID
