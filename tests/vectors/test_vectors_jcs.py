"""RFC 8785: the six documents of its author, against the library that our statements go through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import rfc8785


def test_canonical_json_vectors(vectors: Callable[[str], Path]) -> None:
    folder = vectors("rfc8785_jcs/testdata")
    inputs = sorted((folder / "input").glob("*.json"))
    assert len(inputs) == 6
    for path in inputs:
        made = rfc8785.dumps(json.loads(path.read_bytes()))
        assert made == (folder / "output" / path.name).read_bytes(), path.name
        assert made == bytes.fromhex((folder / "outhex" / path.with_suffix(".txt").name).read_text()), path.name
