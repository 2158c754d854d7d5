"""Errors of the crypto package, as one tree.

    CryptoError
    ├── MalformedError        bytes or values that do not parse, or lie outside their range
    ├── VerificationError     a signature, box, share, proof or digest that does not verify
    └── EncodingError         a value that the ring cannot hold: not finite, too large, headroom exceeded

Every message names the thing, what was wanted and what was got.
"""

from __future__ import annotations


class CryptoError(Exception):
    """Root of this package's errors."""


class MalformedError(CryptoError):
    """Bytes or values that do not parse, or lie outside their range."""


class VerificationError(CryptoError):
    """A signature, box, share, proof or digest that does not verify."""


class EncodingError(CryptoError):
    """A value that the ring cannot hold: not finite, too large, or more than the headroom allows."""
