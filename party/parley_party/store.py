"""What a party keeps: one SQLite file, every write durable before it is acknowledged or acted on.

Each method is one transaction. Methods that change a round's state take everything that must become true together: the event, the
messages that it sends, and how far the inbox was read (persist before send, invariant 11). Rows leave this file only as frozen values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from parley_service.database import Database
from parley_service.storecopy import CopyRules, Part
from sqlalchemy import Insert, delete, insert, update
from sqlmodel import Session, col, select

from parley_party.fence import Fence, FenceState
from parley_party.tables import (
    ActivationRow,
    ApprovalRow,
    CertificateRow,
    EgressRow,
    EvidenceRow,
    FederationRow,
    FenceRow,
    HeldTermsRow,
    KnownMemberRow,
    OutboxRow,
    PartyTable,
    RegisteredSumRow,
    RoundEventRow,
    RoundRow,
    StudyRow,
    VersionRow,
)

EGRESS_SHOWN: Final = 10_000  # rows in one answer
PACKAGE: Final = "parley_party"
NO_MESSAGE: Final = 0  # what left without waiting in the outbox, whose ids begin at 1

# A copy of the store holds no secret of a round and no message of one. A round that is open becomes "lost", its base version spent, and
# each agreed study gets a fence: nobody who starts from the copy knows what this party signs after this moment. For that reason an offer
# that waits for terms counts no more: terms of one cohort of its proposal may be signed by the time the copy is used.
_MAY_BE_ANSWERED: Final = "state = 'OFFERED'"
COPY: Final = CopyRules(
    PACKAGE,
    {
        "rounds": Part(
            instead={
                "seed": "x''",
                "sealed": "sealed OR outcome = ''",
                "reason": "CASE outcome WHEN '' THEN 'open when a backup was made' ELSE reason END",
                "outcome": "CASE outcome WHEN '' THEN 'lost' ELSE outcome END",
            }
        ),
        "studies": Part(
            instead={
                "secrets": f"CASE WHEN {_MAY_BE_ANSWERED} THEN x'' ELSE secrets END",
                "reason": f"CASE WHEN {_MAY_BE_ANSWERED} THEN 'from a backup made while our offer waited for terms' ELSE reason END",
                "state": f"CASE WHEN {_MAY_BE_ANSWERED} THEN 'TERMINATED' ELSE state END",
            }
        ),
        "round_events": Part(where="0"),
        "outbox": Part(where="number = 0"),
        "fences": Part(where="0"),
    },
    then=(
        """INSERT INTO fences (study, state, round, since) SELECT study, 'restored',
        max(coalesce((SELECT max(number) FROM rounds WHERE rounds.study = studies.study), 0),
            coalesce((SELECT round FROM source.fences AS f WHERE f.study = studies.study), 0)), CAST(strftime('%s', 'now') AS REAL)
        FROM studies WHERE agreement != ''""",
    ),
    retire=(
        "UPDATE rounds SET seed = x'', sealed = 1, outcome = 'lost', reason = 'open when a backup was restored' WHERE outcome = ''",
        "DELETE FROM round_events",
        "DELETE FROM outbox WHERE number != 0",
    ),
    carry=(
        # A policy that was tightened after the backup stays in force: a backup is no way back to an older version. Only whole histories
        # are taken along, and only longer ones that begin as the backup's does.
        """INSERT INTO activations SELECT * FROM old.activations WHERE number > (SELECT coalesce(max(number), 0) FROM activations)
        AND NOT EXISTS (SELECT 1 FROM activations AS mine LEFT JOIN old.activations AS theirs ON theirs.number = mine.number
            WHERE theirs.policy IS NOT mine.policy OR theirs.approvals IS NOT mine.approvals)""",
        "UPDATE fences SET round = max(round, coalesce((SELECT max(number) FROM old.rounds WHERE old.rounds.study = fences.study), 0))",
    ),
)


@dataclass(frozen=True, slots=True)
class LogView:
    """The log of a federation as this party last saw it, and how far its inbox was read."""

    cursor: int
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that must still reach the gateway."""

    study: str
    number: int
    kind: str
    body: str
    upload: str = ""
    agreement: str = ""
    id: int = 0


@dataclass(frozen=True, slots=True)
class Egress:
    """One message that left the building."""

    at: float
    study: str
    round: int
    kind: str
    size: int
    agreement: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the gateway acknowledged, and what left with it."""

    message: int
    left: tuple[Egress, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes true in one transaction. Fields left empty change nothing."""

    cursor: int | None = None
    log: tuple[int, str] | None = None
    study: StudyRow | None = None
    ended: StudyRow | None = None  # the study that `study` goes on from
    round: RoundRow | None = None
    event: tuple[str, int, str, str] | None = None  # study, round, kind, body
    outgoing: Sequence[Outgoing] = ()
    version: VersionRow | None = None
    certificate: CertificateRow | None = None
    registered: Sequence[RegisteredSumRow] = ()
    evidence: Sequence[EvidenceRow] = ()
    forget_events_of: tuple[str, int] | None = None
    fence: Fence | None = None
    sent: Sequence[Sent] = ()
    held: HeldTermsRow | None = None


