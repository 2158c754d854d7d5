"""Facts of a made-up run of the demo: types and sizes as the real one gives them, negotiated terms and a real audit's report in it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Final

from parley.demo_data import DEMO_PARTIES
from parley.demo_studies import DEMO_STUDIES, DemoStudy
from parley_audit.checks import Report, SmallChange, StudySummary
from parley_audit.report.facts import (
    ClauseFacts,
    DropoutFacts,
    Facts,
    GatewayFacts,
    Histogram,
    Part,
    ParticipationFacts,
    PartyFacts,
    PictureFacts,
    RoundFacts,
    Scores,
    StudyEvidence,
    StudyFacts,
)
from parley_audit.verify import verify
from parley_policies.negotiation.explain import explain

from tests.audit.sample_log import export, sample_leaves
from tests.demo.demo_samples import GATEWAY_KEY, PINS, ROWS, negotiate, policies
from tests.simulator import GATEWAY_KEY as LOG_KEY

ABSENT: Final = range(13, 24)
KILLED: Final = "lender-tx"
SCORES: Final = {
    "insurer-fl": Scores(0.801, 0.779, 0.823, 0.818),
    "insurer-il": Scores(0.782, 0.764, 0.811, 0.804),
    "insurer-nj": Scores(0.845, 0.838, 0.862, 0.857),
    "lender-ca": Scores(0.792, 0.775, 0.803, 0.806),
    "lender-ny": Scores(0.788, 0.761, 0.801, 0.795),
    "lender-tx": Scores(0.799, 0.781, 0.812, 0.814),
}


@cache
def sample_report() -> Report:
    return verify(export(sample_leaves()), gateway_key=LOG_KEY.public)


def sample_round(study: DemoStudy, number: int) -> RoundFacts:
    away = study.id == "loans-shared" and number in ABSENT
    parties = tuple(party for party in study.parties if not (away and party == KILLED))
    if number == 1:
        return RoundFacts(1, "preprocess@1", parties, (("summary", len(parties)),), (), f"{number:064x}", 0.4)
    heads = {f"head:{goal}": [p.id for p in DEMO_PARTIES if p.objective == goal and p.id in parties] for goal in study.objectives}
    opened = {"trunk": len(parties)} | {name: len(members) for name, members in heads.items() if len(members) >= 3}
    shut = tuple(name for name, members in heads.items() if len(members) < 3)
    seconds = 2.31 if number == ABSENT.start and away else 0.16 + 0.03 * math.sin(number)
    return RoundFacts(number, "train@1", parties, tuple(opened.items()), shut, f"{number:064x}", seconds)


def sample_evidence(study: DemoStudy) -> StudyEvidence:
    terms = negotiate(study).terms
    rounds = tuple(sample_round(study, number) for number in range(1, 42))
    participation = []
    for party in study.parties:
        missed = tuple(each.number for each in rounds if party not in each.parties)
        participation.append(ParticipationFacts(party, 41 - len(missed), missed, (41 - len(missed)) * 2700, "ab" * 32))
    return StudyEvidence(
        id=study.id,
        agreement=terms.digest(),
        purpose=terms.purpose,
        members=tuple(member.party for member in terms.members),
        weights=tuple(member.weight for member in terms.members),
        threshold=terms.threshold,
        max_small_changes=terms.max_small_changes,
        scheme=terms.scheme,
        rounds=rounds,
        participation=tuple(participation),
        closed="finished",
    )


def sample_study(study: DemoStudy) -> StudyFacts:
    found, evidence = negotiate(study), sample_evidence(study)
    changes = tuple(SmallChange(number, "trunk", (KILLED,)) for number in (13, 24)) if study.id == "loans-shared" else ()
    sums = sum(len(each.opened) for each in evidence.rounds)
    summary = StudySummary(study.id, evidence.agreement, evidence.members, 41, 41, 41, sums, 3, changes, "finished")
    return StudyFacts(
        study.title, evidence, summary, explain(found.proposal, found.offers.values(), found.terms, readable=set(found.offers))
    )


def sample_clauses() -> tuple[ClauseFacts, ...]:
    rows = {party: {row.clause: row for row in file.rows()} for party, file in policies().items()}
    first = next(iter(rows.values()))
    return tuple(
        ClauseFacts(
            clause,
            row.says,
            row.upheld.value,
            tuple(str(rows[party][clause].value)[:60] for party in rows),
            ("insurer-nj", "lender-ny") if clause == "sharing.clip_bound" else (),
        )
        for clause, row in first.items()
        if clause not in {"identity.party", "legal.controller", "peers.fingerprints", "data.columns"}
    )


def bell(width: float) -> Histogram:
    return Histogram(-1.0, 1.0, tuple(round(1000 * math.exp(-(((index - 24.5) / width) ** 2))) for index in range(50)))


def sample_picture() -> PictureFacts:
    flat = Histogram(-8.0, 8.0, tuple(20 + (index * 7919) % 9 for index in range(50)))
    return PictureFacts(
        "insurer-fl", "loans-shared", 20, 673, 6, bell(3), flat, bell(5), 0.013, 0.52, "cd" * 32, recorded=True, sum_checked=True
    )


@cache
def sample_facts() -> Facts:
    parties = tuple(
        PartyFacts(p.id, p.legal_name, p.party_class, "US", p.objective, PINS.parties[p.id], ROWS[p.id], ROWS[p.id] // 2, SCORES[p.id])
        for p in DEMO_PARTIES
    )
    names = ("keys, folders and data", "starting seven services", "all six together", "three lenders", "three insurers", "report")
    return Facts(
        title="Six organizations, one shared model",
        made_at="2027-03-01 12:00 UTC",
        version="0.1.0",
        seed=1,
        scheme="masked",
        machine=(("cores", "2"), ("system", "Linux x86_64"), ("Python", "3.11.2")),
        parts=tuple(Part(name, seconds) for name, seconds in zip(names, (3.1, 6.2, 24.5, 14.2, 13.9, 5.5), strict=True)),
        gateway=GatewayFacts("gw.demo", "Demo operator", "US", GATEWAY_KEY.public.fingerprint, ()),
        parties=parties,
        clauses=sample_clauses(),
        studies=tuple(sample_study(study) for study in DEMO_STUDIES),
        dropout=DropoutFacts(KILLED, "loans-shared", 13, "COLLECT", False, tuple(ABSENT), ("head:subprime",), 20, 24),
        picture=sample_picture(),
        audit=sample_report(),
        command="parley audit verify demo-report/export",
        notes=("Data: openintro/loans_full_schema, 10,000 real loans. The split into parties and their roles are ours.",),
    )


def without_dropout(facts: Facts) -> Facts:
    return replace(facts, dropout=None, picture=None)
