"""A party's keys: made by `parley party init`, opened with the passphrase once when the service starts.

Four keys in one sealed file (`parley_service.keyfile`), each for one purpose, none of which ever leaves the party:

    identity         Ed25519: signs statements; its fingerprint is what people compare outside the gateway
    authentication   Ed25519: signs request tokens to the gateway, nothing else
    witness          Ed25519: cosigns checkpoints of the log, nothing else
    storage          encrypts the secrets of a round where the store keeps them

    keys = create(folder / "keys", passphrase)
    keys.identity.public.fingerprint
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parley_crypto.keys import SigningKey
from parley_service.keyfile import Keys, StorageKey, create_keys, open_keys
from parley_service.sealedfile import SCRYPT_N
from parley_service.secrets import Secret

_LABEL: Final = "party keys"
_NAMES: Final = ("identity", "authentication", "witness", "storage")


@dataclass(frozen=True, slots=True)
class PartyKeys:
    """The opened keys of a party; every repr in it is redacted."""

    identity: SigningKey
    authentication: SigningKey
    witness: SigningKey
    storage: StorageKey


def create(folder: Path, passphrase: Secret, *, n: int = SCRYPT_N) -> PartyKeys:
    """Draw a party's keys and seal them in `folder`; KeyFileError if there are keys already. `n` is scrypt's cost."""
    return _party_keys(create_keys(folder, _NAMES, passphrase, label=_LABEL, n=n))


def load(folder: Path, passphrase: Secret) -> PartyKeys:
    """Open the keys in `folder`; KeyFileError if they do not open."""
    return _party_keys(open_keys(folder, _NAMES, passphrase, label=_LABEL))


def _party_keys(keys: Keys) -> PartyKeys:
    return PartyKeys(keys.signing("identity"), keys.signing("authentication"), keys.signing("witness"), keys.storage("storage"))
