"""The life of a study: its states as one table for both roles, and the messages that move it.

State names follow the Eclipse Dataspace Protocol's contract negotiation: REQUESTED, OFFERED, AGREED, VERIFIED, FINALIZED, TERMINATED; a
finalized study is then RUNNING, and ends STOPPED or FINISHED. The gateway proposes; only the members' signatures make an agreement.

What a party posts is a `Post` with one signed statement: PROPOSE a `Proposal`, OFFER an `Offer`, DECLINE a `Decline`, ACCEPT the terms'
envelope with its one signature (in an `AcceptPost`, with its key part), REFUSE a `Refusal`, START and STOP a `StudyEvent`. What the gateway
sends stands below.

**A study that splits.** The first cohort keeps the study's id, each further one is a study of its own: `heart--2`. All come of one proposal
(`proposal_id_of`). Such a study is born OFFERED, with the offers that its members made, and TERMS moves it on; at a member the record of
`heart` ends there, and a party signs terms of one cohort of a proposal. Who is in none is told LEFT_OUT, together with the others' TERMS
and whatever the reason; where there are no terms at all, everybody is told NO_TERMS. A reason that differed would tell a denied party.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum, unique
from typing import Final

from parley_crypto.keys import VerifyKey
from parley_crypto.statement import Document, first_fault
from parley_policies.negotiation.terms import Credentials, PartyId, Terms
from pydantic import ValidationError

from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Base64, EnvelopeText, Hex32, Reason
from parley_protocol.relays import LogProof, Post


@unique
class StudyState(StrEnum):
    """Where a study stands."""

    REQUESTED = "REQUESTED"
    OFFERED = "OFFERED"
    AGREED = "AGREED"
    VERIFIED = "VERIFIED"
    FINALIZED = "FINALIZED"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    FINISHED = "FINISHED"
    TERMINATED = "TERMINATED"


@unique
class Move(StrEnum):
    """What moves a study: a party's post, or what the gateway makes of the posts (its message to the parties)."""

    PROPOSE = "propose"
    OFFER = "offer"
    DECLINE = "decline"
    ACCEPT = "accept"
    REFUSE = "refuse"
    START = "start"
    STOP = "stop"
    REQUEST = "request"
    TERMS = "terms"
    FINALIZED = "finalized"
    CHANGED = "changed"
    TERMINATED = "terminated"


STUDY: Final[dict[StudyState, dict[Move, StudyState]]] = {
    StudyState.REQUESTED: {
        Move.OFFER: StudyState.OFFERED,
        Move.DECLINE: StudyState.REQUESTED,
        Move.TERMINATED: StudyState.TERMINATED,
        Move.STOP: StudyState.TERMINATED,
    },
    StudyState.OFFERED: {
        Move.OFFER: StudyState.OFFERED,
        Move.DECLINE: StudyState.OFFERED,
        Move.TERMS: StudyState.AGREED,
        Move.TERMINATED: StudyState.TERMINATED,
        Move.STOP: StudyState.TERMINATED,
    },
    StudyState.AGREED: {
        Move.ACCEPT: StudyState.VERIFIED,
        Move.REFUSE: StudyState.TERMINATED,
        Move.TERMINATED: StudyState.TERMINATED,
        Move.STOP: StudyState.TERMINATED,
    },
    StudyState.VERIFIED: {
        Move.ACCEPT: StudyState.VERIFIED,
        Move.FINALIZED: StudyState.FINALIZED,
        Move.REFUSE: StudyState.TERMINATED,
        Move.TERMINATED: StudyState.TERMINATED,
        Move.STOP: StudyState.TERMINATED,
    },
    StudyState.FINALIZED: {Move.START: StudyState.RUNNING, Move.STOP: StudyState.STOPPED},
    StudyState.RUNNING: {Move.STOP: StudyState.STOPPED, Move.CHANGED: StudyState.FINISHED},
}
ENDED: Final = frozenset({StudyState.STOPPED, StudyState.FINISHED, StudyState.TERMINATED})
LEFT_OUT: Final = "the study goes on without this party"
NO_TERMS: Final = "there are no terms that the policies of enough invited parties permit"


