"""`parley agreement`: the technical agreements of this folder's service, in words, and their signatures checked again.

In a party's folder, and (list, show, verify of the signatures) in a gateway's. Nothing here needs a running service.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from parley_protocol.problems import Problem, Slug
from parley_service.config import HomeKind
from parley_service.sealedfile import write_atomic

from parley import agreement_people
from parley.agreement_people import matching, plain, waiting
from parley.output import Facts, Table, View
from parley.session import Session, UsageError, session_of
from parley.words import short, span

if TYPE_CHECKING:
    from parley_party.approving import Waiting
    from parley_policies.negotiation.agreement import Agreement
    from parley_policies.negotiation.terms import Terms

app = typer.Typer(help="What all members of a study signed (the technical agreement, not the contract).", no_args_is_help=True)
AgreementName = Annotated[str, typer.Argument(metavar="AGREEMENT", help="A study's id, or the first digits of the agreement's digest.")]
_YES: Final = "yes"
_READERS: Final = {
    "gateway": "the gateway and the parties read the sums that are opened",
    "parties": "only the parties read the sums that are opened, as long as none of them gives the members' key away",
}
_DIGITS: Final = 8  # of a digest, at least


@app.command("list")
def list_agreements(context: typer.Context) -> None:
    """List the agreements that this service knows, and the terms that wait for people's approval."""
    session = session_of(context)
    found = [
        {"study": study, "digest": agreement.digest, "members": [member.party for member in agreement.terms.members], "state": state}
        for study, state, agreement in _all(session)
    ]
    held = [plain(each) for each in waiting(session)]
    rows = [(each["study"], each["state"], ", ".join(each["members"]), short(str(each["digest"]))) for each in found]
    asked = [(each["study"], ", ".join(each["members"]), short(each["digest"]), ", ".join(each["lacking"])) for each in held]
    session.out.result(
        {"agreements": found, "waiting": held},
        Table(("study", "state", "members", "digest"), rows) if rows else "no agreements yet",
        *([Table(("study", "members", "digest", "waits for"), asked, title="Terms that wait for approval here:")] if asked else []),
    )


@app.command()
def show(
    context: typer.Context,
    agreement: AgreementName,
    *,
    out: Annotated[Path | None, typer.Option(help="Write the terms to this file, to be approved on another machine.")] = None,
) -> None:
    """Show what was agreed, or waits for approval: members, protection, shared parts, rounds. The whole is in --json."""
    session = session_of(context)
    held = matching(waiting(session), agreement)
    terms = held[0].terms if held else _one(session, agreement)[2].terms
    if out is not None:
        write_atomic(out, terms.canonical())
        session.out.progress(f"wrote the terms to {out}")
    if held:
        _show_waiting(session, held[0])
        return
    study, state, found = _one(session, agreement)
    plain = {
        "study": study,
        "state": state,
        "digest": found.digest,
        "terms": found.terms.model_dump(mode="json"),
        "envelope": found.envelope.dump().decode(),
    }
    session.out.result(plain, *_views(state, found.terms))


def _show_waiting(session: Session, held: Waiting) -> None:
    said = [(role, word.decision.value, word.reason) for role, word in held.said.by_role.items()]
    said += [(role, "is asked", "") for role in held.said.lacking]
    views = _views("waits for approval here", held.terms)
    session.out.result({**plain(held), "terms": held.terms.model_dump(mode="json")}, *views, Table(("role", "said", "reason"), said))


def _views(state: str, terms: Terms) -> list[View]:
    from parley_policies.taxonomy.taxonomy import Taxonomy  # noqa: PLC0415 - only this verb reads it

    from parley.leaves import credentials_said  # noqa: PLC0415 - brings the audit package

    timing = terms.timing
    facts = {
        "study": terms.study,
        "state": state,
        "agreement digest": terms.digest(),
        "proposal digest": terms.proposal_digest,
        "purpose": ", ".join(map(Taxonomy.load().says, terms.purpose)),
        "taxonomy": terms.taxonomy,
        "gateway": f"{terms.gateway.id}, operated by {terms.gateway.operator} ({', '.join(terms.gateway.countries)})",
        "scheme": f"{terms.scheme}; the gateway is {'not ' if terms.gateway_may_lie else ''}trusted",
        "conspirators": f"{terms.max_colluders} {'party' if terms.max_colluders == 1 else 'parties'} may conspire and still learn nothing",
        "signatures": f"{terms.threshold} of {len(terms.members)} must sign what is opened",
        "dropouts": f"a round survives {len(terms.members) - terms.threshold}",
        "neighbours": _neighbours(terms),
        "small changes": f"at most {terms.max_small_changes} lists may differ from an earlier one by few parties",
        "noise": "none: differential privacy is not part of this version",
        "cap on an update": f"{terms.clip_bound:g} (L2 norm of a party's whole update)",
        "readable results": _READERS[terms.opened_sums_readable_by],
        "time-outs": f"grace {span(timing.grace_seconds)}, phase {span(timing.phase_seconds)}, round {span(timing.round_seconds)}",
        "valid until": terms.valid_until,
    }
    members = [
        (item.party, item.legal_name, item.party_class, item.country, ", ".join(item.objectives), item.records, item.weight, item.trust)
        for item in terms.members
    ]
    parts = [
        (step.workload, step.rounds, part.name, part.length, f"at least {part.floor} of {len(part.members)}", ", ".join(part.members))
        for step in terms.steps
        for part in step.segments
    ]
    vouched = [(item.party, credentials_said(item.credentials)) for item in terms.members if item.credentials]
    return [
        Facts(facts),
        Table(("party", "legal name", "class", "country", "objectives", "records", "weight", "trusts"), members),
        *([Table(("party", "shows"), vouched)] if vouched else []),
        Table(("step", "rounds", "shared part", "values", "summed together", "parties"), parts),
    ]


