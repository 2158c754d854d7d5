"""What a party that was restored from a backup must assume of a study: that it sent anything, in any round, since the backup was made.

A backup holds no round secrets and no memory of what came after it, and the gateway may lie about what that was. So a restored party

 1. enters no round up to the newest one that it can learn of when it comes back (`reached`; protocol.md, invariant 11);
 2. seals an update, and so signs a list, only in a round in which at least n - t + c + 1 **other** members answered the keys that it drew
    after the restore (`check_seal`);
 3. says RELEASE for no round but those in which it got past 2: "I sent no REVEAL" is what it cannot know (`check_release`);
 4. forgets 2 with the first certificate of a round in which it got past it (`passed`), and keeps 1 and 3 for what lies before.

Why 2 is enough for "one opened list per base version", with n members, c of them conspiring with the gateway, threshold t, 2t > n + c:
let this party have signed a list L for base version B before the restore, in any round. Of the members that answered its new keys in a
round on B at least n - t + 1 are honest. An honest member enters a round on B only if it signed no list for B, and then signs none of an
earlier round, or holds proof that the round of L can never be opened. In the first case at most t - 1 members, this party included, ever
sign L: it is never certified. The same argument with the round's number in place of B shows that a round that is offered again under its
old number is not the one that was.

The number is that of RELEASE statements (`promises.releases_needed`), for the same reason. It does not hold where only a neighbourhood
answers; what the limits are then is the caller's to say.

    >>> fence = Fence("heart", FenceState.RESTORED, round=3, since=0.0).reached(7)
    >>> fence.state.value, fence.round
    ('known', 7)
    >>> fence.check_release(8, sealed=False)
    Traceback (most recent call last):
    ...
    parley_protocol.errors.RemoteProtocolError: round 8: we were restored from a backup and do not know whether we revealed for it
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum, unique

from parley_policies.negotiation.terms import Terms
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.promises import releases_needed


@unique
class FenceState(StrEnum):
    """How far a restored party has come back."""

    RESTORED = "restored"  # it has not asked yet where the study stands
    KNOWN = "known"  # it knows, as far as it can be known, and may enter later rounds
    PASSED = "passed"  # a round that it entered afterwards was certified


@dataclass(frozen=True, slots=True)
class Fence:
    """The rule for one study. `round` is the newest that this party stays out of; `since`, when the backup was made (unix seconds)."""

    study: str
    state: FenceState
    round: int
    since: float

    def reached(self, newest: int) -> Fence:
        """Take note that the study has come to round `newest`, as far as this party can learn."""
        return replace(self, state=FenceState.KNOWN, round=max(self.round, newest))

    def passed(self, number: int) -> Fence:
        """Take note that round `number`, in which this party sealed an update after the restore, is certified."""
        return replace(self, state=FenceState.PASSED, round=max(self.round, number)) if self.holds else self

    @property
    def holds(self) -> bool:
        """Whether this party may have signed a list for its present base version without remembering it."""
        return self.state is not FenceState.PASSED

    def check_seal(self, terms: Terms, number: int, *, others: int) -> None:
        """Return if an update may be sealed in round `number`; `others` members answered this party's keys of that round.

        RemoteProtocolError otherwise: the round goes on without this party.
        """
        needed = releases_needed(members=len(terms.members), threshold=terms.threshold, colluders=terms.max_colluders)
        if self.holds and others < needed:
            raise RemoteProtocolError(
                f"round {number}, after a restore: wanted answers of at least {needed} other members to our new keys, got {others}"
            )

    def check_release(self, number: int, *, sealed: bool) -> None:
        """Return if this party may say that it sent no REVEAL for round `number`. `sealed`: it got past `check_seal` in it.

        RemoteProtocolError otherwise; the proof must then come from the other members.
        """
        if not sealed and (self.holds or number <= self.round):
            raise RemoteProtocolError(f"round {number}: we were restored from a backup and do not know whether we revealed for it")
