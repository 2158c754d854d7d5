"""How often somebody may ask: a token bucket a name. What moves a round on gives its token back, so that a round is never slowed.

>>> limiter = RateLimiter(per_second=1, burst=2)
>>> [limiter.take("a", now) for now in (0.0, 0.0)]
[None, None]
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from parley_protocol.problems import Slug
from parley_service.errors import RequestError

NAMES: Final = 10_000  # remembered; the longest unused is forgotten first


class RateLimiter:
    """Buckets that fill by `per_second` up to `burst`. Time is an argument (seconds)."""

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_second: Final = per_second
        self._burst: Final = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (tokens, when)

    def take(self, name: str, now: float) -> None:
        """Take a token; RequestError (429) if there is none."""
        tokens, since = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - since) * self._per_second)
        if tokens < 1:
            self._buckets[name] = (tokens, now)
            raise RequestError(
                f"{name}: too many requests", problem=Slug.RATE_LIMITED, wanted=f"at most {self._per_second:g} a second", got="more"
            )
        self._buckets[name] = (tokens - 1, now)
        if len(self._buckets) > NAMES:
            self._buckets.popitem(last=False)

    def give_back(self, name: str) -> None:
        """Give a token back: the request moved something on."""
        if name in self._buckets:
            tokens, since = self._buckets[name]
            self._buckets[name] = (min(self._burst, tokens + 1), since)
