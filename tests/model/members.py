"""One honest member of the model: every step it can take on one base version, each taken by `parley_protocol.promises` itself.

What stands here decides nothing: it offers each step to the real `Promise`, `check_may_enter` and `check_may_amend`, and keeps what they
let pass. Rounds 1 and 2 run under the agreement, round 3 under the amendment `new`, round 4 under another one, `other`; all are computed
from the same base version. A step may wait for something that the gateway must be able to show, which is a `Guard`: t signatures on a list,
enough members' word that they destroyed their shares, q signatures on an amendment. A guard counts honest members only; what conspirators
add is the threshold's business. Counts only grow, so what could be shown once can be shown for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from functools import partial

from parley_protocol import promises
from parley_protocol.errors import ProtocolError
from parley_protocol.promises import Promise

AGREEMENT, NEW, OTHER = "agreement", "new", "other"
RULED_BY = {1: AGREEMENT, 2: AGREEMENT, 3: NEW, 4: OTHER}


@unique
class Kind(StrEnum):
    """What honest members give away, for the adversary to count."""

    SIGNED = "signed"  # a signature on a list
    REVEALED = "revealed"  # its shares for a list
    DESTROYED = "destroyed"  # RELEASE: its shares of a round are gone
    AMENDED = "amended"  # a signature on an amendment
    BEGUN = "begun"  # the first list of a round was signed by somebody: lists are named in the order they are signed in


@unique
class Act(StrEnum):
    """What a member may do."""

    ENTER = "enters"
    UPLOAD = "uploads in"
    SIGN = "signs a list of"
    REVEAL = "reveals in"
    GIVE_UP = "gives up"
    RELEASE = "releases"
    SEE_RELEASED = "sees proof that nobody can open"
    SEE_OPENED = "sees opened"
    AMEND = "signs an amendment at"


@dataclass(frozen=True, slots=True)
class Guard:
    """Something the gateway must be able to show: enough members gave `kind` for round `number` and `name`."""

    kind: Kind
    number: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """What a check is about: which rounds may be opened, which lists may be shown, which amendments may be signed."""

    rounds: tuple[int, ...] = (1, 2)
    lists: tuple[str, ...] = ("a", "b")
    amendments: tuple[str, ...] = ()
    uploads: bool = True

    def counts(self) -> tuple[Guard, ...]:
        """Everything that a member may give away here."""
        listed = [Guard(kind, number, name) for kind in (Kind.SIGNED, Kind.REVEALED) for number in self.rounds for name in self.lists]
        gone = [Guard(Kind.DESTROYED, number) for number in self.rounds]
        return (*listed, *gone, *(Guard(Kind.AMENDED, name=name) for name in self.amendments))


@dataclass(frozen=True, slots=True)
class Member:
    """One honest member: its promises in the order of rounds, the amendment it signed, and all that it ever gave away."""

    agreements: frozenset[str]  # those that it is a member of
    rounds: tuple[Promise, ...] = ()
    amendment: str | None = None
    given: frozenset[Guard] = frozenset()  # what the adversary has from it

    def promise(self, number: int) -> Promise | None:
        """Its record of a round."""
        return next((promise for promise in self.rounds if promise.round == number), None)

    def gave(self, what: Guard) -> bool:
        """Whether the adversary has got this from it, whatever its records say now."""
        return what in self.given

    def having(self, after: Promise) -> Member:
        """The member with this record in place of the round's former one."""
        others = [promise for promise in self.rounds if promise.round != after.round]
        rounds = tuple(sorted([*others, after], key=lambda promise: promise.round))
        return replace(self, rounds=rounds, given=self.given | frozenset(_given(after)))

    def bound_to(self, amendment: str) -> Member:
        """The member after it signed an amendment."""
        return replace(self, amendment=amendment, given=self.given | {Guard(Kind.AMENDED, name=amendment)})


def _given(promise: Promise) -> Iterator[Guard]:
    if promise.signed is not None:
        yield Guard(Kind.SIGNED, promise.round, promise.signed)
    if promise.revealed_for is not None:
        yield Guard(Kind.REVEALED, promise.round, promise.revealed_for)
    if promise.destroyed:
        yield Guard(Kind.DESTROYED, promise.round)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what must be shown first (None: nothing), what is done in which round, and the member after it."""

    guard: Guard | None
    act: Act
    number: int
    after: Member


def steps(member: Member, room: Room) -> Iterator[Step]:
    """Yield each step that the rules let the member take."""
    for number in room.rounds:
        if RULED_BY[number] in member.agreements:
            promise = member.promise(number)
            yield from _first_steps(member, number) if promise is None else _round_steps(member, promise, room)
    yield from _amendment_steps(member, room)


def _round_steps(member: Member, promise: Promise, room: Room) -> Iterator[Step]:
    number = promise.round
    tries: list[tuple[Guard | None, Act, Callable[[], Promise]]] = [
        (None, Act.GIVE_UP, promise.given_up),
        (None, Act.RELEASE, promise.released_by_me),
        (Guard(Kind.DESTROYED, number), Act.SEE_RELEASED, promise.proven_released),
    ]
    if room.uploads:
        tries.append((None, Act.UPLOAD, promise.uploaded))
    for index, name in enumerate(room.lists):
        certificate = Guard(Kind.SIGNED, number, name)
        tries += [
            (Guard(Kind.BEGUN, number, room.lists[index - 1]) if index else None, Act.SIGN, partial(promise.confirmed, name)),
            (certificate, Act.REVEAL, partial(promise.revealed, name)),
            (certificate, Act.SEE_OPENED, promise.certified),
        ]
    for guard, act, take in tries:
        try:
            after = take()
        except ProtocolError:
            continue
        if after != promise:
            yield Step(guard, act, number, member.having(after))


def _first_steps(member: Member, number: int) -> Iterator[Step]:
    """Enter a round, or give RELEASE for a round that it is not in.

    Rounds of an amendment only once that is shown to be in force, also for who signed another amendment, or none; then it follows it.
    """
    under = RULED_BY[number]
    released, entered = member.having(Promise(number).released_by_me()), member.having(Promise(number))
    if under in {AGREEMENT, member.amendment}:
        yield Step(None, Act.RELEASE, number, released)
    if any(promise.opened for promise in member.rounds):
        return  # its chain of certificates names the base version as spent
    try:
        promises.check_may_enter(number, member.rounds, member.amendment if under == AGREEMENT else None)
    except ProtocolError:
        return
    if under == AGREEMENT:
        yield Step(None, Act.ENTER, number, entered)
        return
    in_force = Guard(Kind.AMENDED, name=under)
    yield Step(in_force, Act.ENTER, number, replace(entered, amendment=under))
    yield Step(in_force, Act.RELEASE, number, replace(released, amendment=under))


def _amendment_steps(member: Member, room: Room) -> Iterator[Step]:
    """Sign an amendment that takes effect at a chain without this base version."""
    if AGREEMENT not in member.agreements or any(promise.opened for promise in member.rounds):
        return
    ruled = [promise for promise in member.rounds if RULED_BY[promise.round] == AGREEMENT]
    for name in room.amendments:
        try:
            promises.check_may_amend(name, member.amendment, ruled)
        except ProtocolError:
            continue
        if member.amendment != name:
            yield Step(None, Act.AMEND, 0, member.bound_to(name))
