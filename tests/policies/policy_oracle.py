"""An independent judge of a negotiation, written from policy.md and protocol.md and sharing no code with the package.

It works on plain data: a policy as tomllib reads it, terms and proposal as JSON, the directory as dicts. Where the checker computes, the
oracle tries: weight caps are checked in every set of survivors that may sign, one by one. `broken_rules` says in words what is wrong with
terms for the owner of one policy, `refusals` why a policy takes no part at all, `parted` which pairs may not meet, `broken_split` what is
wrong with a whole outcome: every cohort for every member, and the cohorts beside each other.
"""

from __future__ import annotations

import hashlib
import json
import math
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EU = set("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())  # noqa: SIM905 - read as one line
TABLE = (Path(__file__).parents[2] / "policies" / "taxonomy.tsv").read_text(encoding="utf-8")
TERMS: dict[str, list[str]] = {  # typed by people, before anything is made of it: a term -> what is next broader
    row[1]: [] if row[3] == "-" else row[3].split() for row in (line.split("\t") for line in TABLE.splitlines()) if row[0] == "term"
}
GROUPS = {"EU": EU, "EEA": EU | {"IS", "LI", "NO"}}
Table = Mapping[str, Any]


def fingerprint(hex_key: str) -> str:
    return "SHA256:" + b64encode(hashlib.sha256(bytes.fromhex(hex_key)).digest()).decode().rstrip("=")


def countries(names: Collection[str]) -> set[str]:
    return {country for name in names for country in GROUPS.get(name, {name})}


def _entry(table: Table, segment: str) -> Any:  # noqa: ANN401 - what stands in a policy
    """Return what stands for a segment: its own line first, then its kind's `head:*`."""
    return table.get(segment, table.get(segment.split(":", maxsplit=1)[0] + ":*"))


def floor_of(policy: Table, segment: str) -> int:
    written = policy["sums"]["min_parties"]
    found = written if isinstance(written, int) else _entry(written, segment)
    return 10**9 if found is None else int(found)


def shares(policy: Table, segment: str) -> bool:
    return bool(_entry(policy["sharing"]["segments"], segment)) and floor_of(policy, segment) < 10**9


def colluders_of(policy: Table) -> int:
    return int(policy["schemes"]["colluding_parties_survived"])


def phantoms(policy: Table, parties: Collection[str], directory: Mapping[str, Table], today: date = date.min) -> int:
    if policy["peers"].get("trust") == "first-use":
        return 0
    me, peers = policy["identity"]["party"], policy["peers"]
    pinned = {party for party in parties if peers.get("fingerprints", {}).get(party) == fingerprint(directory[party]["identity"])}
    others = (directory[party] for party in parties if party != me and party not in pinned)
    return sum(1 for member in others if not any(vouches(text, member, peers, today) for text in member.get("credentials", ())))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def vouches(text: str, member: Table, peers: Table, today: date) -> bool:
    """Whether a credential is in force, names exactly this member, and one of the issuers that a policy names signed it, alone."""
    try:
        envelope = json.loads(text)
        payload = b64decode(envelope["payload"])
        said, (signature,), kind = json.loads(payload), envelope["signatures"], envelope["payloadType"].encode()
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(said["issuer"])).verify(b64decode(signature["sig"]), signed)
    except (ValueError, LookupError, TypeError, AttributeError, InvalidSignature):
        return False
    facts = {name: member[name] for name in ("party", "legal_name", "party_class", "country")}
    wanted = {**facts, "identity": fingerprint(member["identity"]), "issuer": said["issuer"], "valid_until": said["valid_until"]}
    if (said, kind) != (wanted, b"application/vnd.parley.credential.v1+json"):
        return False
    issuer = fingerprint(said["issuer"])
    canonical = (_canonical(said), _canonical(envelope)) == (payload.decode(), text)
    return canonical and signature["keyid"] == issuer in peers.get("issuers", ()) and today <= date.fromisoformat(said["valid_until"])


def permits_peer(policy: Table, member: Table) -> bool:
    """Whether a policy lets its owner be a member beside `member`."""
    peers, names = policy["peers"], {member["party"], "class:" + member["party_class"]}
    where = countries([*peers["countries"], *(transfer["country"] for transfer in peers.get("transfers", ()))])
    return not names & set(peers["denied"]) and bool(names & set(peers["granted"])) and member["country"] in where


