"""Opening a certified round: from sealed updates in the spool to a file of plain sums. Runs in a thread, one update at a time.

Opening is a function of the round's state and the spool, so that doing it again after a crash writes the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from blake3 import blake3
from parley_crypto import ring
from parley_crypto.ring import RingVector
from parley_protocol import opening
from parley_protocol.bound import own_segments
from parley_protocol.errors import LocalProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.messages import Opened, OpenedSegment, SurvivorList


def sums_path(folder: Path, study: str, number: int) -> Path:
    """Return the file of a round's opened sums: the opened segments' ring bytes, one after the other in the step's order."""
    return folder / study / f"{number}.sums"


def open_round(state: GatewayRound, bodies: Mapping[str, Path], path: Path) -> Opened:
    """Open the sums of a certified round, write them durably to `path`, and return the statement to sign.

    `bodies` are the survivors' sealed updates. RemoteProtocolError names whose shared secret is wrong.
    """
    listed = _listed(state)
    step, rebuilt = state.spec.workload, opening.rebuild(state)
    segments = []
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for name in listed.openable:
            terms = step.segment(name)
            members = [party for party in sorted(listed.parties) if party in terms.members]
            total = opening.open_segment(state, rebuilt, name, _uploads(state, bodies, members, name))
            raw = ring.to_bytes(total)
            file.write(raw)
            segments.append(OpenedSegment(name=name, length=terms.length, parties=len(members), body=blake3(raw).hexdigest()))
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    _sync(path.parent)
    return Opened(
        study=listed.study,
        agreement=listed.agreement,
        round=listed.round,
        base=listed.base,
        certificate=listed.digest(),
        segments=tuple(segments),
    )


def _listed(state: GatewayRound) -> SurvivorList:
    if state.listed is None:
        raise LocalProtocolError(f"round {state.spec.round}: opening needs a certificate")
    return state.listed


def _uploads(state: GatewayRound, bodies: Mapping[str, Path], members: list[str], name: str) -> Iterator[RingVector]:
    step = state.spec.workload
    dtype = ring.dtype_of(step.encoding.width)
    for party in members:
        offset = 0
        for segment in own_segments(step, state.live, party):
            if segment == name:
                break
            offset += step.segment(segment).length * dtype.itemsize
        yield np.fromfile(bodies[party], dtype=dtype, count=step.segment(name).length, offset=offset)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
