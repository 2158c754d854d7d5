"""The federation's log as this party has seen it: every next checkpoint must extend the last, and what counts must stand in it.

A gateway that shows two histories must show one of them to this party, and can never take it back: the newest size and root are kept in
the store before anything is done on their strength.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley_crypto.checkpoint import Checkpoint, parse_and_verify
from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.merkle import leaf_hash, verify_consistency, verify_inclusion
from parley_crypto.signing import Envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.problems import Slug
from parley_protocol.relays import LogProof


@dataclass(frozen=True, slots=True)
class SeenLog:
    """A log by its key, and the size and root that were seen last (0 and "" before the first checkpoint)."""

    key: VerifyKey
    origin: str
    size: int
    root: str

    def read(self, note: str) -> Checkpoint:
        """Return a checkpoint signed by the log's key; RemoteProtocolError otherwise."""
        try:
            return parse_and_verify(note, self.key, self.origin)
        except CryptoError as error:
            raise RemoteProtocolError(f"checkpoint: {error}", problem=Slug.VERIFICATION_FAILED) from error

    def advanced(self, checkpoint: Checkpoint, consistency: tuple[str, ...]) -> SeenLog:
        """Return the view after a checkpoint that extends this one, by proof; never a smaller one."""
        if checkpoint.size < self.size:
            raise RemoteProtocolError(
                "log: it went back", problem=Slug.VERIFICATION_FAILED, wanted=f"at least {self.size} leaves", got=str(checkpoint.size)
            )
        if self.size:
            proof = [bytes.fromhex(node) for node in consistency]
            try:
                verify_consistency(self.size, checkpoint.size, proof, bytes.fromhex(self.root), checkpoint.root)
            except CryptoError as error:
                raise RemoteProtocolError(f"log: it was rewritten, or forked: {error}", problem=Slug.VERIFICATION_FAILED) from error
        return SeenLog(self.key, self.origin, checkpoint.size, checkpoint.root.hex())

    def check_holds(self, leaf: Envelope, proof: LogProof) -> None:
        """Return if a leaf stands in the proof's checkpoint; RemoteProtocolError otherwise."""
        checkpoint = self.read(proof.checkpoint)
        inclusion = [bytes.fromhex(node) for node in proof.inclusion]
        try:
            verify_inclusion(leaf_hash(leaf.dump()), proof.index, checkpoint.size, inclusion, checkpoint.root)
        except CryptoError as error:
            raise RemoteProtocolError(f"log: the leaf does not stand in it: {error}", problem=Slug.VERIFICATION_FAILED) from error
