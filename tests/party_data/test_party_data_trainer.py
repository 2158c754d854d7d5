"""The trainer as a real process: it computes what parley_learning computes, holds nothing it should not, and ends as it should."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parley_learning.columns import parse_columns
from parley_learning.model import initial_parameters, outputs
from parley_learning.objective import predictions
from parley_learning.rows import local_rows
from parley_learning.study import StudyLearning, parse_study
from parley_learning.workloads.evaluate import evaluate
from parley_learning.workloads.preprocess import scaling_from_sum, standardise, summary_vector
from parley_learning.workloads.train import make_update, own_parts
from parley_party.dataset import DatasetConfig, HeldOut, MappedColumn
from parley_party.datasource import read_dataset, read_in_order
from parley_party.errors import DataError, TrainerDied, TrainerLate, TrainerRefused
from parley_party.trainer_client import TrainerClient, TrainerSettings, clean_environment, safe_line
from parley_party.trainer_commands import StudyTables
from parley_party.trainer_confinement import CUT_OFF
from parley_protocol.problems import Slug

pytestmark = pytest.mark.services

LINUX = sys.platform == "linux"
SEED = bytes(range(32))
TABLES = StudyTables(
    columns={
        "age": {"type": "float", "unit": "year", "range": [18, 110]},
        "sodium": {"type": "float", "range": [90, 180], "missing": "allowed"},
        "ill": {"type": "bool", "objectives": ["illness"]},
        "costly": {"type": "bool", "objectives": ["cost"]},
    },
    objectives=({"id": "cost", "label": "costly", "kind": "binary"}, {"id": "illness", "label": "ill", "kind": "binary"}),
    model={"kind": "mlp", "hidden": [6]},
    training={"epochs": 2},
)


def study() -> StudyLearning:
    return parse_study(TABLES.columns, TABLES.objectives, TABLES.model, TABLES.training)


@pytest.fixture(name="dataset")
def dataset_fixture(tmp_path: Path) -> DatasetConfig:
    draws = np.random.default_rng(5)
    rows = [f"p{i},{18 + i % 80},{'' if i % 9 == 0 else 120 + i % 50},{int(draws.random() < (i % 80) / 80)}" for i in range(300)]
    (tmp_path / "visits.csv").write_text("\n".join(["pid,age,na,ill", *rows]) + "\n", encoding="utf-8")
    columns = {"age": MappedColumn("age", unit="year"), "sodium": MappedColumn("na"), "ill": MappedColumn("ill")}
    return DatasetConfig(
        "hf", {"visits": "visits.csv"}, "SELECT * FROM visits", columns, unit="pid", held_out=HeldOut(0.3), folder=tmp_path
    )


@asynccontextmanager
async def running(
    tmp_path: Path, log: Callable[[str], None] = lambda _: None, answer_seconds: float = 60.0
) -> AsyncIterator[TrainerClient]:
    trainer = await TrainerClient.start("heart-1", TrainerSettings(tmp_path / "work", 1024, 1, answer_seconds=answer_seconds), log)
    try:
        yield trainer
    finally:
        await trainer.stop()


def test_a_study_runs_in_the_child_as_it_would_here(tmp_path: Path, dataset: DatasetConfig) -> None:
    here, _ = read_dataset(dataset, study().columns.needed(("illness",)))
    total = summary_vector(study().columns, here.training())
    scaling = scaling_from_sum(study().columns, total)
    rows = local_rows(study(), here.training(), scaling, ("illness",))
    first = initial_parameters(study().model, SEED)

    async def body() -> None:
        async with running(tmp_path) as trainer:
            loaded = await trainer.load(dataset, TABLES, ("illness",))
            assert (loaded.digest, loaded.training_rows, loaded.held_out_rows) == (here.digest, here.training_rows, here.held_out_rows)
            assert (loaded.people, loaded.people_held_out, loaded.excluded) == (here.people, here.people_held_out, here.excluded)
            assert [finding.column for finding in loaded.findings] == ["age", "ill", "sodium"]
            np.testing.assert_array_equal(await trainer.summary(), total)
            await trainer.scaling(total)
            parameters = await trainer.first_parameters(SEED)
            np.testing.assert_array_equal(parameters, first)
            (tmp_path / "work" / "trainer-heart-1" / "left.bin").write_bytes(b"x")
            update = await trainer.update(parameters, 0.05, SEED)
            wanted = make_update(study(), rows, first, 0.05, SEED)
            assert update.norm == pytest.approx(wanted.norm)
            assert update.clipped is wanted.clipped is True
            parts = own_parts(study(), ("illness",), wanted)
            assert list(update.parts) == list(parts) == ["trunk", "head:illness"]
            for name, part in parts.items():
                np.testing.assert_allclose(update.parts[name], part, rtol=1e-5, atol=1e-7)
            assert not list((tmp_path / "work" / "trainer-heart-1").iterdir())
            trained = first + wanted.vector
            scores = await trainer.evaluate(trained)
            kept = local_rows(study(), here.kept(), scaling, ("illness",))
            assert scores == evaluate(study().model, trained, kept.features, kept.labels)
            assert set(await trainer.baselines(SEED)) == {"illness"}
            predicted = await trainer.predict(dataset, trained)
            assert set(predicted) == {"cost", "illness"}
            columns = parse_columns({name: TABLES.columns[name] for name in ("age", "sodium")})
            features = standardise(columns, read_in_order(dataset, columns.specs), scaling)
            found = outputs(study().model, trained, features)["illness"]
            np.testing.assert_array_equal(predicted["illness"], predictions(study().objective("illness"), found)[:, 0])
        assert not trainer.running

    asyncio.run(body())


def test_refusals_leave_the_child_at_work_and_secrets_stay_out(
    tmp_path: Path, dataset: DatasetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_PASSPHRASE", "hunter2hunter2")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.intra:3128")

    async def body() -> None:
        async with running(tmp_path) as trainer:
            about = await trainer.hello()
            assert about["process"] == trainer.process_id
            if LINUX:
                environment = _environment_of(trainer.process_id)
                assert b"hunter2" not in environment
                assert b"PROXY" not in environment
                assert about["memory_mib"] == 2048
                if about["network"] == CUT_OFF:
                    assert _network_of(trainer.process_id) != _network_of(os.getpid())
            for early in (trainer.summary(), trainer.update(np.zeros(3, dtype=np.float32), 1.0, SEED), trainer.baselines(SEED)):
                with pytest.raises(TrainerRefused, match="wanted load before this command"):
                    await early
            with pytest.raises(DataError, match=r"dataset hf, column age: wanted float in year from 18 to 110") as misfit:
                await trainer.load(replace(dataset, columns=dict(dataset.columns) | {"age": MappedColumn("na")}), TABLES, ("illness",))
            assert misfit.value.problem is Slug.DATA_MISMATCH
            assert misfit.value.do
            with pytest.raises(TrainerRefused, match="model: this version has the kinds") as model:
                await trainer.load(dataset, TABLES.model_copy(update={"model": {"kind": "cnn"}}), ("illness",))
            assert model.value.problem is Slug.CONFIG_INVALID
            await trainer.load(replace(dataset, held_out=HeldOut()), TABLES, ("illness",))
            with pytest.raises(TrainerRefused, match="wanted scaling before this command"):
                await trainer.evaluate(np.zeros(3, dtype=np.float32))
            with pytest.raises(TrainerRefused, match="opened summary"):
                await trainer.scaling(np.zeros(3))
            await trainer.scaling(await trainer.summary())
            with pytest.raises(TrainerRefused, match="wanted one flat array parameters of float32, got parameters float64"):
                await trainer.update(np.zeros(3), 1.0, SEED)  # type: ignore[arg-type]  # the wrong type is the test
            with pytest.raises(TrainerRefused, match="parameters"):
                await trainer.update(np.zeros(3, dtype=np.float32), 1.0, SEED)
            with pytest.raises(TrainerRefused, match="held-out rows to measure on"):
                await trainer.evaluate(await trainer.first_parameters(SEED))
            assert trainer.running

    asyncio.run(body())


def _environment_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except PermissionError:  # a process in a user namespace of its own may hide it
        return b""


def _network_of(process: int) -> str:
    try:
        return str(Path(f"/proc/{process}/ns/net").readlink())
    except PermissionError:
        return "another one, which we may not even look at"


def test_a_killed_child_is_named_with_its_signal(tmp_path: Path, dataset: DatasetConfig) -> None:
    async def body() -> None:
        async with running(tmp_path) as trainer:
            waiting = asyncio.create_task(trainer.load(dataset, TABLES, ("illness",)))
            await asyncio.sleep(0.2)
            os.kill(trainer.process_id, signal.SIGKILL)
            with pytest.raises(TrainerDied, match="trainer of study heart-1, load: wanted an answer, got ended by SIGKILL") as died:
                await waiting
            assert died.value.do is not None
            assert "memory_mib" in died.value.do
            with pytest.raises(TrainerDied, match=r"hello: .* SIGKILL"):
                await trainer.hello()

    asyncio.run(body())


def test_a_child_that_fails_says_where_and_not_what(tmp_path: Path) -> None:
    lines: list[str] = []

    async def body() -> None:
        async with running(tmp_path, lines.append) as trainer:
            pipe = trainer._process.stdin
            assert pipe is not None
            pipe.write((8).to_bytes(4, "big") + b"Meier,53")
            with pytest.raises(TrainerDied, match=r"ended with exit code 70 \(.*parley_party\.errors\.TrainerError\)"):
                await trainer.hello()

    asyncio.run(body())
    assert any("trainer_frames.py" in line for line in lines)
    assert "Meier" not in "".join(lines)


def test_a_late_child_is_stopped(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path, answer_seconds=0.05) as trainer:
            with pytest.raises(TrainerLate, match=r"heart-1, hello: wanted an answer within 0\.05 s") as late:
                await trainer.hello()
            assert late.value.problem is Slug.TIMED_OUT
            await trainer._process.wait()
            assert not trainer.running

    asyncio.run(body())


def test_a_cancelled_request_ends_the_child(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as trainer:
            asking = asyncio.create_task(trainer.hello())
            await asyncio.sleep(0.1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert await trainer._process.wait() == -signal.SIGKILL

    asyncio.run(body())


def test_stopping_is_gentle_wipes_and_can_be_repeated(tmp_path: Path) -> None:
    async def body() -> None:
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "mine.txt").write_text("not the trainer's", encoding="utf-8")
        async with running(tmp_path) as trainer:
            await trainer.hello()
            folder = tmp_path / "work" / "trainer-heart-1"
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "deep").mkdir()
            (folder / "deep" / "rows.bin").write_bytes(b"x")
            (folder / "link").symlink_to(tmp_path / "work")
            await trainer.stop()
            assert trainer._process.returncode == 0
            assert not list(folder.iterdir())
            assert (tmp_path / "work" / "mine.txt").exists()
            await trainer.stop()

    asyncio.run(body())


@pytest.mark.skipif(not LINUX, reason="only Linux can tie a process to its parent")
def test_the_child_does_not_outlive_the_service(tmp_path: Path) -> None:
    program = f"""
