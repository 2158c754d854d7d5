"""docs/audit.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from parley_audit.checks import Check
from parley_audit.export import FILES
from parley_audit.leaves import KINDS
from parley_crypto.checkpoint import Checkpoint, parse_and_verify
from parley_crypto.keys import SigningKey
from parley_crypto.merkle import Tree, leaf_hash

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text()


def _rows(header: str) -> list[list[str]]:
    """Return the cells of the table whose first line begins with `header`."""
    table = PAGE[PAGE.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def test_every_check_stands_there_as_the_code_says_it() -> None:
    assert _rows("| | check |") == [[str(check.number), check.slug, check.title] for check in Check]


def test_every_kind_of_leaf_stands_there() -> None:
    documented = {row[0].strip("`") for row in _rows("| payload type")}
    assert documented == {re.sub(r"^application/vnd\.parley\.|\.v1\+json$", "", kind) for kind in KINDS}


def test_every_file_stands_there() -> None:
    assert [row[0].strip("`") for row in _rows("| file |")] == list(FILES)


def test_the_checkpoint_shown_there_verifies() -> None:
    shown = PAGE[PAGE.index("  ```\n") + 6 :].split("  ```")[0]
    note = "".join(line.removeprefix("  ") for line in shown.splitlines(keepends=True))
    tree = Tree([leaf_hash(b""), leaf_hash(b"\x00")])
    got = parse_and_verify(note, SigningKey(bytes(32)).public, "gw.example/log")
    assert got == Checkpoint("gw.example/log", 2, tree.root())
