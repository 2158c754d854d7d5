"""Errors of the service package, as one tree. Each knows its problem (`parley_protocol.problems`) and so its exit code.

ServiceError
├── ConfigError          a configuration file, field or path is not valid
├── SecretError          a secret cannot be had from where the config says it is
├── KeyFileError         a sealed file does not open: wrong passphrase, damaged, or not one of ours
├── RequestError         a request is refused; its problem says why
├── LockedError          another service holds this folder
├── StoreError           the store could not write or read
│   ├── StoreDamagedError
│   └── StoreNewerError
├── ControlError         the control socket
│   ├── NotRunningError  nobody listens there
│   └── AnsweredError    the service answered with a problem
└── ExtraMissingError    an optional dependency is not installed
"""

from __future__ import annotations

from parley_protocol.problems import Problem, ProblemError, Slug


class ServiceError(ProblemError):
    """Root of this package's errors."""


class ConfigError(ServiceError):
    """A configuration file, a field of it, or a path that it names is not valid."""

    usual_problem = Slug.CONFIG_INVALID


class SecretError(ServiceError):
    """A secret cannot be had from where the config says it is."""

    usual_problem = Slug.SECRET_UNAVAILABLE


class KeyFileError(ServiceError):
    """A sealed file does not open: wrong passphrase, damaged, or not one of ours."""

    usual_problem = Slug.FILE_INVALID


class RequestError(ServiceError):
    """A request is refused. `instance` is the gateway's present instance id, where a token was made for an earlier one."""

    usual_problem = Slug.MALFORMED_REQUEST

    def __init__(
        self,
        message: str,
        *,
        problem: Slug | None = None,
        wanted: str | None = None,
        got: str | None = None,
        do: str | None = None,
        instance: str | None = None,
    ) -> None:
        super().__init__(message, problem=problem, wanted=wanted, got=got, do=do)
        self.instance = instance

    def to_problem(self) -> Problem:
        """Return the problem to answer with."""
        return Problem(self.problem, self.message, self.wanted, self.got, self.do, self.instance)


class LockedError(ServiceError):
    """Another service holds this folder."""

    usual_problem = Slug.LOCKED


class StoreError(ServiceError):
    """The store could not write or read."""

    usual_problem = Slug.STORE_FAILED


class StoreDamagedError(StoreError):
    """The store is no database, or its pages contradict each other."""

    usual_problem = Slug.STORE_DAMAGED


class StoreNewerError(StoreError):
    """The store was written by a newer version of this program."""

    usual_problem = Slug.STORE_NEWER


class ControlError(ServiceError):
    """The control socket: an address that cannot be used, or a line that does not parse."""

    usual_problem = Slug.MALFORMED_REQUEST


class NotRunningError(ControlError):
    """Nobody listens at the control socket."""

    usual_problem = Slug.NOT_RUNNING


class AnsweredError(ControlError):
    """The service answered with a problem, which is handed on as it came."""

    def __init__(self, answer: Problem) -> None:
        super().__init__(answer.detail, problem=answer.slug, wanted=answer.wanted, got=answer.got, do=answer.do)


class ExtraMissingError(ServiceError):
    """An optional dependency is not installed."""

    usual_problem = Slug.EXTRA_MISSING
