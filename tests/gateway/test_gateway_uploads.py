"""A party's client and a gateway: uploads over HTTP in chunks, resumed, begun anew where the gateway holds something else; large sums."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from blake3 import blake3
from parley_gateway import routes
from parley_party.client import GatewayClient
from parley_party.config import GatewayLink
from parley_party.errors import GatewayRefusedError
from parley_protocol.problems import Slug

from tests.gateway.federation import Federation, started
from tests.gateway.parties import Party, check_sums

pytestmark = pytest.mark.services
CHUNK = 1 << 20  # as the gateway's config says
BODY = random.Random(7).randbytes(3 * CHUNK + 12_345)
DIGEST = blake3(BODY).hexdigest()


@dataclass(frozen=True)
class Stage:
    """A gateway with a party, and that party's real client."""

    federation: Federation
    party: Party
    client: GatewayClient
    folder: Path

    @property
    def spooled(self) -> Path:
        return self.folder / "data" / "spool" / "a" / DIGEST

    @property
    def part(self) -> Path:
        return self.spooled.with_name(DIGEST + ".part")

    async def put(self, offset: int, end: int) -> None:
        place = f"/v1/uploads/{DIGEST}?offset={offset}&total={len(BODY)}"
        await self.party.request("PUT", place, BODY[offset:end], digest=blake3(BODY[:end]).hexdigest())

    async def upload(self) -> int:
        """Send the file, and return the bytes that left."""
        path = self.folder / "body"
        await asyncio.to_thread(path.write_bytes, BODY)
        await self.client.greet()
        return await self.client.upload(path)


def run(folder: Path, work: Callable[[Stage], Awaitable[None]]) -> None:
    async def inner() -> None:
        federation = Federation(folder, await started(folder))
        try:
            party = await federation.enrol("a")
            link = GatewayLink.model_validate({"url": f"http://127.0.0.1:{federation.port}", "proxy": "none"})
            async with GatewayClient(link, party="a", key=party.authentication) as client:
                await work(Stage(federation, party, client, folder))
        finally:
            await federation.close()

    asyncio.run(inner())


def test_a_file_of_several_chunks_arrives_and_is_not_sent_twice(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        assert await stage.upload() == len(BODY)
        assert stage.spooled.read_bytes() == BODY
        assert await stage.upload() == 0

    run(tmp_path, work)


def test_a_file_of_one_chunk_and_one_of_nothing(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        small, empty = tmp_path / "small", tmp_path / "empty"
        small.write_bytes(b"one chunk")
        empty.write_bytes(b"")
        await stage.client.greet()
        assert await stage.client.upload(small) == len(b"one chunk")
        assert stage.spooled.with_name(blake3(b"one chunk").hexdigest()).read_bytes() == b"one chunk"
        assert await stage.client.upload(empty) == 0

    run(tmp_path, work)


def test_what_is_held_is_not_sent_again(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.party.greet()
        await stage.put(0, CHUNK)
        await stage.put(CHUNK, 2 * CHUNK)
        assert await stage.upload() == len(BODY) - 2 * CHUNK
        assert stage.spooled.read_bytes() == BODY

    run(tmp_path, work)


@pytest.mark.parametrize("held", [CHUNK, 2 * CHUNK, 1000, CHUNK + 1000])
@pytest.mark.parametrize("is_ours", [True, False])
def test_what_an_earlier_start_of_the_gateway_left_is_used_only_if_it_is_the_beginning(tmp_path: Path, held: int, *, is_ours: bool) -> None:
    folder = tmp_path / "data" / "spool" / "a"
    folder.mkdir(parents=True)
    (folder / (DIGEST + ".part")).write_bytes(BODY[:held] if is_ours else BODY[: held - 1] + bytes([BODY[held - 1] ^ 1]))

    async def work(stage: Stage) -> None:
        is_used = is_ours and held % CHUNK == 0
        assert await stage.upload() == len(BODY) - (held if is_used else 0)
        assert stage.spooled.read_bytes() == BODY
        assert not stage.part.exists()

    run(tmp_path, work)


def test_a_refusal_that_is_no_matter_of_what_is_held_is_told(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        path = tmp_path / "large"
        path.write_bytes(bytes((4 << 20) + 1))  # one more than the gateway takes
        await stage.client.greet()
        with pytest.raises(GatewayRefusedError) as refused:
            await stage.client.upload(path)
        assert refused.value.problem is Slug.TOO_LARGE

    run(tmp_path, work)


def test_large_sums_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_KEPT_SUMS_BYTES", 0)  # all sums are large
    monkeypatch.setattr(routes, "_BLOCK_BYTES", 100)

    async def work() -> None:
        federation = await Federation.of(tmp_path, [f"p{index}" for index in range(4)])
        try:
            federation.serve()
            await federation.propose(rounds=1)
            await federation.parties["p0"].start("heart")
            await federation.rounds("heart", 2)
            for party in federation.parties.values():
                assert party.studies["heart"].sums
                check_sums(party.studies["heart"])
        finally:
            await federation.close()

    asyncio.run(work())
