"""One service a folder: an exclusive lock on a file, held while the service runs and released by the system when it ends in any way.

The file stays behind when the lock is released (removing it would let two services lock two files of one name); its content, the
process id of the last holder, only makes the refusal readable. Works on POSIX (flock) and Windows (msvcrt).

    with FolderLock(home / "state"):
        serve()
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from parley_service.errors import ConfigError, LockedError

LOCK_NAME: Final = "service.lock"
_HOLDER_BYTES: Final = 32
_LOCKED_BYTE: Final = 1 << 20  # Windows locks ranges: one far behind the text keeps the text readable


class FolderLock:
    """Holds `folder`/service.lock from `acquire` to `release`, or as a context. A second holder gets LockedError."""

    def __init__(self, folder: Path) -> None:
        self._path: Final = folder / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise LockedError at once; never waits."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._path}", wanted="a folder that this service may write", got=error.strerror or "an error") from error
        try:
            _lock(descriptor)
        except OSError as error:
            holder = os.pread(descriptor, _HOLDER_BYTES, 0) if hasattr(os, "pread") else b""
            os.close(descriptor)
            who = holder.decode(errors="replace").strip() or "unknown"
            raise LockedError(f"folder {self._path.parent} is in use by another service", got=f"process {who}") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        import msvcrt  # noqa: PLC0415  (exists on Windows only)

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:

    def _lock(descriptor: int) -> None:
        import fcntl  # noqa: PLC0415  (exists on POSIX only)

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
