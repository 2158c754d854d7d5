"""`parley store`: back up a service's store, restore it, check it. In the folder of a gateway or of a party.

`backup` and `check` may run beside the service and do not hold it up; `restore` wants it stopped. What a backup leaves out, and what a
restored service does about it, stands on the pages for operating.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from parley_protocol.problems import Problem, Slug
from parley_service.config import HomeKind

from parley.output import Table
from parley.session import Session, session_of
from parley.words import size, when

if TYPE_CHECKING:
    from parley_service.backup import Site
    from parley_service.backupfile import BackupHeader
    from parley_service.findings import Finding

app = typer.Typer(help="The store: back it up, restore it, check it.", no_args_is_help=True)
BackupPath = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


@app.command("backup")
def back_up(context: typer.Context, file: BackupPath) -> None:
    """Write the store into a new file, also while the service runs. Round secrets, keys and configuration are not in it."""
    from parley_service.backup import backup  # noqa: PLC0415

    session = session_of(context)
    header = backup(_site(session), file, now=time.time())
    total = sum(entry.size for entry in header.files)
    session.out.result(
        {"file": str(file), **_plain(header)},
        f"wrote {file}: the {header.kind} {header.id}, {len(header.files)} files, {size(total)}",
        "It is as confidential as the store. Not in it: round secrets, keys, configuration, policy. Keep the keys folder apart from it.",
    )


@app.command()
def restore(context: typer.Context, file: BackupPath) -> None:
    """Put the store of a backup in place of the one here, which is kept aside. The service must be stopped."""
    from parley_service.backup import restore as put_back  # noqa: PLC0415
    from parley_service.backupfile import read_header  # noqa: PLC0415

    session = session_of(context)
    site = _site(session)
    header = read_header(file)
    session.confirm(f"Replace the store of the {site.kind} {site.id} by the backup of {when(header.at)}? What came after it is lost here.")
    restored = put_back(site, file, now=time.time())
    if restored.remark:
        session.out.warn(restored.remark)
    aside = None if restored.aside is None else str(restored.aside)
    session.out.result(
        {"file": str(file), **_plain(restored.header), "aside": aside, "remark": restored.remark},
        f"restored the {header.kind} {header.id} as of {when(header.at)}",
        f"the store that was here: {aside}" if aside else "there was no store here",
        _WHAT_NOW[site.kind],
    )


_WHAT_NOW = {
    HomeKind.PARTY.value: "Rounds that were open are lost for this party; it joins one that opens after it is back. Start the service.",
    HomeKind.GATEWAY.value: "Parties that saw a longer log than this one refuse this gateway from now on. Start it and watch who connects.",
}


@app.command()
def check(context: typer.Context) -> None:
    """Recompute what the store holds: pages, log, chains of certificates, public states, files of sums. Changes nothing."""
    session = session_of(context)
    findings = _findings(session)
    plain = [{"what": each.what, "of": each.of, "sound": each.sound, "faults": list(each.faults)} for each in findings]
    rows = [(each.what, each.of, "sound" if each.sound else "; ".join(each.faults)) for each in findings]
    problems = [_problem(each) for each in findings if not each.sound]
    session.out.result({"findings": plain}, Table(("what", "of it", "verdict"), rows), problems=problems)


def _problem(finding: Finding) -> Problem:
    return Problem(
        Slug.STORE_DAMAGED, finding.what, wanted="what its own signatures, digests and numbers say", got="; ".join(finding.faults)[:2_000]
    )


def _findings(session: Session) -> tuple[Finding, ...]:
    match (home := session.home()).kind:
        case HomeKind.GATEWAY:
            from parley_gateway import backup as gateway  # noqa: PLC0415
            from parley_gateway.config import load as load_gateway  # noqa: PLC0415

            return gateway.check(load_gateway(home.file), session.environ)
        case HomeKind.PARTY:
            from parley_party import backup as party  # noqa: PLC0415
            from parley_party.config import load as load_party  # noqa: PLC0415

            return party.check(load_party(home.file))


def _site(session: Session) -> Site:
    match (home := session.home()).kind:
        case HomeKind.GATEWAY:
            from parley_gateway import backup as gateway  # noqa: PLC0415
            from parley_gateway.config import load as load_gateway  # noqa: PLC0415

            return gateway.site(load_gateway(home.file), session.environ)
        case HomeKind.PARTY:
            from parley_party import backup as party  # noqa: PLC0415
            from parley_party.config import load as load_party  # noqa: PLC0415

            return party.site(load_party(home.file))


def _plain(header: BackupHeader) -> dict[str, Any]:
    files = [entry.model_dump() for entry in header.files]
    return {"kind": header.kind, "id": header.id, "at": header.at, "revision": header.revision, "files": files}
