"""What the gateway knows of one round: what it opened, and what came from whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import StepTerms, Terms

from parley_protocol.bound import secrets_of, statement_digest
from parley_protocol.certificates import Chain, cohort_of, openable
from parley_protocol.cohort import Cohort
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Reveal, Share, SurvivorList

T = TypeVar("T", Advertise, Share, Manifest)


@dataclass(frozen=True)
class GatewaySpec:
    """A round as the gateway opens it: `expected` are the members that were connected."""

    terms: Terms
    round: int
    step: int
    chain: Chain
    expected: frozenset[str]
    opened_at: float  # seconds, the service's clock

    @property
    def workload(self) -> StepTerms:
        """The step of the agreement that this round belongs to."""
        return self.terms.steps[self.step]

    @cached_property
    def cohort(self) -> Cohort:
        """Who deals with whom in this round."""
        return cohort_of(self.terms, self.chain, step=self.step, round_number=self.round)


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened: the service's clock in seconds, and who has not been connected for the agreed grace."""

    now: float
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """One statement as it came and as it was read."""

    envelope: Envelope
    statement: T

    @property
    def signature(self) -> bytes:
        """The author's signature, 64 bytes."""
        return self.envelope.signatures[0].sig

    @property
    def digest(self) -> bytes:
        """The statement's digest, 32 bytes."""
        return statement_digest(self.envelope.payload)


@dataclass(frozen=True, slots=True)
class ReceivedShares(Received[Share]):
    """SHARE: the statement, what its root stands for, and the boxes by recipient."""

    recipients: tuple[str, ...]
    hashes: tuple[Sequence[bytes], ...]  # by recipient, then by secret
    seeds: tuple[bytes, ...]  # by segment
    boxes: Mapping[str, str]
    paths: Mapping[str, tuple[bytes, ...]]  # of the recipients' leaves to the root
    seeds_path: tuple[bytes, ...]  # of the last leaf, the seeds'


@dataclass(frozen=True)
class GatewayState:
    """The state of one round at the gateway."""

    spec: GatewaySpec
    phase: Phase = Phase.ADVERTISE
    phase_since: float = 0.0
    adverts: Mapping[str, Received[Advertise]] = field(default_factory=dict)
    base: str = ""
    parameters: str = ""
    key_set: str = ""  # digest of the ADVERTISE statements in the round
    shared: tuple[str, ...] = ()  # segments with enough keys: seeds of these were shared
    shares: Mapping[str, ReceivedShares] = field(default_factory=dict)
    boxes_from: tuple[str, ...] = ()
    box_set: str = ""  # digest of their ids
    live: tuple[str, ...] = ()  # segments with enough boxes: vectors of these are sealed
    manifests: Mapping[str, Received[Manifest]] = field(default_factory=dict)
    listed: SurvivorList | None = None
    certificate: Envelope | None = None
    reveals: Mapping[str, Reveal] = field(default_factory=dict, repr=False)  # shares of this round's secrets, until it closes
    releases: Mapping[str, bytes] = field(default_factory=dict)  # signatures of those that destroyed their shares
    withdrawn: Mapping[str, str] = field(default_factory=dict)

    def secrets_of(self, owner: str) -> tuple[str, ...]:
        """Return the names of the secrets that a member shared in this round."""
        return secrets_of(self.spec.workload, self.shared, owner)

    def openable(self, present: frozenset[str], parameters: str) -> tuple[str, ...]:
        """Return the segments that `present` may open together."""
        return openable(self.spec.cohort, self.spec.chain, parameters, present)

    def require_listed(self) -> SurvivorList:
        """Return the survivor list; RemoteProtocolError before there is one."""
        if self.listed is None:
            raise RemoteProtocolError(f"round {self.spec.round}: there is no survivor list yet")
        return self.listed

    def revealed_owners(self, revealer: str, listed: SurvivorList) -> tuple[dict[str, list[str]], list[str]]:
        """Return whose shares `revealer` gives, in order: self-mask shares by segment, and mask-key shares."""
        owners = self.spec.cohort.sharing(revealer, self.boxes_from)
        seeds = {
            name: [owner for owner in owners if owner in listed.parties and owner in self.spec.workload.segment(name).member_set]
            for name in listed.openable
        }
        return seeds, [owner for owner in owners if owner not in listed.parties]

    def is_revealed(self) -> bool:
        """Whether enough shares of every secret are here to open the round."""
        cohort, revealed = self.spec.cohort, frozenset(self.reveals)
        if len(revealed) < cohort.threshold:
            return False
        if self.spec.terms.graph is None:
            return True
        return all(len(cohort.sharing(owner, revealed)) >= cohort.threshold for owner in self.boxes_from)
