"""The table of a study's states, with both roles at once: a real gateway's studies and real parties, in any order of messages.

Six parties of two groups that deny each other, and one that all deny: a study splits, and leaves somebody out. Messages are delivered in
any order between parties, again, to whom they were not meant for, and before or after a restart of either side; studies are taken back.
What is held: every state follows from the one before by the table, no end is left, a party signs one cohort's terms of a proposal, nobody
is ahead of the gateway, what is refused changes nothing, and once all is delivered both roles agree.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from parley_gateway.desk import Desk
from parley_gateway.enrolment import GatewayIdentity, Members
from parley_gateway.entries import Answer, Entries, Member, Message, Stored, StudyEntry
from parley_gateway.journal import Draft
from parley_gateway.kept import KeptRounds
from parley_gateway.metrics import Metrics
from parley_gateway.presence import Presence
from parley_gateway.studies import Studies, _post
from parley_gateway.tlog import TransparencyLog
from parley_party.config import load
from parley_party.errors import PartyError
from parley_party.founding import party_toml
from parley_party.house import House
from parley_party.outbox import Outbox
from parley_party.store import Change, PartyStore, Sent
from parley_party.studies import Negotiation
from parley_policies.enforcement.guard import Guard
from parley_policies.errors import PolicyError
from parley_policies.negotiation.proposal import proposal_id_of
from parley_protocol.errors import ProtocolError
from parley_protocol.negotiation import (
    ENDED,
    STUDY,
    Changed,
    Finalized,
    Move,
    StudyRequest,
    StudyState,
    Terminated,
    TermsProposed,
    load_move,
)
from parley_protocol.pacing import OF_ONE_SPONSOR
from parley_protocol.records import StudyChange
from parley_service.database import Database, migrate, open_engine
from parley_service.errors import ServiceError
from parley_service.secrets import SecretReference

from tests.party.negotiating import NOW, URL, Counted, connected, made_keys
from tests.policies.policy_samples import GATEWAY_KEY, Federation, objectives_of, study_of

LEFT, RIGHT, ALONE = ("a-clinic", "b-clinic", "c-clinic"), ("p-clinic", "q-clinic", "r-clinic"), "z-clinic"
NAMES = (*LEFT, *RIGHT, ALONE)
DENIED = dict.fromkeys(LEFT, (*RIGHT, ALONE)) | dict.fromkeys(RIGHT, (*LEFT, ALONE)) | {ALONE: ()}
SAMPLE = Federation.of(NAMES, edits={party: {"denied": f"denied = {json.dumps(DENIED[party])}"} for party in NAMES})
REFUSALS = (ProtocolError, ServiceError, PolicyError)
T = TypeVar("T")


class GatewaySide:
    """A gateway's studies, and in place of its disk what it said must be kept."""

    def __init__(self) -> None:
        self.log = TransparencyLog(GATEWAY_KEY, "gw/log")
        self.studies: dict[str, StudyEntry] = {}
        self.answers: dict[tuple[str, str], Answer] = {}
        self.inboxes: defaultdict[str, list[Message]] = defaultdict(list)
        self.enrolled = [
            Member(m.party, m.legal_name, m.party_class, m.country, m.identity, m.identity, "", 0.0, 0) for m in SAMPLE.members.values()
        ]
        self.live = self._started()

    def _started(self) -> Studies:
        identity = GatewayIdentity(SAMPLE.gateway.id, URL, GATEWAY_KEY.public, "gw/log")
        journal = cast("Any", self)
        members = Members(journal, GATEWAY_KEY, identity, clock=lambda: NOW, most=100, members=self.enrolled)
        desk = Desk(
            clock=lambda: NOW,
            journal=journal,
            inbox=cast("Any", None),
            presence=Presence(NOW),
            members=members,
            intake=cast("Any", self),
            key=GATEWAY_KEY,
            gateway=SAMPLE.gateway,
            metrics=Metrics(),
            sums=Path(),
            paces=OF_ONE_SPONSOR,
            kept=KeptRounds(journal, cast("Any", self), ()),
            on_failure=lambda _: None,
        )
        return Studies(desk)

    def draft(self) -> Draft:
        return Draft(self.log, NOW)

    def record(self, draft: Draft) -> asyncio.Future[None]:
        """Keep what a draft says: the disk and the outgoing messages, in one."""
        for entry in draft.entries.studies:
            self.studies[entry.study] = entry
        for answer in draft.entries.answers:
            self.answers[answer.study, answer.party] = answer
        for message in draft.entries.messages:
            self.inboxes[message.party].append(message)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def release(self, *_: object) -> None:
        """There are no uploads here."""

    async def take(self, party: str, kind: str, study: str, body: str) -> None:
        """Take a post. What is refused leaves nothing behind."""
        draft = self.draft()
        try:
            self.live._take(draft, party, kind, study, _post(kind, body.encode()))
        except REFUSALS:
            assert draft.entries == Entries()
            return
        await self.record(draft)

    async def restart(self) -> None:
        """Start again from what was kept."""
        self.live = self._started()
        await self.live.restore(
            Stored(
                members=(),
                invites=(),
                posts=(),
                studies=tuple(self.studies[study] for study in sorted(self.studies)),
                answers=tuple(self.answers.values()),
                certificates=(),
                open_rounds=(),
                kept=(),
                last_rounds={},
                events=(),
                leaf_hashes=(),
                keys=frozenset(),
                checkpoint=None,
                last_message=0,
                facts={},
            )
        )


