"""Running commands in a test, and a federation of a gateway and three parties as processes, made by the commands themselves."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parley.main import main

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "docs" / "examples" / "quickstart"
PASSPHRASE = "only for tests"
VARIABLE = "PARLEY_TEST_PASSPHRASE"
WAIT_SECONDS = 60.0
STUDY = """
schema  = "parley.study/1"
id      = "{id}"
title   = "Readmission after a visit"
sponsor = "north"
invited = ["east", "north", "south"]
summary = "Learn who is readmitted."
[purpose]
uses = ["{use}"]
[workload]
name  = "train@1"
model = {{ kind = "mlp", hidden = [4] }}
[[objectives]]
id    = "readmission"
label = "readmitted"
kind  = "binary"
[columns]
age        = {{ type = "int", range = [18, 110] }}
systolic   = {{ type = "int", range = [60, 260] }}
bmi        = {{ type = "float", range = [10, 70] }}
smoker     = {{ type = "bool" }}
hba1c      = {{ type = "float", range = [3, 20], missing = "allowed" }}
readmitted = {{ type = "bool", objectives = ["readmission"] }}
[wishes]
scheme     = ["masked"]
rounds     = {{ min = 1, max = 2 }}
clip_bound = {{ min = 0.1, max = 1.0 }}
answer_by  = 2099-12-31
[model_use]
owner      = "all members jointly"
allowed    = ["internal-use"]
on_leaving = "keep-last-version"
benefit    = "equal"
"""


def run(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Run a command with --json, expect its exit code, and return what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        got = main([*map(str, arguments), "--json"])
    assert got == code, said.getvalue()
    body: dict[str, Any] = json.loads(said.getvalue().splitlines()[-1])
    assert body["ok"] is (code == 0)
    return body


def result(*arguments: str | Path) -> Any:  # noqa: ANN401 - JSON
    """Run a command that succeeds and return its result."""
    return run(*arguments)["result"]


def problem(*arguments: str | Path, code: int) -> dict[str, Any]:
    """Run a command that fails and return its first problem."""
    first: dict[str, Any] = run(*arguments, code=code)["problems"][0]
    return first


def shown(*arguments: str | Path, code: int = 0) -> str:
    """Run a command as people do and return what it said on stdout."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main([*map(str, arguments)]) == code, said.getvalue()
    return said.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Federation:
    """A running federation. `gateway`, `north`, `south`, `east` are the folders of its services."""

    folder: Path
    url: str
    services: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def home(self, name: str) -> Path:
        return self.folder / name

    def at(self, name: str, *arguments: str | Path) -> Any:  # noqa: ANN401 - JSON
        """Return the result of a command in a service's folder."""
        return result("--home", self.home(name), *arguments)

    def serve(self, name: str) -> None:
        """Start a service and wait until it says that it serves."""
        noun = "gateway" if name == "gateway" else "party"
        log = self.folder / f"{name}.log"
        program = "from parley.main import run; run()"
        with log.open("wb") as stderr:
            arguments = [sys.executable, "-c", program, "--home", str(self.home(name)), noun, "serve"]
            self.services[name] = subprocess.Popen(arguments, stderr=stderr)
        wait_for(lambda: "serving " in log.read_text() or self.services[name].poll() is not None, log)
        assert self.services[name].poll() is None, log.read_text()

    def stop(self) -> None:
        for service in self.services.values():
            service.send_signal(signal.SIGTERM)
        for service in self.services.values():
            service.wait(timeout=WAIT_SECONDS)

    def stopped(self, name: str, into: Path) -> Path:
        """Return a copy of a service's folder, whose service does not run."""
        return Path(shutil.copytree(self.home(name), into / name, ignore=shutil.ignore_patterns("*.sock", "service.lock", "work")))


def wait_for(done: Callable[[], bool], what: object) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@contextlib.contextmanager
def made(folder: Path) -> Iterator[Federation]:
    """Make the federation in `folder`, run one study of three rounds to its end, and stop all services when done."""
    reference = f"env:{VARIABLE}"
    federation = Federation(folder, f"http://127.0.0.1:{free_port()}")
    init = ("--url", federation.url, "--operator", "Example Trust", "--country", "DE", "--passphrase", reference)
    result("gateway", "init", folder / "gateway", *init)
    try:
        federation.serve("gateway")
        for name in ("north", "south", "east"):
            invite, sample = folder / f"{name}.invite", folder / name / "visits.csv"
            member = ("--name", f"{name} clinic", "--class", "demo", "--country", "DE")
            federation.at("gateway", "member", "invite", name, *member, "--out", invite)
            sample.parent.mkdir()
            shutil.copy(SAMPLES / ("south.csv" if name == "south" else "north.csv"), sample)
            result("party", "init", folder / name, "--invite", invite, "--from-csv", sample, "--passphrase", reference)
            federation.at(name, "party", "join", invite)
            federation.serve(name)
        study = folder / "study.toml"
        study.write_text(STUDY.format(id="readmission", use="dpv:ScientificResearch"))
        federation.at("north", "study", "propose", study)
        wait_for(lambda: bool(federation.at("north", "study", "show", "readmission")["state"] == "FINALIZED"), "FINALIZED")
        federation.at("north", "study", "start", "readmission")
        wait_for(lambda: federation.at("north", "study", "show", "readmission")["result"] is not None, "a result")
        yield federation
    finally:
        federation.stop()
