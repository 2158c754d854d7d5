"""The gateway as a process: founded, started, killed at any moment, stopped; nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from parley_gateway.app import KEY, KEY_LABEL, control_path
from parley_gateway.config import load
from parley_gateway.founding import GatewaySetup, initialise, read_public_key
from parley_gateway.store import read_everything
from parley_protocol.limits import KIB
from parley_protocol.problems import Slug
from parley_protocol.records import PolicyActivated, StudyChange
from parley_service.control import call
from parley_service.errors import ConfigError, NotRunningError
from parley_service.keyfile import KEY_FILE, open_keys
from parley_service.sealedfile import write_sealed
from parley_service.secrets import Secret, SecretReference

from tests.gateway.federation import Federation, write_config
from tests.gateway.parties import GATEWAY_KEY, Party, check_sums
from tests.gateway.test_gateway_rounds import audited

pytestmark = pytest.mark.services
ENVIRONMENT = {**os.environ, "PASSPHRASE": "open sesame"}
SERVE = "import os, sys, pathlib; from parley_gateway.app import serve; serve(pathlib.Path(sys.argv[1]), os.environ)"
COMMAND = (sys.executable, "-c", SERVE)
KILLS = 8
NAMES = [f"p{index}" for index in range(4)]


@dataclass
class Process:
    """A gateway in a process of its own, on a port that stays the same over restarts."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    log: list[str] = field(default_factory=list)

    async def start(self) -> None:
        self.starts += 1
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - a moment, in a test
                [*COMMAND, str(self.folder / "gateway.toml")], env=ENVIRONMENT, stderr=log, stdout=log
            )
        async with asyncio.timeout(30):
            while True:
                assert self.process.poll() is None, (self.folder / "service.log").read_text()[-4_000:]
                try:
                    status = await call(self.folder / "data" / "control.sock", "status")
                except NotRunningError:
                    await asyncio.sleep(0.02)
                    continue
                self.port = int(status["listen"].rpartition(":")[2])
                return

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)


def founded(folder: Path) -> Path:
    """Make a gateway's folder with the key that the parties of the tests know."""
    path = write_config(folder)
    (folder / "keys").mkdir()
    content = json.dumps({KEY: GATEWAY_KEY.seed().hex()}).encode()
    write_sealed(folder / "keys" / KEY_FILE, content, Secret("open sesame"), label=KEY_LABEL, n=16)
    return path


class Away(Federation):
    """The federation of a gateway in another process."""

    process: Process

    @property
    def port(self) -> int:
        return self.process.port

    async def again(self) -> None:
        """Start the process again and tell the parties its port."""
        await self.process.start()
        for party in self.parties.values():
            party.port = self.port

    async def close(self) -> None:
        for task in self.serving.values():
            task.cancel()
        await asyncio.gather(*self.serving.values(), return_exceptions=True)
        for party in self.parties.values():
            await party.__aexit__()
        self.process.kill()


def run(tmp_path: Path, work: Callable[[Away], Awaitable[None]]) -> None:
    async def inner() -> None:
        founded(tmp_path)
        federation = Away(tmp_path, None)  # type: ignore[arg-type]  # the gateway is in another process
        federation.process = Process(tmp_path)
        await federation.process.start()
        try:
            await work(federation)
        finally:
            await federation.close()

    asyncio.run(inner())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_gateway_that_is_killed_again_and_again_finishes_the_study(tmp_path: Path, seed: int) -> None:
    async def work(federation: Away) -> None:
        chance = random.Random(seed)
        for name in NAMES:
            party = await federation.enrol(name)
            party.patient = True
        federation.serve()
        made = asyncio.create_task(federation.propose(rounds=24, grace=1.0))
        killing = asyncio.create_task(kill_often(federation, chance))
        await made
        await federation.parties["p0"].start("heart")
        await federation.until(lambda: all(StudyChange.FINISHED in p.studies["heart"].events for p in federation.parties.values()), 200)
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        assert federation.process.starts > 2
        chains = {party.studies["heart"].chain.head for party in federation.parties.values()}
        assert len(chains) == 1
        for party in federation.parties.values():
            assert party.studies["heart"].number == 25
            check_sums(party.studies["heart"])

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")


async def kill_often(federation: Away, chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.05, 0.6))
        federation.process.kill()
        await federation.again()


