from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.checkpoint import (
    Checkpoint,
    check_follows,
    key_id,
    parse_and_verify,
    parse_vkey,
    sign_note,
    signer_names,
    verify_note,
    vkey,
)
from parley_crypto.errors import CryptoError, MalformedError, VerificationError
from parley_crypto.keys import SigningKey
from parley_crypto.merkle import EMPTY_ROOT, Tree, leaf_hash

KEY, OTHER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
ORIGIN = "gw.example/log"
TREE = Tree(leaf_hash(b"%d" % index) for index in range(9))


def _checkpoint(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, TREE.root(size))


@given(st.integers(0, 9))
def test_a_checkpoint_comes_back(size: int) -> None:
    checkpoint = _checkpoint(size)
    assert parse_and_verify(checkpoint.sign(KEY), KEY.public, ORIGIN) == checkpoint


def test_the_note_reads_as_specified() -> None:
    note = _checkpoint(9).sign(KEY)
    origin, size, root, blank, line, end = note.split("\n")
    assert (origin, size, blank, end) == (ORIGIN, "9", "", "")
    assert base64.b64decode(root) == TREE.root()
    dash, name, encoded = line.split(" ")
    raw = base64.b64decode(encoded)
    assert (dash, name, raw[:4], len(raw)) == ("—", ORIGIN, key_id(ORIGIN, KEY.public), 68)


def test_another_name_may_be_given() -> None:
    note = _checkpoint(3).sign(KEY, "gw.example/other")
    assert parse_and_verify(note, KEY.public, ORIGIN, "gw.example/other").size == 3
    with pytest.raises(VerificationError, match="wanted a signature by"):
        parse_and_verify(note, KEY.public, ORIGIN)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_every_flipped_bit_is_refused(position: int, bit: int) -> None:
    raw = bytearray(_checkpoint(9).sign(KEY).encode())
    raw[position % len(raw)] ^= 1 << bit
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(CryptoError):
        parse_and_verify(text, KEY.public, ORIGIN)


def test_signatures_of_strangers_are_ignored_and_do_not_help() -> None:
    ours, theirs = _checkpoint(9).sign(KEY), _checkpoint(9).sign(OTHER, "witness.example")
    both = ours + theirs.split("\n\n")[1]
    assert parse_and_verify(both, KEY.public, ORIGIN).size == 9
    assert signer_names(both) == (ORIGIN, "witness.example")
    with pytest.raises(VerificationError, match="wanted a signature by"):
        parse_and_verify(theirs, KEY.public, ORIGIN)


def test_one_wrong_signature_of_the_known_key_refuses_the_note() -> None:
    ours, wrong = _checkpoint(9).sign(KEY), _checkpoint(8).sign(KEY)
    with pytest.raises(VerificationError, match="does not verify"):
        parse_and_verify(ours + wrong.split("\n\n")[1], KEY.public, ORIGIN)


def test_another_log_is_refused() -> None:
    note = _checkpoint(9).sign(KEY, "gw.example/log2")
    with pytest.raises(VerificationError, match=r"wanted log gw\.example/log2, got gw\.example/log"):
        parse_and_verify(note, KEY.public, "gw.example/log2")


@pytest.mark.parametrize(
    "body",
    [
        "o\n01\n" + base64.b64encode(EMPTY_ROOT).decode() + "\n",
        "o\n-1\n" + base64.b64encode(EMPTY_ROOT).decode() + "\n",
        "o\n1\nnot base64\n",
        "o\n1\nAAAA\n",
        "o\n1\n" + base64.b64encode(EMPTY_ROOT).decode() + "\nextension\n",
        "\n1\n" + base64.b64encode(EMPTY_ROOT).decode() + "\n",
        "o\n1\n",
        "o\n٣\n" + base64.b64encode(EMPTY_ROOT).decode() + "\n",
    ],
)
def test_other_bodies_are_refused(body: str) -> None:
    with pytest.raises(MalformedError):
        Checkpoint.parse(body)


def test_an_empty_tree_has_one_root() -> None:
    with pytest.raises(MalformedError, match="root of the empty tree"):
        Checkpoint(ORIGIN, 0, leaf_hash(b""))


def test_notes_that_are_no_notes() -> None:
    good = sign_note("text\n", "name", KEY)
    for note in ("", "text\n", good.replace("\n\n", "\n"), good[:-1], good.replace("— ", "- "), "\x07" + good, good + "\n"):
        with pytest.raises(MalformedError):
            verify_note(note, "name", KEY.public)
    with pytest.raises(MalformedError, match="ends in a newline"):
        sign_note("text", "name", KEY)
    for name in ("", "a b", "a+b", "a\u2003b"):
        with pytest.raises(MalformedError, match="key name"):
            sign_note("text\n", name, KEY)


def test_only_one_spelling_of_base64() -> None:
    note = sign_note("text\n", "name", KEY)
    assert note.endswith("=\n")  # 68 bytes leave unused bits in the last digit
    digit = note[-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(digit) ^ 1]
    with pytest.raises(MalformedError, match="canonical spelling"):
        verify_note(note[:-3] + other + "=\n", "name", KEY.public)


def test_verifier_keys() -> None:
    text = vkey("gw.example/log", KEY.public)
    assert parse_vkey(text) == ("gw.example/log", KEY.public)
    name, hashed, encoded = text.split("+", 2)
    wrong = "00000000" if hashed != "00000000" else "11111111"
    for other in ("", name, f"{name}+{wrong}+{encoded}", f"{name}+{hashed}+AAAA", f"other+{hashed}+{encoded}"):
        with pytest.raises(MalformedError):
            parse_vkey(other)


def test_a_checkpoint_follows_another() -> None:
    check_follows(_checkpoint(0), _checkpoint(9), ())
    check_follows(_checkpoint(4), _checkpoint(9), TREE.consistency_proof(4, 9))
    check_follows(_checkpoint(9), _checkpoint(9), ())
    check_follows(_checkpoint(0), _checkpoint(0), ())
    with pytest.raises(VerificationError, match="rolled back: wanted at least 9 leaves, got 4"):
        check_follows(_checkpoint(9), _checkpoint(4), ())
    with pytest.raises(VerificationError, match="wanted log"):
        check_follows(Checkpoint("other", 0, EMPTY_ROOT), _checkpoint(9), ())
    with pytest.raises(VerificationError, match="wanted root"):
        check_follows(_checkpoint(9), Checkpoint(ORIGIN, 9, leaf_hash(b"fork")), ())
    with pytest.raises(VerificationError, match="from the empty tree"):
        check_follows(_checkpoint(0), _checkpoint(9), (bytes(32),))
