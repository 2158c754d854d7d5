"""Opening a certified round at the gateway: rebuild what the shares give, check it, and take the masks off the sums.

A rebuilt mask key must give the advertised public key and a rebuilt seed its signed hash; otherwise the round ends and names whose secret
it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parley_crypto import sharing
from parley_crypto.errors import CryptoError
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedOpening
from parley_crypto.ring import RingVector
from parley_crypto.sharing import SHARE_BYTES
from parley_crypto.sumproof import to_bytes as tags_to_bytes
from parley_crypto.tagsize import tag_bits

from parley_protocol.columns import unpack
from parley_protocol.commitments import ShareContext
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.gateway_state import GatewayState
from parley_protocol.messages import SurvivorList

Sealed = tuple[RingVector, bytes | memoryview]


@dataclass(frozen=True, slots=True, repr=False)
class Rebuilt:
    """The secrets that t members revealed: self-mask seeds by segment and survivor, mask keys by dropout."""

    seeds: Mapping[str, Mapping[str, bytes]]
    mask_keys: Mapping[str, AgreementKey]


def rebuild(state: GatewayState) -> Rebuilt:
    """Return the secrets of a round in REVEAL with enough reveals; RemoteProtocolError names whose secret is wrong."""
    listed, shares = _listed(state), _revealed(state)
    seeds = {
        name: {
            survivor: _seed(state, name, survivor, shares[survivor, f"self/{name}"])
            for survivor in sorted(listed.parties)
            if survivor in state.spec.workload.segment(name).members
        }
        for name in listed.openable
    }
    mask_keys = {owner: _mask_key(state, owner, shares[owner, "mask"]) for owner in state.boxes_from if owner not in listed.parties}
    return Rebuilt(seeds, mask_keys)


def _revealed(state: GatewayState) -> dict[tuple[str, str], dict[int, bytes]]:
    """Return the revealed shares of each owner's secrets, by the x of their holders."""
    if not state.is_revealed():  # nobody's fault yet
        raise LocalProtocolError(f"round {state.spec.round}: opening needs more members' shares than the {len(state.reveals)} here")
    listed = _listed(state)
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


def open_segment(state: GatewayState, rebuilt: Rebuilt, name: str, uploads: Iterable[Sealed]) -> tuple[RingVector, bytes]:
    """Return the sum of one segment and its tags' wire bytes, from its survivors' sealed parts.

    Each part, (vector, tags as wire bytes), is used once and may be a view. Where only parties read sums, the members' pads stay on.
    """
    spec, listed = state.spec, _listed(state)
    segment, width = spec.workload.segment(name), spec.workload.encoding.width
    context = Context(spec.terms.digest(), spec.round, state.base, name)
    opening = MaskedOpening(context, segment.length, width, tag_bits=tag_bits(width))
    for sealed, tags in uploads:
        opening.combine(sealed)
        opening.combine_tags(tags)
    for party, seed in rebuilt.seeds[name].items():
        opening.remove_self(party, seed)
    for dropout, mask_key in rebuilt.mask_keys.items():
        if dropout in segment.members:
            peers = spec.cohort.masked_with(dropout, name, listed.parties)
            opening.remove_dropout(dropout, mask_key, {peer: bytes.fromhex(state.adverts[peer].statement.mask_key) for peer in peers})
    return opening.open(), tags_to_bytes(opening.open_tags(), tag_bits(width))


def _listed(state: GatewayState) -> SurvivorList:
    if state.listed is None:
        raise LocalProtocolError(f"round {state.spec.round}: opening needs a certificate")
    return state.listed


def _combined(state: GatewayState, owner: str, shares: Mapping[int, bytes]) -> bytes:
    try:
        return sharing.combine(shares, threshold=state.spec.cohort.threshold)
    except CryptoError as error:
        raise RemoteProtocolError(f"round {state.spec.round}: {owner} shared something that is no secret: {error}") from error


def _seed(state: GatewayState, name: str, owner: str, shares: Mapping[int, bytes]) -> bytes:
    seed, row = _combined(state, owner, shares), state.shares[owner]
    signed = row.seeds[state.secrets_of(owner).index(f"self/{name}") - 1]
    if ShareContext(state.spec.terms.digest(), state.spec.round, owner).seed_hash(name, seed) != signed:
        raise RemoteProtocolError(f"round {state.spec.round}, {name}: the seed that {owner} shared is not the one it signed")
    return seed


def _mask_key(state: GatewayState, owner: str, shares: Mapping[int, bytes]) -> AgreementKey:
    key = AgreementKey(_combined(state, owner, shares))
    if key.public.hex() != state.adverts[owner].statement.mask_key:
        raise RemoteProtocolError(f"round {state.spec.round}: the mask key that {owner} shared is not the one it advertised")
    return key
