"""`parley policy try`: what a study and policies would agree on, offline: no service, no keys, no network, any platform, no extra.

It runs the negotiation that services run (`parley_policies.trial`) and signs nothing. Facts that neither study nor policies hold come
from a facts file, or are assumed and listed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.model.unsupported import unsupported_clauses
from parley_protocol.problems import Problem, Slug
from parley_service.errors import ConfigError
from parley_service.sealedfile import write_atomic

from parley.explained import by_topic
from parley.output import Facts, Table, View
from parley.session import Session, UsageError, session_of

if TYPE_CHECKING:
    from parley_policies.trial.overview import Overview
    from parley_policies.trial.trial import Trial

_PICTURES: Final = (".html", ".svg")
_SEARCHED_FOR_ALL: Final = 12  # parties up to which everybody's clauses are loosened one by one: with more it takes minutes
_STDOUT: Final = 1  # as native code knows it


def try_policies(
    context: typer.Context,
    study: Annotated[Path, typer.Argument(help="A study.toml, as its sponsor would propose it.")],
    policies: Annotated[list[Path], typer.Argument(metavar="POLICY", help="A policy.toml of each party.")],
    *,
    facts: Annotated[Path | None, typer.Option(help="A file of what study and policies do not say (schema parley.facts/1).")] = None,
    assume: Annotated[list[str] | None, typer.Option(help="A clause to treat as if this version could uphold it.")] = None,
    readers: Annotated[
        list[str] | None, typer.Option("--as", metavar="PARTY", help="Show only what this party may read; else every policy's clauses.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also a picture: FILE.html with everything, or FILE.svg alone.")] = None,
    loosen: Annotated[bool, typer.Option("--loosen/--no-loosen", help="Search what a loosened clause would bring.")] = True,
) -> None:
    """Negotiate a study among policies, offline: who agrees on what, which clause keeps whom out, what could be loosened."""
    session = session_of(context)
    if out is not None and out.suffix not in _PICTURES:
        raise UsageError(f"--out {out}", wanted="a file that ends in .html or .svg", got=out.suffix or "no ending")
    given = _policies(policies)
    readable = _readers(given, readers)
    with _solver_silenced():
        trial = _tried(study, given, facts, _assumed(given, assume or []))
        overview = _told(trial, readable, named=bool(readers), loosen=loosen)
    if out is not None:
        _draw(overview, out)
    problem = Problem(Slug.NO_AGREEMENT, overview.rows()[0][2], do="See which clause keeps whom out, and what could be loosened.")
    session.out.result(overview.as_data(), *_views(overview, session, out), problems=() if overview.agreed else (problem,))


def _tried(study: Path, policies: Mapping[str, PolicyFile], facts: Path | None, assume: frozenset[str]) -> Trial:
    # here and not above: the solver and the learning code take a moment to load, and other verbs of this noun need neither
    from parley_learning.shape import shape_of  # noqa: PLC0415
    from parley_policies.negotiation.study_file import load_study  # noqa: PLC0415
    from parley_policies.trial.facts import Facts as TrialFacts  # noqa: PLC0415
    from parley_policies.trial.facts import load_facts  # noqa: PLC0415
    from parley_policies.trial.trial import hold  # noqa: PLC0415

    asked = load_study(_read(study, "study"), str(study))
    known = TrialFacts() if facts is None else load_facts(_read(facts, "facts"), str(facts))
    return hold(asked, policies, known, shape_of(asked), today=datetime.now(UTC).date(), assume=assume)


def _told(trial: Trial, readable: frozenset[str], *, named: bool, loosen: bool) -> Overview:
    """Return what the readers are told. With many policies only those who are out, or are named, learn what they could loosen."""
    from parley_policies.trial.telling import overview_of  # noqa: PLC0415

    everybody = named or len(trial.settled.policies) <= _SEARCHED_FOR_ALL
    asking = (readable if everybody else readable - trial.members) if loosen else frozenset[str]()
    return overview_of(trial, readable=readable, loosening=asking)


@contextmanager
def _solver_silenced() -> Iterator[None]:
    """Send what native code prints to nowhere: some versions of the solver say a line on stdout, which would spoil `--json`."""
    sys.stdout.flush()
    kept = os.dup(_STDOUT)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), _STDOUT)
    try:
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _policies(files: Sequence[Path]) -> dict[str, PolicyFile]:
    """Return the policies by party; UsageError for two of one party."""
    found: dict[str, PolicyFile] = {}
    for file in files:
        loaded = load_policy(_read(file, "policy"), str(file))
        party = loaded.policy.party
        if party in found:
            raise UsageError(f"policy {file}", wanted=f"one policy of {party}", got=f"another in {found[party].name}")
        found[party] = loaded
    return found


def _assumed(policies: Mapping[str, PolicyFile], clauses: Sequence[str]) -> frozenset[str]:
    """Return the clauses to assume; UsageError for one that no policy has, or that this version upholds."""
    lacking = sorted({item.clause for file in policies.values() for item in unsupported_clauses(file.policy)})
    if "all" in clauses:
        return frozenset(lacking)
    for clause in clauses:
        if clause not in lacking:
            raise UsageError(f"--assume {clause}", wanted=f"one of {', '.join(lacking) or 'none'}, or all", got=clause)
    return frozenset(clauses)


def _readers(policies: Mapping[str, PolicyFile], named: Sequence[str] | None) -> frozenset[str]:
    if unknown := sorted(set(named or ()) - policies.keys()):
        raise UsageError(f"--as {unknown[0]}", wanted=f"one of {', '.join(sorted(policies))}", got=unknown[0])
    return frozenset(named or policies)


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{what} {file}", problem=Slug.FILE_INVALID, wanted="a file that can be read", got=error.strerror or "an error"
        ) from error


def _draw(overview: Overview, file: Path) -> None:
    from parley_audit.report.cohort_picture import standalone  # noqa: PLC0415  (with jinja2)
    from parley_audit.report.trial_page import picture_of, trial_page  # noqa: PLC0415

    text = trial_page(overview) if file.suffix == ".html" else standalone(picture_of(overview))
    write_atomic(file, text.encode())


def _views(overview: Overview, session: Session, out: Path | None) -> list[View]:
    views: list[View] = [Facts({"study": overview.study, "title": overview.title, "on": overview.day})]
    views += by_topic(overview.rows())
    for cohort in overview.cohorts:
        title = f"what binds {cohort.study}"
        views += [title, "-" * len(title), *by_topic([row for row in cohort.rows() if row[0] != "who"])]
    if overview.assumed and not session.options.has("--quiet"):
        title = "assumed, since no file says it (name it in --facts and try again):"
        views.append(Table(("of", "what", "taken as", "because it is"), overview.assumptions(), title=title))
    if out is not None:
        views.append(f"wrote {out}")
    return views
