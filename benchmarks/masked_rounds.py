"""Rounds of state machines in memory: what a round costs in processor time and in bytes, by phase, beside the primitives it is made of.

All parties and the gateway run in one process and one thread, on the simulator that tests use: real cryptography, encoded bytes on the
wire, no disk and no HTTP. Each party verifies everything itself; what is shared is the agreement, with its members' parsed public keys.
Vectors are short, so that only the protocol is timed. Terms are those of an agreement in which a tenth of the members may collude, with the
neighbour graph that it would print.

`keys_k30_over_primitives` is the processor time of one party of thirty from ADVERTISE to REVEAL, reading relays as bytes, over that of the
library calls it cannot do without (`Primitives`), in turns in the same run. Control bytes are those of the messages of one party in one
round, both ways, as the services frame them: with the opening message and its log proof, without uploads and without HTTP's headers. Bytes
a parameter are those of an upload's body over its coordinates, the two tags of a segment counted as the coordinates whose room they take.

    python -m benchmarks.masked_rounds [--json | --profile]
"""

from __future__ import annotations

import cProfile
import hashlib
import pstats
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.signing import VerifyKey as SodiumKey
from parley_crypto import sharing
from parley_crypto.derive import derive
from parley_crypto.tags import Tag
from parley_crypto.tagsize import tag_bytes
from parley_policies.negotiation.terms import Terms, graph_of, required_threshold
from parley_protocol.codec import OPEN, load_relay
from parley_protocol.effects import SealNow, Send
from parley_protocol.ids import Phase
from parley_protocol.limits import KIB
from parley_protocol.party_round import PartyRound
from parley_protocol.party_spec import PartySpec
from parley_protocol.phases import Event
from parley_protocol.relays import LogProof, RoundOpen

from benchmarks.harness import Row, run
from benchmarks.masked_seal import milliseconds, secret
from tests.simulator import Simulation, make_terms

REPEATS: Final = {5: 9, 30: 3, 50: 1, 100: 1, 500: 1}  # rounds of so many members, of which the fastest counts
KEYS_MEMBERS: Final = 30
KEYS_REPEATS: Final = 20
MILLION: Final = 1_000_000
PHASES: Final = {Event.KEYS: "share", Event.BOXES: "collect", Event.LIST: "confirm", Event.CERTIFIED: "reveal", Event.OPENED: "open"}
_LOG_LEAVES: Final = 1 << 14  # in the log that a round's opening is proven in: rounds and agreements so far
_SHOWN: Final = 25


