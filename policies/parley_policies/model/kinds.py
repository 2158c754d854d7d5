"""The kinds of values that clauses hold: identifiers, digests, countries, roles, segments."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field
from pydantic_core import PydanticCustomError

BROKEN_RULE: Final = "parley_rule"

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,30}:\S.{0,198}$")]  # dpv:, DUO:, MONDO:, eu-gdpr:, text:
Fingerprint = Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
Country = Annotated[str, Field(pattern=r"^([A-Z]{2}|EEA)$")]  # ISO 3166-1 alpha-2, or the groups EU and EEA
Peer = Annotated[str, Field(pattern=r"^(class:[a-z][a-z0-9-]{0,62}|[a-z0-9][a-z0-9-]{0,62})$")]  # a class, or one party
Role = Annotated[str, Field(pattern=r"^role:[a-z][a-z0-9-]{0,62}$")]
Column = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Dataset = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Workload = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}@[1-9][0-9]{0,3}$")]  # name@version
SegmentPattern = Annotated[str, Field(pattern=r"^[a-z]+(:([a-z0-9_]{1,63}|\*))?$", max_length=80)]  # a segment, or `head:*`
Words = Annotated[str, Field(min_length=1, max_length=400)]
Portion = Annotated[float, Field(ge=0, le=1)]
Natural = Annotated[int, Field(ge=0)]
Whole = Annotated[int, Field(ge=1)]


def broken_rule(field: str, wanted: str, got: object) -> PydanticCustomError:
    """Return the error with which a validator names a field, what was wanted and what was got."""
    template = "{field}: wanted {wanted}, got {got}"
    return PydanticCustomError(BROKEN_RULE, template, {"field": field, "wanted": wanted, "got": str(got)})  # type: ignore[arg-type, unused-ignore]  # a literal above


def best_match(patterns: dict[str, int] | dict[str, bool], segment: str) -> int | bool | None:
    """Return the entry for a segment: its own name first, then its kind's wildcard (`head:*`), else None."""
    if segment in patterns:
        return patterns[segment]
    return patterns.get(segment.partition(":")[0] + ":*")
