"""One member against an honest gateway: what it sends is refused and named, and the round goes on with the others."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import replace

import pytest
from parley_crypto import sharing
from parley_crypto.signing import Envelope, Signature
from parley_protocol import opening
from parley_protocol.effects import Finish, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound, GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Post, RoundAborted, Share, SharePost, Withdrawn
from parley_protocol.phases import Event

from tests.attacks.adversary import EVERYONE, SEGMENTS, SIX, Stage, altered, content
from tests.simulator import GATEWAY_KEY, make_terms, party_key

BAD, GOOD = SIX[5], SIX[:5]
TERMS = make_terms(6, segments=SEGMENTS)
NOW, LATER = Moment(0.0), Moment(1.0, frozenset({BAD}))  # later the bad member is no longer connected


def post(stage: Stage, party: str, event: Event) -> Post:
    match event:
        case Event.ADVERTISE:
            return Post(statement=stage.adverts[party])
        case Event.SHARE:
            return stage.posts[party]
        case Event.COLLECT:
            return Post(statement=stage.manifests[party])
        case Event.CONFIRM:
            return Post(statement=stage.signatures[party].dump().decode())
        case _:
            return Post(statement=stage.reveals[party].sign(party_key(party)).dump().decode())


def gateway(stage: Stage, until: Phase, members: Iterable[str] = SIX) -> GatewayRound:
    """Return an honest gateway that took what `members` sent, in the phase `until`."""
    state = GatewayRound.open(GatewaySpec(stage.terms, 1, 0, stage.history, EVERYONE, 0.0))
    events = (Event.ADVERTISE, Event.SHARE, Event.COLLECT, Event.CONFIRM, Event.REVEAL)
    for event in events:
        if state.phase is until:
            return state
        for party in members:
            if state.phase != Phase.REVEAL or event is not Event.CONFIRM:
                state, _ = state.on_post(party, event, post(stage, party, event), NOW)
        state, _ = state.on_tick(LATER)
    return state


def statement(text: str) -> Post:
    return Post(statement=text)


def test_keys_of_low_order_are_refused_and_the_round_goes_on() -> None:
    stage = Stage(TERMS)
    state = gateway(stage, Phase.ADVERTISE)
    with pytest.raises(RemoteProtocolError, match=f"keys of {BAD}: mask key: .*low order"):
        state.on_post(BAD, Event.ADVERTISE, statement(stage.advert(BAD, mask_key="0" * 64)), NOW)
    for party in GOOD:
        state, _ = state.on_post(party, Event.ADVERTISE, post(stage, party, Event.ADVERTISE), NOW)
    state, effects = state.on_tick(LATER)
    assert state.phase is Phase.SHARE
    assert {effect.to for effect in effects if isinstance(effect, Send)} == set(GOOD)


@pytest.mark.parametrize("own", ["channel_key", "mask_key"])
@pytest.mark.parametrize("others", ["channel_key", "mask_key"])
def test_a_key_that_another_member_advertised_is_refused(own: str, others: str) -> None:
    stage = Stage(TERMS)
    state, _ = gateway(stage, Phase.ADVERTISE).on_post(SIX[0], Event.ADVERTISE, post(stage, SIX[0], Event.ADVERTISE), NOW)
    taken = getattr(content(stage.adverts[SIX[0]], Advertise), others)
    with pytest.raises(RemoteProtocolError, match=f"keys of {BAD}: another member has advertised one"):
        state.on_post(BAD, Event.ADVERTISE, statement(stage.advert(BAD, **{own: taken})), NOW)


def test_a_member_on_another_base_version_is_left_out() -> None:
    stage = Stage(TERMS)
    state = gateway(stage, Phase.ADVERTISE)
    for party in SIX:
        text = stage.adverts[party] if party in GOOD else stage.advert(party, base="a" * 64)
        state, _ = state.on_post(party, Event.ADVERTISE, statement(text), NOW)
    assert state.phase is Phase.SHARE
    assert set(state.adverts) == set(GOOD)


def test_a_statement_posted_by_another_is_refused() -> None:
    stage = Stage(TERMS).to(Phase.REVEAL)
    stage.reveal(stage.listed(), SIX)
    turns = {Event.ADVERTISE: Phase.ADVERTISE, Event.SHARE: Phase.SHARE, Event.COLLECT: Phase.COLLECT, Event.REVEAL: Phase.REVEAL}
    for event, phase in turns.items():
        state = gateway(stage, phase)
        with pytest.raises(RemoteProtocolError, match=f"statement of {SIX[0]}: posted by {BAD}"):
            state.on_post(BAD, event, post(stage, SIX[0], event), NOW)
    with pytest.raises(RemoteProtocolError, match=f"signature of {BAD}"):
        gateway(stage, Phase.CONFIRM).on_post(BAD, Event.CONFIRM, post(stage, SIX[0], Event.CONFIRM), NOW)


def forged_share(stage: Stage, **changes: object) -> SharePost:
    said = content(stage.posts[BAD].statement, Share).model_dump()
    text = Share.model_validate(said | changes).sign(party_key(BAD)).dump().decode()
    return SharePost(statement=text, boxes=stage.posts[BAD].boxes)


def test_a_share_that_no_peer_could_use_is_refused_before_boxes_are_out() -> None:
    """Refused later, by every peer, it would leave a round that can neither finish nor be given up."""
    stage = Stage(TERMS).to(Phase.SHARE)
    honest = content(stage.posts[BAD].statement, Share)
    hashes = honest.share_hashes
    boxes = stage.posts[BAD].boxes
    short = {**boxes, SIX[0]: base64.b64encode(bytes(33)).decode()}
    forged = {
        "answers other keys": forged_share(stage, keys="b" * 64),
        "wanted seeds": forged_share(stage, seed_hashes={"trunk": "a" * 64}),
        "hashes and boxes for": forged_share(stage, share_hashes={party: row for party, row in hashes.items() if party != SIX[0]}),
        "wanted 3 hashes": forged_share(stage, share_hashes={**hashes, SIX[0]: hashes[SIX[0]][:2]}),
        "a box of 115 bytes": SharePost(statement=stage.posts[BAD].statement, boxes=short),
        "hashes and boxes": SharePost(statement=stage.posts[BAD].statement, boxes={}),
        "115 bytes": SharePost(statement=stage.posts[BAD].statement, boxes={**boxes, SIX[0]: "A"}),
    }
    state = gateway(stage, Phase.SHARE)
    for words, wrong in forged.items():
        with pytest.raises(RemoteProtocolError, match=f"share of {BAD}: .*{words}"):
            state.on_post(BAD, Event.SHARE, wrong, NOW)
    with pytest.raises(RemoteProtocolError, match="wanted boxes beside the statement"):
        state.on_post(BAD, Event.SHARE, statement(stage.posts[BAD].statement), NOW)
    for party in GOOD:
        state, _ = state.on_post(party, Event.SHARE, stage.posts[party], NOW)
    state, _ = state.on_tick(LATER)
    assert (state.phase, state.boxes_from) == (Phase.COLLECT, GOOD)


MISFITS: tuple[dict[str, object], ...] = (
    {"size": 7},
    {"boxes_from": SIX[1:]},
    {"segments": ("trunk",)},
    {"base": "a" * 64},
    {"round": 2},
)


@pytest.mark.parametrize("changes", MISFITS, ids=lambda changes: next(iter(changes)))
def test_a_manifest_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    stage = Stage(TERMS).to(Phase.CONFIRM)
    said = content(stage.manifests[BAD], Manifest).model_dump()
    text = Manifest.model_validate(said | changes).sign(party_key(BAD)).dump().decode()
    with pytest.raises(RemoteProtocolError, match=f"manifest of {BAD}: wanted"):
        gateway(stage, Phase.COLLECT).on_post(BAD, Event.COLLECT, statement(text), NOW)


def test_a_second_signature_beside_ones_own_is_refused() -> None:
    """Joined unverified, it would count towards t, keep the genuine one out, and leave a certificate that nobody accepts."""
    stage = Stage(TERMS).to(Phase.REVEAL)
    state = gateway(stage, Phase.CONFIRM)
    own = stage.signatures[BAD]
    for keyid in (party_key(SIX[0]).public.fingerprint, GATEWAY_KEY.public.fingerprint, "junk"):
        padded = Envelope(own.payload_type, own.payload, (*own.signatures, Signature(keyid, bytes(64))))
        with pytest.raises(RemoteProtocolError, match=f"signature of {BAD}: wanted one, got 2"):
            state.on_post(BAD, Event.CONFIRM, statement(padded.dump().decode()), NOW)
    for party in GOOD:
        state, _ = state.on_post(party, Event.CONFIRM, post(stage, party, Event.CONFIRM), NOW)
    assert state.phase is Phase.REVEAL
    assert state.certificate is not None
    assert len(state.certificate.signatures) == 5


def test_a_signature_on_another_list_is_refused() -> None:
    stage = Stage(TERMS).to(Phase.REVEAL)
    other = stage.listed(SIX[1:]).sign(party_key(BAD)).dump().decode()
    with pytest.raises(RemoteProtocolError, match="got one on something else"):
        gateway(stage, Phase.CONFIRM).on_post(BAD, Event.CONFIRM, statement(other), NOW)


def test_a_wrong_share_names_who_revealed_it() -> None:
    stage = Stage(TERMS).to(Phase.REVEAL)
    stage.reveal(stage.listed(), SIX)
    reveal = stage.reveals[BAD]
    wrong = altered(reveal, {"seeds": {**reveal.seeds, "trunk": {**reveal.seeds["trunk"], SIX[0]: "0" * 66}}})
    state = gateway(stage, Phase.REVEAL)
    with pytest.raises(RemoteProtocolError, match=f"share of self/trunk of {SIX[0]}, revealed by {BAD}: not the one that {SIX[0]} signed"):
        state.on_post(BAD, Event.REVEAL, statement(wrong.sign(party_key(BAD)).dump().decode()), NOW)


@pytest.mark.parametrize("lacking", ["trunk", "head:a"])
def test_a_reveal_that_leaves_something_out_is_refused(lacking: str) -> None:
    stage = Stage(TERMS).to(Phase.REVEAL)
    stage.reveal(stage.listed(), SIX)
    reveal = stage.reveals[BAD]
    few = altered(reveal, {"seeds": {name: owners for name, owners in reveal.seeds.items() if name != lacking}})
    with pytest.raises(RemoteProtocolError, match=f"shares of {BAD}: wanted self-mask shares"):
        gateway(stage, Phase.REVEAL).on_post(BAD, Event.REVEAL, statement(few.sign(party_key(BAD)).dump().decode()), NOW)


def with_a_wrong_secret(name: str, secret: bytes) -> Stage:
    """A round whose last member shares something else than what it advertised or hashed; every share is as it signed it."""
    stage = Stage(TERMS).to(Phase.SHARE)
    state = stage.states[BAD]
    split = {**state._split(), name: sharing.split(secret, threshold=TERMS.threshold, count=6, seed=bytes(32))}
    stage.posts[BAD] = SharePost(statement=state._statement(split).sign(party_key(BAD)).dump().decode(), boxes=state._boxes(split))
    for party in GOOD:
        stage.show(party, stage.boxes(party))
        stage.seal(party)
    return stage


def opened_by(stage: Stage, members: Iterable[str]) -> None:
    """Run the rest of the round at an honest gateway, up to rebuilding the secrets."""
    listed = stage.listed()
    stage.confirm(listed, GOOD)
    stage.reveal(listed, GOOD)
    state = GatewayRound.open(GatewaySpec(TERMS, 1, 0, stage.history, EVERYONE, 0.0))
    for event in (Event.ADVERTISE, Event.SHARE, Event.COLLECT, Event.CONFIRM, Event.REVEAL):
        for party in members if event is Event.COLLECT else SIX if event in {Event.ADVERTISE, Event.SHARE} else GOOD:
            state, _ = state.on_post(party, event, post(stage, party, event), NOW)
        state, _ = state.on_tick(LATER)
    opening.rebuild(state)


def test_a_mask_key_that_was_not_advertised_names_its_owner() -> None:
    stage = with_a_wrong_secret("mask", hashlib.sha256(b"another key").digest())
    with pytest.raises(RemoteProtocolError, match=f"the mask key that {BAD} shared is not the one it advertised"):
        opened_by(stage, GOOD)


def test_a_seed_that_was_not_hashed_names_its_owner() -> None:
    stage = with_a_wrong_secret("self/trunk", hashlib.sha256(b"another seed").digest())
    state = stage.states[BAD]
    sealed = replace(stage.states[GOOD[0]], spec=state.spec, seed=state.seed, phase=Phase.COLLECT, adverts=state.adverts, manifest=None)
    stage.states[BAD] = sealed
    stage.seal(BAD)
    with pytest.raises(RemoteProtocolError, match=f"trunk: the seed that {BAD} shared is not the one it signed"):
        opened_by(stage, SIX)


def test_shares_of_no_polynomial_name_their_owner() -> None:
    stage = Stage(TERMS).to(Phase.SHARE)
    state = stage.states[BAD]
    split = {**state._split(), "mask": tuple(int.to_bytes(2**256 + 7 * x, 33, "big") for x in range(6))}
    stage.posts[BAD] = SharePost(statement=state._statement(split).sign(party_key(BAD)).dump().decode(), boxes=state._boxes(split))
    for party in GOOD:
        stage.show(party, stage.boxes(party))
        stage.seal(party)
    with pytest.raises(RemoteProtocolError, match=f"{BAD} shared something that is no secret|that {BAD} shared is not the one"):
        opened_by(stage, GOOD)


def test_a_withdrawal_ends_the_waiting_and_its_reason_is_told() -> None:
    stage = Stage(TERMS)
    state = gateway(stage, Phase.ADVERTISE)
    for party in GOOD[:4]:
        state, _ = state.on_post(party, Event.ADVERTISE, post(stage, party, Event.ADVERTISE), NOW)
    effects: tuple[object, ...] = ()
    for party in (GOOD[4], BAD):
        said = Withdrawn(**bound(stage), party=party, reason="its policy changed").sign(party_key(party)).dump().decode()
        state, effects = state.on_withdrawn(party, statement(said), NOW)
    assert state.phase is Phase.ABORTED
    told = [effect.body for effect in effects if isinstance(effect, Send)]
    assert len(told) == 6
    assert all(isinstance(body, RoundAborted) and f"{BAD} withdrew: its policy changed" in body.reason for body in told)
    assert isinstance(effects[-1], Finish)
    assert "keys of 4 parties, wanted 5" in str(effects[-1].aborted)


def bound(stage: Stage) -> dict[str, str | int]:
    return {"study": TERMS.study, "agreement": TERMS.digest(), "round": 1, "base": stage.base}
