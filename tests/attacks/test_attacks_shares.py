"""Invariants 2 and 5 inside the boxes: shares that fit what their owner signed, of every member that sent any; a culprit is named."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

import pytest
from parley_crypto import sharing
from parley_crypto.channel import seal_box
from parley_crypto.errors import VerificationError
from parley_protocol.bound import key_set_digest, seed_hash
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Boxes, Share, SharePost
from parley_protocol.party_round import PartyRound

from tests.attacks.adversary import SEGMENTS, SIX, Stage, altered, content
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
from tests.simulator import make_terms, party_key

VICTIM, COLLUDER, OTHER = SIX[0], SIX[5], SIX[1]


def shared() -> Stage:
    return Stage(make_terms(6, segments=SEGMENTS)).to(Phase.SHARE)


def restated(stage: Stage, party: str, **changes: object) -> None:
    """Replace a member's SHARE by one with other fields, signed by itself; its boxes stay."""
    said = content(stage.posts[party].statement, Share).model_dump()
    text = Share.model_validate(said | changes).sign(party_key(party)).dump().decode()
    stage.posts[party] = SharePost(statement=text, boxes=stage.posts[party].boxes)


def reboxed(stage: Stage, party: str, to: str, alter: Callable[[bytes], bytes]) -> None:
    """Replace a member's box to another by one with altered content."""
    state = stage.states[party]
    theirs = bytes.fromhex(content(stage.adverts[to], Advertise).channel_key)
    rank = stage.terms.rank(to) - 1
    plain = b"".join(shares[rank] for shares in state._split().values())
    context = state._box_context(key_set_digest(state.adverts.values()), party, to)
    box = base64.b64encode(seal_box(state._channel, theirs, alter(plain), *context)).decode()
    stage.posts[party] = SharePost(statement=stage.posts[party].statement, boxes={**stage.posts[party].boxes, to: box})


def give_a_share_that_was_not_signed() -> None:
    stage = shared()
    reboxed(stage, COLLUDER, VICTIM, lambda plain: bytes([plain[0]]) + hashlib.sha256(plain).digest() + plain[33:])
    stage.show(VICTIM, stage.boxes(VICTIM))


def give_a_byte_too_many() -> None:
    stage = shared()
    reboxed(stage, COLLUDER, VICTIM, lambda plain: plain + b"\0")
    stage.show(VICTIM, stage.boxes(VICTIM))


def sign_a_hash_too_few() -> None:
    stage = shared()
    hashes = content(stage.posts[COLLUDER].statement, Share).share_hashes
    restated(stage, COLLUDER, share_hashes={**hashes, VICTIM: hashes[VICTIM][:-1]})
    with suppress(ValueError):  # an accident instead of a refusal
        stage.show(VICTIM, stage.boxes(VICTIM))


def leave_a_seed_out() -> None:
    """Its self mask in one part could not be checked after rebuilding."""
    stage = shared()
    seeds = content(stage.posts[COLLUDER].statement, Share).seed_hashes
    restated(stage, COLLUDER, seed_hashes={"trunk": seeds["trunk"]})
    stage.show(VICTIM, stage.boxes(VICTIM))


def leave_the_readers_own_share_out() -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    others = tuple(stage.posts[party].statement for party in SIX[1:])
    stage.show(VICTIM, Boxes(agreement=whole.agreement, round=1, shares=others, boxes=whole.boxes))


def show_the_reader_an_older_share_of_its_own() -> None:
    """From an attempt before, with other secrets: the hashes that all others go by would not be those of what it boxed."""
    stage, earlier = shared(), Stage(make_terms(6, segments=SEGMENTS))
    keys = content(stage.posts[VICTIM].statement, Share).keys
    state = replace(earlier.states[VICTIM], adverts=stage.states[VICTIM].adverts, live=stage.states[VICTIM].live, seed=bytes(32))
    again = state.share(party_key(VICTIM)).body
    assert isinstance(again, SharePost)
    assert content(again.statement, Share).keys == keys
    stage.posts[VICTIM] = again
    stage.show(VICTIM, stage.boxes(VICTIM))


