"""What the pages promise: links lead somewhere, decisions are numbered, commands of the README are targets, invariants have their tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from parley_learning.objective import ObjectiveKind

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(path for path in ROOT.glob("*/README.md") if path.parts[-2] != ".venv")]
)
ADRS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
TOP_FOLDERS = ("crypto", "policies", "learning", "protocol", "audit", "service", "gateway", "party", "cli", "tests", "benchmarks")
MAKE = re.compile(r"\bmake ([a-z]+)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        target, _, place = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name}: {link}"
        if place:
            assert place in _places(file), f"{page.name}: {link}"


def _places(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        code = " ".join(_CODE.findall(page.read_text(encoding="utf-8")))
        assert set(MAKE.findall(code)) <= targets, page.name


def test_the_readme_has_two_commands() -> None:
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks[0].splitlines() == ["make demo", "make test"]


def test_continuous_integration_runs_the_readme_s_test() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert [int(path.name[:4]) for path in ADRS] == list(range(1, len(ADRS) + 1))
    for number, path in enumerate(ADRS, start=1):
        title, *rest = path.read_text(encoding="utf-8").splitlines()
        assert title.startswith(f"# {number}. "), path.name
        assert [line.split("**")[1] for line in rest if line.startswith("**")] == ["Context.", "Decision.", "Consequences."], path.name
        assert f"[{number}]({path.name}) | {title.removeprefix(f'# {number}. ')} |" in index, path.name


@pytest.mark.parametrize("folder", TOP_FOLDERS)
def test_each_top_folder_says_what_lives_there(folder: str) -> None:
    assert (ROOT / folder / "README.md").read_text(encoding="utf-8").startswith(f"# {folder}\n")


def test_every_invariant_names_files_and_tests_that_exist() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| .*? \| ([^|]+) \| ([^|]+) \|$", page.partition("## Invariants")[2], re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == [*range(1, 12), 13]
    for number, upheld, attacked in rows:
        files = re.findall(r"`([^`]+)`", upheld)
        tests = re.findall(r"`([^`]+)`", attacked)
        assert files, number
        assert tests, number
        assert all(path.startswith("tests/") for path in tests), number
        missing = [path for path in (*files, *tests) if not (ROOT / path).is_file()]
        assert missing == [], f"invariant {number}"


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_files_that_the_architecture_page_abbreviates_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z]+)/…/([a-z_/]+\.py)`", text)
    assert named
    packages = {folder: next((ROOT / folder).glob("parley*/__init__.py")).parent for folder, _ in named}
    assert [f"{folder}/{file}" for folder, file in named if not (packages[folder] / file).is_file()] == []


def test_the_concepts_page_tells_of_every_kind_of_objective() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8").partition("## What can be learned")[2]
    told = re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE)
    assert told == ["kind", *(kind.value for kind in ObjectiveKind)]
