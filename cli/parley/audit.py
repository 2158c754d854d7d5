"""`parley audit`: take the log out, verify an export without network, read it.

`verify` and `show` need nothing but the folder: no service, no gateway, no extra, on any platform. They import no network code.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer
from parley_audit.checks import Check, Report
from parley_audit.claims import Audience
from parley_audit.errors import FaultError
from parley_audit.export import HEADER, LEAVES, ExportHeader, write_export
from parley_audit.leaves import parse_leaf, study_of
from parley_audit.verify import verify as verify_export
from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_protocol.limits import LEAF_BYTES
from parley_protocol.logentries import HiddenLeaf
from parley_protocol.problems import Problem, Slug
from parley_service.config import HomeKind
from parley_service.errors import ConfigError

from parley.leaves import leaf_row
from parley.output import Facts, Table, View
from parley.session import Session, UsageError, session_of

if TYPE_CHECKING:
    from parley_party.logexport import FetchedLog

app = typer.Typer(help="The log: take it out, verify it, read it.", no_args_is_help=True)
ExportFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of an export.")]
_WITHHELD: Final = re.compile(rb'\{"withheld":"[0-9a-f]{64}"\}')
_HEADER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as the audit package reads and writes it. New files never replace old ones."""

    path: Path

    def names(self) -> Collection[str]:
        """Return the names of everything in it."""
        return [entry.name for entry in self.path.iterdir()]

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading."""
        return (self.path / name).open("rb")

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file for writing."""
        return (self.path / name).open("xb")


@app.command()
def export(
    context: typer.Context,
    study: Annotated[str | None, typer.Argument(help="The study to show; leaves of others are withheld.")] = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    every: Annotated[bool, typer.Option("--all", help="Show every study that we are shown; a gateway's own export shows all.")] = False,
    audience: Annotated[Audience, typer.Option("--for", help="Who will read it: that decides what is withheld.")] = Audience.PARTY,
    federation: Annotated[str | None, typer.Option(help="Which of our federations, if there are several.")] = None,
) -> None:
    """Write the log as six files that anyone can verify without network. At a party it is fetched and compared with what we saw before."""
    session = session_of(context)
    if (study is None) == (not every):
        raise UsageError("audit export", wanted="a study, or --all", got="neither" if study is None else "both")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"{out}", problem=Slug.CONFLICT, wanted="no such folder yet, or an empty one", got="something", do="Say another --out."
        )
    log = _from_gateway(session) if session.home().kind is HomeKind.GATEWAY else _from_party(session, federation)
    if study is not None:
        _require_study(log, study)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    studies = None if study is None else (study,)
    header = write_export(
        Folder(out),
        log.leaves,
        checkpoint=log.checkpoint,
        gateway=log.key,
        origin=log.origin,
        audience=audience,
        studies=studies,
        party=log.party,
    )
    report = verify_export(Folder(out), gateway_key=log.key)
    plain = {"folder": str(out), "for": header.audience.value, "leaves": header.size, "withheld": header.withheld, "verified": report.ok}
    if report.fault is not None:
        session.out.warn(f"the export does not verify: {report.fault}")
    session.out.result(
        plain,
        f"wrote {out}: {header.size} leaves, {header.withheld} of them withheld, for: {header.audience.value}",
        f"verify it anywhere: parley audit verify {out}",
    )


def _from_gateway(session: Session) -> FetchedLog:
    from parley_gateway.app import log_origin  # noqa: PLC0415
    from parley_gateway.config import load  # noqa: PLC0415
    from parley_gateway.founding import read_public_key  # noqa: PLC0415
    from parley_gateway.reading import store_path  # noqa: PLC0415
    from parley_gateway.store import read_leaves  # noqa: PLC0415
    from parley_party.logexport import FetchedLog  # noqa: PLC0415

    config = load(session.home(HomeKind.GATEWAY).file)
    note, leaves = read_leaves(store_path(config, session.environ))
    return FetchedLog(note, leaves, read_public_key(config.folder), log_origin(config))


def _from_party(session: Session, federation: str | None) -> FetchedLog:
    import asyncio  # noqa: PLC0415 - verify and show need none

    from parley_party import keystore, reading  # noqa: PLC0415
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.logexport import fetch_log  # noqa: PLC0415
    from parley_party.store import LogView  # noqa: PLC0415

    config = load(session.home(HomeKind.PARTY).file)
    names = sorted(config.gateways) if federation is None else [federation]
    if len(names) != 1 or names[0] not in config.gateways:
        wanted = f"one of {', '.join(sorted(config.gateways)) or 'none: parley party join INVITE'}"
        raise UsageError("audit export --federation", wanted=wanted, got=federation or "none")
    seen = reading.read(config, lambda store: store.log_view(names[0]), LogView(0, 0, ""))
    keys = keystore.load(config.keys.dir, config.keys.passphrase.read(config.folder, session.environ))
    link = config.gateways[names[0]]
    session.out.progress(f"fetching the log of {link.url}")
    return asyncio.run(fetch_log(link, party=config.party.id, key=keys.authentication, seen=seen))


