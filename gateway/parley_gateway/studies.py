"""All studies of a gateway: takes the posts of parties to the study they belong to, starts and stops studies, and lets time pass for them.

A member's signed STOP stands in the log at once and names the newest certificate that the member had seen. It closes nothing: a round with
uploads is finished first, and then the gateway's own event closes the study and counts its certificates.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from parley_crypto.errors import CryptoError
from parley_crypto.signing import Envelope
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.codec import POSTS, load_post
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.limits import STUDIES_PER_PARTY
from parley_protocol.messages import Manifest
from parley_protocol.negotiation import ENDED, MOVES_TO_GATEWAY, AcceptPost, Changed, Move, StudyState, load_move, require_move
from parley_protocol.pacing import check_pace
from parley_protocol.phases import Event
from parley_protocol.problems import Slug
from parley_protocol.records import RECORD, CredentialsShown, OfferRecord, Participation, PolicyActivated, StudyChange, StudyEvent
from parley_protocol.relays import Post
from parley_service.errors import RequestError, StoreError
from parley_service.logs import get_log

from parley_gateway.desk import Desk
from parley_gateway.entries import Posted, RoundEvent, Stored
from parley_gateway.journal import Draft
from parley_gateway.negotiation import Negotiation, StudyRecord
from parley_gateway.rounds import Rounds

TICK_SECONDS: Final = 0.2
_LOG: Final = get_log("parley.gateway.studies")


class Studies:
    """The studies of a gateway."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._negotiation: Final = Negotiation(desk)
        self._records: dict[str, StudyRecord] = {}
        self._rounds: dict[str, Rounds] = {}
        self._posted: dict[tuple[str, str], asyncio.Future[None] | None] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._settling: dict[str, asyncio.Task[None]] = {}  # studies whose terms are being computed

    # an earlier start

    async def restore(self, stored: Stored) -> None:
        """Take over what an earlier start left, and go on with it."""
        self._posted = {(post.party, post.id): None for post in stored.posts}
        for entry in stored.studies:
            proposal = Proposal.parse(load_envelope(entry.proposal, "proposal").payload)
            terms = Terms.parse(load_envelope(entry.agreement, "agreement").payload) if entry.agreement else None
            self._records[entry.study] = StudyRecord(entry, proposal, {}, terms)
        for answer in stored.answers:
            self._records[answer.study].answers[answer.party] = answer
        events: defaultdict[str, list[RoundEvent]] = defaultdict(list)
        for event in stored.events:
            events[event.study].append(event)
        for record in self._records.values():
            if record.state in {StudyState.FINALIZED, StudyState.RUNNING}:
                await self._resume(record, stored, events[record.id])
        if all(rounds.state is None for rounds in self._rounds.values()):  # an update is for an open round: what is here is left over
            parties = {party for record in self._records.values() for party in record.members}
            await self._desk.intake.release((), parties, self._desk.clock())

    async def _resume(self, record: StudyRecord, stored: Stored, events: list[RoundEvent]) -> None:
        rounds = self._begin(record, last=stored.last_rounds.get(record.id, 0))
        rounds.restore(entry for entry in stored.certificates if entry.study == record.id)
        for entry in stored.open_rounds:
            if entry.study == record.id:
                await rounds.resume(entry, events)
        if record.entry.stop:
            draft = self._desk.journal.draft()
            rounds.stop(draft, self._stop_reason(record))
            await self._desk.journal.record(draft)

    def _begin(self, record: StudyRecord, *, last: int) -> Rounds:
        if record.terms is None:
            raise RequestError(f"study {record.id} has no terms", problem=Slug.INTERNAL)
        rounds = Rounds(
            self._desk,
            record.terms,
            record.graph_seed(),
            record.entry.leaf,
            last=last,
            end=lambda draft, change, reason: self._close(record, draft, change, reason),
        )
        self._rounds[record.id] = rounds
        return rounds

    def start(self) -> None:
        """Let time pass."""
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Let no more time pass, and wait for sums that are being opened and terms that are being computed."""
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        for rounds in self._rounds.values():
            await rounds.settle()
        await asyncio.gather(*self._settling.values(), return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.tick()

    def arrived(self, party: str) -> None:
        """A party's request came: a round that waited for it need not wait for the next tick."""
        for study, rounds in self._rounds.items():
            if self._records[study].state is StudyState.RUNNING:
                rounds.arrived(party)

    def tick(self) -> None:
        """Let time pass once, for every study."""
        for record in list(self._records.values()):
            if record.state is StudyState.RUNNING:
                self._rounds[record.id].tick()
            else:
                self._settle_if_answered(record)

    # terms

    def _settle_if_answered(self, record: StudyRecord) -> None:
        """Have terms computed beside everything else, once there is nothing more to wait for. After a restart the next tick does it."""
        if record.id not in self._settling and self._negotiation.is_answered(record):
            task = self._settling[record.id] = asyncio.create_task(self._settle(record))
            task.add_done_callback(partial(self._settled, record.id))

    async def _settle(self, record: StudyRecord) -> None:
        question = self._negotiation.question(record)
        outcome = await asyncio.to_thread(question.answer)
        if not self._negotiation.is_answered(record) or self._negotiation.question(record) != question:
            return  # taken back meanwhile; or a party was revoked: the next tick asks again
        draft = self._desk.journal.draft()
        self._adopt(self._negotiation.conclude(draft, record, outcome))
        await self._desk.journal.record(draft)

    def _settled(self, study: str, task: asyncio.Task[None]) -> None:
        del self._settling[study]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._desk.on_failure(StoreError(f"study {study}: computing terms failed: {error!r}", problem=Slug.INTERNAL))

    # posts

    async def post(self, party: str, kind: str, study: str, raw: bytes, post_id: str) -> bool:
        """Take a party's post and return once it is durable. False: it brought nothing new.

        RequestError, RemoteProtocolError or a policy's error say why it is refused.
        """
        if kind in POSTS:
            rounds = self._running(party, study, kind)
            future = None if rounds is None else rounds.post(party, kind, raw, post_id)
            if future is None:
                if kind == Event.COLLECT:
                    await self._drop_late(party, raw)
                return False
            await future
            return True
        if (party, post_id) in self._posted:
            known = self._posted[party, post_id]
            if known is not None:
                await known
            return False
        draft = self._desk.journal.draft()
        try:
            self._take(draft, party, kind, study, _post(kind, raw))
        except BaseException:
            self._desk.journal.abandon(draft)  # nothing happens if it was refused before it changed anything
            raise
        draft.entries.posts.append(Posted(party, post_id))
        self._posted[party, post_id] = future = self._desk.journal.record(draft)
        if kind in {Move.OFFER, Move.DECLINE}:
            self._settle_if_answered(self._records[study])
        await future
        return True

    async def _drop_late(self, party: str, raw: bytes) -> None:
        """Delete an update that came too late for its round, unless a round names it. A party speaks here of its own uploads."""
        post = load_post(Event.COLLECT, raw)
        if not isinstance(post, Post):
            return
        try:
            body = Manifest.parse(load_envelope(post.statement, "manifest").payload).body
        except CryptoError as error:
            raise RemoteProtocolError(f"manifest: {error}") from error
        if self._desk.intake.is_loose(party, body):
            await self._desk.intake.release([(party, body)], (), 0.0)

    def _running(self, party: str, study: str, kind: str) -> Rounds | None:
        """Return a study's rounds; None if it has ended, and the post comes late."""
        record = self.find(party, study)
        rounds = self._rounds.get(study)
        if record.terms is not None and party in record.members and record.state in ENDED:
            return None
        if rounds is None or party not in record.members:
            raise RequestError(f"study {study} is {record.state}", problem=Slug.WRONG_STATE, wanted="a running study", got=kind)
        return rounds

    def find(self, party: str, study: str) -> StudyRecord:
        """Return a study that concerns `party`; RequestError otherwise, the same whether it exists or not."""
        record = self._records.get(study)
        if record is None or party not in record.members:
            raise RequestError(f"study {study!r} is not known here, or not to {party}", problem=Slug.UNKNOWN_STUDY)
        return record

    def _asked(self, party: str, study: str) -> StudyRecord:
        """Return a study that `party` was asked to answer, also where its answer comes too late; RequestError otherwise."""
        record = self._records.get(study)
        return record if record is not None and party in record.answers else self.find(party, study)

    def _adopt(self, cohorts: Iterable[StudyRecord]) -> None:
        """Take over the records of further cohorts of a study that split."""
        self._records |= {cohort.id: cohort for cohort in cohorts}

    def _take(self, draft: Draft, party: str, kind: str, study: str, post: Post) -> None:
        text = post.statement
        if kind == RECORD:
            self._log_record(draft, party, study, text)
            return
        if kind == Move.PROPOSE:
            self._propose(draft, party, study, text)
            return
        record = self._asked(party, study) if kind in {Move.OFFER, Move.DECLINE} else self.find(party, study)
        match Move(kind):
            case Move.OFFER:
                self._negotiation.offer(draft, record, party, text)
            case Move.DECLINE:
                self._negotiation.decline(draft, record, party, text)
            case Move.ACCEPT:
                self._negotiation.accept(draft, record, party, _acceptance(post))
                if record.state is StudyState.FINALIZED:
                    self._begin(record, last=0)
            case Move.REFUSE:
                self._negotiation.refuse(draft, record, party, text)
            case Move.START:
                self._start(draft, record, party, text)
            case Move.STOP:
                self._stop(draft, record, party, text)
            case _:
                raise RemoteProtocolError(f"message {kind}: not a party's to post")

    def _log_record(self, draft: Draft, party: str, study: str, text: str) -> None:
        """Log a statement that a party makes about itself."""
        kind, shown = load_envelope(text, "record").payload_type, None
        if kind == PolicyActivated.kind:
            envelope, activated = self._negotiation.read(party, text, PolicyActivated)
            author, about = activated.party, ""
        elif kind == CredentialsShown.kind:
            envelope, shown = self._negotiation.read(party, text, CredentialsShown)
            author, about = shown.party, ""
        else:
            envelope, offered = self._negotiation.read(party, text, OfferRecord)
            author, about = offered.party, self._asked(party, offered.study).id
        if (author, about) != (party, study):
            raise RemoteProtocolError("record", wanted=f"one of {party} about {study!r}", got=f"one of {author} about {about!r}")
        if shown is not None:
            self._desk.members.show_credentials(draft, shown)
        draft.append(envelope)

    def _propose(self, draft: Draft, party: str, study: str, text: str) -> None:
        alive = [record for record in self._records.values() if record.entry.sponsor == party and record.state not in ENDED]
        if len(alive) >= STUDIES_PER_PARTY:
            raise RequestError(f"{party} sponsors too many studies at once", problem=Slug.CONFLICT, wanted=f"at most {STUDIES_PER_PARTY}")
        if study in self._records:
            raise RequestError(f"study {study}: this id was used before", problem=Slug.CONFLICT, wanted="an id that names no other study")
        earlier = [found.entry.proposed_at for found in self._records.values() if found.entry.sponsor == party]
        check_pace(f"proposals of {party}", filter(None, earlier), self._desk.paces, now=draft.now)
        _, claimed = self._negotiation.read(party, text, Proposal)
        if claimed.id != study:
            raise RemoteProtocolError("proposal", wanted=f"study {study}", got=claimed.id)
        self._records[study] = self._negotiation.propose(draft, party, text)

    # start and end

    def _start(self, draft: Draft, record: StudyRecord, party: str, text: str) -> None:
        envelope, event = self._event(record, party, text)
        if party != record.starter:
            raise RequestError(f"study {record.id}", problem=Slug.NOT_ENTITLED, wanted=f"{record.starter} to start it", got=party)
        rounds = self._rounds.get(record.id)
        state = require_move(record.state, Move.START, record.id)
        if rounds is None or (event.change, event.certificates, event.head) != (StudyChange.STARTED, 0, rounds.chain.head):
            raise RemoteProtocolError(f"start of study {record.id}", wanted="started, 0 certificates, head the agreement", got=event.change)
        draft.append(envelope)
        draft.seal()
        record.change(draft, state)
        draft.send(record.members, Move.CHANGED, record.id, Changed(event=envelope.dump().decode()))
        draft.note(record.id, f"started by {party}")
        rounds.open_next(draft)

    def _event(self, record: StudyRecord, party: str, text: str) -> tuple[Envelope, StudyEvent]:
        envelope, event = self._negotiation.read(party, text, StudyEvent)
        agreement = None if event.agreement is None else record.terms and record.terms.digest()
        if (event.study, event.by, event.agreement) != (record.id, party, agreement) or party not in record.members:
            raise RemoteProtocolError(
                f"event on study {record.id}",
                wanted=f"one of the member {party} under its agreement",
                got=f"one of {event.by} on {event.study}",
            )
        return envelope, event

    def _stop(self, draft: Draft, record: StudyRecord, party: str, text: str) -> None:
        envelope, event = self._event(record, party, text)
        require_move(record.state, Move.STOP, record.id)
        if record.id not in self._rounds:
            if party != record.starter or event.change is not StudyChange.TERMINATED:
                raise RequestError(
                    f"study {record.id} has no agreement yet",
                    problem=Slug.NOT_ENTITLED,
                    wanted=f"{record.starter} to take it back",
                    got=party,
                )
            self._negotiation.terminate(draft, record, f"taken back by {party}: {event.reason}", envelope)
            return
        if event.change is not StudyChange.STOPPED:
            raise RemoteProtocolError(f"stop of study {record.id}", wanted=StudyChange.STOPPED, got=event.change)
        rounds = self._rounds[record.id]
        if not rounds.is_moment(event.certificates, event.head):
            raise RemoteProtocolError(
                f"stop of study {record.id}", wanted="a certificate of this study", got=f"number {event.certificates}, {event.head}"
            )
        if record.entry.stop:
            return  # somebody has asked already
        draft.append(envelope)
        self._stop_rounds(draft, record, envelope)

    def _stop_rounds(self, draft: Draft, record: StudyRecord, asked: Envelope) -> None:
        record.entry = replace(record.entry, stop=asked.dump().decode())
        draft.entries.studies.append(record.entry)
        if not self._rounds[record.id].stop(draft, self._stop_reason(record)):
            draft.note(record.id, "a stop was asked for; the open round is finished first")

    def _stop_reason(self, record: StudyRecord) -> str:
        event = StudyEvent.parse(load_envelope(record.entry.stop, "stop").payload)
        return f"stopped by {event.by or 'the gateway'}: {event.reason}"[:2_000]

    async def stop_study(self, study: str, reason: str) -> StudyRecord:
        """Stop a study for the operator; RequestError if there is nothing to stop."""
        record = self._records.get(study)
        if record is None:
            raise RequestError(f"study {study!r} is not known here", problem=Slug.UNKNOWN_STUDY)
        require_move(record.state, Move.STOP, study)
        draft = self._desk.journal.draft()
        rounds = self._rounds.get(study)
        if rounds is None:
            self._negotiation.terminate(draft, record, f"taken back by the gateway's operator: {reason}")
        else:
            self._stop_rounds(draft, record, self._gateway_event(record, rounds, StudyChange.STOPPED, reason, draft.now))
        await self._desk.journal.record(draft)
        return record

    def _gateway_event(self, record: StudyRecord, rounds: Rounds, change: StudyChange, reason: str, now: float) -> Envelope:
        event = StudyEvent(
            study=record.id,
            change=change,
            by=None,
            agreement=rounds.terms.digest(),
            certificates=rounds.certificates,
            head=rounds.chain.head,
            reason=reason[:2_000],
            at=int(now),
        )
        return event.sign(self._desk.key)

    def _close(self, record: StudyRecord, draft: Draft, change: StudyChange, reason: str) -> None:
        """Write a running study's end: the event, every member's participation, and the news to all."""
        rounds = self._rounds[record.id]
        event = self._gateway_event(record, rounds, change, reason, draft.now)
        draft.append(event)
        for party in record.members:
            joined, missed = rounds.participation(party)
            statement = Participation(study=record.id, agreement=rounds.terms.digest(), party=party, joined=joined, missed=missed)
            draft.append(statement.sign(self._desk.key))
        draft.seal()
        record.entry = replace(record.entry, stop="")
        record.change(draft, StudyState.FINISHED if change is StudyChange.FINISHED else StudyState.STOPPED, reason=reason)
        draft.send(record.members, Move.CHANGED, record.id, Changed(event=event.dump().decode()))
        draft.note(record.id, f"{change.value}: {reason}")
        _LOG.info("study.closed", study=record.id, change=change.value, certificates=rounds.certificates)

    # reading

    def all(self) -> tuple[StudyRecord, ...]:
        """Return every study, in id order."""
        return tuple(self._records[study] for study in sorted(self._records))

    def seen_by(self, party: str) -> tuple[StudyRecord, ...]:
        """Return the studies that concern `party`, in id order: those it is asked about, and those with terms that it is a member of."""
        return tuple(record for record in self.all() if party in record.members)

    def describe(self, record: StudyRecord) -> dict[str, Any]:
        """Return where a study stands, as JSON values."""
        rounds = self._rounds.get(record.id)
        progress = _no_progress(record) if rounds is None else rounds.describe()
        waits = progress["waits_for"] if record.state is StudyState.RUNNING else list(record.waits_for())
        return {
            "study": record.id,
            "state": record.state.value,
            "sponsor": record.entry.sponsor,
            "title": record.proposal.title,
            "agreement": record.terms.digest() if record.terms and record.entry.leaf >= 0 else None,
            "reason": record.entry.reason,
            **progress,
            "waits_for": waits,
        }

    def directory(self, record: StudyRecord) -> Directory:
        """Return the invited parties as they are enrolled, without those that were revoked."""
        return self._negotiation.directory(record)

    def offers(self, record: StudyRecord) -> tuple[Offer, ...]:
        """Return the offers that came, as the parties signed them."""
        return tuple(Offer.parse(load_envelope(answer.offer, "offer").payload) for answer in record.answers.values() if answer.offer)


def _no_progress(record: StudyRecord) -> dict[str, Any]:
    """Return what is known of the rounds of a study that does not run here: of one that ended before this start, little."""
    total = sum(step.rounds for step in record.terms.steps) if record.terms else 0
    done = {StudyState.FINISHED: total, StudyState.STOPPED: None}.get(record.state, 0)
    return {"round": 0, "phase": None, "step": None, "rounds_done": done, "rounds_total": total, "waits_for": []}


def _post(kind: str, raw: bytes) -> Post:
    """Return a post. A record's body is that of every move but ACCEPT."""
    if kind != RECORD and kind not in MOVES_TO_GATEWAY:
        raise RequestError(f"message kind {kind[:80]!r}", wanted=", ".join([*POSTS, *MOVES_TO_GATEWAY, RECORD]), got="another")
    post = load_move(Move.PROPOSE if kind == RECORD else kind, raw)
    if not isinstance(post, Post):
        raise RemoteProtocolError(f"message {kind}: not a party's to post")
    return post


def _acceptance(post: Post) -> AcceptPost:
    if not isinstance(post, AcceptPost):
        raise RemoteProtocolError("acceptance", wanted="a key part and its boxes", got="none")
    return post
