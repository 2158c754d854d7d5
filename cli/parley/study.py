"""`parley study`: propose a study, see where it stands and why, start and stop it. In a party's folder; reading also in a gateway's.

What only reads works on the store of a stopped service too. Whom a waiting round waits for is asked live.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from parley_protocol.limits import KEPT_SECONDS
from parley_protocol.problems import ProblemError
from parley_service.config import HomeKind
from parley_service.errors import ConfigError, NotRunningError

from parley.explained import by_topic
from parley.output import Facts, Table, View
from parley.session import Session, session_of
from parley.words import progress, when

if TYPE_CHECKING:
    from parley_party.own_loosening import OwnLoosening
    from parley_party.reading import StudyView
    from parley_policies.model.loader import PolicyFile
    from parley_policies.negotiation.explain import Explanation

app = typer.Typer(help="One agreed joint computation of many rounds.", no_args_is_help=True)
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's id.")]
_ENDED: Final = frozenset({"STOPPED", "FINISHED", "TERMINATED"})


@app.command()
def propose(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A study.toml. Everything in it is shown to every invited party.")],
    *,
    federation: Annotated[str | None, typer.Option(help="Which of our federations, if there are several.")] = None,
) -> None:
    """Sign a study as its sponsor and send it to the gateway, which asks every invited party."""
    from parley_policies.negotiation.study_file import load_study  # noqa: PLC0415

    session = session_of(context)
    session.home(HomeKind.PARTY)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"study {file}", wanted="a file that can be read", got=error.strerror or "an error") from error
    study = load_study(raw, file.name)  # its faults are told here, whether or not a service runs
    arguments = {"toml": raw.decode(), "name": file.name} | ({"federation": federation} if federation else {})
    sent = session.call("study.propose", arguments)
    session.out.result(
        sent,
        Facts({"study": sent["study"], "title": study.title, "invited": ", ".join(study.invited), "digest": sent["digest"]}),
        f"proposed; see: parley study show {sent['study']}",
    )


@app.command("list")
def list_studies(context: typer.Context) -> None:
    """List studies and where they stand."""
    session = session_of(context)
    found = _listed_at_gateway(session) if session.home().kind is HomeKind.GATEWAY else _listed_at_party(session)
    rows = [
        (each["study"], each["title"], each["sponsor"], each["state"], progress(each["rounds_done"], each["rounds_total"]), each["reason"])
        for each in found
    ]
    table = Table(("study", "title", "sponsor", "state", "rounds", "reason"), rows)
    session.out.result({"studies": found}, table if rows else "no studies yet")


def _listed_at_party(session: Session) -> list[dict[str, Any]]:
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.reading import studies  # noqa: PLC0415

    return [_brief(view) for view in studies(load(session.home(HomeKind.PARTY).file))]


def _listed_at_gateway(session: Session) -> list[dict[str, Any]]:
    from parley_gateway import reading  # noqa: PLC0415
    from parley_gateway.config import load  # noqa: PLC0415

    from parley.asking import live_or_stored  # noqa: PLC0415

    config = load(session.home().file)
    found = live_or_stored(session, "study.list", {}, lambda: reading.studies(config, session.environ))
    return list(found["studies"])


@app.command()
def show(context: typer.Context, study: StudyName) -> None:
    """Show one study: its state, its rounds, whom it waits for, and what we gained."""
    session = session_of(context)
    if session.home().kind is HomeKind.GATEWAY:
        _show_at_gateway(session, study)
        return
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.reading import study as read_study  # noqa: PLC0415

    view = read_study(load(session.home().file), study)
    live = _live(session, view)
    found = _brief(view) | {
        "federation": view.federation,
        "changed_at": view.changed_at,
        "summary": view.proposal.summary,
        "invited": list(view.proposal.invited),
        "dataset": view.dataset or None,
        "objectives": list(view.objectives),
        "members": [] if view.agreement is None else [member.party for member in view.agreement.terms.members],
        "waits_for": live.get("waits_for", []),
        "at_gateway": live or None,
        "result": view.result,
    }
    session.out.result(found, *_party_views(view, live))


def _live(session: Session, view: StudyView) -> dict[str, Any]:
    """Return what the gateway says of the study, through our running service; nothing where that cannot be had."""
    if view.state in _ENDED:
        return {}
    try:
        return dict(session.call("study.waits", {"study": view.id}))
    except NotRunningError:
        session.out.progress("our service is not running: shown is what it knew last")
    except ProblemError as error:
        session.out.warn(f"the gateway does not say whom the study waits for: {error}")
    return {}


def _brief(view: StudyView) -> dict[str, Any]:
    return {
        "study": view.id,
        "title": view.proposal.title,
        "sponsor": view.proposal.sponsor,
        "state": view.state,
        "reason": view.reason,
        "agreement": None if view.agreement is None else view.agreement.digest,
        "rounds_done": view.rounds_done,
        "rounds_total": view.rounds_total,
    }


def _party_views(view: StudyView, live: Mapping[str, Any]) -> list[View]:
    current = [row for row in view.rounds if not row.outcome]
    phase = live.get("phase")
    facts = {
        "study": view.id,
        "title": view.proposal.title,
        "sponsor": view.proposal.sponsor,
        "invited": ", ".join(view.proposal.invited),
        "state": f"{view.state} since {when(view.changed_at)}",
        "reason": view.reason,
        "agreement": "" if view.agreement is None else view.agreement.digest,
        "our data": f"{view.dataset}, for {', '.join(view.objectives)}" if view.dataset else "",
        "rounds": progress(view.rounds_done, view.rounds_total),
        "open round": f"{current[-1].number}" + (f", {phase}" if phase else "") if current else "",
        "waits for": ", ".join(live.get("waits_for", [])),
    }
    views: list[View] = [Facts({name: value for name, value in facts.items() if value})]
    if view.result is not None:
        views.append(_scores(view.result))
    return views


def _scores(result: Mapping[str, Any]) -> View:
    """Return our own scores: what the shared model and our models alone reach on our held-out rows."""
    if "error" in result:
        return f"no scores: {result['error']}"
    rows = [
        (
            objective,
            score["metric"],
            _shown(score),
            _shown(result["local"].get(objective, {}).get("linear")),
            _shown(result["local"].get(objective, {}).get("mlp")),
            score["rows"],
        )
        for objective, score in result["federated"].items()
    ]
    title = f"Version {result['version']} on our held-out rows (larger is better, 1 the best; this stays at home):"
    return Table(("objective", "metric", "shared model", "alone, linear", "alone, mlp", "rows"), rows, title=title)


def _shown(score: Mapping[str, Any] | None) -> str:
    return "" if not score or score["value"] is None else f"{score['value']:.3f}"


def _show_at_gateway(session: Session, study: str) -> None:
    from parley_gateway import reading  # noqa: PLC0415
    from parley_gateway.config import load  # noqa: PLC0415

    from parley.asking import live_or_stored  # noqa: PLC0415

    config = load(session.home().file)
    found = live_or_stored(session, "study.show", {"study": study}, lambda: reading.study(config, session.environ, study))
    facts = {
        "study": found["study"],
        "title": found["title"],
        "sponsor": found["sponsor"],
        "state": found["state"],
        "reason": found["reason"],
        "agreement": found["agreement"],
        "rounds": progress(found["rounds_done"], found["rounds_total"]),
        "round": f"{found['round']}, {found['phase']}" if found["phase"] else "",
        "waits for": ", ".join(found["waits_for"]),
    }
    answers = [(party, _answer(answer)) for party, answer in found["answers"].items()]
    waiting = [(party, "no answer yet") for party in found["proposal"]["invited"] if party not in found["answers"]]
    shown = Facts({name: value for name, value in facts.items() if value})
    session.out.result(found, shown, Table(("invited", "answer"), [*answers, *waiting]))


def _answer(answer: Mapping[str, bool]) -> str:
    if answer["declined"]:
        return "declined"
    return "signed the terms" if answer["accepted"] else "offered"


@app.command()
def explain(context: typer.Context, study: StudyName) -> None:
    """Say who is in, which clause decided each term, and what a dropout would cost."""
    session = session_of(context)
    if session.home().kind is HomeKind.GATEWAY:
        found = session.call("study.explain", {"study": study})
        session.out.result(found, *by_topic([tuple(row) for row in found["rows"]]))
        return
    from parley_party.activation import policy_here  # noqa: PLC0415
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.explaining import explain_to  # noqa: PLC0415
    from parley_party.reading import study as read_study  # noqa: PLC0415

    config = load(session.home().file)
    view = read_study(config, study)
    loosened = _loosened(view, policy_here(config))
    plain = _brief(view) | {"could_be_loosened": [asdict(each) for each in loosened]}
    rows = [("could be loosened", each.clause, each.says()) for each in loosened]
    if view.agreement is None or view.offer is None:
        session.out.result(plain | {"explanation": None}, *_unagreed(view), *by_topic(rows))
        return
    explanation = explain_to(view.offer, view.proposal, view.agreement.terms)
    session.out.result(
        plain | {"explanation": explanation.as_data()},
        Facts({"study": view.id, "agreement": view.agreement.digest}),
        *by_topic([*_rows(explanation), *rows]),
        _NOT_OURS,
        *([_AT_MOST] if rows else []),
    )


_NOT_OURS: Final = (
    "A clause that is named is ours; others may have wanted the same. What is not ours is another member's policy, which we do not see."
)
_AT_MOST: Final = (
    "What could be loosened is told of our own policy alone, and as far as we can know: whether another member's policy stands in the "
    "way as well, and who else would then take part, only a new negotiation shows."
)


def _loosened(view: StudyView, policy: PolicyFile) -> tuple[OwnLoosening, ...]:
    """Return what we could loosen in our policy as it is now, for a study that has not ended well."""
    from parley_party.own_loosening import Standing, own_loosenings  # noqa: PLC0415

    standing = Standing(
        policy=policy,
        proposal=view.proposal,
        members=view.directory,
        objectives=view.objectives or view.proposal.labelled(policy.policy.data.columns),
        told="hidden" if view.offer is None else view.offer.records,
        terms=None if view.agreement is None else view.agreement.terms,
    )
    return own_loosenings(standing, today=datetime.now(UTC).date())


def _rows(explanation: Explanation) -> list[tuple[str, ...]]:
    return [tuple(row) for row in explanation.rows()]


def _unagreed(view: StudyView) -> list[View]:
    """Say what is known before there are terms: why we take no part, or what we offered."""
    views: list[View] = [
        Facts({"study": view.id, "state": view.state, "reason": view.reason} if view.reason else {"study": view.id, "state": view.state})
    ]
    if view.offer is None:
        return views
    offer = view.offer
    rows = [
        ("objectives", ", ".join(offer.objectives)),
        ("records", offer.records),
        ("shared parts", ", ".join(f"{item.name}, at least {item.min_parties} parties summed together" for item in offer.segments)),
        ("parties that may conspire and still learn nothing", offer.colluders),
        ("small changes of the list", f"at most {offer.max_small_changes}"),
        ("cap on our update", f"{offer.clip_bound.min:g} to {offer.clip_bound.max:g}"),
        ("our part of a sum", f"at most {offer.weight_cap:.0%}; any other's at most {offer.weight_cap_of_others:.0%}"),
        ("rounds", f"at most {offer.rounds}"),
        ("valid until", offer.valid_until.isoformat()),
    ]
    views.append(Table(("we offered", ""), rows))
    return views


@app.command()
def start(context: typer.Context, study: StudyName) -> None:
    """Start an agreed study: only its sponsor can."""
    session = session_of(context)
    session.home(HomeKind.PARTY)
    session.out.result(session.call("study.start", {"study": study}), f"start sent; see: parley study show {study}")


@app.command()
def stop(
    context: typer.Context,
    study: StudyName,
    *,
    reason: Annotated[str, typer.Option(help="Why; every member reads it, and the log keeps it.")],
) -> None:
    """Stop a study. A round that was uploaded is finished first; what was opened stays opened."""
    session = session_of(context)
    session.confirm(f"Stop study {study} for every member, for ever?")
    session.out.result(session.call("study.stop", {"study": study, "reason": reason}), f"stop sent; see: parley study show {study}")


@app.command()
def recompute(
    context: typer.Context,
    study: StudyName,
    *,
    number: Annotated[
        int | None, typer.Option("--round", min=1, help="Which certified round; without it the newest, the only one that is kept.")
    ] = None,
) -> None:
    """Recompute a round's sums here from the sealed updates. If they are not what the gateway signed for, the study is stopped."""
    session = session_of(context)
    session.home(HomeKind.PARTY)
    found = session.call("study.recompute", {"study": study} | ({"round": number} if number else {}), seconds=KEPT_SECONDS)
    rows = [(segment["name"], segment["parties"], segment["body"]) for segment in found["segments"]]
    facts = {"study": found["study"], "round": found["round"], "sealed updates": found["updates"], "bytes": found["bytes"]}
    table = Table(("shared part", "parties", "digest that the gateway signed"), rows, title="Recomputed, bit for bit:")
    session.out.result(found, Facts(facts), table)


