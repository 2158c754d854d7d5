"""Real vectors as ring elements: x -> rint(x · 2^f) mod 2^w, with headroom for every member of the sum.

Values that are not finite, or that after rounding exceed ⌈bound · 2^f⌉, are refused, and so is an encoding whose sum over n members could
wrap: |sum| must stay below 2^(w-1) (protocol.md, invariant 7). A sum that n such members cannot give is refused too: it was altered, or a
member broke the bound. Nothing is clipped here; clipping is done, and counted, before. Messages name coordinates, never their values: an
update is its party's secret.

    >>> import numpy as np
    >>> fp = FixedPoint(width=32, fraction_bits=8, bound=4.0, members=3)
    >>> fp.decode(fp.encode(np.array([1.5, -2.0]))).tolist()
    [1.5, -2.0]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from parley_crypto.errors import EncodingError, MalformedError
from parley_crypto.ring import RingVector, dtype_of, squared_norm

_BLOCK: Final = 1 << 14  # coordinates encoded at a time: they stay in the processor's cache
_EXACT_BITS: Final = 52  # integers up to 2^53 are exact in a float64, and rounding may add one


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """An encoding for sums of at most `members` vectors whose coordinates are at most `bound` in absolute value."""

    width: int
    fraction_bits: int
    bound: float
    members: int

    def __post_init__(self) -> None:
        dtype_of(self.width)
        if not (math.isfinite(self.bound) and self.bound > 0 and self.members >= 1 and self.fraction_bits >= 0):
            raise MalformedError(f"encoding: wanted a finite positive bound and at least one member, got {self.bound}, {self.members}")
        if self.fraction_bits > _EXACT_BITS or self.bound > 2.0**_EXACT_BITS or self.largest.bit_length() > _EXACT_BITS:
            raise EncodingError(
                f"encoding: wanted values below 2^{_EXACT_BITS}, got a bound of {self.bound} with {self.fraction_bits} fraction bits",
            )
        if self.members * self.largest >= 1 << (self.width - 1):
            raise EncodingError(
                f"headroom: {self.members} members of at most {self.bound} with {self.fraction_bits} fraction bits need more than "
                f"{self.width} bits; wanted {self.members} · {self.largest} < 2^{self.width - 1}",
            )

    @property
    def largest(self) -> int:
        """The largest absolute value of one encoded coordinate, in ring units."""
        return math.ceil(self.bound * (1 << self.fraction_bits))

    def encode(self, vector: NDArray[np.floating]) -> RingVector:
        """Return float values, shape (d,), as ring elements, shape (d,); EncodingError names the first coordinate that does not fit."""
        encoded = np.empty(vector.size, dtype=dtype_of(self.width))
        scaled = np.empty(min(_BLOCK, vector.size), dtype=np.float64)
        for start in range(0, vector.size, _BLOCK):
            values = vector[start : start + _BLOCK]
            finite = np.isfinite(values)
            if not finite.all():
                where = int(np.argmin(finite))
                raise EncodingError(f"coordinate {start + where} of {vector.size}: wanted a finite value, got {values[where]}")
            block = scaled[: values.size]
            with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as too large
                np.multiply(values, float(1 << self.fraction_bits), out=block, dtype=np.float64)
            np.rint(block, out=block)
            if max(block.max(), -block.min()) > self.largest:
                where = int(np.argmax(np.abs(block) > self.largest))
                raise EncodingError(f"coordinate {start + where} of {vector.size}: wanted at most {self.bound} in absolute value, got more")
            encoded[start : start + _BLOCK] = block.astype(np.int64)
        return encoded

    def check_encoded(self, vector: RingVector) -> None:
        """Return if every coordinate lies within the bound, so that the sum cannot wrap; EncodingError names the first that does not."""
        self._check_within(vector, self.largest, f"at most {self.bound} in absolute value")

    def decode(self, total: RingVector) -> NDArray[np.float64]:
        """Return an opened sum, shape (d,), as float64: two's complement over w bits, divided by 2^f; EncodingError if it cannot be one."""
        self._check_within(total, self.members * self.largest, f"a sum of at most {self.members} values of at most {self.bound}")
        return self._signed(total).astype(np.float64) / float(1 << self.fraction_bits)

    def check_norm(self, total: RingVector, most: float) -> None:
        """Return if an opened sum's L2 norm is at most `most`, the sum of its members' clip bounds; EncodingError otherwise (invariant 13).

        Over the integers, so that all parties decide alike. Rounding, also a stochastic one, moves each member's coordinate by less than
        one unit.
        """
        self._signed(total)
        limit = math.ceil(most * (1 << self.fraction_bits)) + self.members * (math.isqrt(total.size) + 1)
        if squared_norm(total) > limit**2:
            raise EncodingError(f"opened sum: wanted an L2 norm of at most {most}, all its members' clip bounds together, got more")

    def _signed(self, vector: RingVector) -> NDArray[np.signedinteger[Any]]:
        if vector.dtype != dtype_of(self.width):
            raise MalformedError(f"ring vector: wanted {dtype_of(self.width)}, got {vector.dtype}")
        return vector.view(np.dtype(f"<i{self.width // 8}"))

    def _check_within(self, vector: RingVector, most: int, wanted: str) -> None:
        signed = self._signed(vector)
        if max(int(signed.max(initial=0)), -int(signed.min(initial=0))) > most:
            where = int(np.argmax((signed > most) | (signed < -most)))
            raise EncodingError(f"coordinate {where} of {vector.size}: wanted {wanted}, got more")
