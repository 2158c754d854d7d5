"""The picture of a negotiation: parties against shared parts, a block a cohort, and below who is out and why. Inline SVG, no script.

A filled cell: the party's part is summed with the others'. An empty cell with a dash: it stays at home. Every row says the same in words
when it is pointed at, and colours stand beside shapes, so that grey paper says it too.

    svg = cohort_picture(overview.cohorts, [(out.party, out.says()) for out in overview.out])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from textwrap import wrap
from typing import Final

from parley_policies.negotiation.explain import Explanation, SegmentRow

from parley_audit.report.names import part_name

WIDTH: Final = 980
_LEFT: Final = 190  # room for names
_ROW: Final = 24
_CELL: Final = 118
_GAP: Final = 26
_LINE_CHARACTERS: Final = 118
_STYLE: Final = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: #1b2430; }
.axis { fill: #5b6776; font-size: 11px; } .strong { font-weight: 700; } .n-out { fill: #b3261e; font-weight: 650; }
.n-shared { fill: #4a8fc7; } .n-home { fill: #fff; stroke: #c65a00; stroke-width: 1.2; } .n-none { fill: #f5f7f9; }
.n-block { fill: none; stroke: #8a95a1; stroke-width: 1; } .n-outside { fill: none; stroke: #b3261e; stroke-dasharray: 4 3; }
"""


def cohort_picture(cohorts: Sequence[Explanation], out: Sequence[tuple[str, str]]) -> str:
    """Return the picture; `out` are parties that take no part, each with its reason."""
    parts = tuple(dict.fromkeys(_parts(cohorts)))
    shapes: list[str] = []
    y = 0.0
    for cohort in cohorts:
        block, y = _block(cohort, parts, y)
        shapes += block
    if out:
        block, y = _outside(out, y)
        shapes += block
    name = f"Who takes part: {len(cohorts)} of parties summed together, {len(out)} outside"
    return (
        f'<svg viewBox="0 0 {WIDTH} {y:g}" role="img" aria-label="{escape(name, quote=True)}"><title>{escape(name)}</title>'
        f"{''.join(shapes)}</svg>"
    )


def standalone(svg: str) -> str:
    """Return the picture as a file of its own, with its style inside and on white ground."""
    opened = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, middle, rest = opened.partition("</title>")
    return f'{head}{middle}<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{rest}\n'


def _parts(cohorts: Sequence[Explanation]) -> Iterator[str]:
    """Return the parts in the order of the vector: shared ones, then those that stay at home everywhere."""
    for cohort in cohorts:
        yield from (row.name for row in cohort.segments)
    for cohort in cohorts:
        yield from (row.segment for row in cohort.at_home)


def _block(cohort: Explanation, parts: tuple[str, ...], top: float) -> tuple[list[str], float]:
    """Return one cohort: its name, a row a party, and under each part how many must be in a sum."""
    shared = {row.name: row for row in cohort.segments}
    home = {row.segment for row in cohort.at_home}
    shapes = [_text(0, top + 14, cohort.study, "strong")]
    shapes += [_text(_x(column) + _CELL / 2, top + 14, part_name(part), "axis", "middle") for column, part in enumerate(parts)]
    y = top + 22
    for party in cohort.members:
        shapes.append(_text(_LEFT - 12, y + 16, party, "", "end"))
        shapes += [_cell(_x(column), y, party, part, shared.get(part), at_home=part in home) for column, part in enumerate(parts)]
        y += _ROW
    for column, part in enumerate(parts):
        shapes.append(_text(_x(column) + _CELL / 2, y + 15, _floor(shared.get(part), at_home=part in home), "axis", "middle"))
    shapes.append(_text(_LEFT - 12, y + 15, "in any sum that is read", "axis", "end"))
    height = y + 22 - top - 18
    shapes.insert(0, f'<rect x="0.5" y="{top + 18.5:.1f}" width="{_x(len(parts)) + 8:.1f}" height="{height:.1f}" class="n-block"/>')
    return shapes, y + 22 + _GAP


def _x(column: int) -> float:
    return _LEFT + column * _CELL


def _cell(x: float, y: float, party: str, part: str, row: SegmentRow | None, *, at_home: bool) -> str:
    if row is not None and party in row.members:
        return _box(x, y, "n-shared", f"{party} shares {part_name(part)}")
    if at_home:
        return _box(x, y, "n-home", f"{part_name(part)} stays at home") + _text(x + _CELL / 2, y + 16, "–", "axis", "middle")
    return _box(x, y, "n-none", f"{party} does not share {part_name(part)}")


def _floor(row: SegmentRow | None, *, at_home: bool) -> str:
    if row is None:
        return "stays at home" if at_home else ""
    return f"at least {row.floor} of {len(row.members)}"


def _outside(out: Sequence[tuple[str, str]], top: float) -> tuple[list[str], float]:
    shapes = [_text(0, top + 14, "takes no part", "n-out")]
    y = top + 22
    for party, why in out:
        shapes.append(_text(_LEFT - 12, y + 16, party, "", "end"))
        for line in wrap(why, _LINE_CHARACTERS) or [""]:
            shapes.append(_text(_LEFT, y + 16, line, "axis"))
            y += 16
        y += 8
    shapes.insert(0, f'<rect x="0.5" y="{top + 18.5:.1f}" width="{WIDTH - 1}" height="{y + 4 - top - 18:.1f}" class="n-outside"/>')
    return shapes, y + 12


def _box(x: float, y: float, kind: str, hint: str) -> str:
    return (
        f'<rect x="{x + 3:.1f}" y="{y + 3:.1f}" width="{_CELL - 6:.1f}" height="{_ROW - 6:.1f}" class="{kind}">'
        f"<title>{escape(hint)}</title></rect>"
    )


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'
