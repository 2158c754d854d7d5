"""What a negotiation ends in: the terms of each cohort, who is left out and why, and how good the choice is known to be.

The value of a choice is the use of data that it makes: for each member, its records times the number of parts of the model that it shares
in (`data_used`). A told number counts by its band's lower end, a hidden one as the lowest that any offer tells. The summary is not
counted: every member shares it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.proposal import SUMMARY
from parley_policies.negotiation.terms import Terms
from parley_policies.negotiation.weights import wanted_weights


@dataclass(frozen=True, slots=True)
class Left:
    """A party that made an offer and is in no cohort: whose clause stands in the way (its own or another's), and a sentence.

    `whose` names the parties whose clauses meet in it, so that the explanation, which alone uses this, can decide who may read it. The
    party itself is told only that the study goes on without it.
    """

    party: str
    clause: str
    why: str
    whose: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The terms of every cohort, the one that uses most data first; `bound` is proven: no choice of cohorts has a value above it."""

    terms: tuple[Terms, ...]
    out: tuple[Left, ...]  # in id order
    value: int
    bound: int
    method: Literal["exact", "limit", "greedy"]

    @property
    def gap(self) -> float:
        """How far the value may be below the best, as a part of the bound."""
        return (self.bound - self.value) / self.bound


def counted_records(offers: Iterable[Offer]) -> dict[str, int]:
    """Return how many records each offer counts for."""
    return wanted_weights({offer.party: offer.records for offer in offers})


def data_used(terms: Terms, records: Mapping[str, int]) -> int:
    """Return the records times parts of the model that are used under `terms`; `records` as `counted_records` says."""
    return sum(records[party] for step in terms.steps for segment in step.segments if segment.name != SUMMARY for party in segment.members)
