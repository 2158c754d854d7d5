# ruff: noqa: INP001 - docs is a folder of pages, not a package
"""The parts of the specification that are taken from the code: labels, fields of statements and messages, states, numbers, examples.

What a field holds is read from its class; what it means stands here, one sentence a field. A field without a sentence is an error, and so
is a sentence without a field. Examples are cut from the vectors in tests/vectors.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from parley_crypto.neighbours import plan
from parley_crypto.statement import Document, Statement
from parley_crypto.tags import Tag
from parley_policies.negotiation.terms import (
    EncodingTerms,
    GatewayTerms,
    GraphTerms,
    MemberTerms,
    PrivacyTerms,
    SegmentTerms,
    StepTerms,
    Terms,
    TimingTerms,
    required_threshold,
)
from parley_protocol.amendments import Amendment, Amends
from parley_protocol.codec import POSTS, RELAYS
from parley_protocol.ids import Phase
from parley_protocol.keyparts import KeyPart
from parley_protocol.messages import Advertise, Manifest, Opened, OpenedSegment, Release, Reveal, Share, Survivor, SurvivorList, Withdrawn
from parley_protocol.phases import GATEWAY, PARTY, Event
from parley_protocol.relays import LogProof
from parley_protocol.unmasking import Unmasking

VECTORS: Final = Path(__file__).parents[1] / "tests" / "vectors"
_LONGEST: Final = 96  # characters of a value in an example
_BASE64: Final = 65_536  # characters: longer texts are columns, or envelopes

LABELS: Final[Mapping[Tag, str]] = MappingProxyType(
    {
        Tag.MASK_PAIR: "key of a pair mask",
        Tag.MASK_SELF: "key of a self mask",
        Tag.SELF_SEED: "a member's self-mask seed of a segment, from its round seed",
        Tag.MASK_KEY: "a member's X25519 key for masks, from its round seed",
        Tag.CHANNEL_KEY: "a member's X25519 key for boxes, from its round seed",
        Tag.SHAMIR: "seed of a sharing, from the round seed; key of its coefficients, from that seed",
        Tag.SHARE_HASH: "hash of one share",
        Tag.SEED_HASH: "hash of one self-mask seed",
        Tag.SHARE_LEAF: "leaf of a recipient in the SHARE tree",
        Tag.SEED_LEAF: "leaf of the seeds in the SHARE tree",
        Tag.KEY_SET: "digest of all ADVERTISE statements of a round",
        Tag.BOX_SET: "digest of the ids of all members whose boxes are in a round",
        Tag.BOX: "key of a box",
        Tag.BASE_VERSION: "base version digest",
        Tag.PARAMETERS: "digest of a public state's content (a member's own business: section 3)",
        Tag.MODEL_START: "seed of a model's first parameters (a member's own business)",
        Tag.CONTENT: "digest of a query, for the register of statistics; never sent",
        Tag.DRAWS: "random numbers of training; never sent",
        Tag.DATASET: "digest of a dataset; never sent",
        Tag.SALTED: "salted digest in a record of the log",
        Tag.KEYSTORE: "a party's key file; never sent",
        Tag.ROUND_STATE: "sealed columns of a party's store; never sent",
        Tag.ENROL: "proof of an invite at enrolment",
        Tag.SUM_PROOF: "key of a segment's tag words, from the members' key",
        Tag.SUM_PROOF_OFFSET: "a member's two tag offsets, from the key of the tag words",
        Tag.PAD: "key of a member's pad, from the members' key",
        Tag.NEIGHBOURS: "key that orders a ring, from the graph's seed",
        Tag.SEED_PART: "commitment to seed part and key part in an offer",
        Tag.KEY_PART: "hash of a key part",
        Tag.KEY_BOX: "first part of the context of a key part's box",
        Tag.GRAPH_SEED: "the graph's seed",
        Tag.MEMBERS_KEY: "the members' key",
        Tag.MODEL_DIGEST: "key of the digests of public states that only members can compare",
    }
)

_BOUND: Final = {
    "study": "the study's id",
    "agreement": "the agreement digest",
    "round": "the round's number",
    "base": "the base version digest",
}
_RELAY: Final = {"agreement": _BOUND["agreement"], "round": _BOUND["round"]}
_POST: Final = {"statement": "the statement in its envelope"}

MEANS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "Advertise": _BOUND
        | {
            "party": "its author",
            "step": "index into the agreement's steps",
            "parameters": "digest of the public state's content",
            "channel_key": "X25519 public key for boxes",
            "mask_key": "X25519 public key for pair masks",
        },
        "Share": _BOUND
        | {"party": "its author", "keys": "the key set digest of the ADVERTISE statements it answers", "root": "root of the SHARE tree"},
        "Manifest": _BOUND
        | {
            "party": "its author",
            "boxes": "the box set digest of the members whose boxes it used",
            "segments": "what the body holds, in the step's order",
            "size": "bytes of the body; 0 for a member that none of the round's segments is of",
            "body": "BLAKE3 of the body",
        },
        "SurvivorList": _BOUND
        | {
            "step": "index into the agreement's steps",
            "parameters": "digest of the public state's content",
            "previous": "digest of the certificate before it; for the first one the agreement digest",
            "boxes_from": "the members whose boxes are in the round, in id order",
            "survivors": "the members whose uploads are summed, in id order",
            "openable": "the segments that are opened, in the step's order",
        },
        "Survivor": {"party": "a member", "manifest": "SHA-256 of its manifest's canonical JSON"},
        "Reveal": _BOUND
        | {
            "party": "its author",
            "certificate": "digest of the survivor list it answers",
            "seeds": "for each openable segment a column of 33-byte shares: of its survivors whose shares the author holds",
            "mask_keys": "column of 33-byte shares: one for each dropout (in `boxes_from`, not a survivor) whose shares the author holds",
        },
        "Opened": _BOUND | {"certificate": "digest of the survivor list", "segments": "one row for each openable segment, in its order"},
        "OpenedSegment": {
            "name": "the segment",
            "length": "its coordinates",
            "parties": "how many vectors were summed",
            "body": "BLAKE3 of what the gateway hands out: ring bytes, then tag bytes",
        },
        "Withdrawn": _BOUND | {"party": "its author", "reason": "why it takes no further part in the round"},
        "Release": {name: _BOUND[name] for name in ("study", "agreement", "round")} | {"party": "its author"},
        "KeyPart": {
            "study": _BOUND["study"],
            "agreement": _BOUND["agreement"],
            "party": "its author",
            "seed_part": "32 random bytes, revealed here",
            "key_hash": "hash of the key part",
            "boxes": "root of the tree over the author's boxes",
        },
        "Amendment": {
            "study": _BOUND["study"],
            "amends": "where it takes effect",
            "terms": "digest of the amended terms",
        },
        "Amends": {
            "agreement": "the agreement that is amended",
            "head": "digest of its newest certificate; before the first one the agreement digest",
            "round": "the first round under the amended terms",
        },
        "Terms": {
            "study": _BOUND["study"],
            "proposal_digest": "digest of the signed proposal",
            "purpose": "what the study is for, as terms of DPV and DUO",
            "taxonomy": "date and digest of the taxonomy by which members matched purpose and diseases",
            "gateway": "who carries the messages",
            "members": "in id order; the rank of a member is 1 + its index",
            "scheme": "the scheme of secure sums",
            "gateway_may_lie": "which threshold is used",
            "max_colluders": "c",
            "threshold": "t",
            "graph": "the neighbour graph, or null where all deal with all",
            "max_small_changes": "allowance of small changes a segment",
            "clip_bound": "L2 norm of one member's update, before its weight; with noise the largest of all members",
            "privacy": "noise and each member's clip bound, or null for none",
            "robustness": "what is done against bad updates beyond clipping",
            "opened_sums_readable_by": "whether members pad",
            "exclusions_required": "whether lists of objections are asked for",
            "steps": "the workloads, in order",
            "timing": "the time-outs",
            "valid_until": "ISO date",
        },
        "PrivacyTerms": {
            "unit": "whose privacy is counted",
            "adjacency": "what one unit more or less means",
            "noise_trust": "whether a member's own noise must suffice",
            "delta": "the smallest that a member demands",
            "noise": "standard deviation in each coordinate of an opened sum, model units",
            "clip_bounds": "L2 norm of each member's update, in the members' order",
        },
        "MemberTerms": {
            "party": "its id",
            "legal_name": "as enrolled",
            "party_class": "as enrolled",
            "country": "as enrolled",
            "identity": "Ed25519 public key",
            "objectives": "the heads it takes part in",
            "records": "its record count as it tells it",
            "weight": "a whole number; its update is multiplied by weight over the largest weight",
            "channel_key": "X25519 public key for key parts, made for this study",
            "commitment": "to its seed part and key part",
            "trust": "whom it counts",
            "credentials": "what issuers say of it, as it shows it: signed envelopes",
            "documents": "digests of its legal documents",
            "offer": "digest of its signed offer",
        },
        "GatewayTerms": {
            "id": "its id",
            "key": "Ed25519 public key of the log and of its statements",
            "operator": "as declared",
            "countries": "of the operator and of all subprocessors",
            "incident_notice_hours": "as promised",
            "change_notice_days": "as promised",
        },
        "Unmasking": {
            "parties": "who advertised, in id order",
            "channel_keys": "column of their channel keys",
            "mask_keys": "column of their mask keys",
            "adverts": "column of their signatures on ADVERTISE",
            "shared": "the segments that were live at SHARE, in the step's order",
            "live": "those that were live at COLLECT",
            "roots": "column of the survivors' SHARE roots",
            "shares": "column of their signatures on SHARE",
            "seed_hashes": "column: of each survivor the hashes of all its seeds",
            "paths": "column: of each survivor the path of its SHARE tree's last leaf",
            "bodies": "column of the survivors' body digests",
            "seeds": "segment -> column of 32-byte seeds of its survivors, for each opened segment",
            "mask_secrets": "column of 32-byte mask private keys of the dropouts in `boxes_from`",
        },
        "SegmentTerms": {
            "name": "the segment",
            "length": "its coordinates",
            "members": "whose vectors may be in it, in id order",
            "floor": "k: fewest members in a sum of it that is opened",
        },
        "EncodingTerms": {"width": "w", "fraction_bits": "f", "bound": "largest absolute value of a coordinate"},
        "StepTerms": {
            "workload": "what is computed",
            "rounds": "how many",
            "segments": "in the order in which they stand in bodies and lists",
            "encoding": "of all its segments",
        },
        "GraphTerms": {"degree": "g", "threshold": "t_g", "near": "see section 3", "cut": "see section 3"},
        "TimingTerms": {
            "grace_seconds": "a member not connected for this long is not waited for",
            "phase_seconds": "longest wait in ADVERTISE, SHARE and CONFIRM",
            "round_seconds": "longest wait in COLLECT",
        },
        "LogProof": {
            "checkpoint": "signed note of the log",
            "old_size": "size of the log that the reader was shown last",
            "consistency": "proof from there to the checkpoint",
            "index": "where the leaf stands that the reader holds: the newest certificate, before the first one the agreement",
            "inclusion": "its path",
        },
        "Post": _POST,
        "SharePost": _POST
        | {
            "hashes": "column of 32-byte share hashes: by recipient (the author included), then by secret",
            "seeds": "column of 32-byte seed hashes, by segment",
            "boxes": "one box for each recipient but the author, in id order",
        },
        "ConfirmPost": _RELAY | {"listed": "digest of the survivor list", "signature": "one 64-byte signature on it"},
        "ReleasePost": _RELAY | {"signature": "one 64-byte signature on the `Release` statement"},
        "RoundOpen": _RELAY
        | {"step": "index into the agreement's steps", "previous": "digest of the newest certificate, or the agreement's", "log": "proof"},
        "Keys": _RELAY
        | {
            "parties": "who advertised, in id order",
            "channel_keys": "column of 32-byte keys, of those that the reader deals with (itself included)",
            "mask_keys": "column of 32-byte keys, of the same",
            "signatures": "column of 64-byte signatures on their ADVERTISE statements",
            "others": "column of 32-byte statement digests of the rest",
        },
        "Boxes": _RELAY
        | {
            "parties": "whose boxes are in the round, in id order",
            "roots": "column of 32-byte roots, of those whose shares the reader holds (without itself)",
            "signatures": "column of 64-byte signatures on their SHARE statements",
            "boxes": "their boxes for the reader",
            "paths": "for each the column of 32-byte hashes from the reader's leaf to the root",
        },
        "ListProposal": _RELAY
        | {
            "survivors": "in id order",
            "openable": "in the step's order",
            "bodies": "column of 32-byte BLAKE3 digests of the survivors' bodies",
            "signatures": "column of 64-byte signatures on their manifests",
        },
        "Certified": _RELAY
        | {"signers": "in the order of the certificate", "signatures": "column of their 64-byte signatures on the survivor list"},
        "SumOpened": _RELAY
        | {
            "certificate": "the certificate's envelope; empty for survivors, and others whose REVEAL came: they were sent it",
            "opened": "the `Opened` statement's envelope, signed by the gateway's log key",
            "sums": "the opened segments' bytes one after the other, where they are at most 32 KiB together; else empty, to be fetched",
        },
        "RoundAborted": _RELAY | {"reason": "for people"},
        "ReleaseAsked": _RELAY | {"reason": "for people"},
        "Released": _RELAY | {"parties": "who released, in id order", "signatures": "column of their 64-byte signatures"},
    }
)

STATEMENTS: Final[tuple[type[Statement], ...]] = (Advertise, Share, Manifest, SurvivorList, Reveal, Opened, Withdrawn, Release, KeyPart)
PARTS_OF_STATEMENTS: Final[tuple[type[Document], ...]] = (Survivor, OpenedSegment)
AGREED: Final[tuple[type[Document], ...]] = (
    Terms,
    MemberTerms,
    GatewayTerms,
    StepTerms,
    SegmentTerms,
    EncodingTerms,
    GraphTerms,
    PrivacyTerms,
    TimingTerms,
)
AMENDING: Final[tuple[type[Document], ...]] = (Amendment, Amends)

_PATTERNS: Final[Mapping[str, str]] = {
    "^[0-9a-f]{64}$": "64 hexadecimal digits",
    "^[a-z0-9][a-z0-9-]{0,62}$": "id",
    "^[a-z]+(:[a-z0-9_]{1,63})?$": "segment name",
}


def labels() -> str:
    """Return the registry of labels; KeyError for one without a sentence."""
    return "\n".join(["| label | made for |", "|---|---|", *(f"| `{tag.value}` | {LABELS[tag]} |" for tag in Tag)])


def fields(of: type[Document]) -> str:
    """Return a class's fields as a table; KeyError where one has no sentence."""
    schema = of.model_json_schema()
    means = MEANS[of.__name__]
    if set(means) != set(of.model_fields):
        raise KeyError(f"{of.__name__}: sentences and fields differ: {sorted(set(means) ^ set(of.model_fields))}")
    rows = [f"| `{name}` | {_form(schema['properties'][name])} | {means[name]} |" for name in of.model_fields]
    return "\n".join(["| field | form | |", "|---|---|---|", *rows, ""])


