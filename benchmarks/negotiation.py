"""Negotiating large federations: how long choosing cohorts takes, how much data it uses, and how near that is to the best there is.

Federations are drawn from seeds: parties with a label of one of two objectives, records told in bands or hidden, floors of 3 to 8, and a
part of all pairs of which one denies the other. Beside each stands what the same offers come to without a choice of cohorts:

- **strictest**: the strictest terms for all in one cohort; a single denied pair leaves nothing;
- **first come**: in order of joining, whoever disagrees with somebody who is in already stays out, and so does whoever wants more parties
  than there are: what platforms do that know one set of terms.

Data used are records times parts of the model. Times are processor time of one thread, the longest over the seeds; node limits, not the
clock, end a search, so figures other than times are the same everywhere.

    python -m benchmarks.negotiation [--json]
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from typing import Final

from parley_policies.errors import Conflict
from parley_policies.negotiation.cohort_terms import Cohort, terms_of
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.outcome import Negotiated, counted_records, data_used

from benchmarks.harness import Row, run
from tests.policies.policy_samples import Federation

SEEDS: Final = (1, 2, 3)
HEADS: Final = ("cost", "illness")
TOLD: Final = ("exact", "rounded:100", "rounded:500", "hidden")


@dataclass(frozen=True, slots=True)
class Size:
    """Federations of so many parties, of whose pairs a part is denied, and the seconds that negotiating one may take."""

    parties: int
    denied: float
    seconds: float
    name: str


SIZES: Final = (
    Size(20, 0.05, 1.0, "n20"),
    Size(50, 0.05, 10.0, "n50_d5"),
    Size(50, 0.10, 30.0, "n50_d10"),
    Size(100, 0.05, 60.0, "n100"),
)
LARGEST_GAP: Final = 0.02


@dataclass(frozen=True, slots=True)
class Found:
    """What one federation came to: by the program, in processor seconds, and by the two baselines."""

    negotiated: Negotiated
    seconds: float
    strictest: int
    first_come: int

    @property
    def ratio(self) -> float:
        """Data used over what the better baseline uses."""
        return self.negotiated.value / max(1, self.strictest, self.first_come)


def federation(parties: int, denied: float, seed: int) -> tuple[Federation, list[Offer]]:
    """Return a federation drawn from a seed, and its offers."""
    draw = random.Random(f"{parties}/{denied}/{seed}")  # noqa: S311 - a benchmark's cases, no secret
    ids = [f"party-{number:03}" for number in range(parties)]
    pairs = draw.sample(list(combinations(ids, 2)), round(denied * parties * (parties - 1) / 2))
    denies: dict[str, list[str]] = {party: [] for party in ids}
    for pair in pairs:
        one, other = draw.sample(pair, 2)
        denies[one].append(other)
    edits = {party: {"denied": f"denied = {json.dumps(denies[party])}"} for party in ids}
    values = {
        party: {
            "colluders": 1,
            "min_parties": _floors(draw),
            "record_count": draw.choice(TOLD),
            "weight_cap": 1.0,
            "weight_cap_of_others": 1.0,
        }
        for party in ids
    }
    drawn = Federation.of(ids, values, edits)
    drawn = replace(drawn, records={party: draw.randint(50, 2_000) for party in ids})
    return drawn, [drawn.offer(party, objectives=(draw.choice(HEADS),)) for party in ids]


def _floors(draw: random.Random) -> dict[str, int]:
    floor = draw.choice([3, 3, 3, 4, 4, 5, 6, 8])
    return {"summary": floor, "trunk": floor, "head:*": draw.choice([3, 3, 4, 5])}


def negotiated(drawn: Federation, offers: Sequence[Offer]) -> Found:
    """Negotiate a federation, time it, and hold it against the baselines."""
    start = time.process_time()
    found = negotiate(drawn.proposal, offers, drawn.members, drawn.gateway)
    seconds = time.process_time() - start
    return Found(found, seconds, _used(drawn, offers, offers), _used(drawn, offers, first_come(offers)))


def first_come(offers: Iterable[Offer]) -> list[Offer]:
    """Return who is in where whoever disagrees stays out: by denial in order of joining, then by floors until nobody leaves."""
    inside: list[Offer] = []
    for offer in sorted(offers, key=lambda each: each.party):
        if not any(other.party in offer.apart or offer.party in other.apart for other in inside):
            inside.append(offer)
    floors = {offer.party: offer.min_parties("trunk") or 0 for offer in inside}
    while inside and max(floors[offer.party] for offer in inside) > len(inside):
        inside.remove(max(inside, key=lambda offer: floors[offer.party]))  # who wants most goes first: that keeps most of the others
    return inside


def _used(drawn: Federation, offers: Sequence[Offer], inside: Sequence[Offer]) -> int:
    """Return the data that one cohort of those `inside` uses; 0 where there are no terms for it, as with a denied pair in it."""
    parties = {offer.party for offer in inside}
    if any(parties & set(offer.apart) for offer in inside):
        return 0
    try:
        terms = terms_of(drawn.proposal, Cohort(tuple(inside)), drawn.members, drawn.gateway, study=drawn.proposal.id)
    except Conflict:
        return 0
    return data_used(terms, counted_records(offers))


def rows(sizes: Sequence[Size] = SIZES, seeds: Sequence[int] = SEEDS) -> list[Row]:
    """Negotiate all federations and return what the issue asks for, then the figures of each size."""
    found = {size: [negotiated(*federation(size.parties, size.denied, seed)) for seed in seeds] for size in sizes}
    main, details = [], []
    for size, each in found.items():
        gap = max(one.negotiated.gap for one in each)
        main.append(Row(f"solve_{size.name}_s", max(one.seconds for one in each), "CPU s", size.seconds, "<="))
        if size is sizes[-1]:
            main.append(Row(f"solve_{size.name}_gap", gap, "of the bound", LARGEST_GAP, "<="))
        details += [
            Row(f"{size.name}: data used", median(one.negotiated.value for one in each), "records × parts"),
            Row(f"{size.name}: bound, proven", median(one.negotiated.bound for one in each), "records × parts"),
            Row(f"{size.name}: gap", gap, "of the bound"),
            Row(f"{size.name}: cohorts", median(len(one.negotiated.terms) for one in each), "cohorts"),
            Row(f"{size.name}: strictest terms, one cohort", median(one.strictest for one in each), "records × parts"),
            Row(f"{size.name}: who disagrees is out", median(one.first_come for one in each), "records × parts"),
        ]
    ratio = min(one.ratio for each in found.values() for one in each)
    return [*main, Row("data_used_ratio", ratio, "over the better baseline", 1.0, ">="), *details]


if __name__ == "__main__":
    run("negotiation", rows)
