from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_policies.errors import Refused, TaxonomyInvalid
from parley_policies.model.lattices import Lattice, combined
from parley_policies.negotiation.clauses import check_purpose
from parley_policies.negotiation.proposal import Proposal
from parley_policies.taxonomy.taxonomy import SCHEMA, Taxonomy, content_digest

from tests.policies.policy_oracle import purpose_rules
from tests.policies.policy_samples import IDS, Federation, changed

ROOT = Path(__file__).parents[2]
TAXONOMY = Taxonomy.load()
TERMS = sorted(TAXONOMY.labels)
UNKNOWN = ["dpv:NoSuchPurpose", "text:pricing of a product", "DUO:9999999"]
FEDERATION = Federation.of(IDS[:3])
POLICY = FEDERATION.policy("a-clinic").policy
some = st.sampled_from(TERMS + UNKNOWN)
several = st.lists(some, max_size=4, unique=True).map(tuple)
diseases = st.sampled_from([term for term in TERMS if term.startswith("MONDO:")])
purposes = st.sampled_from([term for term in TERMS if not term.startswith("MONDO:")] + UNKNOWN)


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_taxonomy", ROOT / "policies" / "make_taxonomy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def study(uses: tuple[str, ...], disease: tuple[str, ...] = ()) -> Proposal:
    return changed(FEDERATION.proposal, purpose={"uses": uses, "disease": disease or ("MONDO:0005252",)})


def refusal(
    uses: tuple[str, ...], granted: tuple[str, ...], prohibited: tuple[str, ...] = (), diseases: tuple[str, ...] = ()
) -> Refused | None:
    purpose = POLICY.purpose.model_copy(update={"granted": granted, "prohibited": prohibited, "diseases": diseases})
    try:
        check_purpose(POLICY.model_copy(update={"purpose": purpose}), study(uses))
    except Refused as refused:
        return refused
    return None


def test_the_pinned_file_is_what_the_table_says() -> None:
    made = script()
    assert made.made(made.SOURCE.read_text(encoding="utf-8")) == made.PINNED.read_bytes(), "run python policies/make_taxonomy.py"
    assert made.main(["--check"]) == 0


@pytest.mark.parametrize(
    "line",
    [
        "term\tdpv:Other\tOther\tdpv:Missing",
        "term\tdpv:Marketing\tAgain\tdpv:Purpose",
        "term\tacme:Other\tOther\t-",
        "term\tdpv:Other\tOther\tDUO:0000006",
        "term\tdpv:Other\tOther",
        "terms\tdpv:Other\tOther\t-",
        "term\tdpv:Other\tOther\tdpv:Other",
    ],
)
def test_a_line_that_is_wrong_is_not_made_into_a_file(line: str) -> None:
    made = script()
    with pytest.raises((ValueError, TaxonomyInvalid)):
        made.made(made.SOURCE.read_text(encoding="utf-8") + line + "\n")


def test_the_file_names_its_sources_and_licences() -> None:
    assert {prefix: entry.licence for prefix, entry in TAXONOMY.vocabularies.items()} == {
        "dpv": "W3C Software and Document License",
        "DUO": "CC BY 4.0",
        "MONDO": "CC BY 4.0",
    }
    assert all(entry.release and entry.where.startswith("http") for entry in TAXONOMY.vocabularies.values())


def test_every_identifier_of_the_examples_is_known() -> None:
    for name in ("policy-hospital.toml", "policy-insurer.toml", "study.toml"):
        text = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
        for line in text.splitlines():
            if line.split("=")[0].strip() in {"granted", "prohibited", "diseases", "uses", "disease"} and ":0" in line:
                named = [part for part in line.split('"') if part.startswith(("dpv:", "DUO:", "MONDO:"))]
                assert named
                assert all(map(TAXONOMY.knows, named)), line


def pinned_with(change: str, value: object) -> bytes:
    """Return a small taxonomy's file, with one value changed after its digest was taken."""
    content = {"date": "2027-01-01", "vocabularies": {}, "terms": {"a:1": {"label": "one", "broader": []}}}
    whole = {"schema": SCHEMA, "sha256": content_digest(content), **content}
    return json.dumps({**whole, change: value}).encode()


