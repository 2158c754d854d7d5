from __future__ import annotations

from datetime import date

import pytest
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.statement import Signed
from parley_policies.errors import StudyInvalid
from parley_policies.negotiation.proposal import Proposal, ProposedSegment
from parley_policies.negotiation.study_file import learning_tables, load_study
from pydantic import ValidationError

from tests.policies.policy_samples import EXAMPLES, IDS, STUDY, changed, key_of, proposal_of

TEXT = STUDY.format(sponsor="a-clinic", invited='"a-clinic", "b-clinic", "c-clinic"')


def test_example_loads_as_it_is() -> None:
    study = load_study((EXAMPLES / "study.toml").read_bytes())
    assert study.sponsor == "klinikum-nord"
    assert study.workload.model.hidden == (32, 16)
    assert study.wishes.answer_by == date(2027, 1, 31)
    assert study.wishes.epsilon is not None
    assert study.needed_columns(("readmission",)) == ("age", "creatinine", "readmitted", "sodium")
    assert study.learning_tables()["training"]["epochs"] == 1


def test_learning_tables_are_plain_and_leave_out_what_was() -> None:
    tables = learning_tables(load_study(TEXT.encode()))
    assert tables["columns"]["ill"] == {"type": "bool", "unit": "", "missing": "refused", "objectives": ("illness",)}
    assert tables["columns"]["age"]["range"] == (18.0, 110.0)
    assert tables["model"] == {"kind": "mlp", "hidden": (4,)}
    assert tables["training"]["epochs"] == 2


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("parley.study/1", "parley.study/9", "schema"),
        ('id = "risk"', 'id = "Risk!"', "id"),
        ('id = "risk"', 'id = "risk--2"', "id"),
        ('sponsor = "a-clinic"', 'sponsor = "z-clinic"', "invited"),
        ('"b-clinic"', '"a-clinic"', "invited"),
        ('title = "Risk"', 'titel = "Risk"', "titel"),
        ('uses = ["dpv:ScientificResearch"]', 'uses = ["DUO:0000007"]', "purpose"),
        ('uses = ["dpv:ScientificResearch"]', "uses = []", "purpose.uses"),
        ('kind = "mlp"', 'kind = "forest"', "workload.model.kind"),
        ("epochs = 2", "epochs = 0", "workload.train.epochs"),
        ("epochs = 2", "epoch = 2", "workload.train.epoch"),
        ('type = "float", unit = "year"', 'type = "category", unit = "year"', "columns.age.type"),
        ('ill = { type = "bool", objectives = ["illness"] }', 'ill = { type = "bool" }', "columns.ill"),
        ('label = "ill"', 'label = "age"', "columns.age"),
        ("rounds = { min = 5, max = 40 }", "rounds = { min = 50, max = 40 }", "wishes.rounds"),
        ("rounds = { min = 5, max = 40 }", 'rounds = { min = "5", max = 40 }', "wishes.rounds.min"),
        ("answer_by = 2027-06-30", 'answer_by = "2027-06-30"', "wishes.answer_by"),
        ("grace_seconds = 2.0", "grace_seconds = 0.0", "wishes.grace_seconds"),
        ('benefit = "equal"', 'benefit = "most"', "model_use.benefit"),
    ],
)
def test_faults_name_the_field(old: str, new: str, field: str) -> None:
    assert old in TEXT
    with pytest.raises(StudyInvalid) as caught:
        load_study(TEXT.replace(old, new, 1).encode(), "mine.toml")
    assert field in {fault.field for fault in caught.value.faults}, str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_proposal_survives_the_wire_and_only_its_sponsor_signs() -> None:
    proposal = proposal_of(IDS[:4])
    envelope = proposal.sign(key_of("a-clinic"))
    assert Signed(envelope, Proposal).verify(key_of("a-clinic").public) == proposal
    with pytest.raises(VerificationError):
        Signed(envelope, Proposal).verify(key_of("b-clinic").public)
    with pytest.raises(MalformedError):
        Proposal.parse(proposal.canonical().replace(b'"summary_length":7', b'"summary_length":"7"'))


def test_digest_covers_every_part_of_a_proposal() -> None:
    proposal = proposal_of(IDS[:4])
    others = [
        changed(proposal, title="Other"),
        changed(proposal, summary_length=8),
        changed(proposal, segments=(*proposal.segments[:2], ProposedSegment(name="head:illness", length=6, objectives=("illness",)))),
        changed(proposal, wishes={**proposal.wishes.model_dump(), "round_hours": 2.0}),
        changed(proposal, model_use={**proposal.model_use.model_dump(), "on_leaving": "delete"}),
    ]
    assert len({proposal.digest(), *(other.digest() for other in others)}) == 6


@pytest.mark.parametrize(
    "segments",
    [
        (),
        (ProposedSegment(name="summary", length=3),),
        (ProposedSegment(name="trunk", length=3), ProposedSegment(name="trunk", length=3)),
        (ProposedSegment(name="head:x", length=3, objectives=("x",)),),
    ],
)
def test_segments_must_fit_the_study(segments: tuple[ProposedSegment, ...]) -> None:
    with pytest.raises(ValidationError):
        load_study(TEXT.encode()).propose(segments, 3)


def test_segments_of_a_party_are_the_shared_ones_and_its_own_heads() -> None:
    proposal = proposal_of(IDS[:4])
    assert [item.name for item in proposal.segments_for(("illness",))] == ["trunk", "head:illness"]
    summary = proposal.segment_of("summary")
    assert summary is not None
    assert summary.length == 7
    assert proposal.segment_of("head:none") is None


def test_a_survival_objective_is_served_only_with_time_and_event() -> None:
    content = proposal_of(["a-clinic", "b-clinic", "c-clinic"])
    life = content.objectives[0].model_copy(update={"kind": "survival", "event": "died"})
    content = content.model_copy(update={"objectives": (life, *content.objectives[1:])})
    other = content.objectives[1]
    assert content.labelled({life.label, other.label}) == (other.id,)
    assert content.labelled({life.label, "died"}) == (life.id,)
    assert content.labelled(()) == ()
