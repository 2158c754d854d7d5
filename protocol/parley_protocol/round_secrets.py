"""What a member derives from a round's seed: its keys, its self-mask seeds, the shares it deals and the boxes they travel in.

Everything secret of a round is a function of one fresh 32-byte seed, bound to agreement, round, base version and member: replaying a round
gives the same bytes, and erasing the seed destroys it all. The gateway never imports this.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from parley_crypto import sharing
from parley_crypto.channel import open_box, seal_box
from parley_crypto.derive import derive
from parley_crypto.errors import CryptoError
from parley_crypto.keys import AgreementKey
from parley_crypto.merkle import Tree
from parley_crypto.tags import Tag

from parley_protocol.bound import own_segments, secrets_of
from parley_protocol.columns import decoded
from parley_protocol.commitments import ShareContext, share_tree
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.party_spec import PartySpec

SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """A member's X25519 public keys of one round, 32 bytes each."""

    channel: bytes
    mask: bytes


@dataclass(frozen=True, slots=True)
class Dealt:
    """A member's shares as they leave: hashes by recipient and secret, seed hashes, boxes, and the tree whose root it signs."""

    hashes: tuple[tuple[bytes, ...], ...]  # recipients in id order, itself included
    seeds: tuple[bytes, ...]
    boxes: tuple[str, ...]  # recipients in id order without itself, base64
    tree: Tree


@dataclass(frozen=True, repr=False)
class RoundSecrets:
    """One member's secrets of one round; what was derived once is kept as long as this object."""

    spec: PartySpec
    seed: bytes

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise LocalProtocolError(
                f"round {self.spec.round}: wanted a seed of {SEED_BYTES} bytes, got {len(self.seed)}; a round that is over has none"
            )

    @cached_property
    def _derived(self) -> dict[tuple[str, ...], bytes]:
        return {}

    def _secret(self, tag: Tag, *parts: str) -> bytes:
        spec, name = self.spec, (tag, *parts)
        if name not in self._derived:
            self._derived[name] = derive(self.seed, tag, spec.agreement, spec.round, spec.base, spec.me, *parts)
        return self._derived[name]

    @cached_property
    def channel(self) -> AgreementKey:
        """The key that boxes are sealed with."""
        return AgreementKey(self._secret(Tag.CHANNEL_KEY))

    @cached_property
    def mask(self) -> AgreementKey:
        """The key of the pair masks."""
        return AgreementKey(self._secret(Tag.MASK_KEY))

    def self_seed(self, segment: str) -> bytes:
        """Return the seed of the self mask of a segment."""
        return self._secret(Tag.SELF_SEED, segment)

    @cached_property
    def _splits(self) -> dict[tuple[str, ...], dict[str, tuple[bytes, ...]]]:
        return {}

    def _split(self, live: tuple[str, ...]) -> dict[str, tuple[bytes, ...]]:
        spec = self.spec
        if (known := self._splits.get(live)) is not None:
            return known
        plain = {"mask": self._secret(Tag.MASK_KEY)}
        plain |= {f"self/{name}": self.self_seed(name) for name in own_segments(spec.workload, live, spec.me)}
        count = len(spec.cohort.holders(spec.me))
        split = {
            name: sharing.split(secret, threshold=spec.cohort.threshold, count=count, seed=self._secret(Tag.SHAMIR, name))
            for name, secret in plain.items()
        }
        self._splits[live] = split
        return split

    def own_shares(self, live: tuple[str, ...]) -> Mapping[str, bytes]:
        """Return the shares of its own secrets that a member keeps itself."""
        at = self.spec.cohort.holders(self.spec.me).index(self.spec.me)
        return {name: shares[at] for name, shares in self._split(live).items()}

    def deal(self, live: tuple[str, ...], keys: Mapping[str, PeerKeys], key_set: str) -> Dealt:
        """Return the shares of all secrets for those members, of `keys`, that hold shares of this member's."""
        spec, split = self.spec, self._split(live)
        context = ShareContext(spec.agreement, spec.round, spec.me)
        at = {party: index for index, party in enumerate(spec.cohort.holders(spec.me))}
        recipients = spec.cohort.sharing(spec.me, keys)
        hashes = tuple(tuple(context.share_hash(peer, name, shares[at[peer]]) for name, shares in split.items()) for peer in recipients)
        seeds = tuple(context.seed_hash(name, self.self_seed(name)) for name in own_segments(spec.workload, live, spec.me))
        channel, boxes = self.channel, []
        for peer in recipients:
            if peer != spec.me:
                content = b"".join(shares[at[peer]] for shares in split.values())
                box = seal_box(channel, keys[peer].channel, content, *self._box_context(key_set, spec.me, peer))
                boxes.append(base64.b64encode(box).decode())
        return Dealt(hashes, seeds, tuple(boxes), share_tree(hashes, seeds))

    def open(self, owner: str, box: str, theirs: bytes, key_set: str, live: tuple[str, ...]) -> Mapping[str, bytes]:
        """Return the shares in a box of `owner`, by secret; RemoteProtocolError if it does not open or holds something else."""
        names = secrets_of(self.spec.workload, live, owner)
        try:
            content = open_box(self.channel, theirs, decoded(box, f"box of {owner}"), *self._box_context(key_set, owner, self.spec.me))
        except CryptoError as error:
            raise RemoteProtocolError(f"box of {owner}: {error}") from error
        size = sharing.SHARE_BYTES
        if len(content) != size * len(names):
            raise RemoteProtocolError(f"box of {owner}: wanted {len(names)} shares, got {len(content)} bytes")
        return {name: content[index * size : (index + 1) * size] for index, name in enumerate(names)}

    def _box_context(self, key_set: str, sender: str, recipient: str) -> Sequence[str | int]:
        # The key set decides what a box holds: bound to it, no box key ever seals two contents, whatever was recorded before a crash.
        return (self.spec.agreement, self.spec.round, self.spec.base, key_set, sender, recipient)
