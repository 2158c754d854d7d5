"""Pictures of a report as inline SVG: plain functions from facts to text, no script, no external resource.

Colours are classes that `style.css` defines, and every mark differs from its neighbours in shape, place or words as well, so that a page
printed in grey says the same. Every picture names itself for readers who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from parley_audit.report.facts import MODELS, DropoutFacts, Facts, Histogram, Part, RoundFacts
from parley_audit.report.names import MODEL_NAMES, part_name

_LEFT: Final = 112  # room for names at the left, in units of the picture
_DOT_ROW: Final = 26
_DOT_WIDTH: Final = 720
_ROUND_HEIGHT: Final = 17
_ROUNDS_WIDTH: Final = 980


def _svg(width: float, height: float, name: str, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(name, quote=True)}">'
        f"<title>{escape(name)}</title>{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _box(x: float, y: float, width: float, height: float, kind: str, hint: str = "") -> str:
    title = f"<title>{escape(hint)}</title>" if hint else ""
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" class="{kind}">{title}</rect>'


def histogram(shown: Histogram, name: str, kind: str, unit: str, among: Histogram | None = None) -> str:
    """Return a histogram with its two ends written under it. `among` is marked where all its values lie on this axis."""
    width, height, top = 300.0, 150.0, 8.0
    floor = height - 24
    most = max(shown.counts, default=0) or 1
    step = width / max(1, len(shown.counts))
    bars = [
        _box(index * step + 0.3, floor - (floor - top) * count / most, step - 0.6, (floor - top) * count / most, kind)
        for index, count in enumerate(shown.counts)
        if count
    ]
    if among is not None:
        bars += _place(shown, among, width, top, floor)
    ends = [_text(0, height - 8, f"{shown.low:.3g}", "axis"), _text(width, height - 8, f"{shown.high:.3g}", "axis", "end")]
    return _svg(
        width, height, name, [*bars, _line(0, floor, width, floor, "base"), *ends, _text(width / 2, height - 8, unit, "axis", "middle")]
    )


def _place(shown: Histogram, among: Histogram, width: float, top: float, floor: float) -> list[str]:
    """Return a mark over the values between the ends of `among`, at least as wide as can be seen."""
    span = (shown.high - shown.low) or 1.0
    left, right = ((end - shown.low) / span * width for end in (among.low, among.high))
    wide = max(right - left, 2.0)
    x = (left + right - wide) / 2
    return [
        _box(x, top, wide, floor - top, "h-place", "where all values of the update lie"),
        _text(x + 6, top + 8, "all of the update", "placed"),
    ]


def score_dots(facts: Facts) -> str:
    """Return each party's scores and their mean as marks on one axis, a row a party."""
    rows = [(party.id, {model: party.scores.of(model) for model in MODELS}) for party in facts.parties]
    rows.append(("mean", {model: mean_score(facts, model) for model in MODELS}))
    known = [value for _, scores in rows for value in scores.values() if value is not None]
    low, high = math.floor(min(known, default=0.5) * 50) / 50, math.ceil(max(known, default=1.0) * 50) / 50
    span = max(high - low, 0.02)

    def place(value: float) -> float:
        return _LEFT + (value - low) / span * (_DOT_WIDTH - _LEFT - 16)

    height = _DOT_ROW * len(rows) + 34
    parts = []
    for tick in range(round(low * 50), round(high * 50) + 1):
        x = place(tick / 50)
        parts += [_line(x, 4, x, height - 28, "grid"), _text(x, height - 12, f"{tick / 50:.2f}", "axis", "middle")]
    for index, (name, scores) in enumerate(rows):
        y = 18 + index * _DOT_ROW
        parts.append(_text(_LEFT - 10, y + 4, name, "strong" if name == "mean" else "", "end"))
        parts.append(_line(_LEFT, y, _DOT_WIDTH - 16, y, "grid"))
        parts += [
            _mark(model, place(value), y, f"{name}, {MODEL_NAMES[model]}: {value:.3f}")
            for model, value in scores.items()
            if value is not None
        ]
    return _svg(_DOT_WIDTH, height, "Scores of each party: alone, with its kind, with everybody", parts)


def model_mark(model: str) -> str:
    """Return one model's mark alone, for a legend."""
    return f'<svg viewBox="0 0 14 14" class="mark" aria-hidden="true">{_mark(model, 7, 7, "")}</svg>'


def _mark(model: str, x: float, y: float, hint: str) -> str:
    title = f"<title>{escape(hint)}</title>" if hint else ""
    match model:
        case "local_logistic":
            return f'<path d="M{x - 5:.1f} {y + 4:.1f}h10l-5 -9z" class="m-logistic">{title}</path>'
        case "local_mlp":
            return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" class="m-mlp">{title}</rect>'
        case "same_objective":
            return f'<path d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z" class="m-same">{title}</path>'
        case _:
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.2" class="m-all">{title}</circle>'


