"""The members' key and the graph seed: all members derive the same, nobody else can, and whoever cheats is named."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.errors import MalformedError
from parley_crypto.merkle import Tree, leaf_hash
from parley_policies.negotiation.terms import MemberTerms, Terms
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.keyparts import (
    KeyPart,
    box_of,
    check_boxes,
    commitment_to,
    graph_seed,
    hash_of_key_part,
    read_key_part,
    recipients,
    with_path,
)
from parley_protocol.members_key import GATEWAY, KeyPartError, OwnSecrets, StudyKeys, make_key_part, take_key_parts
from pydantic import ValidationError

from tests.member_secrets import handed_on, key_part, secrets_of
from tests.simulator import make_terms, party_ids, party_key

TERMS = make_terms(5)
IDS = party_ids(5)
ME, CHEAT = IDS[1], IDS[3]


def texts(terms: Terms = TERMS) -> list[str]:
    return [key_part(terms, party, party_key(party)).dump().decode() for party in IDS]


def keys_of(party: str, terms: Terms = TERMS) -> StudyKeys:
    return take_key_parts(terms, party, secrets_of(party), texts(terms), handed_on(terms, party))


def statement_of(party: str) -> KeyPart:
    return make_key_part(TERMS, party, secrets_of(party))[0]


def signed(part: KeyPart, signer: str) -> str:
    return part.sign(party_key(signer)).dump().decode()


def test_all_members_share_one_key_and_one_seed() -> None:
    found = {(keys.members_key, keys.graph_seed) for keys in map(keys_of, IDS)}
    assert len(found) == 1
    ((secret, seed),) = found
    assert (len(secret), len(seed)) == (32, 32)
    assert seed == graph_seed(TERMS, {party: statement_of(party) for party in IDS})
    assert secret != seed


def test_another_agreement_gives_another_key_and_another_seed() -> None:
    other = Terms.model_validate(TERMS.model_dump() | {"max_small_changes": 3})
    mine, theirs = keys_of(ME), keys_of(ME, other)
    assert mine.members_key != theirs.members_key
    assert mine.graph_seed != theirs.graph_seed


@given(st.sampled_from(IDS), st.sampled_from(["seed_part", "key_part"]))
def test_each_members_parts_count(party: str, which: str) -> None:
    own = secrets_of(party)
    other = OwnSecrets(
        own.channel,
        bytes(32) if which == "seed_part" else own.seed_part,
        bytes(32) if which == "key_part" else own.key_part,
    )
    assert other.commitment("0" * 64, party) != own.commitment("0" * 64, party)


def test_a_commitment_is_bound_to_party_and_proposal() -> None:
    own = secrets_of(ME)
    commitments = {own.commitment(proposal * 64, party) for proposal in "01" for party in (ME, CHEAT)}
    assert len(commitments) == 4
    key_hash = hash_of_key_part("0" * 64, ME, own.key_part)
    assert own.commitment("0" * 64, ME) == commitment_to("0" * 64, ME, own.seed_part, key_hash)


def test_no_secret_is_shown() -> None:
    own, keys = secrets_of(ME), keys_of(ME)
    shown = f"{own!r} {own} {keys!r} {keys} {[keys]} {statement_of(ME)!r}"
    for secret in (own.channel, own.key_part, keys.members_key):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    with pytest.raises(MalformedError, match="wanted 96 bytes, got 95"):
        OwnSecrets.of(bytes(95))


def test_only_the_recipient_opens_a_box() -> None:
    _, boxes = make_key_part(TERMS, ME, secrets_of(ME))
    assert set(boxes) == set(recipients(TERMS, ME))
    for other in set(IDS) - {ME, CHEAT}:
        swapped = handed_on(TERMS, other) | {ME: handed_on(TERMS, CHEAT)[ME]}
        with pytest.raises(KeyPartError) as caught:
            take_key_parts(TERMS, other, secrets_of(other), texts(), swapped)
        assert caught.value.culprit == GATEWAY  # it handed on a box that was signed for another


def forged(change: Callable[[dict[str, str]], None]) -> dict[str, str]:
    boxes = dict(handed_on(TERMS, ME))
    change(boxes)
    return boxes


def _flipped(boxes: dict[str, str]) -> None:
    raw = bytearray(base64.b64decode(boxes[CHEAT]))
    raw[7] ^= 1
    boxes[CHEAT] = base64.b64encode(bytes(raw)).decode()


def _missing(boxes: dict[str, str]) -> None:
    del boxes[CHEAT]


def _for_itself(boxes: dict[str, str]) -> None:
    boxes[ME] = boxes.pop(CHEAT)


def _no_base64(boxes: dict[str, str]) -> None:
    boxes[CHEAT] = "A"


@pytest.mark.parametrize("change", [_flipped, _missing, _for_itself, _no_base64])
def test_a_box_that_was_altered_on_the_way_is_the_gateways_fault(change: Callable[[dict[str, str]], None]) -> None:
    with pytest.raises(KeyPartError, match="fault of the gateway") as caught:
        take_key_parts(TERMS, ME, secrets_of(ME), texts(), forged(change))
    assert caught.value.culprit == GATEWAY


def _with(position: int, text: str) -> list[str]:
    changed = texts()
    changed[position] = text
    return changed


OTHER, ELSEWHERE = TERMS.model_copy(update={"max_small_changes": 3}), TERMS.model_copy(update={"study": "elsewhere"})
BAD_TEXTS: dict[str, tuple[Callable[[], list[str]], str]] = {
    "left out": (lambda: texts()[:-1], GATEWAY),
    "in another order": (lambda: [texts()[1], texts()[0], *texts()[2:]], GATEWAY),
    "signed by another": (lambda: _with(3, signed(statement_of(CHEAT), ME)), GATEWAY),
    "altered after it was signed": (lambda: _with(3, texts()[3].replace(texts()[3][-60:-50], "A" * 10)), GATEWAY),
    "another seed part": (lambda: _with(3, signed(statement_of(CHEAT).model_copy(update={"seed_part": "1" * 64}), CHEAT)), CHEAT),
    "another key hash": (lambda: _with(3, signed(statement_of(CHEAT).model_copy(update={"key_hash": "1" * 64}), CHEAT)), CHEAT),
    "another agreement": (lambda: _with(3, signed(statement_of(CHEAT).model_copy(update={"agreement": "1" * 64}), CHEAT)), GATEWAY),
    "of another agreement, replayed": (lambda: _with(3, key_part(OTHER, CHEAT, party_key(CHEAT)).dump().decode()), GATEWAY),
    "of another study, replayed": (lambda: _with(3, key_part(ELSEWHERE, CHEAT, party_key(CHEAT)).dump().decode()), GATEWAY),
}  # fmt: skip


@pytest.mark.parametrize("which", BAD_TEXTS)
def test_a_bad_key_part_names_its_culprit(which: str) -> None:
    make, culprit = BAD_TEXTS[which]
    with pytest.raises(KeyPartError, match=f"fault of {culprit}") as caught:
        take_key_parts(TERMS, ME, secrets_of(ME), make(), handed_on(TERMS, ME))
    assert caught.value.culprit == culprit


def test_a_member_that_boxes_another_key_part_is_named() -> None:
    """It signs the boxes, so the gateway passes them on; the key part inside is not the one it committed to."""
    own = secrets_of(CHEAT)
    lying = OwnSecrets(own.channel, own.seed_part, bytes(32))
    boxes = {other: own.seal(TERMS, CHEAT, other) for other in recipients(TERMS, CHEAT)} | {ME: lying.seal(TERMS, CHEAT, ME)}
    tree = Tree(leaf_hash(boxes[other]) for other in recipients(TERMS, CHEAT))
    part = statement_of(CHEAT).model_copy(update={"boxes": tree.root().hex()})
    encoded = {other: base64.b64encode(box).decode() for other, box in boxes.items()}
    assert check_boxes(TERMS, part, encoded).root() == tree.root()
    to_me = with_path(TERMS, tree, CHEAT, ME, encoded[ME])
    with pytest.raises(KeyPartError, match="wanted the key part with hash") as caught:
        take_key_parts(TERMS, ME, secrets_of(ME), _with(3, signed(part, CHEAT)), handed_on(TERMS, ME) | {CHEAT: to_me})
    assert caught.value.culprit == CHEAT
    to_other = with_path(TERMS, tree, CHEAT, IDS[0], encoded[IDS[0]])
    taken = take_key_parts(TERMS, IDS[0], secrets_of(IDS[0]), _with(3, signed(part, CHEAT)), handed_on(TERMS, IDS[0]) | {CHEAT: to_other})
    assert taken == keys_of(IDS[0])


def test_a_member_whose_box_does_not_open_is_named() -> None:
    own = secrets_of(CHEAT)
    boxes = {other: own.seal(TERMS, CHEAT, other) for other in recipients(TERMS, CHEAT)} | {ME: bytes(48)}
    tree = Tree(leaf_hash(boxes[other]) for other in recipients(TERMS, CHEAT))
    part = statement_of(CHEAT).model_copy(update={"boxes": tree.root().hex()})
    to_me = with_path(TERMS, tree, CHEAT, ME, base64.b64encode(bytes(48)).decode())
    assert box_of(TERMS, part, ME, to_me) == bytes(48)
    with pytest.raises(KeyPartError, match="does not open") as caught:
        take_key_parts(TERMS, ME, secrets_of(ME), _with(3, signed(part, CHEAT)), handed_on(TERMS, ME) | {CHEAT: to_me})
    assert caught.value.culprit == CHEAT


def test_a_key_part_has_one_signature() -> None:
    twice = statement_of(ME).sign(party_key(ME), party_key(CHEAT)).dump().decode()
    with pytest.raises(RemoteProtocolError, match="with one signature"):
        read_key_part(TERMS, ME, twice)


@pytest.mark.parametrize(
    "key",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",  # order 8
        "ed" + "ff" * 30 + "7f",  # 0 written as p
        "f6" + "ff" * 30 + "7f",  # 9 written as p + 9
        "09" + "00" * 30 + "80",  # 9 with the bit set that X25519 ignores
    ],
)
def test_a_channel_key_that_cannot_protect_is_no_member(key: str) -> None:
    with pytest.raises(ValidationError, match="channel_key"):
        MemberTerms.model_validate(TERMS.members[0].model_dump() | {"channel_key": key})


def test_two_members_do_not_have_one_channel_key() -> None:
    members = [member.model_dump() for member in TERMS.members]
    members[0]["channel_key"] = members[1]["channel_key"]
    with pytest.raises(ValidationError, match="a channel key of its own"):
        Terms.model_validate(TERMS.model_dump() | {"members": members})
