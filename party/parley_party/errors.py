"""Errors of the party service, as one tree. Each knows its problem (`parley_protocol.problems`) and so its exit code.

    PartyError
    ├── GatewayUnreachableError  no answer: the network, the proxy, or a gateway that is down; worth a retry
    ├── GatewayRefusedError   the gateway answered with a problem
    ├── StudyError            a study that this party does not know, or that stands elsewhere
    ├── DataError             data that do not fit: a file, a query, a column, a type, a unit, a range (exit code 9)
    │   └── QueryError        SQL that may not run here, or that duckdb cannot bind
    └── TrainerError          the child process that computes
        ├── TrainerRefused    it answered a command with a refusal
        ├── TrainerLate       it did not answer in time, and was stopped
        └── TrainerDied       it ended by itself

Every error names the thing, what was wanted, what was got, and what to do. Messages never hold single values of people: counts
and rounded bounds only.

    >>> raise DataError("column age", wanted="18 to 110", got="12 rows above", do="correct the SQL")
    Traceback (most recent call last):
    ...
    parley_party.errors.DataError: column age: wanted 18 to 110, got 12 rows above
"""

from __future__ import annotations

from parley_protocol.problems import Problem, ProblemError, Slug


class PartyError(ProblemError):
    """Root of this package's errors."""


class GatewayUnreachableError(PartyError):
    """No answer from a gateway: the network, the proxy, or the gateway is down. Worth a retry."""

    usual_problem = Slug.CANNOT_REACH


class GatewayRefusedError(PartyError):
    """The gateway answered with a problem, which is handed on as it came."""

    def __init__(self, answer: Problem) -> None:
        super().__init__(answer.detail, problem=answer.slug, wanted=answer.wanted, got=answer.got, do=answer.do)
        self.answer = answer


class StudyError(PartyError):
    """A study that this party does not know, or that is not in the state that a command needs."""

    usual_problem = Slug.UNKNOWN_STUDY


class DataError(PartyError):
    """Data that do not fit what a study asks for, or cannot be read as party.toml says."""

    usual_problem = Slug.DATA_MISMATCH


class QueryError(DataError):
    """SQL that may not run here (not one SELECT over the named tables), or that duckdb cannot bind."""


class TrainerError(PartyError):
    """Something about the child process that computes."""


class TrainerRefused(TrainerError):  # noqa: N818 - says what happened
    """The trainer answered a command with a refusal: bad input, wrong order, out of memory."""

    usual_problem = Slug.WRONG_STATE


class TrainerLate(TrainerError):  # noqa: N818 - says what happened
    """The trainer did not answer in time. It has been stopped; a new one must be started."""

    usual_problem = Slug.TIMED_OUT


class TrainerDied(TrainerError):  # noqa: N818 - says what happened
    """The trainer ended by itself: `got` holds its exit code or signal and its last safe lines."""
