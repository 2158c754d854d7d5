"""`PrivacyPolicy`: what one party permits, schema `parley.policy/1`, the whole of it.

The whole schema parses; a clause that this version cannot uphold is no parse error, it makes the party refuse a study by name
(`unsupported`). Rules that span sections are here: every floor is at least 3 and at least the conspirators + 2, every segment that is
shared has a floor, and a purpose that is about a disease names one. No IO, no clock: whether a policy is in force is asked with a date.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, Field, model_validator
from pydantic.fields import FieldInfo

from parley_policies.model.conduct import Approval, Code, Limits, ModelUse, Retention
from parley_policies.model.kinds import broken_rule
from parley_policies.model.protection import DifferentialPrivacy, Disclosure, Robustness, Schemes, Sharing, Sums
from parley_policies.model.sections import Data, Gateway, Identity, Legal, Peers, Purpose
from parley_policies.model.upheld import Section, Value
from parley_policies.negotiation.terms import MIN_FLOOR

SCHEMA: Final = "parley.policy/1"
DISEASE_SPECIFIC: Final = "DUO:0000007"
HONEST_BESIDE_US: Final = 2  # a floor counts the conspirators, this party, and at least one honest other


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of a policy: `section.field`, the value in force, whether it was written, and what the field declares (`upheld`)."""

    name: str
    value: object
    written: bool
    field: FieldInfo

    @property
    def plain(self) -> object:
        """The value as plain data for JSON, dates as ISO text."""
        return _plain(self.value)


class PrivacyPolicy(Value):
    """One party's policy. Frozen; built by `loader.load_policy` and by nothing else outside tests."""

    schema_: Annotated[Literal["parley.policy/1"], Field(alias="schema", description="Kind and version of this file.")]
    identity: Identity
    legal: Legal = Legal()
    purpose: Purpose
    gateway: Gateway
    peers: Peers
    data: Data
    schemes: Schemes = Schemes()
    sums: Sums
    differential_privacy: DifferentialPrivacy
    sharing: Sharing = Sharing()
    disclosure: Disclosure = Disclosure()
    model_use: ModelUse = ModelUse()
    limits: Limits = Limits()
    code: Code = Code()
    robustness: Robustness = Robustness()
    retention: Retention = Retention()
    approval: Approval

    @property
    def party(self) -> str:
        """The party whose policy this is."""
        return self.identity.party

    @property
    def colluders(self) -> int:
        """How many conspiring parties must learn nothing: as written, or the most that the smallest floor leaves room for."""
        written = self.schemes.colluding_parties_survived
        return max(0, self.sums.smallest - HONEST_BESIDE_US) if written is None else written

    def clauses(self) -> Iterator[Clause]:
        """Return every clause in the order of the schema."""
        for section_name in type(self).model_fields:
            section = getattr(self, section_name)
            if not isinstance(section, Section):
                continue
            for name, info in type(section).model_fields.items():
                derived = (section_name, name) == ("schemes", "colluding_parties_survived")
                written = section_name in self.model_fields_set and name in section.model_fields_set
                yield Clause(f"{section_name}.{name}", self.colluders if derived else getattr(section, name), written, info)

    def overdue(self, today: date) -> tuple[str, ...]:
        """Return the references of legal documents whose review_by lies before `today`."""
        return tuple(item.reference for item in self.legal.documents if item.review_by is not None and item.review_by < today)

    @model_validator(mode="after")
    def _in_time_order(self) -> Self:
        if self.identity.valid_until < self.identity.valid_from:
            raise broken_rule(
                "identity.valid_until", f"a day not before valid_from ({self.identity.valid_from})", self.identity.valid_until
            )
        return self

    @model_validator(mode="after")
    def _floors_hold(self) -> Self:
        written = self.sums.min_parties
        floors = {"": written} if isinstance(written, int) else {f".{name}": floor for name, floor in written.items()}
        least = max(MIN_FLOOR, self.colluders + HONEST_BESIDE_US)
        for name, floor in floors.items():
            if floor < least:
                raise broken_rule(f"sums.min_parties{name}", f"at least {least} (3, and colluding_parties_survived + 2)", floor)
        for segment, shared in self.sharing.segments.items():
            if shared and self.sums.floor(segment) is None:
                raise broken_rule(f"sums.min_parties.{segment}", "a number for every segment that sharing.segments grants", "nothing")
        return self

    @model_validator(mode="after")
    def _disease_named(self) -> Self:
        if DISEASE_SPECIFIC in self.purpose.granted and not self.purpose.diseases:
            raise broken_rule("purpose.diseases", f"at least one disease, since {DISEASE_SPECIFIC} is granted", "none")
        return self


def _plain(value: object) -> object:
    match value:
        case BaseModel():
            return value.model_dump(mode="json", by_alias=True, exclude_none=True)
        case tuple():
            return [_plain(item) for item in value]
        case date():
            return value.isoformat()
    return value