class PartyStore:
    """The party's tables behind an async face."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply(self, federation: str, change: Change) -> list[Outgoing]:
        """Write one change, durably; return its messages as they now wait. What a closed round leaves is off the disk soon after."""
        waiting = await self._database.run(lambda session: _apply(session, federation, change))
        if change.forget_events_of is not None:
            self._database.flush_deleted_soon()
        return waiting

    async def log_view(self, federation: str) -> LogView:
        """Return how far inbox and log were read; zeros for a federation that was just joined."""

        def read(session: Session) -> LogView:
            row = session.get(FederationRow, federation)
            return LogView(row.cursor, row.log_size, row.log_root) if row else LogView(0, 0, "")

        return await self._database.run(read)

    async def activate(self, row: ActivationRow) -> None:
        """Write down, durably, that a policy is in force from here on. What was in force before is kept, and never overwritten."""

        def write(session: Session) -> None:
            session.connection().execute(insert(PartyTable.metadata.tables["activations"]), [_values(row)])

        await self._database.run(write)

    async def activations(self) -> list[ActivationRow]:
        """Return every policy that came into force here, the one in force last."""
        return await self._all(select(ActivationRow).order_by(col(ActivationRow.number)))

    async def held_terms(self, study: str) -> HeldTermsRow | None:
        """Return the terms of a study that this party's people were asked to approve."""
        return await self._database.run(lambda session: session.get(HeldTermsRow, study))

    async def approve(self, row: ApprovalRow) -> None:
        """Write down, durably, what a role said to terms, in place of what it said before."""
        await self._database.run(lambda session: _put(session, [row]))

    async def approvals(self, terms: str) -> list[ApprovalRow]:
        """Return what roles said to the terms of that digest."""
        return await self._all(select(ApprovalRow).where(ApprovalRow.terms == terms).order_by(col(ApprovalRow.role)))

    async def studies(self, federation: str | None = None) -> list[StudyRow]:
        """Return all studies (of a federation), by id."""
        query = select(StudyRow).order_by(col(StudyRow.study))
        if federation is not None:
            query = query.where(StudyRow.federation == federation)
        return await self._all(query)

    async def study(self, study: str) -> StudyRow | None:
        """Return one study."""
        return await self._database.run(lambda session: session.get(StudyRow, study))

    async def rounds(self, study: str) -> list[RoundRow]:
        """Return the rounds of a study that this party entered, in order."""
        return await self._all(select(RoundRow).where(RoundRow.study == study).order_by(col(RoundRow.number)))

    async def rounds_since(self, since: float) -> int:
        """Return how many rounds this party entered since a time (unix seconds), in all studies, but for those given up."""
        query = select(RoundRow).where(RoundRow.opened_at >= since, col(RoundRow.outcome).in_(("", "opened", "passed")))
        return len(await self._all(query))

    async def events(self, study: str, number: int) -> list[tuple[str, str]]:
        """Return the events of a round, in order, as (kind, body)."""
        query = select(RoundEventRow).where(RoundEventRow.study == study, RoundEventRow.number == number).order_by(col(RoundEventRow.id))
        return [(row.kind, row.body) for row in await self._all(query)]

    async def fence(self, study: str) -> Fence | None:
        """Return what a restored party must assume of a study; None where nothing was restored."""
        row = await self._database.run(lambda session: session.get(FenceRow, study))
        return None if row is None else Fence(row.study, FenceState(row.state), row.round, row.since)

    async def versions(self, study: str) -> list[VersionRow]:
        """Return the kept public states of a study, oldest first."""
        return await self._all(select(VersionRow).where(VersionRow.study == study).order_by(col(VersionRow.number)))

    async def newest_version(self, study: str) -> VersionRow | None:
        """Return the newest public state of a study."""
        query = select(VersionRow).where(VersionRow.study == study).order_by(col(VersionRow.number).desc()).limit(1)
        rows = await self._all(query)
        return rows[0] if rows else None

    async def certificates(self, study: str) -> list[CertificateRow]:
        """Return the certificates of a study, in order."""
        return await self._all(select(CertificateRow).where(CertificateRow.study == study).order_by(col(CertificateRow.round)))

    async def registered(self, dataset: str, contents: Sequence[str]) -> list[RegisteredSumRow]:
        """Return earlier sums over a dataset that asked any of `contents`."""
        query = select(RegisteredSumRow).where(RegisteredSumRow.dataset == dataset, col(RegisteredSumRow.content).in_(contents))
        return await self._all(query)

    async def outgoing(self, federation: str) -> list[Outgoing]:
        """Return what must still be sent, oldest first."""
        query = select(OutboxRow).where(OutboxRow.federation == federation).order_by(col(OutboxRow.id))
        return [_outgoing(row) for row in await self._all(query)]

    async def egress(self, study: str | None) -> list[Egress]:
        """Return what left, newest last, of one study or of all."""
        query = select(EgressRow).order_by(col(EgressRow.id).desc()).limit(EGRESS_SHOWN)
        if study is not None:
            query = query.where(EgressRow.study == study)
        rows = await self._all(query)
        return [Egress(r.at, r.study, r.round, r.kind, r.size, r.agreement, r.verdict) for r in reversed(rows)]

    async def evidence(self, study: str | None = None) -> list[EvidenceRow]:
        """Return what may have to be shown later, oldest first."""
        query = select(EvidenceRow).order_by(col(EvidenceRow.id))
        if study is not None:
            query = query.where(EvidenceRow.study == study)
        return await self._all(query)

    async def first_seen(self, federation: str, members: dict[str, str], now: float) -> dict[str, str]:
        """Return each member's identity key as first seen, remembering those that are new (`members`: party -> key)."""

        def write(session: Session) -> dict[str, str]:
            found = dict(members)
            for party, identity in members.items():
                known = session.get(KnownMemberRow, (federation, party))
                if known is None:
                    session.add(KnownMemberRow(federation=federation, party=party, identity=identity, first_seen=now))
                else:
                    found[party] = known.identity
            return found

        return await self._database.run(write)

    async def _all(self, query: Any) -> list[Any]:  # noqa: ANN401 - any select; each caller says what rows it gives
        return await self._database.run(lambda session: list(session.exec(query).all()))


