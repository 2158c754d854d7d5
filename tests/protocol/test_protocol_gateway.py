"""The gateway's machine: whom it waits for, when a phase closes, what is late, and what an abort says."""

from __future__ import annotations

import pytest
from parley_protocol import opening
from parley_protocol.effects import Finish, OpenNow, Send
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound, GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.messages import Post, RoundAborted
from parley_protocol.phases import Event

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


def post(stage: Stage, party: str, event: Event) -> Post:
    texts = {
        Event.ADVERTISE: lambda: stage.adverts[party],
        Event.COLLECT: lambda: stage.manifests[party],
        Event.CONFIRM: lambda: stage.signatures[party].dump().decode(),
        Event.REVEAL: lambda: stage.reveals[party].sign(party_key(party)).dump().decode(),
    }
    return stage.posts[party] if event is Event.SHARE else Post(statement=texts[event]())


def opened(expected: frozenset[str] = EVERYONE) -> GatewayRound:
    return GatewayRound.open(GatewaySpec(TERMS, 1, 0, Stage(TERMS).history, expected, 0.0))


def reach(stage: Stage, phase: Phase) -> GatewayRound:
    state = opened()
    for event in EVENTS[: PHASES.index(phase)]:
        for party in SIX:
            if state.phase is not Phase.REVEAL:
                state, _ = state.on_post(party, event, post(stage, party, event), START)
    assert state.phase is phase
    return state


def closing(stage: Stage, phase: Phase, answered: tuple[str, ...], at: Moment) -> tuple[GatewayRound, tuple[object, ...]]:
    """Return the round after some answered in a phase and the clock stood at `at`."""
    state = reach(stage, phase)
    for party in answered:
        state, _ = state.on_post(party, EVENTS[PHASES.index(phase)], post(stage, party, EVENTS[PHASES.index(phase)]), START)
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
        state, _ = state.on_post(party, Event.ADVERTISE, post(stage, party, Event.ADVERTISE), START)
    _, effects = state.on_tick(Moment(1_000.0))
    assert {effect.to for effect in effects if isinstance(effect, Send)} == {SIX[0], SIX[1], SIX[4]}


@pytest.mark.parametrize("phase", [Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL])
def test_too_few_after_boxes_wait_for_ever_and_name_whom(stage: Stage, phase: Phase) -> None:
    state, effects = closing(stage, phase, SIX[:4], Moment(1e9, frozenset(SIX[4:])))
    assert (state.phase, state.waits_for(), effects) == (phase, SIX[4:], ())
    state, effects = state.on_post(
        SIX[4], EVENTS[PHASES.index(phase)], post(stage, SIX[4], EVENTS[PHASES.index(phase)]), Moment(1e9, frozenset(SIX[5:]))
    )
    assert effects


def test_a_certificate_goes_out_at_t_signatures_and_takes_more(stage: Stage) -> None:
    state = reach(stage, Phase.CONFIRM)
    for party in SIX[:4]:
        state, _ = state.on_post(party, Event.CONFIRM, post(stage, party, Event.CONFIRM), START)
        assert state.phase is Phase.CONFIRM
    state, effects = state.on_post(SIX[4], Event.CONFIRM, post(stage, SIX[4], Event.CONFIRM), START)
    assert state.phase.value == "REVEAL"
    assert {effect.to for effect in effects if isinstance(effect, Send)} == EVERYONE
    state, _ = state.on_post(SIX[5], Event.CONFIRM, post(stage, SIX[5], Event.CONFIRM), START)
    assert state.certificate is not None
    assert len(state.certificate.signatures) == 6


def test_the_sums_open_at_t_reveals(stage: Stage) -> None:
    state = reach(stage, Phase.REVEAL)
    with pytest.raises(LocalProtocolError, match="opening needs 5 members' shares, got 0"):
        opening.rebuild(state)
    for party in SIX[:4]:
        state, effects = state.on_post(party, Event.REVEAL, post(stage, party, Event.REVEAL), START)
        assert effects == ()
    state, effects = state.on_post(SIX[4], Event.REVEAL, post(stage, SIX[4], Event.REVEAL), START)
    assert effects == (OpenNow(),)
    rebuilt = opening.rebuild(state)
    total = opening.open_segment(state, rebuilt, "trunk", (stage.upload(party, "trunk") for party in SIX))
    assert total.tolist() == stage.truth(SIX, "trunk").tolist()
    closed, _ = state.on_opened(stage.signatures[SIX[0]], 1.0)
    assert (closed.phase, dict(closed.reveals)) == (Phase.CLOSED, {})


@pytest.mark.parametrize("phase", PHASES)
def test_a_repeated_statement_changes_nothing(stage: Stage, phase: Phase) -> None:
    event = EVENTS[PHASES.index(phase)]
    once, _ = reach(stage, phase).on_post(SIX[0], event, post(stage, SIX[0], event), START)
    twice, effects = once.on_post(SIX[0], event, post(stage, SIX[0], event), START)
    assert (twice, effects) == (once, ())


@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_late_statement_is_refused(stage: Stage, phase: Phase) -> None:
    late = EVENTS[PHASES.index(phase) - 1]
    if (phase, late) != (Phase.REVEAL, Event.CONFIRM):
        with pytest.raises(RemoteProtocolError, match=f"in {phase}: wanted"):
            reach(stage, phase).on_post(SIX[5], late, post(stage, SIX[5], late), START)


def test_nothing_opens_without_a_certificate(stage: Stage) -> None:
    state = reach(stage, Phase.COLLECT)
    with pytest.raises(LocalProtocolError, match="opening needs a certificate"):
        opening.rebuild(state)
    with pytest.raises(RemoteProtocolError, match="in COLLECT: wanted"):
        state.on_opened(stage.signatures[SIX[0]], 1.0)


def test_the_repr_shows_no_share(stage: Stage) -> None:
    state, _ = reach(stage, Phase.REVEAL).on_post(SIX[0], Event.REVEAL, post(stage, SIX[0], Event.REVEAL), START)
    shares = [share for owners in stage.reveals[SIX[0]].seeds.values() for share in owners.values()]
    assert not any(share in repr(state) for share in shares)
