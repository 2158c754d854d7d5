"""Frames on the pipe between a party service and its trainer: a JSON head, then arrays as raw little-endian bytes.

    4 bytes  length of the head, big-endian
    n bytes  {"head": {…}, "arrays": [[name, dtype, [shape]], …]}
    …        the bytes of each array, in that order

Every size is checked before anything of it is read. Types are float32, float64, int64 and bool; nothing is ever unpickled.

    >>> parts = encode(Frame({"command": "summary"}))
    >>> head_of(parts[0][4:])[0]
    {'command': 'summary'}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from parley_party.errors import TrainerError

LENGTH_BYTES: Final = 4
MAX_HEAD_BYTES: Final = 4 << 20
MAX_ARRAYS: Final = 4096
MAX_ARRAY_BYTES: Final = 1 << 30  # of all arrays of a frame together
MAX_DIMENSIONS: Final = 2
_TYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "<f4": np.dtype("<f4"),
    "<f8": np.dtype("<f8"),
    "<i8": np.dtype("<i8"),
    "|b1": np.dtype("|b1"),
}
_PLACE_PARTS: Final = 3

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: a JSON object and named arrays."""

    head: Mapping[str, Any]
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """An array that follows a head."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return int(self.dtype.itemsize) * math.prod(self.shape)


def encode(frame: Frame) -> list[bytes]:
    """Return the frame as byte strings to be written one after the other; TrainerError if it is larger than a frame may be."""
    blocks = {name: np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")) for name, array in frame.arrays.items()}
    listed = [[name, array.dtype.str, list(array.shape)] for name, array in blocks.items()]
    head = json.dumps({"head": dict(frame.head), "arrays": listed}, allow_nan=False).encode()
    check_length(len(head))
    head_of(head)  # the other side's checks, before it is sent
    return [len(head).to_bytes(LENGTH_BYTES, "big") + head, *(array.tobytes() for array in blocks.values())]


def check_length(length: int) -> int:
    """Return the length of a head if it is allowed."""
    if not 0 < length <= MAX_HEAD_BYTES:
        raise TrainerError("frame", wanted=f"a head of 1 to {MAX_HEAD_BYTES} bytes", got=f"{length}")
    return length


def head_of(raw: bytes | bytearray) -> tuple[dict[str, Any], tuple[Place, ...]]:
    """Return a head and the arrays that follow it; TrainerError unless all is within bounds."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise TrainerError("frame", wanted="a head in JSON", got=f"{len(raw)} bytes of something else") from error
    if not isinstance(body, dict) or set(body) != {"head", "arrays"} or not isinstance(body["head"], dict):
        raise TrainerError("frame", wanted="head and arrays", got="other members")
    listed = body["arrays"]
    if not isinstance(listed, list) or len(listed) > MAX_ARRAYS:
        raise TrainerError("frame", wanted=f"a list of at most {MAX_ARRAYS} arrays", got="something else")
    places = tuple(_place(entry) for entry in listed)
    if len({place.name for place in places}) != len(places):
        raise TrainerError("frame", wanted="each array once", got="one twice")
    if (total := sum(place.size for place in places)) > MAX_ARRAY_BYTES:
        raise TrainerError("frame", wanted=f"at most {MAX_ARRAY_BYTES} bytes of arrays", got=f"{total}")
    return body["head"], places


def array_of(place: Place, raw: bytes | bytearray) -> NDArray[Any]:
    """Return the array whose bytes are `raw`, in this machine's byte order, writable."""
    array = np.frombuffer(raw, dtype=place.dtype).reshape(place.shape)
    return array.astype(place.dtype.newbyteorder("="), copy=not array.flags.writeable)


def read_frame(stream: BufferedIOBase) -> Frame | None:
    """Read one frame from a blocking stream; None at its end. TrainerError if it ends inside a frame or breaks a bound."""
    prefix = stream.read(LENGTH_BYTES)
    if not prefix:
        return None
    head, places = head_of(_exactly(stream, check_length(int.from_bytes(prefix, "big"))))
    return Frame(head, {place.name: array_of(place, _exactly(stream, place.size)) for place in places})


def _exactly(stream: BufferedIOBase, count: int) -> bytearray:
    buffer = bytearray(count)
    view, filled = memoryview(buffer), 0
    while filled < count:
        got = stream.readinto(view[filled:])
        if not got:
            raise TrainerError("frame", wanted=f"{count} bytes", got=f"the end after {filled}")
        filled += got
    return buffer


def _place(entry: object) -> Place:
    if not isinstance(entry, list) or len(entry) != _PLACE_PARTS:
        raise TrainerError("frame", wanted="name, type and shape of an array", got="something else")
    name, kind, shape = entry
    size = _shape(shape)
    dtype = _TYPES.get(kind) if isinstance(kind, str) else None
    if not isinstance(name, str) or dtype is None or size is None:
        raise TrainerError(
            f"array {name!r}", wanted=f"one of {', '.join(_TYPES)} with at most {MAX_DIMENSIONS} dimensions", got=f"{kind!r} {shape!r}"
        )
    return Place(name, dtype, size)


def _shape(shape: object) -> tuple[int, ...] | None:
    """Return a shape, or None if it is none that a frame may hold."""
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        return None
    sizes = tuple(size for size in shape if isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_ARRAY_BYTES)
    return sizes if len(sizes) == len(shape) else None
