"""The gateway's machine: whom it waits for, when a phase closes, what is late, and what an abort says."""

from __future__ import annotations

import pytest
from parley_protocol import opening
from parley_protocol.effects import Finish, OpenNow, Send
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.messages import Withdrawn
from parley_protocol.phases import Event
from parley_protocol.relays import Post, ReleaseAsked, Released, ReleasePost, RoundAborted
from parley_protocol.release import verify_released

from tests.attacks.adversary import EVERYONE, SEGMENTS, SIX, Stage
from tests.simulator import make_terms, party_key

TERMS = make_terms(6, segments=SEGMENTS)
START = Moment(0.0)
EVENTS = (Event.ADVERTISE, Event.SHARE, Event.COLLECT, Event.CONFIRM, Event.REVEAL)
PHASES = (Phase.ADVERTISE, Phase.SHARE, Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL)


@pytest.fixture(scope="module")
def stage() -> Stage:
    """All statements of a whole round."""
    done = Stage(TERMS).to(Phase.REVEAL)
    done.reveal(done.listed(), SIX)
    return done


def opened(expected: frozenset[str] = EVERYONE) -> GatewayRound:
    return GatewayRound.open(GatewaySpec(TERMS, 1, 0, Stage(TERMS).history, expected, 0.0))


def reach(stage: Stage, phase: Phase) -> GatewayRound:
    state = opened()
    for event in EVENTS[: PHASES.index(phase)]:
        for party in SIX:
            if state.phase is not Phase.REVEAL:
                state, _ = state.on_post(party, event, stage.post(party, event), START)
    assert state.phase is phase
    return state


def closing(stage: Stage, phase: Phase, answered: tuple[str, ...], at: Moment) -> tuple[GatewayRound, tuple[object, ...]]:
    """Return the round after some answered in a phase and the clock stood at `at`."""
    state = reach(stage, phase)
    for party in answered:
        state, _ = state.on_post(party, EVENTS[PHASES.index(phase)], stage.post(party, EVENTS[PHASES.index(phase)]), START)
    return state.on_tick(at)


@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.SHARE, Phase.COLLECT])
def test_a_phase_closes_when_all_answered_are_gone_or_out_of_time(stage: Stage, phase: Phase) -> None:
    following = PHASES[PHASES.index(phase) + 1]
    seconds = TERMS.timing.round_seconds if phase is Phase.COLLECT else TERMS.timing.phase_seconds
    waiting, _ = closing(stage, phase, SIX[:5], Moment(seconds - 0.001))
    assert (waiting.phase, waiting.waits_for()) == (phase, (SIX[5],))
    assert closing(stage, phase, SIX[:5], Moment(0.0, frozenset({SIX[5]})))[0].phase is following
    assert closing(stage, phase, SIX[:5], Moment(seconds))[0].phase is following
    assert closing(stage, phase, SIX, START)[0].phase is following
    assert closing(stage, phase, SIX[:4], Moment(0.0, frozenset({SIX[5]})))[0].phase is phase


@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.SHARE])
def test_too_few_before_boxes_abort_and_name_the_missing(stage: Stage, phase: Phase) -> None:
    state, effects = closing(stage, phase, SIX[:4], Moment(1_000.0))
    assert (state.phase, state.waits_for()) == (Phase.ABORTED, ())
    told = {effect.to: effect.body for effect in effects if isinstance(effect, Send)}
    assert set(told) == EVERYONE
    for body in told.values():
        assert isinstance(body, RoundAborted)
        assert f"round 1 given up in {phase}" in body.reason
        assert f"of 4 parties, wanted 5 and enough for one shared part; missing: {SIX[4]}, {SIX[5]}" in body.reason
    assert isinstance(effects[-1], Finish)


def test_who_advertised_unexpected_is_told_of_an_abort_too(stage: Stage) -> None:
    state = opened(frozenset(SIX[:2]))
    for party in (SIX[0], SIX[4]):
        state, _ = state.on_post(party, Event.ADVERTISE, stage.post(party, Event.ADVERTISE), START)
    _, effects = state.on_tick(Moment(1_000.0))
    assert {effect.to for effect in effects if isinstance(effect, Send)} == {SIX[0], SIX[1], SIX[4]}


