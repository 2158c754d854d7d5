"""Sections of a policy that say how what leaves is protected: scheme, sums, differential privacy, what is shared, who reads it.

The same rules as in `sections`: a field without a default must be written, and every default is the strictest value of its field. Where
that value permits nothing (no clip bound, no bytes a round), a study is refused by the name of the missing line.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from parley_policies.model.kinds import Dataset, Natural, Portion, Role, SegmentPattern, Whole, best_match, broken_rule
from parley_policies.model.lattices import Lattice
from parley_policies.model.upheld import Section, Value, checked, enforced, entry
from parley_policies.negotiation.terms import PartyId

SchemeName = Literal["masked", "homomorphic"]


class Schemes(Section):
    """Schemes of secure summation, and what they must withstand."""

    accepted: Annotated[tuple[SchemeName, ...], checked("Schemes accepted, in order of preference.", lattice=Lattice.INTERSECTION)] = ()
    key_bits_at_least: Annotated[Whole, checked("Shortest key of the homomorphic scheme.", lattice=Lattice.LARGEST, unit="bits")] = 4096
    gateway_may_lie: Annotated[bool, checked("Whether the scheme must hold against a gateway that lies.", lattice=Lattice.EITHER)] = True
    colluding_parties_survived: Annotated[
        Natural | None,
        checked(
            "How many parties may conspire and still learn nothing; absent, the smallest of min_parties less 2.",
            lattice=Lattice.LARGEST,
            unit="parties",
        ),
    ] = None
    dealers_granted: Annotated[tuple[PartyId, ...], checked("Parties that may deal a homomorphic key.", lattice=Lattice.INTERSECTION)] = ()


class Groups(Value):
    """Extra sums over part of the members, to measure contribution."""

    allowed: Annotated[bool, entry("Whether they are permitted.", lattice=Lattice.BOTH)] = False
    min_parties: Annotated[Whole | None, entry("Smallest group; absent, none will do.", lattice=Lattice.LARGEST, unit="parties")] = None
    rounds_at_most: Annotated[Natural, entry("Most rounds of a study with such sums.", lattice=Lattice.SMALLEST, unit="rounds")] = 0


class Sums(Section):
    """What a sum must hold before it is opened."""

    min_parties: Annotated[
        Annotated[int, Field(ge=1)] | Annotated[dict[SegmentPattern, Whole], Field(min_length=1)],
        enforced(
            "Smallest number of parties, us included, in anything ever opened: for all segments, or a segment.",
            lattice=Lattice.FLOORS,
            unit="parties",
        ),
    ]
    groups: Annotated[Groups, enforced("Sums over groups of members.", lattice=Lattice.TABLE)] = Groups()
    max_small_changes: Annotated[
        Natural,
        enforced(
            "Rounds whose list of members may differ from earlier ones by fewer than min_parties.", lattice=Lattice.SMALLEST, unit="rounds"
        ),
    ] = 0
    min_cell: Annotated[
        Natural | None,
        enforced("Smallest count of people that statistics show; absent, no count is shown.", lattice=Lattice.LARGEST, unit="people"),
    ] = None

    def floor(self, segment: str) -> int | None:
        """Return this party's own min_parties for a segment, or None where none is written for it."""
        return self.min_parties if isinstance(self.min_parties, int) else best_match(self.min_parties, segment)

    @property
    def smallest(self) -> int:
        """The smallest min_parties of any segment."""
        return self.min_parties if isinstance(self.min_parties, int) else min(self.min_parties.values())


class PrivacyBudget(Value):
    """A bound on privacy loss under differential privacy."""

    epsilon: Annotated[Annotated[float, Field(gt=0)], entry("Largest ε.", lattice=Lattice.SMALLEST)]
    delta: Annotated[Annotated[float, Field(ge=0, lt=1)], entry("Largest δ.", lattice=Lattice.SMALLEST)]


class LifetimeBudget(PrivacyBudget):
    """A bound over all studies and federations on one dataset; it never refills."""

    dataset: Annotated[Dataset, entry("The dataset whose budget it is.", lattice=Lattice.OWN)]
    years: Annotated[Whole, entry("Years for which it has to last.", lattice=Lattice.LARGEST, unit="years")]


