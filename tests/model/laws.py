"""Laws on the records of one member, whatever it is shown: what the argument of `promises` rests on, and invariant 3 to the letter.

They are looked at on every step of the full graph, so also where a gateway could never show what the step needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from parley_protocol.promises import Promise

from tests.model.members import AGREEMENT, RULED_BY, Act, Kind, Member, Room, Step, steps


def broken_laws(start: Member, room: Room) -> set[str]:
    """Return the laws that some step breaks."""
    known, records, broken = {start}, [start], set[str]()
    for record in records:  # grows while it is read
        for step in steps(record, room):
            broken |= set(_broken(record, step))
            if step.after not in known:
                known.add(step.after)
                records.append(step.after)
    return broken


def _broken(before: Member, step: Step) -> Iterator[str]:
    after = step.after
    out = [promise for promise in after.rounds if promise.out]
    if any(not promise.released for promise in out[:-1]):
        yield "an update is sealed again only after proof that the one before can never be opened"
    signed = [promise for promise in after.rounds if promise.signed is not None]
    if any(not promise.released for promise in signed[:-1]):
        yield "a second list is signed only after proof that the first can never be opened"
    if sum(given.kind is Kind.AMENDED for given in after.given) > 1:
        yield "a member signs one amendment"
    if step.act is Act.ENTER and any(promise.round > step.number for promise in before.rounds):
        yield "rounds are entered in order"
    if step.act is Act.ENTER and RULED_BY[step.number] == AGREEMENT and before.amendment is not None:
        yield "after an amendment no round of the agreement is entered"
    was, now = before.promise(step.number), after.promise(step.number)
    if was is not None and now is not None:
        yield from _broken_in_round(was, now)
        if step.act is Act.RELEASE and (was.opened or was.revealed_for is not None):
            yield "who revealed, or saw the sums open, does not say RELEASE"


def _broken_in_round(was: Promise, now: Promise) -> Iterator[str]:
    gave = (now.out, now.signed, now.revealed_for) != (was.out, was.signed, was.revealed_for)
    if gave and was.destroyed:
        yield "nothing is given after the shares are destroyed"
    if gave and was.opened:
        yield "nothing is given once the round is opened"
    if was.signed not in {None, now.signed}:
        yield "a member signs one list a round"
    if was.revealed_for not in {None, now.revealed_for}:
        yield "a member reveals for one list a round"
    if now.revealed_for not in {None, now.signed}:
        yield "a member reveals for the list that it signed"
    if now.released and now.opened:
        yield "a round is not both opened and released"
