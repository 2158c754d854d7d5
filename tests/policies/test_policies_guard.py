from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from parley_policies.enforcement.guard import Guard, Leaving, Standing, Verdict
from parley_policies.errors import Refused
from parley_policies.model.loader import load_policy

from tests.policies.policy_samples import GATEWAY, IDS, Federation, policy_text

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
FEDERATION = Federation.of(IDS[:6])
AGREEMENT = FEDERATION.agreement()
LOOPBACK = "http://127.0.0.1:8443"
ROUND_KINDS = (Leaving.ADVERTISE, Leaving.SHARE, Leaving.UPLOAD, Leaving.CONFIRM, Leaving.REVEAL)


def guard_of(edits: dict[str, str] | None = None, url: str = LOOPBACK, **values: Any) -> Guard:  # noqa: ANN401 - any value of the profile
    return Guard(load_policy(policy_text("a-clinic", edits, **values).encode()), url)


def standing_of(guard: Guard) -> Standing:
    return Standing(AGREEMENT, guard.active.digest, "visits")


def study(guard: Guard, **changes: Any) -> Verdict:  # noqa: ANN401 - any argument
    arguments: dict[str, Any] = {
        "dataset": "visits",
        "people": 600,
        "objectives": ("illness",),
        "members": FEDERATION.members,
        "gateway": GATEWAY,
        "studies_running": 0,
        "now": NOW,
    }
    return guard.check_study(FEDERATION.proposal, **{**arguments, **changes})


def begin(guard: Guard, **changes: Any) -> Verdict:  # noqa: ANN401 - any argument
    arguments: dict[str, Any] = {
        "standing": standing_of(guard),
        "step": 1,
        "round_number": 7,
        "segments": ("trunk", "head:illness"),
        "people": 600,
        "rounds_begun": 6,
        "rounds_in_24_hours": 6,
        "now": NOW,
    }
    return guard.check_round(**{**arguments, **changes})


def send(guard: Guard, kind: Leaving, **changes: Any) -> Verdict:  # noqa: ANN401 - any argument
    arguments: dict[str, Any] = {
        "standing": standing_of(guard),
        "step": 1,
        "round_number": 7,
        "segments": ("trunk", "head:illness"),
        "terms": AGREEMENT.terms,
        "now": NOW,
    }
    return guard.check_send(kind, **{**arguments, **changes})


def refused(call: Any, *args: Any, **changes: Any) -> Refused:  # noqa: ANN401 - any of the checks above
    with pytest.raises(Refused) as caught:
        call(*args, **changes)
    return caught.value


def test_the_guard_says_yes_with_a_verdict_for_the_egress_log() -> None:
    guard = guard_of()
    assert study(guard).agreement is None
    assert begin(guard).purpose == "round 7 of train@1"
    for kind in ROUND_KINDS:
        verdict = send(guard, kind)
        assert verdict.purpose == f"{kind.value} of round 7"
        assert (verdict.study, verdict.agreement, verdict.policy) == ("risk", AGREEMENT.digest, guard.active.digest)
        assert json.loads(json.dumps(verdict.as_data()))["at"] == "2027-03-01T12:00:00+00:00"
    assert "sharing.mib_a_round" in send(guard, Leaving.UPLOAD).clauses


def test_studies_are_checked_against_the_whole_policy() -> None:
    assert refused(study, guard_of({"datasets": 'datasets = ["other"]'})).clause == "data.datasets"
    assert refused(study, guard_of(), people=49).clause == "data.min_people"
    assert refused(study, guard_of(columns=["age"])).clause == "data.columns"
    assert refused(study, guard_of(studies_at_once=2), studies_running=2).clause == "limits.studies_at_once"
    assert study(guard_of({"studies_at_once": ""}), studies_running=99).study == "risk"
    assert refused(study, guard_of(url="https://gateway.example")).clause == "identity.profile"
    assert refused(study, guard_of({"least": 'least = "R1"'})).clause == "robustness.least"


def test_rounds_stay_inside_the_limits() -> None:
    assert refused(begin, guard_of(rounds_a_study=6)).clause == "limits.rounds_a_study"
    assert refused(begin, guard_of(), rounds_begun=41).clause == "limits.rounds_a_study"
    assert refused(begin, guard_of({"studies_at_once": "rounds_a_day = 6"})).clause == "limits.rounds_a_day"
    begin(guard_of({"studies_at_once": "rounds_a_day = 7"}))
    night = guard_of({"studies_at_once": 'hours = "20:00-06:00 Europe/Berlin"'})
    assert refused(begin, night).clause == "limits.hours"
    begin(night, now=NOW.replace(hour=22))
    send(night, Leaving.REVEAL)  # hours bound when work begins, not the others' waiting
    assert refused(begin, guard_of(), people=3).clause == "data.min_people"
    assert refused(begin, guard_of(), step=2).clause == "terms.steps"
    assert refused(begin, guard_of(), step=-1).clause == "terms.steps"


def test_only_own_granted_segments_leave() -> None:
    assert refused(begin, guard_of(), segments=("head:cost",)).clause == "terms.steps"
    assert refused(begin, guard_of(), segments=()).clause == "terms.steps"
    assert refused(send, guard_of(), Leaving.UPLOAD, segments=("trunk", "stem")).clause == "terms.steps"
    keeps = guard_of(segments={"summary": True, "trunk": True})
    assert refused(send, keeps, Leaving.UPLOAD).clause == "sharing.segments.head:illness"
    send(keeps, Leaving.UPLOAD, segments=("trunk",))


