"""Vectors that must fail: one thing of a good vector altered, and the words with which it is refused.

A case names the vector and the place in its messages where the altered body stands instead; what came before is replayed through the real
state machines. `refusal` gives what the reader says.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from parley_crypto import ring
from parley_crypto.errors import CryptoError
from parley_crypto.keys import SigningKey, VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Signed, canonical_json
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope, public_state_digest
from parley_protocol.certificates import Chain, extend
from parley_protocol.codec import load_post, load_relay
from parley_protocol.effects import SealNow
from parley_protocol.errors import ProtocolError
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.gateway_state import GatewaySpec, Moment
from parley_protocol.messages import Advertise, SurvivorList
from parley_protocol.party_round import PartyRound
from parley_protocol.party_spec import PartySpec
from parley_protocol.phases import Event
from parley_protocol.proving import check_sums

Json = dict[str, Any]
Change = Callable[[Json], None]
TO: Final = "party-000"


# Replaying a vector


def terms_of(vector: Json) -> Terms:
    """Return the terms of a vector."""
    return Terms.parse(canonical_json(vector["terms"]))


def identity(vector: Json, party: str) -> SigningKey:
    """Return a member's identity key."""
    return SigningKey(bytes.fromhex(vector["identity_seeds"][party]))


def party_at(vector: Json, me: str, before: int) -> PartyRound:
    """Return a member's state when the messages before a place have been delivered."""
    terms, chain = terms_of(vector), Chain.start(vector["agreement"])
    base = public_state_digest(vector["agreement"], 0, vector["agreement"], vector["parameters"])
    counted = frozenset(row.party for row in terms.members)
    spec = PartySpec(terms, me, 1, 0, base, vector["parameters"], chain, counted, {}, bytes.fromhex(vector["members_key"]))
    key = identity(vector, me)
    state, _ = PartyRound.enter(spec, bytes.fromhex(vector["round_seeds"][me])).advertise(key)
    for message in vector["messages"][:before]:
        if message["to"] == me and message["kind"] != "opened":
            state, effects = state.on_relay(load_relay(message["kind"], json.dumps(message["body"]).encode()), key)
            for effect in effects:
                if isinstance(effect, SealNow):
                    state, _, _ = state.seal({name: vector_of(vector, name, me) for name in effect.segments}, key)
    return state


def vector_of(vector: Json, segment: str, party: str) -> ring.RingVector:
    """Return a member's encoded vector."""
    values = np.array([int(text) for text in vector["vectors"][segment][party]], dtype=np.int64)
    return values.astype(ring.dtype_of(vector["terms"]["steps"][0]["encoding"]["width"]))


def gateway_at(vector: Json, before: int) -> GatewayRound:
    """Return the gateway's state when the posts before a place have come. Nobody drops out of these rounds."""
    terms = terms_of(vector)
    spec = GatewaySpec(terms, 1, 0, Chain.start(vector["agreement"]), frozenset(terms.keys()), 0.0)
    state = GatewayRound.open(spec)
    for message in vector["messages"][:before]:
        if message["to"] == "gateway" and "late" not in message:
            post = load_post(message["kind"], json.dumps(message["body"]).encode())
            state, _ = state.on_post(message["from"], Event(message["kind"]), post, Moment(0.0))
    return state


def refusal(vectors: Mapping[str, Json], case: Json) -> str:
    """Return what the reader of a case says; empty if it takes what it must not."""
    try:
        _read(vectors[case["vector"]], case)
    except (ProtocolError, CryptoError) as error:
        return str(error)
    return ""


def _read(vector: Json, case: Json) -> None:
    match case:
        case {"handed_out": handed_out}:
            step = terms_of(vector).steps[0]
            listed = SurvivorList.parse(certificate_of(vector).payload)
            sums = {name: bytes.fromhex(handed_out.get(name, vector["handed_out"][name])) for name in (row.name for row in step.segments)}
            check_sums(terms_of(vector), listed, sums, bytes.fromhex(vector["members_key"]))
        case {"certificate": text}:
            extend(Chain.start(vector["agreement"]), terms_of(vector), load_envelope(text, "certificate"))
        case {"advertise": text}:
            Signed(load_envelope(text, "advertise"), Advertise).verify(VerifyKey.from_hex(terms_of(vector).member(TO).identity))
        case {"at": at, "body": body}:
            _deliver(vector, at, json.dumps(body).encode())


