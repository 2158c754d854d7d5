"""Sealing, proving and opening one segment of a million coordinates, in processor time of one thread, against the primitives it is made of.

The floor is one mask at the limit of the library: AES-256-GCM over zeros into one block that stays in the cache, and the block added.
Floor and product are timed in turns and the fastest of each is kept, so that a busy machine slows both. What is timed is also checked:
the opened sum must be the plain one. Rows that begin with "floor" are baselines and have no goal. The goals in milliseconds alone,
of unmasking and tags, were read on a machine whose keystream runs at 21 GB/s: on a slower one the floor says what is possible.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from parley_crypto import ring, sharing, sumproof
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedOpening, MaskedSealing
from parley_crypto.ring import RingVector

from benchmarks.harness import Row

LENGTH: Final = 1_000_000
REPEATS: Final = 15
FLOOR_MASKS: Final = 8  # in a row, so that it runs warm as the product does
MASKS: Final = (8, 24, 30)
SLACK: Final = 1.5
MEMBERS, DROPOUTS, DEGREE, THRESHOLD = 100, 30, 34, 11  # what the neighbour graph computes for a tenth colluding and .3 dropping
UNMASK_GOALS: Final = {0: 45.0, DROPOUTS: 300.0}
_BLOCK: Final = 256 * 1024
_CONTEXT: Final = Context("a" * 64, 1, "b" * 64, "trunk")


def rows(length: int = LENGTH, repeats: int = REPEATS) -> list[Row]:
    """Measure with vectors of `length` coordinates of 32 bits; goals are for a million."""
    return [*_seal_rows(length, repeats), *_proof_rows(length, repeats), *_add_rows(length, repeats), *_unmask_rows(length, repeats)]


def milliseconds(repeats: int, *actions: Callable[[], object]) -> list[float]:
    """Return the least processor time of each action in ms, of `repeats` turns in which each runs once."""
    best = [float("inf")] * len(actions)
    for _ in range(repeats):
        for index, action in enumerate(actions):
            start = time.process_time()
            action()
            best[index] = min(best[index], 1e3 * (time.process_time() - start))
    return best


def secret(*parts: object) -> bytes:
    """Return 32 bytes that are the same in every run."""
    return hashlib.sha256(repr(parts).encode()).digest()


def floor_masks(length: int) -> Callable[[], None]:
    """Return the floor, FLOOR_MASKS times: keystream for `length` coordinates, block by block, each added to one block in the cache."""
    cipher, zeros, buffer = AESGCM(secret("floor")), memoryview(bytes(_BLOCK)), bytearray(_BLOCK + 16)
    block = ring.zeros(_BLOCK // 4, 32)

    def masks() -> None:
        for number, start in enumerate([*range(0, 4 * length, _BLOCK)] * FLOOR_MASKS):
            size = min(_BLOCK, 4 * length - start)
            cipher.encrypt_into(number.to_bytes(12, "big"), zeros[:size], None, memoryview(buffer)[: size + 16])
            np.add(block[: size // 4], np.frombuffer(buffer, dtype=block.dtype, count=size // 4), out=block[: size // 4])

    return masks


def _keystream_rate(repeats: int) -> float:
    cipher, zeros, buffer = AESGCM(secret("rate")), bytes(_BLOCK), bytearray(_BLOCK + 16)

    def sixteen_blocks() -> None:
        for number in range(16):
            cipher.encrypt_into(number.to_bytes(12, "big"), zeros, None, buffer)

    return 16 * _BLOCK / 1e6 / milliseconds(repeats, sixteen_blocks)[0]


def _sealing(masks: int) -> MaskedSealing:
    half = masks // 2
    pair = [secret("pair", index) for index in range(masks)]
    return MaskedSealing(secret("self"), tuple(pair[:half]), tuple(pair[half:]))


def _seal_rows(length: int, repeats: int) -> list[Row]:
    found, ratio = [], 0.0
    floor = float("inf")
    for masks in MASKS:
        vector, sealing = ring.zeros(length, 32), _sealing(masks)
        sealed, floor = milliseconds(repeats, partial(sealing.seal, vector), floor_masks(length))
        floor /= FLOOR_MASKS
        found.append(Row(f"seal_k{masks}_ms", sealed, "ms", SLACK * (masks + 1) * floor, "<="))
        ratio = sealed / ((masks + 1) * floor)
    return [
        *found,
        Row("seal_k30_over_limit", ratio, "× limit", SLACK, "<="),
        Row("floor: one mask", floor, "ms"),
        Row("floor: keystream", _keystream_rate(repeats), "GB/s"),
    ]


def _proof_rows(length: int, repeats: int) -> list[Row]:
    vector = np.frombuffer(np.random.default_rng(1).bytes(4 * length), dtype=ring.dtype_of(32))
    key = secret("proof")
    tags = sumproof.tags(vector, key, "p")
    sealed, checked = milliseconds(repeats, lambda: sumproof.tags(vector, key, "p"), lambda: sumproof.check(vector, tags, key, ("p",)))
    return [Row("sumproof_ms (seal both tags)", sealed, "ms", 3.0, "<="), Row("sumproof_ms (check)", checked, "ms", 4.0, "<=")]


def _add_rows(length: int, repeats: int) -> list[Row]:
    """An upload read, a sum read, a sum written: three vectors move. Memory's own rate is read off a copy, which moves two."""
    total, upload = ring.zeros(length, 32), ring.zeros(length, 32) + np.uint32(1)
    raw = memoryview(ring.to_bytes(upload))
    added, copied = milliseconds(
        4 * repeats, lambda: ring.add_into(total, np.frombuffer(raw, dtype=total.dtype)), lambda: np.copyto(upload, total)
    )
    moved = 1.5 * copied
    return [Row("add_upload_over_memory", added / moved, "× memory", 2.0, "<="), Row("floor: three vectors moved", moved, "ms")]


