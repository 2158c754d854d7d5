"""How large the tags of a segment are (`sumproof`), for those who count bytes and compute none.

>>> tag_bits(32), tag_bytes(64)
(64, 32)
"""

from __future__ import annotations

from typing import Final

from parley_crypto.errors import MalformedError

TAGS: Final = 2
WIDE: Final = 64  # the width whose tags need words of two limbs
_WIDTHS: Final = (16, 32, WIDE)


def tag_bits(width: int) -> int:
    """Return m, the bits of one tag, for a ring of `width` bits; MalformedError unless 16, 32 or 64."""
    if width not in _WIDTHS:
        raise MalformedError(f"ring width: wanted 16, 32 or 64 bits, got {width}")
    return 128 if width == WIDE else 64


def tag_bytes(width: int) -> int:
    """Return how many bytes both tags take on the wire: little-endian, one after the other."""
    return TAGS * tag_bits(width) // 8
