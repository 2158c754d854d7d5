"""Exit codes, and the one place where an exception becomes a problem and a problem an exit code (docs: exit-codes).

`EXPECTED` are the roots of every tree of errors of the project, and the few of Python that say something about files, the network and
extras. What is none of these is a bug: it leaves as Python lets it leave, with exit code 1, and `parley.main` prints it.
"""

from __future__ import annotations

from enum import IntEnum, unique
from types import MappingProxyType
from typing import Final

from parley_audit.errors import AuditError, FaultError
from parley_learning.errors import LearningError, ModelFileError
from parley_protocol.problems import Problem, Slug
from parley_service.problems import KNOWN, problem_of

from parley.extras import extra_of


@unique
class ExitCode(IntEnum):
    """What the shell gets."""

    DONE = 0
    BUG = 1
    USAGE = 2
    INVALID = 3
    REFUSED = 4
    NO_AGREEMENT = 5
    UNVERIFIED = 6
    UNREACHABLE = 7
    NOT_ENTITLED = 8
    DATA = 9
    STATE = 10
    EXTRA = 11
    STORE = 12
    INTERRUPTED = 130


EXIT_OF: Final = MappingProxyType(
    {
        Slug.MALFORMED_REQUEST: ExitCode.BUG,  # we made the request; the other side is another version, or one of us is wrong
        Slug.METHOD_NOT_ALLOWED: ExitCode.BUG,
        Slug.INTERNAL: ExitCode.BUG,
        Slug.USAGE: ExitCode.USAGE,
        Slug.NOT_FOUND: ExitCode.USAGE,
        Slug.UNKNOWN_STUDY: ExitCode.USAGE,
        Slug.UNKNOWN_MODEL: ExitCode.USAGE,
        Slug.CONFIG_INVALID: ExitCode.INVALID,
        Slug.FILE_INVALID: ExitCode.INVALID,
        Slug.SECRET_UNAVAILABLE: ExitCode.INVALID,
        Slug.TOO_LARGE: ExitCode.INVALID,
        Slug.REFUSED_BY_POLICY: ExitCode.REFUSED,
        Slug.NO_AGREEMENT: ExitCode.NO_AGREEMENT,
        Slug.VERIFICATION_FAILED: ExitCode.UNVERIFIED,
        Slug.PROTOCOL_BROKEN: ExitCode.UNVERIFIED,
        Slug.UPLOAD_DIGEST_MISMATCH: ExitCode.UNVERIFIED,
        Slug.CANNOT_REACH: ExitCode.UNREACHABLE,
        Slug.TIMED_OUT: ExitCode.UNREACHABLE,
        Slug.RATE_LIMITED: ExitCode.UNREACHABLE,
        Slug.UNAVAILABLE: ExitCode.UNREACHABLE,
        Slug.TRUNCATED_UPLOAD: ExitCode.UNREACHABLE,
        Slug.NOT_AUTHENTICATED: ExitCode.NOT_ENTITLED,
        Slug.UNKNOWN_PARTY: ExitCode.NOT_ENTITLED,
        Slug.WRONG_KEY: ExitCode.NOT_ENTITLED,
        Slug.REPLAYED_REQUEST: ExitCode.NOT_ENTITLED,
        Slug.CLOCK_SKEW: ExitCode.NOT_ENTITLED,
        Slug.STALE_INSTANCE: ExitCode.NOT_ENTITLED,
        Slug.NOT_ENTITLED: ExitCode.NOT_ENTITLED,
        Slug.INVITE_UNKNOWN: ExitCode.NOT_ENTITLED,
        Slug.INVITE_EXPIRED: ExitCode.NOT_ENTITLED,
        Slug.INVITE_USED: ExitCode.NOT_ENTITLED,
        Slug.DATA_MISMATCH: ExitCode.DATA,
        Slug.TOO_MANY_PROPOSALS: ExitCode.STATE,
        Slug.WRONG_STATE: ExitCode.STATE,
        Slug.CONFLICT: ExitCode.STATE,
        Slug.LOCKED: ExitCode.STATE,
        Slug.NOT_RUNNING: ExitCode.STATE,
        Slug.EXTRA_MISSING: ExitCode.EXTRA,
        Slug.STORE_DAMAGED: ExitCode.STORE,
        Slug.STORE_NEWER: ExitCode.STORE,
        Slug.STORE_FAILED: ExitCode.STORE,
        Slug.INTERRUPTED: ExitCode.INTERRUPTED,
    }
)

EXPECTED: Final = (*KNOWN, AuditError, LearningError, ModuleNotFoundError, OSError)


def problem_for(error: Exception) -> Problem | None:
    """Return the problem that `error` is on the command line, or None if it is a bug."""
    if isinstance(error, KNOWN):
        return problem_of(error, outward=False)
    match error:
        case AuditError() | LearningError():
            return Problem(_slug(error), str(error))
        case ModuleNotFoundError():
            return _missing(error)
        case ConnectionError():
            return Problem(Slug.CANNOT_REACH, str(error))
        case OSError():
            return Problem(
                Slug.FILE_INVALID, str(error.filename or "file"), wanted="one that can be used", got=error.strerror or str(error)
            )
        case _:
            return None


def _slug(error: AuditError | LearningError) -> Slug:
    match error:
        case FaultError():
            return Slug.VERIFICATION_FAILED
        case ModelFileError() | AuditError():
            return Slug.FILE_INVALID
        case _:
            return Slug.DATA_MISMATCH


def _missing(error: ModuleNotFoundError) -> Problem | None:
    extra = extra_of(error.name or "")
    if extra is None:
        return None
    return Problem(Slug.EXTRA_MISSING, f"module {error.name}", wanted=f"the extra {extra.name}", got="not installed", do=extra.install)
