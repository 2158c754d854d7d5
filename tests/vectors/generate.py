"""Writes the vectors of docs/specification.md beside this file, from fixed seeds through the code's own functions.

    python -m tests.vectors.generate

A test makes them again and compares: whoever changes a byte of the protocol sees which. Numbers beyond 2^53 stand in decimal text, bytes in
hexadecimal digits.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from parley_crypto import keystream, ring, sharing, sumproof
from parley_crypto.channel import seal_box
from parley_crypto.derive import derive
from parley_crypto.fixedpoint import FixedPoint
from parley_crypto.keys import AgreementKey, SigningKey
from parley_crypto.masked import Context
from parley_crypto.merkle import Tree, leaf_hash
from parley_crypto.neighbours import draw, plan
from parley_crypto.signing import Envelope, pae
from parley_crypto.tags import Tag, bind, digest
from parley_protocol.bound import public_state_digest
from parley_protocol.ids import Phase
from parley_protocol.keyparts import KeyPart, graph_seed
from parley_protocol.members_key import make_key_part, take_key_parts

from tests.member_secrets import handed_on, key_part, secrets_of
from tests.simulator import make_terms, party_ids, party_key
from tests.vectors.refused import cases
from tests.vectors.tracing import FIVE, FOUR, graph_round, opened_round, released_round, width_16, width_32, width_64

Json = dict[str, Any]
FOLDER: Final = Path(__file__).parent
SEED: Final = bytes(range(32))
ROUNDS: Final = ("round-w16", "round-w32", "round-w64", "release")


def made() -> dict[str, Json]:
    """Return every vector by the name of its file, without `.json`."""
    rounds = {
        "round-w32": opened_round(width_32(), {FOUR[3]: Phase.COLLECT})[1],
        "round-w64": opened_round(width_64(), {FIVE[3]: Phase.COLLECT})[1],
        "round-w16": opened_round(width_16(), {})[1],
        "release": released_round()[1],
    }
    others = {"primitives": primitives(), "sumproof": tags(), "graph": graphs(), "keyparts": key_parts()}
    refused = {"about": "each must be refused, with these words", "cases": cases(rounds)}
    return {**others, **rounds, "round-graph": graph_round(), "must-fail": refused}


def text_of(vector: Json) -> str:
    """Return a vector as its file holds it."""
    return json.dumps(vector, indent=1, ensure_ascii=False) + "\n"


def primitives() -> Json:
    """Return the building blocks."""
    long = b"".join(bytes(block) for block in keystream.stream(SEED, 300 * 1024))
    mine, theirs = AgreementKey(SEED), AgreementKey(SEED[::-1])
    signing, leaves = SigningKey(SEED), [leaf_hash(bytes([index])) for index in range(5)]
    shares = sharing.split(SEED, threshold=3, count=5, seed=SEED[::-1])
    encoding = FixedPoint(32, 16, 8.0, 5)
    return {
        "bind": {"label": Tag.MASK_SELF, "parts": ["text ä", 7, "trunk"], "bytes": bind(Tag.MASK_SELF, "text ä", 7, "trunk").hex()},
        "digest": {"label": Tag.BOX_SET, "parts": ["ab", 1, "a", "b"], "digest": digest(Tag.BOX_SET, "ab", 1, "a", "b")},
        "derive": {"secret": SEED.hex(), "label": Tag.PAD, "parts": ["a", 2], "out": derive(SEED, Tag.PAD, "a", 2, length=80).hex()},
        "keystream": {
            "key": SEED.hex(),
            "first_bytes": long[:48].hex(),
            "bytes_from_262144": long[262_144 : 262_144 + 32].hex(),
            "sha256_of_307200_bytes": hashlib.sha256(long).hexdigest(),
            "beside_32_bytes": keystream.beside(SEED, 32).hex(),
        },
        "x25519": {
            "private": SEED.hex(),
            "public": mine.public.hex(),
            "peer": theirs.public.hex(),
            "shared": mine.exchange(theirs.public).hex(),
        },
        "box": {
            "mine": SEED.hex(),
            "theirs": theirs.public.hex(),
            "context": ["agreement", 1, "base", "keys", "a", "b"],
            "content": b"content".hex(),
            "box": seal_box(mine, theirs.public, b"content", "agreement", 1, "base", "keys", "a", "b").hex(),
        },
        "shamir": {"secret": SEED.hex(), "threshold": 3, "seed": SEED[::-1].hex(), "shares": [share.hex() for share in shares]},
        "merkle": {
            "leaf_hashes": [leaf.hex() for leaf in leaves],
            "root": Tree(leaves).root().hex(),
            "paths": [[node.hex() for node in Tree(leaves).inclusion_proof(index)] for index in range(5)],
        },
        "dsse": {
            "seed": SEED.hex(),
            "fingerprint": signing.public.fingerprint,
            "pae": pae("text/plain", b"hello").hex(),
            "envelope": Envelope.sign("text/plain", b"hello", signing).dump().decode(),
        },
        "base_version": {"agreement": "0" * 64, "number": 3, "certificate": "1" * 64, "parameters": "2" * 64}
        | {"digest": public_state_digest("0" * 64, 3, "1" * 64, "2" * 64)},
        "encoding": {"width": 32, "fraction_bits": 16, "bound": 8.0, "values": [1.5, -2.25, 0.1, -8.0, 0.0]}
        | {"ring": ring.to_bytes(encoding.encode(np.array([1.5, -2.25, 0.1, -8.0, 0.0]))).hex()},
    }


def tags() -> Json:
    """Return tags of short vectors in all three rings, and the keys of masks, tags and pads."""
    context = Context("a" * 64, 7, "b" * 64, "trunk")
    rows = []
    for width in (16, 32, 64):
        top = 1 << (width - 2)
        values = [0, 1, -1, top, -top, 12_345]
        vector = np.array(values, dtype=np.int64).astype(ring.dtype_of(width))
        rows.append(
            {"width": width, "values": [str(value) for value in values]} | {"tags": [str(tag) for tag in sumproof.tags(vector, SEED, "a")]}
        )
    mine, theirs = AgreementKey(SEED), AgreementKey(SEED[::-1])
    return {
        "key": SEED.hex(),
        "party": "a",
        "tags": rows,
        "context": {"agreement": "a" * 64, "round": 7, "base": "b" * 64, "segment": "trunk"},
        "self_key": context.self_key(SEED, "a").hex(),
        "pair_key": context.pair_key(mine, theirs.public, "b", "a").hex(),
        "proof_key": context.proof_key(SEED).hex(),
        "pad_key": context.pad_key(SEED, "a").hex(),
    }


def graphs() -> Json:
    """Return plans for several sizes, and rings."""
    sizes = [(50, 5, 15), (51, 1, 17), (100, 10, 30), (100, 1, 33), (200, 20, 60), (500, 50, 150)]
    plans = []
    for members, colluders, dropouts in sizes:
        made_for = plan(members, colluders, dropouts)
        numbers = None if made_for is None else asdict(made_for)
        plans.append({"members": members, "colluders": colluders, "dropouts": dropouts, "plan": numbers})
    ids = party_ids(30)
    ring_of = draw(SEED, 7, "shares", ids, degree=8)
    survivors = [party for index, party in enumerate(ids) if index % 5]
    return {
        "seed": SEED.hex(),
        "plans": plans,
        "small": {
            "round": 7,
            "purpose": "trunk",
            "members": list("abcdef"),
            "order": list(draw(SEED, 7, "trunk", "abcdef", degree=4).order),
        },
        "ring": {
            "round": 7,
            "purpose": "shares",
            "degree": 8,
            "members": ids,
            "order": list(ring_of.order),
            "holders": {party: list(ring_of.holders(party)) for party in ids[:4]},
            "survivors": survivors,
            "cut": ring_of.cut(survivors),
        },
    }


def key_parts() -> Json:
    """Return what four members add to their key and to the graph's seed."""
    terms, ids = make_terms(4), party_ids(4)
    parts = {party: make_key_part(terms, party, secrets_of(party)) for party in ids}
    texts = {party: key_part(terms, party, party_key(party)).dump().decode() for party in ids}
    keys = take_key_parts(terms, ids[0], secrets_of(ids[0]), list(texts.values()), handed_on(terms, ids[0]))
    statements: dict[str, KeyPart] = {party: part for party, (part, _) in parts.items()}
    assert keys.graph_seed == graph_seed(terms, statements)
    return {
        "terms": json.loads(terms.canonical()),
        "agreement": terms.digest(),
        "identity_seeds": {party: hashlib.sha256(party.encode()).hexdigest() for party in ids},
        "secrets": {
            party: {"channel": own.channel.hex(), "seed_part": own.seed_part.hex(), "key_part": own.key_part.hex()}
            for party, own in ((party, secrets_of(party)) for party in ids)
        },
        "key_parts": texts,
        "boxes": {party: {to: base64.b64encode(box).decode() for to, box in boxes.items()} for party, (_, boxes) in parts.items()},
        "handed_on_to_first": handed_on(terms, ids[0]),
        "members_key": keys.members_key.hex(),
        "graph_seed": keys.graph_seed.hex(),
    }


def main() -> None:
    """Write the files."""
    for name, vector in made().items():
        (FOLDER / f"{name}.json").write_text(text_of(vector), encoding="utf-8")


if __name__ == "__main__":
    main()