def test_an_altered_file_is_not_read() -> None:
    assert Taxonomy.parse(pinned_with("schema", SCHEMA)).version.startswith("2027-01-01+")
    for change, value in (
        ("date", "2027-01-02"),
        ("terms", {"a:1": {"label": "one", "broader": []}, "a:2": {"label": "two", "broader": ["a:1"]}}),
        ("sha256", "0" * 64),
        ("schema", "parley.taxonomy/2"),
        ("more", 1),
    ):
        with pytest.raises(TaxonomyInvalid):
            Taxonomy.parse(pinned_with(change, value))


def test_a_circle_is_no_order() -> None:
    terms = {"a:1": {"label": "one", "broader": ["a:2"]}, "a:2": {"label": "two", "broader": ["a:1"]}}
    content = {"date": "2027-01-01", "vocabularies": {}, "terms": terms}
    with pytest.raises(TaxonomyInvalid, match="circle"):
        Taxonomy.parse(json.dumps({"schema": SCHEMA, "sha256": content_digest(content), **content}).encode())


# is_a is a partial order


@given(some)
def test_every_term_is_itself(term: str) -> None:
    assert TAXONOMY.is_a(term, term)


def test_two_terms_that_are_each_other_are_one() -> None:
    both = [(one, other) for one in TERMS for other in TERMS if TAXONOMY.is_a(one, other) and TAXONOMY.is_a(other, one)]
    assert both == [(term, term) for term in TERMS]


def test_what_is_narrower_than_the_narrower_is_narrower() -> None:
    above = {term: [other for other in TERMS if TAXONOMY.is_a(term, other)] for term in TERMS}
    assert all(TAXONOMY.is_a(term, top) for term in TERMS for middle in above[term] for top in above[middle])
    assert max(map(len, above.values())) > 4


@given(some, some)
def test_vocabularies_are_not_mapped_onto_each_other(one: str, other: str) -> None:
    if one.partition(":")[0] != other.partition(":")[0]:
        assert not TAXONOMY.is_a(one, other)


@pytest.mark.parametrize("term", UNKNOWN)
def test_unknown_terms_match_exactly(term: str) -> None:
    assert [other for other in TERMS + UNKNOWN if TAXONOMY.is_a(term, other) or TAXONOMY.is_a(other, term)] == [term]


# what a policy says to a study


def test_a_narrower_purpose_fits() -> None:
    assert refusal(("dpv:ScientificResearch",), ("dpv:ResearchAndDevelopment",)) is None
    assert refusal(("DUO:0000007",), ("DUO:0000006",)) is None
    refused = refusal(("dpv:ResearchAndDevelopment",), ("dpv:ScientificResearch",))
    assert refused is not None
    assert (refused.clause, refused.got) == ("purpose.granted", "dpv:ResearchAndDevelopment (Research and Development)")


def test_a_broader_purpose_than_a_prohibited_one_is_refused_with_advice() -> None:
    refused = refusal(("dpv:ResearchAndDevelopment",), ("dpv:ResearchAndDevelopment",), ("dpv:CommercialResearch",))
    assert refused is not None
    assert (refused.clause, refused.do) == ("purpose.prohibited", "name a narrower one")
    assert refusal(("dpv:ScientificResearch",), ("dpv:ResearchAndDevelopment",), ("dpv:CommercialResearch",)) is None


def test_a_prohibited_purpose_prohibits_what_is_narrower() -> None:
    refused = refusal(("dpv:TargetedAdvertising",), ("dpv:Purpose",), ("dpv:Marketing",))
    assert refused is not None
    assert refused.clause == "purpose.prohibited"