def _require_study(log: FetchedLog, study: str) -> None:
    """Raise UsageError unless a leaf shown is about the study. A leaf that cannot be read is evidence, and about none."""
    known = set()
    for leaf in log.leaves:
        if isinstance(leaf, HiddenLeaf):
            continue
        try:
            known.add(study_of(parse_leaf(leaf)))
        except (FaultError, CryptoError):
            continue
    if study not in known:
        names = ", ".join(sorted(name for name in known if name)) or "none yet"
        raise UsageError(
            f"study {study!r}", problem=Slug.UNKNOWN_STUDY, wanted=f"a study of this log that we are shown: {names}", got="none of that id"
        )


@app.command()
def verify(
    context: typer.Context,
    folder: ExportFolder,
    *,
    fingerprint: Annotated[str | None, typer.Option(help="The gateway's fingerprint, as you were told it outside the gateway.")] = None,
) -> None:
    """Verify an export without network: signatures, the tree, certificates, completeness. Names the first fault, with exit code 6."""
    session = session_of(context)
    source = _folder(folder)
    report = verify_export(source, gateway_key=_key(source, fingerprint))
    problem = None
    if report.fault is not None:
        problem = Problem(
            Slug.VERIFICATION_FAILED, str(report.fault), do="Do not rely on it. Keep it as it is, and ask whoever gave it to you."
        )
    session.out.result(report.as_dict(), *_views(report), problems=[problem] if problem else [])


def _folder(path: Path) -> Folder:
    if not path.is_dir():
        raise ConfigError(f"export {path}", wanted="a folder", got="none of that name" if not path.exists() else "something else")
    return Folder(path)


def _key(source: Folder, fingerprint: str | None) -> VerifyKey | None:
    """Return the export's own key once it is the one that the reader was told; None if the reader was told none."""
    if fingerprint is None:
        return None
    try:
        with source.open(HEADER) as file:
            header = ExportHeader.parse(file.read(_HEADER_BYTES).removesuffix(b"\n"))
    except (OSError, CryptoError) as error:
        raise FaultError(Check.FORMAT, f"{HEADER}: {error}") from error
    key = VerifyKey.from_hex(header.gateway)
    if key.fingerprint != fingerprint:
        raise FaultError(Check.CHECKPOINT, f"gateway key: wanted {fingerprint}, got an export of {key.fingerprint}")
    return key


def _views(report: Report) -> Iterator[View]:
    told = "as you were told" if report.gateway_given else "taken from the export itself: compare it"
    facts = {
        "result": "verified" if report.ok else "DOES NOT VERIFY",
        "export for": report.audience,
        "log": report.origin,
        "leaves": f"{report.size}, {report.withheld} of them withheld" if report.origin else "",
        "root": report.root,
        "gateway": f"{report.gateway} ({told})" if report.gateway else "",
        "witnesses": ", ".join(report.witnesses) or "no witnesses: only the gateway signed this log",
    }
    yield Facts({name: value for name, value in facts.items() if value})
    yield Table(
        ("", "check", "outcome", "things"), [(r.check.number, r.check.title, r.outcome.value, r.count or "") for r in report.checks]
    )
    if report.studies:
        rows = [
            (
                study.study,
                ", ".join(study.members),
                study.certificates,
                study.last_round,
                f"at least {study.fewest} parties" if study.fewest else "",
                _exposed(study.small_changes),
                study.closed or "open",
            )
            for study in report.studies
        ]
        yield Table(("study", "parties", "certificates", "last round", "each sum", "small changes", "ended"), rows)
    if report.proves:
        yield "This proves:"
        yield from (f"  - {line}" for line in report.proves)
    if report.proves_not:
        yield "It does not prove:"
        yield from (f"  - {line}" for line in report.proves_not)


def _exposed(changes: Collection[Any]) -> str:
    return "; ".join(f"round {change.round}, {change.segment}: {', '.join(change.parties)}" for change in changes) or "none"


@app.command()
def show(context: typer.Context, folder: ExportFolder) -> None:
    """Read the leaves of an export in words. This checks nothing: verify it first."""
    session = session_of(context)
    rows = list(_rows(_folder(folder)))
    leaves = [{"leaf": number, "kind": kind, "study": study, "says": says} for number, kind, study, says in rows]
    session.out.result(
        {"leaves": leaves}, Table(("leaf", "kind", "study", "says"), rows), f"Nothing was checked: parley audit verify {folder}"
    )


def _rows(source: Folder) -> Iterator[tuple[int, str, str, str]]:
    try:
        file = source.open(LEAVES)
    except OSError as error:
        raise ConfigError(f"export {source.path}", wanted=f"a file {LEAVES}", got=error.strerror or "an error") from error
    with file as lines:
        number = 0
        while line := lines.readline(LEAF_BYTES + 2):
            raw = line.removesuffix(b"\n")
            if _WITHHELD.fullmatch(raw):
                yield number, "withheld", "", ""
            else:
                yield number, *_row(raw)
            number += 1


def _row(raw: bytes) -> tuple[str, str, str]:
    try:
        return leaf_row(raw)
    except (FaultError, CryptoError) as error:
        return "unreadable", "", str(error)
