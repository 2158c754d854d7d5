"""`train@1`: a party's update to the shared model in one round, ready to be encoded. Imports torch: for the trainer process only.

>>> update = make_update(study, rows, parameters, clip_bound=1.0, seed=seed)    # doctest: +SKIP
>>> segments = own_parts(study, ("illness",), update)    # doctest: +SKIP
"""

from __future__ import annotations

from parley_learning.arrays import Float32s
from parley_learning.clip import ClippedUpdate, clip_update
from parley_learning.model import layout
from parley_learning.rows import LocalRows
from parley_learning.study import StudyLearning
from parley_learning.train import local_update
from parley_learning.vector import own_segments


def make_update(study: StudyLearning, rows: LocalRows, parameters: Float32s, clip_bound: float, seed: bytes) -> ClippedUpdate:
    """Return the clipped change, float32[d], that the study's local training makes to `parameters`. `seed` (32 bytes) orders the rows."""
    delta = local_update(study.model, parameters, rows.features, rows.labels, study.settings, seed)
    return clip_update(delta, clip_bound)


def own_parts(study: StudyLearning, objectives: tuple[str, ...], update: ClippedUpdate) -> dict[str, Float32s]:
    """Return the segments of an update that a party with these objectives sends: trunk and own heads, in layout order."""
    parts = layout(study.model).cut(update.vector)
    return {name: parts[name] for name in own_segments(layout(study.model), objectives)}