@pytest.mark.parametrize("phase", [Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL])
def test_too_few_after_boxes_wait_and_name_whom_while_too_few_are_here_to_release(stage: Stage, phase: Phase) -> None:
    """Of six, three must have destroyed their shares; with two here the round stays as it is, and who comes back finishes it."""
    at = Moment(1e9, frozenset(SIX[2:]))
    state, effects = closing(stage, phase, SIX[:4], at)
    assert (state.phase, state.waits_for(), effects) == (phase, SIX[4:], ())
    event = EVENTS[PHASES.index(phase)]
    state, effects = state.on_post(SIX[4], event, stage.post(SIX[4], event), Moment(0.0, frozenset({SIX[5]})))
    assert effects


@pytest.mark.parametrize(("phase", "seconds"), [(Phase.COLLECT, TERMS.timing.round_seconds), (Phase.CONFIRM, TERMS.timing.phase_seconds)])
@pytest.mark.parametrize("gone", [frozenset(), frozenset(SIX[4:])])
def test_a_round_that_cannot_be_finished_is_released_at_its_deadline(
    stage: Stage, phase: Phase, seconds: float, gone: frozenset[str]
) -> None:
    """While enough are here to finish it, they get the time once more."""
    patience = seconds if gone else 2 * seconds
    state, effects = closing(stage, phase, SIX[:4], Moment(patience - 0.001, gone))
    assert (state.phase, effects) == (phase, ())
    state, effects = state.on_tick(Moment(patience, gone))
    assert (state.phase, state.waits_for()) == (Phase.RELEASE, SIX)
    asked = {effect.to: effect.body for effect in effects if isinstance(effect, Send)}
    assert set(asked) == EVERYONE
    for body in asked.values():
        assert isinstance(body, ReleaseAsked)
        assert f"round 1 cannot be finished in {phase}: " in body.reason
        assert "of 4 parties" in body.reason
        assert f"wanted 5 and enough for one shared part; waited for {SIX[4]}, {SIX[5]}" in body.reason


def test_who_withdrew_is_not_waited_for_once_too_few_are_left(stage: Stage) -> None:
    """With two gone for good, four of six remain, fewer than t: no deadline is waited for."""
    state, effects = reach(stage, Phase.CONFIRM), ()  # type: tuple[GatewayRound, tuple[object, ...]]
    for party in SIX[4:]:
        said = Withdrawn.model_validate({**stage.spec(party).bound(), "party": party, "reason": "policy"}).sign(party_key(party))
        state, effects = state.on_withdrawn(party, Post(statement=said.dump().decode()), START)
    assert state.phase is Phase.RELEASE
    assert {effect.to for effect in effects if isinstance(effect, Send)} == EVERYONE


def releasing(stage: Stage) -> GatewayRound:
    state, _ = closing(stage, Phase.CONFIRM, SIX[:4], Moment(1e9))
    return state


def test_a_round_is_released_by_enough_members_in_it_or_not(stage: Stage) -> None:
    """n - t + c + 1 = 3 statements; a member that was never in the round gives one too."""
    state = releasing(stage)
    lent = Stage(TERMS, absent=EVERYONE)
    lent.lends(*SIX)
    for party in SIX[3:5]:
        state, effects = state.on_post(party, Event.RELEASE, lent.post(party, Event.RELEASE), START)
        assert (state.phase, effects) == (Phase.RELEASE, ())
    again, effects = state.on_post(SIX[3], Event.RELEASE, lent.post(SIX[3], Event.RELEASE), START)
    assert (again, effects) == (state, ())
    state, effects = state.on_post(SIX[0], Event.RELEASE, lent.post(SIX[0], Event.RELEASE), START)
    assert (state.phase, state.waits_for()) == (Phase.RELEASED, ())
    proofs = {effect.to: effect.body for effect in effects if isinstance(effect, Send)}
    assert set(proofs) == EVERYONE
    proof = proofs[SIX[5]]
    assert isinstance(proof, Released)
    assert proof.parties == (SIX[0], SIX[3], SIX[4])
    verify_released(state.spec.cohort, proof, state.boxes_from)
    assert effects[-1] == Finish("round 1 was released by 3 parties: nobody can open it")


def test_no_certificate_is_sent_once_members_were_asked_to_release(stage: Stage) -> None:
    state = releasing(stage)
    with pytest.raises(RemoteProtocolError, match="in RELEASE: wanted release, got confirm"):
        state.on_post(SIX[4], Event.CONFIRM, stage.post(SIX[4], Event.CONFIRM), START)
    assert state.on_tick(Moment(2e9)) == (state, ())


