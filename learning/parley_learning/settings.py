"""How a party trains locally between two versions of the shared model. Read from the study, the same for every party.

The defaults were chosen on the demo's data, on other splits than those reported (benchmarks/demo_seeds.py).

    >>> parse_settings({"epochs": 1}).epochs
    1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

from parley_learning.errors import ColumnError

MAX_EPOCHS: Final = 1000
MAX_BATCH_ROWS: Final = 1 << 20
_WHOLE: Final = ("epochs", "batch_rows")
_REAL: Final = ("learning_rate", "weight_decay")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Passes over the local rows a round, rows a step, step size, and the pull of each weight to 0 (its fraction at step size 1)."""

    epochs: int = 2
    batch_rows: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 0.02

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= MAX_EPOCHS:
            raise ColumnError(f"training: wanted 1 to {MAX_EPOCHS} epochs a round, got {self.epochs}")
        if not 1 <= self.batch_rows <= MAX_BATCH_ROWS:
            raise ColumnError(f"training: wanted batch_rows of 1 to {MAX_BATCH_ROWS}, got {self.batch_rows}")
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ColumnError(f"training: wanted a learning_rate above 0, got {self.learning_rate:g}")
        if not (isfinite(self.weight_decay) and 0 <= self.weight_decay * self.learning_rate < 1):
            raise ColumnError(f"training: wanted weight_decay of at least 0 and below 1/learning_rate, got {self.weight_decay:g}")


def parse_settings(table: Mapping[str, object]) -> TrainSettings:
    """Return the settings of a study's `training` table; what it leaves out has its default."""
    if unknown := sorted(set(table) - {*_WHOLE, *_REAL}):
        raise ColumnError(f"training: wanted only {', '.join((*_WHOLE, *_REAL))}, got {', '.join(unknown)}")
    default = TrainSettings()
    return TrainSettings(
        epochs=_whole(table, "epochs", default.epochs),
        batch_rows=_whole(table, "batch_rows", default.batch_rows),
        learning_rate=_real(table, "learning_rate", default.learning_rate),
        weight_decay=_real(table, "weight_decay", default.weight_decay),
    )


def _whole(table: Mapping[str, object], key: str, default: int) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ColumnError(f"training: wanted {key} as a whole number, got {value!r}")
    return value


def _real(table: Mapping[str, object], key: str, default: float) -> float:
    value = table.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ColumnError(f"training: wanted {key} as a number, got {value!r}")
    return float(value)
