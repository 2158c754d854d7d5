"""A study that splits: a cohort is a study of its own, started by whom its members know, in one transaction, and nobody else reads it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from parley_crypto.signing import Envelope
from parley_gateway import reading
from parley_gateway.config import load
from parley_gateway.entries import Entries
from parley_gateway.store import GatewayStore, read_everything, read_notes
from parley_policies.negotiation.agreement import Refusal
from parley_policies.negotiation.terms import Terms
from parley_protocol.negotiation import LEFT_OUT, Terminated, TermsProposed
from parley_protocol.problems import Slug
from parley_protocol.records import StudyChange, StudyEvent
from parley_service.errors import StoreError

from tests.gateway.federation import Federation, proposal, started
from tests.gateway.parties import Party, RefusedError, check_sums
from tests.gateway.test_gateway_rounds import audited

LEFT, RIGHT, ALONE = ["p0", "p1", "p2"], ["q0", "q1", "q2", "q3"], "r0"
NAMES = [*LEFT, *RIGHT, ALONE]
FIRST, SECOND = "heart", "heart--2"


def run(tmp_path: Path, work: Callable[[Federation], Awaitable[None]]) -> None:
    """Run `work` where nobody of LEFT may be with anybody of RIGHT, and nobody of all with ALONE."""

    async def inner() -> None:
        federation = Federation(tmp_path, await started(tmp_path))
        try:
            for name in NAMES:
                party = await federation.enrol(name)
                others = RIGHT if name in LEFT else LEFT if name in RIGHT else []
                party.apart = (*others, *([] if name == ALONE else [ALONE]))
            await work(federation)
        finally:
            await federation.close()

    asyncio.run(inner())


async def refused(work: Awaitable[Any]) -> Slug:
    with pytest.raises(RefusedError) as found:
        await work
    return found.value.problem.slug


async def proposed(federation: Federation, sponsor: str = "p0") -> None:
    """Let `sponsor` propose to all, and wait until both cohorts have signed and the others know that they are left out."""
    invited = [sponsor, *(name for name in NAMES if name != sponsor)]
    await federation.parties[sponsor].sign("propose", FIRST, proposal(FIRST, invited, rounds=2))
    await federation.until(lambda: all(SECOND in federation.parties[name].studies for name in LEFT))
    await federation.until(lambda: all(FIRST in federation.parties[name].studies for name in RIGHT))
    await federation.until(lambda: FIRST in federation.parties[ALONE].reasons)


def finished(federation: Federation, study: str, names: list[str]) -> Callable[[], bool]:
    return lambda: all(StudyChange.FINISHED in federation.parties[name].studies[study].events for name in names)


def test_both_cohorts_run_to_their_end_with_sums_of_their_own(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        federation.serve()
        await proposed(federation)
        first, second = federation.parties["q0"].studies[FIRST].terms, federation.parties["p0"].studies[SECOND].terms
        assert [[member.party for member in terms.members] for terms in (first, second)] == [RIGHT, LEFT]
        assert (first.study, second.study) == (FIRST, SECOND)
        assert first.proposal_digest == second.proposal_digest
        assert first.digest() != second.digest()
        for study, starter, others in ((FIRST, "q0", ("q1", "p0")), (SECOND, "p0", ("p1",))):  # q0: the sponsor is in the other cohort
            assert (await federation.control("study.show", study=study))["waits_for"] == [starter]
            for other in others:
                run_of = federation.parties[other].studies.get(study)
                event = federation.parties[starter].event(study, StudyChange.STARTED, "").model_copy(update={"by": other})
                assert await refused(federation.parties[other].sign("start", study, event)) is (
                    Slug.NOT_ENTITLED if run_of else Slug.UNKNOWN_STUDY
                )
            await federation.parties[starter].start(study)
        await federation.until(finished(federation, FIRST, RIGHT))
        await federation.until(finished(federation, SECOND, LEFT))
        for names, study in ((RIGHT, FIRST), (LEFT, SECOND)):
            for name in names:
                check_sums(federation.parties[name].studies[study])

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")
    stored = read_everything(tmp_path / "data" / "gateway.db")
    assert {entry.study: entry.state for entry in stored.studies} == {FIRST: "FINISHED", SECOND: "FINISHED"}
    assert [entry.proposed_at > 0 for entry in stored.studies] == [True, False]  # one proposal
    assert {answer.party for answer in stored.answers if answer.study == SECOND} == set(LEFT)
    notes = [note.text for note in read_notes(tmp_path / "data" / "gateway.db", FIRST)]
    assert any("p0, p1, p2 go on as heart--2" in text for text in notes)
    assert any(f"{ALONE} is left out" in text for text in notes)  # for the operator, who holds the offers
    shown = reading.member(load(tmp_path / "gateway.toml"), {}, "p1")
    assert shown["studies"] == [SECOND]


def test_who_is_in_another_cohort_or_in_none_reads_nothing_of_it(tmp_path: Path) -> None:
    async def visible(party: Party) -> tuple[list[str], set[str]]:
        studies = [study["study"] for study in (await party.request("GET", "/v1/studies"))["studies"]]
        rows = (await party.request("GET", "/v1/log/entries?start=0&end=256"))["entries"]
        terms = [Envelope.load(row["leaf"].encode()) for row in rows if "leaf" in row]
        return studies, {Terms.parse(leaf.payload).study for leaf in terms if leaf.payload_type == Terms.kind}

    async def work(federation: Federation) -> None:
        federation.serve()
        await proposed(federation)
        assert await visible(federation.parties["p1"]) == ([SECOND], {SECOND})
        assert await visible(federation.parties["q1"]) == ([FIRST], {FIRST})
        assert await visible(federation.parties[ALONE]) == ([], set())
        for name, study in (("p1", FIRST), ("q1", SECOND), (ALONE, FIRST), (ALONE, SECOND)):
            party = federation.parties[name]
            for target in ("", "/history?after=0", "/sums/1"):
                assert await refused(party.request("GET", f"/v1/studies/{study}{target}")) is Slug.UNKNOWN_STUDY
            terms = federation.parties["q0" if study == FIRST else "p0"].studies[study].terms
            refusal = Refusal(study=study, terms_digest=terms.digest(), party=name)
            assert await refused(party.sign("refuse", study, refusal)) is Slug.UNKNOWN_STUDY

    run(tmp_path, work)


def test_who_is_left_out_is_told_the_same_and_with_the_others_whatever_the_reason(tmp_path: Path) -> None:
    """`ALONE` is denied by all; `p2`'s own floor keeps it out. Neither message tells which."""

    async def work(federation: Federation) -> None:
        federation.parties["p2"].floor = 9
        federation.serve(*LEFT[:2], *RIGHT[1:])
        await federation.parties["q0"].sign("propose", FIRST, proposal(FIRST, ["q0", "p2", ALONE, *RIGHT[1:]]))
        q0 = federation.parties["q0"]
        for name in ("p2", ALONE, "q0"):  # the last answer brings everybody's next message
            (request,) = await federation.parties[name].poll(5)
            await federation.parties[name].take(request)
            federation.parties[name].cursor = request["seq"]
        (told,) = await federation.parties["p2"].poll(5)
        (told_too,) = await federation.parties[ALONE].poll(5)
        (terms,) = await q0.poll(5)
        assert told["body"] == told_too["body"] == Terminated(reason=LEFT_OUT).model_dump()
        assert (told["kind"], told["study"], told["id"]) == (told_too["kind"], told_too["study"], told_too["id"])
        assert terms["kind"] == "terms"
        assert abs(told["seq"] - terms["seq"]) <= len(NAMES)  # written and published together

    run(tmp_path, work)


