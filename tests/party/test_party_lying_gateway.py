"""What a lying gateway hands out as a sum halts the study at the party; what makes no sense is passed over, and breaks nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parley.demo_studies import SHARED
from parley_crypto.statement import Signed
from parley_party.client import GatewayClient
from parley_party.errors import GatewayUnreachableError
from parley_party.store import Change
from parley_protocol.bound import load_envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.negotiation import StudyState
from parley_protocol.records import StudyChange, StudyEvent
from parley_protocol.relays import RoundOpen

from tests.demo.demo_samples import key_of
from tests.party.lying_gateway import ME, PARTIES, TERMS, Scene, play, summary

Forge = Callable[[bytes], bytes]
SEALED = {party: summary(100.0) for party in PARTIES}
NO_LOG = {"checkpoint": "", "old_size": 0, "consistency": [], "index": 0, "inclusion": []}


def flipped(place: int) -> Forge:
    def forge(raw: bytes) -> bytes:
        altered = bytearray(raw)
        altered[place] ^= 1
        return bytes(altered)

    return forge


async def halted(scene: Scene, words: str) -> None:
    """The study is over here: written down with its reason, said to all under this party's signature, and taken part in no more."""
    row = await scene.row()
    assert row.state == StudyState.STOPPED
    assert words in row.reason
    (reason,) = await scene.complaints("sum not proven")
    assert reason == row.reason
    stop = [message for message in await scene.store.outgoing("demo") if message.kind == "stop"]
    event = Signed(load_envelope(json.loads(stop[-1].body)["statement"], "event"), StudyEvent).verify(key_of(ME).public)
    assert (event.change, event.by, event.agreement, event.reason) == (StudyChange.STOPPED, ME, TERMS.digest(), row.reason)
    assert (event.certificates, event.head) == (scene.run.certified, scene.run.chain.head)
    assert SHARED.id not in scene.federation.runs
    await scene.send("open", {"agreement": TERMS.digest(), "round": 9, "step": 0, "previous": scene.run.chain.head, "log": NO_LOG})
    assert "does not run here" in (await scene.complaints())[-1]


@pytest.mark.parametrize("forge", [flipped(0), flipped(-1), flipped(-17)], ids=["coordinate", "tag", "other tag"])
def test_an_altered_sum_halts_the_study_at_the_party_that_was_served_it(tmp_path: Path, forge: Forge) -> None:
    async def work(scene: Scene) -> None:
        before = scene.run.state
        listed, sums, certificate = scene.certified(1, SEALED)
        await scene.open(listed, {name: forge(raw) for name, raw in sums.items()}, certificate)
        await halted(scene, "its tags do not prove it")
        assert scene.run.state is before
        assert await scene.store.certificates(SHARED.id) == []

    play(tmp_path, work)


def test_the_true_sum_is_taken_and_the_next_forged_one_halts_with_the_newest_certificate(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        await scene.open(*scene.certified(1, SEALED))
        assert (scene.run.certified, scene.run.chain.round) == (1, 1)
        listed, sums, certificate = scene.certified(2, {})
        await scene.open(listed, {name: flipped(3)(raw) for name, raw in sums.items()}, certificate)
        await halted(scene, "round 2")

    play(tmp_path, work)


def test_a_sum_longer_than_all_clip_bounds_together_halts_the_study_though_its_tags_are_right(tmp_path: Path) -> None:
    """A colluding member seals within the encoding's bounds, coordinate by coordinate, and far beyond the clip bound."""

    async def work(scene: Scene) -> None:
        await scene.open(*scene.certified(1, SEALED))
        step = TERMS.steps[1]
        longest = max(step.segments, key=lambda segment: segment.length)
        whole = np.full(longest.length, step.encoding.bound)
        assert np.linalg.norm(whole) > TERMS.clip_bound * len(PARTIES)
        listed, sums, certificate = scene.certified(2, {})
        sums[longest.name] = scene.summed(listed, longest.name, {longest.members[0]: whole})
        await scene.open(listed, sums, certificate)
        await halted(scene, "clip bounds together")

    play(tmp_path, work)


def test_a_summary_that_no_tables_can_give_halts_the_study(tmp_path: Path) -> None:
    """A colluding member says that it holds fewer rows than none."""

    async def work(scene: Scene) -> None:
        await scene.open(*scene.certified(1, {**SEALED, PARTIES[-1]: summary(-10_000.0)}))
        await halted(scene, "opened summary")

    play(tmp_path, work)


def test_bytes_that_the_gateway_did_not_sign_for_are_passed_over(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        listed, sums, certificate = scene.certified(1, SEALED)
        scene.wire.answers["/v1/studies"] = bytes(len(b"".join(sums.values())))
        notice = scene.notice(listed, sums, certificate)
        await scene.send("opened", notice | {"sums": ""})
        assert "wanted the bytes that the gateway signed for" in (await scene.complaints())[-1]
        await scene.send("opened", notice | {"sums": "A"})
        assert "wanted base64" in (await scene.complaints())[-1]
        assert (scene.run.certified, (await scene.row()).state) == (0, StudyState.RUNNING)
        await scene.send("opened", notice)
        assert scene.run.certified == 1

    play(tmp_path, work)


# messages that make no sense

LARGE = 2**60


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("release", {"round": LARGE, "reason": ""}, "less than 9007199254740992"),
        ("open", {"round": LARGE, "step": 0, "previous": "0" * 64, "log": NO_LOG}, "less than 9007199254740992"),
        ("aborted", {"round": 1, "reason": "\ud800"}, "message aborted"),
        ("no such kind", {"round": 1}, "no such kind"),
    ],
)
def test_a_message_that_makes_no_sense_is_passed_over_and_the_service_goes_on(
    tmp_path: Path, kind: str, body: dict[str, Any], words: str
) -> None:
    async def work(scene: Scene) -> None:
        await scene.send(kind, {"agreement": TERMS.digest(), **body})
        assert words in (await scene.complaints())[-1]
        await scene.open(*scene.certified(1, SEALED))
        assert scene.run.certified == 1

    play(tmp_path, work)


