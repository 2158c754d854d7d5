"""A gateway that one member helps: with the members' key it makes right tags for any sum (invariant 13, second half).

Tags say nothing then. What the round sums to still follows from what each member signed before the sum was known; here the gateway tries to
have a member that recomputes the round arrive at its forgery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from blake3 import blake3
from parley_crypto import ring, sumproof
from parley_crypto.keys import SigningKey
from parley_protocol import opening, unmasking
from parley_protocol.bound import advert_content
from parley_protocol.columns import pack, unpack
from parley_protocol.commitments import path_length
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Opened
from parley_protocol.unmasking import Recomputation, Unmasking, is_recomputable

from tests.attacks.adversary import SIX
from tests.attacks.closed_rounds import Closed, closing, forged, statement
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
from tests.attacks.observed import altered
from tests.simulation.test_simulation_scale import federation
from tests.simulator import GRAPH_SEED, Simulation, make_terms, party_key

LENGTH = 8
SEGMENTS: dict[str, tuple[int, list[int] | None]] = {"trunk": (LENGTH, None), "head:a": (LENGTH, [0, 1, 2, 3]), "head:b": (5, [3, 4, 5])}
TERMS = make_terms(6, segments=SEGMENTS)
LIAR, GONE = SIX[1], SIX[5]


@cache
def closed(gone: str = "") -> Closed:
    return closing(Simulation(TERMS), {gone: Phase.COLLECT} if gone else {})


def sums_of(one: Closed) -> dict[str, bytes]:
    """Return sums that the gateway made up."""
    return forged(TERMS, one, "trunk")


def sign_for_another_sum() -> None:
    one = closed()
    one.recomputed(statement(TERMS, one.listed, sums_of(one)))


def sign_for_another_sum_after_a_dropout() -> None:
    one = closed(GONE)
    one.recomputed(statement(TERMS, one.listed, sums_of(one)))


def with_difference(one: Closed) -> bytes:
    """Return an update of the helping member that makes the certified ones sum to the forgery."""
    body, sums = bytearray(one.bodies[LIAR]), sums_of(one)
    true = [np.frombuffer(row["trunk"][: 4 * LENGTH], dtype="<u4") for row in (one.raw, sums)]
    vector = np.frombuffer(body[: 4 * LENGTH], dtype="<u4") + true[1] - true[0]
    body[: 4 * LENGTH] = vector.astype("<u4").tobytes()
    ends = [sumproof.from_bytes(row["trunk"][4 * LENGTH :], 64) for row in (one.raw, sums)]
    mine = sumproof.from_bytes(bytes(body[4 * LENGTH : 4 * LENGTH + 16]), 64)
    tags = tuple((mine[index] + ends[1][index] - ends[0][index]) % 2**64 for index in range(2))
    body[4 * LENGTH : 4 * LENGTH + 16] = sumproof.to_bytes((tags[0], tags[1]), 64)
    return bytes(body)


def hand_out_another_update_of_the_helping_member() -> None:
    one = closed()
    one.recomputed(statement(TERMS, one.listed, sums_of(one)), **{LIAR: with_difference(one)})


def name_another_update_of_the_helping_member() -> None:
    """The unmasking names the update that is handed out; the certificate names another."""
    one = closed()
    body = with_difference(one)
    bodies = list(unpack(one.found.bodies, 32, 6, "bodies"))
    bodies[SIX.index(LIAR)] = blake3(body).digest()
    replace(one, found=altered(one.found, {"bodies": pack(bodies)})).recomputed(statement(TERMS, one.listed, sums_of(one)), **{LIAR: body})


def opened_with(one: Closed, masks: opening.Masks) -> Opened:
    """Return what the gateway must sign for if the masks that it claims are right."""
    step = TERMS.steps[0]
    raw = {}
    for name in one.listed.openable:
        total = masks.opening(name)
        for party in one.listed.parties & step.segment(name).member_set:
            body, start = one.bodies[party], 0
            for other in (segment for segment in step.segments if party in segment.member_set):
                end = start + 4 * other.length
                if other.name == name:
                    total.combine(ring.from_bytes(body[start:end], other.length, 32))
                    total.combine_tags(body[end : end + 16])
                start = end + 16
        vector, tags = masks.take_off(name, total)
        raw[name] = ring.to_bytes(vector) + tags
    return statement(TERMS, one.listed, raw)


def masks_of(one: Closed, found: Unmasking) -> opening.Masks:
    rows = zip(found.parties, unpack(found.mask_keys, 32, len(found.parties), "keys"), strict=True)
    seeds = {}
    for name in one.listed.openable:
        members = sorted(one.listed.parties & TERMS.steps[0].segment(name).member_set)
        seeds[name] = dict(zip(members, unpack(found.seeds[name], 32, len(members), "seeds"), strict=True))
    gone = [party for party in one.listed.boxes_from if party not in one.listed.parties]
    secrets = dict(zip(gone, unpack(found.mask_secrets, 32, len(gone), "masks"), strict=True))
    return opening.Masks(one.cohort, one.listed.base, one.listed.parties, dict(rows), seeds, secrets)


def claim_another_seed() -> None:
    one = closed()
    seeds = list(unpack(one.found.seeds["trunk"], 32, 6, "seeds"))
    seeds[1] = blake3(b"another seed").digest()
    found = altered(one.found, {"seeds": one.found.seeds | {"trunk": pack(seeds)}})
    replace(one, found=found).recomputed(opened_with(one, masks_of(one, found)))


def claim_another_mask_key_of_a_dropout() -> None:
    one = closed(GONE)
    found = altered(one.found, {"mask_secrets": pack([blake3(b"another key").digest()])})
    replace(one, found=found).recomputed(opened_with(one, masks_of(one, found)))


UNSUMMED = Guard(unmasking.Recomputation, "check", "the gateway signed for ")
ATTACKS = (
    Attack("another sum", sign_for_another_sum, "sum of trunk in round 1, recomputed", (UNSUMMED,)),
    Attack("another sum after a dropout", sign_for_another_sum_after_a_dropout, "sum of trunk in round 1, recomputed", (UNSUMMED,)),
    Attack(
        "another update",
        hand_out_another_update_of_the_helping_member,
        f"sealed update of {LIAR}: wanted",
        (Guard(unmasking.Recomputation, "take", "sealed update of "),),
    ),
    Attack(
        "another update, and its name",
        name_another_update_of_the_helping_member,
        f"update of {LIAR} in round 1: wanted the one that the certificate names",
        (Guard(unmasking._Reader, "uploads", "the one that the certificate names"),),
    ),
    Attack(
        "another seed",
        claim_another_seed,
        f"trunk: the seed that {LIAR} shared is not the one it signed",
        (Guard(opening, "check_seed", "is not the one it signed"),),
    ),
    Attack(
        "another mask key",
        claim_another_mask_key_of_a_dropout,
        f"the mask key that {GONE} shared is not the one it advertised",
        (Guard(opening, "check_mask_key", "is not the one it advertised"),),
    ),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_succeeds_without_its_checks(attack: Attack) -> None:
    check_mutations(attack)


@pytest.mark.parametrize("gone", ["", GONE])
def test_the_true_sums_are_found_again(gone: str) -> None:
    closed(gone).recomputed()


def test_a_segment_that_stayed_shut_is_passed_over_and_its_seeds_are_not_handed_out() -> None:
    """Without the last member head:b has too few; what its other two sealed of it is in their updates, under their self masks."""
    one = closed(GONE)
    assert one.listed.openable == ("trunk", "head:a")
    assert one.found.live == ("trunk", "head:a", "head:b")
    assert set(one.found.seeds) == {"trunk", "head:a"}
    one.recomputed()


def swapped(column: str, size: int) -> Callable[[Unmasking], Unmasking]:
    """Return a forgery: the first two values of a column in each other's place."""

    def forge(found: Unmasking) -> Unmasking:
        text = getattr(found, column)
        values = unpack(text, size, len(text) * 3 // 4 // size, column)
        return altered(found, {column: pack([values[1], values[0], *values[2:]])})

    return forge


def without_the_last(found: Unmasking) -> Unmasking:
    count = len(found.parties) - 1
    columns = {"channel_keys": 32, "mask_keys": 32, "adverts": 64}
    cut = {name: pack(unpack(getattr(found, name), size, count + 1, name)[:count]) for name, size in columns.items()}
    return altered(found, cut | {"parties": found.parties[:count], "paths": shortened(found)})


def shortened(found: Unmasking) -> str:
    """Return as many nodes as there would be with one recipient less, so that the columns fit."""
    return pack(unpack(found.paths, 32, len(found.paths) * 3 // 4 // 32, "paths")[: 6 * path_length(5, 6)])


FORGED: dict[str, tuple[str, Callable[[Unmasking], Unmasking]]] = {
    "keys of others": ("keys of .*: not what it signed", swapped("mask_keys", 32)),
    "signatures of keys": ("keys of .*: not what it signed", swapped("adverts", 64)),
    "roots": ("share of .*: not what it signed", swapped("roots", 32)),
    "signatures of shares": ("share of .*: not what it signed", swapped("shares", 64)),
    "hashes of seeds": ("seed hashes of .*: not the ones it signed", swapped("seed_hashes", 32)),
    "paths": ("seed hashes of .*: not the ones it signed", swapped("paths", 32)),
    "no seeds": ("seeds of trunk: wanted 6 values", lambda found: altered(found, {"seeds": {}})),
    "one seed less": ("seeds of head:a: wanted", lambda found: altered(found, {"seeds": found.seeds | {"head:a": ""}})),
    "one with keys less": ("share of .*: not what it signed", without_the_last),
    "a stranger": ("member 'stranger'|stranger", lambda found: altered(found, {"parties": (*found.parties[:-1], "stranger")})),
    "another segment": ("wanted one of trunk", lambda found: altered(found, {"shared": ("trunk", "head:c")})),
    "fewer segments shared": ("seed hashes: wanted", lambda found: altered(found, {"shared": ("trunk",)})),
    "fewer segments sealed": ("the certificate names", lambda found: altered(found, {"live": ("trunk",)})),
}


@pytest.mark.parametrize("which", FORGED)
def test_what_is_not_as_it_was_signed_is_refused(which: str) -> None:
    words, forge = FORGED[which]
    one = closed()
    play = replace(one, found=forge(one.found)).recomputed
    check_refused(Attack(which, play, words, ()))


def test_keys_that_another_set_of_members_saw_are_refused() -> None:
    """Each survivor signed whose keys it answered: a set with other keys of a helping member, signed by it, is not theirs."""
    one, at = closed(), SIX.index(LIAR)
    keys = list(unpack(one.found.mask_keys, 32, 6, "keys"))
    keys[at] = blake3(b"other").digest()
    content = advert_content(
        {name: getattr(one.listed, name) for name in ("study", "agreement", "round", "base")},
        LIAR,
        step=0,
        parameters=one.listed.parameters,
        channel_key=unpack(one.found.channel_keys, 32, 6, "keys")[at],
        mask_key=keys[at],
    )
    signatures = list(unpack(one.found.adverts, 64, 6, "signatures"))
    signatures[at] = signed(content, party_key(LIAR))
    found = altered(one.found, {"mask_keys": pack(keys), "adverts": pack(signatures)})
    check_refused(Attack("other keys", replace(one, found=found).recomputed, "share of .*: not what it signed", ()))


def signed(content: dict[str, object], key: SigningKey) -> bytes:
    return Advertise.model_validate(content).sign(key).signatures[0].sig


def test_it_holds_among_neighbours_too_also_of_those_that_dropped_out() -> None:
    simulation = federation()
    one = closing(simulation, dict.fromkeys(list(simulation.parties)[3:6], Phase.COLLECT))
    assert one.cohort.terms.graph is not None
    assert len(one.listed.parties) == 57
    work = Recomputation(replace(one.cohort, seed=GRAPH_SEED), one.listed, one.found)
    for party in work.uploads:
        work.take(party, one.bodies[party])
    work.check(one.opened)


def test_a_blind_round_is_recomputed_without_the_members_key() -> None:
    terms = TERMS.model_copy(update={"opened_sums_readable_by": "parties"})
    closing(Simulation(terms), {}).recomputed()


def test_nothing_is_handed_out_where_a_graph_was_planned_against_nobody_who_helps() -> None:
    terms = federation().terms
    assert is_recomputable(terms)
    assert not is_recomputable(terms.model_copy(update={"max_colluders": 0}))
    assert is_recomputable(make_terms(6, colluders=0))
