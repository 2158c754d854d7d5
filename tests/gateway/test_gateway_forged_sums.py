"""A gateway that forges the sums of one round: no member goes on, the first stop and its reason are logged, and an audit reads them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parley_crypto.signing import Envelope
from parley_gateway.store import read_leaves
from parley_protocol import opening
from parley_protocol.proving import SumNotProvenError
from parley_protocol.records import StudyChange, StudyEvent
from parley_protocol.relays import RoundOpen, SumOpened

from tests.gateway.federation import Federation
from tests.gateway.parties import RefusedError, StudyRun
from tests.gateway.test_gateway_rounds import audited, ended, run

FORGED_ROUND = 3


def test_forged_sums_stop_the_study_for_all_and_the_log_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = opening.open_segment

    def forging(masks: opening.Masks, name: str, uploads: Any) -> Any:  # noqa: ANN401 - as the original
        total, tags = honest(masks, name, uploads)
        if masks.cohort.round == FORGED_ROUND:
            total[0] += np.ones(1, dtype=total.dtype)[0]
        return total, tags

    taken, opened, halted = StudyRun._close, StudyRun._open, set[str]()

    async def staying_out(self: StudyRun, relay: RoundOpen) -> None:
        if self.party.name not in halted:
            await opened(self, relay)

    async def stopping(self: StudyRun, relay: SumOpened) -> None:
        """What a party's service does: it takes no further part and says so (tests/party/test_party_lying_gateway.py)."""
        try:
            await taken(self, relay)
        except SumNotProvenError as error:
            self.state = None
            halted.add(self.party.name)
            with suppress(RefusedError):  # others have stopped it already
                await self.party.sign("stop", self.terms.study, self.party.event(self.terms.study, StudyChange.STOPPED, str(error)))

    monkeypatch.setattr(opening, "open_segment", forging)
    monkeypatch.setattr(StudyRun, "_close", stopping)
    monkeypatch.setattr(StudyRun, "_open", staying_out)

    async def work(federation: Federation) -> None:
        await federation.propose(rounds=9)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.STOPPED))
        assert {party.studies["heart"].number for party in federation.parties.values()} == {FORGED_ROUND - 1}

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")
    events = [
        StudyEvent.parse(envelope.payload)
        for envelope in map(Envelope.load, read_leaves(tmp_path / "data" / "gateway.db")[1])
        if envelope.payload_type == StudyEvent.kind
    ]
    member, closing = [event for event in events if event.change is StudyChange.STOPPED]
    assert member.by is not None
    assert f"round {FORGED_ROUND}" in member.reason
    assert "its tags do not prove it" in member.reason
    assert (member.certificates, closing.by, closing.certificates) == (FORGED_ROUND - 1, None, FORGED_ROUND)
    assert "its tags do not prove it" in closing.reason
