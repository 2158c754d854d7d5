"""Frames between service and trainer: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from parley_party.dataset import DatasetConfig, Exclusion, HeldOut, MappedColumn
from parley_party.errors import TrainerError
from parley_party.trainer_commands import Load, StudyTables, Summary, Update, dump_command, parse_command
from parley_party.trainer_frames import MAX_HEAD_BYTES, Frame, encode, head_of, read_frame

ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=12),
    st.sampled_from([np.float32, np.float64, np.int64, np.bool_]).flatmap(
        lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=5))
    ),
    max_size=4,
)


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text() | st.none(), max_size=4), ARRAYS)
def test_a_frame_comes_out_as_it_went_in(head: dict[str, Any], arrays: dict[str, Any]) -> None:
    stream = io.BytesIO(b"".join(encode(Frame(head, arrays))) * 2)
    for _ in range(2):
        frame = read_frame(stream)
        assert frame is not None
        assert frame.head == head
        assert list(frame.arrays) == list(arrays)
        for name, array in arrays.items():
            assert frame.arrays[name].dtype == array.dtype
            assert frame.arrays[name].flags.writeable
            np.testing.assert_array_equal(frame.arrays[name], array)
    assert read_frame(stream) is None


def test_big_endian_arrays_travel_as_little_endian() -> None:
    frame = read_frame(io.BytesIO(b"".join(encode(Frame({}, {"x": np.arange(3, dtype=">f4")})))))
    assert frame is not None
    assert frame.arrays["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"head": {}}',
        b'{"head": [], "arrays": []}',
        b'{"head": {}, "arrays": {}}',
        b'{"head": {}, "arrays": [], "more": 1}',
        b'{"head": {}, "arrays": [["x", "|O", [1]]]}',
        b'{"head": {}, "arrays": [["x", ["<f4"], [1]]]}',
        b'{"head": {}, "arrays": [["x", "<f4", [-1]]]}',
        b'{"head": {}, "arrays": [["x", "<f4", [1.5]]]}',
        b'{"head": {}, "arrays": [["x", "<f4", [true]]]}',
        b'{"head": {}, "arrays": [["x", "<f4", 3]]}',
        b'{"head": {}, "arrays": [["x", "<f4", [1, 1, 1]]]}',
        b'{"head": {}, "arrays": [["x", "<f4"]]}',
        b'{"head": {}, "arrays": [[1, "<f4", [1]]]}',
        b'{"head": {}, "arrays": [["x", "<f4", [1]], ["x", "<f4", [1]]]}',
        b'{"head": {}, "arrays": [["x", "<f8", [1000000, 1000000]]]}',
        b'{"head": {}, "arrays": [["x", "<f8", [100000000]], ["y", "<f8", [100000000]]]}',
    ],
)
def test_a_head_out_of_bounds_is_refused(raw: bytes) -> None:
    with pytest.raises(TrainerError):
        head_of(raw)


def test_more_arrays_than_allowed_are_refused() -> None:
    with pytest.raises(TrainerError, match="at most 4096 arrays"):
        head_of(json.dumps({"head": {}, "arrays": [[str(i), "<f4", [0]] for i in range(5000)]}).encode())


@pytest.mark.parametrize("length", [0, MAX_HEAD_BYTES + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_it_is_read(length: int) -> None:
    with pytest.raises(TrainerError, match="wanted a head of"):
        read_frame(io.BytesIO(length.to_bytes(4, "big")))


@given(st.integers(1, 60))
def test_a_frame_cut_short_is_refused(cut: int) -> None:
    raw = b"".join(encode(Frame({"a": 1}, {"x": np.zeros(4, dtype=np.float32)})))
    with pytest.raises(TrainerError, match="the end after"):
        read_frame(io.BytesIO(raw[: max(4, len(raw) - cut)]))


def test_what_no_frame_may_hold_is_not_sent() -> None:
    with pytest.raises(TrainerError):
        encode(Frame({}, {"x": np.array(["a"], dtype=object)}))
    with pytest.raises(TrainerError):
        encode(Frame({}, {"x": np.zeros((1, 1, 1))}))
    with pytest.raises(ValueError, match="JSON"):
        encode(Frame({"x": float("nan")}))


def test_commands_survive_the_pipe() -> None:
    dataset = DatasetConfig(
        "d",
        {"t": "t.csv"},
        "SELECT 1",
        {"a": MappedColumn("b"), "c": MappedColumn(sql="d + 1", unit="m")},
        unit="p",
        exclude=Exclusion("o", "w"),
        held_out=HeldOut(0.25),
    )
    tables = StudyTables(columns={"a": {"type": "bool"}}, objectives=({"id": "o"},), model={"kind": "mlp", "hidden": [4]})
    for command in (Load(dataset=dataset, study=tables, objectives=("o",)), Update(clip_bound=1.5, seed="0" * 64), Summary()):
        assert parse_command(json.loads(json.dumps(dump_command(command)))) == command


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"command": "shell"},
        {"command": "summary", "more": 1},
        {"command": "update", "clip_bound": 0, "seed": "0" * 64},
        {"command": "update", "clip_bound": 1.0, "seed": "0"},
        {"command": "load", "dataset": {"name": "d", "files": {}, "query": "", "more": 1}, "study": {}, "objectives": []},
    ],
)
def test_a_command_out_of_bounds_is_refused(head: dict[str, Any]) -> None:
    with pytest.raises(TrainerError, match="trainer command"):
        parse_command(head)
