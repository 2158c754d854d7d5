"""Differencing: which sets of members a collection of sums isolates (protocol.md, invariant 8).

Sums with common content are rows of a 0/1 matrix over members. Whoever holds them can form every linear combination, so the question is
not which sums were opened but what their span contains. `isolated` answers it by exact rank over the rationals; `is_small_change` counts
lists that differ by so few members that, without noise, those members are nearly opened.

    >>> sorted(isolated([frozenset("abcd"), frozenset("abc")], 3))
    ['d']
    >>> isolated([frozenset("abcdef"), frozenset("abc")], 3) is None
    True
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations

Row = tuple[int, ...]


def isolated(sums: Sequence[frozenset[str]], fewest: int) -> frozenset[str] | None:
    """Return a set of fewer than `fewest` members that some combination of `sums` depends on alone, or None.

    Members that occur in the same sums cannot be told apart, so they form one class. A combination that vanishes outside the classes S
    and not inside exists exactly if the rank of all classes' patterns exceeds that of the patterns outside S.
    """
    distinct = list(dict.fromkeys(sums))
    classes: dict[Row, set[str]] = defaultdict(set)
    for member in sorted(frozenset[str]().union(*distinct)):
        classes[tuple(int(member in members) for members in distinct)].add(member)
    patterns = list(classes)
    full = _rank(patterns)
    for chosen in _unions(patterns, classes, fewest):
        if _rank([pattern for pattern in patterns if pattern not in chosen]) < full:
            return frozenset[str]().union(*(classes[pattern] for pattern in chosen))
    return None


def is_small_change(earlier: Sequence[frozenset[str]], new: frozenset[str], fewest: int) -> bool:
    """Say whether `new` differs by 1 to `fewest` - 1 members from the last list or, if it is new itself, from any earlier one."""
    if not earlier:
        return False
    compared = [earlier[-1]] if new in earlier else list(earlier)
    return any(0 < len(new ^ old) < fewest for old in compared)


def _unions(patterns: list[Row], classes: dict[Row, set[str]], fewest: int) -> Iterator[tuple[Row, ...]]:
    small = [pattern for pattern in patterns if len(classes[pattern]) < fewest]
    for size in range(1, min(fewest, len(small) + 1)):
        for chosen in combinations(small, size):
            if sum(len(classes[pattern]) for pattern in chosen) < fewest:
                yield chosen


def _rank(rows: list[Row]) -> int:
    matrix = [[Fraction(value) for value in row] for row in rows]
    rank = 0
    for column in range(len(matrix[0]) if matrix else 0):
        pivot = next((index for index in range(rank, len(matrix)) if matrix[index][column]), None)
        if pivot is None:
            continue
        matrix[rank], matrix[pivot] = matrix[pivot], matrix[rank]
        for index in range(rank + 1, len(matrix)):
            factor = matrix[index][column] / matrix[rank][column]
            if factor:
                matrix[index] = [a - factor * b for a, b in zip(matrix[index], matrix[rank], strict=True)]
        rank += 1
    return rank
