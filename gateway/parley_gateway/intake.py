"""Uploads: sealed updates arrive in chunks and count only when they are whole and have the digest that they are named by.

`spool/<party>/<blake3>.part` grows chunk by chunk, each on the disk before it is acknowledged; complete and verified it becomes
`spool/<party>/<blake3>`. An upload that broke off is resumed where it stands, also after a restart of either side. A chunk's own digest
stands in its request token and is checked before it is appended. What nobody refers to is bounded for each party and removed.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from blake3 import blake3
from parley_protocol.limits import UPLOADS_OPEN_PER_PARTY
from parley_protocol.problems import Slug
from parley_service.errors import RequestError, StoreError

_PART: Final = ".part"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Intake:
    """The spool. One at a gateway; its files are this class's alone."""

    def __init__(self, spool: Path, *, upload_bytes: int, clock: Callable[[], float]) -> None:
        self._spool: Final = spool
        self._clock: Final = clock
        self._touched: dict[tuple[str, str], float] = {}  # when its last chunk came; absent: before the start
        self._upload_bytes: Final = upload_bytes
        self._running: dict[tuple[str, str], asyncio.Task[int]] = {}
        self._held: dict[str, dict[str, int]] = {}  # party -> digest -> bytes of its part, oldest first
        self._whole: dict[tuple[str, str], int] = {}  # bytes of complete uploads
        self._pinned: set[tuple[str, str]] = set()  # of manifests of open rounds
        self._find()

    def _find(self) -> None:
        """Take over what an earlier start left."""
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = [path for path in self._spool.glob("*/*") if _DIGEST.fullmatch(path.name.removesuffix(_PART))]
        for path in sorted(files, key=lambda path: path.stat().st_mtime):
            party, digest, size = path.parent.name, path.name.removesuffix(_PART), path.stat().st_size
            if path.name == digest:
                self._whole[party, digest] = size
            elif size and _digest_of(path) == digest:  # stopped between its last byte and its name
                path.rename(path.parent / digest)
                self._whole[party, digest] = size
            else:
                self._held.setdefault(party, {})[digest] = size

    def received(self, party: str, digest: str) -> int:
        """Return how many bytes of an upload are held."""
        whole = self._whole.get((party, digest))
        return whole if whole is not None else self._held.get(party, {}).get(digest, 0)

    def is_whole(self, party: str, digest: str, size: int) -> bool:
        """Whether an upload is complete, verified, and of this size; one of nothing, of a member with no segment in a round, is."""
        return size == 0 or self._whole.get((party, digest)) == size

    def path(self, party: str, digest: str) -> Path:
        """Return the file of a complete upload."""
        return self._spool / party / digest

    async def append(self, party: str, digest: str, *, offset: int, total: int, chunk: bytes, chunk_digest: str) -> int:
        """Append a chunk whose BLAKE3 is `chunk_digest` and return the bytes held; durable when this returns.

        Offset 0 starts anew. RequestError: an offset that is not what is held (409), too much (413), another digest at the end (422).
        """
        self._check(digest, offset, total, len(chunk))
        key = (party, digest)
        while (before := self._running.get(key)) is not None:  # an earlier request for the same upload, whose sender gave up waiting
            await asyncio.wait([before])
        if key in self._whole:
            return self._whole[key]
        held = self._held.get(party, {}).get(digest, 0)
        if offset not in {0, held}:
            raise RequestError(
                f"upload {digest[:16]}…", problem=Slug.WRONG_STATE, wanted=f"the bytes from {held} on, or all from 0 on", got=str(held)
            )
        self._make_room(party, digest)
        self._touched[key] = self._clock()
        task = asyncio.ensure_future(self._take(key, offset, total, chunk, chunk_digest))
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    def _check(self, digest: str, offset: int, total: int, size: int) -> None:
        if not _DIGEST.fullmatch(digest):
            raise RequestError("upload", problem=Slug.MALFORMED_REQUEST, wanted="its BLAKE3 in 64 hexadecimal digits", got=digest[:80])
        if total > self._upload_bytes or offset + size > total:
            raise RequestError(
                f"upload {digest[:16]}…",
                problem=Slug.TOO_LARGE,
                wanted=f"at most {min(total, self._upload_bytes)} bytes",
                got=f"{max(total, offset + size)}",
            )
        if not size or offset < 0:
            raise RequestError(
                f"upload {digest[:16]}…", wanted="an offset of at least 0 and a chunk that is not empty", got=f"{size} bytes"
            )

    def _make_room(self, party: str, digest: str) -> None:
        """Drop a party's oldest uploads that nothing refers to, so that it holds no more than a few."""
        loose = [name for name in self._loose(party) if name != digest]
        for name in loose[: max(0, len(loose) - UPLOADS_OPEN_PER_PARTY + 1)]:
            self._drop(party, name)

    def _loose(self, party: str) -> list[str]:
        """Return a party's uploads, whole ones first, that no manifest names and nobody is writing."""
        whole = [name for owner, name in self._whole if owner == party and (owner, name) not in self._pinned]
        return [name for name in [*whole, *self._held.get(party, {})] if (party, name) not in self._running]

    async def _take(self, key: tuple[str, str], offset: int, total: int, chunk: bytes, chunk_digest: str) -> int:
        """Write the chunk in a thread; carried out also if whoever sent it has gone."""
        party, digest = key
        folder = self._spool / party
        received = offset + len(chunk)
        known = chunk_digest if offset == 0 else None
        try:
            found = await asyncio.to_thread(_write, folder, digest, offset, chunk, known, is_last=received == total)
        except OSError as error:
            raise StoreError(f"spool of {party}", wanted="room to write", got=error.strerror or "an error") from error
        if found is None:
            self._held.setdefault(party, {})[digest] = received
            return received
        self._held.get(party, {}).pop(digest, None)
        if found != digest:
            raise RequestError(f"upload {digest[:16]}…", problem=Slug.UPLOAD_DIGEST_MISMATCH, wanted=digest, got=found)
        self._whole[key] = received
        return received

    def pin(self, party: str, digest: str) -> None:
        """Keep a complete upload: a manifest of an open round names it."""
        self._pinned.add((party, digest))

    async def release(self, uploads: Iterable[tuple[str, str]], members: Iterable[str], opened_at: float) -> None:
        """Delete the uploads of a closed round, and those of its members that nobody names and that are older than the round."""
        done = list(uploads)
        self._pinned.difference_update(done)
        old = [(party, name) for party in members for name in self._loose(party) if self._touched.get((party, name), 0.0) < opened_at]
        paths = [path for party, digest in {*done, *old} for path in self._forget(party, digest)]
        await asyncio.to_thread(_unlink, paths)

    def _drop(self, party: str, digest: str) -> None:
        _unlink(self._forget(party, digest))

    def _forget(self, party: str, digest: str) -> list[Path]:
        """Take an upload out of the books and return its files."""
        self._touched.pop((party, digest), None)
        folder = self._spool / party
        paths = [folder / digest] if self._whole.pop((party, digest), None) is not None else []
        return paths + ([folder / (digest + _PART)] if self._held.get(party, {}).pop(digest, None) is not None else [])


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _write(folder: Path, digest: str, offset: int, chunk: bytes, known: str | None, *, is_last: bool) -> str | None:
    """Append a chunk durably; after the last one keep or drop the file, and return the digest found (`known` where the chunk is all)."""
    part = folder / (digest + _PART)
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
    _append(part, offset, chunk)
    if not is_last:
        return None
    found = known or _digest_of(part)
    if found == digest:
        part.rename(folder / digest)
        _sync(folder)
    else:
        part.unlink()
    return found


def _digest_of(path: Path) -> str:
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def _append(path: Path, offset: int, chunk: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.ftruncate(descriptor, offset)  # what an interrupted write left behind the acknowledged bytes
        view = memoryview(chunk)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