def show_shares_of_a_member_without_keys() -> None:
    stage = Stage(make_terms(6)).to(Phase.SHARE, silent=[COLLUDER])
    late = replace(stage.states[COLLUDER], adverts=stage.states[VICTIM].adverts, live=("trunk",))
    text = content(stage.posts[OTHER].statement, Share).model_dump() | {"party": COLLUDER}
    stage.posts[COLLUDER] = SharePost(
        statement=Share.model_validate(text).sign(party_key(COLLUDER)).dump().decode(), boxes=late._boxes(late._split())
    )
    with suppress(KeyError):  # an accident instead of a refusal
        stage.show(VICTIM, stage.boxes(VICTIM))


def hold_a_box_back() -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    kept = {party: box for party, box in whole.boxes.items() if party != OTHER}
    with suppress(KeyError):  # an accident instead of a refusal
        stage.show(VICTIM, altered(whole, {"boxes": kept}))


def slip_a_box_in() -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    stage.show(VICTIM, altered(whole, {"boxes": {**whole.boxes, "party-999": whole.boxes[OTHER]}}))


def opened(words: str, operand: str = "") -> tuple[Guard]:
    return (Guard(PartyRound, "_opened", words, operand),)


def boxes(words: str) -> tuple[Guard]:
    return (Guard(PartyRound, "on_boxes", words),)


UNSIGNED, SEEDS = "not the one it signed", "self-mask seeds are not those"
MEMBERS, EACH, OWN = "wanted only those of members with keys", "wanted one from each", "our own shares are missing, or not"
SIZE = " shares, got "
ATTACKS = (
    Attack("unsigned share", give_a_share_that_was_not_signed, f"box of {COLLUDER}: .*{UNSIGNED}", opened(UNSIGNED)),
    Attack("a byte too many", give_a_byte_too_many, f"box of {COLLUDER}: wanted 3 shares", opened(SIZE, "len(content)")),
    Attack("a hash too few", sign_a_hash_too_few, f"box of {COLLUDER}: wanted 3 shares.* and 2 hashes", opened(SIZE, "len(wanted)")),
    Attack("a seed left out", leave_a_seed_out, f"share of {COLLUDER}: its {SEEDS}", opened(SEEDS)),
    Attack("reader left out", leave_the_readers_own_share_out, OWN, boxes(OWN)),
    Attack("reader's older share", show_the_reader_an_older_share_of_its_own, OWN, boxes(OWN)),
    Attack("without keys", show_shares_of_a_member_without_keys, MEMBERS, boxes(MEMBERS)),
    Attack("box held back", hold_a_box_back, EACH, boxes(EACH)),
    Attack("box slipped in", slip_a_box_in, EACH, boxes(EACH)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_shares_that_do_not_fit_are_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_they_are_taken(attack: Attack) -> None:
    check_mutations(attack)


@pytest.mark.parametrize("box", ["", "AAAA", "A", base64.b64encode(bytes(115)).decode()])
def test_a_box_that_is_none_is_refused_and_its_sender_named(box: str) -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    with pytest.raises(RemoteProtocolError, match=f"box of {COLLUDER}"):
        stage.show(VICTIM, altered(whole, {"boxes": {**whole.boxes, COLLUDER: box}}))


def test_shares_of_fewer_than_t_members_rebuild_nothing_that_was_signed() -> None:
    """Gateway and colluders together: t - 1 shares give a secret whose hash nobody signed."""
    stage = shared()
    for party in SIX:
        stage.show(party, stage.boxes(party))
    threshold = stage.terms.threshold
    held = {stage.terms.rank(party): stage.states[party].held[VICTIM]["self/trunk"] for party in SIX}
    true_seed = sharing.combine(held, threshold=threshold)
    assert seed_hash(stage.terms, 1, owner=VICTIM, segment="trunk", seed=true_seed) == signed_seed(stage)
    for known in combinations(held, threshold - 1):
        invented = next(rank for rank in held if rank not in known)
        guess = {rank: held[rank] for rank in known} | {invented: b"\0" + hashlib.sha256(bytes(known)).digest()}
        with suppress(VerificationError):
            wrong = sharing.combine(guess, threshold=threshold)
            assert seed_hash(stage.terms, 1, owner=VICTIM, segment="trunk", seed=wrong) != signed_seed(stage)


def signed_seed(stage: Stage) -> str:
    seeds: dict[str, str] = content(stage.posts[VICTIM].statement, Share).seed_hashes
    return seeds["trunk"]