@dataclass(frozen=True, slots=True)
class _Cohort:
    """A masked sum over a neighbour graph before it is opened: the shares that survivors revealed, and what must come out."""

    public: dict[str, bytes]
    seeds: dict[str, dict[int, bytes]]  # survivor -> shares by rank in its neighbourhood
    mask_keys: dict[str, dict[int, bytes]]  # dropout -> the same
    neighbours: dict[str, tuple[str, ...]]
    masked: RingVector
    plain: int

    def opening(self) -> MaskedOpening:
        """Return the running sum, all uploads in it."""
        opening = MaskedOpening(_CONTEXT, self.masked.size, 32)
        opening.combine(self.masked)
        return opening

    def unmask(self, opening: MaskedOpening) -> None:
        """Rebuild what was shared, and open: what is timed."""
        for party, shares in self.seeds.items():
            opening.remove_self(party, sharing.combine(shares, threshold=THRESHOLD))
        for dropout, shares in self.mask_keys.items():
            key = AgreementKey(sharing.combine(shares, threshold=THRESHOLD))
            survivors = {peer: self.public[peer] for peer in self.neighbours[dropout] if peer in self.seeds}
            opening.remove_dropout(dropout, key, survivors)
        opening.open()


def _cohort(length: int, dropouts: int) -> _Cohort:
    ids = [f"p{index:03d}" for index in range(MEMBERS)]
    order = [ids[index] for index in np.random.default_rng(2).permutation(MEMBERS)]  # the ring that neighbours sit in
    around = range(-DEGREE // 2, DEGREE // 2 + 1)
    neighbours = {party: tuple(order[(at + step) % MEMBERS] for step in around if step) for at, party in enumerate(order)}
    keys = {party: AgreementKey(secret("mask key", party)) for party in ids}
    survivors = ids[dropouts:]
    masked = ring.zeros(length, 32)
    for number, party in enumerate(survivors):
        peers = {peer: keys[peer].public for peer in neighbours[party]}
        vector = ring.zeros(length, 32) + np.uint32(number)
        MaskedSealing.prepare(_CONTEXT, me=party, self_seed=secret("seed", party), mask_key=keys[party], peers=peers).seal(vector)
        ring.add_into(masked, vector)
    alive = set(survivors)
    return _Cohort(
        {party: key.public for party, key in keys.items()},
        {party: _revealed(secret("seed", party), neighbours[party], alive) for party in survivors},
        {party: _revealed(secret("mask key", party), neighbours[party], alive) for party in ids[:dropouts]},
        neighbours,
        masked,
        sum(range(len(survivors))),
    )


def _revealed(value: bytes, holders: Sequence[str], alive: set[str]) -> dict[int, bytes]:
    shares = sharing.split(value, threshold=THRESHOLD, count=len(holders), seed=value)
    return {rank: share for rank, (holder, share) in enumerate(zip(holders, shares, strict=True), 1) if holder in alive}


def _unmask_rows(length: int, repeats: int) -> list[Row]:
    found = []
    for dropouts, goal in UNMASK_GOALS.items():
        cohort = _cohort(length, dropouts)
        best, floor = _fastest_unmask(cohort, max(1, repeats // 3))
        pairs = sum(peer in cohort.seeds for dropout in cohort.mask_keys for peer in cohort.neighbours[dropout])
        masks = len(cohort.seeds) + pairs
        found += [
            Row(f"unmask_n{MEMBERS}_drop{dropouts}_ms", best, "ms", goal, "<="),
            Row(f"floor: {masks} masks", masks * floor, "ms"),
        ]
    return found


def _fastest_unmask(cohort: _Cohort, repeats: int) -> tuple[float, float]:
    best, floor = float("inf"), float("inf")
    for _ in range(repeats):
        opening = cohort.opening()
        unmasked, masked = milliseconds(1, partial(cohort.unmask, opening), floor_masks(cohort.masked.size))
        best, floor = min(best, unmasked), min(floor, masked / FLOOR_MASKS)
        if (opening.open() != cohort.plain).any():
            raise ArithmeticError(f"opened sum of {len(cohort.seeds)} survivors: wanted {cohort.plain} everywhere, got something else")
    return best, floor