def _deliver(vector: Json, at: int, raw: bytes) -> None:
    message = vector["messages"][at]
    if message["to"] == "gateway":
        post = load_post(message["kind"], raw)
        gateway_at(vector, at).on_post(message["from"], Event(message["kind"]), post, Moment(0.0))
    else:
        party_at(vector, message["to"], at).on_relay(load_relay(message["kind"], raw), identity(vector, message["to"]))


def certificate_of(vector: Json) -> Envelope:
    """Return the certificate of an opened round, from the relays that a member had."""
    at = place(vector, TO, "certified")
    state, body = party_at(vector, TO, at), vector["messages"][at]["body"]
    state, _ = state.on_relay(load_relay("certified", json.dumps(body).encode()), identity(vector, TO))
    assert state.certificate is not None
    return state.certificate


def place(vector: Json, party: str, kind: str) -> int:
    """Return where in a vector's messages the first of a kind stands, to or from a party."""
    return next(i for i, row in enumerate(vector["messages"]) if party in {row["to"], row["from"]} and row["kind"] == kind)


# The cases


def cases(vectors: Mapping[str, Json]) -> list[Json]:
    """Return all cases."""
    return [*_relays(vectors), *_posts(vectors), *_sums(vectors), *_certificates(vectors["round-w32"]), *_statements(vectors["round-w32"])]


def _flip(name: str, index: int = 0) -> Change:
    """Alter one bit of a column: in its byte `index`."""

    def change(body: Json) -> None:
        raw = bytearray(base64.b64decode(body[name]))
        raw[index] ^= 1
        body[name] = base64.b64encode(raw).decode()

    return change


def _flip_in(name: str, row: int) -> Change:
    def change(body: Json) -> None:
        part = {"it": body[name][row]}
        _flip("it")(part)
        body[name][row] = part["it"]

    return change


def _put(name: str, value: object) -> Change:
    def change(body: Json) -> None:
        body[name] = value

    return change


def _swap(name: str, size: int) -> Change:
    """Exchange the first two values of a column."""

    def change(body: Json) -> None:
        raw = base64.b64decode(body[name])
        body[name] = base64.b64encode(raw[size : 2 * size] + raw[:size] + raw[2 * size :]).decode()

    return change


def _cut(row_names: dict[str, int | None], *, keep: int) -> Change:
    """Keep the first values of columns (with their size), or of lists (None)."""

    def change(body: Json) -> None:
        for name, size in row_names.items():
            body[name] = body[name][:keep] if size is None else base64.b64encode(base64.b64decode(body[name])[: keep * size]).decode()

    return change


