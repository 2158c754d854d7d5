"""Ed25519 signing keys and X25519 agreement keys, made from bytes that the caller supplies.

Private keys have a redacting repr and no JSON form. Nothing here draws randomness: a key is a function of its 32 bytes, so that a
round can be repeated to the byte after a crash. Ed25519 is RFC 8032, X25519 is RFC 7748; results of low order are refused
(RFC 7748, section 6.1). Signatures are verified by libsodium, which takes half the time and refuses keys of low order, under which one
signature would fit many messages (docs/adr/0023).

    >>> key = SigningKey(bytes(32))
    >>> key.public.verify(key.sign(b"message"), b"message")
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey as SodiumKey

from parley_crypto.errors import MalformedError, VerificationError

KEY_BYTES: Final = 32
_FIELD_PRIME: Final = 2**255 - 19
_LOW_ORDER: Final = frozenset(  # all u below the prime that belong to points of order 1, 2, 4 and 8 (Bernstein, cr.yp.to/ecdh.html)
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _FIELD_PRIME - 1,
    }
)
SIGNATURE_BYTES: Final = 64
_FINGERPRINT_PREFIX: Final = "SHA256:"


def _require_length(name: str, raw: bytes, wanted: int) -> None:
    if len(raw) != wanted:
        raise MalformedError(f"{name}: wanted {wanted} bytes, got {len(raw)}")


def fingerprint_of(raw: bytes) -> str:
    """Return `SHA256:` and the unpadded base64 of the SHA-256 of a public key's 32 bytes (as OpenSSH prints them)."""
    return _FINGERPRINT_PREFIX + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


def check_agreement_key(raw: bytes) -> None:
    """Return if an X25519 public key can be used by everybody; VerificationError for one of low order, or not in its canonical encoding.

    With a key of low order every exchange fails; a second encoding would let one key pass for two.
    """
    _require_length("X25519 public key", raw, KEY_BYTES)
    value = int.from_bytes(raw, "little")
    if value % 2**255 % _FIELD_PRIME in _LOW_ORDER:  # the highest bit is ignored (RFC 7748, section 5)
        raise VerificationError(f"X25519 public key {raw.hex()[:16]}… gives a secret of low order: refused")
    if value >= _FIELD_PRIME:
        raise VerificationError(f"X25519 public key: wanted one below 2^255 - 19, got {raw.hex()[:16]}…")


@dataclass(frozen=True)
class VerifyKey:
    """An Ed25519 public key, 32 bytes."""

    raw: bytes

    def __post_init__(self) -> None:
        _require_length("Ed25519 public key", self.raw, KEY_BYTES)

    @classmethod
    def from_hex(cls, text: str) -> VerifyKey:
        """Parse 64 hexadecimal digits; raises MalformedError."""
        try:
            return cls(bytes.fromhex(text))
        except ValueError as error:
            raise MalformedError(f"Ed25519 public key: wanted 64 hexadecimal digits, got {text[:80]!r}") from error

    @property
    def hex(self) -> str:
        """The 32 bytes as 64 hexadecimal digits."""
        return self.raw.hex()

    @cached_property
    def fingerprint(self) -> str:
        """`SHA256:…`, the short string that people compare outside the gateway."""
        return fingerprint_of(self.raw)

    @cached_property
    def library_key(self) -> Ed25519PublicKey:
        """The key as the cryptography library has it, for libraries that take one (request tokens)."""
        return Ed25519PublicKey.from_public_bytes(self.raw)

    @cached_property
    def _sodium(self) -> SodiumKey:
        return SodiumKey(self.raw)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if `signature` is this key's on `message`; raise VerificationError otherwise, also for a key of low order."""
        try:
            self._sodium.verify(message, signature)
        except (BadSignatureError, ValueError) as error:  # ValueError: not 64 bytes
            raise VerificationError(f"signature by {self.fingerprint} does not verify") from error


class SigningKey:
    """An Ed25519 private key, from its 32-byte seed."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        _require_length("Ed25519 seed", seed, KEY_BYTES)
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = VerifyKey(self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"SigningKey({self.public.fingerprint}, secret redacted)"

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature on `message` (deterministic, RFC 8032)."""
        return self._key.sign(message)

    @property
    def library_key(self) -> Ed25519PrivateKey:
        """The key as the cryptography library has it, for libraries that take one (request tokens)."""
        return self._key

    def seed(self) -> bytes:
        """Return the 32-byte seed, for the keystore alone."""
        return self._key.private_bytes_raw()


class AgreementKey:
    """An X25519 private key, from its 32 bytes. It remembers the secrets it shares: every segment of a round needs them again."""

    __slots__ = ("_key", "_shared", "public")

    def __init__(self, seed: bytes) -> None:
        _require_length("X25519 private key", seed, KEY_BYTES)
        self._key = X25519PrivateKey.from_private_bytes(seed)
        self._shared: dict[bytes, bytes] = {}
        self.public: Final = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"AgreementKey({self.public.hex()[:16]}…, secret redacted)"

    def exchange(self, peer: bytes) -> bytes:
        """Return the 32-byte shared secret with `peer`'s public key; a low-order result raises VerificationError."""
        if (known := self._shared.get(peer)) is not None:
            return known
        _require_length("X25519 public key", peer, KEY_BYTES)
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError as error:
            raise VerificationError(f"X25519 public key {peer.hex()[:16]}… gives a secret of low order: refused") from error
        self._shared[peer] = shared
        return shared
