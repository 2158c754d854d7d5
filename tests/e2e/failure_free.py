"""The same study without a failure: every public state that the certified lists lead to, computed in one process and without cryptography.

It reads each party's own data, trains as its trainer does, and adds the encoded vectors of exactly the members on each list. What parties,
gateway and kills made of the same lists must be the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from parley_crypto.ring import RingVector, add_into, zeros
from parley_party import config as party_config
from parley_party import keystore, reading
from parley_party.datasource_config import dataset_config
from parley_party.publicstate import PublicState, StudyMath
from parley_party.studykeys import keys_of
from parley_party.tables import StudyRow
from parley_party.trainer_commands import Load, ScalingSum, StudyTables, Summary, Update
from parley_party.trainer_frames import Arrays
from parley_party.trainer_work import Trainer
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.proposal import PREPROCESS, Proposal
from parley_policies.negotiation.study_file import learning_tables
from parley_policies.negotiation.terms import StepTerms
from parley_protocol.bound import load_envelope
from parley_protocol.messages import SurvivorList
from parley_service.secrets import Secret

from tests.e2e.federation_processes import PASSPHRASE, STUDY_ID, Federation
from tests.e2e.stores import rows, store_of


def math_of(running: Federation, party: str) -> StudyMath:
    """Return a study's computations, with what its members share, out of one party's store and keys."""
    home = running.folder / party
    config = party_config.load(home / "party.toml")
    row: StudyRow | None = reading.read(config, lambda store: store.study(STUDY_ID), None)
    assert row is not None
    proposal = Proposal.parse(load_envelope(row.proposal, "proposal").payload)
    keys = keys_of(row, keystore.load(home / "keys", Secret(PASSPHRASE)).storage)
    return StudyMath.of(Agreement.load(load_envelope(row.agreement, "agreement")).terms, proposal, keys)


def lists_of(running: Federation, party: str) -> list[SurvivorList]:
    """Return the certified lists as a party holds them, in order."""
    kept = rows(store_of(running, party), "SELECT certificate FROM certificates ORDER BY round")
    return [SurvivorList.parse(load_envelope(text, "certificate").payload) for (text,) in kept]


def failure_free(running: Federation, math: StudyMath, lists: Iterable[SurvivorList]) -> list[PublicState]:
    """Return all public states from number 0 on that these lists lead to."""
    parties = {party: _Alone(running, math, party) for party in running.parties}
    states = [math.first()]
    with _one_thread():
        for listed in lists:
            step, state = math.terms.steps[listed.step], states[-1]
            vectors = {party: parties[party].vectors(state) for party in sorted(listed.parties)}
            sums = {name: _summed(step, name, vectors) for name in listed.openable}
            states.append(math.following(state, listed, sums))
    return states


def _summed(step: StepTerms, name: str, vectors: Mapping[str, Mapping[str, RingVector]]) -> RingVector:
    segment = step.segment(name)
    total = zeros(segment.length, step.encoding.width)
    for party, parts in vectors.items():
        if party in segment.members:
            add_into(total, parts[name])
    return total


class _Alone:
    """One party's data and its training, in this process."""

    def __init__(self, running: Federation, math: StudyMath, party: str) -> None:
        self._math = math
        self._party = party
        self._trainer = Trainer({})
        self._scaled = False
        tables = learning_tables(math.proposal)
        study = StudyTables(
            columns=tables["columns"], objectives=tuple(tables["objectives"]), model=tables["model"], training=tables["training"]
        )
        data = dataset_config(party_config.load(running.folder / party / "party.toml"), "visits")
        self._trainer.answer(Load(dataset=data, study=study, objectives=math.terms.member(party).objectives), {})

    def vectors(self, state: PublicState) -> dict[str, RingVector]:
        """Return the encoded vectors for the round after `state`, by segment."""
        step = self._math.workload(state)
        encoding = self._math.encoding(step)
        if step.workload == PREPROCESS:
            return {step.segments[0].name: encoding.encode(self._ask(Summary(), {})["summary"])}
        if not self._scaled:
            self._ask(ScalingSum(), {"sum": np.array(state.summary, dtype=np.float64)})
            self._scaled = True
        seed = self._math.training_seed(state, self._party).hex()
        parts = self._ask(Update(clip_bound=self._math.terms.clip_bound, seed=seed), {"parameters": state.parameters})
        return {name: encoding.encode(part.astype(np.float64) * self._math.factor(self._party)) for name, part in parts.items()}

    def _ask(self, command: Summary | ScalingSum | Update, arrays: Arrays) -> Arrays:
        return self._trainer.answer(command, arrays).arrays


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as a trainer process does: more threads may add in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
