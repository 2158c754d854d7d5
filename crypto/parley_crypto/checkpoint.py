"""Signed notes and log checkpoints (C2SP signed-note v1 and tlog-checkpoint), with Ed25519 keys.

A note is a text, a blank line, and signature lines `— name base64(key id || signature)`, where the key id is the first four bytes of
SHA-256(name || 0x0A || 0x01 || public key). Lines of unknown keys are ignored; a line of the known key that does not verify refuses the
whole note. A checkpoint is a note of three lines: origin, tree size, root in base64. Extension lines are refused: nobody could audit them.
The key's name is the origin unless another is given. Cosignatures of witnesses are not part of this module.

    >>> from parley_crypto.keys import SigningKey
    >>> key = SigningKey(bytes(32))
    >>> note = Checkpoint("gw.example/log", 0, EMPTY_ROOT).sign(key)
    >>> parse_and_verify(note, key.public, "gw.example/log").size
    0
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.keys import KEY_BYTES, SIGNATURE_BYTES, SigningKey, VerifyKey
from parley_crypto.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, verify_consistency

MAX_NOTE_CHARACTERS: Final = 1_000_000
MAX_NOTE_SIGNATURES: Final = 100
_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_DASH: Final = "— "
_BODY_LINES: Final = 3
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root (32 bytes). Holding one says nothing about a signature."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or "\n" in self.origin:
            raise MalformedError(f"checkpoint: wanted an origin of one line, got {self.origin[:80]!r}")
        if not 0 <= self.size <= MAX_SIZE:
            raise MalformedError(f"checkpoint: wanted a tree size of at least 0, got {self.size}")
        if len(self.root) != HASH_BYTES:
            raise MalformedError(f"checkpoint: wanted a root of {HASH_BYTES} bytes, got {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedError(f"checkpoint: wanted the root of the empty tree for size 0, got {self.root.hex()}")

    def body(self) -> str:
        """Return the note's text: three lines, each ended by a newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def sign(self, key: SigningKey, name: str | None = None) -> str:
        """Return the signed note; the key's name is the origin unless given."""
        return sign_note(self.body(), self.origin if name is None else name, key)

    @classmethod
    def parse(cls, body: str) -> Checkpoint:
        """Parse a note's text; anything but the three lines in their one spelling raises MalformedError."""
        lines = body.split("\n")
        if len(lines) != _BODY_LINES + 1 or lines[-1]:
            raise MalformedError(f"checkpoint: wanted {_BODY_LINES} lines (origin, size, root), got {body[:120]!r}")
        origin, size, root = lines[:_BODY_LINES]
        if _DECIMAL.fullmatch(size) is None:
            raise MalformedError(f"checkpoint: wanted the tree size in decimal digits without leading zeros, got {size[:40]!r}")
        return cls(origin, int(size), _unbase64("checkpoint: root", root))


def parse_and_verify(note: str, key: VerifyKey, origin: str, name: str | None = None) -> Checkpoint:
    """Return the checkpoint if `key` (named as `origin` unless `name` is given) signed it for the log `origin`."""
    checkpoint = Checkpoint.parse(verify_note(note, origin if name is None else name, key))
    if checkpoint.origin != origin:
        raise VerificationError(f"checkpoint: wanted log {origin}, got {checkpoint.origin[:120]}")
    return checkpoint


def check_follows(older: Checkpoint, newer: Checkpoint, proof: Sequence[bytes]) -> None:
    """Check that `newer` extends `older`: same log, not smaller, consistent by `proof` (which is empty from an empty tree)."""
    if newer.origin != older.origin:
        raise VerificationError(f"checkpoint: wanted log {older.origin}, got {newer.origin[:120]}")
    if newer.size < older.size:
        raise VerificationError(f"checkpoint: log {older.origin} was rolled back: wanted at least {older.size} leaves, got {newer.size}")
    if older.size == 0 and newer.size > 0:
        if proof:
            raise VerificationError(f"consistency proof from the empty tree: wanted no hash, got {len(proof)}")
        return
    verify_consistency(older.size, newer.size, proof, older.root, newer.root)


def key_id(name: str, key: VerifyKey) -> bytes:
    """Return the 4-byte key id of a named Ed25519 key."""
    return hashlib.sha256(_require_name(name).encode() + b"\n" + _ED25519 + key.raw).digest()[:_KEY_ID_BYTES]


