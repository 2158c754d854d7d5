"""The rounds of one running study: opens them, feeds the state machine, opens the sums, and goes on.

The machine (`parley_protocol.gateway_round`) is deterministic, so a round *is* its recorded events: each post or tick that changed
something is written with its moment, in one transaction with the messages that it sends. A restart replays them. A round in ADVERTISE or
SHARE is then given up and opened anew; from COLLECT on an update may be on its way, so the round is resumed exactly and finished, never
retried (invariant 3).

A round opens as soon as every member is connected or gone; with those that are connected, if they can open anything together. Otherwise
it waits, and `waits_for` names whom.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from parley_crypto.errors import CryptoError
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms
from parley_protocol.certificates import Chain, cohort_of, openable
from parley_protocol.codec import OPEN, WITHDRAWN, AnyPost, load_post, round_of
from parley_protocol.effects import Finish, OpenNow, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_relays import asked_of
from parley_protocol.gateway_round import Effect, GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.ids import Phase
from parley_protocol.limits import INLINE_BYTES
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.phases import GATEWAY, Event
from parley_protocol.problems import Slug
from parley_protocol.records import JoinedRound, StudyChange
from parley_protocol.relays import Post, RoundAborted, RoundOpen
from parley_service.errors import RequestError, StoreError
from parley_service.logs import get_log

from parley_gateway.desk import Desk
from parley_gateway.entries import LOST, CertificateEntry, KeptRound, RoundEntry, RoundEvent
from parley_gateway.journal import Draft
from parley_gateway.kept import certificate_entry, kept_round
from parley_gateway.sums import open_round, sums_path

TICK: Final = "tick"
PAUSE_SECONDS: Final = 1.0  # after a round that was given up; doubled with each one in a row
PAUSE_SECONDS_MAX: Final = 60.0
_ORDER: Final = tuple(Phase)  # a post of an earlier phase came late
_LOG: Final = get_log("parley.gateway.rounds")
End = Callable[[Draft, StudyChange, str], None]


class Rounds:
    """One running study's rounds. `end` writes the study's end into a draft; it is called once."""

    def __init__(self, desk: Desk, terms: Terms, graph_seed: bytes, leaf: int, *, last: int, end: End) -> None:
        self._desk: Final = desk
        self.terms: Final = terms
        self._end: Final = end
        self._members: Final = tuple(member.party for member in terms.members)
        self._newest = leaf  # what the next RoundOpen proves to be in the log
        self._number = last
        self.chain = Chain.start(terms.digest(), graph_seed)
        self._heads = [terms.digest()]  # the agreement, then each certificate
        self._done = [0] * len(terms.steps)
        self._joined: list[tuple[int, dict[str, JoinedRound]]] = []
        self.state: GatewayRound | None = None
        self._seq = 0
        self._taken: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._deleting: set[asyncio.Task[None]] = set()
        self._not_before = 0.0
        self._aborts = 0
        self._stop_reason: str | None = None
        self._ended = False

    # what came before

    def restore(self, certificates: Iterable[CertificateEntry]) -> None:
        """Take over the certified rounds of an earlier start."""
        for entry in certificates:
            listed = SurvivorList.parse(Envelope.load(entry.certificate.encode()).payload)
            self._certified(listed, entry)

    def _certified(self, listed: SurvivorList, entry: CertificateEntry) -> None:
        self.chain = self.chain.certified(self.terms.steps[listed.step], listed)
        self._heads.append(self.chain.head)
        self._done[listed.step] += 1
        self._newest = entry.leaf
        self._joined.append(
            (
                listed.round,
                {
                    party: JoinedRound(round=listed.round, segments=tuple(segments), size=size, body=body)
                    for party, (segments, size, body) in json.loads(entry.joined).items()
                },
            )
        )

    async def resume(self, entry: RoundEntry, events: Iterable[RoundEvent]) -> None:
        """Take over an open round: finish it if an update may be on its way, else give it up.

        Of a round that was open when a backup was made nothing is known here: all members are asked to release it.
        """
        if entry.number <= self.chain.round:
            return
        spec = GatewaySpec(self.terms, entry.number, entry.step, self.chain, frozenset(json.loads(entry.expected)), entry.opened_at)
        lost = entry.state == LOST
        state = GatewayRound.lost(spec) if lost else GatewayRound.open(spec)
        for event in events:
            if event.round == entry.number:
                state, _ = _replayed(state, event)
                self._seq = event.seq + 1
        self.state = state
        if lost:
            draft = self._desk.journal.draft()
            reason = f"round {entry.number} was open when the gateway's backup was made: nothing is known of it here"
            draft.send(self._members, Event.RELEASE, self.terms.study, asked_of(state, reason))
            await self._desk.journal.record(draft)
            return
        if state.phase in {Phase.ADVERTISE, Phase.SHARE}:
            reason = f"round {entry.number} given up in {state.phase}: the gateway was restarted before any update was sent"
            aborted = RoundAborted(agreement=self.terms.digest(), round=entry.number, reason=reason)
            draft = self._desk.journal.draft()
            draft.send(sorted(spec.expected), Event.ABORTED, self.terms.study, aborted)
            self._give_up(draft, reason, pause=False)
            await self._desk.journal.record(draft)
            return
        for party, row in state.manifests.items():
            self._desk.intake.pin(party, row.statement.body)

    # what comes

    def post(self, party: str, kind: str, raw: bytes, post_id: str) -> asyncio.Future[None] | None:
        """Take a member's post of a round. The future is done when it is durable; None: it came late, and nothing is recorded.

        RemoteProtocolError for a statement that breaks the rules, RequestError for one that comes before its upload is complete.
        """
        known = self._taken.get((party, post_id))
        if known is not None:
            return known
        post = load_post(kind, raw)
        state = self._round_of(kind, post)
        if state is None:
            return None
        at = self._moment()
        if isinstance(post, Post) and kind == WITHDRAWN:
            after, effects = state.on_withdrawn(party, post, at)
        else:
            after, effects = state.on_post(party, Event(kind), post, at)
        if kind == Event.COLLECT:
            self._require_upload(party, after)
        future = self._adopt(after, effects, kind, party, raw, at)
        self._taken[party, post_id] = future
        return future

    def _round_of(self, kind: str, post: AnyPost) -> GatewayRound | None:
        """Return the round that a post is for, or None if it comes too late; RemoteProtocolError if it comes too soon."""
        number = round_of(post)
        state = self.state
        if number <= self._number and (state is None or number < state.spec.round):
            return None
        if state is None or number != state.spec.round:
            raise RemoteProtocolError(f"study {self.terms.study}: {kind} of round {number}", wanted=f"a round up to {self._number}")
        if kind == WITHDRAWN or Event(kind) in GATEWAY.get(state.phase, {}):
            return state
        if _ORDER.index(Phase(kind.upper())) < _ORDER.index(state.phase):
            return None
        raise RemoteProtocolError(f"round {number} is in {state.phase}", wanted=", ".join(GATEWAY.get(state.phase, {})), got=kind)

    def _require_upload(self, party: str, after: GatewayRound) -> None:
        manifest = after.manifests[party].statement
        if not self._desk.intake.is_whole(party, manifest.body, manifest.size):
            raise RequestError(
                f"round {manifest.round}: the update of {party} is not here",
                problem=Slug.WRONG_STATE,
                wanted=f"{manifest.size} bytes of {manifest.body[:16]}… before the manifest",
                got=str(self._desk.intake.received(party, manifest.body)),
            )
        self._desk.intake.pin(party, manifest.body)

    def _delete(self, uploads: list[tuple[str, str]]) -> None:
        task = asyncio.create_task(self._desk.intake.release(uploads, (), 0.0))
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)

    def _moment(self) -> Moment:
        now = self._desk.clock()
        return Moment(now, self._desk.presence.gone(self._members, now, self.terms.timing.grace_seconds))

    def _adopt(
        self, after: GatewayRound, effects: tuple[Effect, ...], kind: str, party: str, raw: bytes, at: Moment
    ) -> asyncio.Future[None]:
        draft = self._desk.journal.draft()
        event = RoundEvent(
            study=self.terms.study,
            round=after.spec.round,
            seq=self._seq,
            kind=kind,
            party=party,
            body=raw,
            now=at.now,
            gone=json.dumps(sorted(at.gone)),
        )
        draft.entries.events.append(event)
        self._seq += 1
        self.state = after
        self._carry_out(draft, effects)
        return self._desk.journal.record(draft)

    def _carry_out(self, draft: Draft, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Send(to, kind, body) if to is not None:
                    draft.send([to], kind, self.terms.study, body)
                case OpenNow():
                    self._start_opening()
                case Finish(str() as reason):
                    self._give_up(draft, reason, pause=True)
                case _:
                    pass

    def _give_up(self, draft: Draft, reason: str, *, pause: bool) -> None:
        """Write that the round was given up, or released; the next one opens on the same base version."""
        state = self._current()
        draft.entries.rounds.append(self._entry(state.spec, "released" if state.phase is Phase.RELEASED else "aborted"))
        draft.entries.forgotten.append((self.terms.study, state.spec.round))
        draft.note(self.terms.study, reason)
        # A round that is released is never opened, also if we stop before this is written: its updates need not wait for that.
        if uploads := [(party, row.statement.body) for party, row in state.manifests.items()]:
            self._delete(uploads)
        self._leave_round()
        if pause:
            self._not_before = draft.now + min(PAUSE_SECONDS * 2**self._aborts, PAUSE_SECONDS_MAX)
            self._aborts = min(self._aborts + 1, 16)
        if self._stop_reason is not None:
            self._finish(draft, StudyChange.STOPPED, self._stop_reason)

    def _leave_round(self) -> None:
        self.state, self._seq, self._taken = None, 0, {}

    def _entry(self, spec: GatewaySpec, state: str) -> RoundEntry:
        return RoundEntry(self.terms.study, spec.round, spec.step, spec.opened_at, json.dumps(sorted(spec.expected)), state)

    def _current(self) -> GatewayRound:
        if self.state is None:
            raise RequestError(f"study {self.terms.study} has no open round", problem=Slug.WRONG_STATE)
        return self.state

    # time

    def arrived(self, party: str) -> None:
        """A party's request came: it may be the one that the next round waits for."""
        if self.state is None and not self._ended and party in self._members:
            self.tick()

    def tick(self) -> None:
        """Let time pass: a phase may be over, or the next round may open."""
        if self._ended:
            return
        if self.state is None:
            draft = self._desk.journal.draft()
            if self.open_next(draft):
                self._desk.journal.record(draft)
            return
        if self._opening is not None:
            return
        at = self._moment()
        after, effects = self.state.on_tick(at)
        if after.phase is not self.state.phase:
            self._adopt(after, effects, TICK, "", b"", at)
        elif effects:  # after a restart: the reveals are there, the sums are not
            self._start_opening()

    # opening a round

    def open_next(self, draft: Draft) -> bool:
        """Open the next round in `draft` if it can be, and say whether it was."""
        step = self.step
        if step is None or draft.now < self._not_before:
            return False
        present = self._desk.presence.present(self._members, draft.now)
        gone = self._desk.presence.gone(self._members, draft.now, self.terms.timing.grace_seconds)
        if set(self._members) - present - gone or not self._is_viable(step, present):
            return False
        self._number += 1
        spec = GatewaySpec(self.terms, self._number, step, self.chain, present, draft.now)
        self.state = GatewayRound.open(spec)
        draft.entries.rounds.append(self._entry(spec, "open"))
        self._announce(draft, spec)
        return True

    @property
    def step(self) -> int | None:
        """The step whose rounds are not done yet, None after the last."""
        return next((index for index, step in enumerate(self.terms.steps) if self._done[index] < step.rounds), None)

    def _is_viable(self, step: int, present: frozenset[str]) -> bool:
        # the base version of the next round is the parties' to say: no sum has been opened from it yet
        cohort = cohort_of(self.terms, self.chain, step=step, round_number=self._number + 1)
        return len(present) >= self.terms.threshold and bool(openable(cohort, self.chain, "", present))

    def _announce(self, draft: Draft, spec: GatewaySpec) -> None:
        """Send RoundOpen to the expected, each with a proof from the log it was shown last. Most were shown the same."""
        by_size: dict[int, list[str]] = {}
        for party in sorted(spec.expected):
            by_size.setdefault(self._desk.members.show(draft, party), []).append(party)
        for size, parties in by_size.items():
            proof = draft.prove(old_size=size, index=self._newest)
            relay = RoundOpen(agreement=self.terms.digest(), round=spec.round, step=spec.step, previous=self.chain.head, log=proof)
            draft.send(parties, OPEN, self.terms.study, relay)

    # opening its sums

    def _start_opening(self) -> None:
        if self._opening is None and not self._ended:
            self._opening = asyncio.create_task(self._open_sums())
            self._opening.add_done_callback(self._require_opened)

    def _require_opened(self, task: asyncio.Task[None]) -> None:
        """A fault of ours in opening must not leave the study waiting without a word."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._desk.on_failure(StoreError(f"study {self.terms.study}: opening a round failed: {error!r}", problem=Slug.INTERNAL))

    async def _open_sums(self) -> None:
        state = self._current()
        listed = sorted(state.listed.parties) if state.listed else []
        bodies = {party: self._desk.intake.path(party, state.manifests[party].statement.body) for party in listed}
        path = sums_path(self._desk.sums, self.terms.study, state.spec.round)
        try:
            opened, unmasking = await asyncio.to_thread(open_round, state, bodies, path)
        except (RemoteProtocolError, CryptoError) as error:
            await self._halt(str(error))
            return
        except FileNotFoundError as error:
            await self._halt(
                f"round {state.spec.round} cannot be opened: an update is missing in the spool ({Path(error.filename).parent.name})"
            )
            return
        except OSError as error:
            self._desk.on_failure(StoreError(f"sums of round {state.spec.round}: {error.strerror or 'an error'}"))
            return
        await self._close(opened, kept_round(state, unmasking), await asyncio.to_thread(_small, path))

    async def _close(self, opened: Opened, kept: KeptRound | None, sums: bytes) -> None:
        """Write that the sums are open, and in the same transaction what follows: the next round, or the end."""
        state, draft = self._current(), self._desk.journal.draft()
        statement = opened.sign(self._desk.key)
        after, effects = state.on_opened(statement, draft.now, sums)
        self._log_certificate(draft, after, statement)
        draft.seal()
        self._carry_out(draft, effects)
        draft.note(
            self.terms.study, f"round {opened.round} opened: " + ", ".join(f"{s.name} ({s.parties} parties)" for s in opened.segments)
        )
        draft.entries.read |= {party: self._desk.inbox.read(party) for party in self._members}
        done = self._desk.kept.replace(draft, self.terms.study, kept)
        if kept is None:
            done += [(party, row.statement.body) for party, row in state.manifests.items()]
        self._leave_round()
        self._aborts, self._opening = 0, None
        if self._stop_reason is not None:
            self._finish(draft, StudyChange.STOPPED, self._stop_reason)
        elif self.step is None:
            self._finish(draft, StudyChange.FINISHED, "all rounds are done")
        else:
            self.open_next(draft)
        await self._desk.journal.record(draft)
        self._report(state.spec, opened)
        await self._desk.intake.release(done, self._members, state.spec.opened_at)
        if self._ended:
            await self._desk.journal.flush_deleted()

    def _report(self, spec: GatewaySpec, opened: Opened) -> None:
        seconds = self._desk.clock() - spec.opened_at
        self._desk.metrics.rounds.inc()
        self._desk.metrics.round_seconds.observe(seconds)
        _LOG.info("round.opened", study=spec.terms.study, round=opened.round, segments=len(opened.segments), seconds=round(seconds, 3))

    def _log_certificate(self, draft: Draft, state: GatewayRound, statement: Envelope) -> None:
        if state.certificate is None or state.listed is None:
            raise RequestError(f"round {state.spec.round} has no certificate", problem=Slug.INTERNAL)
        leaf = draft.append(state.certificate)
        draft.append(statement)
        entry = certificate_entry(state, state.certificate, statement, leaf)
        draft.entries.certificates.append(entry)
        draft.entries.rounds.append(self._entry(state.spec, "closed"))
        draft.entries.forgotten.append((self.terms.study, state.spec.round))
        self._certified(state.listed, entry)

    async def _halt(self, reason: str) -> None:
        """A secret that was revealed is wrong: the study stops, and the log says why. The round's events stay as evidence."""
        draft = self._desk.journal.draft()
        draft.entries.rounds.append(self._entry(self._current().spec, "halted"))
        self._leave_round()
        self._opening = None
        self._finish(draft, StudyChange.STOPPED, reason)
        await self._desk.journal.record(draft)

    # the end

    def stop(self, draft: Draft, reason: str) -> bool:
        """Stop after the open round: at once, and then true, if no update can be on its way, else when it is finished."""
        self._stop_reason = reason
        if self.state is not None and self.state.phase not in {Phase.ADVERTISE, Phase.SHARE}:
            return False
        if self.state is not None:
            aborted = RoundAborted(
                agreement=self.terms.digest(), round=self.state.spec.round, reason=f"the study is stopped: {reason}"[:2_000]
            )
            draft.send(sorted(self.state.spec.expected), Event.ABORTED, self.terms.study, aborted)
            self._give_up(draft, f"round {self.state.spec.round} given up: the study is stopped", pause=False)
        else:
            self._finish(draft, StudyChange.STOPPED, reason)
        return True

    def _finish(self, draft: Draft, change: StudyChange, reason: str) -> None:
        self._ended = True
        self._desk.kept.end(draft, self.terms.study)
        self._end(draft, change, reason)

    async def settle(self) -> None:
        """Return when sums that are being opened are open, and what is deleted is gone; for a graceful stop."""
        if waited := [*self._deleting, *([] if self._opening is None else [self._opening])]:
            await asyncio.wait(waited)

    @property
    def certificates(self) -> int:
        """Certified rounds so far."""
        return len(self._joined)

    def is_moment(self, certificates: int, head: str | None) -> bool:
        """Whether `head` was the newest certificate when there were so many; the agreement's digest before the first."""
        return certificates < len(self._heads) and self._heads[certificates] == head

    def participation(self, party: str) -> tuple[tuple[JoinedRound, ...], tuple[int, ...]]:
        """Return the rounds that a member joined, with what it uploaded, and the certified rounds without it."""
        joined = tuple(rows[party] for _, rows in self._joined if party in rows)
        return joined, tuple(number for number, rows in self._joined if party not in rows)

    def describe(self) -> dict[str, Any]:
        """Return where the rounds stand, as JSON values."""
        step = self.step
        return {
            "round": self._number if self.state is None else self.state.spec.round,
            "phase": None if self.state is None else self.state.phase.value,
            "step": None if step is None else self.terms.steps[step].workload,
            "rounds_done": sum(self._done),
            "rounds_total": sum(step.rounds for step in self.terms.steps),
            "waits_for": list(self.waits_for()),
        }

    def waits_for(self) -> tuple[str, ...]:
        """Return the members whose answer, or return, is waited for."""
        if self._ended:
            return ()
        if self.state is not None:
            return self.state.waits_for()
        return tuple(sorted(set(self._members) - self._desk.presence.present(self._members, self._desk.clock())))


def _replayed(state: GatewayRound, event: RoundEvent) -> tuple[GatewayRound, tuple[Effect, ...]]:
    at = Moment(event.now, frozenset(json.loads(event.gone)))
    match event.kind:
        case "tick":
            return state.on_tick(at)
        case kind:
            post = load_post(kind, event.body)
            if isinstance(post, Post) and kind == WITHDRAWN:
                return state.on_withdrawn(event.party, post, at)
            return state.on_post(event.party, Event(kind), post, at)


def _small(path: Path) -> bytes:
    """Return the opened sums if they are small enough to travel with their announcement, else nothing."""
    return path.read_bytes() if path.stat().st_size <= INLINE_BYTES else b""
