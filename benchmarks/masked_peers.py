"""Flower's SecAgg+ on this machine, where it is installed and its script lies beside the checkout; otherwise a line says what is missing.

Flower pins versions of its own, so it may live in an environment of its own: PEERS_PYTHON names that environment's interpreter. The
script (`../shared/peers/flwr_secagg.py`) calls Flower's own functions in a process of its own, and prints; it takes minutes. Rows have no
goal: they are what ours are compared with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.harness import Row

SCRIPT: Final = Path(__file__).resolve().parents[2] / "shared" / "peers" / "flwr_secagg.py"
_CLIENT: Final = re.compile(r"N=(\d+) k=(\d+): .*collect_masked/client min ([\d.]+)")
_SERVER: Final = re.compile(r"drop (\d+)%: .*server unmask ([\d.]+) s")


def rows() -> list[Row]:
    """Run the script and return its rows, or none with a line on stderr."""
    interpreter = os.environ.get("PEERS_PYTHON", "")
    if (find_spec("flwr") is None and not interpreter) or not SCRIPT.exists():
        missing = "flwr is not installed" if SCRIPT.exists() else f"{SCRIPT.parent.name}/{SCRIPT.name} is not there"
        print(f"Flower SecAgg+ is not timed: {missing}", file=sys.stderr)
        return []
    done = subprocess.run([interpreter or sys.executable, SCRIPT.name], cwd=SCRIPT.parent, capture_output=True, text=True, check=True)  # noqa: S603 (our own script)
    return list(parse(done.stdout))


def parse(printed: str) -> Iterator[Row]:
    """Yield a row in ms for each cohort's masking and each opening in what the script printed."""
    members = "?"
    for line in printed.splitlines():
        if found := _CLIENT.search(line):
            members = found[1]
            yield Row(f"Flower SecAgg+: seal, k = {found[2]}", 1e3 * float(found[3]), "ms")
        elif found := _SERVER.search(line):
            yield Row(f"Flower SecAgg+: unmask, n = {members}, {found[1]} % dropped", 1e3 * float(found[2]), "ms")
