"""What a party enters a round with, and its own leave to do so: the specification of the round, the promises that bind it, the guard."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Final

from parley_policies.enforcement.guard import Standing
from parley_policies.negotiation.proposal import PREPROCESS
from parley_protocol.certificates import Chain
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.messages import SurvivorList
from parley_protocol.party_spec import PartySpec
from parley_protocol.promises import Promise, check_may_enter

from parley_party.house import House
from parley_party.publicstate import PublicState, StudyMath
from parley_party.store import PartyStore, members_json
from parley_party.tables import EvidenceRow, RegisteredSumRow, RoundRow

RELEASING: Final = "releasing"  # our shares are destroyed; the others' word is awaited
RELEASED: Final = "released"
ABSENT: Final = "absent"  # never entered, or left with nothing of ours out, and released: it is over for us
LOST: Final = "lost"  # open when a backup was made that this store was restored from
OVER: Final = frozenset({"opened", "passed"})
DAY_SECONDS: Final = 86_400
_BEGUN: Final = frozenset({"", "opened", "passed", LOST})  # rounds that were given up or released do not count


class Entrance:
    """The door to the rounds of one study at this party."""

    def __init__(self, math: StudyMath, standing: Standing, house: House, store: PartyStore) -> None:
        self._math = math
        self._standing = standing
        self._house = house
        self._store = store

    def spec(self, state: PublicState, chain: Chain, number: int, entered: str) -> PartySpec:
        """Return the specification of a round from the public state, and from `entered` as it was written when the round was entered."""
        own = json.loads(entered)
        return PartySpec(
            terms=self._math.terms,
            me=self._house.me,
            round=number,
            step=state.step,
            base=self._math.base(state),
            parameters=self._math.parameters(state),
            chain=chain,
            counted=frozenset(own["counted"]),
            own_floors=own["floors"],
            members_key=self._math.keys.members_key,
            earlier={name: tuple(frozenset(members) for members in lists) for name, lists in own["earlier"].items()},
        )

    async def entered(self, state: PublicState) -> str:
        """Return what this party's own checks of the next round rest on, as the store keeps it; RemoteProtocolError if none is agreed."""
        if self._math.finished(state):
            raise RemoteProtocolError(
                f"study {self._math.terms.study}: {state.number} rounds were agreed and are certified, there is no next"
            )
        step = self._math.workload(state)
        earlier: dict[str, list[list[str]]] = {}
        if step.workload == PREPROCESS:  # it asks the same of a dataset in every study, so earlier answers count
            rows = await self._store.registered(self._standing.dataset, self._math.contents())
            lists = {row.members: None for row in rows if row.study != self._math.terms.study}
            earlier[step.segments[0].name] = [json.loads(members) for members in lists]
        counted = sorted(self._house.counted(self._math.terms))
        return json.dumps({"counted": counted, "floors": self._house.own_floors(step), "earlier": earlier})

    def registered(self, listed: SurvivorList) -> tuple[RegisteredSumRow, ...]:
        """Return what a certified round adds to the register of sums that every study may ask again (invariant 8)."""
        step = self._math.terms.steps[listed.step]
        if step.workload != PREPROCESS:
            return ()
        members = members_json(listed.parties & frozenset(step.segments[0].members))
        row = partial(RegisteredSumRow, dataset=self._standing.dataset, members=members, study=listed.study, round=listed.round)
        return tuple(row(content=content) for content in self._math.contents())

    def check_unused(self, spec: PartySpec, rows: Iterable[RoundRow]) -> None:
        """Refuse a base version that may still be opened with an update of ours (invariant 3)."""
        try:
            # a round that was never entered binds nobody to come after it: the gateway may have asked about any number
            bound = [row for row in rows if row.base == spec.base and (row.entered or row.number == spec.round)]
            check_may_enter(spec.round, [promise_of(row) for row in bound], None)
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error)) from error

    async def may_begin(self, spec: PartySpec, rows: Iterable[RoundRow], people: int) -> EvidenceRow:
        """Ask the guard whether a round may begin; Refused otherwise."""
        verdict = self._house.guard.check_round(
            self._standing,
            step=spec.step,
            round_number=spec.round,
            segments=self._house.own_segments(spec.workload),
            people=people,
            rounds_begun=sum(row.outcome in _BEGUN for row in rows),
            rounds_in_24_hours=await self._store.rounds_since(self._house.clock() - DAY_SECONDS),
            now=self._house.now(),
        )
        return self._house.evidence_of(verdict)


def promise_of(row: RoundRow) -> Promise:
    """Return what a round in the store still binds this party to. One that is open may have an update out."""
    return Promise(
        row.number,
        out=row.sealed or row.outcome in {"", RELEASING},
        destroyed=not row.seed,
        released=row.outcome == RELEASED,
        opened=row.outcome in OVER,
    )