def _neighbours(terms: Terms) -> str:
    from parley_policies.negotiation.explain import graph_row  # noqa: PLC0415 - brings numpy

    row = graph_row(terms)
    if row is None:
        return "none drawn: each party deals with every other"
    return f"{row.says()} (but for one chance in 2^40 a round); {len(terms.members) - terms.threshold} dropouts (but for one in 2^20)"


@dataclass(frozen=True, slots=True)
class _Checked:
    """One thing that was checked: what, whether it holds, and the numbers behind it."""

    what: str
    holds: bool
    detail: str


@app.command()
def verify(context: typer.Context, agreement: AgreementName) -> None:
    """Check an agreement again: every member's signature, the keys as we first saw them, our own acceptance, the certificates under it."""
    session = session_of(context)
    study, _, found = _one(session, agreement)  # raises unless every member's signature verifies
    checks = [_Checked("every member signed exactly these terms", holds=True, detail=f"{len(found.terms.members)} signatures")]
    if session.home().kind is HomeKind.PARTY:
        checks += _at_home(session, study, found.terms)
    rows = [(check.what, _YES if check.holds else "NO", check.detail) for check in checks]
    wrong = [check for check in checks if not check.holds]
    problems = [Problem(Slug.VERIFICATION_FAILED, f"agreement on {study}: {check.what}", got=check.detail) for check in wrong]
    plain = {
        "study": study,
        "digest": found.digest,
        "verified": not wrong,
        "checks": [{"what": check.what, "holds": check.holds, "detail": check.detail} for check in checks],
    }
    views = (Facts({"study": study, "agreement digest": found.digest}), Table(("checked", "holds", ""), rows))
    session.out.result(plain, *views, problems=problems)


def _at_home(session: Session, study: str, terms: Terms) -> Iterator[_Checked]:
    """Compare the agreement with what this party wrote down for itself."""
    from parley_party import reading  # noqa: PLC0415
    from parley_party.config import load  # noqa: PLC0415
    from parley_protocol.errors import RemoteProtocolError  # noqa: PLC0415

    config = load(session.home(HomeKind.PARTY).file)
    view = reading.study(config, study)
    accepted = reading.accepted_terms(config, study)
    yield _Checked("they are the terms that this party accepted", accepted == terms.digest(), f"accepted {short(accepted or 'nothing')}")
    proposed = view.proposal.digest()
    yield _Checked("they are on the proposal that this party was shown", proposed == terms.proposal_digest, f"proposal {short(proposed)}")
    known = {entry.party: entry.identity for entry in view.members}
    others = [member.party for member in terms.members if known.get(member.party) != member.identity]
    keys = f"another key of {', '.join(others)}" if others else f"{len(terms.members)} keys"
    yield _Checked("each member has the key that the gateway's directory showed", not others, keys)
    what = f"each certificate has {terms.threshold} signatures, names the one before it, and opens no more than it may"
    try:
        chain = reading.verified_chain(config, view)
    except RemoteProtocolError as error:
        yield _Checked(what, holds=False, detail=str(error))
    else:
        yield _Checked(
            what, holds=True, detail=f"{len(chain.bases)} certificates, the newest of round {chain.round}" if chain.round else "none yet"
        )


def _all(session: Session) -> list[tuple[str, str, Agreement]]:
    """Return study, state and agreement of each agreement here. Loading one verifies every signature on it."""
    home = session.home()
    if home.kind is HomeKind.PARTY:
        from parley_party import config as party  # noqa: PLC0415
        from parley_party.reading import studies  # noqa: PLC0415

        return [(view.id, view.state, view.agreement) for view in studies(party.load(home.file)) if view.agreement is not None]
    from parley_gateway import config as gateway  # noqa: PLC0415
    from parley_gateway.reading import agreements  # noqa: PLC0415

    return list(agreements(gateway.load(home.file), session.environ))


def _one(session: Session, name: str) -> tuple[str, str, Agreement]:
    """Return the agreement on a study, or the one whose digest begins with `name`; UsageError if it is none or several."""
    known = _all(session)
    digits = name.lower().removeprefix("sha256:")
    found = [each for each in known if each[0] == name]
    if not found and len(digits) >= _DIGITS:
        found = [each for each in known if each[2].digest.startswith(digits)]
    if len(found) != 1:
        wanted = ", ".join(f"{study} ({short(agreement.digest)})" for study, _, agreement in found or known) or "none yet"
        got = f"{len(found)} that it may mean" if found else "no agreement of that study or digest"
        raise UsageError(
            f"agreement {name!r}", problem=Slug.NOT_FOUND, wanted=f"one of: {wanted}", got=got, do="See parley agreement list."
        )
    return found[0]


for _verb in (agreement_people.approve, agreement_people.refuse):
    app.command()(_verb)
