"""Sealed updates on the disk, from sealing until the round is over."""

from __future__ import annotations

from pathlib import Path


def body_path(folder: Path, study: str, number: int) -> Path:
    """Return the file of a round's sealed update."""
    return folder / f"{study}-{number}.sealed"
