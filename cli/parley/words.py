"""How commands write times, sizes and digests for people. JSON gets the values as they are.

>>> size(5 * 1024 * 1024), short("ab" * 32), span(75)
('5.0 MiB', 'abababababababab…', '1 min 15 s')
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024
_SHOWN_DIGITS: Final = 16
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def when(seconds: float) -> str:
    """Return a time (unix seconds) as `2027-01-31 14:03:22Z`; nothing for 0, which says never."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ") if seconds else ""


def span(seconds: float) -> str:
    """Return a length of time in at most two units."""
    whole = round(seconds)
    for unit, length, smaller, rest in (("d", _DAY, "h", _HOUR), ("h", _HOUR, "min", _MINUTE), ("min", _MINUTE, "s", 1)):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // rest} {smaller}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"  # noqa: PLR2004 - a decimal says something below ten


def size(count: float) -> str:
    """Return a number of bytes in binary units."""
    if count < _STEP:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= _STEP
        if count < _STEP or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}"


def short(digest: str) -> str:
    """Return the first digits of a digest: enough to tell it from others."""
    return digest if len(digest) <= _SHOWN_DIGITS else digest[:_SHOWN_DIGITS] + "…"


def progress(done: int | None, total: int | None) -> str:
    """Return `12 of 41`, with what is known."""
    return "" if not total else f"{'?' if done is None else done} of {total}"
