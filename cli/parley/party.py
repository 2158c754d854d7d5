"""`parley party`: make a party's folder, join a federation, run the service, and see what it does and what left."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from parley_policies.model.profiles import LOOPBACK_ONLY, PROFILES
from parley_service.config import HomeKind
from parley_service.secrets import SecretReference

from parley.output import Facts, Table, View
from parley.session import UsageError, session_of
from parley.words import progress, short, size, when

if TYPE_CHECKING:
    from parley_party.config import PartyConfig

app = typer.Typer(help="One organization's service.", no_args_is_help=True)
_PARTY_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DAYS_TO_ANSWER: Final = 14
_MESSAGES_SHOWN: Final = 20
_COUNTRIES: Final = ("DE", "US")  # as in the profile


@app.command()
def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    *,
    party: Annotated[str | None, typer.Option("--id", help="The party's id, as in the invite; else the name of DIR.")] = None,
    invite: Annotated[Path | None, typer.Option(help="An invite: says id, gateway, class and country.")] = None,
    profile: Annotated[str, typer.Option(help=f"The policy to start from: {', '.join(PROFILES)}.")] = PROFILES[0],
    from_csv: Annotated[Path | None, typer.Option(help="Guess dataset, map and a study's columns from a CSV file.")] = None,
    gateway_fingerprint: Annotated[str | None, typer.Option(help="The gateway that the policy grants; else the invite's.")] = None,
    passphrase: Annotated[
        str, typer.Option(help="Where the keys' passphrase is: env:NAME, file:PATH, credential:NAME or prompt.")
    ] = "prompt",  # noqa: S107 - the word for asking, not a passphrase
) -> None:
    """Make a party's folder: party.toml, policy.toml, encrypted keys. Overwrites nothing."""
    from parley_party.drafting import NAME, first_policy, study_draft  # noqa: PLC0415
    from parley_party.enrolment import read_invite  # noqa: PLC0415
    from parley_party.founding import PartySetup, create_party, data_tables  # noqa: PLC0415

    session, today = session_of(context), datetime.now(UTC).date()
    invited = None if invite is None else read_invite(invite)
    party = _one_id(party, None if invited is None else invited.party, folder)
    reference = SecretReference.parse(passphrase)
    guessed, query, columns = ("", None, "") if from_csv is None else _guessed(from_csv, party)
    data = data_tables(guessed)
    gateway = gateway_fingerprint or (None if invited is None else invited.gateway.fingerprint)
    peers: dict[str, Any] = {}
    if invited is not None and profile in LOOPBACK_ONLY:  # what a strict profile grants to others is for people to write
        peers = {"peers": [f"class:{invited.party_class}"], "countries": sorted({*_COUNTRIES, invited.country})}
    policy = first_policy(profile, party, data, gateway=gateway, today=today, values=peers)
    drafts = {NAME: study_draft(party, columns, answer_by=today + timedelta(days=_DAYS_TO_ANSWER))} if columns else {}
    drafts |= dict([query]) if query else {}
    secret = reference.read(folder, session.environ, what="new passphrase for the keys", twice=True)
    created = create_party(folder, PartySetup(party, reference, secret, policy, data, drafts))
    fingerprint = created.keys.identity.public.fingerprint
    files = [str(path.absolute().relative_to(folder.absolute())) for path in created.files]
    session.out.result(
        {"folder": str(folder), "party": party, "fingerprint": fingerprint, "files": files, "profile": profile, "gateway": gateway},
        Facts({"party": party, "fingerprint": fingerprint, "folder": folder, "files": ", ".join(files)}),
        f"policy.toml was made from the profile {profile}: read it, it is yours. {_about(profile)}",
        *([] if gateway else ["It grants no gateway yet: add the fingerprint under [gateway], or give --invite or --gateway-fingerprint."]),
        f"next: go through the lines of {folder / 'party.toml'} that say LOOK; then: parley --home {folder} party join INVITE",
    )


def _about(profile: str) -> str:
    if profile in LOOPBACK_ONLY:
        return "This profile is for gateways on this machine alone."
    return "Fill in the lines that say LOOK: what is not written grants nothing."


def _one_id(given: str | None, invited: str | None, folder: Path) -> str:
    named = {name for name in (given, invited) if name is not None} or {folder.absolute().name}
    if len(named) != 1:
        raise UsageError("party init --id", wanted=f"{invited}, as in the invite", got=given)
    name = named.pop()
    if not _PARTY_ID.fullmatch(name):
        raise UsageError("party init", wanted="an id of a-z, 0-9 and - that begins with a letter or digit", got=name, do="Say --id NAME.")
    return name


