"""What a party posts in a round, checked and taken into the gateway's state.

Each check here protects an honest gateway, and the other parties' time, from a broken party: what no peer could use is refused before it
is passed on, and named. What protects the parties from a broken gateway is in `party_round`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from parley_crypto.errors import CryptoError
from parley_crypto.keys import SIGNATURE_BYTES
from parley_crypto.sharing import SHARE_BYTES
from parley_crypto.signing import Signature, pae

from parley_protocol.bound import body_size, box_size, check_round_keys, own_segments, read_bound
from parley_protocol.codec import AnyPost
from parley_protocol.columns import decoded, unpack
from parley_protocol.commitments import HASH_BYTES, ShareContext, share_tree
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_state import GatewayState, Received, ReceivedShares
from parley_protocol.messages import Advertise, Manifest, Reveal, Share, SurvivorList, Withdrawn
from parley_protocol.phases import Event
from parley_protocol.relays import ConfirmPost, Post, ReleasePost, SharePost
from parley_protocol.release import verify_release

State = TypeVar("State", bound=GatewayState)


def take(state: State, party: str, event: Event, post: AnyPost) -> State:
    """Return the state with a party's post in it; RemoteProtocolError if the post breaks the rules."""
    match event, post:
        case Event.ADVERTISE, Post():
            return _advertise(state, party, post)
        case Event.SHARE, SharePost():
            return _share(state, party, post)
        case Event.COLLECT, Post():
            return _collect(state, party, post)
        case Event.CONFIRM, ConfirmPost():
            return _confirm(state, party, post)
        case Event.REVEAL, Post():
            return _reveal(state, party, post)
        case Event.RELEASE, ReleasePost():
            return _release(state, party, post)
        case _:
            raise RemoteProtocolError(f"round {state.spec.round}: {event} is not a party's to post in this form")


def take_withdrawn(state: State, party: str, post: Post) -> State:
    """Return the state with a party's word that it takes no further part."""
    _, statement = read_bound(post.statement, Withdrawn, state.spec.terms, state.spec.round, None)
    _same_author(party, statement.party)
    return replace(state, withdrawn={**state.withdrawn, party: statement.reason})


def _same_author(party: str, author: str) -> None:
    if party != author:
        raise RemoteProtocolError(f"statement of {author}: posted by {party}")


def _advertise(state: State, party: str, post: Post) -> State:
    envelope, advert = read_bound(post.statement, Advertise, state.spec.terms, state.spec.round, None)
    _same_author(party, advert.party)
    if advert.step != state.spec.step:
        raise RemoteProtocolError(f"keys of {party}: wanted step {state.spec.step}, got {advert.step}")
    if advert.base in state.spec.chain.bases:
        raise RemoteProtocolError(f"keys of {party}: base version {advert.base[:16]}… has an opened list already")
    check_round_keys(party, bytes.fromhex(advert.channel_key), bytes.fromhex(advert.mask_key))
    taken = {key for other, row in state.adverts.items() if other != party for key in (row.statement.channel_key, row.statement.mask_key)}
    if {advert.channel_key, advert.mask_key} & taken:
        raise RemoteProtocolError(f"keys of {party}: another member has advertised one of them")
    return replace(state, adverts={**state.adverts, party: Received(envelope, advert)})


def _share(state: State, party: str, post: SharePost) -> State:
    envelope, share = read_bound(post.statement, Share, state.spec.terms, state.spec.round, state.base)
    _same_author(party, share.party)
    if party not in state.adverts:
        raise RemoteProtocolError(f"share of {party}: wanted one of a member with keys in this round")
    if share.keys != state.key_set:
        raise RemoteProtocolError(f"share of {party}: it answers other keys than the ones sent to it")
    # What no peer could use is refused here and named, before boxes are out.
    recipients, secrets = state.spec.cohort.sharing(party, state.adverts), state.secrets_of(party)
    peers = [peer for peer in recipients if peer != party]
    sizes = {len(decoded(box, f"share of {party}, box")) for box in post.boxes}
    if len(post.boxes) != len(peers) or not sizes <= {box_size(len(secrets))}:
        raise RemoteProtocolError(f"share of {party}: wanted a box of {box_size(len(secrets))} bytes for each of {peers}")
    flat = unpack(post.hashes, HASH_BYTES, len(recipients) * len(secrets), f"share hashes of {party}")
    rows = tuple(flat[start : start + len(secrets)] for start in range(0, len(flat), len(secrets)))
    seeds = unpack(post.seeds, HASH_BYTES, len(secrets) - 1, f"seed hashes of {party}")
    tree = share_tree(rows, seeds)
    if tree.root().hex() != share.root:
        raise RemoteProtocolError(f"share of {party}: its hashes are not the ones that it signed")
    paths = {peer: tree.inclusion_proof(index) for index, peer in enumerate(recipients)}
    boxes = dict(zip(peers, post.boxes, strict=True))
    last = tree.inclusion_proof(len(recipients))
    return replace(state, shares={**state.shares, party: ReceivedShares(envelope, share, recipients, rows, seeds, boxes, paths, last)})


