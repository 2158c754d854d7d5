"""Wycheproof: our wrappers where we have them, otherwise the very library calls that we rely on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from parley_crypto.errors import CryptoError, VerificationError
from parley_crypto.keys import AgreementKey, VerifyKey

Groups = Callable[[str], list[dict[str, Any]]]


def test_ed25519(wycheproof: Groups) -> None:
    faults = []
    for group in wycheproof("ed25519"):
        key = VerifyKey.from_hex(group["publicKey"]["pk"])
        for case in group["tests"]:
            try:
                key.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            except VerificationError:
                got = "invalid"
            else:
                got = "valid"
            if got != case["result"]:
                faults.append(case["tcId"])
    assert faults == []


def test_x25519(wycheproof: Groups) -> None:
    """Results of low order are refused by us, whatever the vector allows."""
    faults, refused = [], 0
    for group in wycheproof("x25519"):
        for case in group["tests"]:
            low = case["shared"] == "00" * 32
            try:
                got = AgreementKey(bytes.fromhex(case["private"])).exchange(bytes.fromhex(case["public"])).hex()
            except CryptoError:
                refused += 1
                if not low and case["result"] == "valid":
                    faults.append(case["tcId"])
                continue
            if low or got != case["shared"]:
                faults.append(case["tcId"])
    assert faults == []
    assert refused > 0


def test_hkdf_sha256(wycheproof: Groups) -> None:
    faults = []
    for group in wycheproof("hkdf_sha256"):
        for case in group["tests"]:
            salt = bytes.fromhex(case["salt"])
            try:
                kdf = HKDF(SHA256(), case["size"], salt, bytes.fromhex(case["info"]))
                got = kdf.derive(bytes.fromhex(case["ikm"])).hex()
            except ValueError:
                got = None
            if (got == case["okm"]) is not (case["result"] == "valid"):
                faults.append(case["tcId"])
    assert faults == []


def test_aes_gcm(wycheproof: Groups) -> None:
    """What we use: 256-bit keys, 96-bit nonces, 128-bit tags. Other shapes must not be accepted where the vector is invalid."""
    faults, ours = [], 0
    for group in wycheproof("aes_gcm"):
        for case in group["tests"]:
            ours += (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)
            nonce, sealed = bytes.fromhex(case["iv"]), bytes.fromhex(case["ct"] + case["tag"])
            try:
                got = AESGCM(bytes.fromhex(case["key"])).decrypt(nonce, sealed, bytes.fromhex(case["aad"])).hex()
            except InvalidTag:
                got = None
            except ValueError:  # nonces of other lengths the library takes from nobody
                assert not 8 <= len(nonce) <= 128
                continue
            if (got == case["msg"]) is not (case["result"] == "valid"):
                faults.append(case["tcId"])
    assert faults == []
    assert ours > 60


def test_a_key_that_is_no_point_verifies_nothing() -> None:
    with pytest.raises(VerificationError):
        VerifyKey(b"\xff" * 32).verify(bytes(64), b"")
