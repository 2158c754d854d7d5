"""`parley demo`: six organizations on this machine, from empty folders to a report, in less than two minutes.

A gateway and six party services run as processes of their own over HTTP on loopback, on real loans, with real cryptography and their own
stores; three studies of 40 rounds; one lender is killed on the way and comes back. Afterwards everything is shut down. What is left is
the report's folder (report.html, report.json, export) and, beside it, the seven folders (demo-work), to look into.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Final

import typer

from parley.extras import require
from parley.output import Facts, Table, View
from parley.session import Session, UsageError, session_of

MASKED: Final = "masked"
REPORT: Final = "demo-report"
HTML: Final = "report.html"
JSON: Final = "report.json"
SEEDS: Final = "seeds.json"
SEEDS_SCHEMA: Final = "parley.demo.seeds/1"
_MODELS: Final = {  # as in report.json, and as a table's heading
    "auc_local_logistic": "alone, logistic",
    "auc_local_mlp": "alone, small network",
    "auc_same_objective": "same objective",
    "auc_federated": "all six",
}


def demo(
    context: typer.Context,
    *,
    seed: Annotated[int, typer.Option(help="Which split of the data.", min=0)] = 1,
    seeds: Annotated[int | None, typer.Option(help="Run so many splits, from --seed on, one after the other.", min=1, max=100)] = None,
    scheme: Annotated[str, typer.Option(help=f"How contributions are hidden: {MASKED}.")] = MASKED,
    no_dropout: Annotated[bool, typer.Option("--no-dropout", help="Kill nobody on the way.")] = False,
    lying_gateway: Annotated[
        bool, typer.Option("--lying-gateway", help="Show a gateway that lies, act by act, and what each party answers; no report.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the report goes; the seven folders go beside it.")] = Path(REPORT),
) -> None:
    """Run six organizations on this machine: they agree, learn, lose one, and report."""
    session = session_of(context)
    if scheme != MASKED:
        raise UsageError("--scheme", wanted=f"{MASKED}, the scheme that this version has", got=scheme)
    require("party")
    require("demo")
    if lying_gateway:
        _lying(session, seed, out, alone=seeds is None and not no_dropout)
        return
    from parley.demo_plan import DemoPlan, work_folder  # noqa: PLC0415 - with these come both services
    from parley.demo_progress import DemoProgress  # noqa: PLC0415
    from parley.demo_report import run_demo  # noqa: PLC0415

    found = []
    for number in range(seed, seed + (seeds or 1)):
        folder = out if seeds is None else out / f"seed-{number}"
        plan = DemoPlan(number, folder, work_folder(folder), dropout=not no_dropout)
        with DemoProgress(quiet=session.out.quiet, color=session.out.color) as progress:
            found.append(run_demo(plan, progress))
    if seeds is None:
        session.out.result(found[0], *views(found[0], out))
        return
    summary = summarise(found)
    (out / SEEDS).write_text(json.dumps(summary, indent=2) + "\n")
    session.out.result(summary, *summary_views(summary, out))


def _lying(session: Session, seed: int, out: Path, *, alone: bool) -> None:
    from parley.attack_show import problems_in, show_acts  # noqa: PLC0415
    from parley.attack_words import Teller  # noqa: PLC0415
    from parley.attack_words import views as attack_views  # noqa: PLC0415
    from parley.demo_plan import DemoPlan, work_folder  # noqa: PLC0415
    from parley.demo_progress import DemoProgress  # noqa: PLC0415
    from parley.demo_report import interruptible  # noqa: PLC0415

    if not alone:
        raise UsageError("--lying-gateway", wanted="neither --seeds nor --no-dropout with it", got="one of them")
    plan = DemoPlan(seed, out, work_folder(out))
    teller = Teller(quiet=session.out.quiet, color=session.out.color)
    progress = DemoProgress(quiet=session.out.quiet, color=session.out.color)  # its bars stay off: they would stand in the story
    result = interruptible(show_acts(plan, progress, teller))
    session.out.result(result, *attack_views(result), problems=problems_in(result))


def views(report: Mapping[str, Any], out: Path) -> tuple[View, ...]:
    """Return what people see at the end of one run."""
    return (
        _scores(report["parties"], report["mean"], f"Area under the ROC curve on each party's own held-out rows (seed {report['seed']})"),
        _rounds(report),
        Facts(_facts(report, out)),
    )


def _scores(parties: Sequence[Mapping[str, Any]], mean: Mapping[str, float | None], title: str) -> Table:
    rows: list[tuple[object, ...]] = [(party["id"], party["objective"], *(_three(party[model]) for model in _MODELS)) for party in parties]
    rows.append(("mean", "", *(_three(mean[model]) for model in _MODELS)))
    return Table(("party", "learns", *_MODELS.values()), rows, title=title)


def _rounds(report: Mapping[str, Any]) -> Table:
    rows = []
    for study in report["studies"]:
        changes = ", ".join(f"round {change['round']}: {', '.join(change['parties'])}" for change in study["small_changes"])
        counted = {len(each["parties"]) for each in study["rounds"]}
        rows.append(
            (study["id"], len(study["rounds"]), " or ".join(map(str, sorted(counted))), study["sums"], study["fewest"], changes or "nobody")
        )
    return Table(("study", "rounds", "parties in a round", "additions opened", "over at least", "exposed by small changes"), rows)


def _facts(report: Mapping[str, Any], out: Path) -> dict[str, object]:
    dropout, timing = report["dropout"], report["round_seconds"]
    lost = "nobody was killed"
    if dropout is not None:
        lost = f"{dropout['party']} killed in round {dropout['round']} ({dropout['phase']}), back in round {dropout['back_in'] or 'none'}"
    median = "not measured" if timing["median"] is None else f"{timing['median']:.2f} s (the longest {timing['most']:.2f} s)"
    return {
        "dropout": lost,
        "round without it": median,
        "seconds in all": f"{report['seconds']['total']:.0f}",
        "agreement": report["agreement_digest"],
        "audit": f"verified, {report['audit']['size']} leaves, no witnesses" if report["audit_verified"] else "FAULT",
        "report": out / HTML,
        "check it again": report["verify"],
    }


def summarise(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the scores of several runs: by seed, by party over the seeds, and their mean."""
    parties = [party["id"] for party in reports[0]["parties"]]
    by_party = []
    for index, party in enumerate(parties):
        runs = [report["parties"][index] for report in reports]
        by_party.append({"id": party, "objective": runs[0]["objective"]} | {model: _mean(run[model] for run in runs) for model in _MODELS})
    return {
        "schema": SEEDS_SCHEMA,
        "seeds": [report["seed"] for report in reports],
        "by_seed": [{"seed": report["seed"], "seconds": report["seconds"]["total"], **report["mean"]} for report in reports],
        "parties": by_party,
        "mean": {model: _mean(report["mean"][model] for report in reports) for model in _MODELS},
        "audit_verified": all(report["audit_verified"] for report in reports),
    }


def _mean(values: Any) -> float | None:  # noqa: ANN401 - any iterable of scores
    known = list(values)
    return None if None in known else fmean(known)


def summary_views(summary: Mapping[str, Any], out: Path) -> tuple[View, ...]:
    """Return what people see at the end of several runs."""
    rows = [(row["seed"], f"{row['seconds']:.0f}", *(_three(row[model]) for model in _MODELS)) for row in summary["by_seed"]]
    title = f"Mean over {len(summary['seeds'])} splits"
    return (
        Table(("seed", "seconds", *_MODELS.values()), rows, title="Mean over the parties, a row a split"),
        _scores(summary["parties"], summary["mean"], title),
        Facts({"reports": out, "audits": "all verified" if summary["audit_verified"] else "FAULT"}),
    )


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
