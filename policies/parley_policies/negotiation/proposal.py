"""The proposal: what a sponsor signs and every invited party sees before it answers.

It holds the content of the study file (`study_file`) and the shape of the vectors: the segments of the model and the length of the
summary. The sponsor's learning code computes those; this package cannot, so every party computes them again in its service and refuses a
proposal that differs. Nothing here is negotiated yet: `wishes` are ranges that the negotiation stays inside.

A study with the workload `train@1` has two steps: `preprocess@1`, one round over the segment `summary`, then `train@1`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Annotated, ClassVar, Final, Literal, Self

from parley_crypto.statement import Document, Statement
from pydantic import Field, model_validator

from parley_policies.model.kinds import Column, Identifier, Words, broken_rule
from parley_policies.model.policy import DISEASE_SPECIFIC
from parley_policies.model.protection import SchemeName
from parley_policies.negotiation.terms import PartyId, Positive, SegmentName, Sha256, StudyId

SUMMARY: Final = "summary"
PREPROCESS: Final = "preprocess@1"
TRAIN: Final = "train@1"
STEPS: Final[Mapping[str, tuple[str, ...]]] = {TRAIN: (PREPROCESS, TRAIN)}  # the workloads this version has, and their steps
MAX_INVITED: Final = 1_000
MAX_COHORTS: Final = 2  # of one scheme: into how many studies one proposal may split
COHORT_MARK: Final = "--"  # stands before the number of a cohort in the id of its study, and so in no proposal's
MAX_ID: Final = 60  # leaves room for it
MAX_COLUMNS: Final = 10_000

ObjectiveId = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,63}$")]
Text = Annotated[str, Field(max_length=2_000)]
PositiveReal = Annotated[float, Field(gt=0)]


class StudyProtocol(Document):
    """The document that describes the study to people, by its digest: an ethics application, a data use request."""

    reference: Words
    sha256: Sha256


class StudyPurpose(Document):
    """What the result is for."""

    uses: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    disease: tuple[Identifier, ...] = ()
    protocol: StudyProtocol | None = None

    @model_validator(mode="after")
    def _disease_named(self) -> Self:
        if DISEASE_SPECIFIC in self.uses and not self.disease:
            raise ValueError(f"wanted at least one disease, since {DISEASE_SPECIFIC} is among the uses")
        return self


class StudyModel(Document):
    """The model to learn. What each version of the learning code can learn is that code's to say."""

    kind: Literal["logistic", "mlp", "cnn", "transformer", "custom"]
    hidden: Annotated[tuple[Positive, ...], Field(max_length=64)] = ()
    sha256: Sha256 | None = None  # of custom code


class TrainSettings(Document):
    """Local training between two versions of the shared model, the same for every party."""

    epochs: Positive = 1
    batch_rows: Positive = 32
    learning_rate: PositiveReal = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class StudyWorkload(Document):
    """What is computed, from which start."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}@[1-9][0-9]{0,3}$")]
    model: StudyModel
    start: Annotated[str, Field(pattern=r"^(new|model:[a-z0-9][a-z0-9-]{0,62}/[0-9]{1,9})$")] = "new"
    train: TrainSettings = TrainSettings()


class StudyObjective(Document):
    """One learning goal and the column that holds its label; of a survival one also the column that says whether the event was seen."""

    id: ObjectiveId
    label: Column
    kind: Literal["binary", "multiclass", "regression", "count", "survival"]
    event: Column | None = None
    intervals: Annotated[int, Field(ge=1, le=100)] | None = None  # of the time to the event

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its label is made of."""
        return (self.label,) if self.event is None else (self.label, self.event)


class StudyColumn(Document):
    """One column that parties map. `range` is in `unit`, both ends included; a column with objectives is their label, else a feature."""

    type: Literal["float", "int", "bool"]
    unit: Annotated[str, Field(max_length=40)] = ""
    range: tuple[float, float] | None = None
    missing: Literal["allowed", "refused"] = "refused"
    objectives: tuple[ObjectiveId, ...] = ()


class RoundsWish(Document):
    """How many rounds of training are wished for."""

    min: Positive
    max: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"wanted min at most max, got {self.min} to {self.max}")
        return self


class ClipWish(Document):
    """The range of the cap on the L2 norm of one party's update, model units."""

    min: PositiveReal
    max: PositiveReal

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"wanted min at most max, got {self.min} to {self.max}")
        return self


class EpsilonWish(Document):
    """The largest privacy loss that is of use to the sponsor; each party may demand less."""

    max: PositiveReal
    delta: Annotated[float, Field(ge=0, lt=1)]


class Wishes(Document):
    """Ranges that the negotiation moves inside, never outside, and the study's few time-outs."""

    scheme: Annotated[tuple[SchemeName, ...], Field(min_length=1)]  # in order of preference
    rounds: RoundsWish
    clip_bound: ClipWish
    epsilon: EpsilonWish | None = None
    answer_by: date  # last day (UTC) on which an offer counts
    round_hours: PositiveReal = 1.0  # a party that needs longer is a dropout of that round
    grace_seconds: PositiveReal = 5.0  # a member that is not connected for this long is not waited for when a round opens
    phase_seconds: PositiveReal = 60.0  # ADVERTISE and SHARE each


