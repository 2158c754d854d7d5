"""What a gateway keeps of the newest certified round: a member recomputes its sum from it, and nothing else is handed out or left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from parley_crypto.signing import Envelope
from parley_gateway import kept
from parley_gateway.kept import KeptRounds
from parley_gateway.store import read_everything
from parley_protocol.certificates import cohort_of
from parley_protocol.limits import KEPT_SECONDS
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.problems import Slug
from parley_protocol.records import StudyChange
from parley_protocol.unmasking import Recomputation, Unmasking

from tests.gateway.federation import Federation, started
from tests.gateway.parties import Party, RefusedError
from tests.gateway.test_gateway_rounds import NAMES, ended, run, spooled


def place(number: int, what: str, study: str = "heart") -> str:
    return f"/v1/studies/{study}/rounds/{number}/{what}"


async def unmasking(party: Party, number: int) -> Unmasking:
    return Unmasking.parse(await party.raw("GET", place(number, "unmasking")))


async def recompute(party: Party, number: int) -> int:
    """Recompute a round as a member does, and return how many updates were summed."""
    row = (await party.request("GET", f"/v1/studies/heart/history?after={number - 1}"))["rounds"][0]
    listed = SurvivorList.parse(Envelope.load(row["certificate"].encode()).payload)
    assert listed.round == number
    study = party.studies["heart"]
    cohort = cohort_of(study.terms, study.chain, step=listed.step, round_number=number)
    work = Recomputation(cohort, listed, await unmasking(party, number))
    for name in work.uploads:
        work.take(name, await party.raw("GET", place(number, f"updates/{name}")))
    work.check(Opened.parse(Envelope.load(row["opened"].encode()).payload))
    return len(work.uploads)


@contextmanager
def refused(slug: Slug) -> Iterator[None]:
    with pytest.raises(RefusedError) as caught:
        yield
    assert caught.value.problem.slug is slug


class Gate:
    """Holds a party back before it takes the opening of a round, so that the round before stays the newest that closed."""

    def __init__(self, party: Party, closed: int) -> None:
        self.party, self.closed = party, closed
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        party.before = self

    async def __call__(self, study: str, kind: str) -> None:
        if kind == "open" and self.party.studies[study].number == self.closed:
            self.reached.set()
            await self.open.wait()


def test_any_member_has_the_newest_round_recomputed_and_no_older_one(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        gate = Gate(federation.parties["p3"], 2)
        await federation.propose(rounds=3, grace=30.0)
        await federation.enrol("stranger")
        await federation.parties["p0"].start("heart")
        await asyncio.wait_for(gate.reached.wait(), 20)
        await federation.rounds("heart", 2, *NAMES)
        for name in ("p0", "p5"):
            assert await recompute(federation.parties[name], 2) == len(NAMES)
        for number in (1, 3):
            with refused(Slug.NOT_FOUND):
                await unmasking(federation.parties["p0"], number)
            with refused(Slug.NOT_FOUND):
                await federation.parties["p0"].raw("GET", place(number, "updates/p0"))
        with refused(Slug.NOT_FOUND):
            await federation.parties["p0"].raw("GET", place(2, "updates/nobody"))
        for what in ("unmasking", "updates/p0"):
            with refused(Slug.UNKNOWN_STUDY):
                await federation.parties["stranger"].raw("GET", place(2, what))
        await federation.parties.pop("stranger").__aexit__()
        gate.open.set()
        await federation.until(ended(federation, StudyChange.FINISHED))
        assert await recompute(federation.parties["p0"], 4) == len(NAMES)

    run(tmp_path, work)


def test_an_update_of_a_member_that_is_not_on_the_list_is_never_handed_out(tmp_path: Path) -> None:
    """It arrived whole; its owner was gone before it said so. One secret of its owner alone would hide it."""

    async def work(federation: Federation) -> None:
        last, gate = federation.parties["p5"], Gate(federation.parties["p0"], 1)
        upload, sent = last.upload, asyncio.Event()

        async def uploads_and_dies(body: bytes, digest: str | None = None) -> int:
            await upload(body, digest)
            sent.set()
            return await asyncio.Future()

        last.upload = uploads_and_dies  # type: ignore[method-assign]  # a process that dies after its upload
        await federation.propose(rounds=2)
        await federation.parties["p0"].start("heart")
        await asyncio.wait_for(sent.wait(), 20)
        await federation.silence("p5")
        await asyncio.wait_for(gate.reached.wait(), 20)
        assert ("p5", 1) in spooled(tmp_path)
        with refused(Slug.NOT_FOUND):
            await federation.parties["p0"].raw("GET", place(1, "updates/p5"))
        assert await recompute(federation.parties["p0"], 1) == len(NAMES) - 1

    run(tmp_path, work)


def test_what_is_kept_outlives_a_restart_and_goes_with_the_next_round_off_every_disk(tmp_path: Path) -> None:
    seeds: list[bytes] = []

    async def work(federation: Federation) -> None:
        for party in federation.parties.values():
            party.patient = True
        p0, gate = federation.parties["p0"], Gate(federation.parties["p3"], 2)
        await federation.propose(rounds=3, grace=30.0)
        await p0.start("heart")
        await asyncio.wait_for(gate.reached.wait(), 20)
        await federation.rounds("heart", 2, *NAMES)
        await federation.restart()
        assert await recompute(p0, 2) == len(NAMES)
        seeds.extend(column[:60].encode() for column in (await unmasking(p0, 2)).seeds.values())
        assert any(seed in (tmp_path / "data" / name).read_bytes() for seed in seeds for name in ("gateway.db", "gateway.db-wal"))
        gate.open.set()
        await federation.until(ended(federation, StudyChange.FINISHED))
        last = p0.studies["heart"].chain.round  # the restart took a number
        assert await recompute(p0, last) == len(NAMES)
        with refused(Slug.NOT_FOUND):
            await unmasking(p0, 2)
        assert spooled(tmp_path) == {(name, 1) for name in NAMES}

    run(tmp_path, work)
    assert seeds
    raw = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("gateway.db*"))
    assert not [seed for seed in seeds if seed in raw]
    assert [row.round for row in read_everything(tmp_path / "data" / "gateway.db").kept] == [5]


def test_the_last_round_is_kept_for_a_while_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, forget = asyncio.Event(), KeptRounds.forget

    async def told(self: KeptRounds) -> None:
        await forget(self)
        looked.set()

    monkeypatch.setattr(KeptRounds, "forget", told)

    async def at(federation: Federation, later: float) -> Party:
        """Start the gateway again so many seconds later, and return a party whose clock says the same."""
        await federation.gateway.stop()
        looked.clear()
        federation.gateway = await started(tmp_path, lambda: time.time() + later)
        party = federation.parties["p0"]
        party.port, party.clock = federation.port, lambda: time.time() + later
        await asyncio.wait_for(looked.wait(), 10)
        return party

    async def work(federation: Federation) -> None:
        await federation.propose(rounds=1)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.FINISHED))
        await federation.silence(*NAMES)
        party = await at(federation, KEPT_SECONDS - 600)
        assert await recompute(party, 2) == len(NAMES)
        party = await at(federation, KEPT_SECONDS + 600)
        with refused(Slug.NOT_FOUND):
            await unmasking(party, 2)
        assert spooled(tmp_path) == set()

    run(tmp_path, work)
    assert read_everything(tmp_path / "data" / "gateway.db").kept == ()


def test_where_nothing_may_be_handed_out_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "is_recomputable", lambda _: False)

    async def work(federation: Federation) -> None:
        await federation.propose(rounds=1)
        await federation.parties["p0"].start("heart")
        await federation.until(ended(federation, StudyChange.FINISHED))
        with refused(Slug.NOT_FOUND):
            await unmasking(federation.parties["p0"], 2)
        await federation.until(lambda: spooled(tmp_path) == set())

    run(tmp_path, work)
    assert read_everything(tmp_path / "data" / "gateway.db").kept == ()
