"""What a dataset is: how party.toml describes one, and what reading it gives. No IO here.

`DatasetConfig` is the `[data.NAME]` table of party.toml. What a study asks of it are `parley_learning.columns.ColumnSpec`. `Dataset` holds
the numbers that a workload computes on, and no ids of people: they are counted and split inside duckdb.

    >>> config = DatasetConfig("visits", {"data": "visits/*.parquet"}, "SELECT * FROM data", {"age": MappedColumn("age_years")})
    >>> config.unit is None    # so every row counts as a person
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """Where a study column comes from: a column of the query, or SQL over its columns, and the unit that this yields."""

    column: str | None = None
    sql: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """People who objected or withdrew: rows whose unit stands in `column` of the file table `table` are never used."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows kept back for evaluation: about `fraction` of the people (rows, without a unit), or those where `column` as text is `value`.

    Without either nothing is held out. The share of people is chosen by a hash of their ids, so that a person stays on one side for good.
    """

    fraction: float = 0.0
    column: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """One `[data.NAME]` of party.toml. Paths and globs in `files` are relative to `folder`; `query` is SQL text over the names there."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    files: Mapping[str, str]
    query: str
    columns: Mapping[str, MappedColumn] = field(default_factory=dict)
    unit: str | None = None  # column of the query that says whose row it is
    exclude: Exclusion | None = None
    held_out: HeldOut = HeldOut()
    folder: Path = Path()
    memory_mib: int = 1024  # for duckdb; what was read comes on top
    threads: int = 1  # with more, sums and averages in the query may differ in the last bit from run to run, and so the digest


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """What was read: float64 values, NaN where missing, in an order that depends on the rows alone and not on the files.

    `held_out` marks the rows kept for evaluation. `digest` is the BLAKE3 of names, values and marks (64 hexadecimal digits). It is a
    digest of data that could be guessed: it stays at home, or leaves only salted.
    """

    name: str
    columns: tuple[str, ...]
    values: NDArray[np.float64]  # [rows, columns]
    held_out: NDArray[np.bool_]  # [rows]
    people: int  # different units among the training rows; rows where the dataset has no unit
    people_held_out: int
    excluded: Excluded
    digest: str

    def __repr__(self) -> str:
        """Say the size, never the values."""
        return f"Dataset({self.name!r}, {self.training_rows} training rows, {self.held_out_rows} held out, {len(self.columns)} columns)"

    @property
    def held_out_rows(self) -> int:
        """Rows kept for evaluation."""
        return int(self.held_out.sum())

    @property
    def training_rows(self) -> int:
        """Rows that training may use."""
        return len(self.held_out) - self.held_out_rows

    def training(self) -> dict[str, NDArray[np.float64]]:
        """Return the training rows by column, float64[training_rows] each."""
        return dict(zip(self.columns, np.ascontiguousarray(self.values[~self.held_out].T), strict=True))

    def kept(self) -> dict[str, NDArray[np.float64]]:
        """Return the held-out rows by column, float64[held_out_rows] each."""
        return dict(zip(self.columns, np.ascontiguousarray(self.values[self.held_out].T), strict=True))


@dataclass(frozen=True, slots=True)
class Excluded:
    """What an exclusion list did: rows and people left out, and the BLAKE3 of the sorted list (local evidence; empty without a list)."""

    rows: int = 0
    people: int = 0
    digest: str = ""
