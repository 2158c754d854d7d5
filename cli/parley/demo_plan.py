"""What one run of the demo is to do, and the errors that only a demo has.

DemoError
├── ServiceDiedError     a service of the demo ended, or did not come up: its last log lines are in the message
├── WaitedTooLongError   something that takes seconds took minutes
└── WorkFolderError      the work folder holds something that no demo made
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parley_protocol.problems import ProblemError, Slug

from parley.demo_data import DEMO_ROUNDS

MARKER: Final = ".made-by-parley-demo"  # a folder without it is never emptied
KILLED: Final = "lender-tx"
KILL_AFTER_ROUNDS: Final = 9
AWAY_ROUNDS: Final = 4  # until it is started again; it takes part when its data are read and what it missed is checked


def work_folder(out: Path) -> Path:
    """Return the place of the seven folders of a report at `out`: beside it, demo-work for demo-report."""
    return out.parent / f"{out.name.removesuffix('-report')}-work"


class DemoError(ProblemError):
    """Root of the demo's errors."""

    usual_problem = Slug.INTERNAL


class ServiceDiedError(DemoError):
    """A service of the demo ended, or did not come up."""

    usual_problem = Slug.NOT_RUNNING


class WaitedTooLongError(DemoError):
    """Something that takes seconds took minutes."""

    usual_problem = Slug.TIMED_OUT


class WorkFolderError(DemoError):
    """The work folder holds something that no demo made."""

    usual_problem = Slug.CONFLICT


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """One run: seed of the split, where the report and the seven folders go, whether a lender is killed on the way."""

    seed: int
    out: Path
    work: Path
    dropout: bool = True
    rounds: int = DEMO_ROUNDS  # of training, in each study; fewer only in tests
    kill_after: int = KILL_AFTER_ROUNDS
    away_rounds: int = AWAY_ROUNDS

    @property
    def gateway(self) -> Path:
        """The gateway's folder."""
        return self.work / "gateway"

    def party(self, party: str) -> Path:
        """A party's folder."""
        return self.work / party
