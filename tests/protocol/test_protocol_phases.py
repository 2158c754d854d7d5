"""The tables of phases: total, forward only, and no way back once boxes are out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from parley_protocol.codec import OPEN, POSTS, RELAYS, WITHDRAWN, load_post, load_relay
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.phases import GATEWAY, PARTY, Event, require
from parley_protocol.relays import LogProof, Post, RoundOpen, SharePost

from tests.attacks.adversary import EVERYONE, SIX, Stage
from tests.simulator import make_terms

TABLES = {"party": PARTY, "gateway": GATEWAY}
ORDER = list(Phase)
ENDS = {Phase.CLOSED, Phase.ABORTED, Phase.RELEASED}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", Event)
def test_every_event_leads_on_or_is_refused(table: dict[Phase, dict[Event, Phase]], phase: Phase, event: Event) -> None:
    if event in table.get(phase, {}):
        assert require(table, phase, event, 7) is table[phase][event]
    else:
        with pytest.raises(RemoteProtocolError, match=rf"round 7 in {phase}: wanted .*, got {event}"):
            require(table, phase, event, 7)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_round_only_goes_forward_and_ends(table: Mapping[Phase, Mapping[Event, Phase]]) -> None:
    assert set(table) == set(Phase) - ENDS
    for phase, row in table.items():
        assert all(ORDER.index(target) >= ORDER.index(phase) for target in row.values())
        assert any(target is not phase for target in row.values())
    reached = {Phase.ADVERTISE}
    while more := {target for phase in reached for target in table.get(phase, {}).values()} - reached:
        reached |= more
    assert reached == set(Phase)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_nothing_aborts_once_boxes_are_out(table: Mapping[Phase, Mapping[Event, Phase]]) -> None:
    aborting = {phase for phase, row in table.items() if Phase.ABORTED in row.values()}
    assert aborting == {Phase.ADVERTISE, Phase.SHARE}


def test_the_gateway_machine_refuses_what_the_table_does() -> None:
    """Every event in every phase, at the machine itself: what the table has no place for is refused before its content is looked at."""
    stage = Stage(make_terms(6))
    junk = SharePost(statement="junk", hashes="", seeds="", boxes=())
    for phase in Phase:
        spec = GatewaySpec(stage.terms, 1, 0, stage.history, EVERYONE, 0.0)
        state = GatewayRound(spec, phase)
        for event in Event:
            listed = event in GATEWAY.get(phase, {})
            with pytest.raises(RemoteProtocolError, match=None if listed else rf"in {phase}: wanted"):
                state.on_post(SIX[0], event, junk, Moment(0.0))


def test_every_event_of_the_wire_has_a_body() -> None:
    from_gateway = {event for row in PARTY.values() for event in row} - {Event.SEALED}
    from_parties = {event for row in GATEWAY.values() for event in row} - {Event.OPENED, Event.ABORTED, Event.EXPIRED}
    assert set(RELAYS) == {*from_gateway, OPEN}
    assert set(POSTS) == {*from_parties, WITHDRAWN}


def test_messages_survive_the_wire() -> None:
    stage = Stage(make_terms(6)).to(Phase.REVEAL)
    proof = LogProof(checkpoint="c", old_size=0, consistency=(), index=0, inclusion=("a" * 64,))
    digest = stage.terms.digest()
    for kind, message in (
        ("keys", stage.keys()),
        ("boxes", stage.boxes(SIX[0])),
        ("list", stage.proposal(stage.listed())),
        ("certified", stage.signed(stage.listed(), SIX)),
        ("aborted", stage.aborted()),
        ("release", stage.asked()),
        ("released", stage.released(())),
        ("open", RoundOpen(agreement=digest, round=1, step=0, previous=digest, log=proof)),
    ):
        assert load_relay(kind, message.canonical()) == message
    assert load_post("share", stage.posts[SIX[0]].canonical()) == stage.posts[SIX[0]]
    for event in (Event.ADVERTISE, Event.SHARE, Event.COLLECT, Event.CONFIRM):
        post = stage.post(SIX[0], event)
        assert load_post(event, post.canonical()) == post


def test_a_share_without_boxes_is_no_share() -> None:
    with pytest.raises(RemoteProtocolError, match=r"message share: (boxes|hashes|seeds)"):
        load_post("share", Post(statement="{}").canonical())
    with pytest.raises(RemoteProtocolError, match=r"message advertise: (boxes|hashes|seeds)"):
        load_post("advertise", SharePost(statement="{}", hashes="", seeds="", boxes=()).canonical())
