"""Logs: one format for all, and no secret, key, byte or row in them, however careless the call."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import structlog
from parley_crypto.keys import AgreementKey, SigningKey
from parley_service.logs import ITEMS, configure, get_log
from parley_service.secrets import Secret

KEY = SigningKey(b"k" * 32)


class Phase(StrEnum):
    SHARE = "share"


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()


def logged(log_format: Literal["json", "text"], /, **values: object) -> str:
    stream = io.StringIO()
    configure(format=log_format, stream=stream)
    get_log("parley.test").info("round.opened", **values)
    return stream.getvalue()


def entry(**values: object) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(logged("json", **values))
    return parsed


def test_an_entry_has_time_level_name_event_and_values() -> None:
    found = entry(study="heart", round=3, phase=Phase.SHARE, seconds=0.25, late=None, members=("a", "b"), folder=Path("/x"))
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "level": "info",
        "logger": "parley.test",
        "event": "round.opened",
        "study": "heart",
        "round": 3,
        "phase": "share",
        "seconds": 0.25,
        "late": None,
        "members": ["a", "b"],
        "folder": "/x",
    }


def test_text_is_one_line_without_control_characters() -> None:
    line = logged("text", study="heart", who="Clinic North", evil="a\x1b[2J\nb")
    assert line.endswith("study=heart who='Clinic North' evil=a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b\n")
    assert line.count("\n") == 1


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_secrets_keys_bytes_and_rows_never_appear(log_format: Literal["json", "text"]) -> None:
    rows = np.full(4, 0.123456)
    line = logged(
        log_format,
        wrapped=Secret("sesame"),
        key=KEY,
        channel=AgreementKey(b"c" * 32),
        raw=b"sesame",
        array=rows,
        frame=[rows, b"sesame", {"deep": KEY, "raw": bytearray(b"sesame")}],
        passphrase="sesame",
        authorization="Bearer sesame",
        invite_token="sesame",
        nested={"Authorization": "Bearer sesame", "seeds": ["sesame"]},
        deep=[[[[["sesame"]]]]],
        long="x" * 10_000,
        anything=io.StringIO("sesame"),
    )
    for shown in ("sesame", "0.123", KEY.seed().hex(), "kkkk", "x" * 1000, repr(KEY.seed())):
        assert shown not in line
    assert "<6 bytes>" in line
    assert "<SigningKey>" in line
    assert "<ndarray>" in line


def test_public_keys_counts_of_secrets_and_errors_are_shown() -> None:
    found = entry(peer=KEY.public, tokens=3, error=ValueError("wanted 1"), bare=ValueError(), many=list(range(ITEMS + 5)))
    assert found["peer"] == KEY.public.fingerprint
    assert found["tokens"] == 3
    assert (found["error"], found["bare"]) == ("wanted 1", "ValueError")
    assert found["many"][-1] == f"… {ITEMS + 5} in all"


def test_libraries_log_in_the_same_form_and_levels_hold() -> None:
    stream = io.StringIO()
    configure(format="json", level="warning", stream=stream)
    get_log("parley.test").info("quiet")
    logging.getLogger("aiohttp.server").error("handling failed: %s", "x", exc_info=ZeroDivisionError("0"))
    line = json.loads(stream.getvalue())
    assert (line["logger"], line["level"], line["event"]) == ("aiohttp.server", "error", "handling failed: x")
    assert "ZeroDivisionError: 0" in line["exception"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_tracebacks_are_whole(log_format: Literal["json", "text"]) -> None:
    stream = io.StringIO()
    configure(format=log_format, stream=stream)
    nothing: dict[str, int] = {}
    try:
        nothing["y" * 600]
    except KeyError:
        get_log("parley.test").exception("bug")
    assert "y" * 600 in stream.getvalue()
