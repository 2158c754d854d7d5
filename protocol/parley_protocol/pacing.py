"""How often a sponsor may propose. Each proposal asks every invited party's policy a question, and the terms are an answer.

Whoever may ask without end learns by asking: another floor, another list of invited parties, another range. So proposals are counted, by
their sponsor and not by whom they invite (one party more would make another list). The gateway counts to spare everyone the work. Since it
may lie, each party counts for itself, and declines what is more: such a decline asks nothing of its policy and tells nothing of it.

    >>> check_pace("proposals of acme", [0.0, 60.0], (Pace(2, DAY_SECONDS, "a day"),), now=3_600.0)
    Traceback (most recent call last):
    ...
    parley_protocol.pacing.TooManyProposalsError: proposals of acme: wanted at most 2 a day, got one more, before 1970-01-02 00:00 UTC
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from parley_protocol.errors import ProtocolError
from parley_protocol.limits import ANSWERS_A_DAY, ANSWERS_A_MONTH, PROPOSALS_A_DAY, PROPOSALS_A_MONTH
from parley_protocol.problems import Slug

DAY_SECONDS: Final = 86_400
MONTH_SECONDS: Final = 30 * DAY_SECONDS


class TooManyProposalsError(ProtocolError):
    """A sponsor proposes more often than it may. `got` says when it may again."""

    usual_problem = Slug.TOO_MANY_PROPOSALS


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `most` in any `seconds`; `each` says so in words."""

    most: int
    seconds: int
    each: str


def paces(a_day: int, a_month: int) -> tuple[Pace, ...]:
    """Return the two limits of a sponsor: in any 24 hours and in any 30 days."""
    return Pace(a_day, DAY_SECONDS, "a day"), Pace(a_month, MONTH_SECONDS, "in 30 days")


OF_ONE_SPONSOR: Final = paces(PROPOSALS_A_DAY, PROPOSALS_A_MONTH)
OF_ALL_SPONSORS: Final = paces(ANSWERS_A_DAY, ANSWERS_A_MONTH)


def check_pace(what: str, earlier: Iterable[float], limits: Iterable[Pace], *, now: float) -> None:
    """Return if one more may come now (unix seconds), after those at the moments `earlier`; TooManyProposalsError says when it may."""
    times = sorted(earlier)
    over = []
    for limit in limits:
        counted = [at for at in times if at > now - limit.seconds]
        if len(counted) >= limit.most:
            over.append((counted[len(counted) - limit.most] + limit.seconds, limit))
    if over:
        again, limit = max(over, key=lambda found: found[0])
        moment = datetime.fromtimestamp(math.ceil(again / 60) * 60, UTC)  # told in minutes, never too early
        raise TooManyProposalsError(
            what,
            wanted=f"at most {limit.most} {limit.each}",
            got=f"one more, before {moment:%Y-%m-%d %H:%M} UTC",
            do=f"Propose again after {moment:%Y-%m-%d %H:%M} UTC.",
        )
