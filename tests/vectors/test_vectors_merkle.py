"""transparency-dev/merkle: 98 inclusion and 98 consistency cases, most of which must fail."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parley_crypto.errors import VerificationError
from parley_crypto.merkle import verify_consistency, verify_inclusion


def _cases(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(str(path), json.loads(path.read_text())) for path in sorted(folder.rglob("*.json"))]


def _hashes(case: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(text) for text in case["proof"] or ()]


def _faults(cases: list[tuple[str, dict[str, Any]]], verify: Callable[[dict[str, Any]], None]) -> list[str]:
    faults = []
    for name, case in cases:
        try:
            verify(case)
        except VerificationError:
            refused = True
        else:
            refused = False
        if refused is not case["wantErr"]:
            faults.append(name)
    return faults


def test_inclusion_vectors(vectors: Callable[[str], Path]) -> None:
    def verify(case: dict[str, Any]) -> None:
        leaf, root = base64.b64decode(case["leafHash"]), base64.b64decode(case["root"])
        verify_inclusion(leaf, case["leafIdx"], case["treeSize"], _hashes(case), root)

    cases = _cases(vectors("rfc6962_merkle/testdata") / "inclusion")
    assert len(cases) == 98
    assert 0 < sum(not case["wantErr"] for _, case in cases) < 98
    assert _faults(cases, verify) == []


def test_consistency_vectors(vectors: Callable[[str], Path]) -> None:
    def verify(case: dict[str, Any]) -> None:
        roots = base64.b64decode(case["root1"]), base64.b64decode(case["root2"])
        verify_consistency(case["size1"], case["size2"], _hashes(case), *roots)

    cases = _cases(vectors("rfc6962_merkle/testdata") / "consistency")
    assert len(cases) == 98
    assert _faults(cases, verify) == []
