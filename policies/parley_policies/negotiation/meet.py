"""The meet: the strictest common value of all offers, field by field.

Each field of `Bounds` declares its lattice (`model.lattices`), and `meet` combines two bounds with them. Every lattice is commutative,
associative and idempotent, so neither the order in which offers come nor a repeated one changes anything; `meet` can only tighten.
Whether a value remains (a clip range that is not empty, a scheme) is asked afterwards, by `cohorts`.

    >>> a, b = Bounds(max_small_changes=2, rounds=60), Bounds(max_small_changes=0, rounds=41)
    >>> meet(a, b) == meet(b, a) == Bounds(max_small_changes=0, rounds=41)
    True
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from functools import reduce
from types import MappingProxyType
from typing import Any, Final

from parley_policies.model.lattices import LATTICE_KEY, Lattice, combined
from parley_policies.negotiation.offer import Offer

EVERY_SCHEME: Final = frozenset({"masked", "homomorphic"})
_FOREVER: Final = date.max
_NO_ENTRIES: Final[Mapping[str, Any]] = MappingProxyType({})


def _by(lattice: Lattice) -> Mapping[str, Lattice]:
    """Declare a field's lattice."""
    return {LATTICE_KEY: lattice}


def _no_entries() -> Mapping[str, Any]:
    return _NO_ENTRIES


@dataclass(frozen=True)
class Bounds:
    """What a set of offers permits together. Without arguments: everything."""

    schemes: frozenset[str] = field(default=EVERY_SCHEME, metadata=_by(Lattice.INTERSECTION))
    gateway_may_lie: bool = field(default=False, metadata=_by(Lattice.EITHER))
    max_colluders: int = field(default=0, metadata=_by(Lattice.LARGEST))
    max_small_changes: float = field(default=math.inf, metadata=_by(Lattice.SMALLEST))
    clip_min: float = field(default=0.0, metadata=_by(Lattice.LARGEST))
    clip_max: float = field(default=math.inf, metadata=_by(Lattice.SMALLEST))
    rounds: float = field(default=math.inf, metadata=_by(Lattice.SMALLEST))  # all steps together
    robustness: str = field(default="R0", metadata=_by(Lattice.STRONGEST_ROBUSTNESS))
    opened_sums_readable_by: str = field(default="gateway", metadata=_by(Lattice.FEWEST_READERS))
    exclusions_required: bool = field(default=False, metadata=_by(Lattice.EITHER))
    valid_until: date = field(default=_FOREVER, metadata=_by(Lattice.SMALLEST))
    floors: Mapping[str, int] = field(default_factory=_no_entries, metadata=_by(Lattice.LARGEST_A_NAME))  # by segment
    weight_caps: Mapping[str, float] = field(default_factory=_no_entries, metadata=_by(Lattice.SMALLEST_A_NAME))  # by member
    mib_a_round: Mapping[str, float] = field(default_factory=_no_entries, metadata=_by(Lattice.SMALLEST_A_NAME))  # by member

    @classmethod
    def of(cls, offer: Offer, together: frozenset[str]) -> Bounds:
        """Return what `offer` permits in sums over the parties `together`.

        Those among them that it neither pins nor trusts on first use count as conspirators: they raise its floors and the number
        of conspirators that must learn nothing (protocol.md, Phantoms).
        """
        phantoms = len(together & set(offer.uncounted))
        others = dict.fromkeys(together - {offer.party}, offer.weight_cap_of_others)
        return cls(
            schemes=frozenset(offer.schemes),
            gateway_may_lie=offer.gateway_may_lie,
            max_colluders=offer.colluders + phantoms,
            max_small_changes=offer.max_small_changes,
            clip_min=offer.clip_bound.min,
            clip_max=offer.clip_bound.max,
            rounds=offer.rounds,
            robustness=offer.robustness,
            opened_sums_readable_by=offer.opened_sums_readable_by,
            exclusions_required=offer.exclusions_required,
            valid_until=offer.valid_until,
            floors={segment.name: segment.min_parties + phantoms for segment in offer.segments},
            weight_caps={offer.party: offer.weight_cap, **others},
            mib_a_round={offer.party: offer.mib_a_round},
        )


def lattice_of(name: str) -> Lattice:
    """Return the lattice of a field of `Bounds`; LookupError if it declares none."""
    return Lattice(next(item.metadata[LATTICE_KEY] for item in fields(Bounds) if item.name == name))


def meet(one: Bounds, other: Bounds) -> Bounds:
    """Return what both permit."""
    return Bounds(
        **{item.name: combined(item.metadata[LATTICE_KEY], getattr(one, item.name), getattr(other, item.name)) for item in fields(Bounds)}
    )


def meet_all(bounds: Iterable[Bounds]) -> Bounds:
    """Return what all permit; of none, everything."""
    return reduce(meet, bounds, Bounds())