def parted(policies: Mapping[str, Table], directory: Mapping[str, Table]) -> set[frozenset[str]]:
    """Return the pairs of which at least one does not permit the other."""
    return {
        frozenset({one, other})
        for one, policy in policies.items()
        for other in policies
        if one != other and not permits_peer(policy, directory[other])
    }


def refusals(policy: Table, proposal: Table, gateway: Table, directory: Mapping[str, Table], today: date, facts: Table) -> list[str]:
    """Return why a policy takes no part at all, whoever the others are; `facts` are its dataset, people and objectives."""
    return [
        *validity_rules(policy, today, None),
        *purpose_rules(policy, proposal),
        *gateway_rules(policy, gateway),
        *key_rules(policy, [party for party in proposal["invited"] if party in directory], directory),
        *content_rules(policy, proposal),
        *data_rules(policy, proposal, facts),
        *sharing_rules(policy, proposal, facts["objectives"]),
    ]


def broken_rules(policy: Table, terms: Table, proposal: Table, directory: Mapping[str, Table], today: date) -> list[str]:
    """Return the rules that `terms` break for the owner of `policy`; empty where it may sign."""
    members = {member["party"]: member for member in terms["members"]}
    own = members.get(policy["identity"]["party"])
    if own is None:
        return ["we are no member"]
    return [
        *validity_rules(policy, today, date.fromisoformat(terms["valid_until"])),
        *purpose_rules(policy, proposal),
        *gateway_rules(policy, terms["gateway"]),
        *key_rules(policy, list(members), directory),
        *content_rules(policy, proposal),
        *column_rules(policy, proposal, own["objectives"]),
        *study_rules(policy, terms, proposal),
        *member_rules(policy, terms, proposal, directory),
        *threshold_rules(policy, terms, directory),
        *step_rules(policy, terms, proposal, directory),
    ]


def broken_split(
    policies: Mapping[str, Table],
    outcome: Sequence[Table],
    out: Collection[str],
    proposal: Table,
    directory: Mapping[str, Table],
    today: date,
) -> list[str]:
    """Return what is wrong with all cohorts of a study; `policies` are those of the parties that offered, `out` those left out."""
    found = []
    placed = [member["party"] for terms in outcome for member in terms["members"]]
    if sorted([*placed, *out]) != sorted(policies):
        found.append(f"each party in one cohort or left out: {placed}, {sorted(out)}")
    ids = [proposal["id"], *(f"{proposal['id']}--{number}" for number in range(2, len(outcome) + 1))]
    if [terms["study"] for terms in outcome] != ids or len({terms["proposal_digest"] for terms in outcome}) != 1:
        found.append("studies of one proposal")
    for terms in outcome:
        for member in terms["members"]:
            rules = broken_rules(policies[member["party"]], terms, proposal, directory, today)
            found += [f"{member['party']} in {terms['study']}: {rule}" for rule in rules]
    return found


def validity_rules(policy: Table, today: date, until: date | None) -> Iterator[str]:
    first, last = policy["identity"]["valid_from"], policy["identity"]["valid_until"]
    if not first <= today <= (until or today) <= last:
        yield "outside the policy's days"
    for document in policy.get("legal", {}).get("documents", ()):
        if document.get("review_by", date.max) < today:
            yield "an overdue document"


def purpose_rules(policy: Table, proposal: Table) -> Iterator[str]:
    purpose, asked = policy["purpose"], proposal["purpose"]
    if any(not broader(use) & set(purpose["granted"]) for use in asked["uses"]):
        yield "purpose"
    prohibited = set(purpose["prohibited"])
    if any(prohibited & broader(part) for use in (*asked["uses"], *asked["disease"]) for part in narrower(use)):
        yield "prohibited"
    known = set(purpose.get("diseases", ()))
    if known and (not asked["disease"] or any(not broader(disease) & known for disease in asked["disease"])):
        yield "disease"


def broader(term: str) -> set[str]:
    """Return a term and all that is broader, one step after the other."""
    found = {term}
    while more := {parent for each in found for parent in TERMS.get(each, ())} - found:
        found |= more
    return found


