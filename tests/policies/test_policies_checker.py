from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from parley_crypto.neighbours import plan
from parley_policies.errors import Refused
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.encoding import train_encoding
from parley_policies.negotiation.explain import explain
from parley_policies.negotiation.terms import (
    EncodingTerms,
    GatewayTerms,
    GraphTerms,
    MemberTerms,
    SegmentTerms,
    StepTerms,
    Terms,
    TimingTerms,
    required_threshold,
)
from pydantic import ValidationError

from tests.member_secrets import secrets_of
from tests.policies.policy_samples import GATEWAY, IDS, TODAY, UNTIL, Federation, changed, key_of, member_of, proposal_of

PARTIES = (*IDS[:6], "h-clinic")  # three with the objective cost, four with illness
FEDERATION = Federation.of(PARTIES, {"b-clinic": {"clip_max": 2.0}}, {"a-clinic": {"trust": 'trust = "first-use"'}})
TERMS = FEDERATION.terms()


def refusals(terms: Terms, federation: Federation = FEDERATION) -> dict[str, Refused]:
    """Return who refuses `terms`, and why."""
    found = {}
    for party in federation.texts:
        try:
            check_terms(
                federation.policy(party).policy, terms, federation.proposal, federation.offer(party), federation.members, today=TODAY
            )
        except Refused as refusal:
            found[party] = refusal
    return found


def test_untouched_terms_are_accepted_by_all() -> None:
    assert refusals(TERMS) == {}


def at(*path: str | int) -> Callable[[dict[str, Any], object], None]:
    def put(table: dict[str, Any], value: object) -> None:
        here: Any = table
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = value(here[path[-1]]) if callable(value) else value

    return put


def listed(value: Any) -> Any:  # noqa: ANN401 - plain data of terms
    """Return plain data with lists where there are tuples, so that a test can edit them."""
    match value:
        case dict():
            return {key: listed(item) for key, item in value.items()}
        case tuple() | list():
            return [listed(item) for item in value]
        case _:
            return value


def tampered(terms: Terms, path: tuple[str | int, ...], value: object) -> Terms:
    table = listed(terms.model_dump())
    at(*path)(table, value)
    return Terms.model_validate(table)


