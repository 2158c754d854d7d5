"""Model files: one safetensors file that holds a model version, its scaling and its card, and predictions from it with numpy alone.

The file is complete: who holds it and a table with the study's columns can predict, without a service, its keys or torch. It holds no row
and no party's update. The card travels inside, as canonical JSON in the metadata under the key `parley`. A file is data: nothing
in it is executed, and everything in it is checked against the card before use.

    >>> raw = dump(card, parameters)    # doctest: +SKIP
    >>> predict(load(raw), values)["illness"]    # doctest: +SKIP
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import numpy as np
from parley_crypto.errors import MalformedError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from parley_learning.arrays import Float32s, Float64s, Values
from parley_learning.columns import Columns
from parley_learning.combine import parameters_digest
from parley_learning.errors import LearningError, ModelFileError
from parley_learning.model import ModelSpec, arrays, from_arrays, layout, outputs
from parley_learning.modelcard import ModelCard
from parley_learning.objective import named_predictions
from parley_learning.workloads.preprocess import Scaling, standardise

MAX_FILE_BYTES: Final = 1 << 30
_CARD: Final = "parley"
_LENGTH_BYTES: Final = 8  # safetensors: the header's length, little-endian, then the header as JSON


@dataclass(frozen=True, slots=True)
class Model:
    """A model file after all checks."""

    card: ModelCard
    spec: ModelSpec
    columns: Columns
    scaling: Scaling
    parameters: Float32s


def dump(card: ModelCard, parameters: Float32s) -> bytes:
    """Return the model file of a version; ModelFileError if the card does not describe these parameters. Same input, same bytes."""
    model = _model(card, parameters)
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays(model.spec, parameters).items()}
    return save_tensors(tensors, {_CARD: card.canonical().decode()})  # one key: with more, their order would not be defined


def load(raw: bytes) -> Model:
    """Return the model in a file's bytes; ModelFileError says what is wrong with it."""
    if len(raw) > MAX_FILE_BYTES:
        raise ModelFileError(f"model file: wanted at most {MAX_FILE_BYTES} bytes, got {len(raw)}")
    try:
        tensors = load_tensors(raw)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: an element type that numpy does not have
        raise ModelFileError(f"model file: wanted safetensors, got other bytes ({error})") from error
    card = _card(raw)
    try:
        parameters = from_arrays(_spec(card), tensors)
    except LearningError as error:
        raise ModelFileError(f"model file of {card.study}: {error}") from error
    return _model(card, parameters)


def predict(model: Model, values: Values) -> dict[str, Float64s]:
    """Return predictions a row, float64[rows] by name: for a binary objective, by its id, the probability of 1 (see `named_predictions`).

    `values` holds the model's feature columns; labels are not needed. DataError names the first column that does not fit.
    """
    features = standardise(model.columns, values, model.scaling)
    found = outputs(model.spec, model.parameters, features)
    return named_predictions(model.spec.goals, found)


def _card(raw: bytes) -> ModelCard:
    end = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES], "little")
    metadata = json.loads(raw[_LENGTH_BYTES:end]).get("__metadata__", {})
    if _CARD not in metadata:
        raise ModelFileError(f"model file: wanted a card in the metadata under {_CARD!r}, got {', '.join(sorted(metadata)) or 'none'}")
    try:
        return ModelCard.parse(metadata[_CARD].encode())
    except MalformedError as error:
        raise ModelFileError(f"model file: {error}") from error


def _spec(card: ModelCard) -> ModelSpec:
    features = _columns(card).feature_names
    return ModelSpec(card.model.kind, card.model.hidden, features, tuple(goal.goal() for goal in card.objectives))


def _columns(card: ModelCard) -> Columns:
    return Columns(tuple(column.spec() for column in card.columns))


def _model(card: ModelCard, parameters: Float32s) -> Model:
    """Check that card and parameters belong together."""
    try:
        spec, got = _spec(card), parameters_digest(parameters)
    except LearningError as error:
        raise ModelFileError(f"model card of {card.study}: {error}") from error
    if tuple((part.name, part.length) for part in card.layout) != layout(spec).segments:
        raise ModelFileError(f"model card of {card.study}: wanted the layout {layout(spec).segments} for its model, got another")
    if not len(card.mean) == len(card.deviation) == len(spec.features) or min(card.deviation) < 0:
        raise ModelFileError(f"model card of {card.study}: wanted a mean and a deviation of at least 0 for {len(spec.features)} features")
    if got != card.parameters_digest:
        raise ModelFileError(f"model file of {card.study}: wanted parameters with the digest {card.parameters_digest}, got {got}")
    return Model(card, spec, _columns(card), Scaling(card.mean, card.deviation), parameters)
