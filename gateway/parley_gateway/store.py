"""What a gateway keeps: one SQLite file. `commit` writes whole transactions, `load` gives a starting service all that it needs.

Rows leave this file only as the frozen values of `entries`. Events of a round are written without gaps or not at all: a service that went
on after a failed write would replay something else than what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from parley_protocol.codec import RELAYS
from parley_protocol.phases import Event
from parley_service.database import Database, migrate, open_engine, read_store
from parley_service.errors import StoreError
from parley_service.storecopy import CopyRules, Part
from sqlalchemy import Connection, Table, bindparam, delete, func, insert, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, col, select

from parley_gateway.entries import (
    LOST,
    OPEN,
    Answer,
    CertificateEntry,
    Entries,
    Invite,
    Kept,
    KeptRound,
    Leaf,
    Member,
    Message,
    Note,
    Posted,
    RoundEntry,
    RoundEvent,
    Stored,
    StudyEntry,
)
from parley_gateway.tables import (
    METADATA,
    AnswerRow,
    CertificateRow,
    CheckpointRow,
    EnrolledKeyRow,
    FactRow,
    InviteRow,
    KeptRoundRow,
    LeafRow,
    MemberRow,
    MessageRow,
    NoteRow,
    PostedRow,
    RoundEventRow,
    RoundRow,
    StudyRow,
)

PACKAGE: Final = "parley_gateway"
NOTES_SHOWN: Final = 1_000
INBOX_FROM: Final = "inbox-from"  # the fact that holds a number above every message that may have been sent before a restore
_INBOX_JUMP: Final = 1 << 32  # more messages than are sent between a backup and its restore: parties would pass over known numbers
_RELAY_KINDS: Final = ", ".join(f"'{kind}'" for kind in RELAYS)

# A copy of the store holds no share, box or seed: neither the events of a round, nor its messages, nor what is kept of a closed one. A
# round that is open becomes "lost".
COPY: Final = CopyRules(
    PACKAGE,
    {
        "rounds": Part(instead={"state": "CASE state WHEN 'open' THEN 'lost' ELSE state END"}),
        "round_events": Part(where="0"),
        "kept_rounds": Part(where="0"),
        "inbox": Part(where=f"kind NOT IN ({_RELAY_KINDS})"),
    },
    then=(
        f"""INSERT OR REPLACE INTO facts (name, value) SELECT '{INBOX_FROM}', CAST({_INBOX_JUMP} + max(
        coalesce((SELECT max(seq) FROM source.inbox), 0),
        coalesce((SELECT CAST(value AS INTEGER) FROM source.facts WHERE name = '{INBOX_FROM}'), 0)) AS TEXT)""",  # noqa: S608 - our own names
    ),
    retire=(
        "UPDATE rounds SET state = 'lost' WHERE state = 'open'",
        "DELETE FROM round_events",
        "DELETE FROM kept_rounds",
        f"DELETE FROM inbox WHERE kind IN ({_RELAY_KINDS})",  # noqa: S608 - as above
    ),
)
E = TypeVar("E")
T = TypeVar("T")


def create_store(path: Path) -> None:
    """Make an empty store at `path`; StoreError if that cannot be."""
    engine = open_engine(path)
    migrate(engine, PACKAGE)
    engine.dispose()


class GatewayStore:
    """The gateway's tables behind an async face. Make it inside the event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[tuple[str, int], int] = {}  # (study, round) -> events on the disk; touched by the worker thread alone

    @classmethod
    def open(cls, path: Path) -> GatewayStore:
        """Open the store at `path`, made or brought up to this version; StoreError if that cannot be."""
        engine = open_engine(path)
        migrate(engine, PACKAGE)
        return cls(Database(engine))

    async def close(self) -> None:
        """Write what waits and let go of the file."""
        await self._database.close()

    async def flush_deleted(self) -> None:
        """Empty the write-ahead file: what was deleted is on the disk no more."""
        await self._database.flush_deleted()

    async def commit(self, entries: Entries) -> None:
        """Return once all of `entries` is on the disk; StoreError if none of it is."""
        try:
            await self._database.run(lambda session: self._write(session, entries))
        except IntegrityError as error:
            raise StoreError(f"the store refused what contradicts it: {error.orig}") from error
        if entries.forgotten or entries.kept or entries.unkept:
            self._database.flush_deleted_soon()

    async def load(self) -> Stored:
        """Return what a starting service needs."""
        stored = await self._database.run(_load)
        for event in stored.events:
            self._written[event.study, event.round] = event.seq + 1
        return stored

    async def messages_after(self, party: str, after: int, up_to: int, limit: int) -> tuple[Message, ...]:
        """Return a party's messages above `after` and at or below `up_to`, oldest first."""
        query = (
            select(MessageRow)
            .where(col(MessageRow.party) == party, col(MessageRow.seq) > after, col(MessageRow.seq) <= up_to)
            .order_by(col(MessageRow.seq))
            .limit(limit)
        )
        return await self._database.run(lambda session: _all(session, query, Message))

    async def certificates_after(self, study: str, after: int, limit: int) -> tuple[CertificateEntry, ...]:
        """Return a study's certified rounds above `after`, in order."""
        query = (
            select(CertificateRow)
            .where(col(CertificateRow.study) == study, col(CertificateRow.round) > after)
            .order_by(col(CertificateRow.round))
            .limit(limit)
        )
        return await self._database.run(lambda session: _all(session, query, CertificateEntry))

    async def leaves(self, start: int, end: int) -> tuple[bytes, ...]:
        """Return the leaves from `start` up to but not including `end`."""
        return await self._database.run(lambda session: _leaves(session, start, end))

    async def log_entries(self, start: int, end: int) -> tuple[Leaf, ...]:
        """Return the leaves from `start` up to but not including `end`, with whom each concerns."""
        query = select(LeafRow).where(col(LeafRow.index) >= start, col(LeafRow.index) < end).order_by(col(LeafRow.index))
        return await self._database.run(lambda session: _all(session, query, Leaf))

    async def notes_after(self, study: str, after: int) -> tuple[Note, ...]:
        """Return lines of a study's log above `after`, oldest first."""
        query = select(NoteRow).where(col(NoteRow.study) == study, col(NoteRow.seq) > after).order_by(col(NoteRow.seq)).limit(NOTES_SHOWN)
        return await self._database.run(lambda session: _all(session, query, Note))

    def _write(self, session: Session, entries: Entries) -> None:
        connection = session.connection()
        _replace(connection, MemberRow, entries.members)
        keys = [(key, member.party) for member in entries.members for key in (member.identity, member.authentication)]
        _replace_rows(connection, EnrolledKeyRow, [{"key": key, "party": party} for key, party in keys])
        _replace(connection, InviteRow, entries.invites)
        _replace(connection, StudyRow, entries.studies)
        _replace(connection, AnswerRow, entries.answers)
        _replace(connection, RoundRow, entries.rounds)
        self._write_events(connection, entries)
        _insert(connection, MessageRow, [_columns(row) for row in entries.messages])
        _insert(connection, PostedRow, [_columns(row) for row in entries.posts])
        _insert(connection, CertificateRow, [_columns(row) for row in entries.certificates])
        _replace(connection, KeptRoundRow, entries.kept)
        for study in entries.unkept:
            connection.execute(_FORGET_KEPT, {"s": study})
        _insert(connection, LeafRow, [_columns(row) for row in entries.leaves])
        _insert(connection, NoteRow, [{"study": note.study, "at": note.at, "text": note.text} for note in entries.notes])
        if entries.read:  # never the newest message of all: its number is the counter
            connection.execute(_FORGET_READ, [{"p": party, "n": seq} for party, seq in entries.read.items()])
        if entries.shown:
            connection.execute(_SHOW, [{"p": party, "n": leaves} for party, leaves in entries.shown.items()])
        if entries.checkpoint is not None:
            size, note = entries.checkpoint
            _replace_rows(connection, CheckpointRow, [{"id": 1, "size": size, "note": note}])
        _replace_rows(connection, FactRow, [{"name": name, "value": value} for name, value in entries.facts.items()])

    def _write_events(self, connection: Connection, entries: Entries) -> None:
        for event in entries.events:
            wanted = self._written.get((event.study, event.round), 0)
            if event.seq != wanted:
                raise StoreError(f"events of {event.study}, round {event.round}", wanted=f"number {wanted} next", got=str(event.seq))
            self._written[event.study, event.round] = wanted + 1
        _insert(connection, RoundEventRow, [_columns(row) for row in entries.events])
        for study, number in entries.forgotten:
            self._written.pop((study, number), None)
            connection.execute(_FORGET_EVENTS, {"s": study, "n": number})
            connection.execute(_FORGET_BOXES, {"s": study})


