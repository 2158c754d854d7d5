"""Becoming a party: what `parley party join` does with an invite.

 1. The invite is for this party, and has not expired by our clock;
 2. the fingerprint that people compared outside the gateway, where one is given, is that of the invite's key;
 3. our own policy lets us speak to that address at all;
 4. the gateway shows exactly the key, address and log that the invite names;
 5. our statement is on the disk before it is sent, so that after a lost answer the same bytes are sent again;
 6. only what the gateway took is written into party.toml: text is appended, and what people wrote there stays.

Nothing here makes a party believe the gateway beyond its key: what the policy grants is the compliance officer's, and `join` never writes
policy.toml. Time is an argument.

    joined = await join(load(folder / "party.toml"), keys, policy, read_invite(path), JoinPlan("cardio"), now=time.time())
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document, first_fault
from parley_policies.enforcement.guard import Guard, Leaving, Verdict
from parley_policies.model.loader import PolicyFile
from parley_policies.negotiation.credentials import read_credential
from parley_policies.negotiation.terms import MAX_CREDENTIAL_CHARACTERS, MAX_CREDENTIALS, PartyId
from parley_protocol.ids import Hex32
from parley_protocol.limits import GATEWAY_ID_CHARACTERS, INVITE_BYTES, INVITE_TOKEN_BYTES, NAME_CHARACTERS
from parley_protocol.problems import Problem, Slug
from parley_protocol.records import Country, Enrolment, Name, PartyClass, check_shown, invite_proof, verify_enrolment
from parley_service.config import ServiceUrl
from parley_service.database import Database, migrate, open_engine
from parley_service.errors import ConfigError
from parley_service.sealedfile import write_atomic
from pydantic import Field, ValidationError

from parley_party import keystore
from parley_party.client import GatewayClient, Greeting
from parley_party.config import GatewayLink, PartyConfig
from parley_party.errors import GatewayRefusedError, PartyError
from parley_party.reading import store_path
from parley_party.store import NO_MESSAGE, PACKAGE, Change, Egress, PartyStore, Sent
from parley_party.tables import EvidenceRow

INVITE_SCHEMA: Final = "parley.invite/1"
_ENROLMENTS: Final = "enrolments"
_PRIVATE: Final = 0o600
_UNTOLD: Final = frozenset({"gateway", "gw", "www"})  # first labels of a name that say nothing


class InviteError(PartyError):
    """An invite that is not one, is for somebody else, or names another gateway than the one that answers."""

    usual_problem = Slug.FILE_INVALID


# --- the invite


class _InvitingGateway(Document):
    id: Annotated[str, Field(min_length=1, max_length=GATEWAY_ID_CHARACTERS)]
    url: ServiceUrl
    key: Hex32
    fingerprint: str
    log_origin: Annotated[str, Field(min_length=1, max_length=GATEWAY_ID_CHARACTERS + 64)]


class Invite(Document):
    """An invite file: good for one party, once, until `expires` (unix seconds). The token is a secret; no repr shows it."""

    schema_: Annotated[Literal["parley.invite/1"], Field(alias="schema")]
    gateway: _InvitingGateway
    party: PartyId
    legal_name: Name
    party_class: PartyClass
    country: Country
    token: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * INVITE_TOKEN_BYTES}}}$", repr=False)]
    expires: float

    @property
    def key(self) -> VerifyKey:
        """The key that the gateway must show."""
        return VerifyKey.from_hex(self.gateway.key)

    @property
    def token_digest(self) -> str:
        """SHA-256 of the token: names the invite without giving it away."""
        return hashlib.sha256(bytes.fromhex(self.token)).hexdigest()


def read_invite(path: Path) -> Invite:
    """Return the invite in a file; InviteError says what is wrong with it, and never shows the token."""
    try:
        with path.open("rb") as file:
            raw = file.read(INVITE_BYTES + 1)
    except OSError as error:
        raise InviteError(f"invite {path}", wanted="a file that can be read", got=error.strerror or "an error") from error
    if len(raw) > INVITE_BYTES:
        raise InviteError(f"invite {path}", wanted=f"at most {INVITE_BYTES} bytes", got="more")
    try:
        invite = Invite.model_validate_json(raw)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False)[0]["loc"])) or "the file"
        got = "something else" if "token" in where else first_fault(error)
        raise InviteError(
            f"invite {path}: {where}",
            wanted=f"an invite {INVITE_SCHEMA}",
            got=got,
            do="Ask the gateway's operator to send it again, whole.",
        ) from None  # pydantic's own text repeats the input, the token with it
    if invite.key.fingerprint != invite.gateway.fingerprint:
        raise InviteError(f"invite {path}: gateway.fingerprint", wanted=invite.key.fingerprint, got=invite.gateway.fingerprint)
    return invite


def read_credentials(paths: Collection[Path]) -> tuple[str, ...]:
    """Return the credentials in files, each as its issuer made it; CredentialInvalid or InviteError says what is wrong."""
    if len(paths) > MAX_CREDENTIALS:
        raise InviteError("credentials", wanted=f"at most {MAX_CREDENTIALS}", got=f"{len(paths)}")
    return tuple(_credential(path) for path in paths)


def _credential(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CREDENTIAL_CHARACTERS + 2).decode().rstrip()  # an editor may have ended it with a new line
    except OSError as error:
        raise InviteError(f"credential {path}", wanted="a file that can be read", got=error.strerror or "an error") from error
    except UnicodeDecodeError as error:
        raise InviteError(f"credential {path}", wanted="text that an issuer made", got="bytes that are no text") from error
    read_credential(text)
    return text


# --- joining


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """How to join: the federation's name in party.toml, the way out, the fingerprint that people compared (None: not yet), what we show."""

    name: str
    proxy: str = "env"
    ca_file: str = "system"
    fingerprint: str | None = None
    credentials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """A federation that was joined. `notes` say what still stands between this party and its first study."""

    name: str
    url: str
    operator: str
    gateway_fingerprint: str
    party: str
    party_fingerprint: str
    notes: tuple[str, ...]


