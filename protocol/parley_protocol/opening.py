"""Opening a certified round: rebuild what the shares give, check it, and take the masks off the sums.

A rebuilt mask key must give the advertised public key and a rebuilt seed its signed hash; otherwise the round ends and names whose secret
it was. The gateway does this with what members reveal; a member that recomputes a round does it with what the gateway rebuilt
(`unmasking`), by the same code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from parley_crypto import sharing
from parley_crypto.errors import CryptoError
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedOpening
from parley_crypto.ring import RingVector
from parley_crypto.sharing import SHARE_BYTES
from parley_crypto.sumproof import to_bytes as tags_to_bytes
from parley_crypto.tagsize import tag_bits

from parley_protocol.cohort import Cohort
from parley_protocol.columns import unpack
from parley_protocol.commitments import ShareContext
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.gateway_state import GatewayState

Sealed = tuple[RingVector, bytes | memoryview]


@dataclass(frozen=True, repr=False)
class Masks:
    """What takes the masks off one certified round: who was summed, and secrets that are the ones their owners bound themselves to."""

    cohort: Cohort
    base: str
    survivors: frozenset[str]
    advertised: Mapping[str, bytes]  # X25519 mask keys by member
    seeds: Mapping[str, Mapping[str, bytes]]  # self-mask seeds by segment and survivor
    mask_secrets: Mapping[str, bytes]  # mask keys by dropout

    @cached_property
    def mask_keys(self) -> dict[str, AgreementKey]:
        """The dropouts' mask keys; they remember what they shared with whom from one segment to the next."""
        return {owner: AgreementKey(secret) for owner, secret in self.mask_secrets.items()}

    def opening(self, name: str) -> MaskedOpening:
        """Return an empty sum of a segment, to which its survivors' sealed parts are added, each once and in any order."""
        step = self.cohort.step
        segment, width = step.segment(name), step.encoding.width
        context = Context(self.cohort.terms.digest(), self.cohort.round, self.base, name)
        return MaskedOpening(context, segment.length, width, tag_bits=tag_bits(width))

    def take_off(self, name: str, opening: MaskedOpening) -> tuple[RingVector, bytes]:
        """Return the sum of a segment and its tags' wire bytes. Where only parties read sums, the members' pads stay on."""
        for party, seed in self.seeds[name].items():
            opening.remove_self(party, seed)
        for dropout, mask_key in self.mask_keys.items():
            peers = self.cohort.masked_with(dropout, name, self.survivors)
            opening.remove_dropout(dropout, mask_key, {peer: self.advertised[peer] for peer in peers})
        return opening.open(), tags_to_bytes(opening.open_tags(), tag_bits(self.cohort.step.encoding.width))


def rebuild(state: GatewayState) -> Masks:
    """Return what takes the masks off a round in REVEAL with enough reveals; RemoteProtocolError names whose secret is wrong."""
    listed, shares, spec = state.require_listed(), _revealed(state), state.spec
    advertised = {party: bytes.fromhex(row.statement.mask_key) for party, row in state.adverts.items()}
    seeds = {
        name: {
            survivor: _seed(state, name, survivor, shares[survivor, f"self/{name}"])
            for survivor in sorted(listed.parties)
            if survivor in spec.workload.segment(name).members
        }
        for name in listed.openable
    }
    dropouts = {owner: _combined(state, owner, shares[owner, "mask"]) for owner in state.boxes_from if owner not in listed.parties}
    for owner, secret in dropouts.items():
        check_mask_key(spec.round, owner, secret, advertised[owner])
    return Masks(spec.cohort, state.base, listed.parties, advertised, seeds, dropouts)


def _revealed(state: GatewayState) -> dict[tuple[str, str], dict[int, bytes]]:
    """Return the revealed shares of each owner's secrets, by the x of their holders."""
    if not state.is_revealed():  # nobody's fault yet
        raise LocalProtocolError(f"round {state.spec.round}: opening needs more members' shares than the {len(state.reveals)} here")
    listed = state.require_listed()
    shares: dict[tuple[str, str], dict[int, bytes]] = defaultdict(dict)
    for party, reveal in sorted(state.reveals.items()):
        seeds, dropouts = state.revealed_owners(party, listed)
        for name, owners in seeds.items():
            for owner, share in zip(owners, unpack(reveal.seeds[name], SHARE_BYTES, len(owners), "shares"), strict=True):
                shares[owner, f"self/{name}"][_x(state, owner, party)] = share
        for owner, share in zip(dropouts, unpack(reveal.mask_keys, SHARE_BYTES, len(dropouts), "shares"), strict=True):
            shares[owner, "mask"][_x(state, owner, party)] = share
    return shares


def _x(state: GatewayState, owner: str, holder: str) -> int:
    return state.spec.cohort.holders(owner).index(holder) + 1


def open_segment(masks: Masks, name: str, uploads: Iterable[Sealed]) -> tuple[RingVector, bytes]:
    """Return the sum of one segment and its tags' wire bytes, from its survivors' sealed parts.

    Each part, (vector, tags as wire bytes), is used once and may be a view.
    """
    opening = masks.opening(name)
    for sealed, tags in uploads:
        opening.combine(sealed)
        opening.combine_tags(tags)
    return masks.take_off(name, opening)


def _combined(state: GatewayState, owner: str, shares: Mapping[int, bytes]) -> bytes:
    try:
        return sharing.combine(shares, threshold=state.spec.cohort.threshold)
    except CryptoError as error:
        raise RemoteProtocolError(f"round {state.spec.round}: {owner} shared something that is no secret: {error}") from error


def _seed(state: GatewayState, name: str, owner: str, shares: Mapping[int, bytes]) -> bytes:
    seed, row = _combined(state, owner, shares), state.shares[owner]
    signed = row.seeds[state.secrets_of(owner).index(f"self/{name}") - 1]
    check_seed(ShareContext(state.spec.terms.digest(), state.spec.round, owner), name, seed, signed)
    return seed


def check_seed(context: ShareContext, name: str, seed: bytes, signed: bytes | None) -> None:
    """Return if a self-mask seed has the hash that its owner signed; RemoteProtocolError names the owner."""
    if context.seed_hash(name, seed) != signed:
        raise RemoteProtocolError(f"round {context.round}, {name}: the seed that {context.owner} shared is not the one it signed")


def check_mask_key(number: int, owner: str, secret: bytes, advertised: bytes | None) -> None:
    """Return if a mask key has the public half that its owner advertised; RemoteProtocolError names the owner."""
    if AgreementKey(secret).public != advertised:
        raise RemoteProtocolError(f"round {number}: the mask key that {owner} shared is not the one it advertised")
