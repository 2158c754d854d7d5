"""Key parts: what each member adds, with its acceptance, to a key that all members share and to a seed that nobody chose.

With its offer a party commits to two random values of 32 bytes, before anybody knows the terms. With its acceptance it reveals the *seed
part* and sends the *key part* to every other member in a box (`members_key`, which the gateway cannot import). Its signed `KeyPart` is a
leaf of the log, so that auditors derive the same graph seed; the key part stands there as a hash alone. The commitment is bound to the
proposal and the party, so that nobody can repeat another's, and it fixes both values, so that nobody can choose once it has seen the
others' or tell two members different ones.

The boxes of one sender are leaves of a Merkle tree (RFC 6962) in id order of their recipients; its root stands in the `KeyPart`. A box that
is not under it was altered on the way; one that is and does not open is the sender's fault.

What this does not do: a member that refuses to accept after it has seen the others' parts ends the negotiation, and with a new one come
new parts. Whoever does that again and again can choose among seeds, in everybody's sight.

    envelope, part = read_key_part(terms, "klinik-a", text)
    seed = graph_seed(terms, parts)
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import ClassVar, Final

from parley_crypto.errors import CryptoError
from parley_crypto.merkle import HASH_BYTES, Tree, leaf_hash, verify_inclusion
from parley_crypto.signing import Envelope
from parley_crypto.statement import Signed, Statement
from parley_crypto.tags import Tag, digest
from parley_policies.negotiation.terms import PartyId, StudyId, Terms

from parley_protocol.bound import load_envelope
from parley_protocol.columns import decoded
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Hex32
from parley_protocol.problems import Slug

PART_BYTES: Final = 32
BOX_BYTES: Final = PART_BYTES + 16  # AES-GCM adds its tag


class KeyPart(Statement):
    """One member's part in what all members share. Signed with its identity key; a leaf of the log, after the agreement."""

    kind: ClassVar[str] = "application/vnd.parley.key-part.v1+json"

    study: StudyId
    agreement: Hex32
    party: PartyId
    seed_part: Hex32  # revealed here
    key_hash: Hex32  # of the key part (`hash_of_key_part`)
    boxes: Hex32  # root of the tree over the boxes


def hash_of_key_part(proposal: str, party: str, key_part: bytes) -> str:
    """Return the hash that stands for a key part, 64 hexadecimal digits. It has 256 bits of entropy, so no salt."""
    return digest(Tag.KEY_PART, proposal, party, key_part)


def commitment_to(proposal: str, party: str, seed_part: bytes, key_hash: str) -> str:
    """Return the commitment that stands in a party's offer: 64 hexadecimal digits. `proposal` is the proposal's digest."""
    return digest(Tag.SEED_PART, proposal, party, seed_part, bytes.fromhex(key_hash))


def check_key_part(terms: Terms, part: KeyPart) -> None:
    """Return if a key part belongs to these terms and to its author's commitment; who signed it is not asked here."""
    wanted, got = (terms.study, terms.digest()), (part.study, part.agreement)
    if got != wanted:
        raise RemoteProtocolError(f"key part of {part.party}", wanted=f"study and agreement {wanted}", got=f"{got}")
    committed = terms.member(part.party).commitment
    made = commitment_to(terms.proposal_digest, part.party, bytes.fromhex(part.seed_part), part.key_hash)
    if made != committed:
        raise RemoteProtocolError(
            f"key part of {part.party}: it is not what the offer committed to",
            problem=Slug.VERIFICATION_FAILED,
            wanted=committed,
            got=made,
        )


def read_key_part(terms: Terms, party: str, text: str) -> tuple[Envelope, KeyPart]:
    """Return a key part that `party`, and nobody else, signed, and that belongs to these terms; RemoteProtocolError otherwise."""
    envelope, part = signed_key_part(terms, party, text)
    check_key_part(terms, part)
    return envelope, part


def signed_key_part(terms: Terms, party: str, text: str) -> tuple[Envelope, KeyPart]:
    """Return a key part that `party`, and nobody else, signed, whatever it says; RemoteProtocolError otherwise."""
    envelope = load_envelope(text, "key part")
    try:
        part = Signed(envelope, KeyPart).verify(terms.member(party).key)
    except CryptoError as error:
        raise RemoteProtocolError(f"key part of {party}: {error}", problem=Slug.VERIFICATION_FAILED) from error
    if part.party != party or len(envelope.signatures) != 1:
        raise RemoteProtocolError(f"key part of {party}", wanted="its own, with one signature", got=f"one of {part.party}")
    return envelope, part


# Boxes, which nobody here can open.


def recipients(terms: Terms, sender: str) -> tuple[str, ...]:
    """Return to whom a member sends its key part: the other members, in id order."""
    return tuple(member.party for member in terms.members if member.party != sender)


def box_tree(terms: Terms, sender: str, boxes: Mapping[str, bytes]) -> Tree:
    """Return the tree over a sender's boxes; RemoteProtocolError unless there is one of the right size for each other member."""
    others = recipients(terms, sender)
    if set(boxes) != set(others):
        got = ", ".join(sorted(boxes)) or "none"
        raise RemoteProtocolError(f"boxes of {sender}", wanted=f"one for each of {', '.join(others)}", got=got)
    for recipient, box in boxes.items():
        if len(box) != BOX_BYTES:
            raise RemoteProtocolError(f"box of {sender} for {recipient}", wanted=f"{BOX_BYTES} bytes", got=f"{len(box)}")
    return Tree(leaf_hash(boxes[recipient]) for recipient in others)


def check_boxes(terms: Terms, part: KeyPart, boxes: Mapping[str, str]) -> Tree:
    """Return the tree over a sender's boxes (base64) if its root is the one that the sender signed; RemoteProtocolError otherwise."""
    tree = box_tree(terms, part.party, {recipient: decoded(text, f"box of {part.party}") for recipient, text in boxes.items()})
    if tree.root().hex() != part.boxes:
        raise RemoteProtocolError(f"boxes of {part.party}", wanted=f"those with the signed root {part.boxes}", got=tree.root().hex())
    return tree


def with_path(terms: Terms, tree: Tree, sender: str, recipient: str, box: str) -> str:
    """Return a box and its path to the root in base64, as the gateway hands it on."""
    path = tree.inclusion_proof(recipients(terms, sender).index(recipient))
    return base64.b64encode(decoded(box, f"box of {sender}") + b"".join(path)).decode()


def box_of(terms: Terms, part: KeyPart, recipient: str, text: str) -> bytes:
    """Return the box in what `with_path` gave; RemoteProtocolError unless it is the one that the sender signed for `recipient`."""
    raw = decoded(text, f"box of {part.party}")
    box, rest = raw[:BOX_BYTES], raw[BOX_BYTES:]
    path = [rest[start : start + HASH_BYTES] for start in range(0, len(rest), HASH_BYTES)]
    others = recipients(terms, part.party)
    try:
        verify_inclusion(leaf_hash(box), others.index(recipient), len(others), path, bytes.fromhex(part.boxes))
    except CryptoError as error:
        raise RemoteProtocolError(f"box of {part.party} for {recipient}: {error}", problem=Slug.VERIFICATION_FAILED) from error
    return box


# What all members, and auditors, derive.


def graph_seed(terms: Terms, parts: Mapping[str, KeyPart]) -> bytes:
    """Return the 32 bytes that the neighbour graphs of all rounds are drawn from. `parts` are all members' key parts, checked."""
    return bytes.fromhex(
        digest(Tag.GRAPH_SEED, terms.digest(), *(bytes.fromhex(parts[member.party].seed_part) for member in terms.members))
    )
