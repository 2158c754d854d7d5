"""Sealed updates on their way into a sum: real HTTP into a gateway in a process of its own, its spool, and the adding of opening.

Baseline in the same run: a local script that writes the same 400 MB (25 bodies of 4M coordinates), hashes and adds each block while it is
in the cache, and has each body on the disk at its end. The gateway does the same behind HTTP, with every chunk on the disk before it is
acknowledged; its CPU time is that of its whole process. Beside it stands what the HTTP library alone takes to read the same bytes: that and
the local script's are the least that such a gateway can take.

    python -m benchmarks.masked_transport [--json]
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
import uvloop
from aiohttp import web
from blake3 import blake3
from parley_crypto import keystream, ring
from parley_crypto.keys import SigningKey
from parley_crypto.masked import Context, MaskedOpening
from parley_crypto.ring import RingVector
from parley_gateway.app import GatewayService, control_path
from parley_gateway.config import load
from parley_gateway.sums import mapped, write_sum
from parley_party.client import GatewayClient
from parley_party.config import GatewayLink
from parley_protocol.limits import CHUNK_BYTES
from parley_protocol.records import Enrolment, invite_proof
from parley_service.control import call
from parley_service.logs import configure

from benchmarks.harness import Row, run
from tests.gateway.federation import GATEWAY_TOML

MEGABYTE: Final = 1_000_000
BODIES: Final = 25  # 400 MB
PARTIES: Final = 100
COORDINATES: Final = 4_000_000
WIDTH: Final = 32
REPEATS: Final = 3
_BLOCK_BYTES: Final = 1 << 20
_KEY: Final = SigningKey(bytes(range(32)))
_PACE_SECONDS: Final = 0.12  # a gateway lets strangers of one address ask ten times a second
_RESET_PEAK: Final = "5"  # proc(5), clear_refs
_CONTEXT: Final = Context("agreement", 1, "base", "all")


# --- the gateway's process: a real gateway, and a line in for each question


async def _serve(folder: Path) -> None:
    configure(format="text", level="error")
    service = GatewayService(load(folder / "gateway.toml"), _KEY, {})
    listen = await service.start()
    bare = web.AppRunner(_bare(), access_log=None)
    await bare.setup()
    await web.TCPSite(bare, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://127.0.0.1:{listen.port}", "bare": f"http://127.0.0.1:{bare.addresses[0][1]}"}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        question = json.loads(line)
        match question["do"]:
            case "reset":
                _reset_peak()
            case "open":
                await asyncio.to_thread(_open, folder, question["bodies"], question["length"], are_masked=question["are_masked"])
        print(json.dumps(_usage()), flush=True)
    await bare.cleanup()
    await service.stop()


def _bare() -> web.Application:
    """Return the HTTP library alone: it reads a body and forgets it."""

    async def put(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        return web.Response()

    application = web.Application()
    application.add_routes([web.put("/", put)])
    return application


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def _open(folder: Path, bodies: dict[str, str], length: int, *, are_masked: bool) -> None:
    """Add bodies of the spool and take their self masks off, as opening does, and write the sum."""
    opening = MaskedOpening(_CONTEXT, length, WIDTH)
    for party, digest in bodies.items():
        opening.combine(mapped(folder / "data" / "spool" / party / digest, 0, length, WIDTH))
    if are_masked:
        for party in bodies:
            opening.remove_self(party, _seed(party))
        with (folder / "sums").open("wb") as file:
            write_sum(file, opening.open(), b"")
            os.fsync(file.fileno())


def _usage() -> dict[str, float]:
    status = Path("/proc/self/status").read_text()
    peak, now = (float(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * 1024 for name in ("VmHWM", "VmRSS"))
    return {"cpu": time.process_time(), "peak": peak, "now": now}


@dataclass(frozen=True, slots=True)
class Gateway:
    """The other process."""

    folder: Path
    url: str
    bare: str  # address of the HTTP library alone, in the same process
    process: subprocess.Popen[str]

    def ask(self, do: str, **arguments: Any) -> dict[str, float]:  # noqa: ANN401 - JSON
        """Have something done there, and return its process's CPU seconds so far and its memory in bytes."""
        print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
        return _answer(self.process)

    async def opened(self, bodies: dict[str, str], length: int, *, are_masked: bool) -> dict[str, float]:
        """Have the bodies of parties (id -> digest) opened there, `length` coordinates each; return as `ask` does."""
        return await asyncio.to_thread(partial(self.ask, "open", bodies=bodies, length=length, are_masked=are_masked))

    @asynccontextmanager
    async def party(self, name: str) -> AsyncIterator[GatewayClient]:
        """Enrol a party and return its client."""
        key = SigningKey(blake3(name.encode()).digest())
        link = GatewayLink.model_validate({"url": self.url, "fingerprint": _KEY.public.fingerprint, "proxy": "none"})
        async with GatewayClient(link, party=name, key=key) as client:
            arguments = {"party": name, "name": name, "class": "hospital", "country": "DE"}
            invite = await call(control_path(load(self.folder / "gateway.toml")), "member.invite", arguments)
            await client.enrol(_enrolment(invite, name, key))
            await client.greet()
            await asyncio.sleep(_PACE_SECONDS)
            yield client


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError(f"the gateway's process ended with {process.wait()}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _enrolment(invite: dict[str, Any], name: str, key: SigningKey) -> bytes:
    identity = SigningKey(blake3(f"{name}/identity".encode()).digest())
    keys = {"identity": identity.public.hex, "authentication": key.public.hex}
    gateway = invite["gateway"]
    statement = Enrolment(
        **{field: invite[field] for field in ("party", "legal_name", "party_class", "country")},
        **keys,
        gateway=gateway["key"],
        log_origin=gateway["log_origin"],
        invite_proof=invite_proof(bytes.fromhex(invite["token"]), party=name, gateway=gateway["key"], **keys),
        at=int(time.time()),
    )
    return statement.sign(identity, key).dump()


def _in_gateway(folder: Path, work: Callable[[Gateway], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
    """Run work, a coroutine function, beside a gateway in a process of its own."""
    (folder / "gateway.toml").write_text(GATEWAY_TOML)
    command = (sys.executable, "-m", "benchmarks.masked_transport", str(folder))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this file
        try:
            gateway = Gateway(folder, **_answer(process), process=process)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(work(gateway))
        finally:
            if process.stdin:
                process.stdin.close()
            process.wait(30)


# --- speed


@dataclass(frozen=True, slots=True)
class Passed:
    """One pass over the same bytes: wall seconds, CPU seconds of whoever writes, hashes and adds, and CPU seconds of the senders."""

    wall: float
    cpu: float
    senders_cpu: float = 0.0


def _local(bodies: list[RingVector], folder: Path) -> Passed:
    """Write, hash and add block by block; each body on the disk at its end."""
    paths = [folder / f"local-{index}" for index in range(len(bodies))]
    started, cpu = time.perf_counter(), time.process_time()
    total = np.zeros_like(bodies[0])
    for body, path in zip(bodies, paths, strict=True):
        raw, hasher, step = body.data.cast("B"), blake3(), _BLOCK_BYTES // body.itemsize
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(body), step):
                block = raw[start * body.itemsize : (start + step) * body.itemsize]
                file.write(block)
                hasher.update(block)
                ring.add_into(total[start : start + step], body[start : start + step])
            os.fsync(file.fileno())
        hasher.hexdigest()
    passed = Passed(time.perf_counter() - started, time.process_time() - cpu)
    for path in paths:
        path.unlink()
    return passed


async def _read_only(gateway: Gateway, bodies: list[RingVector]) -> float:
    """Send the bodies in chunks to the HTTP library alone, and return the CPU seconds of the process that reads them."""

    async def send(session: aiohttp.ClientSession, body: RingVector) -> None:
        raw = body.data.cast("B")
        for start in range(0, len(raw), CHUNK_BYTES):
            async with session.put(gateway.bare, data=bytes(raw[start : start + CHUNK_BYTES])) as response:
                response.raise_for_status()

    before = gateway.ask("usage")
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(send(session, body) for body in bodies))
    return gateway.ask("usage")["cpu"] - before["cpu"]


async def _speed(gateway: Gateway) -> tuple[list[Passed], list[Passed], list[float]]:
    """Return passes of the local script and, in turn with them, of uploads by as many parties at once, with the adding of opening.

    Third come the CPU seconds of the HTTP library alone for the same bytes.
    """
    random = np.random.default_rng(1)
    local, sent, bare = [], [], []
    names = [f"p{index:03}" for index in range(BODIES)]
    spool = gateway.folder / "data" / "spool"
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(gateway.party(name)) for name in names]
        for _ in range(REPEATS):
            bodies = [random.integers(0, 2**WIDTH, COORDINATES, dtype=np.uint32) for _ in names]
            local.append(_local(bodies, gateway.folder))
            bare.append(await _read_only(gateway, bodies))
            paths = [gateway.folder / name for name in names]
            for path, body in zip(paths, bodies, strict=True):
                body.tofile(path)
            digests = {path.name: blake3(body.data.cast("B")).hexdigest() for path, body in zip(paths, bodies, strict=True)}
            before, mine, started = gateway.ask("usage"), time.process_time(), time.perf_counter()
            await asyncio.gather(*(client.upload(path) for client, path in zip(clients, paths, strict=True)))
            senders = time.process_time() - mine
            after = await gateway.opened(digests, COORDINATES, are_masked=False)
            sent.append(Passed(time.perf_counter() - started, after["cpu"] - before["cpu"], senders))
            for name, digest in digests.items():
                (spool / name / digest).unlink()
    return local, sent, bare


