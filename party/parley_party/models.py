"""What a party takes out of a study: the model of a version as a file with its card, and predictions for rows of its own.

Nothing here leaves the house or needs a service, its keys or torch. A version's parameters are the ones that every member computed from the
same certified sums; the card says which agreement and which parties they come from.

    raw = model_file(model_version(config, "heart"))
    rows = predictions(load(raw), data_for(config, "visits", Path("new.csv")))
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Final

from parley_learning.arrays import Float64s
from parley_learning.modelcard import ModelCard, make_card
from parley_learning.modelfile import Model, dump, predict

from parley_party.config import PartyConfig
from parley_party.dataset import DatasetConfig, HeldOut, MappedColumn
from parley_party.datasource import read_in_order
from parley_party.datasource_config import dataset_config
from parley_party.errors import DataError
from parley_party.reading import ModelAt

ROW: Final = "row"
_TABLE: Final = "data"
_QUERY: Final = "SELECT * FROM data"
_DIGITS: Final = 6


def card_of(model: ModelAt) -> ModelCard:
    """Return the card of a version."""
    terms, proposal = model.math.terms, model.study.proposal
    return make_card(
        model.math.learning,
        model.math.scaling(model.state),
        model.state.parameters,
        study=terms.study,
        title=proposal.title,
        version=model.state.number,
        agreement_digest=terms.digest(),
        members=tuple(member.party for member in terms.members),
        model_use=proposal.model_use.model_dump(),
    )


def model_file(model: ModelAt) -> bytes:
    """Return a version as a safetensors file with its card inside; the same version gives the same bytes."""
    return dump(card_of(model), model.state.parameters)


def data_for(config: PartyConfig, dataset: str, file: Path | None) -> DatasetConfig:
    """Return what to predict for: a dataset as it is, or with `file` in place of the one file that its query reads.

    In place of its file every row counts: units and exclusions belong to the dataset's own people, and nothing is held out.
    """
    described = dataset_config(config, dataset)
    if file is None:
        return replace(described, held_out=HeldOut())
    tables = [name for name in described.files if described.exclude is None or name != described.exclude.table]
    if len(tables) != 1:
        raise DataError(
            f"dataset {dataset}",
            wanted="a query over one file, so that another can take its place",
            got=", ".join(tables),
            do="make a dataset of party.toml for the new rows, and name it with --data",
        )
    return replace(described, files={tables[0]: str(file.resolve())}, unit=None, exclude=None, held_out=HeldOut())


def table_of(model: Model, file: Path) -> DatasetConfig:
    """Return a file whose columns are named as the model's own."""
    columns = {spec.name: MappedColumn(spec.name) for spec in model.columns.features}
    return DatasetConfig(file.name, {_TABLE: str(file.resolve())}, _QUERY, columns)


def predictions(model: Model, data: DatasetConfig) -> dict[str, Float64s]:
    """Return each objective's predictions, float64[rows] in the order of the query's rows; DataError if a column does not fit."""
    return predict(model, read_in_order(data, model.columns.features))


def predictions_csv(found: dict[str, Float64s]) -> str:
    """Return predictions as CSV: the row's number, from 1, and a column an objective."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([ROW, *found])
    rows = zip(*found.values(), strict=True)
    writer.writerows([number, *(f"{value:.{_DIGITS}f}" for value in row)] for number, row in enumerate(rows, start=1))
    return text.getvalue()
