"""The command `parley NOUN VERB`: finds the noun's file, runs the verb, and turns every error of ours into words and an exit code.

Each noun is one file of this package with a Typer `app`, or, where it has no verbs, a function of its own name. Only the noun that is
asked for is imported, and it imports what is heavy inside its verbs: `parley version` and `parley policy` start in a fraction of a
second and without the extras.

An exception that is none of ours is a bug. It leaves as Python lets it leave, with exit code 1; `_say_bug` prints one line of it, or with
`--debug` the traceback.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from types import MappingProxyType, TracebackType
from typing import Any, Final, cast

import typer
import typer.main
from parley_protocol.problems import Problem, Slug

from parley.exits import EXPECTED, ExitCode, problem_for
from parley.output import Output, ReaderGoneError
from parley.session import Session, UsageError, split_options

NOUNS: Final = MappingProxyType(  # noun -> module; in the order of --help
    {
        "demo": "parley.demo",
        "doctor": "parley.doctor",
        "version": "parley.version",
        "gateway": "parley.gateway",
        "member": "parley.member",
        "party": "parley.party",
        "credential": "parley.credential",
        "data": "parley.data",
        "policy": "parley.policy",
        "study": "parley.study",
        "agreement": "parley.agreement",
        "model": "parley.model",
        "audit": "parley.audit",
        "store": "parley.store",
    }
)
_HELP: Final = """Privacy-preserving federation: what parties permit, agree on, compute together, and can prove.

Anywhere on the line: --home DIR (else PARLEY_HOME, else the first folder upward with gateway.toml or party.toml), --json, --quiet,
--no-color, --yes, --debug.
"""
# What the command line's parser raises: BadParameter, UsageError, then this. Typer exports only the first; the others have moved.
_PARSER_ERROR: Final[type[BaseException]] = typer.BadParameter.__mro__[2]
_WORD: Final = re.compile(r"[a-z][a-z-]*")


def run() -> None:
    """Entry point of the command: exits with the code of `main`."""
    sys.excepthook = functools.partial(_say_bug, sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        cast("Any", stream).reconfigure(errors="replace")  # a terminal that lacks a character shows "?" instead of a traceback
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Exceptions that are none of ours pass."""
    try:
        options, rest = split_options(arguments)
    except UsageError as error:
        return Output("usage", as_json="--json" in arguments).problem(error.to_problem())
    out = Output(_command(rest), as_json=options.has("--json"), quiet=options.has("--quiet"), color=not options.has("--no-color"))
    try:
        return _run(rest, Session(out, options))
    except (KeyboardInterrupt, typer.Abort):
        return out.problem(Problem(Slug.INTERRUPTED, "interrupted"))
    except ReaderGoneError:  # whoever read our output has gone: there is nobody to tell, and nothing to flush at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except _PARSER_ERROR as error:
        return out.problem(_usage(error))
    except EXPECTED as error:
        problem = problem_for(error)
        if problem is None:
            raise
        return out.problem(problem)


def _run(rest: list[str], session: Session) -> int:
    command = typer.main.get_command(_root(rest))
    if _is_incomplete(rest):  # nothing, or a noun without its verb: show what there is
        if session.out.as_json:
            raise UsageError("parley", wanted="a noun and a verb", got=" ".join(rest) or "nothing")
        command.main(args=[*rest, "--help"], prog_name="parley", standalone_mode=False, obj=session)
        return ExitCode.USAGE
    code = command.main(args=rest, prog_name="parley", standalone_mode=False, obj=session)
    session.out.flush()
    if code == ExitCode.INTERRUPTED:  # the parser's way of saying so
        raise KeyboardInterrupt
    return code if isinstance(code, int) else ExitCode.DONE


def _is_incomplete(rest: Sequence[str]) -> bool:
    match rest:
        case []:
            return True
        case [noun] if noun in NOUNS:
            return isinstance(_entry(noun), typer.Typer)
        case _:
            return False


def _entry(noun: str) -> typer.Typer | Callable[..., None]:
    """Return the noun's `app`, or the function of its own name where it has no verbs."""
    module = import_module(NOUNS[noun])
    entry: typer.Typer | Callable[..., None] = getattr(module, "app", None) or getattr(module, noun)
    return entry


def _root(rest: Sequence[str]) -> typer.Typer:
    """Return the command with the noun that is asked for, or with all where none is."""
    root = typer.Typer(help=_HELP, add_completion=False, pretty_exceptions_enable=False)
    root.callback()(_root_options)
    for noun in rest[:1] if rest and rest[0] in NOUNS else NOUNS:
        entry = _entry(noun)
        if isinstance(entry, typer.Typer):
            root.add_typer(entry, name=noun)
        else:
            root.command(noun)(entry)
    return root


def _root_options() -> None:
    """Options of the root: none, they are taken out before (`parley.session`). With a callback one noun alone stays a noun."""


def _command(rest: Sequence[str]) -> str:
    """Return `<noun>.<verb>` for the JSON's schema."""
    if not rest or rest[0] not in NOUNS:
        return "usage"
    verb = rest[1] if len(rest) > 1 and _WORD.fullmatch(rest[1]) else None
    return f"{rest[0]}.{verb}" if verb else rest[0]


def _usage(error: BaseException) -> Problem:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "parley"
    return Problem(Slug.USAGE, cast("Any", error).format_message(), do=f"See `{path} --help`.")


def _say_bug(arguments: Sequence[str], kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say that an exception is a bug (`sys.excepthook`); Python then exits with code 1."""
    if "--debug" in arguments:
        traceback.print_exception(kind, error, trace)
    last = traceback.extract_tb(trace)[-1:]
    where = f" at {last[0].name} in {last[0].filename}:{last[0].lineno}" if last else ""
    do = "Report it, with what --debug prints."
    Output("bug", as_json="--json" in arguments).problem(Problem(Slug.INTERNAL, f"{kind.__name__}: {error}{where}", do=do))
