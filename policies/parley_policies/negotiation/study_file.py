"""Load a study file (TOML, schema `parley.study/1`): what a sponsor proposes, in the form that people write.

study = load_study(path.read_bytes(), "study.toml")
proposal = study.propose(segments=(ProposedSegment(name="trunk", length=1_089), …), summary_length=31)
envelope = proposal.sign(sponsor_key)
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from parley_policies.errors import StudyInvalid
from parley_policies.model.reading import read_toml, validated
from parley_policies.negotiation.proposal import Proposal, ProposedSegment, StudyContent


class StudyFile(StudyContent):
    """A study file. Everything in it is shown to every invited party."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: Annotated[Literal["parley.study/1"], Field(alias="schema", description="Kind and version of this file.")]

    def propose(self, segments: tuple[ProposedSegment, ...], summary_length: int) -> Proposal:
        """Return the proposal: this content and the shape of the vectors that the sponsor's learning code computed from it."""
        content = {name: getattr(self, name) for name in StudyContent.model_fields}
        return Proposal(**content, segments=segments, summary_length=summary_length)

    def learning_tables(self) -> dict[str, Any]:
        """Return `columns`, `objectives`, `model` and `training` as the plain tables that learning code reads."""
        return learning_tables(self)


def learning_tables(content: StudyContent) -> dict[str, Any]:
    """Return a study's `columns`, `objectives`, `model` and `training` as plain tables, without what was left out."""
    return {
        "columns": {name: column.model_dump(exclude_none=True) for name, column in content.columns.items()},
        "objectives": [objective.model_dump(exclude_none=True) for objective in content.objectives],
        "model": content.workload.model.model_dump(exclude_none=True),
        "training": content.workload.train.model_dump(),
    }


def load_study(raw: bytes, name: str = "study.toml") -> StudyFile:
    """Parse a study file; StudyInvalid names `name` and every field that is missing, unknown, of the wrong type or out of range."""
    return validated(StudyFile, read_toml(raw, name, StudyInvalid), name, StudyInvalid)