class StudyModelUse(Document):
    """Who may do what with the result. Covered by every signature on the agreement."""

    owner: Words
    allowed: tuple[Words, ...]
    on_leaving: Literal["keep-last-version", "delete"]
    benefit: Literal["equal", "model-quality", "settlement"]


class ProposedSegment(Document):
    """A named slice of the model's vector. `objectives` are those whose parties have it; none: every party has it."""

    name: SegmentName
    length: Positive  # coordinates
    objectives: tuple[ObjectiveId, ...] = ()


class StudyContent(Document):
    """What a study file says, and what a proposal repeats of it."""

    id: StudyId
    title: Words
    sponsor: PartyId
    invited: Annotated[tuple[PartyId, ...], Field(min_length=1, max_length=MAX_INVITED)]
    summary: Text
    purpose: StudyPurpose
    workload: StudyWorkload
    objectives: Annotated[tuple[StudyObjective, ...], Field(min_length=1, max_length=64)]
    columns: Annotated[dict[Column, StudyColumn], Field(min_length=1, max_length=MAX_COLUMNS)]
    wishes: Wishes
    model_use: StudyModelUse

    @model_validator(mode="after")
    def _id_fits(self) -> Self:
        if COHORT_MARK in self.id or len(self.id) > MAX_ID:
            raise broken_rule("id", f"at most {MAX_ID} characters, without {COHORT_MARK} (which numbers the cohorts of a split)", self.id)
        return self

    @model_validator(mode="after")
    def _parties_fit(self) -> Self:
        if len(set(self.invited)) != len(self.invited) or self.sponsor not in self.invited:
            raise broken_rule("invited", f"each party once, and the sponsor {self.sponsor} among them", ", ".join(self.invited))
        return self

    @model_validator(mode="after")
    def _objectives_fit(self) -> Self:
        ids = [objective.id for objective in self.objectives]
        if len(set(ids)) != len(ids):
            raise broken_rule("objectives", "each once", ", ".join(ids))
        for objective in self.objectives:
            for name in objective.columns:
                column = self.columns.get(name)
                if column is None or objective.id not in column.objectives:
                    wanted = f'a column with objectives = ["{objective.id}"], its label'
                    raise broken_rule(f"columns.{name}", wanted, "no such column" if column is None else list(column.objectives))
        for name, column in self.columns.items():
            if unknown := sorted(set(column.objectives) - set(ids)):
                raise broken_rule(f"columns.{name}.objectives", f"objectives of the study ({', '.join(ids)})", ", ".join(unknown))
        return self

    def labelled(self, columns: Collection[str]) -> tuple[str, ...]:
        """Return the objectives whose label can be read from these columns, in id order: of a survival one the event as well."""
        return tuple(sorted(item.id for item in self.objectives if set(item.columns) <= set(columns)))

    def needed_columns(self, objectives: tuple[str, ...]) -> tuple[str, ...]:
        """Return what a party with these objectives must map, in name order: every feature and the labels of its own."""
        labels = {name for objective in self.objectives if objective.id in objectives for name in objective.columns}
        return tuple(sorted(name for name, column in self.columns.items() if not column.objectives or name in labels))


class Proposal(StudyContent, Statement):
    """A study as its sponsor proposes it. Signed by the sponsor; its digest stands in the terms."""

    kind: ClassVar[str] = "application/vnd.parley.proposal.v1+json"

    segments: Annotated[tuple[ProposedSegment, ...], Field(min_length=1, max_length=64)]  # of the step train@1, in order of the vector
    summary_length: Positive  # coordinates of the segment `summary` of the step preprocess@1

    @model_validator(mode="after")
    def _segments_fit(self) -> Self:
        names = [segment.name for segment in self.segments]
        if len(set(names)) != len(names) or SUMMARY in names:
            raise broken_rule("segments", f"distinct names other than {SUMMARY}", ", ".join(names))
        known = {objective.id for objective in self.objectives}
        for segment in self.segments:
            if unknown := sorted(set(segment.objectives) - known):
                raise broken_rule(f"segments.{segment.name}", "objectives of the study", ", ".join(unknown))
        return self

    def segment_of(self, name: str) -> ProposedSegment | None:
        """Return the proposed segment of that name, `summary` included, or None."""
        if name == SUMMARY:
            return ProposedSegment(name=SUMMARY, length=self.summary_length)
        return next((segment for segment in self.segments if segment.name == name), None)

    def segments_for(self, objectives: tuple[str, ...]) -> tuple[ProposedSegment, ...]:
        """Return the segments of the model that a party with these objectives has, in order."""
        return tuple(item for item in self.segments if not item.objectives or set(item.objectives) & set(objectives))


def study_of_cohort(proposal: str, number: int) -> str:
    """Return the id of the study that a cohort (1, 2, …) of a proposal with this id is: the first keeps the id."""
    return proposal if number == 1 else f"{proposal}{COHORT_MARK}{number}"


def studies_of(proposal: str) -> tuple[str, ...]:
    """Return the ids of all studies that may come of a proposal with this id."""
    return tuple(study_of_cohort(proposal, number) for number in range(1, MAX_COHORTS + 1))


def proposal_id_of(study: str) -> str:
    """Return the id of the proposal that a study came of."""
    return study.partition(COHORT_MARK)[0]
