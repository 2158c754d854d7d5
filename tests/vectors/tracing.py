"""Whole rounds as vectors: every message in the order it was sent, with all secrets it was made from.

The simulator runs the real state machines; here each message is written down as it crosses the wire. Vectors of members come from
SHAKE-256, whose bytes no library changes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from parley_crypto import ring
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_crypto.statement import canonical_json
from parley_policies.negotiation.terms import Terms, graph_of
from parley_protocol.ids import Phase
from parley_protocol.phases import GATEWAY, Event

from tests.simulator import GATEWAY_KEY, GRAPH_SEED, MEMBERS_KEY, START, SimParty, Simulation, make_terms, party_ids

Json = dict[str, Any]

FOUR: Final = party_ids(4)
FIVE: Final = party_ids(5)


@dataclass
class Traced(Simulation):
    """A federation that writes down its messages."""

    messages: list[Json] = field(default_factory=list)

    def vector(self, party: str, segment: str) -> RingVector:
        step = self.terms.steps[0]
        encoding, length = step.encoding, step.segment(segment).length
        largest = int(encoding.bound * (1 << encoding.fraction_bits))
        raw = hashlib.shake_256(f"{party}/{segment}/{self.round}".encode()).digest(8 * length)
        values = [int.from_bytes(raw[8 * i : 8 * i + 8], "big") % (2 * largest + 1) - largest for i in range(length)]
        vector = np.array(values, dtype=np.int64).astype(ring.dtype_of(encoding.width))
        self.plain[(party, segment)] = vector.copy()
        return vector

    def post(self, party: str, kind: str, raw: bytes) -> None:
        message = {"from": party, "to": "gateway", "kind": str(kind), "body": json.loads(raw)}
        late = Event(kind) not in GATEWAY.get(self.state.phase, {})  # the gateway had enough of them
        self.messages.append(message | {"late": True} if late else message)
        super().post(party, kind, raw)

    def _deliver(self, to: str, kind: str, raw: bytes) -> None:
        self.messages.append({"from": "gateway", "to": to, "kind": str(kind), "body": json.loads(raw)})
        super()._deliver(to, kind, raw)


def opened_round(terms: Terms, drops: dict[str, Phase]) -> tuple[Traced, Json]:
    """Return a federation after its first round, and that round as a vector."""
    traced = Traced(terms)
    traced.run(drops)
    assert traced.state.phase is Phase.CLOSED
    assert not any(party.refusals for party in traced.parties.values())
    state = traced.state
    assert state.listed is not None
    assert traced.unmasking is not None
    vector = _inputs(terms, "round opened: " + ", ".join(f"{party} drops out in {phase}" for party, phase in drops.items()))
    return traced, vector | _sent(traced) | {
        "base": state.base,
        "certificate": state.listed.digest(),
        "survivor_list": json.loads(state.listed.canonical()),
        "next": {"number": 1, "parameters": traced.parties[FOUR[0]].parameters, "base": traced.parties[FOUR[0]].base},
        "unmasking": json.loads(traced.unmasking.canonical()),
        "handed_out": {name: raw.hex() for name, raw in traced.raw.items()},
        "sums": {name: _signed(total) for name, total in traced.sums.items()},
    }


def graph_round() -> Json:
    """Return a round among neighbours as a vector: of each message its SHA-256 and what the gateway chose."""
    terms = make_terms(52, segments={"trunk": (2, None), "head:risk": (1, [0, 1, 2, 3])})
    terms = terms.model_copy(update={"graph": graph_of(52, terms.max_colluders, terms.threshold)})
    _, vector = opened_round(terms, {terms.members[7].party: Phase.COLLECT})
    return vector | {
        "graph_seed": GRAPH_SEED.hex(),
        "messages": [_digested(message) for message in vector["messages"]],
        "uploads": {party: hashlib.sha256(bytes.fromhex(body)).hexdigest() for party, body in vector["uploads"].items()},
        "unmasking": hashlib.sha256(canonical_json(vector["unmasking"])).hexdigest(),
    }


def _digested(message: Json) -> Json:
    """Return a message without its body, but for what the gateway chose in it."""
    chosen = {name: value for name, value in message["body"].items() if name == "signers"}
    if message["kind"] == "opened":
        chosen["certificate"] = bool(message["body"]["certificate"])
    named = {name: value for name, value in message.items() if name != "body"}
    return named | {"sha256": hashlib.sha256(canonical_json(message["body"])).hexdigest(), "body": chosen}


def released_round() -> tuple[Traced, Json]:
    """Return a federation after a round that could not be finished and was released, and that round as a vector."""
    terms = width_32()
    traced = Traced(terms)
    traced.run({FOUR[2]: Phase.COLLECT, FOUR[3]: Phase.ADVERTISE})
    traced.come_back(FOUR[3])
    assert traced.state.phase is Phase.RELEASED
    about = f"round released: {FOUR[2]} drops out in COLLECT, {FOUR[3]} was never in it and comes back later"
    return traced, _inputs(terms, about) | _sent(traced)


def _sent(traced: Traced) -> Json:
    vectors = {
        name: {party: _signed(traced.plain[party, name]) for party in members if (party, name) in traced.plain}
        for name, members in _segments(traced.terms).items()
    }
    uploads = {party: body.hex() for party, body in sorted(traced.bodies.items())}
    return {"vectors": vectors, "uploads": uploads, "messages": traced.messages}


def width_32() -> Terms:
    """Return the terms of four members, two segments, 32 bits."""
    return make_terms(4, segments={"trunk": (9, None), "head:risk": (4, [0, 1, 2])})


def width_64() -> Terms:
    """Return the terms of five members, two segments with a dropout in both, 64 bits, sums that only the parties read."""
    terms = make_terms(5, segments={"trunk": (3, None), "head:risk": (2, [0, 1, 2, 3])}, width=64)
    return terms.model_copy(update={"opened_sums_readable_by": "parties"})


def width_16() -> Terms:
    """Return the terms of four members, one segment, 16 bits."""
    return make_terms(4, segments={"trunk": (11, None)}, width=16)


def round_seed(party: str, number: int = 1) -> bytes:
    """Return what a simulated party draws at the beginning of a round."""
    return hashlib.sha256(f"{party}/{number}/seed".encode()).digest()


def member(terms: Terms, party: str) -> SimParty:
    """Return a member that has done nothing yet."""
    return Traced(terms).parties[party]


def _inputs(terms: Terms, about: str) -> Json:
    ids = [row.party for row in terms.members]
    return {
        "about": about,
        "terms": json.loads(terms.canonical()),
        "agreement": terms.digest(),
        "round": 1,
        "parameters": START,
        "members_key": MEMBERS_KEY.hex(),
        "gateway_key_seed": GATEWAY_KEY.seed().hex(),
        "identity_seeds": {party: hashlib.sha256(party.encode()).hexdigest() for party in ids},
        "round_seeds": {party: round_seed(party).hex() for party in ids},
    }


def _segments(terms: Terms) -> dict[str, tuple[str, ...]]:
    return {segment.name: segment.members for segment in terms.steps[0].segments}


def _signed(vector: RingVector) -> list[str]:
    """Return coordinates as signed decimal numbers, in text: JSON readers do not agree on numbers beyond 2^53."""
    return [str(value) for value in vector.view(np.dtype(f"<i{vector.dtype.itemsize}")).tolist()]


def payload(message: Json) -> Json:
    """Return the statement in a post's envelope."""
    content: Json = json.loads(Envelope.load(message["body"]["statement"].encode()).payload)
    return content
