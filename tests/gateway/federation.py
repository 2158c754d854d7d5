# ruff: noqa: ANN401 - JSON, and arguments of any type
"""A real gateway on loopback, in this process, and the parties of `parties`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from parley_gateway.app import GatewayService
from parley_gateway.config import load
from parley_policies.negotiation.proposal import (
    ClipWish,
    Proposal,
    ProposedSegment,
    RoundsWish,
    StudyColumn,
    StudyModel,
    StudyModelUse,
    StudyObjective,
    StudyPurpose,
    StudyWorkload,
    Wishes,
)
from parley_service.control import call

from tests.gateway.parties import GATEWAY_KEY, Party

GATEWAY_TOML = """schema = "parley.gateway/1"
[gateway]
id = "gw.example"
public_url = "http://127.0.0.1:8443"
listen = "127.0.0.1:0"
[operator]
legal_name = "Operator e. V."
country = "DE"
privacy_contact = "privacy@gw.example"
security_contact = "security@gw.example"
incident_notice_hours = 24
change_notice_days = 30
[store]
url = "sqlite:///data/gateway.db"
spool = "data/spool"
[keys]
dir = "keys"
passphrase = "env:PASSPHRASE"
"""
LIMITS = """
[limits]
max_upload_mib = 4
max_chunk_mib = 1
long_poll_seconds = 5
"""


def write_config(folder: Path, extra: str = "") -> Path:
    """Write a gateway.toml and return its path."""
    path = folder / "gateway.toml"
    path.write_text(GATEWAY_TOML + LIMITS + extra)
    return path


async def started(folder: Path, clock: Callable[[], float] = time.time) -> GatewayService:
    """Return a gateway that runs in this process, on a free port."""
    path = folder / "gateway.toml"
    service = GatewayService(load(path if path.exists() else write_config(folder)), GATEWAY_KEY, {}, clock=clock)
    await service.start()
    return service


def proposal(study: str, parties: Sequence[str], *, rounds: int = 3, length: int = 64, grace: float = 0.6, **wishes: Any) -> Proposal:
    """Return a proposal of the first of `parties` with two objectives."""
    return Proposal(
        id=study,
        title="A study",
        sponsor=parties[0],
        invited=tuple(parties),
        summary="A study for a test.",
        purpose=StudyPurpose(uses=("dpv:ScientificResearch",)),
        workload=StudyWorkload(name="train@1", model=StudyModel(kind="mlp", hidden=(8,))),
        objectives=(
            StudyObjective(id="a", label="is_a", kind="binary"),
            StudyObjective(id="b", label="is_b", kind="binary"),
        ),
        columns={
            "age": StudyColumn(type="float", unit="year", range=(0.0, 120.0)),
            "is_a": StudyColumn(type="bool", objectives=("a",)),
            "is_b": StudyColumn(type="bool", objectives=("b",)),
        },
        wishes=Wishes.model_validate(
            {
                "scheme": ("masked",),
                "rounds": RoundsWish(min=1, max=rounds),
                "clip_bound": ClipWish(min=0.5, max=2.0),
                "answer_by": date(2098, 1, 1),
                "grace_seconds": grace,
                "phase_seconds": 20.0,
            }
            | wishes
        ),
        model_use=StudyModelUse(owner="all", allowed=("internal-use",), on_leaving="delete", benefit="equal"),
        segments=(
            ProposedSegment(name="trunk", length=length),
            ProposedSegment(name="head:a", length=9, objectives=("a",)),
            ProposedSegment(name="head:b", length=9, objectives=("b",)),
        ),
        summary_length=5,
    )


@dataclass
class Federation:
    """A gateway and its parties, all in this process."""

    folder: Path
    gateway: GatewayService
    parties: dict[str, Party] = field(default_factory=dict)
    serving: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @classmethod
    async def of(cls, folder: Path, names: Sequence[str]) -> Federation:
        """Start a gateway and enrol parties; the first half serves objective a, the second b."""
        federation = cls(folder, await started(folder))
        for index, name in enumerate(names):
            await federation.enrol(name, "a" if 2 * index < len(names) else "b")
        return federation

    @property
    def port(self) -> int:
        return self.gateway.listen.port

    async def control(self, verb: str, **arguments: Any) -> Any:
        return await call(self.folder / "data" / "control.sock", verb, arguments)

    async def invite(self, name: str) -> dict[str, Any]:
        arguments = {"party": name, "name": name.title(), "class": "hospital", "country": "DE"}
        invite: dict[str, Any] = await self.control("member.invite", **arguments)
        return invite

    async def enrol(self, name: str, objective: str = "a") -> Party:
        party = Party(name, self.port, objective)
        await party.__aenter__()
        await party.enrol(await self.invite(name))
        self.parties[name] = party
        return party

    def serve(self, *names: str) -> None:
        """Let parties answer their messages."""
        for name in names or self.parties:
            if name not in self.serving:
                self.serving[name] = asyncio.create_task(self.parties[name].serve())

    async def silence(self, *names: str) -> None:
        """End a party's connections, as if its process had died."""
        for name in names:
            task = self.serving.pop(name)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            party = self.parties[name]
            await party.__aexit__()
            await party.__aenter__()

    async def propose(self, study: str = "heart", **changes: Any) -> Proposal:
        """Propose a study to all and wait until it is finalized at all of them."""
        made = proposal(study, list(self.parties), **changes)
        await self.parties[made.sponsor].sign("propose", study, made)
        await self.until(lambda: all(study in party.studies for party in self.parties.values()))
        return made

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait for a condition; a party that failed fails the test."""
        async with asyncio.timeout(seconds):
            while not condition():
                for task in self.serving.values():
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def rounds(self, study: str, number: int, *names: str) -> None:
        """Wait until parties have closed `number` rounds."""
        chosen = names or tuple(self.parties)
        await self.until(lambda: all(self.parties[name].studies[study].number >= number for name in chosen))

    async def restart(self) -> None:
        """Stop the gateway gracefully and start it again at another port."""
        await self.gateway.stop()
        self.gateway = await started(self.folder, self.gateway.clock)
        for party in self.parties.values():
            party.port = self.port

    async def close(self) -> None:
        """Stop everything."""
        for task in self.serving.values():
            task.cancel()
        await asyncio.gather(*self.serving.values(), return_exceptions=True)
        for party in self.parties.values():
            await party.__aexit__()
        await self.gateway.stop()
