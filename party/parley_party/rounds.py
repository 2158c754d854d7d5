"""One finalized study at a party: its chain, public state, and the one round that may be open.

This file carries out what `party_round` decides: it records each event with the messages it causes in one transaction, before anything
leaves; a restart replays the events of the open round. A base version enters one round only; once its update is sealed, that round can
only be finished.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from blake3 import blake3
from parley_crypto import ring
from parley_crypto.errors import CryptoError
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_learning.errors import LearningError
from parley_policies.enforcement.guard import Leaving, Standing
from parley_policies.errors import Refused
from parley_policies.negotiation.proposal import PREPROCESS
from parley_protocol.bound import load_envelope
from parley_protocol.certificates import Chain, extend, verify_opened
from parley_protocol.codec import WITHDRAWN
from parley_protocol.effects import SealNow, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import (
    Boxes,
    Certified,
    Keys,
    ListProposal,
    Opened,
    Post,
    RoundAborted,
    RoundOpen,
    SumOpened,
    SurvivorList,
    Withdrawn,
)
from parley_protocol.party_round import Effect, PartyRound, PartySpec
from parley_protocol.phases import Event
from parley_service.logs import get_log
from parley_service.sealedfile import write_atomic

from parley_party.client import GatewayClient
from parley_party.computing import Computing, Vectors
from parley_party.errors import PartyError, TrainerError
from parley_party.fence import Fence, FenceState
from parley_party.house import House
from parley_party.outbox import SMALL_BYTES, Outbox
from parley_party.publicstate import PublicState, StudyMath
from parley_party.store import Change, Outgoing, PartyStore, members_json
from parley_party.tables import CertificateRow, EvidenceRow, RegisteredSumRow, RoundRow, VersionRow

_LOG: Final = get_log("rounds")
_OUTWARD: Final = "this party's rules do not permit its part in this round"
T = TypeVar("T")
DAY_SECONDS: Final = 86_400
_BEGUN: Final = frozenset({"", "opened", "passed"})  # rounds that were given up before any update do not count
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
        self.chain = Chain.start(math.terms.digest())
        self.state = math.first()
        self.open: OpenRound | None = None
        self.fence: Fence | None = None  # after a restore
        self._rows: dict[int, RoundRow] = {}  # every round entered, as the store holds them
        self._sealing: set[asyncio.Task[None]] = set()

    @property
    def study(self) -> str:
        """The study's id."""
        return self.math.terms.study

    # taking up

    async def load(self, resume: Resume) -> None:
        """Take up what the store holds: certificates, newest public state, and the open round by replaying its events.

        `resume` runs a coroutine under the federation's lock once this returns.
        """
        self.fence = await self._store.fence(self.study)
        for kept in await self._store.certificates(self.study):
            self.chain, _ = extend(self.chain, self.math.terms, Envelope.load(kept.certificate.encode()))
        version = await self._store.newest_version(self.study)
        if version is None:
            await self._outbox.apply(Change(version=self._version_row(self.state)))
        else:
            self.state = PublicState.load(version.state)
        self._rows = {row.number: row for row in await self._store.rounds(self.study)}
        for row in self._rows.values():
            if not row.outcome:
                await self._replay(row)
        if self.open is not None and self.open.state.phase is Phase.COLLECT:
            self._seal_later(self.open, resume)

    async def _replay(self, row: RoundRow) -> None:
        seed = self._house.keys.storage.open(row.seed, self.study, row.number)
        state, _ = PartyRound(self._spec(row.number, row.entered), seed).advertise(self._house.keys.identity)
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
        key = self._house.keys.identity
        match kind:
            case Event.KEYS:
                return state.on_keys(Keys.model_validate_json(body), key)
            case Event.BOXES:
                return state.on_boxes(Boxes.model_validate_json(body))
            case Event.SEALED:
                return state.on_sealed(load_envelope(body, "manifest"))
            case Event.LIST:
                return state.on_list(ListProposal.model_validate_json(body), key)
            case Event.CERTIFIED:
                return state.on_certified(Certified.model_validate_json(body), key)
            case _:
                raise RemoteProtocolError(f"round {state.spec.round}: {kind} is no event of a party")

    # opening

    async def on_open(self, opened: RoundOpen, change: Change) -> None:
        """Enter a round that the gateway opens. `change` holds the cursor and the checkpoint that the caller verified."""
        if opened.round <= max(self.chain.round, *self._rows, await self._fenced()):
            stays_out = await self._stays_out(opened) if self.fence is not None else ()
            await self._outbox.apply(replace(change, outgoing=stays_out))
            return
        if opened.previous != self.chain.head:
            await self.catch_up()
        if opened.previous != self.chain.head or opened.step != self.state.step:
            raise RemoteProtocolError(
                f"round {opened.round}", wanted=f"a successor of {self.chain.head[:16]}…", got=f"one of {opened.previous[:16]}…"
            )
        if self.open is not None:
            raise RemoteProtocolError(f"round {opened.round}: round {self.open.row.number} is open here and can only be finished")
        entered = await self._entered()
        spec = self._spec(opened.round, entered)
        self._check_unused(spec.base)
        try:
            verdict = await self._may_begin(spec)
        except Refused as error:
            _LOG.warning("round not entered", study=self.study, round=opened.round, reason=str(error))
            refused = self._evidence("refused", {"round": opened.round, "message": "open", "reason": str(error)})
            stays_out = (self._withdrawn(spec),)
            await self._outbox.apply(Change(cursor=change.cursor, log=change.log, evidence=(refused,), outgoing=stays_out))
            return
        seed = secrets.token_bytes(32)
        state, effects = PartyRound(spec, seed).advertise(self._house.keys.identity)
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
            self.fence = self.fence.reached(max(self.chain.round, newest if isinstance(newest, int) else 0))
            await self._outbox.apply(Change(fence=self.fence))
        return 0 if self.fence is None else self.fence.round

    async def _stays_out(self, opened: RoundOpen) -> tuple[Outgoing, ...]:
        """Tell the others not to wait for a party that was restored while this round was open."""
        if opened.previous != self.chain.head:
            return ()
        return (self._withdrawn(self._spec(opened.round, await self._entered())),)

    def _spec(self, number: int, entered: str) -> PartySpec:
        own = json.loads(entered)
        return PartySpec(
            terms=self.math.terms,
            me=self._house.me,
            round=number,
            step=self.state.step,
            base=self.math.base(self.state),
            parameters=self.math.parameters(self.state),
            chain=self.chain,
            counted=frozenset(own["counted"]),
            own_floors=own["floors"],
            earlier={name: tuple(frozenset(members) for members in lists) for name, lists in own["earlier"].items()},
        )

    async def _entered(self) -> str:
        """Return what this party's own checks of the next round rest on, as the store keeps it."""
        step = self.math.workload(self.state)
        earlier: dict[str, list[list[str]]] = {}
        if step.workload == PREPROCESS:  # it asks the same of a dataset in every study, so earlier answers count
            rows = await self._store.registered(self._standing.dataset, self.math.contents())
            earlier[step.segments[0].name] = [
                json.loads(members) for members in {row.members: None for row in rows if row.study != self.study}
            ]
        counted = sorted(self._house.counted(self.math.terms))
        return json.dumps({"counted": counted, "floors": self._house.own_floors(step), "earlier": earlier})

    def _check_unused(self, base: str) -> None:
        for row in self._rows.values():
            if row.base == base and (row.sealed or not row.outcome):
                raise RemoteProtocolError(f"round {row.number} used this base version: it waits to be finished, and no other is entered")

    async def _may_begin(self, spec: PartySpec) -> EvidenceRow:
        begun = [row for row in self._rows.values() if row.outcome in _BEGUN]
        verdict = self._house.guard.check_round(
            self._standing,
            step=spec.step,
            round_number=spec.round,
            segments=self._house.own_segments(spec.workload),
            people=self.computing.people,
            rounds_begun=len(begun),
            rounds_in_24_hours=await self._store.rounds_since(self._house.clock() - DAY_SECONDS),
            now=self._house.now(),
        )
        return self._house.evidence_of(verdict)

    # relays

    async def on_relay(self, relay: Relay, kind: str, body: str, change: Change, resume: Resume) -> None:
        """Take a relay of the open round; what it causes is written with it, then sent."""
        current = self.open
        if current is None or relay.round != current.row.number:
            await self._outbox.apply(change)  # of a round that this party is not in, or has closed
            return
        try:
            state, effects = self._step(current.state, kind, body)
            if self.fence is not None and kind in {Event.KEYS, Event.BOXES}:  # boxes prove it; few keys tell while leaving costs nothing
                answered = set(state.boxes_from or state.adverts) - {self._house.me}
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
        path = self._body_path(current.row.number)
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
        certificate = load_envelope(notice.certificate, "certificate")
        listed = SurvivorList.parse(certificate.payload)
        if listed.round <= self.chain.round:
            await self._outbox.apply(change)
            return
        if listed.previous != self.chain.head:
            await self.catch_up()
            if listed.round <= self.chain.round:
                await self._outbox.apply(change)
                return
        await self._take(certificate, load_envelope(notice.opened, "opened sums"), change, base64.b64decode(notice.sums))

    async def catch_up(self) -> None:
        """Take all certified rounds that this party has not, in order: the chain shows that none is left out."""
        while rows := await self._client.history(self.study, self.chain.round):
            for row in rows:
                certificate = load_envelope(str(row["certificate"]), "certificate")
                await self._take(certificate, load_envelope(str(row["opened"]), "opened sums"), Change())

    async def _take(self, certificate: Envelope, envelope: Envelope, change: Change, inline: bytes = b"") -> None:
        chain, listed = extend(self.chain, self.math.terms, certificate)
        opened = verify_opened(self.math.terms, listed, envelope)
        sums = await self._fetch(listed, opened, inline)
        state = self.math.following(self.state, listed, sums)
        row = CertificateRow(study=self.study, round=listed.round, certificate=certificate.dump().decode(), opened=envelope.dump().decode())
        change = replace(change, certificate=row, version=self._version_row(state), registered=self._registered(listed))
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
        self.chain, self.state = chain, state
        _LOG.info("round opened", study=self.study, round=listed.round, parties=len(listed.survivors), segments=list(listed.openable))

    async def _fetch(self, listed: SurvivorList, opened: Opened, inline: bytes) -> dict[str, RingVector]:
        width = self.math.terms.steps[listed.step].encoding.width
        sizes = {segment.name: segment.length * width // 8 for segment in opened.segments}
        whole = sum(sizes.values())
        raw = memoryview(inline if len(inline) == whole else await self._client.sums(self.study, listed.round, whole))
        sums, offset = {}, 0
        for segment in opened.segments:
            part = raw[offset : offset + sizes[segment.name]]
            if blake3(part).hexdigest() != segment.body:
                raise RemoteProtocolError(f"sum of {segment.name} in round {listed.round}: wanted the bytes that the gateway signed for")
            sums[segment.name] = ring.from_bytes(part, segment.length, width)
            offset += sizes[segment.name]
        return sums

    async def _close(self, current: OpenRound, outcome: str, reason: str, change: Change, extra: tuple[Outgoing, ...] = ()) -> None:
        """Close the round: its secrets are erased in the same transaction."""
        if current.vectors is not None:
            current.vectors.cancel()
        row = current.row
        row.outcome, row.reason, row.closed_at, row.seed = outcome, reason[:2_000], self._house.clock(), b""
        await self._outbox.apply(replace(change, round=row, forget_events_of=(self.study, row.number), outgoing=extra))
        self.open = None
        self._body_path(row.number).unlink(missing_ok=True)

    def _registered(self, listed: SurvivorList) -> tuple[RegisteredSumRow, ...]:
        step = self.math.terms.steps[listed.step]
        if step.workload != PREPROCESS:
            return ()
        members = members_json(listed.parties & frozenset(step.segments[0].members))
        return tuple(
            RegisteredSumRow(dataset=self._standing.dataset, content=content, members=members, study=self.study, round=listed.round)
            for content in self.math.contents()
        )

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

    def _body_path(self, number: int) -> Path:
        return self._folder / f"{self.study}-{number}.sealed"

    async def close(self) -> None:
        """Stop computing."""
        for task in (*self._sealing, *((self.open.vectors,) if self.open and self.open.vectors else ())):
            task.cancel()
        await self.computing.close()
