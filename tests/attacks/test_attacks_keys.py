"""Invariant 4: a peer's key is used only if signed by the identity in the agreement, for this base version, and only once."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from parley_crypto import sharing
from parley_crypto.channel import open_box
from parley_crypto.errors import VerificationError
from parley_crypto.keys import AgreementKey, VerifyKey
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms
from parley_protocol import bound, party_round
from parley_protocol.bound import key_set_digest
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Keys, SharePost
from parley_protocol.party_round import PartyRound

from tests.attacks.adversary import SIX, Stage, altered, content
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.simulator import GATEWAY_KEY, make_terms, party_key

VICTIM, COLLUDER = SIX[0], SIX[5]
LOW_ORDER = (  # cr.yp.to/ecdh.html#validate
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
    2**255 - 19,
    2**255 - 18,
)


def start() -> Stage:
    return Stage(make_terms(6))


def gateways_key(kind: str, member: str) -> AgreementKey:
    return AgreementKey(hashlib.sha256(f"{kind}/{member}".encode()).digest())


def with_gateways_keys(stage: Stage, member: str) -> Advertise:
    changes = {f"{kind}_key": gateways_key(kind, member).public.hex() for kind in ("channel", "mask")}
    return Advertise.model_validate(content(stage.adverts[member], Advertise).model_dump() | changes)


def replaced(stage: Stage, member: str, text: str) -> Keys:
    return stage.keys(**{member.replace("-", "_"): text})


def put_the_gateways_keys_in_place_of_all_others() -> None:
    """The man in the middle: under the members' key ids stand signatures that they made on something else. It opens all boxes."""
    stage = start()
    forged = {}
    for party in SIX[1:]:
        genuine = Envelope.load(stage.adverts[party].encode()).signatures
        forged[party.replace("-", "_")] = Envelope(Advertise.kind, with_gateways_keys(stage, party).canonical(), genuine).dump().decode()
    stage.show(VICTIM, stage.keys(**forged))
    state, found = stage.states[VICTIM], {"mask": {}, "self/trunk": {}}  # type: tuple[PartyRound, dict[str, dict[int, bytes]]]
    for party in SIX[1:]:
        context = state._box_context(key_set_digest(state.adverts.values()), VICTIM, party)
        sealed = base64.b64decode(stage.posts[VICTIM].boxes[party])
        opened = open_box(gateways_key("channel", party), state._channel.public, sealed, *context)
        for index, name in enumerate(found):
            found[name][stage.terms.rank(party)] = opened[index * sharing.SHARE_BYTES :][: sharing.SHARE_BYTES]
    seed, secret = (sharing.combine(found[name], threshold=stage.terms.threshold) for name in ("self/trunk", "mask"))
    assert (seed, secret) == (state._self_seed("trunk"), state._mask_secret)


def put_keys_that_the_gateway_signed() -> None:
    stage = start()
    stage.show(VICTIM, replaced(stage, COLLUDER, with_gateways_keys(stage, COLLUDER).sign(GATEWAY_KEY).dump().decode()))


def speak_for_another_member() -> None:
    stage = start()
    text = with_gateways_keys(stage, SIX[1]).sign(party_key(COLLUDER)).dump().decode()
    stage.show(VICTIM, replaced(stage, SIX[1], text))
    assert stage.states[VICTIM].adverts[SIX[1]].mask_key == gateways_key("mask", SIX[1]).public.hex()


def put_two_signatures_on_one_statement() -> None:
    stage = start()
    text = content(stage.adverts[COLLUDER], Advertise).sign(party_key(COLLUDER), GATEWAY_KEY).dump().decode()
    stage.show(VICTIM, replaced(stage, COLLUDER, text))


def show_two_sets_of_keys_of_one_member() -> None:
    stage = start()
    other = with_gateways_keys(stage, COLLUDER).sign(party_key(COLLUDER)).dump().decode()
    keys = stage.keys()
    stage.show(VICTIM, altered(keys, {"adverts": (*keys.adverts, other)}))


