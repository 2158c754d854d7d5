"""A lying gateway before the demo's parties: a short show with real processes, and how an act is judged when something went wrong."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from parley.attack_acts import ACTS
from parley.attack_show import AS_IT_IS, REWRITTEN, judged, problems_in, show_acts
from parley.attack_stage import Played, Refusal, shortened
from parley.attack_words import WIDTH, Teller, views
from parley.demo_plan import DemoPlan, work_folder
from parley.demo_progress import DemoProgress
from parley.demo_studies import LENDERS
from parley.exits import ExitCode
from parley.main import main
from parley.output import Output, exit_code
from rich.console import Console

from tests.demo.test_demo_run import processes_of

KEYS, SUMS = ACTS[0], ACTS[-1]
WORDS = "keys of lender-tx: not what it signed in this round: signature by SHA256:x does not verify"


def told() -> tuple[Teller, io.StringIO]:
    text = io.StringIO()
    return Teller(console=Console(file=text, width=200)), text


@pytest.mark.e2e
def test_three_lenders_refuse_swapped_keys_and_an_altered_sum(tmp_path: Path) -> None:
    out = tmp_path / "demo-report"
    teller, text = told()
    plan = DemoPlan(1, out, work_folder(out))
    result = asyncio.run(show_acts(plan, DemoProgress(quiet=True), teller, study=LENDERS, acts=(KEYS, SUMS)))
    assert problems_in(result) == []
    assert processes_of(tmp_path) == []
    swapped, altered = result["acts"]
    assert swapped["lied_to"] == ["lender-ca", "lender-ny"]
    assert all("keys of lender-tx" in refusal["words"] for refusal in swapped["refusals"])
    assert altered["lied_to"] == ["lender-ca", "lender-ny", "lender-tx"]
    assert [refusal["how"] for refusal in altered["refusals"]] == ["passed over", "sum not proven"] * 3
    assert [(audit["export"], audit["exit_code"]) for audit in result["audit"]] == [(AS_IT_IS, 0), (REWRITTEN, ExitCode.UNVERIFIED)]
    assert max(map(len, text.getvalue().splitlines())) <= WIDTH


def played(*refusals: Refusal, lied_to: tuple[str, ...] = ("a", "b"), reveals: int = 0, opened: int = 0) -> Played:
    return Played(set(lied_to), list(refusals), reveals=reveals, opened=opened)


A, B = Refusal("a", "refused", "keys", WORDS), Refusal("b", "refused", "keys", WORDS)


def test_an_act_is_refused_if_everyone_refused_for_the_reason() -> None:
    assert judged(KEYS, played(A, B))["refused"]


@pytest.mark.parametrize(
    ("went", "fault"),
    [
        (played(A), "b refused nothing"),
        (played(A, Refusal("b", "refused", "keys", "the disk is full")), "b refused for another reason"),
        (played(A, B, reveals=1), "1 parties revealed shares"),
        (played(A, B, opened=2), "2 sums were taken"),
    ],
)
def test_an_act_that_went_otherwise_is_a_problem_with_an_exit_code(went: Played, fault: str) -> None:
    act = judged(KEYS, went)
    result = result_of(act)
    (problem,) = problems_in(result)
    assert not act["refused"]
    assert fault in (problem.got or "")
    assert exit_code(problem) is ExitCode.UNVERIFIED
    teller, text = told()
    teller.end(act)
    assert "NOT REFUSED: " in text.getvalue()
    assert fault in text.getvalue()
    assert "NOT REFUSED" in shown(result)


def test_an_audit_that_finds_no_fault_in_a_rewritten_log_is_a_problem() -> None:
    result = result_of(judged(KEYS, played(A, B)))
    result["audit"][1]["exit_code"] = 0
    (problem,) = problems_in(result)
    assert (problem.wanted, problem.got) == ("exit code 6", "0")


def result_of(act: dict[str, Any]) -> dict[str, Any]:
    audits = [
        {"export": name, "command": f"parley audit verify {name}", "exit_code": code, "wanted": code, "fault": fault}
        for name, code, fault in ((AS_IT_IS, 0, None), (REWRITTEN, 6, "check 12 failed"))
    ]
    return {"study": "s", "parties": ["a", "b"], "acts": [act], "audit": audits, "seconds": 1.0}


def shown(result: dict[str, Any]) -> str:
    text = io.StringIO()
    Output("demo", stdout=text).result(result, *views(result))
    return text.getvalue()


def test_parties_with_the_same_words_are_told_of_together_in_short_lines() -> None:
    teller, text = told()
    teller.begin(1, 2, KEYS)
    teller.end(judged(KEYS, played(A, B)))
    lines = text.getvalue().splitlines()
    assert sum(WORDS[:40] in line for line in lines) == 1
    assert any("a, b: refused" in line for line in lines)
    assert max(map(len, lines)) <= WIDTH


def test_long_digests_are_shortened_and_other_words_are_not() -> None:
    assert shortened(f"wanted {'0a' * 32}, got {'1b' * 8}…") == f"wanted 0a0a0a0a…, got {'1b' * 8}…"


def test_acts_have_names_of_their_own() -> None:
    assert len({act.name for act in ACTS}) == len(ACTS)


@pytest.mark.parametrize("other", [["--seeds", "2"], ["--no-dropout"]])
def test_options_of_the_report_do_not_go_with_a_lying_gateway(other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--lying-gateway", *other]) == ExitCode.USAGE
    assert "wanted neither --seeds nor --no-dropout with it" in " ".join(capsys.readouterr().err.split())
