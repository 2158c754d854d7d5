"""Results of Ed25519 and X25519, remembered: the same key on the same bytes gives the same result, so simulations need it once.

Only what is deterministic and succeeded is kept; a signature that does not verify is looked at each time. Nothing else is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from parley_crypto.keys import AgreementKey, SigningKey, VerifyKey

KEPT = 200_000  # results, of some 300 bytes each
_verify, _sign, _exchange, _make = VerifyKey.verify, SigningKey.sign, AgreementKey.exchange, AgreementKey.__init__


@lru_cache(KEPT)
def _verified(key: VerifyKey, signature: bytes, message: bytes) -> None:
    _verify(key, signature, message)


@lru_cache(KEPT)
def _signed(key: SigningKey, message: bytes) -> bytes:
    return _sign(key, message)


@lru_cache(KEPT)
def _shared(own: bytes, peer: bytes, key: _Known) -> bytes:
    del own
    return _exchange(key.key, peer)


class _Known:
    """A key that is equal to every other one in the cache's eyes: the public half beside it tells them apart."""

    def __init__(self, key: AgreementKey) -> None:
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known)

    def __hash__(self) -> int:
        return 0


def _exchange_once(key: AgreementKey, peer: bytes) -> bytes:
    return _shared(key.public, peer, _Known(key))


@contextmanager
def remembering() -> Iterator[None]:
    """Remember results while this context lasts."""
    VerifyKey.verify, SigningKey.sign, AgreementKey.exchange = _verified, _signed, _exchange_once  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        VerifyKey.verify, SigningKey.sign, AgreementKey.exchange = _verify, _sign, _exchange  # type: ignore[method-assign]
