"""A lying gateway and a party that was restored from a backup: what it offers again gets no key, no update and no signature."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parley.demo_studies import SHARED
from parley_crypto.keys import SigningKey
from parley_party.client import GatewayClient
from parley_party.config import GatewayLink
from parley_party.fence import Fence, FenceState
from parley_party.publicstate import StudyMath
from parley_party.rounds import StudyRun
from parley_party.store import COPY, PACKAGE, Change, PartyStore
from parley_party.tables import RoundRow, StudyRow
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.members_key import StudyKeys
from parley_protocol.phases import Event
from parley_protocol.relays import RoundOpen
from parley_service.database import Database, migrate, open_engine
from parley_service.storecopy import copy_store

from tests.party.lying_gateway import FOUND, ME, NOW, TERMS, URL, at_home
from tests.simulator import GRAPH_SEED, MEMBERS_KEY

OLD = 2  # the newest round that the backup knows


class Liar(GatewayClient):
    """A gateway that shows no certificate and says what it likes of how far the study has come."""

    says: int | None = None

    async def history(self, study: str, after: int) -> list[dict[str, Any]]:
        del study, after
        return []

    async def study(self, study: str) -> dict[str, Any]:
        return {"study": study, "round": self.says}


def restored(
    folder: Path, work: Callable[[StudyRun, PartyStore], Awaitable[None]], *, says: int | None, rows: tuple[RoundRow, ...] = ()
) -> None:
    async def main() -> None:
        async with at_home(folder) as home:
            client = Liar(GatewayLink(url=URL), party=ME, key=SigningKey(bytes(32)))
            client.says = says
            for row in rows:
                await home.store.apply("demo", Change(round=row))
            await home.store.apply("demo", Change(fence=Fence(SHARED.id, FenceState.RESTORED, OLD, NOW)))
            run = await home.run(client)
            await work(run, home.store)
            await run.close()

    asyncio.run(main())


def offered(run: StudyRun, number: int) -> RoundOpen:
    fields: dict[str, Any] = {"round": number, "step": run.state.step, "previous": run.chain.head}
    return RoundOpen.model_construct(**fields)  # with what a study looks at: its proof was checked before


async def sent(store: PartyStore) -> list[tuple[int, str]]:
    return [(message.number, message.kind) for message in await store.outgoing("demo")]


@pytest.mark.parametrize(("says", "number"), [(None, OLD), (0, OLD), (0, 1), (7, 5), (7, 7)])
def test_an_old_round_that_is_offered_again_is_not_entered(tmp_path: Path, says: int | None, number: int) -> None:
    async def work(run: StudyRun, store: PartyStore) -> None:
        assert await run.leaf_before(offered(run, number), Change()) is None
        assert run.open is None
        assert await sent(store) == [(number, "withdrawn")]
        kept = await store.fence(SHARED.id)
        assert kept is not None
        assert (kept.state, kept.round) == (FenceState.KNOWN, max(OLD, says or 0))

    restored(tmp_path, work, says=says)


@pytest.mark.parametrize("answers", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", [Event.KEYS, Event.BOXES])
def test_a_later_round_goes_on_only_with_enough_answers_to_the_new_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Event, answers: int
) -> None:
    async def work(run: StudyRun, store: PartyStore) -> None:
        assert await run.leaf_before(offered(run, 8), Change()) is not None
        await run.on_open(offered(run, 8), Change())
        assert await sent(store) == [(8, "advertise")]
        assert run.open is not None
        terms = run.math.terms
        others = [member.party for member in terms.members if member.party != ME][:answers]
        field: dict[str, Any] = {"keys" if kind is Event.KEYS else "held": dict.fromkeys([ME, *others])}
        after = replace(run.open.state, **field)
        monkeypatch.setattr(run, "_step", lambda *_: (after, ()))
        relay: Any = offered(run, 8)  # any message of this round: the step is what the test says
        await run.on_relay(relay, kind, "{}", Change(), lambda _: None)
        enough = answers >= len(terms.members) - terms.threshold + terms.max_colluders + 1
        assert (run.open is not None) == enough
        assert await sent(store) == ([(8, "advertise")] if enough else [(8, "withdrawn")])
        refusals = [json.loads(row.body)["reason"] for row in await store.evidence(SHARED.id) if row.kind == "refused"]
        assert len(refusals) == (not enough)
        assert all("after a restore" in reason for reason in refusals)

    restored(tmp_path, work, says=7)


def test_the_base_version_of_a_lost_round_enters_no_other(tmp_path: Path) -> None:
    math = StudyMath.of(TERMS, FOUND.proposal, StudyKeys(MEMBERS_KEY, GRAPH_SEED))
    base = math.base(math.first())
    lost = RoundRow(
        study=SHARED.id, number=OLD, step=0, base=base, parameters="", entered="{}", seed=b"", sealed=True, outcome="lost", opened_at=NOW
    )

    async def work(run: StudyRun, store: PartyStore) -> None:
        with pytest.raises(RemoteProtocolError, match="wanted round 2 finished, released or given up first"):
            await run.on_open(offered(run, 8), Change())
        assert await sent(store) == []

    restored(tmp_path, work, says=7, rows=(lost,))


def test_a_copy_of_a_restored_store_is_fenced_anew_and_no_lower(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = open_engine(tmp_path / "party.db")
        migrate(engine, PACKAGE)
        database = Database(engine)
        study = StudyRow(study="heart", federation="demo", state="RUNNING", proposal="p", members="[]", agreement="a")
        await PartyStore(database).apply("demo", Change(study=study, fence=Fence("heart", FenceState.PASSED, 9, NOW)))
        copy_store(tmp_path / "party.db", tmp_path / "copy.db", COPY)
        await database.close()
        copy = Database(open_engine(tmp_path / "copy.db"))
        found = await PartyStore(copy).fence("heart")
        await copy.close()
        assert found is not None
        assert (found.state, found.round) == (FenceState.RESTORED, 9)

    asyncio.run(scenario())
