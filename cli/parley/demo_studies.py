"""The demo's three studies as study files: all six parties with a shared trunk and a head an objective, then one inside each objective.

`study_text` gives what a sponsor would write. Wishes are ranges; what binds in the end are the parties' policies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from parley.demo_data import (
    DEMO_MODEL,
    DEMO_OBJECTIVES,
    DEMO_PARTIES,
    DEMO_ROUNDS,
    DEMO_TRAINING,
    HOMEOWNER,
    SUBPRIME,
    demo_columns,
)
from parley.demo_policies import MODEL_USE, PURPOSE


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One of the three studies: its id, title, sponsor, objectives, and the plain sentences that every invited party reads first."""

    id: str
    title: str
    sponsor: str
    objectives: tuple[str, ...]
    summary: str

    @property
    def parties(self) -> tuple[str, ...]:
        """Who is invited: everyone with one of the objectives."""
        return tuple(party.id for party in DEMO_PARTIES if party.objective in self.objectives)


SHARED: Final = DemoStudy(
    "loans-shared",
    "Two questions, one shared model: subprime loans and home ownership",
    "insurer-fl",
    (HOMEOWNER, SUBPRIME),
    "Learn one model from six organizations' loan files. Lenders predict whether a loan is subprime, home insurers whether the borrower "
    "owns a home; the first layer is shared by all, the last belongs to each question. No row leaves a party; only sums over at least 3 "
    "parties are ever opened.",
)
LENDERS: Final = DemoStudy(
    "lenders-subprime",
    "Subprime loans, three lenders",
    "lender-ca",
    (SUBPRIME,),
    "Learn to predict subprime loans from three lenders' files. No row leaves a party; only sums over all 3 are ever opened.",
)
INSURERS: Final = DemoStudy(
    "insurers-homeowner",
    "Home ownership, three insurers",
    "insurer-fl",
    (HOMEOWNER,),
    "Learn to predict home ownership from three home insurers' files. No row leaves a party; only sums over all 3 are ever opened.",
)
DEMO_STUDIES: Final = (SHARED, LENDERS, INSURERS)
PHASE_SECONDS: Final = 30.0
GRACE_SECONDS: Final = 2.0  # a killed party is not waited for longer than this

_TEMPLATE: Final = """\
# study.toml: what the sponsor proposes. Everything here is shown to every invited party before it answers.
schema  = "parley.study/1"
id      = {id}
title   = {title}
sponsor = {sponsor}
invited = {invited}
summary = {summary}

[purpose]
uses = [{purpose}]

[workload]
name  = "train@1"
model = {model}
start = "new"

[workload.train]
{training}

{objectives}
[columns]
{columns}

[wishes]
scheme      = ["masked"]
rounds      = {{ min = 20, max = {rounds_max} }}
clip_bound  = {{ min = 0.2, max = 1.0 }}
answer_by   = {answer_by}
round_hours = 0.05
grace_seconds = {grace}
phase_seconds = {phase}

[model_use]
owner      = "all members jointly"
allowed    = [{model_use}]
on_leaving = "keep-last-version"
benefit    = "equal"
"""


def study_text(
    study: DemoStudy, today: date, rounds: int = DEMO_ROUNDS, *, grace: float = GRACE_SECONDS, phase: float = PHASE_SECONDS
) -> str:
    """Return the study file. With fewer `rounds` than the demo's own the sponsor's wish binds, else the parties' policies do."""
    most = 60 if rounds == DEMO_ROUNDS else rounds
    least = min(20, rounds)
    return _TEMPLATE.replace("min = 20", f"min = {least}").format(
        id=json.dumps(study.id),
        title=json.dumps(study.title),
        sponsor=json.dumps(study.sponsor),
        invited=json.dumps(study.parties),
        summary=json.dumps(study.summary),
        purpose=json.dumps(PURPOSE),
        model=_inline(DEMO_MODEL),
        training="\n".join(f"{name} = {json.dumps(value)}" for name, value in DEMO_TRAINING.items()),
        objectives="".join(_objective(goal) for goal in DEMO_OBJECTIVES if goal["id"] in study.objectives),
        columns="\n".join(f"{name} = {_inline(column)}" for name, column in demo_columns(*study.objectives).items()),
        rounds_max=most,
        answer_by=(today + timedelta(days=7)).isoformat(),
        grace=grace,
        phase=phase,
        model_use=json.dumps(MODEL_USE),
    )


def _objective(goal: dict[str, str]) -> str:
    return "[[objectives]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in goal.items())


def _inline(table: dict[str, object]) -> str:
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in table.items()) + " }"
