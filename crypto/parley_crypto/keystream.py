"""Mask vectors: AES-256-GCM over zeros, in blocks that stay in the processor's cache.

Encrypting zeros gives the bare CTR keystream, on OpenSSL's fastest path (measured 2.6 × its CTR). A key is used for one mask only; block
i has the nonce i, so no keystream repeats. The few bytes that go with a mask (the tags of its segment) come under a nonce that no block
reaches. Uniform over the ring, from 256-bit keys (protocol.md, invariant 6).

    >>> b"".join(bytes(block) for block in stream(bytes(32), 4)).hex()
    'cea7403d'
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parley_crypto.errors import MalformedError
from parley_crypto.ring import RingVector, dtype_of

KEY_BYTES: Final = 32
BLOCK_BYTES: Final = 256 * 1024
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_SHORT_NONCE: Final = b"\xff" * _NONCE_BYTES
_ZEROS: Final = bytes(BLOCK_BYTES)


def stream(key: bytes, length: int) -> Iterator[memoryview]:
    """Yield `length` bytes of keystream in blocks of BLOCK_BYTES (the last one shorter); each is overwritten by the next."""
    _require_key(key)
    cipher = AESGCM(key)
    buffer = memoryview(bytearray(min(BLOCK_BYTES, length) + _TAG_BYTES))
    zeros = memoryview(_ZEROS)
    for block, start in enumerate(range(0, length, BLOCK_BYTES)):
        wanted = min(BLOCK_BYTES, length - start)
        cipher.encrypt_into(block.to_bytes(_NONCE_BYTES, "big"), zeros[:wanted], None, buffer[: wanted + _TAG_BYTES])
        yield buffer[:wanted]


def beside(key: bytes, length: int) -> bytes:
    """Return `length` bytes (at most BLOCK_BYTES) of the keystream that goes beside the mask of `key`, and is no part of it."""
    _require_key(key)
    return AESGCM(key).encrypt(_SHORT_NONCE, _ZEROS[:length], None)[:length]


def add_mask(vector: RingVector, key: bytes) -> None:
    """Add the mask of `key` (32 bytes) to `vector` in place, modulo 2^w."""
    _apply(vector, key, subtract=False)


def subtract_mask(vector: RingVector, key: bytes) -> None:
    """Subtract the mask of `key` (32 bytes) from `vector` in place, modulo 2^w."""
    _apply(vector, key, subtract=True)


def _apply(vector: RingVector, key: bytes, *, subtract: bool) -> None:
    if vector.dtype != dtype_of(8 * vector.dtype.itemsize):
        raise MalformedError(f"mask: wanted a ring vector, got {vector.dtype}")
    operation = np.subtract if subtract else np.add
    per_block = BLOCK_BYTES // vector.dtype.itemsize
    for block, raw in enumerate(stream(key, vector.size * vector.dtype.itemsize)):
        part = vector[block * per_block : (block + 1) * per_block]
        operation(part, np.frombuffer(raw, dtype=vector.dtype), out=part)


def _require_key(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise MalformedError(f"mask: wanted a key of {KEY_BYTES} bytes, got {len(key)}")