@pytest.mark.parametrize(
    "answer",
    [
        {"messages": None},
        {},
        {"messages": [1]},
        {"messages": [{"kind": "open", "study": "heart", "body": {}}]},
        {"messages": [{"seq": 10**30, "kind": "open", "study": "heart", "body": {}}]},
        {"messages": [{"seq": True, "kind": "open", "study": "heart", "body": {}}]},
        {"messages": [{"seq": 1, "kind": ["open"], "study": "heart", "body": {}}]},
        {"messages": [{"seq": 1, "kind": "open", "study": "\ud800", "body": {}}]},
    ],
)
def test_an_inbox_that_makes_no_sense_is_asked_again_later(tmp_path: Path, answer: dict[str, Any]) -> None:
    async def work(scene: Scene) -> None:
        scene.wire.answers = {"/v1/inbox": json.dumps(answer).encode()}
        client: GatewayClient = scene.wire
        with pytest.raises(GatewayUnreachableError, match="answer of the gateway: wanted"):
            await client.inbox(0, 0)

    play(tmp_path, work)


@pytest.mark.parametrize("operator", [{"subprocessors": ["DE"]}, {"subprocessors": 1}, {"incident_notice_hours": "soon"}])
def test_a_declaration_that_makes_no_sense_is_refused(tmp_path: Path, operator: dict[str, Any]) -> None:
    async def work(scene: Scene) -> None:
        scene.wire._greeting = replace(scene.wire.greeting, operator=operator)
        with pytest.raises(RemoteProtocolError, match="wanted its operator"):
            scene.federation.gateway_terms()

    play(tmp_path, work)


# rounds after the end


def test_no_round_is_entered_after_a_member_stopped_the_study(tmp_path: Path) -> None:
    """The stop stands in the log; the gateway opens rounds nevertheless."""

    async def work(scene: Scene) -> None:
        event = StudyEvent(
            study=SHARED.id,
            change=StudyChange.STOPPED,
            by=PARTIES[-1],
            agreement=TERMS.digest(),
            certificates=0,
            head=TERMS.digest(),
            reason="we have doubts",
            at=1,
        )
        await scene.send("changed", {"event": event.sign(key_of(PARTIES[-1])).dump().decode()})
        assert (await scene.row()).state == StudyState.STOPPED
        await scene.send("open", {"agreement": TERMS.digest(), "round": 1, "step": 0, "previous": scene.run.chain.head, "log": NO_LOG})
        assert "was opened after its end" in (await scene.complaints())[-1]
        assert scene.run.open is None

    play(tmp_path, work)


def test_no_round_is_entered_after_the_last_agreed_one(tmp_path: Path) -> None:
    """The gateway forgets to say that the study is finished, and goes on."""

    async def work(scene: Scene) -> None:
        scene.run.state = replace(scene.run.state, step=len(TERMS.steps))
        relay = {"agreement": TERMS.digest(), "round": 1, "step": len(TERMS.steps), "previous": scene.run.chain.head, "log": NO_LOG}
        with pytest.raises(RemoteProtocolError, match="there is no next"):
            await scene.run.on_open(RoundOpen.model_validate_json(json.dumps(relay)), Change())
        assert scene.run.open is None

    play(tmp_path, work)


# numbers of rounds


def opening(scene: Scene, number: int) -> dict[str, Any]:
    return {"agreement": TERMS.digest(), "round": number, "step": scene.run.state.step, "previous": scene.run.chain.head, "log": NO_LOG}


async def words_sent(scene: Scene) -> list[tuple[int, str]]:
    return [(message.number, message.kind) for message in await scene.store.outgoing("demo")]


def test_a_round_that_was_released_unentered_is_never_entered(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        await scene.send("release", {"agreement": TERMS.digest(), "round": 5, "reason": "it cannot be finished"})
        assert await words_sent(scene) == [(5, "release")]
        await scene.send("open", opening(scene, 5))
        await scene.send("release", {"agreement": TERMS.digest(), "round": 5, "reason": "again"})
        await scene.send("open", opening(scene, 5))
        assert {*await words_sent(scene)} == {(5, "release")}
        assert await scene.complaints() == []  # old news, nothing to complain of
        await scene.send("open", opening(scene, 6))
        assert "checkpoint" in (await scene.complaints())[-1]  # it would be entered, were there a proof

    play(tmp_path, work)


def test_no_release_is_said_of_a_round_whose_sums_are_open(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        await scene.open(*scene.certified(3, SEALED))
        for number in (3, 2, 1):
            await scene.send("release", {"agreement": TERMS.digest(), "round": number, "reason": "it cannot be finished"})
        assert await words_sent(scene) == []

    play(tmp_path, work)


def test_messages_of_another_round_or_agreement_move_nothing(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        listed, sums, certificate = scene.certified(1, SEALED)
        notice = scene.notice(listed, sums, certificate)
        await scene.send("opened", notice | {"agreement": "1" * 64})
        assert "another agreement than ours" in (await scene.complaints())[-1]
        await scene.send("opened", notice)
        await scene.send("opened", notice)  # repeated
        assert (scene.run.certified, len(await scene.store.certificates(SHARED.id))) == (1, 1)
        again, sums, certificate = scene.certified(1, {})  # another list under the number that is taken
        await scene.open(again, sums, certificate)
        assert scene.run.certified == 1

    play(tmp_path, work)
