"""Secrets: where they come from, and a wrapper that never shows them.

A config file never holds a secret, only where it is:

    env:NAME          an environment variable
    file:PATH         a file of ours that nobody else may read (0400 or 0600), relative to the config file
    credential:NAME   systemd's LoadCredential: $CREDENTIALS_DIRECTORY/NAME
    prompt            asked at a terminal, and only there

One newline at the end of a file is not part of the secret. An empty secret is refused.

    >>> Secret("open sesame")
    Secret(redacted)
    >>> SecretReference.parse("env:PARLEY_PASSPHRASE").read(Path(), {"PARLEY_PASSPHRASE": "open sesame"}).reveal()
    'open sesame'
"""

from __future__ import annotations

import getpass
import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Final, NoReturn, assert_never

from parley_protocol.limits import SECRET_FILE_BYTES

from parley_service.errors import SecretError

WANTED: Final = "env:NAME | file:PATH | credential:NAME | prompt"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_OTHERS: Final = 0o077


class Secret:
    """A text that is shown nowhere: its repr is redacted, and it has no JSON form and no pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not leave its process")


@unique
class Source(StrEnum):
    """Where a secret is."""

    ENV = "env"
    FILE = "file"
    CREDENTIAL = "credential"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is, as a config file says it. Not secret itself."""

    source: Source
    name: str

    @classmethod
    def parse(cls, text: str) -> SecretReference:
        """Parse one of the four forms; SecretError otherwise, which does not repeat the text: it may be the secret."""
        if text == Source.PROMPT:
            return cls(Source.PROMPT, "")
        source, _, name = text.partition(":")
        match source:
            case Source.ENV | Source.CREDENTIAL if _NAME.fullmatch(name):
                return cls(Source(source), name)
            case Source.FILE if name and "\0" not in name:
                return cls(Source.FILE, name)
            case _:
                raise SecretError("where a secret is", wanted=WANTED, got="something else, not shown here: it may be the secret")

    def __str__(self) -> str:
        return self.source.value if self.source is Source.PROMPT else f"{self.source}:{self.name}"

    def read(self, folder: Path, environ: Mapping[str, str], *, what: str = "passphrase", twice: bool = False) -> Secret:
        """Return the secret. `folder` is the config file's; `what` names it in a prompt, which asks again if `twice`."""
        match self.source:
            case Source.ENV:
                text = environ.get(self.name, "")
            case Source.FILE:
                text = _read_text(folder / self.name, private=True)
            case Source.CREDENTIAL:
                text = _read_text(self._credential(environ), private=False)
            case Source.PROMPT:
                text = _ask(what, twice=twice)
            case other:
                assert_never(other)
        if not text:
            raise SecretError(
                f"{what} from {self}", wanted="a secret", got="nothing", do=f"Set {self}, or say another source in the config."
            )
        return Secret(text)

    def _credential(self, environ: Mapping[str, str]) -> Path:
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise SecretError(
                f"secret {self}",
                wanted="CREDENTIALS_DIRECTORY in the environment",
                got="none",
                do="Start the service by systemd with LoadCredential=, or say env:NAME, file:PATH or prompt in the config.",
            )
        return Path(folder) / self.name


def require_private(path: Path) -> None:
    """Return if `path` is a file of ours that nobody else may read or write; SecretError otherwise."""
    try:
        _require_private(path, path.stat())
    except OSError as error:
        raise SecretError(f"file {path}", wanted="a file that can be read", got=error.strerror or "an error") from error


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SecretError(f"file {path}", wanted="a regular file", got="something else")
    if sys.platform == "win32":  # its modes say nothing about who may read
        return
    if status.st_uid != os.geteuid():
        raise SecretError(f"file {path}", wanted=f"one that user {os.geteuid()} owns", got=f"owner {status.st_uid}", do=f"chown it: {path}")
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        raise SecretError(f"file {path}", wanted="mode 0400 or 0600", got=f"{mode:04o}", do=f"chmod 600 {path}")


def _read_text(path: Path, *, private: bool) -> str:
    try:
        with path.open("rb") as file:
            if private:
                _require_private(path, os.fstat(file.fileno()))  # of the file that is read, not of one put there since
            raw = file.read(SECRET_FILE_BYTES + 1)
    except OSError as error:
        raise SecretError(f"secret in {path}", wanted="a file that can be read", got=error.strerror or "an error") from error
    if len(raw) > SECRET_FILE_BYTES:
        raise SecretError(f"secret in {path}", wanted=f"at most {SECRET_FILE_BYTES} bytes", got="more")
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretError(f"secret in {path}", wanted="UTF-8 text", got="other bytes") from None  # the cause would show them


def _ask(what: str, *, twice: bool) -> str:
    if not sys.stdin.isatty():
        raise SecretError(
            f"{what} from a prompt", wanted="a terminal", got="none", do="Say env:NAME, file:PATH or credential:NAME in the config."
        )
    text = getpass.getpass(f"{what}: ", stream=sys.stderr)
    if twice and getpass.getpass(f"{what}, again: ", stream=sys.stderr) != text:
        raise SecretError(what, wanted="the same text twice", got="two texts")
    return text
