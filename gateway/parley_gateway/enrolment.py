"""Who belongs to the federation: invites, enrolments, revocations, and the directory that others read.

An invite is for one party, good once, and expires; it fixes legal name, class and country. Its token is never kept, only the SHA-256. A
party enrols with a statement that its two new keys sign and that proves, by the invite's token, that it was invited
(`parley_protocol.records`). Enrolments and revocations stand in the log. A key that was ever enrolled is never enrolled again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from parley_crypto.errors import CryptoError
from parley_crypto.keys import SigningKey, VerifyKey
from parley_crypto.signing import Envelope
from parley_policies.negotiation import members as policies
from parley_policies.negotiation.credentials import read_credential
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.limits import INVITE_HOURS, INVITE_HOURS_MAX, INVITE_TOKEN_BYTES
from parley_protocol.negotiation import MemberEntry
from parley_protocol.problems import Slug
from parley_protocol.records import (
    CredentialsShown,
    Enrolment,
    EnrolmentRecord,
    RevocationRecord,
    check_shown,
    proof_for_invite,
    verify_enrolment,
)
from parley_service.errors import RequestError
from pydantic import ValidationError

from parley_gateway.entries import Invite, Member
from parley_gateway.journal import Draft, Journal

INVITE_SCHEMA: Final = "parley.invite/1"
_HOUR: Final = 3_600


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """The gateway as an invite and every answer name it."""

    id: str
    url: str
    key: VerifyKey
    log_origin: str

    def in_invite(self) -> dict[str, str]:
        """Return the table `gateway` of an invite file."""
        return {"id": self.id, "url": self.url, "key": self.key.hex, "fingerprint": self.key.fingerprint, "log_origin": self.log_origin}


class Members:
    """The directory of enrolled parties and the invites. All of it is in memory; the journal makes changes durable."""

    def __init__(
        self,
        journal: Journal,
        key: SigningKey,
        identity: GatewayIdentity,
        *,
        clock: Callable[[], float],
        most: int,
        members: Iterable[Member] = (),
        invites: Iterable[Invite] = (),
        keys: Iterable[str] = (),
    ) -> None:
        self._journal: Final = journal
        self._key: Final = key
        self.identity: Final = identity
        self._clock: Final = clock
        self._most: Final = most
        known = tuple(members)
        self._members = {member.party: member for member in known}
        self._invites = {invite.token: invite for invite in invites}
        self._keys = set(keys) | {identity.key.hex}
        self._shown = {member.party: member.shown for member in known}

    # the directory

    def all(self) -> tuple[Member, ...]:
        """Return every member, revoked ones too, in id order."""
        return tuple(self._members[party] for party in sorted(self._members))

    def get(self, party: str) -> Member | None:
        """Return a member that is enrolled and not revoked, or None."""
        member = self._members.get(party)
        return None if member is None or member.revoked else member

    def find(self, party: str) -> Member:
        """Return a member, revoked or not; RequestError if there is none."""
        try:
            return self._members[party]
        except KeyError:
            raise RequestError(f"party {party!r} is not enrolled here", problem=Slug.NOT_FOUND) from None

    def authentication_key(self, party: str) -> VerifyKey | None:
        """Return the key that a party's request tokens are checked with, or None."""
        member = self.get(party)
        return None if member is None else VerifyKey.from_hex(member.authentication)

    def identity_key(self, party: str) -> VerifyKey:
        """Return a member's identity key; RequestError if it is not enrolled or revoked."""
        member = self.get(party)
        if member is None:
            raise RequestError(f"party {party!r} is not enrolled here, or was revoked", problem=Slug.NOT_ENTITLED)
        return VerifyKey.from_hex(member.identity)

    def invites(self) -> tuple[Invite, ...]:
        """Return all invites, oldest first."""
        return tuple(sorted(self._invites.values(), key=lambda invite: invite.created_at))

    def show(self, draft: Draft, party: str) -> int:
        """Note in `draft` that the party is shown the newest checkpoint, and return how many leaves it was shown before."""
        before = self._shown.get(party, 0)
        self._shown[party] = draft.entries.shown[party] = draft.size
        return before

    # invites

    async def invite(
        self, party: str, *, legal_name: str, party_class: str, country: str, valid_hours: float = INVITE_HOURS
    ) -> dict[str, Any]:
        """Make an invite and return its file's content, with the token that stands nowhere else."""
        self._require_invitable(party, legal_name, party_class, country)
        if not 0 < valid_hours <= INVITE_HOURS_MAX:
            raise RequestError(
                "invite", problem=Slug.USAGE, wanted=f"more than 0 and at most {INVITE_HOURS_MAX} hours", got=f"{valid_hours:g}"
            )
        token = secrets.token_bytes(INVITE_TOKEN_BYTES)
        now = self._clock()
        made = Invite(hashlib.sha256(token).hexdigest(), party, legal_name, party_class, country, now, now + valid_hours * _HOUR)
        self._invites[made.token] = made
        draft = self._journal.draft()
        draft.entries.invites.append(made)
        await self._journal.record(draft)
        return {
            "schema": INVITE_SCHEMA,
            "gateway": self.identity.in_invite(),
            "party": party,
            "legal_name": legal_name,
            "party_class": party_class,
            "country": country,
            "token": token.hex(),
            "expires": made.expires_at,
        }

    def _require_invitable(self, party: str, legal_name: str, party_class: str, country: str) -> None:
        filler = "0" * 64
        try:  # the same rules as the statement that the party will sign
            Enrolment(
                party=party,
                legal_name=legal_name,
                party_class=party_class,
                country=country,
                identity=filler,
                authentication=filler,
                gateway=self.identity.key.hex,
                log_origin=self.identity.log_origin,
                invite_proof=filler,
                at=0,
            )
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise RequestError(f"invite: {where}", problem=Slug.USAGE, wanted=fault["msg"], got=repr(fault.get("input"))[:80]) from error
        if self.get(party) is not None:
            raise RequestError(f"party {party} is enrolled already", problem=Slug.CONFLICT)
        if sum(not member.revoked for member in self._members.values()) >= self._most:
            raise RequestError("the federation is full", problem=Slug.CONFLICT, wanted=f"at most {self._most} parties", got="one more")

    # enrolment

    async def enrol(self, raw: bytes) -> Member:
        """Enrol the party whose statement this is; RequestError says why not. The same statement again gives the same answer."""
        try:
            envelope = Envelope.load(raw)
            claimed = verify_enrolment(envelope)
        except CryptoError as error:
            raise RequestError(f"enrolment: {error}", problem=Slug.VERIFICATION_FAILED) from error
        known = self._members.get(claimed.party)
        if known is not None and known.enrolment == envelope.dump().decode():
            return known
        invite = self._invite_for(claimed)
        self._require_enrollable(claimed)
        now = self._clock()
        draft = self._journal.draft()
        text = envelope.dump().decode()
        leaf = draft.append(EnrolmentRecord(enrolment=text, at=int(now)).sign(self._key))
        member = Member(
            party=claimed.party,
            legal_name=claimed.legal_name,
            party_class=claimed.party_class,
            country=claimed.country,
            identity=claimed.identity,
            authentication=claimed.authentication,
            enrolment=text,
            enrolled_at=now,
            leaf=leaf,
            credentials=json.dumps(claimed.credentials),
        )
        used = replace(invite, used_by=claimed.digest())
        self._members[member.party] = member
        self._shown[member.party] = 0
        self._invites[used.token] = used
        self._keys |= {member.identity, member.authentication}
        draft.entries.members.append(member)
        draft.entries.invites.append(used)
        await self._journal.record(draft)
        return member

    def _invite_for(self, claimed: Enrolment) -> Invite:
        if (claimed.gateway, claimed.log_origin) != (self.identity.key.hex, self.identity.log_origin):
            raise RequestError("enrolment is for another gateway", problem=Slug.WRONG_KEY, wanted=self.identity.key.fingerprint)
        invite = next((invite for invite in self._invites.values() if _proves(claimed, invite)), None)
        if invite is None:
            raise RequestError(f"enrolment of {claimed.party}: no invite of this gateway has this token", problem=Slug.INVITE_UNKNOWN)
        if invite.used_by:
            raise RequestError(f"the invite of {claimed.party} was used before, by other keys", problem=Slug.INVITE_USED)
        if self._clock() > invite.expires_at:
            late = (self._clock() - invite.expires_at) / _HOUR
            raise RequestError(f"the invite of {claimed.party} expired {late:.1f} hours ago", problem=Slug.INVITE_EXPIRED)
        wanted = (invite.legal_name, invite.party_class, invite.country)
        got = (claimed.legal_name, claimed.party_class, claimed.country)
        if got != wanted:
            raise RequestError(
                f"enrolment of {claimed.party}: name, class, country", problem=Slug.CONFLICT, wanted=", ".join(wanted), got=", ".join(got)
            )
        return invite

    def _require_enrollable(self, claimed: Enrolment) -> None:
        if self.get(claimed.party) is not None:
            raise RequestError(f"party {claimed.party} is enrolled already, with another key", problem=Slug.CONFLICT)
        if used := {claimed.identity, claimed.authentication} & self._keys:
            raise RequestError(
                f"enrolment of {claimed.party}",
                problem=Slug.CONFLICT,
                wanted="keys that were never enrolled here",
                got=min(used)[:16] + "…",
            )

    def show_credentials(self, draft: Draft, shown: CredentialsShown) -> None:
        """Take what a member shows from now on; RemoteProtocolError for a credential that does not name it.

        Agreements keep what they were signed with.
        """
        member = self.find(shown.party)
        try:
            check_shown(shown.credentials, described(member))
        except CryptoError as error:
            raise RemoteProtocolError(f"credentials: {error}") from error
        changed = replace(member, credentials=json.dumps(shown.credentials), shown=self._shown.get(member.party, 0))
        self._members[member.party] = changed
        draft.entries.members.append(changed)

    # revocation

    async def revoke(self, party: str, reason: str) -> Member:
        """Revoke a party's keys: its requests are refused from now on. RequestError if there is nothing to revoke."""
        member = self.find(party)
        if member.revoked:
            raise RequestError(f"party {party} is revoked already", problem=Slug.WRONG_STATE)
        revoked = replace(member, revoked=True, reason=reason, shown=self._shown.get(party, 0))
        draft = self._journal.draft()
        record = RevocationRecord(party=party, identity=member.identity, reason=reason, at=int(self._clock()))
        draft.append(record.sign(self._key))
        self._members[party] = revoked
        draft.entries.members.append(revoked)
        await self._journal.record(draft)
        return revoked


