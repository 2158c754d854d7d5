from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from parley_learning.arrays import Float32s, Float64s
from parley_learning.errors import DataError, ModelFileError
from parley_learning.model import initial_parameters, outputs
from parley_learning.modelcard import NOT_THIS, ModelCard, card_markdown, make_card
from parley_learning.modelfile import dump, load, predict
from parley_learning.objective import ObjectiveKind, means
from parley_learning.study import StudyLearning
from parley_learning.workloads.preprocess import Scaling, scaling_from_sum, standardise, summary_vector
from safetensors.numpy import save

AGREEMENT = "ab" * 32


@dataclass(frozen=True)
class Made:
    study: StudyLearning
    scaling: Scaling
    values: dict[str, Float64s]
    parameters: Float32s
    card: ModelCard


@pytest.fixture(params=["study", "logistic_study"])
def made(request: pytest.FixtureRequest, table: Callable[[int, int], dict[str, Float64s]]) -> Made:
    study: StudyLearning = request.getfixturevalue(request.param)
    values = table(25, 3)
    scaling = scaling_from_sum(study.columns, summary_vector(study.columns, values))
    parameters = initial_parameters(study.model, bytes(32)) + np.float32(0.1)
    card = make_card(
        study,
        scaling,
        parameters,
        study="heart-1",
        title="Heart | risk\n# not a heading",
        version=40,
        agreement_digest=AGREEMENT,
        members=("clinic-a", "clinic-b", "insurer-c"),
        model_use={"owner": "all members jointly", "allowed": ("internal-use",), "benefit": "equal"},
    )
    return Made(study, scaling, values, parameters, card)


def test_a_file_predicts_what_the_model_says(made: Made) -> None:
    model = load(dump(made.card, made.parameters))
    features = {spec.name: made.values[spec.name] for spec in made.study.columns.features}
    expected = outputs(made.study.model, made.parameters, standardise(made.study.columns, made.values, made.scaling))
    found = predict(model, features)
    assert set(found) == {"cost", "illness"}
    for objective, chances in found.items():
        assert chances.tolist() == means(ObjectiveKind.BINARY, expected[objective])[:, 0].tolist()
        assert ((chances > 0) & (chances < 1)).all()


def test_the_card_survives_and_the_same_version_gives_the_same_bytes(made: Made) -> None:
    raw = dump(made.card, made.parameters)
    model = load(raw)
    assert model.card == made.card
    assert model.parameters.tobytes() == made.parameters.tobytes()
    assert dump(model.card, model.parameters) == raw


def test_every_flipped_byte_of_the_body_is_noticed(made: Made) -> None:
    raw = dump(made.card, made.parameters)
    for where in range(len(raw) - 4 * made.parameters.size, len(raw), 7):
        changed = bytearray(raw)
        changed[where] ^= 1
        with pytest.raises(ModelFileError):
            load(bytes(changed))


def test_bytes_that_are_no_model_file_are_refused(made: Made) -> None:
    raw = dump(made.card, made.parameters)
    named = {"x": np.zeros(2, dtype=np.float32)}
    for bad, message in [
        (b"", "wanted safetensors"),
        (b"not a model at all, whatever it says", "wanted safetensors"),
        (raw[:-1], "wanted safetensors"),
        (save(named), "wanted a card in the metadata"),
        (save(named, {"parley": "{}"}), "study: Field required"),
        (save(named, {"parley": made.card.canonical().decode()}), "model file of heart-1: arrays: wanted"),
    ]:
        with pytest.raises(ModelFileError, match=message):
            load(bad)


def test_a_card_that_does_not_describe_the_parameters_is_refused(made: Made) -> None:
    card = made.card
    for wrong, message in [
        (card.model_copy(update={"parameters_digest": "00" * 32}), "wanted parameters with the digest"),
        (card.model_copy(update={"mean": card.mean[:-1]}), "a mean and a deviation"),
        (card.model_copy(update={"deviation": (-1.0, *card.deviation[1:])}), "of at least 0"),
        (card.model_copy(update={"layout": card.layout[:-1]}), "wanted the layout"),
        (card.model_copy(update={"objectives": ()}), "objectives distinct"),
        (card.model_copy(update={"columns": ()}), "at least one feature"),
    ]:
        with pytest.raises(ModelFileError, match=message):
            dump(ModelCard.parse(ModelCard(**dict(wrong)).canonical()), made.parameters)


def test_a_prediction_names_the_column_that_does_not_fit(made: Made) -> None:
    model = load(dump(made.card, made.parameters))
    with pytest.raises(DataError, match="column age: wanted 0 to 120 year, got 900 to 900"):
        predict(model, {**made.values, "age": np.full(25, 900.0)})
    with pytest.raises(DataError, match="column age: wanted float in year, got no such column"):
        predict(model, {})


def test_the_card_says_what_the_model_is_for_and_what_it_is_not(made: Made) -> None:
    page = card_markdown(made.card)
    for line in NOT_THIS:
        assert line in page
    for fact in [
        AGREEMENT,
        "`illness`: the probability that `ill` is 1",
        "- allowed: internal-use",
        "| `sodium` | float | mmol/L | 90 to 180 | yes |",
    ]:
        assert fact in page
    assert page.splitlines()[0] == r"# Model card: Heart \| risk \# not a heading, version 40"
    assert sum(line.startswith("#") for line in page.splitlines()) == 5


def test_predicting_from_a_file_needs_no_torch(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(dump(made.card, made.parameters))
    code = (
        "import sys, pathlib, numpy as np\n"
        "from parley_learning.modelfile import load, predict\n"
        "model = load(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(len(predict(model, {'age': np.array([50.0]), 'smokes': np.array([1.0]), 'sodium': np.array([np.nan])})))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout == "2\n"
