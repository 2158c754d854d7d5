"""What a study says about learning: its columns, objectives, model and training, checked against each other.

Made from the plain tables of the study file (or of a message to the trainer process). It reads no data and does not import torch.

    >>> study = parse_study({"columns": {…}, "objectives": […], "model": {"kind": "mlp", "hidden": [16]}})    # doctest: +SKIP
    >>> layout(study.model).length    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parley_learning.columns import Columns, parse_columns
from parley_learning.errors import ColumnError
from parley_learning.model import ModelSpec, parse_model
from parley_learning.objective import Objective, parse_objectives
from parley_learning.settings import TrainSettings, parse_settings


@dataclass(frozen=True, slots=True)
class StudyLearning:
    """Columns, model (with its goals) and training settings of one study."""

    columns: Columns
    model: ModelSpec
    settings: TrainSettings

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The learning goals, in order of their ids: those of the model."""
        return self.model.goals

    def objective(self, name: str) -> Objective:
        """Return the objective of that id; ColumnError if the study has none."""
        for objective in self.objectives:
            if objective.id == name:
                return objective
        raise ColumnError(f"objective {name}: wanted one of {', '.join(o.id for o in self.objectives)}")


def parse_study(
    columns: Mapping[str, Mapping[str, object]],
    objectives: Sequence[Mapping[str, object]],
    model: Mapping[str, object],
    training: Mapping[str, object] | None = None,
) -> StudyLearning:
    """Return a study's learning part; ColumnError names the first thing that this version cannot learn."""
    table = parse_columns(columns)
    goals = parse_objectives(objectives, table)
    known = {goal.id for goal in goals}
    for spec in table.specs:
        if unknown := sorted(set(spec.objectives) - known):
            raise ColumnError(f"column {spec.name}: wanted objectives of the study ({', '.join(sorted(known))}), got {', '.join(unknown)}")
    return StudyLearning(table, parse_model(model, table.feature_names, goals), parse_settings(training or {}))
