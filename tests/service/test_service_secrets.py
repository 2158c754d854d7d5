"""Secrets come from where the config says, are shown nowhere, and what others may read is refused."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
from parley_protocol.limits import SECRET_FILE_BYTES
from parley_protocol.problems import Slug
from parley_service.errors import SecretError
from parley_service.secrets import Secret, SecretReference, require_private


def written(path: Path, content: bytes = b"open sesame\n", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def read(text: str, folder: Path, environ: dict[str, str] | None = None) -> str:
    return SecretReference.parse(text).read(folder, environ or {}).reveal()


def test_a_secret_is_shown_nowhere() -> None:
    secret = Secret("open sesame")
    assert "sesame" not in f"{secret} {secret!r} {[secret]} {('a', secret)}"
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert not hasattr(secret, "__dict__")


def test_the_four_sources(tmp_path: Path) -> None:
    written(tmp_path / "pass.txt")
    assert read("env:PARLEY_PASS", tmp_path, {"PARLEY_PASS": "open sesame"}) == "open sesame"
    assert read("file:pass.txt", tmp_path) == "open sesame"
    assert read(f"file:{tmp_path / 'pass.txt'}", Path("/nowhere")) == "open sesame"
    assert read("credential:pass.txt", Path("/nowhere"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "open sesame"


def test_only_one_newline_is_dropped(tmp_path: Path) -> None:
    written(tmp_path / "a", b"two words \n\n")
    written(tmp_path / "b", b"windows\r\n")
    assert read("file:a", tmp_path) == "two words \n"
    assert read("file:b", tmp_path) == "windows"


@pytest.mark.parametrize(
    "text", ["open sesame", "env:", "env:A B", "credential:../etc/passwd", "credential:a/b", "file:", "prompt:x", "vault:sesame", ""]
)
def test_a_secret_in_the_config_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SecretError, match="env:NAME") as caught:
        SecretReference.parse(text)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("text", ["env:NAME", "file:a b/c", "credential:parley-party", "prompt"])
def test_references_read_back(text: str) -> None:
    assert str(SecretReference.parse(text)) == text


def test_nothing_is_no_secret(tmp_path: Path) -> None:
    written(tmp_path / "empty", b"\n")
    for text, environ in (("env:UNSET", {}), ("env:EMPTY", {"EMPTY": ""}), ("file:empty", {})):
        with pytest.raises(SecretError, match="got nothing") as caught:
            read(text, tmp_path, environ)
        assert caught.value.problem is Slug.SECRET_UNAVAILABLE
    with pytest.raises(SecretError, match="CREDENTIALS_DIRECTORY"):
        read("credential:x", tmp_path)
    with pytest.raises(SecretError, match="No such file"):
        read("file:absent", tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing on Windows")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o620])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    written(tmp_path / "pass.txt", mode=mode)
    with pytest.raises(SecretError, match=f"got {mode:04o}"):
        read("file:pass.txt", tmp_path)
    with pytest.raises(SecretError, match="0400 or 0600"):
        require_private(tmp_path / "pass.txt")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(written(tmp_path / "pass.txt"), 12345, -1)
    with pytest.raises(SecretError, match="owner 12345"):
        read("file:pass.txt", tmp_path)


def test_what_is_no_text_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    written(tmp_path / "bytes", b"sesame\xff")
    written(tmp_path / "big", b"x" * (SECRET_FILE_BYTES + 1))
    with pytest.raises(SecretError, match="UTF-8") as caught:
        read("file:bytes", tmp_path)
    assert caught.value.__cause__ is None
    with pytest.raises(SecretError, match="at most"):
        read("file:big", tmp_path)
    with pytest.raises(SecretError, match="regular file"):
        require_private(tmp_path)
    with pytest.raises(SecretError, match="can be read"):
        require_private(tmp_path / "absent")
    require_private(tmp_path / "big")


def test_a_prompt_needs_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="terminal"):
        read("prompt", tmp_path)
    answers = iter(["one", "one", "one", "two"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _prompt, stream: next(answers) if stream is sys.stderr else "")
    assert SecretReference.parse("prompt").read(tmp_path, {}, twice=True).reveal() == "one"
    with pytest.raises(SecretError, match="same text twice"):
        SecretReference.parse("prompt").read(tmp_path, {}, twice=True)
