"""Keys and seeds derived with HKDF-SHA256 (RFC 5869), each under a label of the registry.

>>> derive(b"secret" * 8, Tag.MASK_SELF, "trunk") != derive(b"secret" * 8, Tag.MASK_SELF, "head:a")
True
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parley_crypto.tags import Tag, bind


def derive(secret: bytes, tag: Tag, *parts: bytes | str | int, length: int = 32) -> bytes:
    """Return `length` bytes (at most 8,160) of HKDF-SHA256 over `secret`, with empty salt and info `bind(tag, *parts)`."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=bind(tag, *parts)).derive(secret)


def segment_key(members_key: bytes, tag: Tag, agreement: str, round_number: int, base: str, segment: str, *more: str | int) -> bytes:
    """Return the 32-byte key of one purpose, segment and round that the members share, from their 32-byte members' key (invariant 5)."""
    return derive(members_key, tag, agreement, round_number, base, segment, *more)
