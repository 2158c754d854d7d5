# ruff: noqa: INP001 - docs is a folder of pages, not a package
"""The parts of the page on trying policies that are taken from elsewhere: the fields of a facts file, and the list of scenarios."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from parley_policies.trial.facts import Facts, GatewayFacts, PartyFacts
from pydantic import BaseModel

SCENARIOS: Final = Path(__file__).parents[1] / "tests" / "scenarios"


def facts_reference() -> str:
    """Return the fields of a facts file as a table."""
    rows = [*_rows("", Facts), *_rows("gateway.", GatewayFacts), *_rows("parties.PARTY.", PartyFacts)]
    return "| field | |\n|---|---|\n" + "".join(f"| `{name}` | {says} |\n" for name, says in rows)


def _rows(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for name, info in model.model_fields.items():
        if name not in {"gateway", "parties"}:
            yield f"{prefix}{info.alias or name}", info.description or ""


def scenarios() -> str:
    """Return every scenario with what it shows, in the order of file names."""
    told = [(path, tomllib.loads(path.read_text(encoding="utf-8"))) for path in sorted(SCENARIOS.glob("*.toml"))]
    rows = [f"| [{each['title']}](../tests/scenarios/{path.name}) | {' '.join(each['says'].split())} |" for path, each in told]
    return f"{len(rows)} federations.\n\n| federation | what it shows |\n|---|---|\n" + "\n".join(rows) + "\n"


TRYING: Final[Mapping[str, Callable[[], str]]] = MappingProxyType({"facts": facts_reference, "scenarios": scenarios})
