"""Invariant 3 with RELEASE: a base version is used again only once fewer than t shares of the earlier round are left, whoever conspires.

Six members, t = 5, one colluder: three must have destroyed their shares. The gateway holds the sum of all six, or could still get it;
what it wants is a second round on the same base version without the victim, for the difference is the victim's update.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from parley_crypto import ring, sharing
from parley_crypto.errors import CryptoError, MalformedError
from parley_crypto.keys import VerifyKey
from parley_protocol import cohort, release
from parley_protocol.errors import ProtocolError, RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.party_round import PartyRound
from parley_protocol.phases import PARTY, Event
from parley_protocol.promises import Promise
from parley_protocol.relays import Released
from parley_protocol.release import release_of, verify_released

from tests.attacks.adversary import SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.attacks.observed import Relay, altered, believed
from tests.simulator import Simulation, make_terms, party_key

VICTIM, COLLUDER = SIX[0], SIX[5]
TERMS = make_terms(6)


def revealed() -> tuple[Stage, np.ndarray]:
    """A round whose sum of six the gateway has, while it keeps the news of the opening to itself."""
    stage = Stage(TERMS).to(Phase.REVEAL)
    return stage, stage.sum_of(SIX, "trunk", stage.reveal(stage.listed(), SIX))


def again_without_the_victim(stage: Stage, proof: Released, total: np.ndarray) -> None:
    """Show every member the proof, and run the round anew: what it opens is one update short of what the gateway has."""
    for party in SIX:
        stage.show(party, proof)
    again = Stage(TERMS, number=2, absent=frozenset({VICTIM}), before=stage.states).to(Phase.REVEAL)
    five = again.sum_of(SIX[1:], "trunk", again.reveal(again.listed(), SIX[1:]))
    assert np.array_equal(total - five, stage.plain[(VICTIM, "trunk")])


def forged(stage: Stage, parties: tuple[str, ...], sign: Callable[[str], bytes]) -> Released:
    """Return a proof with the colluder's genuine statement and others that the gateway makes."""
    stage.lends(COLLUDER)
    stage.releases |= {party: sign(party) for party in parties if party != COLLUDER}
    return stage.released(parties)


# a proof that is none


def show_the_colluders_statement_alone() -> None:
    stage, total = revealed()
    stage.lends(COLLUDER)
    again_without_the_victim(stage, stage.released(), total)


def show_one_statement_twice() -> None:
    stage, total = revealed()
    stage.lends(COLLUDER)
    again_without_the_victim(stage, stage.released((COLLUDER, COLLUDER, COLLUDER)), total)


def show_statements_out_of_order() -> None:
    """Genuine ones; in one form only, or one proof would have many digests."""
    stage = Stage(TERMS).to(Phase.CONFIRM)
    stage.release(SIX[1:4])
    stage.show(VICTIM, stage.released((SIX[2], SIX[1], SIX[3])))


def show_the_statement_of_a_stranger() -> None:
    stage, total = revealed()
    proof = forged(stage, (*SIX[1:4], "stranger"), lambda _: bytes(64))
    with suppress(MalformedError):  # an accident instead of a refusal
        again_without_the_victim(stage, proof, total)


def sign_for_others() -> None:
    """The colluder's key under statements of two others."""
    stage, total = revealed()
    proof = forged(stage, SIX[3:], lambda party: release_of(TERMS, 1, party).sign(party_key(COLLUDER)).signatures[0].sig)
    again_without_the_victim(stage, proof, total)


def show_statements_of_another_round() -> None:
    stage, total = revealed()
    proof = forged(stage, SIX[3:], lambda party: release_of(TERMS, 2, party).sign(party_key(party)).signatures[0].sig)
    again_without_the_victim(stage, proof, total)


def show_statements_on_another_agreement() -> None:
    stage, total = revealed()
    other = make_terms(6, rounds=99)
    proof = forged(stage, SIX[3:], lambda party: release_of(other, 1, party).sign(party_key(party)).signatures[0].sig)
    again_without_the_victim(stage, proof, total)


