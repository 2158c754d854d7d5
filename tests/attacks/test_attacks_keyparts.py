"""The members' key and the graph seed under attack: nobody chooses them, nobody learns the key, and blame falls on who is at fault.

Four honest members, one that cheats, and a gateway that hands on what it likes. What a party refuses names a culprit; the gateway checks
posts only so that an honest one does not pass on what would stop the study.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress

import pytest
from parley_crypto.errors import CryptoError
from parley_crypto.merkle import Tree, leaf_hash
from parley_policies.negotiation.terms import Terms
from parley_protocol import keyparts, members_key
from parley_protocol.keyparts import BOX_BYTES, KeyPart, check_boxes, graph_seed, recipients, with_path
from parley_protocol.members_key import KeyPartError, OwnSecrets, StudyKeys, make_key_part, take_key_parts

from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.member_secrets import handed_on, secrets_of
from tests.simulator import make_terms, party_ids, party_key

TERMS = make_terms(5)
OTHER = TERMS.model_copy(update={"max_small_changes": 3})  # another agreement of the same members, on the same proposal
IDS = party_ids(5)
ME, CHEAT, COPIED = IDS[1], IDS[3], IDS[2]


def part_of(party: str, terms: Terms = TERMS) -> KeyPart:
    return make_key_part(terms, party, secrets_of(party))[0]


def text_of(part: KeyPart, *signers: str) -> str:
    return part.sign(*(party_key(signer) for signer in signers)).dump().decode()


def taken(cheats: str | None = None, boxes: dict[str, str] | None = None, me: str = ME) -> StudyKeys:
    """Let a member take all key parts, with another one of the cheat's."""
    texts = [text_of(part_of(party), party) for party in IDS]
    if cheats is not None:
        texts[IDS.index(CHEAT)] = cheats
    return take_key_parts(TERMS, me, secrets_of(me), texts, handed_on(TERMS, me) | (boxes or {}))


HONEST = taken()


def choose_the_seed_once_the_others_parts_are_known() -> None:
    """Tries parts of its own until the graph pleases it."""
    honest = {party: part_of(party) for party in IDS}
    tries = (part_of(CHEAT).model_copy(update={"seed_part": bytes([number] * 32).hex()}) for number in range(256))
    pleases = next(part for part in tries if graph_seed(TERMS, honest | {CHEAT: part})[0] < 16)
    assert taken(text_of(pleases, CHEAT)).graph_seed[0] < 16


def careless_open(self: OwnSecrets, terms: Terms, sender: str, me: str, box: bytes) -> bytes:
    """Open a box whichever agreement it was sealed for."""
    with suppress(CryptoError):
        return REAL_OPEN(self, OTHER, sender, me, box)
    return REAL_OPEN(self, terms, sender, me, box)


REAL_OPEN = OwnSecrets.open


def replay_a_part_of_another_agreement() -> None:
    """Genuine, boxes and all: the gateway has kept it."""
    assert taken(text_of(part_of(CHEAT, OTHER), CHEAT), {CHEAT: handed_on(OTHER, ME)[CHEAT]}) != StudyKeys(b"", b"")


def pass_off_anothers_part_as_its_own() -> None:
    """The cheat signs the same statement: the key then depends on one member less."""
    keys = taken(text_of(part_of(COPIED), CHEAT), {CHEAT: handed_on(TERMS, ME)[COPIED]})
    assert keys.graph_seed != HONEST.graph_seed


def sign_it_twice() -> None:
    """A second signature in the envelope: one part, two leaves of the log."""
    taken(text_of(part_of(CHEAT), CHEAT, COPIED))


def leave_a_part_out() -> None:
    texts = [text_of(part_of(party), party) for party in IDS[:-1]]
    with suppress(ValueError):  # an accident instead of a refusal
        take_key_parts(TERMS, ME, secrets_of(ME), texts, handed_on(TERMS, ME))


def leave_a_box_out() -> None:
    boxes = {sender: box for sender, box in handed_on(TERMS, ME).items() if sender != CHEAT}
    with suppress(KeyError):
        take_key_parts(TERMS, ME, secrets_of(ME), [text_of(part_of(party), party) for party in IDS], boxes)


def boxed(boxes: dict[str, bytes]) -> tuple[KeyPart, dict[str, str]]:
    """Return the cheat's key part over boxes of its choice, and the boxes as it posts them."""
    tree = Tree(leaf_hash(boxes[other]) for other in recipients(TERMS, CHEAT))
    texts = {other: base64.b64encode(box).decode() for other, box in boxes.items()}
    return part_of(CHEAT).model_copy(update={"boxes": tree.root().hex()}), texts


def genuine_boxes() -> dict[str, bytes]:
    return make_key_part(TERMS, CHEAT, secrets_of(CHEAT))[1]


