"""Uploads: sealed updates arrive in chunks and count only when they are whole and have the digest that they are named by.

`spool/<party>/<blake3>.part` grows while a chunk still arrives; what has arrived is *held*, that is counted and acknowledged, once the
chunk is complete, has the digest that its request token names, and is on the disk. Complete and verified the file becomes
`spool/<party>/<blake3>`. An upload that broke off is resumed where it stands, also after a restart of either side. Of an upload the
newest request writes: an older one, whose sender has given up, is refused from then on. What nobody refers to is bounded for each party
and removed. Memory is bounded for all uploads together, not by their number times a chunk (`ARRIVING_BYTES`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from blake3 import blake3
from parley_protocol.limits import KIB, MIB, UPLOADS_OPEN_PER_PARTY
from parley_protocol.problems import Slug
from parley_service.errors import RequestError, StoreError

from parley_gateway.arrival import PART, Arrival, digest_of

T = TypeVar("T")
ARRIVING_BYTES: Final = 48 * MIB  # in memory before they are written, over all uploads
_BATCH_BYTES: Final = 1 * MIB  # of one upload, gathered before a thread takes them
_UNREAD_BYTES: Final = 512 * KIB  # of one upload, at most: what its connection holds, and the last piece of a batch
_BATCH_PIECES: Final = 512
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class _Upload:
    """What is known of one upload. `hasher` has taken the held bytes of a part; None where a part was found at the start, not read yet."""

    held: int = 0
    is_whole: bool = False
    hasher: blake3 | None = None
    touched: float = 0.0  # when its last chunk came; found at the start: never
    writer: object | None = None  # the newest request
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a thread writes

    @property
    def is_busy(self) -> bool:
        return self.writer is not None or self.lock.locked()


@dataclass(frozen=True, slots=True)
class _Request:
    """One request that brings bytes of an upload."""

    upload: _Upload
    writer: object
    party: str
    digest: str
    total: int


class Intake:
    """The spool. One at a gateway; its files are this class's alone."""

    def __init__(self, spool: Path, *, upload_bytes: int, clock: Callable[[], float]) -> None:
        self._spool: Final = spool
        self._clock: Final = clock
        self._upload_bytes: Final = upload_bytes
        self._uploads: dict[tuple[str, str], _Upload] = {}  # (party, digest), oldest first
        self._pinned: set[tuple[str, str]] = set()  # of manifests of open rounds
        self._arriving = 0  # requests that bring bytes right now
        self._find()

    def _find(self) -> None:
        """Take over what an earlier start left."""
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = [path for path in self._spool.glob("*/*") if _DIGEST.fullmatch(path.name.removesuffix(PART))]
        for path in sorted(files, key=lambda path: path.stat().st_mtime):
            party, digest, size = path.parent.name, path.name.removesuffix(PART), path.stat().st_size
            is_whole = path.name == digest
            if not is_whole and size and digest_of(path) == digest:  # stopped between its last byte and its name
                path.rename(path.parent / digest)
                is_whole = True
            self._uploads[party, digest] = _Upload(size, is_whole)

    def received(self, party: str, digest: str) -> int:
        """Return how many bytes of an upload are held."""
        upload = self._uploads.get((party, digest))
        return upload.held if upload else 0

    def is_whole(self, party: str, digest: str, size: int) -> bool:
        """Whether an upload is complete, verified, and of this size; one of nothing, of a member with no segment in a round, is."""
        upload = self._uploads.get((party, digest))
        return size == 0 or (upload is not None and upload.is_whole and upload.held == size)

    def path(self, party: str, digest: str) -> Path:
        """Return the file of a complete upload."""
        return self._spool / party / digest

    async def take(
        self, party: str, digest: str, *, offset: int, total: int, pieces: AsyncIterator[bytes], check: Callable[[str], object]
    ) -> int:
        """Append the bytes of `pieces` and return the bytes held; durable when this returns.

        `check` is given, in a thread, the BLAKE3 of the upload up to and including these bytes, and raises if they are not what the
        sender promised: then none of them is held. Offset 0 starts anew. Of an upload that is whole already nothing is written.
        RequestError: an offset that is not what is held, or a newer request for the same upload (409), too much (413), another digest at
        the end (422).
        """
        self._check(digest, offset, total)
        upload = self._of(party, digest, offset)
        writer = upload.writer = object()
        self._arriving += 1
        try:
            async with upload.lock:  # what an earlier request has in a thread is finished first
                _require_place(upload, digest, offset)
            if upload.is_whole:
                async for _ in pieces:
                    pass
                return upload.held
            upload.touched = self._clock()
            arrival = Arrival(self._spool / party, digest, offset=offset, hasher=upload.hasher)
            return await self._pour(_Request(upload, writer, party, digest, total), arrival, pieces, check)
        finally:
            self._arriving -= 1
            if upload.writer is writer:
                upload.writer = None

    def _check(self, digest: str, offset: int, total: int) -> None:
        if not _DIGEST.fullmatch(digest):
            raise RequestError("upload", problem=Slug.MALFORMED_REQUEST, wanted="its BLAKE3 in 64 hexadecimal digits", got=digest[:80])
        if total > self._upload_bytes:
            raise _too_large(digest, self._upload_bytes, total)
        if not 0 <= offset < total:
            raise RequestError(f"upload {digest[:16]}…", wanted=f"an offset below its {total} bytes", got=str(offset))

    def _of(self, party: str, digest: str, offset: int) -> _Upload:
        upload = self._uploads.get((party, digest))
        if upload is None:
            upload = _Upload()
            _require_place(upload, digest, offset)
            self._make_room(party)
            self._uploads[party, digest] = upload
        return upload

    def _make_room(self, party: str) -> None:
        """Drop a party's oldest uploads that nothing refers to, so that with one more it holds no more than a few."""
        loose = self._loose(party)
        for name in loose[: max(0, len(loose) - UPLOADS_OPEN_PER_PARTY + 1)]:
            _unlink(self._forget(party, name))

    def _loose(self, party: str) -> list[str]:
        """Return a party's uploads, whole ones first, that no manifest names and nobody is writing."""
        mine = [(name, row) for (owner, name), row in self._uploads.items() if owner == party and not row.is_busy]
        return [name for name, row in sorted(mine, key=lambda item: not item[1].is_whole) if (party, name) not in self._pinned]

    async def _pour(self, request: _Request, arrival: Arrival, pieces: AsyncIterator[bytes], check: Callable[[str], object]) -> int:
        """Write what comes in batches: while one is in a thread the next is gathered, where so many uploads at once leave room."""
        batch: list[bytes] = []
        gathered, arrived = 0, arrival.start
        writing: asyncio.Future[None] | None = None
        async for piece in pieces:
            arrived += len(piece)
            if arrived > request.total:
                raise _too_large(request.digest, request.total, arrived)
            batch.append(piece)
            gathered += len(piece)
            share = ARRIVING_BYTES // self._arriving - _UNREAD_BYTES
            if gathered >= min(_BATCH_BYTES, share) or len(batch) >= _BATCH_PIECES:
                if writing is not None:
                    await asyncio.shield(writing)
                writing = _on_its_own(_step(request, arrival, partial(arrival.write, batch)))
                batch, gathered = [], 0
                if share < 2 * _BATCH_BYTES:  # no room for a second one
                    await asyncio.shield(writing)
        if arrived == arrival.start:
            raise RequestError(f"upload {request.digest[:16]}…", wanted="a chunk that is not empty", got="0 bytes")
        if writing is not None:
            await asyncio.shield(writing)
        return await asyncio.shield(_on_its_own(self._keep(request, arrival, batch, check)))

    async def _keep(self, request: _Request, arrival: Arrival, batch: list[bytes], check: Callable[[str], object]) -> int:
        """Write the last batch, and take what arrived into the books."""
        upload = request.upload
        found = await _step(request, arrival, partial(arrival.keep, batch, request.total, check))
        if found is None:
            upload.held, upload.hasher = arrival.end, arrival.hasher
        elif found == request.digest:
            upload.held, upload.hasher, upload.is_whole = arrival.end, None, True
        else:
            self._uploads.pop((request.party, request.digest), None)
            raise RequestError(f"upload {request.digest[:16]}…", problem=Slug.UPLOAD_DIGEST_MISMATCH, wanted=request.digest, got=found)
        return upload.held

    def pin(self, party: str, digest: str) -> None:
        """Keep a complete upload: a manifest of an open round names it."""
        self._pinned.add((party, digest))

    def is_loose(self, party: str, digest: str) -> bool:
        """Whether an upload is here that no manifest names and nobody is writing."""
        return digest in self._loose(party)

    async def release(self, uploads: Iterable[tuple[str, str]], members: Iterable[str], opened_at: float) -> None:
        """Delete the uploads of a closed round, and those of its members that nobody names and that are older than the round."""
        done = list(uploads)
        self._pinned.difference_update(done)
        old = [(party, name) for party in members for name in self._loose(party) if self._uploads[party, name].touched < opened_at]
        paths = [path for party, digest in {*done, *old} for path in self._forget(party, digest)]
        await asyncio.to_thread(_unlink, paths)

    def _forget(self, party: str, digest: str) -> list[Path]:
        """Take an upload out of the books and return its files."""
        upload = self._uploads.pop((party, digest), None)
        return [] if upload is None else [self._spool / party / (digest if upload.is_whole else digest + PART)]


