"""What an audit has read of a log so far: who is enrolled, which agreements stand, how far each study's chain has come.

Leaves are judged in their order against this state alone, so that a leaf can rest only on leaves before it. `Leaf` is one of them with its
place; `by_gateway` and `by_members` are the only ways from a leaf to a statement that its signatures are checked for, and both refuse
signatures that have no business there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Signed, Statement
from parley_policies.negotiation.terms import Terms
from parley_protocol.certificates import Chain
from parley_protocol.keyparts import KeyPart
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.records import Enrolment, StudyChange, StudyEvent

from parley_audit.checks import Check, SmallChange, StudySummary
from parley_audit.errors import FaultError

T = TypeVar("T", bound=Statement)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf that is shown: its index in the log and the envelope in it."""

    index: int
    envelope: Envelope

    def fault(self, check: Check, message: str) -> FaultError:
        """Return the fault of this leaf, to be raised."""
        return FaultError(check, message, self.index)


@dataclass(slots=True)
class Enrolled:
    """A party as it enrolled."""

    enrolment: Enrolment
    identity: VerifyKey
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Certified:
    """One certificate of a chain."""

    leaf: int
    listed: SurvivorList


@dataclass(slots=True)
class Trail:
    """What is known of one study from its agreement on."""

    terms: Terms
    chain: Chain
    certificates: list[Certified] = field(default_factory=list)
    opened: dict[str, Opened] = field(default_factory=dict)  # by the certificate's digest
    small_changes: list[SmallChange] = field(default_factory=list)
    key_parts: dict[str, KeyPart] = field(default_factory=dict)  # by member
    events: set[tuple[StudyChange, str | None]] = field(default_factory=set)
    closed: StudyEvent | None = None
    recorded: set[str] = field(default_factory=set)  # parties with a participation record

    @property
    def step(self) -> int:
        """The step of the newest certificate, 0 before the first."""
        return self.certificates[-1].listed.step if self.certificates else 0

    def heads(self) -> list[str]:
        """Return the agreement digest and each certificate's, in order."""
        return [self.chain.agreement, *(certified.listed.digest() for certified in self.certificates)]

    def summary(self) -> StudySummary:
        """Return the study in figures."""
        sums = [segment.parties for opened in self.opened.values() for segment in opened.segments]
        return StudySummary(
            study=self.terms.study,
            agreement=self.terms.digest(),
            members=tuple(member.party for member in self.terms.members),
            certificates=len(self.certificates),
            last_round=self.chain.round,
            opened=len(self.opened),
            sums=len(sums),
            fewest=min(sums, default=0),
            small_changes=tuple(self.small_changes),
            closed=None if self.closed is None else self.closed.change.value,
        )


@dataclass(slots=True)
class Ledger:
    """State of an audit between two leaves."""

    gateway: VerifyKey
    origin: str
    counts: Counter[Check] = field(default_factory=Counter)
    members: dict[str, Enrolled] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)  # every key that anyone ever enrolled
    trails: dict[str, Trail] = field(default_factory=dict)  # by study
    proposals: dict[tuple[str, str], str] = field(default_factory=dict)  # (study, party) -> proposal that its newest offer answers
    salted: dict[int, str] = field(default_factory=dict)  # leaf -> salted digest in it

    def passed(self, *checks: Check) -> None:
        """Count one thing for each of `checks`."""
        self.counts.update(checks)

    def by_gateway(self, leaf: Leaf, of: type[T], check: Check) -> T:
        """Return the leaf's statement if the gateway, and nobody else, signed it."""
        _require_one(leaf, check)
        return Signed(leaf.envelope, of).verify(self.gateway)

    def by_member(self, leaf: Leaf, of: type[T], party: str, check: Check) -> T:
        """Return the leaf's statement if the enrolled `party`, and nobody else, signed it with its identity key."""
        _require_one(leaf, check)
        return Signed(leaf.envelope, of).verify(self.enrolled(leaf, party, check).identity)

    def enrolled(self, leaf: Leaf, party: str, check: Check) -> Enrolled:
        """Return a party that is enrolled and not revoked."""
        member = self.members.get(party)
        if member is None or member.revoked:
            state = "never enrolled before this leaf" if member is None else "revoked before this leaf"
            raise leaf.fault(check, f"party {party}: wanted an enrolled party, got one that was {state}")
        return member

    def trail(self, leaf: Leaf, study: str, agreement: str, check: Check) -> Trail:
        """Return the study's trail if its agreement has this digest."""
        trail = self.trails.get(study)
        if trail is None:
            raise leaf.fault(check, f"study {study}: wanted an agreement before this leaf, got none")
        if trail.terms.digest() != agreement:
            raise leaf.fault(check, f"study {study}: wanted agreement {trail.terms.digest()}, got {agreement}")
        return trail


def signers(leaf: Leaf, keys: Mapping[str, VerifyKey], check: Check) -> tuple[str, ...]:
    """Return who signed the leaf; a signature that is a stranger's, repeated or wrong is a fault, not something to skip."""
    found = leaf.envelope.signed_by(dict(keys), len(keys))
    if len(found) != len(leaf.envelope.signatures):
        names = ", ".join(found) or "nobody"
        wanted = len(leaf.envelope.signatures)
        raise leaf.fault(check, f"wanted {wanted} valid signatures of different members, got {len(found)} ({names})")
    return found


def _require_one(leaf: Leaf, check: Check) -> None:
    if len(leaf.envelope.signatures) != 1:
        raise leaf.fault(check, f"wanted one signature, got {len(leaf.envelope.signatures)}")
