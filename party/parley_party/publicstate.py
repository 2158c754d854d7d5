"""The public state of a study at a party: what a round's vectors are computed from, and the pure step to the next one.

Number 0 is the queries of the step `preprocess@1`; its opened sum gives the scaling and, with first parameters drawn from the agreement
digest, number 1; each certified round of training gives the next. Every member computes the same state from the same sums, and its
digest, the **base version**, covers agreement, number, the certificate that made it, and content.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from parley_crypto.derive import derive
from parley_crypto.fixedpoint import FixedPoint
from parley_crypto.ring import RingVector
from parley_crypto.tags import Tag, digest
from parley_learning.arrays import Float32s
from parley_learning.combine import apply_step, parameters_digest
from parley_learning.model import initial_parameters, layout
from parley_learning.shape import learning_of
from parley_learning.study import StudyLearning
from parley_learning.vector import SUMMARY
from parley_learning.workloads.preprocess import Scaling, content_keys, scaling_from_sum
from parley_policies.negotiation.proposal import PREPROCESS, Proposal
from parley_policies.negotiation.terms import StepTerms, Terms
from parley_protocol.bound import public_state_digest
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.members_key import StudyKeys
from parley_protocol.messages import SurvivorList

from parley_party.errors import StudyError

_HEADER_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class PublicState:
    """One public state: `certificate` made it (the agreement digest, for number 0); `done` rounds of step `step` are certified."""

    number: int
    step: int
    done: int
    certificate: str
    summary: tuple[float, ...]  # the opened sum of `preprocess@1`; empty before it
    parameters: Float32s

    def dump(self) -> bytes:
        """Return the state as bytes for the store: a JSON header, then float32 parameters in little-endian order."""
        fields = {name: getattr(self, name) for name in ("number", "step", "done", "certificate", "summary")}
        header = json.dumps(fields).encode()
        return len(header).to_bytes(_HEADER_BYTES, "big") + header + self.parameters.astype("<f4").tobytes()

    @classmethod
    def load(cls, raw: bytes) -> PublicState:
        """Parse what `dump` wrote."""
        end = _HEADER_BYTES + int.from_bytes(raw[:_HEADER_BYTES], "big")
        header = json.loads(raw[_HEADER_BYTES:end])
        header["summary"] = tuple(header["summary"])
        return cls(**header, parameters=np.frombuffer(raw[end:], dtype="<f4").astype(np.float32))


@dataclass(frozen=True, slots=True)
class StudyMath:
    """The pure computations of one agreed study. `shared` is None for a reader without the party's keys, who takes no part in rounds."""

    terms: Terms
    proposal: Proposal
    learning: StudyLearning
    shared: StudyKeys | None = None

    @classmethod
    def of(cls, terms: Terms, proposal: Proposal, shared: StudyKeys | None = None) -> StudyMath:
        """Return the study's computations; ColumnError if this version cannot learn it."""
        return cls(terms, proposal, learning_of(proposal), shared)

    @property
    def keys(self) -> StudyKeys:
        """What the members share; StudyError for a reader without the party's keys."""
        if self.shared is None:
            raise StudyError(f"study {self.terms.study}", wanted="the members' key", got="none: it is sealed in the party's store")
        return self.shared

    def first(self) -> PublicState:
        """Return number 0: the queries of the first step."""
        return PublicState(0, 0, 0, self.terms.digest(), (), np.zeros(0, dtype=np.float32))

    def parameters(self, state: PublicState) -> str:
        """Return the digest of the state's content alone: equal for two versions exactly if their content is.

        Where only the parties read opened sums it is an HMAC under the members' key, so that nobody else can test guesses of a model.
        """
        plain = self._content_digest(state)
        if self.terms.opened_sums_readable_by == "gateway":
            return plain
        key = derive(self.keys.members_key, Tag.MODEL_DIGEST, self.terms.digest())
        return hmac.new(key, bytes.fromhex(plain), hashlib.sha256).hexdigest()

    def _content_digest(self, state: PublicState) -> str:
        if not state.summary:
            ranges = ((spec.name, spec.unit, repr(spec.low), repr(spec.high)) for spec in self.learning.columns.specs)
            return digest(Tag.PARAMETERS, "queries", state.step, *(part for row in ranges for part in row))
        return digest(Tag.PARAMETERS, "model", json.dumps(state.summary), parameters_digest(state.parameters))

    def scaling(self, state: PublicState) -> Scaling:
        """Return mean and deviation of every feature, once the preprocessing sum is open."""
        return scaling_from_sum(self.learning.columns, np.array(state.summary, dtype=np.float64))

    def base(self, state: PublicState) -> str:
        """Return the base version digest of a state."""
        return public_state_digest(self.terms.digest(), state.number, state.certificate, self.parameters(state))

    def workload(self, state: PublicState) -> StepTerms:
        """Return the step that the next round belongs to; the last one once the study is done."""
        return self.terms.steps[min(state.step, len(self.terms.steps) - 1)]

    def finished(self, state: PublicState) -> bool:
        """Say whether all rounds of all steps are certified."""
        return state.step >= len(self.terms.steps)

    def encoding(self, step: StepTerms) -> FixedPoint:
        """Return the step's encoding, with headroom for every member of the agreement."""
        terms = step.encoding
        return FixedPoint(terms.width, terms.fraction_bits, terms.bound, len(self.terms.members))

    def factor(self, party: str) -> float:
        """Return what a member multiplies its update by before encoding: its weight over the largest, a constant of the agreement."""
        return self.terms.member(party).weight / self._largest_weight()

    def _largest_weight(self) -> int:
        return max(member.weight for member in self.terms.members)

    def contents(self) -> tuple[str, ...]:
        """Return what the preprocessing sum asks of a dataset, one digest a query (invariant 8's register)."""
        return content_keys(self.learning.columns)

    def following(self, state: PublicState, listed: SurvivorList, sums: Mapping[str, RingVector]) -> PublicState:
        """Return the next state from a certified list and its opened sums (segment -> ring elements)."""
        step = self.terms.steps[listed.step]
        if listed.step != state.step or listed.base != self.base(state):
            raise RemoteProtocolError(f"round {listed.round}: it was computed from another base version than ours")
        encoding = self.encoding(step)
        last = state.done + 1 == step.rounds
        moved = replace(
            state,
            number=state.number + 1,
            step=state.step + last,
            done=0 if last else state.done + 1,
            certificate=listed.digest(),
        )
        if step.workload == PREPROCESS:
            summary = encoding.decode(sums[SUMMARY])
            scaling_from_sum(self.learning.columns, summary)  # a sum that cannot be one is refused here, before it becomes a base
            return replace(moved, summary=tuple(summary.tolist()), parameters=initial_parameters(self.learning.model, self.start_seed()))
        means = {}
        for name, total in sums.items():
            members = listed.parties & frozenset(step.segment(name).members)
            weight = sum(self.terms.member(party).weight for party in members)
            encoding.check_norm(total, self.terms.clip_bound * weight / self._largest_weight())
            means[name] = encoding.decode(total) * (float(self._largest_weight()) / float(weight))
        return replace(moved, parameters=apply_step(layout(self.learning.model), state.parameters, means))

    def start_seed(self) -> bytes:
        """Return the seed of the first parameters, fixed by the agreement: two studies never begin at the same ones."""
        return derive(bytes.fromhex(self.terms.digest()), Tag.MODEL_START)

    def training_seed(self, state: PublicState, party: str) -> bytes:
        """Return the seed that orders a party's rows in one round: the same after a crash, so the same update again."""
        return hashlib.sha256(f"{self.base(state)}/{party}".encode()).digest()
