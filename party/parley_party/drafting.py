"""First files of a new party: a policy filled in from a profile, and a draft of a study over columns that were guessed from a CSV file.

Pure: the day is an argument. A draft is complete but for what only people can say, and every line to look at says LOOK. Its label is the
last column of true or false, since labels mostly stand last. A policy grants what it must be given and nothing else: no dataset and no
gateway where none is known yet.

    >>> print(study_draft("clinic-a", guess_columns(path), answer_by=date(2027, 1, 31)))    # doctest: +SKIP
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from parley_policies.model.profiles import render_profile

NAME: Final = "study.draft.toml"
OBJECTIVE: Final = "outcome"
DAYS_VALID: Final = 365
_NO_KEY: Final = "SHA256:" + "A" * 43  # stands in while a profile is filled in before a gateway is known
_BOOL: Final = re.compile(r'^(?P<name>[a-z][a-z0-9_]*) = \{ type = "bool"', re.MULTILINE)


def study_draft(party: str, columns: str, *, answer_by: date) -> str:
    """Return a study file sponsored by `party`; `columns` is a `[columns]` block as `guess_columns` writes it."""
    found = list(_BOOL.finditer(columns))
    label = "…"
    if found:
        last = found[-1]
        label = last["name"]
        columns = f'{columns[: last.end()]}, objectives = ["{OBJECTIVE}"]{columns[last.end() :]}'
    return _DRAFT.format(
        party=json.dumps(party),
        invited=f"[{json.dumps(party)}]",
        label=json.dumps(label, ensure_ascii=False),
        objective=json.dumps(OBJECTIVE),
        columns=columns.rstrip("\n"),
        answer_by=answer_by.isoformat(),
    )


def first_policy(profile: str, party: str, data: str, *, gateway: str | None, today: date, values: Mapping[str, Any]) -> str:
    """Return a policy made from `profile`; PolicyInvalid if it cannot be.

    `data` are `[data.…]` tables, whose datasets and columns it grants; `gateway` is the fingerprint of the only gateway that it grants,
    None for none yet; `values` are further values that the profile takes.
    """
    datasets = tomllib.loads(data).get("data", {})
    text = render_profile(
        profile,
        **dict(values),
        party=party,
        valid_from=today,
        valid_until=today + timedelta(days=DAYS_VALID),
        gateway_fingerprint=gateway or _NO_KEY,
        datasets=sorted(datasets),
        columns=sorted({column for dataset in datasets.values() for column in dataset["map"]}),
    )
    return text if gateway else text.replace(json.dumps(_NO_KEY), "")


_DRAFT: Final = """\
# A draft of a study, for its sponsor: go through every line that says LOOK, then run `parley study propose` with this file.
# Everything in it is shown to every invited party before it answers.
schema  = "parley.study/1"
id      = "first-study"                # LOOK: names the study for ever: a-z, 0-9 and -
title   = "First study"                # LOOK
sponsor = {party}
invited = {invited:<28} # LOOK: every party by its id, the sponsor among them; three at least, four to survive a dropout
summary = "LOOK: say in plain words what is learned, from which data, and what for."

[purpose]
uses = ["dpv:ScientificResearch"]      # LOOK: every party's policy must grant these

[workload]
name  = "train@1"
model = {{ kind = "mlp", hidden = [16] }}    # logistic | mlp

[[objectives]]
id    = {objective:<30} # LOOK: the same name under objectives of its label's column
label = {label:<30} # LOOK: the column to predict, true or false
kind  = "binary"

{columns}

[wishes]                               # the negotiation stays inside these ranges
scheme     = ["masked"]
rounds     = {{ min = 5, max = 20 }}
clip_bound = {{ min = 0.1, max = 1.0 }}
answer_by  = {answer_by:<25} # LOOK: last day on which an answer counts

[model_use]                            # who may do what with the result; signed by everyone
owner      = "all members jointly"
allowed    = ["internal-use"]
on_leaving = "keep-last-version"
benefit    = "equal"
"""
