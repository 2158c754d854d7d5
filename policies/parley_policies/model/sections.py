"""Sections of a policy that say who, under which law, for what, with whom and about which data.

Each field says how it is upheld. A field without a default must be written; every default is the strictest value of its field, so that a
line that somebody forgot denies. How the sections fit together is `policy.PrivacyPolicy`'s business.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from parley_policies.model.kinds import Column, Country, Dataset, Fingerprint, Identifier, Natural, Peer, Whole, Words
from parley_policies.model.lattices import Lattice
from parley_policies.model.upheld import Section, Value, checked, declared, enforced
from parley_policies.negotiation.terms import PartyId, Sha256

Prefixed256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Identity(Section):
    """Whose policy this is and when it is in force."""

    party: Annotated[PartyId, enforced("The party whose policy this is.", lattice=Lattice.OWN)]
    version: Annotated[Whole, enforced("Version of this policy, counted up by its owner.", lattice=Lattice.OWN)]
    valid_from: Annotated[date, enforced("First day on which the policy is in force (UTC).", lattice=Lattice.LARGEST)]
    valid_until: Annotated[
        date, enforced("Last day on which the policy is in force (UTC); then the service stops by itself.", lattice=Lattice.SMALLEST)
    ]
    supersedes: Annotated[Prefixed256 | None, declared("Digest of the policy file that this one replaces.", lattice=Lattice.OWN)] = None
    profile: Annotated[
        str | None, enforced("The profile this file was made from; `demo-open` is refused off loopback.", lattice=Lattice.OWN)
    ] = None


class LegalBasis(Value):
    """One legal basis: a DPV identifier or a citation, and what it stands with."""

    id: Identifier | None = None
    citation: Words | None = None
    with_: Annotated[Words | None, Field(alias="with")] = None


class LegalDocument(Value):
    """A document by its digest, and the day by which people must have looked at it again."""

    kind: Words
    reference: Words
    sha256: Sha256
    review_by: date | None = None


class Legal(Section):
    """The law this party stands under. Recorded, shown, covered by every signature; never intersected."""

    controller: Annotated[str, declared("Who is responsible for the data, as the law calls it.", lattice=Lattice.OWN)] = ""
    role: Annotated[str, declared("The party's legal role, such as joint-controller or covered-entity.", lattice=Lattice.OWN)] = ""
    basis: Annotated[tuple[LegalBasis, ...], declared("Legal bases of the processing.", lattice=Lattice.OWN)] = ()
    professional_secrecy: Annotated[str, declared("Duty of secrecy that binds the people involved.", lattice=Lattice.OWN)] = ""
    documents: Annotated[
        tuple[LegalDocument, ...],
        checked(
            "Documents whose digests every signature on an agreement covers; one past its review_by stops the service.", lattice=Lattice.OWN
        ),
    ] = ()


class Purpose(Section):
    """What results may be used for, matched by meaning in a pinned taxonomy: narrower fits broader. A prohibition wins over any grant."""

    granted: Annotated[
        tuple[Identifier, ...], checked("Purposes granted, as DPV or DUO identifiers; narrower ones fit.", lattice=Lattice.MEANING)
    ]
    prohibited: Annotated[
        tuple[Identifier, ...],
        checked(
            "Purposes prohibited, with what is narrower and what would include them; they win over any grant.", lattice=Lattice.PROHIBITED
        ),
    ]
    diseases: Annotated[
        tuple[Identifier, ...],
        checked(
            "Diseases (MONDO) that studies may be about, narrower ones too; where any stand here, a study must name its own.",
            lattice=Lattice.MEANING_OR_ANY,
        ),
    ] = ()


class Gateway(Section):
    """Which gateway this party speaks to, and what its operator must promise."""

    fingerprints: Annotated[tuple[Fingerprint, ...], enforced("Fingerprints of the gateways' log keys.", lattice=Lattice.INTERSECTION)]
    countries: Annotated[
        tuple[Country, ...], checked("Countries of the operator and of every subprocessor, as declared.", lattice=Lattice.COUNTRIES)
    ]
    incident_notice_hours_at_most: Annotated[
        Natural, checked("Longest notice of an incident that is accepted.", lattice=Lattice.SMALLEST, unit="hours")
    ]
    change_notice_days_at_least: Annotated[
        Natural, checked("Shortest notice of a change of hosting that is accepted.", lattice=Lattice.LARGEST, unit="days")
    ]


class Transfer(Value):
    """A third country and the instrument under which data about people may be processed there."""

    country: Country
    instrument: Words


class Peers(Section):
    """With whom this party computes, and whom it counts."""

    granted: Annotated[tuple[Peer, ...], checked("Classes and parties that may be members with us.", lattice=Lattice.INTERSECTION)]
    denied: Annotated[tuple[Peer, ...], enforced("Classes and parties that may not; they are never told.", lattice=Lattice.UNION)]
    countries: Annotated[tuple[Country, ...], checked("Countries of the other members.", lattice=Lattice.COUNTRIES)]
    trust: Annotated[
        Literal["pinned", "first-use"],
        enforced(
            "Whether only members that are pinned here, or vouched for by an issuer, count toward min_parties, or any on first use.",
            lattice=Lattice.PINNED_ONLY,
        ),
    ] = "pinned"
    transfers: Annotated[tuple[Transfer, ...], checked("Third countries, each with its instrument.", lattice=Lattice.INTERSECTION)] = ()
    fingerprints: Annotated[
        dict[PartyId, Fingerprint], enforced("Fingerprints of members' identity keys, compared outside the gateway.", lattice=Lattice.OWN)
    ] = Field(default_factory=dict)
    issuers: Annotated[
        tuple[Fingerprint, ...],
        enforced(
            "Issuers whose credentials are believed: they name a party, its legal name, class, country and key.",
            lattice=Lattice.INTERSECTION,
        ),
    ] = ()
    trusted_set: Annotated[
        tuple[PartyId, ...], enforced("Parties that may continue our work when we cannot.", lattice=Lattice.INTERSECTION)
    ] = ()


class Data(Section):
    """Which data may be read, and the rights of the people they are about."""

    columns: Annotated[tuple[Column, ...], enforced("Columns of a study that may be read; nothing else is.", lattice=Lattice.INTERSECTION)]
    datasets: Annotated[tuple[Dataset, ...], enforced("Datasets that may be used.", lattice=Lattice.INTERSECTION)] = ()
    min_people: Annotated[
        Whole | None, enforced("Fewest people left after exclusions; absent, no number is enough.", lattice=Lattice.LARGEST, unit="people")
    ] = None
    exclusions_required: Annotated[
        bool, enforced("Whether a list of objections and withdrawals must be at hand.", lattice=Lattice.EITHER)
    ] = True
    exclusions_max_age_hours: Annotated[Natural, enforced("How old that list may be.", lattice=Lattice.SMALLEST, unit="hours")] = 0
    erasure_effect: Annotated[
        Literal["from-next-study", "from-next-round"],
        enforced("When a person's erasure takes effect. An opened model is not untrained.", lattice=Lattice.SOONEST),
    ] = "from-next-round"
    minimum_fairness_check: Annotated[
        tuple[Column, ...], enforced("Columns by whose groups a model version is evaluated before it is accepted.", lattice=Lattice.UNION)
    ] = ()
