"""Negotiation at a party: from a sponsor's proposal to an agreement that this party checked, signed, and saw in the log.

Every decision is made by pure code (`parley_policies`); here it is asked in order, written down, and answered. What leaves when the
policy says no is the same sentence whatever the clause; the exact reason stays in this party's evidence.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final

from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.statement import Signed, Statement
from parley_learning.errors import LearningError
from parley_learning.shape import shape_of
from parley_policies.enforcement.guard import Leaving
from parley_policies.errors import AgreementInvalid, Refused
from parley_policies.negotiation.agreement import Agreement, Refusal, acceptance
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.members import Directory, Member
from parley_policies.negotiation.offer import Decline, Offer, make_offer
from parley_policies.negotiation.proposal import Proposal, proposal_id_of
from parley_policies.negotiation.study_file import StudyFile
from parley_policies.negotiation.terms import GatewayTerms, Terms
from parley_protocol.bound import load_envelope
from parley_protocol.certificates import Chain
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.limits import TEXT_CHARACTERS
from parley_protocol.members_key import KeyPartError, OwnSecrets, make_key_part, take_key_parts
from parley_protocol.negotiation import (
    ENDED,
    AcceptPost,
    Changed,
    Finalized,
    MemberEntry,
    Move,
    StudyRequest,
    StudyState,
    Terminated,
    TermsProposed,
    require_moves,
)
from parley_protocol.pacing import TooManyProposalsError
from parley_protocol.records import StudyChange, StudyEvent
from parley_protocol.relays import Post
from parley_service.logs import get_log

from parley_party.approving import WAITS, Approving
from parley_party.datasets import Datasets
from parley_party.errors import GatewayRefusedError, PartyError, StudyError
from parley_party.house import House
from parley_party.offered import ACCEPTED, OFFERED, accepted_terms, check_offered_under, moved, notes_moved, offer_for
from parley_party.outbox import Outbox
from parley_party.proposals import check_paces, check_shape, verified_proposal
from parley_party.store import Change, Outgoing, PartyStore
from parley_party.studykeys import draw_secrets, keep_keys, secrets_of
from parley_party.tables import EvidenceRow, StudyRow

_LOG: Final = get_log("studies")
SALT_BYTES: Final = 32
_CHANGED: Final = {
    StudyChange.STARTED: StudyState.RUNNING,
    StudyChange.STOPPED: StudyState.STOPPED,
    StudyChange.FINISHED: StudyState.FINISHED,
    StudyChange.TERMINATED: StudyState.TERMINATED,
}


class Negotiation:
    """The studies of one federation at this party, as far as they are negotiated."""

    def __init__(
        self,
        federation: str,
        house: House,
        store: PartyStore,
        outbox: Outbox,
        datasets: Datasets,
        gateway: Callable[[], GatewayTerms],
    ) -> None:
        self._federation = federation
        self._house = house
        self._store = store
        self._outbox = outbox
        self._datasets = datasets
        self._gateway = gateway
        self.approving: Final = Approving(house, store, self.resume)
        self.not_taken: Final[dict[str, GatewayRefusedError]] = {}  # study -> why the gateway did not take our proposal, for who asks

    # what this party starts

    async def propose(self, study: StudyFile) -> Proposal:
        """Sign a study file as its sponsor and post it; Refused or StudyError where it cannot be."""
        if study.sponsor != self._house.me:
            raise StudyError(
                f"study {study.id}", wanted=f"the sponsor {self._house.me}", got=study.sponsor, do="Propose it where its sponsor is."
            )
        if await self._store.study(study.id) is not None:
            raise StudyError(f"study {study.id}: this id was used before", do="Choose another id: a study's id names it for ever.")
        await check_paces(self._store, self._federation, self._house.me, study.sponsor, self._house.clock())
        self._house.guard.check_send(Leaving.PROPOSAL, study=study.id, now=self._house.now())
        proposal = proposal_of(study)
        row = StudyRow(
            study=proposal.id,
            federation=self._federation,
            state=StudyState.REQUESTED,
            proposal=proposal.sign(self._house.keys.identity).dump().decode(),
            members="[]",
            changed_at=self._house.clock(),
            asked_at=self._house.clock(),
        )
        await self._outbox.apply(Change(study=row, outgoing=(self._post(Move.PROPOSE, proposal.id, row.proposal),)))
        return proposal

    async def on_refused(self, study: str, error: GatewayRefusedError) -> None:
        """End a study that the gateway did not take up when we proposed it."""
        row = await self._known(study)
        if row.state == StudyState.REQUESTED:
            self._move(row, Move.STOP)
            row.reason = f"the gateway did not take the proposal: {error}"
            self.not_taken[study] = error
            await self._outbox.apply(Change(study=row))

    async def event(self, study: str, change: StudyChange, reason: str, *, certificates: int, head: str) -> None:
        """Sign and post that this party starts or stops a study; `head` is the newest of its `certificates`, worthless without any."""
        row = await self._known(study)
        if not row.agreement and change is not StudyChange.STOPPED:
            raise StudyError(f"study {study}", wanted="an agreement", got=row.state, do="Wait until it is FINALIZED.")
        kind = Leaving.START if change is StudyChange.STARTED else Leaving.STOP
        self._house.guard.check_send(kind, study=study, now=self._house.now())
        agreed = Agreement.load(load_envelope(row.agreement, "agreement")).digest if row.agreement else None
        statement = StudyEvent(
            study=study,
            change=change if row.agreement else StudyChange.TERMINATED,
            by=self._house.me,
            agreement=agreed,
            certificates=certificates if row.agreement else 0,
            head=(head if certificates else agreed) if row.agreement else None,
            reason=reason,
            at=int(self._house.clock()),
        )
        move = Move.START if change is StudyChange.STARTED else Move.STOP
        await self._outbox.apply(Change(outgoing=(self._post(move, study, self._signed(statement)),)))

    # what comes

    async def on_request(self, request: StudyRequest, change: Change) -> None:
        """Answer a proposal with an offer, or decline; both are written down before they leave."""
        members = await self._directory(request.members)
        proposal = verified_proposal(request, members)
        known = await self._store.study(proposal.id)
        if known is not None and known.state != StudyState.REQUESTED:
            await self._outbox.apply(change)  # a second request changes nothing, and asks our policy nothing
            return
        row = known or StudyRow(study=proposal.id, federation=self._federation, state=StudyState.REQUESTED, proposal="", members="[]")
        row.proposal = request.proposal
        row.members = json.dumps([entry.model_dump() for entry in request.members])
        row.changed_at = self._house.clock()
        try:
            if known is None:  # else it is our own, and was counted when we proposed it
                await check_paces(self._store, self._federation, self._house.me, proposal.sponsor, self._house.clock())
            row.asked_at = self._house.clock()
            offer, people = await self._offer(proposal, members, row)
        except (Refused, PartyError, LearningError, TooManyProposalsError) as error:
            await self._decline(row, proposal, error, change)
            return
        self._move(row, Move.OFFER)
        row.offer = self._signed(offer)
        message = self._post(Move.OFFER, proposal.id, row.offer)
        note = self._note(proposal.id, OFFERED, {"people": people})
        await self._outbox.apply(Change(cursor=change.cursor, study=row, outgoing=(message,), evidence=(note,)))

    async def _offer(self, proposal: Proposal, members: Directory, row: StudyRow) -> tuple[Offer, int]:
        """Return the offer, and how many people the chosen dataset holds, which the offer may tell in bands or not at all."""
        check_shape(proposal)
        chosen = await self._datasets.choose(proposal)
        running = [other for other in await self._store.studies() if other.state == StudyState.RUNNING and other.study != proposal.id]
        self._house.guard.check_study(
            proposal,
            dataset=chosen.name,
            people=chosen.people,
            objectives=chosen.objectives,
            members=members,
            gateway=self._gateway(),
            studies_running=len(running),
            now=self._house.now(),
        )
        self._house.guard.check_send(Leaving.OFFER, study=proposal.id, now=self._house.now())
        row.dataset, row.objectives, row.salt = chosen.name, json.dumps(chosen.objectives), secrets.token_bytes(SALT_BYTES)
        own = draw_secrets(row, self._house.keys.storage)
        offer = make_offer(
            self._house.guard.active,
            proposal,
            dataset=chosen.name,
            records=chosen.people,
            objectives=chosen.objectives,
            members=members,
            gateway=self._gateway(),
            today=self._house.now().date(),
            salt=row.salt,
            channel_key=own.channel_key,
            commitment=own.commitment(proposal.digest(), self._house.me),
        )
        return offer, chosen.people

    async def _decline(self, row: StudyRow, proposal: Proposal, error: Exception, change: Change) -> None:
        await self._datasets.discard(proposal.id)
        _LOG.warning("declined", study=proposal.id, reason=str(error))
        self._move(row, Move.DECLINE, Move.TERMINATED)
        row.reason, row.secrets = f"we declined: {error}", b""
        decline = Decline(study=proposal.id, proposal_digest=proposal.digest(), party=self._house.me)
        message = self._post(Move.DECLINE, proposal.id, self._signed(decline))
        note = self._note(proposal.id, "declined", {"reason": str(error)})
        await self._outbox.apply(Change(cursor=change.cursor, study=row, outgoing=(message,), evidence=(note,)))

    async def on_terms(self, study: str, message: TermsProposed, change: Change) -> None:
        """Check proposed terms against the full policy, and sign or refuse them. To one offer one set of terms is answered.

        The acceptance reveals this party's seed part: revealed under two sets of terms, it would be known to whoever made the second. So a
        party signs terms of one cohort of a proposal; for a cohort that is a study of its own the offer's record ends and goes on there.
        """
        terms = Terms.parse(message.terms.encode())
        if terms.study != study:
            raise RemoteProtocolError(f"study {study}: these are terms of another study", got=terms.study)
        row, ended = await offer_for(self._store, terms), None
        if row is None:
            await self._outbox.apply(change)  # they came before, or after the end
            return
        if row.study != study:
            row, ended = moved(row, study, self._house.keys.storage, self._house.clock()), row
        await self._decide(row, terms, change, ended)

    async def resume(self, row: StudyRow) -> None:
        """Decide anew on the terms of a study that wait here for people; nothing happens where none do."""
        if row.state == WAITS:
            await self._decide(row, await self.approving.waiting(row), Change(), None)

    async def _decide(self, row: StudyRow, terms: Terms, change: Change, ended: StudyRow | None) -> None:
        """Sign terms, refuse them, or hold them until this party's people have approved them; written down before anything leaves."""
        guard, study, now = self._house.guard, terms.study, self._house.now()
        came = () if row.state == WAITS else (Move.TERMS,)
        proposal, members = await self._seen(row)
        said = await self.approving.said(terms)
        held, answers = None, []
        try:
            check_offered_under(guard.active, row)
            offer = Offer.parse(load_envelope(row.offer, "our offer").payload)
            check_terms(guard.policy, terms, proposal, offer, members, today=now.date())
            if not said.waits:
                guard.check_send(Leaving.ACCEPTANCE, study=study, terms=terms, approvals=said.envelopes, now=now)
        except Refused as error:
            _LOG.warning("terms refused", study=study, reason=str(error))
            refusal = Refusal(study=study, terms_digest=terms.digest(), party=self._house.me)
            await self._datasets.discard(proposal.id)
            self._move(row, *came, Move.REFUSE)
            row.reason, row.secrets = f"we refused the terms: {error}", b""
            answers = [self._post(Move.REFUSE, study, self._signed(refusal))]
            note = self._note(study, "terms refused", {"reason": str(error)})
        else:
            if said.waits:
                self._move(row, *came)
                held = self.approving.held(terms)
                note = self._note(study, "terms wait for approval", {"terms": terms.digest(), "lacking": said.lacking})
            else:
                self._move(row, *came, Move.ACCEPT)
                answers = [self._acceptance(terms, secrets_of(row, self._house.keys.storage))]
                accepted = {"terms": terms.digest(), "policy": guard.active.digest, "approved": sorted(said.by_role)}
                note = self._note(study, ACCEPTED, accepted)
        notes = [note] if ended is None else [*await notes_moved(self._store, ended.study, study), note]
        await self._outbox.apply(Change(cursor=change.cursor, study=row, ended=ended, outgoing=answers, evidence=notes, held=held))

    def _move(self, row: StudyRow, *moves: Move) -> None:
        row.state, row.changed_at = require_moves(StudyState(row.state), moves, row.study), self._house.clock()

    def _acceptance(self, terms: Terms, own: OwnSecrets) -> Outgoing:
        part, boxes = make_key_part(terms, self._house.me, own)
        post = AcceptPost(
            statement=acceptance(terms, self._house.keys.identity).dump().decode(),
            key_part=self._signed(part),
            boxes={recipient: base64.b64encode(box).decode() for recipient, box in boxes.items()},
        )
        return Outgoing(terms.study, 0, Move.ACCEPT, post.canonical().decode())

    async def on_finalized(self, study: str, message: Finalized, change: Change) -> Agreement | None:
        """Take an agreement that all signed and that stands in the log (the caller checked the log), and the members' key.

        None if it is known already, or if a key part is not right: then this party says who is at fault, and takes no part.
        """
        row = await self._known(study)
        if row.agreement:
            await self._outbox.apply(change)
            return None
        try:
            agreement = Agreement.load(load_envelope(message.agreement, "agreement"))
        except AgreementInvalid as error:
            raise RemoteProtocolError(f"study {study}: {error}") from error
        accepted = await accepted_terms(self._store, study) if row.state == StudyState.VERIFIED else None
        if agreement.digest != accepted:
            raise RemoteProtocolError(
                f"study {study}: the agreement is not on the terms that we signed", wanted=str(accepted), got=agreement.digest
            )
        self._move(row, Move.FINALIZED)
        row.agreement = agreement.envelope.dump().decode()
        storage, notes = self._house.keys.storage, [self._note(study, "agreement", {"digest": agreement.digest})]
        try:
            keys = take_key_parts(agreement.terms, self._house.me, secrets_of(row, storage), message.key_parts, message.boxes)
        except KeyPartError as error:
            _LOG.warning("key part refused", study=study, culprit=error.culprit, reason=str(error))
            notes.append(self._note(study, "key part refused", {"culprit": error.culprit, "reason": str(error)}))
            self._move(row, Move.STOP)
            row.reason, row.secrets = str(error), b""
            outgoing, taken = [self._stop(study, Chain.start(agreement.digest), 0, str(error))], None
        else:
            keep_keys(row, keys, storage)
            outgoing, taken = [], agreement
        await self._outbox.apply(Change(cursor=change.cursor, log=change.log, study=row, outgoing=outgoing, evidence=notes))
        return taken

    async def halt(self, study: str, chain: Chain, certificates: int, reason: str, change: Change) -> None:
        """End a study here, at once, and say so to all: what the gateway handed out as a sum is none (invariant 13)."""
        row = await self._store.study(study)
        if row is None:
            raise StudyError(f"study {study!r}", wanted="a study that this party knows", got="none of that id")
        row.state, row.reason = StudyState.STOPPED, reason
        notes = [self._note(study, "sum not proven", {"reason": reason})]
        outgoing = [self._stop(study, chain, certificates, reason)]
        await self._outbox.apply(Change(cursor=change.cursor, study=row, outgoing=outgoing, evidence=notes))

    def _stop(self, study: str, chain: Chain, certificates: int, reason: str) -> Outgoing:
        """Return our word that a study must stop, with the newest certificate that we hold and how many there are."""
        self._house.guard.check_send(Leaving.STOP, study=study, now=self._house.now())
        statement = StudyEvent(
            study=study,
            change=StudyChange.STOPPED,
            by=self._house.me,
            agreement=chain.agreement,
            certificates=certificates,
            head=chain.head,
            reason=reason[:TEXT_CHARACTERS],
            at=int(self._house.clock()),
        )
        return self._post(Move.STOP, study, self._signed(statement))

    async def on_changed(self, study: str, message: Changed, change: Change) -> StudyState:
        """Take a signed event of a study and return its state."""
        row = await self._known(study)
        event = self._verified_event(row, message)
        if StudyState(row.state) not in ENDED:
            row.state, row.changed_at = _CHANGED.get(event.change, StudyState(row.state)), self._house.clock()
            if event.change in {StudyChange.STOPPED, StudyChange.TERMINATED}:
                row.reason = f"{event.by or 'the gateway'}: {event.reason}"
        await self._outbox.apply(Change(cursor=change.cursor, study=row))
        return StudyState(row.state)

    async def on_terminated(self, study: str, message: Terminated, change: Change) -> None:
        """Take the end of a negotiation. An agreement in force is not ended by the gateway's word."""
        row = await self._known(study)
        if not row.agreement and StudyState(row.state) not in ENDED:
            await self._datasets.discard(proposal_id_of(study))
            self._move(row, Move.TERMINATED)
            row.reason, row.secrets = message.reason, b""
        await self._outbox.apply(Change(cursor=change.cursor, study=row))

    def _verified_event(self, row: StudyRow, message: Changed) -> StudyEvent:
        envelope = load_envelope(message.event, "study event")
        try:
            claimed = StudyEvent.parse(envelope.payload)
            key = VerifyKey.from_hex(self._gateway().key)
            if claimed.by is not None:
                key = Agreement.load(load_envelope(row.agreement, "agreement")).terms.member(claimed.by).key
            event = Signed(envelope, StudyEvent).verify(key)
        except (CryptoError, AgreementInvalid) as error:
            raise RemoteProtocolError(f"study {row.study}, event: {error}") from error
        if event.study != row.study:
            raise RemoteProtocolError(f"study {row.study}: an event of study {event.study}")
        return event

    # reading

    async def _known(self, study: str) -> StudyRow:
        row = await self._store.study(study)
        if row is None:
            raise StudyError(f"study {study!r}", wanted="a study that this party knows", got="none of that id", do="parley study list")
        return row

    async def _seen(self, row: StudyRow) -> tuple[Proposal, Directory]:
        entries = tuple(MemberEntry.model_validate(entry) for entry in json.loads(row.members))
        return Proposal.parse(load_envelope(row.proposal, "proposal").payload), await self._directory(entries)

    async def _directory(self, entries: tuple[MemberEntry, ...]) -> Directory:
        """Return the members with the keys as this party first saw them: a key that changed later is a difference, not a new trust."""
        shown = {entry.party: entry.identity for entry in entries}
        first = await self._store.first_seen(self._federation, shown, self._house.clock())
        for party, identity in first.items():
            if identity != shown[party]:
                raise RemoteProtocolError(
                    f"member {party}: the gateway shows another key than before",
                    wanted=VerifyKey.from_hex(identity).fingerprint,
                    got=VerifyKey.from_hex(shown[party]).fingerprint,
                    do=f"Call {party} and compare fingerprints before anything else.",
                )
        return directory_of(entries)

    def _signed(self, statement: Statement) -> str:
        return statement.sign(self._house.keys.identity).dump().decode()

    def _post(self, move: Move, study: str, envelope: str) -> Outgoing:
        return Outgoing(study, 0, move, Post(statement=envelope).canonical().decode())

    def _note(self, study: str, kind: str, body: dict[str, Any]) -> EvidenceRow:
        return EvidenceRow(at=self._house.clock(), study=study, kind=kind, body=json.dumps(body))


def directory_of(entries: Iterable[MemberEntry]) -> Directory:
    """Return members as the policies know them, from what the gateway shows."""
    return {
        entry.party: Member(
            entry.party, entry.legal_name, entry.party_class, entry.country, entry.identity, entry.revoked, entry.credentials
        )
        for entry in entries
    }


def proposal_of(study: StudyFile) -> Proposal:
    """Return the proposal of a study file: with the segments and the summary's length that our learning code computes from it."""
    return study.propose(*shape_of(study))