async def join(config: PartyConfig, keys: keystore.PartyKeys, policy: PolicyFile, invite: Invite, plan: JoinPlan, *, now: float) -> Joined:
    """Answer an invite and write the federation into party.toml.

    InviteError, Refused (our policy), GatewayUnreachableError or GatewayRefusedError (expired, used, another key) say why not; then
    party.toml is as it was, and the same call may be made again.
    """
    check_invite(config, invite, plan, now=now)  # 1, 2
    link = link_of(invite.gateway.url, plan.proxy, plan.ca_file, config.folder)
    verdict = Guard(policy, link.url).check_send(Leaving.ENROLMENT, now=datetime.fromtimestamp(now, tz=UTC))  # 3
    async with GatewayClient(link, party=config.party.id, key=keys.authentication) as client:
        greeting = await client.greet()
        _check_greeting(invite, greeting)  # 4
        envelope = await asyncio.to_thread(_statement, config, keys, invite, plan.credentials, now)  # 5
        await client.enrol(envelope.dump())
    await _write_down(config, plan.name, len(envelope.dump()), verdict, now)
    await asyncio.to_thread(append_federation, config.file, plan, invite)  # 6
    return Joined(
        name=plan.name,
        url=invite.gateway.url,
        operator=str(greeting.operator.get("legal_name", "")),
        gateway_fingerprint=invite.key.fingerprint,
        party=config.party.id,
        party_fingerprint=keys.identity.public.fingerprint,
        notes=tuple(_notes(config, policy, invite)),
    )


def check_invite(config: PartyConfig, invite: Invite, plan: JoinPlan, *, now: float) -> None:
    """Check an invite before anything is sent; InviteError, or GatewayRefusedError for one that expired or has another key."""
    if invite.party != config.party.id:
        raise InviteError(
            "invite", problem=Slug.CONFLICT, wanted=f"one for {config.party.id}, as in {config.file}", got=f"one for {invite.party}"
        )
    if now > invite.expires:
        hours = (now - invite.expires) / 3_600
        raise GatewayRefusedError(
            Problem(Slug.INVITE_EXPIRED, f"the invite of {invite.party} expired {hours:.1f} hours ago, by this clock")
        )
    if plan.fingerprint is not None and plan.fingerprint != invite.key.fingerprint:
        raise GatewayRefusedError(_wrong_key("the invite", f"the fingerprint {plan.fingerprint} that you gave", invite.key.fingerprint))
    for name, link in config.gateways.items():
        if link.url == invite.gateway.url or name == plan.name:
            raise InviteError(
                f"federation {name} in {config.file}",
                problem=Slug.CONFLICT,
                wanted=f"a gateway other than {link.url}, and another name",
                got=f"{plan.name} at {invite.gateway.url}",
                do="It was joined before. To join another gateway, choose its name with --name.",
            )


def federation_name(gateway_id: str, taken: Collection[str]) -> str:
    """Return a name for a gateway's table in party.toml: the first telling part of its id, not among `taken`."""
    labels = [re.sub(r"[^A-Za-z0-9_]", "_", label) for label in gateway_id.split(".") if label]
    telling = [label for label in labels if label.lower() not in _UNTOLD and not label.isdigit()] or ["federation"]
    name = telling[0] if telling[0][0].isalpha() else f"g_{telling[0]}"
    name = name[: NAME_CHARACTERS - 4]
    return name if name not in taken else next(each for number in range(2, 1_000) if (each := f"{name}_{number}") not in taken)


def append_federation(file: Path, plan: JoinPlan, invite: Invite) -> None:
    """Append the table `[gateways.NAME]` to party.toml, in place of nothing: every byte that stands there stays."""
    text = file.read_text(encoding="utf-8")
    table = _GATEWAY_TABLE.format(
        header=f"[gateways.{plan.name}]",
        url=_quoted(invite.gateway.url),
        fingerprint=_quoted(invite.key.fingerprint),
        proxy=_quoted(plan.proxy),
        ca_file=_quoted(plan.ca_file),
    )
    joined = text + ("" if text.endswith("\n") else "\n") + table
    tomllib.loads(joined)  # what was valid and gains a table of a new name stays valid; if not, nothing is written
    write_atomic(file, joined.encode(), mode=file.stat().st_mode & 0o777)


