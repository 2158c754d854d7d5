"""Read-only views of a party's store, of a running service or a stopped one: what the command line shows.

What stands there was checked before it was written; here it is parsed, and `Agreement.load` verifies the signatures on agreements again.
`read` hands the store to a function for any question; the others answer one each. Nothing is written, no lock is taken.

    for study in studies(config): print(study.id, study.state)
    model = model_at(study(config, "heart"), versions(config, "heart"), None)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from parley_policies.errors import Fault, PolicyInvalid
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.members import Directory, Member
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.proposal import Proposal
from parley_protocol.bound import load_envelope
from parley_protocol.certificates import Chain, extend
from parley_protocol.negotiation import MemberEntry
from parley_protocol.problems import Slug
from parley_service.database import Database, read_store

from parley_party import offered
from parley_party.config import PartyConfig
from parley_party.errors import StudyError
from parley_party.publicstate import PublicState, StudyMath
from parley_party.store import PACKAGE, Egress, PartyStore
from parley_party.tables import RoundRow, StudyRow, VersionRow

STORE: Final = "party.db"
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class StudyView:
    """One study as this party knows it. `offer` is our own; `result` are our own scores, which stay here."""

    id: str
    federation: str
    state: str
    reason: str
    changed_at: float
    proposal: Proposal
    members: tuple[MemberEntry, ...]
    dataset: str
    objectives: tuple[str, ...]
    offer: Offer | None
    agreement: Agreement | None
    result: dict[str, Any] | None
    graph_seed: bytes  # of the agreement's neighbour graph; empty before there is an agreement
    rounds: tuple[RoundRow, ...]  # those that this party entered
    rounds_done: int  # certified ones, entered or not: each made one public state

    @property
    def directory(self) -> Directory:
        """The invited parties as the gateway showed them; those of the agreement with their credentials."""
        shown = {} if self.agreement is None else {member.party: member.credentials for member in self.agreement.terms.members}
        return {
            entry.party: Member(
                *(entry.party, entry.legal_name, entry.party_class, entry.country, entry.identity, entry.revoked),
                credentials=shown.get(entry.party, ()),
            )
            for entry in self.members
        }

    @property
    def rounds_total(self) -> int | None:
        """Rounds of all steps, once they are agreed."""
        return None if self.agreement is None else sum(step.rounds for step in self.agreement.terms.steps)

    @property
    def agreed(self) -> Agreement:
        """The agreement; StudyError where there is none."""
        if self.agreement is None:
            raise StudyError(f"study {self.id}", problem=Slug.WRONG_STATE, wanted="an agreement", got=f"state {self.state}")
        return self.agreement

    def math(self) -> StudyMath:
        """Return the pure computations of the agreed study; StudyError where it is not agreed."""
        return StudyMath.of(self.agreed.terms, self.proposal)


@dataclass(frozen=True, slots=True)
class ModelAt:
    """One version of a study's model, by the number of certified rounds that made it, `preprocess@1` included: the first one is 1."""

    study: StudyView
    math: StudyMath
    state: PublicState
    base: str
    made_at: float


class _Snapshot(Database):
    """A store that is only read: each call sees the newest transaction that is on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def run(self, work: Callable[[Any], T]) -> T:
        return read_store(self._path, PACKAGE, work)


def store_path(config: PartyConfig) -> Path:
    """Return where the store of a party lies."""
    return config.party.state / STORE


def read(config: PartyConfig, question: Callable[[PartyStore], Awaitable[T]], none: U) -> T | U:
    """Return what `question` reads from the store, `none` where there is no store yet; StoreError if this version cannot read it."""
    if not store_path(config).is_file():
        return none

    async def ask() -> T:
        return await question(PartyStore(_Snapshot(store_path(config))))

    return asyncio.run(ask())


def policy_bytes(config: PartyConfig) -> bytes:
    """Return the bytes of the policy file that party.toml names; PolicyInvalid if it cannot be read."""
    path = config.party.policy
    try:
        return path.read_bytes()
    except OSError as error:
        raise PolicyInvalid(str(path), Fault("file", "a readable policy", error.strerror or "an error")) from error


def read_policy(config: PartyConfig) -> PolicyFile:
    """Return the policy file that party.toml names, in force or not; PolicyInvalid if it is missing, broken, or another party's."""
    path = config.party.policy
    policy = load_policy(policy_bytes(config), path.name)
    if policy.policy.party != config.party.id:
        raise PolicyInvalid(path.name, Fault("identity.party", config.party.id, policy.policy.party))
    return policy


