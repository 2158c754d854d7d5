"""Tables of a gateway's store. Only `store` uses them; what the columns mean stands in `entries`."""

from __future__ import annotations

from sqlalchemy import LargeBinary
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class GatewayTable(SQLModel, registry=registry()):
    """Root of this service's tables: their metadata is their own."""


METADATA = GatewayTable.metadata


class MemberRow(GatewayTable, table=True):
    """An enrolled party."""

    __tablename__ = "members"
    party: str = Field(primary_key=True)
    legal_name: str
    party_class: str
    country: str
    identity: str
    authentication: str
    enrolment: str
    enrolled_at: float
    leaf: int
    revoked: bool
    reason: str
    shown: int
    credentials: str


class EnrolledKeyRow(GatewayTable, table=True):
    """Every key that was ever enrolled: none comes back, none serves two parties."""

    __tablename__ = "enrolled_keys"
    key: str = Field(primary_key=True)
    party: str


class InviteRow(GatewayTable, table=True):
    """An invite, by the SHA-256 of its token."""

    __tablename__ = "invites"
    token: str = Field(primary_key=True)
    party: str = Field(index=True)
    legal_name: str
    party_class: str
    country: str
    created_at: float
    expires_at: float
    used_by: str


class MessageRow(GatewayTable, table=True):
    """A message in a party's inbox."""

    __tablename__ = "inbox"
    seq: int = Field(primary_key=True)
    party: str = Field(index=True)
    id: str
    kind: str
    study: str
    body: bytes = Field(sa_type=LargeBinary)


class PostedRow(GatewayTable, table=True):
    """A post about a study or the log that was taken."""

    __tablename__ = "posts"
    party: str = Field(primary_key=True)
    id: str = Field(primary_key=True)


class StudyRow(GatewayTable, table=True):
    """A study."""

    __tablename__ = "studies"
    study: str = Field(primary_key=True)
    state: str
    sponsor: str
    proposal: str
    agreement: str
    reason: str
    stop: str
    leaf: int
    changed_at: float
    proposed_at: float


class AnswerRow(GatewayTable, table=True):
    """An invited party's answer."""

    __tablename__ = "answers"
    study: str = Field(primary_key=True)
    party: str = Field(primary_key=True)
    offer: str
    declined: bool
    accepted: bool
    key_part: str
    boxes: str


class RoundRow(GatewayTable, table=True):
    """A round."""

    __tablename__ = "rounds"
    study: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    step: int
    opened_at: float
    expected: str
    state: str = Field(index=True)


class RoundEventRow(GatewayTable, table=True):
    """An event of an open round."""

    __tablename__ = "round_events"
    study: str = Field(primary_key=True)
    round: int = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    kind: str
    party: str
    body: bytes = Field(sa_type=LargeBinary)
    now: float
    gone: str


class CertificateRow(GatewayTable, table=True):
    """A certified round."""

    __tablename__ = "certificates"
    study: str = Field(primary_key=True)
    round: int = Field(primary_key=True)
    step: int
    certificate: str
    opened: str
    leaf: int
    joined: str


class KeptRoundRow(GatewayTable, table=True):
    """The newest certified round of a study, kept so that it can be recomputed."""

    __tablename__ = "kept_rounds"
    study: str = Field(primary_key=True)
    round: int
    until: float
    updates: str
    unmasking: bytes = Field(sa_type=LargeBinary)


class LeafRow(GatewayTable, table=True):
    """A leaf of the log."""

    __tablename__ = "leaves"
    index: int = Field(primary_key=True)
    hash: bytes = Field(sa_type=LargeBinary)
    body: bytes = Field(sa_type=LargeBinary)
    study: str
    party: str


class CheckpointRow(GatewayTable, table=True):
    """The newest checkpoint: one row."""

    __tablename__ = "checkpoints"
    id: int = Field(primary_key=True)
    size: int
    note: str


class NoteRow(GatewayTable, table=True):
    """A line of a study's log."""

    __tablename__ = "notes"
    seq: int | None = Field(default=None, primary_key=True)
    study: str = Field(index=True)
    at: float
    text: str


class FactRow(GatewayTable, table=True):
    """A single fact by its name."""

    __tablename__ = "facts"
    name: str = Field(primary_key=True)
    value: str
