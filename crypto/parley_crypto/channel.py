"""Boxes between two parties through a gateway that may lie: X25519, HKDF-SHA256, AES-256-GCM.

Both ends' channel keys live for one round and are signed by their identities. A box key serves one direction of one pair in one round, so
the nonce is constant. Everything that the box belongs to is the derivation's context: opening it elsewhere fails (invariant 5). The
gateway never imports this.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parley_crypto.derive import derive
from parley_crypto.errors import VerificationError
from parley_crypto.keys import AgreementKey
from parley_crypto.tags import Tag

_NONCE: Final = bytes(12)


def seal_box(mine: AgreementKey, theirs: bytes, content: bytes, *context: str | int) -> bytes:
    """Return `content` sealed for the holder of the X25519 key `theirs`; `context` ends with sender and recipient."""
    return AESGCM(_key(mine, theirs, context)).encrypt(_NONCE, content, None)


def open_box(mine: AgreementKey, theirs: bytes, box: bytes, *context: str | int) -> bytes:
    """Return the content of a box from the holder of `theirs`; VerificationError if it was made for anything else."""
    try:
        return AESGCM(_key(mine, theirs, context)).decrypt(_NONCE, box, None)
    except InvalidTag as error:
        raise VerificationError(
            f"box ({', '.join(str(part) for part in context[-2:])}): does not open; altered, or sealed for another round"
        ) from error


def _key(mine: AgreementKey, theirs: bytes, context: tuple[str | int, ...]) -> bytes:
    return derive(mine.exchange(theirs), Tag.BOX, *context)
