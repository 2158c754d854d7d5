"""The transparency log: RFC 6962 over the bytes of signed envelopes, with a signed checkpoint (C2SP tlog-checkpoint) after each change.

It lives in memory as 64 bytes a leaf and is written by the journal, in the same transaction as what its leaves record. What was appended is
shown to nobody before it is on the disk: `published` is what is served, `newest` what the next transaction will publish.

    entry = log.append(envelope.dump(), reach_of(envelope))
    size, note = log.seal()
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from parley_crypto.checkpoint import Checkpoint, parse_and_verify
from parley_crypto.keys import SigningKey
from parley_crypto.merkle import Tree, leaf_hash
from parley_protocol.logentries import Reach
from parley_protocol.problems import Slug
from parley_protocol.relays import LogProof
from parley_service.errors import RequestError, StoreDamagedError

from parley_gateway.entries import Leaf


class TransparencyLog:
    """The gateway's log."""

    def __init__(self, key: SigningKey, origin: str, hashes: Iterable[bytes] = (), checkpoint: tuple[int, str] | None = None) -> None:
        self._key = key
        self.origin: Final = origin
        self._tree = Tree(hashes)
        self._check(checkpoint)
        self.newest = checkpoint or self._signed()
        self.published = self.newest

    def _check(self, checkpoint: tuple[int, str] | None) -> None:
        """A log that does not continue its own checkpoint is refused: going on would sign a fork."""
        if checkpoint is None:
            if self._tree.size:
                raise StoreDamagedError("the log", wanted="a checkpoint over its leaves", got="none")
            return
        found = parse_and_verify(checkpoint[1], self._key.public, self.origin)
        if (found.size, found.root) != (self._tree.size, self._tree.root()):
            raise StoreDamagedError("the log", wanted=f"{found.size} leaves with the signed root", got=f"{self._tree.size} others")

    def _signed(self) -> tuple[int, str]:
        return self._tree.size, Checkpoint(self.origin, self._tree.size, self._tree.root()).sign(self._key)

    @property
    def size(self) -> int:
        """Leaves, those included that are not written yet."""
        return self._tree.size

    def append(self, leaf: bytes, reach: Reach) -> Leaf:
        """Append a leaf that concerns `reach` and return it as it is to be stored."""
        hashed = leaf_hash(leaf)
        return Leaf(self._tree.append(hashed), hashed, leaf, reach.study, reach.party)

    def seal(self) -> tuple[int, str]:
        """Sign a checkpoint over all leaves and return size and note."""
        self.newest = self._signed()
        return self.newest

    def publish(self, checkpoint: tuple[int, str]) -> None:
        """Serve this checkpoint from now on: it is on the disk."""
        self.published = checkpoint

    def prove(self, *, old_size: int, index: int) -> LogProof:
        """Return the newest checkpoint, its consistency with `old_size` leaves, and where the leaf at `index` stands in it."""
        size, note = self.newest
        consistency = self._tree.consistency_proof(old_size, size) if old_size else ()
        return LogProof(
            checkpoint=note,
            old_size=old_size,
            consistency=tuple(node.hex() for node in consistency),
            index=index,
            inclusion=tuple(node.hex() for node in self._tree.inclusion_proof(index, size)),
        )

    def consistency(self, old: int, new: int) -> tuple[str, ...]:
        """Return a consistency proof between two published sizes; RequestError outside of them."""
        if not 1 <= old <= new <= self.published[0]:
            raise RequestError(
                "consistency proof",
                problem=Slug.MALFORMED_REQUEST,
                wanted=f"1 ≤ old ≤ new ≤ {self.published[0]}",
                got=f"old {old}, new {new}",
            )
        return tuple(node.hex() for node in self._tree.consistency_proof(old, new))