@app.command()
def logs(
    context: typer.Context,
    study: StudyName,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens next, until interrupted.")] = False,
) -> None:
    """Say what happened in a study here: answers, agreement, rounds, refusals."""
    session = session_of(context)

    def each(line: Mapping[str, Any]) -> None:
        session.out.item(line, _line(line))

    try:
        session.follow("study.logs", {"study": study, "follow": follow}, each)
    except NotRunningError:
        if follow:
            raise
        for line in _stored_lines(session, study):
            each(line)


def _stored_lines(session: Session, study: str) -> list[dict[str, Any]]:
    if session.home().kind is HomeKind.GATEWAY:
        from parley_gateway import config, reading  # noqa: PLC0415

        return reading.notes(config.load(session.home().file), session.environ, study)
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.reading import study_log  # noqa: PLC0415

    return study_log(load(session.home().file), study)


def _line(line: Mapping[str, Any]) -> str:
    if "text" in line:  # a gateway's
        return f"{when(line['at'])}  {line['text']}"
    what = f"round {line['round']}: {line['what'].removeprefix('round ')}" if line["round"] else line["what"]
    return f"{when(line['at'])}  {what}  {_detail(line['detail'])}".rstrip()


def _detail(text: str) -> str:
    """Return what stands beside an event: names and values where it is a JSON object, else the text."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return ", ".join(f"{name} {value}" for name, value in found.items()) if isinstance(found, dict) else text
