"""A party's store as a whole: what a backup of it is, and whether what it holds is sound.

`check` reads one moment of the store of a running or stopped service and recomputes what can be computed without a key: SQLite's own pages,
each study's chain of certificates with the statements of what was opened, the public states that they made, the order of the events of an
open round, and that nothing is left of closed ones. It opens no sealed seed and no members' key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.proposal import Proposal
from parley_protocol.bound import load_envelope, public_state_digest
from parley_protocol.certificates import Chain, extend, verify_opened
from parley_protocol.ids import Phase
from parley_protocol.phases import PARTY, Event, require
from parley_service.backup import Site
from parley_service.backupfile import digest_of
from parley_service.database import Database, read_store
from parley_service.errors import StoreDamagedError
from parley_service.findings import Finding, faults_of
from parley_service.storecopy import integrity_faults

from parley_party import reading
from parley_party.config import PartyConfig
from parley_party.publicstate import PublicState, StudyMath
from parley_party.store import COPY, PACKAGE, Outgoing, PartyStore
from parley_party.tables import CertificateRow, RoundRow, StudyRow, VersionRow

T = TypeVar("T")
Session = Any  # only the store knows SQL


def site(config: PartyConfig) -> Site:
    """Return what `parley store` works on in a party's folder."""
    return Site("party", config.party.id, config.party.state, reading.store_path(config), COPY)


def check(config: PartyConfig) -> tuple[Finding, ...]:
    """Return what was recomputed of the store, and the faults; StoreError if this version cannot read it at all."""
    path = reading.store_path(config)
    pages = Finding("pages, indexes and rows", path.name, tuple(integrity_faults(path)))
    if not pages.sound:
        return (pages,)
    findings, bodies = read_store(path, PACKAGE, lambda session: asyncio.run(_findings(PartyStore(_Moment(session)))))
    faults = faults_of(partial(_body, message) for message in bodies)
    if faults:  # a body is deleted once it is sent, perhaps while we looked: only those that wait even now count
        still = read_store(path, PACKAGE, lambda session: asyncio.run(_bodies(PartyStore(_Moment(session)))))
        faults = faults_of(partial(_body, message) for message in bodies if message in still)
    return (pages, *findings, Finding("sealed updates to be sent", str(len(bodies)), faults))


class _Moment(Database):
    """One moment of a store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def run(self, work: Callable[[Session], T]) -> T:
        return work(self._session)


async def _findings(store: PartyStore) -> tuple[list[Finding], list[Outgoing]]:
    found: list[Finding] = []
    for row in await store.studies():
        rounds = await store.rounds(row.study)
        events = {each.number: await store.events(row.study, each.number) for each in rounds}
        if row.agreement:
            certificates, versions = await store.certificates(row.study), await store.versions(row.study)
            chain = Finding(f"{row.study}: certificates", str(len(certificates)), faults_of([partial(_chain, row, certificates)]))
            states = Finding(f"{row.study}: public states", str(len(versions)), faults_of([partial(_states, row, certificates, versions)]))
            found += [chain, states]
        of = f"{len(rounds)} entered, {sum(not each.outcome for each in rounds)} open"
        found.append(Finding(f"{row.study}: rounds", of, faults_of(partial(_round, each, events[each.number]) for each in rounds)))
    return found, await _bodies(store)


async def _bodies(store: PartyStore) -> list[Outgoing]:
    federations = {row.federation for row in await store.studies()}
    return [message for name in sorted(federations) for message in await store.outgoing(name) if message.upload]


def _chain(row: StudyRow, certificates: Iterable[CertificateRow]) -> None:
    terms = Agreement.load(load_envelope(row.agreement, "agreement")).terms
    chain = Chain.start(terms.digest(), bytes.fromhex(row.graph_seed))
    for kept in certificates:
        chain, listed = extend(chain, terms, load_envelope(kept.certificate, "certificate"))
        verify_opened(terms, listed, load_envelope(kept.opened, "opened sums"))


def _states(row: StudyRow, certificates: list[CertificateRow], versions: list[VersionRow]) -> None:
    agreement = Agreement.load(load_envelope(row.agreement, "agreement"))
    math = StudyMath.of(agreement.terms, Proposal.parse(load_envelope(row.proposal, "proposal").payload))
    makers = [math.terms.digest(), *(load_envelope(kept.certificate, "certificate").payload_digest for kept in certificates)]
    wanted = list(zip(range(len(makers)), makers, strict=True)) if versions or certificates else []
    got = [(version.number, version.certificate) for version in versions]
    if got != wanted:
        raise StoreDamagedError(f"{row.study}: public states", wanted=f"one for each certificate, {len(wanted)}", got=str(len(got)))
    for version in versions:
        state = PublicState.load(version.state)
        base = public_state_digest(math.terms.digest(), state.number, state.certificate, _content(math, state, version))
        if (state.number, state.certificate, base) != (version.number, version.certificate, version.base):
            raise StoreDamagedError(
                f"{row.study}: public state {version.number}", wanted=f"the base version {version.base[:16]}…", got="another"
            )


def _content(math: StudyMath, state: PublicState, version: VersionRow) -> str:
    """Return the digest of a state's content; where only the parties read sums the kept one, which takes the members' key to recompute."""
    return math.parameters(state) if math.terms.opened_sums_readable_by == "gateway" else version.parameters


def _round(row: RoundRow, events: list[tuple[str, str]]) -> None:
    name = f"{row.study}: round {row.number}"
    if row.outcome:
        if row.seed or events:
            raise StoreDamagedError(f"{name}, which is {row.outcome}", wanted="no secrets of it", got="some")
        return
    if not row.seed:
        raise StoreDamagedError(f"{name}, which is open", wanted="its sealed seed", got="none")
    phase = Phase.ADVERTISE
    for kind, _ in events:
        phase = require(PARTY, phase, Event(kind), row.number)
    if row.sealed != any(kind == Event.SEALED for kind, _ in events):
        raise StoreDamagedError(name, wanted="an event of the sealed update exactly if one was sealed", got="otherwise")


def _body(message: Outgoing) -> None:
    statement = load_envelope(str(json.loads(message.body)["statement"]), "manifest")
    wanted, path = str(json.loads(statement.payload)["body"]), Path(message.upload)
    if digest_of(path) != wanted:
        raise StoreDamagedError(f"sealed update {path.name}", wanted=f"a file with the digest {wanted[:16]}…", got="another")