def _guessed(csv: Path, party: str) -> tuple[str, tuple[str, str], str]:
    """Return a guessed party.toml, its query file (name, text), and a `[columns]` block."""
    from parley_party.datasource_guess import guess_columns, guess_party_toml, guess_query  # noqa: PLC0415

    return guess_party_toml(csv, party), guess_query(csv), guess_columns(csv)


@app.command()
def join(
    context: typer.Context,
    invite: Annotated[Path, typer.Argument(help="The invite file from the gateway's operator.")],
    *,
    fingerprint: Annotated[str | None, typer.Option(help="The gateway's fingerprint as the operator read it to you.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the federation in party.toml.")] = None,
    proxy: Annotated[str, typer.Option(help="env (HTTPS_PROXY, NO_PROXY), none, or an HTTP proxy's URL.")] = "env",
    ca_file: Annotated[str, typer.Option(help="system, or a PEM file with the authority of the gateway's certificate.")] = "system",
    credential: Annotated[list[Path] | None, typer.Option(help="What an issuer says of us, to be shown to every member.")] = None,
) -> None:
    """Answer an invite: prove our keys to the gateway, and write the federation into party.toml."""
    from parley_party import keystore  # noqa: PLC0415
    from parley_party.activation import policy_here  # noqa: PLC0415
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.enrolment import JoinPlan, check_invite, federation_name, read_credentials, read_invite  # noqa: PLC0415
    from parley_party.enrolment import join as join_federation  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.PARTY).file)
    invited = read_invite(invite)
    called = name or federation_name(invited.gateway.id, config.gateways)
    plan = JoinPlan(called, proxy, ca_file, fingerprint, read_credentials(credential or ()))
    check_invite(config, invited, plan, now=time.time())  # before a passphrase is asked for
    policy = policy_here(config)
    keys = keystore.load(config.keys.dir, config.keys.passphrase.read(config.folder, session.environ))
    session.out.progress(f"joining {invited.gateway.id} at {invited.gateway.url}")
    joined = asyncio.run(join_federation(config, keys, policy, invited, plan, now=time.time()))
    compared = fingerprint is not None
    if not compared:
        session.out.warn("the gateway's fingerprint was taken from the invite and compared with nothing: call the operator")
    session.out.result(
        {**asdict(joined), "compared": compared},
        Facts(
            {
                "federation": joined.name,
                "gateway": f"{joined.url}, operated by {joined.operator}",
                "its fingerprint": joined.gateway_fingerprint,
                "party": joined.party,
                "our fingerprint": joined.party_fingerprint,
            }
        ),
        "Compare both fingerprints by phone with the operator and the other parties, not by way of the gateway.",
        *(f"note: {note}" for note in joined.notes),
        "next: parley party serve",
    )


@app.command()
def credentials(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="What issuers say of us; those of before are shown no more.")],
    *,
    federation: Annotated[str | None, typer.Option(help="Where, if there are several federations.")] = None,
) -> None:
    """Show other credentials than at `join`, such as one that was renewed. Studies that run keep those they were agreed with."""
    from parley_party.enrolment import read_credentials  # noqa: PLC0415

    session = session_of(context)
    session.home(HomeKind.PARTY)
    texts = read_credentials(files)
    shown = session.call("credentials.show", {"credentials": list(texts)} | ({"federation": federation} if federation else {}))
    session.out.result(shown, f"{shown['federation']} shows {shown['credentials']} of our credentials to every member from now on")


@app.command()
def fingerprint(context: typer.Context) -> None:
    """Show our fingerprint and those of our gateways, to be compared by phone."""
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.founding import public_keys  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.PARTY).file)
    keys = public_keys(config.keys.dir)
    gateways = {name: link.fingerprint for name, link in config.gateways.items()}
    session.out.result(
        {"party": config.party.id, "fingerprint": keys.fingerprint, "identity": keys.identity, "gateways": gateways},
        Facts({config.party.id: keys.fingerprint, **{f"gateway {name}": value for name, value in gateways.items()}}),
    )


@app.command()
def serve(context: typer.Context) -> None:
    """Run the party service until it is told to stop."""
    from parley_party import app as service  # noqa: PLC0415
    from parley_party.config import load  # noqa: PLC0415

    from parley.asking import announce  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.PARTY).file)
    with announce(session.out, config.party.control, config.party.state, _serving), asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(service.serve(config.file))


