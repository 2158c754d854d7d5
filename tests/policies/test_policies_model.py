from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, date, datetime
from typing import Any

import jsonschema
import pytest
from parley_policies.errors import PolicyInvalid, Refused
from parley_policies.model.countries import expanded
from parley_policies.model.hours import Hours
from parley_policies.model.lattices import Lattice
from parley_policies.model.loader import load_policy
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.reading import MAX_FILE_BYTES
from parley_policies.model.schema import policy_schema
from parley_policies.model.unsupported import check_supported, unsupported_clauses
from parley_policies.model.upheld import Section, Upheld, Value, unit_of, upheld_of

from tests.policies.policy_samples import EXAMPLES, policy_text

BOTH = ("policy-hospital.toml", "policy-insurer.toml")
TAGS = {"E": Upheld.ENFORCED_HERE, "P": Upheld.CHECKED_BY_ALL, "D": Upheld.DECLARED}


def read(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


@pytest.mark.parametrize("name", BOTH)
def test_examples_load_as_they_are(name: str) -> None:
    loaded = load_policy(read(name), name)
    assert loaded.policy.party in {"klinikum-nord", "plainsview-health"}
    assert len(loaded.digest) == 64


def test_hospital_says_what_its_file_says() -> None:
    policy = load_policy(read("policy-hospital.toml")).policy
    assert policy.sums.floor("trunk") == 4
    assert policy.sums.floor("head:anything") == 3
    assert policy.sums.floor("norm") is None
    assert policy.sharing.shares("head:readmission")
    assert not policy.sharing.shares("head:other")
    assert policy.identity.valid_until == date(2027, 12, 31)
    assert policy.overdue(date(2027, 6, 30)) == ()
    assert policy.overdue(date(2027, 7, 1)) == ("DSFA-2026-044",)


@pytest.mark.parametrize("name", BOTH)
def test_tags_in_the_examples_are_what_the_model_declares(name: str) -> None:
    section = ""
    seen = 0
    for line in read(name).decode().splitlines():
        if match := re.match(r"\[([a-z_]+)\]", line):
            section = match[1]
        match = re.match(r"([a-z_]+)\s*=.*#\s*\[([EPD])\]", line)
        if match and section and "text:" not in line:
            field = PrivacyPolicy.model_fields[section].annotation
            assert isinstance(field, type)
            assert issubclass(field, Section)
            assert upheld_of(field.model_fields[match[1]]) is TAGS[match[2]], line
            seen += 1
    assert seen >= 4


def sections() -> dict[str, type[Section]]:
    found = {name: info.annotation for name, info in PrivacyPolicy.model_fields.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Section)}


def test_every_field_says_how_it_is_upheld() -> None:
    assert set(PrivacyPolicy.model_fields) == {"schema_", *sections()}
    for name, section in sections().items():
        for field, info in section.model_fields.items():
            assert upheld_of(info) in Upheld, f"{name}.{field}"
            assert info.description
            assert info.description.endswith("."), f"{name}.{field}"


def test_a_field_without_upheld_is_caught() -> None:
    class Careless(Section):
        clause: int = 3

    with pytest.raises(LookupError):
        upheld_of(Careless.model_fields["clause"])


def test_every_part_of_a_policy_is_frozen_and_strict() -> None:
    def all_below(kind: type[Any]) -> set[type[Any]]:
        return {kind}.union(*(all_below(child) for child in kind.__subclasses__()))

    for kind in all_below(Value):
        assert kind.model_config["frozen"]
        assert kind.model_config["extra"] == "forbid"
        assert kind.model_config["strict"]


REQUIRED = (
    "purpose.granted",
    "purpose.prohibited",
    "gateway.fingerprints",
    "gateway.countries",
    "gateway.incident_notice_hours_at_most",
    "gateway.change_notice_days_at_least",
    "peers.granted",
    "peers.denied",
    "peers.countries",
    "data.columns",
    "sums.min_parties",
    "differential_privacy.required",
    "identity.valid_until",
    "approval.policy",
    "approval.agreement",
)


def without(*clauses: str) -> str:
    """Return a complete policy less some lines."""
    section, kept = "", []
    for line in policy_text("a-clinic").splitlines():
        if match := re.match(r"\[([a-z_]+)\]", line):
            section = match[1]
        if f"{section}.{line.split('=')[0].strip()}" not in clauses:
            kept.append(line)
    return "\n".join(kept)


