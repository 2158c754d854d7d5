"""The service's side of the trainer: starts the child process, asks it, stops it, and says clearly how it ended.

The child gets a clean environment (no secret, no proxy), a folder of its own that is wiped after each round, and nothing else. Its standard
error goes to the service's log, line by line, as far as a line is safe: places in the program and kinds of errors, never texts that
could quote data. One request at a time; a request that is late or cancelled ends the process, since its answer would belong to nobody.

    trainer = await TrainerClient.start("hf-readmission", TrainerSettings(work_dir=Path("state/work")), log=logger.info)
    rows = await trainer.load(dataset, tables, ("readmission",))
    await trainer.stop()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from parley_learning.metrics import Score
from parley_protocol.problems import Problem, Slug

from parley_party.dataset import DatasetConfig, Excluded
from parley_party.datasource_columns import Finding, Verdict
from parley_party.errors import DataError, TrainerDied, TrainerError, TrainerLate, TrainerRefused
from parley_party.trainer_commands import (
    Baselines,
    Command,
    Evaluate,
    Hello,
    Load,
    Predict,
    ScalingSum,
    Start,
    StudyTables,
    Summary,
    Update,
    dump_command,
)
from parley_party.trainer_frames import LENGTH_BYTES, Arrays, Frame, array_of, check_length, encode, head_of

STOP_SECONDS: Final = 2.0  # for the child to end by itself when its input ends
_KEPT_LINES: Final = 20
_SHOWN_LINES: Final = 4
_LINE_BYTES: Final = 1 << 16
_KEPT_NAMES: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TZ")
_SAFE_LINES: Final = (
    re.compile(r'^  File "[^"]*", line \d+,? in [\w<>.]+$'),
    re.compile(r"^Traceback \(most recent call last\):$"),
    re.compile(r"^Fatal Python error: [A-Za-z ]+"),
    re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Warning|Interrupt|Exit)\b"),
)

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """What the child may use. `work_dir` holds one folder a study, which this service wipes; nothing else in it is touched."""

    work_dir: Path
    memory_mib: int = 4096
    threads: int = 1
    cpu_seconds: int | None = None  # of all its threads, for as long as it lives; None: no limit
    answer_seconds: float = 600.0  # for one request


@dataclass(frozen=True, slots=True)
class TrainerRows:
    """What `load` found. `digest` and `excluded.digest` stay at home, or leave only salted."""

    training_rows: int
    held_out_rows: int
    people: int
    people_held_out: int
    excluded: Excluded
    digest: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class TrainerUpdate:
    """A clipped update, a float32 vector a segment in layout order; the norm that it had, whether it was clipped, seconds of training."""

    parts: Mapping[str, Float32s]
    norm: float
    clipped: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class BaselineScores:
    """One objective's held-out scores of the two models that a party trains alone."""

    linear: Score
    mlp: Score


