"""Opening a certified round at the gateway: rebuild what the shares give, check it, and take the masks off the sums.

A rebuilt mask key must give the advertised public key and a rebuilt seed its signed hash; otherwise the round ends and names whose secret
it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parley_crypto import sharing
from parley_crypto.errors import CryptoError
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedOpening
from parley_crypto.ring import RingVector

from parley_protocol.bound import seed_hash
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.messages import SurvivorList


@dataclass(frozen=True, slots=True, repr=False)
class Rebuilt:
    """The secrets that t members revealed: self-mask seeds by segment and survivor, mask keys by dropout."""

    seeds: Mapping[str, Mapping[str, bytes]]
    mask_keys: Mapping[str, AgreementKey]


def rebuild(state: GatewayRound) -> Rebuilt:
    """Return the secrets of a round in REVEAL with at least t reveals; RemoteProtocolError names whose secret is wrong."""
    terms, listed = state.spec.terms, _listed(state)
    if len(state.reveals) < terms.threshold:  # nobody's fault yet
        raise LocalProtocolError(f"round {state.spec.round}: opening needs {terms.threshold} members' shares, got {len(state.reveals)}")
    chosen = dict(sorted(state.reveals.items())[: terms.threshold])
    seeds: dict[str, dict[str, bytes]] = {}
    for name in listed.openable:
        members = [survivor for survivor in sorted(listed.parties) if survivor in state.spec.workload.segment(name).members]
        seeds[name] = {owner: _seed(state, name, owner, {p: row.seeds[name][owner] for p, row in chosen.items()}) for owner in members}
    mask_keys = {
        owner: _mask_key(state, owner, {party: row.mask_keys[owner] for party, row in chosen.items()})
        for owner in state.boxes_from
        if owner not in listed.parties
    }
    return Rebuilt(seeds, mask_keys)


def open_segment(state: GatewayRound, rebuilt: Rebuilt, name: str, uploads: Iterable[RingVector]) -> RingVector:
    """Return the plain sum of one segment from its survivors' sealed vectors, each of which is used once and may be a view."""
    spec, listed = state.spec, _listed(state)
    segment = spec.workload.segment(name)
    context = Context(spec.terms.digest(), spec.round, state.base, name)
    opening = MaskedOpening(context, segment.length, spec.workload.encoding.width)
    for sealed in uploads:
        opening.combine(sealed)
    survivors = {
        party: bytes.fromhex(state.adverts[party].statement.mask_key) for party in sorted(listed.parties) if party in segment.members
    }
    for party, seed in rebuilt.seeds[name].items():
        opening.remove_self(party, seed)
    for dropout, mask_key in rebuilt.mask_keys.items():
        if dropout in segment.members:
            opening.remove_dropout(dropout, mask_key, survivors)
    return opening.open()


def _listed(state: GatewayRound) -> SurvivorList:
    if state.listed is None:
        raise LocalProtocolError(f"round {state.spec.round}: opening needs a certificate")
    return state.listed


def _combined(state: GatewayRound, owner: str, shares: Mapping[str, str]) -> bytes:
    ranked = {state.spec.terms.rank(party): bytes.fromhex(share) for party, share in shares.items()}
    try:
        return sharing.combine(ranked, threshold=state.spec.terms.threshold)
    except CryptoError as error:
        raise RemoteProtocolError(f"round {state.spec.round}: {owner} shared something that is no secret: {error}") from error


def _seed(state: GatewayRound, name: str, owner: str, shares: Mapping[str, str]) -> bytes:
    seed = _combined(state, owner, shares)
    signed = state.shares[owner].statement.seed_hashes[name]
    if seed_hash(state.spec.terms, state.spec.round, owner=owner, segment=name, seed=seed) != signed:
        raise RemoteProtocolError(f"round {state.spec.round}, {name}: the seed that {owner} shared is not the one it signed")
    return seed


def _mask_key(state: GatewayRound, owner: str, shares: Mapping[str, str]) -> AgreementKey:
    key = AgreementKey(_combined(state, owner, shares))
    if key.public.hex() != state.adverts[owner].statement.mask_key:
        raise RemoteProtocolError(f"round {state.spec.round}: the mask key that {owner} shared is not the one it advertised")
    return key
