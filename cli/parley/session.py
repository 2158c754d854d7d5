"""One run of the command: the options that every command has, the folder it works in, and the way to the running service.

Options stand anywhere on the line, before or after noun and verb:

    --home DIR    the folder of the service (else PARLEY_HOME, else the first folder upward with gateway.toml or party.toml)
    --json        results as JSON on stdout
    --quiet       no progress on stderr
    --no-color    no colours
    --yes         answer every question with yes; without a terminal nothing is ever asked
    --debug       the whole traceback of a bug

A command gets it by `session_of(context)`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import typer
from parley_protocol.limits import CONTROL_SECONDS
from parley_protocol.problems import ProblemError, Slug
from parley_service.config import Home, HomeKind, find_home
from parley_service.errors import ConfigError

from parley.output import Output

_HOME: Final = "--home"
_FLAGS: Final = frozenset({"--json", "--quiet", "--no-color", "--yes", "--debug"})


class UsageError(ProblemError):
    """The command line is not complete or not understood."""

    usual_problem = Slug.USAGE


@dataclass(frozen=True, slots=True)
class Options:
    """The options that every command has."""

    home: Path | None = None
    flags: frozenset[str] = frozenset()

    def has(self, flag: str) -> bool:
        """Whether the flag was given."""
        return flag in self.flags


def split_options(arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """Take the options that every command has out of `arguments`, wherever they stand before a `--`; UsageError if one is incomplete."""
    options, rest = Options(), []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += [argument, *waiting]
        elif argument in _FLAGS:
            options = replace(options, flags=options.flags | {argument})
        elif argument == _HOME or argument.startswith(f"{_HOME}="):
            folder = argument.removeprefix(_HOME).removeprefix("=") or next(waiting, "")
            if not folder:
                raise UsageError(_HOME, wanted="the folder of a service", got="nothing")
            options = replace(options, home=Path(folder))
        else:
            rest.append(argument)
    return options, rest


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with."""

    out: Output
    options: Options = Options()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def home(self, kind: HomeKind | None = None) -> Home:
        """Return the service's folder; ConfigError if there is none, or it is of another kind than `kind`."""
        home = find_home(self.options.home, self.environ, Path.cwd())
        if kind is not None and home.kind is not kind:
            raise ConfigError(
                f"folder {home.folder}", wanted=f"the folder of a {kind}: {kind}.toml", got=f"{home.kind}.toml", do="Say --home DIR."
            )
        return home

    def control(self) -> Path:
        """Return the control socket of the service whose folder this is."""
        # here and not above: each brings its own tables, and most commands need neither or one
        match (home := self.home()).kind:
            case HomeKind.GATEWAY:
                from parley_gateway import config as gateway  # noqa: PLC0415

                return gateway.load(home.file).control
            case HomeKind.PARTY:
                from parley_party import config as party  # noqa: PLC0415

                return party.load(home.file).party.control

    def call(self, verb: str, arguments: Mapping[str, Any] | None = None, *, seconds: float = CONTROL_SECONDS) -> Any:  # noqa: ANN401  (JSON)
        """Return what the running service answers to `verb`; its problem is raised, and NotRunningError if nobody listens."""
        import asyncio  # noqa: PLC0415  (most commands need no loop)

        from parley_service import control  # noqa: PLC0415

        return asyncio.run(control.call(self.control(), verb, arguments, seconds=seconds))

    def follow(self, verb: str, arguments: Mapping[str, Any] | None, each: Callable[[Any], None]) -> None:
        """Give `each` every item that the running service answers, until it ends or the user interrupts."""
        import asyncio  # noqa: PLC0415  (as above)

        from parley_service import control  # noqa: PLC0415

        async def listen() -> None:
            async for item in control.stream(self.control(), verb, arguments):
                each(item)

        asyncio.run(listen())

    def confirm(self, question: str) -> None:
        """Return if the answer is yes: by --yes, or by a person at a terminal. UsageError otherwise."""
        if self.options.has("--yes"):
            return
        if not sys.stdin.isatty():
            raise UsageError(question, wanted="--yes, or a terminal to ask at", got="neither")
        if not typer.confirm(question, err=True):
            raise UsageError(question, wanted="yes", got="no", do="Nothing was done.")


def session_of(context: typer.Context) -> Session:
    """Return the session of a command."""
    session = context.obj
    if not isinstance(session, Session):
        raise TypeError(f"commands run by parley.main.main, which gives them a Session, not {type(session).__name__}")
    return session
