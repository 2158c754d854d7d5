"""The threat model's figures are what its benchmark measures, its sentences about them are true, and its argument names what exists."""

from __future__ import annotations

import re
from pathlib import Path

from parley_policies.enforcement.differencing import is_small_change

from benchmarks.not_hidden import FLOOR, figures, permitted_lists

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")


def test_the_table_shows_what_is_measured() -> None:
    found = re.search(r"<!-- measured: not-hidden -->\n(.*?)<!-- end: not-hidden -->", PAGE, re.DOTALL)
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].strip().splitlines()[2:]]
    measured = figures()
    assert [name for name, *_ in rows] == list(measured)
    for name, *cells in rows:
        assert len(cells) == len(measured[name])
        for cell, pair in zip(cells, measured[name], strict=True):
            shown = [float(text) for text in re.findall(r"-?\d\.\d\d", cell)]
            assert [abs(one - other) < 0.02 for one, other in zip(shown, pair, strict=True)] == [True, True], (name, cell, pair)


def test_what_the_page_says_of_the_figures() -> None:
    measured = figures()
    assert measured["difference of rounds 39 and 40"][1][0] > 0.99
    median, most = measured["regression over 40 rounds"][1]
    assert (round(median, 2), round(most, 2)) == (0.85, 0.97)
    for name in measured:
        assert measured[name][1][0] > measured[name][0][0], f"{name}: the attack tells less than the sums alone"


def test_the_lists_of_the_regression_are_ones_that_the_strictest_allowance_permits() -> None:
    lists = [frozenset(str(member) for member in members) for members in permitted_lists(40)]
    assert not [index for index, new in enumerate(lists) if is_small_change(lists[:index], new, FLOOR)]


def test_the_argument_names_code_and_tests_that_exist() -> None:
    argument = PAGE.partition("## The argument")[2].partition("**Assumptions:**")[0]
    steps = re.split(r"^\d+\. ", argument, flags=re.MULTILINE)[1:]
    assert len(steps) > 10
    paths = re.findall(r"`([a-z]+/[\w/]+\.py)`", PAGE)
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    reasoned = [step for step in steps if "`tests/" not in step]
    assert all(re.search(r"\((\d+)(, \d+)*\)", step) for step in reasoned), "a step without a test follows from others"
