"""Labels, derivation and keys: unambiguous, bound to a purpose, and a function of their bytes alone."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.derive import derive
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.keys import AgreementKey, SigningKey, VerifyKey, fingerprint_of
from parley_crypto.tags import Tag, bind, digest

PARTS = st.lists(st.one_of(st.binary(max_size=6), st.text(max_size=6), st.integers(0, 2**64 - 1)), max_size=4)


def raw(part: bytes | str | int) -> bytes:
    return part if isinstance(part, bytes) else part.encode() if isinstance(part, str) else part.to_bytes(8, "big")


@given(st.sampled_from(Tag), PARTS, st.sampled_from(Tag), PARTS)
def test_bound_bytes_differ_wherever_label_or_parts_do(tag: Tag, parts: list[bytes], other: Tag, others: list[bytes]) -> None:
    same = tag is other and [raw(part) for part in parts] == [raw(part) for part in others]
    assert (bind(tag, *parts) == bind(other, *others)) is same


def test_bound_bytes_are_written_with_their_lengths() -> None:
    assert (
        bind(Tag.BOX, b"ab", "c", 1)
        == b"\0\0\0\x12parley/round/box/1" + b"\0\0\0\x02ab" + b"\0\0\0\x01c" + b"\0\0\0\x08" + b"\0" * 7 + b"\x01"
    )
    assert digest(Tag.BOX, "c") == hashlib.sha256(bind(Tag.BOX, "c")).hexdigest()


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_that_do_not_fit_are_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        bind(Tag.BOX, number)


def test_labels_have_one_form_and_a_version() -> None:
    assert len(set(Tag)) == len(list(Tag))
    assert all(re.fullmatch(r"parley/[a-z0-9/-]+/[0-9]+", tag.value) for tag in Tag)


@given(st.binary(min_size=1, max_size=64), st.sampled_from(Tag), PARTS, st.integers(1, 200))
def test_derivation_is_hkdf_sha256_with_empty_salt(secret: bytes, tag: Tag, parts: list[bytes], length: int) -> None:
    """RFC 5869, section 2, written out."""
    key = hmac.digest(bytes(32), secret, "sha256")
    made, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + bind(tag, *parts) + bytes([counter]), "sha256")
        made += block
    assert derive(secret, tag, *parts, length=length) == made[:length]


def test_keys_are_functions_of_their_bytes() -> None:
    assert SigningKey(b"s" * 32).public == SigningKey(b"s" * 32).public
    assert AgreementKey(b"s" * 32).public == AgreementKey(b"s" * 32).public
    assert AgreementKey(b"s" * 32).exchange(AgreementKey(b"t" * 32).public) == AgreementKey(b"t" * 32).exchange(
        AgreementKey(b"s" * 32).public
    )


def test_secrets_do_not_show() -> None:
    for key in (SigningKey(b"secret seed of thirty-two bytes!"), AgreementKey(b"secret seed of thirty-two bytes!")):
        assert "redacted" in repr(key)
        assert "secret seed" not in f"{key!r} {key}"
        assert b"secret seed".hex() not in f"{key!r} {key}"
        assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_bytes_of_another_length_are_no_key(size: int) -> None:
    for of in (SigningKey, AgreementKey, VerifyKey):
        with pytest.raises(MalformedError, match=f"wanted 32 bytes, got {size}"):
            of(bytes(size))
    with pytest.raises(MalformedError):
        AgreementKey(bytes(range(32))).exchange(bytes(size))


@pytest.mark.parametrize("text", ["", "0" * 63, "zz" * 32, "0" * 66])
def test_a_key_in_other_digits_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        VerifyKey.from_hex(text)


def test_a_signature_is_on_one_message_by_one_key() -> None:
    key = SigningKey(b"s" * 32)
    signature = key.sign(b"message")
    key.public.verify(signature, b"message")
    assert signature == key.sign(b"message")
    for wrong in (b"massage", b""):
        with pytest.raises(VerificationError, match=re.escape(key.public.fingerprint)):
            key.public.verify(signature, wrong)
    for broken in (b"", signature[:-1], bytes(64), bytes([signature[0] ^ 1]) + signature[1:]):
        with pytest.raises(VerificationError):
            key.public.verify(broken, b"message")
    with pytest.raises(VerificationError):
        SigningKey(b"t" * 32).public.verify(signature, b"message")


def test_fingerprints_are_openssh_s() -> None:
    assert fingerprint_of(bytes(32)) == "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU"
    assert SigningKey(bytes(32)).public.fingerprint == fingerprint_of(SigningKey(bytes(32)).public.raw)
