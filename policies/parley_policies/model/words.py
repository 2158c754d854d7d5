"""A whole policy in plain English sentences, which is what a data-protection officer reads (`parley policy words`).

A paragraph a section, a sentence a clause, in the order of the schema; what was not written is said as well, since it counts. Nothing is
added and nothing left out: the sentences come from `sentences` alone.

    for paragraph in words(policy):
        print(paragraph.title, *(line.text for line in paragraph.lines))
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Final

from parley_policies.model.policy import Clause, PrivacyPolicy
from parley_policies.model.sentences import sentence
from parley_policies.model.upheld import Upheld, upheld_of

TITLES: Final = MappingProxyType(
    {
        "identity": "Whose policy this is",
        "legal": "Under which law",
        "purpose": "What results may serve",
        "gateway": "Which gateway",
        "peers": "With whom",
        "data": "Which data, and the rights of the people they are about",
        "schemes": "How contributions are encrypted",
        "sums": "What is made readable",
        "differential_privacy": "Noise",
        "sharing": "What leaves, and how much it may weigh",
        "disclosure": "Who reads what",
        "model_use": "What the result may be used for",
        "limits": "How much work",
        "code": "Which code may run",
        "robustness": "Against bad contributions",
        "retention": "How long what is kept",
        "approval": "Who must sign",
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """What one clause says. `written` is false for a default."""

    clause: str
    text: str
    upheld: Upheld
    written: bool


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What one section says."""

    section: str
    title: str
    lines: tuple[Line, ...]


def words(policy: PrivacyPolicy) -> tuple[Paragraph, ...]:
    """Return the policy in sentences, every clause once."""
    sections = groupby(policy.clauses(), key=lambda clause: clause.name.partition(".")[0])
    return tuple(Paragraph(name, TITLES[name], tuple(map(_line, clauses))) for name, clauses in sections)


def _line(clause: Clause) -> Line:
    return Line(clause.name, sentence(clause.name, clause.value), upheld_of(clause.field), clause.written)
