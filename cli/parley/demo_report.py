"""One demo from start to end: run it, audit the log, gather the facts, write the report. Whatever happens, no process is left behind."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from parley_audit.checks import Report
from parley_audit.report.facts import Facts
from parley_audit.report.render import as_json, render
from parley_protocol.problems import Slug

from parley.audit import Folder
from parley.demo import HTML, JSON
from parley.demo_evidence import EXPORT, audit, export_log
from parley.demo_facts import collect
from parley.demo_folders import work_folder_of
from parley.demo_plan import DemoError, DemoPlan
from parley.demo_progress import DemoProgress, Stopwatch
from parley.demo_run import FEDERATION, Killing, set_up
from parley.demo_services import Services

T = TypeVar("T")
_STOPPING: Final = signal.SIGTERM


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run leaves behind for its report, beside the folders."""

    export: Folder
    audited: Report
    killing: Killing | None


def run_demo(plan: DemoPlan, progress: DemoProgress) -> dict[str, Any]:
    """Run the plan and write its report; return what stands in report.json."""
    with work_folder_of(plan):
        _clear(plan)
        facts = _facts(plan, progress, Stopwatch())
    text = json.dumps(as_json(facts), indent=2, ensure_ascii=False) + "\n"
    (plan.out / JSON).write_text(text, encoding="utf-8")
    (plan.out / HTML).write_text(render(facts), encoding="utf-8")
    report: dict[str, Any] = json.loads(text)
    return report


def _facts(plan: DemoPlan, progress: DemoProgress, watch: Stopwatch) -> Facts:
    finished = interruptible(_run(plan, progress, watch))
    watch.lap("shutting down")
    fault = finished.audited.fault
    if fault is not None:
        raise DemoError("the log of the demo", problem=Slug.VERIFICATION_FAILED, wanted="an export that verifies", got=str(fault))
    progress.say("reading each party's own folder for the report")
    return collect(plan, finished.export, finished.audited, watch, finished.killing)


def _clear(plan: DemoPlan) -> None:
    """Take away what an earlier demo wrote into the report's folder, and nothing else."""
    plan.out.mkdir(parents=True, exist_ok=True)
    if (plan.out / EXPORT / "export.json").is_file():
        shutil.rmtree(plan.out / EXPORT)
    for name in (HTML, JSON):
        (plan.out / name).unlink(missing_ok=True)


async def _run(plan: DemoPlan, progress: DemoProgress, watch: Stopwatch) -> Finished:
    async with Services() as services:
        run = await set_up(plan, services, progress, watch)
        await run.studies()
        export = await export_log(plan, FEDERATION)
        audited = await asyncio.to_thread(audit, export, run.gateway_key)
        watch.lap("export and audit")
        progress.say("shutting down seven services")
    return Finished(export, audited, run.killing)


def interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; Ctrl-C and SIGTERM cancel it, so that its services are stopped, and end as KeyboardInterrupt."""

    async def main() -> T:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(_STOPPING, task.cancel)
        return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
