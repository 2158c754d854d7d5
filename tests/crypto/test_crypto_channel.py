"""Boxes open at the other end, in their direction and context, and nowhere else."""

from __future__ import annotations

import pytest
from parley_crypto.channel import open_box, seal_box
from parley_crypto.errors import VerificationError
from parley_crypto.keys import AgreementKey

ALICE, BOB, EVE = (AgreementKey(bytes([number]) * 32) for number in (1, 2, 3))
CONTEXT = ("a" * 64, 7, "b" * 64, "alice", "bob")


def test_a_box_opens_at_the_other_end() -> None:
    box = seal_box(ALICE, BOB.public, b"content", *CONTEXT)
    assert open_box(BOB, ALICE.public, box, *CONTEXT) == b"content"
    assert b"content" not in box
    assert len(box) == len(b"content") + 16


def test_a_box_repeats_to_the_byte() -> None:
    assert seal_box(ALICE, BOB.public, b"content", *CONTEXT) == seal_box(ALICE, BOB.public, b"content", *CONTEXT)


@pytest.mark.parametrize(
    "context",
    [
        ("c" * 64, 7, "b" * 64, "alice", "bob"),
        ("a" * 64, 8, "b" * 64, "alice", "bob"),
        ("a" * 64, 7, "c" * 64, "alice", "bob"),
        ("a" * 64, 7, "b" * 64, "bob", "alice"),
        ("a" * 64, 7, "b" * 64, "alice", "eve"),
        ("a" * 64, 7, "b" * 64, "alicebob", ""),
    ],
)
def test_a_box_opens_in_no_other_context(context: tuple[str | int, ...]) -> None:
    box = seal_box(ALICE, BOB.public, b"content", *CONTEXT)
    with pytest.raises(VerificationError, match="does not open"):
        open_box(BOB, ALICE.public, box, *context)


def test_a_box_opens_for_nobody_else_and_only_whole() -> None:
    box = seal_box(ALICE, BOB.public, b"content", *CONTEXT)
    with pytest.raises(VerificationError):
        open_box(EVE, ALICE.public, box, *CONTEXT)
    with pytest.raises(VerificationError):
        open_box(BOB, EVE.public, box, *CONTEXT)
    for broken in (b"", box[:-1], box[1:], box + b"\0", bytes([box[0] ^ 1]) + box[1:]):
        with pytest.raises(VerificationError):
            open_box(BOB, ALICE.public, broken, *CONTEXT)


def test_a_key_of_low_order_is_refused_at_either_end() -> None:
    with pytest.raises(VerificationError, match="low order"):
        seal_box(ALICE, bytes(32), b"content", *CONTEXT)
    with pytest.raises(VerificationError, match="low order"):
        open_box(ALICE, bytes(32), bytes(40), *CONTEXT)
