"""The masked scheme keeps the contract that a new scheme would have to keep: checked by the types, and by one round trip."""

from __future__ import annotations

import numpy as np
from parley_crypto import ring
from parley_crypto.masked import Context, MaskedOpening, MaskedSealing
from parley_crypto.scheme import Opening, Sealing


def test_the_masked_scheme_seals_combines_and_opens_by_the_contract() -> None:
    context = Context("0" * 64, 1, "1" * 64, "trunk")
    seed = bytes(range(32))
    sealing: Sealing = MaskedSealing(context.self_key(seed, "a"), (), ())
    masked = MaskedOpening(context, 5, 32)
    opening: Opening = masked
    vector = np.arange(5, dtype=ring.dtype_of(32))
    sealed = vector.copy()
    sealing.seal(sealed)
    assert not np.array_equal(sealed, vector)
    opening.combine(sealed)
    masked.remove_self("a", seed)
    assert np.array_equal(opening.open(), vector)
