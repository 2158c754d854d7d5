"""Keys at rest: sealed, private, never overwritten, opened by the right passphrase for the right purpose alone."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parley_crypto.keys import SigningKey
from parley_party import keystore
from parley_protocol.problems import Slug
from parley_service.errors import KeyFileError, SecretError
from parley_service.keyfile import KEY_FILE, StorageKey, create_keys, open_keys
from parley_service.sealedfile import SCRYPT_N, SCRYPT_N_MAX, SEALED_FILE_BYTES, read_sealed, write_atomic, write_sealed
from parley_service.secrets import Secret

PASS = Secret("open sesame")
CHEAP = 16


def test_what_is_sealed_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "file"
    write_sealed(path, b"content", PASS, label="a", n=CHEAP)
    assert read_sealed(path, PASS, label="a") == b"content"
    assert b"content" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_bytes()
    write_sealed(path, b"content", PASS, label="a", n=CHEAP)
    assert path.read_bytes() != first, "salt and nonce are fresh each time"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_the_default_cost_is_that_of_the_design(tmp_path: Path) -> None:
    assert SCRYPT_N == 1 << 15
    start = time.monotonic()
    write_sealed(tmp_path / "file", b"", PASS, label="a")
    assert json.loads((tmp_path / "file").read_bytes())["n"] == 1 << 15
    assert time.monotonic() - start < 5


def test_wrong_passphrase_or_label_is_refused_and_shows_nothing(tmp_path: Path) -> None:
    write_sealed(tmp_path / "file", b"content", PASS, label="a", n=CHEAP)
    for passphrase, label in ((Secret("open barley"), "a"), (PASS, "b")):
        with pytest.raises(KeyFileError, match="passphrase") as caught:
            read_sealed(tmp_path / "file", passphrase, label=label)
        assert "barley" not in str(caught.value)
        assert caught.value.problem is Slug.FILE_INVALID


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(n=32),
        lambda body: body.update(n=24),
        lambda body: body.update(n=SCRYPT_N_MAX * 2),
        lambda body: body.update(n=1),
        lambda body: body.update(r=16),
        lambda body: body.update(p=2),
        lambda body: body.update(kdf="none"),
        lambda body: body.update(cipher="none"),
        lambda body: body.update(salt="00" * 16),
        lambda body: body.update(nonce="00" * 12),
        lambda body: body.update(salt="zz" * 16),
        lambda body: body.update(sealed=body["sealed"][:-8]),
        lambda body: body.update(sealed="not base64!"),
        lambda body: body.update(sealed=""),
        lambda body: body.update(extra=1),
        lambda body: body.pop("nonce"),
    ],
)
def test_a_changed_file_does_not_open(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = tmp_path / "file"
    write_sealed(path, b"content", PASS, label="a", n=CHEAP)
    body = json.loads(path.read_bytes())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(KeyFileError):
        read_sealed(path, PASS, label="a")


def test_what_is_no_sealed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"text", b"[]", b" " * (SEALED_FILE_BYTES + 1)):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyFileError, match=r"parley\.sealed/1"):
            read_sealed(path, PASS, label="a")


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing on Windows")
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    write_sealed(tmp_path / "file", b"content", PASS, label="a", n=CHEAP)
    (tmp_path / "file").chmod(0o644)
    with pytest.raises(SecretError, match="0600"):
        read_sealed(tmp_path / "file", PASS, label="a")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_gateways_keys(tmp_path: Path) -> None:
    made = create_keys(tmp_path / "keys", ("log",), PASS, label="gateway keys", n=CHEAP)
    opened = open_keys(tmp_path / "keys", ("log",), PASS, label="gateway keys")
    assert made.signing("log").public == opened.signing("log").public
    assert made.signing("log").seed().hex() not in f"{made!r} {opened!r} {made.signing('log')!r}"
    with pytest.raises(KeyFileError, match="the keys log, other"):
        open_keys(tmp_path / "keys", ("log", "other"), PASS, label="gateway keys")


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    create_keys(tmp_path, ("log",), PASS, label="gateway keys", n=CHEAP)
    before = (tmp_path / KEY_FILE).read_bytes()
    with pytest.raises(KeyFileError, match="none yet"):
        create_keys(tmp_path, ("log",), PASS, label="gateway keys", n=CHEAP)
    assert (tmp_path / KEY_FILE).read_bytes() == before


def test_keys_that_were_never_made_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError) as caught:
        keystore.load(tmp_path, PASS)
    assert "party init" in (caught.value.do or "")


def test_a_party_has_four_different_keys(tmp_path: Path) -> None:
    made = keystore.create(tmp_path, PASS, n=CHEAP)
    opened = keystore.load(tmp_path, PASS)
    assert opened.identity.public == made.identity.public
    keys: list[SigningKey] = [opened.identity, opened.authentication, opened.witness]
    assert len({key.public.raw for key in keys}) == 3
    assert not any(key.seed().hex() in repr(opened) for key in keys)
    assert opened.storage.open(made.storage.seal(b"share", "study", 3), "study", 3) == b"share"


def test_stored_secrets_cannot_be_moved_changed_or_read_elsewhere() -> None:
    key = StorageKey(bytes(32))
    sealed = key.seal(b"share", "study", 3)
    assert b"share" not in sealed
    assert key.seal(b"share", "study", 3) != sealed
    for wrong, place in (
        (sealed, ("study", 4)),
        (sealed, ("study",)),
        (sealed[:-1], ("study", 3)),
        (b"", ("study", 3)),
        (bytes([sealed[0] ^ 1]) + sealed[1:], ("study", 3)),
    ):
        with pytest.raises(KeyFileError, match="stored secret"):
            key.open(wrong, *place)
    with pytest.raises(KeyFileError):
        StorageKey(bytes(31) + b"1").open(sealed, "study", 3)
    assert "redacted" in repr(key)
