"""A gateway and parties as real processes in folders of their own, made by what the commands call. For tests that kill them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from parley.demo_services import Service, Services
from parley_gateway.app import control_path
from parley_gateway.config import load as load_gateway
from parley_gateway.founding import GatewaySetup, initialise
from parley_party import config as party_config
from parley_party import keystore
from parley_party.drafting import first_policy
from parley_party.enrolment import Invite, JoinPlan, join
from parley_party.founding import PartySetup, create_party
from parley_party.reading import read_policy
from parley_service.errors import ControlError
from parley_service.secrets import Secret, SecretReference

SECRET = SecretReference.parse("env:PARLEY_E2E_PASSPHRASE")
PASSPHRASE = "a passphrase of the tests"
STUDY_ID = "illness"
ROUND_SECONDS = 36.0
DATA = """\
[data.visits]
files = { visits = "visits.csv" }
query = "visits.sql"
held_out = 0.3

[data.visits.map]
age  = { sql = "age", unit = "year" }
dose = { sql = "dose", unit = "mg" }
ill  = "ill"
"""
STUDY = """\
schema  = "parley.study/1"
id      = "illness"
title   = "Does dose predict illness?"
sponsor = "party-0"
invited = [INVITED]
summary = "A test."

[purpose]
uses = ["dpv:ScientificResearch"]

[workload]
name  = "train@1"
model = { kind = "mlp", hidden = [4] }
start = "new"

[workload.train]
epochs = 1
batch_rows = 32
learning_rate = 0.1

[[objectives]]
id = "illness"
label = "ill"
kind = "binary"

[columns]
age  = { type = "float", unit = "year", range = [0, 120] }
dose = { type = "float", unit = "mg", range = [0, 100] }
ill  = { type = "bool", objectives = ["illness"] }

[wishes]
scheme     = ["masked"]
rounds     = { min = ROUNDS, max = ROUNDS }
clip_bound = { min = 0.5, max = 2.0 }
answer_by  = ANSWER
round_hours   = HOURS
grace_seconds = 0.5
phase_seconds = 4.0

[model_use]
owner      = "all members jointly"
allowed    = ["internal-use"]
on_leaving = "keep-last-version"
benefit    = "equal"
"""


@dataclass
class Federation:
    """The processes of one test."""

    folder: Path
    services: Services
    gateway: Service
    parties: dict[str, Service]

    @property
    def sponsor(self) -> Service:
        return self.parties["party-0"]

    async def propose(self, rounds: int, *, round_seconds: float = ROUND_SECONDS) -> None:
        """Propose the study of so many rounds of training; a round that collects for longer is closed, or given back."""
        invited = ", ".join(f'"{party}"' for party in self.parties)
        answer = (datetime.now(UTC).date() + timedelta(days=2)).isoformat()
        text = STUDY.replace("INVITED", invited).replace("ROUNDS", str(rounds)).replace("ANSWER", answer)
        text = text.replace("HOURS", f"{round_seconds / 3600:.6f}")
        await self.sponsor.call("study.propose", {"toml": text, "name": "study.toml"})

    async def shown(self) -> dict[str, Any]:
        """Return where the gateway says the study stands, or nothing where it is just not running."""
        with contextlib.suppress(ControlError, OSError):
            for row in (await self.gateway.call("study.list"))["studies"]:
                return dict(row)
        return {"state": "", "round": 0, "phase": None, "waits_for": []}

    async def until_shown(self, condition: Callable[[dict[str, Any]], bool], *, seconds: float) -> dict[str, Any]:
        """Wait until the gateway says of the study what `condition` wants, and return that."""
        deadline = time.monotonic() + seconds
        while not condition(shown := await self.shown()):
            assert shown["state"] in {"RUNNING", ""}, shown
            assert time.monotonic() < deadline, (shown, self.gateway.said())
            await asyncio.sleep(0.02)
        return shown

    async def state(self, party: str) -> dict[str, Any]:
        """Return what a party says of the study, or nothing where it is just not running."""
        with contextlib.suppress(ControlError, OSError):
            for row in (await self.parties[party].call("status"))["studies"]:
                return dict(row)
        return {"state": "", "version": None, "has_result": False, "reason": ""}

    async def until(self, state: str, *, seconds: float, result: bool = False) -> None:
        """Wait until every party has the study in `state`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rows = [await self.state(party) for party in self.parties]
            if all(row["state"] == state and (row["has_result"] or not result) for row in rows):
                return
            assert not any(row["state"] in {"TERMINATED", "STOPPED"} for row in rows), rows
            await asyncio.sleep(0.1)
        raise AssertionError(f"not {state} in {seconds} s: {[await self.state(party) for party in self.parties]}; {self.gateway.said()}")


@contextlib.asynccontextmanager
async def federation(folder: Path, parties: int, *, colluders: int = 1, readers: str = "gateway") -> AsyncIterator[Federation]:
    """Start a gateway and `parties` party services that have enrolled; `readers` says who may read opened sums."""
    os.environ["PARLEY_E2E_PASSPHRASE"] = PASSPHRASE
    async with Services() as services:
        setup = GatewaySetup(f"http://127.0.0.1:{_free_port()}", "Operator", "DE", SECRET, Secret(PASSPHRASE), id="gw.test")
        key = initialise(folder / "gateway", setup, n=1024).key
        config = load_gateway(folder / "gateway" / "gateway.toml")
        gateway = services.start("gateway", folder / "gateway", ("gateway", "serve"), control_path(config))
        await gateway.up()
        running = Federation(folder, services, gateway, {})
        for index in range(parties):
            name = f"party-{index}"
            home = folder / name
            _write_rows(folder, name, index)
            values = {"max_small_changes": 200, "colluders": colluders}
            policy = first_policy("demo-open", name, DATA, gateway=key.fingerprint, today=datetime.now(UTC).date(), values=values)
            policy = policy.replace('opened_sums_readable_by = "gateway"', f'opened_sums_readable_by = "{readers}"')
            party = PartySetup(name, SECRET, Secret(PASSPHRASE), policy, DATA, {"visits.sql": "SELECT * FROM visits\n"})
            keys = create_party(home, party, n=1024).keys
            await _enrol(gateway, home, keys)
            started = party_config.load(home / "party.toml")
            running.parties[name] = services.start(name, home, ("party", "serve"), started.party.control)
        await asyncio.gather(*(service.up() for service in running.parties.values()))
        yield running


async def _enrol(gateway: Service, home: Path, keys: keystore.PartyKeys) -> None:
    config = party_config.load(home / "party.toml")
    arguments = {"party": config.party.id, "name": config.party.id.title(), "class": "demo", "country": "DE"}
    invite = Invite.model_validate(await gateway.call("member.invite", arguments))
    plan = JoinPlan("test", proxy="none", fingerprint=invite.key.fingerprint)
    await join(config, keys, read_policy(config), invite, plan, now=time.time())


def _write_rows(folder: Path, name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    age, dose = random.uniform(20, 90, 200), random.uniform(0, 50, 200)
    ill = random.uniform(size=200) < 1 / (1 + np.exp(-(dose - 25) / 8))
    home = folder / name
    home.mkdir(mode=0o700)
    rows = "\n".join(f"{a:.1f},{d:.2f},{str(bool(i)).lower()}" for a, d, i in zip(age, dose, ill, strict=True))
    (home / "visits.csv").write_text(f"age,dose,ill\n{rows}\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