# Statements are made once: what SQLAlchemy derives from one is kept with it.

_INSERT: Final = {table: insert(table) for table in METADATA.sorted_tables}
_REMOVE: Final = {
    table: delete(table).where(*(column == bindparam(f"old_{column.name}") for column in table.primary_key.columns))
    for table in METADATA.sorted_tables
}
_SHOW: Final = update(MemberRow).where(col(MemberRow.party) == bindparam("p")).values(shown=bindparam("n"))
_FORGET_EVENTS: Final = delete(RoundEventRow).where(col(RoundEventRow.study) == bindparam("s"), col(RoundEventRow.round) == bindparam("n"))
_FORGET_BOXES: Final = delete(MessageRow).where(  # a study has one open round; who did not read its boxes needs them no more
    col(MessageRow.study) == bindparam("s"),
    col(MessageRow.kind) == Event.BOXES.value,
    col(MessageRow.seq) < select(func.max(col(MessageRow.seq))).scalar_subquery(),  # the newest of all is the counter
)
_FORGET_KEPT: Final = delete(KeptRoundRow).where(col(KeptRoundRow.study) == bindparam("s"))
_FORGET_READ: Final = delete(MessageRow).where(
    col(MessageRow.party) == bindparam("p"), col(MessageRow.seq) <= bindparam("n"), or_(*(col(MessageRow.kind) == kind for kind in RELAYS))
)


