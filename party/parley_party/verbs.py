"""What the command line may ask of the running party service: what changes something, or is live. The rest it reads from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from parley_policies.approvals.activation import Activated
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.study_file import load_study
from parley_policies.negotiation.terms import MAX_CREDENTIALS
from parley_protocol.bound import load_envelope
from parley_protocol.limits import TEXT_CHARACTERS
from parley_protocol.negotiation import starter_of
from parley_protocol.problems import Slug
from parley_protocol.records import StudyChange
from parley_service.control import Arguments, Verb
from parley_service.errors import ControlError

from parley_party.activation import PolicyOffice, differs
from parley_party.config import PartyConfig
from parley_party.errors import StudyError
from parley_party.federation import Federation
from parley_party.store import PartyStore
from parley_party.tables import StudyRow

FOLLOW_SECONDS: Final = 0.2
_LONG: Final = frozenset({"toml", "approval"})

Activate = Callable[[bytes, str, Sequence[str]], Awaitable[bool]]


class PartyVerbs:
    """The control verbs of one party service."""

    def __init__(
        self, config: PartyConfig, office: PolicyOffice, activate: Activate, store: PartyStore, federations: Mapping[str, Federation]
    ) -> None:
        self._config = config
        self._office = office
        self._activate = activate
        self._store = store
        self._federations = federations

    def table(self) -> dict[str, Verb]:
        """Return the verbs by name."""
        return {
            "status": self._status,
            "credentials.show": self._show_credentials,
            "study.propose": self._propose,
            "study.start": self._start,
            "study.stop": self._stop,
            "study.recompute": self._recompute,
            "study.waits": self._waits,
            "study.logs": self._logs,
            "policy.activate": self._activate_policy,
            "agreement.approve": self._approve,
        }

    async def _status(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments)
        rows = await self._store.studies()
        return {
            "party": self._config.party.id,
            "policy": policy_status(self._config, self._office.active),
            "federations": [
                {"name": name, "url": self._config.gateways[name].url, "connected": item.connected}
                for name, item in self._federations.items()
            ],
            "studies": [self._study(row) for row in rows],
        }

    async def _show_credentials(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments, "credentials", "federation")
        texts = arguments.get("credentials")
        if not isinstance(texts, list) or len(texts) > MAX_CREDENTIALS or not all(isinstance(text, str) for text in texts):
            raise ControlError("argument credentials", wanted=f"at most {MAX_CREDENTIALS} texts", got=type(texts).__name__)
        federation = self._one_federation(arguments.get("federation"))
        await federation.show_credentials(tuple(texts))
        return {"federation": federation.name, "credentials": len(texts)}

    def _study(self, row: StudyRow) -> dict[str, Any]:
        run = self._federations[row.federation].runs.get(row.study) if row.federation in self._federations else None
        current = None if run is None or run.open is None else {"round": run.open.row.number, "phase": run.open.state.phase.value}
        return {
            "study": row.study,
            "state": row.state,
            "version": None if run is None else run.state.number,
            "rounds": None if run is None else sum(step.rounds for step in run.math.terms.steps),
            "round": current,
            "has_result": bool(row.result),
            "reason": row.reason,
        }

    async def _propose(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments, "toml", "name", "federation")
        study = load_study(_text(arguments, "toml").encode(), str(arguments.get("name", "study.toml")))
        federation = self._one_federation(arguments.get("federation"))
        proposal = await federation.negotiation.propose(study)
        await federation.send()
        if (error := federation.negotiation.not_taken.pop(proposal.id, None)) is not None:
            raise error
        return {"study": proposal.id, "digest": proposal.digest()}

    async def _start(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments, "study")
        study = _text(arguments, "study")
        row, _ = await self._of(study)
        starter = Proposal.parse(load_envelope(row.proposal, "proposal").payload).sponsor
        if row.agreement:
            starter = starter_of(Agreement.load(load_envelope(row.agreement, "agreement")).terms, starter)
        if starter != self._config.party.id:
            raise StudyError(f"study {study}", wanted=f"{starter} to start it", got=self._config.party.id, problem=Slug.NOT_ENTITLED)
        return await self._event(study, StudyChange.STARTED, "")

    async def _stop(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments, "study", "reason")
        return await self._event(_text(arguments, "study"), StudyChange.STOPPED, _text(arguments, "reason"))

    async def _event(self, study: str, change: StudyChange, reason: str) -> dict[str, Any]:
        row, federation = await self._of(study)
        run = federation.runs.get(study)
        certificates = 0 if run is None else len(await self._store.certificates(study))
        head = "" if run is None else run.chain.head
        await federation.negotiation.event(study, change, reason, certificates=certificates, head=head)
        await federation.send()
        return {"study": study, "state": row.state}

    async def _recompute(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments, "study", "round")
        number = arguments.get("round")
        if number is not None and (type(number) is not int or number < 1):
            raise ControlError("argument round", wanted="a whole number of at least 1, or none", got=str(number)[:40])
        row, federation = await self._of(_text(arguments, "study"))
        found = await federation.recompute(row, number)
        return {
            "study": row.study,
            "round": found.round,
            "updates": found.updates,
            "bytes": found.size,
            "segments": [{"name": item.name, "parties": item.parties, "body": item.body} for item in found.opened.segments],
        }

    async def _waits(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments, "study")
        _, federation = await self._of(_text(arguments, "study"))
        return await federation.client.study(_text(arguments, "study"))

    async def _logs(self, arguments: Arguments) -> AsyncGenerator[dict[str, Any], None]:
        _only(arguments, "study", "follow")
        study = _text(arguments, "study")
        await self._of(study)
        shown = 0
        while True:
            lines = await study_lines(self._store, study)
            for line in lines[shown:]:
                yield line
            shown = len(lines)
            if not arguments.get("follow"):
                return
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _activate_policy(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments, "toml", "name", "approvals")
        approvals = arguments.get("approvals")
        if not isinstance(approvals, list) or not all(isinstance(text, str) for text in approvals):
            raise ControlError("argument approvals", wanted="a list of signed statements", got=type(approvals).__name__)
        changed = await self._activate(_text(arguments, "toml").encode(), _text(arguments, "name"), approvals)
        return {"changed": changed, "policy": policy_status(self._config, self._office.active)}

    async def _approve(self, arguments: Arguments) -> dict[str, Any]:
        _only(arguments, "study", "approval")
        study = _text(arguments, "study")
        row, federation = await self._of(study)
        said = await federation.approve(row, _text(arguments, "approval"))
        row, _ = await self._of(study)
        return {"study": study, "role": said.role, "decision": said.decision.value, "state": row.state}

    async def _of(self, study: str) -> tuple[StudyRow, Federation]:
        row = await self._store.study(study)
        if row is None:
            known = ", ".join(item.study for item in await self._store.studies()) or "none"
            raise StudyError(f"study {study!r}", wanted=f"a study that this party knows: {known}", got="none of that id")
        return row, self._federations[row.federation]

    def _one_federation(self, name: object) -> Federation:
        if name is None and len(self._federations) == 1:
            return next(iter(self._federations.values()))
        if not isinstance(name, str) or name not in self._federations:
            raise StudyError("federation", wanted=f"one of {', '.join(self._federations)}", got=str(name), do="Name it with --federation.")
        return self._federations[name]


def policy_status(config: PartyConfig, active: Activated) -> dict[str, Any]:
    """Return what a status says of the policy in force, and whether the file of party.toml is another one (None: it cannot be read)."""
    return {
        "version": active.version,
        "sha256": active.file.digest,
        "activation": active.number,
        "file_differs": differs(config, active.file.digest),
    }


async def study_lines(store: PartyStore, study: str) -> list[dict[str, Any]]:
    """Return what happened in a study at this party, oldest first: rounds entered and closed, refusals, agreements."""
    lines: list[dict[str, Any]] = [
        {"at": row.at, "what": row.kind, "round": None, "detail": row.body} for row in await store.evidence(study) if row.kind != "verdict"
    ]
    lines += [
        {"at": row.closed_at, "what": f"round {row.outcome}", "round": row.number, "detail": row.reason}
        for row in await store.rounds(study)
        if row.outcome
    ]
    return sorted(lines, key=_when)


def _when(line: Mapping[str, Any]) -> float:
    return float(line["at"])


def _only(arguments: Arguments, *names: str) -> None:
    unknown = sorted(set(arguments) - set(names))
    if unknown:
        raise ControlError("arguments", wanted=f"only {', '.join(names) or 'none'}", got=", ".join(unknown))


def _text(arguments: Arguments, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value or (name not in _LONG and len(value) > TEXT_CHARACTERS):
        raise ControlError(f"argument {name}", wanted="a text", got=type(value).__name__)
    return value