def mean_score(facts: Facts, model: str) -> float | None:
    """Return the mean of a model's scores over the parties, None if one is not known."""
    values = [party.scores.of(model) for party in facts.parties]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def round_grid(rounds: Sequence[RoundFacts], members: Sequence[str], parts: Sequence[str], dropout: DropoutFacts | None) -> str:
    """Return a column a round: who finished it, which shared parts were opened, how long it took."""
    step = (_ROUNDS_WIDTH - _LEFT - 8) / max(1, len(rounds))
    top = 26 if dropout else 6
    shapes: list[str] = []
    for row, member in enumerate(members):
        y = top + row * _ROUND_HEIGHT
        shapes.append(_text(_LEFT - 8, y + 11, member, "", "end"))
        shapes += [_cell(x, y, step, f"round {r.number}: {member}", there=member in r.parties) for x, r in _columns(rounds, step)]
    below = top + len(members) * _ROUND_HEIGHT + 8
    for row, part in enumerate(parts):
        y = below + row * _ROUND_HEIGHT
        shapes.append(_text(_LEFT - 8, y + 11, part_name(part), "axis", "end"))
        shapes += [_opened(x, y, step, part, r) for x, r in _columns(rounds, step)]
    bottom = below + len(parts) * _ROUND_HEIGHT
    shapes += _round_seconds(rounds, step, bottom + 10)
    shapes += [
        _text(x + step / 2, bottom + 76, str(r.number), "axis", "middle")
        for x, r in _columns(rounds, step)
        if r.number % 5 == 0 or r.number == 1
    ]
    shapes.append(_text(_LEFT - 8, bottom + 76, "round", "axis", "end"))
    if dropout is not None:
        shapes += _flags(rounds, step, dropout, bottom)
    return _svg(_ROUNDS_WIDTH, bottom + 84, "Rounds: who finished each, what was opened, how long it took", shapes)


def _columns(rounds: Sequence[RoundFacts], step: float) -> list[tuple[float, RoundFacts]]:
    return [(_LEFT + index * step, each) for index, each in enumerate(rounds)]


def _cell(x: float, y: float, step: float, hint: str, *, there: bool) -> str:
    return _box(x + 1.5, y + 1, step - 3, _ROUND_HEIGHT - 4, "there" if there else "absent", f"{hint} {'took part' if there else 'absent'}")


def _opened(x: float, y: float, step: float, part: str, each: RoundFacts) -> str:
    opened = dict(each.opened)
    if part in opened:
        return _box(
            x + 1.5,
            y + 1,
            step - 3,
            _ROUND_HEIGHT - 4,
            "opened",
            f"round {each.number}: {part_name(part)} opened over {opened[part]} parties",
        )
    if part in each.shut:
        return _box(x + 1.5, y + 1, step - 3, _ROUND_HEIGHT - 4, "shut", f"round {each.number}: {part_name(part)} stayed shut")
    return ""


def _round_seconds(rounds: Sequence[RoundFacts], step: float, top: float) -> list[str]:
    """Return bars of the seconds a round; what is beyond three times the median is cut and written above its bar."""
    known = sorted(each.seconds for each in rounds if each.seconds is not None)
    if not known:
        return []
    most, height = 3 * known[len(known) // 2] or 1.0, 46.0
    shapes = [
        _text(_LEFT - 8, top + height - 2, "seconds", "axis", "end"),
        _line(_LEFT, top + height, _ROUNDS_WIDTH - 8, top + height, "base"),
    ]
    for x, each in _columns(rounds, step):
        if each.seconds is None:
            continue
        tall = min(each.seconds / most, 1.0) * (height - 10)
        shapes.append(_box(x + 2, top + height - tall, step - 4, tall, "time", f"round {each.number}: {each.seconds:.2f} s"))
        if each.seconds > most:
            shapes.append(_text(x + step / 2, top + 7, f"{each.seconds:.1f}", "axis", "middle"))
    return shapes


def _flags(rounds: Sequence[RoundFacts], step: float, dropout: DropoutFacts, bottom: float) -> list[str]:
    places = {each.number: x for x, each in _columns(rounds, step)}
    found = [(dropout.round, "killed", "end"), (dropout.restarted_in, "started again", "middle"), (dropout.back_in, "back", "start")]
    shapes = []
    for number, words, anchor in found:
        if number is not None and number in places:
            x = places[number] + step / 2
            shapes += [_line(x, 16, x, bottom, "flag"), _text(x, 12, words, "flagged", anchor)]
    return shapes


def time_bar(parts: Sequence[Part]) -> str:
    """Return the parts of the work on one line, as long as each took."""
    width, total = 980.0, sum(part.seconds for part in parts) or 1.0
    x, shapes = 0.0, []
    for index, part in enumerate(parts):
        wide = width * part.seconds / total
        shapes.append(_box(x, 4, max(wide - 1, 0.5), 22, f"part part-{index % 6}", f"{part.name}: {part.seconds:.1f} s"))
        if wide > 26:  # noqa: PLR2004 - room for its number
            shapes.append(_text(x + wide / 2, 19, str(index + 1), "on-part", "middle"))
        x += wide
    return _svg(width, 30, "Seconds by part", shapes)
