"""`parley policy`: read, check and start policies. Needs no service, no network, no extra, and runs on any platform.

The pattern of a noun: a Typer `app`, one function a verb that reads its input, calls the pure packages, and says the result once.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from parley_policies.model.changes import Change, Direction, changes, signatures
from parley_policies.model.loader import PolicyFile, Row, load_policy
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.profiles import PROFILES, placeholders, render_profile
from parley_policies.model.schema import policy_schema
from parley_policies.model.unsupported import unsupported_clauses
from parley_policies.model.upheld import Upheld
from parley_policies.model.words import Line, Paragraph
from parley_policies.model.words import words as in_words
from parley_policies.taxonomy.taxonomy import Taxonomy
from parley_protocol.problems import Slug
from parley_service.config import HomeKind
from parley_service.errors import ConfigError
from parley_service.sealedfile import write_atomic

from parley import policy_people
from parley.output import Facts, Table, as_cell
from parley.policy_try import try_policies
from parley.session import Session, UsageError, session_of

app = typer.Typer(help="What a party permits.")
_ORDER: Final = (Direction.LOOSENS, Direction.TIGHTENS, Direction.NEUTRAL)
_MEANS: Final = {
    Direction.LOOSENS: "permits more, or cannot be compared",
    Direction.TIGHTENS: "permits less",
    Direction.NEUTRAL: "permits the same",
}
_LETTERS: Final = {Upheld.ENFORCED_HERE: "E", Upheld.CHECKED_BY_ALL: "P", Upheld.DECLARED: "D"}
_MARKS: Final = """E  this party's service enforces it before anything leaves
P  every party's service checks it before it signs
D  declared: a promise that people keep; no code can force it
*  not written in the file: what counts then is said
`parley policy show` prints values and digests whole."""
_DAYS: Final = 365


@app.command()
def check(context: typer.Context, file: Annotated[Path, typer.Argument(help="A policy.toml.")]) -> None:
    """Read a policy strictly: every fault by field, and every clause that this version cannot uphold."""
    session = session_of(context)
    loaded = _read(file)
    unsupported = [{"clause": each.clause, "value": each.value, "why": each.why} for each in unsupported_clauses(loaded.policy)]
    notes = list(_notes(loaded.policy, _today()))
    clauses = Counter(row.origin for row in loaded.rows())
    session.out.result(
        {"file": str(file), "digest": loaded.digest, "party": loaded.policy.party, "unsupported": unsupported, "notes": notes},
        Facts({"policy": file, "party": loaded.policy.party, "digest": f"sha256:{loaded.digest}", "clauses": _counted(clauses)}),
        *(f"note: {note}" for note in notes),
        *([_unsupported(unsupported)] if unsupported else ["valid, and this version upholds every clause"]),
    )


@app.command()
def show(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="A policy.toml; without it, the one of this party.")] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Also what was not written and takes its strictest value.")] = False,
) -> None:
    """Show a policy clause by clause: its value, its unit, whether it was written, and who upholds it."""
    session = session_of(context)
    loaded = _read(file or _own_policy(session))
    rows = [row for row in loaded.rows() if full or row.written]
    cells = [(row.clause, as_cell(row.value), row.unit, row.origin, row.upheld.value, row.lattice.value) for row in rows]
    headings = ("clause", "value", "unit", "", "upheld", "two policies together")
    session.out.result(
        _named(loaded) | {"clauses": [_clause(row) for row in rows]},
        Facts({"policy": loaded.name, "party": loaded.policy.party, "digest": f"sha256:{loaded.digest}"}),
        Table(headings, cells) if full else Table(headings[:-1], [each[:-1] for each in cells]),
    )


@app.command()
def words(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="A policy.toml; without it, the one of this party.")] = None,
) -> None:
    """Say a policy in plain sentences: every clause, written or not, for people who read no TOML."""
    session = session_of(context)
    loaded = _read(file or _own_policy(session))
    paragraphs = in_words(loaded.policy)
    unsupported = [str(each) for each in unsupported_clauses(loaded.policy)]
    session.out.result(
        _named(loaded) | {"sections": [_paragraph(each) for each in paragraphs], "unsupported": unsupported},
        *(Table(("", each.title), [(_mark(line), line.text) for line in each.lines]) for each in paragraphs),
        _MARKS,
        *(
            [Table(("This version cannot uphold these, so this party would refuse every study:",), [(each,) for each in unsupported])]
            if unsupported
            else []
        ),
    )


@app.command()
def diff(
    context: typer.Context,
    old: Annotated[Path, typer.Argument(help="The policy.toml in force.")],
    new: Annotated[Path, typer.Argument(help="The policy.toml that is to replace it.")],
) -> None:
    """Say what a new version grants or withdraws, clause by clause, who must sign it, and at a party the agreements it breaks."""
    session = session_of(context)
    before, after = _read(old), _read(new)
    found = sorted(changes(before.policy, after.policy), key=lambda change: _ORDER.index(change.direction))
    needed = signatures(before.policy, after.policy)
    counts = Counter(change.direction.value for change in found)
    notes = list(_succession(before, after))
    affected = policy_people.affected_here(session, after.policy)
    session.out.result(
        {
            "old": _named(before),
            "new": _named(after),
            "changes": [asdict(change) for change in found],
            "counts": {direction.value: counts[direction.value] for direction in _ORDER},
            "signatures": asdict(needed) | {"says": str(needed)},
            "agreements": [asdict(each) for each in affected],
            "notes": notes,
        },
        *([Table(("", "clause", "before", "now"), [_compared(change) for change in found])] if found else ["no clause changes"]),
        *(_sentences(direction, found) for direction in _ORDER if counts[direction.value]),
        *(f"note: {note}" for note in notes),
        *policy_people.affected_views(affected),
        f"signatures: {needed}",
    )


app.command("try")(try_policies)


@app.command()
def schema(context: typer.Context) -> None:
    """Print the JSON Schema of policies."""
    found = policy_schema()
    session_of(context).out.result(found, json.dumps(found, indent=2, ensure_ascii=False))


@app.command()
def init(
    context: typer.Context,
    *,
    profile: Annotated[str, typer.Option(help=f"One of: {', '.join(PROFILES)}.")],
    party: Annotated[str | None, typer.Option(help="Whose policy it is; else as party.toml says.")] = None,
    gateway_fingerprint: Annotated[str | None, typer.Option(help="The only gateway it trusts; else as party.toml says.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="A dataset that may be used; else those of party.toml.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="A column of studies that may be read; else those that party.toml maps.")] = None,
    days: Annotated[int, typer.Option(help="How long it is valid, from today.", min=1, max=3650)] = _DAYS,
    value: Annotated[list[str] | None, typer.Option("--set", help="NAME=TOML: another value that the profile takes.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file; else the policy that party.toml names, else policy.toml.")] = None,
) -> None:
    """Write a complete policy to start from. Read it before use: it is yours."""
    session = session_of(context)
    today = _today()
    named: dict[str, Any] = {"party": party, "gateway_fingerprint": gateway_fingerprint, "datasets": dataset, "columns": column}
    values = _of_party(session) | {name: given for name, given in named.items() if given}
    file = out or values.pop("file", Path("policy.toml"))
    values |= {"valid_from": today, "valid_until": today + timedelta(days=days)} | dict(_set(value or []))
    text = render_profile(profile, **{name: given for name, given in values.items() if name != "file"})
    if file.exists():
        raise ConfigError(f"{file}", problem=Slug.CONFLICT, wanted="no file there yet", got="one", do="Say another file with --out.")
    write_atomic(file, text.encode())
    session.out.result(
        {"file": str(file), "profile": profile, "takes": sorted(placeholders(profile))},
        f"wrote {file}; read it, change it, then: parley policy check {file}",
    )


def _named(loaded: PolicyFile) -> dict[str, Any]:
    return {"file": loaded.name, "digest": loaded.digest, "party": loaded.policy.party, "version": loaded.policy.identity.version}


def _clause(row: Row) -> dict[str, Any]:
    known = {"clause": row.clause, "value": row.value, "unit": row.unit, "origin": row.origin}
    return known | {"upheld": row.upheld.value, "lattice": row.lattice.value, "says": row.says}


def _paragraph(paragraph: Paragraph) -> dict[str, Any]:
    lines = [{"clause": each.clause, "text": each.text, "upheld": each.upheld.value, "written": each.written} for each in paragraph.lines]
    return {"section": paragraph.section, "title": paragraph.title, "lines": lines}


def _mark(line: Line) -> str:
    """Return who upholds a line, and a star where nobody wrote it."""
    return _LETTERS[line.upheld] + ("" if line.written else "*")


def _compared(change: Change) -> tuple[str, ...]:
    return change.direction.value, change.clause, as_cell(change.old), as_cell(change.new)


def _sentences(direction: Direction, found: Iterable[Change]) -> Table:
    rows = [(each.clause, each.before, " ".join([each.now, *_differences(each)])) for each in found if each.direction is direction]
    return Table((f"{direction.value}: {_MEANS[direction]}", "before", "now"), rows)


def _differences(change: Change) -> Iterable[str]:
    for word, names in (("Added", change.added), ("Removed", change.removed)):
        if names:
            yield f"{word}: {', '.join(names)}."


def _succession(old: PolicyFile, new: PolicyFile) -> Iterable[str]:
    """Say what stands against `new` as the next version after `old`."""
    was, will = old.policy.identity, new.policy.identity
    if will.party != was.party:
        yield f"these are policies of two parties, {was.party} and {will.party}"
    elif will.version <= was.version and old.digest != new.digest:
        yield f"the version does not grow ({was.version}, then {will.version}): write identity.version = {was.version + 1} or more"
    if will.supersedes not in {None, f"sha256:{old.digest}"} and old.digest != new.digest:
        yield f"identity.supersedes names another file than the old one (sha256:{old.digest})"


def _read(file: Path) -> PolicyFile:
    try:
        return load_policy(file.read_bytes(), str(file))
    except OSError as error:
        raise ConfigError(
            f"policy {file}", problem=Slug.FILE_INVALID, wanted="a file that can be read", got=error.strerror or "an error"
        ) from error


def _own_policy(session: Session) -> Path:
    from parley_party import config  # noqa: PLC0415  (a policy named on the line needs no party.toml)

    return config.load(session.home(HomeKind.PARTY).file).party.policy


def _of_party(session: Session) -> dict[str, Any]:
    """Return what party.toml says of a profile's values; nothing where there is no party.toml."""
    from parley_party import config  # noqa: PLC0415  (as above)

    if session.options.home is None and not Path(config.NAME).is_file():
        return {}
    found = config.load(session.home(HomeKind.PARTY).file)
    fingerprints = [link.fingerprint for link in found.gateways.values() if link.fingerprint]
    columns = sorted({column for dataset in found.data.values() for column in dataset.map})
    values = {"party": found.party.id, "datasets": sorted(found.data), "columns": columns, "file": found.party.policy}
    return {name: given for name, given in values.items() if given} | ({"gateway_fingerprint": fingerprints[0]} if fingerprints else {})