def _collect(state: State, party: str, post: Post) -> State:
    envelope, manifest = read_bound(post.statement, Manifest, state.spec.terms, state.spec.round, state.base)
    _same_author(party, manifest.party)
    segments = own_segments(state.spec.workload, state.live, party)
    wanted = (state.box_set, segments, body_size(state.spec.workload, segments))
    if party not in state.boxes_from or (manifest.boxes, manifest.segments, manifest.size) != wanted:
        raise RemoteProtocolError(f"manifest of {party}: wanted boxes, segments and bytes {wanted}, got {manifest.size} bytes")
    return replace(state, manifests={**state.manifests, party: Received(envelope, manifest)})


def _confirm(state: State, party: str, post: ConfirmPost) -> State:
    listed, certificate = state.require_listed(), state.certificate
    if certificate is None or (post.agreement, post.listed) != (listed.agreement, listed.digest()):
        raise RemoteProtocolError(f"signature of {party}: wanted one on the proposed survivor list, got one on something else")
    if party not in state.boxes_from:
        raise RemoteProtocolError(f"signature of {party}: wanted one of a member that sent boxes in this round")
    (signature,) = unpack(post.signature, SIGNATURE_BYTES, 1, f"signature of {party}")
    key = state.spec.terms.member(party).key
    try:
        key.verify(signature, pae(SurvivorList.kind, certificate.payload))
    except CryptoError as error:
        raise RemoteProtocolError(f"signature of {party}: {error}") from error
    rows = [row for row in certificate.signatures if row.keyid != key.fingerprint]
    return replace(state, certificate=replace(certificate, signatures=(*rows, Signature(key.fingerprint, signature))))


def _reveal(state: State, party: str, post: Post) -> State:
    listed = state.require_listed()
    _, reveal = read_bound(post.statement, Reveal, state.spec.terms, state.spec.round, state.base)
    _same_author(party, reveal.party)
    if reveal.certificate != listed.digest() or set(reveal.seeds) != set(listed.openable):
        raise RemoteProtocolError(f"shares of {party}: wanted those of {listed.openable} under this round's certificate")
    seeds, dropouts = state.revealed_owners(party, listed)
    for name, owners in seeds.items():
        for owner, share in zip(owners, unpack(reveal.seeds[name], SHARE_BYTES, len(owners), f"shares of {party}"), strict=True):
            _check_share(state, party, owner, f"self/{name}", share)
    for owner, share in zip(dropouts, unpack(reveal.mask_keys, SHARE_BYTES, len(dropouts), f"shares of {party}"), strict=True):
        _check_share(state, party, owner, "mask", share)
    return replace(state, reveals={**state.reveals, party: reveal})


def _check_share(state: GatewayState, revealer: str, owner: str, secret: str, share: bytes) -> None:
    row, spec = state.shares[owner], state.spec
    dealt = row.hashes[row.recipients.index(revealer)][state.secrets_of(owner).index(secret)]
    if ShareContext(spec.terms.digest(), spec.round, owner).share_hash(revealer, secret, share) != dealt:
        raise RemoteProtocolError(f"share of {secret} of {owner}, revealed by {revealer}: not the one that {owner} signed")


def _release(state: State, party: str, post: ReleasePost) -> State:
    spec = state.spec
    if (post.agreement, post.round) != (spec.terms.digest(), spec.round):
        raise RemoteProtocolError(f"release of {party}: wanted round {spec.round} of this agreement, got round {post.round}")
    (signature,) = unpack(post.signature, SIGNATURE_BYTES, 1, f"release of {party}")
    verify_release(spec.terms, spec.round, party, signature)
    return replace(state, releases={**state.releases, party: signature})
