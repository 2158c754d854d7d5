"""Invariant 3 in a member's own record of a round: the rules that hold even where another check would have refused before.

Each attack asks a record for what would let two lists of one base version open, or two agreements go on from one. What asking gains the
adversary is asserted by the attacks over whole rounds (`test_attacks_one_list`, `test_attacks_release`).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_protocol import promises
from parley_protocol.errors import ProtocolError
from parley_protocol.promises import Promise, check_may_amend, check_may_enter, releases_needed

from tests.attacks.guards import Attack, Guard, check_mutations, check_refused

SEALED = Promise(1).uploaded()
SIGNED = SEALED.confirmed("a list")
REVEALED = SIGNED.revealed("a list")
RELEASED = SIGNED.released_by_me()
PROVEN = RELEASED.proven_released()
OPENED = REVEALED.certified()


def sign_a_second_list() -> None:
    assert SIGNED.confirmed("another list").signed == "another list"


def reveal_for_a_list_that_it_did_not_sign() -> None:
    assert SIGNED.revealed("another list").revealed_for == "another list"


def reveal_for_a_second_list() -> None:
    """Its own signature on both: as if the first check were gone."""
    changed = Promise(1, out=True, signed="another list", revealed_for="a list")
    assert changed.revealed("another list").revealed_for == "another list"


def release_after_revealing() -> None:
    assert REVEALED.released_by_me().destroyed


def release_an_opened_round() -> None:
    opened_by_others = SIGNED.certified()
    assert opened_by_others.released_by_me().destroyed


def believe_an_opened_round_released() -> None:
    assert OPENED.proven_released().released


def believe_a_released_round_opened() -> None:
    assert PROVEN.certified().opened


def seal_after_releasing() -> None:
    assert Promise(1).released_by_me().uploaded().out


def sign_after_releasing() -> None:
    assert SEALED.released_by_me().confirmed("a list").signed == "a list"


def reveal_after_releasing() -> None:
    assert RELEASED.revealed("a list").revealed_for == "a list"


def enter_beside_a_signed_amendment() -> None:
    check_may_enter(2, [], "a" * 64)


def enter_a_round_that_it_released() -> None:
    """Its word stands in a proof that the round can never be opened."""
    check_may_enter(2, [Promise(2).released_by_me()], None)


def enter_an_earlier_round() -> None:
    check_may_enter(1, [PROVEN, Promise(2).given_up()], None)


def enter_with_an_update_out() -> None:
    check_may_enter(2, [SEALED], None)


def enter_with_a_list_signed() -> None:
    check_may_enter(2, [Promise(1).confirmed("a list")], None)


def enter_after_releasing_without_the_proof() -> None:
    check_may_enter(2, [RELEASED], None)


def enter_holding_shares_of_a_round_before() -> None:
    check_may_enter(2, [Promise(1)], None)


def give_up_with_an_update_out() -> None:
    assert SEALED.given_up().destroyed


def give_up_with_a_list_signed() -> None:
    assert Promise(1).confirmed("a list").given_up().destroyed


def sign_in_an_opened_round() -> None:
    assert Promise(1).certified().confirmed("a list").signed


def sign_two_amendments() -> None:
    check_may_amend("b" * 64, "a" * 64, [])


def amend_with_an_update_out() -> None:
    check_may_amend("a" * 64, None, [SEALED])


def guard(function: str, words: str, operand: str = "") -> tuple[Guard]:
    return (Guard(promises if function.startswith("check_may") else Promise, function, words, operand),)


FINISHED, SECOND, OTHER = "finished, released or given up first", "the survivor list that we signed", "on another list than the one we"
FINISH_ONLY, NOTHING_TO, STANDS, ENOUGH = "can only be finished", "nothing to release", "stands in the chain", "destroyed their shares"
OUT, ALREADY, ENDED = "an update or a signature is out", "but it is opened already", "finished, released or given up"
GONE, AMENDED, AFTER, TWO = "our shares of it are destroyed", "we signed amendment", "wanted a round after", "we signed another one"
ATTACKS = (
    Attack("second list", sign_a_second_list, SECOND, guard("confirmed", SECOND)),
    Attack("revealed unsigned", reveal_for_a_list_that_it_did_not_sign, OTHER, guard("revealed", OTHER, "self.signed")),
    Attack("revealed twice", reveal_for_a_second_list, OTHER, guard("revealed", OTHER, "self.revealed_for")),
    Attack("released after reveal", release_after_revealing, FINISH_ONLY, guard("released_by_me", FINISH_ONLY)),
    Attack("released when open", release_an_opened_round, NOTHING_TO, guard("released_by_me", NOTHING_TO)),
    Attack("opened, said released", believe_an_opened_round_released, STANDS, guard("proven_released", STANDS)),
    Attack("released, said opened", believe_a_released_round_opened, ENOUGH, guard("certified", ENOUGH)),
    Attack("sealed after release", seal_after_releasing, GONE, guard("_check_open", GONE)),
    Attack("signed after release", sign_after_releasing, GONE, guard("_check_open", GONE)),
    Attack("revealed after release", reveal_after_releasing, GONE, guard("_check_open", GONE)),
    Attack("beside an amendment", enter_beside_a_signed_amendment, AMENDED, guard("check_may_enter", AMENDED)),
    Attack("entered after release", enter_a_round_that_it_released, AFTER, guard("check_may_enter", AFTER)),
    Attack("entered backwards", enter_an_earlier_round, AFTER, guard("check_may_enter", AFTER)),
    Attack("update out", enter_with_an_update_out, FINISHED, guard("check_may_enter", FINISHED)),
    Attack("list signed", enter_with_a_list_signed, FINISHED, guard("check_may_enter", FINISHED)),
    Attack("no proof", enter_after_releasing_without_the_proof, FINISHED, guard("check_may_enter", FINISHED)),
    Attack("shares kept", enter_holding_shares_of_a_round_before, FINISHED, guard("check_may_enter", FINISHED)),
    Attack("given up when out", give_up_with_an_update_out, OUT, guard("given_up", OUT, "self.out")),
    Attack("given up when signed", give_up_with_a_list_signed, OUT, guard("given_up", OUT, "self.signed")),
    Attack("signed when open", sign_in_an_opened_round, ALREADY, guard("_check_open", ALREADY)),
    Attack("two amendments", sign_two_amendments, TWO, guard("check_may_amend", TWO)),
    Attack("amended with update out", amend_with_an_update_out, ENDED, guard("check_may_amend", ENDED)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_a_record_does_not_allow_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_it_is_allowed(attack: Attack) -> None:
    check_mutations(attack)


STEPS = st.sampled_from(["upload", "confirm a", "confirm b", "reveal a", "reveal b", "release", "give up", "prove", "certify"])


STEPPED: dict[str, Callable[[Promise, str], Promise]] = {
    "upload": lambda promise, _: promise.uploaded(),
    "confirm": lambda promise, listed: promise.confirmed(listed),
    "reveal": lambda promise, listed: promise.revealed(listed),
    "release": lambda promise, _: promise.released_by_me(),
    "give": lambda promise, _: promise.given_up(),
    "prove": lambda promise, _: promise.proven_released(),
    "certify": lambda promise, _: promise.certified(),
}


def stepped(promise: Promise, step: str) -> Promise:
    verb, _, listed = step.partition(" ")
    return STEPPED[verb](promise, listed)


@given(st.lists(STEPS, max_size=12))
def test_no_sequence_of_steps_leaves_what_a_member_owes(steps: list[str]) -> None:
    """Whatever is asked in whatever order: one list signed, revealed for it alone, and never both revealed and destroyed by one's word."""
    promise, said = Promise(1), set()
    for step in steps:
        try:
            promise = stepped(promise, step)
        except ProtocolError:
            continue
        said.add(step)
        said |= {"destroyed"} if promise.destroyed else set()
    assert not {"confirm a", "confirm b"} <= said
    assert not {"reveal a", "reveal b"} <= said
    assert not (said & {"reveal a", "reveal b"} and "release" in said)
    assert not (said & {"reveal a"} and "confirm a" not in said)
    assert not {"prove", "certify"} <= said
    owes = said & {"upload", "confirm a", "confirm b"}
    assert promise.is_over == bool({"prove", "certify"} & said or (said & {"release", "give up"} and not owes))


@given(st.integers(3, 60), st.data())
def test_as_many_releases_as_are_needed_leave_fewer_than_t_shares(members: int, data: st.DataObject) -> None:
    """Also if all colluders among those who released kept theirs."""
    colluders = data.draw(st.integers(0, members // 2))
    threshold = data.draw(st.integers((members + colluders) // 2 + 1, members))
    needed = releases_needed(members=members, threshold=threshold, colluders=colluders)
    assert members - (needed - colluders) == threshold - 1
    if needed - 1 >= colluders:  # with one statement less t shares may be left
        assert members - (needed - 1 - colluders) >= threshold
