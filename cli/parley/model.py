"""`parley model`: what a study gave: versions of the shared model, as files, and predictions from them. Needs no service and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from parley_service.config import HomeKind

from parley.output import Facts, Table
from parley.session import Session, UsageError, session_of
from parley.words import short, size, when

if TYPE_CHECKING:
    from parley_learning.modelfile import Model
    from parley_party.dataset import DatasetConfig
    from parley_party.reading import ModelAt

app = typer.Typer(help="Versions of a study's shared model.", no_args_is_help=True)
ModelName = Annotated[str, typer.Argument(metavar="STUDY[/VERSION]", help="A study's id, and a version; without one, the newest.")]
_PRIVATE: Final = 0o600


@app.command("list")
def list_versions(context: typer.Context, study: Annotated[str, typer.Argument(help="The study's id.")]) -> None:
    """List the versions of a study's model that are kept here."""
    from parley_party import reading  # noqa: PLC0415
    from parley_party.config import load  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.PARTY).file)
    kept = reading.model_versions(config, reading.study(config, study))
    found = [{"version": each.state.number, "step": _step(each), "base": each.base, "made_at": each.made_at} for each in kept]
    rows = [(each.state.number, _step(each), when(each.made_at), short(each.base)) for each in kept]
    table = Table(("version", "after", "made", "digest"), rows)
    session.out.result({"study": study, "versions": found}, table if rows else "no versions yet: training has not begun")


def _step(model: ModelAt) -> str:
    """Return what made a version: the rounds of its step that were done."""
    terms, state = model.math.terms, model.state
    step = terms.steps[min(state.step, len(terms.steps) - 1)]
    done = step.rounds if model.math.finished(state) else state.done
    return f"{done} of {step.rounds} rounds of {step.workload}" if done else "preprocessing: first parameters, not trained"


@app.command()
def show(context: typer.Context, model: ModelName) -> None:
    """Show the card of a version: who made it, what it predicts from what, what it may be used for."""
    from parley_party.models import card_of  # noqa: PLC0415

    session = session_of(context)
    found = _stored(session, model)
    card = card_of(found)
    use = {name: value if isinstance(value, str) else ", ".join(value) for name, value in card.model_use.items()}
    facts = {
        "study": card.study,
        "title": card.title,
        "version": f"{card.version}, {_step(found)}, made {when(found.made_at)}",
        "parties": ", ".join(card.members),
        "agreement": card.agreement_digest,
        "parameters": f"{card.parameters_digest} ({len(found.state.parameters)} values)",
        "model": f"{card.model.kind} {', '.join(map(str, card.model.hidden))}".rstrip(),
        "predicts": "; ".join(f"{goal.id}: {goal.says()}" for goal in card.objectives).replace("`", ""),
        **{f"use: {name}": value for name, value in use.items()},
    }
    columns = [
        (column.name, column.type.value, column.unit, f"{column.low:g} to {column.high:g}", "yes" if column.missing else "")
        for column in card.columns
    ]
    session.out.result(card.model_dump(mode="json"), Facts(facts), Table(("input", "type", "unit", "range", "may be missing"), columns))


def _stored(session: Session, name: str) -> ModelAt:
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.reading import model_version  # noqa: PLC0415

    return model_version(load(session.home(HomeKind.PARTY).file), name)


@app.command()
def export(
    context: typer.Context,
    model: ModelName,
    *,
    out: Annotated[Path, typer.Option(help="The safetensors file; its card goes beside it, as .md.")],
) -> None:
    """Write a version as a model file with its card. Whoever holds it can predict, without a service."""
    from parley_learning.modelcard import card_markdown  # noqa: PLC0415
    from parley_party.models import card_of, model_file  # noqa: PLC0415
    from parley_service.sealedfile import write_atomic  # noqa: PLC0415

    session = session_of(context)
    found = _stored(session, model)
    page = out.with_name(out.name + ".md")
    _ask_before(session, out, page)
    raw, card = model_file(found), card_of(found)
    write_atomic(out, raw)
    write_atomic(page, card_markdown(card).encode())
    plain = {"file": str(out), "card": str(page), "study": card.study, "version": card.version, "bytes": len(raw)}
    session.out.result(
        plain,
        f"wrote {out} ({size(len(raw))}): {card.study}, version {card.version}",
        f"wrote {page}: its card, with what it may be used for and what it is not",
    )


@app.command()
def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="STUDY[/VERSION]|FILE", help="A version kept here, or a model file.")],
    *,
    data: Annotated[str, typer.Option(help="A [data.NAME] of party.toml, or a CSV or Parquet file.")],
    out: Annotated[Path, typer.Option(help="The CSV file of predictions: row number, and a column a prediction.")],
    like: Annotated[str | None, typer.Option(help="Read the file by this dataset's query and map; else by the study's own.")] = None,
) -> None:
    """Predict for our own rows. A file is read by the query and the map of the dataset that the study uses here."""
    from parley_learning import modelfile  # noqa: PLC0415
    from parley_party.errors import DataError  # noqa: PLC0415
    from parley_party.models import model_file, predictions, predictions_csv  # noqa: PLC0415
    from parley_service.sealedfile import write_atomic  # noqa: PLC0415

    session = session_of(context)
    file = Path(model)
    stored = None if file.is_file() else _stored(session, model)
    loaded = modelfile.load(file.read_bytes() if stored is None else model_file(stored))
    dataset = like or (None if stored is None else stored.study.dataset)
    table = _table(session, loaded, data, dataset)
    _ask_before(session, out)
    session.out.progress(f"reading {data}")
    try:
        found = predictions(loaded, table)
    except DataError as error:
        if dataset is None:
            error.do = "Name the columns as the model does, or say with --like which dataset's query and map fit this file."
        raise
    write_atomic(out, predictions_csv(found).encode(), mode=_PRIVATE)
    rows = len(next(iter(found.values())))
    plain: dict[str, Any] = {
        "file": str(out),
        "rows": rows,
        "objectives": list(found),
        "study": loaded.card.study,
        "version": loaded.card.version,
    }
    session.out.result(
        plain,
        f"wrote {out}: {rows} rows, {', '.join(found)} by {loaded.card.study}, version {loaded.card.version}",
        "A prediction ranks; it decides nothing about a person. What the model may be used for stands in its card.",
    )


def _table(session: Session, model: Model, data: str, like: str | None) -> DatasetConfig:
    """Return what to read: a dataset by its name, a file by a dataset's query and map, or a file that has the model's own columns."""
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.models import data_for, table_of  # noqa: PLC0415

    file = Path(data)
    if not file.is_file():
        if file.suffix:
            raise UsageError("--data", wanted="a file, or a [data.NAME] of party.toml", got=f"{data}, which is neither")
        return data_for(load(session.home(HomeKind.PARTY).file), data, None)
    if not like:
        return table_of(model, file)
    return data_for(load(session.home(HomeKind.PARTY).file), like, file)


def _ask_before(session: Session, *files: Path) -> None:
    """Ask before a file is replaced."""
    for file in files:
        if file.exists():
            session.confirm(f"Replace {file}?")
