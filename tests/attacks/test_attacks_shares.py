"""Invariants 2 and 5 inside the boxes: shares that fit what their owner signed, of every member that sent any; a culprit is named."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

import pytest
from parley_crypto import sharing
from parley_crypto.channel import seal_box
from parley_crypto.errors import VerificationError
from parley_crypto.keys import VerifyKey
from parley_protocol import commitments
from parley_protocol.columns import pack, unpack
from parley_protocol.commitments import ShareContext
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Share
from parley_protocol.party_round import PartyRound
from parley_protocol.relays import SharePost
from parley_protocol.round_secrets import RoundSecrets

from tests.attacks.adversary import SEGMENTS, SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.attacks.observed import altered, believed, content
from tests.simulator import make_terms, party_key

VICTIM, COLLUDER, OTHER = SIX[0], SIX[5], SIX[1]


def shared() -> Stage:
    return Stage(make_terms(6, segments=SEGMENTS)).to(Phase.SHARE)


def restated(stage: Stage, party: str, **changes: object) -> None:
    """Replace a member's SHARE by one with other fields, signed by itself; its boxes and hashes stay."""
    said = content(stage.posts[party].statement, Share).model_dump()
    text = Share.model_validate(said | changes).sign(party_key(party)).dump().decode()
    stage.posts[party] = altered(stage.posts[party], {"statement": text})


def in_its_place(stage: Stage, to: str, owner: str, box: str) -> tuple[str, ...]:
    """Return the boxes for one member, with another one in the place of an owner's."""
    owners = [party for party in sorted(stage.posts) if party != to]
    return tuple(box if party == owner else other for party, other in zip(owners, stage.boxes(to).boxes, strict=True))


def reboxed(stage: Stage, party: str, to: str, alter: Callable[[bytes], bytes]) -> None:
    """Replace a member's box to another by one with altered content."""
    state = stage.states[party]
    own, rank = state._secrets, stage.terms.rank(to) - 1
    plain = b"".join(shares[rank] for shares in own._split(state.live).values())
    context = own._box_context(state.key_set, party, to)
    box = base64.b64encode(seal_box(own.channel, state.keys[to].channel, alter(plain), *context)).decode()
    peers = [peer for peer in stage.recipients(party) if peer != party]
    boxes = tuple(box if peer == to else other for peer, other in zip(peers, stage.posts[party].boxes, strict=True))
    stage.posts[party] = altered(stage.posts[party], {"boxes": boxes})


def give_a_share_that_was_not_signed() -> None:
    stage = shared()
    reboxed(stage, COLLUDER, VICTIM, lambda plain: bytes([plain[0]]) + hashlib.sha256(plain).digest() + plain[33:])
    stage.show(VICTIM, stage.boxes(VICTIM))


def give_a_byte_too_many() -> None:
    stage = shared()
    reboxed(stage, COLLUDER, VICTIM, lambda plain: plain + b"\0")
    stage.show(VICTIM, stage.boxes(VICTIM))


def swap_a_root() -> None:
    """The gateway's own tree over other shares, under the genuine signature: who reveals them later could not be told from a liar."""
    stage = shared()
    whole = stage.boxes(VICTIM)
    roots = [bytes.fromhex(content(stage.posts[party].statement, Share).root) for party in SIX[1:]]
    stage.show(VICTIM, altered(whole, {"roots": pack([*roots[:-1], hashlib.sha256(b"another tree").digest()])}))


def show_the_path_to_another_members_leaf() -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    stage.show(VICTIM, altered(whole, {"paths": (*whole.paths[:-1], stage.path(COLLUDER, OTHER))}))


def give_another_members_shares() -> None:
    """A colluder gives two members the same share, with the leaf that it signed for the other one."""
    stage = shared()
    own = stage.states[COLLUDER]._secrets
    rank = stage.terms.rank(OTHER) - 1
    theirs = b"".join(shares[rank] for shares in own._split(stage.states[COLLUDER].live).values())
    reboxed(stage, COLLUDER, VICTIM, lambda _: theirs)
    whole = stage.boxes(VICTIM)
    stage.show(VICTIM, altered(whole, {"paths": (*whole.paths[:-1], stage.path(COLLUDER, OTHER))}))


def leave_the_reader_out() -> None:
    stage = shared()
    stage.show(VICTIM, altered(stage.boxes(VICTIM), {"parties": SIX[1:]}))


def show_shares_of_a_member_without_keys() -> None:
    stage = Stage(make_terms(6)).to(Phase.SHARE, silent=[COLLUDER])
    own, victim = stage.states[COLLUDER], stage.states[VICTIM]
    late = replace(own, keys=victim.keys, parties=victim.parties, key_set=victim.key_set, live=("trunk",)).share(party_key(COLLUDER))
    assert isinstance(late.body, SharePost)
    stage.posts[COLLUDER] = late.body
    with suppress(KeyError):  # an accident instead of a refusal
        stage.show(VICTIM, stage.boxes(VICTIM))


def hold_a_box_back() -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    with suppress(ValueError):  # an accident instead of a refusal
        stage.show(VICTIM, altered(whole, {"boxes": whole.boxes[:-1]}))


def hold_a_path_back() -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    with suppress(ValueError):  # an accident instead of a refusal
        stage.show(VICTIM, altered(whole, {"paths": whole.paths[:-1]}))


def slip_a_box_in() -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    with suppress(ValueError):  # an accident instead of a refusal
        stage.show(VICTIM, altered(whole, {"boxes": (*whole.boxes, whole.boxes[0])}))


