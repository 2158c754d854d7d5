"""The model check is not vacuous: each rule of `promises` is taken out in turn, and the check must find what then goes wrong.

A rule is caught by the world (two lists can be opened) or, where quorums alone still prevent that, by the law on records that it upholds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest
from parley_policies.negotiation import terms
from parley_protocol import promises
from parley_protocol.promises import Promise

from tests.attacks.guards import Guard, every_guard, removed
from tests.model.adversary import Size
from tests.model.laws import broken_laws
from tests.model.members import NEW, OTHER, Room
from tests.model.openings import AMENDED, REPLACED, STAYS, TWO_AMENDMENTS, TWO_ROUNDS, Change, unchanged, world

FOUR = unchanged(Size(4, 1, 1))
Mutate = Callable[[pytest.MonkeyPatch], None]
ONE_LIST = Room((1, 2), ("a",))
LATE = Room((1, 2, 3), ("a",), (NEW,))


@dataclass(frozen=True)
class Mutation:
    """A rule taken out; the law that is then broken (None: two lists can be opened), and where that is looked for."""

    name: str
    without: tuple[Guard, ...] | Mutate
    law: str | None = None
    room: Room = TWO_ROUNDS
    change: Change = FOUR

    def __str__(self) -> str:
        return self.name

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        if callable(self.without):
            self.without(patch)
            return
        for guard in self.without:
            patch.setattr(guard.owner, guard.function, removed(getattr(guard.owner, guard.function), [guard]))


def of(owner: type | ModuleType, function: str, words: str, operand: str = "") -> tuple[Guard]:
    return (Guard(owner, function, words, operand),)


def over(judge: Callable[[Promise], bool]) -> Mutate:
    return lambda patch: patch.setattr(Promise, "is_over", property(judge))


def fewer_releases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(promises, "releases_needed", lambda *, members, threshold, colluders: members - threshold + colluders)


def lower_threshold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(terms, "required_threshold", lambda members, colluders, *, gateway_may_lie: (members + colluders) // 2)  # noqa: ARG005


def not_given_up(promise: Promise) -> bool:
    return promise.released or promise.opened or not (promise.out or promise.signed)


ANOTHER = "the certificate is on another list"
SIGNS_AGAIN = of(Promise, "confirmed", "wanted the survivor list that we signed")
MUTATIONS = (
    Mutation("signs two lists", SIGNS_AGAIN, "a member signs one list a round"),
    Mutation("signs and reveals for two lists", SIGNS_AGAIN + of(Promise, "revealed", ANOTHER, "self.revealed_for not in {None, listed}")),
    Mutation(
        "reveals for a list it did not sign",
        of(Promise, "revealed", ANOTHER, "listed != self.signed"),
        "a member reveals for the list that it signed",
    ),
    Mutation("releases after it revealed", of(Promise, "released_by_me", "we have revealed for its list")),
    Mutation(
        "releases what is opened",
        of(Promise, "released_by_me", "there is nothing to release"),
        "who revealed, or saw the sums open, does not say RELEASE",
    ),
    Mutation("gives after it destroyed", of(Promise, "_check_open", "our shares of it are destroyed"), None, ONE_LIST),
    Mutation("gives after the opening", of(Promise, "_check_open", "it is opened already"), "nothing is given once the round is opened"),
    Mutation(
        "released although opened",
        of(Promise, "proven_released", "it stands in the chain of certificates"),
        "a round is not both opened and released",
    ),
    Mutation(
        "opened although released",
        of(Promise, "certified", "enough members destroyed their shares"),
        "a round is not both opened and released",
    ),
    Mutation("enters with a round unfinished", of(promises, "check_may_enter", "finished, released or given up first"), None, ONE_LIST),
    Mutation("enters behind a round", of(promises, "check_may_enter", "wanted a round after"), "rounds are entered in order"),
    Mutation("enters after an amendment", of(promises, "check_may_enter", "no other round of this agreement"), None, LATE, REPLACED),
    Mutation("signs two amendments", of(promises, "check_may_amend", "we signed another one"), None, TWO_AMENDMENTS, REPLACED),
    Mutation("amends with a round unfinished", of(promises, "check_may_amend", "given up first"), None, AMENDED, REPLACED),
    Mutation(
        "over though a list is signed",
        over(lambda promise: promise.released or promise.opened or (promise.destroyed and not promise.out)),
        "a second list is signed only after proof that the first can never be opened",
    ),
    Mutation(
        "over though an update is out",
        over(lambda promise: promise.released or promise.opened or (promise.destroyed and not promise.signed)),
        "an update is sealed again only after proof that the one before can never be opened",
    ),
    Mutation("enters though not given up", over(not_given_up), None, ONE_LIST),
    Mutation("amends though not given up", over(not_given_up), None, AMENDED, REPLACED),
    Mutation("one RELEASE too few", fewer_releases),
    Mutation("one signature too few", lower_threshold),
    Mutation("one signature too few on an amendment", lower_threshold, None, Room((3, 4), ("a",), (NEW, OTHER))),
)
# Rules that another one upholds too: without them alone nothing goes wrong.
BACKED = {
    ("given_up", "self.out"): "is_over does not take it for given up",
    ("given_up", "self.signed"): "is_over does not take it for given up",
}


def test_every_rule_has_its_mutation() -> None:
    guards = [guard for mutation in MUTATIONS if not callable(mutation.without) for guard in mutation.without]
    for function, message, operand in every_guard(promises):
        named = any(its.function == function and its.words in message and its.operand in operand for its in guards)
        assert named or (function, operand) in BACKED, (function, message, operand)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_without_its_rule_the_check_finds_a_violation(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.apply(monkeypatch)
    if mutation.law is None:
        assert world(mutation.room, mutation.change).check().violation
    else:
        assert mutation.law in broken_laws(STAYS, mutation.room)


@pytest.mark.parametrize("room", [TWO_ROUNDS, AMENDED, TWO_AMENDMENTS], ids=str)
def test_the_laws_hold(room: Room) -> None:
    assert broken_laws(STAYS, room) == set()
