"""The best cohorts of a study, found by trying them all. For few parties; shares no code with the package.

Rules, from policy.md (Negotiation) and protocol.md (Thresholds, Phantoms):

- a cohort has at least 3 members; each permits each; their clip ranges meet; rounds suffice; t ≤ n;
- summary and trunk are every member's; of each head any members may be summed that have its objective and share it, or none;
- a segment's floor is at least 3, c + 2, and each of its members' own floor plus the members there that this member does not count;
- a member uploads no more than its bytes a round; some weights keep every cap in every sum that may open (a floor may be higher than
  anybody asks, so that the smallest sum is as large as caps need);
- a party is in one cohort, of which there are at most two, and their value is the sum over members of records × shared segments of the
  model, where a count is told in bands by its lower end and a hidden one weighs as the lowest told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, product
from typing import Any

from scipy.optimize import linprog

from tests.policies.policy_oracle import colluders_of, floor_of, parted, phantoms, shares

Table = Mapping[str, Any]
COPIES = 2
Chosen = dict[str, frozenset[str]]  # members by segment of the model


def told(policy: Table, people: int) -> int | None:
    """Return the lower end of what a policy tells of a number of records; None where it is hidden."""
    granted = policy["sharing"].get("record_count", "hidden")
    step = {"exact": 1, "hidden": 0}.get(granted.split(":")[0]) if ":" not in granted else int(granted.split(":")[1])
    return people // step * step if step else None


def records_of(policies: Mapping[str, Table], people: Mapping[str, int]) -> dict[str, int]:
    """Return what each party's records weigh."""
    known = {party: count for party, policy in policies.items() if (count := told(policy, people[party])) is not None}
    lowest = min((max(1, count) for count in known.values()), default=1)
    return {party: max(1, known[party]) if party in known else lowest for party in policies}


