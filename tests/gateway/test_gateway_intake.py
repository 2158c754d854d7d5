"""Uploads: resumable, verified, bounded, and gone when their round is."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from parley_gateway.intake import Intake
from parley_protocol.limits import UPLOADS_OPEN_PER_PARTY
from parley_protocol.problems import Slug
from parley_service.errors import RequestError

BODY = bytes(range(256)) * 40
DIGEST = blake3(BODY).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def intake(folder: Path, clock: Callable[[], float] | None = None) -> Intake:
    return Intake(folder / "spool", upload_bytes=1 << 20, clock=clock or Clock())


async def come(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def promised(wanted: str) -> Callable[[str], object]:
    """What a token's check is: it raises unless the digest is the promised one."""

    def check(digest: str) -> None:
        if digest != wanted:
            raise RequestError("body of the request", problem=Slug.NOT_AUTHENTICATED, wanted=wanted, got=digest)

    return check


async def put(spool: Intake, offset: int, chunk: bytes, *, body: bytes = BODY, party: str = "a", piece: int = 1 << 16) -> int:
    pieces = [chunk[start : start + piece] for start in range(0, len(chunk), piece)]
    check = promised(blake3(body[:offset] + chunk).hexdigest())
    return await spool.take(party, blake3(body).hexdigest(), offset=offset, total=len(body), pieces=come(*pieces), check=check)


