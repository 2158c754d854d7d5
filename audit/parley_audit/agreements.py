"""Verifiers of the leaves that carry a study from its agreement to its end."""

from __future__ import annotations

from parley_policies.negotiation.terms import MemberTerms, Terms, graph_of, required_threshold
from parley_protocol.certificates import Chain
from parley_protocol.keyparts import KeyPart, check_key_part
from parley_protocol.records import CLOSING, StudyChange, StudyEvent

from parley_audit.checks import Check
from parley_audit.ledger import Leaf, Ledger, Trail, signers


def verify_agreement(ledger: Ledger, leaf: Leaf) -> Terms:
    """All members signed these terms, with the keys they enrolled, under this gateway, and the thresholds hold."""
    terms = Terms.parse(leaf.envelope.payload)
    if terms.study in ledger.trails:
        raise leaf.fault(Check.AGREEMENTS, f"study {terms.study} has an agreement already; this version knows no amendments")
    if terms.gateway.key != ledger.gateway.hex:
        raise leaf.fault(Check.AGREEMENTS, f"study {terms.study}: wanted gateway key {ledger.gateway.hex}, got {terms.gateway.key}")
    for member in terms.members:
        _require_as_enrolled(ledger, leaf, terms, member)
    missing = set(terms.keys()) - set(signers(leaf, terms.keys(), Check.AGREEMENTS))
    if missing:
        raise leaf.fault(
            Check.AGREEMENTS, f"study {terms.study}: wanted every member's signature, got none of {', '.join(sorted(missing))}"
        )
    _require_thresholds(leaf, terms)
    ledger.trails[terms.study] = Trail(terms, Chain.start(terms.digest()))
    ledger.passed(Check.AGREEMENTS)
    return terms


def _require_as_enrolled(ledger: Ledger, leaf: Leaf, terms: Terms, member: MemberTerms) -> None:
    enrolled = ledger.enrolled(leaf, member.party, Check.AGREEMENTS).enrolment
    wanted = (enrolled.identity, enrolled.legal_name, enrolled.party_class, enrolled.country)
    got = (member.identity, member.legal_name, member.party_class, member.country)
    if got != wanted:
        raise leaf.fault(
            Check.AGREEMENTS, f"study {terms.study}, member {member.party}: wanted key, name, class, country {wanted}, got {got}"
        )
    proposal = ledger.proposals.get((terms.study, member.party), terms.proposal_digest)
    if proposal != terms.proposal_digest:
        raise leaf.fault(
            Check.AGREEMENTS,
            f"study {terms.study}: the offer of {member.party} answers proposal {proposal}, the agreement is on {terms.proposal_digest}",
        )


def _require_thresholds(leaf: Leaf, terms: Terms) -> None:
    """Enough signatures a list that no two lists can both have them, and floors that leave two honest members in every sum."""
    members = len(terms.members)
    least = required_threshold(members, terms.max_colluders, gateway_may_lie=terms.gateway_may_lie)
    if not least <= terms.threshold <= members:
        raise leaf.fault(Check.AGREEMENTS, f"study {terms.study}: wanted a threshold of {least} to {members}, got {terms.threshold}")
    if terms.graph != graph_of(members, terms.max_colluders, terms.threshold):
        raise leaf.fault(Check.AGREEMENTS, f"study {terms.study}: wanted the neighbour graph for {members} members, got {terms.graph}")
    for step in terms.steps:
        for segment in step.segments:
            if segment.floor < terms.max_colluders + 2:
                raise leaf.fault(
                    Check.AGREEMENTS,
                    f"study {terms.study}, {segment.name}: wanted a floor of at least {terms.max_colluders + 2}, got {segment.floor}",
                )


