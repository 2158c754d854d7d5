"""Verifiers of the leaves about rounds: certificates, opened sums, and what each party put in.

The rules are the parties' own (`parley_protocol.certificates`, `parley_policies.enforcement.differencing`): what they refused to sign
is refused here too, with the reason named.
"""

from __future__ import annotations

from parley_policies.enforcement.differencing import is_small_change
from parley_policies.negotiation.terms import SegmentTerms, StepTerms
from parley_protocol.bound import body_size, box_set_digest
from parley_protocol.certificates import Chain, cohort_of, openable, verify_opened
from parley_protocol.keyparts import graph_seed
from parley_protocol.messages import Manifest, Opened, SurvivorList
from parley_protocol.records import JoinedRound, Participation

from parley_audit.checks import Check, SmallChange
from parley_audit.ledger import Certified, Leaf, Ledger, Trail, signers


def verify_certificate(ledger: Ledger, leaf: Leaf) -> SurvivorList:
    """Enough members signed this list; it continues the chain; it opens nothing that the agreement forbids."""
    listed = SurvivorList.parse(leaf.envelope.payload)
    trail = ledger.trail(leaf, listed.study, listed.agreement, Check.CERTIFICATES)
    if missing := sorted(set(trail.terms.keys()) - set(trail.key_parts)):
        raise leaf.fault(
            Check.AGREEMENTS, f"study {listed.study}: wanted every member's key part before a certificate, got none of {', '.join(missing)}"
        )
    if not trail.certificates:
        trail.chain = Chain.start(trail.terms.digest(), graph_seed(trail.terms, trail.key_parts))
    _require_signed(leaf, trail, listed)
    ledger.passed(Check.CERTIFICATES)
    step = _require_successor(leaf, trail, listed)
    ledger.passed(Check.CHAIN)
    _require_floors(leaf, trail, step, listed)
    ledger.passed(*[Check.FLOORS] * len(listed.openable))
    trail.chain = trail.chain.certified(step, listed)
    trail.certificates.append(Certified(leaf.index, listed))
    return listed


def _require_signed(leaf: Leaf, trail: Trail, listed: SurvivorList) -> None:
    terms, what = trail.terms, f"study {listed.study}, round {listed.round}"
    found = signers(leaf, terms.keys(), Check.CERTIFICATES)
    if len(found) < terms.threshold:
        raise leaf.fault(Check.CERTIFICATES, f"{what}: wanted {terms.threshold} members' signatures, got {len(found)} ({', '.join(found)})")
    survivors = [survivor.party for survivor in listed.survivors]
    senders = list(listed.boxes_from)
    for name, parties in (("survivors", survivors), ("senders of boxes", senders)):
        if parties != sorted(set(parties)) or len(parties) < terms.threshold:
            raise leaf.fault(Check.CERTIFICATES, f"{what}: wanted at least {terms.threshold} distinct {name} in id order, got {parties}")
    if not set(survivors) <= set(senders) <= set(terms.keys()):
        raise leaf.fault(Check.CERTIFICATES, f"{what}: wanted survivors among the senders of boxes, and these among the members")


def _require_successor(leaf: Leaf, trail: Trail, listed: SurvivorList) -> StepTerms:
    what = f"study {listed.study}, round {listed.round}"
    if trail.closed is not None:
        raise leaf.fault(Check.CHAIN, f"{what}: the study was {trail.closed.change} before")
    if listed.previous != trail.chain.head or listed.round <= trail.chain.round:
        raise leaf.fault(
            Check.CHAIN,
            f"{what}: wanted the successor of round {trail.chain.round} ({trail.chain.head}), got one that names {listed.previous}",
        )
    if listed.base in trail.chain.bases:
        raise leaf.fault(Check.CHAIN, f"{what}: base version {listed.base} has an opened list already")
    if trail.certificates and trail.chain.head not in trail.opened:
        raise leaf.fault(Check.COMPLETENESS, f"{what}: the sums of round {trail.chain.round} were never stated as opened")
    if not trail.step <= listed.step < len(trail.terms.steps):
        raise leaf.fault(Check.CHAIN, f"{what}: wanted step {trail.step} to {len(trail.terms.steps) - 1}, got {listed.step}")
    step = trail.terms.steps[listed.step]
    before = sum(certified.listed.step == listed.step for certified in trail.certificates)
    if before >= step.rounds:
        raise leaf.fault(Check.CHAIN, f"{what}: wanted at most the {step.rounds} rounds agreed for {step.workload}, got one more")
    return step


