"""What commands say: one JSON object, or views for people; texts of others cannot command a terminal; every problem has an exit code."""

from __future__ import annotations

import io
import json

import pytest
import typer
from parley.exits import EXIT_OF, ExitCode, problem_for
from parley.output import Facts, Output, Table, as_cell
from parley_audit.checks import Check
from parley_audit.errors import ExportError, FaultError
from parley_crypto.errors import VerificationError
from parley_learning.errors import DataError, ModelFileError
from parley_policies.errors import Refused
from parley_protocol.problems import Problem, Slug
from parley_service.errors import LockedError, StoreNewerError

CODES = {
    ExitCode.USAGE: 2,
    ExitCode.INVALID: 3,
    ExitCode.REFUSED: 4,
    ExitCode.NO_AGREEMENT: 5,
    ExitCode.UNVERIFIED: 6,
    ExitCode.UNREACHABLE: 7,
    ExitCode.NOT_ENTITLED: 8,
    ExitCode.DATA: 9,
    ExitCode.STATE: 10,
    ExitCode.EXTRA: 11,
    ExitCode.STORE: 12,
    ExitCode.INTERRUPTED: 130,
}


def output(*, as_json: bool = False, quiet: bool = False) -> Output:
    return Output("study.list", as_json=as_json, quiet=quiet, stdout=io.StringIO(), stderr=io.StringIO())


def said(out: Output) -> tuple[str, str]:
    assert isinstance(out.stdout, io.StringIO)
    assert isinstance(out.stderr, io.StringIO)
    return out.stdout.getvalue(), out.stderr.getvalue()


def test_every_problem_has_an_exit_code() -> None:
    assert set(EXIT_OF) == set(Slug)
    assert all(code == number for code, number in CODES.items())
    assert set(EXIT_OF.values()) == set(ExitCode) - {ExitCode.DONE}


@pytest.mark.parametrize(
    ("error", "slug", "code"),
    [
        (VerificationError("x"), Slug.VERIFICATION_FAILED, 6),
        (Refused("sums", "4", "3"), Slug.REFUSED_BY_POLICY, 4),
        (LockedError("x"), Slug.LOCKED, 10),
        (StoreNewerError("x"), Slug.STORE_NEWER, 12),
        (FaultError(next(iter(Check)), "leaf 3"), Slug.VERIFICATION_FAILED, 6),
        (ExportError("x"), Slug.FILE_INVALID, 3),
        (DataError("x"), Slug.DATA_MISMATCH, 9),
        (ModelFileError("x"), Slug.FILE_INVALID, 3),
        (ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"), Slug.EXTRA_MISSING, 11),
        (ConnectionRefusedError("x"), Slug.CANNOT_REACH, 7),
        (TimeoutError(), Slug.TIMED_OUT, 7),
        (FileNotFoundError(2, "No such file", "a.csv"), Slug.FILE_INVALID, 3),
    ],
)
def test_errors_have_their_exit_codes(error: Exception, slug: Slug, code: int) -> None:
    problem = problem_for(error)
    assert problem is not None
    assert problem.slug is slug
    assert EXIT_OF[problem.slug] == code


@pytest.mark.parametrize("error", [ValueError("x"), ModuleNotFoundError("No module named 'typo'", name="typo"), ModuleNotFoundError("x")])
def test_anything_else_is_a_bug(error: Exception) -> None:
    assert problem_for(error) is None


def test_json_is_one_object_of_the_fixed_shape() -> None:
    out = output(as_json=True)
    out.progress("reading")
    out.result({"studies": []}, "no studies")
    text, progress = said(out)
    assert json.loads(text) == {"schema": "parley.study.list/1", "ok": True, "result": {"studies": []}, "problems": []}
    assert text.count("\n") == 1
    assert progress == "reading\n"


def test_json_of_a_failure_is_on_stdout_too() -> None:
    out = output(as_json=True)
    assert out.problem(Problem(Slug.LOCKED, "folder", got="process 3")) == 10
    body = json.loads(said(out)[0])
    assert (body["ok"], body["result"], body["problems"][0]["got"]) == (False, None, "process 3")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_result_with_problems_is_said_and_ends_with_the_code_of_the_first(*, as_json: bool) -> None:
    out = output(as_json=as_json)
    with pytest.raises(typer.Exit) as caught:
        out.result({"verdicts": 2}, "2 verdicts", problems=[Problem(Slug.CANNOT_REACH, "gateway"), Problem(Slug.DATA_MISMATCH, "age")])
    assert caught.value.exit_code == 7
    assert "2" in said(out)[0]
    assert "age" in said(out)[0 if as_json else 1]


def test_people_get_wanted_got_and_what_to_do() -> None:
    out = output()
    assert out.problem(Problem(Slug.WRONG_STATE, "study heart", wanted="RUNNING", got="AGREED", do="Start it.")) == 10
    assert said(out) == (
        "",
        "error: Not possible in this state: study heart\n  wanted RUNNING\n  got    AGREED\n  do     Start it.\n",
    )


def test_quiet_silences_progress_and_nothing_else() -> None:
    out = output(quiet=True)
    out.progress("reading")
    out.warn("the key is older than a year")
    out.result(None, "done")
    assert said(out) == ("done\n", "warning: the key is older than a year\n")


def test_items_are_said_one_a_line() -> None:
    out = output(as_json=True)
    out.item({"round": 1}, "round 1")
    out.item({"round": 2}, "round 2")
    assert [json.loads(line)["result"]["round"] for line in said(out)[0].splitlines()] == [1, 2]


def test_texts_of_others_cannot_command_the_terminal() -> None:
    evil = "\x1b[2J[bold red]x[/]\r:smile:"
    out = output()
    out.result(None, evil, Facts({"name": evil}), Table(("party",), [(evil,), (None,)]))
    out.problem(Problem(Slug.CONFLICT, evil))
    out.progress(evil)
    for text in said(out):
        assert "\x1b" not in text
        assert "\r" not in text
        assert "[bold red]x[/]" in text
        assert ":smile:" in text


def test_tables_are_whole_where_there_is_no_terminal() -> None:
    out = output()
    out.result(None, Table(("party", "fingerprint"), [("klinikum-nord", "SHA256:" + "x" * 43)], title="members"))
    assert "SHA256:" + "x" * 43 in said(out)[0]


def test_colours_are_for_terminals_and_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for color in (True, False):
        stdout = Terminal()
        Output("x", color=color, stdout=stdout, stderr=io.StringIO()).result(None, Table(("party",), [("a",)]))
        assert ("\x1b[" in stdout.getvalue()) is color


def test_cells() -> None:
    cells = [as_cell(value) for value in (None, True, 3, "a", ["a", "b"], {"min": 1, "max": [2, 3]})]
    assert cells == ["", "yes", "3", "a", "a, b", "min = 1, max = 2, 3"]