def replay_the_proof_of_the_round_before() -> None:
    """Round 1 was released, round 2 was revealed: the same statements again."""
    first = Stage(TERMS).to(Phase.CONFIRM)
    first.release(SIX)
    for party in SIX:
        first.show(party, first.released())
    second = Stage(TERMS, number=2, before=first.states).to(Phase.REVEAL)
    second.reveal(second.listed(), SIX)
    second.show(VICTIM, altered(first.released(), {"round": 2}))
    assert second.states[VICTIM].promise.is_over


def show_a_relay_of_the_round_before() -> None:
    """As it was sent."""
    first = Stage(TERMS).to(Phase.CONFIRM)
    first.release(SIX)
    second = Stage(TERMS, number=2).to(Phase.REVEAL)
    second.show(VICTIM, first.released())


def ask_with_a_question_of_another_round() -> None:
    stage = Stage(TERMS).to(Phase.CONFIRM)
    stage.show(VICTIM, altered(stage.asked(), {"round": 2}))


def count_no_colluders() -> None:
    """Two statements, one of them the colluder's, which kept its shares: with it and the four others t shares are left."""
    stage = Stage(TERMS).to(Phase.CONFIRM)
    listed = stage.listed()
    stage.confirm(listed, SIX)
    stage.release([VICTIM])
    stage.lends(COLLUDER)
    total = stage.sum_of(SIX, "trunk", stage.reveal(listed, SIX[1:], SIX))
    again_without_the_victim(stage, stage.released(), total)


# RELEASE at the wrong time


def ask_for_release_after_reveal() -> None:
    """The gateway has the sum already, and every member says that it never will."""
    stage, total = revealed()
    stage.release(SIX)
    again_without_the_victim(stage, stage.released(), total)


def propose_a_list_after_release() -> None:
    stage = Stage(TERMS).to(Phase.CONFIRM)
    listed = stage.listed()
    stage.release(SIX)
    stage.confirm(listed, SIX)
    assert all(stage.signatures[party].payload == listed.canonical() for party in SIX)


def certify_after_release() -> None:
    """The old round's certificate completes. Even a member that answered would have nothing to give."""
    stage = Stage(TERMS).to(Phase.REVEAL)
    listed = stage.listed()
    stage.release(SIX)
    given = stage.reveal(listed, SIX)
    assert not any(row for one in given.values() for row in (*one.seeds.values(), one.mask_keys))


def open_what_was_released() -> None:
    stage = Stage(TERMS).to(Phase.CONFIRM)
    stage.release(SIX)
    stage.show(VICTIM, stage.released())
    opened, _ = stage.states[VICTIM].on_opened()
    assert opened.promise.opened


def in_phase(phase: Phase, event: Event, target: Phase) -> Patch:
    return Patch(PARTY, phase, PARTY.get(phase, {}) | {event: target})


def without_the_colluders(*, members: int, threshold: int, colluders: int) -> int:
    """A careless `releases_needed`."""
    del colluders
    return members - threshold + 1


