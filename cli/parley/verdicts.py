"""What `parley doctor` says: a verdict a line. Checks make them and judge nothing else; the order is the order of the checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from parley_protocol.problems import Problem, ProblemError, Slug

_LEVEL_WIDTH: Final = 5
_NAME_WIDTH: Final = 12


@unique
class Level(StrEnum):
    """How bad it is: nothing, worth a look, or in the way of work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict: what was looked at, what was seen, what to do. `slug` is the problem that a failure is."""

    level: Level
    name: str
    says: str
    do: str = ""
    slug: Slug = Slug.CONFIG_INVALID

    def line(self) -> str:
        """Return the verdict as people read it; what to do stands on a line of its own."""
        head = f"{self.level:<{_LEVEL_WIDTH}} {self.name:<{_NAME_WIDTH}} "
        return f"{head}{self.says}" + (f"\n{' ' * len(head)}do: {self.do}" if self.do else "")

    def plain(self) -> dict[str, str]:
        """Return the verdict as plain data."""
        return {"verdict": self.level.value, "check": self.name, "says": self.says, "do": self.do}

    def problem(self) -> Problem:
        """Return the problem that a failure is."""
        return Problem(self.slug, f"{self.name}: {self.says}", do=self.do or None)


def good(name: str, says: str) -> Verdict:
    """Return a verdict that all is well."""
    return Verdict(Level.OK, name, says)


def doubt(name: str, says: str, do: str) -> Verdict:
    """Return a verdict that is worth a look."""
    return Verdict(Level.WARN, name, says, do)


def bad(name: str, says: str, do: str, slug: Slug) -> Verdict:
    """Return a verdict that something stands in the way of work."""
    return Verdict(Level.FAIL, name, says, do, slug)


def failed(name: str, problem: Problem) -> Verdict:
    """Return a problem as a failure."""
    parts = [problem.detail, *(f"{word} {text}" for word, text in (("wanted", problem.wanted), ("got", problem.got)) if text)]
    return Verdict(Level.FAIL, name, ": ".join([parts[0], ", ".join(parts[1:])]) if parts[1:] else parts[0], problem.do or "", problem.slug)


def failed_by(name: str, error: ProblemError) -> Verdict:
    """Return an error of ours as a failure."""
    return failed(name, error.to_problem())
