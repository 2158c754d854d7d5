"""The quickstart, followed literally: commands are typed into the terminal that the page names, files are written as shown.

A block of the page is preceded by a comment that a reader does not see:

    <!-- terminal: NAME -->                      each command of the block must succeed
    <!-- terminal: NAME, until: TEXT -->         the one command keeps running; go on once it has said TEXT
    <!-- terminal: NAME, repeat until: TEXT -->  the one command is repeated until it says TEXT
    <!-- file: PATH -->                          the block is the content of a file
    <!-- not followed: WHY -->                   the block is not for this test
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from parley.main import NOUNS
from parley_learning.columns import parse_columns
from parley_party.config import load
from parley_party.datasource import read_dataset
from parley_party.datasource_columns import Verdict
from parley_party.datasource_config import dataset_config
from parley_policies.negotiation.study_file import learning_tables, load_study

from docs.examples.quickstart.make_data import files

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quickstart.md"
SAMPLES = ROOT / "docs" / "examples" / "quickstart"
NEEDED = {"gateway", "member", "party", "data", "policy", "study", "agreement", "model", "audit"}
PORT = 8443
COMMAND_SECONDS = 120.0
REPEAT_SECONDS = 120.0
_BLOCK = re.compile(r"(?:^<!-- (terminal|file|not followed): (.+?) -->\n+)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "parley-quickstart-done"


@dataclass(frozen=True)
class Step:
    """One block of the page."""

    terminal: str
    text: str
    until: str = ""
    repeated: bool = False
    file: str = ""


def steps(port: int = PORT) -> list[Step]:
    """Return the page's blocks in order, with another port than the page's where one is given; ValueError for an unmarked block."""
    found = []
    for kind, argument, _, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8").replace(f":{PORT}", f":{port}")):
        match kind:
            case "terminal":
                name, _, rest = argument.partition(", ")
                found.append(Step(name, text, rest.partition("until: ")[2], rest.startswith("repeat")))
            case "file":
                found.append(Step("", text, file=argument))
            case "not followed":
                pass
            case _:
                raise ValueError(f"unmarked block: {text[:60]}")
    return found


class Terminal:
    """A shell that reads what is typed into it, as a terminal's would."""

    def __init__(self, name: str, folder: Path) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("PARLEY_", "PYTEST_"))}
        self.name = name
        self.lines: list[str] = []
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        self.lines.extend(iter(self._shell.stdout.readline, ""))

    def _type(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text + "\n")
        self._shell.stdin.flush()

    def _wait(self, text: str, since: int, seconds: float) -> str:
        """Return the line that holds `text` among those that came since; fail with what came if it does not, or the command ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self.lines[since:]:
                if text in line:
                    return line
                if _MARK in line:
                    end = 0
            time.sleep(0.05)
        raise AssertionError(f"terminal {self.name}: no {text!r} in {seconds:.0f} s; it said:\n{''.join(self.lines[since:])}")

    def run(self, command: str) -> tuple[int, str]:
        """Type a command, wait for its end; return exit code and output."""
        since = len(self.lines)
        self._type(f"{command}\necho {_MARK} $?")
        code = int(self._wait(_MARK, since, COMMAND_SECONDS).split()[-1])
        return code, "".join(line for line in self.lines[since:] if _MARK not in line)

    def serve(self, command: str, until: str) -> None:
        """Type a command that keeps running and wait until it has said `until`."""
        since = len(self.lines)
        self._type(f"{command}\necho {_MARK} $?")
        self._wait(until, since, COMMAND_SECONDS)

    def close(self) -> None:
        """Press Ctrl-C in it, then close it, and with it whatever it started."""
        for press in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._shell.pid, press)
                self._shell.wait(timeout=0.5 if press is signal.SIGINT else 15)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break
        self._reader.join(timeout=5)
        for pipe in (self._shell.stdin, self._shell.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder that looks like a checkout with its environment, so that nothing is written into the real one."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    return tmp_path


@pytest.fixture
def terminals() -> Iterator[dict[str, Terminal]]:
    opened: dict[str, Terminal] = {}
    yield opened
    for terminal in opened.values():
        terminal.close()


def _free_port() -> int:
    """Return the page's port, or where somebody uses it on this machine, another."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("no port is free")


def _follow(step: Step, terminal: Terminal) -> None:
    if step.until and not step.repeated:
        terminal.serve(step.text.strip(), step.until)
        return
    end = time.monotonic() + REPEAT_SECONDS
    for command in step.text.replace("\\\n", "").strip().splitlines():
        code, output = terminal.run(command)
        while step.repeated and step.until not in output:
            assert time.monotonic() < end, f"terminal {terminal.name}: {command}: never said {step.until!r} but\n{output}"
            time.sleep(1)
            code, output = terminal.run(command)
        assert code == 0, f"terminal {terminal.name}: {command}: exit code {code}\n{output}"


@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.skipif(not set(NOUNS) >= NEEDED, reason=f"the command line has no {', '.join(sorted(NEEDED - set(NOUNS)))} yet")
@pytest.mark.skipif(sys.platform == "win32", reason="the page is for a POSIX shell")
def test_the_quickstart_followed_literally(checkout: Path, terminals: dict[str, Terminal]) -> None:
    for step in steps(_free_port()):
        if step.file:
            (checkout / "quickstart" / step.file).write_text(step.text, encoding="utf-8")
            continue
        for name in ("gateway", "mine", "north", "south") if step.terminal == "each" else (step.terminal,):
            terminal = terminals.setdefault(name, Terminal(name, checkout)) if name not in terminals else terminals[name]
            _follow(step, terminal)
    rows = (checkout / "quickstart" / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == len(files()["new-patients.csv"].splitlines())
    assert (checkout / "quickstart" / "readmission.safetensors").stat().st_size


def test_the_sample_data_are_what_the_script_makes() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in SAMPLES.glob("*.csv")} == files()


def test_the_files_of_the_page_load_and_fit(tmp_path: Path) -> None:
    written = {step.file: step.text for step in steps() if step.file}
    (tmp_path / "mine").mkdir()
    for name, text in (written | {"mine/visits.sql": "SELECT * FROM data", "visits.csv": files()["visits.csv"]}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    study = load_study(written["study.toml"].encode())
    columns = parse_columns(learning_tables(study)["columns"])
    config = dataset_config(load(tmp_path / "mine" / "party.toml"), "visits")
    dataset, findings = read_dataset(config, columns.needed(("readmission",)))
    assert all(finding.verdict is Verdict.FITS for finding in findings)
    assert dataset.training_rows > 150