def _columns(entry: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the frozen classes of `entries`
    return {name: getattr(entry, name) for name in entry.__slots__}


def _table(row: type[SQLModel]) -> Table:
    return METADATA.tables[str(row.__tablename__)]


def _insert(connection: Connection, row: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(_INSERT[_table(row)], rows)


def _replace(connection: Connection, row: type[SQLModel], entries: Sequence[Any]) -> None:
    """Write entries over those of the same key. Of several for one key the last counts."""
    _replace_rows(connection, row, [_columns(entry) for entry in entries])


def _replace_rows(connection: Connection, row: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = _table(row)
    keys = [column.name for column in table.primary_key.columns]
    newest = {tuple(columns[key] for key in keys): columns for columns in rows}
    connection.execute(_REMOVE[table], [{f"old_{key}": value for key, value in zip(keys, found, strict=True)} for found in newest])
    connection.execute(_INSERT[table], list(newest.values()))


def _all(session: Session, query: Any, entry: Callable[..., E]) -> tuple[E, ...]:  # noqa: ANN401 - select() of any table
    return tuple(entry(**row.model_dump()) for row in session.exec(query).all())


def _leaves(session: Session, start: int, end: int) -> tuple[bytes, ...]:
    query = select(LeafRow.body).where(col(LeafRow.index) >= start, col(LeafRow.index) < end).order_by(col(LeafRow.index))
    return tuple(session.exec(query).all())


def _load(session: Session) -> Stored:
    unfinished = select(RoundRow).where(col(RoundRow.state).in_((OPEN, LOST))).order_by(col(RoundRow.number))
    open_rounds = _all(session, unfinished, RoundEntry)
    studies = _all(session, select(StudyRow).order_by(col(StudyRow.study)), StudyEntry)
    alive = [study.study for study in studies if study.state in {"RUNNING", "FINALIZED"}]
    certificates = (
        select(CertificateRow).where(col(CertificateRow.study).in_(alive)).order_by(col(CertificateRow.study), col(CertificateRow.round))
    )
    newest = session.get(CheckpointRow, 1)
    facts = {row.name: row.value for row in session.exec(select(FactRow)).all()}
    last_message = session.exec(select(func.max(col(MessageRow.seq)))).one() or 0
    return Stored(
        members=_all(session, select(MemberRow), Member),
        invites=_all(session, select(InviteRow), Invite),
        posts=_all(session, select(PostedRow), Posted),
        studies=studies,
        answers=_all(session, select(AnswerRow), Answer),
        certificates=_all(session, certificates, CertificateEntry),
        open_rounds=open_rounds,
        last_rounds=dict(session.exec(select(RoundRow.study, func.max(col(RoundRow.number))).group_by(col(RoundRow.study))).all()),
        events=tuple(event for entry in open_rounds for event in _events(session, entry)),
        kept=_all(session, select(KeptRoundRow), KeptRound),
        leaf_hashes=tuple(session.exec(select(LeafRow.hash).order_by(col(LeafRow.index))).all()),
        keys=frozenset(session.exec(select(EnrolledKeyRow.key)).all()),
        checkpoint=None if newest is None else (newest.size, newest.note),
        last_message=max(last_message, int(facts.get(INBOX_FROM, "0"))),
        facts=facts,
    )


def _events(session: Session, entry: RoundEntry) -> Iterable[RoundEvent]:
    query = (
        select(RoundEventRow)
        .where(col(RoundEventRow.study) == entry.study, col(RoundEventRow.round) == entry.number)
        .order_by(col(RoundEventRow.seq))
    )
    return _all(session, query, RoundEvent)


# Reading the store of a stopped or a running service, for commands that only read.


def read_everything(path: Path) -> Stored:
    """Return what the store at `path` holds, read-only; StoreError if this version cannot read it."""
    return read_store(path, PACKAGE, _load)


def read_leaves(path: Path) -> tuple[str, tuple[bytes, ...]]:
    """Return the newest checkpoint and exactly the leaves that it covers, read-only; StoreError if there is none."""

    def work(session: Session) -> tuple[str, tuple[bytes, ...]]:
        newest = session.get(CheckpointRow, 1)
        if newest is None:
            raise StoreError(f"store {path}", wanted="a log with a checkpoint", got="none", do="Start the gateway once.")
        return newest.note, _leaves(session, 0, newest.size)

    return read_store(path, PACKAGE, work)


def read_kept(path: Path) -> Kept:
    """Return what `parley store check` recomputes, as of one moment, read-only; StoreError if this version cannot read the store."""

    def work(session: Session) -> Kept:
        newest = session.get(CheckpointRow, 1)
        order = (col(RoundEventRow.study), col(RoundEventRow.round), col(RoundEventRow.seq))
        return Kept(
            studies=_all(session, select(StudyRow).order_by(col(StudyRow.study)), StudyEntry),
            certificates=_all(
                session, select(CertificateRow).order_by(col(CertificateRow.study), col(CertificateRow.round)), CertificateEntry
            ),
            rounds=_all(session, select(RoundRow), RoundEntry),
            events=_all(session, select(RoundEventRow).order_by(*order), RoundEvent),
            leaves=_all(session, select(LeafRow).order_by(col(LeafRow.index)), Leaf),
            checkpoint=None if newest is None else (newest.size, newest.note),
        )

    return read_store(path, PACKAGE, work)


def read_notes(path: Path, study: str) -> tuple[Note, ...]:
    """Return the lines of a study's log, read-only."""
    query = select(NoteRow).where(col(NoteRow.study) == study).order_by(col(NoteRow.seq))
    return read_store(path, PACKAGE, lambda session: _all(session, query, Note))
