"""Secrets that are not what their owner bound itself to: after t members revealed honestly, the round ends and names whose fault it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from parley_crypto import sharing
from parley_protocol import opening
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.phases import Event
from parley_protocol.relays import SharePost
from parley_protocol.round_secrets import RoundSecrets

from tests.attacks.adversary import EVERYONE, SEGMENTS, SIX, Stage
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
from tests.simulator import make_terms, party_key

BAD, GOOD = SIX[5], SIX[:5]
TERMS = make_terms(6, segments=SEGMENTS)
NOW, LATER = Moment(0.0), Moment(1.0, frozenset({BAD}))


def split(name: str, secret: bytes) -> tuple[bytes, ...]:
    return sharing.split(secret, threshold=TERMS.threshold, count=6, seed=hashlib.sha256(name.encode()).digest())


def dealing(wrong: Mapping[str, tuple[bytes, ...]]) -> Stage:
    """A round whose last member deals other shares of some secrets than it advertised or hashed; every share is as it signed it."""
    stage = Stage(TERMS).to(Phase.SHARE)
    honest = RoundSecrets._split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundSecrets, "_split", lambda own, live: {**honest(own, live), **wrong})
        body = stage.states[BAD].share(party_key(BAD)).body
    assert isinstance(body, SharePost)
    stage.posts[BAD] = body
    for party in SIX:
        stage.show(party, stage.boxes(party))
        stage.seal(party)
    return stage


def opened_by(stage: Stage, uploading: Iterable[str]) -> None:
    """Run the rest of the round at an honest gateway; without its check it gives a sum, and a wrong one."""
    state = GatewayRound.open(GatewaySpec(TERMS, 1, 0, stage.history, EVERYONE, 0.0))
    listed = stage.listed(uploading)
    stage.confirm(listed, GOOD)
    stage.reveal(listed, GOOD)
    senders = {Event.ADVERTISE: SIX, Event.SHARE: SIX, Event.COLLECT: uploading}
    for event in (Event.ADVERTISE, Event.SHARE, Event.COLLECT, Event.CONFIRM, Event.REVEAL):
        for party in senders.get(event, GOOD):
            state, _ = state.on_post(party, event, stage.post(party, event), NOW)
        state, _ = state.on_tick(LATER)
    rebuilt = opening.rebuild(state)
    total, _ = opening.open_segment(rebuilt, "trunk", (stage.sealed(party, "trunk") for party in uploading))
    assert not np.array_equal(total, stage.truth(uploading, "trunk"))


def share_a_mask_key_that_it_did_not_advertise() -> None:
    opened_by(dealing({"mask": split("mask", hashlib.sha256(b"another key").digest())}), GOOD)


def share_a_seed_that_it_did_not_hash() -> None:
    opened_by(dealing({"self/trunk": split("self/trunk", hashlib.sha256(b"another seed").digest())}), SIX)


KEY, SEED = "is not the one it advertised", "is not the one it signed"
ATTACKS = (
    Attack(
        "another mask key",
        share_a_mask_key_that_it_did_not_advertise,
        f"the mask key that {BAD} shared {KEY}",
        (Guard(opening, "check_mask_key", KEY),),
    ),
    Attack("another seed", share_a_seed_that_it_did_not_hash, f"seed that {BAD} shared {SEED}", (Guard(opening, "check_seed", SEED),)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_wrong_secret_names_its_owner(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_the_sum_is_wrong(attack: Attack) -> None:
    check_mutations(attack)


def test_shares_of_no_polynomial_name_their_owner() -> None:
    stage = dealing({"mask": tuple(int.to_bytes(2**256 + 7 * x, 33, "big") for x in range(6))})
    with pytest.raises(RemoteProtocolError, match=f"{BAD} shared something that is no secret|that {BAD} shared is not the one"):
        opened_by(stage, GOOD)
