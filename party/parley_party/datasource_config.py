"""From party.toml to what datasource reads: the one place where the two meet.

>>> dataset_config(load(Path("party.toml")), "heart_failure").unit    # doctest: +SKIP
'patient_id'
"""

from __future__ import annotations

from pathlib import Path

from parley_party.config import Dataset, PartyConfig
from parley_party.dataset import DatasetConfig, Exclusion, HeldOut, MappedColumn
from parley_party.datasource import query_text
from parley_party.errors import DataError


def dataset_config(config: PartyConfig, name: str) -> DatasetConfig:
    """Return dataset `name` of party.toml, with the text of its query; DataError if there is no such dataset or query.

    duckdb gets half the trainer's memory and one thread: with more, averages may differ in the last bit from run to run, and so the digest.
    """
    if name not in config.data:
        known = ", ".join(sorted(config.data)) or "none"
        raise DataError(f"dataset {name}", wanted=f"a [data.…] of party.toml: {known}", got="no such table", do="correct the name")
    table = config.data[name]
    return DatasetConfig(
        name=name,
        files={each: str(path) for each, path in table.files.items()},
        query=query_text(str(table.query), Path()),
        columns={column: MappedColumn(mapped.column, mapped.sql, mapped.unit) for column, mapped in table.map.items()},
        unit=table.unit,
        exclude=None if table.exclude is None else Exclusion(table.exclude.table, table.exclude.column),
        held_out=_held_out(table),
        memory_mib=max(config.training.memory_mib // 2, 128),
    )


def _held_out(table: Dataset) -> HeldOut:
    if table.held_out_column is None:
        return HeldOut(fraction=table.held_out_share)
    value = table.held_out_value
    return HeldOut(column=table.held_out_column, value=str(value).lower() if isinstance(value, bool) else str(value))