class TrainerClient:
    """A running trainer. Make one with `start`; `stop` it in the end."""

    def __init__(self, study: str, settings: TrainerSettings, process: asyncio.subprocess.Process, log: Callable[[str], None]) -> None:
        self._study = study
        self._settings = settings
        self._process = process
        self._log = log
        self._one_at_a_time = asyncio.Lock()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, study: str, settings: TrainerSettings, log: Callable[[str], None]) -> Self:
        """Start the trainer of a study. It begins to import torch at once; `load` and `summary` need not wait for that."""
        folder = _folder(settings, study)
        _wipe(folder)
        arguments = ["--parent", str(os.getpid()), "--memory-mib", str(settings.memory_mib), "--threads", str(settings.threads)]
        if settings.cpu_seconds is not None:
            arguments += ["--cpu-seconds", str(settings.cpu_seconds)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # its folder is no place to import from
            "-m",
            "parley_party.trainer",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=clean_environment(folder, settings.threads),
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for the service, which then stops it
            limit=_LINE_BYTES,
        )
        return cls(study, settings, process, log)

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.returncode is None

    @property
    def process_id(self) -> int:
        """The child's process id."""
        return self._process.pid

    async def hello(self) -> dict[str, Any]:
        """Return what the trainer says of itself: process, network, memory_mib, dies_with_service."""
        return dict((await self._ask(Hello())).head)

    async def load(self, dataset: DatasetConfig, study: StudyTables, objectives: tuple[str, ...]) -> TrainerRows:
        """Read the dataset; DataError if it does not fit the study, TrainerRefused if the study cannot be learned here."""
        found = (await self._ask(Load(dataset=dataset, study=study, objectives=objectives))).head
        findings = tuple(Finding(**{**each, "verdict": Verdict(each["verdict"])}) for each in found["findings"])
        return TrainerRows(**{**found, "excluded": Excluded(**found["excluded"]), "findings": findings})

    async def summary(self) -> Float64s:
        """Return the vector of `preprocess@1`, float64."""
        return _wide((await self._ask(Summary())).arrays["summary"])

    async def scaling(self, total: Float64s) -> None:
        """Give the opened sum of everyone's summaries, float64, by which the rows are standardised."""
        await self._ask(ScalingSum(), {"sum": total})

    async def first_parameters(self, seed: bytes) -> Float32s:
        """Return the first parameters that a seed of 32 bytes gives, float32[d]."""
        return _narrow((await self._ask(Start(seed=seed.hex()))).arrays["parameters"])

    async def update(self, parameters: Float32s, clip_bound: float, seed: bytes) -> TrainerUpdate:
        """Train one round from `parameters`, float32[d]; afterwards the trainer's folder is wiped."""
        answer = await self._ask(Update(clip_bound=clip_bound, seed=seed.hex()), {"parameters": parameters})
        _wipe(_folder(self._settings, self._study))
        parts = {name: _narrow(array) for name, array in answer.arrays.items()}
        return TrainerUpdate(parts, float(answer.head["norm"]), bool(answer.head["clipped"]), float(answer.head["seconds"]))

    async def evaluate(self, parameters: Float32s) -> dict[str, Score]:
        """Score `parameters` on the held-out rows, by objective. Scores are data: they stay at home unless the policy discloses them."""
        found = (await self._ask(Evaluate(), {"parameters": parameters})).head["scores"]
        return {objective: Score(**score) for objective, score in found.items()}

    async def baselines(self, seed: bytes) -> dict[str, BaselineScores]:
        """Train and score what this party reaches alone, by objective."""
        found = (await self._ask(Baselines(seed=seed.hex()))).head["scores"]
        return {objective: BaselineScores(Score(**pair["linear"]), Score(**pair["mlp"])) for objective, pair in found.items()}

    async def predict(self, dataset: DatasetConfig, parameters: Float32s) -> dict[str, Float64s]:
        """Predict for every row of a dataset, float64[rows] by the name of each prediction in the order in which its query gives them."""
        answer = await self._ask(Predict(dataset=dataset), {"parameters": parameters})
        return {objective: _wide(array) for objective, array in answer.arrays.items()}

    async def stop(self) -> None:
        """End the trainer, gently if it is idle, and wipe its folder. Safe to call twice."""
        if self.running and not self._one_at_a_time.locked() and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        self._kill()
        await self._process.wait()
        await self._listening
        _wipe(_folder(self._settings, self._study))

    async def _ask(self, command: Command, arrays: Arrays | None = None) -> Frame:
        """Send one command and return the answer's result; the process does not outlive a request that is not answered."""
        frame = Frame(dump_command(command), arrays or {})
        async with self._one_at_a_time:
            answered = False
            try:
                async with asyncio.timeout(self._settings.answer_seconds):
                    answer = await self._exchange(encode(frame))
                answered = True
            except TimeoutError:
                raise self._late(command) from None
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise await self._died(command) from error
            finally:
                if not answered:
                    self._kill()
        return _result(answer)

    async def _exchange(self, parts: list[bytes]) -> Frame:
        outgoing, incoming = self._process.stdin, self._process.stdout
        if outgoing is None or incoming is None or not self.running:
            raise ConnectionResetError
        for part in parts:
            outgoing.write(part)
            await outgoing.drain()
        length = check_length(int.from_bytes(await incoming.readexactly(LENGTH_BYTES), "big"))
        head, places = head_of(await incoming.readexactly(length))
        return Frame(head, {place.name: array_of(place, await incoming.readexactly(place.size)) for place in places})

    def _late(self, command: Command) -> TrainerLate:
        thing = f"trainer of study {self._study}, {command.command}"
        return TrainerLate(
            thing, wanted=f"an answer within {self._settings.answer_seconds:g} s", got="none; it was stopped", do="Raise the limit."
        )

    async def _died(self, command: Command) -> TrainerDied:
        """Wait for the process's end and say how it ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        # Only now: a signal to a process that has ended, but was not waited for, would make asyncio lose its exit code.
        self._kill()
        code = await self._process.wait()
        await self._listening
        ended = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = " | ".join(line.strip() for line in list(self._lines)[-_SHOWN_LINES:])
        got = f"{ended}{f' ({last})' if last else ''}"
        do = "If it was SIGKILL, look for lack of memory (memory_mib); then start the study again."
        return TrainerDied(f"trainer of study {self._study}, {command.command}", wanted="an answer", got=got, do=do)

    def _kill(self) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _listen(self) -> None:
        """Pass what is safe of standard error to the log, until it ends."""
        errors = self._process.stderr
        if errors is None:
            return
        while True:
            try:
                raw = await errors.readline()
            except ValueError:  # longer than any line that could be safe
                continue
            if not raw:
                return
            line = safe_line(raw.decode(errors="replace").rstrip("\n"))
            if line is not None:
                self._lines.append(line)
                self._log(line)


def safe_line(line: str) -> str | None:
    """Return what of a line of the trainer's standard error may stand in a log: a place, a kind of error; None if nothing."""
    for pattern in _SAFE_LINES:
        if found := pattern.match(line):
            return found.group()
    return None