# --- memory


async def _memory(gateway: Gateway) -> dict[str, float]:
    """Let all parties upload at once, open the sum, and return the peaks above idle, in bytes."""
    folder = gateway.folder / "bodies"
    folder.mkdir()
    names = [f"p{index:03}" for index in range(PARTIES)]
    bodies = {name: _write_sealed(folder / name, value) for value, name in enumerate(names)}
    async with AsyncExitStack() as stack:
        # idle with everyone enrolled and connected: what a gateway with this many members takes is no matter of uploads
        clients = {name: await stack.enter_async_context(gateway.party(name)) for name in names}
        gateway.ask("reset")
        idle = gateway.ask("usage")["now"]
        await asyncio.gather(*(client.upload(folder / name) for name, client in clients.items()))
        uploaded = gateway.ask("usage")["peak"]
        gateway.ask("reset")
        opened = await gateway.opened(bodies, COORDINATES, are_masked=True)
        if (gateway.folder / "sums").read_bytes() != np.full(COORDINATES, sum(range(PARTIES)), dtype=np.uint32).tobytes():
            raise RuntimeError("the opened sum is not the sum of what the parties sealed")
    return {"upload": uploaded - idle, "open": opened["peak"] - idle}


def _write_sealed(path: Path, value: int) -> str:
    """Write a party's body, `value` everywhere under its self mask (pair masks cancel in a full cohort), and return its digest."""
    vector = np.full(COORDINATES, value, dtype=np.uint32)
    keystream.add_mask(vector, _CONTEXT.self_key(_seed(path.name), path.name))
    path.write_bytes(vector.data)
    return blake3(vector.data.cast("B")).hexdigest()


