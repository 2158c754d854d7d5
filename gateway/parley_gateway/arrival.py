"""The bytes of one request on their way into a part file: written and hashed piece by piece, kept only if the digest is the promised one.

The digest is of the upload up to and including these bytes, so that one pass serves every request and the whole: after the last byte it
is the upload's name. What was written and not kept lies behind the held bytes, and the next arrival cuts it off.

Everything here blocks and belongs into a thread; one thread at a time works on one file (`intake` sees to it).

    arrival = Arrival(folder, digest, offset=0, hasher=blake3())
    arrival.write([b"first ", b"bytes"])
    arrival.keep([b" and the last"], check)      # on the disk when this returns
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from blake3 import blake3

PART: Final = ".part"
_PRIVATE: Final = 0o600


def digest_of(path: Path) -> str:
    """Return the BLAKE3 of a file, by all processors."""
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


class Arrival:
    """Bytes that come for the upload `digest` from `offset` on; `hasher` has taken what is held, or is None if that was not read yet."""

    def __init__(self, folder: Path, digest: str, *, offset: int, hasher: blake3 | None) -> None:
        self._folder: Final = folder
        self._digest: Final = digest
        self._path: Final = folder / (digest + PART)
        self.start: Final = offset
        self.end = offset
        self._known: Final = hasher
        self._hasher: blake3 | None = None

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append pieces; nothing of them counts yet."""
        hasher = self.hasher
        is_first = self.end == self.start
        if is_first and not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, _PRIVATE)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            if is_first:
                file.truncate(self.start)  # what an interrupted request left behind the held bytes
            file.seek(self.end)
            for piece in pieces:
                _write_all(file.write, piece)
                hasher.update(piece)
                self.end += len(piece)

    def keep(self, pieces: Sequence[bytes], total: int, check: Callable[[str], object]) -> str | None:
        """Append the last pieces and make all of it durable; return the digest if the upload, of `total` bytes, is complete.

        Complete it has its name, or is gone if the digest is another. `check` is given the digest so far, and raises if the sender
        promised another: then nothing is kept.
        """
        self.write(pieces)
        found = self.hasher.hexdigest()
        check(found)
        if self.end < total:
            sync(self._path)
            return None
        if found != self._digest:
            self._path.unlink()
            return found
        sync(self._path)
        self._path.rename(self._folder / self._digest)
        sync(self._folder)
        return found

    @property
    def hasher(self) -> blake3:
        """The hasher of everything up to `end`."""
        if self._hasher is None:
            self._hasher = self._prefix()
        return self._hasher

    def _prefix(self) -> blake3:
        if not self.start:
            return blake3()
        return blake3().update_mmap(self._path) if self._known is None else self._known.copy()


def _write_all(write: Callable[[memoryview], int | None], piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[write(view) or 0 :]


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
