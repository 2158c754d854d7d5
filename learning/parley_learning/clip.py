"""Clipping: an update's L2 norm is brought down to the clip bound of the agreement, and whether that was needed is counted at home.

A clip is a cap on one party's influence. It gives no record- or person-level privacy (policy.md, Enforcement). What is not finite is
refused, never clipped: it means that training diverged.

    >>> clip_update(np.array([3.0, 4.0], dtype=np.float32), bound=1.0).norm
    5.0
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from parley_learning.arrays import Float32s
from parley_learning.errors import VectorError


@dataclass(frozen=True, slots=True)
class ClippedUpdate:
    """An update within the bound, float32[d], the norm that it had, and whether it was brought down."""

    vector: Float32s
    norm: float
    clipped: bool


@dataclass(frozen=True, slots=True)
class ClipCount:
    """How many of a party's updates were brought down, and the largest norm among them all. Stays at home."""

    updates: int = 0
    clipped: int = 0
    largest_norm: float = 0.0

    def add(self, update: ClippedUpdate) -> ClipCount:
        """Return the count with one update more."""
        return ClipCount(self.updates + 1, self.clipped + update.clipped, max(self.largest_norm, update.norm))


def clip_update(delta: Float32s, bound: float) -> ClippedUpdate:
    """Return `delta` (float32[d]) with an L2 norm of at most `bound` (model units); VectorError if a value is not finite."""
    if not (isfinite(bound) and bound > 0):
        raise VectorError(f"clip bound: wanted a finite value above 0, got {bound:g}")
    if delta.ndim != 1 or not np.isfinite(delta).all():
        raise VectorError(
            f"update: wanted a flat vector of finite values, got shape {delta.shape} with {np.count_nonzero(~np.isfinite(delta))} others: "
            "training diverged; lower the study's learning_rate or check the columns' ranges"
        )
    norm = _norm(delta)
    if norm <= bound:
        return ClippedUpdate(delta.astype(np.float32), norm, clipped=False)
    factor = bound / norm
    scaled = (delta.astype(np.float64) * factor).astype(np.float32)
    while _norm(scaled) > bound:  # rounding to float32 may leave the norm a hair above
        factor *= 1.0 - 2.0**-22
        scaled = (delta.astype(np.float64) * factor).astype(np.float32)
    return ClippedUpdate(scaled, norm, clipped=True)


def _norm(vector: Float32s) -> float:
    wide = vector.astype(np.float64)
    return sqrt(float(np.dot(wide, wide)))
