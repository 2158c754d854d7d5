"""Rows of an explanation as tables, one a topic, for every command that explains."""

from __future__ import annotations

from collections.abc import Sequence

from parley.output import Table, View


def by_topic(rows: Sequence[Sequence[str]]) -> list[View]:
    """Return a table a topic from rows (topic, thing, sentence), in the order in which the topics come."""
    topics = list(dict.fromkeys(row[0] for row in rows))
    return [Table((topic, ""), [tuple(row[1:]) for row in rows if row[0] == topic]) for topic in topics]