class PartySide:
    """One party's negotiation and its store on a disk."""

    def __init__(self, folder: Path, me: str) -> None:
        self.me, self.folder = me, folder
        folder.mkdir()
        (folder / "party.toml").write_text(party_toml(me, SecretReference.parse("env:UNUSED")))
        shutil.copy(_template(), folder / "party.db")
        self.keys = made_keys(folder / "keys", me)
        self.read: list[Message] = []

    async def start(self) -> None:
        """Start on what the store holds."""
        self.database = Database(open_engine(self.folder / "party.db"))
        self.store = PartyStore(self.database)
        policy = SAMPLE.policy(self.me)
        house = House(self.me, self.keys, Guard(policy, URL), lambda: NOW)
        data = Counted(load(self.folder / "party.toml"), policy.policy)
        data.people, data.objectives = SAMPLE.records[self.me], objectives_of(self.me)
        outbox = Outbox("demo", connected(SAMPLE), self.store, house.clock)
        self.negotiation = Negotiation("demo", house, self.store, outbox, data, lambda: SAMPLE.gateway)
        self.waiting = await self.store.outgoing("demo")

    async def stop(self) -> None:
        await self.database.close()

    async def take(self, message: Message) -> None:
        """Take a message as the federation does, but for the proof that the agreement stands in the log."""
        change = Change(cursor=message.seq)
        try:
            match load_move(message.kind, message.body):
                case StudyRequest() as request:
                    await self.negotiation.on_request(request, change)
                case TermsProposed() as terms:
                    await self.negotiation.on_terms(message.study, terms, change)
                case Finalized() as finalized:
                    await self.negotiation.on_finalized(message.study, finalized, change)
                case Changed() as changed:
                    await self.negotiation.on_changed(message.study, changed, change)
                case Terminated() as terminated:
                    await self.negotiation.on_terminated(message.study, terminated, change)
        except (*REFUSALS, PartyError):
            return

    async def states(self) -> dict[str, StudyState]:
        return {row.study: StudyState(row.state) for row in await self.store.studies()}


_TEMPLATES: list[Path] = []


def _template() -> Path:
    """Return an empty store, made once."""
    if not _TEMPLATES:
        path = Path(tempfile.mkdtemp()) / "party.db"
        engine = open_engine(path)
        migrate(engine, "parley_party")
        engine.dispose()
        _TEMPLATES.append(path)
    return _TEMPLATES[0]


def reachable() -> dict[StudyState, set[StudyState]]:
    """Return the states that each may become, in any number of moves: a party takes several at once."""
    found = {state: {state, *STUDY.get(state, {}).values()} for state in StudyState}
    for _ in StudyState:
        found = {state: set().union(*(found[later] for later in reached)) for state, reached in found.items()}
    return found


REACHABLE = reachable()