def refused(work: Awaitable[int]) -> RequestError:
    async def run() -> int:
        return await work

    with pytest.raises(RequestError) as found:
        asyncio.run(run())
    return found.value


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, len(BODY) - 1), max_size=6, unique=True))
def test_chunks_of_any_sizes_give_the_body(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    async def run() -> None:
        spool = intake(tmp_path_factory.mktemp("intake"))
        edges = [0, *sorted(cuts), len(BODY)]
        for start, end in itertools.pairwise(edges):
            assert spool.received("a", DIGEST) == start
            assert await put(spool, start, BODY[start:end]) == end
        assert spool.is_whole("a", DIGEST, len(BODY))
        assert spool.path("a", DIGEST).read_bytes() == BODY
        assert await put(spool, 0, BODY) == len(BODY)  # again: nothing happens

    asyncio.run(run())


def test_an_upload_goes_on_where_it_stood_after_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        await put(intake(tmp_path), 0, BODY[:1000])
        part = tmp_path / "spool" / "a" / f"{DIGEST}.part"
        with part.open("ab") as file:
            file.write(b"half a chunk that nobody acknowledged")
        spool = intake(tmp_path)
        held = spool.received("a", DIGEST)
        assert held == part.stat().st_size  # what lies there may be wrong: the digest at the end says so
        with pytest.raises(RequestError) as wrong:
            await put(spool, 1000, BODY[1000:])
        assert (wrong.value.problem, wrong.value.got) == (Slug.WRONG_STATE, "those from 1000 on")
        assert f"the bytes from {held} on" in (wrong.value.wanted or "")
        assert await put(spool, 0, BODY[:5000]) == 5000  # from the start is always possible
        assert await put(spool, 5000, BODY[5000:]) == len(BODY)

    asyncio.run(run())


def test_an_upload_that_stopped_between_its_last_byte_and_its_name_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "a"
    folder.mkdir(parents=True)
    (folder / f"{DIGEST}.part").write_bytes(BODY)
    assert intake(tmp_path).is_whole("a", DIGEST, len(BODY))


def test_another_body_than_its_name_says_is_dropped(tmp_path: Path) -> None:
    spool = intake(tmp_path)
    error = refused(spool.take("a", DIGEST, offset=0, total=4, pieces=come(b"evil"), check=promised(blake3(b"evil").hexdigest())))
    assert error.problem is Slug.UPLOAD_DIGEST_MISMATCH
    assert spool.received("a", DIGEST) == 0
    assert list((tmp_path / "spool" / "a").iterdir()) == []


def test_a_body_that_differs_in_a_later_chunk_is_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        spool = intake(tmp_path)
        await put(spool, 0, BODY[:100])
        other = BODY[:100] + bytes(len(BODY) - 100)
        check = promised(blake3(other).hexdigest())  # the sender stands by it, and it is not what the name says
        with pytest.raises(RequestError) as found:
            await spool.take("a", DIGEST, offset=100, total=len(BODY), pieces=come(other[100:]), check=check)
        assert found.value.problem is Slug.UPLOAD_DIGEST_MISMATCH
        assert spool.received("a", DIGEST) == 0
        assert list((tmp_path / "spool" / "a").iterdir()) == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("digest", "offset", "total", "chunk", "slug"),
    [
        (DIGEST, 0, 2 << 20, b"x", Slug.TOO_LARGE),
        (DIGEST, 0, 3, b"four", Slug.TOO_LARGE),
        (DIGEST, 10, 10, b"four", Slug.MALFORMED_REQUEST),
        (DIGEST, 0, 10, b"", Slug.MALFORMED_REQUEST),
        ("../../etc/passwd", 0, 4, b"four", Slug.MALFORMED_REQUEST),
        (DIGEST.upper(), 0, 4, b"four", Slug.MALFORMED_REQUEST),
        (DIGEST, 4, 10, b"four", Slug.WRONG_STATE),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, digest: str, offset: int, total: int, chunk: bytes, slug: Slug) -> None:
    spool = intake(tmp_path)
    work = spool.take("a", digest, offset=offset, total=total, pieces=come(*[chunk] * bool(chunk)), check=promised(""))
    assert refused(work).problem is slug
    assert list((tmp_path / "spool").rglob("*")) == []


def test_a_party_holds_few_uploads_that_nobody_names(tmp_path: Path) -> None:
    async def run() -> None:
        spool = intake(tmp_path)
        bodies = [b"body %d" % index for index in range(UPLOADS_OPEN_PER_PARTY + 3)]
        await put(spool, 0, BODY)
        spool.pin("a", DIGEST)
        for body in bodies:
            await put(spool, 0, body, body=body)
            await put(spool, 0, body, body=body, party="b")
        held = [body for body in bodies if spool.received("a", blake3(body).hexdigest())]
        assert held == bodies[-UPLOADS_OPEN_PER_PARTY:]
        assert spool.received("a", DIGEST) == len(BODY)
        assert len(list((tmp_path / "spool" / "a").iterdir())) == UPLOADS_OPEN_PER_PARTY + 1

    asyncio.run(run())


def test_a_closed_round_takes_its_uploads_and_what_is_older_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        spool = intake(tmp_path, clock)
        await put(spool, 0, b"old and loose", body=b"old and loose")
        clock.now = 200.0
        await put(spool, 0, BODY)
        spool.pin("a", DIGEST)
        await put(spool, 0, b"new and loose", body=b"new and loose")
        await spool.release([("a", DIGEST)], ["a"], 150.0)
        assert [path.name for path in (tmp_path / "spool" / "a").iterdir()] == [blake3(b"new and loose").hexdigest()]

    asyncio.run(run())


def test_of_two_requests_for_one_upload_the_newest_writes(tmp_path: Path) -> None:
    async def run() -> None:
        spool = intake(tmp_path)
        results = await asyncio.gather(*(put(spool, 0, BODY) for _ in range(4)), return_exceptions=True)
        assert results[-1] == len(BODY)
        assert [row.problem for row in results if isinstance(row, RequestError)] == [Slug.WRONG_STATE] * 3
        assert spool.path("a", DIGEST).read_bytes() == BODY

    asyncio.run(run())


def test_a_stalled_request_does_not_hold_up_the_next(tmp_path: Path) -> None:
    async def stall() -> AsyncIterator[bytes]:
        yield BODY[:3000]
        await asyncio.Event().wait()

    async def run() -> None:
        spool = intake(tmp_path)
        await put(spool, 0, BODY[:2000])
        stalled = asyncio.ensure_future(spool.take("a", DIGEST, offset=2000, total=len(BODY), pieces=stall(), check=promised("")))
        await asyncio.sleep(0)
        assert await put(spool, 2000, BODY[2000:]) == len(BODY)
        stalled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stalled
        assert spool.path("a", DIGEST).read_bytes() == BODY

    asyncio.run(run())


def test_bytes_that_are_not_those_of_the_token_are_not_held(tmp_path: Path) -> None:
    async def run() -> None:
        spool = intake(tmp_path)
        await put(spool, 0, BODY[:2000])
        for chunk in (BODY[2000:2001] + bytes(2999), bytes(len(BODY) - 2000)):  # in the middle, and up to the end
            work = spool.take(
                "a", DIGEST, offset=2000, total=len(BODY), pieces=come(chunk), check=promised(blake3(BODY[: 2000 + len(chunk)]).hexdigest())
            )
            with pytest.raises(RequestError) as found:
                await work
            assert found.value.problem is Slug.NOT_AUTHENTICATED
            assert spool.received("a", DIGEST) == 2000
        assert await put(spool, 2000, BODY[2000:3000]) == 3000
        assert await put(spool, 3000, BODY[3000:]) == len(BODY)
        assert spool.path("a", DIGEST).read_bytes() == BODY

    asyncio.run(run())


def test_the_digest_of_a_chunk_is_of_all_up_to_its_end(tmp_path: Path) -> None:
    async def run() -> None:
        spool = intake(tmp_path)
        await put(spool, 0, BODY[:2000])
        work = spool.take(
            "a", DIGEST, offset=2000, total=len(BODY), pieces=come(BODY[2000:]), check=promised(blake3(BODY[2000:]).hexdigest())
        )
        with pytest.raises(RequestError):
            await work

    asyncio.run(run())


@pytest.mark.parametrize("uploads", [1, 100])
def test_a_large_upload_is_written_in_batches_and_is_never_whole_in_memory(tmp_path: Path, uploads: int) -> None:
    body = bytes(1 << 20) * 5
    size = 1 << 18

    async def run() -> None:
        spool = Intake(tmp_path / "spool", upload_bytes=len(body), clock=Clock())
        made = [0] * uploads

        async def pieces(index: int) -> AsyncIterator[bytes]:
            part = tmp_path / "spool" / str(index) / f"{digest}.part"
            for start in range(0, len(body), size):
                await asyncio.sleep(0)
                written = part.stat().st_size if part.exists() else 0
                made[index] = max(made[index], start - written)
                yield body[start : start + size]

        digest = blake3(body).hexdigest()
        await asyncio.gather(
            *(
                spool.take(str(index), digest, offset=0, total=len(body), pieces=pieces(index), check=promised(digest))
                for index in range(uploads)
            )
        )
        assert all(spool.is_whole(str(index), digest, len(body)) for index in range(uploads))
        assert max(made) <= (3 << 20 if uploads == 1 else size)  # bytes that were given and not written yet

    asyncio.run(run())


def test_an_upload_whose_sender_went_away_is_taken_up_by_the_next_request(tmp_path: Path) -> None:
    async def run() -> None:
        spool = intake(tmp_path)
        await put(spool, 0, BODY[:2000])
        for _ in range(20):  # at any moment
            gone = asyncio.ensure_future(put(spool, 2000, BODY[2000:], piece=100))
            for _ in range(random.randrange(12)):
                await asyncio.sleep(0.0001)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            assert spool.received("a", DIGEST) in {2000, len(BODY)}
        assert await put(spool, 2000, BODY[2000:]) == len(BODY)
        assert spool.path("a", DIGEST).read_bytes() == BODY

    asyncio.run(run())
