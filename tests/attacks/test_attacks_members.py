"""One member against an honest gateway: what it posts is refused and named, and the round goes on with the others."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import pytest
from parley_crypto.signing import Envelope
from parley_protocol import bound, gateway_posts
from parley_protocol.columns import pack
from parley_protocol.effects import Finish, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Share, SurvivorList, Withdrawn
from parley_protocol.party_round import PartyRound
from parley_protocol.phases import Event
from parley_protocol.relays import ConfirmPost, Post, ReleasePost, RoundAborted, SharePost

from tests.attacks.adversary import EVERYONE, SEGMENTS, SIX, Stage
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
from tests.attacks.observed import altered, content
from tests.simulator import GATEWAY_KEY, make_terms, party_key

BAD, GOOD = SIX[5], SIX[:5]
TERMS = make_terms(6, segments=SEGMENTS)
NOW, LATER = Moment(0.0), Moment(1.0, frozenset({BAD}))  # later the bad member is no longer connected


def gateway(stage: Stage, until: Phase, members: Iterable[str] = SIX) -> GatewayRound:
    """Return an honest gateway that took what `members` sent, in the phase `until`."""
    state = GatewayRound.open(GatewaySpec(stage.terms, stage.number, 0, stage.history, EVERYONE, 0.0))
    events = (Event.ADVERTISE, Event.SHARE, Event.COLLECT, Event.CONFIRM, Event.REVEAL)
    for event in events:
        if state.phase is until:
            return state
        for party in members:
            if state.phase != Phase.REVEAL or event is not Event.CONFIRM:
                state, _ = state.on_post(party, event, stage.post(party, event), NOW)
        state, _ = state.on_tick(LATER)
    return state


def statement(text: str) -> Post:
    return Post(statement=text)


def restated(stage: Stage, **changes: object) -> Post:
    """Return the bad member's manifest with other fields, signed by itself."""
    said = content(stage.manifests[BAD], Manifest).model_dump()
    return statement(Manifest.model_validate(said | changes).sign(party_key(BAD)).dump().decode())


def forged_share(stage: Stage, **changes: object) -> SharePost:
    said = content(stage.posts[BAD].statement, Share).model_dump()
    text = Share.model_validate(said | changes).sign(party_key(BAD)).dump().decode()
    return altered(stage.posts[BAD], {"statement": text})


def offer(state: GatewayRound, event: Event, posted: Post | ConfirmPost | ReleasePost, by: str = BAD) -> None:
    """Post something as the bad member, or under another's name."""
    taken, _ = state.on_post(by, event, posted, NOW)
    assert taken != state


# what the bad member posts, each one thing wrong


def post_the_statement_of_another() -> None:
    stage = Stage(TERMS)
    offer(gateway(stage, Phase.ADVERTISE), Event.ADVERTISE, stage.post(SIX[0], Event.ADVERTISE))


def speak_for_another() -> None:
    """The bad member's own signature, under words of another, in the other's inbox."""
    stage = Stage(TERMS)
    text = stage.advert(SIX[0], signer=BAD)
    offer(gateway(stage, Phase.ADVERTISE), Event.ADVERTISE, statement(text))


def sign_a_statement_twice() -> None:
    stage = Stage(TERMS)
    text = content(stage.adverts[BAD], Advertise).sign(party_key(BAD), GATEWAY_KEY).dump().decode()
    offer(gateway(stage, Phase.ADVERTISE), Event.ADVERTISE, statement(text))


def advertise_in_another_round() -> None:
    stage = Stage(TERMS)
    offer(gateway(stage, Phase.ADVERTISE), Event.ADVERTISE, Stage(TERMS, number=2).post(BAD, Event.ADVERTISE))


def advertise_another_step() -> None:
    stage = Stage(TERMS)
    offer(gateway(stage, Phase.ADVERTISE), Event.ADVERTISE, statement(stage.advert(BAD, step=1)))


def advertise_on_an_opened_base() -> None:
    stage = Stage(TERMS)
    chain = replace(stage.history, bases=frozenset({stage.base}))
    offer(GatewayRound.open(GatewaySpec(TERMS, 1, 0, chain, EVERYONE, 0.0)), Event.ADVERTISE, stage.post(BAD, Event.ADVERTISE))


def advertise_anothers_key() -> None:
    stage = Stage(TERMS)
    state, _ = gateway(stage, Phase.ADVERTISE).on_post(SIX[0], Event.ADVERTISE, stage.post(SIX[0], Event.ADVERTISE), NOW)
    taken = content(stage.adverts[SIX[0]], Advertise).mask_key
    offer(state, Event.ADVERTISE, statement(stage.advert(BAD, channel_key=taken)))


