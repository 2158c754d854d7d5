"""The negotiation of one study, from the sponsor's proposal to an agreement that all members signed and that stands in the log.

The gateway only proposes: terms are computed by the same pure code that every party runs (`parley_policies.negotiation.cohorts`), and
nothing counts before every member has signed exactly these terms. Every post is verified against the identity key that the party enrolled
with. Each method takes one verified step in a draft that the caller records, or raises and changes nothing. Only choosing cohorts takes
long: that is a `Question`, which the caller has answered in a thread, and whose outcome it then brings back.

A study may split into several cohorts: the first keeps its record, each further one gets a record of its own, with the offers of its
members, in the same draft. Who is in none is told so in that draft too, in words that are the same whatever the reason. What parties are
told names nobody's clause; the exact reasons stand in the study's notes, for the operator, who holds the offers anyway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TypeVar

from parley_crypto.errors import CryptoError
from parley_crypto.signing import Envelope
from parley_crypto.statement import Signed, Statement
from parley_policies.errors import OUTWARD_REASON, AgreementInvalid, Conflict, OfferInvalid
from parley_policies.negotiation.agreement import Agreement, Refusal, assemble, read_acceptance
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Decline, Offer
from parley_policies.negotiation.outcome import Negotiated
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import GatewayTerms, Terms
from parley_protocol.bound import load_envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.keyparts import KeyPart, check_boxes, graph_seed, read_key_part, with_path
from parley_protocol.negotiation import (
    LEFT_OUT,
    NO_TERMS,
    AcceptPost,
    Finalized,
    Move,
    StudyRequest,
    StudyState,
    Terminated,
    TermsProposed,
    require_move,
    starter_of,
)
from parley_protocol.problems import Slug
from parley_protocol.records import StudyChange, StudyEvent
from parley_protocol.relays import LogProof
from parley_service.errors import RequestError

from parley_gateway.desk import Desk
from parley_gateway.enrolment import described, entry_of
from parley_gateway.entries import Answer, StudyEntry
from parley_gateway.journal import Draft

S = TypeVar("S", bound=Statement)
Outcome = Negotiated | Conflict | OfferInvalid | None  # None: nobody made an offer


@dataclass(frozen=True, slots=True)
class Question:
    """What terms are computed from. It shares nothing with the study, so it can be answered in a thread."""

    proposal: Proposal
    offers: tuple[Offer, ...]
    directory: Directory
    gateway: GatewayTerms

    def answer(self) -> Outcome:
        """Compute terms. With a hundred parties the solver may take the better part of a minute."""
        if not self.offers:
            return None
        try:
            return negotiate(self.proposal, self.offers, self.directory, self.gateway)
        except (Conflict, OfferInvalid) as conflict:
            return conflict


@dataclass(slots=True)
class StudyRecord:
    """One study as the negotiation knows it. Changed only together with a draft that says the same."""

    entry: StudyEntry
    proposal: Proposal
    answers: dict[str, Answer] = field(default_factory=dict)
    terms: Terms | None = None

    @property
    def id(self) -> str:
        """The study's id."""
        return self.entry.study

    @property
    def state(self) -> StudyState:
        """Where the study stands."""
        return StudyState(self.entry.state)

    @property
    def members(self) -> tuple[str, ...]:
        """The members of the terms, or before there are terms the invited parties: whom the study concerns, and nobody else."""
        return tuple(m.party for m in self.terms.members) if self.terms else self.proposal.invited

    @property
    def starter(self) -> str:
        """Who may start it, or take it back: the sponsor, or the first member of a cohort that the sponsor is not in."""
        return starter_of(self.terms, self.entry.sponsor) if self.terms else self.entry.sponsor

    def key_parts(self, terms: Terms) -> dict[str, KeyPart]:
        """Return the key parts of all members, who have all accepted; each was checked when it came."""
        texts = {member.party: self.answers[member.party].key_part for member in terms.members}
        return {party: KeyPart.parse(load_envelope(text, "key part").payload) for party, text in texts.items()}

    def graph_seed(self) -> bytes:
        """Return the 32 bytes that the neighbour graphs of the study's rounds are drawn from; only once all have accepted."""
        if self.terms is None or self.entry.leaf < 0:
            raise RequestError(f"study {self.id} has no agreement", problem=Slug.INTERNAL)
        return graph_seed(self.terms, self.key_parts(self.terms))

    def waits_for(self) -> tuple[str, ...]:
        """Return whose answer, signature or start is waited for."""
        match self.state:
            case StudyState.REQUESTED | StudyState.OFFERED:
                lacking = [party for party, answer in self.answers.items() if not answer.offer and not answer.declined]
            case StudyState.AGREED | StudyState.VERIFIED:
                lacking = [party for party in self.members if not self.answers[party].accepted]
            case StudyState.FINALIZED:
                lacking = [self.starter]
            case _:
                lacking = []
        return tuple(sorted(lacking))

    def change(self, draft: Draft, state: StudyState, *, reason: str = "") -> None:
        """Write a new state into the draft."""
        self.entry = replace(self.entry, state=state.value, reason=reason or self.entry.reason, changed_at=draft.now)
        draft.entries.studies.append(self.entry)

    def answer(self, draft: Draft, answer: Answer) -> None:
        """Write a party's answer into the draft."""
        self.answers[answer.party] = answer
        draft.entries.answers.append(answer)