def threshold(n: int, c: int, *, lying: bool) -> int:
    return max(2 * n // 3 + 1, (n + c) // 2 + 1) if lying else max(n // 2, c) + 1


@dataclass(frozen=True)
class Brute:
    """All that the choice depends on: the policies of those that offer, their objectives and their records."""

    policies: Mapping[str, Table]
    proposal: Table
    directory: Mapping[str, Table]
    objectives: Mapping[str, tuple[str, ...]]
    people: Mapping[str, int]
    memo: dict[frozenset[str], int] = field(default_factory=dict)

    def optimum(self) -> int:
        """Return the greatest value of at most two cohorts; 0 if there is none."""
        parties = sorted(self.policies)
        best = 0
        for size in range(3, len(parties) + 1):
            for first in combinations(parties, size):
                own = self.value(frozenset(first))
                if own:
                    best = max(best, own, own + self._best_among([party for party in parties if party not in first]))
        return best

    def could_join(self, party: str, members: frozenset[str], shared: Chosen) -> bool:
        """Whether `party` could have been added to a cohort in which everybody goes on sharing what it shares."""
        return any(
            all(summed <= chosen.get(name, frozenset()) for name, summed in shared.items()) for chosen in self.choices(members | {party})
        )

    def _best_among(self, parties: list[str]) -> int:
        sets = (frozenset(chosen) for size in range(3, len(parties) + 1) for chosen in combinations(parties, size))
        return max((self.value(members) for members in sets), default=0)

    def value(self, members: frozenset[str]) -> int:
        """Return the greatest value of one cohort of exactly these members; 0 if no terms keep every policy."""
        if members not in self.memo:
            self.memo[members] = max((self.worth(chosen) for chosen in self.choices(members)), default=0)
        return self.memo[members]

    def worth(self, chosen: Chosen) -> int:
        """Return records × segments of the model of a choice."""
        records = records_of(self.policies, self.people)
        return sum(records[party] for members in chosen.values() for party in members)

    def choices(self, members: frozenset[str]) -> Iterator[Chosen]:
        """Yield every way to share segments among exactly these members that breaks no policy."""
        segments = self.proposal["segments"]
        common = [segment["name"] for segment in segments if not segment["objectives"]]
        if not self._may_meet(members) or not all(self._floor_holds(name, members, members) for name in ["summary", *common]):
            return
        heads = [self._ways(segment, members) for segment in segments if segment["objectives"]]
        for choice in product(*heads):
            chosen = dict.fromkeys(common, members) | {name: summed for name, summed in choice if summed}
            if chosen and self._bytes_hold(members, chosen) and self._caps_hold(chosen):
                yield chosen

    def _ways(self, head: Table, members: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
        """Return each set of members over which a head may be summed, nobody among them."""
        name, wanted = head["name"], set(head["objectives"])
        able = [party for party in sorted(members) if wanted & set(self.objectives[party]) and self._shares(party, name)]
        sets = [frozenset[str](), *(frozenset(some) for size in range(3, len(able) + 1) for some in combinations(able, size))]
        return [(name, summed) for summed in sets if self._floor_holds(name, summed, members)]

    def _shares(self, party: str, segment: str) -> bool:
        return shares(self.policies[party], segment)

    def conspirators(self, members: Collection[str]) -> int:
        return max(colluders_of(self.policies[p]) + phantoms(self.policies[p], members, self.directory) for p in members)

    def _may_meet(self, members: frozenset[str]) -> bool:
        policies = {party: self.policies[party] for party in members}
        wishes, shared = self.proposal["wishes"], [policy["sharing"]["clip_bound"] for policy in policies.values()]
        low = max(wishes["clip_bound"]["min"], *(clip["min"] for clip in shared))
        high = min(wishes["clip_bound"]["max"], *(clip["max"] for clip in shared))
        lying = any(policy["schemes"].get("gateway_may_lie", True) for policy in policies.values())
        return (
            len(members) >= 3
            and not any(pair <= members for pair in parted(policies, self.directory))
            and low <= high
            and threshold(len(members), self.conspirators(members), lying=lying) <= len(members)
        )

    def _floor_holds(self, name: str, summed: frozenset[str], members: frozenset[str]) -> bool:
        """Whether a sum over all of `summed` may open, for every one of them."""
        own = [floor_of(self.policies[p], name) + phantoms(self.policies[p], summed, self.directory) for p in summed]
        return not summed or len(summed) >= max(3, self.conspirators(members) + 2, *own)

    def _bytes_hold(self, members: Collection[str], chosen: Chosen) -> bool:
        lengths = {segment["name"]: segment["length"] for segment in self.proposal["segments"]}
        for party in members:
            train = 4 * sum(lengths[name] for name, summed in chosen.items() if party in summed)
            if max(train, 8 * self.proposal["summary_length"]) > self.policies[party]["sharing"]["mib_a_round"] * 2**20:
                return False
        return True

    def _caps_hold(self, chosen: Chosen) -> bool:
        caps = [
            tuple((party, min(self._cap(other, party) for other in chosen[name])) for party in sorted(chosen[name]))
            for name in sorted(chosen)
        ]
        return weights_exist(tuple(caps))

    def _cap(self, owner: str, party: str) -> float:
        return float(self.policies[owner]["sharing"]["weight_cap" if owner == party else "weight_cap_of_others"])


@cache
def weights_exist(segments: tuple[tuple[tuple[str, float], ...], ...]) -> bool:
    """Whether positive weights exist such that in each full sum no party's part is above its cap (a linear program)."""
    if all(cap * len(segment) >= 1 for segment in segments for _, cap in segment):
        return True  # equal weights
    if any(sum(cap for _, cap in segment) < 1 - 1e-12 for segment in segments):
        return False
    parties = sorted({party for segment in segments for party, _ in segment})
    rows = [[(party == other) - cap * (other in dict(segment)) for other in parties] for segment in segments for party, cap in segment]
    found = linprog([1.0] * len(parties), A_ub=rows, b_ub=[0.0] * len(rows), bounds=[(1, None)] * len(parties))
    return bool(found.success)