_KEYS: Final[dict[str, int | None]] = {"parties": None, "channel_keys": 32, "mask_keys": 32, "signatures": 64}
_LIST: Final[dict[str, int | None]] = {"survivors": None, "bodies": 32, "signatures": 64}
_ROWS: Final[list[tuple[str, str, str, Change, str]]] = [  # vector, kind of relay, what is altered, how, the refusal's words
    ("round-w32", "keys", "a signature", _flip("signatures", 64), "keys of party-001: not what it signed"),
    ("round-w32", "keys", "a mask key", _flip("mask_keys", 32), "keys of party-001: not what it signed"),
    ("round-w32", "keys", "two members' channel keys exchanged", _swap("channel_keys", 32), "not what it signed"),
    ("round-w32", "keys", "the round", _put("round", 2), "wanted round 1 of our agreement"),
    (
        "round-w32",
        "keys",
        "too few members",
        _cut(_KEYS, keep=2),
        "at least 3",
    ),
    ("round-w32", "keys", "an unknown field", _put("more", 1), "Extra inputs"),
    ("round-w32", "boxes", "a byte of a box", _flip_in("boxes", 1), "does not open"),
    ("round-w32", "boxes", "a node of a path", _flip_in("paths", 1), "its shares are not the ones it signed"),
    ("round-w32", "boxes", "a root", _flip("roots", 33), "share of party-002: not what it signed"),
    ("round-w32", "list", "a body's digest", _flip("bodies", 0), "manifest of party-000: not what it signed"),
    ("round-w32", "list", "a survivor left out", _cut(_LIST, keep=2), "at least 3 members"),
    ("round-w32", "list", "a segment opened in another order", _put("openable", ["head:risk", "trunk"]), "to be opened"),
    (
        "round-w64",
        "list",
        "a segment opened below its floor",
        _cut(_LIST, keep=3),
        "at least 4 members",
    ),
    ("round-w32", "certified", "one signature too few", _cut({"signers": None, "signatures": 64}, keep=2), "wanted 3 valid signatures"),
    ("round-w32", "certified", "a signature twice", _put("signers", [TO, TO, TO]), "wanted 3 valid signatures"),
    (
        "release",
        "released",
        "one statement too few",
        _cut({"parties": None, "signatures": 64}, keep=2),
        "statements of enough members",
    ),
    ("release", "released", "a signature", _flip("signatures", 0), "release of party-000: not what it signed"),
]
_POSTS: Final[list[tuple[str, str, Change, str]]] = [  # to the gateway in round-w16
    ("share", "the hash of a share", _flip("hashes", 0), "its hashes are not the ones that it signed"),
    (
        "share",
        "a box of another size",
        _put("boxes", [base64.b64encode(bytes(81)).decode()] * 3),
        "a box of 82 bytes",
    ),
    ("confirm", "the list", _put("listed", "0" * 64), "one on something else"),
    ("confirm", "the signature", _flip("signature", 0), "does not verify"),
]


def _relays(vectors: Mapping[str, Json]) -> list[Json]:
    found = []
    for name, kind, what, change, words in _ROWS:
        at = place(vectors[name], TO, kind)
        found.append(_altered(vectors[name], name, at, f"{kind}: {what}", change, words))
    return found


def _posts(vectors: Mapping[str, Json]) -> list[Json]:
    vector = vectors["round-w16"]
    rows = [
        _altered(vector, "round-w16", place(vector, TO, kind), f"{kind} post: {what}", change, words)
        for kind, what, change, words in _POSTS
    ]
    for kind, field, value, words in (
        ("advertise", "mask_key", "00" * 32, "low order"),
        ("advertise", "base", "00" * 31, "String should match pattern"),
        ("collect", "size", 7, "wanted boxes, segments and bytes"),
        ("collect", "boxes", "00" * 32, "wanted boxes, segments and bytes"),
        ("reveal", "certificate", "00" * 32, "under this round's certificate"),
        ("reveal", "seeds", None, "not the one that party-000 signed"),
        ("reveal", "party", "party-001", "it speaks for party-001"),
    ):
        at = place(vector, TO, kind)
        rows.append(_altered(vector, "round-w16", at, f"{kind} post: {field} in what is signed", _signed_anew(vector, field, value), words))
    return rows


def _signed_anew(vector: Json, field: str, value: object) -> Change:
    """Alter a field of the statement in a post, and have its author sign that."""

    def change(body: Json) -> None:
        envelope = Envelope.load(body["statement"].encode())
        content = json.loads(envelope.payload)
        if value is None:
            _flip("trunk", 32)(content[field])
        else:
            content[field] = value
        body["statement"] = Envelope.sign(envelope.payload_type, canonical_json(content), identity(vector, TO)).dump().decode()

    return change


def _altered(vector: Json, name: str, at: int, what: str, change: Change, words: str) -> Json:
    body = copy.deepcopy(vector["messages"][at]["body"])
    change(body)
    return {"vector": name, "altered": what, "at": at, "body": body, "words": words}