class DifferentialPrivacy(Section):
    """Whether noise is required, for whom, and how much loss is granted."""

    required: Annotated[bool, enforced("Whether studies must be differentially private.", lattice=Lattice.EITHER)]
    unit: Annotated[Literal["record", "person", "party"], enforced("Whose privacy is counted.", lattice=Lattice.STRONGEST_UNIT)] = "party"
    adjacency: Annotated[
        Literal["add-or-remove-one", "replace-one"], enforced("What one unit more or less means.", lattice=Lattice.STRONGEST_ADJACENCY)
    ] = "replace-one"
    per_study: Annotated[PrivacyBudget | None, enforced("Largest loss in one study; absent, none is granted.", lattice=Lattice.TABLE)] = (
        None
    )
    lifetime: Annotated[
        LifetimeBudget | None, enforced("Largest loss on a dataset over all federations; absent, none is granted.", lattice=Lattice.TABLE)
    ] = None
    noise_trust: Annotated[
        Literal["self", "cohort"],
        enforced("Whether our own noise must suffice, or that of all parties summed together.", lattice=Lattice.LEAST_NOISE_TRUST),
    ] = "self"


class ClipRange(Value):
    """A range of clip bounds, both ends included."""

    min: Annotated[Annotated[float, Field(gt=0)], entry("Smallest cap.", lattice=Lattice.LARGEST, unit="model units")]
    max: Annotated[Annotated[float, Field(gt=0)], entry("Largest cap.", lattice=Lattice.SMALLEST, unit="model units")]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise broken_rule("sharing.clip_bound", "min at most max", f"{self.min} to {self.max}")
        return self


class Sharing(Section):
    """What of an update is shared, and how much of a sum may be one party's."""

    segments: Annotated[
        dict[SegmentPattern, bool],
        enforced("Segments of the model, or `summary`, that may leave inside a secure sum.", lattice=Lattice.GRANTS),
    ] = Field(default_factory=dict)
    clip_bound: Annotated[
        ClipRange | None,
        enforced("Range of the cap on the L2 norm of what is clipped; absent, none is granted.", lattice=Lattice.TABLE, unit="model units"),
    ] = None
    weight_cap: Annotated[Portion, checked("Largest part of a weighted sum that may be ours.", lattice=Lattice.SMALLEST)] = 0.0
    weight_cap_of_others: Annotated[
        Portion, checked("Largest part of a weighted sum that may be any other member's.", lattice=Lattice.SMALLEST)
    ] = 0.0
    max_weight_ratio: Annotated[
        Annotated[float, Field(ge=1)],
        checked("How far members with a laxer epsilon may outweigh us, by their clip bound.", lattice=Lattice.SMALLEST),
    ] = 1.0
    record_count: Annotated[
        Annotated[str, Field(pattern=r"^(exact|hidden|rounded:[1-9][0-9]{0,8})$")],
        enforced(
            "How our number of records is told: exact, rounded:N (down to a multiple of N) or hidden.",
            lattice=Lattice.COARSEST,
            unit="records",
        ),
    ] = "hidden"
    mib_a_round: Annotated[
        Annotated[float, Field(ge=0)],
        enforced("Most that is uploaded in one round; absent, nothing.", lattice=Lattice.SMALLEST, unit="MiB"),
    ] = 0.0
    fraction_a_round: Annotated[
        Portion, enforced("Largest part of the coordinates that is sent in one round; absent, none.", lattice=Lattice.SMALLEST)
    ] = 0.0

    def shares(self, segment: str) -> bool:
        """Whether a segment may leave inside a secure sum: its own entry first, then its kind's wildcard, else no."""
        return best_match(self.segments, segment) is True


class MetricReaders(Value):
    """Who may read a metric of ours."""

    to: tuple[Role, ...]


class Disclosure(Section):
    """What may be read, and by whom."""

    own_metrics: Annotated[
        Literal["none", "sum-only"] | MetricReaders,
        enforced("Whether metrics of ours leave: none, only inside a sum, or to roles.", lattice=Lattice.METRICS),
    ] = "none"
    opened_sums_readable_by: Annotated[
        Literal["gateway", "parties"],
        checked("Who reads opened sums: the gateway too, or the members alone.", lattice=Lattice.FEWEST_READERS),
    ] = "parties"
    contribution_record: Annotated[
        tuple[Literal["self"] | Role | PartyId, ...],
        enforced("Who besides the gateway's operator may see the record of what we contributed.", lattice=Lattice.INTERSECTION),
    ] = ()


class Robustness(Section):
    """Protection against members that send bad updates."""

    least: Annotated[
        Literal["R0", "R1", "R2"],
        checked("Least level: R0 clip, R1 also own test and vote, R2 also medians of groups.", lattice=Lattice.STRONGEST_ROBUSTNESS),
    ] = "R2"
