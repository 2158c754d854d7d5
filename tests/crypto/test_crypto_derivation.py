"""Labels, derivation and keys: unambiguous, bound to a purpose, and a function of their bytes alone."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.derive import MOST_BYTES, derive, expand
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


@pytest.mark.parametrize(
    ("key", "info", "made"),
    [
        (
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "".join(f"{byte:02x}" for byte in range(0xB0, 0x100)),
            (
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
                "cc30c58179ec3e87c14c01d5c1f3434f1d87"
            ),
        ),
        (
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
    ids=["case 1", "case 2", "case 3"],
)
def test_expansion_gives_the_published_values(key: str, info: str, made: str) -> None:
    """RFC 5869, appendix A.1 to A.3."""
    assert expand(bytes.fromhex(key), bytes.fromhex(info), len(made) // 2).hex() == made


@given(st.binary(min_size=1, max_size=100), st.sampled_from([1, 31, 32, 33, 8_159, 8_160]))
def test_derivation_is_the_library_s(secret: bytes, length: int) -> None:
    library = HKDF(algorithm=SHA256(), length=length, salt=None, info=bind(Tag.BOX, "x"))
    assert derive(secret, Tag.BOX, "x", length=length) == library.derive(secret)


@pytest.mark.parametrize("length", [0, -1, MOST_BYTES + 1])
def test_lengths_that_hkdf_does_not_have_are_refused(length: int) -> None:
    with pytest.raises(MalformedError, match="wanted 1 to 8160 bytes"):
        derive(b"s" * 32, Tag.BOX, length=length)


def test_a_shared_secret_is_the_same_when_asked_for_again() -> None:
    mine, theirs, other = (AgreementKey(bytes([index]) * 32) for index in (1, 2, 3))
    first = mine.exchange(theirs.public)
    assert mine.exchange(other.public) != first
    assert mine.exchange(theirs.public) == first == theirs.exchange(mine.public)
    assert first.hex() not in repr(mine)


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
