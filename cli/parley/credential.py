"""`parley credential`: for issuers, who vouch that a key belongs to an organization. Needs no service, no network, and no extra.

An issuer's key lives in a sealed file of its own, which no service reads. What is made here is public: the party shows it when it joins.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from parley_crypto.keys import KEY_BYTES, SigningKey
from parley_crypto.statement import first_fault
from parley_policies.negotiation.credentials import Credential, issue, read_credential
from parley_protocol.problems import Slug
from parley_service.errors import ConfigError
from parley_service.sealedfile import read_sealed, write_atomic, write_sealed
from parley_service.secrets import SecretReference
from pydantic import ValidationError

from parley.output import Facts
from parley.session import Session, UsageError, session_of

app = typer.Typer(help="Vouch that a key belongs to an organization (for issuers).", no_args_is_help=True)
_LABEL: Final = "issuer key"
_DAYS: Final = 365
_Passphrase = Annotated[str, typer.Option(help="Where the key's passphrase is: env:NAME, file:PATH, credential:NAME or prompt.")]


@app.command()
def issuer(
    context: typer.Context,
    key: Annotated[Path, typer.Argument(metavar="KEY", help="The file to make, sealed with a passphrase.")],
    *,
    passphrase: _Passphrase = "prompt",  # noqa: S107 - the word for asking, not a passphrase
) -> None:
    """Make an issuer's key. Whoever believes this issuer writes its fingerprint into the policy, under peers.issuers."""
    session = session_of(context)
    _require_absent(key)
    secret = SecretReference.parse(passphrase).read(Path.cwd(), session.environ, what="new passphrase for the issuer's key", twice=True)
    seed = secrets.token_bytes(KEY_BYTES)
    write_sealed(key, seed, secret, label=_LABEL)
    fingerprint = SigningKey(seed).public.fingerprint
    session.out.result(
        {"key": str(key), "fingerprint": fingerprint},
        Facts({"key": key, "fingerprint": fingerprint}),
        "Keep the file and its passphrase off every service. Read the fingerprint to the parties by phone.",
    )


@app.command()
def create(
    context: typer.Context,
    party: Annotated[str, typer.Argument(help="The party's id.")],
    *,
    key: Annotated[Path, typer.Option(help="The issuer's key, as `parley credential issuer` made it.")],
    name: Annotated[str, typer.Option(help="Legal name, as in the party's invite.")],
    party_class: Annotated[str, typer.Option("--class", help="What it is, such as hospital or insurer.")],
    country: Annotated[str, typer.Option(help="Country, ISO 3166-1, such as DE.")],
    fingerprint: Annotated[str, typer.Option(help="Of the party's identity key, as the party read it to you.")],
    days: Annotated[
        int, typer.Option(help="How long it is in force, from today. It cannot be taken back before.", min=1, max=3650)
    ] = _DAYS,
    out: Annotated[Path | None, typer.Option(help="The file; else PARTY.credential.json.")] = None,
    passphrase: _Passphrase = "prompt",  # noqa: S107 - as above
) -> None:
    """Vouch for a party: look at its papers and compare the fingerprint by phone first."""
    session = session_of(context)
    file = out or Path(f"{party}.credential.json")
    _require_absent(file)
    signing = _opened(session, key, passphrase)
    facts: dict[str, Any] = {
        "issuer": signing.public.hex,
        "party": party,
        "legal_name": name,
        "party_class": party_class,
        "country": country,
        "identity": fingerprint,
        "valid_until": datetime.now(UTC).date() + timedelta(days=days),
    }
    try:
        credential = Credential(**facts)
    except ValidationError as error:
        raise UsageError("credential", wanted="facts as an invite has them, and a fingerprint SHA256:…", got=first_fault(error)) from error
    write_atomic(file, issue(credential, signing).encode() + b"\n")
    session.out.result({"file": str(file), **_said(credential)}, Facts({"credential": file, **_said(credential)}))


@app.command()
def show(context: typer.Context, file: Annotated[Path, typer.Argument(help="A credential.")]) -> None:
    """Show a credential, and that its issuer signed it."""
    try:
        credential = read_credential(file.read_text(encoding="utf-8").rstrip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"credential {file}", problem=Slug.FILE_INVALID, wanted="a text that can be read", got=str(error)) from error
    session_of(context).out.result({"file": str(file), **_said(credential)}, Facts({"credential": file, **_said(credential)}))


def _said(credential: Credential) -> dict[str, str]:
    return {
        "party": credential.party,
        "legal_name": credential.legal_name,
        "class": credential.party_class,
        "country": credential.country,
        "fingerprint": credential.identity,
        "issuer": credential.issuer_fingerprint,
        "valid_until": credential.valid_until.isoformat(),
    }


def _opened(session: Session, key: Path, passphrase: str) -> SigningKey:
    if not key.is_file():
        raise UsageError(f"--key {key}", wanted="a file that `parley credential issuer` made", got="none")
    secret = SecretReference.parse(passphrase).read(Path.cwd(), session.environ, what="passphrase of the issuer's key")
    return SigningKey(read_sealed(key, secret, label=_LABEL))


def _require_absent(file: Path) -> None:
    if file.exists():
        raise ConfigError(f"{file}", problem=Slug.CONFLICT, wanted="no file there yet", got="one", do="Say another file.")
