"""Certificates, the chain they form, and what a list of survivors may open.

A certificate is a survivor list with t signatures. Certificates form one chain per agreement, the first naming the agreement digest as
its predecessor. `openable` is the one pure function, the same at gateway, party and auditor, that says which segments a set of members
may open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Signed
from parley_policies.enforcement.differencing import is_small_change, isolated
from parley_policies.negotiation.terms import SegmentTerms, StepTerms, Terms

from parley_protocol.cohort import Cohort
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.messages import Opened, SurvivorList

Lists = Mapping[str, tuple[frozenset[str], ...]]
NO_LISTS: Final[Lists] = {}


@dataclass(frozen=True, slots=True)
class OpenedList:
    """One sum that was certified for opening: of which segment, over whom, computed from which parameters."""

    segment: str
    members: frozenset[str]
    parameters: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What the certificates of one agreement have opened so far."""

    agreement: str
    head: str  # digest of the newest certificate; before the first one the agreement digest
    round: int  # the newest certified round, 0 before the first
    bases: frozenset[str]
    opened: tuple[OpenedList, ...]
    graph_seed: bytes = field(default=b"", repr=False)  # of the agreement's neighbour graph, where it has one

    @classmethod
    def start(cls, agreement: str, graph_seed: bytes = b"") -> Chain:
        """Return the empty chain of an agreement."""
        return cls(agreement, agreement, 0, frozenset(), (), graph_seed)

    def lists(self, segment: str) -> tuple[frozenset[str], ...]:
        """Return the member lists opened for a segment, oldest first."""
        return tuple(item.members for item in self.opened if item.segment == segment)

    def small_changes(self, segment: str, fewest: int) -> int:
        """Count the opened lists of a segment that differed from earlier ones by 1 to `fewest` - 1 members."""
        lists = self.lists(segment)
        return sum(is_small_change(lists[:index], members, fewest) for index, members in enumerate(lists))

    def certified(self, step: StepTerms, listed: SurvivorList) -> Chain:
        """Return the chain after `listed`, which the caller has verified."""
        added = tuple(
            OpenedList(name, listed.parties & frozenset(step.segment(name).members), listed.parameters) for name in listed.openable
        )
        return replace(
            self,
            head=listed.digest(),
            round=listed.round,
            bases=self.bases | {listed.base},
            opened=self.opened + added,
        )


def cohort_of(terms: Terms, chain: Chain, *, step: int, round_number: int) -> Cohort:
    """Return who deals with whom in a round of the step of that index."""
    return Cohort(terms, terms.steps[step], round_number, chain.graph_seed)


def openable(cohort: Cohort, chain: Chain, parameters: str, present: frozenset[str], earlier: Lists = NO_LISTS) -> tuple[str, ...]:
    """Return the segments that `present` may open together in the cohort's round, in the step's order.

    A segment is left out if fewer than its floor of its members are present, if its list would exceed the agreement's
    `max_small_changes`, if in the round's neighbour graph conspirators could split it, or if with the sums already opened from the same
    parameters (and, at a party, `earlier` ones of the same content) it isolates fewer than its floor.
    """
    chosen = []
    for segment in cohort.step.segments:
        members = present & frozenset(segment.members)
        is_small = len(members) < segment.floor or _exceeds(cohort.terms, chain, segment, members)
        if is_small or not cohort.is_whole(segment.name, members):
            continue
        sums = [item.members for item in chain.opened if item.segment == segment.name and item.parameters == parameters]
        if isolated([*earlier.get(segment.name, ()), *sums, members], segment.floor) is None:
            chosen.append(segment.name)
    return tuple(chosen)


def _exceeds(terms: Terms, chain: Chain, segment: SegmentTerms, members: frozenset[str]) -> bool:
    if not is_small_change(chain.lists(segment.name), members, segment.floor):
        return False
    return chain.small_changes(segment.name, segment.floor) >= terms.max_small_changes