OTHER = key_of("z-party").public.hex
MEMBER, PREPROCESS, TRAIN = ("members", 1), ("steps", 0), ("steps", 1)
TRUNK, HEAD = (*TRAIN, "segments", 0), (*TRAIN, "segments", 1)
# (path, value or function of the old value): one at least for every field of the terms
TAMPERINGS: list[tuple[tuple[str | int, ...], object]] = [
    (("study",), "other"),
    (("proposal_digest",), "0" * 64),
    (("purpose",), ["dpv:Marketing"]),
    (("purpose",), []),
    (("taxonomy",), "2020-01-01+0123456789abcdef"),
    (
        ("privacy",),
        {"unit": "record", "adjacency": "add-or-remove-one", "noise_trust": "cohort", "delta": 0.1, "noise": 1.0, "clip_bounds": [1.0]},
    ),
    (("gateway", "id"), "gw.evil"),
    (("gateway", "key"), OTHER),
    (("gateway", "operator"), "Somebody"),
    (("gateway", "countries"), ["RU"]),
    (("gateway", "countries"), []),
    (("gateway", "incident_notice_hours"), 1_000),
    (("gateway", "incident_notice_hours"), None),
    (("gateway", "change_notice_days"), None),
    ((*MEMBER, "party"), "b-other"),
    ((*MEMBER, "legal_name"), "Other Ltd"),
    ((*MEMBER, "party_class"), "insurer"),
    ((*MEMBER, "country"), "US"),
    ((*MEMBER, "identity"), OTHER),
    ((*MEMBER, "objectives"), ["cost", "illness"]),
    ((*MEMBER, "objectives"), ["other"]),
    ((*MEMBER, "records"), "exact:9"),
    ((*MEMBER, "weight"), 50),
    ((*MEMBER, "trust"), "pinned"),
    ((*MEMBER, "documents"), ["0" * 64]),
    ((*MEMBER, "offer"), "0" * 64),
    ((*MEMBER, "offer"), None),
    ((*MEMBER, "channel_key"), secrets_of("z-party").channel_key),
    ((*MEMBER, "commitment"), "0" * 64),
    (("gateway_may_lie",), False),
    (("max_colluders",), 0),
    (("threshold",), 4),
    (("threshold",), 6),
    (("max_small_changes",), 3),
    (("graph",), {"degree": 4, "threshold": 2, "near": 1, "cut": 1}),
    (("clip_bound",), 2.5),
    (("clip_bound",), 0.05),
    (("exclusions_required",), None),
    (("opened_sums_readable_by",), "operator"),
    (("valid_until",), "2028-01-01"),
    (("valid_until",), "2027-02-28"),
    (("valid_until",), "soon"),
    (("timing", "grace_seconds"), 900.0),
    (("timing", "phase_seconds"), 1.0),
    (("timing", "round_seconds"), 1.0),
    ((*PREPROCESS, "workload"), "statistics@1"),
    ((*PREPROCESS, "rounds"), 2),
    ((*TRAIN, "rounds"), 41),
    ((*TRAIN, "rounds"), 4),
    ((*TRAIN, "segments"), []),
    ((*TRAIN, "segments"), lambda old: old[1:]),
    ((*TRAIN, "segments"), lambda old: [old[0], old[2], old[1]]),
    (("steps",), lambda old: old[1:]),
    (("steps",), lambda old: [*old, old[1]]),
    ((*PREPROCESS, "encoding", "fraction_bits"), 30),
    ((*PREPROCESS, "encoding", "bound"), 1.0),
    ((*TRAIN, "encoding", "width"), 64),
    ((*TRAIN, "encoding", "fraction_bits"), 30),
    ((*TRAIN, "encoding", "bound"), 20.0),
    ((*TRUNK, "name"), "stem"),
    ((*TRUNK, "length"), 17),
    ((*TRUNK, "members"), list(PARTIES[:5])),
    ((*TRUNK, "floor"), 8),
    ((*HEAD, "members"), sorted(PARTIES[1:5])),
    ((*HEAD, "floor"), 4),
    ((*PREPROCESS, "segments", 0, "name"), "trunk"),
    ((*PREPROCESS, "segments", 0, "length"), 8),
    ((*PREPROCESS, "segments", 0, "members"), list(PARTIES[:6])),
]
UNDETECTABLE = {
    ("scheme",), ("robustness",), ("exclusions_required",),  # one value only in this version
    ("credentials",),  # matter to whoever believes an issuer: test_policies_credentials
}  # fmt: skip


@pytest.mark.parametrize(("path", "value"), TAMPERINGS, ids=lambda item: ".".join(map(str, item)) if isinstance(item, tuple) else None)
def test_tampered_terms_are_refused(path: tuple[str | int, ...], value: object) -> None:
    try:
        terms = tampered(TERMS, path, value)
    except ValidationError:
        return  # no terms at all
    assert terms != TERMS
    found = refusals(terms)
    assert found, f"nobody refuses {path}"
    assert all(refusal.clause and refusal.wanted and refusal.got for refusal in found.values())


def test_every_field_of_the_terms_is_tampered_with() -> None:
    parts: dict[type[Any], str] = {
        GatewayTerms: "gateway",
        MemberTerms: "members",
        TimingTerms: "timing",
        StepTerms: "steps",
        SegmentTerms: "segments",
        EncodingTerms: "encoding",
    }
    tampered_names = {path[-1] for path, _ in TAMPERINGS}
    fields = set(Terms.model_fields).union(*(part.model_fields for part in parts)) - set(parts.values())
    assert fields - {path[0] for path in UNDETECTABLE} <= tampered_names