def seal_on_another_base() -> None:
    stage = Stage(TERMS).to(Phase.CONFIRM)
    offer(gateway(stage, Phase.COLLECT), Event.COLLECT, restated(stage, base="a" * 64))


def seal_other_parts() -> None:
    stage = Stage(TERMS).to(Phase.CONFIRM)
    offer(gateway(stage, Phase.COLLECT), Event.COLLECT, restated(stage, segments=("trunk",), size=32))


def late(stage: Stage) -> None:
    """Let the bad member, which took no part from SHARE on, make what the others made."""
    own, good = stage.states[BAD], stage.states[SIX[0]]
    caught_up: PartyRound = replace(own, keys=good.keys, parties=good.parties, key_set=good.key_set, live=good.live)
    body = caught_up.share(party_key(BAD)).body
    assert isinstance(body, SharePost)
    stage.posts[BAD] = body


def share_without_keys() -> None:
    stage = Stage(TERMS).to(Phase.SHARE, silent=[BAD])
    late(stage)
    offer(gateway(stage, Phase.SHARE, GOOD), Event.SHARE, stage.posts[BAD])


def share_under_other_keys() -> None:
    stage = Stage(TERMS).to(Phase.SHARE)
    offer(gateway(stage, Phase.SHARE), Event.SHARE, forged_share(stage, keys="b" * 64))


def share_a_box_too_few() -> None:
    stage = Stage(TERMS).to(Phase.SHARE)
    state, short = gateway(stage, Phase.SHARE), altered(stage.posts[BAD], {"boxes": stage.posts[BAD].boxes[:-1]})
    with suppress(ValueError):  # an accident instead of a refusal
        offer(state, Event.SHARE, short)


def share_a_short_box() -> None:
    stage = Stage(TERMS).to(Phase.SHARE)
    short = (base64.b64encode(bytes(33)).decode(), *stage.posts[BAD].boxes[1:])
    offer(gateway(stage, Phase.SHARE), Event.SHARE, altered(stage.posts[BAD], {"boxes": short}))


def share_hashes_that_it_did_not_sign() -> None:
    stage = Stage(TERMS).to(Phase.SHARE)
    offer(gateway(stage, Phase.SHARE), Event.SHARE, forged_share(stage, root="a" * 64))


def seal_without_boxes() -> None:
    stage = Stage(TERMS).to(Phase.SHARE).to(Phase.COLLECT, silent=[BAD]).to(Phase.CONFIRM, silent=[BAD])
    state = GatewayRound.open(GatewaySpec(TERMS, 1, 0, stage.history, EVERYONE, 0.0))
    for event, members in ((Event.ADVERTISE, SIX), (Event.SHARE, GOOD)):
        for party in members:
            state, _ = state.on_post(party, event, stage.post(party, event), NOW)
        state, _ = state.on_tick(LATER)
    stage.manifests[BAD] = stage.manifests[SIX[4]]
    offer(state, Event.COLLECT, restated(stage, party=BAD))


def sign_another_list() -> None:
    """The signature is on the proposed list, and it says that it is on another one."""
    stage = Stage(TERMS).to(Phase.REVEAL)
    posted = altered(stage.confirmation(BAD, stage.signatures[BAD]), {"listed": "a" * 64})
    offer(gateway(stage, Phase.CONFIRM), Event.CONFIRM, posted)


def sign_without_boxes() -> None:
    stage = Stage(TERMS).to(Phase.SHARE).to(Phase.COLLECT, silent=[BAD]).to(Phase.REVEAL, silent=[BAD])
    state = gateway_of_five(stage, (Event.ADVERTISE, Event.SHARE, Event.COLLECT))
    assert state.phase is Phase.CONFIRM
    offer(state, Event.CONFIRM, stage.confirmation(BAD, stage.listed().sign(party_key(BAD))))


def gateway_of_five(stage: Stage, events: Iterable[Event]) -> GatewayRound:
    """Return an honest gateway to which the bad member sent keys and then nothing more."""
    state = GatewayRound.open(GatewaySpec(TERMS, 1, 0, stage.history, EVERYONE, 0.0))
    for event in events:
        for party in SIX if event is Event.ADVERTISE else GOOD:
            state, _ = state.on_post(party, event, stage.post(party, event), NOW)
        state, _ = state.on_tick(LATER)
    return state


def revealed() -> Stage:
    stage = Stage(TERMS).to(Phase.REVEAL)
    stage.reveal(stage.listed(), SIX)
    return stage


