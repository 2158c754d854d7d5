"""Uploads: resumable, verified, bounded, and gone when their round is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
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


async def put(spool: Intake, offset: int, chunk: bytes, *, body: bytes = BODY, party: str = "a") -> int:
    return await spool.append(
        party, blake3(body).hexdigest(), offset=offset, total=len(body), chunk=chunk, chunk_digest=blake3(chunk).hexdigest()
    )


def refused(work: Awaitable[int]) -> RequestError:
    async def run() -> int:
        return await work

    with pytest.raises(RequestError) as found:
        asyncio.run(run())
    return found.value


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
        assert (wrong.value.problem, wrong.value.got) == (Slug.WRONG_STATE, str(held))
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
    error = refused(spool.append("a", DIGEST, offset=0, total=4, chunk=b"evil", chunk_digest=blake3(b"evil").hexdigest()))
    assert error.problem is Slug.UPLOAD_DIGEST_MISMATCH
    assert spool.received("a", DIGEST) == 0
    assert list((tmp_path / "spool" / "a").iterdir()) == []


def test_a_body_that_differs_in_a_later_chunk_is_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        spool = intake(tmp_path)
        await put(spool, 0, BODY[:100])
        with pytest.raises(RequestError) as found:
            await put(spool, 100, bytes(len(BODY) - 100))
        assert found.value.problem is Slug.UPLOAD_DIGEST_MISMATCH
        assert spool.received("a", DIGEST) == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("digest", "offset", "total", "chunk", "slug"),
    [
        (DIGEST, 0, 2 << 20, b"x", Slug.TOO_LARGE),
        (DIGEST, 0, 3, b"four", Slug.TOO_LARGE),
        (DIGEST, 8, 10, b"four", Slug.TOO_LARGE),
        (DIGEST, 0, 10, b"", Slug.MALFORMED_REQUEST),
        ("../../etc/passwd", 0, 4, b"four", Slug.MALFORMED_REQUEST),
        (DIGEST.upper(), 0, 4, b"four", Slug.MALFORMED_REQUEST),
        (DIGEST, 4, 10, b"four", Slug.WRONG_STATE),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, digest: str, offset: int, total: int, chunk: bytes, slug: Slug) -> None:
    spool = intake(tmp_path)
    assert refused(spool.append("a", digest, offset=offset, total=total, chunk=chunk, chunk_digest="")).problem is slug
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


def test_two_requests_for_one_upload_at_once_do_not_mix(tmp_path: Path) -> None:
    async def run() -> None:
        spool = intake(tmp_path)
        assert await asyncio.gather(*(put(spool, 0, BODY) for _ in range(4))) == [len(BODY)] * 4
        assert spool.path("a", DIGEST).read_bytes() == BODY

    asyncio.run(run())
