"""One federation at a party: reads the inbox in order, hands each message to whom it concerns, and keeps the way out flowing.

One lock: a message is handled whole before the next. A message that breaks the rules is written down as evidence and passed over; a
gateway that cannot be reached is retried for ever, with pauses that grow. Nothing here decides what may leave.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from parley_crypto.errors import CryptoError
from parley_crypto.signing import Envelope
from parley_learning.errors import LearningError
from parley_policies.approvals.activation import Activated
from parley_policies.approvals.statements import AgreementApproval
from parley_policies.enforcement.guard import Leaving, Standing
from parley_policies.errors import PolicyError
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import GatewayTerms
from parley_protocol.bound import load_envelope
from parley_protocol.codec import RELAYS, load_relay
from parley_protocol.errors import ProtocolError, RemoteProtocolError
from parley_protocol.negotiation import (
    ENDED,
    Changed,
    Finalized,
    Move,
    StudyRequest,
    StudyState,
    Terminated,
    TermsProposed,
    load_move,
)
from parley_protocol.problems import Slug
from parley_protocol.proving import SumNotProvenError
from parley_protocol.records import RECORD, CredentialsShown
from parley_protocol.relays import (
    Boxes,
    Certified,
    Keys,
    ListProposal,
    LogProof,
    Post,
    ReleaseAsked,
    Released,
    RoundAborted,
    RoundOpen,
    SumOpened,
)
from parley_service.logs import get_log

from parley_party.approving import WAITS
from parley_party.client import GatewayClient, Message
from parley_party.computing import Computing
from parley_party.datasets import Datasets
from parley_party.errors import GatewayRefusedError, GatewayUnreachableError, PartyError, StudyError, TrainerError
from parley_party.house import House
from parley_party.logview import SeenLog
from parley_party.offered import ACCEPTED, OFFERED
from parley_party.outbox import RETRY_SECONDS, RETRY_SECONDS_MAX, Outbox
from parley_party.publicstate import StudyMath
from parley_party.recomputing import Recomputed, recompute
from parley_party.rounds import StudyRun
from parley_party.store import NO_MESSAGE, Change, Egress, PartyStore, Sent
from parley_party.studies import Negotiation
from parley_party.studykeys import keys_of
from parley_party.tables import EvidenceRow, StudyRow

SETTLE_SECONDS: Final = 1.0
_LOG: Final = get_log("federation")
_BROKEN: Final = (ProtocolError, CryptoError, PolicyError, LearningError, StudyError)


class Federation:
    """The standing connection of this party to one gateway."""

    def __init__(self, name: str, house: House, store: PartyStore, client: GatewayClient, datasets: Datasets, folder: Path) -> None:
        self.name: Final = name
        self._house = house
        self._store = store
        self.client: Final = client
        self._datasets = datasets
        self._folder = folder
        self._outbox = Outbox(name, client, store, house.clock)
        self.negotiation: Final = Negotiation(name, house, store, self._outbox, datasets, self.gateway_terms)
        self.runs: Final[dict[str, StudyRun]] = {}
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cursor = 0
        self._came: list[Message] = []  # what the answer to our last message brought
        self._seen = SeenLog(house.keys.identity.public, "", 0, "")  # replaced by the gateway's own when it is greeted
        self.connected = False
        self._loaded = False

    def gateway_terms(self) -> GatewayTerms:
        """Return the gateway as it declares itself, for the policy to judge; RemoteProtocolError if what it says is no declaration."""
        greeting = self.client.greeting
        operator = greeting.operator
        try:
            countries = {str(operator.get("country", ""))} | {str(item.get("country", "")) for item in operator.get("subprocessors", [])}
            return GatewayTerms(
                id=greeting.id,
                key=greeting.key.hex,
                operator=str(operator.get("legal_name", "")),
                countries=tuple(sorted(countries)),
                incident_notice_hours=operator.get("incident_notice_hours"),
                change_notice_days=operator.get("change_notice_days"),
            )
        except (AttributeError, TypeError, ValueError) as error:  # JSON of another shape
            raise RemoteProtocolError(f"gateway {greeting.id}: wanted its operator, got {str(operator)[:200]}") from error

    # running

    async def run(self) -> None:
        """Serve this federation until cancelled."""
        pause = RETRY_SECONDS
        while True:
            try:
                if not self._loaded:
                    await self.client.greet()
                    async with self._lock:
                        await self._load()
                        self._loaded = True
                await self._outbox.flush()
                await self._note_refused()
                await self._read_once()
                pause, self.connected = RETRY_SECONDS, True
            except (GatewayUnreachableError, GatewayRefusedError) as error:
                _LOG.warning("gateway", federation=self.name, reason=str(error), retry_seconds=pause)
                self.connected = False
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_SECONDS_MAX)

    async def show_credentials(self, credentials: tuple[str, ...]) -> None:
        """Show these credentials from now on; GatewayUnreachableError or GatewayRefusedError if the gateway did not take them."""
        me, now = self._house.me, self._house.clock()
        statement = CredentialsShown(party=me, credentials=credentials, at=int(now)).sign(self._house.keys.identity)
        verdict = self._house.guard.check_send(Leaving.RECORD, now=self._house.now())
        size = await self.client.post(RECORD, "", Post(statement=statement.dump().decode()).canonical().decode())
        left = Egress(at=now, study="", round=0, kind=RECORD, size=size, agreement="", verdict="allowed")
        change = Change(sent=(Sent(NO_MESSAGE, (left,)),), evidence=(self._house.evidence_of(verdict),))
        await self._store.apply(self.name, change)

    async def send(self) -> None:
        """Send what waits now; if the gateway is away it goes out later."""
        try:
            await self._outbox.flush()
        except (GatewayUnreachableError, GatewayRefusedError) as error:
            _LOG.warning("not sent yet", federation=self.name, reason=str(error))
        await self._note_refused()

    async def _note_refused(self) -> None:
        """Write down of a proposal that the gateway did not take it, and why; what else it refuses shows in the egress log."""
        for message, error in self._outbox.take_refused():
            if message.kind == Move.PROPOSE:
                await self.negotiation.on_refused(message.study, error)

    async def approve(self, row: StudyRow, text: str) -> AgreementApproval:
        """Take a role's word on terms that wait here, and send what follows from it."""
        async with self._lock:
            said = await self.negotiation.approving.say(row, text)
        await self.send()
        return said

    async def take_up(self, active: Activated, announcement: Change) -> None:
        """Ask another policy from here on, say so in the log, and decide anew on what waits for people."""
        async with self._lock:
            self._house.take_up(active)
            await self._outbox.apply(announcement)
            if self._loaded:
                for row in await self._store.studies(self.name):
                    await self._decide_anew(row)
        await self.send()

    async def _decide_anew(self, row: StudyRow) -> None:
        """Decide on terms that wait here for people, whose word or whose roles may have changed."""
        try:
            await self.negotiation.resume(row)
        except _BROKEN as error:
            _LOG.warning("terms that wait", federation=self.name, study=row.study, reason=str(error))

    async def close(self) -> None:
        """Stop computing and sending; what waits stays in the store."""
        for task in self._tasks:
            task.cancel()
        for run in self.runs.values():
            await run.close()
        await self._outbox.settle()

    async def _load(self) -> None:
        view, greeting = await self._store.log_view(self.name), self.client.greeting
        self._cursor = view.cursor
        self._seen = SeenLog(greeting.key, greeting.log_origin, view.size, view.root)
        await self._outbox.load()
        for row in await self._store.studies(self.name):
            if row.agreement and StudyState(row.state) not in ENDED:
                await self._take_up(row)
            elif row.state == WAITS:
                await self._decide_anew(row)
            elif row.state == StudyState.FINISHED and not row.result:
                await self._take_up(row)
                self._spawn(self._keep_result(row.study))

    async def _read_once(self) -> None:
        messages = self._came or await self._poll()
        self._came = []
        for message in messages:
            async with self._lock:
                await self._handle(message)
                self._cursor = message.seq
        self._came = await self._outbox.flush_and_wait(self._cursor, self.client.greeting.long_poll_seconds)

    async def _poll(self) -> list[Message]:
        """Wait for messages; if there are none at once, use the time to write down what was sent."""
        poll = asyncio.create_task(self.client.inbox(self._cursor, self.client.greeting.long_poll_seconds))
        try:
            done, _ = await asyncio.wait({poll}, timeout=SETTLE_SECONDS)
            if not done:
                await self._outbox.settle()
            return await poll
        finally:
            poll.cancel()

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _resume(self, work: Callable[[], Awaitable[None]]) -> None:
        async def locked() -> None:
            async with self._lock:
                try:
                    await work()
                except _BROKEN as error:
                    _LOG.warning("round", federation=self.name, reason=str(error))
            await self.send()

        self._spawn(locked())

    # messages

    async def _handle(self, message: Message) -> None:
        change = Change(cursor=message.seq)
        try:
            if message.kind in RELAYS:
                await self._on_round(message, change)
            else:
                await self._on_study(message, change)
        except SumNotProvenError as error:
            await self._halt(self.runs[message.study], str(error), change)
        except _BROKEN as error:
            _LOG.warning("message passed over", federation=self.name, study=message.study, kind=message.kind, reason=str(error))
            body = json.dumps({"message": message.kind, "seq": message.seq, "reason": str(error)})
            evidence = EvidenceRow(at=self._house.clock(), study=message.study, kind="passed over", body=body)
            await self._outbox.apply(Change(cursor=message.seq, evidence=(evidence,)))

    async def _on_study(self, message: Message, change: Change) -> None:
        match load_move(message.kind, message.body):
            case StudyRequest() as request:
                await self.negotiation.on_request(request, change)
            case TermsProposed() as proposed:
                await self.negotiation.on_terms(message.study, proposed, change)
            case Finalized() as finalized:
                seen = await self._proven(finalized.log, load_envelope(finalized.agreement, "agreement"))
                change = Change(cursor=change.cursor, log=(seen.size, seen.root))
                agreement = await self.negotiation.on_finalized(message.study, finalized, change)
                self._seen = seen
                if agreement is not None:
                    await self._take_up(await self._row(message.study))
            case Changed() as changed:
                if await self.negotiation.on_changed(message.study, changed, change) in ENDED:
                    self._spawn(self._keep_result(message.study))
            case Terminated() as terminated:
                await self.negotiation.on_terminated(message.study, terminated, change)
            case other:
                raise RemoteProtocolError(f"message {message.kind}: {type(other).__name__} is not the gateway's to send")

    async def _on_round(self, message: Message, change: Change) -> None:
        run = self.runs.get(message.study)
        if run is None:
            raise RemoteProtocolError(f"message {message.kind}: study {message.study} does not run here", problem=Slug.UNKNOWN_STUDY)
        relay = load_relay(message.kind, message.body)
        if relay.agreement != run.math.terms.digest():
            raise RemoteProtocolError(f"message {message.kind}: it names another agreement than ours on {message.study}")
        match relay:
            case RoundOpen():
                await self._on_open(run, relay, change)
            case Keys() | Boxes() | ListProposal() | Certified():
                await run.on_relay(relay, message.kind, message.body.decode(), change, self._resume)
            case RoundAborted():
                await run.on_aborted(relay, change)
            case ReleaseAsked():
                await run.on_release(relay, change)
            case Released():
                await run.on_released(relay, message.body.decode(), change)
            case SumOpened():
                await run.on_sum(relay, change)
            case _:
                raise RemoteProtocolError(f"message {message.kind}: not of a round")

    async def _on_open(self, run: StudyRun, relay: RoundOpen, change: Change) -> None:
        state = StudyState((await self._row(run.study)).state)
        if state in ENDED:
            raise RemoteProtocolError(f"study {run.study}: round {relay.round} was opened after its end", wanted="none", got=str(state))
        leaf = await run.leaf_before(relay, change)
        if leaf is None:  # a round that is past
            return
        seen = await self._proven(relay.log, leaf)
        await run.on_open(relay, Change(cursor=change.cursor, log=(seen.size, seen.root)))
        self._seen = seen

    async def _halt(self, run: StudyRun, reason: str, change: Change) -> None:
        _LOG.error("study halted", federation=self.name, study=run.study, reason=reason)
        await self.negotiation.halt(run.study, run.chain, run.certified, reason, change)
        await self.runs.pop(run.study).close()

    async def recompute(self, study: StudyRow, number: int | None) -> Recomputed:
        """Recompute a round from the sealed updates; a difference halts the study, where it still runs, and is written down."""
        try:
            found = await recompute(self.client, self._store, study, number)
        except SumNotProvenError as error:
            async with self._lock:
                await self._not_recomputed(study.study, str(error))
            await self.send()
            raise
        note = EvidenceRow(at=self._house.clock(), study=study.study, kind="sum recomputed", body=found.opened.canonical().decode())
        await self._outbox.apply(Change(evidence=(note,)))
        return found

    async def _not_recomputed(self, study: str, reason: str) -> None:
        run = self.runs.get(study)
        if run is not None and StudyState((await self._row(study)).state) not in ENDED:
            await self._halt(run, reason, Change())
            return
        note = EvidenceRow(at=self._house.clock(), study=study, kind="sum not proven", body=json.dumps({"reason": reason}))
        await self._outbox.apply(Change(evidence=(note,)))

    async def _proven(self, proof: LogProof, leaf: Envelope) -> SeenLog:
        """Check that the leaf that counts stands in the log, and that the log extends what this party saw last."""
        checkpoint = self._seen.read(proof.checkpoint)
        consistency = proof.consistency
        if proof.old_size != self._seen.size and 0 < self._seen.size <= checkpoint.size:
            consistency = tuple(await self.client.consistency(self._seen.size, checkpoint.size))
        self._seen.check_holds(leaf, proof)
        return self._seen.advanced(checkpoint, consistency)

    # studies

    async def _row(self, study: str) -> StudyRow:
        row = await self._store.study(study)
        if row is None:
            raise StudyError(f"study {study!r}", wanted="a study that this party knows", got="none of that id")
        return row

    async def _take_up(self, row: StudyRow) -> None:
        agreement = Agreement.load(load_envelope(row.agreement, "agreement"))
        proposal = Proposal.parse(load_envelope(row.proposal, "proposal").payload)
        math = StudyMath.of(agreement.terms, proposal, keys_of(row, self._house.keys.storage))
        objectives = tuple(json.loads(row.objectives))
        people = await self._people_of(row.study)
        computing = Computing(math, self._house.me, partial(self._datasets.start, row.dataset, proposal, objectives), people)
        standing = Standing(agreement, await self._policy_of(row.study), row.dataset)
        run = StudyRun(math, standing, self._house, self._store, self._outbox, self.client, computing, self._folder)
        await run.load(self._resume)
        self.runs[row.study] = run
        if not row.result and StudyState(row.state) not in ENDED:
            self._spawn(self._warm_up(run))

    async def _policy_of(self, study: str) -> str:
        for row in reversed(await self._store.evidence(study)):
            if row.kind == ACCEPTED:
                return str(json.loads(row.body)["policy"])
        raise StudyError(f"study {study}: this party holds no record of having accepted its terms")

    async def _people_of(self, study: str) -> int:
        """Return how many people the dataset held when this party offered."""
        for row in reversed(await self._store.evidence(study)):
            if row.kind == OFFERED:
                return int(json.loads(row.body)["people"])
        raise StudyError(f"study {study}: this party holds no record of having made an offer")

    async def _warm_up(self, run: StudyRun) -> None:
        try:
            await run.computing.warm_up()
        except (PartyError, TrainerError) as error:
            _LOG.warning("data", federation=self.name, study=run.study, reason=str(error))

    async def _keep_result(self, study: str) -> None:
        """Score what the study gave, on this party's held-out rows, and keep it here; then end the trainer."""
        run = self.runs.get(study)
        if run is None:
            return
        result: dict[str, Any] = {"error": "no version was trained"}
        try:
            if run.state.summary:
                result = await run.computing.result(run.state)
        except (PartyError, LearningError) as error:
            result = {"error": str(error)}
        async with self._lock:
            row = await self._row(study)
            row.result = json.dumps(result)
            await self._outbox.apply(Change(study=row))
        await run.close()