def reveal_with(stage: Stage, **changes: object) -> Post:
    return statement(altered(stage.reveals[BAD].statement, changes).sign(party_key(BAD)).dump().decode())


def reveal_under_another_certificate() -> None:
    stage = revealed()
    offer(gateway(stage, Phase.REVEAL), Event.REVEAL, reveal_with(stage, certificate="a" * 64))


def reveal_of_a_part_that_stays_shut() -> None:
    stage = revealed()
    seeds = stage.reveals[BAD].statement.seeds
    offer(gateway(stage, Phase.REVEAL), Event.REVEAL, reveal_with(stage, seeds={**seeds, "head:c": ""}))


def reveal_a_wrong_share() -> None:
    stage = revealed()
    given = stage.reveals[BAD]
    wrong = pack([bytes(33), *list(given.seeds["trunk"].values())[1:]])
    offer(gateway(stage, Phase.REVEAL), Event.REVEAL, reveal_with(stage, seeds={**given.statement.seeds, "trunk": wrong}))


def release_another_round() -> None:
    """The signature is on this round, and it says that it is on another one."""
    stage = Stage(TERMS).to(Phase.COLLECT)
    state, _ = gateway(stage, Phase.COLLECT).on_tick(Moment(1e9))
    assert state.phase is Phase.RELEASE
    stage.release([BAD])
    offer(state, Event.RELEASE, altered(stage.post(BAD, Event.RELEASE), {"round": 2}))


def posts(function: str, words: str, operand: str = "") -> tuple[Guard]:
    return (Guard(gateway_posts, function, words, operand),)


