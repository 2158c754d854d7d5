"""`parley data`: whether this party's data fit a study, before anybody else hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from parley_policies.errors import PolicyInvalid, Refused
from parley_protocol.problems import Problem, Slug
from parley_service.config import HomeKind
from parley_service.errors import ConfigError

from parley.output import Facts, Table, View
from parley.session import UsageError, session_of
from parley.words import short

if TYPE_CHECKING:
    from parley_learning.columns import ColumnSpec
    from parley_party.config import PartyConfig
    from parley_party.datasource import DatasetCheck
    from parley_policies.negotiation.proposal import StudyContent

app = typer.Typer(help="Our own data.", no_args_is_help=True)


@app.callback()
def _verbs() -> None:
    """With a callback one verb alone stays a verb."""


@app.command()
def check(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="A [data.NAME] of party.toml; without it, each of them.")] = None,
    *,
    study: Annotated[str | None, typer.Option(help="A study's id, or a study file: what the columns must be.")] = None,
) -> None:
    """Read data as a study would: column by column what was wanted, what came, and what to do."""
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.datasource import check_dataset  # noqa: PLC0415
    from parley_party.datasource_config import dataset_config  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.PARTY).file)
    asked = None if study is None else _study(config, study)
    names = sorted(config.data) if dataset is None else [dataset]
    if not names:
        raise ConfigError(f"{config.file}", wanted="a table [data.NAME]", got="none", do="Describe your data there.")
    results: list[dict[str, Any]] = []
    views: list[View] = []
    for name in names:
        session.out.progress(f"reading {name}")
        described = dataset_config(config, name)
        objectives = _objectives(config, name, asked)
        found = check_dataset(described, _specs(asked, objectives))
        notes = list(_notes(config, found, asked, objectives))
        results.append(_plain(found, objectives, notes))
        views += _views(found, objectives, notes)
    session.out.result({"datasets": results}, *views, problems=_problems(results))


def _study(config: PartyConfig, named: str) -> StudyContent:
    """Return the content of a study file, or of a study that this party knows."""
    from parley_party.reading import study  # noqa: PLC0415
    from parley_policies.negotiation.study_file import load_study  # noqa: PLC0415

    file = Path(named)
    if file.is_file():
        return load_study(file.read_bytes(), file.name)
    if file.suffix:
        raise UsageError("--study", wanted="a study's id, or a study file", got=f"{named}, which is no file")
    return study(config, named).proposal


def _objectives(config: PartyConfig, name: str, asked: StudyContent | None) -> tuple[str, ...]:
    """Return the objectives whose labels the dataset maps; if it maps none, all of the study's, so that the lack of a label shows."""
    if asked is None:
        return ()
    return asked.labelled(config.data[name].map) or tuple(item.id for item in asked.objectives)


def _specs(asked: StudyContent | None, objectives: tuple[str, ...]) -> tuple[ColumnSpec, ...] | None:
    from parley_learning.shape import learning_of  # noqa: PLC0415

    return None if asked is None else learning_of(asked).columns.needed(objectives)


def _notes(config: PartyConfig, found: DatasetCheck, asked: StudyContent | None, objectives: tuple[str, ...]) -> Iterator[str]:
    """Say what our own policy has against this dataset: another person may own it, so this is no misfit of the data."""
    from parley_party.reading import read_policy  # noqa: PLC0415
    from parley_policies.negotiation.clauses import check_dataset  # noqa: PLC0415

    try:
        policy = read_policy(config).policy
    except PolicyInvalid as error:
        yield f"the policy cannot be read: {error}"
        return
    try:
        check_dataset(policy, found.dataset, found.people)
    except Refused as refused:
        yield f"the policy says no: {refused}"
    ungranted = [] if asked is None else sorted(set(asked.needed_columns(objectives)) - set(policy.data.columns))
    if ungranted:
        yield f"the policy does not grant these columns (data.columns): {', '.join(ungranted)}"


def _problems(results: list[dict[str, Any]]) -> list[Problem]:
    misfits = [(each["dataset"], column) for each in results for column in each["columns"] if not column["fits"]]
    if not misfits:
        return []
    name, first = misfits[0]
    more = f", and {len(misfits) - 1} more" if misfits[1:] else ""
    detail = f"dataset {name}, column {first['column']}{more}"
    return [Problem(Slug.DATA_MISMATCH, detail, wanted=first["wanted"] or None, got=first["got"], do=first["do"] or None)]


def _plain(found: DatasetCheck, objectives: tuple[str, ...], notes: list[str]) -> dict[str, Any]:
    return {
        "dataset": found.dataset,
        "fits": found.fits,
        "objectives": list(objectives),
        "training_rows": found.training_rows,
        "held_out_rows": found.held_out_rows,
        "people": found.people,
        "excluded_rows": found.excluded.rows,
        "excluded_people": found.excluded.people,
        "digest": found.digest,
        "columns": [
            {
                "column": item.column,
                "wanted": item.wanted,
                "got": item.got,
                "verdict": item.verdict.value,
                "do": item.do,
                "fits": item.fits,
            }
            for item in found.findings
        ],
        "notes": notes,
    }


def _views(found: DatasetCheck, objectives: tuple[str, ...], notes: list[str]) -> list[View]:
    rows = [(item.column, item.wanted, item.got, item.verdict.value, item.do) for item in found.findings]
    facts = {
        "dataset": found.dataset,
        "rows": f"{found.training_rows} to train on, {found.held_out_rows} held out",
        "people": f"{found.people} to train on, {found.excluded.people} left out by the exclusion list ({found.excluded.rows} rows)",
        "objectives": ", ".join(objectives),
        "digest": short(found.digest) + "  (stays at home)" if found.digest else "",
    }
    table = Table(("column", "wanted", "got", "verdict", "what to do"), rows)
    return [Facts({name: value for name, value in facts.items() if value}), table, *(f"note: {note}" for note in notes)]
