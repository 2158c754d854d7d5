from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import parley_party
import pytest

SOLVER = "parley_policies.negotiation.solver"
PARTY = [f"parley_party.{file.stem}" for file in sorted(Path(parley_party.__path__[0]).glob("*.py")) if file.stem != "__init__"]


def loaded_by(*modules: str) -> set[str]:
    """Return what a new interpreter has loaded after it imported `modules`."""
    code = f"import sys; {'; '.join(f'import {module}' for module in modules)}; print(*sorted(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(
    "modules",
    [("parley_policies.negotiation.checker", "parley_policies.negotiation.explain", "parley_policies.enforcement.guard"), tuple(PARTY)],
    ids=["checker", "party"],
)
def test_what_a_party_checks_with_loads_no_solver(modules: tuple[str, ...]) -> None:
    loaded = loaded_by(*modules)
    assert modules[0] in loaded
    assert SOLVER not in loaded
    assert "scipy.optimize" not in loaded
    assert "scipy" not in loaded


def test_choosing_cohorts_does() -> None:
    assert {SOLVER, "scipy"} <= loaded_by("parley_policies.negotiation.cohorts")