def tell_one_member_another_key_part() -> None:
    """That member's proofs would never match, and it would halt the study over an honest gateway."""
    own = secrets_of(CHEAT)
    lying = OwnSecrets(own.channel, own.seed_part, bytes(32))
    part, texts = boxed(genuine_boxes() | {ME: lying.seal(TERMS, CHEAT, ME)})
    to_me = with_path(TERMS, check_boxes(TERMS, part, texts), CHEAT, ME, texts[ME])
    assert taken(text_of(part, CHEAT), {CHEAT: to_me}).members_key != taken(me=COPIED).members_key


# what an honest gateway refuses at the acceptance


def post_a_box_for_a_stranger() -> None:
    part, texts = boxed(genuine_boxes())
    check_boxes(TERMS, part, texts | {"stranger": texts[ME]})


def post_a_box_of_another_size() -> None:
    check_boxes(TERMS, *boxed(genuine_boxes() | {ME: bytes(BOX_BYTES - 1)}))


def post_other_boxes_than_the_signed_ones() -> None:
    _, texts = boxed(genuine_boxes() | {ME: bytes(BOX_BYTES)})
    check_boxes(TERMS, part_of(CHEAT), texts)


COMMITTED = Guard(keyparts, "check_key_part", "is not what the offer committed to")
ATTACKS = [
    Attack("choose the seed", choose_the_seed_once_the_others_parts_are_known, f"fault of {CHEAT}.*committed to", (COMMITTED,)),
    Attack(
        "replay another agreement's part",
        replay_a_part_of_another_agreement,
        "fault of the gateway.*wanted one for agreement",
        (
            Guard(members_key, "_read", "wanted one for agreement"),
            Guard(keyparts, "check_key_part", "study and agreement "),
            Patch(OwnSecrets, "open", careless_open),
        ),
    ),
    Attack(
        "pass off another's part",
        pass_off_anothers_part_as_its_own,
        "fault of the gateway.*its own, with one signature",
        (Guard(keyparts, "signed_key_part", "its own, with one signature", "part.party != party"),),
    ),
    Attack(
        "sign it twice",
        sign_it_twice,
        "its own, with one signature",
        (Guard(keyparts, "signed_key_part", "its own, with one signature", "len(envelope.signatures)"),),
    ),
    Attack(
        "leave a part out",
        leave_a_part_out,
        "fault of the gateway.*wanted 5 key parts",
        (Guard(members_key, "take_key_parts", " key parts and a box", "len(texts)"),),
    ),
    Attack(
        "leave a box out",
        leave_a_box_out,
        "fault of the gateway.*wanted 5 key parts",
        (Guard(members_key, "take_key_parts", " key parts and a box", "set(boxes)"),),
    ),
    Attack(
        "tell one member another key part",
        tell_one_member_another_key_part,
        f"fault of {CHEAT}.*the key part with hash",
        (Guard(members_key, "_opened", "the key part with hash"),),
    ),
    Attack(
        "post a box for a stranger",
        post_a_box_for_a_stranger,
        "one for each of",
        (Guard(keyparts, "box_tree", "one for each of "),),
    ),
    Attack(
        "post a box of another size",
        post_a_box_of_another_size,
        f"wanted {BOX_BYTES} bytes",
        (Guard(keyparts, "box_tree", "box of "),),
    ),
    Attack(
        "post other boxes than the signed ones",
        post_other_boxes_than_the_signed_ones,
        "those with the signed root",
        (Guard(keyparts, "check_boxes", "those with the signed root "),),
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_succeeds_without_its_checks(attack: Attack) -> None:
    check_mutations(attack)


Swap = Callable[[dict[str, str]], dict[str, str]]
SWAPS: dict[str, Swap] = {
    "another sender's box": lambda mine: {CHEAT: mine[COPIED]},
    "the box for another member": lambda _: {CHEAT: handed_on(TERMS, COPIED)[CHEAT]},
    "the box of another agreement": lambda _: {CHEAT: handed_on(OTHER, ME)[CHEAT]},
    "another's path": lambda mine: {CHEAT: swapped_path(mine[CHEAT], handed_on(TERMS, COPIED)[CHEAT])},
}


def swapped_path(box: str, path: str) -> str:
    return base64.b64encode(base64.b64decode(box)[:BOX_BYTES] + base64.b64decode(path)[BOX_BYTES:]).decode()


@pytest.mark.parametrize("which", SWAPS)
def test_a_swapped_box_is_the_gateways_fault_and_never_the_senders(which: str) -> None:
    with pytest.raises(KeyPartError) as caught:
        taken(boxes=SWAPS[which](handed_on(TERMS, ME)))
    assert caught.value.culprit == members_key.GATEWAY
