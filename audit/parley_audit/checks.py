"""The numbered checks of an audit, and the report that they become.

A report counts what each check looked at and names the first fault with the leaf it stands in. After a fault nothing further is checked:
what follows rests on what came before. Counts are of things that passed.

    >>> Check.TREE.number, Check.TREE.title
    (3, 'the tree over all leaves has the signed root')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, unique


@unique
class Check(Enum):
    """One check: its number, its short name, and what holds where it passed."""

    FORMAT = (1, "format", "the export has exactly the files it should have, in the form they should have")
    CHECKPOINT = (2, "checkpoint", "the gateway's key signed the size and the root of this log")
    TREE = (3, "tree", "the tree over all leaves has the signed root")
    LEAVES = (4, "leaves", "every leaf shown is a signed statement of a known kind")
    GATEWAY = (5, "gateway", "who operates the gateway was declared under the log's own key")
    ENROLMENTS = (6, "enrolments", "every enrolled party proved that it holds its keys; nobody has two")
    POLICIES = (7, "policies", "every policy and offer was logged by the party it belongs to")
    AGREEMENTS = (8, "agreements", "every agreement is signed by all its members, with the keys they enrolled, and each gave its key part")
    EVENTS = (9, "events", "every event of a study was signed by whoever acted, in a possible order")
    CERTIFICATES = (10, "certificates", "every certificate has enough valid signatures of members")
    CHAIN = (11, "chain", "every certificate names the one before it; rounds increase; no base version was opened twice")
    FLOORS = (12, "floors", "no sum was opened over fewer parties than agreed, and small changes stayed within their allowance")
    OPENED = (13, "opened", "every opened sum belongs to a certificate and says over how many parties it is")
    COMPLETENESS = (14, "completeness", "no round is missing between the first and the last of a study")
    PARTICIPATION = (15, "participation", "every record of what a party put in agrees with the certificates")
    KEYS = (16, "keys", "the list of keys is what the enrolments prove")
    OPENINGS = (17, "openings", "every text beside the log is the one whose salted digest was logged")

    @property
    def number(self) -> int:
        """Its place in the order of checks, from 1."""
        return self.value[0]

    @property
    def slug(self) -> str:
        """Its short name."""
        return self.value[1]

    @property
    def title(self) -> str:
        """What holds where it passed, as a sentence."""
        return self.value[2]


@unique
class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOTHING = "nothing to check"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that does not verify; `leaf` is its index in the log, None where it is not about one leaf."""

    check: Check
    message: str
    leaf: int | None

    def __str__(self) -> str:
        where = "" if self.leaf is None else f" at leaf {self.leaf}"
        return f"check {self.check.number} ({self.check.slug}) failed{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check with its outcome and how many things passed it."""

    check: Check
    outcome: Outcome
    count: int


@dataclass(frozen=True, slots=True)
class SmallChange:
    """An opened list that differed from an earlier one by so few parties that these were nearly opened, without noise."""

    round: int
    segment: str
    parties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudySummary:
    """One study as its leaves tell it."""

    study: str
    agreement: str
    members: tuple[str, ...]
    certificates: int
    last_round: int
    opened: int  # certificates whose sums the gateway stated as opened
    sums: int  # opened sums, one a segment and round
    fewest: int  # parties in the smallest opened sum, 0 before the first
    small_changes: tuple[SmallChange, ...]
    closed: str | None  # how it ended, None while it may go on


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `gateway_given` says whether the gateway's key came from the reader or from the export itself."""

    audience: str
    origin: str
    size: int
    withheld: int
    root: str
    gateway: str  # fingerprint of the gateway's key
    gateway_given: bool
    checks: tuple[CheckResult, ...]
    fault: Fault | None
    studies: tuple[StudySummary, ...]
    proves: tuple[str, ...]
    proves_not: tuple[str, ...]
    witnesses: tuple[str, ...] = ()  # this version knows none

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return self.fault is None

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain JSON values."""
        return {
            "verified": self.ok,
            "fault": None if self.fault is None else _fault_dict(self.fault),
            "audience": self.audience,
            "origin": self.origin,
            "size": self.size,
            "withheld": self.withheld,
            "root": self.root,
            "gateway": self.gateway,
            "gateway_given": self.gateway_given,
            "witnesses": list(self.witnesses),
            "checks": [
                {"number": r.check.number, "check": r.check.slug, "says": r.check.title, "outcome": r.outcome.value, "count": r.count}
                for r in self.checks
            ],
            "studies": [_study_dict(study) for study in self.studies],
            "proves": list(self.proves),
            "proves_not": list(self.proves_not),
        }


def results(counts: Mapping[Check, int], fault: Fault | None) -> tuple[CheckResult, ...]:
    """Return every check with its outcome, in order of their numbers.

    Checks 4 to 15 are made leaf by leaf, so a fault leaves every one of them without a verdict but those that stand before it in `counts`.
    """
    return tuple(CheckResult(check, _outcome(check, counts, fault), counts.get(check, 0)) for check in Check)


_BY_LEAF = range(Check.LEAVES.number, Check.PARTICIPATION.number + 1)


def _outcome(check: Check, counts: Mapping[Check, int], fault: Fault | None) -> Outcome:
    if fault is not None and fault.check is check:
        return Outcome.FAILED
    if fault is not None and (check.number > fault.check.number or (check.number in _BY_LEAF and fault.check.number in _BY_LEAF)):
        return Outcome.NOT_REACHED
    return Outcome.PASSED if counts.get(check, 0) else Outcome.NOTHING


def _fault_dict(fault: Fault) -> dict[str, object]:
    return {"number": fault.check.number, "check": fault.check.slug, "leaf": fault.leaf, "message": fault.message}


def _study_dict(study: StudySummary) -> dict[str, object]:
    return {
        "study": study.study,
        "agreement": study.agreement,
        "members": list(study.members),
        "certificates": study.certificates,
        "last_round": study.last_round,
        "opened": study.opened,
        "sums": study.sums,
        "fewest": study.fewest,
        "small_changes": [
            {"round": change.round, "segment": change.segment, "parties": list(change.parties)} for change in study.small_changes
        ],
        "closed": study.closed,
    }