def refusal_of(federation: Federation, party: str, terms: Terms, **changes: Any) -> Refused:  # noqa: ANN401 - any argument
    own_offer = changes.get("own_offer") or federation.offer(party)
    arguments = {"own_offer": own_offer, "members": federation.members, "today": TODAY, "proposal": federation.proposal}
    with pytest.raises(Refused) as caught:
        check_terms(federation.policy(party).policy, terms, **{**arguments, **changes})
    return caught.value


def test_floor_below_a_members_own_is_refused_by_that_member() -> None:
    federation = Federation.of(PARTIES, {"b-clinic": {"min_parties": {"summary": 3, "trunk": 5, "head:*": 3}}})
    terms = tampered(federation.terms(), (*TRUNK, "floor"), 4)
    assert list(refusals(terms, federation)) == ["b-clinic"]
    assert refusals(terms, federation)["b-clinic"].clause == "sums.min_parties.trunk"


MANY = tuple(f"p{index:03d}-clinic" for index in range(120))


def test_a_large_study_gets_a_neighbour_graph_that_every_member_computes_again() -> None:
    federation = Federation.of(MANY)
    terms = federation.terms()
    planned = plan(120, terms.max_colluders, 120 - terms.threshold)
    assert planned is not None
    assert terms.graph == GraphTerms(degree=planned.degree, threshold=planned.threshold, near=planned.near, cut=planned.cut)
    sides = {MANY[0]: federation.texts[MANY[0]], MANY[-1]: federation.texts[MANY[-1]]}
    few = replace(federation, texts=sides)
    assert refusals(terms, few) == {}
    computed = terms.graph.model_dump()
    for graph in (None, *(computed | {name: value + 1} for name, value in computed.items())):
        found = refusals(changed(terms, graph=graph), few)
        assert {refusal.clause for refusal in found.values()} == {"terms.graph"}
        assert set(found) == set(sides)
    rows = {thing: says for _, thing, says in explain(federation.proposal, federation.offers(), terms, readable=()).rows()}
    assert f"each party deals with {planned.degree} others" in rows["neighbours"]


PARTIES_READ: dict[str, dict[str, str]] = {"c-clinic": {"opened_sums_readable_by": 'opened_sums_readable_by = "parties"'}}


def test_one_member_that_keeps_the_gateway_from_reading_keeps_it_for_all() -> None:
    federation = Federation.of(PARTIES, None, PARTIES_READ)
    terms = federation.terms()
    assert terms.opened_sums_readable_by == "parties"
    assert refusals(terms, federation) == {}
    readable = changed(terms, opened_sums_readable_by="gateway")
    assert list(refusals(readable, federation)) == ["c-clinic"]
    assert refusals(readable, federation)["c-clinic"].clause == "disclosure.opened_sums_readable_by"


def test_segment_that_a_member_keeps_at_home_is_refused_by_it() -> None:
    keeps = {"segments": {"summary": True, "trunk": True, "head:illness": False}}
    federation = Federation.of(PARTIES, {"c-clinic": keeps})
    terms = federation.terms()
    head = [segment.name for segment in terms.steps[1].segments].index("head:illness")
    with_it = tampered(terms, (*TRAIN, "segments", head, "members"), ["a-clinic", "b-clinic", "c-clinic", "h-clinic"])
    assert refusals(with_it, federation)["c-clinic"].clause == "sharing.segments.head:illness"


def test_a_key_that_is_not_the_pinned_one_is_refused_whoever_lists_it() -> None:
    pinned = f'trust = "first-use"\nfingerprints = {{ b-clinic = "{key_of("b-clinic").public.fingerprint}" }}'
    federation = Federation.of(PARTIES, None, {"a-clinic": {"trust": pinned}})
    impostor = member_of("b-clinic", identity=OTHER)
    terms = tampered(federation.terms(), (*MEMBER, "identity"), OTHER)
    refusal = refusal_of(federation, "a-clinic", terms, members={**federation.members, "b-clinic": impostor})
    assert refusal.clause == "peers.fingerprints.b-clinic"