import asyncio, os
from pathlib import Path
from parley_party.trainer_client import TrainerClient, TrainerSettings
async def main():
    trainer = await TrainerClient.start("s", TrainerSettings(Path({str(tmp_path)!r})), print)
    about = await trainer.hello()
    print(trainer.process_id, about["dies_with_service"], flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    child, dies = done.stdout.split()
    assert (done.returncode, dies) == (-signal.SIGKILL, "True")
    deadline = time.monotonic() + 10
    while _alive(int(child)):
        assert time.monotonic() < deadline, "the trainer lives on"
        time.sleep(0.05)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_environment_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PARLEY_PASSPHRASE", "HTTPS_PROXY", "https_proxy", "AWS_SECRET_ACCESS_KEY", "PYTHONSTARTUP", "LD_PRELOAD"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    environment = clean_environment(tmp_path, 3)
    assert environment["PYTHONPATH"] == "/somewhere"
    assert environment["HOME"] == environment["TMPDIR"] == str(tmp_path)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert set(environment) <= {
        *("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TZ", "HOME", "TMPDIR"),
        *("LANG", "PYTHONUTF8", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    }


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ('  File "/x/trainer_work.py", line 7, in _update', '  File "/x/trainer_work.py", line 7, in _update'),
        ('  File "/x/y.py", line 7 in <module>', '  File "/x/y.py", line 7 in <module>'),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("ValueError: could not convert string to float: 'Meier'", "ValueError"),
        ("duckdb.ConversionException: 'Meier'", "duckdb.ConversionException"),
        ("Fatal Python error: Segmentation fault", "Fatal Python error: Segmentation fault"),
        ("    parse('Meier')", None),
        ("Meier,53,140.5", None),
        ("", None),
    ],
)
def test_only_safe_lines_are_logged(line: str, kept: str | None) -> None:
    assert safe_line(line) == kept