def verify_certificate(terms: Terms, certificate: Envelope, known: SurvivorList | None = None) -> SurvivorList:
    """Return the list of a certificate; raise RemoteProtocolError unless at least t members signed exactly it.

    `known` is a list that the caller holds: if the certificate is on it, it is not parsed again.
    """
    if certificate.payload_type != SurvivorList.kind:
        raise RemoteProtocolError(f"certificate: wanted {SurvivorList.kind}, got {certificate.payload_type[:80]}")
    signers = certificate.signed_by(terms.keys(), terms.threshold)
    if len(signers) < terms.threshold:
        raise RemoteProtocolError(
            f"certificate: wanted {terms.threshold} valid signatures of members, got {len(signers)} ({', '.join(signers) or 'nobody'})"
        )
    try:
        listed = known if known is not None and known.canonical() == certificate.payload else SurvivorList.parse(certificate.payload)
    except CryptoError as error:
        raise RemoteProtocolError(f"certificate: {error}") from error
    if (listed.agreement, listed.study) != (terms.digest(), terms.study):
        raise RemoteProtocolError(
            f"certificate of round {listed.round}: wanted agreement {terms.digest()} on {terms.study}, "
            f"got {listed.agreement} on {listed.study}"
        )
    return listed


def extend(chain: Chain, terms: Terms, certificate: Envelope, verified: SurvivorList | None = None) -> tuple[Chain, SurvivorList]:
    """Return the chain after a certificate, having checked its signatures, its place in the chain and what it opens.

    `verified` is its list, if the caller has verified the signatures of this very certificate before.
    """
    listed = verified or verify_certificate(terms, certificate)
    if listed.previous != chain.head or listed.round <= chain.round:
        raise RemoteProtocolError(
            f"certificate of round {listed.round}: wanted a successor of round {chain.round} ({chain.head[:16]}…), "
            f"got one of {listed.previous[:16]}…"
        )
    if listed.base in chain.bases:
        raise RemoteProtocolError(f"certificate of round {listed.round}: base version {listed.base[:16]}… has an opened list already")
    if listed.step >= len(terms.steps):
        raise RemoteProtocolError(f"certificate of round {listed.round}: wanted a step below {len(terms.steps)}, got {listed.step}")
    _check_survivors(terms, listed)
    cohort = cohort_of(terms, chain, step=listed.step, round_number=listed.round)
    allowed = openable(cohort, chain, listed.parameters, listed.parties)
    if not listed.openable or listed.openable != tuple(name for name in allowed if name in listed.openable):
        raise RemoteProtocolError(f"certificate of round {listed.round}: wanted only {allowed} to be opened, got {listed.openable}")
    return chain.certified(cohort.step, listed), listed


def _check_survivors(terms: Terms, listed: SurvivorList) -> None:
    survivors, senders = [survivor.party for survivor in listed.survivors], list(listed.boxes_from)
    in_order = survivors == sorted(set(survivors)) and senders == sorted(set(senders))
    if not in_order or not set(survivors) <= set(senders) <= set(terms.keys()):
        raise RemoteProtocolError(
            f"certificate of round {listed.round}: wanted distinct members in id order, survivors among the senders of boxes, "
            f"got {survivors} of {senders}"
        )
    if len(survivors) < terms.threshold:
        raise RemoteProtocolError(
            f"certificate of round {listed.round}: wanted at least {terms.threshold} members listed, got {len(survivors)}"
        )


def verify_opened(terms: Terms, listed: SurvivorList, opened: Envelope) -> Opened:
    """Return the gateway's statement of the opened sums, checked against the certificate it belongs to."""
    try:
        statement = Signed(opened, Opened).verify(VerifyKey.from_hex(terms.gateway.key))
    except CryptoError as error:
        raise RemoteProtocolError(f"opened sums of round {listed.round}: {error}") from error
    step = terms.steps[listed.step]
    wanted = [(name, step.segment(name).length, len(listed.parties & set(step.segment(name).members))) for name in listed.openable]
    got = [(segment.name, segment.length, segment.parties) for segment in statement.segments]
    bound = (statement.study, statement.agreement, statement.round, statement.base, statement.certificate)
    if bound != (listed.study, listed.agreement, listed.round, listed.base, listed.digest()) or got != wanted:
        raise RemoteProtocolError(f"opened sums of round {listed.round}: wanted {wanted} under this certificate, got {got}")
    return statement