def repeat_a_members_key() -> None:
    stage = start()
    victims = content(stage.adverts[VICTIM], Advertise).mask_key
    stage.show(SIX[1], replaced(stage, COLLUDER, stage.advert(COLLUDER, mask_key=victims)))


def advertise_one_key_for_channel_and_masks() -> None:
    stage = start()
    channel = content(stage.adverts[COLLUDER], Advertise).channel_key
    stage.show(VICTIM, replaced(stage, COLLUDER, stage.advert(COLLUDER, mask_key=channel)))


def repeat_a_members_key_in_other_bytes() -> None:
    stage = start()
    victims = bytearray.fromhex(content(stage.adverts[VICTIM], Advertise).mask_key)
    victims[31] |= 0x80  # X25519 ignores this bit
    stage.show(SIX[1], replaced(stage, COLLUDER, stage.advert(COLLUDER, mask_key=victims.hex())))


def advertise_a_mask_key_of_low_order() -> None:
    """Accepted, it stops every member at sealing, after boxes are out: a round that can never be finished."""
    stage = start()
    stage.adverts[COLLUDER] = stage.advert(COLLUDER, mask_key=LOW_ORDER[2].to_bytes(32, "little").hex())
    for party in SIX[:5]:
        stage.show(party, stage.keys())
    victim = stage.states[VICTIM]
    share = replace(stage.states[COLLUDER], adverts=victim.adverts, live=victim.live).share(party_key(COLLUDER))
    assert isinstance(share.body, SharePost)
    stage.posts[COLLUDER] = share.body
    stage.show(VICTIM, stage.boxes(VICTIM))
    with pytest.raises(VerificationError, match="low order"):
        stage.seal(VICTIM)


def advertise_for_another_base() -> None:
    stage = start()
    stage.show(VICTIM, replaced(stage, COLLUDER, stage.advert(COLLUDER, base="a" * 64)))


def advertise_from_other_parameters() -> None:
    stage = start()
    stage.show(VICTIM, replaced(stage, COLLUDER, stage.advert(COLLUDER, parameters="a" * 64)))


def advertise_for_another_step() -> None:
    stage = start()
    stage.show(VICTIM, replaced(stage, COLLUDER, stage.advert(COLLUDER, step=1)))


def leave_the_reader_out() -> None:
    stage = start()
    stage.show(VICTIM, stage.keys(SIX[1:]))


def show_the_reader_old_keys_of_its_own() -> None:
    """Signed by itself in an attempt at this round before, whose secrets it no longer has."""
    stage, earlier = start(), Stage(make_terms(6), seeds="earlier attempt")
    stage.show(VICTIM, replaced(stage, VICTIM, earlier.adverts[VICTIM]))


def show_members_different_keys() -> None:
    stage = start()
    other = with_gateways_keys(stage, COLLUDER).sign(party_key(COLLUDER)).dump().decode()
    stage.show(VICTIM, stage.keys())
    for party in SIX[1:5]:
        stage.show(party, replaced(stage, COLLUDER, other))
    stage.show(VICTIM, stage.boxes(VICTIM, SIX[:5]))


def by_its_word(terms: Terms, envelope: Envelope, what: str) -> str:
    """A careless `author_of`: it believes what the statement says."""
    del terms, what
    return Advertise.parse(envelope.payload).party


def unchecked(envelope: Envelope, payload_type: str, key: VerifyKey) -> bytes:
    """A careless `Envelope.verify`."""
    del payload_type, key
    return envelope.payload


def unlooked(advert: Advertise) -> None:
    """A careless `check_round_keys`."""
    del advert


def context_without_keys(state: PartyRound, keys: str, sender: str, recipient: str) -> tuple[str | int, ...]:
    del keys
    return (state.spec.agreement, state.spec.round, state.spec.base, sender, recipient)


