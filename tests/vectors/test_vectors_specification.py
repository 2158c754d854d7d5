"""The vectors of docs/specification.md: made again to the byte, understood by a second implementation, and refused where they must be."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors import generate, second, second_recompute
from tests.vectors.refused import refusal
from tests.vectors.second import Json, RefusedError
from tests.vectors.second_round import Round

FOLDER = Path(__file__).parent
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
CASES: list[Json] = FILES["must-fail"]["cases"]
RELAYS = [case for case in CASES if "at" in case and FILES[case["vector"]]["messages"][case["at"]]["to"] != "gateway"]
SUMS = [case for case in CASES if "handed_out" in case]


def test_the_files_are_what_the_code_makes() -> None:
    made = {name: generate.text_of(vector) for name, vector in generate.made().items()}
    assert set(made) == set(FILES)
    for name, text in made.items():
        assert text == (FOLDER / f"{name}.json").read_text(encoding="utf-8"), f"{name}.json: say `python -m tests.vectors.generate`"


def test_the_second_implementation_imports_nothing_of_ours() -> None:
    for name in ("second.py", "second_round.py"):
        for node in ast.walk(ast.parse((FOLDER / name).read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [each for each in names if each.startswith("parley")], name


@pytest.mark.parametrize("name", generate.ROUNDS)
def test_the_second_implementation_makes_every_message(name: str) -> None:
    vector, other = FILES[name], Round(FILES[name])
    assert (other.agreement, other.terms["study"]) == (vector["agreement"], "study")
    for party, body in vector["uploads"].items():
        assert other.body(party).hex() == body, party
    for message in vector["messages"]:
        to_gateway = message["to"] == "gateway"
        made = other.post(message["from"], message["kind"]) if to_gateway else other.relay(message["to"], message["kind"], message["body"])
        assert made == message["body"], (message["from"], message["to"], message["kind"])


def test_the_second_implementation_makes_every_message_of_a_round_among_neighbours() -> None:
    vector, other = FILES["round-graph"], Round(FILES["round-graph"])
    for party, body in vector["uploads"].items():
        assert hashlib.sha256(other.body(party)).hexdigest() == body, party
    for message in vector["messages"]:
        to_gateway = message["to"] == "gateway"
        made = other.post(message["from"], message["kind"]) if to_gateway else other.relay(message["to"], message["kind"], message["body"])
        assert hashlib.sha256(second.canonical(made)).hexdigest() == message["sha256"], (message["from"], message["to"], message["kind"])
        if message["kind"] in {"keys", "boxes", "list"} and message["to"] == "party-000":
            other.check_relay("party-000", message["kind"], made)


@pytest.mark.parametrize("name", [name for name in [*generate.ROUNDS, "round-graph"] if name != "release"])
def test_the_second_implementation_opens_the_sums(name: str) -> None:
    vector, other = FILES[name], Round(FILES[name])
    for segment, total in vector["sums"].items():
        raw = other.opened_sum(segment)
        assert raw.hex() == vector["handed_out"][segment]
        summed = [other.vector["vectors"][segment][party] for party in other.listed if party in vector["vectors"][segment]]
        assert (
            other.check_sum(segment, raw)
            == [int(text) for text in total]
            == [sum(map(int, column)) for column in zip(*summed, strict=True)]
        )
    assert other.survivors() == vector["survivor_list"]
    assert hashlib.sha256(second.canonical(other.survivors())).hexdigest() == vector["certificate"]
    following = second.digest("parley/base-version/1", other.agreement, 1, vector["certificate"], vector["next"]["parameters"])
    assert following.hex() == vector["next"]["base"]


@pytest.mark.parametrize("name", [name for name in generate.ROUNDS if name != "release"])
def test_the_second_implementation_recomputes_the_sums(name: str) -> None:
    vector, other = FILES[name], Round(FILES[name])
    found, uploads = vector["unmasking"], {party: bytes.fromhex(body) for party, body in vector["uploads"].items()}
    assert second_recompute.unmasking(other) == found
    sums = second_recompute.recompute(other, vector["survivor_list"], found, uploads)
    assert {segment: raw.hex() for segment, raw in sums.items()} == vector["handed_out"]
    for party in other.listed:
        flipped = bytes([uploads[party][0] ^ 1]) + uploads[party][1:]
        with pytest.raises(RefusedError, match=party):
            second_recompute.recompute(other, vector["survivor_list"], found, uploads | {party: flipped})
    for field in sorted(set(found) - {"parties", "shared", "live", "seeds"}):
        raw = bytearray(base64.b64decode(found[field]))
        if raw:
            raw[1] ^= 1  # X25519 does not use the lowest bits of a private key
            with pytest.raises(RefusedError):
                second_recompute.recompute(other, vector["survivor_list"], found | {field: second.pack([bytes(raw)])}, uploads)


def test_the_second_implementation_hands_out_the_same_among_neighbours() -> None:
    made = second_recompute.unmasking(Round(FILES["round-graph"]))
    assert hashlib.sha256(second.canonical(made)).hexdigest() == FILES["round-graph"]["unmasking"]


def test_the_second_implementation_agrees_on_primitives() -> None:
    all_of = FILES["primitives"]
    row = all_of["bind"]
    assert second.bind(row["label"], *row["parts"]).hex() == row["bytes"]
    row = all_of["digest"]
    assert second.digest(row["label"], *row["parts"]).hex() == row["digest"]
    row = all_of["derive"]
    assert second.derive(bytes.fromhex(row["secret"]), row["label"], *row["parts"], length=80).hex() == row["out"]
    row = all_of["keystream"]
    key = bytes.fromhex(row["key"])
    stream = second.keystream(key, 300 * 1024)
    assert stream[:48].hex() == row["first_bytes"]
    assert stream[262_144 : 262_144 + 32].hex() == row["bytes_from_262144"]
    assert hashlib.sha256(stream).hexdigest() == row["sha256_of_307200_bytes"]
    assert second.beside(key, 32).hex() == row["beside_32_bytes"]
    row = all_of["base_version"]
    parts = (row["agreement"], row["number"], row["certificate"], row["parameters"])
    assert second.digest("parley/base-version/1", *parts).hex() == row["digest"]
    row = all_of["encoding"]
    units = [round(value * 2 ** row["fraction_bits"]) for value in row["values"]]
    assert second.wire(units, row["width"]).hex() == row["ring"]


def test_the_second_implementation_agrees_on_keys_boxes_shares_and_trees() -> None:
    all_of = FILES["primitives"]
    row = all_of["x25519"]
    assert second.x25519_public(bytes.fromhex(row["private"])).hex() == row["public"]
    assert second.x25519(bytes.fromhex(row["private"]), bytes.fromhex(row["peer"])).hex() == row["shared"]
    row = all_of["box"]
    key = second.derive(second.x25519(bytes.fromhex(row["mine"]), bytes.fromhex(row["theirs"])), "parley/round/box/1", *row["context"])
    assert AESGCM(key).encrypt(bytes(12), bytes.fromhex(row["content"]), None).hex() == row["box"]
    row = all_of["shamir"]
    shares = second.split(bytes.fromhex(row["secret"]), row["threshold"], 5, bytes.fromhex(row["seed"]))
    assert [share.hex() for share in shares] == row["shares"]
    assert second.combine({2: shares[1], 5: shares[4], 3: shares[2]}).hex() == row["secret"]
    row = all_of["merkle"]
    leaves = [bytes.fromhex(text) for text in row["leaf_hashes"]]
    assert second.root(leaves).hex() == row["root"]
    assert [[node.hex() for node in second.path(leaves, index)] for index in range(5)] == row["paths"]
    assert {second.root_from(leaves[i], i, 5, second.path(leaves, i)).hex() for i in range(5)} == {row["root"]}
    row = all_of["dsse"]
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(row["seed"]))
    assert second.pae("text/plain", b"hello").hex() == row["pae"]
    assert second.fingerprint(private.public_key().public_bytes_raw()) == row["fingerprint"]
    assert json.loads(row["envelope"])["signatures"][0]["sig"] == second.pack([private.sign(second.pae("text/plain", b"hello"))])


def test_the_second_implementation_agrees_on_tags_and_their_keys() -> None:
    vector = FILES["sumproof"]
    key, context = bytes.fromhex(vector["key"]), tuple(vector["context"].values())
    assert sorted(row["width"] for row in vector["tags"]) == [16, 32, 64]
    for row in vector["tags"]:
        assert second.tags([int(text) for text in row["values"]], row["width"], key, ["a"]) == [int(text) for text in row["tags"]]
    assert second.derive(key, "parley/mask/self/1", *context, "a").hex() == vector["self_key"]
    shared = second.x25519(key, second.x25519_public(key[::-1]))
    assert second.derive(shared, "parley/mask/pair/1", *context, "a", "b").hex() == vector["pair_key"]
    assert second.derive(key, "parley/round/sum-proof/1", *context).hex() == vector["proof_key"]
    assert second.derive(key, "parley/round/pad/1", *context, "a").hex() == vector["pad_key"]


def test_the_second_implementation_agrees_on_graphs() -> None:
    vector = FILES["graph"]
    seed = bytes.fromhex(vector["seed"])
    for row in vector["plans"]:
        assert second.plan(row["members"], row["colluders"], row["dropouts"]) == row["plan"]
    for row in (vector["small"], vector["ring"]):
        assert second.ring_order(seed, row["round"], row["purpose"], row["members"]) == row["order"]
    row = vector["ring"]
    assert {party: second.holders(row["order"], row["degree"], party) for party in row["holders"]} == row["holders"]
    assert second.cut(row["order"], row["degree"], row["survivors"]) == row["cut"]


def test_the_second_implementation_agrees_on_key_parts() -> None:
    vector = FILES["keyparts"]
    terms, agreement = vector["terms"], hashlib.sha256(second.canonical(vector["terms"])).hexdigest()
    ids, proposal, secrets = [row["party"] for row in terms["members"]], terms["proposal_digest"], vector["secrets"]
    raw = {party: {name: bytes.fromhex(text) for name, text in row.items()} for party, row in secrets.items()}
    assert agreement == vector["agreement"]
    for member in terms["members"]:
        party, own = member["party"], raw[member["party"]]
        key_hash = second.digest("parley/agreement/key-part/1", proposal, party, own["key_part"])
        committed = second.digest("parley/agreement/seed-part/1", proposal, party, own["seed_part"], key_hash)
        assert (second.x25519_public(own["channel"]).hex(), committed.hex()) == (member["channel_key"], member["commitment"])
        others, boxes = [other for other in ids if other != party], {}
        for other in others:
            shared = second.x25519(own["channel"], second.x25519_public(raw[other]["channel"]))
            key = second.derive(shared, "parley/round/box/1", "parley/agreement/key-box/1", agreement, party, other)
            boxes[other] = AESGCM(key).encrypt(bytes(12), own["key_part"], None)
        assert {other: base64.b64encode(box).decode() for other, box in boxes.items()} == vector["boxes"][party]
        leaves = [second.leaf(boxes[other]) for other in others]
        said = json.loads(base64.b64decode(json.loads(vector["key_parts"][party])["payload"]))
        assert said == {
            "study": terms["study"],
            "agreement": agreement,
            "party": party,
            "seed_part": own["seed_part"].hex(),
            "key_hash": key_hash.hex(),
            "boxes": second.root(leaves).hex(),
        }
        if party != ids[0]:
            handed_on = base64.b64encode(boxes[ids[0]] + b"".join(second.path(leaves, 0))).decode()
            assert handed_on == vector["handed_on_to_first"][party]
    together = b"".join(raw[party]["key_part"] for party in ids)
    assert second.derive(together, "parley/agreement/members-key/1", agreement).hex() == vector["members_key"]
    seeds = [raw[party]["seed_part"] for party in ids]
    assert second.digest("parley/agreement/graph-seed/1", agreement, *seeds).hex() == vector["graph_seed"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["altered"]))
def test_what_must_fail_is_refused_for_the_stated_reason(case: Json) -> None:
    assert case["words"] in refusal(FILES, case)


@pytest.mark.parametrize("case", RELAYS + SUMS, ids=lambda case: str(case["altered"]))
def test_the_second_implementation_refuses_it_too(case: Json) -> None:
    other = Round(FILES[case["vector"]])
    with pytest.raises(RefusedError):
        _read(other, case)


def _read(other: Round, case: Json) -> None:
    if "handed_out" in case:
        other.check_sum("trunk", bytes.fromhex(case["handed_out"]["trunk"]))
    else:
        message = FILES[case["vector"]]["messages"][case["at"]]
        other.check_relay(message["to"], message["kind"], case["body"])


def test_the_second_implementation_refuses_nothing_that_is_good() -> None:
    checked = 0
    for name in generate.ROUNDS:
        other = Round(FILES[name])
        for message in FILES[name]["messages"]:
            if message["from"] == "gateway" and message["kind"] not in {"opened", "release"}:
                other.check_relay(message["to"], message["kind"], message["body"])
                checked += 1
    assert checked > 40
