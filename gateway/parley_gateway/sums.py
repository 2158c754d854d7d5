"""Opening a certified round: from sealed updates in the spool to a file of plain sums. Runs in a thread, one update at a time.

Updates are mapped, not read: adding takes them from the page cache, and memory is the sum and the mapped pages of one update.
Opening is a function of the round's state and the spool, so that doing it again after a crash writes the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from blake3 import blake3
from parley_crypto import ring
from parley_crypto.ring import RingVector
from parley_protocol import opening
from parley_protocol.bound import body_size, own_segments, segment_size
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.messages import Opened, OpenedSegment
from parley_protocol.unmasking import Unmasking, unmasking_of


def sums_path(folder: Path, study: str, number: int) -> Path:
    """Return the file of a round's opened sums: the opened segments' sums, each with its tags, in the step's order."""
    return folder / study / f"{number}.sums"


def open_round(state: GatewayRound, bodies: Mapping[str, Path], path: Path) -> tuple[Opened, Unmasking]:
    """Open the sums of a certified round, write them durably to `path`; return the statement to sign, and what took the masks off.

    `bodies` are the survivors' sealed updates. RemoteProtocolError names whose shared secret is wrong.
    """
    listed = state.require_listed()
    step, masks = state.spec.workload, opening.rebuild(state)
    segments = []
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for name in listed.openable:
            terms = step.segment(name)
            members = [party for party in sorted(listed.parties) if party in terms.members]
            total, tags = opening.open_segment(masks, name, _uploads(state, bodies, members, name))
            digest = write_sum(file, total, tags)
            segments.append(OpenedSegment(name=name, length=terms.length, parties=len(members), body=digest))
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    _sync(path.parent)
    opened = Opened(
        study=listed.study,
        agreement=listed.agreement,
        round=listed.round,
        base=listed.base,
        certificate=listed.digest(),
        segments=tuple(segments),
    )
    return opened, unmasking_of(state, masks)


def _uploads(state: GatewayRound, bodies: Mapping[str, Path], members: list[str], name: str) -> Iterator[opening.Sealed]:
    step = state.spec.workload
    length, width = step.segment(name).length, step.encoding.width
    for party in members:
        segments = own_segments(step, state.live, party)
        offset = body_size(step, segments[: segments.index(name)])
        tags_at = offset + length * width // 8
        yield mapped(bodies[party], offset, length, width), _read(bodies[party], tags_at, offset + segment_size(step, name))


def _read(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def mapped(path: Path, offset: int, length: int, width: int) -> RingVector:
    """Return a read-only view of `length` coordinates of a file, from byte `offset` on; its pages are let go with the view."""
    return np.memmap(path, dtype=ring.dtype_of(width), mode="r", offset=offset, shape=(length,))


def write_sum(file: BinaryIO, vector: RingVector, tags: bytes) -> str:
    """Write a sum's wire bytes, its tags after it, and return their BLAKE3, without a copy of the vector."""
    raw = vector.astype(vector.dtype.newbyteorder("<"), copy=False).data.cast("B")
    file.write(raw)
    file.write(tags)
    return blake3(raw).update(tags).hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