@pytest.mark.parametrize("clause", REQUIRED)
def test_what_has_no_default_must_be_written(clause: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        load_policy(without(clause).encode(), "policy.toml")
    assert [fault.field for fault in caught.value.faults] == [clause]
    assert "no default" in str(caught.value)
    assert "policy policy.toml" in str(caught.value)


MINIMAL = """
schema = "parley.policy/1"
identity = { party = "a-clinic", version = 1, valid_from = 2027-01-01, valid_until = 2027-12-31 }
purpose = { granted = ["dpv:ScientificResearch"], prohibited = [] }
gateway = { fingerprints = [], countries = [], incident_notice_hours_at_most = 24, change_notice_days_at_least = 30 }
peers = { granted = [], denied = [], countries = [] }
data = { columns = [] }
sums = { min_parties = 5 }
differential_privacy = { required = false }
approval = { policy = [], agreement = [] }
"""


def test_absent_fields_take_their_strictest_value() -> None:
    policy = load_policy(MINIMAL.encode()).policy
    assert policy.peers.trust == "pinned"
    assert policy.peers.fingerprints == {}
    assert policy.data.min_people is None
    assert policy.data.datasets == ()
    assert policy.data.exclusions_required
    assert policy.schemes.accepted == ()
    assert policy.schemes.gateway_may_lie
    assert policy.colluders == 3  # as many as the floor of 5 leaves room for
    assert policy.sums.max_small_changes == 0
    assert not policy.sums.groups.allowed
    assert not policy.sharing.shares("trunk")
    assert policy.sharing.clip_bound is None
    assert (policy.sharing.weight_cap, policy.sharing.mib_a_round, policy.sharing.fraction_a_round) == (0, 0, 0)
    assert policy.sharing.record_count == "hidden"
    assert policy.disclosure.own_metrics == "none"
    assert policy.disclosure.opened_sums_readable_by == "parties"
    assert policy.limits.rounds_a_study == 0
    assert policy.code.workloads == ()
    assert policy.robustness.least == "R2"
    assert policy.approval.loosening_needs_all
    # What protects only the party's own resources: absent means no limit.
    assert (policy.limits.hours, policy.limits.cpu_seconds_a_round, policy.limits.rounds_a_day, policy.limits.studies_at_once) == (
        None,
    ) * 4


def test_rows_tell_written_from_default() -> None:
    rows = {row.clause: row for row in load_policy(MINIMAL.encode()).rows()}
    assert rows["sums.min_parties"].origin == "written"
    assert rows["sums.max_small_changes"].origin == "default"
    assert rows["schemes.colluding_parties_survived"].value == 3
    assert rows["data.min_people"].unit == "people"
    assert rows["identity.valid_until"].value == "2027-12-31"
    assert len(rows) == sum(len(section.model_fields) for section in sections().values())
    json.dumps([row.value for row in rows.values()])


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ({"schema": 'schema = "parley.policy/2"'}, "schema"),
        ({"min_people": 'min_people = "50"'}, "data.min_people"),
        ({"min_people": "min_people = 50.0"}, "data.min_people"),
        ({"min_people": "min_peeple = 50"}, "data.min_peeple"),
        ({"min_parties": "min_parties = 2"}, "sums.min_parties"),
        ({"min_parties": 'min_parties = { trunk = "a" }'}, "sums.min_parties.trunk"),
        ({"min_parties": 'min_parties = { trunk = 2, summary = 3, "head:*" = 3 }'}, "sums.min_parties.trunk"),
        ({"min_parties": "min_parties = { trunk = 3, summary = 3 }"}, "sums.min_parties.head:*"),
        ({"colluding_parties_survived": "colluding_parties_survived = 2"}, "sums.min_parties"),
        ({"valid_until": "valid_until = 2026-12-31"}, "identity.valid_until"),
        ({"valid_until": "valid_until = 2027-12-31T00:00:00Z"}, "identity.valid_until"),
        ({"clip_bound": "clip_bound = { min = 2.0, max = 1.0 }"}, "sharing.clip_bound"),
        ({"clip_bound": "clip_bound = { min = 2.0, max = inf }"}, "sharing.clip_bound.max"),
        ({"weight_cap": "weight_cap = 1.5"}, "sharing.weight_cap"),
        ({"record_count": 'record_count = "rounded:0"'}, "sharing.record_count"),
        ({"granted": ""}, "purpose.granted"),
        ({"studies_at_once": 'hours = "25:00-06:00 Europe/Berlin"'}, "limits.hours"),
        ({"studies_at_once": 'hours = "20:00-06:00 Europe/Nowhere"'}, "limits.hours"),
        ({"studies_at_once": 'hours = "20:00-20:00 Europe/Berlin"'}, "limits.hours"),
        ({"studies_at_once": 'hours = "20:00-06:00 Europe"'}, "limits.hours"),
        ({"own_metrics": 'own_metrics = { too = ["role:auditor"] }'}, "disclosure.own_metrics.too"),
        ({"prohibited": 'prohibited = ["Marketing"]'}, "purpose.prohibited.0"),
        ({"prohibited": "prohibited = []\ndiseases = []\n[extra]\nx = 1\n[purpose.more]"}, "extra"),
    ],
)
def test_faults_name_the_field(edit: dict[str, str], field: str) -> None:
    text = policy_text("a-clinic")
    for key, line in edit.items():
        text = re.sub(rf"(?m)^{key}\b[^\n]*$", line, text, count=1)
    with pytest.raises(PolicyInvalid) as caught:
        load_policy(text.encode(), "mine.toml")
    assert field in {fault.field for fault in caught.value.faults}, str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "wanted" in str(caught.value)
    assert "got" in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff", b"x = ", b"x = 1\nx = 2", b"a = " + b"[" * 5_000, b"#" * (MAX_FILE_BYTES + 1), b"schema = 1"],
    ids=lambda raw: repr(raw[:8]),
)
def test_bytes_that_are_no_policy(raw: bytes) -> None:
    with pytest.raises(PolicyInvalid, match=r"policy\.toml"):
        load_policy(raw)