KINDS = StudyTables(
    columns={
        "age": {"type": "float", "unit": "year", "range": [18, 110]},
        "stage": {"type": "int", "range": [0, 3], "objectives": ["stage"]},
        "cost": {"type": "float", "range": [0, 9000], "objectives": ["cost"]},
        "visits": {"type": "int", "range": [0, 40], "objectives": ["visits"]},
        "months": {"type": "float", "range": [0, 60], "objectives": ["life"]},
        "died": {"type": "bool", "objectives": ["life"]},
    },
    objectives=(
        {"id": "cost", "label": "cost", "kind": "regression"},
        {"id": "life", "label": "months", "kind": "survival", "event": "died", "intervals": 4},
        {"id": "stage", "label": "stage", "kind": "multiclass"},
        {"id": "visits", "label": "visits", "kind": "count"},
    ),
    model={"kind": "mlp", "hidden": [4]},
    training={"epochs": 2},
)
EVERY = ("cost", "life", "stage", "visits")


def test_the_trainer_reads_trains_scores_and_predicts_every_kind_of_objective(tmp_path: Path) -> None:
    rows = [f"p{i},{18 + i % 80},{i % 4},{i % 80 * 100},{i % 23},{60 - i % 50},{int(i % 3 > 0)}" for i in range(240)]
    (tmp_path / "visits.csv").write_text("\n".join(["pid,age,stage,cost,visits,months,died", *rows]) + "\n", encoding="utf-8")
    columns = {name: MappedColumn(name, unit="year" if name == "age" else "") for name in KINDS.columns}
    data = DatasetConfig(
        "hf", {"visits": "visits.csv"}, "SELECT * FROM visits", columns, unit="pid", held_out=HeldOut(0.3), folder=tmp_path
    )

    async def work() -> None:
        async with running(tmp_path) as trainer:
            await trainer.load(data, KINDS, EVERY)
            await trainer.scaling(await trainer.summary())
            parameters = await trainer.first_parameters(SEED)
            update = await trainer.update(parameters, 1.0, SEED)
            assert {name: part.size for name, part in update.parts.items()} == {
                "trunk": 8, "head:cost": 5, "head:life": 20, "head:stage": 20, "head:visits": 5,
            }  # fmt: skip
            scores = await trainer.evaluate(parameters)
            assert {name: score.metric for name, score in scores.items()} == {
                "cost": "r2", "life": "concordance", "stage": "macro_auc", "visits": "d2",
            }  # fmt: skip
            alone = await trainer.baselines(SEED)
            assert alone["cost"].linear.value == pytest.approx(1.0, abs=0.05)  # cost is a linear function of age
            predicted = await trainer.predict(data, parameters)
            assert [name for name in predicted if name.startswith("life")] == ["life>15", "life>30", "life>45", "life>60"]
            assert len(predicted) == 10

    asyncio.run(work())
