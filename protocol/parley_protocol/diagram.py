"""The state tables drawn as Mermaid diagrams, for the protocol page: what the machines obey is what people read.

Pure: a table in, text out. `make docs` writes the text into docs/protocol.md, and a test compares the two. It draws what a table says
and no more: who may send a message, and when a phase closes, stands in `party_round` and `gateway_round`.

    >>> print(round_diagram({Phase.REVEAL: {Event.OPENED: Phase.CLOSED}}).splitlines()[2].strip())
    REVEAL --> CLOSED: opened
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from parley_protocol.ids import Phase
from parley_protocol.negotiation import ENDED, MOVES_TO_GATEWAY, STUDY, Move, StudyState
from parley_protocol.phases import Event

_START: Final = "[*]"


def round_diagram(table: Mapping[Phase, Mapping[Event, Phase]]) -> str:
    """Return the diagram of a round as one role sees it; `table` is `phases.PARTY` or `phases.GATEWAY`."""
    edges = [(before.value, after.value, event.value) for before, row in table.items() for event, after in row.items()]
    return _diagram([(_START, Phase.ADVERTISE.value, ""), *edges, *_ends(edges)])


def study_diagram() -> str:
    """Return the diagram of a study. A move is marked with who makes it: a party, or the gateway."""
    edges = [(before.value, after.value, _marked(move)) for before, row in STUDY.items() for move, after in row.items()]
    begin = (_START, StudyState.REQUESTED.value, _marked(Move.PROPOSE))
    return _diagram([begin, *edges, *((state.value, _START, "") for state in StudyState if state in ENDED)])


def _marked(move: Move) -> str:
    return f"{move.value} ({'party' if move in MOVES_TO_GATEWAY else 'gateway'})"


def _ends(edges: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return an edge to the end from each state that nothing leaves."""
    rows = list(edges)
    leaving = {before for before, _, _ in rows}
    return [(state, _START, "") for state in dict.fromkeys(after for _, after, _ in rows) if state not in leaving]


def _diagram(edges: Iterable[tuple[str, str, str]]) -> str:
    """Return the text of a diagram: one arrow for each pair of states, with all its labels."""
    labels: dict[tuple[str, str], list[str]] = {}
    for before, after, label in edges:
        labels.setdefault((before, after), []).append(label)
    lines = [f"    {before} --> {after}" + (f": {', '.join(names)}" if any(names) else "") for (before, after), names in labels.items()]
    return "\n".join(["stateDiagram-v2", *lines])