def require_move(state: StudyState, move: Move, study: str) -> StudyState:
    """Return the state that `move` leads to; RemoteProtocolError if it is out of turn."""
    try:
        return STUDY[state][move]
    except KeyError:
        turns = ", ".join(STUDY.get(state, {})) or "nothing"
        raise RemoteProtocolError(f"study {study} is {state}", wanted=turns, got=move) from None


def require_moves(state: StudyState, moves: Iterable[Move], study: str) -> StudyState:
    """Return the state that several moves at once lead to; RemoteProtocolError at the first that is out of turn."""
    for move in moves:
        state = require_move(state, move, study)
    return state


def starter_of(terms: Terms, sponsor: str) -> str:
    """Return the member that may start a study: its sponsor, or where the sponsor is none of its members the first in id order."""
    ids = [member.party for member in terms.members]
    return sponsor if sponsor in ids else ids[0]


class MemberEntry(Document):
    """One enrolled party as the gateway shows it. Its keys are believed as far as a policy pins them or an issuer vouches for them."""

    party: PartyId
    legal_name: str
    party_class: str
    country: str
    identity: Hex32
    authentication: Hex32
    revoked: bool
    credentials: Credentials = ()  # as the party shows them, for each reader to check

    @property
    def key(self) -> VerifyKey:
        """The identity key."""
        return VerifyKey.from_hex(self.identity)


class StudyRequest(Document):
    """REQUEST: a sponsor's signed proposal, and the invited parties as enrolled."""

    proposal: EnvelopeText
    members: tuple[MemberEntry, ...]


class TermsProposed(Document):
    """TERMS: what the gateway computed, as canonical JSON text. Worth nothing before every member signed it."""

    terms: EnvelopeText


class AcceptPost(Post):
    """ACCEPT: the terms with this member's signature, its signed key part (`keyparts.KeyPart`), and the boxes that belong to it."""

    key_part: EnvelopeText
    boxes: dict[PartyId, Base64]  # by recipient


class Finalized(Document):
    """FINALIZED: the terms with every member's signature, where they stand in the log, and what the members' key is made of."""

    agreement: EnvelopeText
    log: LogProof
    key_parts: tuple[EnvelopeText, ...]  # of all members, in id order
    boxes: dict[PartyId, Base64]  # by sender those for the reader, each with its path (`keyparts.with_path`)


class Changed(Document):
    """CHANGED: a signed study event: started, stopped, finished."""

    event: EnvelopeText


class Terminated(Document):
    """TERMINATED: the negotiation ended without an agreement, for all or for the reader (LEFT_OUT). A denied party is not told so."""

    reason: Reason


MOVES_TO_PARTIES: Final[dict[str, type[Document]]] = {
    Move.REQUEST: StudyRequest,
    Move.TERMS: TermsProposed,
    Move.FINALIZED: Finalized,
    Move.CHANGED: Changed,
    Move.TERMINATED: Terminated,
}
POSTS_OF_MOVES: Final[dict[str, type[Post]]] = {
    Move.PROPOSE: Post,
    Move.OFFER: Post,
    Move.DECLINE: Post,
    Move.ACCEPT: AcceptPost,
    Move.REFUSE: Post,
    Move.START: Post,
    Move.STOP: Post,
}
MOVES_TO_GATEWAY: Final = frozenset(POSTS_OF_MOVES)


def load_move(kind: str, raw: bytes) -> Document:
    """Parse a message about a study in either direction; RemoteProtocolError if the kind is unknown or the body does not fit."""
    of: type[Document] | None = POSTS_OF_MOVES.get(kind) or MOVES_TO_PARTIES.get(kind)
    if of is None:
        raise RemoteProtocolError(f"message kind {kind!r}", wanted=", ".join([*MOVES_TO_GATEWAY, *MOVES_TO_PARTIES]))
    try:
        return of.model_validate_json(raw)
    except ValidationError as error:
        raise RemoteProtocolError(f"message {kind}: {first_fault(error)}") from error