def _set(pairs: Iterable[str]) -> Iterable[tuple[str, Any]]:
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            yield name, tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"--set {pair}", wanted="NAME=TOML, such as min_people=20", got=str(error)) from error


def _notes(policy: PrivacyPolicy, today: date) -> Iterable[str]:
    """Say what a reader would want to know on this day."""
    if today < policy.identity.valid_from:
        yield f"not in force before {policy.identity.valid_from.isoformat()}"
    if today > policy.identity.valid_until:
        yield f"not in force since {policy.identity.valid_until.isoformat()} passed"
    for reference in policy.overdue(today):
        yield f"the review of {reference} is overdue"
    purpose, taxonomy = policy.purpose, Taxonomy.load()
    for clause, terms in (("granted", purpose.granted), ("prohibited", purpose.prohibited), ("diseases", purpose.diseases)):
        for term in terms:
            if not term.startswith("text:") and not taxonomy.knows(term):
                yield f"purpose.{clause}: {term} is not in the taxonomy of {taxonomy.version}, so it matches exactly"


def _unsupported(clauses: list[dict[str, str]]) -> Table:
    rows = [(each["clause"], each["value"], each["why"]) for each in clauses]
    return Table(("clause", "value", "why"), rows, title="valid, but this version cannot uphold these, so it would refuse every study:")


def _counted(clauses: Counter[str]) -> str:
    return ", ".join(f"{count} {origin}" for origin, count in sorted(clauses.items(), reverse=True))


def _today() -> date:
    return datetime.now(UTC).date()


for _verb in (policy_people.key, policy_people.sign, policy_people.activate, policy_people.history):
    app.command()(_verb)
