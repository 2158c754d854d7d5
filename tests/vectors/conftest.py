"""Where the published vectors lie: beside the checkout. They are read where present and never copied in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors"
_CASES = {
    "rfc6962_merkle/testdata": 196,
    "rfc8785_jcs/testdata": 6,
    "c2sp/signed_note_example.txt": 1,
    "wycheproof/ed25519_test.json": 151,
    "wycheproof/x25519_test.json": 518,
    "wycheproof/hkdf_sha256_test.json": 86,
    "wycheproof/aes_gcm_test.json": 316,
}

Finder = Callable[[str], Path]
Groups = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def vectors() -> Finder:
    def find(name: str) -> Path:
        path = _FOLDER / name
        if not path.exists():
            pytest.skip(f"{_CASES[name]} vector tests skipped: {name} is not beside this checkout")
        return path

    return find


@pytest.fixture
def wycheproof(vectors: Finder) -> Groups:
    """Give the test groups of a Wycheproof file, having seen that none of its cases is missing."""

    def load(name: str) -> list[dict[str, Any]]:
        key = f"wycheproof/{name}_test.json"
        body = json.loads(vectors(key).read_text())
        groups: list[dict[str, Any]] = body["testGroups"]
        assert sum(len(group["tests"]) for group in groups) == body["numberOfTests"] == _CASES[key]
        return groups

    return load
