"""A new party's folder: what `parley party init` writes. Nothing is overwritten, and entropy is drawn by the keystore alone.

created = create_party(folder, PartySetup("clinic-a", SecretReference.parse("env:PASS"), Secret("…"), policy_text))
created.keys.identity.public.fingerprint
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.statement import Document
from parley_policies.negotiation.terms import PartyId
from parley_protocol.ids import Hex32
from parley_protocol.problems import Slug
from parley_service.errors import ConfigError
from parley_service.keyfile import KEY_FILE
from parley_service.sealedfile import SCRYPT_N, write_atomic
from parley_service.secrets import Secret, SecretReference

from parley_party import keystore
from parley_party.config import NAME, load

POLICY: Final = "policy.toml"
PUBLIC_KEYS: Final = "public.json"
STATE: Final = "state"
KEYS: Final = "keys"


@dataclass(frozen=True, slots=True)
class PartySetup:
    """What a new party's folder is made of. `data` are TOML tables `[data.…]`, `others` further files by name."""

    party: str
    reference: SecretReference
    passphrase: Secret
    policy: str
    data: str = ""
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreatedParty:
    """A new party's folder: the files that were written, and its opened keys."""

    folder: Path
    files: tuple[Path, ...]
    keys: keystore.PartyKeys


def create_party(folder: Path, setup: PartySetup, *, n: int = SCRYPT_N) -> CreatedParty:
    """Write a new party's files and keys; ConfigError if one of them is there already, or would not be read. `n` is scrypt's cost."""
    texts = {folder / NAME: party_toml(setup.party, setup.reference, setup.data), folder / POLICY: setup.policy}
    texts |= {folder / name: text for name, text in setup.others.items()}
    for path in (*texts, folder / KEYS, folder / STATE):
        if path.exists():
            raise ConfigError(
                f"{path}",
                problem=Slug.CONFLICT,
                wanted="nothing there yet",
                got="a file or folder",
                do="Use another folder; nothing was written.",
            )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check(folder, texts[folder / NAME])
    keys = keystore.create(folder / KEYS, setup.passphrase, n=n)
    public = PublicKeys(party=setup.party, identity=keys.identity.public.hex, authentication=keys.authentication.public.hex)
    write_atomic(folder / KEYS / PUBLIC_KEYS, public.canonical() + b"\n")
    (folder / STATE).mkdir(mode=0o700)
    for path, text in reversed(texts.items()):  # party.toml last: a folder that is half made is nobody's home
        write_atomic(path, text.encode())
    return CreatedParty(folder, (*texts, folder / KEYS / KEY_FILE), keys)


def _check(folder: Path, text: str) -> None:
    """Raise ConfigError unless the service will read this party.toml: before a key is drawn."""
    draft = folder / (NAME + ".draft")
    write_atomic(draft, text.encode())
    try:
        load(draft)
    finally:
        draft.unlink()


class PublicKeys(Document):
    """The public halves of a party's keys, beside the sealed file: to be shown without the passphrase."""

    party: PartyId
    identity: Hex32
    authentication: Hex32

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` of the identity key: what people compare outside the gateway."""
        return VerifyKey.from_hex(self.identity).fingerprint


def public_keys(folder: Path) -> PublicKeys:
    """Return the public keys that `create_party` wrote into a keys folder; ConfigError if they are not there."""
    path = folder / PUBLIC_KEYS
    try:
        return PublicKeys.parse(path.read_bytes().removesuffix(b"\n"))
    except OSError as error:
        raise ConfigError(f"{path}", wanted="the public keys that `parley party init` wrote", got=error.strerror or "an error") from error
    except CryptoError as error:
        raise ConfigError(f"{path}", wanted="the public keys that `parley party init` wrote", got=str(error)) from error


def party_toml(party: str, reference: SecretReference, data: str = "") -> str:
    """Return a party.toml with comments. `data` are tables `[data.…]`; without them an example stands there as a comment."""
    return _PARTY_TOML.format(
        party=json.dumps(party), passphrase=json.dumps(str(reference), ensure_ascii=False), data=data.rstrip("\n") or _DATA_EXAMPLE
    )


def data_tables(text: str) -> str:
    """Return the `[data.…]` tables of a party.toml as text, comments and all."""
    lines = text.splitlines()
    kept: list[str] = []
    inside = False
    for line in lines:
        header = re.match(r"\[+([A-Za-z0-9_.]+)", line)
        inside = header[1].split(".")[0] == "data" if header else inside
        kept += [line] if inside else []
    return "\n".join(kept).rstrip("\n") + "\n" if kept else ""


_PARTY_TOML: Final = """\
# party.toml: one organization's service. The data engineer owns this file; the compliance officer owns policy.toml.
# Paths are relative to this file. No secret ever stands in it.
schema = "parley.party/1"

[party]
id      = {party:<28} # as in the invite
policy  = "policy.toml"
state   = "state"                      # the store and what was sent; put it on a local disk, not on NFS
control = "state/control.sock"         # how `parley` reaches the running service (0600)

[keys]
dir        = "keys"                    # made by `parley party init`, encrypted
passphrase = {passphrase:<25} # env:NAME | file:PATH | credential:NAME | prompt

{data}

[training]
device     = "cpu"                     # cpu | cuda:0
threads    = 1
memory_mib = 2048
work_dir   = "state/work"              # child process, no keys inside, wiped after each round

[log]
format = "text"                        # text | json, to stderr
level  = "info"

# [metrics]                            # /healthz and /metrics on loopback, for who watches this service
# listen = "127.0.0.1:9441"
"""

_DATA_EXAMPLE: Final = """\
# [data.visits]                        # a dataset; its privacy budget hangs on this name, so settle it once
# files    = { data = "visits/*.csv" } # table = file or pattern of files: CSV or Parquet
# query    = "visits.sql"              # a file with one SELECT over those tables
# unit     = "patient_id"              # whose row it is; several rows of one person are one unit
# held_out = 0.34                      # share of the people kept back to measure the model
#
# [data.visits.map]                    # study column = column of the query, or { sql = "…", unit = "…" }
# age = "age_years\""""