class Negotiation:
    """Takes the posts that lead to an agreement, or to none."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def read(self, party: str, text: str, of: type[S]) -> tuple[Envelope, S]:
        """Return a statement that `party` signed with its identity key; RequestError otherwise."""
        what = of.__name__.lower()
        envelope = load_envelope(text, what)
        try:
            statement = Signed(envelope, of).verify(self._desk.members.identity_key(party))
        except CryptoError as error:
            raise RequestError(f"{what} of {party}: {error}", problem=Slug.VERIFICATION_FAILED) from error
        if len(envelope.signatures) != 1:
            raise RequestError(f"{what} of {party}", wanted="one signature", got=str(len(envelope.signatures)))
        return envelope, statement

    # proposal

    def propose(self, draft: Draft, party: str, text: str) -> StudyRecord:
        """Take a proposal of its sponsor and ask every invited party."""
        envelope, proposal = self.read(party, text, Proposal)
        if proposal.sponsor != party:
            raise RequestError(f"proposal of {proposal.id}", problem=Slug.NOT_ENTITLED, wanted=f"the sponsor {proposal.sponsor}", got=party)
        if self._today() > proposal.wishes.answer_by:
            raise RequestError(
                f"proposal of {proposal.id}: wishes.answer_by", wanted=f"{self._today()} or later", got=f"{proposal.wishes.answer_by}"
            )
        if unknown := [invited for invited in proposal.invited if self._desk.members.get(invited) is None]:
            raise RequestError(
                f"proposal of {proposal.id}: invited",
                problem=Slug.CONFLICT,
                wanted="parties that are enrolled here and not revoked",
                got=", ".join(unknown),
            )
        entry = StudyEntry(
            study=proposal.id,
            state=StudyState.REQUESTED.value,
            sponsor=party,
            proposal=envelope.dump().decode(),
            agreement="",
            reason="",
            stop="",
            leaf=-1,
            changed_at=draft.now,
            proposed_at=draft.now,
        )
        record = StudyRecord(entry, proposal)
        draft.entries.studies.append(entry)
        for invited in proposal.invited:
            record.answer(draft, Answer(proposal.id, invited))
        members = tuple(entry_of(self._desk.members.find(invited)) for invited in sorted(proposal.invited))
        draft.send(proposal.invited, Move.REQUEST, proposal.id, StudyRequest(proposal=entry.proposal, members=members))
        draft.note(proposal.id, f"proposed by {party} to {', '.join(sorted(proposal.invited))}")
        return record

    def _today(self) -> date:
        return datetime.fromtimestamp(self._desk.clock(), UTC).date()

    # offers

    def offer(self, draft: Draft, record: StudyRecord, party: str, text: str) -> None:
        """Take an offer. After the last answer `is_answered` says so."""
        envelope, offer = self.read(party, text, Offer)
        self._require_answerable(record, party, offer.party, offer.study, offer.proposal_digest)
        state = require_move(record.state, Move.OFFER, record.id)
        record.answer(draft, replace(record.answers[party], offer=envelope.dump().decode()))
        record.change(draft, state)
        draft.note(record.id, f"{party} made an offer")

    def decline(self, draft: Draft, record: StudyRecord, party: str, text: str) -> None:
        """Take a decline. After the last answer `is_answered` says so."""
        _, decline = self.read(party, text, Decline)
        self._require_answerable(record, party, decline.party, decline.study, decline.proposal_digest)
        record.change(draft, require_move(record.state, Move.DECLINE, record.id))
        record.answer(draft, replace(record.answers[party], declined=True))
        draft.note(record.id, f"{party} declined")

    def _require_answerable(self, record: StudyRecord, party: str, author: str, study: str, proposal: str) -> None:
        got, wanted = (author, study, proposal), (party, record.id, record.proposal.digest())
        if got != wanted:
            raise RemoteProtocolError(f"answer of {party} on study {record.id}", wanted=f"{wanted}", got=f"{got}")
        answer = record.answers[party]
        if answer.offer or answer.declined:
            raise RequestError(f"study {record.id}: {party} has answered already", problem=Slug.CONFLICT)
        if self._today() > record.proposal.wishes.answer_by:
            raise RequestError(
                f"study {record.id}",
                problem=Slug.WRONG_STATE,
                wanted=f"an answer up to {record.proposal.wishes.answer_by}",
                got="a later one",
            )

    def is_answered(self, record: StudyRecord) -> bool:
        """Whether terms are to be computed: everybody has answered, or the day for answers is over."""
        if record.state not in {StudyState.REQUESTED, StudyState.OFFERED}:
            return False
        return not record.waits_for() or self._today() > record.proposal.wishes.answer_by

    def question(self, record: StudyRecord) -> Question:
        """Return what terms are computed from: the answers that came, without those of parties that were revoked since."""
        directory = self.directory(record)
        texts = [answer.offer for answer in record.answers.values() if answer.offer and answer.party in directory]
        offers = tuple(Offer.parse(load_envelope(text, "offer").payload) for text in texts)
        return Question(record.proposal, offers, directory, self._desk.gateway)

    def conclude(self, draft: Draft, record: StudyRecord, outcome: Outcome) -> tuple[StudyRecord, ...]:
        """Propose the terms that were computed, or end the study. Returns the records of further cohorts."""
        if lacking := record.waits_for():
            draft.note(record.id, f"the day for answers is over; none came of {', '.join(lacking)}")
        if not isinstance(outcome, Negotiated):
            draft.note(record.id, "nobody made an offer" if outcome is None else f"no terms: {outcome}")
            self.terminate(draft, record, NO_TERMS)
            return ()
        return self._propose_terms(draft, record, outcome)

    def _propose_terms(self, draft: Draft, record: StudyRecord, negotiated: Negotiated) -> tuple[StudyRecord, ...]:
        draft.note(record.id, _result(negotiated))
        cohorts = [self._split_off(draft, record, terms) for terms in negotiated.terms[1:]]
        self._agree(draft, record, negotiated.terms[0])
        chosen = {party for cohort in (record, *cohorts) for party in cohort.members}
        left_out = [party for party in record.proposal.invited if party not in chosen]
        draft.send(left_out, Move.TERMINATED, record.id, Terminated(reason=LEFT_OUT))
        return tuple(cohorts)

    def _split_off(self, draft: Draft, record: StudyRecord, terms: Terms) -> StudyRecord:
        """Make the record of a further cohort, with its members' offers, and propose its terms to them."""
        entry = replace(record.entry, study=terms.study, state=StudyState.OFFERED.value, proposed_at=0.0)
        cohort = StudyRecord(entry, record.proposal)
        for member in terms.members:
            cohort.answer(draft, replace(record.answers[member.party], study=cohort.id))
        draft.note(record.id, f"{', '.join(sorted(cohort.answers))} go on as {cohort.id}")
        self._agree(draft, cohort, terms)
        return cohort

    def _agree(self, draft: Draft, record: StudyRecord, terms: Terms) -> None:
        state = require_move(record.state, Move.TERMS, record.id)
        unsigned = Envelope(Terms.kind, terms.canonical(), ())
        record.terms, record.entry = terms, replace(record.entry, agreement=unsigned.dump().decode())
        record.change(draft, state)
        draft.send(record.members, Move.TERMS, record.id, TermsProposed(terms=terms.canonical().decode()))
        draft.note(record.id, f"terms {terms.digest()[:16]}… proposed to {', '.join(record.members)}")

    def directory(self, record: StudyRecord) -> Directory:
        """Return the invited parties as they are enrolled, without those that were revoked."""
        members = [self._desk.members.find(party) for party in record.proposal.invited]
        return {member.party: described(member) for member in members if not member.revoked}

    # signatures

    def accept(self, draft: Draft, record: StudyRecord, party: str, post: AcceptPost) -> None:
        """Take a member's signature on exactly these terms, and its key part; with the last one the agreement is in force, and logged."""
        terms = self._terms(record, party)
        state = require_move(record.state, Move.ACCEPT, record.id)
        try:
            acceptance = read_acceptance(terms, party, load_envelope(post.statement, "acceptance"))
            signed = assemble(terms, [load_envelope(record.entry.agreement, "agreement"), acceptance])
        except AgreementInvalid as error:
            raise RequestError(str(error), problem=Slug.VERIFICATION_FAILED) from error
        envelope, part = read_key_part(terms, party, post.key_part)
        check_boxes(terms, part, post.boxes)
        record.entry = replace(record.entry, agreement=signed.dump().decode())
        boxes = json.dumps(post.boxes)
        record.answer(draft, replace(record.answers[party], accepted=True, key_part=envelope.dump().decode(), boxes=boxes))
        record.change(draft, state)
        draft.note(record.id, f"{party} signed")
        if not record.waits_for():
            self._finalize(draft, record, Agreement.load(signed))

    def _terms(self, record: StudyRecord, party: str) -> Terms:
        if record.terms is None or party not in record.members:
            raise RequestError(f"study {record.id}: there are no terms for {party} to answer", problem=Slug.WRONG_STATE)
        return record.terms

    def _finalize(self, draft: Draft, record: StudyRecord, agreement: Agreement) -> None:
        leaf = draft.append(agreement.envelope)
        for party in record.members:
            draft.append(load_envelope(record.answers[party].key_part, "key part"))
        event = StudyEvent(
            study=record.id,
            change=StudyChange.FINALIZED,
            by=None,
            agreement=agreement.digest,
            certificates=0,
            head=agreement.digest,
            reason="",
            at=int(draft.now),
        )
        draft.append(event.sign(self._desk.key))
        draft.seal()
        record.entry = replace(record.entry, leaf=leaf)
        record.change(draft, require_move(record.state, Move.FINALIZED, record.id))
        self._send_finalized(draft, record, agreement.terms)
        draft.note(record.id, f"agreement {agreement.digest[:16]}… signed by all {len(record.members)} members")

    def _send_finalized(self, draft: Draft, record: StudyRecord, terms: Terms) -> None:
        """Send every member the agreement, all key parts, and the boxes that are for it, which nobody needs to keep here any longer."""
        text, leaf = record.entry.agreement, record.entry.leaf
        boxes = self._boxes_for(record, terms)
        key_parts = tuple(record.answers[party].key_part for party in record.members)
        proofs: dict[int, LogProof] = {}
        for party in record.members:
            size = self._desk.members.show(draft, party)
            if size not in proofs:
                proofs[size] = draft.prove(old_size=size, index=leaf)
            finalized = Finalized(agreement=text, log=proofs[size], key_parts=key_parts, boxes=boxes[party])
            draft.send([party], Move.FINALIZED, record.id, finalized)
            record.answer(draft, replace(record.answers[party], boxes=""))

    def _boxes_for(self, record: StudyRecord, terms: Terms) -> Mapping[str, dict[str, str]]:
        """Return by recipient the boxes for it, by sender."""
        found: dict[str, dict[str, str]] = {party: {} for party in record.members}
        for sender, part in record.key_parts(terms).items():
            boxes: dict[str, str] = json.loads(record.answers[sender].boxes)
            tree = check_boxes(terms, part, boxes)
            for recipient, box in boxes.items():
                found[recipient][sender] = with_path(terms, tree, sender, recipient, box)
        return found

    def refuse(self, draft: Draft, record: StudyRecord, party: str, text: str) -> None:
        """Take a member's refusal of the terms: the negotiation ends."""
        terms = self._terms(record, party)
        require_move(record.state, Move.REFUSE, record.id)
        _, refusal = self.read(party, text, Refusal)
        got, wanted = (refusal.party, refusal.study, refusal.terms_digest), (party, record.id, terms.digest())
        if got != wanted:
            raise RemoteProtocolError(f"refusal of {party} on study {record.id}", wanted=f"{wanted}", got=f"{got}")
        self.terminate(draft, record, f"{party} did not sign: {OUTWARD_REASON}")

    # no agreement

    def terminate(self, draft: Draft, record: StudyRecord, reason: str, event: Envelope | None = None) -> None:
        """End the negotiation, in the log and for everyone whom it concerns. `event` is the sponsor's own statement, where it ends it."""
        parties = record.members
        shown = reason[:2_000]
        record.change(draft, require_move(record.state, Move.TERMINATED, record.id), reason=shown)
        if event is None:
            statement = StudyEvent(
                study=record.id,
                change=StudyChange.TERMINATED,
                by=None,
                agreement=None,
                certificates=0,
                head=None,
                reason=shown,
                at=int(draft.now),
            )
            event = statement.sign(self._desk.key)
        draft.append(event)
        draft.send(parties, Move.TERMINATED, record.id, Terminated(reason=shown))
        draft.note(record.id, f"ended without an agreement: {shown}")


def _result(negotiated: Negotiated) -> str:
    """Say for the operator how good the choice is, and who is left out and why."""
    used = f"{negotiated.value:,} records × parts used, at most {negotiated.bound:,} possible ({negotiated.method})"
    return "; ".join([used, *(f"{left.party} is left out: {left.clause}, {left.why}" for left in negotiated.out)])
