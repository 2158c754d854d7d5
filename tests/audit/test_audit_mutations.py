"""Random damage to an export, from bytes to rewritten history: all of it is detected. Deterministic: mutation n comes from seed n."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import cache

import rfc8785
from parley_audit.claims import Audience
from parley_audit.export import FILES, ExportHeader, readme
from parley_audit.verify import verify
from parley_crypto.keys import SigningKey, VerifyKey
from parley_crypto.merkle import leaf_hash
from parley_crypto.signing import Envelope, Signature
from parley_policies.negotiation.terms import Terms
from parley_protocol.keyparts import KeyPart
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.records import EnrolmentRecord, Participation

from tests.audit.sample_log import Folder, export, policy_opening, sample_leaves, signed
from tests.simulator import GATEWAY_KEY

MUTATIONS = 400
NEEDED = {kind.kind for kind in (EnrolmentRecord, Terms, KeyPart, SurvivorList, Opened)}  # leaves that others rest on


@cache
def _good() -> Folder:
    return export(sample_leaves(), openings=[policy_opening()])


@cache
def _others() -> tuple[Folder, ...]:
    leaves = sample_leaves()
    return (export(leaves[:-1]), export(leaves, studies={"study"}), export(leaves, audience=Audience.PUBLIC), export([]))


def _rewritten(leaves: Sequence[bytes], key: SigningKey = GATEWAY_KEY) -> Folder:
    """Return the export of another history, signed properly."""
    folder = Folder(dict(_good().files))
    header = ExportHeader.model_validate(json.loads(folder.files["export.json"]) | {"size": len(leaves), "gateway": key.public.hex})
    folder.files |= {
        "export.json": header.canonical() + b"\n",
        "README.txt": readme(header),
        "leaves.jsonl": b"".join(leaf + b"\n" for leaf in leaves),
        "checkpoint.txt": signed(leaves, key).encode(),
    }
    return folder


def _byte(rng: random.Random) -> Folder:
    folder = Folder(dict(_good().files))
    name = rng.choice(FILES)
    raw = bytearray(folder.files[name])
    at = rng.randrange(len(raw))
    match rng.randrange(3):
        case 0:
            raw[at] ^= 1 << rng.randrange(8)
        case 1:
            del raw[at]
        case _:
            raw.insert(at, rng.randrange(256))
    folder.files[name] = bytes(raw)
    return folder


def _cut(rng: random.Random) -> Folder:
    folder = Folder(dict(_good().files))
    name = rng.choice(FILES)
    folder.files[name] = folder.files[name][: rng.randrange(len(folder.files[name]))]
    return folder


def _file(rng: random.Random) -> Folder:
    folder = Folder(dict(_good().files))
    name = rng.choice(FILES)
    match rng.randrange(3):
        case 0:
            del folder.files[name]
        case 1:
            folder.files["extra.txt"] = b""
        case _:
            other = rng.choice(
                [other for other in _others() if other.files[name] != folder.files[name]] or [Folder(dict.fromkeys(FILES, b""))]
            )
            folder.files[name] = other.files[name]
    return folder


def _line(rng: random.Random) -> Folder:
    """Drop, repeat, exchange or withhold leaves, without the gateway's help."""
    folder = Folder(dict(_good().files))
    leaves = list(sample_leaves())
    at, other = rng.sample(range(len(leaves)), 2)
    match rng.randrange(5):
        case 0:
            del leaves[at]
        case 1:
            leaves.insert(other, leaves[at])
        case 2:
            leaves[at], leaves[other] = leaves[other], leaves[at]
        case 3:
            leaves[at] = leaves[other]
        case _:
            leaves[at] = b'{"withheld":"' + leaf_hash(leaves[at]).hex().encode() + b'"}'
    folder.files["leaves.jsonl"] = b"".join(leaf + b"\n" for leaf in leaves)
    return folder


def _field(rng: random.Random) -> Folder:
    """Change one value inside a statement and let the gateway sign the log anew; the statement's signatures stay what they were."""
    leaves = list(sample_leaves())
    at = rng.randrange(len(leaves))
    envelope = Envelope.load(leaves[at])
    body = json.loads(envelope.payload)
    _change(rng, body)
    leaves[at] = Envelope(envelope.payload_type, rfc8785.dumps(body), envelope.signatures).dump()
    return _rewritten(leaves)


def _change(rng: random.Random, body: dict[str, object] | list[object]) -> None:
    keys: list[object] = list(body) if isinstance(body, dict) else list(range(len(body)))
    key = rng.choice(keys)
    value = body[key]  # type: ignore[index,call-overload]  # key comes from body itself
    if isinstance(value, dict | list) and value:
        _change(rng, value)
        return
    match value:
        case bool():
            changed: object = not value
        case int() | float():
            changed = value + 1
        case str() if value:
            changed = ("1" if value[0] != "1" else "2") + value[1:]
        case _:
            changed = ["x"]
    body[key] = changed  # type: ignore[index,call-overload]  # key comes from body itself


def _signature(rng: random.Random) -> Folder:
    """Damage, drop or add signatures, or the payload type, and let the gateway sign the log anew."""
    leaves = list(sample_leaves())
    at = rng.randrange(len(leaves))
    envelope = Envelope.load(leaves[at])
    signatures = list(envelope.signatures)
    kind = envelope.payload_type
    match rng.randrange(5):
        case 0:
            first = signatures[0]
            signatures[0] = Signature(first.keyid, bytes([first.sig[0] ^ 1]) + first.sig[1:])
        case 1:
            signatures.append(Envelope.sign(kind, envelope.payload, SigningKey(rng.randbytes(32))).signatures[0])
        case 2:
            signatures.append(signatures[0])
        case 3:
            signatures = []
        case _:
            kind = rng.choice(sorted(NEEDED - {kind}))
    leaves[at] = Envelope(kind, envelope.payload, tuple(signatures)).dump()
    return _rewritten(leaves)


def _history(rng: random.Random) -> Folder:
    """Leave out, repeat or move a leaf that others rest on, and let the gateway sign the log anew."""
    leaves = list(sample_leaves())
    needed = [index for index, leaf in enumerate(leaves) if Envelope.load(leaf).payload_type in NEEDED]
    at = rng.choice(needed[:-1])  # the last one states the last sums: a study may be stopped while these wait
    match rng.randrange(3):
        case 0:
            del leaves[at]
        case 1:
            leaves.insert(rng.randrange(at + 1, len(leaves)), leaves[at])
        case _:
            leaf = leaves.pop(at)
            close = next(i for i, other in enumerate(leaves) if Envelope.load(other).payload_type == Participation.kind)
            leaves.insert(rng.randrange(close, len(leaves)), leaf)
    return _rewritten(leaves)


def _stranger(rng: random.Random) -> Folder:
    """Sign everything anew under another gateway key."""
    return _rewritten(sample_leaves(), SigningKey(rng.randbytes(32)))


KINDS: tuple[Callable[[random.Random], Folder], ...] = (_byte, _cut, _file, _line, _field, _signature, _history, _stranger)


def test_every_mutation_is_detected() -> None:
    assert verify(_good(), gateway_key=GATEWAY_KEY.public).ok
    key: VerifyKey = GATEWAY_KEY.public
    undetected = []
    for seed in range(MUTATIONS):
        mutate = KINDS[seed % len(KINDS)]
        report = verify(mutate(random.Random(seed)), gateway_key=key)
        if report.ok:
            undetected.append((seed, mutate.__name__))
    assert undetected == []
