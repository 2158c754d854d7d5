"""`parley doctor`: everything that can be wrong here, and what to do. Works before `party init` and before `party join`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from parley_protocol.problems import ProblemError
from parley_service.config import Home, HomeKind, find_home
from parley_service.errors import ConfigError

from parley.session import Session, session_of
from parley.verdicts import Level, Verdict, doubt, failed_by

if TYPE_CHECKING:
    from parley_party.store import LogView, PartyStore


def doctor(
    context: typer.Context,
    *,
    gateway: Annotated[str | None, typer.Option(help="Look at the way to this gateway, before joining it.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at this machine alone.")] = False,
    proxy: Annotated[str, typer.Option(help="With --gateway: env, none, or an HTTP proxy's URL.")] = "env",
    ca_file: Annotated[str, typer.Option(help="With --gateway: system, or a PEM file.")] = "system",
    poll_seconds: Annotated[float | None, typer.Option(help="How long to hold a long poll; else as long as a study does.")] = None,
) -> None:
    """Look at everything that can be wrong here, and say what to do: a verdict a line."""
    session = session_of(context)
    found = list(_home(session, poll_seconds, offline=offline))
    if gateway is not None and not offline:
        from parley_party.enrolment import link_of  # noqa: PLC0415

        from parley.doctor_network import check_link  # noqa: PLC0415

        found += check_link(link_of(gateway, proxy, ca_file, Path.cwd()), None, poll_seconds, session.out.progress)
    failures = [verdict for verdict in found if verdict.level is Level.FAIL]
    counts = {level.value: sum(verdict.level is level for verdict in found) for level in Level}
    session.out.result(
        {"verdicts": [verdict.plain() for verdict in found], "counts": counts},
        *(verdict.line() for verdict in found),
        ", ".join(f"{count} {level}" for level, count in counts.items()),
        problems=[verdict.problem() for verdict in failures],
    )


def _home(session: Session, poll_seconds: float | None, *, offline: bool) -> Iterator[Verdict]:
    """Look at the folder that the command is used in, and from a party's at the way to each of its gateways."""
    from parley import doctor_home  # noqa: PLC0415

    try:
        home = find_home(session.options.home, session.environ, Path.cwd())
    except ConfigError as error:
        yield doctor_home.check_extras(None)
        yield doctor_home.check_disk(Path.cwd())
        yield doubt("folder", str(error), "Make one: parley gateway init, or parley party init.")
        return
    yield doctor_home.check_extras(home.kind)
    yield doctor_home.check_disk(home.folder)
    if home.kind is HomeKind.PARTY:
        yield from _party(session, home, poll_seconds, offline=offline)
    else:
        yield from doctor_home.check_gateway_home(session, home)
        yield doctor_home.check_service(session)[0]


def _party(session: Session, home: Home, poll_seconds: float | None, *, offline: bool) -> Iterator[Verdict]:
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.reading import read  # noqa: PLC0415
    from parley_party.store import LogView  # noqa: PLC0415

    from parley import doctor_home  # noqa: PLC0415
    from parley.doctor_network import Joined, check_link  # noqa: PLC0415

    try:
        config = load(home.file)
    except ProblemError as error:
        yield failed_by("config", error)
        return
    yield from doctor_home.check_party_home(config)
    verdict, keys = doctor_home.open_party_keys(session, config)
    yield verdict
    yield from doctor_home.check_data(config)
    verdict, status = doctor_home.check_service(session)
    yield verdict
    if offline:
        return
    if not config.gateways:
        yield doubt("federation", "none joined yet", "parley party join INVITE; before it, look with --gateway URL.")
    served = {item["name"] for item in status["federations"] if item["connected"]} if status else set()
    for name, link in config.gateways.items():
        cursor = read(config, partial(_log_view, name), LogView(0, 0, "")).cursor
        joined = None if keys is None else Joined(config.party.id, keys, cursor, name in served)
        yield from check_link(link, joined, poll_seconds, session.out.progress)


async def _log_view(name: str, store: PartyStore) -> LogView:
    return await store.log_view(name)
