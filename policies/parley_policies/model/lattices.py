"""How two values of one clause become one: the strictest common value, clause by clause.

Every clause of a policy declares its lattice where it is declared (`upheld`), and so does every field of the `Bounds` of a negotiation.
`combined` is the meet of two values, `is_within` the order that belongs to it: `a` is within `b` if what `a` permits, `b` permits as well.
Every meet is commutative, associative and idempotent on normal values; `normal` gives the normal value of what a policy file says, so
that two ways of writing the same (`["EU"]`, or its 27 countries one by one) are equal. Sets come back as frozen sets.

What a clause permits is asked of the clause alone. Facts that are nobody else's (who a party is, its law, the keys that it compared
itself) are never combined: `Lattice.OWN`.

    >>> combined(Lattice.SMALLEST, 60, None), is_within(Lattice.SMALLEST, 60, None)  # absent: no limit
    (60, True)
    >>> is_within(Lattice.COUNTRIES, ("DE", "FR"), ("EU",)), is_within(Lattice.COUNTRIES, ("EEA",), ("EU",))
    (True, False)
    >>> is_within(Lattice.MEANING, ("dpv:ScientificResearch",), ("dpv:ResearchAndDevelopment",))  # narrower fits broader
    True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from parley_policies.model.countries import expanded
from parley_policies.model.hours import Hours
from parley_policies.taxonomy.taxonomy import Taxonomy

LATTICE_KEY: Final = "lattice"
EVERY_SEGMENT: Final = "*"
MINUTES_A_DAY: Final = 24 * 60
_NO_HOURS: Final = ("", frozenset[int]())


@unique
class Lattice(StrEnum):
    """How two values of a clause become one. The text is what reference pages print."""

    OWN = "this party's own: never combined"
    INTERSECTION = "what both permit"
    MEANING = "what both permit, by meaning"
    MEANING_OR_ANY = "what both permit, by meaning; empty, any"
    COUNTRIES = "countries that both permit"
    UNION = "what either asks for"
    PROHIBITED = "what either prohibits, by meaning"
    SMALLEST = "the smaller or earlier; absent, no limit"
    LARGEST = "the larger or later; absent, more than any number"
    EITHER = "true if either"
    BOTH = "true if both"
    TABLE = "entry by entry; absent, nothing"
    HOURS = "the hours in both; absent, any"
    FLOORS = "the larger, segment by segment; a segment without one, never"
    GRANTS = "granted by both, segment by segment"
    COARSEST = "the coarser: exact, then multiples of N, then hidden"
    METRICS = "the readers of both; none where they differ in kind"
    PINNED_ONLY = "pinned over first-use"
    SOONEST = "from-next-round over from-next-study"
    STRONGEST_UNIT = "party over person over record"
    STRONGEST_ADJACENCY = "replace-one over add-or-remove-one"
    LEAST_NOISE_TRUST = "self over cohort"
    FEWEST_READERS = "parties over gateway"
    LEAST_PUBLIC = "never over after-approval over free"
    MOST_BENEFIT = "equal over model-quality over settlement"
    STRONGEST_ROBUSTNESS = "R2 over R1 over R0"
    SHORTEST_KEPT = "until-round-closes over until-study-closes"
    LARGEST_A_NAME = "the larger, name by name"
    SMALLEST_A_NAME = "the smaller, name by name"


# Clauses that name one of a few words, from the laxest word to the strictest.
SCALES: Final[Mapping[Lattice, tuple[str, ...]]] = {
    Lattice.PINNED_ONLY: ("first-use", "pinned"),
    Lattice.SOONEST: ("from-next-study", "from-next-round"),
    Lattice.STRONGEST_UNIT: ("record", "person", "party"),
    Lattice.STRONGEST_ADJACENCY: ("add-or-remove-one", "replace-one"),
    Lattice.LEAST_NOISE_TRUST: ("cohort", "self"),
    Lattice.FEWEST_READERS: ("gateway", "parties"),
    Lattice.LEAST_PUBLIC: ("free", "after-approval", "never"),
    Lattice.MOST_BENEFIT: ("settlement", "model-quality", "equal"),
    Lattice.STRONGEST_ROBUSTNESS: ("R0", "R1", "R2"),
    Lattice.SHORTEST_KEPT: ("until-study-closes", "until-round-closes"),
}


@dataclass(frozen=True, slots=True)
class _Meet:
    """`normal` makes a file's value comparable, `combine` takes two normal values and returns a normal one."""

    normal: Callable[[Any], Any]
    combine: Callable[[Any, Any], Any]


