"""What one member has bound itself to in a round, and what that still allows: the rules behind "one opened list per base version".

A `Promise` is one member's record of one round: whether its update is out, which list it signed, for which list it revealed, whether it
destroyed its shares. Every step returns the next record or raises and changes nothing; the member writes the record down before anything
leaves. The module knows no message and no key: the state machines of rounds and amendments ask it, and an exhaustive model check drives
exactly this code (protocol.md, invariant 3).

Why it holds, with n members, c of them conspiring, thresholds 2t > n + c and 2q > n + c:
 1. A member signs one list a round, and none once it destroyed its shares: two lists of one round would need 2t > n + c signers, so never
 both are certified.
 2. It reveals only for the list it signed, and never after it destroyed its shares; it never destroys shares after revealing.
 3. Before it enters another round, or signs an amendment, each earlier round is over for it. One in which its update is out or a list is
 signed is over only with proof that it can never be opened: statements of at least n - t + c + 1 members that they destroyed their shares,
 so at most t - 1 shares are left, the conspirators' among them. One in which neither is so is given up, and its shares destroyed: it must
 not come back to it and sign. So no member signs lists of two rounds that can both be opened, and two certified lists share a signer.
 4. It signs one amendment per agreement; after that it enters no round of the agreement.

    >>> promise = Promise(1).uploaded().confirmed("list a")
    >>> promise.confirmed("list b")
    Traceback (most recent call last):
    parley_protocol.errors.RemoteProtocolError: round 1: wanted the survivor list that we signed, got another one for this base version
    >>> releases_needed(members=4, threshold=3, colluders=1)
    3
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from parley_protocol.errors import LocalProtocolError, RemoteProtocolError


def releases_needed(*, members: int, threshold: int, colluders: int) -> int:
    """Return how many members must have destroyed their shares so that fewer than `threshold` shares are left, whoever conspires.

    Of n - t + c + 1 statements at least n - t + 1 are honest, so at most t - 1 of the n shares of any secret are left.
    """
    return members - threshold + colluders + 1


@dataclass(frozen=True, slots=True)
class Promise:
    """One member's record of one round. Lists are named by their digests."""

    round: int
    out: bool = False  # an update of this round was sealed: it may have left
    signed: str | None = None  # the list it signed at CONFIRM
    revealed_for: str | None = None
    destroyed: bool = False  # it said RELEASE: its shares are gone
    released: bool = False  # it saw the proof that nobody can open this round
    opened: bool = False  # the round's certificate stands in the chain

    @property
    def is_over(self) -> bool:
        """Whether nothing of ours in this round can be opened any more that is not opened, and we give nothing more for it."""
        return self.released or self.opened or (self.destroyed and not (self.out or self.signed))

    def uploaded(self) -> Promise:
        """Seal an update."""
        self._check_open("an update")
        return replace(self, out=True)

    def confirmed(self, listed: str) -> Promise:
        """Sign a survivor list; the same one again is allowed."""
        self._check_open("a survivor list")
        if self.signed not in {None, listed}:
            raise RemoteProtocolError(f"round {self.round}: wanted the survivor list that we signed, got another one for this base version")
        return replace(self, signed=listed)

    def revealed(self, listed: str) -> Promise:
        """Reveal shares for a certified list."""
        self._check_open("a certificate")
        if listed != self.signed or self.revealed_for not in {None, listed}:
            raise RemoteProtocolError(f"round {self.round}: the certificate is on another list than the one we checked and signed")
        return replace(self, revealed_for=listed)

    def given_up(self) -> Promise:
        """Leave a round in which nothing was sealed or signed: its shares are destroyed, as must be before another round is entered."""
        if self.out or self.signed:
            raise LocalProtocolError(f"round {self.round}: an update or a signature is out; wanted it finished or released, not given up")
        return replace(self, destroyed=True)

    def released_by_me(self) -> Promise:
        """Destroy the shares and say so; the same again is allowed."""
        if self.revealed_for is not None:
            raise RemoteProtocolError(f"round {self.round}: we have revealed for its list; it can only be finished")
        if self.opened:
            raise RemoteProtocolError(f"round {self.round}: it is opened, there is nothing to release")
        return replace(self, destroyed=True)

    def proven_released(self) -> Promise:
        """Take note of the proof that this round can never be opened."""
        if self.opened:
            raise RemoteProtocolError(f"round {self.round}: said to be released, but it stands in the chain of certificates")
        return replace(self, destroyed=True, released=True)

    def certified(self) -> Promise:
        """Take note that the round's certificate stands in the chain and its sums are open."""
        if self.released:
            raise RemoteProtocolError(f"round {self.round}: said to be opened, but enough members destroyed their shares")
        return replace(self, opened=True)

    def _check_open(self, what: str) -> None:
        if self.destroyed:
            raise RemoteProtocolError(f"round {self.round}: got {what}, but our shares of it are destroyed")
        if self.opened:
            raise RemoteProtocolError(f"round {self.round}: got {what}, but it is opened already")


def check_may_enter(number: int, earlier: Iterable[Promise], amendment: str | None) -> None:
    """Return if a member with these records of one agreement may enter round `number`; LocalProtocolError says what stands against it."""
    if amendment is not None:
        raise LocalProtocolError(f"round {number}: we signed amendment {amendment[:16]}…, so no other round of this agreement is entered")
    for promise in earlier:
        if promise.round >= number:
            raise LocalProtocolError(f"round {number}: wanted a round after {promise.round}")
        if not promise.is_over:
            raise LocalProtocolError(
                f"round {number}: wanted round {promise.round} finished, released or given up first: it may yet be opened with our help"
            )


def check_may_amend(amendment: str, signed: str | None, rounds: Iterable[Promise]) -> None:
    """Return if a member may sign `amendment` of an agreement with these rounds; LocalProtocolError says what stands against it."""
    if signed not in {None, amendment}:
        raise LocalProtocolError(f"amendment {amendment[:16]}…: we signed another one ({signed[:16]}…) of this agreement")
    for promise in rounds:
        if not promise.is_over:
            raise LocalProtocolError(f"amendment {amendment[:16]}…: round {promise.round} must be finished, released or given up first")
