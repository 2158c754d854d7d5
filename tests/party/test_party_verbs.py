"""What the running party service refuses at its control socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from parley_party.errors import StudyError
from parley_party.store import Change, PartyStore
from parley_party.tables import StudyRow
from parley_party.verbs import PartyVerbs
from parley_protocol.problems import Slug
from parley_service.database import Database, migrate, open_engine
from parley_service.errors import ControlError

from tests.policies.policy_samples import proposal_of
from tests.simulator import party_key


def verbs(store: PartyStore) -> PartyVerbs:
    config = SimpleNamespace(party=SimpleNamespace(id="somebody"), gateways={})
    federation = SimpleNamespace(runs={})
    return PartyVerbs(cast("Any", config), cast("Any", None), cast("Any", None), store, {"demo": cast("Any", federation)})


def test_only_the_sponsor_starts_a_study_and_unknown_studies_are_named(tmp_path: Path) -> None:
    async def run() -> None:
        engine = open_engine(tmp_path / "party.db")
        migrate(engine, "parley_party")
        database = Database(engine)
        try:
            store = PartyStore(database)
            proposed = proposal_of(["a", "b", "c"])
            envelope = proposed.sign(party_key("sponsor")).dump().decode()
            await store.apply(
                "demo", Change(study=StudyRow(study=proposed.id, federation="demo", state="FINALIZED", proposal=envelope, members="[]"))
            )
            table: Any = verbs(store).table()
            with pytest.raises(StudyError) as refused:
                await table["study.start"]({"study": proposed.id})
            assert refused.value.problem is Slug.NOT_ENTITLED
            assert proposed.sponsor in str(refused.value)
            with pytest.raises(StudyError, match="a study that this party knows"):
                await table["study.start"]({"study": "other"})
            with pytest.raises(ControlError, match="only study"):
                await table["study.start"]({"study": proposed.id, "force": True})
        finally:
            await database.close()

    asyncio.run(run())
