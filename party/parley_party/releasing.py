"""Destroying what a party holds of a round that cannot be finished, and keeping the proof that others have (invariant 3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from parley_policies.enforcement.guard import Leaving, Standing
from parley_protocol.cohort import Cohort
from parley_protocol.relays import Released
from parley_protocol.release import verify_released

from parley_party.bodies import body_path
from parley_party.entering import RELEASED
from parley_party.house import House
from parley_party.outbox import Outbox
from parley_party.publicstate import StudyMath
from parley_party.store import Change, Outgoing
from parley_party.tables import RoundRow


class Releasing:
    """What one study's rounds need to be released."""

    def __init__(self, math: StudyMath, standing: Standing, house: House, outbox: Outbox, folder: Path) -> None:
        self._math = math
        self._standing = standing
        self._house = house
        self._outbox = outbox
        self._folder = folder

    async def destroy(self, row: RoundRow, outcome: str, word: tuple[Outgoing, ...], reason: str, change: Change) -> None:
        """Erase a round's secrets and events in the transaction that writes our word for it; then its sealed update."""
        row.outcome, row.reason, row.seed = outcome, reason[:2_000], b""
        row.closed_at = self._house.clock()
        verdict = self._house.may_send(Leaving.RELEASE, self._standing, row.number)
        erased = (row.study, row.number)
        await self._outbox.apply(replace(change, round=row, forget_events_of=erased, outgoing=word, evidence=(verdict,)))
        body_path(self._folder, row.study, row.number).unlink(missing_ok=True)

    async def prove_lost(self, row: RoundRow, proof: Released, body: str, change: Change) -> None:
        """Take the proof for a round that was open before this party's store was restored: its base version can be used again."""
        cohort = Cohort(self._math.terms, self._math.terms.steps[row.step], proof.round, self._math.keys.graph_seed)
        verify_released(cohort, proof, cohort.members)
        row.outcome, row.proof = RELEASED, body
        await self._outbox.apply(replace(change, round=row))
