"""A service's keys in one sealed file, opened once at start: one scrypt, whatever the number of keys.

A key file holds named seeds of 32 random bytes; what each is for (signing, encrypting what the store keeps) is the service's business.
`Keys` gives them as signing keys or as a `StorageKey`; its repr shows names alone.

`StorageKey` encrypts what lies in the store but must not be readable there, such as the secrets of a round: AES-256-GCM with a random
nonce, bound to what and where it is, so that a row cannot be moved to another place.

    keys = create_keys(folder / "keys", ("log",), passphrase, label="gateway keys")
    keys.signing("log").public.fingerprint
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from parley_crypto.keys import KEY_BYTES, SigningKey
from parley_crypto.tags import Tag, bind
from parley_protocol.problems import Slug

from parley_service.errors import KeyFileError
from parley_service.sealedfile import SCRYPT_N, read_sealed, write_sealed
from parley_service.secrets import Secret

KEY_FILE: Final = "keys.sealed"
_NONCE_BYTES: Final = 12


class StorageKey:
    """A 32-byte key that encrypts what the store keeps. Not for anything that leaves the machine."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher: Final = AESGCM(key)

    def __repr__(self) -> str:
        return "StorageKey(redacted)"

    def seal(self, content: bytes, *place: str | int) -> bytes:
        """Return `content` encrypted and bound to `place` (study, round, …): a 12-byte nonce, the ciphertext, a 16-byte tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, bind(Tag.ROUND_STATE, *place))

    def open(self, sealed: bytes, *place: str | int) -> bytes:
        """Return what `seal` was given; KeyFileError if it was changed, moved, or sealed with another key."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bind(Tag.ROUND_STATE, *place))
        except (InvalidTag, ValueError):  # ValueError: shorter than a nonce
            where = " ".join(map(str, place))
            raise KeyFileError(f"stored secret of {where}", wanted="what this key sealed there", got="something else") from None


@dataclass(frozen=True, slots=True)
class Keys:
    """The opened keys of a service."""

    _seeds: dict[str, bytes] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Which keys there are."""
        return tuple(sorted(self._seeds))

    def signing(self, name: str) -> SigningKey:
        """Return the Ed25519 key of that name."""
        return SigningKey(self._seeds[name])

    def storage(self, name: str) -> StorageKey:
        """Return the storage key of that name."""
        return StorageKey(self._seeds[name])


def create_keys(folder: Path, names: Iterable[str], passphrase: Secret, *, label: str, n: int = SCRYPT_N) -> Keys:
    """Draw a seed for each of `names` and seal them into a new key file; KeyFileError if there is one: keys are never overwritten."""
    path = folder / KEY_FILE
    if path.exists():
        raise KeyFileError(
            f"key file {path}",
            problem=Slug.CONFLICT,
            wanted="none yet",
            got="one",
            do="Keys are not overwritten: whoever has this identity would lose it. Use another folder.",
        )
    seeds = {name: secrets.token_bytes(KEY_BYTES) for name in names}
    content = json.dumps({name: seed.hex() for name, seed in seeds.items()}).encode()
    write_sealed(path, content, passphrase, label=label, n=n)
    return Keys(seeds)


def open_keys(folder: Path, names: Iterable[str], passphrase: Secret, *, label: str) -> Keys:
    """Open the key file of `folder`; KeyFileError if it does not open or does not hold exactly `names`."""
    path = folder / KEY_FILE
    if not path.is_file():
        raise KeyFileError(
            f"key file {path}", wanted="the file that `init` made", got="none", do="Run `parley gateway init` or `parley party init`."
        )
    seeds = {name: bytes.fromhex(seed) for name, seed in json.loads(read_sealed(path, passphrase, label=label)).items()}
    if set(seeds) != set(names):
        raise KeyFileError(f"key file {path}", wanted=f"the keys {', '.join(sorted(names))}", got=", ".join(sorted(seeds)))
    return Keys(seeds)