def test_nobody_is_asked_to_release_once_a_certificate_was_sent(stage: Stage) -> None:
    state, effects = closing(stage, Phase.REVEAL, SIX[:4], Moment(1e9))
    assert (state.phase, effects) == (Phase.REVEAL, ())
    with pytest.raises(RemoteProtocolError, match="in REVEAL: wanted reveal, opened, got release"):
        state.on_post(SIX[5], Event.RELEASE, ReleasePost(agreement=TERMS.digest(), round=1, signature=""), START)


def test_a_certificate_goes_out_at_t_signatures_and_stays_as_it_was_sent(stage: Stage) -> None:
    state = reach(stage, Phase.CONFIRM)
    for party in SIX[:4]:
        state, _ = state.on_post(party, Event.CONFIRM, stage.post(party, Event.CONFIRM), START)
        assert state.phase is Phase.CONFIRM
    state, effects = state.on_post(SIX[4], Event.CONFIRM, stage.post(SIX[4], Event.CONFIRM), START)
    assert state.phase.value == "REVEAL"
    assert {effect.to for effect in effects if isinstance(effect, Send)} == EVERYONE
    with pytest.raises(RemoteProtocolError, match="in REVEAL: wanted"):
        state.on_post(SIX[5], Event.CONFIRM, stage.post(SIX[5], Event.CONFIRM), START)
    assert state.certificate is not None
    assert len(state.certificate.signatures) == 5


def test_the_sums_open_at_t_reveals(stage: Stage) -> None:
    state = reach(stage, Phase.REVEAL)
    with pytest.raises(LocalProtocolError, match="opening needs more members' shares than the 0 here"):
        opening.rebuild(state)
    for party in SIX[:4]:
        state, effects = state.on_post(party, Event.REVEAL, stage.post(party, Event.REVEAL), START)
        assert effects == ()
    state, effects = state.on_post(SIX[4], Event.REVEAL, stage.post(SIX[4], Event.REVEAL), START)
    assert effects == (OpenNow(),)
    rebuilt = opening.rebuild(state)
    total, _ = opening.open_segment(rebuilt, "trunk", (stage.sealed(party, "trunk") for party in SIX))
    assert total.tolist() == stage.truth(SIX, "trunk").tolist()
    closed, _ = state.on_opened(stage.signatures[SIX[0]], 1.0)
    assert (closed.phase, dict(closed.reveals)) == (Phase.CLOSED, {})


@pytest.mark.parametrize("phase", PHASES)
def test_a_repeated_statement_changes_nothing(stage: Stage, phase: Phase) -> None:
    event = EVENTS[PHASES.index(phase)]
    once, _ = reach(stage, phase).on_post(SIX[0], event, stage.post(SIX[0], event), START)
    twice, effects = once.on_post(SIX[0], event, stage.post(SIX[0], event), START)
    assert (twice, effects) == (once, ())


@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_late_statement_is_refused(stage: Stage, phase: Phase) -> None:
    late = EVENTS[PHASES.index(phase) - 1]
    if (phase, late) != (Phase.REVEAL, Event.CONFIRM):
        with pytest.raises(RemoteProtocolError, match=f"in {phase}: wanted"):
            reach(stage, phase).on_post(SIX[5], late, stage.post(SIX[5], late), START)


def test_nothing_opens_without_a_certificate(stage: Stage) -> None:
    state = reach(stage, Phase.COLLECT)
    with pytest.raises(RemoteProtocolError, match="there is no survivor list yet"):
        opening.rebuild(state)
    with pytest.raises(RemoteProtocolError, match="in COLLECT: wanted"):
        state.on_opened(stage.signatures[SIX[0]], 1.0)


def test_the_repr_shows_no_share(stage: Stage) -> None:
    state, _ = reach(stage, Phase.REVEAL).on_post(SIX[0], Event.REVEAL, stage.post(SIX[0], Event.REVEAL), START)
    given = stage.reveals[SIX[0]]
    shares = [share for owners in given.seeds.values() for share in owners.values()]
    columns = list(given.statement.seeds.values())
    assert not any(share.hex() in repr(state) or repr(share)[2:-1] in repr(state) for share in shares)
    assert not any(column in repr(state) for column in columns)