def narrower(term: str) -> set[str]:
    return {term} | {other for other in TERMS if term in broader(other)}


def gateway_rules(policy: Table, gateway: Table) -> Iterator[str]:
    wanted = policy["gateway"]
    if fingerprint(gateway["key"]) not in wanted["fingerprints"] or not set(gateway["countries"]) <= countries(wanted["countries"]):
        yield "gateway"
    hours, days = gateway["incident_notice_hours"], gateway["change_notice_days"]
    if hours is None or hours > wanted["incident_notice_hours_at_most"] or days is None or days < wanted["change_notice_days_at_least"]:
        yield "notice"


def key_rules(policy: Table, parties: Collection[str], directory: Mapping[str, Table]) -> Iterator[str]:
    for party, pinned in policy["peers"].get("fingerprints", {}).items():
        if party in parties and party != policy["identity"]["party"] and pinned != fingerprint(directory[party]["identity"]):
            yield f"{party} has another key than the pinned one"


def content_rules(policy: Table, proposal: Table) -> Iterator[str]:
    if not {"preprocess@1", "train@1"} <= set(policy["code"]["workloads"]) or proposal["workload"]["name"] != "train@1":
        yield "workloads"
    asked, granted = set(proposal["model_use"]["allowed"]), policy.get("model_use", {})
    if not asked <= set(granted.get("allowed", ())) or asked & set(granted.get("forbidden", ())):
        yield "use of the model"
    if "masked" not in policy["schemes"]["accepted"] or "masked" not in proposal["wishes"]["scheme"]:
        yield "scheme"


def data_rules(policy: Table, proposal: Table, facts: Table) -> Iterator[str]:
    yield from column_rules(policy, proposal, facts["objectives"])
    if facts["dataset"] not in policy["data"]["datasets"] or facts["people"] < policy["data"]["min_people"]:
        yield "dataset"


def column_rules(policy: Table, proposal: Table, objectives: Collection[str]) -> Iterator[str]:
    labels = {objective["label"] for objective in proposal["objectives"] if objective["id"] in objectives}
    read = {name for name, column in proposal["columns"].items() if not column["objectives"] or name in labels}
    if not objectives or not read <= set(policy["data"]["columns"]):
        yield "columns"


def sharing_rules(policy: Table, proposal: Table, objectives: Collection[str]) -> Iterator[str]:
    """What every member sends must be shared, and the sponsor's ranges must meet the policy's."""
    common = ["summary", *(segment["name"] for segment in proposal["segments"] if not segment["objectives"])]
    if not all(shares(policy, name) for name in common) or not objectives:
        yield "a part that every member sends is not shared"
    wished, granted = proposal["wishes"]["clip_bound"], policy["sharing"]["clip_bound"]
    if max(wished["min"], granted["min"]) > min(wished["max"], granted["max"]):
        yield "clip bound"
    if policy["limits"]["rounds_a_study"] < proposal["wishes"]["rounds"]["min"] + 1:
        yield "rounds"
    if min(policy["sharing"][name] for name in ("weight_cap", "weight_cap_of_others", "mib_a_round")) <= 0:
        yield "a cap of nothing"


def study_rules(policy: Table, terms: Table, proposal: Table) -> Iterator[str]:
    study, _, number = terms["study"].partition("--")
    if study != proposal["id"] or (number and int(number) < 2):
        yield "another study"
    if list(terms["purpose"]) != list(proposal["purpose"]["uses"]):
        yield "purpose is not the proposal's"
    wishes, timing = proposal["wishes"], terms["timing"]
    if (timing["round_seconds"], timing["grace_seconds"]) != (wishes["round_hours"] * 3600, wishes["grace_seconds"]):
        yield "timing"
    if policy["disclosure"].get("opened_sums_readable_by", "parties") == "parties" != terms["opened_sums_readable_by"]:
        yield "readers"
    if terms["scheme"] not in policy["schemes"]["accepted"] or terms["scheme"] not in wishes["scheme"]:
        yield "scheme of the terms"
    if terms["robustness"] != "R0" or policy.get("robustness", {}).get("least", "R2") != "R0":
        yield "robustness"
    if policy["data"].get("exclusions_required", True) and not terms["exclusions_required"]:
        yield "exclusions"


