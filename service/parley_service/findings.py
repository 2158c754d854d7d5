"""What a check of a store found: one finding for each thing that was recomputed, with its faults in words.

`faults_of` collects the errors of a computation that raises where something is wrong, so that one fault does not hide the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from parley_service.problems import KNOWN


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. `of` says how much of it there is; no faults: it is as it should be."""

    what: str
    of: str
    faults: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong."""
        return not self.faults


def faults_of(works: Iterable[Callable[[], object]]) -> tuple[str, ...]:
    """Run computations that raise where something is wrong; return what they raised, in words."""
    faults = []
    for work in works:
        try:
            work()
        except (*KNOWN, OSError, ValueError, KeyError) as error:
            faults.append(f"{type(error).__name__}: {error}" if isinstance(error, ValueError | KeyError) else str(error))
    return tuple(faults)