def test_a_narrower_disease_fits_and_a_broader_does_not() -> None:
    def of(disease: str, *granted: str) -> str | None:
        purpose = POLICY.purpose.model_copy(update={"diseases": granted})
        try:
            check_purpose(POLICY.model_copy(update={"purpose": purpose}), study(("dpv:ScientificResearch",), (disease,)))
        except Refused as refused:
            return refused.clause
        return None

    assert of("MONDO:0005009", "MONDO:0005252") is None
    assert of("MONDO:0005267", "MONDO:0005252") == "purpose.diseases"
    assert of("MONDO:0005148", "MONDO:0005252", "MONDO:0005015") is None
    assert of("MONDO:0005148") is None


def test_a_purpose_that_includes_a_part_of_a_prohibited_one_is_refused() -> None:
    refused = refusal(("dpv:ResearchAndDevelopment",), ("dpv:Purpose",), ("dpv:CommercialPurpose",))
    assert refused is not None
    assert (
        refused.got == "dpv:ResearchAndDevelopment (Research and Development), which includes dpv:CommercialResearch (Commercial Research)"
    )


@given(
    st.lists(purposes, min_size=1, max_size=2, unique=True).map(tuple), several, several, several, st.lists(diseases, max_size=2).map(tuple)
)
def test_an_independent_judge_agrees(
    uses: tuple[str, ...], granted: tuple[str, ...], prohibited: tuple[str, ...], known: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    purpose = {"granted": (*granted, *uses[:1]), "prohibited": prohibited, "diseases": known}
    policy = POLICY.model_copy(update={"purpose": POLICY.purpose.model_copy(update=purpose)})
    proposal = changed(FEDERATION.proposal, purpose={"uses": uses, "disease": asked or ("MONDO:0005252",)})
    broken = list(purpose_rules({"purpose": purpose}, proposal.model_dump()))
    try:
        check_purpose(policy, proposal)
    except Refused:
        assert broken
    else:
        assert not broken


@given(several, several, purposes)
def test_the_meet_of_two_policies_permits_what_both_permit(one: tuple[str, ...], other: tuple[str, ...], use: str) -> None:
    both = tuple(combined(Lattice.MEANING, one, other))
    assert (refusal((use,), both) is None) == (refusal((use,), one) is None and refusal((use,), other) is None)
    forbidden = tuple(combined(Lattice.PROHIBITED, one, other))
    assert (refusal((use,), (use,), forbidden) is None) == all(refusal((use,), (use,), each) is None for each in (one, other))


@given(st.lists(purposes, min_size=1, max_size=3, unique=True).map(tuple), several, several, st.data())
def test_a_prohibition_always_wins(
    uses: tuple[str, ...], granted: tuple[str, ...], prohibited: tuple[str, ...], data: st.DataObject
) -> None:
    use = data.draw(st.sampled_from(uses))
    inside = [term for term in TERMS + UNKNOWN if TAXONOMY.is_a(term, use)]
    touching = [term for term in TERMS + UNKNOWN if any(TAXONOMY.is_a(part, term) for part in inside)]
    refused = refusal(uses, (*granted, *uses), (*prohibited, data.draw(st.sampled_from(touching))))
    assert refused is not None
    assert refused.clause == "purpose.prohibited"


@given(st.lists(purposes, min_size=1, max_size=3, unique=True).map(tuple), several, several, several, some, st.data())
def test_loosening_never_refuses_more(
    uses: tuple[str, ...],
    granted: tuple[str, ...],
    prohibited: tuple[str, ...],
    diseases: tuple[str, ...],
    more: str,
    data: st.DataObject,
) -> None:
    if refusal(uses, granted, prohibited, diseases) is None:
        broader = {term: data.draw(st.sampled_from([other for other in TERMS + UNKNOWN if TAXONOMY.is_a(term, other)])) for term in granted}
        assert refusal(uses, (*granted, more), prohibited, diseases) is None
        assert refusal(uses, tuple(broader[term] for term in granted), prohibited, diseases) is None
        assert refusal(uses, granted, prohibited[1:], diseases) is None
        assert refusal(uses, granted, prohibited, ()) is None
        assert not diseases or refusal(uses, granted, prohibited, (*diseases, more)) is None
