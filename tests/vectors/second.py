"""A second, small implementation of the scheme's primitives, as docs/specification.md says them: nothing of Parley is imported here.

It is slow and takes no care of secrets. With `second_round` it exists to show that the page says everything. Section numbers are those
of the page.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from math import comb
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Json = dict[str, Any]
Part = bytes | str | int
PRIME = 2**256 + 297
BLOCK = 256 * 1024
FIELDS = {
    "keys": {"agreement", "round", "parties", "channel_keys", "mask_keys", "signatures", "others"},
    "boxes": {"agreement", "round", "parties", "roots", "signatures", "boxes", "paths"},
    "list": {"agreement", "round", "survivors", "openable", "bodies", "signatures"},
    "certified": {"agreement", "round", "signers", "signatures"},
    "released": {"agreement", "round", "parties", "signatures"},
}


class RefusedError(Exception):
    """What was read does not hold up."""


# 1. Encodings


def bind(label: str, *parts: Part) -> bytes:
    raw = [p.encode() if isinstance(p, str) else p.to_bytes(8, "big") if isinstance(p, int) else p for p in (label, *parts)]
    return b"".join(len(p).to_bytes(4, "big") + p for p in raw)


def digest(label: str, *parts: Part) -> bytes:
    return hashlib.sha256(bind(label, *parts)).digest()


def derive(secret: bytes, label: str, *parts: Part, length: int = 32) -> bytes:
    key, made, block = hmac.digest(bytes(32), secret, "sha256"), b"", b""
    while len(made) < length:
        block = hmac.digest(key, block + bind(label, *parts) + bytes([len(made) // 32 + 1]), "sha256")
        made += block
    return made[:length]


def canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def pae(kind: str, payload: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def pack(values: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(values)).decode()


def unpack(text: str, size: int, count: int) -> list[bytes]:
    raw = base64.b64decode(text, validate=True)
    if len(raw) != size * count:
        raise RefusedError("column of another length")
    return [raw[at : at + size] for at in range(0, len(raw), size)]


# 2. Primitives


def keystream(key: bytes, length: int) -> bytes:
    starts = range(0, length, BLOCK)
    return b"".join(AESGCM(key).encrypt((i).to_bytes(12, "big"), bytes(min(BLOCK, length - at)), None)[:-16] for i, at in enumerate(starts))


def beside(key: bytes, length: int) -> bytes:
    return AESGCM(key).encrypt(b"\xff" * 12, bytes(length), None)[:-16]


def numbers(raw: bytes, bits: int) -> list[int]:
    size = bits // 8
    return [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size)]


def wire(values: Iterable[int], bits: int) -> bytes:
    return b"".join((value % (1 << bits)).to_bytes(bits // 8, "little") for value in values)


def lifted(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def x25519(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def x25519_public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def fingerprint(key: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def split(secret: bytes, threshold: int, count: int, seed: bytes) -> list[bytes]:
    raw = keystream(derive(seed, "parley/round/shamir/1"), 48 * (threshold - 1))
    coefficients = [int.from_bytes(secret, "big")] + [int.from_bytes(raw[at : at + 48], "big") % PRIME for at in range(0, len(raw), 48)]
    return [(sum(c * x**power for power, c in enumerate(coefficients)) % PRIME).to_bytes(33, "big") for x in range(1, count + 1)]


def combine(shares: Mapping[int, bytes]) -> bytes:
    secret = 0
    for x, raw in shares.items():
        top = bottom = 1
        for other in shares:
            if other != x:
                top, bottom = top * other % PRIME, bottom * (other - x) % PRIME
        secret += int.from_bytes(raw, "big") * top * pow(bottom, -1, PRIME)
    if secret % PRIME >> 256:
        raise RefusedError("no secret")
    return (secret % PRIME).to_bytes(32, "big")


def leaf(content: bytes) -> bytes:
    return hashlib.sha256(b"\0" + content).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:half]) + root(leaves[half:])).digest()


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if index < half:
        return [*path(leaves[:half], index), root(leaves[half:])]
    return [*path(leaves[half:], index - half), root(leaves[:half])]


def root_from(node: bytes, index: int, size: int, nodes: list[bytes]) -> bytes:
    if size == 1:
        if nodes:
            raise RefusedError("path too long")
        return node
    if not nodes:
        raise RefusedError("path too short")
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return hashlib.sha256(b"\1" + root_from(node, index, half, nodes[:-1]) + nodes[-1]).digest()
    return hashlib.sha256(b"\1" + nodes[-1] + root_from(node, index - half, size - half, nodes[:-1])).digest()


# 3. The neighbour graph


def ring_order(seed: bytes, number: int, purpose: str, members: Iterable[str]) -> list[str]:
    key = derive(seed, "parley/neighbours/1", number, purpose)
    return sorted(members, key=lambda party: (hmac.digest(key, party.encode(), "sha256"), party))


def holders(order: list[str], degree: int, party: str) -> list[str]:
    if degree >= len(order) - 1:
        return sorted(order)
    at = order.index(party)
    return sorted(order[(at + step) % len(order)] for step in range(-degree // 2, degree // 2 + 1))


def cut(order: list[str], degree: int, survivors: Iterable[str]) -> int | None:
    """Return the fewest survivors in two disjoint windows of g/2 positions with a survivor on both sides between them."""
    here, size, half = set(survivors), len(order), degree // 2
    alive = [party in here for party in order]

    def count(start: int, length: int) -> int:
        return sum(alive[(start + step) % size] for step in range(length))

    found = []
    for first in range(size):
        for between in range(1, size - 2 * half):
            after = size - 2 * half - between
            if count(first + half, between) and count(first + 2 * half + between, after):
                found.append(count(first, half) + count(first + half + between, half))
    return min(found, default=None)


def plan(members: int, colluders: int, dropouts: int) -> dict[str, int] | None:
    """Return the numbers of a neighbour graph, or None for the full graph."""
    for g in range(2, (members - 1) // 2 + 1, 2) if members > 50 else ():
        pairs = members * (members - g - 1) // 2
        near, away = most(members - 1, colluders, g, members, 40), most(members - 1, dropouts, g, members, 20)
        cut_of, lost = most(members, colluders, g, pairs, 40), most(members, dropouts, g, pairs, 20)
        if g - away >= max(near, 1) + 1 and g - lost > cut_of:
            return {"degree": g, "threshold": max(near, 1) + 1, "near": near, "cut": cut_of}
    return None


def most(population: int, marked: int, drawn: int, union: int, bits: int) -> int:
    """Return the least a with union * P[more than a of the drawn are marked] <= 2^-bits."""
    tail, a, total = 0, min(marked, drawn), comb(population, drawn)
    while a > 0:
        ways = comb(marked, a) * comb(population - marked, drawn - a)
        if (union * (tail + ways)) << bits > total:
            return a
        tail, a = tail + ways, a - 1
    return 0


# 5. Masks, tags, pads


def tag_bits(width: int) -> int:
    return 128 if width == 64 else 64


def tags(values: Sequence[int], width: int, key: bytes, parties: Iterable[str]) -> list[int]:
    """Return the two tags of a vector (signed numbers) with the offsets of these members."""
    bits = tag_bits(width)
    words = numbers(keystream(key, (len(values) + 1) * bits // 8), bits)
    made = [sum(word * x for word, x in zip(words[at:], values, strict=False)) for at in range(2)]
    for party in parties:
        offsets = numbers(derive(key, "parley/round/sum-proof-offset/1", party, length=2 * bits // 8), bits)
        made = [tag + offset for tag, offset in zip(made, offsets, strict=True)]
    return [tag % (1 << bits) for tag in made]
