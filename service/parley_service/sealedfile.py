"""Files that are encrypted at rest: scrypt from a passphrase, AES-256-GCM, mode 0600, replaced as a whole or not at all.

The file is JSON: the parameters of scrypt, salt and nonce, and the sealed bytes. All of it but the sealed bytes is bound into the seal
together with `label`, so that a file of one purpose does not open as another, and nobody can weaken the parameters unnoticed (they are
bounded before use as well: a file cannot make the service take all memory).

scrypt is RFC 7914; n = 2^15, r = 8, p = 1 needs 32 MiB and about a tenth of a second. Tests and the demo may lower n.

`write_atomic` is for other files too: after it returns, the new content is on the disk; after a crash, either the old or the new.

    write_sealed(path, b"seed", Secret("open sesame"), label="gateway keys")
    read_sealed(path, Secret("open sesame"), label="gateway keys")
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from parley_crypto.statement import Document
from parley_crypto.tags import Tag, bind
from parley_protocol.limits import KIB
from pydantic import Field, ValidationError

from parley_service.errors import KeyFileError
from parley_service.secrets import Secret, require_private

SCRYPT_N: Final = 1 << 15
SCRYPT_N_MIN: Final = 1 << 4  # tests; the passphrase of a real file deserves the default
SCRYPT_N_MAX: Final = 1 << 20
SEALED_FILE_BYTES: Final = 256 * KIB
_R: Final = 8
_P: Final = 1
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_PRIVATE: Final = 0o600
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # Windows would translate line ends


class _Header(Document):
    """Everything of a sealed file but the sealed bytes."""

    format: Literal["parley.sealed/1"] = "parley.sealed/1"
    kdf: Literal["scrypt"] = "scrypt"
    n: Annotated[int, Field(ge=SCRYPT_N_MIN, le=SCRYPT_N_MAX)]
    r: Literal[8] = _R
    p: Literal[1] = _P
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    cipher: Literal["AES-256-GCM"] = "AES-256-GCM"
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]


class _SealedFile(_Header):
    sealed: str

    def header(self) -> _Header:
        return _Header.model_validate(self.model_dump(exclude={"sealed"}))


def write_sealed(path: Path, content: bytes, passphrase: Secret, *, label: str, n: int = SCRYPT_N) -> None:
    """Seal `content` under `passphrase` into `path` (0600), which is replaced if it exists. `n` is scrypt's cost, a power of two."""
    header = _Header(n=n, salt=secrets.token_hex(_SALT_BYTES), nonce=secrets.token_hex(_NONCE_BYTES))
    sealed = AESGCM(_key(passphrase, header)).encrypt(bytes.fromhex(header.nonce), content, _bound(header, label))
    body = header.model_dump() | {"sealed": base64.b64encode(sealed).decode()}
    write_atomic(path, json.dumps(body, indent=1).encode() + b"\n", mode=_PRIVATE)


def read_sealed(path: Path, passphrase: Secret, *, label: str) -> bytes:
    """Return what was sealed; KeyFileError if the file is not private, not one of ours, of another label, or the passphrase is wrong."""
    file = _parse(path)
    header = file.header()
    try:
        sealed = base64.b64decode(file.sealed, validate=True)
        return AESGCM(_key(passphrase, header)).decrypt(bytes.fromhex(header.nonce), sealed, _bound(header, label))
    except (InvalidTag, binascii.Error):
        raise KeyFileError(
            f"{label} in {path}",
            wanted="the passphrase it was sealed with",
            got="another, or a file that was changed",
            do="Check [keys] passphrase in the config; without the passphrase nobody can open the file.",
        ) from None


def _parse(path: Path) -> _SealedFile:
    require_private(path)
    with path.open("rb") as file:
        raw = file.read(SEALED_FILE_BYTES + 1)
    try:
        if len(raw) <= SEALED_FILE_BYTES:
            sealed = _SealedFile.model_validate_json(raw)
            if sealed.n & (sealed.n - 1) == 0:
                return sealed
    except ValidationError as error:
        raise KeyFileError(f"file {path}", wanted="a sealed file parley.sealed/1", got="other content") from error
    raise KeyFileError(f"file {path}", wanted="a sealed file parley.sealed/1", got="one of a size or cost that is out of bounds")


def _key(passphrase: Secret, header: _Header) -> bytes:
    kdf = Scrypt(salt=bytes.fromhex(header.salt), length=_KEY_BYTES, n=header.n, r=header.r, p=header.p)
    return kdf.derive(passphrase.reveal().encode())


def _bound(header: _Header, label: str) -> bytes:
    return bind(Tag.KEYSTORE, label, header.canonical())


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put `content` in place of whatever is at `path`, durably: written aside, synced, renamed, and the folder synced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, _CREATE, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable: new, replaced and removed ones."""
    if os.name == "nt":  # Windows has no such call: its rename is as durable as it gets
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
