"""Encodings of the two steps: ring width, fraction bits and the bound on a coordinate, as functions of n and the clip bound.

Headroom: with n members, |x| ≤ bound for every coordinate and largest = ⌈bound · 2^f⌉, a sum lies inside the ring if n · largest < 2^(w-1).
Weights need no bits: an update is multiplied by weight / largest weight ≤ 1 at home, after it was clipped to an L2 norm of clip_bound, so
no coordinate exceeds clip_bound. f is the largest that fits; the check is `FixedPoint`'s, the same that seals (invariant 7).
"""

from __future__ import annotations

from typing import Final, Literal

from parley_crypto.errors import EncodingError
from parley_crypto.fixedpoint import FixedPoint

from parley_policies.errors import Conflict
from parley_policies.negotiation.terms import EncodingTerms

MAX_ROWS: Final = 1 << 24  # of one party: what a coordinate of a summary is at most
SUMMARY_WIDTH: Final = 64
TRAIN_WIDTH: Final = 32
MAX_FRACTION_BITS: Final = 52
MIN_FRACTION_BITS: Final = 8  # coarser than 1/256 of a unit would drown an update in rounding


def encoding_of(width: Literal[16, 32, 64], bound: float, members: int) -> EncodingTerms:
    """Return the finest encoding that keeps the sum of `members` vectors within `bound` a coordinate; Conflict if none is fine enough."""
    for fraction_bits in range(MAX_FRACTION_BITS, MIN_FRACTION_BITS - 1, -1):
        try:
            FixedPoint(width, fraction_bits, bound, members)
        except EncodingError:
            continue
        return EncodingTerms(width=width, fraction_bits=fraction_bits, bound=bound)
    raise Conflict(
        "sharing.clip_bound",
        (),
        f"a bound whose sum over {members} members fits {width} bits with {MIN_FRACTION_BITS} fraction bits",
        f"{bound}",
    )


def summary_encoding(members: int) -> EncodingTerms:
    """Return the encoding of the step preprocess@1: counts of rows and sums of values in [0, 1], so at most MAX_ROWS a coordinate."""
    return encoding_of(SUMMARY_WIDTH, float(MAX_ROWS), members)


def train_encoding(clip_bound: float, members: int) -> EncodingTerms:
    """Return the encoding of the step train@1 for updates of an L2 norm of at most `clip_bound` (model units)."""
    return encoding_of(TRAIN_WIDTH, clip_bound, members)


def upload_mib(lengths: int, encoding: EncodingTerms) -> float:
    """Return the size of one upload of `lengths` coordinates, in MiB."""
    return lengths * encoding.width / 8 / (1 << 20)
