"""Which of this party's offers proposed terms are an answer to, and how an offer moves when the study splits.

One proposal may lead to several cohorts, each a study of its own (`parley_policies.negotiation.cohorts`); the offer was made before anybody
knew. The offer, its salt and its sealed secrets lie in the record of the proposal's first study. Terms of another cohort take them over: in
one transaction that record ends, and the cohort's own begins. An offer is answered once: who signed terms of one cohort signs no others.
"""

from __future__ import annotations

import json
from typing import Final

from parley_policies.errors import Refused
from parley_policies.model.loader import PolicyFile
from parley_policies.negotiation.offer import Offer, salted_digest
from parley_policies.negotiation.proposal import proposal_id_of, studies_of
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.negotiation import Move, StudyState, require_moves
from parley_protocol.problems import Slug
from parley_service.keyfile import StorageKey

from parley_party.errors import StudyError
from parley_party.store import PartyStore
from parley_party.studykeys import move_secrets
from parley_party.tables import EvidenceRow, StudyRow

OFFERED: Final = "offered"  # evidence of an offer: how many people there were
ACCEPTED: Final = "terms accepted"


async def accepted_terms(store: PartyStore, study: str) -> str | None:
    """Return the digest of the terms that this party signed for a study; None if it signed none."""
    for row in reversed(await store.evidence(study)):
        if row.kind == ACCEPTED:
            return str(json.loads(row.body)["terms"])
    return None


async def held_terms(store: PartyStore, row: StudyRow) -> str | None:
    """Return the digest of the terms of a study that wait here for people's approval; None if none do."""
    held = await store.held_terms(row.study) if row.state == StudyState.AGREED else None
    return None if held is None else Terms.parse(held.terms.encode()).digest()


async def offer_for(store: PartyStore, terms: Terms) -> StudyRow | None:
    """Return the record with the offer that `terms` are an answer to; None if it was answered already, by these terms or by an end.

    StudyError if this party knows no such proposal, RemoteProtocolError if it has signed other terms of it, or holds them for its people.
    """
    ids = studies_of(proposal_id_of(terms.study))
    rows = [row for study in ids if (row := await store.study(study)) is not None]
    if not rows:
        raise StudyError(f"study {terms.study!r}", wanted="a study that this party knows", got="none of that id", do="parley study list")
    for row in rows:
        signed = await accepted_terms(store, row.study)
        answered = signed or await held_terms(store, row)
        if answered is not None and answered != terms.digest():
            raise RemoteProtocolError(
                f"study {terms.study}: this party {'holds' if signed is None else 'signed'} other terms of the same proposal",
                problem=Slug.CONFLICT,
                wanted=f"those of {row.study}, {answered}",
                got=terms.digest(),
            )
    return next((row for row in rows if row.state == StudyState.OFFERED), None)


def moved(offered: StudyRow, study: str, storage: StorageKey, now: float) -> StudyRow:
    """Return the record of a further cohort, OFFERED, which takes over the offer with its secrets, and end the one that held it."""
    row = StudyRow.model_validate(offered.model_dump() | {"study": study, "asked_at": 0.0, "changed_at": now})
    move_secrets(offered, row, storage)
    offered.state = require_moves(StudyState(offered.state), (Move.TERMINATED,), offered.study)
    offered.reason, offered.changed_at = f"goes on as {study}", now
    return row


async def notes_moved(store: PartyStore, old: str, new: str) -> list[EvidenceRow]:
    """Return what is noted of an offer, to stand with the study that goes on with it as well."""
    return [EvidenceRow(at=row.at, study=new, kind=row.kind, body=row.body) for row in await store.evidence(old) if row.kind == OFFERED]


def check_offered_under(active: PolicyFile, row: StudyRow) -> None:
    """Return if an offer was made under the policy that is active now: terms are an answer to that one, and to no other."""
    offer = Offer.parse(load_envelope(row.offer, "our offer").payload)
    if salted_digest(active.digest, row.salt) != offer.policy:
        raise Refused(
            "identity.version",
            "terms of an offer under the active policy",
            f"version {active.policy.identity.version}, activated since we offered",
            "the study must be proposed again",
        )
