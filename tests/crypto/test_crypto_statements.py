"""Envelopes and statements: bytes are verified before they are parsed, and a document has one form."""

from __future__ import annotations

import base64
import json
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.keys import SigningKey, VerifyKey
from parley_crypto.signing import MAX_SIGNATURES, Envelope, Signature, pae
from parley_crypto.statement import Signed, Statement

KEY, OTHER = SigningKey(b"s" * 32), SigningKey(b"t" * 32)


class Hello(Statement):
    kind: ClassVar[str] = "application/vnd.parley.hello.v1+json"
    name: str
    number: int = 0
    share: float = 0.5


class Goodbye(Hello):
    kind: ClassVar[str] = "application/vnd.parley.goodbye.v1+json"


def test_what_is_signed_is_dsse_s_encoding() -> None:
    """The example of dsse/protocol.md."""
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.text(max_size=20), st.binary(max_size=40), st.text(max_size=20), st.binary(max_size=40))
def test_two_contents_are_never_signed_as_one(kind: str, payload: bytes, other: str, others: bytes) -> None:
    assert (pae(kind, payload) == pae(other, others)) is ((kind.encode(), payload) == (other.encode(), others))


def test_a_statement_comes_only_through_its_signature() -> None:
    signed = Signed(Hello(name="you").sign(KEY), Hello)
    assert signed.verify(KEY.public) == Hello(name="you")
    with pytest.raises(VerificationError, match="wanted a signature by"):
        signed.verify(OTHER.public)
    with pytest.raises(VerificationError, match="wanted type"):
        Signed(Hello(name="you").sign(KEY), Goodbye).verify(KEY.public)
    swapped = Envelope(Hello.kind, Hello(name="me").canonical(), Hello(name="you").sign(KEY).signatures)
    with pytest.raises(VerificationError, match="does not verify"):
        Signed(swapped, Hello).verify(KEY.public)


def test_bytes_are_verified_before_they_are_parsed() -> None:
    forged = Envelope(Hello.kind, b"not JSON at all", Hello(name="you").sign(KEY).signatures)
    with pytest.raises(VerificationError):
        Signed(forged, Hello).verify(KEY.public)


def test_signatures_are_counted_by_key_once() -> None:
    envelope = Hello(name="you").sign(KEY, OTHER)
    keys = {"a": KEY.public, "b": OTHER.public, "c": SigningKey(b"u" * 32).public}
    assert envelope.signed_by(keys, 3) == ("a", "b")
    assert envelope.signed_by(keys, 1) == ("a",)
    doubled = Envelope(envelope.payload_type, envelope.payload, envelope.signatures * 2)
    assert doubled.signed_by(keys, 3) == ("a", "b")
    lying = Envelope(envelope.payload_type, envelope.payload, (Signature(OTHER.public.fingerprint, envelope.signatures[0].sig),))
    assert lying.signed_by(keys, 3) == ()


def test_signatures_join_only_on_the_same_payload() -> None:
    one, two = Hello(name="you").sign(KEY), Hello(name="you").sign(OTHER)
    assert one.joined(two).signed_by({"a": KEY.public, "b": OTHER.public}, 2) == ("a", "b")
    assert one.joined(one) == one
    with pytest.raises(VerificationError, match="statements differ"):
        one.joined(Hello(name="me").sign(OTHER))


def test_an_envelope_survives_the_wire() -> None:
    envelope = Hello(name="you").sign(KEY, OTHER)
    assert Envelope.load(envelope.dump()) == envelope
    assert Envelope.load(envelope.dump()).dump() == envelope.dump()


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(Hello(name="you").sign(KEY).dump()) | fields).encode()


ROW = {"keyid": "x", "sig": base64.b64encode(bytes(64)).decode()}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        changed(extra=1),
        changed(payload=7),
        changed(payload="*"),
        changed(payloadType=7),
        changed(signatures={}),
        changed(signatures=[ROW] * (MAX_SIGNATURES + 1)),
        changed(signatures=[7]),
        changed(signatures=[ROW | {"extra": 1}]),
        changed(signatures=[ROW | {"keyid": 7}]),
        changed(signatures=[ROW | {"sig": base64.b64encode(bytes(63)).decode()}]),
    ],
)
def test_bytes_that_are_no_envelope_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        Envelope.load(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name":"you","number":1,"share":0.5, "x":1}',
        b'{"name":"you","number":1,"share":0.5,"x":1}',
        b'{"number":1,"name":"you","share":0.5}',
        b'{"name":"you","number":"1","share":0.5}',
        b'{"name":"you","number":1.0,"share":0.5}',
        b'{"name":"you","number":1,"share":0.50}',
        b'{"name":"you","number":1,"share":NaN}',
        b'{"name":"you","number":1,"number":2,"share":0.5}',
        b'{"name":"you"}',
        b'{"name":null,"number":1,"share":0.5}',
        b'{"name":"you","number":99999999999999999999,"share":0.5}',
    ],
)
def test_a_document_has_one_form(raw: bytes) -> None:
    with pytest.raises(MalformedError, match="Hello"):
        Hello.parse(raw)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_every_document_survives_its_bytes(name: str, number: int, share: float) -> None:
    hello = Hello(name=name, number=number, share=share)
    again = Hello.parse(hello.canonical())
    assert (again, again.canonical(), again.digest()) == (hello, hello.canonical(), hello.digest())


def test_a_changed_document_has_another_digest() -> None:
    hello = Hello(name="you")
    before = hello.digest()
    assert hello.model_copy(update={"name": "me"}).digest() == Hello(name="me").digest() != before


@pytest.mark.parametrize("key", ["01" + "00" * 31, "ec" + "ff" * 30 + "7f", "00" * 32, "00" * 31 + "80"])
def test_under_a_key_of_low_order_no_signature_verifies(key: str) -> None:
    """R = B, S = 1 fits every message under the neutral point (the first of these), and some under the others: who signs can deny."""
    forged = bytes.fromhex("58" + "66" * 31 + "01" + "00" * 31)
    for number in range(32):
        with pytest.raises(VerificationError):
            VerifyKey.from_hex(key).verify(forged, bytes([number]))


def test_a_signature_of_another_length_is_refused() -> None:
    key = SigningKey(bytes(32))
    with pytest.raises(VerificationError):
        key.public.verify(key.sign(b"x")[:63], b"x")
