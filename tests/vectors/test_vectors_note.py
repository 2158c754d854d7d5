"""C2SP signed-note: the example of the specification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parley_crypto.checkpoint import parse_vkey, verify_note, vkey
from parley_crypto.errors import CryptoError


def test_signed_note_vector(vectors: Callable[[str], Path]) -> None:
    head, note = vectors("c2sp/signed_note_example.txt").read_text().split("---note---\n")
    text = head.strip().removeprefix("vkey: ")
    name, key = parse_vkey(text)
    assert name == "example.com/foo"
    assert vkey(name, key) == text
    assert verify_note(note, name, key) == "This is an example message.\n"
    for other in (note.replace("example message", "other message"), note.replace("Uw2QOkn8", "Uw2QOkn9"), note[:-1]):
        with pytest.raises(CryptoError):
            verify_note(other, name, key)