def member_rules(policy: Table, terms: Table, proposal: Table, directory: Mapping[str, Table]) -> Iterator[str]:
    me, ids = policy["identity"]["party"], [member["party"] for member in terms["members"]]
    if ids != sorted(set(ids)) or not set(ids) <= set(proposal["invited"]):
        yield "members"
    for member in terms["members"]:
        known = directory[member["party"]]
        if any(member[key] != known[key] for key in ("identity", "legal_name", "party_class", "country")) or known.get("revoked"):
            yield f"{member['party']} is somebody else"
        if member["party"] != me and not permits_peer(policy, member):
            yield f"{member['party']} is not permitted"
    own = next(member for member in terms["members"] if member["party"] == me)
    told = policy["sharing"].get("record_count", "hidden")
    if own["records"].split(":")[0] != told.split(":")[0]:
        yield "record count told otherwise"
    if told.startswith("rounded:") and int(own["records"].split(":")[1]) % int(told.split(":")[1]):
        yield "record count told finer"


def threshold_rules(policy: Table, terms: Table, directory: Mapping[str, Table]) -> Iterator[str]:
    ids = [member["party"] for member in terms["members"]]
    n, t, c = len(ids), terms["threshold"], terms["max_colluders"]
    if c < colluders_of(policy) + phantoms(policy, ids, directory):
        yield "too few conspirators survived"
    if policy["schemes"].get("gateway_may_lie", True) and not terms["gateway_may_lie"]:
        yield "the gateway may lie"
    if terms["gateway_may_lie"] and (2 * t <= n + c or 3 * t <= 2 * n):
        yield "two lists of one round could both find t signers"
    if 2 * t <= n or t <= c or t > n:
        yield "threshold"
    if terms["max_small_changes"] > policy["sums"].get("max_small_changes", 0):
        yield "small changes"


def step_rules(policy: Table, terms: Table, proposal: Table, directory: Mapping[str, Table]) -> Iterator[str]:
    me = policy["identity"]["party"]
    rounds, wished = sum(step["rounds"] for step in terms["steps"]), proposal["wishes"]["rounds"]
    if rounds > policy["limits"]["rounds_a_study"] or not wished["min"] <= rounds - 1 <= wished["max"]:
        yield "rounds"
    if [step["workload"] for step in terms["steps"]] != ["preprocess@1", "train@1"] or terms["steps"][0]["rounds"] != 1:
        yield "steps"
    bound, granted, wished = terms["clip_bound"], policy["sharing"]["clip_bound"], proposal["wishes"]["clip_bound"]
    if not max(granted["min"], wished["min"]) <= bound <= min(granted["max"], wished["max"]):
        yield "clip bound"
    for step in terms["steps"]:
        yield from encoding_rules(terms, step)
        for segment in step["segments"]:
            yield from segment_rules(terms, proposal, segment)
        yield from own_rules(policy, terms, step, [segment for segment in step["segments"] if me in segment["members"]], directory)


def encoding_rules(terms: Table, step: Table) -> Iterator[str]:
    encoding, n = step["encoding"], len(terms["members"])
    if n * math.ceil(encoding["bound"] * 2 ** encoding["fraction_bits"]) >= 2 ** (encoding["width"] - 1):
        yield "a sum could wrap"
    if encoding["bound"] < (terms["clip_bound"] if step["workload"] == "train@1" else 2**24):
        yield "a vector may not fit"


def segment_rules(terms: Table, proposal: Table, segment: Table) -> Iterator[str]:
    lengths = {"summary": proposal["summary_length"]} | {item["name"]: item["length"] for item in proposal["segments"]}
    wanted = {item["name"]: set(item["objectives"]) for item in proposal["segments"]}.get(segment["name"], set())
    members = {member["party"]: set(member["objectives"]) for member in terms["members"]}
    if lengths.get(segment["name"]) != segment["length"]:
        yield f"length of {segment['name']}"
    if not wanted and set(segment["members"]) != set(members):
        yield f"{segment['name']} is every member's"
    if wanted and not all(members[party] & wanted for party in segment["members"]):
        yield f"{segment['name']} holds one without its objective"
    if not max(3, terms["max_colluders"] + 2) <= segment["floor"] <= len(segment["members"]):
        yield f"floor of {segment['name']}"


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