def test_a_sponsor_whom_nobody_may_be_with_is_left_out_of_its_own_study(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        federation.serve()
        invited = [ALONE, *RIGHT]
        await federation.parties[ALONE].sign("propose", FIRST, proposal(FIRST, invited, rounds=1))
        await federation.until(lambda: all(FIRST in federation.parties[name].studies for name in RIGHT))
        await federation.until(lambda: federation.parties[ALONE].reasons == {FIRST: LEFT_OUT})
        take_back = StudyEvent(
            study=FIRST, change=StudyChange.TERMINATED, by=ALONE, agreement=None, certificates=0, head=None, reason="ours", at=1
        )
        assert await refused(federation.parties[ALONE].sign("stop", FIRST, take_back)) is Slug.UNKNOWN_STUDY
        await federation.parties["q0"].start(FIRST)
        await federation.until(finished(federation, FIRST, RIGHT))

    run(tmp_path, work)
    assert audited(tmp_path) == (True, "None")


def test_a_refusal_ends_its_cohort_alone(tmp_path: Path) -> None:
    async def work(federation: Federation) -> None:
        p2 = federation.parties["p2"]
        federation.serve(*(name for name in NAMES if name != "p2"))
        await federation.parties["p0"].sign("propose", FIRST, proposal(FIRST, NAMES))
        (request,) = await p2.poll(5)
        await p2.take(request)
        p2.cursor = request["seq"]
        (message,) = await p2.poll(5)
        assert message["study"] == SECOND
        terms = Terms.parse(TermsProposed.model_validate(message["body"]).terms.encode())
        await p2.sign("refuse", SECOND, Refusal(study=SECOND, terms_digest=terms.digest(), party="p2"))
        await federation.until(lambda: all(FIRST in federation.parties[name].studies for name in RIGHT))
        await federation.until(lambda: all(SECOND in federation.parties[name].reasons for name in LEFT[:2]))
        assert all(federation.parties[name].reasons == {} for name in RIGHT)
        states = {study: (await federation.control("study.show", study=study))["state"] for study in (FIRST, SECOND)}
        assert states == {FIRST: "FINALIZED", SECOND: "TERMINATED"}

    run(tmp_path, work)


@pytest.mark.parametrize("landed", [False, True])
def test_a_gateway_that_dies_while_it_splits_a_study_has_split_it_or_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, landed: bool
) -> None:
    """The write that holds both cohorts fails, before or after it is on the disk. Terms are then computed at the next start."""
    whole = GatewayStore.commit
    broken: list[int] = []

    async def dies(store: GatewayStore, entries: Entries) -> None:
        splits = any(entry.study == SECOND for entry in entries.studies)
        if splits and not broken:
            broken.append(len(entries.studies))
            if landed:
                await whole(store, entries)
            raise StoreError("the machine lost power")
        await whole(store, entries)

    async def work(federation: Federation) -> None:
        monkeypatch.setattr(GatewayStore, "commit", dies)
        for party in federation.parties.values():
            party.patient = True
        federation.serve(*(name for name in NAMES if name != "q3"))
        last = federation.parties["q3"]
        await federation.parties["p0"].sign("propose", FIRST, proposal(FIRST, NAMES))
        (request,) = await last.poll(5)
        with contextlib.suppress(RefusedError):  # where its answer was to be written together with what came of it
            await last.take(request)
        await federation.gateway.failed.wait()
        states = {entry.study: entry.state for entry in read_everything(tmp_path / "data" / "gateway.db").studies}
        assert states == ({FIRST: "AGREED", SECOND: "AGREED"} if landed else {FIRST: "OFFERED"})
        for name in list(federation.serving):
            await federation.silence(name)
        await federation.restart()
        federation.serve()  # q3 answers its request again with the same bytes
        await federation.until(lambda: all(SECOND in federation.parties[name].studies for name in LEFT))
        await federation.until(lambda: all(FIRST in federation.parties[name].studies for name in RIGHT))

    run(tmp_path, work)
    assert broken
    assert audited(tmp_path) == (True, "None")
