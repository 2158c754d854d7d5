"""The picture of what the gateway could read: one contribution at home, as it was received, and inside the sum that was opened.

While a round runs, a second name (a hard link) is given to one sealed body in the gateway's spool, so that it outlives the round's end.
Afterwards the members' updates of that round are computed again, each in its own party's folder, from the same version of the model and the
same seed as then: training is a function of those. Their sum must have the digest that the log gives for the opened sum.

Imports torch, in the demo's own process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from parley_audit.report.facts import Histogram, PictureFacts
from parley_crypto import ring
from parley_crypto.ring import RingVector
from parley_gateway.sums import sums_path
from parley_party import config as party_config
from parley_party.datasource import read_dataset
from parley_party.datasource_config import dataset_config
from parley_party.publicstate import PublicState, StudyMath
from parley_party.reading import StudyView
from parley_policies.negotiation.terms import EncodingTerms, StepTerms
from parley_protocol.bound import body_size, segment_size
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.records import Participation

from parley.demo_folders import party_file
from parley.demo_plan import DemoPlan
from parley.demo_policies import DATASET
from parley.demo_studies import DemoStudy

PICTURED: Final = "insurer-fl"
TRUNK: Final = "trunk"
BINS: Final = 48
_CAUGHT: Final = "caught"
_LOOK_SECONDS: Final = 0.005
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LEAST_BYTES: Final = 1_024  # a body of the first step, a summary, is smaller: wanted is one of training


async def catch_one(plan: DemoPlan, study: DemoStudy, soon: asyncio.Event) -> None:
    """Once `soon` is set, keep the next sealed body of training that arrives in the gateway's spool from the pictured party."""
    spool, kept = plan.gateway / "data" / "spool" / PICTURED, plan.work / _CAUGHT
    kept.mkdir(exist_ok=True)
    await soon.wait()
    while True:
        for path in _bodies(spool):
            with contextlib.suppress(FileNotFoundError):  # its round was closed while we looked
                if path.stat().st_size >= _LEAST_BYTES:
                    _keep(path, kept / f"{study.id}-{path.name}")
                    return
        await asyncio.sleep(_LOOK_SECONDS)


def caught(plan: DemoPlan, study: str) -> tuple[str, bytes] | None:
    """Return the digest and the bytes of the body that was kept of a study, None if none was."""
    for path in sorted((plan.work / _CAUGHT).glob(f"{study}-*")):
        raw = path.read_bytes()
        digest = blake3(raw).hexdigest()
        if path.name == f"{study}-{digest}":
            return digest, raw
    return None


def _bodies(spool: Path) -> Sequence[Path]:
    try:
        return [path for path in spool.iterdir() if _DIGEST.fullmatch(path.name)]
    except FileNotFoundError:
        return []


def _keep(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without second names
        shutil.copyfile(path, kept)


@dataclass(frozen=True, slots=True)
class Pictured:
    """What the picture needs of one certified round: its list, what was opened, and the public state that it began from."""

    listed: SurvivorList
    opened: Opened
    state: PublicState


def draw(
    plan: DemoPlan, math: StudyMath, views: Mapping[str, StudyView], round_of: Pictured, record: Participation, digest: str, body: bytes
) -> PictureFacts:
    """Return the picture of the pictured party's contribution to a round; `views` are the parties' own views of the study."""
    step, encoding = math.workload(round_of.state), math.encoding(math.workload(round_of.state))
    parts = {party: _encoded_update(plan, math, party, views[party], round_of.state) for party in sorted(round_of.listed.parties)}
    sums = {
        segment.name: _total([mine[segment.name] for mine in parts.values() if segment.name in mine])
        for segment in round_of.opened.segments
    }
    right = _are_opened(sums_path(plan.gateway / "data" / "sums", math.terms.study, round_of.listed.round), step, sums, round_of.opened)
    length = step.segment(TRUNK).length
    own = [segment.name for segment in step.segments if PICTURED in segment.members]
    before = body_size(step, own[: own.index(TRUNK)])
    sealed = ring.from_bytes(body[before:][: length * step.encoding.width // 8], length, step.encoding.width)
    update, total = encoding.decode(parts[PICTURED][TRUNK]), encoding.decode(sums[TRUNK])
    received = as_if_clear(sealed, step.encoding)
    return PictureFacts(
        party=PICTURED,
        study=math.terms.study,
        round=round_of.listed.round,
        coordinates=length,
        members=len(round_of.listed.parties),
        update=histogram(update),
        sealed=histogram(received),
        opened=histogram(total),
        alike_sealed=alike(update, received),
        alike_opened=alike(update, total),
        body=digest,
        recorded=any(joined.round == round_of.listed.round and joined.body == digest for joined in record.joined),
        sum_checked=right,
    )


def _are_opened(path: Path, step: StepTerms, sums: Mapping[str, RingVector], opened: Opened) -> bool:
    """Say whether the bytes that the gateway signed for, and kept, are these sums, each with its tags behind it."""
    kept, offset = path.read_bytes(), 0
    for segment in opened.segments:
        part = kept[offset : offset + segment_size(step, segment.name)]
        if blake3(part).hexdigest() != segment.body or not part.startswith(ring.to_bytes(sums[segment.name])):
            return False
        offset += len(part)
    return True


def _encoded_update(plan: DemoPlan, math: StudyMath, party: str, view: StudyView, state: PublicState) -> Mapping[str, RingVector]:
    """Compute a party's update again in its own folder, as its trainer did, and encode it as its service did."""
    import torch  # noqa: PLC0415 - takes a second
    from parley_learning.rows import local_rows  # noqa: PLC0415 - with torch
    from parley_learning.workloads.train import make_update, own_parts  # noqa: PLC0415

    config = party_config.load(party_file(plan, party))
    torch.set_num_threads(config.training.threads)  # as the trainer: with another number the order of additions differs
    dataset, _ = read_dataset(dataset_config(config, DATASET), math.learning.columns.needed(view.objectives))
    rows = local_rows(math.learning, dataset.training(), math.scaling(state), view.objectives)
    update = make_update(math.learning, rows, state.parameters, math.terms.clip_bound, math.training_seed(state, party))
    step = math.workload(state)
    mine = {segment.name for segment in step.segments if party in segment.members}
    factor, encoding = math.factor(party), math.encoding(step)
    parts = own_parts(math.learning, view.objectives, update)
    return {name: encoding.encode(part.astype(np.float64) * factor) for name, part in parts.items() if name in mine}


def _total(vectors: Sequence[RingVector]) -> RingVector:
    total = vectors[0].copy()
    for vector in vectors[1:]:
        ring.add_into(total, vector)
    return total


def as_if_clear(sealed: RingVector, encoding: EncodingTerms) -> NDArray[np.float64]:
    """Return sealed ring elements read as if they were an encoded update: no decoder takes them, they lie beyond every bound."""
    signed = sealed.astype(np.dtype(f"<i{encoding.width // 8}"))
    return signed.astype(np.float64) / 2.0**encoding.fraction_bits


def histogram(values: NDArray[np.float64]) -> Histogram:
    """Return the values in equal bins between their own ends, symmetric around 0."""
    high = float(np.abs(values).max()) or 1.0
    counts, _ = np.histogram(values, bins=BINS, range=(-high, high))
    return Histogram(-high, high, tuple(int(count) for count in counts))


def alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the correlation of two vectors, 0 where one of them does not vary."""
    if not one.std() or not other.std():
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
