"""Read-only views of a gateway's store, of a running service or a stopped one: what the command line shows without asking the service.

The answers have the shape of the control verbs of the same name (`control_verbs`), as far as a store can know: nobody is connected, and
what is only counted while a study runs is None. Nothing is written, no lock is taken.

    status(config, os.environ)["members"]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parley_crypto.keys import VerifyKey
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.negotiation import StudyState
from parley_protocol.problems import Slug
from parley_service.errors import RequestError

from parley_gateway.app import log_origin
from parley_gateway.config import GatewayConfig
from parley_gateway.enrolment import vouched
from parley_gateway.entries import Invite, Member, Stored, StudyEntry
from parley_gateway.founding import read_public_key
from parley_gateway.store import read_everything, read_notes


def store_path(config: GatewayConfig, environ: Mapping[str, str]) -> Path:
    """Return the store's file."""
    return config.store.url.file(config.folder, environ)


def status(config: GatewayConfig, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return who this gateway is, its members and its studies."""
    key = read_public_key(config.folder)
    stored = read_everything(store_path(config, environ))
    return {
        "id": config.gateway.id,
        "url": config.gateway.public_url,
        "listen": str(config.gateway.listen),
        "fingerprint": key.fingerprint,
        "key": key.hex,
        "log_origin": log_origin(config),
        "log_leaves": len(stored.leaf_hashes),
        "members": [_member(member) for member in sorted(stored.members, key=lambda member: member.party)],
        "studies": [_study(entry, stored) for entry in stored.studies],
    }


def members(config: GatewayConfig, environ: Mapping[str, str], now: float) -> dict[str, Any]:
    """Return every member, and the invites that were not used yet."""
    stored = read_everything(store_path(config, environ))
    unused = sorted((invite for invite in stored.invites if not invite.used_by), key=lambda invite: invite.created_at)
    return {
        "members": [_member(member) for member in sorted(stored.members, key=lambda member: member.party)],
        "invites": [_invite(invite, now) for invite in unused],
    }


def member(config: GatewayConfig, environ: Mapping[str, str], party: str) -> dict[str, Any]:
    """Return one member with its own statement and its studies; RequestError if there is none of that id."""
    stored = read_everything(store_path(config, environ))
    for found in stored.members:
        if found.party == party:
            studies = [entry.study for entry in stored.studies if party in _concerned(entry)]
            return _member(found) | {"enrolment": found.enrolment, "leaf": found.leaf, "studies": studies}
    raise RequestError(f"party {party!r} is not enrolled here", problem=Slug.NOT_FOUND)


def studies(config: GatewayConfig, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return every study and where it stands."""
    stored = read_everything(store_path(config, environ))
    return {"studies": [_study(entry, stored) for entry in stored.studies]}


def study(config: GatewayConfig, environ: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return one study with its proposal, its terms and who answered what; RequestError if there is none of that id."""
    stored = read_everything(store_path(config, environ))
    entry = _entry(stored, name)
    answers = {
        answer.party: {"offered": bool(answer.offer), "declined": answer.declined, "accepted": answer.accepted}
        for answer in sorted(stored.answers, key=lambda answer: answer.party)
        if answer.study == name
    }
    terms = _terms(entry)
    return _study(entry, stored) | {
        "answers": answers,
        "members": [] if terms is None else [item.party for item in terms.members],
        "proposal": _proposal(entry).model_dump(mode="json"),
        "terms": None if terms is None else terms.model_dump(mode="json"),
    }


def agreements(config: GatewayConfig, environ: Mapping[str, str]) -> tuple[tuple[str, str, Agreement], ...]:
    """Return study, state and agreement of every agreement in force or that was; AgreementInvalid if a signature does not verify."""
    entries = read_everything(store_path(config, environ)).studies
    return tuple(
        (entry.study, entry.state, Agreement.load(load_envelope(entry.agreement, "agreement"))) for entry in entries if entry.leaf >= 0
    )


def notes(config: GatewayConfig, environ: Mapping[str, str], name: str) -> list[dict[str, Any]]:
    """Return the lines of a study's log, oldest first; RequestError if there is no such study."""
    path = store_path(config, environ)
    _entry(read_everything(path), name)
    return [{"study": note.study, "at": note.at, "text": note.text, "seq": note.seq} for note in read_notes(path, name)]


def _member(member: Member) -> dict[str, Any]:
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
        "connected": False,
        "seen_seconds_ago": None,
    }


def _invite(invite: Invite, now: float) -> dict[str, Any]:
    names = ("party", "legal_name", "party_class", "country", "created_at", "expires_at")
    return {name: getattr(invite, name) for name in names} | {"expired": now > invite.expires_at}


def _entry(stored: Stored, name: str) -> StudyEntry:
    for entry in stored.studies:
        if entry.study == name:
            return entry
    known = ", ".join(entry.study for entry in stored.studies) or "none yet"
    raise RequestError(f"study {name!r} is not known here", problem=Slug.UNKNOWN_STUDY, wanted=f"one of: {known}")


def _study(entry: StudyEntry, stored: Stored) -> dict[str, Any]:
    terms = _terms(entry)
    total = 0 if terms is None else sum(step.rounds for step in terms.steps)
    certified: int | None = sum(item.study == entry.study for item in stored.certificates)
    if entry.state == StudyState.FINISHED:
        certified = total
    elif entry.state == StudyState.STOPPED:
        certified = None  # the certificates of studies that ended are not read
    return {
        "study": entry.study,
        "state": entry.state,
        "sponsor": entry.sponsor,
        "title": _proposal(entry).title,
        "agreement": terms.digest() if terms is not None and entry.leaf >= 0 else None,
        "reason": entry.reason,
        "round": stored.last_rounds.get(entry.study, 0),
        "phase": None,
        "step": None,
        "rounds_done": certified,
        "rounds_total": total,
        "waits_for": [],
    }


def _proposal(entry: StudyEntry) -> Proposal:
    return Proposal.parse(load_envelope(entry.proposal, "proposal").payload)


def _concerned(entry: StudyEntry) -> tuple[str, ...]:
    """Return the members of a study's terms, or before there are terms the invited parties."""
    terms = _terms(entry)
    return _proposal(entry).invited if terms is None else tuple(member.party for member in terms.members)


def _terms(entry: StudyEntry) -> Terms | None:
    return Terms.parse(load_envelope(entry.agreement, "terms").payload) if entry.agreement else None
