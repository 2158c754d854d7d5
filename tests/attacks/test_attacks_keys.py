"""Invariant 4: a peer's key is used only if signed by the identity in the agreement, for this base version, and only once."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from dataclasses import replace

import pytest
from parley_crypto import keys, sharing
from parley_crypto.channel import open_box
from parley_crypto.errors import VerificationError
from parley_crypto.keys import AgreementKey, VerifyKey
from parley_crypto.signing import Envelope
from parley_protocol import bound, columns, party_round
from parley_protocol.columns import pack
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise
from parley_protocol.party_round import PartyRound
from parley_protocol.relays import Keys, SharePost
from parley_protocol.round_secrets import RoundSecrets

from tests.attacks.adversary import SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.attacks.observed import altered, believed, content, mask_secret, signature_on
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
    own, found = stage.states[VICTIM]._secrets, {"mask": {}, "self/trunk": {}}  # type: tuple[RoundSecrets, dict[str, dict[int, bytes]]]
    for party in SIX[1:]:
        context = own._box_context(stage.states[VICTIM].key_set, VICTIM, party)
        sealed = base64.b64decode(stage.box(VICTIM, party))
        opened = open_box(gateways_key("channel", party), own.channel.public, sealed, *context)
        for index, name in enumerate(found):
            found[name][stage.terms.rank(party)] = opened[index * sharing.SHARE_BYTES :][: sharing.SHARE_BYTES]
    seed, secret = (sharing.combine(found[name], threshold=stage.terms.threshold) for name in ("self/trunk", "mask"))
    assert (seed, secret) == (own.self_seed("trunk"), mask_secret(stage.states[VICTIM]))


def put_keys_that_the_gateway_signed() -> None:
    stage = start()
    stage.show(VICTIM, replaced(stage, COLLUDER, with_gateways_keys(stage, COLLUDER).sign(GATEWAY_KEY).dump().decode()))


def speak_for_another_member() -> None:
    stage = start()
    text = with_gateways_keys(stage, SIX[1]).sign(party_key(COLLUDER)).dump().decode()
    stage.show(VICTIM, replaced(stage, SIX[1], text))
    assert stage.states[VICTIM].keys[SIX[1]].mask == gateways_key("mask", SIX[1]).public


def put_two_signatures_beside_one_statement() -> None:
    stage = start()
    rows = [*(signature_on(stage.adverts[party]) for party in SIX), bytes(64)]
    with suppress(ValueError):  # an accident instead of a refusal
        stage.show(VICTIM, altered(stage.keys(), {"signatures": pack(rows)}))


def count_a_member_twice() -> None:
    """Four members advertised, one of them stands there twice: they pass for five."""
    stage = start()
    keys = stage.keys(SIX[:4])
    stage.show(VICTIM, altered(keys, {"parties": (*keys.parties, SIX[3])}))
    assert len(set(stage.states[VICTIM].parties)) < stage.terms.threshold


def count_a_stranger() -> None:
    """Four members advertised; of the fifth, who is none, there is a digest only."""
    stage = start()
    keys = stage.keys(SIX[:4])
    stage.show(VICTIM, altered(keys, {"parties": (*keys.parties, "stranger"), "others": pack([bytes(32)])}))
    assert len(set(stage.states[VICTIM].parties) & set(SIX)) < stage.terms.threshold


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
    victim, own = stage.states[VICTIM], stage.states[COLLUDER]
    share = replace(own, keys=victim.keys, parties=victim.parties, key_set=victim.key_set, live=victim.live).share(party_key(COLLUDER))
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
    with suppress(KeyError):  # an accident instead of a refusal
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


def unlooked(party: str, channel_key: bytes, mask_key: bytes) -> None:
    """A careless `check_round_keys`."""
    del party, channel_key, mask_key


def context_without_keys(secrets: RoundSecrets, key_set: str, sender: str, recipient: str) -> tuple[str | int, ...]:
    del key_set
    return (secrets.spec.agreement, secrets.spec.round, secrets.spec.base, sender, recipient)


UNSIGNED = (Patch(VerifyKey, "verify", believed),)
SIGNED = "not what it signed in this round"
ORDER = "keys: wanted distinct members"
TWICE = Guard(PartyRound, "_checked_keys", "occurs twice")
ATTACKS = (
    Attack("man in the middle", put_the_gateways_keys_in_place_of_all_others, SIGNED, UNSIGNED),
    Attack("signed by the gateway", put_keys_that_the_gateway_signed, f"keys of {COLLUDER}: {SIGNED}", UNSIGNED),
    Attack("for another member", speak_for_another_member, f"keys of {SIX[1]}: {SIGNED}", UNSIGNED),
    Attack(
        "two signatures",
        put_two_signatures_beside_one_statement,
        "signatures: wanted 6 values of 64 bytes",
        (Guard(columns, "unpack", "values of"),),
    ),
    Attack(
        "one member twice", count_a_member_twice, ORDER, (Guard(PartyRound, "_members_in_order", "in id order", "sorted(set(parties))"),)
    ),
    Attack("a stranger", count_a_stranger, ORDER, (Guard(PartyRound, "_members_in_order", "in id order", "<= members"),)),
    Attack("repeated key", repeat_a_members_key, "occurs twice", (TWICE,)),
    Attack(
        "one key for both",
        advertise_one_key_for_channel_and_masks,
        f"keys of {COLLUDER}: wanted two keys",
        (Guard(bound, "check_round_keys", "wanted two keys"), TWICE),
    ),
    Attack(
        "repeated in other bytes", repeat_a_members_key_in_other_bytes, "below 2", (Guard(keys, "check_agreement_key", "wanted one below"),)
    ),
    Attack("low order", advertise_a_mask_key_of_low_order, "low order", (Patch(party_round, "check_round_keys", unlooked),)),
    Attack("another base", advertise_for_another_base, f"keys of {COLLUDER}: {SIGNED}", UNSIGNED),
    Attack("other parameters", advertise_from_other_parameters, f"keys of {COLLUDER}: {SIGNED}", UNSIGNED),
    Attack("another step", advertise_for_another_step, f"keys of {COLLUDER}: {SIGNED}", UNSIGNED),
    Attack(
        "reader left out",
        leave_the_reader_out,
        "keys: our own are missing",
        (Guard(PartyRound, "_members_in_order", "our own are missing"),),
    ),
    Attack(
        "reader's old keys",
        show_the_reader_old_keys_of_its_own,
        "keys: our own are altered",
        (Guard(PartyRound, "_checked_keys", "our own are altered"),),
    ),
    Attack(
        "different key sets",
        show_members_different_keys,
        f"share of {SIX[1]}: {SIGNED}",
        (*UNSIGNED, Patch(RoundSecrets, "_box_context", context_without_keys)),
    ),
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