def verify_key_part(ledger: Ledger, leaf: Leaf) -> KeyPart:
    """A member revealed what its offer had committed to: once, under its agreement, and before anything was certified."""
    claimed = KeyPart.parse(leaf.envelope.payload)
    part = ledger.by_member(leaf, KeyPart, claimed.party, Check.AGREEMENTS)
    trail, what = ledger.trail(leaf, part.study, part.agreement, Check.AGREEMENTS), f"study {part.study}, key part of {part.party}"
    members = trail.terms.keys()
    if part.party not in members or part.party in trail.key_parts:
        raise leaf.fault(Check.AGREEMENTS, f"{what}: wanted one of each member, got another")
    if trail.certificates or trail.closed is not None:
        raise leaf.fault(Check.AGREEMENTS, f"{what}: wanted it before the first certificate and the end, got it after")
    check_key_part(trail.terms, part)
    trail.key_parts[part.party] = part
    return part


def verify_event(ledger: Ledger, leaf: Leaf) -> StudyEvent:
    """Something happened to a study, signed by who did it, at a moment when it could happen."""
    claimed = StudyEvent.parse(leaf.envelope.payload)
    if claimed.by is None:
        event = ledger.by_gateway(leaf, StudyEvent, Check.EVENTS)
    else:
        event = ledger.by_member(leaf, StudyEvent, claimed.by, Check.EVENTS)
    if event.agreement is None:
        _terminate(ledger, leaf, event)
    else:
        _change(ledger, leaf, ledger.trail(leaf, event.study, event.agreement, Check.EVENTS), event)
    ledger.passed(Check.EVENTS)
    return event


def _terminate(ledger: Ledger, leaf: Leaf, event: StudyEvent) -> None:
    if event.study in ledger.trails:
        raise leaf.fault(Check.EVENTS, f"study {event.study}: wanted a negotiation without an agreement to be ended, got one with")


def _change(ledger: Ledger, leaf: Leaf, trail: Trail, event: StudyEvent) -> None:
    what = f"study {event.study} was {event.change}"
    members = trail.terms.keys()
    if event.by is not None and event.by not in members:
        raise leaf.fault(Check.EVENTS, f"{what} by {event.by}: wanted a member or the gateway")
    if trail.closed is not None:
        raise leaf.fault(Check.EVENTS, f"{what} after it was {trail.closed.change}")
    stop = event.by if event.change is StudyChange.STOPPED else None  # each member may ask to stop once; the rest happens once
    if (event.change, stop) in trail.events:
        raise leaf.fault(Check.EVENTS, f"{what} twice")
    trail.events.add((event.change, stop))
    if event.change in CLOSING and event.by is None:
        _close(leaf, trail, event)
        ledger.passed(Check.COMPLETENESS)
    else:
        _require_moment(leaf, trail, event)


def _require_moment(leaf: Leaf, trail: Trail, event: StudyEvent) -> None:
    """Before the first round, or for a member that stops the study, at any certificate it had seen; the gateway's word then closes it."""
    heads = trail.heads()
    moments = heads if event.change is StudyChange.STOPPED else heads[:1] if len(heads) == 1 else ()
    if event.head is None or event.head not in moments or moments.index(event.head) != event.certificates:
        raise leaf.fault(
            Check.EVENTS, f"study {event.study} was {event.change} at a moment when it could not be: got {event.certificates} certificates"
        )


def _close(leaf: Leaf, trail: Trail, event: StudyEvent) -> None:
    """A closing event counts the certificates, so that one left out at the end shows."""
    wanted, got = (len(trail.certificates), trail.chain.head), (event.certificates, event.head)
    if got != wanted:
        raise leaf.fault(
            Check.COMPLETENESS, f"study {event.study} was {event.change}: wanted its {wanted[0]} certificates up to {wanted[1]}, got {got}"
        )
    if event.change is StudyChange.FINISHED and trail.certificates and trail.chain.head not in trail.opened:
        raise leaf.fault(Check.COMPLETENESS, f"study {event.study} finished before its last certified round was opened")
    trail.closed = event
