"""The newest certified round of each study, kept so that a member can have its sum recomputed (invariant 13).

Kept are the sealed updates of the members on its list, pinned in the spool, and the round's `Unmasking`, in the store: until the next round
of the study closes, or of the last round until `KEPT_SECONDS` after the study's end. The row and the certificate are written in one
transaction, and the updates of the round before are deleted after it. Whatever else was uploaded is not kept and cannot be asked for: an
update of a member that is not on the list would be hidden by one secret of its owner alone. Nothing of it is in a backup.

    old = kept.replace(draft, row)     # in the draft that closes the round
    await journal.record(draft)
    await intake.release(old, …)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from parley_crypto.signing import Envelope
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.limits import KEPT_SECONDS
from parley_protocol.problems import Slug
from parley_protocol.unmasking import Unmasking, is_recomputable
from parley_service.errors import RequestError, StoreError

from parley_gateway.entries import CertificateEntry, KeptRound
from parley_gateway.intake import Intake
from parley_gateway.journal import Draft, Journal

LOOK_SECONDS: Final = 60.0
Updates = list[tuple[str, str]]  # party, BLAKE3


def kept_round(state: GatewayRound, unmasking: Unmasking) -> KeptRound | None:
    """Return what is kept of a round that was opened; None where no member may have it recomputed."""
    if not is_recomputable(state.spec.terms):
        return None
    listed = state.require_listed()
    updates = {party: row.statement.body for party, row in state.manifests.items() if party in listed.parties and row.statement.size}
    return KeptRound(state.spec.terms.study, state.spec.round, 0.0, json.dumps(updates), unmasking.canonical())


def certificate_entry(state: GatewayRound, certificate: Envelope, opened: Envelope, leaf: int) -> CertificateEntry:
    """Return what stays of a closed round for good; `leaf` is the certificate's place in the log."""
    listed = state.require_listed()
    joined = {
        party: (row.statement.segments, row.statement.size, row.statement.body)
        for party, row in state.manifests.items()
        if party in listed.parties
    }
    return CertificateEntry(
        study=state.spec.terms.study,
        round=state.spec.round,
        step=state.spec.step,
        certificate=certificate.dump().decode(),
        opened=opened.dump().decode(),
        leaf=leaf,
        joined=json.dumps(joined),
    )


class KeptRounds:
    """What is kept, in memory as in the store. One at a gateway; make it inside the event loop."""

    def __init__(self, journal: Journal, intake: Intake, rows: Iterable[KeptRound]) -> None:
        self._journal: Final = journal
        self._intake: Final = intake
        self._rows: Final = {row.study: row for row in rows}
        self._watch: asyncio.Task[None] | None = None
        for row in self._rows.values():
            for party, body in _updates(row):
                intake.pin(party, body)

    def find(self, study: str, number: int) -> KeptRound:
        """Return what is kept of a round; RequestError if that is nothing, or no longer."""
        row = self._rows.get(study)
        if row is None or row.round != number:
            raise RequestError(
                f"study {study}: sealed updates of round {number}",
                problem=Slug.NOT_FOUND,
                wanted="the newest certified round" if row is None else f"the newest certified round, {row.round}",
                got="a round of which nothing is kept",
                do="Ask while it is the newest: they are deleted when the next round closes.",
            )
        return row

    def update(self, study: str, number: int, party: str) -> Path:
        """Return the file of a listed member's sealed update; RequestError for anything else."""
        bodies = dict(_updates(self.find(study, number)))
        if party not in bodies:
            raise RequestError(f"study {study}: sealed update of {party} in round {number}", problem=Slug.NOT_FOUND)
        return self._intake.path(party, bodies[party])

    def replace(self, draft: Draft, study: str, row: KeptRound | None) -> Updates:
        """Keep `row` in place of the study's last one, in a draft; return the updates to delete once it is written."""
        before = self._rows.pop(study, None)
        if row is None:
            draft.entries.unkept.append(study)
        else:
            self._keep(draft, row)
        return [] if before is None else _updates(before)

    def end(self, draft: Draft, study: str) -> None:
        """Say in a draft that a study has ended: its last round is kept for a while yet."""
        if (row := self._rows.get(study)) is not None:
            self._keep(draft, replace(row, until=draft.now + KEPT_SECONDS))

    def _keep(self, draft: Draft, row: KeptRound) -> None:
        self._rows[row.study] = row
        draft.entries.kept.append(row)

    async def forget(self) -> None:
        """Delete what is kept of studies that ended long enough ago."""
        draft = self._journal.draft()
        due = [row for row in self._rows.values() if 0 < row.until <= draft.now]
        if not due:
            return
        for row in due:
            del self._rows[row.study]
        draft.entries.unkept += [row.study for row in due]
        await self._journal.record(draft)
        await self._intake.release([update for row in due for update in _updates(row)], (), 0.0)

    def start(self) -> None:
        """Look from time to time for what need not be kept any more."""
        self._watch = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    async def _look(self) -> None:
        with contextlib.suppress(StoreError):  # the journal has said so, and the service stops
            while True:
                await self.forget()
                await asyncio.sleep(LOOK_SECONDS)


def _updates(row: KeptRound) -> Updates:
    return list(json.loads(row.updates).items())
