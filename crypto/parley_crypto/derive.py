"""Keys and seeds derived with HKDF-SHA256 (RFC 5869), each under a label of the registry.

>>> derive(b"secret" * 8, Tag.MASK_SELF, "trunk") != derive(b"secret" * 8, Tag.MASK_SELF, "head:a")
True
"""

from __future__ import annotations

import hashlib
from typing import Final

from parley_crypto.errors import MalformedError
from parley_crypto.tags import Tag, bind

MOST_BYTES: Final = 255 * 32
_BLOCK_BYTES: Final = 64  # of SHA-256; every key here is shorter, so HMAC (RFC 2104) pads it with zeros
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_NO_SALT: Final = bytes(32)


def derive(secret: bytes, tag: Tag, *parts: bytes | str | int, length: int = 32) -> bytes:
    """Return `length` bytes (1 to MOST_BYTES) of HKDF-SHA256 over `secret`, with empty salt and info `bind(tag, *parts)`."""
    return expand(_hmac(_NO_SALT, secret), bind(tag, *parts), length)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes (1 to MOST_BYTES) of HKDF-Expand (RFC 5869, section 2.3) with a pseudorandom key of 32 bytes.

    On hashlib rather than the library's HKDF, whose set-up costs more than the hashing, and a round derives thousands of keys.
    """
    if not 0 < length <= MOST_BYTES:
        raise MalformedError(f"derived key: wanted 1 to {MOST_BYTES} bytes, got {length}")
    block = _hmac(key, info + b"\x01")
    made = block
    while len(made) < length:
        block = _hmac(key, block + info + bytes([len(made) // len(block) + 1]))
        made += block
    return made[:length]


def _hmac(key: bytes, message: bytes) -> bytes:
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha256(padded.translate(_OUTER) + hashlib.sha256(padded.translate(_INNER) + message).digest()).digest()


def segment_key(members_key: bytes, tag: Tag, agreement: str, round_number: int, base: str, segment: str, *more: str | int) -> bytes:
    """Return the 32-byte key of one purpose, segment and round that the members share, from their 32-byte members' key (invariant 5)."""
    return derive(members_key, tag, agreement, round_number, base, segment, *more)
