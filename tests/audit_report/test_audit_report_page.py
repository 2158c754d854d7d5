"""The page and the JSON: they say what the facts say, need nothing beside themselves, and mind what others wrote."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from parley_audit.report import words
from parley_audit.report.facts import Facts, Histogram, Scores
from parley_audit.report.names import numbers
from parley_audit.report.pictures import histogram, mean_score, round_grid, time_bar
from parley_audit.report.render import as_json, render, undisturbed

from tests.audit_report.report_samples import KILLED, sample_facts, without_dropout

VOID = {"meta", "br", "path", "rect", "line", "circle"}


class Tags(HTMLParser):
    """Checks that tags nest, and collects what could fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.fetched += [str(value) for name, value in attrs if name in {"src", "href", "xlink:href", "data", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    return tags


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>")[1]))


@pytest.mark.parametrize("facts", [sample_facts(), without_dropout(sample_facts())], ids=["dropout", "no dropout"])
def test_the_page_stands_alone_and_its_tags_nest(facts: Facts) -> None:
    tags = read(render(facts))
    assert tags.open == []
    assert tags.fetched == []
    assert not tags.seen & {"script", "iframe", "object", "embed", "img", "link"}
    assert "url(" not in render(facts)


def test_the_same_facts_give_the_same_bytes() -> None:
    assert render(sample_facts()) == render(sample_facts())
    assert json.dumps(as_json(sample_facts())) == json.dumps(as_json(sample_facts()))


def test_the_page_says_what_people_must_read() -> None:
    said = text_of(render(sample_facts()))
    for sentence in (
        "No row of data left any of the 6 organizations.",
        "differential privacy was not required by any of the policies, and none was applied",
        "lender-tx was killed on purpose in round 13 (phase COLLECT)",
        "It missed rounds 13 to 23. The part for subprime stayed shut meanwhile",
        "took part from round 24 on",
        "insurer-il scores 0.007 lower with all five others than with the two others of its kind.",
        "took 0.16 s (median of 111), 0.40 s at most",
        "none; this version has no witnesses",
        "This report cannot prove",
        "parley audit verify demo-report/export",
    ):
        assert sentence in said
    assert sample_facts().main.evidence.agreement in said


def test_without_a_dropout_the_page_says_that_nobody_was_exposed() -> None:
    facts = without_dropout(sample_facts())
    main = replace(facts.main, summary=replace(facts.main.summary, small_changes=()))
    said = text_of(render(replace(facts, studies=(main, *facts.studies[1:]))))
    assert "Nobody: no list changed by so few parties." in said
    assert "killed on purpose in" not in said


def test_what_others_wrote_is_text_and_not_markup() -> None:
    facts = sample_facts()
    party = replace(facts.parties[0], id="<b>x", legal_name="<script>alert(1)</script>")
    page = render(replace(facts, parties=(party, *facts.parties[1:]), notes=("<img src=x>",)))
    assert "<script>" not in page
    assert "<img" not in page
    assert read(page).open == []


def test_the_json_holds_what_programs_look_for() -> None:
    facts = sample_facts()
    data = json.loads(json.dumps(as_json(facts)))
    assert data["scheme"] == "masked"
    assert data["rounds"] == {"loans-shared": 41, "lenders-subprime": 41, "insurers-homeowner": 41}
    assert data["agreement_digest"] == facts.main.evidence.agreement
    assert data["audit_verified"] is True
    assert data["dropouts_survived"] == 1
    assert data["seconds"]["total"] == pytest.approx(facts.seconds)
    assert data["seconds"]["all six together"] == 24.5
    first = data["parties"][0]
    assert (first["id"], first["objective"], first["auc_federated"], first["auc_local_mlp"]) == ("insurer-fl", "homeowner", 0.818, 0.779)
    assert data["mean"]["auc_federated"] == pytest.approx(sum(p["auc_federated"] for p in data["parties"]) / 6)
    assert as_json(without_dropout(facts))["dropouts_survived"] == 0


def test_the_seconds_of_a_round_leave_out_the_dropout_and_the_return() -> None:
    facts = sample_facts()
    assert len(undisturbed(facts)) == 3 * 41 - 12
    assert max(undisturbed(facts)) < 1
    assert as_json(facts)["round_seconds"]["rounds"] == 3 * 41 - 12


def test_a_small_change_names_who_was_exposed_and_the_allowance() -> None:
    first, second, allowed = words.exposed(sample_facts().main)
    assert "Round 13, shared part: its list differed from an earlier one by lender-tx alone" in first
    assert "Round 24" in second
    assert "2 small changes" in allowed


def test_a_listed_party_that_was_killed_is_told_apart() -> None:
    dropout = sample_facts().dropout
    assert dropout is not None
    late = replace(dropout, listed=True, missed=(), restarted_in=None, back_in=None)
    (story,) = words.dropout_story(late, sample_facts().main)
    assert "its encrypted contribution had arrived, so it counted" in story


def test_a_party_that_came_back_too_late_is_told_so() -> None:
    dropout = sample_facts().dropout
    assert dropout is not None
    story = words.dropout_story(replace(dropout, back_in=None), sample_facts().main)
    assert story[-1] == "It was started again while round 20 ran, and caught up; the study ended before it could take part once more."


def test_who_gains_is_counted() -> None:
    assert words.gained(sample_facts()) == (
        "6 of 6 parties score higher with all five others than with the better of their two models alone, by up to 0.022."
    )


def test_runs_of_numbers_are_told_by_their_ends() -> None:
    assert numbers((12, 13, 14, 20, 22, 23)) == "12 to 14, 20, 22 to 23"
    assert numbers(()) == ""


def test_nobody_harmed_is_said_as_such() -> None:
    facts = sample_facts()
    best = tuple(replace(party, scores=Scores(0.5, 0.5, 0.6, 0.7)) for party in facts.parties)
    (sentence,) = words.harmed(replace(facts, parties=best))
    assert sentence.startswith("No party scored lower")


def test_a_missing_score_is_no_number() -> None:
    facts = sample_facts()
    blind = replace(facts.parties[0], scores=Scores(None, None, None, None))
    changed = replace(facts, parties=(blind, *facts.parties[1:]))
    assert mean_score(changed, "federated") is None
    assert as_json(changed)["mean"]["auc_federated"] is None
    assert read(render(changed)).open == []


def test_pictures_hold_at_their_edges() -> None:
    assert histogram(Histogram(0.0, 0.0, ()), "nothing", "h-update", "").startswith("<svg")
    assert time_bar(()).startswith("<svg")
    assert round_grid((), (KILLED,), ("trunk",), None).startswith("<svg")
    assert "&lt;b&gt;" in histogram(Histogram(0, 1, (1,)), "<b>", "h-update", "")