async def _step(request: _Request, arrival: Arrival, work: Callable[[], T]) -> T:
    """Do work on a part in a thread, alone, and only for the newest request."""
    upload = request.upload
    async with upload.lock:
        if upload.writer is not request.writer:
            raise RequestError(
                f"upload {request.digest[:16]}…", problem=Slug.WRONG_STATE, wanted="the newest request for it", got="an older one"
            )
        upload.held = min(upload.held, arrival.start)
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise StoreError(f"spool of {request.party}", wanted="room to write", got=error.strerror or "an error") from error


def _on_its_own(work: Coroutine[object, object, T]) -> asyncio.Future[T]:
    """Start work that is carried out also if whoever waits for it has gone; then nobody asks for its error."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _require_place(upload: _Upload, digest: str, offset: int) -> None:
    if not upload.is_whole and offset not in {0, upload.held}:
        raise RequestError(
            f"upload {digest[:16]}…",
            problem=Slug.WRONG_STATE,
            wanted=f"the bytes from {upload.held} on, or all from 0 on",
            got=f"those from {offset} on",
        )


def _too_large(digest: str, most: int, got: int) -> RequestError:
    return RequestError(f"upload {digest[:16]}…", problem=Slug.TOO_LARGE, wanted=f"at most {most} bytes", got=str(got))


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
