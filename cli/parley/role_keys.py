"""Files of role keys: what a person who approves policies or agreements keeps, apart from the machine that the service runs on.

    FILE        the key, encrypted with a passphrase (scrypt, AES-256-GCM), mode 0600
    FILE.pub    the key's word that it takes the role, signed by itself: for whoever signs a policy that names the role

A file says for which role of which party it was made, so that a person who holds two cannot mix them up.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parley_crypto.keys import KEY_BYTES, SigningKey
from parley_crypto.signing import Envelope
from parley_policies.approvals.statements import RoleKey
from parley_protocol.problems import Slug
from parley_service.errors import ConfigError, KeyFileError
from parley_service.sealedfile import SCRYPT_N, read_sealed, write_atomic, write_sealed
from parley_service.secrets import Secret

PUBLIC: Final = ".pub"
_LABEL: Final = "role key"
_HOMES: Final = ("party.toml", "gateway.toml")


@dataclass(frozen=True, slots=True)
class OpenedRoleKey:
    """A role's key, opened; its repr is redacted."""

    party: str
    role: str
    key: SigningKey

    def public(self) -> Envelope:
        """Return the key's own word that it takes the role."""
        return RoleKey(party=self.party, role=self.role, key=self.key.public.hex).sign(self.key)


def make_role_key(file: Path, party: str, role: str, passphrase: Secret, *, n: int = SCRYPT_N) -> OpenedRoleKey:
    """Draw a key and write its two files; ConfigError if one is there, or if the place is a service's folder. `n` is scrypt's cost."""
    for folder in file.absolute().parents:
        if any((folder / name).is_file() for name in _HOMES):
            raise ConfigError(
                f"role key {file}",
                wanted="a place apart from every service's folder",
                got=f"one inside {folder}",
                do="Keep it where the engineer who runs the service cannot read it: another machine, or a stick.",
            )
    public = public_file(file)
    for path in (file, public):
        if path.exists():
            raise ConfigError(f"{path}", problem=Slug.CONFLICT, wanted="no file there yet", got="one", do="Keys are not overwritten.")
    seed = secrets.token_bytes(KEY_BYTES)
    made = OpenedRoleKey(party, role, SigningKey(seed))
    write_sealed(file, json.dumps({"party": party, "role": role, "seed": seed.hex()}).encode(), passphrase, label=_LABEL, n=n)
    write_atomic(public, made.public().dump() + b"\n")
    return made


def open_role_key(file: Path, role: str, passphrase: Secret) -> OpenedRoleKey:
    """Open a role's key; KeyFileError if it does not open, or is another role's."""
    found = json.loads(read_sealed(file, passphrase, label=_LABEL))
    if found["role"] != role:
        raise KeyFileError(f"role key {file}", wanted=f"the key of {role}", got=f"the key of {found['role']}")
    return OpenedRoleKey(found["party"], found["role"], SigningKey(bytes.fromhex(found["seed"])))


def public_file(file: Path) -> Path:
    """Return where the public half of a role's key file lies."""
    return file.with_name(file.name + PUBLIC)


def approval_file(of: Path, key: OpenedRoleKey) -> Path:
    """Return where a role's signature on the file `of` is written: beside it, named by role and key."""
    return of.with_name(f"{of.name}.{key.role.removeprefix('role:')}-{key.key.public.hex[:8]}.approval")
