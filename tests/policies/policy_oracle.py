"""An independent judge of terms, written from policy.md and protocol.md and sharing no code with the package.

It works on plain data: a policy as tomllib reads it, terms and proposal as JSON, the directory as dicts. Where the checker computes, the
oracle tries: weight caps are checked in every set of survivors that may sign, one by one. `broken_rules` returns what is wrong, in words.
"""

from __future__ import annotations

import hashlib
import json
import math
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import combinations
from typing import Any

EEA = set("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK IS LI NO".split())  # noqa: SIM905 - read as one line
Table = Mapping[str, Any]


def fingerprint(hex_key: str) -> str:
    return "SHA256:" + b64encode(hashlib.sha256(bytes.fromhex(hex_key)).digest()).decode().rstrip("=")


def floor_of(policy: Table, segment: str) -> int:
    written = policy["sums"]["min_parties"]
    if isinstance(written, int):
        return written
    return int(written.get(segment, written.get(segment.split(":", maxsplit=1)[0] + ":*", 10**9)))


def shares(policy: Table, segment: str) -> bool:
    table = policy["sharing"]["segments"]
    return bool(table.get(segment, table.get(segment.split(":", maxsplit=1)[0] + ":*", False)))


def phantoms(policy: Table, parties: list[str], directory: Mapping[str, Table]) -> int:
    if policy["peers"].get("trust") == "first-use":
        return 0
    me, pins = policy["identity"]["party"], policy["peers"].get("fingerprints", {})
    return sum(1 for party in parties if party != me and pins.get(party) != fingerprint(directory[party]["identity"]))


def broken_rules(policy: Table, terms: Table, proposal: Table, directory: Mapping[str, Table], today: date) -> list[str]:
    """Return the rules that `terms` break for the owner of `policy`; empty where it may sign."""
    return [
        *identity_rules(policy, terms, proposal, today),
        *member_rules(policy, terms, proposal, directory),
        *threshold_rules(policy, terms, directory),
        *step_rules(policy, terms, proposal, directory),
    ]