UNSIGNED, SAME = Patch(VerifyKey, "verify", believed), Guard(PartyRound, "_same_round", "of our agreement")
ENOUGH, ORDER = "wanted statements of enough members", "wanted distinct members of the agreement"
FEW = Guard(release, "verify_released", ENOUGH)
IN_ORDER = Guard(release, "verify_released", ORDER, "sorted(set(parties))")
STRANGERS = Guard(release, "verify_released", ORDER, "cohort.members")
OTHER_ROUND = Guard(release, "verify_released", "release: wanted round")
GONE = Guard(Promise, "_check_open", "our shares of it are destroyed")
SIGNED = "not what it signed in this round"
ATTACKS = (
    Attack("the colluder's alone", show_the_colluders_statement_alone, ENOUGH, (FEW,)),
    Attack("one three times", show_one_statement_twice, ORDER, (IN_ORDER, FEW)),
    Attack("out of order", show_statements_out_of_order, ORDER, (IN_ORDER,)),
    Attack("a stranger's", show_the_statement_of_a_stranger, ORDER, (STRANGERS, UNSIGNED)),
    Attack("forged", sign_for_others, f"release of {SIX[3]}: {SIGNED}", (UNSIGNED,)),
    Attack("of another round", show_statements_of_another_round, f"release of {SIX[3]}: {SIGNED}", (UNSIGNED,)),
    Attack("of another agreement", show_statements_on_another_agreement, f"release of {SIX[3]}: {SIGNED}", (UNSIGNED,)),
    Attack("replayed", replay_the_proof_of_the_round_before, f"release of {VICTIM}: {SIGNED}", (UNSIGNED,)),
    Attack("the relay before", show_a_relay_of_the_round_before, "relay: wanted round 2", (SAME, OTHER_ROUND, UNSIGNED)),
    Attack("question of another round", ask_with_a_question_of_another_round, "relay: wanted round 1", (SAME,)),
    Attack("colluders counted", count_no_colluders, ENOUGH, (Patch(cohort, "releases_needed", without_the_colluders),)),
    Attack(
        "after reveal",
        ask_for_release_after_reveal,
        "we have revealed for its list; it can only be finished",
        (Guard(Promise, "released_by_me", "can only be finished"),),
    ),
    Attack(
        "list after release",
        propose_a_list_after_release,
        "in RELEASE: wanted",
        (in_phase(Phase.RELEASE, Event.LIST, Phase.REVEAL), GONE),
    ),
    Attack(
        "certificate after release",
        certify_after_release,
        "in RELEASE: wanted",
        (in_phase(Phase.RELEASE, Event.CERTIFIED, Phase.REVEAL), GONE),
    ),
    Attack(
        "opened after release",
        open_what_was_released,
        "in RELEASED: wanted nothing, got opened",
        (in_phase(Phase.RELEASED, Event.OPENED, Phase.CLOSED), Guard(Promise, "certified", "destroyed their shares")),
    ),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_round_that_may_still_open_is_not_left(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_the_base_version_is_used_twice(attack: Attack) -> None:
    check_mutations(attack)


def released_round() -> tuple[Stage, Stage]:
    """Round 1 fully signed, then released by two honest members and a colluder that kept its shares; round 2 without the victim."""
    first = Stage(TERMS).to(Phase.CONFIRM)
    listed = first.listed()
    first.confirm(listed, SIX)
    first.release(SIX[:2])
    first.lends(COLLUDER)
    first.reveal(listed, SIX[2:], SIX)  # the certificate completes for those that were not asked
    for party in SIX:
        first.show(party, first.released())
    second = Stage(TERMS, number=2, absent=frozenset({VICTIM}), before=first.states).to(Phase.REVEAL)
    return first, second


def test_after_a_release_one_sum_opens_and_the_other_cannot_be_computed() -> None:
    """By numbers: of each secret of round 1 the adversary holds t - 1 shares, which give no seed that was signed and no sum."""
    first, second = released_round()
    listed, held = first.listed(), SIX[2:]  # what four members revealed, the colluder among them
    assert len(held) == TERMS.threshold - 1
    known = {TERMS.rank(party): first.reveals[party].seeds["trunk"][VICTIM] for party in held}
    with pytest.raises(CryptoError, match="got 5 and 4"):
        sharing.combine(known, threshold=TERMS.threshold)
    seed = first_seed()
    for guess in range(3):
        wrong = {**known, TERMS.rank(VICTIM): bytes([0, guess]) * 16 + b"\0"}
        with suppress(CryptoError):
            assert sharing.combine(wrong, threshold=TERMS.threshold) != seed
    with pytest.raises(CryptoError):
        first.sum_of(SIX, "trunk", {party: first.reveals[party] for party in held})
    five = second.sum_of(SIX[1:], "trunk", second.reveal(second.listed(), SIX[1:]))
    assert np.array_equal(five, second.truth(SIX[1:], "trunk"))  # the one sum that opens
    masked = first.upload(VICTIM, "trunk")  # and what of round 1 is left says nothing: each upload bears its own self mask still
    for size in range(1, 7):
        for members in combinations(SIX, size):
            total = sum((first.upload(party, "trunk") for party in members), np.zeros_like(masked))
            assert not np.array_equal(total - second.truth(set(members) - {VICTIM}, "trunk"), first.plain[(VICTIM, "trunk")])
    assert listed.base == second.listed().base


def first_seed() -> bytes:
    """Return the victim's self-mask seed of round 1, which it destroyed, from a twin of it."""
    return Stage(TERMS).states[VICTIM]._secrets.self_seed("trunk")


def test_who_released_keeps_nothing_of_the_round() -> None:
    stage = Stage(TERMS).to(Phase.REVEAL)
    stage.release(SIX)
    for party in SIX:
        state = stage.states[party]
        assert (state.phase, state.seed, dict(state.held), dict(state.keys)) == (Phase.RELEASE, b"", {}, {})
        with pytest.raises(ProtocolError, match="a round that is over has none"):
            state.share(party_key(party))


@pytest.mark.parametrize("proven", [False, True])
def test_who_released_takes_no_message_of_the_round_any_more(*, proven: bool) -> None:
    done = Stage(TERMS).to(Phase.REVEAL)
    stage = Stage(TERMS).to(Phase.CONFIRM)
    stage.release(SIX)
    if proven:
        stage.show(VICTIM, stage.released())
    messages: list[Relay] = [done.keys(), done.boxes(VICTIM), done.proposal(done.listed()), done.signed(done.listed(), SIX), done.aborted()]
    for message in messages:
        with pytest.raises(RemoteProtocolError, match=rf"in {'RELEASED' if proven else 'RELEASE'}: wanted"):
            stage.show(VICTIM, message)
    with pytest.raises(RemoteProtocolError, match="in RELEASE"):
        stage.seal(VICTIM)


@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.SHARE, Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL])
def test_a_release_is_given_in_every_phase_and_again_in_the_same_bytes(phase: Phase) -> None:
    stage = Stage(TERMS).to(phase)
    stage.release(SIX)
    first = dict(stage.releases)
    stage.release(SIX)
    assert stage.releases == first
    for party in SIX:
        stage.show(party, stage.released(SIX[3:]))
        assert stage.states[party].promise.is_over
    again = Stage(TERMS, number=2, before=stage.states).to(Phase.REVEAL)
    assert np.array_equal(again.sum_of(SIX, "trunk", again.reveal(again.listed(), SIX)), again.truth(SIX, "trunk"))