def unproven(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """A careless `verify_inclusion`."""
    del leaf, index, size, path, root


UNSIGNED, DEALT = Patch(VerifyKey, "verify", believed), Patch(commitments, "verify_inclusion", unproven)
NOT_DEALT, NOT_SIGNED = f"box of {COLLUDER}: its shares are not the ones it signed", f"share of {COLLUDER}: not what it signed"
MEMBERS, EACH, SIZE = "wanted only those of members with keys", "wanted a box and a path from each", " shares, got "
OWN, WITHOUT_KEYS = Guard(PartyRound, "_members_in_order", "our own are missing"), Guard(PartyRound, "_opened", MEMBERS)
BOX, PATH = Guard(PartyRound, "_opened", EACH, "boxes.boxes"), Guard(PartyRound, "_opened", EACH, "boxes.paths")
ATTACKS = (
    Attack("unsigned share", give_a_share_that_was_not_signed, NOT_DEALT, (DEALT,)),
    Attack(
        "a byte too many",
        give_a_byte_too_many,
        f"box of {COLLUDER}: wanted 3 shares",
        (Guard(RoundSecrets, "open", SIZE),),
    ),
    Attack("a swapped root", swap_a_root, NOT_SIGNED, (UNSIGNED, DEALT)),
    Attack("another leaf's path", show_the_path_to_another_members_leaf, NOT_DEALT, (DEALT,)),
    Attack("another member's shares", give_another_members_shares, NOT_DEALT, (DEALT,)),
    Attack("reader left out", leave_the_reader_out, "boxes: our own are missing", (OWN,)),
    Attack("without keys", show_shares_of_a_member_without_keys, MEMBERS, (WITHOUT_KEYS,)),
    Attack("box held back", hold_a_box_back, EACH, (BOX,)),
    Attack("path held back", hold_a_path_back, EACH, (PATH,)),
    Attack("box slipped in", slip_a_box_in, EACH, (BOX,)),
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
    with pytest.raises(RemoteProtocolError, match=f"box of {COLLUDER}"):
        stage.show(VICTIM, altered(stage.boxes(VICTIM), {"boxes": in_its_place(stage, VICTIM, COLLUDER, box)}))


@pytest.mark.parametrize("change", [lambda path: path[:-1], lambda path: (*path, bytes(32)), lambda _: ()])
def test_a_path_of_another_length_is_refused(change: Callable[[tuple[bytes, ...]], Sequence[bytes]]) -> None:
    stage = shared()
    whole = stage.boxes(VICTIM)
    path = tuple(stage.tree(COLLUDER).inclusion_proof(SIX.index(VICTIM)))
    with pytest.raises(RemoteProtocolError, match=f"path of {COLLUDER}: wanted 3 values of 32 bytes"):
        stage.show(VICTIM, altered(whole, {"paths": (*whole.paths[:-1], pack(change(path)))}))


def test_a_tree_over_too_few_seeds_has_no_room_for_the_reader() -> None:
    """The shares that a box must hold follow from the round, not from the tree: a shorter row hashes to another leaf."""
    stage = shared()
    own = stage.states[COLLUDER]
    short = own._secrets.deal(("trunk",), own.keys, own.key_set)
    restated(stage, COLLUDER, root=short.tree.root().hex())
    stage.posts[COLLUDER] = altered(
        stage.posts[COLLUDER],
        {"hashes": pack(share for row in short.hashes for share in row), "seeds": pack(short.seeds), "boxes": short.boxes},
    )
    with pytest.raises(RemoteProtocolError, match=f"box of {COLLUDER}: wanted 3 shares, got 66 bytes"):
        stage.show(VICTIM, stage.boxes(VICTIM))


def test_a_share_names_its_recipient_its_round_and_its_secret() -> None:
    context = ShareContext("a" * 64, 1, OTHER)
    hashes = {context.share_hash(VICTIM, "mask", bytes(33)), context.share_hash(COLLUDER, "mask", bytes(33))}
    hashes |= {context.share_hash(VICTIM, "self/trunk", bytes(33)), replace(context, round=2).share_hash(VICTIM, "mask", bytes(33))}
    hashes |= {replace(context, owner=COLLUDER).share_hash(VICTIM, "mask", bytes(33)), context.seed_hash("trunk", bytes(33))}
    assert len(hashes) == 6


def test_shares_of_fewer_than_t_members_rebuild_nothing_that_was_signed() -> None:
    """Gateway and colluders together: t - 1 shares give a secret whose hash nobody signed."""
    stage = shared()
    for party in SIX:
        stage.show(party, stage.boxes(party))
    threshold, context = stage.terms.threshold, ShareContext(stage.terms.digest(), 1, VICTIM)
    held = {stage.terms.rank(party): stage.states[party].held[VICTIM]["self/trunk"] for party in SIX}
    true_seed = sharing.combine(held, threshold=threshold)
    signed = unpack(stage.posts[VICTIM].seeds, 32, 2, "seeds")[0]
    assert context.seed_hash("trunk", true_seed) == signed
    for known in combinations(held, threshold - 1):
        invented = next(rank for rank in held if rank not in known)
        guess = {rank: held[rank] for rank in known} | {invented: b"\0" + hashlib.sha256(bytes(known)).digest()}
        with suppress(VerificationError):
            wrong = sharing.combine(guess, threshold=threshold)
            assert context.seed_hash("trunk", wrong) != signed
