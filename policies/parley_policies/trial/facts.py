"""Load a facts file (TOML, schema `parley.facts/1`): what policies and study do not say, and a trial of them needs.

Everything in it may be left out; `settling` then assumes what is most favourable, and says so.

    schema = "parley.facts/1"
    day    = 2027-01-20
    [gateway]
    countries = ["DE"]
    [parties.klinikum-nord]
    class   = "hospital"
    records = 1730

    facts = load_facts(path.read_bytes(), "facts.toml")
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from parley_policies.errors import FactsInvalid
from parley_policies.model.kinds import Column, Country, Dataset, Fingerprint, Natural, Words
from parley_policies.model.reading import read_toml, validated
from parley_policies.model.upheld import Value
from parley_policies.negotiation.terms import PartyId

ClassName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class GatewayFacts(Value):
    """The gateway of the trial: what its operator would declare, and the fingerprint of its log key."""

    id: Annotated[Words | None, Field(description="Name of the gateway.")] = None
    operator: Annotated[Words | None, Field(description="Who operates it.")] = None
    fingerprint: Annotated[Fingerprint | None, Field(description="Fingerprint of its log key, as policies name it.")] = None
    countries: Annotated[tuple[Country, ...] | None, Field(description="Countries of the operator and of every subprocessor.")] = None
    incident_notice_hours: Annotated[Natural | None, Field(description="Notice of an incident that it promises, in hours.")] = None
    change_notice_days: Annotated[Natural | None, Field(description="Notice of a change of hosting that it promises, in days.")] = None


class PartyFacts(Value):
    """One party: what its invite fixes (class, country, legal name), its key, and what its data hold."""

    legal_name: Annotated[Words | None, Field(description="Legal name.")] = None
    party_class: Annotated[ClassName | None, Field(alias="class", description="Class, as its invite fixes it.")] = None
    country: Annotated[Country | None, Field(description="Country, as its invite fixes it.")] = None
    fingerprint: Annotated[Fingerprint | None, Field(description="Fingerprint of its identity key, as peers' policies pin it.")] = None
    vouched_by: Annotated[
        tuple[Fingerprint, ...] | None, Field(description="Fingerprints of the issuers whose credentials it shows, as policies name them.")
    ] = None
    revoked: Annotated[bool, Field(description="Whether its key is revoked.")] = False
    dataset: Annotated[Dataset | None, Field(description="Dataset that it would use.")] = None
    records: Annotated[Natural | None, Field(description="Number of people in it after exclusions.")] = None
    objectives: Annotated[tuple[Column, ...] | None, Field(description="Objectives of the study that it has labels for.")] = None


class Facts(Value):
    """What is known beside study and policies."""

    schema_: Annotated[Literal["parley.facts/1"], Field(alias="schema", description="Kind and version of this file.")] = "parley.facts/1"
    day: Annotated[date | None, Field(description="The day (UTC) on which the negotiation would be held.")] = None
    gateway: Annotated[GatewayFacts, Field(description="The gateway.")] = GatewayFacts()
    parties: Annotated[dict[PartyId, PartyFacts], Field(description="The parties, by id.")] = Field(default_factory=dict)

    def of(self, party: str) -> PartyFacts:
        """Return what is known of a party; nothing where the file does not name it."""
        return self.parties.get(party, PartyFacts())


def load_facts(raw: bytes, name: str = "facts.toml") -> Facts:
    """Parse a facts file; FactsInvalid names `name` and every field that is unknown, of the wrong type or out of range."""
    return validated(Facts, read_toml(raw, name, FactsInvalid), name, FactsInvalid)