@pytest.mark.parametrize("count", range(7))
def test_a_proof_needs_three_of_six_whoever_they_are(count: int) -> None:
    for parties in combinations(SIX, count):
        stage = Stage(TERMS, absent=frozenset(SIX[1:]))
        stage.lends(*parties)
        proof, among = stage.released(), stage.states[VICTIM].spec.cohort
        if count >= 3:
            verify_released(among, proof, SIX)
        else:
            with pytest.raises(RemoteProtocolError, match=ENOUGH):
                verify_released(among, proof, SIX)


def test_a_member_that_was_away_and_released_never_enters_that_round() -> None:
    """It says so of a round that it is not in; shown the round later, it does not take part."""
    simulation = Simulation(TERMS)
    away = simulation.parties[VICTIM]
    sends = away.take("release", Stage(TERMS).asked().canonical(), lambda _: ring.zeros(1, 32))
    assert [send.kind for send in sends] == ["release"]
    assert away.open(1) == []
    assert away.refusals == ["round 1: wanted a round after 1"]
    assert away.take("keys", Stage(TERMS).keys().canonical(), lambda _: ring.zeros(1, 32)) == []
    assert away.state is None
    assert [send.kind for send in away.open(2)] == ["advertise"]


def test_a_proof_does_not_undo_an_opening() -> None:
    stage, _ = revealed()
    opened, _ = stage.states[VICTIM].on_opened()
    with pytest.raises(RemoteProtocolError, match="in CLOSED: wanted nothing"):
        opened.on_released(stage.released(()))
    with pytest.raises(RemoteProtocolError, match="stands in the chain"):
        replace(opened, phase=Phase.REVEAL).promise.proven_released()