def test_a_key_other_than_the_first_seen_is_refused() -> None:
    terms = tampered(TERMS, (*MEMBER, "identity"), OTHER)
    assert refusal_of(FEDERATION, "a-clinic", terms).clause == "terms.members.b-clinic.identity"


def test_members_that_are_not_permitted_are_refused() -> None:
    for change, clause in (
        ({"party_class": "data-broker"}, "peers.granted"),
        ({"country": "RU"}, "peers.countries"),
        ({"revoked": True}, "peers.granted"),
    ):
        members = {**FEDERATION.members, "b-clinic": member_of("b-clinic", **change)}
        federation = replace(FEDERATION, members=members)
        facts = {key: value for key, value in change.items() if key != "revoked"}
        terms = TERMS
        for key, value in facts.items():
            terms = tampered(terms, (*MEMBER, key), value)
        assert refusal_of(federation, "a-clinic", terms, own_offer=FEDERATION.offer("a-clinic")).clause == clause


def test_a_member_that_is_not_enrolled_or_not_invited_is_refused() -> None:
    members = {party: member for party, member in FEDERATION.members.items() if party != "b-clinic"}
    assert "enrolled" in str(refusal_of(FEDERATION, "a-clinic", TERMS, members=members))
    smaller = proposal_of(tuple(party for party in PARTIES if party != "b-clinic"))
    federation = replace(FEDERATION, proposal=smaller)
    terms = tampered(TERMS, ("proposal_digest",), smaller.digest())
    assert "invites" in str(refusal_of(federation, "a-clinic", terms))


def test_a_party_is_in_its_own_terms() -> None:
    members = [member.model_dump() for member in TERMS.members if member.party != "a-clinic"]
    table = listed(TERMS.model_dump()) | {"members": members, "threshold": 5}
    for step in table["steps"]:
        for segment in step["segments"]:
            segment["members"] = [party for party in segment["members"] if party != "a-clinic"]
    assert refusal_of(FEDERATION, "a-clinic", Terms.model_validate(table)).clause == "terms.members"


def test_another_offer_than_the_one_made_is_refused() -> None:
    assert refusal_of(FEDERATION, "a-clinic", TERMS, own_offer=FEDERATION.offer("b-clinic")).clause == "terms.members"
    salted = FEDERATION.offer("a-clinic", salt=bytes(16))
    assert refusal_of(FEDERATION, "a-clinic", TERMS, own_offer=salted).clause == "terms.members.offer"


def test_days_outside_the_policy_are_refused() -> None:
    assert refusal_of(FEDERATION, "a-clinic", TERMS, today=UNTIL + timedelta(1)).clause == "identity.valid_until"
    assert refusal_of(FEDERATION, "a-clinic", TERMS, today=date(2026, 12, 31)).clause == "identity.valid_from"


CHANGED_SINCE: list[tuple[dict[str, object], dict[str, str], str]] = [
    ({"clip_max": 1.0}, {}, "sharing.clip_bound"),
    ({"columns": ["age", "ill"]}, {}, "data.columns"),
    ({"rounds_a_study": 40}, {}, "limits.rounds_a_study"),
    ({"mib_a_round": 0.00007}, {}, "sharing.mib_a_round"),
    ({"max_small_changes": 1}, {}, "sums.max_small_changes"),
    ({"min_parties": 4}, {}, "sums.min_parties.summary"),
    ({"min_parties": 4, "colluders": 2}, {}, "schemes.colluding_parties_survived"),
    ({"segments": {"summary": True, "trunk": True}}, {}, "sharing.segments.head:illness"),
    ({"weight_cap": 0.15}, {}, "sharing.weight_cap"),
    ({"weight_cap_of_others": 0.15}, {}, "sharing.weight_cap_of_others"),
    ({}, {"accepted": 'accepted = ["homomorphic"]'}, "schemes.accepted"),
    ({}, {"exclusions_required": "exclusions_required = true"}, "data.exclusions_required"),
    ({}, {"denied": 'denied = ["g-fund", "f-fund"]'}, "peers.denied"),
    ({}, {"controller": 'documents = [ { kind = "dpia", reference = "R", sha256 = "' + "5" * 64 + '" } ]'}, "terms.members.documents"),
    ({"valid_until": date(2027, 11, 30)}, {}, "identity.valid_until"),
]


