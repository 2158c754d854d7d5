"""What a party service may ask of its trainer: one class a command, strictly parsed. Arrays travel beside the head (trainer_frames).

    command    arrays in     answer
    hello                    version, whether the network is cut off
    load                     rows, people, digest, findings
    summary                  summary: float64
    scaling    sum           (nothing)
    start                    parameters: float32, the first ones of a seed
    update     parameters    an array a segment: float32, clipped; norm, whether it was clipped
    evaluate   parameters    scores of the held-out rows: they are data, and stay at home
    baselines                scores of models trained here alone
    predict    parameters    an array an objective: float64, in the query's own order of rows

Order: load, then scaling (with the opened sum), then start, update, evaluate and predict as often as wanted; baselines needs load alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from parley_party.dataset import DatasetConfig
from parley_party.errors import TrainerError

Seed = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Command(BaseModel):
    """A command: frozen, unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Hello(_Command):
    """Is anyone there?"""

    command: Literal["hello"] = "hello"


class StudyTables(_Command):
    """The learning part of a study file, as `parley_learning.study.parse_study` takes it."""

    columns: Mapping[str, Mapping[str, Any]]
    objectives: tuple[Mapping[str, Any], ...]
    model: Mapping[str, Any]
    training: Mapping[str, Any] = Field(default_factory=dict)


class Load(_Command):
    """Read the dataset for a study and this party's objectives."""

    command: Literal["load"] = "load"
    dataset: DatasetConfig
    study: StudyTables
    objectives: tuple[str, ...]


class Summary(_Command):
    """Compute the vector of `preprocess@1`."""

    command: Literal["summary"] = "summary"


class ScalingSum(_Command):
    """Take the opened sum of everyone's summaries (array `sum`) and standardise the rows by it."""

    command: Literal["scaling"] = "scaling"


class Start(_Command):
    """Draw the first parameters from a seed of 32 bytes."""

    command: Literal["start"] = "start"
    seed: Seed


class Update(_Command):
    """Train from the parameters and clip the difference. `seed` orders the rows of this round."""

    command: Literal["update"] = "update"
    clip_bound: Annotated[float, Field(gt=0)]
    seed: Seed


class Evaluate(_Command):
    """Score the parameters on the held-out rows."""

    command: Literal["evaluate"] = "evaluate"


class Baselines(_Command):
    """Train this party's own models and score them on the held-out rows."""

    command: Literal["baselines"] = "baselines"
    seed: Seed


class Predict(_Command):
    """Predict for every row of a dataset, without its labels."""

    command: Literal["predict"] = "predict"
    dataset: DatasetConfig


Command = Hello | Load | Summary | ScalingSum | Start | Update | Evaluate | Baselines | Predict
_ADAPTER: Final[TypeAdapter[Command]] = TypeAdapter(Annotated[Command, Field(discriminator="command")])


def parse_command(head: Mapping[str, Any]) -> Command:
    """Return the command of a head; TrainerError names the first fault."""
    try:
        return _ADAPTER.validate_python(dict(head))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "command"
        raise TrainerError(f"trainer command, {where}", wanted=fault["msg"], got="something else") from None


def dump_command(command: Command) -> dict[str, Any]:
    """Return the head that `parse_command` reads."""
    return dict(_ADAPTER.dump_python(command, mode="json"))
