# ruff: noqa: INP001 - a script beside its files, no package
"""Writes the quickstart's sample data: three hospitals' visits and a list of new patients, all invented. Nobody's data went into them.

    python docs/examples/quickstart/make_data.py [DIR]

The same files come out every time; they are committed beside this script, and a test compares. North and south use the study's names of
columns; mine names them its own way, as files do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np

ROWS: Final = 300
NEW_PATIENTS: Final = 12
MISSING: Final = 0.08  # of the values of hba1c
STUDY: Final = ("age", "systolic", "bmi", "smoker", "hba1c", "readmitted")
MINE: Final = ("patient_id", "age_years", "sbp", "bmi", "smokes", "hba1c_percent", "readmission")


def visits(hospital: int, rows: int) -> list[tuple[int, int, float, int, float | None, int]]:
    """Return invented visits in the order of STUDY; each hospital has another mix of patients."""
    draw = np.random.default_rng([2027, hospital])
    age = np.clip(draw.normal(58 + 4 * hospital, 14, rows), 18, 99).astype(int)
    systolic = np.clip(draw.normal(112 + 0.4 * age, 15), 80, 230).astype(int)
    bmi = np.clip(draw.normal(27, 4.5, rows), 15, 55).round(1)
    smoker = draw.random(rows) < 0.2 + 0.05 * hospital
    hba1c = np.clip(draw.normal(5.9, 0.9, rows) + 0.04 * (bmi - 27), 4, 14).round(1)
    score = 0.05 * (age - 62) + 0.02 * (systolic - 137) + 0.9 * smoker + 0.6 * (hba1c - 5.9) - 1.0
    readmitted = draw.random(rows) < 1 / (1 + np.exp(-score))
    missing = draw.random(rows) < MISSING
    columns = zip(age, systolic, bmi, smoker, hba1c, readmitted, missing, strict=True)
    return [(int(a), int(s), float(b), int(m), None if gone else float(h), int(r)) for a, s, b, m, h, r, gone in columns]


def as_csv(names: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Return rows as CSV text; None is an empty field."""
    lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
    return "\n".join([",".join(names), *lines]) + "\n"


def files() -> dict[str, str]:
    """Return every file's text by name."""
    mine: list[tuple[object, ...]] = [
        (f"P{number:04d}", age, systolic, bmi, "yes" if smoker else "no", hba1c, "yes" if readmitted else "no")
        for number, (age, systolic, bmi, smoker, hba1c, readmitted) in enumerate(visits(0, ROWS), start=1)
    ]
    new: list[tuple[object, ...]] = [
        (f"N{number:04d}", *row[:3], "yes" if row[3] else "no", row[4]) for number, row in enumerate(visits(3, NEW_PATIENTS), start=1)
    ]
    return {
        "north.csv": as_csv(STUDY, list(visits(1, ROWS))),
        "south.csv": as_csv(STUDY, list(visits(2, ROWS))),
        "visits.csv": as_csv(MINE, mine),
        "new-patients.csv": as_csv(MINE[:-1], new),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
