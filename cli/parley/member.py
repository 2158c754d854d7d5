"""`parley member`: who belongs to the federation. For the gateway's operator, in the gateway's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from parley_protocol.limits import INVITE_HOURS, INVITE_HOURS_MAX
from parley_protocol.problems import Slug
from parley_service.config import HomeKind
from parley_service.errors import ConfigError

from parley.output import Facts, Table
from parley.session import Session, session_of
from parley.words import span, when

if TYPE_CHECKING:
    from parley_gateway.config import GatewayConfig

app = typer.Typer(help="Who belongs to the federation (for the gateway's operator).", no_args_is_help=True)
_PRIVATE: Final = 0o600


@app.command()
def invite(
    context: typer.Context,
    party: Annotated[str, typer.Argument(help="The party's id: a-z, 0-9 and -.")],
    *,
    name: Annotated[str, typer.Option(help="Legal name.")],
    party_class: Annotated[str, typer.Option("--class", help="What it is, such as hospital or insurer: policies grant classes.")],
    country: Annotated[str, typer.Option(help="Country, ISO 3166-1, such as DE.")],
    valid_hours: Annotated[float, typer.Option(help=f"How long the invite is good, at most {INVITE_HOURS_MAX}.")] = INVITE_HOURS,
    out: Annotated[Path | None, typer.Option(help="The invite's file; else PARTY.invite.json.")] = None,
) -> None:
    """Invite a party: writes a file that is good for it, once. Hand it over in person or encrypted."""
    session = session_of(context)
    session.home(HomeKind.GATEWAY)
    file = out or Path(f"{party}.invite.json")
    if file.exists():
        raise ConfigError(f"{file}", problem=Slug.CONFLICT, wanted="no file there yet", got="one", do="Say another file with --out.")
    arguments = {"party": party, "name": name, "class": party_class, "country": country, "valid_hours": valid_hours}
    made = session.call("member.invite", arguments)
    _write_private(file, json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    fingerprint = made["gateway"]["fingerprint"]
    told = {"file": str(file), "party": party, "expires": made["expires"], "gateway_fingerprint": fingerprint}
    session.out.result(
        told,
        Facts({"invite": file, "for": f"{party}, {name}, {party_class}, {country}", "good until": when(made["expires"])}),
        f"The file is a secret: whoever has it can enrol as {party}. Read the gateway's fingerprint to them by phone:",
        f"  {fingerprint}",
    )


def _write_private(file: Path, text: str) -> None:
    from parley_service.sealedfile import write_atomic  # noqa: PLC0415

    write_atomic(file, text.encode(), mode=_PRIVATE)


@app.command("list")
def list_members(context: typer.Context) -> None:
    """List the members, and the invites that were not used yet."""
    from parley_gateway import reading  # noqa: PLC0415

    from parley.asking import live_or_stored  # noqa: PLC0415

    session = session_of(context)
    config = _config(session)
    found = live_or_stored(session, "member.list", {}, lambda: reading.members(config, session.environ, time.time()))
    members = [
        (
            each["party"],
            each["legal_name"],
            each["party_class"],
            each["country"],
            _state(each, running=found["running"]),
            each["fingerprint"],
        )
        for each in found["members"]
    ]
    invites = [
        (each["party"], each["legal_name"], each["party_class"], "expired" if each["expired"] else f"good until {when(each['expires_at'])}")
        for each in found["invites"]
    ]
    session.out.result(
        found,
        Table(("party", "legal name", "class", "country", "state", "fingerprint"), members) if members else "no members yet",
        *([Table(("invited", "legal name", "class", ""), invites)] if invites else []),
    )


@app.command()
def show(context: typer.Context, party: Annotated[str, typer.Argument(help="The party's id.")]) -> None:
    """Show one member: its keys, its enrolment's place in the log, its studies."""
    from parley_gateway import reading  # noqa: PLC0415

    from parley.asking import live_or_stored  # noqa: PLC0415

    session = session_of(context)
    config = _config(session)
    found = live_or_stored(session, "member.show", {"party": party}, lambda: reading.member(config, session.environ, party))
    facts = {
        "party": found["party"],
        "legal name": found["legal_name"],
        "class": found["party_class"],
        "country": found["country"],
        "state": _state(found, running=found["running"]),
        "fingerprint": found["fingerprint"],
        "vouched for": ", ".join(f"by {each['issuer']} until {each['valid_until']}" for each in found["credentials"]) or "by nobody",
        "enrolled": f"{when(found['enrolled_at'])}, leaf {found['leaf']} of the log",
        "studies": ", ".join(found["studies"]) or "none",
    }
    session.out.result(found, Facts(facts | ({"revoked because": found["reason"]} if found["revoked"] else {})))


@app.command()
def revoke(
    context: typer.Context,
    party: Annotated[str, typer.Argument(help="The party's id.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log, for every member to read.")],
) -> None:
    """Revoke a member's keys: its requests are refused from now on. This cannot be taken back."""
    session = session_of(context)
    session.home(HomeKind.GATEWAY)
    session.confirm(f"Revoke the keys of {party} for ever?")
    found = session.call("member.revoke", {"party": party, "reason": reason})
    session.out.result(found, f"{party} is revoked; to let it back in, invite it again, with new keys")


def _config(session: Session) -> GatewayConfig:
    from parley_gateway.config import load  # noqa: PLC0415

    return load(session.home(HomeKind.GATEWAY).file)


def _state(member: Mapping[str, Any], *, running: bool) -> str:
    if member["revoked"]:
        return "revoked"
    if not running:
        return "enrolled"
    seen = member["seen_seconds_ago"]
    return "connected" if member["connected"] else "not connected" + ("" if seen is None else f", seen {span(seen)} ago")