def _apply(session: Session, federation: str, change: Change) -> list[Outgoing]:
    _apply_federation(session, federation, change)
    _apply_sent(session, federation, change.sent)
    for row in (change.study, change.ended, change.round, change.version, change.certificate, change.held):
        if row is not None:
            _put(session, [row])
    _put(session, change.registered)
    _put(session, change.evidence)
    if change.fence is not None:
        fence = change.fence
        _put(session, [FenceRow(study=fence.study, state=fence.state.value, round=fence.round, since=fence.since)])
    if change.event is not None:
        study, number, kind, body = change.event
        _put(session, [RoundEventRow(study=study, number=number, kind=kind, body=body)])
    if change.forget_events_of is not None:
        study, number = change.forget_events_of
        session.execute(delete(RoundEventRow).where(col(RoundEventRow.study) == study, col(RoundEventRow.number) == number))
        session.execute(delete(OutboxRow).where(col(OutboxRow.study) == study, col(OutboxRow.number) == number))
    return [_wait(session, federation, item) for item in change.outgoing]


def _put(session: Session, rows: Sequence[PartyTable]) -> None:
    """Write rows of one table, replacing those with the same key. Plain statements: the unit of work costs more than the write."""
    if rows:
        statement = _replacing(type(rows[0]))
        session.connection().execute(statement, [_values(row) for row in rows])


@cache
def _replacing(table: type[PartyTable]) -> Insert:
    return insert(PartyTable.metadata.tables[str(table.__tablename__)]).prefix_with("OR REPLACE")


def _values(row: PartyTable) -> dict[str, Any]:
    return {name: value for name, value in row.model_dump().items() if not (name == "id" and value is None)}


def _wait(session: Session, federation: str, item: Outgoing) -> Outgoing:
    row = OutboxRow(federation=federation, **_message(item))
    session.add(row)
    session.flush()  # gives the id
    return replace(item, id=row.id or 0)


def _apply_sent(session: Session, federation: str, sent: Sequence[Sent]) -> None:
    if sent:
        session.execute(delete(OutboxRow).where(col(OutboxRow.id).in_([item.message for item in sent])))
        _put(session, [EgressRow(federation=federation, **_fields(left)) for item in sent for left in item.left])


def _fields(item: Egress) -> dict[str, Any]:
    return {name: getattr(item, name) for name in ("at", "study", "round", "kind", "size", "agreement", "verdict")}


def _message(item: Outgoing) -> dict[str, Any]:
    return {name: getattr(item, name) for name in ("study", "number", "kind", "body", "upload", "agreement")}


def _outgoing(row: OutboxRow) -> Outgoing:
    return Outgoing(row.study, row.number, row.kind, row.body, row.upload, row.agreement, row.id or 0)


def _apply_federation(session: Session, federation: str, change: Change) -> None:
    if change.cursor is None and change.log is None:
        return
    values: dict[str, Any] = {} if change.cursor is None else {"cursor": change.cursor}
    if change.log is not None:
        values |= {"log_size": change.log[0], "log_root": change.log[1]}
    table = PartyTable.metadata.tables["federations"]
    changed = session.connection().execute(update(table).where(table.c.name == federation).values(**values))
    if not changed.rowcount:
        _put(session, [FederationRow(name=federation, **values)])


def members_json(members: Sequence[str] | frozenset[str]) -> str:
    """Return a member list as the store writes it."""
    return json.dumps(sorted(members))
