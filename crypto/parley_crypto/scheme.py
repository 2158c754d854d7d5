"""The contract of a scheme: seal / combine / open over ring vectors.

A workload gives an encoded vector and gets a sum; it never sees which scheme carried it. `masked` implements the contract; a new scheme
is a new module with these three verbs.
"""

from __future__ import annotations

from typing import Protocol

from parley_crypto.ring import RingVector


class Sealing(Protocol):
    """The party's side: what it needs to seal one segment of one round."""

    def seal(self, vector: RingVector) -> None:
        """Seal `vector` in place."""


class Opening(Protocol):
    """The gateway's side: the running sum of one segment of one round."""

    def combine(self, sealed: RingVector) -> None:
        """Add one sealed vector to the running sum."""

    def open(self) -> RingVector:
        """Return the plain sum; to be called once."""
