"""Recomputing a closed round by the second implementation: what the gateway hands out, and what a member makes of it.

As docs/specification.md says it (Recomputing), without Parley. A round in which every segment was live.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from blake3 import blake3

from tests.vectors.second import (
    Json,
    RefusedError,
    beside,
    bind,
    canonical,
    derive,
    digest,
    keystream,
    leaf,
    numbers,
    pack,
    path,
    root,
    root_from,
    tag_bits,
    unpack,
    wire,
    x25519,
    x25519_public,
)
from tests.vectors.second_round import Round


def unmasking(one: Round) -> Json:
    """Return what the gateway hands out."""
    trees = {party: one.leaves(party)[2] for party in one.listed}
    signed = {party: one.sign(party, "share", one.share(party, root(trees[party]))) for party in one.listed}
    return {
        "parties": one.here,
        "channel_keys": pack(one.channels[party] for party in one.here),
        "mask_keys": pack(one.masks[party] for party in one.here),
        "adverts": pack(one.sign(party, "advertise", one.adverts()[party]) for party in one.here),
        "shared": list(one.segments),
        "live": list(one.segments),
        "roots": pack(root(trees[party]) for party in one.listed),
        "shares": pack(signed.values()),
        "seed_hashes": pack(seed for party in one.listed for seed in one.leaves(party)[1]),
        "paths": pack(node for tree in trees.values() for node in path(tree, len(tree) - 1)),
        "bodies": pack(blake3(one.bodies[party]).digest() for party in one.listed),
        "seeds": {
            name: pack(one.secret(party, "self-seed", name) for party in _members(one, name))
            for name in one.own_openable(tuple(one.listed))
        },
        "mask_secrets": pack(one.secret(party, "mask-key") for party in _gone(one)),
    }


def _members(one: Round, name: str) -> list[str]:
    return [party for party in one.listed if party in one.segments[name]["members"]]


def _gone(one: Round) -> list[str]:
    return [party for party in one.here if party not in one.listed]


def recompute(one: Round, listed: Json, found: Json, uploads: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return each opened segment's sum with its tags; RefusedError where something is not what its owner signed."""
    _check_keys(one, found)
    bodies = unpack(found["bodies"], 32, len(one.listed))
    for row, body in zip(listed["survivors"], bodies, strict=True):
        manifest = one.manifest(row["party"], body)
        if hashlib.sha256(canonical(manifest)).hexdigest() != row["manifest"] or len(uploads[row["party"]]) != manifest["size"]:
            raise RefusedError(f"update of {row['party']}")
        if blake3(uploads[row["party"]]).digest() != body:
            raise RefusedError(f"body of {row['party']}")
    hashes, sums = _seed_hashes(one, found), {}
    secrets = dict(zip(_gone(one), unpack(found["mask_secrets"], 32, len(_gone(one))), strict=True))
    for party, secret in secrets.items():
        if x25519_public(secret) != unpack(found["mask_keys"], 32, len(one.here))[one.here.index(party)]:
            raise RefusedError(f"mask key of {party}")
    for name in listed["openable"]:
        seeds = dict(zip(_members(one, name), unpack(found["seeds"][name], 32, len(_members(one, name))), strict=True))
        for party, seed in seeds.items():
            if digest("parley/round/seed-hash/1", one.agreement, one.number, party, name, seed) != hashes[party][name]:
                raise RefusedError(f"seed of {party}")
        sums[name] = _summed(one, name, uploads, _left(one, name, seeds, secrets))
    return sums


def _check_keys(one: Round, found: Json) -> None:
    count = len(found["parties"])
    keys = zip(unpack(found["channel_keys"], 32, count), unpack(found["mask_keys"], 32, count), strict=True)
    adverts = {party: one.advert(party, *pair) for party, pair in zip(found["parties"], keys, strict=True)}
    for (party, advert), signature in zip(adverts.items(), unpack(found["adverts"], 64, count), strict=True):
        one.verify(party, "advertise", advert, signature)
    named = digest("parley/round/key-set/1", *(hashlib.sha256(canonical(adverts[party])).digest() for party in sorted(adverts))).hex()
    rows = zip(unpack(found["roots"], 32, len(one.listed)), unpack(found["shares"], 64, len(one.listed)), strict=True)
    for party, (tree, signature) in zip(one.listed, rows, strict=True):
        one.verify(party, "share", one.share(party, tree) | {"keys": named}, signature)


def _seed_hashes(one: Round, found: Json) -> dict[str, dict[str, bytes]]:
    own = {party: one.own(party) for party in one.listed}
    sizes = {party: len(one.sharing(party)) + 1 for party in one.listed}
    steps = {party: len(path([b""] * sizes[party], sizes[party] - 1)) for party in one.listed}
    hashes = iter(unpack(found["seed_hashes"], 32, sum(map(len, own.values()))))
    nodes = iter(unpack(found["paths"], 32, sum(steps.values())))
    signed = {}
    for party, tree in zip(one.listed, unpack(found["roots"], 32, len(one.listed)), strict=True):
        signed[party] = {name: next(hashes) for name in own[party]}
        last = leaf(bind("parley/round/seed-leaf/1", *signed[party].values()))
        if root_from(last, sizes[party] - 1, sizes[party], [next(nodes) for _ in range(steps[party])]) != tree:
            raise RefusedError(f"seed hashes of {party}")
    return signed


def _left(one: Round, name: str, seeds: Mapping[str, bytes], secrets: Mapping[str, bytes]) -> Iterable[tuple[bytes, int]]:
    """Yield key and sign of each mask that is left in the sum of the sealed updates."""
    context = (one.agreement, one.number, one.base, name)
    for party, seed in seeds.items():
        yield derive(seed, "parley/mask/self/1", *context, party), 1
    for party, secret in secrets.items():
        for peer in one.peers(party, name, one.listed):
            low, high = sorted((party, peer))
            yield derive(x25519(secret, one.masks[peer]), "parley/mask/pair/1", *context, low, high), 1 if peer < party else -1


def _summed(one: Round, name: str, uploads: Mapping[str, bytes], left: Iterable[tuple[bytes, int]]) -> bytes:
    w, bits = one.width, tag_bits(one.width)
    end = int(one.segments[name]["length"]) * w // 8
    total, pair = [0] * int(one.segments[name]["length"]), [0, 0]
    for party in _members(one, name):
        start = sum(one.size(other) for other in one.own(party)[: one.own(party).index(name)])
        part = uploads[party][start : start + one.size(name)]
        total = [a + b for a, b in zip(total, numbers(part[:end], w), strict=True)]
        pair = [a + b for a, b in zip(pair, numbers(part[end:], bits), strict=True)]
    for key, sign in left:
        total = [a - sign * b for a, b in zip(total, numbers(keystream(key, end), w), strict=True)]
        pair = [a - sign * b for a, b in zip(pair, numbers(beside(key, 2 * bits // 8), bits), strict=True)]
    return wire(total, w) + wire(pair, bits)