def _serving(status: dict[str, Any]) -> str:
    federations = ", ".join(f"{item['name']} ({item['url']})" for item in status["federations"])
    return f"serving {status['party']} at {federations}"


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the fastest event loop that this platform has."""
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.new_event_loop


@app.command()
def status(
    context: typer.Context,
    *,
    watching: Annotated[bool, typer.Option("--watch", help="Say it again at each change, until interrupted.")] = False,
) -> None:
    """Show the service: its federations, and its studies with their rounds."""
    from parley_party.config import load  # noqa: PLC0415

    from parley.asking import live_or_stored, watch  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.PARTY).file)

    def look() -> dict[str, Any]:
        return live_or_stored(session, "status", {}, lambda: _stored_status(config))

    watch(session.out, look, _status_views, on=watching)


def _stored_status(config: PartyConfig) -> dict[str, Any]:
    """Return what the running service would answer, from the files and the store of a stopped one."""
    from parley_party import reading  # noqa: PLC0415
    from parley_party.activation import history  # noqa: PLC0415
    from parley_party.verbs import policy_status  # noqa: PLC0415

    in_force = history(config)
    known = reading.studies(config) if reading.store_path(config).is_file() else ()
    return {
        "party": config.party.id,
        "policy": policy_status(config, in_force[-1].activated) if in_force else None,
        "federations": [{"name": name, "url": link.url, "connected": False} for name, link in config.gateways.items()],
        "studies": [
            {
                "study": view.id,
                "state": view.state,
                "version": view.rounds_done,
                "rounds": view.rounds_total,
                "round": None,
                "has_result": view.result is not None,
                "reason": view.reason,
            }
            for view in sorted(known, key=lambda view: view.id)
        ],
    }


def _status_views(status: dict[str, Any]) -> tuple[View, ...]:
    policy = status["policy"]
    facts = {
        "party": status["party"],
        "service": "running" if status["running"] else "stopped",
        "policy": "none in force yet" if policy is None else _policy_says(policy),
    }
    federations = [(item["name"], item["url"], "connected" if item["connected"] else "not connected") for item in status["federations"]]
    studies = [
        (item["study"], item["state"], progress(item["version"], item["rounds"]), _round(item["round"]), item["reason"])
        for item in status["studies"]
    ]
    views: list[View] = [Facts(facts)]
    views.append(Table(("federation", "gateway", ""), federations) if federations else "no federation yet: parley party join INVITE")
    if studies:
        views.append(Table(("study", "state", "rounds", "open round", "reason"), studies))
    return tuple(views)


def _policy_says(policy: dict[str, Any]) -> str:
    match policy["file_differs"]:
        case None:
            file = "; the policy file cannot be read"
        case True:
            file = "; the policy file is another: it changes nothing until parley policy activate"
        case _:
            file = ""
    return f"version {policy['version']}, sha256:{short(policy['sha256'])}{file}"


def _round(current: dict[str, Any] | None) -> str:
    return "" if current is None else f"{current['round']}, {current['phase']}"


@app.command()
def egress(
    context: typer.Context,
    study: Annotated[str | None, typer.Argument(help="Only what left for this study.")] = None,
    *,
    last: Annotated[int, typer.Option(help="How many of the newest messages to list.", min=0)] = _MESSAGES_SHOWN,
) -> None:
    """Show what left this organization: every message with its size, agreement and the guard's verdict."""
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.reading import egress as read_egress  # noqa: PLC0415
    from parley_party.store import EGRESS_SHOWN  # noqa: PLC0415

    session = session_of(context)
    left = read_egress(load(session.home(HomeKind.PARTY).file), study)
    totals: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for item in left:
        totals[item.study, item.kind, item.verdict].append(item.size)
    kinds: list[dict[str, Any]] = [
        {"study": name, "kind": kind, "verdict": verdict, "messages": len(sizes), "bytes": sum(sizes)}
        for (name, kind, verdict), sizes in sorted(totals.items())
    ]
    newest = left[max(0, len(left) - last) :]
    if not left:
        session.out.result({"totals": [], "messages": []}, "nothing has left yet")
        return
    session.out.result(
        {"totals": kinds, "messages": [asdict(item) for item in newest]},
        Table(
            ("study", "what", "messages", "size", "verdict"),
            [(row["study"], row["kind"], row["messages"], size(row["bytes"]), row["verdict"]) for row in kinds],
            title="What left, in all:" if len(left) < EGRESS_SHOWN else f"What left, the newest {EGRESS_SHOWN} messages alone:",
        ),
        Table(
            ("when", "study", "round", "what", "size", "agreement", "verdict"),
            [
                (when(item.at), item.study, item.round or "", item.kind, size(item.size), short(item.agreement), item.verdict)
                for item in newest
            ],
            title=f"The newest {len(newest)} of {len(left)} messages:",
        ),
    )
