"""The world of the liveness check: an honest gateway, one malicious member (or none), and members that crash at any time.

The gateway keeps its own rules: one list a round; RELEASE only while it has sent no certificate, and no certificate after it; an amendment
only between rounds, and members are asked to bind themselves only when all have accepted. What the malicious member gives or withholds is
its choice; a crashed member is one that takes no step, and comes back with its records. Members take their steps by the real rules, as in
`members`; this world only says which of them the gateway's messages ask for. Records that allow the same from here on are one.

A goal is reached *by the live ones* if there is a way to it on which only they and the gateway move: the malicious member gives nothing
more, and the others stay away.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum, unique
from functools import cache
from itertools import combinations
from typing import NamedTuple

from tests.model.adversary import Size
from tests.model.automaton import merged
from tests.model.members import Act, Guard, Kind, Member, Room, steps
from tests.model.openings import STAYS

ROOM = Room((1, 2, 3), ("a",), ("new",))
FIRST, SECOND, UNDER_NEW = ROOM.rounds
Local = int
Label = tuple[Act, int]


@unique
class At(StrEnum):
    """What the gateway is doing."""

    COLLECT = "collect"
    CONFIRM = "confirm"
    REVEAL = "reveal"  # it has sent the certificate
    RELEASE = "release"  # it asks for RELEASE
    OPENED = "opened"
    RELEASED = "released"
    AMEND = "amend"  # all have accepted; it asks members to bind themselves


ASKED = {
    At.COLLECT: frozenset({Act.ENTER, Act.UPLOAD}),
    At.CONFIRM: frozenset({Act.UPLOAD, Act.SIGN}),
    At.REVEAL: frozenset({Act.SIGN, Act.REVEAL}),
    At.RELEASE: frozenset({Act.RELEASE}),
    At.OPENED: frozenset(),
    At.RELEASED: frozenset(),
    At.AMEND: frozenset({Act.AMEND}),
}
COUNTED = {At.CONFIRM: Kind.SIGNED, At.REVEAL: Kind.REVEALED, At.RELEASE: Kind.DESTROYED, At.AMEND: Kind.AMENDED}


class Town(NamedTuple):
    """One state: where the gateway is, the honest members in order of their numbers, and whether the malicious one gives what is asked."""

    at: At
    number: int
    members: tuple[Local, ...]
    gives: bool = False


class Records:
    """All records of one member, and its steps by what is done in which round. The rest says what the gateway sees of it."""

    def __init__(self) -> None:
        numbers, records, moves = {STAYS: 0}, [STAYS], list[tuple[tuple[Label, int], ...]]()
        for record in records:  # grows while it is read
            found: list[tuple[Label, int]] = []
            for step in steps(record, ROOM):
                if step.act in {Act.GIVE_UP, Act.SEE_OPENED}:  # an honest gateway gives no cause for the one, and the other ends it
                    continue
                if step.after not in numbers:
                    numbers[step.after] = len(records)
                    records.append(step.after)
                found.append(((step.act, step.number), numbers[step.after]))
            moves.append(tuple(found))
        first, self.moves = merged(moves, [_seen(record) for record in records])
        self.members = [records[state] for state in first]
        faces: dict[object, int] = {}
        self.face = [faces.setdefault(_seen(member), local) for local, member in enumerate(self.members)]

    @cache  # noqa: B019 - one instance lives as long as the tests
    def gave(self, local: Local, guard: Guard) -> bool:
        """Whether this member gave that."""
        return self.members[local].gave(guard)

    def runs(self, local: Local, number: int) -> bool:
        """Whether it ran SHARE of this round and holds its shares."""
        promise = self.members[local].promise(number)
        return promise is not None and not promise.destroyed

    def out(self, local: Local, number: int) -> bool:
        """Whether its update of this round is out."""
        promise = self.members[local].promise(number)
        return promise is not None and promise.out


def _seen(record: Member) -> object:
    """What an honest gateway can ever see of a member again: its newest round, and the amendment that it signed."""
    if not record.rounds:
        return record.amendment
    newest = record.rounds[-1]
    return record.amendment, (newest.round, newest.out, newest.signed, newest.revealed_for, newest.destroyed)


class Federation:
    """An honest gateway over n members, of which `size.held` is malicious; it goes on after a released round unless told not to."""

    def __init__(self, size: Size, records: Records, *, goes_on: bool = True) -> None:
        self.size, self.records, self.goes_on = size, records, goes_on
        self.start = Town(At.COLLECT, FIRST, (0,) * (size.members - size.held))
        self._reached: dict[object, dict[Town, bool]] = {}

    def needed(self, town: Town) -> int:
        """How many members, the malicious one among them if it gives, the gateway needs at this point."""
        return self.size.threshold if town.at is At.COLLECT else self.size.honest_needed(self._guard(town)) + self.size.held

    def _guard(self, town: Town) -> Guard:
        match COUNTED[town.at]:
            case Kind.AMENDED:
                return Guard(Kind.AMENDED, name="new")
            case Kind.DESTROYED:
                return Guard(Kind.DESTROYED, town.number)
            case kind:
                return Guard(kind, town.number, "a")

    def _enough(self, town: Town) -> bool:
        if town.at is At.COLLECT:
            given = sum(self.records.out(local, town.number) for local in town.members)
        else:
            given = sum(self.records.gave(local, self._guard(town)) for local in town.members)
        return given + town.gives >= self.needed(town)

    def gateway_steps(self, town: Town) -> Iterator[Town]:
        """Yield what the gateway may do next."""
        match town.at:
            case At.COLLECT | At.CONFIRM:
                if self._enough(town):
                    yield Town(At.CONFIRM if town.at is At.COLLECT else At.REVEAL, town.number, town.members)
                yield Town(At.RELEASE, town.number, town.members)
            case At.REVEAL | At.RELEASE if self._enough(town):
                yield Town(At.OPENED if town.at is At.REVEAL else At.RELEASED, town.number, town.members)
            case At.RELEASED if town.number == FIRST and self.goes_on:
                yield Town(At.COLLECT, SECOND, town.members)
                yield Town(At.AMEND, FIRST, town.members)
            case At.AMEND if self._enough(town):
                yield Town(At.COLLECT, UNDER_NEW, town.members)
            case _:
                return

    def member_steps(self, town: Town, who: tuple[int, ...]) -> Iterator[Town]:
        """Yield what those members may do at the gateway's asking; whoever comes back is first shown how earlier rounds ended."""
        for index in who:
            for (act, number), to in self.records.moves[town.members[index]]:
                now = act in ASKED[town.at] and (number == town.number or act is Act.AMEND)
                late = act is Act.SEE_RELEASED and number == FIRST and (town.number != FIRST or town.at is At.AMEND)
                if now or late:
                    yield town._replace(members=tuple(sorted((*town.members[:index], to, *town.members[index + 1 :]))))

    def reachable(self) -> set[Town]:
        """Return all states; whether the malicious member gives what is asked is open in each phase."""
        everyone = tuple(range(len(self.start.members)))
        known, todo = {self.start}, [self.start]
        for town in todo:  # grows while it is read
            gives = [town._replace(gives=True)] if self.size.held and not town.gives else []
            for after in (*self.gateway_steps(town), *self.member_steps(town, everyone), *gives):
                if after not in known:
                    known.add(after)
                    todo.append(after)
        return known

    def reaches(self, town: Town, live: tuple[int, ...], goal: frozenset[tuple[At, int]]) -> bool:
        """Whether the members at these places and the gateway alone can come to a state of `goal`; of the others only the face counts."""
        alive = tuple(town.members[index] for index in live)
        idle = tuple(sorted(self.records.face[local] for index, local in enumerate(town.members) if index not in live))
        return self._search(town._replace(members=alive), idle, self._reached.setdefault((idle, goal), {}), goal)

    def _search(self, start: Town, idle: tuple[Local, ...], reached: dict[Town, bool], goal: frozenset[tuple[At, int]]) -> bool:
        """Search depth first; `reached` keeps what is known of states on the way."""
        everyone = tuple(range(len(start.members)))
        before: dict[Town, Town | None] = {start: None}
        todo = [start]
        while todo:
            town = todo.pop()
            if (town.at, town.number) in goal or reached.get(town):
                way: Town | None = town
                while way is not None:
                    reached[way], way = True, before[way]
                return True
            if town in reached:
                continue
            moved = [after._replace(members=town.members) for after in self.gateway_steps(town._replace(members=town.members + idle))]
            for after in (*moved, *self.member_steps(town, everyone)):
                if after not in before:
                    before[after] = town
                    todo.append(after)
        reached.update(dict.fromkeys(before, False))
        return False

    def live_sets(self, town: Town, least: int) -> Iterator[tuple[int, ...]]:
        """Yield each set of `least` live members, one of each sort; once the certificate was sent, of those that ran SHARE of the round."""
        able = [index for index, local in enumerate(town.members) if town.at is not At.REVEAL or self.records.runs(local, town.number)]
        sorts = {tuple(town.members[index] for index in live): live for live in combinations(able, least)}
        yield from sorts.values()
