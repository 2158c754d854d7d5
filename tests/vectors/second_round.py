"""A whole round by the second implementation: every message from the inputs of a vector, the opened sums, and what a reader refuses.

As docs/specification.md says it, without Parley. One step, first round of a chain; who advertised also sent boxes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from functools import cache, cached_property

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.second import (
    FIELDS,
    Json,
    RefusedError,
    beside,
    bind,
    canonical,
    combine,
    cut,
    derive,
    digest,
    fingerprint,
    holders,
    keystream,
    leaf,
    lifted,
    numbers,
    pack,
    pae,
    path,
    plan,
    ring_order,
    root,
    root_from,
    split,
    tag_bits,
    tags,
    unpack,
    wire,
    x25519,
    x25519_public,
)

KIND = "application/vnd.parley.%s.v1+json"


class Round:
    """One round from its inputs: what everybody sends, and what is refused."""

    def __init__(self, vector: Json) -> None:
        self.vector, self.terms, self.number = vector, vector["terms"], int(vector["round"])
        self.agreement = hashlib.sha256(canonical(self.terms)).hexdigest()
        self.step = self.terms["steps"][0]
        self.ids = [member["party"] for member in self.terms["members"]]
        self.key = bytes.fromhex(vector["members_key"])
        self.base = digest("parley/base-version/1", self.agreement, 0, self.agreement, vector["parameters"]).hex()
        self.segments = {segment["name"]: segment for segment in self.step["segments"]}
        self.width = int(self.step["encoding"]["width"])
        self.bound = {"study": self.terms["study"], "agreement": self.agreement, "round": self.number, "base": self.base}
        self.here = sorted(row["from"] for row in vector["messages"] if row["kind"] == "advertise")
        self.listed = sorted(row["from"] for row in vector["messages"] if row["kind"] == "collect")

    # who deals with whom (section 3)

    @cached_property
    def threshold(self) -> int:
        graph = self.terms.get("graph")
        return int(graph["threshold"] if graph else self.terms["threshold"])

    @cached_property
    def rings(self) -> dict[str, tuple[list[str], dict[str, int]]]:
        """Return ring order and numbers of each purpose that has a ring."""
        if not self.terms.get("graph"):
            return {}
        seed, found = bytes.fromhex(self.vector["graph_seed"]), {"shares": (self.ids, self.terms["graph"])}
        for name, segment in self.segments.items():
            count, dropouts = len(segment["members"]), len(self.ids) - self.terms["threshold"]
            numbers_of = plan(count, min(self.terms["max_colluders"], count - 1), min(dropouts, count - 1))
            if numbers_of:
                found[name] = segment["members"], numbers_of
        return {name: (ring_order(seed, self.number, name, members), numbers_of) for name, (members, numbers_of) in found.items()}

    @cache  # noqa: B019 - a round lives as long as its test
    def around(self, party: str, purpose: str) -> list[str]:
        """Return the neighbours on a ring and the party itself, in id order; all members where there is no ring."""
        if purpose not in self.rings:
            return self.ids if purpose == "shares" else list(self.segments[purpose]["members"])
        order, numbers_of = self.rings[purpose]
        return holders(order, numbers_of["degree"], party)

    def x(self, owner: str, holder: str) -> int:
        return self.around(owner, "shares").index(holder)

    def sharing(self, party: str) -> list[str]:
        return [other for other in self.around(party, "shares") if other in self.here]

    def peers(self, party: str, segment: str, among: list[str]) -> list[str]:
        if party not in self.segments[segment]["members"]:
            return []
        return [other for other in self.around(party, segment) if other in among and other != party]

    def near(self, party: str) -> list[str]:
        needed = {party, *self.sharing(party)}.union(*(self.peers(party, name, self.here) for name in self.segments))
        return [other for other in self.here if other in needed]

    # signing and verifying

    def sign(self, party: str, kind: str, content: Json) -> bytes:
        seed = bytes.fromhex(self.vector["identity_seeds"][party])
        return Ed25519PrivateKey.from_private_bytes(seed).sign(pae(KIND % kind, canonical(content)))

    def verify(self, party: str, kind: str, content: Json, signature: bytes) -> None:
        key = bytes.fromhex(self.terms["members"][self.ids.index(party)]["identity"])
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, pae(KIND % kind, canonical(content)))
        except InvalidSignature as error:
            raise RefusedError(f"{kind} of {party}") from error

    def envelope(self, party: str, kind: str, content: Json) -> str:
        seed = self.vector["gateway_key_seed"] if party == "gateway" else self.vector["identity_seeds"][party]
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
        rows = [
            {
                "keyid": fingerprint(private.public_key().public_bytes_raw()),
                "sig": pack([private.sign(pae(KIND % kind, canonical(content)))]),
            }
        ]
        return json.dumps({"payload": pack([canonical(content)]), "payloadType": KIND % kind, "signatures": rows}, separators=(",", ":"))

    # ADVERTISE

    def secret(self, party: str, label: str, *parts: str) -> bytes:
        seed = bytes.fromhex(self.vector["round_seeds"][party])
        return derive(seed, f"parley/round/{label}/1", self.agreement, self.number, self.base, party, *parts)

    @cached_property
    def channels(self) -> dict[str, bytes]:
        return {party: x25519_public(self.secret(party, "channel-key")) for party in self.here}

    @cached_property
    def masks(self) -> dict[str, bytes]:
        return {party: x25519_public(self.secret(party, "mask-key")) for party in self.here}

    def advert(self, party: str, channel: bytes, mask: bytes) -> Json:
        own = {"party": party, "step": 0, "parameters": self.vector["parameters"]}
        return {**self.bound, **own, "channel_key": channel.hex(), "mask_key": mask.hex()}

    @cache  # noqa: B019 - as above
    def adverts(self) -> dict[str, Json]:
        return {party: self.advert(party, self.channels[party], self.masks[party]) for party in self.here}

    @cached_property
    def key_set(self) -> str:
        return digest("parley/round/key-set/1", *(hashlib.sha256(canonical(advert)).digest() for advert in self.adverts().values())).hex()

    # SHARE

    def secrets(self, owner: str) -> dict[str, bytes]:
        own = [name for name, segment in self.segments.items() if owner in segment["members"]]
        return {"mask": self.secret(owner, "mask-key"), **{f"self/{name}": self.secret(owner, "self-seed", name) for name in own}}

    @cache  # noqa: B019 - as above
    def shares(self, owner: str) -> dict[str, list[bytes]]:
        found = self.secrets(owner).items()
        count = len(self.around(owner, "shares"))
        return {name: split(secret, self.threshold, count, self.secret(owner, "shamir", name)) for name, secret in found}

    def share_hash(self, owner: str, recipient: str, name: str, share: bytes) -> bytes:
        return digest("parley/round/share-hash/1", self.agreement, self.number, owner, recipient, name, share)

    @cache  # noqa: B019 - as above
    def leaves(self, owner: str) -> tuple[list[list[bytes]], list[bytes], list[bytes]]:
        """Return the share hashes of each recipient, the seed hashes, and the leaves of the tree over both."""
        shares, secrets = self.shares(owner), self.secrets(owner)
        at = {peer: self.x(owner, peer) for peer in self.sharing(owner)}
        rows = [[self.share_hash(owner, peer, name, each[x]) for name, each in shares.items()] for peer, x in at.items()]
        context = (self.agreement, self.number, owner)
        seeds = [digest("parley/round/seed-hash/1", *context, name[5:], seed) for name, seed in secrets.items() if name != "mask"]
        tops = [leaf(bind("parley/round/share-leaf/1", *row)) for row in rows]
        return rows, seeds, [*tops, leaf(bind("parley/round/seed-leaf/1", *seeds))]

    def box_key(self, mine: str, theirs: str, sender: str, recipient: str) -> bytes:
        shared = x25519(self.secret(mine, "channel-key"), self.channels[theirs])
        return derive(shared, "parley/round/box/1", self.agreement, self.number, self.base, self.key_set, sender, recipient)

    def box(self, sender: str, recipient: str) -> bytes:
        content = b"".join(each[self.x(sender, recipient)] for each in self.shares(sender).values())
        return AESGCM(self.box_key(sender, recipient, sender, recipient)).encrypt(bytes(12), content, None)

    def share(self, owner: str, tree: bytes) -> Json:
        return {**self.bound, "party": owner, "keys": self.key_set, "root": tree.hex()}

    # COLLECT

    def segment_key(self, label: str, segment: str, *more: str) -> bytes:
        return derive(self.key, f"parley/round/{label}/1", self.agreement, self.number, self.base, segment, *more)

    def masks_of(self, party: str, segment: str) -> list[tuple[bytes, int]]:
        """Return key and sign of every mask of a member in a segment."""
        context = (self.agreement, self.number, self.base, segment)
        found = [(derive(self.secret(party, "self-seed", segment), "parley/mask/self/1", *context, party), 1)]
        for peer in self.peers(party, segment, self.here):
            low, high = sorted((party, peer))
            shared = x25519(self.secret(party, "mask-key"), self.masks[peer])
            found.append((derive(shared, "parley/mask/pair/1", *context, low, high), 1 if party < peer else -1))
        return found

    def sealed(self, party: str, segment: str) -> bytes:
        values, w = [int(text) for text in self.vector["vectors"][segment][party]], self.width
        bits = tag_bits(w)
        pair = tags(values, w, self.segment_key("sum-proof", segment), [party])
        if self.terms["opened_sums_readable_by"] == "parties":
            pad = numbers(keystream(self.segment_key("pad", segment, party), len(values) * w // 8), w)
            values = [value + more for value, more in zip(values, pad, strict=True)]
        for key, sign in self.masks_of(party, segment):
            mask = numbers(keystream(key, len(values) * w // 8), w)
            values = [value + sign * more for value, more in zip(values, mask, strict=True)]
            pair = [tag + sign * more for tag, more in zip(pair, numbers(beside(key, 2 * bits // 8), bits), strict=True)]
        return wire(values, w) + wire(pair, bits)

    def own(self, party: str) -> list[str]:
        return [name for name, segment in self.segments.items() if party in segment["members"]]

    def body(self, party: str) -> bytes:
        return b"".join(self.sealed(party, name) for name in self.own(party))

    def manifest(self, party: str, body: bytes) -> Json:
        boxes = digest("parley/round/box-set/1", self.agreement, self.number, *self.here).hex()
        size = sum(self.size(name) for name in self.own(party))
        return {**self.bound, "party": party, "boxes": boxes, "segments": self.own(party), "size": size, "body": body.hex()}

    def size(self, name: str) -> int:
        return int(self.segments[name]["length"]) * self.width // 8 + 2 * tag_bits(self.width) // 8

    # CONFIRM and REVEAL

    def survivor_list(self, survivors: list[str], openable: list[str], bodies: list[bytes]) -> Json:
        rows = []
        for party, body in zip(survivors, bodies, strict=True):
            rows.append({"party": party, "manifest": hashlib.sha256(canonical(self.manifest(party, body))).hexdigest()})
        own = {"step": 0, "parameters": self.vector["parameters"], "previous": self.agreement, "boxes_from": self.here}
        return {**self.bound, **own, "survivors": rows, "openable": openable}

    @cached_property
    def bodies(self) -> dict[str, bytes]:
        return {party: self.body(party) for party in self.listed}

    @cache  # noqa: B019 - as above
    def survivors(self) -> Json:
        return self.survivor_list(
            self.listed, self.own_openable(tuple(self.listed)), [blake3(self.bodies[p]).digest() for p in self.listed]
        )

    @cache  # noqa: B019 - as above
    def own_openable(self, survivors: tuple[str, ...]) -> list[str]:
        """Return the segments that reach their floor and are not cut (earlier lists do not matter in a chain's first round)."""
        found = []
        for name, row in self.segments.items():
            listed = set(survivors) & set(row["members"])
            fewest = cut(self.rings[name][0], self.rings[name][1]["degree"], listed) if name in self.rings else None
            if len(listed) >= row["floor"] and (fewest is None or fewest > self.rings[name][1]["cut"]):
                found.append(name)
        return found

    def reveal(self, party: str) -> Json:
        held = self.sharing(party)
        seeds = {}
        for name in self.own_openable(tuple(self.listed)):
            owners = [owner for owner in held if owner in self.listed and owner in self.segments[name]["members"]]
            seeds[name] = pack(self.shares(owner)[f"self/{name}"][self.x(owner, party)] for owner in owners)
        gone = [owner for owner in held if owner not in self.listed]
        certificate = hashlib.sha256(canonical(self.survivors())).hexdigest()
        own = {"party": party, "certificate": certificate, "seeds": seeds}
        return {**self.bound, **own, "mask_keys": pack(self.shares(owner)["mask"][self.x(owner, party)] for owner in gone)}

    def opened_sum(self, name: str) -> bytes:
        """Open a segment as the gateway does: add, rebuild from the first t members' shares, take masks off."""
        w, length, members = self.width, int(self.segments[name]["length"]), self.segments[name]["members"]
        bits, end = tag_bits(w), length * w // 8
        total, pair = [0] * length, [0, 0]
        for party in self.listed:
            if party in members:
                start = sum(self.size(other) for other in self.own(party)[: self.own(party).index(name)])
                part = self.bodies[party][start : start + self.size(name)]
                total = [a + b for a, b in zip(total, numbers(part[:end], w), strict=True)]
                pair = [a + b for a, b in zip(pair, numbers(part[end:], bits), strict=True)]
        for key, sign in self._left(name, members):
            total = [a - sign * b for a, b in zip(total, numbers(keystream(key, end), w), strict=True)]
            pair = [a - sign * b for a, b in zip(pair, numbers(beside(key, 2 * bits // 8), bits), strict=True)]
        return wire(total, w) + wire(pair, bits)

    def _left(self, name: str, members: list[str]) -> Iterable[tuple[bytes, int]]:
        """Yield key and sign of each mask that is left in the sum, from rebuilt secrets."""
        context, xs = (self.agreement, self.number, self.base, name), range(1, self.threshold + 1)
        for party in members:
            if party in self.listed:
                seed = combine({x: self.shares(party)[f"self/{name}"][x - 1] for x in xs})
                yield derive(seed, "parley/mask/self/1", *context, party), 1
            elif party in self.here:
                private = combine({x: self.shares(party)["mask"][x - 1] for x in xs})
                for peer in self.peers(party, name, self.listed):
                    low, high = sorted((party, peer))
                    yield derive(x25519(private, self.masks[peer]), "parley/mask/pair/1", *context, low, high), 1 if peer < party else -1

    # 6. Messages

    def post(self, party: str, kind: str) -> Json:
        """Return the body of a party's post."""
        return {
            "advertise": self._advertise_post,
            "share": self._share_post,
            "collect": lambda p: {"statement": self.envelope(p, "manifest", self.manifest(p, blake3(self.bodies[p]).digest()))},
            "confirm": self._confirm_post,
            "reveal": lambda p: {"statement": self.envelope(p, "reveal", self.reveal(p))},
            "release": self._release_post,
        }[kind](party)

    def _advertise_post(self, party: str) -> Json:
        return {"statement": self.envelope(party, "advertise", self.adverts()[party])}

    def _share_post(self, party: str) -> Json:
        rows, seeds, leaves = self.leaves(party)
        boxes = [pack([self.box(party, peer)]) for peer in self.sharing(party) if peer != party]
        statement = self.envelope(party, "share", self.share(party, root(leaves)))
        return {"statement": statement, "hashes": pack(each for row in rows for each in row), "seeds": pack(seeds), "boxes": boxes}

    def _confirm_post(self, party: str) -> Json:
        listed = hashlib.sha256(canonical(self.survivors())).hexdigest()
        return {**self.named(), "listed": listed, "signature": pack([self.sign(party, "certificate", self.survivors())])}

    def _release_post(self, party: str) -> Json:
        return {**self.named(), "signature": pack([self.sign(party, "release", self.release(party))])}

    def named(self) -> Json:
        return {"agreement": self.agreement, "round": self.number}

    def release(self, party: str) -> Json:
        return {"study": self.terms["study"], "agreement": self.agreement, "round": self.number, "party": party}

    def relay(self, party: str, kind: str, sent: Json) -> Json:
        """Return the body of a relay to `party`; of `sent` only what the gateway chose: who is named, its reasons."""
        make: dict[str, Callable[[str, Json], Json]] = {
            "keys": self._keys,
            "boxes": self._boxes,
            "list": self._list,
            "certified": lambda _, s: {
                "signers": s["signers"],
                "signatures": self._signed_by(s["signers"], "certificate", lambda _: self.survivors()),
            },
            "opened": self._opened,
            "release": lambda _, s: {"reason": s["reason"]},
            "released": lambda _, s: {"parties": s["parties"], "signatures": self._signed_by(s["parties"], "release", self.release)},
        }
        return {**self.named(), **make[kind](party, sent)}

    def _signed_by(self, parties: list[str], kind: str, of: Callable[[str], Json]) -> str:
        return pack(self.sign(party, kind, of(party)) for party in parties)

    def _keys(self, party: str, sent: Json) -> Json:
        del sent
        adverts, near = self.adverts(), self.near(party)
        signatures = self._signed_by(near, "advertise", lambda p: adverts[p])
        keys = {"channel_keys": pack(self.channels[p] for p in near), "mask_keys": pack(self.masks[p] for p in near)}
        others = pack(hashlib.sha256(canonical(adverts[p])).digest() for p in self.here if p not in near)
        return {"parties": self.here, **keys, "signatures": signatures, "others": others}

    def _boxes(self, party: str, sent: Json) -> Json:
        del sent
        owners = [owner for owner in self.sharing(party) if owner != party]
        trees = {owner: self.leaves(owner)[2] for owner in owners}
        return {
            "parties": self.here,
            "roots": pack(root(trees[owner]) for owner in owners),
            "signatures": self._signed_by(owners, "share", lambda owner: self.share(owner, root(trees[owner]))),
            "boxes": [pack([self.box(owner, party)]) for owner in owners],
            "paths": [pack(path(trees[owner], self.sharing(owner).index(party))) for owner in owners],
        }

    def _list(self, party: str, sent: Json) -> Json:
        del party, sent
        digests = {p: blake3(self.bodies[p]).digest() for p in self.listed}
        signatures = self._signed_by(self.listed, "manifest", lambda p: self.manifest(p, digests[p]))
        return {
            "survivors": self.listed,
            "openable": self.survivors()["openable"],
            "bodies": pack(digests.values()),
            "signatures": signatures,
        }

    def _opened(self, party: str, sent: Json) -> Json:
        del party
        sums = {name: self.opened_sum(name) for name in self.survivors()["openable"]}
        rows = [
            {"name": name, "length": self.segments[name]["length"], "parties": len(set(self.listed) & set(self.segments[name]["members"]))}
            | {"body": blake3(raw).hexdigest()}
            for name, raw in sums.items()
        ]
        statement = {**self.bound, "certificate": hashlib.sha256(canonical(self.survivors())).hexdigest(), "segments": rows}
        certificate = self.certificate() if sent["certificate"] else ""
        return {"certificate": certificate, "opened": self.envelope("gateway", "opened", statement), "sums": pack(sums.values())}

    @cache  # noqa: B019 - as above
    def certificate(self) -> str:
        """Return the certificate's envelope, its signatures in the order in which `certified` has them."""
        signers = next(row["body"]["signers"] for row in self.vector["messages"] if row["kind"] == "certified")
        rows = [json.loads(self.envelope(party, "certificate", self.survivors()))["signatures"][0] for party in signers]
        whole = {"payload": pack([canonical(self.survivors())]), "payloadType": KIND % "certificate", "signatures": rows}
        return json.dumps(whole, separators=(",", ":"))

    # what a member refuses

    def check_relay(self, me: str, kind: str, body: Json) -> None:
        """Return if `me` may act on a relay; RefusedError otherwise."""
        if (body["agreement"], body["round"]) != (self.agreement, self.number):
            raise RefusedError("another round")
        if set(body) != FIELDS[kind]:
            raise RefusedError("an unknown field, or one missing")
        {
            "keys": self._check_keys,
            "boxes": self._check_boxes,
            "list": self._check_list,
            "certified": self._check_certified,
            "released": self._check_released,
        }[kind](me, body)

    def _members(self, parties: list[str]) -> None:
        if parties != sorted(set(parties)) or not set(parties) <= set(self.ids) or len(parties) < self.terms["threshold"]:
            raise RefusedError("not enough members in id order")

    def _check_keys(self, me: str, body: Json) -> None:
        self._members(body["parties"])
        parties = [party for party in body["parties"] if party in self.near(me)]
        columns = [unpack(body[name], size, len(parties)) for name, size in (("channel_keys", 32), ("mask_keys", 32), ("signatures", 64))]
        for party, channel, mask, signature in zip(parties, *columns, strict=True):
            self.verify(party, "advertise", self.advert(party, channel, mask), signature)
        if me not in parties or len(set(columns[0] + columns[1])) != 2 * len(parties):
            raise RefusedError("our keys are missing, or one occurs twice")

    def _check_boxes(self, me: str, body: Json) -> None:
        self._members(body["parties"])
        owners = [owner for owner in self.sharing(me) if owner in body["parties"] and owner != me]
        rows = zip(unpack(body["roots"], 32, len(owners)), unpack(body["signatures"], 64, len(owners)), strict=True)
        for owner, (tree, signature), box, nodes in zip(owners, rows, body["boxes"], body["paths"], strict=True):
            self.verify(owner, "share", self.share(owner, tree), signature)
            try:
                content = AESGCM(self.box_key(me, owner, owner, me)).decrypt(bytes(12), base64.b64decode(box), None)
            except InvalidTag as error:
                raise RefusedError(f"box of {owner}") from error
            raw = base64.b64decode(nodes)
            siblings = [raw[start : start + 32] for start in range(0, len(raw), 32)]
            parts = [content[start : start + 33] for start in range(0, len(content), 33)]
            hashes = [self.share_hash(owner, me, name, part) for name, part in zip(self.secrets(owner), parts, strict=True)]
            at, size = self.sharing(owner).index(me), len(self.sharing(owner)) + 1
            if root_from(leaf(bind("parley/round/share-leaf/1", *hashes)), at, size, siblings) != tree:
                raise RefusedError(f"shares of {owner}")

    def _check_list(self, me: str, body: Json) -> None:
        del me
        parties = body["survivors"]
        self._members(parties)
        if not set(parties) <= set(self.here) or body["openable"] != self.own_openable(tuple(parties)):
            raise RefusedError("who is listed, or what is opened")
        rows = zip(parties, unpack(body["bodies"], 32, len(parties)), unpack(body["signatures"], 64, len(parties)), strict=True)
        for party, body_digest, signature in rows:
            self.verify(party, "manifest", self.manifest(party, body_digest), signature)

    def _check_certified(self, me: str, body: Json) -> None:
        del me
        self._members(sorted(body["signers"]))
        for party, signature in zip(body["signers"], unpack(body["signatures"], 64, len(body["signers"])), strict=True):
            self.verify(party, "certificate", self.survivors(), signature)

    def _check_released(self, me: str, body: Json) -> None:
        del me
        for party, signature in zip(body["parties"], unpack(body["signatures"], 64, len(body["parties"])), strict=True):
            self.verify(party, "release", self.release(party), signature)
        if len(set(body["parties"])) < len(self.ids) - self.terms["threshold"] + self.terms["max_colluders"] + 1:
            raise RefusedError("too few have released")

    def check_sum(self, name: str, raw: bytes) -> list[int]:
        """Return an opened sum as signed numbers; RefusedError if its tags do not prove it."""
        w, end = self.width, int(self.segments[name]["length"]) * self.width // 8
        parties = [party for party in self.segments[name]["members"] if party in self.listed]
        values, pair = numbers(raw[:end], w), numbers(raw[end:], tag_bits(w))
        if self.terms["opened_sums_readable_by"] == "parties":
            for party in parties:
                values = [a - b for a, b in zip(values, numbers(keystream(self.segment_key("pad", name, party), end), w), strict=True)]
        signed = [lifted(value % (1 << w), w) for value in values]
        if tags(signed, w, self.segment_key("sum-proof", name), parties) != pair:
            raise RefusedError("the tags do not prove the sum")
        return signed
