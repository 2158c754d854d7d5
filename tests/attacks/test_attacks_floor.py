"""Invariant 1: no sum of fewer than k counted members is ever opened, whatever list the gateway proposes."""

from __future__ import annotations

import numpy as np
import pytest
from parley_policies.negotiation.terms import Terms
from parley_protocol.certificates import Chain, OpenedList, verify_certificate
from parley_protocol.ids import Phase
from parley_protocol.messages import Manifest
from parley_protocol.party_round import PartyRound
from parley_protocol.party_spec import PartySpec

from tests.attacks.adversary import EVERYONE, SEGMENTS, SIX, Stage
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
from tests.attacks.observed import content
from tests.simulator import make_terms, party_ids, party_key

HEAD_OF_FOUR: dict[str, tuple[int, list[int] | None]] = {"trunk": (8, None), "head:a": (5, [0, 1, 2, 3])}


def six() -> Terms:
    return make_terms(6, segments=SEGMENTS)


def list_fewer_than_t() -> None:
    stage = Stage(six()).to(Phase.CONFIRM)
    stage.confirm(stage.listed(SIX[1:5]), SIX)


def open_a_part_below_its_floor() -> None:
    stage = Stage(six()).to(Phase.COLLECT).to(Phase.CONFIRM, silent=SIX[:1])
    listed = stage.listed(openable=("trunk", "head:a", "head:b"))
    stage.confirm(listed, SIX[1:])
    reveals = stage.reveal(listed, SIX[1:])
    alone = stage.sum_of(SIX[1:], "head:a", reveals) - stage.plain[(SIX[2], "head:a")]  # party-002 colludes
    assert np.array_equal(alone, stage.plain[(SIX[1], "head:a")])


def open_a_part_that_was_not_shared() -> None:
    stage = Stage(six()).to(Phase.CONFIRM, silent=SIX[:1])  # two keys of head:a: it is left out from the start
    stage.confirm(stage.listed(openable=("trunk", "head:a", "head:b")), SIX[1:])


def open_nothing() -> None:
    """The trunk may not change by one member, and the head falls below its floor: a base version would be spent on nothing."""
    terms = make_terms(6, segments={"trunk": (8, None), "head:a": (5, [0, 1, 2])}, small_changes=0)
    five = OpenedList("trunk", frozenset(SIX[1:]), "0" * 64)
    chain = Chain(terms.digest(), "1" * 64, 1, frozenset({"2" * 64}), (five,))
    stage = Stage(terms, number=2, chain=chain).to(Phase.COLLECT).to(Phase.CONFIRM, silent=SIX[:1])
    stage.confirm(stage.listed(openable=()), SIX[1:])


def list_a_phantom() -> None:
    stage = Stage(six()).to(Phase.SHARE).to(Phase.COLLECT, silent=SIX[5:]).to(Phase.CONFIRM, silent=SIX[4:])
    told = content(stage.manifests[SIX[3]], Manifest).model_dump() | {"party": SIX[5]}
    stage.manifests[SIX[5]] = Manifest.model_validate(told).sign(party_key(SIX[5])).dump().decode()  # the phantom's key is the gateway's
    listed = stage.listed([*SIX[:4], SIX[5]])
    assert "head:b" in listed.openable  # two who sealed, and the phantom
    stage.confirm(listed, SIX[:4])
    verify_certificate(stage.terms, stage.certificate(listed, [*SIX[:4], SIX[5]]))


def list_a_member_twice() -> None:
    stage = Stage(six()).to(Phase.COLLECT).to(Phase.CONFIRM, silent=SIX[4:])
    four = stage.listed().survivors
    stage.confirm(stage.listed(survivors=(*four, four[-1]), openable=("trunk", "head:a")), SIX[:4])


def share_with_fewer_than_t() -> None:
    stage = Stage(make_terms(6))
    stage.show(SIX[0], stage.keys(SIX[:4]))


def collect_with_fewer_than_t() -> None:
    stage = Stage(make_terms(6)).to(Phase.SHARE)
    stage.show(SIX[0], stage.boxes(SIX[0], SIX[:4]))


def share_where_nothing_reaches_a_floor() -> None:
    stage = Stage(make_terms(6, floor=6))
    stage.show(SIX[0], stage.keys(SIX[:5]))


def count_a_phantom_in_a_part_of_others() -> None:
    floors, counted = {SIX[0]: {"trunk": 2, "head:b": 4}}, {SIX[0]: EVERYONE - {SIX[5]}}
    stage = Stage(six(), own_floors=floors, counted=counted)
    stage.show(SIX[0], stage.keys())


def count_a_phantom_after_sealing() -> None:
    """A victim's own floor breaks only after it sealed, and t others certify the list without it."""
    stage = Stage(
        make_terms(6, segments=HEAD_OF_FOUR), own_floors={SIX[0]: {"trunk": 2, "head:a": 3}}, counted={SIX[0]: EVERYONE - {SIX[1]}}
    )
    stage.to(Phase.CONFIRM)
    listed = stage.listed([party for party in SIX if party != SIX[3]])
    stage.confirm(listed, SIX[1:])
    total = stage.sum_of(listed.parties, "head:a", stage.reveal(listed, SIX[1:]))
    pair = total - stage.plain[(SIX[1], "head:a")]  # the phantom is the gateway's own
    assert np.array_equal(pair, stage.truth([SIX[0], SIX[2]], "head:a"))