def test_disease_specific_research_names_a_disease() -> None:
    text = policy_text("a-clinic", purposes=["DUO:0000006"])
    with pytest.raises(PolicyInvalid, match=r"purpose\.diseases"):
        load_policy(text.replace("DUO:0000006", "DUO:0000007").encode())


def test_json_schema_accepts_the_examples_and_names_upheld_and_unit() -> None:
    schema = policy_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in BOTH:
        table = json.loads(json.dumps(tomllib.loads(read(name).decode()), default=str))
        jsonschema.validate(table, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**table, "more": 1}, schema)
    people = schema["$defs"]["Data"]["properties"]["min_people"]
    assert (people["upheld"], people["unit"]) == ("enforced here", "people")
    assert people["lattice"] == Lattice.LARGEST.value
    assert unit_of(sections()["limits"].model_fields["cpu_seconds_a_round"]) == "seconds"


def test_a_demonstration_policy_is_upheld_whole() -> None:
    assert unsupported_clauses(load_policy(policy_text("a-clinic").encode()).policy) == ()


@pytest.mark.parametrize(
    ("edit", "clause"),
    [
        ({"exclusions_required": "exclusions_required = true"}, "data.exclusions_required"),
        ({"erasure_effect": 'erasure_effect = "from-next-round"'}, "data.erasure_effect"),
        ({"min_people": 'min_people = 50\nminimum_fairness_check = ["age"]'}, "data.minimum_fairness_check"),
        ({"accepted": 'accepted = ["homomorphic"]'}, "schemes.accepted"),
        ({"groups": "groups = { allowed = true, min_parties = 4, rounds_at_most = 2 }"}, "sums.groups"),
        ({"required": "required = true"}, "differential_privacy.required"),
        ({"required": "required = false\nper_study = { epsilon = 1.0, delta = 1e-6 }"}, "differential_privacy.per_study"),
        (
            {"required": 'required = false\nlifetime = { dataset = "visits", epsilon = 1.0, delta = 1e-6, years = 5 }'},
            "differential_privacy.lifetime",
        ),
        ({"fraction_a_round": "fraction_a_round = 0.5"}, "sharing.fraction_a_round"),
        ({"own_metrics": 'own_metrics = "sum-only"'}, "disclosure.own_metrics"),
        ({"least": 'least = "R1"'}, "robustness.least"),
    ],
)
def test_each_clause_that_cannot_be_upheld_is_named(edit: dict[str, str], clause: str) -> None:
    policy = load_policy(policy_text("a-clinic", edit).encode()).policy
    found = unsupported_clauses(policy)
    assert [item.clause for item in found] == [clause]
    assert found[0].why
    with pytest.raises(Refused) as caught:
        check_supported(policy)
    assert caught.value.clause == clause


def test_what_is_only_permitted_is_no_obstacle() -> None:
    edits = {"accepted": 'accepted = ["homomorphic", "masked"]\ndealers_granted = ["b-clinic"]'}
    assert unsupported_clauses(load_policy(policy_text("a-clinic", edits).encode()).policy) == ()


def test_refusal_of_an_example_names_every_clause() -> None:
    with pytest.raises(Refused, match=r"data\.exclusions_required.*differential_privacy\.required.*robustness\.least"):
        check_supported(load_policy(read("policy-hospital.toml")).policy)


def test_hours_pass_midnight_and_keep_their_zone() -> None:
    night = Hours.parse("20:00-06:00 Europe/Berlin")
    assert night.include(datetime(2027, 1, 1, 19, 0, tzinfo=UTC))  # 20:00 in winter
    assert not night.include(datetime(2027, 1, 1, 18, 59, tzinfo=UTC))
    assert not night.include(datetime(2027, 7, 1, 4, 0, tzinfo=UTC))  # 06:00 in summer
    assert night.include(datetime(2027, 7, 1, 3, 59, tzinfo=UTC))
    day = Hours.parse("08:00-17:30 America/New_York")
    assert day.include(datetime(2027, 1, 4, 13, 0, tzinfo=UTC))
    assert not day.include(datetime(2027, 1, 4, 22, 30, tzinfo=UTC))


def test_countries_expand() -> None:
    assert len(expanded(["EU"])) == 27
    assert len(expanded(["EEA"])) == 30
    assert expanded(["US", "EU"]) >= {"US", "DE"}
    assert "GB" not in expanded(["EEA"])
