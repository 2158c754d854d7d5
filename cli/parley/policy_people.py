"""`parley policy key | sign | activate | history`: how a policy comes into force.

`key` and `sign` need no service, no network and no extra: the people who approve run them on machines of their own. `activate` hands file
and signatures to the running service, or to the store of a stopped one; it is the engineer's, whom the signatures bind.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from parley_crypto.errors import CryptoError
from parley_crypto.signing import Envelope
from parley_crypto.statement import first_fault
from parley_policies.approvals.holders import Holders, read_holders, roles_of
from parley_policies.approvals.statements import PolicyApproval, RoleKey
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.model.policy import PrivacyPolicy
from parley_service.config import HomeKind
from parley_service.errors import ConfigError, NotRunningError
from parley_service.sealedfile import write_atomic
from parley_service.secrets import SecretReference
from pydantic import ValidationError

from parley.output import Facts, Table, View
from parley.role_keys import approval_file, make_role_key, open_role_key, public_file
from parley.session import Session, UsageError, session_of
from parley.words import short, when

if TYPE_CHECKING:
    from parley_party.activation import Activation
    from parley_party.config import PartyConfig
    from parley_party.consequences import Affected

PassphraseOption = Annotated[str, typer.Option(help="Where the key's passphrase is: env:NAME, file:PATH, credential:NAME or prompt.")]
RoleOption = Annotated[str, typer.Option(help="The role, as the policy names it: role:data-protection-officer.")]
KeyOption = Annotated[Path, typer.Option("--key", help="The role's key file.")]
PROMPT: Final = "prompt"
_COMPARE: Final = "Compare the fingerprints by phone with the people who hold these roles."


def key(
    context: typer.Context,
    *,
    role: RoleOption,
    out: Annotated[Path, typer.Option(help="The key file to write; its public half goes beside it.")],
    party: Annotated[str | None, typer.Option(help="The party; else as party.toml says.")] = None,
    passphrase: PassphraseOption = PROMPT,
) -> None:
    """Make the key of a role, for whoever approves. Keep it apart from the service's machine: who runs the service must not hold it."""
    session = session_of(context)
    party = party or _own_party(session)
    _check_names(party, role)  # before a passphrase is asked for
    secret = SecretReference.parse(passphrase).read(Path(), session.environ, what=f"new passphrase for the key of {role}", twice=True)
    made = make_role_key(out, party, role, secret)
    fingerprint = made.key.public.fingerprint
    session.out.result(
        {"party": party, "role": role, "fingerprint": fingerprint, "file": str(out), "public": str(public_file(out))},
        Facts({"party": party, "role": role, "fingerprint": fingerprint, "key": out, "public half": public_file(out)}),
        f"Give {public_file(out).name} to whoever signs the policy that names this role; keep {out.name} and its passphrase apart.",
    )


def _check_names(party: str, role: str) -> None:
    try:
        RoleKey.model_validate({"party": party, "role": role, "key": "0" * 64})
    except ValidationError as error:
        raise UsageError("policy key", wanted="a party's id and a role such as role:privacy-officer", got=first_fault(error)) from error


def sign(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The policy.toml to approve.")],
    *,
    role: RoleOption,
    key: KeyOption,
    holder: Annotated[
        list[Path] | None,
        typer.Option(help="FILE.pub of a role's key; one for each role, at the first activation and whenever a key changes."),
    ] = None,
    passphrase: PassphraseOption = PROMPT,
    out: Annotated[Path | None, typer.Option(help="Where to write the signature; else beside the policy.")] = None,
) -> None:
    """Approve a policy file, byte for byte, with the key of a role. Read it first: parley policy words FILE."""
    session = session_of(context)
    loaded = load_policy(file.read_bytes(), file.name)
    opened = open_role_key(key, role, SecretReference.parse(passphrase).read(Path(), session.environ, what=f"passphrase of {key}"))
    if opened.party != loaded.policy.party:
        raise UsageError(f"policy {file}", wanted=f"a policy of {opened.party}, whose key this is", got=loaded.policy.party)
    texts = _holder_texts(holder or [], loaded, opened.public())
    holders = None if texts is None else read_holders(opened.party, texts, roles_of(loaded.policy), ())
    approval = PolicyApproval(
        party=opened.party, role=role, version=loaded.policy.identity.version, policy=loaded.digest, holders=texts, at=int(time.time())
    )
    written = out or approval_file(file, opened)
    write_atomic(written, approval.sign(opened.key).dump() + b"\n")
    session.out.result(
        {
            "file": str(file),
            "digest": loaded.digest,
            "version": approval.version,
            "role": role,
            "fingerprint": opened.key.public.fingerprint,
            "holders": None if holders is None else _fingerprints(holders),
            "approval": str(written),
        },
        Facts({"policy": file, "version": approval.version, "digest": f"sha256:{loaded.digest}", "approved by": role}),
        *([] if holders is None else _holder_views(holders, "You signed as well that these keys hold the roles:")),
        f"wrote {written}; give it with the policy to whoever activates it",
    )


def _holder_texts(files: Iterable[Path], loaded: PolicyFile, own: Envelope) -> tuple[str, ...] | None:
    """Return the role keys that are signed, by role: those of `files`, and our own where the policy names our role and no file does."""
    found = {_claimed(text): text for text in (path.read_text().strip() for path in files)}
    if not found:
        return None
    mine = own.dump().decode()
    if _claimed(mine) in roles_of(loaded.policy):
        found.setdefault(_claimed(mine), mine)
    return tuple(text for _, text in sorted(found.items()))


def _claimed(text: str) -> str:
    return RoleKey.parse(Envelope.load(text.encode()).payload).role