def combined(lattice: Lattice, one: Any, other: Any) -> Any:  # noqa: ANN401 - values of any clause
    """Return the strictest common value of two values of a clause, as a normal value; ValueError for what is never combined."""
    if lattice is Lattice.OWN:
        raise ValueError(f"wanted two values of a clause that is combined, got {lattice.value}: {one!r}, {other!r}")
    meet = _MEETS[lattice]
    return meet.combine(meet.normal(one), meet.normal(other))


def is_within(lattice: Lattice, stricter: Any, laxer: Any) -> bool:  # noqa: ANN401 - values of any clause
    """Whether `stricter` permits nothing that `laxer` does not: their meet is `stricter`. Never combined: only if they are equal."""
    if lattice is Lattice.OWN:
        return bool(stricter == laxer)
    return bool(combined(lattice, stricter, laxer) == normal(lattice, stricter))


def normal(lattice: Lattice, value: Any) -> Any:  # noqa: ANN401 - a value of any clause
    """Return the normal value of what a policy says; equal for two ways of saying the same. A normal value stays as it is."""
    return value if lattice is Lattice.OWN else _MEETS[lattice].normal(value)


def _itself(value: Any) -> Any:  # noqa: ANN401 - a value of any clause
    return value


def _smaller(one: Any, other: Any) -> Any:  # noqa: ANN401 - numbers or dates
    return other if one is None else one if other is None else min(one, other)


def _larger(one: Any, other: Any) -> Any:  # noqa: ANN401 - numbers or dates
    return None if one is None or other is None else max(one, other)


def _scale(words: tuple[str, ...]) -> _Meet:
    return _Meet(_itself, lambda one, other: max(one, other, key=words.index))


def _widest(terms: Iterable[str]) -> frozenset[str]:
    return Taxonomy.load().widest(terms)