def terms_of(members: int, *, colluders: int | None = None, full: bool = False, length: int = 8, width: int = 32) -> Terms:
    """Return terms for so many members of which, if nothing is said, a tenth may collude; `full` leaves the neighbour graph out."""
    count = max(1, members // 10) if colluders is None else colluders
    graph = graph_of(members, count, required_threshold(members, count, gateway_may_lie=True))
    shape = {"trunk": (length, None)}
    return make_terms(members, colluders=count, floor=count + 2, segments=shape, width=width, graph=None if full else graph)


@dataclass
class TimedSimulation(Simulation):
    """A simulation that counts processor time by phase and message bytes by party."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    control: Counter[str] = field(default_factory=Counter)
    relays: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)  # of the parties named in it
    _opening: float = 0.0

    def open_round(self) -> None:
        """Open the round: ADVERTISE."""
        start = time.process_time()
        super().open_round()
        self.seconds["advertise"] += time.process_time() - start
        for party in self.parties:
            self._count(party, OPEN, opening_message(self))

    def post(self, party: str, kind: str, raw: bytes) -> None:
        """Count a party's message."""
        self._count(party, kind, raw)
        super().post(party, kind, raw)

    def _count(self, party: str, kind: str, raw: bytes) -> None:
        self.control[party] += len(b'{"kind":"%b","study":"%b","body":%b}' % (kind.encode(), self.terms.study.encode(), raw))

    def _deliver(self, to: str, kind: str, raw: bytes) -> None:
        self._count(to, kind, raw)
        if to in self.relays:
            self.relays[to].append((kind, raw))
        start, opened = time.process_time(), self._opening
        super()._deliver(to, kind, raw)
        self.seconds[PHASES.get(Event(kind), kind)] += time.process_time() - start - (self._opening - opened)

    def _open(self) -> None:
        start = time.process_time()
        super()._open()
        self._opening += time.process_time() - start
        self.seconds["open"] += time.process_time() - start


def opening_message(simulation: Simulation) -> bytes:
    """Return the message that opens a round, with the longest proofs in a log of so many leaves."""
    digest, agreement = "0" * 64, simulation.terms.digest()
    checkpoint = "\n".join(["gateway.example.org/log", str(_LOG_LEAVES), secret().hex(), "", "— gateway.example.org " + "A" * 90])
    hashes = (digest,) * (_LOG_LEAVES - 1).bit_length()
    log = LogProof(checkpoint=checkpoint, old_size=_LOG_LEAVES, consistency=hashes, index=_LOG_LEAVES, inclusion=hashes)
    return RoundOpen(agreement=agreement, round=simulation.round, step=0, previous=digest, log=log).canonical()


def rows(repeats: dict[int, int] = REPEATS, keys_repeats: int = KEYS_REPEATS, length: int = MILLION) -> list[Row]:
    """Measure rounds of the members in `repeats`, the fastest of so many each, one party of thirty, and a body of `length` parameters."""
    found = [*_keys_rows(keys_repeats), *(_wire_row(length, width) for width in (32, 16))]
    timed = {members: _fastest(terms_of(members), count) for members, count in repeats.items()}
    found += [row for members, round_ in timed.items() for row in _control_rows(members, round_)]
    for members, round_ in timed.items():
        found += _round_rows(f"round_n{members}", round_)
        if round_.terms.graph is not None and members == 100:
            found += _round_rows(f"round_n{members}_full_graph", _fastest(terms_of(members, full=True), 1))[:1]
    return found


def one_round(terms: Terms) -> TimedSimulation:
    """Run one round to its end, in which nobody drops out."""
    simulation = TimedSimulation(terms)
    if simulation.run() is not Phase.CLOSED:
        raise ArithmeticError(f"round of {len(terms.members)}: wanted it opened, got {simulation.state.phase}")
    check_exact(simulation)
    return simulation


def check_exact(simulation: Simulation) -> None:
    """Return if the round's sums are open and are the plain ones."""
    listed = simulation.state.require_listed()
    for name in listed.openable:
        if (simulation.sums[name] != simulation.expected_sum(name, listed.parties)).any():
            raise ArithmeticError(f"sum of {name} in round {simulation.round}: wanted the plain one, got something else")


def _fastest(terms: Terms, repeats: int) -> TimedSimulation:
    return min((one_round(terms) for _ in range(repeats)), key=lambda simulation: sum(simulation.seconds.values()))


def _round_rows(name: str, simulation: TimedSimulation) -> list[Row]:
    total = Row(f"{name}_ms", 1e3 * sum(simulation.seconds.values()), "ms")
    return [total, *(Row(f"{name}: {phase}", 1e3 * seconds, "ms") for phase, seconds in simulation.seconds.items())]


def _control_rows(members: int, simulation: TimedSimulation) -> list[Row]:
    most = max(simulation.control.values())
    if members > 50:
        return [Row(f"control_kb_per_member_n{members}", most / 1e3 / members, "KB", 0.8, "<=")]
    return [Row(f"control_kib_n{members}", most / KIB, "KiB", 64.0 if members == 50 else None, "<=")]


def _wire_row(length: int, width: int) -> Row:
    simulation = one_round(terms_of(3, length=length, width=width))
    coordinates = length + tag_bytes(width) * 8 // width
    return Row(f"wire_bytes_w{width}", len(simulation.bodies["party-000"]) / coordinates, "bytes", width / 8, "<=")


# One party of thirty


@dataclass(frozen=True, slots=True)
class Primitives:
    """The calls into libraries that one party of a round cannot do without: one segment, a full graph, nobody drops out."""

    members: int
    threshold: int

    @property
    def signs(self) -> int:
        """ADVERTISE, SHARE, the manifest, the list, REVEAL."""
        return 5

    @property
    def verifies(self) -> int:
        """Keys and boxes of the others, the manifests, and the certificate's t signatures."""
        return self.members + (self.members - 1) + self.members + self.threshold

    @property
    def derivations(self) -> int:
        """Own keys and seed (3), Shamir's coefficients of two secrets (2 each), the tags' key and offsets, a key for each box and mask."""
        return 9 + 2 * (self.members - 1) + self.members

    @property
    def hashes(self) -> int:
        """Shares dealt and got; trees and paths; digests of statements (keys, manifests) and of sets, list and body."""
        depth = (self.members - 1).bit_length()
        dealt, got = 2 * self.members + 1, 2 * (self.members - 1)
        return dealt + got + 2 * (self.members + 1) + (self.members - 1) * (depth + 1) + 2 * self.members + 5

    def actions(self) -> dict[str, Callable[[], object]]:
        """Return what each kind of them takes, all its calls in one."""
        pairs, message, name = 2 * (self.members - 1), bytes(450), "party-000"
        signer = Ed25519PrivateKey.from_private_bytes(secret("sign"))
        signature, verifier = signer.sign(message), SodiumKey(signer.public_key().public_bytes_raw())  # as parley_crypto.keys verifies
        mine, theirs = X25519PrivateKey.from_private_bytes(secret("mine")), X25519PrivateKey.from_private_bytes(secret("theirs"))
        public = theirs.public_key().public_bytes_raw()
        content, nonce = bytes(2 * sharing.SHARE_BYTES), bytes(12)
        box = AESGCM(secret("box")).encrypt(nonce, content, None)

        def agree() -> None:
            for _ in range(2):
                X25519PrivateKey.from_private_bytes(secret("mine")).public_key().public_bytes_raw()
            for _ in range(pairs):
                mine.exchange(X25519PublicKey.from_public_bytes(public))

        def encrypt() -> None:
            for _ in range(self.members - 1):
                AESGCM(secret("box")).encrypt(nonce, content, None)
                AESGCM(secret("box")).decrypt(nonce, box, None)
            for _ in range(2 * self.members):  # a mask of the vector and one of its tags
                AESGCM(secret("mask")).encrypt(nonce, content, None)

        return {
            f"{self.signs} Ed25519 signatures": lambda: [signer.sign(message) for _ in range(self.signs)],
            f"{self.verifies} Ed25519 verifications": lambda: [verifier.verify(message, signature) for _ in range(self.verifies)],
            f"2 X25519 keys, {pairs} exchanges": agree,
            f"{pairs} boxes, {2 * self.members} masks in AES-256-GCM": encrypt,
            "2 Shamir sharings": lambda: [
                sharing.split(secret("x"), threshold=self.threshold, count=self.members, seed=secret("y")) for _ in range(2)
            ],
            f"{self.derivations} derivations by HKDF-SHA256": lambda: [
                derive(message[:32], Tag.BOX, name, 1, name) for _ in range(self.derivations)
            ],
            f"{self.hashes} hashes by SHA-256": lambda: [hashlib.sha256(content).digest() for _ in range(self.hashes)],
        }


def _openssl_verifications(count: int) -> Callable[[], object]:
    """Return as many verifications by OpenSSL as a party makes with libsodium: what docs/adr/0023 compares."""
    signer, message = Ed25519PrivateKey.from_private_bytes(secret("sign")), bytes(450)
    verifier, signature = signer.public_key(), signer.sign(message)
    return lambda: [verifier.verify(signature, message) for _ in range(count)]


def _keys_rows(repeats: int) -> list[Row]:
    party = OneParty.recorded(terms_of(KEYS_MEMBERS))
    needed = Primitives(KEYS_MEMBERS, party.simulation.terms.threshold)
    primitives = needed.actions()
    whole, openssl, *parts = milliseconds(repeats, party.take_part, _openssl_verifications(needed.verifies), *primitives.values())
    verifying = next(part for name, part in zip(primitives, parts, strict=True) if name.endswith("verifications"))
    return [
        Row("keys_k30_over_primitives", whole / sum(parts), "× primitives", 1.4, "<="),
        Row("keys_k30_ms: one party, ADVERTISE to REVEAL", whole, "ms"),
        Row("verifications by libsodium over OpenSSL", verifying / openssl, "× OpenSSL"),
        Row("floor: its primitives", sum(parts), "ms"),
        *(Row(f"floor: {name}", part, "ms") for name, part in zip(primitives, parts, strict=True)),
    ]


@dataclass(frozen=True, slots=True)
class OneParty:
    """The first party of a round that was recorded: it can take part again, and says the same to the byte."""

    simulation: TimedSimulation
    me: str
    spec: PartySpec

    @classmethod
    def recorded(cls, terms: Terms) -> OneParty:
        """Run one round and keep what its first party was sent."""
        me = terms.members[0].party
        simulation = TimedSimulation(terms, relays={me: []})
        spec = simulation.parties[me].spec(1)
        if simulation.run() is not Phase.CLOSED:
            raise ArithmeticError(f"round of {len(terms.members)}: wanted it opened, got {simulation.state.phase}")
        return cls(simulation, me, spec)

    def take_part(self) -> list[bytes]:
        """Take part once more, from ADVERTISE to REVEAL, and return the bodies of what it sends."""
        party = self.simulation.parties[self.me]
        spec = replace(self.spec)  # a copy that remembers nothing of the last time
        state, effects = PartyRound.enter(spec, hashlib.sha256(f"{self.me}/1/seed".encode()).digest()).advertise(party.key)
        sent = [effect.body.canonical() for effect in effects if isinstance(effect, Send)]
        for kind, raw in self.simulation.relays[self.me]:
            if kind == Event.OPENED:
                break
            state, effects = state.on_relay(load_relay(kind, raw), party.key)
            for effect in effects:
                if isinstance(effect, SealNow):
                    vectors = {name: self.simulation.plain[self.me, name].copy() for name in effect.segments}
                    state, _, effects = state.seal(vectors, party.key)
            sent += [effect.body.canonical() for effect in effects if isinstance(effect, Send)]
        return sent


def print_profile(members: int = 100) -> None:
    """Run one round of so many members under the profiler, and print where the time goes."""
    simulation, profiler = TimedSimulation(terms_of(members)), cProfile.Profile()
    profiler.runcall(simulation.run)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(_SHOWN)


if __name__ == "__main__":
    if "--profile" in sys.argv:
        print_profile()
    else:
        run("masked_rounds", rows)
