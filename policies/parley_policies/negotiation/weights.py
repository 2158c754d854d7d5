"""Weights: integers, constants of the agreement, from the numbers of records as policies let them be told.

A told band weighs as its lower end, a hidden number as the lowest among the members. A cap bounds a member's part of every sum that may be
opened, not only of the full one: in the smallest sum of a segment, over `least` members, the others may be those that weigh least. So
w_i ≤ cap_i · (w_i + the least - 1 smallest other weights) in every segment. `fitted` returns the largest weights, member by member, that
keep this; the set of weights that do is closed under taking the larger, so there is one answer whatever the order.

At home an update is multiplied by weight / largest weight of the agreement, which is at most 1, before it is encoded; the opened sum times
the largest weight over the sum of the weights in it is the weighted mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from parley_policies.negotiation.records import lower_end

_GRAIN: Final = 1_000  # the smallest weight before caps: integers below it would make caps coarse


@dataclass(frozen=True, slots=True)
class CappedSegment:
    """A segment's members, the fewest of them in a sum that is opened, and each one's largest part of such a sum."""

    members: tuple[str, ...]
    least: int
    caps: Mapping[str, float]


def wanted_weights(told: Mapping[str, str]) -> dict[str, int]:
    """Return each party's weight before caps, from what its policy lets be told of its records."""
    known = {party: max(1, number) for party, records in told.items() if (number := lower_end(records)) is not None}
    lowest = min(known.values(), default=1)
    return {party: known.get(party, lowest) for party in told}


def fitted(wanted: Mapping[str, int], segments: Iterable[CappedSegment]) -> dict[str, int]:
    """Return the largest integer weights, at most in proportion to `wanted`, that keep every cap; a weight of 0 means that none does."""
    held = tuple(segments)
    if any(_no_weights_fit(segment) for segment in held):
        return dict.fromkeys(wanted, 0)
    scale = -(-_GRAIN // min(wanted.values()))
    weights = {party: weight * scale for party, weight in wanted.items()}
    while any(weights.values()):
        lowered = {party: min(weight, *_allowed(party, weights, held), weight) for party, weight in weights.items()}
        if lowered == weights:
            break
        weights = lowered
    common = math.gcd(*weights.values()) or 1
    return {party: weight // common for party, weight in weights.items()}


def is_within(party: str, cap: float, weights: Mapping[str, int], segment: CappedSegment) -> bool:
    """Whether a member's part of the smallest sum of a segment is at most `cap`."""
    others = _lightest_others(party, weights, segment)
    return weights[party] * (1 - Fraction(cap)) <= Fraction(cap) * others


def _no_weights_fit(segment: CappedSegment) -> bool:
    """Whether some sum that may be opened has caps that add up to less than the whole: then no weights keep them."""
    caps = sorted(Fraction(segment.caps.get(member, 1.0)) for member in segment.members)
    return sum(caps[: segment.least]) < 1


def _allowed(party: str, weights: Mapping[str, int], segments: tuple[CappedSegment, ...]) -> list[int]:
    """Return the largest weight that each segment of a member leaves it beside the others' weights."""
    allowed = []
    for segment in segments:
        cap = Fraction(segment.caps.get(party, 1.0))
        if party in segment.members and cap < 1:
            allowed.append(math.floor(cap * _lightest_others(party, weights, segment) / (1 - cap)))
    return allowed


def _lightest_others(party: str, weights: Mapping[str, int], segment: CappedSegment) -> int:
    others = sorted(weights[member] for member in segment.members if member != party)
    return sum(others[: segment.least - 1])