BY_ITS_WORD = Patch(bound, "author_of", by_its_word)
UNSIGNED = Patch(Envelope, "verify", unchecked)
OWN = (Guard(PartyRound, "_checked_adverts", "our own are missing"),)
FROM_OURS = (Guard(PartyRound, "_checked_adverts", "from our parameters"),)
OTHER_SETS = (Guard(PartyRound, "_opened", "other keys than we were"), Patch(PartyRound, "_box_context", context_without_keys))
ATTACKS = (
    Attack("man in the middle", put_the_gateways_keys_in_place_of_all_others, "does not verify", (UNSIGNED,)),
    Attack(
        "signed by the gateway",
        put_keys_that_the_gateway_signed,
        "signature of a member",
        (Patch(bound, "author_of", by_its_word), UNSIGNED),
    ),
    Attack("for another member", speak_for_another_member, "it speaks for", (Guard(bound, "read_bound", "it speaks for"),)),
    Attack(
        "two signatures", put_two_signatures_on_one_statement, "wanted one signature", (Guard(bound, "author_of", "wanted one signature"),)
    ),
    Attack("two of one member", show_two_sets_of_keys_of_one_member, "occurs twice", (Guard(bound, "by_party", "occurs twice"),)),
    Attack("repeated key", repeat_a_members_key, "occurs twice", (Guard(PartyRound, "_checked_adverts", "occurs twice"),)),
    Attack(
        "one key for both",
        advertise_one_key_for_channel_and_masks,
        f"keys of {COLLUDER}: wanted two keys",
        (Guard(bound, "check_round_keys", "wanted two keys"), Guard(PartyRound, "_checked_adverts", "occurs twice")),
    ),
    Attack("repeated in other bytes", repeat_a_members_key_in_other_bytes, "below 2", (Guard(bound, "check_round_keys", "wanted a "),)),
    Attack("low order", advertise_a_mask_key_of_low_order, "low order", (Patch(party_round, "check_round_keys", unlooked),)),
    Attack("another base", advertise_for_another_base, "wanted base version", (Guard(bound, "read_bound", "wanted base version"),)),
    Attack("other parameters", advertise_from_other_parameters, "from our parameters", FROM_OURS),
    Attack("another step", advertise_for_another_step, "from our parameters", FROM_OURS),
    Attack("reader left out", leave_the_reader_out, "our own are missing", OWN),
    Attack("reader's old keys", show_the_reader_old_keys_of_its_own, "our own are missing or altered", OWN),
    Attack("different key sets", show_members_different_keys, "shown other keys than we were", OTHER_SETS),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_keys_that_no_member_signed_for_this_round_are_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_the_keys_are_used(attack: Attack) -> None:
    check_mutations(attack)


@pytest.mark.parametrize("value", LOW_ORDER)
@pytest.mark.parametrize("high", [0, 1 << 255])
@pytest.mark.parametrize("kind", ["channel", "mask"])
def test_every_key_of_low_order_is_refused_and_its_owner_named(value: int, high: int, kind: str) -> None:
    stage = start()
    text = stage.advert(COLLUDER, **{f"{kind}_key": (value | high).to_bytes(32, "little").hex()})
    with pytest.raises(RemoteProtocolError, match=f"{COLLUDER}: {kind} key: .*low order"):
        stage.show(VICTIM, replaced(stage, COLLUDER, text))


def test_a_member_without_a_box_has_no_mask_on_anyones_vector() -> None:
    """In U1 and not in U2: its keys were seen, its shares were not, so nobody masks towards it and nobody asks for its shares."""
    stage = start().to(Phase.SHARE).to(Phase.COLLECT, silent=[COLLUDER]).to(Phase.CONFIRM, silent=[COLLUDER])
    listed = stage.listed()
    assert COLLUDER not in listed.boxes_from
    stage.confirm(listed, SIX[:5])
    reveals = stage.reveal(listed, SIX[:5])
    assert all(not reveal.mask_keys for reveal in reveals.values())
    assert stage.sum_of(SIX[:5], "trunk", reveals).tolist() == stage.truth(SIX[:5], "trunk").tolist()
