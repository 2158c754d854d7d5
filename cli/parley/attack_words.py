"""What people see of the acts: a few lines for each while they are played, and a table at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from parley.attack_acts import Act
from parley.output import Facts, Table, View, plain

WIDTH: Final = 100
_SHOWN_CHARACTERS: Final = 150  # of a refusal in the table
_INVARIANTS: Final[Mapping[int, str]] = {
    1: "no sum of too few members that a party's policy counts is ever opened",
    2: "never both shares of one party in one round",
    3: "one opened list per base version; one chain, one log",
    4: "a peer's key is used only if its identity signed it",
    5: "every statement is bound to its agreement, round and purpose",
    13: "the sum has a proof",
}


class Teller:
    """Tells of the acts on stderr as they are played. Silent with `quiet`."""

    def __init__(self, *, quiet: bool = False, color: bool = True, console: Console | None = None) -> None:
        console = console or Console(stderr=True, quiet=quiet, no_color=None if color else True, highlight=False)
        console.width = min(console.width, WIDTH)
        self._console: Final = console

    def begin(self, number: int, of: int, act: Act) -> None:
        """Announce an act."""
        self._console.print()
        self._console.print(Text(f"Act {number} of {of}: the gateway {act.title}", style="bold"))
        self._line(f"It {act.does}.", 2)
        self._line(f"Against invariant {act.invariant}: {_INVARIANTS[act.invariant]}.", 2, "dim")

    def end(self, act: Mapping[str, Any]) -> None:
        """Tell how it went: each refusal in the party's words, parties that used the same words together."""
        for (how, words), parties in _together(act["refusals"]).items():
            self._line(f"{', '.join(parties)}: {how}", 4, "cyan")
            self._line(f"“{words}”", 6)
        if act["took_no_notice"]:
            self._line(f"{', '.join(act['took_no_notice'])}: took no notice of the old round, sent nothing", 4, "cyan")
        if act["refused"]:
            self._line(f"{len(act['lied_to'])} lied to, {len(act['lied_to'])} refused; no share revealed, no sum opened.", 2, "green")
        for fault in act["faults"]:
            self._line(f"NOT REFUSED: {fault}", 2, "bold red")

    def audits(self, audits: Sequence[Mapping[str, Any]]) -> None:
        """Tell what the offline audit found."""
        self._console.print()
        self._console.print(Text("Last: the log, as it is and rewritten, both signed by the gateway", style="bold"))
        for audit in audits:
            good = audit["exit_code"] == audit["wanted"]
            self._line(
                f"{audit['export']}: parley audit verify ends with exit code {audit['exit_code']}", 4, "green" if good else "bold red"
            )
            if audit["fault"]:
                self._line(f"“{audit['fault']}”", 6)

    def _line(self, text: str, indent: int, style: str = "") -> None:
        self._console.print(Padding(Text(plain(text), style=style), (0, 0, 0, indent), expand=False))


def _together(refusals: Sequence[Mapping[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Return the parties by how they took a lie and in which words, in the order of the first of each."""
    found: dict[tuple[str, str], list[str]] = {}
    for refusal in refusals:
        found.setdefault((refusal["how"], refusal["words"]), []).append(refusal["party"])
    return found


def views(result: Mapping[str, Any]) -> tuple[View, ...]:
    """Return what people see at the end."""
    rows = []
    for number, act in enumerate(result["acts"], start=1):
        words = list(dict.fromkeys(refusal["words"] for refusal in act["refusals"]))
        everyone = f"all {len(act['lied_to'])} lied to" if len(act["lied_to"]) > 1 else ", ".join(act["lied_to"])
        who = everyone if act["refused"] else "NOT REFUSED"
        rows.append((number, act["title"], who, _cut(words[-1]) if words else ""))
    audits = {audit["export"]: f"exit code {audit['exit_code']}: {audit['fault'] or 'verified'}" for audit in result["audit"]}
    return (
        Table(
            ("act", "the gateway", "refused by", "in a party's words"), rows, title=f"A lying gateway and {len(result['parties'])} parties"
        ),
        Facts(audits),
    )


def _cut(words: str) -> str:
    return words if len(words) <= _SHOWN_CHARACTERS else words[: _SHOWN_CHARACTERS - 1] + "…"