class StudyStates(RuleBasedStateMachine):
    """Messages between one gateway and seven parties, as anything may order them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.gateway = GatewaySide()
        self.parties = {name: PartySide(self.folder / name, name) for name in NAMES}
        for party in self.parties.values():
            self.do(party.start())
        self.proposed = 0
        self.before: dict[tuple[str, str], StudyState] = {}
        self.lied_to: set[str] = set()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(sponsor=st.sampled_from(NAMES))
    def propose(self, sponsor: str) -> None:
        """Let any of them propose a study to all, also the one that all deny."""
        self._propose(sponsor)

    @precondition(lambda self: self.proposed < 2)
    @rule(sponsor=st.sampled_from(NAMES))
    def propose_another(self, sponsor: str) -> None:
        self._propose(sponsor)

    def _propose(self, sponsor: str) -> None:
        self.proposed += 1
        file = study_of((sponsor, *(name for name in NAMES if name != sponsor)))
        self.do(self.parties[sponsor].negotiation.propose(file.model_copy(update={"id": f"risk-{self.proposed}"})))
        self._post_all(sponsor)

    @rule(order=st.permutations(NAMES), most=st.integers(1, 4))
    def go_on(self, order: list[str], most: int) -> None:
        """Let parties read up to `most` messages each, and send what they have to say."""
        for name in order:
            for _ in range(most):
                self._deliver(name)
            self._post_all(name)

    @rule(name=st.sampled_from(NAMES))
    def read_one(self, name: str) -> None:
        self._deliver(name)

    @rule(name=st.sampled_from(NAMES))
    def send(self, name: str) -> None:
        self._post_all(name)

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES), back=st.integers(1, 6))
    def replay(self, name: str, other: str, back: int) -> None:
        """Bring a party what it read before, or what another one did: a gateway that lies can always leave a party out, and no more."""
        if len(self.parties[other].read) >= back:
            message = self.parties[other].read[-back]
            if message.id not in {own.id for own in self.gateway.inboxes[name]}:
                self.lied_to.add(name)
            self.do(self.parties[name].take(message))

    @rule(name=st.sampled_from(NAMES), study=st.sampled_from(("risk-1", "risk-1--2", "risk-2", "risk-2--2")))
    def take_back(self, name: str, study: str) -> None:
        party = self.parties[name]
        row = self.do(party.store.study(study))
        if row is not None and StudyState(row.state) not in ENDED:
            head = "" if not row.agreement else "0" * 64
            self.do(party.negotiation.event(study, StudyChange.STOPPED, "we have doubts", certificates=0, head=head))
            self._post_all(name)

    @rule(name=st.sampled_from(NAMES))
    def start(self, name: str) -> None:
        for study, state in self.do(self.parties[name].states()).items():
            if state is StudyState.FINALIZED:
                self.do(self.parties[name].negotiation.event(study, StudyChange.STARTED, "", certificates=0, head=""))
        self._post_all(name)

    @rule(name=st.sampled_from(NAMES))
    def restart_party(self, name: str) -> None:
        party = self.parties[name]
        self.do(party.stop())
        self.do(party.start())

    @rule()
    def restart_gateway(self) -> None:
        self.do(self.gateway.restart())

    def _deliver(self, name: str) -> None:
        party, inbox = self.parties[name], self.gateway.inboxes[name]
        if len(party.read) < len(inbox):
            message = replace(inbox[len(party.read)], seq=len(party.read) + 1)
            party.read.append(message)
            self.do(party.take(message))

    def _post_all(self, name: str) -> None:
        party = self.parties[name]
        known = {item.id for item in party.waiting}
        waiting = [item for item in self.do(party.store.outgoing("demo")) if item.id not in known or item in party.waiting]
        for item in waiting:
            self.do(self.gateway.take(name, item.kind, item.study, item.body))
            self._forget(party, item.id)

    def _forget(self, party: PartySide, number: int) -> None:
        self.do(party.store.apply("demo", Change(sent=(Sent(number, ()),))))

    # what holds at any time

    @invariant()
    def every_state_follows_by_the_table(self) -> None:
        now = {("the gateway", study): StudyState(entry.state) for study, entry in self.gateway.studies.items()}
        for name, party in self.parties.items():
            now |= {(name, study): state for study, state in self.do(party.states()).items()}
        for key, state in now.items():
            assert state in REACHABLE[self.before.get(key, StudyState.REQUESTED)], (key, self.before.get(key), state)
        assert set(self.before) <= set(now)
        self.before = now

    @invariant()
    def a_party_signs_one_cohort_of_a_proposal_and_is_never_ahead(self) -> None:
        for name, party in self.parties.items():
            signed = [row.study for row in self.do(party.store.evidence()) if row.kind == "terms accepted"]
            assert len({proposal_id_of(study) for study in signed}) == len(signed), name
            for study, state in self.do(party.states()).items():
                if state in {StudyState.FINALIZED, StudyState.RUNNING}:
                    at_gateway = StudyState(self.gateway.studies[study].state)
                    assert at_gateway not in {StudyState.REQUESTED, StudyState.OFFERED, StudyState.AGREED, StudyState.VERIFIED}

    def teardown(self) -> None:
        try:
            self._deliver_everything()
            self.every_state_follows_by_the_table()
            self._both_roles_agree()
        finally:
            for party in self.parties.values():
                self.do(party.stop())
            self.loop.close()
            shutil.rmtree(self.folder)

    def _deliver_everything(self) -> None:
        for _ in range(12):
            for name in NAMES:
                while len(self.parties[name].read) < len(self.gateway.inboxes[name]):
                    self._deliver(name)
                self._post_all(name)

    def _both_roles_agree(self) -> None:
        """Once all is read, a member stands where the gateway does, and who is no member has ended it; of whom nobody lied to."""
        for study, record in self.gateway.live._records.items():
            for name in (name for name in NAMES if name not in self.lied_to):
                state = self.do(self.parties[name].states()).get(study)
                if name in record.members and name in record.answers:
                    assert state is record.state, (study, name, state, record.state)
                else:
                    assert state in {None, StudyState.TERMINATED}, (study, name, state)


StudyStates.TestCase.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
TestStudyStates = StudyStates.TestCase


def test_the_table_has_no_way_back_from_an_end() -> None:
    assert set(STUDY) == set(StudyState) - ENDED
    for state, reached in REACHABLE.items():
        assert (reached == {state}) is (state in ENDED)
        assert reached & ENDED
    order = [StudyState.REQUESTED, StudyState.OFFERED, StudyState.AGREED, StudyState.VERIFIED, StudyState.FINALIZED, StudyState.RUNNING]
    for early, late in pairwise(order):
        assert late in REACHABLE[early]
        assert early not in REACHABLE[late]
    assert {move for row in STUDY.values() for move in row} == set(Move) - {Move.PROPOSE, Move.REQUEST}
