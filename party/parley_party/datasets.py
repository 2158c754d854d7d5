"""Which of this party's datasets can serve a study, and the trainer that reads it.

A dataset serves if the policy grants it, it maps every feature of the study, and it maps the label of at least one objective. The party's
SQL runs in the trainer process alone, which has neither keys nor network: it counts the people before an offer says how many there are,
and is kept for the study's rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parley_policies.errors import Refused
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.study_file import learning_tables
from parley_service.logs import get_log

from parley_party.config import PartyConfig
from parley_party.datasource_config import dataset_config
from parley_party.trainer_client import TrainerClient, TrainerRows, TrainerSettings
from parley_party.trainer_commands import StudyTables

_LOG: Final = get_log("trainer")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A dataset for a study: how many people it holds after exclusions, and which objectives it has labels for."""

    name: str
    people: int
    objectives: tuple[str, ...]


class Datasets:
    """The datasets of party.toml, as far as the policy grants them."""

    def __init__(self, config: PartyConfig, policy: PrivacyPolicy) -> None:
        self._config = config
        self._policy = policy
        self._early: dict[str, tuple[TrainerClient, TrainerRows]] = {}  # started for an offer, waiting for its study

    def take_up(self, policy: PrivacyPolicy) -> None:
        """From here on another policy says which datasets may be used."""
        self._policy = policy

    async def choose(self, proposal: Proposal) -> Chosen:
        """Return the first dataset that serves; Refused or DataError says what each one lacks."""
        lacking = []
        for name in sorted(self._config.data):
            missing, objectives = self._fit(name, proposal)
            if name not in self._policy.data.datasets:
                lacking.append(f"{name} is not granted by the policy")
            elif missing:
                lacking.append(f"{name} does not map {', '.join(missing[:8])}")
            elif not objectives:
                lacking.append(f"{name} maps no label of {', '.join(' with '.join(item.columns) for item in proposal.objectives)}")
            else:
                return Chosen(name, await self._people(name, proposal, objectives), objectives)
        raise Refused(
            "data.datasets", "a dataset that is granted and maps the study's columns", "; ".join(lacking) or "no dataset in party.toml"
        )

    def _fit(self, name: str, proposal: Proposal) -> tuple[list[str], tuple[str, ...]]:
        mapped = self._config.data[name].map
        missing = [column for column in proposal.needed_columns(()) if column not in mapped]
        return missing, proposal.labelled(mapped)

    async def _people(self, name: str, proposal: Proposal, objectives: tuple[str, ...]) -> int:
        trainer, rows = await self.start(name, proposal, objectives)
        self._early[proposal.id] = (trainer, rows)
        return rows.people

    async def discard(self, study: str) -> None:
        """End the trainer that was started for an offer, if the study will not need it."""
        early = self._early.pop(study, None)
        if early is not None:
            await early[0].stop()

    async def close(self) -> None:
        """End all trainers that no study has taken over."""
        for study in list(self._early):
            await self.discard(study)

    async def start(self, name: str, proposal: Proposal, objectives: tuple[str, ...]) -> tuple[TrainerClient, TrainerRows]:
        """Return the study's trainer with the dataset read: the one started for the offer, or a new one; DataError if it does not fit."""
        early = self._early.pop(proposal.id, None)
        if early is not None and early[0].running:
            return early
        training = self._config.training
        limits = self._policy.limits
        seconds = None if limits.cpu_seconds_a_round is None else int(limits.cpu_seconds_a_round * limits.rounds_a_study) + 60
        settings = TrainerSettings(training.work_dir, training.memory_mib, training.threads, seconds)
        trainer = await TrainerClient.start(proposal.id, settings, lambda line: _LOG.warning("trainer", line=line))
        tables = learning_tables(proposal)
        study = StudyTables(
            columns=tables["columns"], objectives=tuple(tables["objectives"]), model=tables["model"], training=tables["training"]
        )
        try:
            rows = await trainer.load(dataset_config(self._config, name), study, objectives)
        except BaseException:
            await trainer.stop()
            raise
        return trainer, rows
