"""One run of the demo from empty folders to three finished studies: as an operator and six parties would do it, through the same doors.

Invites, enrolments, proposals and starts go through what the commands call: control sockets, HTTP, the store. Nothing here reaches into a
service. The one thing that nobody would do at home is the killing: a lender's trainer is paused (SIGSTOP) so that its contribution cannot
be there in time; when the gateway says that the round waits for this lender alone, its service is killed (SIGKILL).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

from parley_crypto.keys import VerifyKey
from parley_gateway.app import control_path
from parley_gateway.config import NAME as GATEWAY_TOML
from parley_gateway.config import load as load_gateway
from parley_party import config as party_config
from parley_party import keystore
from parley_party.enrolment import Invite, JoinPlan, join
from parley_party.reading import read_policy
from parley_protocol.ids import Phase
from parley_protocol.negotiation import StudyState
from parley_protocol.problems import Slug
from parley_service.errors import NotRunningError

from parley.demo_data import DEMO_PARTIES, DemoParty
from parley.demo_folders import (
    free_port,
    invite_arguments,
    make_gateway,
    make_party,
    party_file,
    write_data,
    write_policies,
)
from parley.demo_picture import catch_one
from parley.demo_plan import KILLED, DemoError, DemoPlan, WaitedTooLongError
from parley.demo_policies import Pins
from parley.demo_progress import DemoProgress, Stopwatch
from parley.demo_services import Service, Services
from parley.demo_studies import DEMO_STUDIES, SHARED, DemoStudy, study_text

FEDERATION: Final = "demo"
AGREE_SECONDS: Final = 60.0
STUDY_SECONDS: Final = 300.0
RESULT_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
_CLOSE_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Killing:
    """What was done to a party, as seen from outside when it was done."""

    party: str
    round: int
    phase: str
    restarted_in: int | None


@dataclass(slots=True)
class DemoRun:
    """The running demo: its services, and what was noted on the way."""

    plan: DemoPlan
    services: Services
    progress: DemoProgress
    watch: Stopwatch
    gateway_key: VerifyKey
    gateway: Service
    parties: dict[str, Service] = field(default_factory=dict)
    killing: Killing | None = None

    async def studies(self) -> None:
        """Negotiate and run the three studies, one after the other."""
        for study in DEMO_STUDIES:
            await self.agree(study, study_text(study, datetime.now(UTC).date(), self.plan.rounds))
            self.watch.lap(f"{study.id}: negotiation")
            await self._run(study)
            self.watch.lap(f"{study.id}: rounds")
            await self._results(study)
            self.watch.lap(f"{study.id}: scores at home")

    async def agree(self, study: DemoStudy, text: str) -> None:
        """Have the sponsor propose a study file, and wait until all signed."""
        sponsor = self.parties[study.sponsor]
        self.progress.say(f"{study.sponsor} proposes {study.id} to {len(study.parties)} parties")
        await sponsor.call("study.propose", {"toml": text, "name": f"{study.id}.toml"})
        await self._until(study, {StudyState.FINALIZED}, AGREE_SECONDS)
        await self._known_to(study, {StudyState.FINALIZED}, AGREE_SECONDS)
        shown = await self.gateway.call("study.show", {"study": study.id})
        self.progress.say(f"all {len(study.parties)} signed: agreement {shown['agreement'][:16]}…")

    async def _run(self, study: DemoStudy) -> None:
        await self.parties[study.sponsor].call("study.start", {"study": study.id})
        shared = study is SHARED
        killing = asyncio.create_task(self._kill_and_restart(study)) if shared and self.plan.dropout else None
        catching = asyncio.create_task(self._catch(study)) if shared else None
        beside = [task for task in (killing, catching) if task is not None]
        try:
            await self._until(study, {StudyState.FINISHED}, STUDY_SECONDS, beside)
            if killing is not None:
                await killing  # the party is started again, also if the study was faster
        finally:
            for task in beside:
                task.cancel()

    async def _catch(self, study: DemoStudy) -> None:
        """Keep one encrypted contribution for the report's picture, from the middle of what comes before the killing."""
        soon = asyncio.Event()
        catching = asyncio.create_task(catch_one(self.plan, study, soon))
        try:
            await self._rounds_done(study, self.plan.kill_after // 2)
            soon.set()
            await catching
        finally:
            catching.cancel()

    async def _results(self, study: DemoStudy) -> None:
        """Wait until every party has scored the model on its own rows; what it found stays in its folder."""
        await self._known_to(study, {StudyState.FINISHED}, RESULT_SECONDS, with_result=True)

    # watching

    async def _shown(self, study: DemoStudy) -> dict[str, Any]:
        """Return where the gateway says a study stands; one that it has not heard of yet has no state."""
        listed = (await self.gateway.call("study.list"))["studies"]
        return next((dict(item) for item in listed if item["study"] == study.id), {"state": "", "rounds_total": 0, "reason": ""})

    async def _until(
        self, study: DemoStudy, wanted: Collection[StudyState], seconds: float, beside: Sequence[asyncio.Task[None]] = ()
    ) -> None:
        deadline = time.monotonic() + seconds
        shown: dict[str, Any] = {}
        while time.monotonic() < deadline:
            self.services.check()
            for task in beside:
                if task.done():
                    task.result()  # what went wrong there ends the demo
            shown = await self._shown(study)
            if shown["rounds_total"]:
                self._show(study, shown)
            if shown["state"] in wanted:
                return
            if shown["state"] in {StudyState.TERMINATED, StudyState.STOPPED}:
                slug = Slug.NO_AGREEMENT if shown["state"] == StudyState.TERMINATED else Slug.WRONG_STATE
                raise DemoError(f"study {study.id}", problem=slug, wanted=" or ".join(wanted), got=f"{shown['state']}: {shown['reason']}")
            await asyncio.sleep(_LOOK_SECONDS)
        raise WaitedTooLongError(
            f"study {study.id}",
            wanted=f"{' or '.join(wanted)} in {seconds:.0f} s",
            got=f"{shown}; the gateway said:\n{self.gateway.said()}",
        )

    def _show(self, study: DemoStudy, shown: dict[str, Any]) -> None:
        waits = ", ".join(shown["waits_for"]) if shown["phase"] == Phase.COLLECT else ""
        self.progress.rounds(study.id, int(shown["rounds_done"]), int(shown["rounds_total"]), f"waits for {waits}" if waits else "")

    async def _known_to(self, study: DemoStudy, wanted: Collection[StudyState], seconds: float, *, with_result: bool = False) -> None:
        """Wait until every member knows that the study is where it is, and has its own result where one is wanted."""
        deadline = time.monotonic() + seconds
        missing = set(study.parties)
        while missing and time.monotonic() < deadline:
            for party in sorted(missing):
                known = await self._known(party, study)
                if known.get("state") in wanted and (known["has_result"] or not with_result):
                    missing.discard(party)
            self.services.check()
            await asyncio.sleep(_LOOK_SECONDS)
        if missing:
            party = min(missing)
            raise WaitedTooLongError(
                f"study {study.id} at {', '.join(sorted(missing))}",
                wanted=f"{' or '.join(wanted)}{' with a result' if with_result else ''} in {seconds:.0f} s",
                got=f"not yet; {party} said:\n{self.parties[party].said()}",
            )

    async def _known(self, party: str, study: DemoStudy) -> dict[str, Any]:
        """Return what a party says of a study; nothing if it does not know it yet, or was started again just now."""
        try:
            status = await self.parties[party].call("status")
        except NotRunningError:
            return {}
        return next((dict(item) for item in status["studies"] if item["study"] == study.id), {})

    # the killing

    async def _kill_and_restart(self, study: DemoStudy) -> None:
        victim = self.parties[KILLED]
        await self._rounds_done(study, self.plan.kill_after)
        for trainer in victim.children():
            os.kill(trainer, signal.SIGSTOP)
        shown = await self._waits_for_it_alone(study)
        victim.kill()
        number, phase = int(shown["round"]), str(shown["phase"])
        self.killing = Killing(KILLED, number, phase, None)
        self.progress.say(f"killed {KILLED} in round {number} ({phase}): the others go on without it")
        now = await self._rounds_done(study, int(shown["rounds_done"]) + self.plan.away_rounds)
        victim.start()
        self.killing = Killing(KILLED, number, phase, int(now["round"]))
        self.progress.say(f"started {KILLED} again in round {now['round']}")

    async def _rounds_done(self, study: DemoStudy, wanted: int) -> dict[str, Any]:
        """Return where the study stands once so many rounds are done, or it is finished."""
        while True:
            shown = await self._shown(study)
            if int(shown["rounds_done"]) >= wanted or shown["state"] == StudyState.FINISHED:
                return shown
            await asyncio.sleep(_CLOSE_LOOK_SECONDS)

    async def _waits_for_it_alone(self, study: DemoStudy) -> dict[str, Any]:
        """Return where the study stands when a round collects contributions and all but the paused party's are there."""
        while True:
            shown = await self._shown(study)
            if shown["phase"] == Phase.COLLECT and shown["waits_for"] == [KILLED]:
                return shown
            if shown["state"] == StudyState.FINISHED:
                raise DemoError(f"study {study.id}", wanted=f"a round that waits for {KILLED} alone", got="the end before one")
            await asyncio.sleep(_CLOSE_LOOK_SECONDS)


@dataclass(frozen=True, slots=True)
class Setting:
    """Who takes part, and where the gateway listens: at `behind`, while parties dial `front`, where somebody stands between."""

    parties: tuple[DemoParty, ...] = DEMO_PARTIES
    front: int = field(default_factory=free_port)
    behind: int | None = None


async def set_up(plan: DemoPlan, services: Services, progress: DemoProgress, watch: Stopwatch, setting: Setting | None = None) -> DemoRun:
    """Make the folders inside the work folder, start the gateway, enrol the parties, and start their services."""
    setting = setting or Setting()
    today = datetime.now(UTC).date()
    progress.say(f"making seven folders in {plan.work}")
    key = make_gateway(plan, setting.front, listen=setting.behind)
    gateway_config = load_gateway(plan.gateway / GATEWAY_TOML)
    gateway = services.start("the gateway", plan.gateway, ("gateway", "serve"), control_path(gateway_config))
    pins = await asyncio.to_thread(_make_parties, plan, key, today)
    watch.lap("folders, keys and data")
    await gateway.up()
    for party in setting.parties:  # one after the other: each makes its store, and that can be done once at a time in a process
        await _enrol(plan, gateway, party)
    progress.say(f"{len(setting.parties)} parties enrolled; each pinned the keys of the gateway and of {len(pins.parties) - 1} peers")
    watch.lap("gateway and enrolment")
    run = DemoRun(plan, services, progress, watch, key, gateway)
    for party in setting.parties:
        config = party_config.load(party_file(plan, party.id))
        run.parties[party.id] = services.start(party.id, plan.party(party.id), ("party", "serve"), config.party.control)
    await asyncio.gather(*(service.up() for service in run.parties.values()))
    watch.lap("starting the parties' services")
    return run


def _make_parties(plan: DemoPlan, gateway: VerifyKey, today: date) -> Pins:
    pins = Pins(gateway.fingerprint, {party.id: make_party(plan, party, gateway, today) for party in DEMO_PARTIES})
    write_policies(plan, pins, today)
    write_data(plan)
    return pins


async def _enrol(plan: DemoPlan, gateway: Service, party: DemoParty) -> None:
    """Invite a party at the gateway and let it join: `parley member invite` and `parley party join`."""
    invite = Invite.model_validate(await gateway.call("member.invite", invite_arguments(party)))
    config = party_config.load(party_file(plan, party.id))
    keys = await asyncio.to_thread(keystore.load, config.keys.dir, config.keys.passphrase.read(config.folder, os.environ))
    policy = read_policy(config)
    await join(config, keys, policy, invite, JoinPlan(FEDERATION, proxy="none", fingerprint=invite.key.fingerprint), now=time.time())
