"""The pure step: from the parameters of one model version and an opened mean to the parameters of the next.

Every party runs this on the same input and must arrive at the same bytes, so it is element by element: float32 parameters are widened to
float64, the mean is added, the sum is rounded to float32. No sum over coordinates, no library routine whose order of addition
could differ. A segment that did not open keeps its parameters. How a sum is opened and decoded is not known here.

    >>> step = apply_step(layout, parameters, {"trunk": mean_of(total, weight=6)})    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from parley_crypto.tags import Tag, digest

from parley_learning.arrays import Float32s, Float64s, check_vector
from parley_learning.errors import VectorError
from parley_learning.vector import Layout


def mean_of(total: Float64s, weight: int) -> Float64s:
    """Return an opened weighted sum, float64[length], divided by the weights of the members in it (constants of the agreement)."""
    if weight < 1:
        raise VectorError(f"mean: wanted a total weight of at least 1, got {weight}")
    return total / np.float64(weight)


def apply_step(layout: Layout, parameters: Float32s, means: Mapping[str, Float64s]) -> Float32s:
    """Return the next parameters, float32[d]: `means` holds the mean update, float64[length], of each segment that opened.

    VectorError if a segment is unknown, has another length, or if a value before or after the step is not finite.
    """
    check_vector("parameters", parameters, layout.length)
    following = parameters.copy()
    places = layout.slices()
    for segment, mean in sorted(means.items()):
        if segment not in places:
            raise VectorError(f"segment {segment}: wanted one of {', '.join(layout.names)}")
        place = places[segment]
        check_vector(f"mean of {segment}", mean, place.stop - place.start)
        wide = parameters[place].astype(np.float64) + mean
        if (np.abs(wide) > np.finfo(np.float32).max).any():
            raise VectorError(f"segment {segment}: wanted parameters that float32 can hold, got a larger one: the study diverged")
        following[place] = wide.astype(np.float32)
    return following


def parameters_digest(parameters: Float32s) -> str:
    """Return the digest of parameters, 64 hexadecimal digits, over their float32 bytes in little-endian order."""
    check_vector("parameters", parameters, parameters.size)
    return digest(Tag.PARAMETERS, parameters.astype("<f4").tobytes())
