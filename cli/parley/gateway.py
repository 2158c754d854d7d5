"""`parley gateway`: make a gateway's folder, run the service, see who is connected and what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from parley_service.config import HomeKind
from parley_service.secrets import SecretReference

from parley.output import Facts, Table, View
from parley.session import Session, session_of
from parley.words import progress, span

app = typer.Typer(help="The gateway: negotiates, sums, logs; holds no data.", no_args_is_help=True)


@app.command()
def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    *,
    url: Annotated[str, typer.Option(help="What parties dial, such as https://gateway.example.")],
    operator: Annotated[str, typer.Option(help="Legal name of who operates it; told to every party and logged.")],
    country: Annotated[str, typer.Option(help="The operator's country, ISO 3166-1, such as DE.")],
    gateway_id: Annotated[str, typer.Option("--id", help="Its name in the log, for ever; else the host of the URL.")] = "",
    listen: Annotated[str, typer.Option(help="Address to listen at; else as the URL says, on loopback.")] = "",
    privacy_contact: Annotated[str, typer.Option(help="Told to every party.")] = "",
    security_contact: Annotated[str, typer.Option(help="Told to every party.")] = "",
    metrics: Annotated[str, typer.Option(help="Loopback address for /healthz and /metrics; else none.")] = "",
    passphrase: Annotated[
        str, typer.Option(help="Where the key's passphrase is: env:NAME, file:PATH, credential:NAME or prompt.")
    ] = "prompt",  # noqa: S107 - the word for asking, not a passphrase
) -> None:
    """Make a gateway's folder: gateway.toml, its encrypted key, its store. Overwrites nothing."""
    from parley_gateway.founding import GatewaySetup, initialise  # noqa: PLC0415

    session = session_of(context)
    reference = SecretReference.parse(passphrase)
    secret = reference.read(folder, session.environ, what="new passphrase for the key", twice=True)
    setup = GatewaySetup(
        url,
        operator,
        country,
        reference,
        secret,
        id=gateway_id,
        listen=listen,
        privacy_contact=privacy_contact,
        security_contact=security_contact,
        metrics=metrics,
    )
    made = initialise(folder, setup)
    files = [str(path.absolute().relative_to(folder.absolute())) for path in made.files]
    session.out.result(
        {"folder": str(folder), "url": url, "fingerprint": made.fingerprint, "key": made.key.hex, "files": files},
        Facts({"gateway": url, "operator": f"{operator}, {country}", "fingerprint": made.fingerprint, "files": ", ".join(files)}),
        "Parties compare this fingerprint by phone before they join.",
        f"next: go through {folder / 'gateway.toml'}; then: parley --home {folder} gateway serve",
    )


@app.command()
def serve(context: typer.Context) -> None:
    """Run the gateway until it is told to stop."""
    from parley_gateway import app as service  # noqa: PLC0415
    from parley_gateway.config import load  # noqa: PLC0415

    from parley.asking import announce  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.GATEWAY).file)
    with announce(session.out, config.control, config.state, _serving):
        service.serve(config.file, session.environ)


def _serving(status: dict[str, Any]) -> str:
    return f"serving {status['id']} at {status['listen']}, fingerprint {status['fingerprint']}"


@app.command()
def status(
    context: typer.Context,
    *,
    watching: Annotated[bool, typer.Option("--watch", help="Say it again at each change, until interrupted.")] = False,
) -> None:
    """Show the gateway: its members, who is connected, and its studies with whom they wait for."""
    from parley.asking import watch  # noqa: PLC0415

    session = session_of(context)
    session.home(HomeKind.GATEWAY)
    watch(session.out, lambda: _status(session), _views, on=watching)


def _status(session: Session) -> dict[str, Any]:
    from parley.asking import live_or_stored  # noqa: PLC0415

    return live_or_stored(session, "status", {}, lambda: _stored(session))


def _stored(session: Session) -> dict[str, Any]:
    from parley_gateway import config, reading  # noqa: PLC0415

    return reading.status(config.load(session.home().file), session.environ)


def _views(status: dict[str, Any]) -> tuple[View, ...]:
    running = f"running for {span(status['running_seconds'])}" if status["running"] else "stopped"
    facts = {
        "gateway": status["id"],
        "url": status["url"],
        "listens at": status["listen"],
        "service": running,
        "fingerprint": status["fingerprint"],
        "log": f"{status['log_leaves']} leaves",
    }
    members = [(each["party"], each["legal_name"], each["party_class"], each["country"], _presence(each)) for each in status["members"]]
    studies = [
        (
            each["study"],
            each["state"],
            progress(each["rounds_done"], each["rounds_total"]),
            f"{each['round']}, {each['phase']}" if each["phase"] else "",
            ", ".join(each["waits_for"]),
            each["reason"],
        )
        for each in status["studies"]
    ]
    views: list[View] = [Facts(facts)]
    views.append(
        Table(("party", "legal name", "class", "country", ""), members) if members else "no members yet: parley member invite PARTY"
    )
    if studies:
        views.append(Table(("study", "state", "rounds", "open round", "waits for", "reason"), studies))
    return tuple(views)


def _presence(member: dict[str, Any]) -> str:
    if member["revoked"]:
        return "revoked"
    return "connected" if member["connected"] else ""