AUTHOR, ROUND, BASE = Guard(gateway_posts, "_same_author", "posted by"), "wanted study, agreement, round", "wanted base version"
SPEAKS, ONE, STEP, SPENT = "it speaks for", "wanted one signature", "wanted step", "has an opened list already"
TAKEN, NO_KEYS, OTHER_KEYS, ROOT = (
    "another member has advertised",
    "a member with keys",
    "answers other keys",
    "not the ones that it signed",
)
BOX, FITS, SOMETHING, NO_BOXES = "wanted a box of", "wanted boxes, segments", "on something else", "a member that sent boxes"
THOSE, WRONG, OTHER_ROUND = "under this round's certificate", "not the one that", "wanted round"
ATTACKS = (
    Attack("another's statement", post_the_statement_of_another, f"statement of {SIX[0]}: posted by {BAD}", (AUTHOR,)),
    Attack("for another", speak_for_another, SPEAKS, (Guard(bound, "read_bound", SPEAKS), AUTHOR)),
    Attack("two signatures", sign_a_statement_twice, ONE, (Guard(bound, "author_of", ONE),)),
    Attack("another round", advertise_in_another_round, ROUND, (Guard(bound, "read_bound", ROUND),)),
    Attack("another step", advertise_another_step, STEP, posts("_advertise", STEP)),
    Attack("an opened base", advertise_on_an_opened_base, SPENT, posts("_advertise", SPENT)),
    Attack("another's key", advertise_anothers_key, TAKEN, posts("_advertise", TAKEN)),
    Attack("another base", seal_on_another_base, BASE, (Guard(bound, "read_bound", BASE),)),
    Attack("other parts", seal_other_parts, FITS, posts("_collect", FITS, "manifest.boxes")),
    Attack("sealed without boxes", seal_without_boxes, FITS, posts("_collect", FITS, "state.boxes_from")),
    Attack("shared without keys", share_without_keys, NO_KEYS, posts("_share", NO_KEYS)),
    Attack("other keys", share_under_other_keys, OTHER_KEYS, posts("_share", OTHER_KEYS)),
    Attack("a box too few", share_a_box_too_few, BOX, posts("_share", BOX, "len(post.boxes)")),
    Attack("a short box", share_a_short_box, BOX, posts("_share", BOX, "sizes")),
    Attack("other hashes", share_hashes_that_it_did_not_sign, ROOT, posts("_share", ROOT)),
    Attack("another list", sign_another_list, SOMETHING, posts("_confirm", SOMETHING, "post.listed")),
    Attack("signed without boxes", sign_without_boxes, NO_BOXES, posts("_confirm", NO_BOXES)),
    Attack("another certificate", reveal_under_another_certificate, THOSE, posts("_reveal", THOSE, "reveal.certificate")),
    Attack("parts that stay shut", reveal_of_a_part_that_stays_shut, THOSE, posts("_reveal", THOSE, "reveal.seeds")),
    Attack("a wrong share", reveal_a_wrong_share, f"revealed by {BAD}: {WRONG} {SIX[0]} signed", posts("_check_share", WRONG)),
    Attack("another round's release", release_another_round, OTHER_ROUND, posts("_release", OTHER_ROUND)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_no_peer_could_use_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_it_is_passed_on(attack: Attack) -> None:
    check_mutations(attack)


def test_keys_of_low_order_are_refused_and_the_round_goes_on() -> None:
    stage = Stage(TERMS)
    state = gateway(stage, Phase.ADVERTISE)
    with pytest.raises(RemoteProtocolError, match=f"keys of {BAD}: mask key: .*low order"):
        state.on_post(BAD, Event.ADVERTISE, statement(stage.advert(BAD, mask_key="0" * 64)), NOW)
    for party in GOOD:
        state, _ = state.on_post(party, Event.ADVERTISE, stage.post(party, Event.ADVERTISE), NOW)
    state, effects = state.on_tick(LATER)
    assert state.phase is Phase.SHARE
    assert {effect.to for effect in effects if isinstance(effect, Send)} == set(GOOD)


@pytest.mark.parametrize("own", ["channel_key", "mask_key"])
@pytest.mark.parametrize("others", ["channel_key", "mask_key"])
def test_a_key_that_another_member_advertised_is_refused(own: str, others: str) -> None:
    stage = Stage(TERMS)
    state, _ = gateway(stage, Phase.ADVERTISE).on_post(SIX[0], Event.ADVERTISE, stage.post(SIX[0], Event.ADVERTISE), NOW)
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
            state.on_post(BAD, event, stage.post(SIX[0], event), NOW)
    with pytest.raises(RemoteProtocolError, match=f"signature of {BAD}"):
        gateway(stage, Phase.CONFIRM).on_post(BAD, Event.CONFIRM, stage.post(SIX[0], Event.CONFIRM), NOW)


def test_a_share_that_no_peer_could_use_is_refused_before_boxes_are_out() -> None:
    """Refused later, by every peer, it would leave a round that can neither finish nor be given up."""
    stage = Stage(TERMS).to(Phase.SHARE)
    honest = stage.posts[BAD]
    boxes = honest.boxes
    forged = {
        f"share of {BAD}: it answers other keys": forged_share(stage, keys="b" * 64),
        f"share hashes of {BAD}: wanted 18 values": altered(honest, {"hashes": pack([bytes(32)] * 17)}),
        f"seed hashes of {BAD}: wanted 2 values": altered(honest, {"seeds": pack([bytes(32)])}),
        f"share of {BAD}: its hashes are not": altered(honest, {"seeds": pack([bytes(32)] * 2)}),
        f"share of {BAD}: wanted a box of 115 bytes": altered(honest, {"boxes": (base64.b64encode(bytes(33)).decode(), *boxes[1:])}),
        f"share of {BAD}: wanted a box of 115 bytes for each": altered(honest, {"boxes": ()}),
        f"share of {BAD}, box: wanted base64": altered(honest, {"boxes": ("A", *boxes[1:])}),
    }
    state = gateway(stage, Phase.SHARE)
    for words, wrong in forged.items():
        with pytest.raises(RemoteProtocolError, match=words):
            state.on_post(BAD, Event.SHARE, wrong, NOW)
    with pytest.raises(RemoteProtocolError, match="not a party's to post in this form"):
        state.on_post(BAD, Event.SHARE, statement(honest.statement), NOW)
    for party in GOOD:
        state, _ = state.on_post(party, Event.SHARE, stage.posts[party], NOW)
    state, _ = state.on_tick(LATER)
    assert (state.phase, state.boxes_from) == (Phase.COLLECT, GOOD)


MISFITS: tuple[dict[str, object], ...] = (
    {"size": 7},
    {"boxes": "b" * 64},
    {"segments": ("trunk",)},
    {"base": "a" * 64},
    {"round": 2},
)


@pytest.mark.parametrize("changes", MISFITS, ids=lambda changes: next(iter(changes)))
def test_a_manifest_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    stage = Stage(TERMS).to(Phase.CONFIRM)
    with pytest.raises(RemoteProtocolError, match=f"manifest of {BAD}: wanted"):
        gateway(stage, Phase.COLLECT).on_post(BAD, Event.COLLECT, restated(stage, **changes), NOW)


def test_a_second_signature_beside_ones_own_is_refused() -> None:
    """Joined unverified, it would count towards t, keep the genuine one out, and leave a certificate that nobody accepts."""
    stage = Stage(TERMS).to(Phase.REVEAL)
    state = gateway(stage, Phase.CONFIRM)
    own = stage.confirmation(BAD, stage.signatures[BAD])
    raw = base64.b64decode(own.signature)
    for wrong in (raw + bytes(64), raw[:-1], b""):
        with pytest.raises(RemoteProtocolError, match=f"signature of {BAD}: wanted 1 values of 64 bytes"):
            state.on_post(BAD, Event.CONFIRM, altered(own, {"signature": pack([wrong])}), NOW)
    for party in GOOD:
        state, _ = state.on_post(party, Event.CONFIRM, stage.post(party, Event.CONFIRM), NOW)
    assert state.phase is Phase.REVEAL
    assert state.certificate is not None
    assert len(state.certificate.signatures) == 5


def test_a_signature_that_is_not_ones_own_is_refused() -> None:
    """Neither another member's nor one on another list nor none: it would stand in the certificate and count for nothing."""
    stage = Stage(TERMS).to(Phase.REVEAL)
    listed = stage.listed()
    own = stage.confirmation(BAD, stage.signatures[BAD])
    others = (stage.signatures[SIX[0]], stage.listed(SIX[1:]).sign(party_key(BAD)), SurvivorList.sign(listed, GATEWAY_KEY))
    for row in (*(envelope.signatures[0].sig for envelope in others), bytes(64)):
        with pytest.raises(RemoteProtocolError, match=f"signature of {BAD}: .*does not verify"):
            gateway(stage, Phase.CONFIRM).on_post(BAD, Event.CONFIRM, altered(own, {"signature": pack([row])}), NOW)


def test_a_signature_on_another_list_is_refused() -> None:
    stage = Stage(TERMS).to(Phase.REVEAL)
    other = stage.confirmation(BAD, stage.listed(SIX[1:]).sign(party_key(BAD)))
    with pytest.raises(RemoteProtocolError, match="got one on something else"):
        gateway(stage, Phase.CONFIRM).on_post(BAD, Event.CONFIRM, other, NOW)


@pytest.mark.parametrize("lacking", ["trunk", "head:a"])
def test_a_reveal_that_leaves_something_out_is_refused(lacking: str) -> None:
    stage = revealed()
    reveal = stage.reveals[BAD].statement
    few = {name: column for name, column in reveal.seeds.items() if name != lacking}
    with pytest.raises(RemoteProtocolError, match=f"shares of {BAD}: wanted those of"):
        gateway(stage, Phase.REVEAL).on_post(BAD, Event.REVEAL, reveal_with(stage, seeds=few), NOW)
    with pytest.raises(RemoteProtocolError, match=f"shares of {BAD}: wanted . values of 33 bytes"):
        gateway(stage, Phase.REVEAL).on_post(BAD, Event.REVEAL, reveal_with(stage, seeds={**reveal.seeds, lacking: ""}), NOW)


def test_a_statement_with_an_unknown_field_is_refused() -> None:
    stage = Stage(TERMS)
    advert = content(stage.adverts[BAD], Advertise)
    loose = advert.canonical()[:-1] + b',"urgent":1}'
    signed = Envelope.sign(Advertise.kind, loose, party_key(BAD)).dump().decode()
    with pytest.raises(RemoteProtocolError, match=f"advertise of {BAD}: .*urgent"):
        gateway(stage, Phase.ADVERTISE).on_post(BAD, Event.ADVERTISE, statement(signed), NOW)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"payload":"","payloadType":"","signatures":[]}', '{"payload":7}'])
def test_an_envelope_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="advertise: "):
        gateway(Stage(TERMS), Phase.ADVERTISE).on_post(BAD, Event.ADVERTISE, statement(text), NOW)


def test_a_withdrawal_ends_the_waiting_and_its_reason_is_told() -> None:
    stage = Stage(TERMS)
    state = gateway(stage, Phase.ADVERTISE)
    for party in GOOD[:4]:
        state, _ = state.on_post(party, Event.ADVERTISE, stage.post(party, Event.ADVERTISE), NOW)
    effects: tuple[object, ...] = ()
    for party in (GOOD[4], BAD):
        said = Withdrawn(**stage.spec(party).bound(), party=party, reason="its policy changed").sign(party_key(party)).dump().decode()
        state, effects = state.on_withdrawn(party, statement(said), NOW)
    assert state.phase is Phase.ABORTED
    told = [effect.body for effect in effects if isinstance(effect, Send)]
    assert len(told) == 6
    assert all(isinstance(body, RoundAborted) and f"{BAD} withdrew: its policy changed" in body.reason for body in told)
    assert isinstance(effects[-1], Finish)
    assert "keys of 4 parties, wanted 5" in str(effects[-1].aborted)
