"""Invariants 13 and, for a gateway that must not read sums, its blindness: what it hands out is proven, and what it opens tells it nothing.

Every sum here comes from whole rounds of six; the forger is the gateway, which holds opened bytes, tags and all statements, and not the
members' key. At the service the same forgeries halt the study: tests/party/test_party_lying_gateway.py.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from parley_crypto import ring, sumproof
from parley_crypto.masked import Context
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_protocol import proving
from parley_protocol.ids import Phase
from parley_protocol.messages import Opened, OpenedSegment, SurvivorList
from parley_protocol.proving import check_sums
from parley_protocol.relays import SumOpened

from tests.attacks.adversary import SIX
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
from tests.attacks.observed import altered
from tests.simulator import GATEWAY_KEY, MEMBERS_KEY, Simulation, make_terms

LENGTH, TAG_BYTES = 8, 8
TERMS = make_terms(6, segments={"trunk": (LENGTH, None), "head:a": (LENGTH, None)})
UNPROVEN = Guard(sumproof, "check", "its tags do not prove it")
VICTIM = SIX[0]


class Round:
    """What the gateway holds of one round, and the truth."""

    def __init__(self, simulation: Simulation) -> None:
        listed = simulation.state.listed
        assert listed is not None
        self.terms, self.listed, self.raw, self.sums = simulation.terms, listed, dict(simulation.raw), dict(simulation.sums)

    def take(self, **changed: bytes) -> dict[str, RingVector]:
        """Hand the sums to a party, some of them forged."""
        return check_sums(self.terms, self.listed, self.raw | {name.replace("_", ":"): raw for name, raw in changed.items()}, MEMBERS_KEY)


@cache
def rounds() -> tuple[Round, Round, Round]:
    """Two rounds of six, and one in which the last has dropped out."""
    simulation = Simulation(TERMS)
    found = []
    for drops in ({}, {}, {SIX[5]: Phase.COLLECT}):
        assert simulation.run(drops) is Phase.CLOSED
        found.append(Round(simulation))
    return found[0], found[1], found[2]


def deceive(raw: bytes) -> None:
    """Hand out `raw` as the trunk's sum: the party takes something else than the truth."""
    first = rounds()[0]
    assert not np.array_equal(first.take(trunk=raw)["trunk"], first.sums["trunk"])


def parts() -> tuple[RingVector, tuple[int, int]]:
    raw = rounds()[0].raw["trunk"]
    return ring.from_bytes(raw[: -2 * TAG_BYTES], LENGTH, 32).copy(), sumproof.from_bytes(raw[-2 * TAG_BYTES :], 64)


def joined(vector: RingVector, tags: tuple[int, int]) -> bytes:
    return ring.to_bytes(vector) + sumproof.to_bytes((tags[0] % 2**64, tags[1] % 2**64), 64)


def alter_a_coordinate() -> None:
    vector, tags = parts()
    vector[3] += np.uint32(1)
    deceive(joined(vector, tags))


def alter_the_highest_bit_of_a_coordinate() -> None:
    """Where a proof modulo 2^32 alone would be weakest."""
    vector, tags = parts()
    vector[0] ^= np.uint32(1 << 31)
    deceive(joined(vector, tags))


def swap_two_coordinates() -> None:
    vector, tags = parts()
    vector[[0, 1]] = vector[[1, 0]]
    deceive(joined(vector, tags))


def hand_out_zeros() -> None:
    deceive(bytes(len(rounds()[0].raw["trunk"])))


def double_sum_and_tags() -> None:
    vector, tags = parts()
    deceive(joined(vector * np.uint32(2), (2 * tags[0], 2 * tags[1])))


def turn_sum_and_tags_around() -> None:
    vector, tags = parts()
    deceive(joined(np.negative(vector), (-tags[0], -tags[1])))


def add_an_own_vector_to_sum_and_tags() -> None:
    """As if one more member had sealed it, with offsets of zero."""
    vector, tags = parts()
    ring.add_into(vector, np.arange(LENGTH).astype(vector.dtype))
    deceive(joined(vector, (tags[0] + 1, tags[1] + 2)))


def hand_out_the_sum_of_the_next_round() -> None:
    deceive(rounds()[1].raw["trunk"])


def hand_out_the_sum_of_an_old_version() -> None:
    first, second, _ = rounds()
    assert np.array_equal(second.take(trunk=first.raw["trunk"])["trunk"], first.sums["trunk"])


def hand_out_the_sum_of_another_segment() -> None:
    deceive(rounds()[0].raw["head:a"])


