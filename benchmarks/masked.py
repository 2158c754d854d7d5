"""Masked aggregation against the limits of the machine, as one table: sealing and opening, transport, whole rounds.

Each part is a module of its own with a function `rows()`; parts of which a checkout has none are left out. Where Flower is installed it
is timed in the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from benchmarks.harness import Row, run

PARTS: Final = ("masked_seal", "masked_transport", "masked_rounds", "masked_peers")


def rows() -> list[Row]:
    """Measure every part."""
    found: list[Row] = []
    for part in PARTS:
        if find_spec(f"benchmarks.{part}") is not None:
            measured: Sequence[Row] = import_module(f"benchmarks.{part}").rows()
            found += measured
    return found


if __name__ == "__main__":
    run("masked", rows)
