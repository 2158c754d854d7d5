"""Invariant 8: no combination of opened sums isolates fewer than k members, and small changes of a list are counted."""

from __future__ import annotations

import numpy as np
import pytest
from parley_policies.enforcement.differencing import isolated
from parley_policies.negotiation.terms import Terms
from parley_protocol import certificates
from parley_protocol.certificates import Chain, Lists, extend, openable
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.party_spec import PartySpec

from tests.attacks.adversary import EVERYONE, SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.simulator import START, first_cohort, make_terms, party_ids

VICTIM = SIX[0]


def never(*args: object) -> None:
    """Find nothing that is isolated, and no small change."""
    del args


def certified(stage: Stage, *silent: str) -> Chain:
    """Finish a stage's round and return the chain after it."""
    stage.to(Phase.COLLECT).to(Phase.CONFIRM, silent=silent)
    listed = stage.listed()
    present = [party for party in stage.ids if party not in silent]
    stage.confirm(listed, present)
    certificate = stage.certificate(listed, present)
    stage.reveal(listed, present)
    chain, _ = extend(stage.history, stage.terms, certificate)
    return chain


def step_by_nothing_and_leave_one_out() -> None:
    """A step of zero length gives the same parameters as a base again: the same updates, now without the victim."""
    first = Stage(make_terms(6))
    chain = certified(first)
    total = first.sum_of(SIX, "trunk", first.reveals)
    second = Stage(first.terms, number=2, chain=chain, version=1, absent=frozenset({VICTIM}))
    certified(second)
    five = second.sum_of(SIX[1:], "trunk", second.reveals)
    assert np.array_equal(total - five, first.plain[(VICTIM, "trunk")])


def leave_one_out_after_boxes() -> None:
    """All six seal, one upload is held back: the list of five would be the difference."""
    chain = certified(Stage(make_terms(6)))
    second = Stage(make_terms(6), number=2, chain=chain, version=1).to(Phase.CONFIRM)
    second.confirm(second.listed(SIX[1:], openable=("trunk",)), SIX[1:])


def change_the_list_by_one_too_often() -> None:
    terms = make_terms(6, small_changes=0)
    chain = certified(Stage(terms))
    second = Stage(terms, number=2, chain=chain, version=1, parameters="d" * 64, absent=frozenset({VICTIM}))
    second.to(Phase.SHARE)


def change_the_list_by_one_after_boxes() -> None:
    terms = make_terms(6, small_changes=0)
    chain = certified(Stage(terms))
    second = Stage(terms, number=2, chain=chain, version=1, parameters="d" * 64).to(Phase.CONFIRM)
    second.confirm(second.listed(SIX[1:], openable=("trunk",)), SIX[1:])


def ask_again_in_another_study() -> None:
    """Another study opened the sum of five over the same data: here the sixth joins."""
    opened: Lists = {"trunk": (frozenset(SIX[1:]),)}
    stage = Stage(make_terms(6), earlier=dict.fromkeys(SIX, opened)).to(Phase.REVEAL)
    total = stage.sum_of(SIX, "trunk", stage.reveal(stage.listed(), SIX))
    assert np.array_equal(total - stage.truth(SIX[1:], "trunk"), stage.plain[(VICTIM, "trunk")])


def ask_in_three_studies() -> None:
    """No two of the three sums isolate anyone: together they do."""
    ids = party_ids(7)
    opened: Lists = {"trunk": (frozenset(ids[:3]), frozenset(ids[3:6]))}
    assert isolated([*opened["trunk"], frozenset(ids)], 3) == frozenset(ids[6:])
    for pair in opened["trunk"]:
        assert isolated([pair, frozenset(ids)], 3) is None
    stage = Stage(make_terms(7), earlier={ids[0]: opened})
    stage.show(ids[0], stage.keys())


ISOLATED, SMALL = Patch(certificates, "isolated", never), Patch(certificates, "is_small_change", never)
EARLIER, NOTHING = Guard(PartySpec, "live", "with earlier ones"), "no shared part could be opened"
ATTACKS = (
    Attack("zero step", step_by_nothing_and_leave_one_out, NOTHING, (ISOLATED,)),
    Attack("one left out", leave_one_out_after_boxes, NOTHING, (ISOLATED,)),
    Attack("one change too many", change_the_list_by_one_too_often, NOTHING, (SMALL,)),
    Attack("one change after boxes", change_the_list_by_one_after_boxes, NOTHING, (SMALL,)),
    Attack("another study", ask_again_in_another_study, "with earlier ones over the same data", (EARLIER,)),
    Attack("three studies", ask_in_three_studies, "with earlier ones over the same data", (EARLIER,)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_sums_that_isolate_members_are_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_they_open(attack: Attack) -> None:
    check_mutations(attack)


def test_the_allowance_is_used_up_to_the_last() -> None:
    """Two small changes agreed: six, five, six, and no third; the same list again costs nothing."""
    terms = make_terms(6, small_changes=2)
    chain = Chain.start(terms.digest())
    for version, silent in enumerate([(), SIX[:1], (), ()]):
        stage = Stage(terms, number=version + 1, chain=chain, version=version, parameters=f"{version:064x}")
        chain = certified(stage, *silent)
    assert chain.small_changes("trunk", 3) == 2
    stage = Stage(terms, number=9, chain=chain, version=9, parameters="9" * 64)
    with pytest.raises(RemoteProtocolError, match="within 2 small changes"):
        stage.show(VICTIM, stage.keys(SIX[:5]))
    stage.to(Phase.SHARE)


def test_a_change_of_k_members_is_not_small() -> None:
    terms = make_terms(9, small_changes=0)
    ids = party_ids(9)
    chain = Chain(terms.digest(), "1" * 64, 1, frozenset(), (certificates.OpenedList("trunk", frozenset(ids), START),))
    assert openable(first_cohort(terms), chain, "d" * 64, frozenset(ids[3:])) == ("trunk",)
    assert openable(first_cohort(terms), chain, "d" * 64, frozenset(ids[2:])) == ()


def test_parts_are_judged_apart() -> None:
    """The trunk of the same parameters stays shut; the head, whose list is the same, opens."""
    terms = make_terms(6, segments={"trunk": (8, None), "head:a": (5, [0, 1, 2])})
    lists = (certificates.OpenedList("trunk", EVERYONE, START), certificates.OpenedList("head:a", frozenset(SIX[:3]), START))
    chain = Chain(terms.digest(), "1" * 64, 1, frozenset(), lists)
    assert openable(first_cohort(terms), chain, START, frozenset(SIX[:5])) == ("head:a",)
    assert openable(first_cohort(terms), chain, "d" * 64, frozenset(SIX[:5])) == ("trunk", "head:a")


def test_who_knows_of_an_earlier_sum_is_enough_to_stop_it() -> None:
    """Only members of the other study know its lists; they are all but the victim, so no t others are left to sign."""
    terms: Terms = make_terms(6)
    opened: Lists = {"trunk": (frozenset(SIX[1:]),)}
    stage = Stage(terms, earlier=dict.fromkeys(SIX[1:], opened))
    willing = []
    for party in SIX:
        try:
            stage.show(party, stage.keys())
        except RemoteProtocolError:
            continue
        willing.append(party)
    assert willing == [VICTIM]
    assert len(willing) + terms.max_colluders < terms.threshold