def _form(schema: Mapping[str, Any]) -> str:  # noqa: PLR0911 - one line a form
    match schema:
        case {"$ref": str(name)}:
            return f"`{name.rpartition('/')[2]}`"
        case {"anyOf": [one, {"type": "null"}]}:
            return f"{_form(one)}, or null"
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"enum": values}:
            return ", ".join(f"`{json.dumps(value)}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list: {_form(items)}"
        case {"type": "object", "additionalProperties": values}:
            return f"object: {_form(values)} by segment"
        case {"type": "string"}:
            return _text_form(schema)
        case {"type": str(plain)}:
            return {"number": "number above 0", "integer": f"integer, at least {schema.get('minimum')}"}.get(plain, plain)
    raise KeyError(f"a field of a form that this page has no words for: {schema}")


def _text_form(schema: Mapping[str, Any]) -> str:
    most = schema.get("maxLength", 0)
    match schema:
        case {"pattern": str(pattern)}:
            return _PATTERNS.get(pattern, "column" if most > _BASE64 else "base64")
        case {"maxLength": _}:
            return "envelope" if most > _BASE64 else f"text, at most {most:,} characters"
    return "text"


def statements() -> str:
    """Return every statement of the scheme: payload type, fields."""
    parts = [f"**{of.__name__}**, `{of.kind}`\n\n{fields(of)}" for of in STATEMENTS]
    return "\n".join([*parts, *(f"**{of.__name__}** (part of a statement)\n\n{fields(of)}" for of in PARTS_OF_STATEMENTS)])


def agreed() -> str:
    """Return the fields of the terms."""
    return "\n".join(f"**{of.__name__}**" + (f", `{Terms.kind}`" if of is Terms else "") + f"\n\n{fields(of)}" for of in AGREED)


def amending() -> str:
    """Return the fields of an amendment."""
    return "\n".join(f"**{of.__name__}**\n\n{fields(of)}" for of in AMENDING)


def posts() -> str:
    """Return what a party posts, by kind."""
    kinds: dict[type[Document], list[str]] = {}
    for kind, of in POSTS.items():
        kinds.setdefault(of, []).append(f"`{kind}`")
    return "\n".join(f"{', '.join(names)}: **{of.__name__}**\n\n{fields(of)}" for of, names in kinds.items())


def relays() -> str:
    """Return what the gateway sends, by kind."""
    shown = [f"`{kind}`: **{of.__name__}**\n\n{fields(of)}" for kind, of in RELAYS.items()]
    parts = [
        f"**{LogProof.__name__}** (part of `open`)\n\n{fields(LogProof)}",
        f"**{Unmasking.__name__}** (no relay: see Recomputing)\n\n{fields(Unmasking)}",
    ]
    return "\n".join([*shown, *parts])


def states() -> str:
    """Return both tables of states."""
    return "\n".join([*_states("a party", PARTY), "", *_states("the gateway", GATEWAY)])


def _states(who: str, table: Mapping[Phase, Mapping[Event, Phase]]) -> Iterable[str]:
    yield from (f"| phase at {who} | message | next phase |", "|---|---|---|")
    for phase, events in table.items():
        for event, following in events.items():
            yield f"| {phase} | `{event}` | {following} |"


def thresholds() -> str:
    """Return t and what it survives, for some n and c."""
    rows = []
    for members, colluders in ((3, 1), (4, 1), (5, 1), (6, 1), (9, 1), (12, 1), (12, 3), (30, 3), (100, 10)):
        t = required_threshold(members, colluders, gateway_may_lie=True)
        rows.append(f"| {members} | {colluders} | {t} | {members - t} | {members - t + colluders + 1} |")
    return "\n".join(["| n | c | t | dropouts survived | RELEASE statements needed |", "|---|---|---|---|---|", *rows])


def graph_numbers() -> str:
    """Return the numbers of neighbour graphs for some studies."""
    rows = []
    for members, colluders, dropouts in ((50, 5, 15), (51, 1, 17), (100, 10, 30), (100, 1, 33), (200, 20, 60), (500, 50, 150)):
        numbers = plan(members, colluders, dropouts)
        cells = ("full", "", "", "") if numbers is None else (numbers.degree, numbers.threshold, numbers.near, numbers.cut)
        rows.append(f"| {members} | {colluders} | {dropouts} | " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(["| n | c | d | g | t_g | near | cut |", "|---|---|---|---|---|---|---|", *rows])


def examples() -> str:
    """Return one message of each kind of two rounds, the statement in it, and the statements of which only signatures travel."""
    shown: list[str] = []
    seen: set[tuple[bool, str]] = set()
    for vector in (_vector("round-w32"), _vector("release")):
        for message in vector["messages"]:
            to_gateway, kind, body = message["to"] == "gateway", message["kind"], message["body"]
            if (to_gateway, kind) not in seen:
                seen.add((to_gateway, kind))
                shown.append(_example(f"`{kind}`, {message['from']} to {message['to']}", body))
                shown += [
                    _example(f"the statement in its `{name}`", _inside(body[name])) for name in ("statement", "opened") if body.get(name)
                ]
    first, keys = _vector("round-w32"), _vector("keyparts")
    released = Release(study=first["terms"]["study"], agreement=first["agreement"], round=1, party="party-000")
    shown.append(_example("`SurvivorList`, of which `confirm` and `certified` carry signatures", first["survivor_list"]))
    shown.append(_example("`Release`, of which `release` and `released` carry signatures", json.loads(released.canonical())))
    shown.append(_example("`KeyPart`", _inside(keys["key_parts"]["party-000"])))
    return "\n".join(shown)


def _vector(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def _inside(envelope: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def _example(title: str, value: Any) -> str:  # noqa: ANN401 - JSON
    return f"{title}:\n\n```json\n{_shortened(value)}\n```\n"


def _shortened(value: Any) -> str:  # noqa: ANN401 - JSON
    def cut(each: Any) -> Any:  # noqa: ANN401 - JSON
        match each:
            case str() if len(each) > _LONGEST:
                return f"{each[:_LONGEST]}… ({len(each)} characters)"
            case dict():
                return {name: cut(item) for name, item in each.items()}
            case list():
                return [cut(item) for item in each]
            case _:
                return each

    return json.dumps(cut(value), indent=1, ensure_ascii=False)


WIRE: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "labels": labels,
        "statements": statements,
        "agreed": agreed,
        "amending": amending,
        "posts": posts,
        "relays": relays,
        "states": states,
        "thresholds": thresholds,
        "graph-numbers": graph_numbers,
        "examples": examples,
    }
)
