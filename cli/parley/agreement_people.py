"""`parley agreement approve | refuse`: people's word on terms, before the service signs them (approval.agreement).

In the party's folder the word goes to the running service at once. On a machine of one's own it is a file: `agreement show A --out FILE`
writes the terms, `agreement approve FILE --role R --key K` signs them there, `agreement approve A --approval FILE…` hands that in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from parley_crypto.errors import CryptoError
from parley_policies.approvals.statements import AgreementApproval, Decision
from parley_policies.negotiation.terms import Terms
from parley_protocol.problems import Slug
from parley_service.config import HomeKind
from parley_service.sealedfile import write_atomic
from parley_service.secrets import SecretReference

from parley.output import Facts, Table
from parley.policy_people import PROMPT, PassphraseOption
from parley.role_keys import OpenedRoleKey, approval_file, open_role_key
from parley.session import Session, UsageError, session_of
from parley.words import short

if TYPE_CHECKING:
    from parley_party.approving import Waiting

_DIGITS: Final = 8  # of a digest, at least
TermsName = Annotated[
    str, typer.Argument(metavar="AGREEMENT", help="A study's id, the first digits of the terms' digest, or a file with terms.")
]
RoleChoice = Annotated[str | None, typer.Option(help="The role, as the policy names it: role:principal-investigator.")]
KeyChoice = Annotated[Path | None, typer.Option("--key", help="The role's key file.")]


def approve(
    context: typer.Context,
    agreement: TermsName,
    *,
    role: RoleChoice = None,
    key: KeyChoice = None,
    passphrase: PassphraseOption = PROMPT,
    approval: Annotated[list[Path] | None, typer.Option(help="Hand in a word that was signed elsewhere.")] = None,
) -> None:
    """Approve the terms of an agreement with the key of a role. The service signs once every role has approved exactly these terms."""
    session = session_of(context)
    if approval:
        _hand_in(session, _one(session, agreement).terms, [path.read_text().strip() for path in approval])
    else:
        _say(session, agreement, _opened(session, role, key, passphrase), Decision.APPROVED, "")


def refuse(
    context: typer.Context,
    agreement: TermsName,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stays in this house.")],
    role: RoleChoice = None,
    key: KeyChoice = None,
    passphrase: PassphraseOption = PROMPT,
) -> None:
    """Refuse the terms of an agreement with the key of a role: the negotiation ends, and nobody outside is told why."""
    session = session_of(context)
    _say(session, agreement, _opened(session, role, key, passphrase), Decision.REFUSED, reason)


def _opened(session: Session, role: str | None, key: Path | None, passphrase: str) -> OpenedRoleKey:
    if role is None or key is None:
        raise UsageError("agreement", wanted="--role ROLE and --key FILE", got="not both")
    return open_role_key(key, role, SecretReference.parse(passphrase).read(Path(), session.environ, what=f"passphrase of {key}"))


def _say(session: Session, name: str, opened: OpenedRoleKey, decision: Decision, reason: str) -> None:
    file = Path(name)
    terms = _read(file) if file.is_file() else _one(session, name).terms
    said = AgreementApproval(
        party=opened.party,
        role=opened.role,
        study=terms.study,
        terms=terms.digest(),
        decision=decision,
        reason=reason[:2_000],
        at=int(time.time()),
    )
    text = said.sign(opened.key).dump()
    if not file.is_file():
        _hand_in(session, terms, [text.decode()])
        return
    written = approval_file(file, opened)
    write_atomic(written, text + b"\n")
    session.out.result(
        {"study": terms.study, "digest": terms.digest(), "role": opened.role, "decision": decision.value, "approval": str(written)},
        Facts({"study": terms.study, "digest of the terms": terms.digest(), decision.value: f"by {opened.role} of {opened.party}"}),
        f"wrote {written}; hand it in where the service runs: parley agreement approve {terms.study} --approval {written.name}",
    )


def _read(file: Path) -> Terms:
    try:
        return Terms.parse(file.read_bytes())
    except CryptoError as error:
        raise UsageError(
            f"terms in {file}", problem=Slug.FILE_INVALID, wanted="what `parley agreement show A --out FILE` wrote", got=str(error)
        ) from error


def _hand_in(session: Session, terms: Terms, texts: list[str]) -> None:
    answers = [session.call("agreement.approve", {"study": terms.study, "approval": text}) for text in texts]
    last: dict[str, Any] = answers[-1]
    lacking = [role for each in waiting(session) if each.terms.study == terms.study for role in each.said.lacking]
    rows = [(each["role"], each["decision"]) for each in answers]
    session.out.result(
        {"study": terms.study, "digest": terms.digest(), "said": answers, "state": last["state"], "lacking": lacking},
        Facts({"study": terms.study, "digest of the terms": terms.digest(), "state": last["state"]}),
        Table(("role", "said"), rows),
        *([f"still asked: {', '.join(lacking)}"] if lacking else []),
    )


def waiting(session: Session) -> tuple[Waiting, ...]:
    """Return the terms that wait in a party's folder for people; none in a gateway's."""
    home = session.home()
    if home.kind is not HomeKind.PARTY:
        return ()
    from parley_party.approving import waiting_here  # noqa: PLC0415
    from parley_party.config import load  # noqa: PLC0415

    return waiting_here(load(home.file))


def plain(each: Waiting) -> dict[str, Any]:
    """Return terms that wait as plain data for JSON."""
    said: Mapping[str, AgreementApproval] = each.said.by_role
    return {
        "study": each.terms.study,
        "digest": each.terms.digest(),
        "members": [member.party for member in each.terms.members],
        "said": {role: word.decision.value for role, word in said.items()},
        "lacking": list(each.said.lacking),
    }


def matching(known: tuple[Waiting, ...], name: str) -> list[Waiting]:
    """Return those of a study's id, or whose digest begins with `name`."""
    digits = name.lower().removeprefix("sha256:")
    of_study = [each for each in known if each.terms.study == name]
    return of_study or [each for each in known if len(digits) >= _DIGITS and each.terms.digest().startswith(digits)]


def _one(session: Session, name: str) -> Waiting:
    known = waiting(session)
    found = matching(known, name)
    if len(found) != 1:
        wanted = ", ".join(f"{each.terms.study} ({short(each.terms.digest())})" for each in known) or "none"
        raise UsageError(
            f"agreement {name!r}",
            problem=Slug.NOT_FOUND,
            wanted=f"terms that wait for approval here: {wanted}",
            got="none of that study or digest",
            do="See parley agreement list.",
        )
    return found[0]