def _seed(party: str) -> bytes:
    return blake3(party.encode()).digest()


# --- rows


def rows() -> list[Row]:
    """Measure all of it; about half a minute and 4 GB of temporary files."""
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        local, sent, bare = _in_gateway(Path(folder), _speed)
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        memory = _in_gateway(Path(folder), _memory)
    best, fastest = min(row.wall for row in local), min(row.wall for row in sent)
    size = BODIES * COORDINATES * WIDTH / 8
    vector = COORDINATES * WIDTH / 8
    allowed = 2 * vector + 64 * MEGABYTE
    return [
        Row("upload_over_local", best / fastest, "x", goal=0.4),
        Row("upload_cpu_s_per_gb", min(row.cpu for row in sent) / size * 1e9, "s/GB", goal=1.0, compare="<="),
        Row("upload_local_cpu_s_per_gb", min(row.cpu for row in local) / size * 1e9, "s/GB"),
        Row("upload_http_library_cpu_s_per_gb", min(bare) / size * 1e9, "s/GB"),
        Row("upload_senders_cpu_s_per_gb", min(row.senders_cpu for row in sent) / size * 1e9, "s/GB"),
        Row("upload_mb_per_s", size / MEGABYTE / fastest, "MB/s"),
        Row("upload_local_mb_per_s", size / MEGABYTE / best, "MB/s"),
        Row("gateway_memory_ratio", max(memory.values()) / allowed, "x of 2 vectors + 64 MB", goal=1.0, compare="<="),
        Row("gateway_memory_upload_mb", memory["upload"] / MEGABYTE, "MB above idle"),
        Row("gateway_memory_open_mb", memory["open"] / MEGABYTE, "MB above idle"),
    ]


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].startswith("--"):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(_serve(Path(sys.argv[1])))
    else:
        run("masked_transport", rows)