def vkey(name: str, key: VerifyKey) -> str:
    """Return the verifier key as text, `name+hash+base64(0x01 || key)`, as C2SP clients read it."""
    return f"{name}+{key_id(name, key).hex()}+{base64.b64encode(_ED25519 + key.raw).decode()}"


def parse_vkey(text: str) -> tuple[str, VerifyKey]:
    """Return name and key of a verifier key; raises MalformedError, also when the hash is not that key's."""
    parts = text.split("+", 2)  # base64 may hold a plus, a name may not
    if len(parts) != 3:  # noqa: PLR2004 - name, hash, key
        raise MalformedError(f"verifier key: wanted name+hash+key, got {text[:120]!r}")
    name, hashed, encoded = parts
    raw = _unbase64("verifier key", encoded)
    if raw[:1] != _ED25519 or len(raw) != 1 + KEY_BYTES:
        raise MalformedError(f"verifier key {name[:80]}: wanted an Ed25519 key (type 1, {KEY_BYTES} bytes), got {len(raw)} bytes")
    key = VerifyKey(raw[1:])
    if key_id(name, key).hex() != hashed:
        raise MalformedError(f"verifier key {name[:80]}: wanted the key id {key_id(name, key).hex()}, got {hashed[:40]!r}")
    return name, key


def sign_note(text: str, name: str, key: SigningKey) -> str:
    """Return `text` as a note signed by `key` under `name`; the text ends in a newline."""
    if not text.endswith("\n"):
        raise MalformedError("note: wanted a text that ends in a newline")
    signed = key_id(name, key.public) + key.sign(text.encode())
    note = f"{text}\n{_DASH}{name} {base64.b64encode(signed).decode()}\n"
    _require_note(note)
    return note


def verify_note(note: str, name: str, key: VerifyKey) -> str:
    """Return the note's text if `key` signed it under `name`; MalformedError or VerificationError otherwise."""
    text, lines = _split(note)
    wanted = key_id(name, key)
    found = [raw for signer, raw in map(_signature, lines) if signer == name and raw[:_KEY_ID_BYTES] == wanted]
    if not found:
        raise VerificationError(f"note: wanted a signature by {vkey(name, key)}, got {len(lines)} by others")
    for raw in found:
        signature = raw[_KEY_ID_BYTES:]
        if len(signature) != SIGNATURE_BYTES:
            raise VerificationError(f"note: wanted a signature of {SIGNATURE_BYTES} bytes by {name}, got {len(signature)}")
        key.verify(signature, text.encode())
    return text


def signer_names(note: str) -> tuple[str, ...]:
    """Return the names on the note's signature lines, in order. None of them is checked here."""
    return tuple(_signature(line)[0] for line in _split(note)[1])


def _split(note: str) -> tuple[str, list[str]]:
    _require_note(note)
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not text or not signatures.endswith("\n"):
        raise MalformedError("note: wanted a text, a blank line, and signature lines that end in a newline")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_NOTE_SIGNATURES:
        raise MalformedError(f"note: wanted at most {MAX_NOTE_SIGNATURES} signatures, got {len(lines)}")
    return text + "\n", lines


def _signature(line: str) -> tuple[str, bytes]:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator:
        raise MalformedError(f"note: wanted a line '— name signature', got {line[:120]!r}")
    raw = _unbase64("note: signature", encoded)
    if len(raw) <= _KEY_ID_BYTES:
        raise MalformedError(f"note: wanted a key id and a signature by {name[:80]}, got {len(raw)} bytes")
    return _require_name(name), raw


def _require_note(note: str) -> None:
    if len(note) > MAX_NOTE_CHARACTERS:
        raise MalformedError(f"note: wanted at most {MAX_NOTE_CHARACTERS} characters, got {len(note)}")
    if (found := _CONTROL.search(note)) is not None:
        raise MalformedError(f"note: wanted no control character but newline, got {found.group()!r} at {found.start()}")


def _require_name(name: str) -> str:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise MalformedError(f"key name: wanted text without spaces and plus, got {name[:80]!r}")
    return name


def _unbase64(what: str, text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"{what}: wanted base64, got {text[:80]!r}") from error
    if base64.b64encode(raw).decode() != text:  # one spelling only: unused bits of the last digit are zero
        raise MalformedError(f"{what}: wanted base64 in its canonical spelling, got {text[:80]!r}")
    return raw
