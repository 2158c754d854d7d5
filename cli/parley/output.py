"""What a command says: results on stdout, progress and problems on stderr; as text for people, or as one JSON object a line.

    {"schema": "parley.<noun>.<verb>/1", "ok": true, "result": {...}, "problems": [RFC 9457 objects]}

A command computes plain data and says it once, with the views that people see instead of JSON:

    out.progress("reading 3 files")
    out.result({"parties": rows}, Table(("party", "state"), rows))

With `problems` the result is said too, and the command ends with the exit code of the first. Texts that somebody else wrote (names,
reasons) are shown as they are but for control characters: they cannot move the cursor, and markup in them is text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, Final, TextIO

import typer
from parley_protocol.problems import Problem

from parley.exits import EXIT_OF, ExitCode

PLAIN_WIDTH: Final = 160  # characters, where the output is no terminal


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings. Cells are shown by `str`; None is shown empty."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, one a line."""

    facts: Mapping[str, object]
    title: str = ""


View = str | Table | Facts


class ReaderGoneError(Exception):
    """Whoever read our output (`head`, a closed terminal) has gone. Not an error of ours: the command ends quietly."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where and how a command speaks. `command` is `<noun>.<verb>`."""

    command: str
    as_json: bool = False
    quiet: bool = False
    color: bool = True
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)

    def result(self, result: object, *views: View, problems: Sequence[Problem] = ()) -> None:
        """Say the result, as JSON or by its views. With problems, end with the exit code of the first."""
        if self.as_json:
            self._line(result, problems, ok=not problems)
        else:
            for view in views:
                self._show(view)
            for problem in problems:
                self._explain(problem)
        if problems:
            raise typer.Exit(exit_code(problems[0]))

    def item(self, item: object, *views: View) -> None:
        """Say one of several results (`--follow`, `--watch`) at once."""
        self.result(item, *views)
        self.flush()

    def flush(self) -> None:
        """Hand on what was said so far."""
        try:
            self.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def progress(self, text: str) -> None:
        """Tell people what is being done; silent with --quiet."""
        if not self.quiet:
            print(plain(text), file=self.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Tell people what they must not miss, also with --quiet."""
        print(f"warning: {plain(text)}", file=self.stderr, flush=True)

    def problem(self, problem: Problem) -> ExitCode:
        """Say why the command failed; return its exit code."""
        if self.as_json:
            self._line(None, [problem], ok=False)
        else:
            self._explain(problem)
        return exit_code(problem)

    def _line(self, result: object, problems: Sequence[Problem], *, ok: bool) -> None:
        body = {"schema": f"parley.{self.command}/1", "ok": ok, "result": result, "problems": [problem.to_json() for problem in problems]}
        self._say(json.dumps(body, ensure_ascii=False, allow_nan=False, default=str))

    def _say(self, text: str) -> None:
        try:
            print(text, file=self.stdout)
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def _explain(self, problem: Problem) -> None:
        lines = [f"error: {problem.title}: {problem.detail}" if problem.detail != problem.title else f"error: {problem.detail}"]
        lines += [f"  {word:<7}{text}" for word, text in (("wanted", problem.wanted), ("got", problem.got), ("do", problem.do)) if text]
        print("\n".join(plain(line) for line in lines), file=self.stderr, flush=True)

    def _show(self, view: View) -> None:
        match view:
            case str():
                self._say(plain(view))
            case Facts():
                self._facts(view)
            case Table():
                self._table(view)

    def _facts(self, view: Facts) -> None:
        if view.title:
            self._say(plain(view.title))
        width = max(map(len, view.facts), default=0)
        for name, value in view.facts.items():
            self._say(plain(f"{name:<{width}}  {'' if value is None else value}".rstrip()))

    def _table(self, view: Table) -> None:
        # here and not above: `--json` and texts need no rich
        from rich.box import SIMPLE_HEAD  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table as RichTable  # noqa: PLC0415

        table = RichTable(box=SIMPLE_HEAD, title=plain(view.title) or None, title_justify="left", pad_edge=False)
        for column in view.columns:
            table.add_column(plain(column), overflow="fold")
        for row in view.rows:
            table.add_row(*("" if cell is None else plain(str(cell)) for cell in row))
        at_terminal = self.stdout.isatty()
        console = Console(
            file=StringIO(),  # Rich would end the process by itself where the reader has gone
            markup=False,
            highlight=False,
            emoji=False,
            width=None if at_terminal else PLAIN_WIDTH,
            force_terminal=at_terminal and self.color,
        )
        with console.capture() as captured:
            console.print(table)
        self._say("\n".join(line.rstrip() for line in captured.get().splitlines()))


def exit_code(problem: Problem) -> ExitCode:
    """Return the exit code of a problem."""
    return EXIT_OF[problem.slug]


def plain(text: str) -> str:
    """Return `text` without what a terminal would obey; line ends stay."""
    return "".join(character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text)


def as_cell(value: Any) -> str:  # noqa: ANN401  (plain data)
    """Return plain data as one cell of a table: lists by commas, tables as JSON."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(as_cell(item) for item in value)
        case dict():
            return ", ".join(f"{name} = {as_cell(item)}" for name, item in value.items())
        case _:
            return str(value)