def _require_floors(leaf: Leaf, trail: Trail, step: StepTerms, listed: SurvivorList) -> None:
    what = f"study {listed.study}, round {listed.round}"
    order = [segment.name for segment in step.segments if segment.name in listed.openable]
    if not listed.openable or list(listed.openable) != order:
        raise leaf.fault(Check.FLOORS, f"{what}: wanted segments of {step.workload}, each once and in its order, got {listed.openable}")
    cohort = cohort_of(trail.terms, trail.chain, step=listed.step, round_number=listed.round)
    allowed = openable(cohort, trail.chain, listed.parameters, listed.parties)
    for name in listed.openable:
        segment = step.segment(name)
        members = listed.parties & frozenset(segment.members)
        if len(members) < segment.floor:
            raise leaf.fault(Check.FLOORS, f"{what}, {name}: wanted at least {segment.floor} parties summed together, got {len(members)}")
        change = _small_change(trail, segment, members, listed.round)
        if name not in allowed:
            used, most = trail.chain.small_changes(name, segment.floor), trail.terms.max_small_changes
            many = change is not None and used >= most
            reason = f"its small change is one more than the {most} agreed" if many else "with earlier sums it singles out parties"
            raise leaf.fault(Check.FLOORS, f"{what}, {name}: {reason}")
        if change is not None:
            trail.small_changes.append(change)


def _small_change(trail: Trail, segment: SegmentTerms, members: frozenset[str], number: int) -> SmallChange | None:
    lists = trail.chain.lists(segment.name)
    if not is_small_change(lists, members, segment.floor):
        return None
    exposed = frozenset[str]().union(*(members ^ old for old in lists if 0 < len(members ^ old) < segment.floor))
    return SmallChange(number, segment.name, tuple(sorted(exposed)))


def verify_sums(ledger: Ledger, leaf: Leaf) -> Opened:
    """The gateway states what a certificate opened: over as many parties as the certificate lists, once."""
    statement = ledger.by_gateway(leaf, Opened, Check.OPENED)
    trail, what = (
        ledger.trail(leaf, statement.study, statement.agreement, Check.OPENED),
        f"study {statement.study}, round {statement.round}",
    )
    if statement.certificate in trail.opened:
        raise leaf.fault(Check.OPENED, f"{what}: its sums were stated as opened before")
    if not trail.certificates or statement.certificate != trail.chain.head:
        raise leaf.fault(Check.OPENED, f"{what}: wanted the newest certificate {trail.chain.head}, got {statement.certificate}")
    trail.opened[statement.certificate] = verify_opened(trail.terms, trail.certificates[-1].listed, leaf.envelope)
    ledger.passed(Check.OPENED, Check.COMPLETENESS)
    return statement


def verify_participation(ledger: Ledger, leaf: Leaf) -> Participation:
    """What a party joined, missed and uploaded, by the certificates: the record gives each of its manifests back to the bit."""
    record = ledger.by_gateway(leaf, Participation, Check.PARTICIPATION)
    trail = ledger.trail(leaf, record.study, record.agreement, Check.PARTICIPATION)
    what = f"study {record.study}, {record.party}"
    members = trail.terms.keys()
    if record.party not in members or record.party in trail.recorded:
        raise leaf.fault(Check.PARTICIPATION, f"{what}: wanted one record for each member, got another")
    if trail.closed is None:
        raise leaf.fault(Check.PARTICIPATION, f"{what}: wanted the record after the study closed, got it before")
    with_party = [certified.listed for certified in trail.certificates if record.party in certified.listed.parties]
    missed = tuple(c.listed.round for c in trail.certificates if record.party not in c.listed.parties)
    wanted, got = ([listed.round for listed in with_party], missed), ([joined.round for joined in record.joined], record.missed)
    if got != wanted:
        raise leaf.fault(Check.PARTICIPATION, f"{what}: wanted the rounds joined and missed {wanted}, got {got}")
    for listed, joined in zip(with_party, record.joined, strict=True):
        _require_manifest(leaf, trail, record.party, listed, joined)
    trail.recorded.add(record.party)
    ledger.passed(Check.PARTICIPATION)
    return record


def _require_manifest(leaf: Leaf, trail: Trail, party: str, listed: SurvivorList, joined: JoinedRound) -> None:
    what = f"study {listed.study}, {party}, round {joined.round}"
    step = trail.terms.steps[listed.step]
    if not set(joined.segments) <= {segment.name for segment in step.segments} or joined.size != body_size(step, joined.segments):
        raise leaf.fault(Check.PARTICIPATION, f"{what}: wanted segments of {step.workload} and their bytes, got {joined.size} bytes")
    made = Manifest(
        study=listed.study,
        agreement=listed.agreement,
        round=listed.round,
        base=listed.base,
        party=party,
        boxes=box_set_digest(trail.terms, listed.round, listed.boxes_from),
        segments=joined.segments,
        size=joined.size,
        body=joined.body,
    )
    wanted = next(survivor.manifest for survivor in listed.survivors if survivor.party == party)
    if made.digest() != wanted:
        raise leaf.fault(Check.PARTICIPATION, f"{what}: wanted the manifest {wanted} of the certificate, got {made.digest()}")