def clean_environment(folder: Path, threads: int) -> dict[str, str]:
    """Return the child's environment: where to find programs and libraries, its own folder, threads, UTF-8. Nothing else of ours."""
    kept = {name: os.environ[name] for name in _KEPT_NAMES if name in os.environ}
    count = str(threads)
    own = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    return kept | own | {"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "MKL_NUM_THREADS": count}


def _folder(settings: TrainerSettings, study: str) -> Path:
    return settings.work_dir.absolute() / f"trainer-{study}"


def _wipe(folder: Path) -> None:
    """Leave an empty folder that only this user can read. It is the child's working directory, so it is emptied, not replaced."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _result(answer: Frame) -> Frame:
    """Return the result of an answer, or raise what the trainer refused with."""
    if answer.head.get("ok") is True and isinstance(answer.head.get("result"), dict):
        return Frame(answer.head["result"], answer.arrays)
    if "problem" not in answer.head:
        raise TrainerError("trainer", wanted="a result or a problem", got="neither", do="both sides must be of one version")
    problem = Problem.from_json(answer.head["problem"])
    kind = DataError if problem.slug is Slug.DATA_MISMATCH else TrainerRefused
    raise kind(problem.detail, problem=problem.slug, wanted=problem.wanted, got=problem.got, do=problem.do)


def _narrow(array: NDArray[Any]) -> Float32s:
    if array.dtype != np.float32:
        raise TrainerError("trainer", wanted="float32", got=str(array.dtype))
    return array


def _wide(array: NDArray[Any]) -> Float64s:
    if array.dtype != np.float64:
        raise TrainerError("trainer", wanted="float64", got=str(array.dtype))
    return array
