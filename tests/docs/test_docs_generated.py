"""The parts of the pages that come from the code are what the code says now."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from parley_policies.model import unsupported
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.unsupported import unsupported_clauses

from docs.generate import DEMANDING, IDLE, PARTS, WORKS, clauses, demanding_policy, main, marked_pages, rendered

ROOT = Path(__file__).parents[2]
POLICY_READERS = ("policies/parley_policies/negotiation", "policies/parley_policies/enforcement", "party", "gateway", "cli", "audit")


@pytest.mark.parametrize("page", marked_pages(), ids=lambda page: page.name)
def test_a_generated_part_is_as_the_code_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == rendered(text), f"{page.name}: say `make docs`"


def test_every_part_is_on_a_page() -> None:
    marked = {name for page in marked_pages() for name in re.findall(r"<!-- generated: ([a-z-]+) -->", page.read_text(encoding="utf-8"))}
    assert marked == set(PARTS)


def test_check_tells_a_stale_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("<!-- generated: study -->\nold\n<!-- end: study -->\n", encoding="utf-8")
    monkeypatch.setattr("docs.generate.PAGES", page.parent)
    monkeypatch.setattr("docs.generate.marked_pages", lambda: marked_pages(page.parent))
    assert main(["--check"]) == 1
    assert "page.md: stale" in capsys.readouterr().out
    assert main([]) == 0
    assert "stateDiagram-v2" in page.read_text(encoding="utf-8")
    assert main(["--check"]) == 0


def test_the_demanding_policy_meets_every_clause_that_can_be_refused() -> None:
    assert {item.clause for item in unsupported_clauses(demanding_policy())} == _named_in_source()
    assert set(WORKS) == _named_in_source()


def test_with_the_values_of_the_page_nothing_is_refused() -> None:
    demands: dict[str, Any] = {
        **DEMANDING,
        "data": {"columns": [], "exclusions_required": False, "erasure_effect": "from-next-study", "minimum_fairness_check": []},
        "schemes": {"accepted": ["masked"]},
        "sums": {"min_parties": 3, "groups": {"allowed": False}},
        "differential_privacy": {"required": False},
        "sharing": {"fraction_a_round": 1.0},
        "disclosure": {"own_metrics": "none", "opened_sums_readable_by": "gateway"},
        "robustness": {"least": "R0"},
        "approval": {"policy": [], "agreement": []},
    }
    policy = PrivacyPolicy.model_validate(demands, strict=False)
    assert unsupported_clauses(policy) == ()


def test_idle_clauses_exist_and_no_code_reads_them() -> None:
    assert set(IDLE) <= set(clauses())
    assert not set(IDLE) & set(WORKS)
    read = [
        f"{file.name}: {clause}" for file in _readers() for clause in IDLE if re.search(rf"\b{clause}\b", file.read_text(encoding="utf-8"))
    ]
    assert read == [], "a clause that code reads is upheld: take it out of IDLE in docs/generate.py"


def _readers() -> list[Path]:
    return [file for folder in POLICY_READERS for file in sorted((ROOT / folder).rglob("*.py"))]


def _named_in_source() -> set[str]:
    """Return the clauses that `unsupported` names: the first argument of each Unsupported(...)."""
    tree = ast.parse(Path(unsupported.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Unsupported"]
    names = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    return {str(name) for name in names}
