"""The one harness of all benchmarks: rows with a goal each, as a table or as JSON, beside the machine they were measured on.

A benchmark is a function that returns rows; `run` prints them. A row without a goal is a baseline or a detail. A missed goal is shown as
missed and changes nothing else: a benchmark reports, it does not judge.

    >>> Row("round", 0.2, "s", goal=0.25, compare="<=").met
    True
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

Compare = Literal["<=", ">="]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured value with its unit, and the goal it is compared with, if it has one."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    compare: Compare = ">="

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.compare == "<=" else self.value >= self.goal


def machine() -> dict[str, str | int]:
    """Return what a reader needs to judge the figures."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": platform.processor() or "unknown",
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
    }


def run(name: str, measure: Callable[[], Sequence[Row]], arguments: Sequence[str] | None = None) -> None:
    """Measure and print: a table, or with `--json` one JSON object (interfaces.md, Benchmarks)."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    as_json = parser.parse_args(arguments).json
    rows = measure()
    if as_json:
        print(json.dumps(report(name, rows)))
    else:
        Console().print(_table(name, rows))


def report(name: str, rows: Sequence[Row]) -> dict[str, object]:
    """Return the JSON object of a benchmark."""
    return {"benchmark": name, "machine": machine(), "rows": [{**asdict(row), "met": row.met} for row in rows]}


def _table(name: str, rows: Sequence[Row]) -> Table:
    about = machine()
    table = Table(title=f"{name} on {about['cores']} cores of {about['machine']}, Python {about['python']}")
    for heading in ("what", "value", "unit", "goal", ""):
        table.add_column(heading, justify="right" if heading in {"value", "goal"} else "left")
    for row in rows:
        goal = "" if row.goal is None else f"{row.compare} {row.goal:g}"
        verdict = {None: "", True: "met", False: "[bold red]missed[/]"}[row.met]
        table.add_row(row.name, f"{row.value:.4g}", row.unit, goal, verdict)
    return table