def _meant_by_both(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    return Taxonomy.load().common(one, other)


def _any_or_widest(terms: Iterable[str] | None) -> frozenset[str] | None:
    """Return what is permitted; None for anything. An empty frozen set is a normal value: two lists had nothing in common."""
    return terms if isinstance(terms, frozenset) else _widest(terms or ()) or None


def _any_meant_by_both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return other if one is None else one if other is None else _meant_by_both(one, other)


def _countries(names: Iterable[str]) -> frozenset[str]:
    return expanded(names)


def _minutes(value: Any) -> Any:  # noqa: ANN401 - hours as text, or normal ones
    """Return a zone's name and the minutes of the day; None for any hour."""
    if not isinstance(value, str):
        return value
    hours, zone = Hours.parse(value), value.rpartition(" ")[2]
    begin, end = (time.hour * 60 + time.minute for time in (hours.begin, hours.end))
    length = (end - begin) % MINUTES_A_DAY
    return zone, frozenset((begin + minute) % MINUTES_A_DAY for minute in range(length))


def _hours_of_both(one: Any, other: Any) -> Any:  # noqa: ANN401 - as `_minutes` returns them
    """Return the minutes in both. Hours of two zones have none: which minutes they share changes with the season."""
    if one is None or other is None:
        return other if one is None else one
    minutes = one[1] & other[1]
    return (one[0], minutes) if one[0] == other[0] and minutes else _NO_HOURS


def _multiple(value: int | str) -> int:
    """Return the multiple that a number of records is told to: 1 exact, 0 hidden. What both permit is the least common multiple."""
    match value:
        case int():
            return value
        case "exact" | "hidden":
            return int(value == "exact")
    return int(value.removeprefix("rounded:"))


def _metric_readers(value: Any) -> Any:  # noqa: ANN401 - a word, a table of readers, or normal ones
    if isinstance(value, str):
        return value
    return frozenset(value if isinstance(value, frozenset) else value.to) or "none"


def _metrics_of_both(one: Any, other: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return one & other or "none"
    return one if one == other else "none"


def _by_name(choose: Callable[[list[Any]], Any]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]:
    def combine(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
        names = sorted(one.keys() | other.keys())
        return {name: choose([table[name] for table in (one, other) if name in table]) for name in names}

    return combine


def _entry(table: Mapping[str, Any], name: str, absent: Any, *, own: bool = True) -> Any:  # noqa: ANN401 - as in the table
    """Return the entry for a segment: its own (unless not `own`), its kind's wildcard, that for every segment, `absent`."""
    keys = (name, name.partition(":")[0] + ":*", EVERY_SEGMENT)
    return next((table[key] for key in keys if key in table and (own or key != name)), absent)


def _patterns(choose: Callable[[Any, Any], Any], absent: Any) -> _Meet:  # noqa: ANN401 - what a segment without entry has
    """Return the meet of two tables by segment, in which `head:*` stands for every head; entries that change nothing are dropped."""

    def normal_table(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a number for all segments, or a table
        table = value if isinstance(value, Mapping) else {EVERY_SEGMENT: value}
        return {name: table[name] for name in sorted(table) if table[name] != _entry(table, name, absent, own=False)}

    def combine(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
        both = {name: choose(_entry(one, name, absent), _entry(other, name, absent)) for name in one.keys() | other.keys()}
        return normal_table(both)

    return _Meet(normal_table, combine)


def _table_of_both(one: BaseModel | None, other: BaseModel | None) -> BaseModel | None:
    """Return a table with each entry combined; None, which permits nothing, where no such table is valid (an empty range)."""
    if one is None or other is None:
        return None
    values: dict[str, Any] = {}
    for name, field in type(one).model_fields.items():
        extra = field.json_schema_extra
        lattice = Lattice(str(extra[LATTICE_KEY])) if isinstance(extra, dict) else Lattice.OWN
        mine, theirs = getattr(one, name), getattr(other, name)
        if lattice is Lattice.OWN and mine != theirs:
            return None
        values[name] = mine if lattice is Lattice.OWN else combined(lattice, mine, theirs)
    try:
        return type(one).model_validate(values)
    except ValidationError:
        return None


_MEETS: Final[Mapping[Lattice, _Meet]] = {
    Lattice.INTERSECTION: _Meet(frozenset, lambda one, other: one & other),
    Lattice.MEANING: _Meet(_widest, _meant_by_both),
    Lattice.MEANING_OR_ANY: _Meet(_any_or_widest, _any_meant_by_both),
    Lattice.COUNTRIES: _Meet(_countries, lambda one, other: one & other),
    Lattice.UNION: _Meet(frozenset, lambda one, other: one | other),
    Lattice.PROHIBITED: _Meet(_widest, lambda one, other: _widest(one | other)),
    Lattice.SMALLEST: _Meet(_itself, _smaller),
    Lattice.LARGEST: _Meet(_itself, _larger),
    Lattice.EITHER: _Meet(_itself, lambda one, other: one or other),
    Lattice.BOTH: _Meet(_itself, lambda one, other: one and other),
    Lattice.TABLE: _Meet(_itself, _table_of_both),
    Lattice.HOURS: _Meet(_minutes, _hours_of_both),
    Lattice.FLOORS: _patterns(_larger, None),
    Lattice.GRANTS: _patterns(lambda one, other: one and other, absent=False),
    Lattice.COARSEST: _Meet(_multiple, math.lcm),
    Lattice.METRICS: _Meet(_metric_readers, _metrics_of_both),
    Lattice.LARGEST_A_NAME: _Meet(_itself, _by_name(max)),
    Lattice.SMALLEST_A_NAME: _Meet(_itself, _by_name(min)),
    **{lattice: _scale(words) for lattice, words in SCALES.items()},
}
