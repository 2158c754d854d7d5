"""The file that a backup is: an uncompressed tar of a header, the header's digest, and the files that the header names.

    backup.json     what this is: kind and id of the service, revision of its store, time, and name, size and BLAKE3 of each file
    backup.blake3   the BLAKE3 of backup.json, in hexadecimal
    store.db        …

Digests find damage, not malice: who can write the file can write digests too. It is as confidential as the store: 0600, and to be kept
where only those come who may read the store. `write_backup` replaces nothing; `extract` writes nothing but files that the header names and
that have the digest that it says.

    header = read_header(path)
    extract(path, header, folder)
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO, Final, Literal

from blake3 import blake3
from parley_crypto.errors import MalformedError
from parley_crypto.statement import Document
from parley_protocol.problems import Slug
from pydantic import Field

from parley_service.errors import ConfigError, StoreDamagedError

STORE: Final = "store.db"
_HEADER: Final = "backup.json"
_DIGEST: Final = "backup.blake3"
_HEADER_BYTES: Final = 64 << 20  # a gateway names a file for each opened round
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_BLOCK: Final = 1 << 20


class BackedUpFile(Document):
    """A file in a backup."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+(/[a-z0-9-]+)*\.[a-z]+$", max_length=200)]  # so no "..", and nothing absolute
    size: Annotated[int, Field(ge=0)]
    blake3: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BackupHeader(Document):
    """What a backup is of. `id` is the party's or the gateway's; `revision` that of the store's tables; `at` in unix seconds."""

    format: Literal["parley.backup/1"] = "parley.backup/1"
    kind: Literal["gateway", "party"]
    id: str
    revision: str
    at: int
    files: tuple[BackedUpFile, ...]


def digest_of(path: Path) -> str:
    """Return the BLAKE3 of a file in hexadecimal."""
    hasher = blake3()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def write_backup(out: Path, header: BackupHeader, files: Mapping[str, Path]) -> None:
    """Write the new file `out`, durably; ConfigError if there is something already. `files` are those that the header names."""
    try:
        descriptor = os.open(out, _CREATE, 0o600)
    except FileExistsError:
        raise ConfigError(
            f"{out}", problem=Slug.CONFLICT, wanted="no file of that name yet", got="one", do="Say another name; no backup is overwritten."
        ) from None
    with contextlib.ExitStack() as undo:
        undo.callback(out.unlink)
        with os.fdopen(descriptor, "wb") as file:
            raw = header.canonical()
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                _add(tar, _HEADER, io.BytesIO(raw), len(raw), header.at)
                digest = blake3(raw).hexdigest().encode()
                _add(tar, _DIGEST, io.BytesIO(digest), len(digest), header.at)
                for entry in header.files:
                    with files[entry.name].open("rb") as content:
                        _add(tar, entry.name, content, entry.size, header.at)
            file.flush()
            os.fsync(file.fileno())
        undo.pop_all()


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int, at: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, at, 0o600
    tar.addfile(member, content)


def read_header(path: Path) -> BackupHeader:
    """Return what a backup is of; StoreDamagedError if it is none, or its header is not what was written."""
    with _tar(path) as tar:
        raw, digest = (_small(path, tar, name) for name in (_HEADER, _DIGEST))
    if blake3(raw).hexdigest().encode() != digest:
        raise StoreDamagedError(f"backup {path}", wanted="the header that was written", got="another", do="Use another backup.")
    try:
        return BackupHeader.parse(raw)
    except MalformedError as error:
        raise StoreDamagedError(f"backup {path}", wanted="a backup that this version reads", got=str(error)[:200]) from error


def extract(path: Path, header: BackupHeader, folder: Path) -> None:
    """Write the files of a backup below `folder`, durably, each checked; StoreDamagedError names the first that is not what was written."""
    with _tar(path) as tar:
        for entry in header.files:
            target = folder / PurePosixPath(entry.name)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _member(path, tar, entry.name) as content, os.fdopen(os.open(target, _CREATE, 0o600), "wb") as file:
                hasher, size = blake3(), 0
                while block := content.read(_BLOCK):
                    hasher.update(block)
                    size += file.write(block)
                file.flush()
                os.fsync(file.fileno())
            if (size, hasher.hexdigest()) != (entry.size, entry.blake3):
                raise StoreDamagedError(
                    f"backup {path}: {entry.name}", wanted=f"{entry.size} bytes with the digest {entry.blake3[:16]}…", got="others"
                )


@contextlib.contextmanager
def _tar(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, mode="r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise StoreDamagedError(f"backup {path}", wanted="a whole file that `parley store backup` wrote", got=str(error)[:200]) from error


def _small(path: Path, tar: tarfile.TarFile, name: str) -> bytes:
    with _member(path, tar, name) as content:
        return content.read(_HEADER_BYTES)


@contextlib.contextmanager
def _member(path: Path, tar: tarfile.TarFile, name: str) -> Iterator[BinaryIO]:
    try:
        found = tar.getmember(name)
    except KeyError:
        found = None
    content = tar.extractfile(found) if found is not None and found.isfile() else None
    if content is None:
        raise StoreDamagedError(f"backup {path}", wanted=f"the file {name} in it", got="none", do="Use another backup.")
    with content:
        yield content  # type: ignore[misc]  # tarfile's reader is typed as IO[bytes]
