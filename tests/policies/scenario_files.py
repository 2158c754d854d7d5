"""Read the federations of tests/scenarios: a base study, policy and facts, and in each file what it changes and what must come of it.

    python -m tests.policies.scenario_files NAME    say what comes of one, as `parley policy try` says it

A scenario's tables `study`, `policy` (everybody's), `policies.PARTY` and `facts` are laid over the base, table by table; `without` takes
clauses away, by their paths. Two files are one federation only where it says so: what a scenario does not name is as in the base.
"""

from __future__ import annotations

import copy
import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final

from parley_learning.shape import shape_of
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.negotiation.study_file import load_study
from parley_policies.trial.facts import Facts, load_facts
from parley_policies.trial.overview import Overview
from parley_policies.trial.telling import overview_of
from parley_policies.trial.trial import Trial, hold

SCENARIOS: Final = Path(__file__).parents[1] / "scenarios"
TODAY: Final = date(2027, 3, 1)
_KNOWN: Final = frozenset({"title", "says", "study", "policy", "policies", "facts", "without", "assume", "readers", "expect"})
Tables = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """One federation as its file tells it: study, policies and facts as TOML, and what must come of it."""

    name: str
    title: str
    says: str
    study: str
    policies: Mapping[str, str]
    facts: str
    assume: frozenset[str]
    readers: tuple[str, ...]
    expect: Mapping[str, Any]

    def policy_files(self) -> dict[str, PolicyFile]:
        return {party: load_policy(text.encode(), f"{party}.toml") for party, text in self.policies.items()}

    def held(self) -> Trial:
        return self.held_with(load_facts(self.facts.encode()))

    def held_with(self, facts: Facts) -> Trial:
        study = load_study(self.study.encode())
        return hold(study, self.policy_files(), facts, shape_of(study), today=TODAY, assume=self.assume)

    def overview(self) -> Overview:
        return overview_of(self.held(), readable=self.readers or tuple(self.policies))


def names() -> list[str]:
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def scenario(name: str) -> Scenario:
    """Return the scenario in `tests/scenarios/NAME.toml`; KeyError for a table that no scenario has."""
    told = tomllib.loads((SCENARIOS / f"{name}.toml").read_text(encoding="utf-8"))
    if unknown := set(told) - _KNOWN:
        raise KeyError(f"{name}.toml: wanted {', '.join(sorted(_KNOWN))}, got {', '.join(sorted(unknown))}")
    study = laid_over(_base("study"), told.get("study", {}))
    silent = told.get("without", {}).get("policies", ())
    return Scenario(
        name=name,
        title=told["title"],
        says=" ".join(told["says"].split()),
        study=toml(study),
        policies={party: toml(policy_table(told, party)) for party in study["invited"] if party not in silent},
        facts=toml(laid_over(_base("facts"), told.get("facts", {}))),
        assume=frozenset(told.get("assume", ())),
        readers=tuple(told.get("readers", ())),
        expect=told["expect"],
    )


def policy_table(told: Tables, party: str) -> Tables:
    mine = laid_over(_base("policy"), {"identity": {"party": party}})
    for changes in (told.get("policy", {}), told.get("policies", {}).get(party, {})):
        mine = laid_over(mine, changes)
    for path in told.get("without", {}).get(party, ()):
        *above, last = path.split("/")
        table = mine
        for key in above:
            table = table[key]
        del table[last]
    return mine


@cache
def _read(name: str) -> str:
    return (SCENARIOS / "base" / f"{name}.toml").read_text(encoding="utf-8")


def _base(name: str) -> Tables:
    return tomllib.loads(_read(name))


def laid_over(under: Tables, over: Tables) -> Tables:
    """Return `under` with the values of `over`; tables are laid over each other, anything else is replaced."""
    merged = copy.deepcopy(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def toml(table: Tables) -> str:
    """Return plain tables as TOML, each key of the top on a line of its own."""
    return "".join(f"{json.dumps(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: Any) -> str:  # noqa: ANN401 - what TOML holds
    match value:
        case dict():
            return "{ " + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items()) + " }" if value else "{}"
        case list():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case date():
            return value.isoformat()
        case _:
            return json.dumps(value, ensure_ascii=False)


def lines(overview: Overview) -> list[str]:
    """Return everything that is said of a trial, a line each: `topic: thing: sentence`, of cohorts too."""
    rows = [*overview.rows(), *(row for cohort in overview.cohorts for row in cohort.rows() if row[0] != "who")]
    return [": ".join(row) for row in rows]


if __name__ == "__main__":
    for each in sys.argv[1:]:
        found = scenario(each).overview()
        print(f"== {each}", *lines(found), *(" ".join(item) for item in found.assumptions()), sep="\n")  # noqa: T201 - a tool for writers
