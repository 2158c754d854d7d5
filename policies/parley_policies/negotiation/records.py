"""How a party's number of records is told: exactly, in bands, or not at all.

>>> banded("rounded:500", 1730), lower_end("rounded:1500"), lower_end("hidden")
('rounded:1500', 1500, None)
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Records = Annotated[str, Field(pattern=r"^(hidden|(exact|rounded):(0|[1-9][0-9]{0,11}))$")]
HIDDEN = "hidden"


def banded(granted: str, records: int) -> str:
    """Return what may be told of `records` under `sharing.record_count`: rounded means down to a multiple, the band's lower end."""
    kind, _, step = granted.partition(":")
    match kind:
        case "exact":
            return f"exact:{records}"
        case "rounded":
            return f"rounded:{records - records % int(step)}"
    return HIDDEN


def lower_end(told: str) -> int | None:
    """Return the least number of records that `told` stands for, or None where it is hidden."""
    number = told.partition(":")[2]
    return int(number) if number else None
