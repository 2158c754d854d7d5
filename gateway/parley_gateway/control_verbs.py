"""What the operator's command line asks of the running gateway, by the control socket. Verbs are named as the commands: noun.verb.

Each verb takes its arguments by name, refuses others, and returns JSON values.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeVar

from parley_crypto.keys import VerifyKey
from parley_policies.errors import Conflict
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.explain import explain
from parley_protocol.limits import LOG_ENTRIES
from parley_protocol.problems import Slug
from parley_service.config import Listen
from parley_service.control import Arguments, Verb
from parley_service.errors import ControlError, RequestError

from parley_gateway.config import GatewayConfig
from parley_gateway.desk import Desk
from parley_gateway.enrolment import vouched
from parley_gateway.entries import Invite, Member
from parley_gateway.negotiation import StudyRecord
from parley_gateway.store import GatewayStore
from parley_gateway.studies import Studies
from parley_gateway.tlog import TransparencyLog

FOLLOW_SECONDS: Final = 0.5
T = TypeVar("T", str, int, float, bool)


class GatewayVerbs:
    """The verbs of a running gateway."""

    def __init__(
        self, config: GatewayConfig, desk: Desk, store: GatewayStore, log: TransparencyLog, studies: Studies, *, listen: Listen
    ) -> None:
        self._config: Final = config
        self._desk: Final = desk
        self._store: Final = store
        self._log: Final = log
        self._studies: Final = studies
        self._listen: Final = listen
        self._started: Final = desk.clock()

    def table(self) -> Mapping[str, Verb]:
        """Return the verbs by name."""
        return {
            "status": self.status,
            "member.invite": self.invite,
            "member.list": self.members,
            "member.show": self.member,
            "member.revoke": self.revoke,
            "study.list": self.list_studies,
            "study.show": self.study,
            "study.explain": self.explain,
            "study.stop": self.stop_study,
            "study.logs": self.logs,
            "agreement.show": self.agreement,
            "log.checkpoint": self.checkpoint,
            "audit.leaves": self.leaves,
        }

    async def status(self, arguments: Arguments) -> dict[str, Any]:
        """No arguments -> who this is, who is connected, what waits for whom."""
        _only(arguments)
        identity, now = self._desk.members.identity, self._desk.clock()
        return {
            "id": identity.id,
            "url": identity.url,
            "listen": str(self._listen),
            "fingerprint": identity.key.fingerprint,
            "key": identity.key.hex,
            "log_origin": identity.log_origin,
            "log_leaves": self._log.published[0],
            "running_seconds": now - self._started,
            "members": [self._shown(member, now) for member in self._desk.members.all()],
            "studies": [self._studies.describe(record) for record in self._studies.all()],
        }

    def _shown(self, member: Member, now: float) -> dict[str, Any]:
        seen = self._desk.presence.seen(member.party)
        return {
            "party": member.party,
            "legal_name": member.legal_name,
            "party_class": member.party_class,
            "country": member.country,
            "fingerprint": VerifyKey.from_hex(member.identity).fingerprint,
            "identity": member.identity,
            "credentials": vouched(member),
            "enrolled_at": member.enrolled_at,
            "revoked": member.revoked,
            "reason": member.reason,
            "connected": self._desk.presence.is_present(member.party, now),
            "seen_seconds_ago": None if seen is None else now - seen,
        }

    # members

    async def invite(self, arguments: Arguments) -> dict[str, Any]:
        """party, name, class, country, valid_hours (optional) -> the invite file's content. It holds the token: nobody else has it."""
        _only(arguments, "party", "name", "class", "country", "valid_hours")
        hours = {"valid_hours": _get(arguments, "valid_hours", float)} if arguments.get("valid_hours") is not None else {}
        return await self._desk.members.invite(
            _get(arguments, "party", str),
            legal_name=_get(arguments, "name", str),
            party_class=_get(arguments, "class", str),
            country=_get(arguments, "country", str),
            **hours,
        )

    async def members(self, arguments: Arguments) -> dict[str, Any]:
        """No arguments -> every member, and the invites that were not used yet."""
        _only(arguments)
        now = self._desk.clock()
        return {
            "members": [self._shown(member, now) for member in self._desk.members.all()],
            "invites": [_invited(invite, now) for invite in self._desk.members.invites() if not invite.used_by],
        }

    async def member(self, arguments: Arguments) -> dict[str, Any]:
        """Party -> the member, its own statement, and its studies."""
        _only(arguments, "party")
        member = self._desk.members.find(_get(arguments, "party", str))
        studies = [record.id for record in self._studies.seen_by(member.party)]
        return self._shown(member, self._desk.clock()) | {"enrolment": member.enrolment, "leaf": member.leaf, "studies": studies}

    async def revoke(self, arguments: Arguments) -> dict[str, Any]:
        """Party, reason -> the member as revoked."""
        _only(arguments, "party", "reason")
        member = await self._desk.members.revoke(_get(arguments, "party", str), _get(arguments, "reason", str))
        return self._shown(member, self._desk.clock())

    # studies

    async def list_studies(self, arguments: Arguments) -> dict[str, Any]:
        """No arguments -> every study and where it stands."""
        _only(arguments)
        return {"studies": [self._studies.describe(record) for record in self._studies.all()]}

    def _record(self, arguments: Arguments) -> StudyRecord:
        study = _get(arguments, "study", str)
        for record in self._studies.all():
            if record.id == study:
                return record
        raise RequestError(f"study {study!r} is not known here", problem=Slug.UNKNOWN_STUDY)

    async def study(self, arguments: Arguments) -> dict[str, Any]:
        """Study -> where it stands, who was invited and answered what, proposal and terms."""
        _only(arguments, "study")
        record = self._record(arguments)
        answers = {
            party: {"offered": bool(answer.offer), "declined": answer.declined, "accepted": answer.accepted}
            for party, answer in sorted(record.answers.items())
        }
        return self._studies.describe(record) | {
            "answers": answers,
            "members": list(record.members),
            "proposal": record.proposal.model_dump(mode="json"),
            "terms": record.terms.model_dump(mode="json") if record.terms else None,
        }

    async def explain(self, arguments: Arguments) -> dict[str, Any]:
        """Study -> why its terms are what they are, as the gateway may say it: without naming whose clause binds."""
        _only(arguments, "study")
        record = self._record(arguments)
        offers = self._studies.offers(record)
        try:
            outcome = record.terms or negotiate(record.proposal, offers, self._studies.directory(record), self._desk.gateway).terms[0]
        except Conflict as conflict:
            found = explain(record.proposal, offers, conflict, readable=())
        else:
            found = explain(record.proposal, offers, outcome, readable=())
        return {"study": record.id, "explanation": found.as_data(), "rows": [list(row) for row in found.rows()]}

    async def stop_study(self, arguments: Arguments) -> dict[str, Any]:
        """Study, reason -> where it stands now; an open round with uploads is finished first."""
        _only(arguments, "study", "reason")
        record = await self._studies.stop_study(_get(arguments, "study", str), _get(arguments, "reason", str))
        return self._studies.describe(record)

    async def logs(self, arguments: Arguments) -> AsyncGenerator[dict[str, Any], None]:
        """Study, follow -> a line for each thing that happened: {at, text}; with `follow`, also those to come."""
        _only(arguments, "study", "follow")
        record, after = self._record(arguments), 0
        while True:
            for note in await self._store.notes_after(record.id, after):
                after = note.seq
                yield asdict(note)
            if not arguments.get("follow"):
                return
            await asyncio.sleep(FOLLOW_SECONDS)

    async def agreement(self, arguments: Arguments) -> dict[str, Any]:
        """Study -> the agreement as its members signed it, and its place in the log."""
        _only(arguments, "study")
        record = self._record(arguments)
        if record.terms is None or record.entry.leaf < 0:
            raise RequestError(f"study {record.id} is {record.state}", problem=Slug.WRONG_STATE, wanted="an agreement in force", got="none")
        return {
            "study": record.id,
            "digest": record.terms.digest(),
            "leaf": record.entry.leaf,
            "envelope": record.entry.agreement,
            "terms": record.terms.model_dump(mode="json"),
        }

    # the log

    async def checkpoint(self, arguments: Arguments) -> dict[str, Any]:
        """No arguments -> the newest checkpoint, and the key and origin it is to be verified with."""
        _only(arguments)
        size, note = self._log.published
        identity = self._desk.members.identity
        return {"size": size, "checkpoint": note, "origin": identity.log_origin, "key": identity.key.hex}

    async def leaves(self, arguments: Arguments) -> AsyncGenerator[dict[str, Any], None]:
        """No arguments -> first {checkpoint, size, origin, key}, then each leaf that it covers as {index, leaf}: what is exported."""
        _only(arguments)
        head = await self.checkpoint({})
        yield head
        for start in range(0, head["size"], LOG_ENTRIES):
            end = min(start + LOG_ENTRIES, head["size"])
            for index, leaf in enumerate(await self._store.leaves(start, end), start=start):
                yield {"index": index, "leaf": leaf.decode()}


def _invited(invite: Invite, now: float) -> dict[str, Any]:
    return {
        "party": invite.party,
        "legal_name": invite.legal_name,
        "party_class": invite.party_class,
        "country": invite.country,
        "created_at": invite.created_at,
        "expires_at": invite.expires_at,
        "expired": now > invite.expires_at,
    }


def _only(arguments: Arguments, *names: str) -> None:
    if unknown := sorted(set(arguments) - set(names)):
        raise ControlError("arguments", problem=Slug.USAGE, wanted=", ".join(names) or "none", got=", ".join(unknown)[:200])


def _get(arguments: Arguments, name: str, kind: type[T]) -> T:
    value = arguments.get(name)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or value == "":
        raise ControlError(f"argument {name}", problem=Slug.USAGE, wanted=kind.__name__, got=type(value).__name__ if value else "nothing")
    return value
