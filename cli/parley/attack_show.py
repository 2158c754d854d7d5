"""`parley demo --lying-gateway` from start to end: the demo's parties, a gateway that lies to them act by act, and what each answers.

The services are those of the demo: real processes, real loans, HTTP on loopback. Only between them stands `attack_liar`. After the acts the
log is exported twice, as it is and rewritten, and `parley audit verify` judges both. The result says of each act who was lied to, what each
party wrote down about it, and whether anything was opened; whoever runs it gets an error if one act was not refused for its reason.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from parley_audit.claims import Audience
from parley_audit.export import write_export
from parley_protocol.problems import Problem, Slug

from parley.attack_acts import ACTS, Act
from parley.attack_liar import Liar
from parley.attack_lies import LogKey, without_round
from parley.attack_stage import Played, Stage, shortened
from parley.attack_words import Teller
from parley.audit import Folder
from parley.demo_data import DEMO_PARTIES
from parley.demo_folders import free_port, work_folder_of
from parley.demo_plan import DemoPlan
from parley.demo_progress import DemoProgress, Stopwatch
from parley.demo_run import Setting, set_up
from parley.demo_services import Services
from parley.demo_studies import SHARED, DemoStudy, study_text
from parley.exits import ExitCode

PHASE_SECONDS: Final = 5.0  # so long a round that cannot be finished waits before it is released
GRACE_SECONDS: Final = 20.0  # a party that is being lied to is not gone
AS_IT_IS: Final = "export"
REWRITTEN: Final = "export-rewritten"
_VERIFY: Final = (sys.executable, "-P", "-c", "from parley.main import run; run()", "audit", "verify")


async def show_acts(
    plan: DemoPlan, progress: DemoProgress, teller: Teller, *, study: DemoStudy = SHARED, acts: Sequence[Act] = ACTS
) -> dict[str, Any]:
    """Run the acts and return what stands in the result."""
    began = time.monotonic()
    setting = Setting(tuple(party for party in DEMO_PARTIES if party.id in study.parties), free_port(), free_port())
    with work_folder_of(plan):
        async with Liar(setting.front, setting.behind or 0) as liar, Services() as services:
            run = await set_up(plan, services, progress, Stopwatch(), setting)
            today = datetime.now(UTC).date()
            await run.agree(study, study_text(study, today, plan.rounds, grace=GRACE_SECONDS, phase=PHASE_SECONDS))
            await run.parties[study.sponsor].call("study.start", {"study": study.id})
            stage = Stage(plan, study, liar, await asyncio.to_thread(LogKey.of, plan.gateway), services.check)
            shown = []
            for number, act in enumerate(acts, start=1):
                teller.begin(number, len(acts), act)
                stage.played = Played()
                await act.play(stage)
                shown.append(judged(act, stage.played))
                teller.end(shown[-1])
            audits = await _audits(plan, stage.log)
    teller.audits(audits)
    return {"study": study.id, "parties": list(stage.parties), "acts": shown, "audit": audits, "seconds": time.monotonic() - began}


def judged(act: Act, played: Played) -> dict[str, Any]:
    """Return an act as it stands in the result; it is refused if every party that was lied to refused, for the reason that it must."""
    answered = {refusal.party for refusal in played.refusals}
    faults = list(played.faults)
    faults += [f"{party} refused nothing" for party in sorted(played.lied_to - answered)]
    faults += [f"{one.party} refused for another reason" for one in played.refusals if not act.is_reason(one.words)]
    if played.reveals or played.opened:
        faults.append(f"{played.reveals} parties revealed shares, {played.opened} sums were taken")
    return {
        "act": act.name,
        "title": act.title,
        "does": act.does,
        "invariant": act.invariant,
        "lied_to": sorted(played.lied_to),
        "refusals": [asdict(refusal) for refusal in played.refusals],
        "took_no_notice": sorted(played.silent),
        "reveals": played.reveals,
        "opened": played.opened,
        "refused": not faults,
        "faults": faults,
    }


async def _audits(plan: DemoPlan, log: LogKey) -> list[dict[str, Any]]:
    """Export the log as it is and rewritten, each under a checkpoint that the gateway signed, and have both verified."""
    leaves = await asyncio.to_thread(log.leaves)
    wanted = ((AS_IT_IS, leaves, ExitCode.DONE), (REWRITTEN, without_round(leaves), ExitCode.UNVERIFIED))
    return [await _audited(plan.work / name, told, log, code) for name, told, code in wanted]


async def _audited(path: Path, leaves: Sequence[bytes], log: LogKey, wanted: ExitCode) -> dict[str, Any]:
    await asyncio.to_thread(path.mkdir)
    key = log.key.public
    write_export(Folder(path), leaves, checkpoint=log.note(leaves), gateway=key, origin=log.origin, audience=Audience.PARTY)
    process = await asyncio.create_subprocess_exec(
        *_VERIFY, str(path), "--fingerprint", key.fingerprint, "--json", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    problems = json.loads(said)["problems"]
    return {
        "export": path.name,
        "command": f"parley audit verify {path}",
        "exit_code": process.returncode,
        "wanted": int(wanted),
        "fault": shortened(problems[0]["detail"]) if problems else None,
    }


def problems_in(result: Mapping[str, Any]) -> list[Problem]:
    """Return what went wrong in a show: acts that were not refused, and audits that did not come out as they must."""
    acts = [
        Problem(Slug.VERIFICATION_FAILED, f"act {act['act']}", wanted="each party's refusal", got="; ".join(act["faults"]))
        for act in result["acts"]
        if not act["refused"]
    ]
    audits = [
        Problem(Slug.VERIFICATION_FAILED, audit["command"], wanted=f"exit code {audit['wanted']}", got=str(audit["exit_code"]))
        for audit in result["audit"]
        if audit["exit_code"] != audit["wanted"]
    ]
    return acts + audits