@pytest.mark.parametrize(("values", "edits", "clause"), CHANGED_SINCE, ids=lambda item: item if isinstance(item, str) else None)
def test_a_policy_changed_since_the_offer_is_what_counts(values: dict[str, object], edits: dict[str, str], clause: str) -> None:
    changed_since = Federation.of(PARTIES, {"a-clinic": values}, {"a-clinic": edits})
    with pytest.raises(Refused) as caught:
        check_terms(
            changed_since.policy("a-clinic").policy,
            Federation.of(PARTIES).terms(),
            changed_since.proposal,
            Federation.of(PARTIES).offer("a-clinic"),
            changed_since.members,
            today=TODAY,
        )
    assert caught.value.clause == clause


def edited(terms: Terms, *edits: tuple[tuple[str | int, ...], object]) -> Terms:
    table = listed(terms.model_dump())
    for path, value in edits:
        at(*path)(table, value)
    return Terms.model_validate(table)


def test_consistent_tampering_is_refused_by_the_rule_that_it_breaks() -> None:
    encoding = train_encoding(0.05, len(PARTIES)).model_dump()
    weaker_threshold = required_threshold(len(PARTIES), 1, gateway_may_lie=False)
    second = {"name": "trunk", "length": 16, "members": list(PARTIES), "floor": 3}
    cases: list[tuple[tuple[tuple[tuple[str | int, ...], object], ...], str]] = [
        (((("clip_bound",), 0.05), ((*TRAIN, "encoding"), encoding)), "terms.clip_bound"),
        (((("gateway_may_lie",), False), (("threshold",), weaker_threshold)), "schemes.gateway_may_lie"),
        ((((*PREPROCESS, "segments"), lambda old: [*old, second]),), "terms.steps.preprocess@1.segments"),
        ((((*MEMBER, "objectives"), ["other"]),), "terms.members"),
        ((((*HEAD, "members"), ["d-fund", "e-fund", "f-fund", "h-clinic"]),), "terms.steps.head:cost.members"),
    ]
    for edits, clause in cases:
        assert refusal_of(FEDERATION, "a-clinic", edited(TERMS, *edits)).clause == clause


def test_a_threshold_that_not_all_members_together_reach_is_refused() -> None:
    federation = Federation.of(IDS[:3])
    terms = edited(federation.terms(), (("max_colluders",), 4), (("threshold",), required_threshold(3, 4, gateway_may_lie=True)))
    assert refusal_of(federation, "a-clinic", terms).clause == "terms.threshold"


def test_terms_without_any_part_of_the_model_are_refused() -> None:
    heads = [segment.model_dump() for segment in FEDERATION.proposal.segments[1:]]
    federation = replace(FEDERATION, proposal=changed(FEDERATION.proposal, segments=heads))
    terms = edited(federation.terms(), ((*TRAIN, "segments"), []))
    assert "at least one segment" in str(refusal_of(federation, "a-clinic", terms))


def test_a_member_bent_on_weight_is_held_by_the_others() -> None:
    found = refusals(tampered(TERMS, (*MEMBER, "weight"), 50))
    assert {refusal.clause for refusal in found.values()} == {"sharing.weight_cap", "sharing.weight_cap_of_others"}
    assert found["b-clinic"].clause in {"sharing.weight_cap", "sharing.weight_cap_of_others"}


def test_the_gateway_is_the_one_that_the_offer_saw() -> None:
    federation = replace(FEDERATION, gateway=changed(GATEWAY, operator="Another"))
    assert refusal_of(FEDERATION, "a-clinic", TERMS, own_offer=federation.offer("a-clinic")).clause == "terms.gateway"