def _sums(vectors: Mapping[str, Json]) -> list[Json]:
    rows = []
    for name in ("round-w32", "round-w64"):
        raw = bytes.fromhex(vectors[name]["handed_out"]["trunk"])
        terms = terms_of(vectors[name])
        end, width = terms.steps[0].segment("trunk").length * terms.steps[0].encoding.width // 8, terms.steps[0].encoding.width // 8
        for what, made in (
            ("a bit of the sum", bytes([raw[0] ^ 1]) + raw[1:]),
            ("the topmost bit of the last coordinate", raw[: end - 1] + bytes([raw[end - 1] ^ 0x80]) + raw[end:]),
            ("a bit of a tag", raw[:-1] + bytes([raw[-1] ^ 1])),
            ("zero with zero tags", bytes(len(raw))),
            ("sum and tags negated", _negated(raw, end, width)),
            ("a coordinate left out", raw[width:]),
        ):
            words = f"wanted {len(raw)} bytes" if len(made) != len(raw) else "do not prove it"
            rows.append({"vector": name, "altered": f"opened sum: {what}", "handed_out": {"trunk": made.hex()}, "words": words})
    return rows


def _negated(raw: bytes, end: int, width: int) -> bytes:
    tag = (len(raw) - end) // 2
    parts = [(raw[at : at + width], width) for at in range(0, end, width)] + [(raw[end : end + tag], tag), (raw[end + tag :], tag)]
    return b"".join((-int.from_bytes(part, "little") % (1 << 8 * size)).to_bytes(size, "little") for part, size in parts)


def _certificates(vector: Json) -> list[Json]:
    good = certificate_of(vector)
    content = json.loads(good.payload)
    keys = [identity(vector, row["party"]) for row in content["survivors"]]

    def signed(**changes: object) -> str:
        return Envelope.sign(SurvivorList.kind, canonical_json(content | changes), *keys).dump().decode()

    few = Envelope(good.payload_type, good.payload, good.signatures[:2])
    alike = Envelope(good.payload_type, good.payload, (*good.signatures[:2], good.signatures[0]))
    rows = (
        ("one signature too few", few.dump().decode(), "wanted 3 valid signatures"),
        ("a signature twice", alike.dump().decode(), "wanted 3 valid signatures"),
        ("another predecessor", signed(previous="0" * 64), "wanted a successor of round 0"),
        ("another study", signed(study="other"), "wanted agreement"),
        ("too few survivors", signed(survivors=content["survivors"][:2]), "at least 3 members listed"),
        ("survivors out of order", signed(survivors=content["survivors"][::-1]), "distinct members in id order"),
        ("nothing opened", signed(openable=[]), "to be opened"),
        ("another step", signed(step=1), "wanted a step below 1"),
    )
    return [{"vector": "round-w32", "altered": f"certificate: {what}", "certificate": text, "words": words} for what, text, words in rows]


def _statements(vector: Json) -> list[Json]:
    good = load_envelope(vector["messages"][place(vector, TO, "advertise")]["body"]["statement"], "advertise")
    content, key = json.loads(good.payload), identity(vector, TO)

    def signed(payload: bytes, kind: str = Advertise.kind) -> str:
        return Envelope.sign(kind, payload, key).dump().decode()

    without = {name: value for name, value in content.items() if name != "mask_key"}
    other = Envelope.sign(Advertise.kind, good.payload, SigningKey(hashlib.sha256(b"stranger").digest()))
    rows = (
        ("a space in the JSON", signed(good.payload.replace(b",", b", ", 1)), "canonical JSON"),
        ("an unknown field", signed(canonical_json(content | {"zz": 1})), "Extra inputs"),
        ("a field missing", signed(canonical_json(without)), "Field required"),
        ("another payload type", signed(good.payload, "application/vnd.parley.share.v1+json"), "wanted type"),
        ("signed by a stranger", other.dump().decode(), "wanted a signature by"),
    )
    return [{"vector": "round-w32", "altered": f"statement: {what}", "advertise": text, "words": words} for what, text, words in rows]
