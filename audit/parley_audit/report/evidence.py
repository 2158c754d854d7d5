"""From the leaves of a verified export to the facts of its studies.

No signature is checked here again, so the report of `verify` on the same export must be handed in, and one with a fault is refused.

    report = verify(folder, gateway_key=key)
    studies = read_studies(folder, report)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from parley_crypto.statement import Statement
from parley_policies.negotiation.terms import Terms
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.records import GatewayRecord, Participation, StudyEvent

from parley_audit.checks import Check, Report
from parley_audit.errors import FaultError
from parley_audit.export import LEAVES, Source
from parley_audit.leaves import parse_leaf
from parley_audit.report.facts import GatewayFacts, ParticipationFacts, RoundFacts, StudyEvidence

_WITHHELD = b'{"withheld":'


@dataclass(slots=True)
class _Found:
    """One study's leaves, gathered."""

    terms: Terms
    lists: list[SurvivorList] = field(default_factory=list)
    opened: dict[str, Opened] = field(default_factory=dict)
    records: dict[str, Participation] = field(default_factory=dict)
    closed: str | None = None


def read_studies(source: Source, report: Report) -> tuple[StudyEvidence, ...]:
    """Return every study that has an agreement, in the order of the agreements; FaultError with the fault that `report` found."""
    _require_verified(report)
    found: dict[str, _Found] = {}
    for statement in _statements(source):
        match statement:
            case Terms():
                found[statement.study] = _Found(statement)
            case SurvivorList():
                found[statement.study].lists.append(statement)
            case Opened():
                found[statement.study].opened[statement.certificate] = statement
            case Participation():
                found[statement.study].records[statement.party] = statement
            case StudyEvent() if statement.study in found and statement.by is None and statement.change in {"stopped", "finished"}:
                found[statement.study].closed = statement.change.value
            case _:
                pass
    return tuple(_study(each) for each in found.values())


def read_gateway(source: Source, report: Report) -> GatewayFacts:
    """Return the newest declaration of the gateway's operator; FaultError with the fault that `report` found, or if there is none."""
    _require_verified(report)
    newest = [statement for statement in _statements(source) if isinstance(statement, GatewayRecord)][-1:]
    if not newest:
        raise FaultError(Check.GATEWAY, "wanted a declaration of the gateway's operator among the leaves shown, got none")
    others = tuple(f"{item.name} ({item.country}): {item.service}" for item in newest[0].subprocessors)
    return GatewayFacts(newest[0].id, newest[0].legal_name, newest[0].country, report.gateway, others)


def read_participation(source: Source, report: Report, study: str, party: str) -> Participation | None:
    """Return the log's record of what a party put into a study, None if the export shows none; FaultError as `read_studies`."""
    _require_verified(report)
    for statement in _statements(source):
        if isinstance(statement, Participation) and (statement.study, statement.party) == (study, party):
            return statement
    return None


def _require_verified(report: Report) -> None:
    if report.fault is not None:
        raise FaultError(report.fault.check, report.fault.message, report.fault.leaf)


def _statements(source: Source) -> Iterator[Statement]:
    with source.open(LEAVES) as file:
        for line in file:
            if not line.startswith(_WITHHELD):
                yield parse_leaf(line.rstrip(b"\n"))


def _study(found: _Found) -> StudyEvidence:
    terms = found.terms
    return StudyEvidence(
        id=terms.study,
        agreement=terms.digest(),
        purpose=terms.purpose,
        members=tuple(member.party for member in terms.members),
        weights=tuple(member.weight for member in terms.members),
        threshold=terms.threshold,
        max_small_changes=terms.max_small_changes,
        scheme=terms.scheme,
        rounds=tuple(_round(terms, listed, found.opened.get(listed.digest())) for listed in found.lists),
        participation=tuple(_participation(found.records[m.party]) for m in terms.members if m.party in found.records),
        closed=found.closed,
    )


def _round(terms: Terms, listed: SurvivorList, opened: Opened | None) -> RoundFacts:
    step = terms.steps[listed.step]
    sums = () if opened is None else tuple((segment.name, segment.parties) for segment in opened.segments)
    return RoundFacts(
        number=listed.round,
        workload=step.workload,
        parties=tuple(sorted(listed.parties)),
        opened=sums,
        shut=_names_but(listed.openable, (segment.name for segment in step.segments)),
        certificate=listed.digest(),
    )


def _names_but(without: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    left_out = set(without)
    return tuple(name for name in names if name not in left_out)


def _participation(record: Participation) -> ParticipationFacts:
    last = record.joined[-1].body if record.joined else ""
    return ParticipationFacts(record.party, len(record.joined), record.missed, record.uploaded, last)