def identity_rules(policy: Table, terms: Table, proposal: Table, today: date) -> Iterator[str]:
    until = date.fromisoformat(terms["valid_until"])
    if not policy["identity"]["valid_from"] <= today <= until <= policy["identity"]["valid_until"]:
        yield "outside the policy's days"
    canonical = json.dumps(proposal, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if terms["study"] != proposal["id"] or len(terms["proposal_digest"]) != 64 or not canonical:
        yield "another study"
    if set(terms["purpose"]) - set(policy["purpose"]["granted"]) or set(terms["purpose"]) & set(policy["purpose"]["prohibited"]):
        yield "purpose"
    if set(terms["purpose"]) != set(proposal["purpose"]["uses"]):
        yield "purpose is not the proposal's"
    gateway, wanted = terms["gateway"], policy["gateway"]
    if fingerprint(gateway["key"]) not in wanted["fingerprints"] or not set(gateway["countries"]) <= set(wanted["countries"]):
        yield "gateway"
    if (gateway["incident_notice_hours"] or 0) > wanted["incident_notice_hours_at_most"]:
        yield "incident notice"
    if (policy["disclosure"].get("opened_sums_readable_by", "parties") == "parties" != terms["opened_sums_readable_by"]) or terms[
        "scheme"
    ] not in policy["schemes"]["accepted"]:
        yield "scheme or readers"


def member_rules(policy: Table, terms: Table, proposal: Table, directory: Mapping[str, Table]) -> Iterator[str]:
    me, peers = policy["identity"]["party"], policy["peers"]
    ids = [member["party"] for member in terms["members"]]
    if me not in ids or ids != sorted(set(ids)) or not set(ids) <= set(proposal["invited"]):
        yield "members"
    countries = set(peers["countries"]) | {transfer["country"] for transfer in peers.get("transfers", ())}
    countries |= EEA if "EEA" in countries else set()
    for member in terms["members"]:
        known = directory[member["party"]]
        if any(member[key] != known[key] for key in ("identity", "legal_name", "party_class", "country")):
            yield f"{member['party']} is somebody else"
        if member["party"] == me:
            continue
        names = {member["party"], "class:" + member["party_class"]}
        if names & set(peers["denied"]) or not names & set(peers["granted"]) or member["country"] not in countries:
            yield f"{member['party']} is not permitted"


def threshold_rules(policy: Table, terms: Table, directory: Mapping[str, Table]) -> Iterator[str]:
    ids = [member["party"] for member in terms["members"]]
    n, t, c = len(ids), terms["threshold"], terms["max_colluders"]
    if c < policy["schemes"]["colluding_parties_survived"] + phantoms(policy, ids, directory):
        yield "too few conspirators survived"
    if policy["schemes"]["gateway_may_lie"]:
        if not terms["gateway_may_lie"]:
            yield "the gateway may lie"
        if 2 * t <= n + c or 3 * t <= 2 * n:
            yield "two lists of one round could both find t signers"
    if 2 * t <= n or t <= c or t > n:
        yield "threshold"
    if terms["max_small_changes"] > policy["sums"]["max_small_changes"]:
        yield "small changes"


def step_rules(policy: Table, terms: Table, proposal: Table, directory: Mapping[str, Table]) -> Iterator[str]:
    me = policy["identity"]["party"]
    rounds, wished = sum(step["rounds"] for step in terms["steps"]), proposal["wishes"]["rounds"]
    if rounds > policy["limits"]["rounds_a_study"] or not wished["min"] <= rounds - 1 <= wished["max"]:
        yield "rounds"
    if not {step["workload"] for step in terms["steps"]} <= set(policy["code"]["workloads"]):
        yield "workloads"
    bound, granted, wished = terms["clip_bound"], policy["sharing"]["clip_bound"], proposal["wishes"]["clip_bound"]
    if not max(granted["min"], wished["min"]) <= bound <= min(granted["max"], wished["max"]):
        yield "clip bound"
    for step in terms["steps"]:
        yield from encoding_rules(terms, step)
        for segment in step["segments"]:
            if not max(3, terms["max_colluders"] + 2) <= segment["floor"] <= len(segment["members"]):
                yield f"floor of {segment['name']}"
        yield from own_rules(policy, terms, step, [segment for segment in step["segments"] if me in segment["members"]], directory)


def encoding_rules(terms: Table, step: Table) -> Iterator[str]:
    encoding, n = step["encoding"], len(terms["members"])
    if n * math.ceil(encoding["bound"] * 2 ** encoding["fraction_bits"]) >= 2 ** (encoding["width"] - 1):
        yield "a sum could wrap"
    if encoding["bound"] < (terms["clip_bound"] if step["workload"] == "train@1" else 2**24):
        yield "a vector may not fit"


def own_rules(policy: Table, terms: Table, step: Table, own: list[Table], directory: Mapping[str, Table]) -> Iterator[str]:
    if sum(segment["length"] for segment in own) * step["encoding"]["width"] > policy["sharing"]["mib_a_round"] * 8 * 2**20:
        yield "bytes"
    for segment in own:
        if not shares(policy, segment["name"]):
            yield f"{segment['name']} is not shared"
        if segment["floor"] - phantoms(policy, segment["members"], directory) < floor_of(policy, segment["name"]):
            yield f"own floor of {segment['name']}"
    if step["workload"] == "train@1":
        yield from weight_rules(policy, terms, own)


def weight_rules(policy: Table, terms: Table, own: list[Table]) -> Iterator[str]:
    """Try every set of survivors that enough members may sign."""
    me = policy["identity"]["party"]
    weights = {member["party"]: member["weight"] for member in terms["members"]}
    for size in range(terms["threshold"], len(weights) + 1):
        for survivors in combinations(weights, size):
            for segment in own:
                summed = [party for party in segment["members"] if party in survivors]
                total = sum(weights[party] for party in summed)
                if me not in summed or len(summed) < segment["floor"]:
                    continue
                for party in summed:
                    cap = policy["sharing"]["weight_cap" if party == me else "weight_cap_of_others"]
                    if weights[party] > cap * total * (1 + 1e-12):
                        yield f"weight of {party} in {segment['name']} over {', '.join(summed)}"
                        return
