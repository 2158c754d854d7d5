r"""The one registry of domain labels.

Every key derivation, box, digest and seed is bound to its purpose by a label from here, so that bytes made for one purpose are
worthless for another (protocol.md, invariant 5). `bind` encodes a label and its parts unambiguously: each part is preceded by its length.

    >>> bind(Tag.MASK_SELF, b"digest", 7, "trunk")[:18]
    b'\x00\x00\x00\x13parley/mask/se'
"""

from __future__ import annotations

import hashlib
from enum import StrEnum, unique
from typing import Final


@unique
class Tag(StrEnum):
    """Purpose of a derived key, a box, a seed or a digest."""

    MASK_PAIR = "parley/mask/pair/1"
    MASK_SELF = "parley/mask/self/1"
    SELF_SEED = "parley/round/self-seed/1"
    MASK_KEY = "parley/round/mask-key/1"
    CHANNEL_KEY = "parley/round/channel-key/1"
    SHAMIR = "parley/round/shamir/1"
    SHARE_HASH = "parley/round/share-hash/1"
    SEED_HASH = "parley/round/seed-hash/1"
    SHARE_LEAF = "parley/round/share-leaf/1"
    SEED_LEAF = "parley/round/seed-leaf/1"
    KEY_SET = "parley/round/key-set/1"
    BOX_SET = "parley/round/box-set/1"
    BOX = "parley/round/box/1"
    BASE_VERSION = "parley/base-version/1"
    PARAMETERS = "parley/parameters/1"
    MODEL_START = "parley/model-start/1"
    CONTENT = "parley/content/1"
    DRAWS = "parley/draws/1"
    DATASET = "parley/dataset/1"
    SALTED = "parley/salted/1"
    KEYSTORE = "parley/keystore/1"
    ROUND_STATE = "parley/round-state/1"
    ENROL = "parley/enrol/1"
    SUM_PROOF = "parley/round/sum-proof/1"
    SUM_PROOF_OFFSET = "parley/round/sum-proof-offset/1"
    PAD = "parley/round/pad/1"
    NEIGHBOURS = "parley/neighbours/1"
    SEED_PART = "parley/agreement/seed-part/1"
    KEY_PART = "parley/agreement/key-part/1"
    KEY_BOX = "parley/agreement/key-box/1"
    GRAPH_SEED = "parley/agreement/graph-seed/1"
    MEMBERS_KEY = "parley/agreement/members-key/1"
    MODEL_DIGEST = "parley/members/model-digest/1"


_LABELS: Final = {tag: len(tag.value).to_bytes(4, "big") + tag.value.encode() for tag in Tag}

_SHORT: Final = 128
_SIZES: Final = tuple(size.to_bytes(4, "big") for size in range(_SHORT))


def bind(tag: Tag, *parts: bytes | str | int) -> bytes:
    """Return label and parts as one unambiguous byte string: each with a 4-byte big-endian length before it.

    Integers are written as 8 bytes big-endian and must lie in [0, 2^64).
    """
    out = [_LABELS[tag]]
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part if isinstance(part, bytes) else part.to_bytes(8, "big")
        size = len(raw)
        out += (_SIZES[size] if size < _SHORT else size.to_bytes(4, "big"), raw)
    return b"".join(out)


def digest(tag: Tag, *parts: bytes | str | int) -> str:
    """Return the SHA-256 of `bind(tag, *parts)` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(bind(tag, *parts)).hexdigest()
