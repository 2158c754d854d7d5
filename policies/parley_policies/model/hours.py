"""Hours of the day in which a party's service may work, in a named time zone.

>>> from datetime import UTC, datetime
>>> Hours.parse("20:00-06:00 Europe/Berlin").include(datetime(2027, 1, 1, 23, 0, tzinfo=UTC))
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FORM: Final = re.compile(r"(\d{2}:\d{2})-(\d{2}:\d{2}) ([A-Za-z][A-Za-z0-9_+/-]{0,60})")
_WANTED: Final = 'hours as "HH:MM-HH:MM Area/City", such as "20:00-06:00 Europe/Berlin"'


@dataclass(frozen=True, slots=True)
class Hours:
    """From `begin` (included) to `end` (not included) in `zone`; past midnight where `end` is not after `begin`."""

    begin: time
    end: time
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> Hours:
        """Parse `HH:MM-HH:MM Area/City`; ValueError says what was wanted. Equal ends are refused: whole days need no clause."""
        match = _FORM.fullmatch(text)
        if not match:
            raise ValueError(f"wanted {_WANTED}, got {text!r}")
        begin, end, zone = match.groups()
        try:
            hours = cls(time.fromisoformat(begin), time.fromisoformat(end), ZoneInfo(zone))
        except (ValueError, ZoneInfoNotFoundError, OSError) as error:  # OSError: a folder of the time zone database
            raise ValueError(f"wanted {_WANTED} with a time and a zone that exist, got {text!r}") from error
        if hours.begin == hours.end:
            raise ValueError(f"wanted two different times, got {text!r}; leave hours out for any hour")
        return hours

    def include(self, now: datetime) -> bool:
        """Whether `now`, an aware time, falls inside."""
        local = now.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end