def _proves(claimed: Enrolment, invite: Invite) -> bool:
    if invite.party != claimed.party:
        return False
    wanted = proof_for_invite(
        bytes.fromhex(invite.token),
        party=claimed.party,
        identity=claimed.identity,
        authentication=claimed.authentication,
        gateway=claimed.gateway,
    )
    return hmac.compare_digest(wanted, claimed.invite_proof)


def credentials_of(member: Member) -> tuple[str, ...]:
    """Return what a member shows, in its order."""
    return tuple(json.loads(member.credentials))


def vouched(member: Member) -> list[dict[str, str]]:
    """Return who vouches for a member and until when, for people to read; what it shows was verified when it was taken."""
    found = [read_credential(text) for text in credentials_of(member)]
    return [{"issuer": each.issuer_fingerprint, "valid_until": each.valid_until.isoformat()} for each in found]


def described(member: Member) -> policies.Member:
    """Return a member as the policies know it."""
    return policies.Member(
        member.party,
        member.legal_name,
        member.party_class,
        member.country,
        member.identity,
        revoked=member.revoked,
        credentials=credentials_of(member),
    )


def entry_of(member: Member) -> MemberEntry:
    """Return a member as every party may see it."""
    return MemberEntry(
        party=member.party,
        legal_name=member.legal_name,
        party_class=member.party_class,
        country=member.country,
        identity=member.identity,
        authentication=member.authentication,
        revoked=member.revoked,
        credentials=credentials_of(member),
    )
