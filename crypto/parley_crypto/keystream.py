"""Mask vectors: AES-256-GCM over zeros, in blocks that stay in the processor's cache.

Encrypting zeros gives the bare CTR keystream, on OpenSSL's fastest path (measured 2.6 × its CTR). A key is used for one mask only; block
i has the nonce i, so no keystream repeats. The few bytes that go with a mask (the tags of its segment) come under a nonce that no block
reaches. Uniform over the ring, from 256-bit keys (protocol.md, invariant 6).

    >>> b"".join(bytes(block) for block in stream(bytes(32), 4)).hex()
    'cea7403d'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    cipher = _cipher(key)
    buffer = memoryview(bytearray(min(BLOCK_BYTES, length) + _TAG_BYTES))
    zeros = memoryview(_ZEROS)
    for block, start in enumerate(range(0, length, BLOCK_BYTES)):
        wanted = min(BLOCK_BYTES, length - start)
        cipher.encrypt_into(block.to_bytes(_NONCE_BYTES, "big"), zeros[:wanted], None, buffer[: wanted + _TAG_BYTES])
        yield buffer[:wanted]


def beside(key: bytes, length: int) -> bytes:
    """Return `length` bytes (at most BLOCK_BYTES) of the keystream that goes beside the mask of `key`, and is no part of it."""
    return _cipher(key).encrypt(_SHORT_NONCE, _ZEROS[:length], None)[:length]


def add_mask(vector: RingVector, key: bytes) -> None:
    """Add the mask of `key` (32 bytes) to `vector` in place, modulo 2^w."""
    apply_masks(vector, added=(key,))


def subtract_mask(vector: RingVector, key: bytes) -> None:
    """Subtract the mask of `key` (32 bytes) from `vector` in place, modulo 2^w."""
    apply_masks(vector, subtracted=(key,))


def apply_masks(vector: RingVector, *, added: Iterable[bytes] = (), subtracted: Iterable[bytes] = ()) -> None:
    """Add and subtract the masks of these keys in place, modulo 2^w: all masks of one block, while it is in the cache, then the next."""
    if vector.dtype != dtype_of(8 * vector.dtype.itemsize):
        raise MalformedError(f"mask: wanted a ring vector, got {vector.dtype}")
    masks = [(_cipher(key), np.add) for key in added] + [(_cipher(key), np.subtract) for key in subtracted]
    per_block = BLOCK_BYTES // vector.dtype.itemsize
    buffer = bytearray(min(BLOCK_BYTES, vector.nbytes) + _TAG_BYTES)
    for block, start in enumerate(range(0, vector.size, per_block)):
        part = vector[start : start + per_block]
        nonce, zeros = block.to_bytes(_NONCE_BYTES, "big"), memoryview(_ZEROS)[: part.nbytes]
        sealed = memoryview(buffer)[: part.nbytes + _TAG_BYTES]
        mask = np.frombuffer(buffer, dtype=vector.dtype, count=part.size)
        for cipher, operation in masks:
            cipher.encrypt_into(nonce, zeros, None, sealed)
            operation(part, mask, out=part)


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise MalformedError(f"mask: wanted a key of {KEY_BYTES} bytes, got {len(key)}")
    return AESGCM(key)
