"""Results of pure functions, remembered: the same key on the same bytes gives the same result, so simulations compute it once.

Thousands of schedules start from the same keys, and every party verifies the same signatures. Kept is only what a function returned;
what it refuses it looks at each time. Nothing of the machines is replaced: states, messages and checks are computed anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, TypeVar
from unittest.mock import patch

import rfc8785
from parley_crypto.derive import derive
from parley_crypto.keys import AgreementKey, SigningKey, VerifyKey
from parley_protocol import round_secrets

from tests import simulator

KEPT: Final = 50_000  # results of each function, of some 300 bytes each
_canonical, _exchange = rfc8785.dumps, AgreementKey.exchange
Key = TypeVar("Key")
_texts: dict[str, bytes] = {}
_shared: dict[tuple[bytes, bytes], bytes] = {}


def _dumps(value: object) -> bytes:
    """Two values with one text have one canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    found = _texts.get(text)
    if found is None:
        found = _canonical(value)  # type: ignore[arg-type]  # any JSON value
        _keep(_texts, text, found)
    return found


def _exchange_once(key: AgreementKey, peer: bytes) -> bytes:
    found = _shared.get((key.public, peer))
    if found is None:
        found = _exchange(key, peer)
        _keep(_shared, (key.public, peer), found)
    return found


def _keep(table: dict[Key, bytes], key: Key, found: bytes) -> None:
    if len(table) >= KEPT:
        table.clear()
    table[key] = found


_REPLACED: Final = (
    (VerifyKey, "verify", lru_cache(KEPT)(VerifyKey.verify)),
    (SigningKey, "sign", lru_cache(KEPT)(SigningKey.sign)),
    (AgreementKey, "exchange", _exchange_once),
    (rfc8785, "dumps", _dumps),
    (round_secrets, "derive", lru_cache(KEPT)(derive)),
    (round_secrets, "AgreementKey", lru_cache(KEPT)(AgreementKey)),
    (simulator, "party_key", lru_cache(KEPT)(simulator.party_key)),
)


@contextmanager
def remembering() -> Iterator[None]:
    """Remember results while this context lasts."""
    patches = [patch.object(owner, name, remembered) for owner, name, remembered in _REPLACED]
    for started in patches:
        started.start()
    try:
        yield
    finally:
        for started in patches:
            started.stop()
