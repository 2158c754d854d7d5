"""DSSE envelopes: a payload, its type, and one or more Ed25519 signatures.

Signatures cover PAE(type, payload) of the DSSE v1 protocol (secure-systems-lab/dsse, protocol.md), so a signature on one type of
statement is worthless on another. `Envelope.verify` gives the payload only after checking; parse after verifying, never before.

    >>> from parley_crypto.keys import SigningKey
    >>> key = SigningKey(bytes(32))
    >>> Envelope.sign("text/plain", b"hello", key).verify("text/plain", key.public)
    b'hello'
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Final

from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.keys import SIGNATURE_BYTES, SigningKey, VerifyKey

MAX_SIGNATURES: Final = 1_000


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature and the fingerprint of the key that made it."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope. Holding one says nothing about its signatures: call `verify`."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @classmethod
    def sign(cls, payload_type: str, payload: bytes, *keys: SigningKey) -> Envelope:
        """Sign `payload` with each of `keys`."""
        message = pae(payload_type, payload)
        return cls(payload_type, payload, tuple(Signature(key.public.fingerprint, key.sign(message)) for key in keys))

    def verify(self, payload_type: str, key: VerifyKey) -> bytes:
        """Return the payload if it is of `payload_type` and `key` signed it; raise VerificationError otherwise."""
        if self.payload_type != payload_type:
            raise VerificationError(f"statement: wanted type {payload_type}, got {self.payload_type[:120]}")
        fingerprint = key.fingerprint
        for signature in self.signatures:
            if signature.keyid == fingerprint:
                key.verify(signature.sig, pae(payload_type, self.payload))
                return self.payload
        signers = ", ".join(signature.keyid for signature in self.signatures[:8]) or "nobody"
        raise VerificationError(f"statement {payload_type}: wanted a signature by {fingerprint}, got {signers}")

    def signed_by(self, keys: dict[str, VerifyKey], at_most: int) -> tuple[str, ...]:
        """Return the names among `keys` whose signature on this payload verifies, stopping after `at_most` of them.

        Signatures that are unknown, repeated or wrong do not count. `keys` maps a name to its key.
        """
        by_fingerprint = {key.fingerprint: name for name, key in keys.items()}
        message = pae(self.payload_type, self.payload)
        found: dict[str, None] = {}  # in the order of the signatures
        for signature in self.signatures:
            name = by_fingerprint.get(signature.keyid)
            if name is None or name in found:
                continue
            try:
                keys[name].verify(signature.sig, message)
            except VerificationError:
                continue
            found[name] = None
            if len(found) == at_most:
                break
        return tuple(found)

    def joined(self, other: Envelope) -> Envelope:
        """Return this envelope with the signatures of `other` added; both must carry the same payload."""
        if (self.payload_type, self.payload) != (other.payload_type, other.payload):
            raise VerificationError("statements differ: signatures can be joined only on identical payloads")
        known = {signature.keyid for signature in self.signatures}
        added = tuple(signature for signature in other.signatures if signature.keyid not in known)
        return Envelope(self.payload_type, self.payload, self.signatures + added)

    @property
    def payload_digest(self) -> str:
        """SHA-256 of the payload as 64 hexadecimal digits."""
        return hashlib.sha256(self.payload).hexdigest()

    def dump(self) -> bytes:
        """Return the envelope as JSON, which for these fields is canonical (RFC 8785): the bytes of a log leaf."""
        body = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": s.keyid, "sig": base64.b64encode(s.sig).decode()} for s in self.signatures],
        }
        return json.dumps(body, separators=(",", ":")).encode()

    @classmethod
    def load(cls, raw: bytes) -> Envelope:
        """Parse JSON as written by `dump`; unknown or missing fields raise MalformedError."""
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"statement: wanted a DSSE envelope in JSON, got {raw[:40]!r}…") from error
        if not isinstance(body, dict) or set(body) != {"payloadType", "payload", "signatures"}:
            raise MalformedError("statement: wanted the fields payloadType, payload, signatures and no others")
        kind, rows = body["payloadType"], body["signatures"]
        if not isinstance(kind, str) or not kind.isascii() or not isinstance(rows, list) or len(rows) > MAX_SIGNATURES:
            raise MalformedError(f"statement: wanted a payload type and at most {MAX_SIGNATURES} signatures")
        return cls(kind, _decoded("payload", body["payload"]), tuple(_signature(row) for row in rows))


def _decoded(name: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise MalformedError(f"statement: wanted {name} in base64, got {type(text).__name__}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"statement: wanted {name} in base64, got {text[:40]!r}") from error


def _signature(row: object) -> Signature:
    if not isinstance(row, dict) or set(row) != {"keyid", "sig"} or not isinstance(row["keyid"], str) or not row["keyid"].isascii():
        raise MalformedError("statement: wanted each signature to have keyid and sig and nothing else")
    sig = _decoded("sig", row["sig"])
    if len(sig) != SIGNATURE_BYTES:
        raise MalformedError(f"statement: wanted a signature of {SIGNATURE_BYTES} bytes, got {len(sig)}")
    return Signature(row["keyid"], sig)