def test_uploads_stay_inside_bytes_and_processor_time() -> None:
    assert refused(send, guard_of(mib_a_round=0.00001), Leaving.UPLOAD).clause == "sharing.mib_a_round"
    slow = guard_of({"studies_at_once": "cpu_seconds_a_round = 10"})
    send(slow, Leaving.UPLOAD, cpu_seconds=10.0)
    assert refused(send, slow, Leaving.UPLOAD, cpu_seconds=10.5).clause == "limits.cpu_seconds_a_round"


@pytest.mark.parametrize("kind", ROUND_KINDS)
def test_nothing_of_a_round_leaves_without_an_agreement_in_force(kind: Leaving) -> None:
    guard = guard_of()
    assert refused(send, guard, kind, standing=None).clause == "terms"
    # valid_until passes in mid-round: no REVEAL, nor anything else
    send(guard, kind, now=datetime(2027, 12, 31, 23, 59, tzinfo=UTC))
    assert refused(send, guard, kind, now=datetime(2028, 1, 1, tzinfo=UTC)).clause == "identity.valid_until"
    longer = guard_of(valid_until=datetime(2028, 12, 31, tzinfo=UTC).date())
    assert refused(send, longer, kind, now=datetime(2028, 1, 1, tzinfo=UTC)).clause == "terms.valid_until"


@pytest.mark.parametrize("kind", ROUND_KINDS)
def test_an_edited_policy_stops_the_study_until_it_is_negotiated_anew(kind: Leaving) -> None:
    guard = guard_of(max_small_changes=0)
    old = Standing(AGREEMENT, guard_of().active.digest, "visits")
    assert refused(send, guard, kind, standing=old).clause == "identity.version"
    assert refused(begin, guard, standing=old).clause == "identity.version"


def test_a_document_that_is_overdue_stops_the_service() -> None:
    text = '{ kind = "dpia", reference = "R", sha256 = "' + "5" * 64 + '", review_by = 2027-03-01 }'
    guard = guard_of({"controller": f"documents = [ {text} ]"})
    send(guard, Leaving.REVEAL)
    assert refused(send, guard, Leaving.REVEAL, now=NOW + timedelta(1)).clause == "legal.documents"


def test_an_agreement_of_others_is_none_of_ours() -> None:
    guard = Guard(FEDERATION.policy("a-clinic"), LOOPBACK)
    agreement = Federation.of(IDS[1:5]).agreement()
    assert refused(send, guard, Leaving.REVEAL, standing=Standing(agreement, guard.active.digest, "visits")).clause == "terms.members"


def test_a_party_can_always_leave_and_never_sends_a_metric() -> None:
    expired = datetime(2030, 1, 1, tzinfo=UTC)
    guard = guard_of()
    for kind in (Leaving.DECLINE, Leaving.REFUSAL, Leaving.STOP, Leaving.WITHDRAWAL):
        assert guard.check_send(kind, study="risk", now=expired).clauses == ()
    for kind in (Leaving.PROPOSAL, Leaving.OFFER, Leaving.ACCEPTANCE, Leaving.START):
        assert guard.check_send(kind, study="risk", terms=AGREEMENT.terms, now=NOW).study == "risk"
        assert refused(guard.check_send, kind, study="risk", now=expired).clause == "identity.valid_until"
    assert refused(guard.check_send, Leaving.METRIC, now=NOW).clause == "disclosure.own_metrics"
    assert guard.check_send(Leaving.ENROLMENT, now=NOW).study == ""


def test_every_kind_that_leaves_is_decided() -> None:
    guard = guard_of()
    for kind in Leaving:
        if kind is not Leaving.METRIC:
            assert send(guard, kind).policy == guard.active.digest


def test_times_carry_their_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        send(guard_of(), Leaving.REVEAL, now=datetime(2027, 3, 1, 12, 0))  # noqa: DTZ001 - what must be refused
    east = datetime(2028, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))  # still the last day in UTC
    assert send(guard_of(), Leaving.REVEAL, now=east).at.tzinfo is UTC


def test_nothing_leaves_for_a_gateway_that_the_profile_forbids() -> None:
    away = guard_of(url="https://gateway.example")
    assert refused(begin, away).clause == "identity.profile"
    for kind in Leaving:
        assert refused(send, away, kind).clause == "identity.profile"


def test_what_cannot_be_upheld_stops_rounds_and_offers() -> None:
    guard = guard_of({"least": 'least = "R1"'})
    assert refused(begin, guard).clause == "robustness.least"
    for kind in (*ROUND_KINDS, Leaving.PROPOSAL, Leaving.OFFER, Leaving.ACCEPTANCE, Leaving.START):
        assert refused(send, guard, kind).clause == "robustness.least"


def test_a_step_whose_workload_is_not_permitted_never_begins() -> None:
    guard = guard_of({"workloads": 'workloads = ["preprocess@1"]'})
    assert begin(guard, step=0, segments=("summary",)).purpose == "round 7 of preprocess@1"
    assert refused(begin, guard).clause == "code.workloads"
