"""The model card: what a model file is, how it came to be, what it may be used for by the agreement, and what it is not.

The card is the model's own description, made by the party that exports it, and not signed: the digests in it lead to what is (agreement,
certificates, log). It names parties and columns, and holds no row and no metric of a party.

    >>> print(card_markdown(card))    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Final, Literal, assert_never

from parley_crypto.statement import Document
from pydantic import Field

from parley_learning.arrays import Float32s
from parley_learning.columns import ColumnSpec, ColumnType
from parley_learning.combine import parameters_digest
from parley_learning.model import ModelKind, layout
from parley_learning.objective import Objective, ObjectiveKind
from parley_learning.study import StudyLearning
from parley_learning.workloads.preprocess import Scaling

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

NOT_THIS: Final = (
    "It is not approved for any decision about a person. It ranks; whoever uses it checks it on their own rows first, also by group.",
    "It is not validated outside the parties named here. Their rows are not a sample of any population.",
    "It is not differentially private: sums were opened without noise. Keep it as you keep figures that were computed from the rows.",
    "It is not proof of anything by itself. The digests lead to the agreement and its log; `parley audit verify` checks those.",
    "It is not the property of who holds this file: the agreement says who may do what with it.",
)


class CardColumn(Document):
    """A feature column that predictions need, as the study defined it."""

    name: str
    type: ColumnType
    unit: str
    low: float
    high: float
    missing: bool

    def spec(self) -> ColumnSpec:
        """Return the column as learning sees it."""
        return ColumnSpec(self.name, self.type, self.unit, self.low, self.high, self.missing, ())


class CardObjective(Document):
    """What one head predicts (see `objective`); `low` and `high` are the label's range."""

    id: str
    label: str
    kind: ObjectiveKind
    low: float
    high: float
    event: str = ""
    intervals: int = 0

    def goal(self) -> Objective:
        """Return the objective as learning sees it."""
        return Objective(self.id, self.label, self.kind, self.low, self.high, self.event, self.intervals)

    def says(self) -> str:
        """Return what is predicted, in words."""
        match self.kind:
            case ObjectiveKind.BINARY:
                return f"the probability that `{self.label}` is 1"
            case ObjectiveKind.MULTICLASS:
                return f"the probability of each value of `{self.label}`, 0 to {self.high:g}"
            case ObjectiveKind.REGRESSION:
                return f"`{self.label}`, {self.low:g} to {self.high:g}"
            case ObjectiveKind.COUNT:
                return f"the expected `{self.label}`"
            case ObjectiveKind.SURVIVAL:
                return f"the probability of no `{self.event}` by each of {self.intervals} times of `{self.label}` up to {self.high:g}"
        assert_never(self.kind)


class CardModel(Document):
    """The model's kind and hidden layers."""

    kind: ModelKind
    hidden: tuple[int, ...]


class CardSegment(Document):
    """A segment of the flat parameter vector."""

    name: str
    length: int


class ModelCard(Document):
    """Everything that a model file says about itself, as canonical JSON in its metadata."""

    format: Literal["parley.model/1"] = "parley.model/1"
    study: str
    title: str
    version: int
    agreement_digest: Sha256
    parameters_digest: Sha256
    members: tuple[str, ...]
    columns: tuple[CardColumn, ...]
    objectives: tuple[CardObjective, ...]
    model: CardModel
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    layout: tuple[CardSegment, ...]
    differential_privacy: Literal["none"] = "none"
    model_use: Mapping[str, str | tuple[str, ...]]


def make_card(
    learning: StudyLearning,
    scaling: Scaling,
    parameters: Float32s,
    *,
    study: str,
    title: str,
    version: int,
    agreement_digest: str,
    members: tuple[str, ...],
    model_use: Mapping[str, str | tuple[str, ...]],
) -> ModelCard:
    """Return the card of one model version; `model_use` is the table of that name in the agreed study."""
    return ModelCard(
        study=study,
        title=title,
        version=version,
        agreement_digest=agreement_digest,
        parameters_digest=parameters_digest(parameters),
        members=members,
        columns=tuple(
            CardColumn(name=spec.name, type=spec.type, unit=spec.unit, low=spec.low, high=spec.high, missing=spec.missing_allowed)
            for spec in learning.columns.features
        ),
        objectives=tuple(CardObjective(**asdict(goal)) for goal in learning.objectives),
        model=CardModel(kind=learning.model.kind, hidden=learning.model.hidden),
        mean=scaling.mean,
        deviation=scaling.deviation,
        layout=tuple(CardSegment(name=name, length=length) for name, length in layout(learning.model).segments),
        model_use=model_use,
    )


def card_markdown(card: ModelCard) -> str:
    """Return the card as a page of Markdown."""
    hidden = f" with hidden layers of {', '.join(str(units) for units in card.model.hidden)} units" if card.model.hidden else ""
    lines = [
        f"# Model card: {_plain(card.title)}, version {card.version}",
        "",
        f"A {card.model.kind} model{hidden}, trained by {len(card.members)} parties: {', '.join(card.members)}.",
        "Only sums over several parties' updates were opened; no row left a party.",
        "",
        f"- Study: {card.study}",
        f"- Agreement: `{card.agreement_digest}`",
        f"- Parameters: `{card.parameters_digest}`",
        f"- Segments: {', '.join(f'{part.name} ({part.length} values)' for part in card.layout)}",
        f"- Differential privacy: {card.differential_privacy}",
        "",
        "## What it predicts",
        "",
        *(f"- `{goal.id}`: {goal.says()}" for goal in card.objectives),
        "",
        "## What it may be used for",
        "",
        "From the agreement, in its words:",
        "",
        *(
            f"- {key}: {_plain(value if isinstance(value, str) else ', '.join(value)) or 'nothing named'}"
            for key, value in sorted(card.model_use.items())
        ),
        "",
        "## What it is not",
        "",
        *(f"- {line}" for line in NOT_THIS),
        "",
        "## What it needs",
        "",
        "| column | type | unit | range | may be missing |",
        "|---|---|---|---|---|",
        *(_row(column) for column in card.columns),
        "",
    ]
    return "\n".join(lines)


def _row(column: CardColumn) -> str:
    span = "0 or 1" if column.type is ColumnType.BOOL else f"{column.low:g} to {column.high:g}"
    return f"| `{column.name}` | {column.type} | {_plain(column.unit)} | {span} | {'yes' if column.missing else 'no'} |"


def _plain(text: str) -> str:
    """Return `text` on one line and without what would break a table or begin markup."""
    return "".join("\\" + char if char in "\\|<>[]`*_#" else char for char in " ".join(text.split()))
