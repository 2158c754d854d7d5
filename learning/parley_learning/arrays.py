"""Array types, and the one check that every array passes before it is used: its shape.

Two float types run through this package: float32 for parameters, updates and standardised features, float64 for values as read,
sums and everything that steers a step. All arrays are numpy's; torch tensors live inside `train` alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from parley_learning.errors import VectorError

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Values = Mapping[str, npt.NDArray[np.float64]]
"""A table by column name: one float64 array of equal length each; bool is 0 and 1, missing is NaN."""


def check_vector(name: str, vector: npt.NDArray[np.floating], length: int) -> None:
    """Raise VectorError unless `vector` is flat, `length` long and finite."""
    if vector.shape != (length,):
        raise VectorError(f"{name}: wanted a flat vector of {length} values, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        bad = int(np.count_nonzero(~np.isfinite(vector)))
        raise VectorError(f"{name}: wanted finite values, got {bad} of {length} that are infinite or not a number")
