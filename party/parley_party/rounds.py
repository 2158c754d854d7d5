"""One finalized study at a party: its chain, public state, and the one round that may be open.

This file carries out what `party_round` decides: it records each event with the messages it causes in one transaction, before anything
leaves; a restart replays the events of the open round. Once an update is sealed its round can only be finished, or released: then enough
members have destroyed their shares, and the same base version may enter another round. Where this party releases, its round's secrets and
events are erased in the transaction that writes its word for it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from parley_crypto.errors import CryptoError
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_learning.errors import LearningError
from parley_policies.enforcement.guard import Leaving, Standing
from parley_policies.errors import Refused
from parley_protocol.bound import load_envelope
from parley_protocol.certificates import Chain, extend, verify_opened
from parley_protocol.codec import WITHDRAWN, load_relay
from parley_protocol.effects import SealNow, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import SurvivorList, Withdrawn
from parley_protocol.party_round import Effect, PartyRound
from parley_protocol.party_spec import PartySpec
from parley_protocol.phases import Event
from parley_protocol.proving import SumNotProvenError
from parley_protocol.relays import (
    Boxes,
    Certified,
    Keys,
    ListProposal,
    Post,
    ReleaseAsked,
    Released,
    RoundAborted,
    RoundOpen,
    SumOpened,
)
from parley_protocol.release import release_post
from parley_service.logs import get_log
from parley_service.sealedfile import write_atomic

from parley_party.bodies import body_path
from parley_party.certified import certificate_of, list_of
from parley_party.client import GatewayClient
from parley_party.computing import Computing, Vectors
from parley_party.entering import ABSENT, LOST, OVER, RELEASED, RELEASING, Entrance, promise_of
from parley_party.errors import PartyError, TrainerError
from parley_party.fence import Fence, FenceState
from parley_party.house import House
from parley_party.outbox import SMALL_BYTES, Outbox
from parley_party.publicstate import PublicState, StudyMath
from parley_party.releasing import Releasing
from parley_party.store import Change, Outgoing, PartyStore
from parley_party.sums import fetch_sums
from parley_party.tables import CertificateRow, EvidenceRow, RoundRow, VersionRow

_LOG: Final = get_log("rounds")
_OUTWARD: Final = "this party's rules do not permit its part in this round"
T = TypeVar("T")
Relay = Keys | Boxes | ListProposal | Certified
Resume = Callable[[Callable[[], Awaitable[None]]], None]  # run this under the federation's lock, soon


@dataclass(slots=True)
class OpenRound:
    """The round that is open here: its row in the store, its state, and the vectors being computed for it."""

    row: RoundRow
    state: PartyRound
    vectors: asyncio.Task[Vectors] | None = None


class StudyRun:
    """One study's rounds at this party. All calls come one at a time, under the federation's lock."""

    def __init__(
        self,
        math: StudyMath,
        standing: Standing,
        house: House,
        store: PartyStore,
        outbox: Outbox,
        client: GatewayClient,
        computing: Computing,
        folder: Path,
    ) -> None:
        self.math = math
        self._standing = standing
        self._house = house
        self._store = store
        self._outbox = outbox
        self._client = client
        self.computing = computing
        self._folder = folder
        self._entrance = Entrance(math, standing, house, store)
        self._releasing = Releasing(math, standing, house, outbox, folder)
        self.chain = Chain.start(math.terms.digest(), math.keys.graph_seed)
        self._newest = standing.agreement.envelope
        self.state = math.first()
        self.open: OpenRound | None = None
        self.fence: Fence | None = None  # after a restore
        self._rows: dict[int, RoundRow] = {}  # every round entered, as the store holds them
        self._sealing: set[asyncio.Task[None]] = set()

    @property
    def certified(self) -> int:
        """Certified rounds so far."""
        return self.state.number

    @property
    def study(self) -> str:
        """The study's id."""
        return self.math.terms.study

    @property
    def _round(self) -> PartyRound | None:
        """The state of the open round."""
        return None if self.open is None else self.open.state

    # taking up

    async def load(self, resume: Resume) -> None:
        """Take up what the store holds: certificates, newest public state, and the open round by replaying its events.

        `resume` runs a coroutine under the federation's lock once this returns.
        """
        self.fence = await self._store.fence(self.study)
        for kept in await self._store.certificates(self.study):
            self._newest = Envelope.load(kept.certificate.encode())
            self.chain, _ = extend(self.chain, self.math.terms, self._newest)
        version = await self._store.newest_version(self.study)
        if version is None:
            await self._outbox.apply(Change(version=self._version_row(self.state)))
        else:
            self.state = PublicState.load(version.state)
        self._rows = {row.number: row for row in await self._store.rounds(self.study)}
        for row in self._rows.values():
            if row.outcome == RELEASING:
                spec = self._entrance.spec(self.state, self.chain, row.number, row.entered)
                self.open = OpenRound(row, PartyRound(spec, b"", promise_of(row), Phase.RELEASE))
            elif not row.outcome:
                await self._replay(row)
        if self.open is not None and self.open.state.phase is Phase.COLLECT:
            self._seal_later(self.open, resume)

    async def _replay(self, row: RoundRow) -> None:
        seed = self._house.keys.storage.open(row.seed, self.study, row.number)
        state, _ = PartyRound.enter(self._entrance.spec(self.state, self.chain, row.number, row.entered), seed).advertise(
            self._house.keys.identity
        )
        for kind, body in await self._store.events(self.study, row.number):
            state, _ = self._step(state, kind, body)
        self.open = OpenRound(row, state)
        if state.phase in {Phase.ADVERTISE, Phase.SHARE, Phase.COLLECT}:
            self.open.vectors = self._compute()

    def _compute(self) -> asyncio.Task[Vectors]:
        task = asyncio.create_task(self.computing.vectors(self.state))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # who needs the vectors sees the failure, if anyone
        return task

    def _step(self, state: PartyRound, kind: str, body: str) -> tuple[PartyRound, tuple[Effect, ...]]:
        if kind == Event.SEALED:
            return state.on_sealed(load_envelope(body, "manifest"))
        return state.on_relay(load_relay(kind, body.encode()), self._house.keys.identity)

    # opening

    async def leaf_before(self, opened: RoundOpen, change: Change) -> Envelope | None:
        """Return the newest certificate, before the first one the agreement, as it must stand in the log; None if the round is past."""
        entered = [row.number for row in self._rows.values() if row.entered]
        if opened.round in self._rows or opened.round <= max(self.chain.round, *entered, await self._fenced()):
            stays_out = await self._stays_out(opened) if self.fence is not None else ()
            await self._outbox.apply(replace(change, outgoing=stays_out))
            return None
        if opened.previous != self.chain.head:
            await self.catch_up()
        return self._newest

    async def on_open(self, opened: RoundOpen, change: Change) -> None:
        """Enter a round that the gateway opens. `change` holds the cursor and the checkpoint that the caller verified."""
        if opened.previous != self.chain.head or opened.step != self.state.step:
            raise RemoteProtocolError(
                f"round {opened.round}", wanted=f"a successor of {self.chain.head[:16]}…", got=f"one of {opened.previous[:16]}…"
            )
        if self.open is not None:
            raise RemoteProtocolError(f"round {opened.round}: round {self.open.row.number} is open here and can only be finished")
        entered = await self._entrance.entered(self.state)
        spec = self._entrance.spec(self.state, self.chain, opened.round, entered)
        self._entrance.check_unused(spec, self._rows.values())
        try:
            verdict = await self._entrance.may_begin(spec, self._rows.values(), self.computing.people)
        except Refused as error:
            _LOG.warning("round not entered", study=self.study, round=opened.round, reason=str(error))
            refused = self._evidence("refused", {"round": opened.round, "message": "open", "reason": str(error)})
            stays_out = (self._withdrawn(spec),)
            await self._outbox.apply(Change(cursor=change.cursor, log=change.log, evidence=(refused,), outgoing=stays_out))
            return
        seed = secrets.token_bytes(32)
        state, effects = PartyRound.enter(spec, seed).advertise(self._house.keys.identity)
        row = RoundRow(
            study=self.study,
            number=opened.round,
            step=spec.step,
            base=spec.base,
            parameters=spec.parameters,
            entered=entered,
            seed=self._house.keys.storage.seal(seed, self.study, opened.round),
            opened_at=self._house.clock(),
        )
        await self._outbox.apply(
            Change(cursor=change.cursor, log=change.log, round=row, outgoing=self._messages(opened.round, effects), evidence=(verdict,))
        )
        self._rows[row.number] = row
        self.open = OpenRound(row, state, self._compute())

    async def _fenced(self) -> int:
        """Return the newest round that a restored party stays out of, 0 without a restore; at first that is all that can be learned of."""
        if self.fence is not None and self.fence.state is FenceState.RESTORED:
            await self.catch_up()
            newest = (await self._client.study(self.study)).get("round")
            self.fence = self.fence.reached(max(self.chain.round, newest if isinstance(newest, int) and newest < 2**53 else 0))
            await self._outbox.apply(Change(fence=self.fence))
        return 0 if self.fence is None else self.fence.round

    async def _stays_out(self, opened: RoundOpen) -> tuple[Outgoing, ...]:
        """Tell the others not to wait for a party that was restored while this round was open."""
        if opened.previous != self.chain.head:
            return ()
        return (self._withdrawn(self._entrance.spec(self.state, self.chain, opened.round, await self._entrance.entered(self.state))),)

    # relays

    async def on_relay(self, relay: Relay, kind: str, body: str, change: Change, resume: Resume) -> None:
        """Take a relay of the open round; what it causes is written with it, then sent."""
        current = self.open
        if current is None or relay.round != current.row.number:
            await self._outbox.apply(change)  # of a round that this party is not in, or has closed
            return
        try:
            state, effects = self._step(current.state, kind, body)
            if self.fence is not None and kind in {Event.KEYS, Event.BOXES}:
                # boxes prove that others answered; where keys are too few already, it is told while they lose nothing
                answered = set(state.held or state.keys) - {self._house.me}
                self.fence.check_seal(self.math.terms, state.spec.round, others=len(answered))
            evidence = self._house.may_answer(self._standing, kind, current.row.number)
        except (RemoteProtocolError, Refused) as error:
            await self._refuse(current, kind, error, change)
            return
        event = (self.study, current.row.number, kind, body)
        messages = self._messages(current.row.number, effects)
        await self._outbox.apply(Change(cursor=change.cursor, event=event, outgoing=messages, evidence=evidence))
        current.state = state
        if any(isinstance(effect, SealNow) for effect in effects):
            self._seal_later(current, resume)

    async def _refuse(self, current: OpenRound, kind: str, error: RemoteProtocolError | Refused, change: Change) -> None:
        """Write a refusal down; before boxes are here the round is left and the others are told, later it can only wait."""
        _LOG.warning("refused", study=self.study, round=current.row.number, kind=kind, reason=str(error))
        refused = self._evidence("refused", {"round": current.row.number, "message": kind, "reason": str(error)})
        if current.state.phase not in {Phase.ADVERTISE, Phase.SHARE}:
            await self._outbox.apply(Change(cursor=change.cursor, evidence=(refused,)))
            return
        closing = Change(cursor=change.cursor, evidence=(refused,))
        await self._close(current, "refused", str(error), closing, extra=(self._withdrawn(current.state.spec),))

    def _withdrawn(self, spec: PartySpec) -> Outgoing:
        """Return the word that others need not wait for this party's part; why is nobody else's business."""
        statement = Withdrawn.model_validate({**spec.bound(), "party": spec.me, "reason": _OUTWARD}).sign(self._house.keys.identity)
        post = Post(statement=statement.dump().decode())
        return Outgoing(self.study, spec.round, WITHDRAWN, post.canonical().decode(), agreement=spec.agreement)

    # releasing

    async def on_release(self, asked: ReleaseAsked, change: Change) -> None:
        """Destroy what this party holds of a round that cannot be finished, and say so; or refuse, if it has revealed."""
        current, number = self.open, asked.round
        if current is not None and number == current.row.number:
            try:
                if self.fence is not None:
                    self.fence.check_release(number, sealed=current.row.sealed)
                state, effects = current.state.on_release(asked, self._house.keys.identity)
            except RemoteProtocolError as error:
                await self._refuse(current, Event.RELEASE, error, change)
                return
            waits = not state.promise.is_over  # for the others' word, since its update or its signature is out
            outcome = RELEASING if waits else ABSENT
            await self._releasing.destroy(current.row, outcome, self._messages(number, effects), asked.reason, change)
            self._stop_computing(current)
            current.state, self.open = state, current if waits else None
            return
        row = self._rows.get(number)
        if number <= self.chain.round or (row is not None and row.outcome in {*OVER, RELEASED}):
            await self._outbox.apply(change)
            return
        if self.fence is not None:
            self.fence.check_release(number, sealed=False)
        if row is None:  # it was never entered, and from here on never will be
            base, parameters = self.math.base(self.state), self.math.parameters(self.state)
            row = RoundRow(study=self.study, number=number, step=self.state.step, base=base, parameters=parameters, entered="", seed=b"")
        effects = (release_post(self.math.terms, number, self._house.me, self._house.keys.identity),)
        await self._releasing.destroy(row, row.outcome or ABSENT, self._messages(number, effects), asked.reason, change)
        self._rows[number] = row

    async def on_released(self, proof: Released, body: str, change: Change) -> None:
        """End a round that nobody can open any more: its base version can be used again. The proof is kept."""
        current, lost = self.open, self._rows.get(proof.round)
        if lost is not None and lost.outcome == LOST:  # its base version was spent by who this party was before the restore
            await self._releasing.prove_lost(lost, proof, body, change)
            return
        if current is None or proof.round != current.row.number:
            await self._outbox.apply(change)
            return
        try:
            current.state.on_released(proof)
        except RemoteProtocolError as error:
            await self._refuse(current, Event.RELEASED, error, change)
            return
        current.row.proof = body
        await self._close(current, RELEASED, current.row.reason or "enough parties destroyed their shares", change)

    # sealing

    def _seal_later(self, current: OpenRound, resume: Resume) -> None:
        async def wait() -> None:
            if current.vectors is not None:
                await asyncio.wait({current.vectors})
            resume(lambda: self._seal(current))

        task = asyncio.create_task(wait())
        self._sealing.add(task)
        task.add_done_callback(self._sealing.discard)

    async def _seal(self, current: OpenRound) -> None:
        """Seal the computed vectors: body on the disk, then manifest and event in one transaction; only then may a byte leave."""
        if self.open is not current or current.state.phase is not Phase.COLLECT or current.vectors is None:
            return  # the round went on without this party
        try:
            vectors = current.vectors.result()
            mine = {name: vectors.by_segment[name] for name in current.state.live if name in vectors.by_segment}
            verdict = self._house.may_send(
                Leaving.UPLOAD,
                self._standing,
                current.row.number,
                step=current.row.step,
                segments=tuple(mine),
                cpu_seconds=vectors.cpu_seconds,
            )
        except (TrainerError, PartyError, LearningError, CryptoError, Refused) as error:
            _LOG.warning("no update", study=self.study, round=current.row.number, reason=str(error))
            evidence = self._evidence("no update", {"round": current.row.number, "reason": str(error)})
            # No update, but the shares are here: the round stays open, so that this party can still confirm and reveal.
            await self._outbox.apply(Change(evidence=(evidence,), outgoing=(self._withdrawn(current.state.spec),)))
            return
        path = body_path(self._folder, self.study, current.row.number)
        state, effects = await self._aside(mine, partial(self._sealed, current, mine, path))
        if state.manifest is None:
            raise RemoteProtocolError("sealed without a manifest")
        current.row.sealed = True
        event = (self.study, current.row.number, Event.SEALED.value, state.manifest.dump().decode())
        messages = self._messages(current.row.number, effects, upload=str(path))
        await self._outbox.apply(Change(event=event, round=current.row, outgoing=messages, evidence=(verdict,)))
        current.state, current.vectors = state, None

    def _sealed(self, current: OpenRound, vectors: Mapping[str, RingVector], path: Path) -> tuple[PartyRound, tuple[Effect, ...]]:
        state, body, effects = current.state.seal(vectors, self._house.keys.identity)
        write_atomic(path, body, mode=0o600)
        return state, effects

    async def _aside(self, vectors: Mapping[str, RingVector], work: Callable[[], T]) -> T:
        """Do work on vectors in a thread, unless they are so small that a thread costs more."""
        if sum(vector.nbytes for vector in vectors.values()) <= SMALL_BYTES:
            return work()
        return await asyncio.to_thread(work)

    # the end of a round

    async def on_aborted(self, aborted: RoundAborted, change: Change) -> None:
        """Give a round up, if it can still be given up."""
        current = self.open
        if current is None or aborted.round != current.row.number:
            await self._outbox.apply(change)
            return
        try:
            current.state.on_aborted(aborted)
        except RemoteProtocolError as error:
            await self._refuse(current, Event.ABORTED, error, change)
            return
        await self._close(current, "aborted", aborted.reason, change)

    async def on_sum(self, notice: SumOpened, change: Change) -> None:
        """Take an opened round: verify, fetch the sums, step, and write it all down."""
        if notice.round <= self.chain.round:
            await self._outbox.apply(change)
            return
        certificate = certificate_of(notice, self._round)
        if certificate is None:
            await self.catch_up()
            await self._outbox.apply(change)
            return
        listed = list_of(certificate, self.math.terms, self._round)
        if listed.previous != self.chain.head:
            await self.catch_up()
        if notice.round <= self.chain.round:
            await self._outbox.apply(change)
            return
        await self._take(certificate, listed, load_envelope(notice.opened, "opened sums"), change, notice.sums)

    async def catch_up(self) -> None:
        """Take all certified rounds that this party has not, in order: the chain shows that none is left out."""
        while rows := await self._client.history(self.study, self.chain.round):
            for row in rows:
                certificate = load_envelope(str(row.get("certificate")), "certificate")
                listed = list_of(certificate, self.math.terms, self._round)
                await self._take(certificate, listed, load_envelope(str(row.get("opened")), "opened sums"), Change())

    async def _take(self, certificate: Envelope, listed: SurvivorList, envelope: Envelope, change: Change, inline: str = "") -> None:
        chain, _ = extend(self.chain, self.math.terms, certificate, listed)
        opened = verify_opened(self.math.terms, listed, envelope)
        sums = await fetch_sums(self._client, self.math.terms, listed, opened, inline, self.math.keys.members_key)
        try:
            state = self.math.following(self.state, listed, sums)
        except (CryptoError, LearningError) as error:  # proven, but nothing that members within their bounds can make together
            raise SumNotProvenError(f"sums of round {listed.round}: {error}") from error
        row = CertificateRow(study=self.study, round=listed.round, certificate=certificate.dump().decode(), opened=envelope.dump().decode())
        change = replace(change, certificate=row, version=self._version_row(state), registered=self._entrance.registered(listed))
        current = self.open
        if self.fence is not None and current is not None and current.row.sealed and current.row.number == listed.round:
            self.fence = self.fence.passed(listed.round)
            change = replace(change, fence=self.fence)
        if current is not None and current.row.number <= listed.round:
            if current.state.phase is not Phase.CLOSED:
                current.state.on_opened()
            outcome = "opened" if current.row.number == listed.round else "passed"
            await self._close(current, outcome, "", change)
        else:
            await self._outbox.apply(change)
        self.chain, self.state, self._newest = chain, state, certificate
        _LOG.info("round opened", study=self.study, round=listed.round, parties=len(listed.survivors), segments=list(listed.openable))

    async def _close(self, current: OpenRound, outcome: str, reason: str, change: Change, extra: tuple[Outgoing, ...] = ()) -> None:
        """Close the round: its secrets are erased in the same transaction."""
        self._stop_computing(current)
        row = current.row
        row.outcome, row.reason, row.closed_at, row.seed = outcome, reason[:2_000], self._house.clock(), b""
        await self._outbox.apply(replace(change, round=row, forget_events_of=(self.study, row.number), outgoing=extra))
        self.open = None
        body_path(self._folder, self.study, row.number).unlink(missing_ok=True)

    def _stop_computing(self, current: OpenRound) -> None:
        if current.vectors is not None:
            current.vectors.cancel()
            current.vectors = None

    def _version_row(self, state: PublicState) -> VersionRow:
        return VersionRow(
            study=self.study,
            number=state.number,
            base=self.math.base(state),
            parameters=self.math.parameters(state),
            certificate=state.certificate,
            state=state.dump(),
            made_at=self._house.clock(),
        )

    def _messages(self, number: int, effects: tuple[Effect, ...], upload: str = "") -> tuple[Outgoing, ...]:
        agreement = self.math.terms.digest()
        return tuple(
            Outgoing(self.study, number, effect.kind, effect.body.canonical().decode(), upload, agreement)
            for effect in effects
            if isinstance(effect, Send)
        )

    def _evidence(self, kind: str, body: Mapping[str, Any]) -> EvidenceRow:
        return EvidenceRow(at=self._house.clock(), study=self.study, kind=kind, body=json.dumps(body))

    async def close(self) -> None:
        """Stop computing."""
        for task in (*self._sealing, *((self.open.vectors,) if self.open and self.open.vectors else ())):
            task.cancel()
        await self.computing.close()
