"""Who is connected: a party is present while a request of it is open, and for a moment after the last one.

A long poll is a request, so a party that waits for messages is present, and one whose process died is not, as soon as its connection
ends. Time is an argument.

    >>> presence = Presence(started=100.0)
    >>> presence.enter("a", 100.0)
    >>> presence.is_present("a", 120.0), presence.is_present("b", 120.0)
    (True, False)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

LINGER_SECONDS: Final = 0.3  # between two requests of a party that is there


class Presence:
    """Open requests and last signs of life, by party. At the start every party counts as seen just now."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._open: Counter[str] = Counter()
        self._seen: dict[str, float] = {}

    def enter(self, party: str, now: float) -> None:
        """A request of `party` began."""
        self._open[party] += 1
        self._seen[party] = now

    def leave(self, party: str, now: float) -> None:
        """A request of `party` ended, in whatever way."""
        self._open[party] -= 1
        self._seen[party] = now

    def is_present(self, party: str, now: float) -> bool:
        """Whether the party is connected."""
        return self._open[party] > 0 or (party in self._seen and now - self._seen[party] <= LINGER_SECONDS)

    def present(self, parties: Iterable[str], now: float) -> frozenset[str]:
        """Return those of `parties` that are connected."""
        return frozenset(party for party in parties if self.is_present(party, now))

    def gone(self, parties: Iterable[str], now: float, grace: float) -> frozenset[str]:
        """Return those of `parties` that have not been connected for `grace` seconds."""
        return frozenset(party for party in parties if not self._open[party] and now - self._seen.get(party, self._started) >= grace)

    def seen(self, party: str) -> float | None:
        """Return when the party was last seen (unix seconds), None if not since the start."""
        return self._seen.get(party)
