"""The trainer: a child process of the party service, one a study, the only one to import torch. `python -m parley_party.trainer`.

It reads a study's data and computes; it holds no key, has no network where the system allows that, and speaks only to its service, through
frames on standard input and output (trainer_frames, trainer_commands). It ends when its input does. Whatever goes wrong that is no refusal
ends it, with a trace of places and the kind of error on standard error: never an error's text, which could quote data.

The order of the first steps matters: confine while there is one thread and before anything else is imported; start importing torch in a
thread; then answer. So a study's data are read while torch loads.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import os
import sys
import threading
import traceback
from io import BufferedIOBase
from types import TracebackType
from typing import TYPE_CHECKING, Final

from parley_party.trainer_confinement import Confinement, confine

if TYPE_CHECKING:
    from parley_party.trainer_frames import Frame
    from parley_party.trainer_work import Trainer

FAILED: Final = 70  # exit code: a fault of this program (EX_SOFTWARE)
_NEEDS_TORCH: Final = "parley_learning.workloads.local"


def main(arguments: list[str] | None = None) -> int:
    """Run the trainer until its input ends. Returns the exit code."""
    options = _options(arguments)
    sys.excepthook = _say_places
    faulthandler.enable()
    confinement = confine(parent=options.parent, memory_mib=options.memory_mib, cpu_seconds=options.cpu_seconds)
    incoming, outgoing = _own_pipes()
    loading = threading.Thread(target=_load_torch, args=(options.threads,), daemon=True)
    loading.start()
    _serve(incoming, outgoing, confinement)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m parley_party.trainer", description="Started by the party service, never by hand.")
    parser.add_argument("--parent", type=int, required=True, help="process id of the service")
    parser.add_argument("--memory-mib", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cpu-seconds", type=int)
    return parser.parse_args(arguments)


def _own_pipes() -> tuple[BufferedIOBase, BufferedIOBase]:
    """Take standard input and output for frames; what any library prints goes to standard error, what it reads is empty."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


def _load_torch(threads: int) -> None:
    """Import torch and what uses it. If that fails, the first command that needs it finds out and says so."""
    try:
        torch = importlib.import_module("torch")
        torch.set_num_threads(threads)
        importlib.import_module(_NEEDS_TORCH)
    except ImportError:
        return


def _serve(incoming: BufferedIOBase, outgoing: BufferedIOBase, confinement: Confinement) -> None:
    # Imported here: numpy and duckdb start threads, and the process had to be confined first.
    from parley_party.trainer_frames import encode, read_frame  # noqa: PLC0415
    from parley_party.trainer_work import Trainer  # noqa: PLC0415

    about = {"process": os.getpid(), "network": confinement.network, "memory_mib": confinement.memory_mib}
    trainer = Trainer(about | {"dies_with_service": confinement.dies_with_service})
    while (frame := read_frame(incoming)) is not None:
        outgoing.writelines(encode(_answer(trainer, frame)))
        outgoing.flush()


def _answer(trainer: Trainer, frame: Frame) -> Frame:
    """Return the answer to a frame: the result, or the problem that it was refused with."""
    from parley_learning.errors import ColumnError, DataError, LearningError  # noqa: PLC0415 - after confinement
    from parley_protocol.problems import Problem, ProblemError, Slug  # noqa: PLC0415

    from parley_party.trainer_commands import parse_command  # noqa: PLC0415
    from parley_party.trainer_frames import Frame  # noqa: PLC0415

    try:
        answer = trainer.answer(parse_command(frame.head), frame.arrays)
    except ProblemError as error:
        problem = error.to_problem()
    except DataError as error:
        problem = Problem(Slug.DATA_MISMATCH, str(error))
    except ColumnError as error:
        problem = Problem(Slug.CONFIG_INVALID, str(error))
    except LearningError as error:
        problem = Problem(Slug.MALFORMED_REQUEST, str(error))
    except MemoryError:
        problem = Problem(Slug.TOO_LARGE, "the work does not fit into memory_mib of [training]", do="Raise it, or read less.")
    except ModuleNotFoundError as error:
        problem = Problem(Slug.EXTRA_MISSING, f"module {error.name} is not installed", do="Install parley-federation[party].")
    else:
        return Frame({"ok": True, "result": dict(answer.head)}, answer.arrays)
    return Frame({"ok": False, "problem": problem.to_json()})


def _say_places(kind: type[BaseException], error: BaseException, places: TracebackType | None) -> None:
    """Print where an error came from and its kind, without its text, and end at once: the thread that loads torch is not waited for."""
    del error
    lines = ["Traceback (most recent call last):\n"]
    lines += [f'  File "{place.filename}", line {place.lineno}, in {place.name}\n' for place in traceback.extract_tb(places)]
    sys.stderr.write("".join([*lines, f"{kind.__module__}.{kind.__qualname__}\n"]))
    sys.stderr.flush()
    os._exit(FAILED)


if __name__ == "__main__":
    os._exit(main())
