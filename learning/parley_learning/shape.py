"""The shape of a study's vectors, from what its file says: the segments of the model in order, and the length of the summary.

The sponsor puts it into its proposal, every invited party computes it again and compares, and `parley policy try` needs it before there is
a service. It reads no data and does not import torch.

    >>> segments, summary = shape_of(study)    # doctest: +SKIP
    >>> [segment.name for segment in segments]    # doctest: +SKIP
    ['trunk', 'head:cost', 'head:illness']
"""

from __future__ import annotations

from parley_policies.negotiation.proposal import ProposedSegment, StudyContent
from parley_policies.negotiation.study_file import learning_tables

from parley_learning.model import layout
from parley_learning.study import StudyLearning, parse_study
from parley_learning.workloads.preprocess import summary_length


def learning_of(study: StudyContent) -> StudyLearning:
    """Return the learning part of a study file or proposal; ColumnError names what this version cannot learn."""
    tables = learning_tables(study)
    return parse_study(tables["columns"], tables["objectives"], tables["model"], tables["training"])


def shape_of(study: StudyContent) -> tuple[tuple[ProposedSegment, ...], int]:
    """Return the segments of the model's vector and the coordinates of the summary; ColumnError as `learning_of`."""
    learning = learning_of(study)
    segments = []
    for name, length in layout(learning.model).segments:
        objective = name.partition(":")[2]
        segments.append(ProposedSegment(name=name, length=length, objectives=(objective,) if objective else ()))
    return tuple(segments), summary_length(learning.columns)
