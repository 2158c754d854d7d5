"""The facts that a report is made of. Frozen and plain: they can be written as JSON and shown, and nothing more is read from files.

What stands in the log (agreements, rounds, sums, participation) comes from verified leaves alone (`evidence`); an explanation of the terms
from the negotiation's own code; scores, row counts, seconds and pictures from the parties' folders, which only the parties have. Whoever
assembles a report says so in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parley_policies.negotiation.explain import Explanation

from parley_audit.checks import Report, StudySummary

MODELS: Final = ("local_logistic", "local_mlp", "same_objective", "federated")


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """Who operates the gateway, as declared; nobody measured it."""

    id: str
    operator: str
    country: str
    fingerprint: str
    subprocessors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """One party's area under the ROC curve on its own held-out rows, a model each; None where both labels do not occur there."""

    local_logistic: float | None
    local_mlp: float | None
    same_objective: float | None
    federated: float | None

    def of(self, model: str) -> float | None:
        """Return the score of one of `MODELS`."""
        value: float | None = getattr(self, model)
        return value


@dataclass(frozen=True, slots=True)
class PartyFacts:
    """One party, and what it found at home."""

    id: str
    legal_name: str
    party_class: str
    country: str
    objective: str
    fingerprint: str
    training_rows: int
    held_out_rows: int
    scores: Scores


@dataclass(frozen=True, slots=True)
class ClauseFacts:
    """One clause of a policy: its value at each party, in the order of the parties, how it is upheld, and who binds the terms by it.

    `written` is false where every party left it out, so that its strictest value counts.
    """

    clause: str
    says: str
    upheld: str
    values: tuple[str, ...]
    binding: tuple[str, ...] = ()
    written: bool = True

    @property
    def differs(self) -> bool:
        """Whether not all parties wrote the same."""
        return len(set(self.values)) > 1


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """One certified round: who finished it, over how many parties each sum was opened, which shared parts stayed shut."""

    number: int
    workload: str
    parties: tuple[str, ...]
    opened: tuple[tuple[str, int], ...]
    shut: tuple[str, ...]
    certificate: str
    seconds: float | None = None  # from the version before it to its own, by a party's clock; None if not measured


@dataclass(frozen=True, slots=True)
class ParticipationFacts:
    """What the log says a party put into a study: rounds joined and missed, bytes uploaded, one digest to recognise."""

    party: str
    joined: int
    missed: tuple[int, ...]
    uploaded: int
    last_body: str


@dataclass(frozen=True, slots=True)
class StudyEvidence:
    """One study as its verified leaves tell it. `weights` are constants of the agreement, in the order of `members`."""

    id: str
    agreement: str
    purpose: tuple[str, ...]
    members: tuple[str, ...]
    weights: tuple[int, ...]
    threshold: int
    max_small_changes: int
    scheme: str
    rounds: tuple[RoundFacts, ...]
    participation: tuple[ParticipationFacts, ...]
    closed: str | None


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """One study with what the log does not say: its title, why its terms are what they are, what the audit counted."""

    title: str
    evidence: StudyEvidence
    summary: StudySummary
    explanation: Explanation

    @property
    def id(self) -> str:
        """The study's id."""
        return self.evidence.id


@dataclass(frozen=True, slots=True)
class DropoutFacts:
    """A party that was killed on purpose in mid-round, and what came of it."""

    party: str
    study: str
    round: int
    phase: str  # the round's phase when it was killed
    listed: bool  # whether that round's list names it all the same
    missed: tuple[int, ...]
    shut: tuple[str, ...]  # shared parts that stayed shut meanwhile
    restarted_in: int | None  # the round that ran when it was started again
    back_in: int | None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in equal bins from `low` to `high`; values outside are in the outermost bins."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """The same contribution three times: as its party knows it, as the gateway received it, and inside the sum that was opened.

    `alike_*` are correlations with the update, coordinate by coordinate. `body` is the BLAKE3 of the sealed bytes, and `recorded` whether
    the log's record of that party and round names it. `sum_checked` says whether the members' updates, computed again and added, gave
    the opened sum bit for bit.
    """

    party: str
    study: str
    round: int
    coordinates: int
    members: int
    update: Histogram
    sealed: Histogram
    opened: Histogram
    alike_sealed: float
    alike_opened: float
    body: str
    recorded: bool
    sum_checked: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the work and how long it took."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Facts:
    """All of a report. `studies[0]` is the one with everybody; others are compared with it."""

    title: str
    made_at: str
    version: str
    seed: int
    scheme: str
    machine: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    gateway: GatewayFacts
    parties: tuple[PartyFacts, ...]
    clauses: tuple[ClauseFacts, ...]
    studies: tuple[StudyFacts, ...]
    dropout: DropoutFacts | None
    picture: PictureFacts | None
    audit: Report
    command: str  # how to verify the evidence again
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> StudyFacts:
        """The study with everybody."""
        return self.studies[0]

    @property
    def contributions(self) -> int:
        """Encrypted contributions that were counted, over all studies."""
        return sum(record.joined for study in self.studies for record in study.evidence.participation)

    @property
    def uploaded(self) -> int:
        """Bytes of all of them."""
        return sum(record.uploaded for study in self.studies for record in study.evidence.participation)

    @property
    def additions(self) -> int:
        """Sums that were opened, over all studies."""
        return sum(study.summary.sums for study in self.studies)

    @property
    def fewest(self) -> int:
        """Parties in the smallest sum that was opened."""
        return min((study.summary.fewest for study in self.studies if study.summary.sums), default=0)

    @property
    def seconds(self) -> float:
        """Seconds of all parts together."""
        return sum(part.seconds for part in self.parts)
