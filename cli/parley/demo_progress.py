"""What people see while the demo runs: a bar a study at a terminal, a line now and then elsewhere, and a sentence for each event."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from parley_audit.report.facts import Part
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_EVERY_ROUNDS: Final = 10


@dataclass(slots=True)
class Stopwatch:
    """Measures the parts of the work, one after the other."""

    parts: list[Part] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        """Write down the time since the last lap under a name; the same name again adds to it."""
        now = time.perf_counter()
        seconds, self._began = now - self._began, now
        for index, part in enumerate(self.parts):
            if part.name == name:
                self.parts[index] = Part(name, part.seconds + seconds)
                return
        self.parts.append(Part(name, seconds))


class DemoProgress:
    """Progress on stderr. Silent with `quiet`; without bars where stderr is no terminal."""

    def __init__(self, *, quiet: bool = False, color: bool = True) -> None:
        self._console = Console(stderr=True, quiet=quiet, no_color=None if color else True, highlight=False)
        columns = (
            TextColumn("{task.description:<36}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=self._console, disable=quiet or not self._console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def say(self, sentence: str) -> None:
        """Tell of one event."""
        self._console.print(sentence, markup=False)

    def rounds(self, study: str, done: int, total: int, words: str) -> None:
        """Show how far a study has come."""
        if study not in self._tasks:
            self._tasks[study] = self._bars.add_task(study, total=total or None, words="")
        self._bars.update(self._tasks[study], completed=done, total=total or None, words=words)
        last = self._told.get(study, 0)
        if not self._console.is_terminal and total and done != last and (done - last >= _EVERY_ROUNDS or done == total):
            self._told[study] = done
            self.say(f"  {study}: {done} of {total} rounds")