def enter_with_more_phantoms_than_colluders() -> None:
    Stage(make_terms(6), counted={SIX[0]: EVERYONE - {SIX[1], SIX[2]}}, own_floors={SIX[0]: {"trunk": 1}})


def enter_below_the_threshold() -> None:
    """With t = 3 of 6, two lists both find their signers, and with them both secrets of the victim."""
    low = Terms.model_validate(make_terms(6).model_dump() | {"threshold": 3})
    stage = Stage(low).to(Phase.CONFIRM)
    everyone, without_victim = stage.listed(), stage.listed(SIX[1:])
    stage.confirm(everyone, SIX[:3])
    first = stage.reveal(everyone, SIX[:3])
    stage.confirm(without_victim, SIX[3:])
    second = stage.reveal(without_victim, SIX[3:])
    seed = stage.combined({party: reveal.seeds["trunk"][SIX[0]] for party, reveal in first.items()})
    secret = stage.combined({party: reveal.mask_keys[SIX[0]] for party, reveal in second.items()})
    assert np.array_equal(stage.unmasked(SIX[0], "trunk", seed, secret, SIX), stage.plain[(SIX[0], "trunk")])


def enter_with_a_floor_that_colluders_reach() -> None:
    """Two colluders and a floor of three: the third is alone."""
    stage = Stage(make_terms(7, colluders=2, floor=3, segments={"trunk": (8, None), "head:a": (5, [0, 1, 2])})).to(Phase.REVEAL)
    reveals = stage.reveal(stage.listed(), stage.ids)
    ids = party_ids(7)
    alone = stage.sum_of(ids, "head:a", reveals) - stage.truth(ids[1:3], "head:a")
    assert np.array_equal(alone, stage.plain[(ids[0], "head:a")])


FEW = Guard(PartyRound, "_members_in_order", "wanted at least")
OPENED, IN_ORDER = "to be opened", "in id order"
ATTACKS = (
    Attack("fewer than t listed", list_fewer_than_t, "wanted at least 5 members", (Guard(PartyRound, "_check_list", "wanted at least"),)),
    Attack("part below floor", open_a_part_below_its_floor, OPENED, (Guard(PartyRound, "_check_list", OPENED, "proposal.openable"),)),
    Attack("part not shared", open_a_part_that_was_not_shared, OPENED, (Guard(PartyRound, "_check_list", OPENED, "proposal.openable"),)),
    Attack("nothing opened", open_nothing, "a shared part to be opened", (Guard(PartyRound, "_check_list", OPENED, "not wanted_open"),)),
    Attack("phantom listed", list_a_phantom, IN_ORDER, (Guard(PartyRound, "_check_list", IN_ORDER, "not set(parties)"),)),
    Attack("member twice", list_a_member_twice, IN_ORDER, (Guard(PartyRound, "_check_list", IN_ORDER, "sorted(set(parties))"),)),
    Attack("too few keys", share_with_fewer_than_t, "keys: wanted at least 5", (FEW,)),
    Attack("too few boxes", collect_with_fewer_than_t, "boxes: wanted at least 5", (FEW,)),
    Attack(
        "no floor reached",
        share_where_nothing_reaches_a_floor,
        "no shared part could be opened",
        (Guard(PartySpec, "live", "no shared part"),),
    ),
    Attack(
        "phantom in a part of others",
        count_a_phantom_in_a_part_of_others,
        "our policy counts, got 3",
        (Guard(PartySpec, "live", "counts"),),
    ),
    Attack(
        "phantom after sealing",
        count_a_phantom_after_sealing,
        "head:a: wanted a floor of at least 4",
        (Guard(PartySpec, "check_entry", "by our policy"),),
    ),
    Attack(
        "too many phantoms", enter_with_more_phantoms_than_colluders, "does not count", (Guard(PartySpec, "check_entry", "does not count"),)
    ),
    Attack("low threshold", enter_below_the_threshold, "threshold of 5 to 6", (Guard(PartySpec, "check_entry", "wanted a threshold"),)),
    Attack(
        "floor for colluders",
        enter_with_a_floor_that_colluders_reach,
        "trunk: wanted a floor of at least 4",
        (Guard(PartySpec, "check_entry", "by our policy"),),
    ),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_list_below_the_floor_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_the_list_is_accepted(attack: Attack) -> None:
    check_mutations(attack)


def test_an_own_floor_that_is_not_named_is_the_agreements() -> None:
    spec = Stage(six()).spec(SIX[0])
    assert (spec.own_floor("trunk"), spec.own_floor("head:a"), spec.own_floor("head:b")) == (3, 3, 0)
