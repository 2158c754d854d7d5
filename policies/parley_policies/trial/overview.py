"""What came of a trial, as plain data: who is in and who is out, by which clause, what stays at home, how much data are used.

Made by `telling`, which decides what a reader may see; here it is only said, in rows that people read and as data for programs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from parley_policies.negotiation.explain import Binding, Explanation
from parley_policies.negotiation.proposal import SUMMARY
from parley_policies.trial.settling import Assumed

UNIT: Final = "records × shared parts"
_METHOD: Final = {
    "exact": "no choice of cohorts uses more",
    "limit": "the search was cut short: at most {bound:,} were possible",
    "greedy": "found party by party: at most {bound:,} were possible",
}


@dataclass(frozen=True, slots=True)
class Relaxation:
    """One clause of one party loosened by the smallest step that helps: from what to what, who comes in, the gain and the cost."""

    party: str
    clause: str
    before: str
    after: str
    admits: tuple[str, ...]
    gain: int  # records × shared parts
    costs: str

    def says(self) -> str:
        """Return it as a sentence."""
        who = f"admits {', '.join(self.admits)}" if self.admits else "admits nobody new"
        return f"{self.clause} {self.before} → {self.after} {who}: {self.gain:+,} records × shared parts; {self.costs}"


@dataclass(frozen=True, slots=True)
class Out:
    """A party that takes no part, the clause that keeps it out, and why; both empty words where the reader may not see them."""

    party: str
    clause: str
    why: str

    def says(self) -> str:
        """Return the clause and why as a sentence."""
        return f"{self.clause}: {self.why}" if self.clause else self.why


@dataclass(frozen=True, slots=True)
class Overview:
    """All that is told of a trial, as plain data."""

    study: str
    title: str
    day: str
    readable: tuple[str, ...]
    invited: int
    records: tuple[tuple[str, str], ...]  # as each member's policy lets them be told
    cohorts: tuple[Explanation, ...]
    out: tuple[Out, ...]
    unsigned: tuple[Out, ...]  # members whose own check refuses the terms: then nothing is agreed
    value: int
    bound: int
    offered: int  # the value if everybody took part with everything
    method: str
    conflict: Binding | None
    assumed: tuple[Assumed, ...]
    relaxations: tuple[Relaxation, ...]
    unloosened: tuple[str, ...]  # readable parties that are out, and that no one clause of theirs would bring in

    def as_data(self) -> dict[str, Any]:
        """Return the overview as nested dicts and tuples, ready for JSON."""
        return asdict(self)

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """Return (topic, thing, sentence) of the negotiation as a whole; each cohort's `Explanation.rows` say more."""
        rows = [("outcome", self.study, self.headline())]
        if self.conflict is not None:
            rows.append(("outcome", self.conflict.clause, f"{self.conflict.value} ({', '.join(self.conflict.whose)})"))
        else:
            rows.append(("outcome", "data used", self.data_used()))
        rows += [("takes part", party, self._place(party)) for party in sorted(self.members)]
        rows += [("takes no part", out.party, out.says()) for out in self.out]
        rows += [("would not sign", out.party, out.says()) for out in self.unsigned]
        rows += [("could be loosened", item.party, item.says()) for item in self.relaxations]
        rows += [("could be loosened", party, "no one clause of its own brings it in") for party in self.unloosened]
        return tuple(rows)

    def assumptions(self) -> tuple[tuple[str, str, str, str], ...]:
        """Return (of whom, what, value, why) of what was assumed, one entry for all of whom the same was."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for item in self.assumed:
            found.setdefault((item.what, item.value, item.why), []).append(item.of)
        return tuple(("each party" if len(of) == self.invited > 1 else ", ".join(of), *said) for said, of in found.items())

    @property
    def members(self) -> frozenset[str]:
        """The parties that are in a cohort."""
        return frozenset(party for cohort in self.cohorts for party in cohort.members)

    @property
    def agreed(self) -> bool:
        """Whether there are cohorts whose members would all sign."""
        return bool(self.cohorts) and not self.unsigned

    def headline(self) -> str:
        """Return the outcome in a sentence."""
        everybody = self.invited
        if not self.agreed:
            return "no agreement is possible"
        if len(self.cohorts) == 1:
            return f"{len(self.members)} of {everybody} parties agree"
        return f"{len(self.members)} of {everybody} parties agree, in {len(self.cohorts)} cohorts, each with a model of its own"

    def data_used(self) -> str:
        """Return how much data are used, and whether more were possible, in a sentence."""
        share = self.value / self.offered if self.offered else 0.0
        return f"{self.value:,} of {self.offered:,} {UNIT} ({share:.0%}); {_METHOD[self.method].format(bound=self.bound)}"

    def _place(self, party: str) -> str:
        cohort = next(cohort for cohort in self.cohorts if party in cohort.members)
        parts = ", ".join(row.name for row in cohort.segments if party in row.members and row.name != SUMMARY)
        return f"in {cohort.study}, sharing {parts}; records told as {dict(self.records)[party]}"