def _check_greeting(invite: Invite, greeting: Greeting) -> None:
    if greeting.key != invite.key:
        raise GatewayRefusedError(
            _wrong_key(f"gateway {invite.gateway.url}", f"the key {invite.key.fingerprint} of the invite", greeting.key.fingerprint)
        )
    wanted = (invite.gateway.url, invite.gateway.log_origin, invite.gateway.id)
    got = (greeting.url, greeting.log_origin, greeting.id)
    for what, one, other in zip(("address", "log", "id"), wanted, got, strict=True):
        if one != other:
            raise InviteError(
                f"gateway {invite.gateway.url}: its {what}",
                problem=Slug.CONFLICT,
                wanted=f"{one}, as in the invite",
                got=other,
                do="Ask the operator for a new invite.",
            )


def _wrong_key(what: str, wanted: str, got: str) -> Problem:
    return Problem(
        Slug.WRONG_KEY, what, wanted=wanted, got=got, do="Call the gateway's operator and compare fingerprints before anything else."
    )


def _statement(config: PartyConfig, keys: keystore.PartyKeys, invite: Invite, credentials: tuple[str, ...], now: float) -> Envelope:
    """Return our enrolment for this invite: the one that was made before, where there is one, so that a repeat is the same bytes."""
    path = config.party.state / _ENROLMENTS / f"{invite.token_digest[:32]}.json"
    if path.is_file():
        with contextlib.suppress(CryptoError):  # a file that does not verify, or of other keys, is replaced
            envelope = Envelope.load(path.read_bytes())
            made = verify_enrolment(envelope)
            if (made.identity, made.credentials) == (keys.identity.public.hex, credentials):
                return envelope
    identity, authentication = keys.identity.public.hex, keys.authentication.public.hex
    proof = invite_proof(
        bytes.fromhex(invite.token), party=invite.party, identity=identity, authentication=authentication, gateway=invite.gateway.key
    )
    enrolment = Enrolment(
        party=invite.party,
        legal_name=invite.legal_name,
        party_class=invite.party_class,
        country=invite.country,
        identity=identity,
        authentication=authentication,
        gateway=invite.gateway.key,
        log_origin=invite.gateway.log_origin,
        invite_proof=proof,
        credentials=credentials,
        at=int(now),
    )
    check_shown(credentials, enrolment)
    envelope = enrolment.sign(keys.identity, keys.authentication)
    write_atomic(path, envelope.dump(), mode=_PRIVATE)
    return envelope


async def _write_down(config: PartyConfig, federation: str, size: int, verdict: Verdict, now: float) -> None:
    """Write into the party's store that the enrolment left, and why it might: everything that leaves stands in the egress log."""
    engine = open_engine(store_path(config))
    await asyncio.to_thread(migrate, engine, PACKAGE)
    database = Database(engine)
    try:
        left = Egress(at=now, study="", round=0, kind=Leaving.ENROLMENT.value, size=size, agreement="", verdict="allowed")
        evidence = EvidenceRow(at=now, study="", kind="verdict", body=json.dumps(verdict.as_data()))
        await PartyStore(database).apply(federation, Change(sent=(Sent(NO_MESSAGE, (left,)),), evidence=(evidence,)))
    finally:
        await database.close()


def _notes(config: PartyConfig, policy: PolicyFile, invite: Invite) -> Iterator[str]:
    if invite.key.fingerprint not in policy.policy.gateway.fingerprints:
        yield f'{config.party.policy.name} does not grant this gateway yet: add "{invite.key.fingerprint}" to fingerprints under [gateway]'
    if not config.data:
        yield f"{config.file.name} names no data yet: add a table [data.NAME]"


def _quoted(text: str) -> str:
    """Return `text` as a TOML basic string."""
    return json.dumps(text, ensure_ascii=False)


def link_of(url: str, proxy: str, ca_file: str, folder: Path) -> GatewayLink:
    """Return the way to a gateway as party.toml would say it; ConfigError for what it would refuse."""
    try:
        return GatewayLink.model_validate({"url": url, "proxy": proxy, "ca_file": ca_file}, context={"folder": folder})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise ConfigError(f"gateway {where}", wanted=fault["msg"].removeprefix("Value error, wanted "), got="something else") from None


_GATEWAY_TABLE: Final = """
{header:<38} # written by `parley party join`; one table a federation
url         = {url:<24} # the only address that this service calls
fingerprint = {fingerprint}   # of the gateway's log key: compare it by phone
proxy       = {proxy:<24} # env (HTTPS_PROXY, NO_PROXY) | none | "http://proxy.intra:3128"
ca_file     = {ca_file:<24} # system | a PEM file
"""
