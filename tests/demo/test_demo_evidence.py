"""What several parties were shown of one log, put together."""

from __future__ import annotations

import pytest
from parley.demo_evidence import together
from parley.demo_plan import DemoError
from parley_party.logexport import FetchedLog

from tests.audit.sample_log import ORIGIN, as_shown_to, sample_leaves, signed
from tests.simulator import GATEWAY_KEY, party_ids


def _shown(party: str, *studies: str, leaves: tuple[bytes, ...]) -> FetchedLog:
    return FetchedLog(signed(leaves), tuple(as_shown_to(party, *studies, leaves=leaves)), GATEWAY_KEY.public, ORIGIN, party)


def test_all_parties_together_were_shown_the_whole_log() -> None:
    leaves = sample_leaves()
    logs = [_shown(party, "study", *(["other"] if party == "party-000" else []), leaves=leaves) for party in party_ids(6)]
    first = logs[0]
    assert first.leaves != leaves
    whole = together(logs)
    assert (whole.leaves, whole.party, whole.checkpoint) == (leaves, None, first.checkpoint)
    with pytest.raises(DemoError, match="4 hidden"):
        together(logs[1:])  # its policy, its record, and the two leaves of the study that it alone was invited to
    with pytest.raises(DemoError, match="one checkpoint for all"):
        together([first, _shown("party-001", "study", leaves=leaves[:-1])])
