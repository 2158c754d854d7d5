"""From facts to files: `report.html` for people, `report.json` for programs. Both are functions of the facts: same facts, same bytes.

The page needs nothing beside itself: style and pictures stand in it, nothing is fetched, nothing runs. It prints on A4.

    html = render(facts)
    data = as_json(facts)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from parley_audit.report import words
from parley_audit.report.cohort_picture import cohort_picture
from parley_audit.report.facts import MODELS, Facts, PartyFacts, Scores, StudyFacts
from parley_audit.report.names import MODEL_NAMES, numbers, part_name, term_name
from parley_audit.report.pictures import histogram, mean_score, model_mark, round_grid, score_dots, time_bar

SCHEMA: Final = "parley.demo.report/1"
TEMPLATE: Final = "page.html.jinja"
STYLE: Final = "style.css"


def render(facts: Facts) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("parley_audit", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"score": _score, "part": part_name, "term": term_name, "mib": _mib, "numbers": numbers, "short": _short}
    loader = environment.loader
    style = "" if loader is None else loader.get_source(environment, STYLE)[0]
    return environment.get_template(TEMPLATE).render(
        facts=facts,
        words=words,
        models=MODELS,
        model_names=MODEL_NAMES,
        style=style,
        pictures=_pictures(facts),
        best=_best,
        mean=mean_score,
        timing=_round_seconds(facts),
    )


def as_json(facts: Facts) -> dict[str, Any]:
    """Return the facts as plain JSON values, with the few that readers look for first under names of their own."""
    main = facts.main
    return {
        "schema": SCHEMA,
        "made_at": facts.made_at,
        "version": facts.version,
        "seed": facts.seed,
        "seconds": {part.name: round(part.seconds, 3) for part in facts.parts} | {"total": round(facts.seconds, 3)},
        "rounds": {study.id: len(study.evidence.rounds) for study in facts.studies},
        "scheme": facts.scheme,
        "agreement_digest": main.evidence.agreement,
        "audit_verified": facts.audit.ok,
        "dropouts_survived": 0 if facts.dropout is None or not facts.dropout.missed else 1,
        "parties": [_party(party) for party in facts.parties],
        "mean": {f"auc_{model}": mean_score(facts, model) for model in MODELS},
        "round_seconds": _round_seconds(facts),
        "machine": dict(facts.machine),
        "gateway": asdict(facts.gateway),
        "policies": [
            {**asdict(clause), "values": dict(zip((p.id for p in facts.parties), clause.values, strict=True)), "differs": clause.differs}
            for clause in facts.clauses
        ],
        "studies": [_study(study) for study in facts.studies],
        "dropout": None if facts.dropout is None else asdict(facts.dropout),
        "picture": None if facts.picture is None else asdict(facts.picture),
        "audit": facts.audit.as_dict(),
        "verify": facts.command,
        "notes": list(facts.notes),
    }


def undisturbed(facts: Facts) -> tuple[float, ...]:
    """Return the seconds of all rounds in which nobody was killed, missing or coming back, over all studies, in order."""
    disturbed = _disturbed(facts)
    return tuple(
        each.seconds
        for study in facts.studies
        for each in study.evidence.rounds
        if each.seconds is not None and (study.id, each.number) not in disturbed
    )


def _disturbed(facts: Facts) -> set[tuple[str, int]]:
    dropout = facts.dropout
    if dropout is None:
        return set()
    numbers = {dropout.round, *dropout.missed} | ({dropout.back_in} if dropout.back_in is not None else set())
    return {(dropout.study, number) for number in numbers}


def _round_seconds(facts: Facts) -> dict[str, float | int | None]:
    known = sorted(undisturbed(facts))
    middle = known[len(known) // 2] if known else None
    return {"rounds": len(known), "median": middle, "most": known[-1] if known else None}


def _party(party: PartyFacts) -> dict[str, Any]:
    scores = {f"auc_{model}": party.scores.of(model) for model in MODELS}
    return {name: value for name, value in asdict(party).items() if name != "scores"} | scores


def _study(study: StudyFacts) -> dict[str, Any]:
    return {
        "title": study.title,
        **asdict(study.evidence),
        "small_changes": [asdict(change) for change in study.summary.small_changes],
        "sums": study.summary.sums,
        "fewest": study.summary.fewest,
        "explanation": study.explanation.as_data(),
    }


def _pictures(facts: Facts) -> Mapping[str, Any]:
    shown: dict[str, Any] = {
        "scores": score_dots(facts),
        "marks": {model: model_mark(model) for model in MODELS},
        "time": time_bar(facts.parts),
        "cohorts": cohort_picture((facts.main.explanation,), facts.main.explanation.out),
        "rounds": {study.id: _grid(facts, study) for study in facts.studies},
    }
    if facts.picture is not None:
        update, sealed, opened = facts.picture.update, facts.picture.sealed, facts.picture.opened
        shown["at_home"] = histogram(update, "The update at home", "h-update", "as trained")
        shown["received"] = histogram(sealed, "The same, as the gateway received it", "h-sealed", "as received", among=update)
        shown["sum"] = histogram(opened, "The sum that was opened", "h-opened", "as opened")
    return shown


def _grid(facts: Facts, study: StudyFacts) -> str:
    parts = tuple(dict.fromkeys(segment.name for segment in study.explanation.segments))
    dropout = facts.dropout if facts.dropout is not None and facts.dropout.study == study.id else None
    return round_grid(study.evidence.rounds, study.evidence.members, parts, dropout)


def _best(scores: Scores, model: str) -> bool:
    known = [value for value in (scores.of(name) for name in MODELS) if value is not None]
    return bool(known) and scores.of(model) == max(known)


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _mib(size: int) -> str:
    return f"{size / words.MIB:.2f}"


def _short(text: str, length: int = 16) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
