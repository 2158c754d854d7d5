"""The demo as people run it: seven processes on loopback, a party killed, a report, and nothing left behind, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from parley.audit import Folder
from parley.demo import HTML, JSON
from parley.demo_evidence import EXPORT
from parley.demo_folders import make_gateway
from parley.demo_plan import DemoError, DemoPlan, ServiceDiedError, work_folder
from parley.demo_progress import DemoProgress
from parley.demo_report import run_demo
from parley.demo_services import Service, Services
from parley_audit.verify import verify
from parley_crypto.keys import VerifyKey
from parley_gateway.founding import read_public_key

UP_SECONDS = 60


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that work in `folder`."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


def plan_in(folder: Path, *, rounds: int = 7, dropout: bool = True) -> DemoPlan:
    out = folder / "demo-report"
    return DemoPlan(3, out, work_folder(out), dropout=dropout, rounds=rounds, kill_after=3, away_rounds=1)


@pytest.mark.e2e
def test_a_short_demo_runs_loses_a_lender_reports_and_leaves_nothing_running(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    report = run_demo(plan, DemoProgress(quiet=True))
    assert processes_of(tmp_path) == []
    assert json.loads((plan.out / JSON).read_text()) == report
    _check_scores(report)
    _check_dropout(report)
    assert report["rounds"] == {"loans-shared": 8, "lenders-subprime": 8, "insurers-homeowner": 8}
    assert report["scheme"] == "masked"
    assert len([clause for clause in report["policies"] if clause["differs"]]) >= 5
    assert {study["closed"] for study in report["studies"]} == {"finished"}
    assert report["seconds"]["total"] > 0
    picture = report["picture"]
    assert picture["recorded"]
    assert picture["sum_checked"]
    assert abs(picture["alike_sealed"]) < 0.2
    page = (plan.out / HTML).read_text()
    assert report["agreement_digest"] in page
    assert "lender-tx was killed on purpose" in page
    audited = verify(Folder(plan.out / EXPORT), gateway_key=read_public_key(plan.gateway))
    assert audited.ok, audited.fault
    assert report["audit_verified"] is True


def _check_scores(report: dict[str, object]) -> None:
    parties = report["parties"]
    assert isinstance(parties, list)
    assert [party["id"] for party in parties] == ["insurer-fl", "insurer-il", "insurer-nj", "lender-ca", "lender-ny", "lender-tx"]
    for party in parties:
        for model in ("auc_local_logistic", "auc_local_mlp", "auc_same_objective", "auc_federated"):
            assert 0.5 < party[model] < 1, (party["id"], model)
    mean = report["mean"]
    assert isinstance(mean, dict)
    assert mean["auc_federated"] == pytest.approx(sum(party["auc_federated"] for party in parties) / 6)


def _check_dropout(report: dict[str, object]) -> None:
    dropout = report["dropout"]
    assert isinstance(dropout, dict)
    assert (dropout["party"], dropout["phase"], dropout["listed"]) == ("lender-tx", "COLLECT", False)
    assert dropout["missed"][0] == dropout["round"]
    assert dropout["shut"] == ["head:subprime"]
    assert report["dropouts_survived"] == 1
    studies = report["studies"]
    assert isinstance(studies, list)
    shared = studies[0]
    assert shared["small_changes"][0] == {"round": dropout["round"], "segment": "trunk", "parties": ["lender-tx"]}
    for each in shared["rounds"]:
        assert len(each["parties"]) == (5 if each["number"] in dropout["missed"] else 6)
        assert ("head:subprime" in each["shut"]) == (each["number"] in dropout["missed"])


@pytest.mark.e2e
def test_ctrl_c_shuts_everything_down(tmp_path: Path) -> None:
    out = tmp_path / "demo-report"
    command = [sys.executable, "-c", "from parley.main import run; run()", "demo", "--no-dropout", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "proposes loans-shared" in line:
                break
        assert len(processes_of(tmp_path / "demo-work")) >= 7
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(UP_SECONDS) == 130
    assert processes_of(tmp_path) == []
    assert not (out / HTML).exists()


@pytest.mark.services
def test_a_service_that_does_not_come_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    async def run() -> None:
        async with Services() as services:
            service = services.start("the gateway", tmp_path, ("gateway", "serve"), tmp_path / "control.sock")
            await service.up()

    with pytest.raises(ServiceDiedError, match=r"(?s)wanted a running service, got exit code 3; it said:.*gateway\.toml"):
        asyncio.run(run())


@pytest.mark.services
def test_a_gateway_is_up_when_it_answers_and_gone_when_the_context_is_left(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    plan.work.mkdir()
    key = make_gateway(plan, 0)
    assert isinstance(key, VerifyKey)

    async def run() -> None:
        async with Services() as services:
            service = services.start("the gateway", plan.gateway, ("gateway", "serve"), plan.gateway / "data" / "control.sock")
            assert (await service.up())["fingerprint"] == key.fingerprint
            services.check()
            assert service.children() == ()
            raise DemoError("stop here")

    with pytest.raises(DemoError, match="stop here"):
        asyncio.run(run())
    assert processes_of(tmp_path) == []


@pytest.mark.services
def test_a_killed_service_takes_its_paused_children_with_it(tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)', sys.argv[1]])"
    service = Service("a parent", tmp_path, (), tmp_path / "control.sock")
    service.process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    wait_until(lambda: len(service.children()) == 1)
    os.kill(service.children()[0], signal.SIGSTOP)
    service.kill()
    assert service.process is None
    wait_until(lambda: processes_of(tmp_path) == [])


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
