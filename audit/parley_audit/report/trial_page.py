"""A tried negotiation as one page that needs nothing beside itself: the picture, and under it what `parley policy try` says, by topic.

html = trial_page(overview)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from parley_policies.trial.overview import Overview

from parley_audit.report.cohort_picture import cohort_picture
from parley_audit.report.render import STYLE

TEMPLATE: Final = "trial.html.jinja"
Rows = list[tuple[str, list[tuple[str, str]]]]


def trial_page(overview: Overview) -> str:
    """Return the page; the same overview, the same bytes."""
    environment = Environment(
        loader=PackageLoader("parley_audit", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    loader = environment.loader
    return environment.get_template(TEMPLATE).render(
        overview=overview,
        style="" if loader is None else loader.get_source(environment, STYLE)[0],
        picture=picture_of(overview),
        topics=by_topic(overview.rows()),
        cohorts=[(cohort.study, by_topic(row for row in cohort.rows() if row[0] != "who")) for cohort in overview.cohorts],
        assumed=overview.assumptions(),
    )


def picture_of(overview: Overview) -> str:
    """Return the picture of who takes part."""
    return cohort_picture(overview.cohorts, [(out.party, out.says()) for out in overview.out])


def by_topic(rows: Iterable[tuple[str, str, str]]) -> Rows:
    """Return rows by their topic, in the order in which topics come."""
    found: dict[str, list[tuple[str, str]]] = {}
    for topic, thing, sentence in rows:
        found.setdefault(topic, []).append((thing, sentence))
    return list(found.items())
