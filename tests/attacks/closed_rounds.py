"""A closed round with all that its gateway holds: what a member is handed to recompute it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from parley_crypto import ring, sumproof
from parley_crypto.masked import Context
from parley_crypto.tagsize import tag_bits
from parley_policies.negotiation.terms import Terms
from parley_protocol.cohort import Cohort
from parley_protocol.ids import Phase
from parley_protocol.messages import Opened, OpenedSegment, SurvivorList
from parley_protocol.proving import check_sums
from parley_protocol.unmasking import Recomputation, Unmasking

from tests.simulator import MEMBERS_KEY, Simulation


@dataclass(frozen=True)
class Closed:
    """A closed round as the gateway can show it."""

    cohort: Cohort
    listed: SurvivorList
    found: Unmasking
    bodies: dict[str, bytes]
    opened: Opened
    raw: dict[str, bytes]  # the true sums with their tags

    def recomputed(self, opened: Opened | None = None, **bodies: bytes) -> None:
        """Let a member recompute the round, with some sealed updates altered, against what the gateway signed for."""
        work = Recomputation(self.cohort, self.listed, self.found)
        for party in work.uploads:
            work.take(party, bodies.get(party, self.bodies[party]))
        work.check(opened or self.opened)


def statement(terms: Terms, listed: SurvivorList, raw: Mapping[str, bytes]) -> Opened:
    """Return what a gateway signs for that says that these are the sums."""
    step = terms.steps[listed.step]
    rows = (
        OpenedSegment(name=name, length=step.segment(name).length, parties=len(listed.parties), body=blake3(body).hexdigest())
        for name, body in raw.items()
    )
    bound = {name: getattr(listed, name) for name in ("study", "agreement", "round", "base")}
    return Opened.model_validate({**bound, "certificate": listed.digest(), "segments": tuple(row.model_dump() for row in rows)})


def closing(simulation: Simulation, drops: Mapping[str, Phase]) -> Closed:
    """Run a round, and keep what the gateway holds when it opens it."""
    assert simulation.run(drops) is Phase.CLOSED
    state = simulation.state
    assert state.listed is not None
    assert simulation.unmasking is not None
    return Closed(
        state.spec.cohort,
        state.listed,
        Unmasking.parse(simulation.unmasking.canonical()),
        dict(simulation.bodies),
        statement(simulation.terms, state.listed, simulation.raw),
        dict(simulation.raw),
    )


def forged(terms: Terms, one: Closed, name: str) -> dict[str, bytes]:
    """Return sums with one segment of the gateway's choice, that pass every member's check: it has the members' key."""
    sums, step = dict(one.raw), terms.steps[one.listed.step]
    segment, width = step.segment(name), step.encoding.width
    bits = tag_bits(width)
    total = ring.from_bytes(sums[name][: segment.length * width // 8], segment.length, width).copy()
    total[0] += np.ones(1, dtype=total.dtype)[0]
    key = Context(one.listed.agreement, one.listed.round, one.listed.base, name).proof_key(MEMBERS_KEY)
    first, *others = sorted(one.listed.parties & segment.member_set)
    rows = [sumproof.tags(total, key, first), *(sumproof.tags(np.zeros_like(total), key, party) for party in others)]
    tags = (sum(row[0] for row in rows) % (1 << bits), sum(row[1] for row in rows) % (1 << bits))
    sums[name] = ring.to_bytes(total) + sumproof.to_bytes(tags, bits)
    taken = check_sums(terms, one.listed, sums, MEMBERS_KEY)
    assert np.array_equal(taken[name], total)  # nothing else stands between it and the model
    return sums
