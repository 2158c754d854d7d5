"""How commands write for people, and how they watch a service."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import pytest
from parley import asking
from parley.output import Output
from parley.verdicts import bad, doubt, good
from parley.words import progress, short, size, span, when
from parley_protocol.problems import Slug


def test_times_sizes_and_digests() -> None:
    assert when(0) == ""
    assert when(1_800_000_000) == "2027-01-15 08:00:00Z"
    assert [span(seconds) for seconds in (0.25, 9.99, 59, 75, 3_700, 100_000)] == [
        "0.2 s",
        "10.0 s",
        "59 s",
        "1 min 15 s",
        "1 h 1 min",
        "1 d 3 h",
    ]
    assert [size(count) for count in (0, 1023, 1024, 5 * 1024**2, 3 * 1024**5)] == ["0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3072.0 TiB"]
    assert (short("ab"), short("ab" * 32)) == ("ab", "abababababababab…")
    assert [progress(*pair) for pair in ((3, 5), (None, 5), (0, None), (0, 0))] == ["3 of 5", "? of 5", "", ""]


def test_verdicts_are_a_line_each() -> None:
    assert good("clock", "well").line() == "ok    clock        well"
    assert doubt("clock", "late", "Set it.").line() == "warn  clock        late\n                   do: Set it."
    assert bad("clock", "wrong", "Set it.", Slug.CLOCK_SKEW).problem().slug is Slug.CLOCK_SKEW


def test_watching_says_what_changed_and_ends_when_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def looks() -> Iterator[dict[str, object]]:
        for state in ("RUNNING", "RUNNING", "FINISHED"):
            yield {"state": state, "seen_seconds_ago": len(said.getvalue())}
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", lambda _: None)
    said = io.StringIO()
    seen = looks()
    with pytest.raises(KeyboardInterrupt):
        asking.watch(Output("party.status", as_json=True, stdout=said), lambda: next(seen), lambda _: (), on=True)
    states = [json.loads(line)["result"]["state"] for line in said.getvalue().splitlines()]
    assert states == ["RUNNING", "FINISHED"]
