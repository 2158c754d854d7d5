"""The flat vector of a model or an update, cut into named segments.

A layout is the ordered list of segments and their lengths: `trunk` first, then `head:<objective>` in objective order. It is computed
from the study alone, so the agreement can state every length before anyone trains. Vectors hold no shape beyond it.

    >>> layout = Layout((("trunk", 2), ("head:illness", 1)))
    >>> layout.cut(np.array([1, 2, 3], dtype=np.float32))["head:illness"]
    array([3.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from parley_learning.arrays import Float32s
from parley_learning.errors import VectorError

TRUNK: Final = "trunk"
SUMMARY: Final = "summary"
_HEAD: Final = "head:"


def head(objective: str) -> str:
    """Return the name of an objective's segment."""
    return _HEAD + objective


@dataclass(frozen=True, slots=True)
class Layout:
    """Segments in order, each with its length in coordinates."""

    segments: tuple[tuple[str, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the segments, in order."""
        return tuple(name for name, _ in self.segments)

    @property
    def length(self) -> int:
        """Coordinates of the whole vector."""
        return sum(length for _, length in self.segments)

    def slices(self) -> dict[str, slice]:
        """Return where each segment lies in the vector."""
        places, start = {}, 0
        for name, length in self.segments:
            places[name] = slice(start, start + length)
            start += length
        return places

    def cut(self, vector: Float32s) -> dict[str, Float32s]:
        """Return views of a float32 vector by segment; VectorError unless it is flat and of this layout's length."""
        if vector.shape != (self.length,):
            raise VectorError(f"vector: wanted {self.length} values for {', '.join(self.names)}, got shape {vector.shape}")
        return {name: vector[place] for name, place in self.slices().items()}

    def join(self, parts: Mapping[str, Float32s]) -> Float32s:
        """Return one new vector of exactly this layout's segments; VectorError if one lacks, is unknown or has another length."""
        if set(parts) != set(self.names):
            raise VectorError(f"segments: wanted {', '.join(self.names)}, got {', '.join(sorted(parts)) or 'none'}")
        for name, length in self.segments:
            if parts[name].shape != (length,):
                raise VectorError(f"segment {name}: wanted {length} values, got shape {parts[name].shape}")
        return np.concatenate([parts[name] for name in self.names]).astype(np.float32, copy=False)


def own_segments(layout: Layout, objectives: tuple[str, ...]) -> tuple[str, ...]:
    """Return the segments that a party with these objectives sends, in order: the trunk and its own heads."""
    wanted = {TRUNK, *(head(objective) for objective in objectives)}
    if unknown := sorted(wanted - set(layout.names)):
        raise VectorError(f"segments: wanted some of {', '.join(layout.names)}, got {', '.join(unknown)}")
    return tuple(name for name in layout.names if name in wanted)