def activate(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="The policy.toml; else the one that party.toml names.")] = None,
    *,
    approval: Annotated[
        list[Path] | None, typer.Option(help="A role's signature; else those that lie beside the policy and are on these bytes.")
    ] = None,
) -> None:
    """Put a policy in force here, with the signatures that it and the one before it ask for."""
    from parley_party.config import load  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.PARTY).file)
    file = file or config.party.policy
    raw = file.read_bytes()
    loaded = load_policy(raw, file.name)
    texts = [path.read_text().strip() for path in (approval if approval is not None else _beside(file, loaded.digest))]
    changed = _hand_in(session, config, raw, file.name, texts)
    _say_activated(session, config, changed=changed)


def _beside(file: Path, digest: str) -> list[Path]:
    """Return the signatures beside a policy that are on these bytes; those on older ones stay behind, which is no fault."""
    return [path for path in sorted(file.parent.glob(f"{file.name}.*.approval")) if _approved(path) == digest]


def _approved(path: Path) -> str | None:
    try:
        return PolicyApproval.parse(Envelope.load(path.read_bytes().strip()).payload).policy
    except CryptoError:
        return None


def _hand_in(session: Session, config: PartyConfig, raw: bytes, name: str, texts: list[str]) -> bool:
    from parley_party.activation import activate_stopped  # noqa: PLC0415

    try:
        return bool(session.call("policy.activate", {"toml": raw.decode(), "name": name, "approvals": texts})["changed"])
    except NotRunningError:
        return activate_stopped(config, raw, name, texts, time.time())


def _say_activated(session: Session, config: PartyConfig, *, changed: bool) -> None:
    from parley_party.activation import history as read_history  # noqa: PLC0415
    from parley_party.consequences import consequences, plain  # noqa: PLC0415

    known = read_history(config)
    active = known[-1].activated
    found = consequences(config, active.file.policy, datetime.now(UTC).date()) if changed else ()
    facts = {"policy": active.file.name, "version": active.version, "digest": f"sha256:{active.file.digest}"}
    session.out.result(
        {**_plain(known[-1]), "changed": changed, "agreements": plain(found)},
        Facts({**facts, "signed by": _signers(known[-1])}),
        *_holder_views(active.holders, "These keys hold the roles:"),
        *affected_views(found),
        "in force" if changed else "in force already: nothing changed",
    )


def affected_here(session: Session, policy: PrivacyPolicy) -> tuple[Affected, ...]:
    """Return what a policy means for the agreements of the party in whose folder the command is used; nothing elsewhere."""
    try:
        home = session.home(HomeKind.PARTY)
    except ConfigError:
        return ()
    from parley_party.config import load  # noqa: PLC0415
    from parley_party.reading import store_path  # noqa: PLC0415

    config = load(home.file)
    if config.party.id != policy.party or not store_path(config).is_file():
        return ()
    from parley_party.consequences import consequences  # noqa: PLC0415 - brings the extras of a party

    return consequences(config, policy, datetime.now(UTC).date())


def affected_views(found: Iterable[Affected]) -> list[View]:
    """Return what a policy means for agreements, for people; nothing where there are none."""
    rows = [(each.study, each.state, each.clause or "would be signed again", each.reason) for each in found]
    if not rows:
        return []
    title = "Agreements of another version, and terms that wait; under this one they rest here until they are negotiated anew:"
    return [Table(("study", "state", "under this version", ""), rows, title=title)]


def history(context: typer.Context) -> None:
    """List every policy that was in force here, who signed it, and whose keys hold the roles now. Each signature is checked again."""
    from parley_party.activation import differs  # noqa: PLC0415
    from parley_party.activation import history as read_history  # noqa: PLC0415
    from parley_party.config import load  # noqa: PLC0415

    session = session_of(context)
    config = load(session.home(HomeKind.PARTY).file)
    known = read_history(config)
    if not known:
        session.out.result({"activations": [], "holders": {}, "file_differs": None}, "no policy has been in force here yet")
        return
    active = known[-1].activated
    other = differs(config, active.file.digest)
    rows = [
        (item.activated.number, item.activated.version, when(item.at), short(item.activated.file.digest), _signers(item)) for item in known
    ]
    session.out.result(
        {"activations": [_plain(item) for item in known], "holders": _fingerprints(active.holders), "file_differs": other},
        Table(("", "version", "in force since", "digest", "signed by"), rows),
        *_holder_views(active.holders, "These keys hold the roles:"),
        *([f"note: {config.party.policy.name} is not what is in force: parley policy activate"] if other else []),
    )


def _plain(item: Activation) -> dict[str, Any]:
    active = item.activated
    return {
        "number": active.number,
        "version": active.version,
        "digest": active.file.digest,
        "at": item.at,
        "signers": [{"role": each.role, "fingerprint": each.key.fingerprint, "at": each.at} for each in active.signers],
        "holders": _fingerprints(active.holders),
    }


def _signers(item: Activation) -> str:
    return ", ".join(each.role for each in item.activated.signers) or "the operator: no role is asked"


def _fingerprints(holders: Holders) -> dict[str, str]:
    return {role: key.fingerprint for role, key in holders.keys.items()}


def _holder_views(holders: Holders, title: str) -> list[View]:
    if not holders.keys:
        return []
    return [Table(("role", "fingerprint of its key"), list(_fingerprints(holders).items()), title=title), _COMPARE]


def _own_party(session: Session) -> str:
    from parley_party import config  # noqa: PLC0415

    try:
        return config.load(session.home(HomeKind.PARTY).file).party.id
    except ConfigError as error:
        raise UsageError("policy key", wanted="--party ID, or a party's folder", got=str(error)) from error