def studies(config: PartyConfig) -> tuple[StudyView, ...]:
    """Return every study of this party, newest change first."""

    async def ask(store: PartyStore) -> tuple[StudyView, ...]:
        return tuple([await _view(store, row) for row in await store.studies()])

    return tuple(sorted(read(config, ask, ()), key=lambda view: -view.changed_at))


def study(config: PartyConfig, name: str) -> StudyView:
    """Return one study; StudyError that names those there are."""

    async def ask(store: PartyStore) -> StudyView:
        row = await store.study(name)
        if row is None:
            raise _unknown(name, [item.study for item in await store.studies()])
        return await _view(store, row)

    found = read(config, ask, None)
    if found is None:
        raise _unknown(name, [])
    return found


def accepted_terms(config: PartyConfig, name: str) -> str | None:
    """Return the digest of the terms that this party wrote down as accepted for a study; None if it accepted none."""
    return read(config, lambda store: offered.accepted_terms(store, name), None)


def verified_chain(config: PartyConfig, view: StudyView) -> Chain:
    """Return the chain of a study's certificates, each checked again; RemoteProtocolError names the first fault."""

    async def ask(store: PartyStore) -> list[str]:
        return [row.certificate for row in await store.certificates(view.id)]

    terms = view.agreed.terms
    chain = Chain.start(terms.digest(), view.graph_seed)
    for text in read(config, ask, ()):
        chain, _ = extend(chain, terms, load_envelope(text, "certificate"))
    return chain


def model_versions(config: PartyConfig, view: StudyView) -> tuple[ModelAt, ...]:
    """Return the versions of a study's model that are kept here, oldest first; none before training began."""

    async def ask(store: PartyStore) -> list[VersionRow]:
        return await store.versions(view.id)

    math = view.math()
    nothing: list[VersionRow] = []
    rows = [(row, PublicState.load(row.state)) for row in read(config, ask, nothing)]
    return tuple(ModelAt(view, math, state, row.base, row.made_at) for row, state in rows if state.summary)


def model_version(config: PartyConfig, name: str) -> ModelAt:
    """Return the model `STUDY` (its newest version) or `STUDY/V`; StudyError if there is none."""
    which, _, number = name.partition("/")
    view = study(config, which)
    kept = model_versions(config, view)
    if not number and kept:
        return kept[-1]
    found = [each for each in kept if str(each.state.number) == number]
    if not found:
        known = f"{kept[0].state.number} to {kept[-1].state.number}" if kept else "none yet: training has not begun"
        raise StudyError(f"model {name}", problem=Slug.UNKNOWN_MODEL, wanted=f"a version of {which} ({known})", got=number or "none")
    return found[0]


def study_log(config: PartyConfig, name: str) -> list[dict[str, Any]]:
    """Return what happened in a study here, oldest first, as the control verb `study.logs` says it; StudyError if there is none."""
    from parley_party.verbs import study_lines  # noqa: PLC0415 - brings the whole service

    study(config, name)
    nothing: list[dict[str, Any]] = []
    return read(config, lambda store: study_lines(store, name), nothing)


def egress(config: PartyConfig, name: str | None) -> Sequence[Egress]:
    """Return what left this party, oldest first, for one study or in all."""

    async def ask(store: PartyStore) -> list[Egress]:
        return await store.egress(name)

    return read(config, ask, ())


def _unknown(name: str, known: Sequence[str]) -> StudyError:
    return StudyError(f"study {name!r}", wanted=f"a study that this party knows: {', '.join(known) or 'none yet'}", got="none of that id")


async def _view(store: PartyStore, row: StudyRow) -> StudyView:
    newest = await store.newest_version(row.study)
    return StudyView(
        id=row.study,
        federation=row.federation,
        state=row.state,
        reason=row.reason,
        changed_at=row.changed_at,
        proposal=Proposal.parse(load_envelope(row.proposal, "proposal").payload),
        members=tuple(MemberEntry.model_validate(entry) for entry in json.loads(row.members)),
        dataset=row.dataset,
        objectives=tuple(json.loads(row.objectives)),
        offer=Offer.parse(load_envelope(row.offer, "our offer").payload) if row.offer else None,
        agreement=Agreement.load(load_envelope(row.agreement, "agreement")) if row.agreement else None,
        result=json.loads(row.result) if row.result else None,
        graph_seed=bytes.fromhex(row.graph_seed),
        rounds=tuple(await store.rounds(row.study)),
        rounds_done=0 if newest is None else newest.number,
    )
