"""What the gateway keeps, as frozen values: one class a table, fields named as its columns.

`Entries` is what becomes true in one transaction. Whoever changes the service's state in memory fills one and hands it to the journal,
which makes it durable before anybody is told (invariant 11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

OPEN: Final = "open"
LOST: Final = "lost"


@dataclass(frozen=True, slots=True)
class Member:
    """One enrolled party. Its newest enrolment counts; earlier ones stand in the log."""

    party: str
    legal_name: str
    party_class: str
    country: str
    identity: str  # Ed25519, hexadecimal
    authentication: str  # Ed25519, hexadecimal
    enrolment: str  # its own statement, an envelope
    enrolled_at: float  # unix seconds
    leaf: int  # index of its EnrolmentRecord
    revoked: bool = False
    reason: str = ""  # of the revocation
    shown: int = 0  # leaves of the log that it was last shown
    credentials: str = "[]"  # as it shows them, a JSON list of envelopes


@dataclass(frozen=True, slots=True)
class Invite:
    """One invite. Of its token only the SHA-256 is kept."""

    token: str  # SHA-256, hexadecimal
    party: str
    legal_name: str
    party_class: str
    country: str
    created_at: float
    expires_at: float
    used_by: str = ""  # digest of the enrolment that used it


@dataclass(frozen=True, slots=True)
class Message:
    """One message in a party's inbox. `body` is JSON."""

    seq: int
    party: str
    id: str
    kind: str
    study: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Posted:
    """A post about a study or the log that was taken: the same bytes again change nothing."""

    party: str
    id: str


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One study and where it stands."""

    study: str
    state: str
    sponsor: str
    proposal: str  # envelope
    agreement: str  # the terms with the signatures so far, an envelope; empty before there are terms
    reason: str  # why it ended
    stop: str  # a member's STOP, an envelope, that waits until the round is finished
    leaf: int  # index of the agreement in the log; -1 before there is one
    changed_at: float
    proposed_at: float  # when the proposal came; of a study that another one was split into, 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one invited party answered."""

    study: str
    party: str
    offer: str = ""  # envelope
    declined: bool = False
    accepted: bool = False
    key_part: str = ""  # envelope
    boxes: str = ""  # JSON: recipient -> box; empty again once they are handed on


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """One round. `expected` is a JSON list of parties."""

    study: str
    number: int
    step: int
    opened_at: float
    expected: str
    state: str  # open | closed | aborted | released | halted | lost: open when a backup was made that this store was restored from


@dataclass(frozen=True, slots=True)
class RoundEvent:
    """What happened to an open round. Replaying these gives the state machine's state."""

    study: str
    round: int
    seq: int
    kind: str  # the post's kind, or tick
    party: str
    body: bytes
    now: float
    gone: str  # JSON list of parties


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """One certified round: certificate and statement of what it opened, both envelopes; who uploaded what."""

    study: str
    round: int
    step: int
    certificate: str
    opened: str
    leaf: int  # index of the certificate in the log
    joined: str  # JSON: party -> [segments, bytes, BLAKE3 of the body]


@dataclass(frozen=True, slots=True)
class KeptRound:
    """The newest certified round of a study, as a member may have it recomputed (`kept`)."""

    study: str
    round: int
    until: float  # 0 while the study runs
    updates: str  # JSON: listed party -> BLAKE3 of its sealed update
    unmasking: bytes  # JSON


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of the log."""

    index: int
    hash: bytes
    body: bytes
    study: str  # that it is about; empty: about none
    party: str  # the only one that is shown it; empty: all whom its study, or else the federation, concerns


@dataclass(frozen=True, slots=True)
class Note:
    """One line of a study's log, for people."""

    study: str
    at: float
    text: str
    seq: int = 0  # given by the store


@dataclass(slots=True)
class Entries:
    """What becomes true in one transaction."""

    members: list[Member] = field(default_factory=list)
    invites: list[Invite] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    posts: list[Posted] = field(default_factory=list)
    studies: list[StudyEntry] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    shown: dict[str, int] = field(default_factory=dict)  # party -> leaves
    rounds: list[RoundEntry] = field(default_factory=list)
    events: list[RoundEvent] = field(default_factory=list)
    forgotten: list[tuple[str, int]] = field(default_factory=list)  # study, round: its events are deleted
    certificates: list[CertificateEntry] = field(default_factory=list)
    kept: list[KeptRound] = field(default_factory=list)  # each in place of its study's last one
    unkept: list[str] = field(default_factory=list)  # studies of which nothing is kept any more
    leaves: list[Leaf] = field(default_factory=list)
    checkpoint: tuple[int, str] | None = None  # leaves, note
    notes: list[Note] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)  # party -> seq up to which its messages of rounds may be deleted

    def absorb(self, later: Entries) -> None:
        """Add what `later` says, which is written after this."""
        for name in _LISTS:
            getattr(self, name).extend(getattr(later, name))
        self.checkpoint = later.checkpoint or self.checkpoint
        self.facts |= later.facts
        self.shown |= later.shown
        self.read |= later.read


_LISTS = (
    "members",
    "invites",
    "messages",
    "posts",
    "studies",
    "answers",
    "rounds",
    "events",
    "forgotten",
    "certificates",
    "kept",
    "unkept",
    "leaves",
    "notes",
)


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that a starting service needs in memory."""

    members: tuple[Member, ...]
    invites: tuple[Invite, ...]
    posts: tuple[Posted, ...]
    studies: tuple[StudyEntry, ...]
    answers: tuple[Answer, ...]
    certificates: tuple[CertificateEntry, ...]  # of studies that have not ended
    open_rounds: tuple[RoundEntry, ...]
    last_rounds: Mapping[str, int]  # study -> highest number used
    events: tuple[RoundEvent, ...]  # of open rounds, in order
    kept: tuple[KeptRound, ...]
    leaf_hashes: tuple[bytes, ...]
    keys: frozenset[str]
    checkpoint: tuple[int, str] | None
    last_message: int
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a check recomputes: of every study, ended or not, and the whole log."""

    studies: tuple[StudyEntry, ...]
    certificates: tuple[CertificateEntry, ...]  # by study and round
    rounds: tuple[RoundEntry, ...]
    events: tuple[RoundEvent, ...]  # by study, round and number
    leaves: tuple[Leaf, ...]
    checkpoint: tuple[int, str] | None
