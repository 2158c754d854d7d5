from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from parley_policies.errors import OUTWARD_REASON, Refused
from parley_policies.negotiation.offer import Decline, Offer, salted_digest
from parley_policies.negotiation.terms import GatewayTerms

from tests.policies.policy_samples import GATEWAY, IDS, SALT, TODAY, Federation, changed, key_of, member_of

FOUR = IDS[:4]


def federation(edits: dict[str, str] | None = None, **values: Any) -> Federation:  # noqa: ANN401 - any value of the profile
    return Federation.of(FOUR, {"a-clinic": values}, {"a-clinic": edits or {}})


def refusal(sample: Federation, **changes: Any) -> Refused:  # noqa: ANN401 - any argument
    with pytest.raises(Refused) as caught:
        sample.offer("a-clinic", **changes)
    return caught.value


def test_offer_holds_what_the_proposal_needs_and_no_more() -> None:
    sample = federation(min_parties={"trunk": 4, "head:*": 3, "summary": 3, "norm": 7}, record_count="rounded:500", rounds_a_study=300)
    offer = sample.offer("a-clinic", records=1_730)
    assert [(segment.name, segment.min_parties) for segment in offer.segments] == [("summary", 3), ("trunk", 4), ("head:illness", 3)]
    assert offer.records == "rounded:1500"
    assert offer.rounds == 41  # no more than the sponsor wishes, so the policy's limit is not told
    assert (offer.clip_bound.min, offer.clip_bound.max) == (0.1, 4.0)
    assert (offer.objectives, offer.schemes, offer.uncounted) == (("illness",), ("masked",), ())
    assert offer.gateway_digest == GATEWAY.digest()
    assert Offer.parse(offer.canonical()) == offer
    text = offer.canonical().decode()
    assert "1730" not in text
    assert "visits" not in text
    assert "norm" not in text
    assert sample.policy("a-clinic").digest not in text


def test_policy_is_bound_by_a_salted_digest() -> None:
    sample = federation()
    assert sample.offer("a-clinic").policy == salted_digest(sample.policy("a-clinic").digest, SALT)
    assert sample.offer("a-clinic", salt=bytes(16)).policy != sample.offer("a-clinic").policy
    with pytest.raises(ValueError, match="salt"):
        sample.offer("a-clinic", salt=b"short")


def test_documents_are_covered() -> None:
    document = '{ kind = "dpia", reference = "R", sha256 = "' + "5" * 64 + '", review_by = 2027-03-01 }'
    sample = federation({"controller": f"documents = [ {document} ]"})
    assert sample.offer("a-clinic").documents == ("5" * 64,)
    assert sample.terms().members[0].documents == ("5" * 64,)
    assert refusal(sample, today=TODAY + timedelta(1)).clause == "legal.documents"


def test_declining_says_nothing() -> None:
    decline = Decline(study="risk", proposal_digest="0" * 64, party="a-clinic")
    assert decline.reason == OUTWARD_REASON
    assert Decline.parse(decline.canonical()) == decline


GATEWAYS: list[tuple[dict[str, object], str]] = [
    ({"key": key_of("z").public.hex}, "gateway.fingerprints"),
    ({"countries": ("DE", "CN")}, "gateway.countries"),
    ({"countries": ()}, "gateway.countries"),
    ({"incident_notice_hours": 73}, "gateway.incident_notice_hours_at_most"),
    ({"incident_notice_hours": None}, "gateway.incident_notice_hours_at_most"),
    ({"change_notice_days": None}, "gateway.change_notice_days_at_least"),
]


@pytest.mark.parametrize(("change", "clause"), GATEWAYS)
def test_gateways_that_are_not_permitted(change: dict[str, object], clause: str) -> None:
    gateway = GatewayTerms.model_validate({**GATEWAY.model_dump(), **change})
    assert refusal(federation(), gateway=gateway).clause == clause


@pytest.mark.parametrize(
    ("edits", "clause"),
    [
        ({"granted": 'granted = ["DUO:0000006"]'}, "purpose.granted"),
        ({"prohibited": 'prohibited = ["dpv:ScientificResearch"]'}, "purpose.prohibited"),
        ({"prohibited": 'prohibited = []\ndiseases = ["MONDO:0005252"]'}, "purpose.diseases"),
        ({"workloads": 'workloads = ["train@1"]'}, "code.workloads"),
        ({"allowed": "allowed = []"}, "model_use.allowed"),
        ({"forbidden": 'forbidden = ["internal-use"]'}, "model_use.forbidden"),
        ({"datasets": "datasets = []"}, "data.datasets"),
        ({"columns": 'columns = ["age", "sodium"]'}, "data.columns"),
        ({"min_people": "min_people = 601"}, "data.min_people"),
        ({"min_people": ""}, "data.min_people"),
        ({"segments": 'segments = { summary = true, "head:*" = true }'}, "sharing.segments.trunk"),
        ({"segments": 'segments = { trunk = true, "head:*" = true }'}, "sharing.segments.summary"),
        ({"clip_bound": "clip_bound = { min = 5.0, max = 6.0 }"}, "sharing.clip_bound"),
        ({"clip_bound": ""}, "sharing.clip_bound"),
        ({"weight_cap": ""}, "sharing.weight_cap"),
        ({"weight_cap_of_others": ""}, "sharing.weight_cap_of_others"),
        ({"mib_a_round": ""}, "sharing.mib_a_round"),
        ({"rounds_a_study": "rounds_a_study = 5"}, "limits.rounds_a_study"),
        ({"valid_from": "valid_from = 2027-03-02"}, "identity.valid_from"),
        ({"valid_until": "valid_until = 2027-02-28"}, "identity.valid_until"),
        ({"least": 'least = "R1"'}, "robustness.least"),
        ({"party": 'party = "z-clinic"'}, "identity.party"),
    ],
)
def test_each_clause_refuses_by_its_name(edits: dict[str, str], clause: str) -> None:
    if clause.startswith(("purpose", "model_use")):
        section = clause.split(".", maxsplit=1)[0]
        sample = section_edited(section, edits)
    else:
        sample = federation(edits)
    caught = refusal(sample)
    assert caught.clause == clause
    assert caught.outward == OUTWARD_REASON
    assert clause in str(caught)
    assert clause not in caught.outward


