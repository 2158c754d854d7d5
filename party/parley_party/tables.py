"""Tables of a party's store. Only `store` uses them.

What is secret of a round (`rounds.seed`) is sealed under the keystore's storage key and erased when the round closes; so are a study's
secrets (`studies.secrets`, erased with the agreement, and `studies.members_key`).
"""

from __future__ import annotations

from sqlalchemy import LargeBinary
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class PartyTable(SQLModel, registry=registry()):
    """Root of this service's tables: their metadata is their own."""


METADATA = PartyTable.metadata


class FederationRow(PartyTable, table=True):
    """One federation: how far its inbox was read, and the log as last seen."""

    __tablename__ = "federations"
    name: str = Field(primary_key=True)
    cursor: int = 0
    log_size: int = 0
    log_root: str = ""


class KnownMemberRow(PartyTable, table=True):
    """A member's identity key as this party first saw it (trust on first use holds the gateway to it)."""

    __tablename__ = "known_members"
    federation: str = Field(primary_key=True)
    party: str = Field(primary_key=True)
    identity: str
    first_seen: float


class ActivationRow(PartyTable, table=True):
    """A policy that came into force here, with the signatures that put it there: what `activation` checks again. Never changed."""

    __tablename__ = "activations"
    number: int = Field(primary_key=True)  # from 1
    name: str  # of the file it came from
    policy: bytes = Field(sa_type=LargeBinary)  # the file's bytes
    approvals: str  # envelopes, JSON list
    at: float


class HeldTermsRow(PartyTable, table=True):
    """Terms that this party's service may sign once its people have approved them."""

    __tablename__ = "held_terms"
    study: str = Field(primary_key=True)
    terms: str  # canonical JSON
    at: float


class ApprovalRow(PartyTable, table=True):
    """What a role said to terms, the last word of each. Stays here: it is what this party can show of its people's signatures."""

    __tablename__ = "approvals"
    terms: str = Field(primary_key=True)  # digest
    role: str = Field(primary_key=True)
    envelope: str
    at: float


class StudyRow(PartyTable, table=True):
    """One study, from the proposal on."""

    __tablename__ = "studies"
    study: str = Field(primary_key=True)
    federation: str
    state: str
    proposal: str
    members: str  # the directory of the request, JSON
    dataset: str = ""
    objectives: str = "[]"
    offer: str = ""  # our offer's envelope
    salt: bytes = Field(default=b"", sa_type=LargeBinary)
    secrets: bytes = Field(default=b"", sa_type=LargeBinary)  # sealed: what was drawn for the offer; empty once the negotiation ended
    members_key: bytes = Field(default=b"", sa_type=LargeBinary)  # sealed
    graph_seed: str = ""  # hexadecimal
    agreement: str = ""
    reason: str = ""  # why it ended, or why we take no part: for this house
    result: str = ""  # our own scores, JSON: they stay here
    changed_at: float = 0.0
    asked_at: float = 0.0  # when its proposal asked our policy something; 0: it did not, or for a further cohort of a study that split


class RoundRow(PartyTable, table=True):
    """One round that this party entered."""

    __tablename__ = "rounds"
    study: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    step: int
    base: str = Field(index=True)
    parameters: str
    entered: str  # what this party checks in it, JSON: counted members, own floors, earlier lists; replays must not see later ones
    seed: bytes = Field(sa_type=LargeBinary)  # sealed; empty once the round is closed
    sealed: bool = False  # from here on the base version is spent
    outcome: str = ""  # "", "opened", "passed", "aborted", "refused", "releasing", "released"
    # and "absent": nothing of ours is out, and it is released; "lost": open when a backup was made that this store was restored from
    reason: str = ""
    proof: str = ""  # of a released round: enough members' word that they destroyed their shares, JSON
    opened_at: float = 0.0
    closed_at: float = 0.0


class FenceRow(PartyTable, table=True):
    """A study of a store that was restored from a backup: what `fence` says."""

    __tablename__ = "fences"
    study: str = Field(primary_key=True)
    state: str
    round: int
    since: float


class RoundEventRow(PartyTable, table=True):
    """What happened to an open round, in order: replaying it gives the state machine's state."""

    __tablename__ = "round_events"
    id: int | None = Field(default=None, primary_key=True)
    study: str = Field(index=True)
    number: int
    kind: str
    body: str


class OutboxRow(PartyTable, table=True):
    """A message that must still reach the gateway; a sealed update's body lies in the file `upload`."""

    __tablename__ = "outbox"
    id: int | None = Field(default=None, primary_key=True)
    federation: str = Field(index=True)
    study: str
    number: int  # the round, 0 for messages about the study
    kind: str
    body: str
    upload: str = ""
    agreement: str = ""


class VersionRow(PartyTable, table=True):
    """A public state of a study: the queries, then each model version."""

    __tablename__ = "versions"
    study: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    base: str
    parameters: str
    certificate: str
    state: bytes = Field(sa_type=LargeBinary)
    made_at: float = 0.0


class CertificateRow(PartyTable, table=True):
    """A certificate that this party verified, and the gateway's statement of what it opened."""

    __tablename__ = "certificates"
    study: str = Field(primary_key=True)
    round: int = Field(primary_key=True)
    certificate: str
    opened: str


class RegisteredSumRow(PartyTable, table=True):
    """A sum over one of our datasets, of a workload that repeats exactly: over whom, and what it asked (invariant 8)."""

    __tablename__ = "registered_sums"
    id: int | None = Field(default=None, primary_key=True)
    dataset: str = Field(index=True)
    content: str = Field(index=True)
    members: str  # JSON list
    study: str
    round: int


class EgressRow(PartyTable, table=True):
    """What left the building."""

    __tablename__ = "egress"
    id: int | None = Field(default=None, primary_key=True)
    at: float
    federation: str
    study: str
    round: int
    kind: str
    size: int
    agreement: str
    verdict: str


class EvidenceRow(PartyTable, table=True):
    """What this party may have to show later: policy activations, agreements checked, refusals, incidents."""

    __tablename__ = "evidence"
    id: int | None = Field(default=None, primary_key=True)
    at: float
    study: str
    kind: str
    body: str
