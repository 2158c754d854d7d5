"""The diagrams show every arrow of the tables and no other."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from parley_protocol.diagram import round_diagram, study_diagram
from parley_protocol.ids import Phase
from parley_protocol.negotiation import STUDY, StudyState
from parley_protocol.phases import GATEWAY, PARTY, Event

ARROW = re.compile(r"    (\S+) --> (\S+?)(?:: (.+))?")


def _arrows(diagram: str) -> set[tuple[str, str, str]]:
    first, *lines = diagram.splitlines()
    assert first == "stateDiagram-v2"
    found = [ARROW.fullmatch(line) for line in lines]
    return {(match[1], match[2], label) for match in found if match for label in (match[3] or "").split(", ")}


@pytest.mark.parametrize("table", [PARTY, GATEWAY])
def test_a_round_s_diagram_is_its_table(table: Mapping[Phase, Mapping[Event, Phase]]) -> None:
    arrows = {(before.value, after.value, event.value) for before, row in table.items() for event, after in row.items()}
    edges = {("[*]", "ADVERTISE", ""), ("CLOSED", "[*]", ""), ("ABORTED", "[*]", ""), ("RELEASED", "[*]", "")}
    assert _arrows(round_diagram(table)) == arrows | edges


def test_the_study_s_diagram_is_its_table() -> None:
    arrows = {(before.value, after.value, move.value) for before, row in STUDY.items() for move, after in row.items()}
    shown = {(before, after, label.partition(" ")[0]) for before, after, label in _arrows(study_diagram())}
    ends = {(state.value, "[*]", "") for state in StudyState if state not in STUDY}
    assert shown == arrows | ends | {("[*]", "REQUESTED", "propose")}


def test_the_study_s_diagram_says_who_moves() -> None:
    text = study_diagram()
    assert "accept (party)" in text
    assert "terms (gateway)" in text