def section_edited(section: str, edits: dict[str, str]) -> Federation:
    """Return a federation with a line changed in one section (`granted` stands in two)."""
    sample = federation()
    before, _, rest = sample.texts["a-clinic"].partition(f"[{section}]")
    lines = rest.split("\n")
    for key, line in edits.items():
        index = next(index for index, old in enumerate(lines) if old.split("=")[0].strip() == key)
        lines[index] = line
    return Federation(
        sample.proposal, {**sample.texts, "a-clinic": f"{before}[{section}]" + "\n".join(lines)}, sample.records, sample.members
    )


def test_what_the_study_asks_beyond_this_version_is_refused() -> None:
    sample = federation()
    workload = sample.proposal.workload.model_dump()
    use = sample.proposal.model_use.model_dump()
    wishes = sample.proposal.wishes.model_dump()
    for change, clause in (
        ({"workload": {**workload, "name": "trees@1"}}, "code.workloads"),
        ({"workload": {**workload, "start": "model:older/3"}}, "code.workloads"),
        ({"model_use": {**use, "benefit": "settlement"}}, "model_use.benefit_least"),
        ({"wishes": {**wishes, "scheme": ("homomorphic",)}}, "schemes.accepted"),
        ({"wishes": {**wishes, "answer_by": date(2027, 2, 28)}}, "wishes.answer_by"),
    ):
        other = Federation(changed(sample.proposal, **change), sample.texts, sample.records, sample.members)
        assert refusal(other).clause == clause


def test_diseases_must_be_among_those_granted() -> None:
    sample = section_edited("purpose", {"prohibited": 'prohibited = []\ndiseases = ["MONDO:0005252"]'})
    for disease, refused in (("MONDO:0005252", False), ("MONDO:0005148", True)):
        proposal = changed(sample.proposal, purpose={"uses": ("dpv:ScientificResearch",), "disease": (disease,)})
        other = Federation(proposal, sample.texts, sample.records, sample.members)
        if refused:
            assert refusal(other).clause == "purpose.diseases"
        else:
            assert other.offer("a-clinic").party == "a-clinic"


def test_objectives_without_labels_here_are_refused() -> None:
    assert refusal(federation(), objectives=()).clause == "data.columns"
    assert refusal(federation(), objectives=("unknown",)).clause == "data.columns"


def test_a_transfer_permits_a_third_country() -> None:
    sample = federation()
    members = {**sample.members, "d-fund": member_of("d-fund", country="CH")}
    assert sample.offer("a-clinic", members=members).apart == ("d-fund",)
    permitted = federation({"trust": 'trust = "first-use"\ntransfers = [ { country = "CH", instrument = "adequacy" } ]'})
    assert permitted.offer("a-clinic", members=members).apart == ()


def test_those_whom_the_policy_does_not_permit_are_named_to_the_gateway_and_nobody_refuses() -> None:
    for line, apart in (
        ('denied = ["d-fund"]', ("d-fund",)),
        ('denied = ["d-fund", "b-clinic", "z-clinic", "a-clinic"]', ("b-clinic", "d-fund")),
        ('denied = ["class:demo"]', FOUR[1:]),
    ):
        assert section_edited("peers", {"denied": line}).offer("a-clinic").apart == apart
    assert section_edited("peers", {"granted": 'granted = ["b-clinic"]'}).offer("a-clinic").apart == ("c-clinic", "d-fund")
    sample = federation()
    revoked = {**sample.members, "c-clinic": member_of("c-clinic", revoked=True)}
    assert sample.offer("a-clinic", members=revoked).apart == ("c-clinic",)
    assert sample.offer("a-clinic").apart == ()


def privacy_of(lines: str) -> Federation:
    return federation({"required": f"required = {lines}"})


DP = ("differential_privacy.required", "differential_privacy.per_study")


def test_the_privacy_that_is_demanded_is_offered_once_the_clause_is_assumed() -> None:
    demanding = privacy_of('true\nunit = "person"\nper_study = { epsilon = 0.5, delta = 1e-6 }')
    assert refusal(demanding).clause == DP[0]
    assert refusal(demanding, assume=frozenset(DP[:1])).clause == DP[1]
    offered = demanding.offer("a-clinic", assume=frozenset(DP)).privacy
    assert offered is not None
    assert offered.model_dump() == {
        "unit": "person",
        "adjacency": "replace-one",
        "epsilon": 0.5,
        "delta": 1e-6,
        "noise_trust": "self",
    }
    assert federation().offer("a-clinic").privacy is None
    assert refusal(privacy_of("true"), assume=frozenset(DP)).clause == DP[1]
    assert refusal(privacy_of("true\nper_study = { epsilon = 1.0, delta = 0.0 }"), assume=frozenset(DP)).clause == DP[1]


def test_invited_parties_that_are_not_enrolled_yet_are_judged_by_their_id() -> None:
    members = {party: member_of(party) for party in FOUR[:3]}
    assert federation().offer("a-clinic", members=members).uncounted == ()
    denied = section_edited("peers", {"denied": 'denied = ["d-fund"]'})
    assert denied.offer("a-clinic", members=members).apart == ("d-fund",)