def hand_out_the_sum_of_fewer_as_one_of_all() -> None:
    """The sum of five, and the list of six of the same round."""
    third = rounds()[2]
    rows = rounds()[0].listed.survivors
    check_sums(TERMS, altered(third.listed, {"survivors": rows}), third.raw, MEMBERS_KEY)


def hand_out_the_sum_of_all_as_one_of_fewer() -> None:
    first = rounds()[0]
    check_sums(TERMS, altered(first.listed, {"survivors": first.listed.survivors[:5]}), first.raw, MEMBERS_KEY)


def alter_a_tag() -> None:
    """It harms nobody's model, and would halt nothing if nobody looked."""
    vector, tags = parts()
    rounds()[0].take(trunk=joined(vector, (tags[0], tags[1] ^ 1)))


def append_a_byte() -> None:
    """One sum, two byte strings: parties would agree on the sum and differ in its digest."""
    first = rounds()[0]
    first.take(trunk=first.raw["trunk"] + b"\0")


ATTACKS = [
    *(
        Attack(play.__name__, play, "its tags do not prove it", (UNPROVEN,))
        for play in (
            alter_a_coordinate,
            alter_the_highest_bit_of_a_coordinate,
            swap_two_coordinates,
            hand_out_zeros,
            double_sum_and_tags,
            turn_sum_and_tags_around,
            add_an_own_vector_to_sum_and_tags,
            hand_out_the_sum_of_the_next_round,
            hand_out_the_sum_of_an_old_version,
            hand_out_the_sum_of_another_segment,
            hand_out_the_sum_of_fewer_as_one_of_all,
            hand_out_the_sum_of_all_as_one_of_fewer,
            alter_a_tag,
        )
    ),
    Attack(
        "append_a_byte",
        append_a_byte,
        "bytes, got",
        (Guard(proving, "_checked", "bytes, got "), Guard(sumproof, "from_bytes", "tags: wanted ")),
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_succeeds_without_its_checks(attack: Attack) -> None:
    check_mutations(attack)


def test_the_truth_is_taken() -> None:
    for each in rounds():
        taken = each.take()
        assert all(np.array_equal(taken[name], total) for name, total in each.sums.items())


# a member that talks


class Forger:
    """A gateway with the members' key, which one talking member is enough for: it serves one victim another sum, its tags made right."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    def __call__(self, to: str, kind: str, raw: bytes) -> bytes:
        if (to, kind, self.simulation.round) != (VICTIM, "opened", 1):
            return raw
        notice, state = SumOpened.model_validate_json(raw), self.simulation.state
        assert state.listed is not None
        sums = self.forged(state.listed)
        opened: Any = Opened.parse(Envelope.load(notice.opened.encode()).payload)
        segments = tuple(
            OpenedSegment(name=row.name, length=row.length, parties=row.parties, body=blake3(sums[row.name]).hexdigest())
            for row in opened.segments
        )
        changes = {
            "opened": altered(opened, {"segments": segments}).sign(GATEWAY_KEY).dump().decode(),
            "sums": base64.b64encode(b"".join(sums.values())).decode(),
        }
        return json.dumps(notice.model_dump(mode="json") | changes).encode()

    def forged(self, listed: SurvivorList) -> dict[str, bytes]:
        sums = {}
        for name in listed.openable:
            total = self.simulation.sums[name].copy()
            total[0] += np.uint32(1)
            key = Context(listed.agreement, listed.round, listed.base, name).proof_key(MEMBERS_KEY)
            first, *others = sorted(listed.parties)
            rows = [sumproof.tags(total, key, first), *(sumproof.tags(np.zeros_like(total), key, party) for party in others)]
            sums[name] = joined(total, (sum(row[0] for row in rows), sum(row[1] for row in rows)))
        return sums


def test_who_alone_is_served_another_sum_has_another_base_version_and_gives_nothing_more() -> None:
    """Tags prove nothing against a gateway with the key; but the victim is then in nobody's round, and nobody is in its own."""
    simulation = Simulation(TERMS)
    simulation.tamper = Forger(simulation)
    assert simulation.run() is Phase.CLOSED
    bases = {party.me: party.base for party in simulation.parties.values()}
    assert [me for me in SIX if bases[me] != bases[SIX[1]]] == [VICTIM]
    assert simulation.run() is Phase.CLOSED
    assert simulation.state.listed is not None
    assert simulation.state.listed.parties == set(SIX) - {VICTIM}
    assert VICTIM not in simulation.bodies  # it sealed nothing


# a gateway that must not read


class Silent(Simulation):
    """Parties whose vectors are nothing but zeros: whatever structure the opened bytes have is not theirs."""

    def vector(self, party: str, segment: str) -> RingVector:
        length = self.terms.steps[0].segment(segment).length
        self.plain[(party, segment)] = ring.zeros(length, self.terms.steps[0].encoding.width)
        return self.plain[(party, segment)].copy()


def blind_terms(width: int, length: int = 4_096) -> Any:  # noqa: ANN401 - Terms
    terms = make_terms(6, segments={"trunk": (length, None)}, width=width)
    return terms.model_copy(update={"opened_sums_readable_by": "parties"})


def looks_random(raw: bytes) -> bool:
    """Whether bits and bytes are as even as in a stream of random ones: five standard deviations, on inputs that never change."""
    values = np.frombuffer(raw, dtype=np.uint8)
    ones, bits = int(np.unpackbits(values).sum()), 8 * values.size
    expected = values.size / 256
    chi = float((((np.bincount(values, minlength=256) - expected) ** 2) / expected).sum())
    return bool(abs(ones - bits / 2) < 5 * math.sqrt(bits / 4) and abs(chi - 255) < 5 * math.sqrt(2 * 255))


@pytest.mark.parametrize("width", [16, 32, 64])
def test_what_a_blind_gateway_opens_is_uniform_though_all_sealed_zeros_and_the_parties_read_zeros(width: int) -> None:
    simulation = Silent(blind_terms(width))
    seen = []
    for _ in range(2):
        assert simulation.run() is Phase.CLOSED
        assert not simulation.sums["trunk"].any()
        seen.append(simulation.raw["trunk"])
    assert all(looks_random(raw) for raw in seen)
    assert looks_random(bytes(first ^ second for first, second in zip(*seen, strict=True)))  # the same input, unrelated bytes
    vectors = [ring.from_bytes(raw[: 4_096 * width // 8], 4_096, width) for raw in seen]
    assert looks_random(ring.to_bytes(vectors[0] - vectors[1]))
    assert len({raw[4_096 * width // 8 :] for raw in seen}) == 2  # tags too


def test_a_gateway_that_may_read_does_so() -> None:
    """The control: without pads the same statistics tell."""
    simulation = Silent(make_terms(6, segments={"trunk": (4_096, None)}))
    assert simulation.run() is Phase.CLOSED
    assert not any(simulation.raw["trunk"][: 4_096 * 4])
    assert not looks_random(simulation.raw["trunk"])


def test_members_read_the_exact_sum_also_of_those_that_are_left() -> None:
    simulation = Simulation(blind_terms(32, 64))
    assert simulation.run({SIX[2]: Phase.COLLECT}) is Phase.CLOSED
    assert np.array_equal(simulation.sums["trunk"], simulation.expected_sum("trunk", frozenset(SIX) - {SIX[2]}))
    assert not [text for party in simulation.parties.values() for text in party.refusals]


Other = Callable[[Round], tuple[SurvivorList, bytes]]
OTHERS: dict[str, Other] = {
    "without one": lambda one: (altered(one.listed, {"survivors": one.listed.survivors[:-1]}), MEMBERS_KEY),
    "of another round": lambda one: (altered(one.listed, {"round": one.listed.round + 1}), MEMBERS_KEY),
    "of another base version": lambda one: (altered(one.listed, {"base": "1" * 64}), MEMBERS_KEY),
    "under a guessed key": lambda one: (one.listed, bytes(32)),
}


@pytest.mark.parametrize("which", OTHERS)
def test_other_pads_than_the_survivors_own_leave_noise_and_the_tags_refuse_it(which: str) -> None:
    simulation = Silent(blind_terms(32))
    assert simulation.run() is Phase.CLOSED
    one = Round(simulation)
    listed, key = OTHERS[which](one)

    def read() -> None:
        total = check_sums(one.terms, listed, one.raw, key)["trunk"]
        assert looks_random(ring.to_bytes(total))

    attack = Attack(which, read, "its tags do not prove it", (UNPROVEN,))
    check_refused(attack)
    check_mutations(attack)


def test_no_guess_of_a_blind_sum_can_be_tested_against_what_is_logged() -> None:
    """The statement of opened sums has digests of padded bytes: neither the sum nor its digest is a function of what is guessed."""
    bodies = []
    for _ in range(2):
        simulation = Silent(blind_terms(32, 16))
        assert simulation.run() is Phase.CLOSED
        raw = simulation.raw["trunk"]
        bodies.append(blake3(raw).hexdigest())
        guess = ring.to_bytes(simulation.sums["trunk"])
        assert blake3(guess).hexdigest() not in bodies
        assert blake3(guess + raw[len(guess) :]).hexdigest() not in bodies
    assert bodies[0] == bodies[1]  # the digest is of what the same round gives again