def test_an_upload_that_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    async def work(federation: Away) -> None:
        party = await federation.enrol("p0")
        body = os.urandom(300 * KIB)
        assert await party.upload(body) == len(body)
        first = await party.post("record", "", {"statement": policy(party)})
        federation.process.kill()
        await federation.again()
        assert await party.upload(body) == len(body)
        assert await party.post("record", "", {"statement": policy(party)}) == first
        assert len((await party.request("GET", "/v1/log/entries?start=0&end=9"))["entries"]) == 3

    run(tmp_path, work)


def policy(party: Party) -> str:
    return PolicyActivated(party=party.name, policy="0" * 64, at=1).sign(party.identity).dump().decode()


def test_a_gateway_stops_gracefully_and_answers_open_polls(tmp_path: Path) -> None:
    async def work(federation: Away) -> None:
        party = await federation.enrol("p0")
        poll = asyncio.create_task(party.poll(5))
        await asyncio.sleep(0.2)
        stopped = asyncio.create_task(asyncio.to_thread(federation.process.stop))
        assert await poll == []
        assert await stopped == 0
        assert not control_path(load(tmp_path / "gateway.toml")).exists()

    run(tmp_path, work)


def test_a_second_service_on_one_folder_is_refused(tmp_path: Path) -> None:
    async def work(_: Away) -> None:
        second = await asyncio.to_thread(
            subprocess.run, [*COMMAND, str(tmp_path / "gateway.toml")], env=ENVIRONMENT, capture_output=True, check=False
        )
        assert second.returncode != 0
        assert b"LockedError" in second.stderr

    run(tmp_path, work)


# founding


def test_a_new_folder_starts_and_is_never_overwritten(tmp_path: Path) -> None:
    reference = SecretReference.parse("env:PASSPHRASE")
    setup = GatewaySetup("http://127.0.0.1:8443", "Operator e. V.", "DE", reference, Secret("open sesame"), "gw.example", "127.0.0.1:0")
    made = initialise(tmp_path / "gw", setup, n=16)
    config = load(tmp_path / "gw" / "gateway.toml")
    keys = open_keys(config.keys.dir, (KEY,), Secret("open sesame"), label=KEY_LABEL)
    assert keys.signing(KEY).public == made.key == read_public_key(tmp_path / "gw")
    assert read_everything(tmp_path / "gw" / "data" / "gateway.db").members == ()
    with pytest.raises(ConfigError) as found:
        initialise(tmp_path / "gw", setup, n=16)
    assert found.value.problem is Slug.CONFLICT

    async def starts() -> None:
        process = Process(tmp_path / "gw")
        await process.start()
        status = await call(control_path(config), "status")
        assert (status["id"], status["fingerprint"], status["log_leaves"]) == ("gw.example", made.fingerprint, 1)
        assert process.stop() == 0

    asyncio.run(starts())


@pytest.mark.parametrize("wrong", [{"url": "http://gateway.example"}, {"country": "Germany"}, {"operator": ""}, {"listen": "nowhere"}])
def test_values_that_are_wrong_leave_nothing_behind(tmp_path: Path, wrong: dict[str, str]) -> None:
    values = {"url": "https://gateway.example", "operator": "O", "country": "DE"} | wrong
    reference = SecretReference.parse("env:PASSPHRASE")
    setup = GatewaySetup(
        values["url"], values["operator"], values["country"], reference, Secret("open sesame"), listen=values.get("listen", "")
    )
    with pytest.raises(ConfigError):
        initialise(tmp_path / "gw", setup, n=16)
    assert list((tmp_path / "gw").iterdir()) == []


def test_a_public_address_listens_on_loopback_behind_a_proxy(tmp_path: Path) -> None:
    setup = GatewaySetup("https://gateway.example", "O", "DE", SecretReference.parse("env:PASSPHRASE"), Secret("open sesame"))
    initialise(tmp_path / "gw", setup, n=16)
    config = load(tmp_path / "gw" / "gateway.toml")
    assert (config.gateway.id, str(config.gateway.listen)) == ("gateway.example", "127.0.0.1:8443")


def test_the_wrong_passphrase_opens_nothing(tmp_path: Path) -> None:
    founded(tmp_path)
    environment = {**ENVIRONMENT, "PASSPHRASE": "close sesame"}
    found = subprocess.run([*COMMAND, str(tmp_path / "gateway.toml")], env=environment, capture_output=True, check=False)
    assert found.returncode != 0
    assert b"KeyFileError" in found.stderr
    assert not (tmp_path / "data").exists()


def test_a_process_that_is_told_to_stop_before_it_listens_stops(tmp_path: Path) -> None:
    founded(tmp_path)
    process = subprocess.Popen([*COMMAND, str(tmp_path / "gateway.toml")], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in {0, -signal.SIGTERM}
