"""A party's machine replays: the recorded events give the same state and the same bytes, from any point on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from parley_crypto.signing import Envelope
from parley_protocol.effects import Finish, SealNow, Send
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.party_round import PartyRound
from parley_protocol.relays import Keys, RoundAborted

from tests.attacks.adversary import SEGMENTS, SIX, Stage
from tests.attacks.observed import KINDS, Relay, answer, snapshot
from tests.simulator import make_terms, party_key

ME, TERMS = SIX[0], make_terms(6, segments=SEGMENTS)
Step = tuple[str, bytes]


def recorded() -> tuple[Stage, list[Step], list[Step], list[tuple[object, ...]]]:
    """Run a round for one party; return the events it recorded, the messages it sent, and its state after each event."""
    stage = Stage(TERMS)
    events: list[Step] = []
    sent: list[Step] = [("advertise", stage.adverts[ME].encode())]
    states = [snapshot(stage.states[ME])]

    def take(message: Relay) -> None:
        sends = stage.show(ME, message)
        events.append((KINDS[type(message)], message.canonical()))
        sent.extend((send.kind, send.body.canonical()) for send in sends)
        states.append(snapshot(stage.states[ME]))

    take(stage.keys())
    for party in SIX[1:]:
        stage.show(party, stage.keys())
    take(stage.boxes(ME))
    for party in SIX[1:]:
        stage.show(party, stage.boxes(party))
        stage.seal(party)
    stage.seal(ME)
    manifest = stage.states[ME].manifest
    assert manifest is not None
    events.append(("sealed", manifest.dump()))
    sent.append(("collect", stage.manifests[ME].encode()))
    states.append(snapshot(stage.states[ME]))
    proposal = stage.proposal(stage.listed())
    take(proposal)
    for party in SIX[1:]:
        stage.show(party, proposal)
    take(stage.signed(stage.listed(), SIX))
    return stage, events, sent, states


def replayed(state: PartyRound, events: list[Step]) -> tuple[list[Step], list[tuple[object, ...]]]:
    state, effects = state.advertise(party_key(ME))
    sent, states = texts(effects), [snapshot(state)]
    for kind, raw in events:
        if kind == "sealed":
            state, more = state.on_sealed(Envelope.load(raw))
            sent += texts(more)
        else:
            state, caused = answer(state, kind, raw)
            sent += texts(caused)
        states.append(snapshot(state))
    return sent, states


def texts(effects: object) -> list[Step]:
    assert isinstance(effects, tuple)
    found = []
    for effect in effects:
        if isinstance(effect, Send):
            statement = getattr(effect.body, "statement", "")
            found.append((effect.kind, statement.encode() if effect.kind in {"advertise", "collect"} else effect.body.canonical()))
    return found


def test_recorded_events_give_the_same_bytes_from_any_point_on() -> None:
    stage, events, sent, states = recorded()
    fresh = PartyRound.enter(stage.spec(ME), stage.states[ME].seed)
    for until in range(len(events) + 1):
        again, after = replayed(fresh, events[:until])
        assert after == states[: until + 1]
        assert sent[: len(again)] == again
        assert len(again) == until + 1 - (until >= 2)  # boxes, the second event, cause no message: the vector comes first
    assert len(sent) == len(events)


def test_sealing_again_after_a_crash_gives_the_same_upload() -> None:
    """Boxes recorded, manifest not: the same vector sealed again gives the same bytes and the same signature."""
    one, two = (Stage(TERMS).to(Phase.COLLECT) for _ in range(2))
    for stage in (one, two):
        stage.seal(ME)
    assert one.bodies[ME] == two.bodies[ME]
    assert one.manifests[ME] == two.manifests[ME]


def test_a_party_is_asked_for_its_segments_alone() -> None:
    stage = Stage(TERMS).to(Phase.SHARE)
    wanted = {SIX[0]: ("trunk", "head:a"), SIX[2]: ("trunk", "head:a", "head:b"), SIX[5]: ("trunk", "head:b")}
    for party, segments in wanted.items():
        _, effects = answer(stage.states[party], "boxes", stage.boxes(party).canonical())
        assert list(effects) == [SealNow(segments)]


def test_a_member_without_a_live_segment_sends_an_empty_update_and_helps_to_open() -> None:
    """Its part has too few members this time: it seals nothing, is listed, signs and reveals."""
    terms = make_terms(6, segments={"head:a": (5, [0, 1, 2]), "head:b": (4, [3, 4, 5])})
    stage = Stage(terms, absent=frozenset({SIX[5]})).to(Phase.CONFIRM)
    assert stage.bodies[SIX[3]] == b""
    listed = stage.listed()
    assert listed.openable == ("head:a",)
    stage.confirm(listed, SIX[:5])
    assert stage.sum_of(SIX[:5], "head:a", stage.reveal(listed, SIX[:5])).tolist() == stage.truth(SIX[:3], "head:a").tolist()


def test_an_update_is_asked_for_once() -> None:
    stage = Stage(TERMS).to(Phase.CONFIRM)
    with pytest.raises(RemoteProtocolError, match="in CONFIRM: wanted"):
        stage.seal(ME)
    manifest = stage.states[ME].manifest
    assert manifest is not None
    with pytest.raises(RemoteProtocolError, match="in CONFIRM: wanted"):
        stage.states[ME].on_sealed(manifest)


def test_the_end_of_a_round_destroys_its_secrets() -> None:
    stage = Stage(TERMS).to(Phase.REVEAL)
    closed, effects = stage.states[ME].on_opened()
    assert (closed.phase, closed.seed, dict(closed.held), effects) == (Phase.CLOSED, b"", {}, (Finish(None),))
    aborted, effects = Stage(TERMS).states[ME].on_aborted(RoundAborted(agreement=TERMS.digest(), round=1, reason="too few"))
    assert (aborted.phase, aborted.seed, effects) == (Phase.ABORTED, b"", (Finish("too few"),))
    released, effects = Stage(TERMS).to(Phase.CONFIRM).states[ME].on_release(stage.asked(), party_key(ME))
    assert (released.phase, released.seed, dict(released.held)) == (Phase.RELEASE, b"", {})
    assert [effect.kind for effect in effects if isinstance(effect, Send)] == ["release"]
    for state in (closed, aborted, released):
        with pytest.raises(LocalProtocolError, match="a round that is over has none"):
            state.share(party_key(ME))


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="wanted a seed of 32 bytes"):
        PartyRound.enter(Stage(TERMS).spec(ME), seed).advertise(party_key(ME))


def test_the_state_does_not_show_its_secrets() -> None:
    state = Stage(TERMS).to(Phase.REVEAL).states[ME]
    assert repr(state) == "PartyRound(party-000, round 1, REVEAL)"
    assert str(state) == repr(state)


def test_a_state_is_a_value() -> None:
    stage = Stage(TERMS)
    before = stage.states[ME]
    keys = Keys.parse(stage.keys().canonical())
    one, _ = before.on_keys(keys, party_key(ME))
    two, _ = before.on_keys(keys, party_key(ME))
    assert one == two
    assert before.phase is Phase.ADVERTISE
    assert replace(one, phase=Phase.ADVERTISE, keys={}, key_set="", parties=(), live=()) == before
