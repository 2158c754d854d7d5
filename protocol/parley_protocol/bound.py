"""Statements of a round, read only after their signature and their binding are checked.

There are two ways to a statement. `read_bound` takes an envelope's text: the signer must be a member of the agreement, the statement must
name that member as its author, and agreement, round and base version must be the reader's own. `verify_row` takes what the reader itself
knows the statement must say, but for the author's own values, and the signature: what was signed otherwise does not verify (invariants
4 and 5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from parley_crypto.errors import CryptoError
from parley_crypto.keys import check_agreement_key
from parley_crypto.sharing import SHARE_BYTES
from parley_crypto.signing import Envelope, pae
from parley_crypto.statement import Signed, Statement, canonical_json
from parley_crypto.tags import Tag, digest
from parley_crypto.tagsize import tag_bytes
from parley_policies.negotiation.terms import MemberTerms, StepTerms, Terms

from parley_protocol.errors import RemoteProtocolError
from parley_protocol.messages import Advertise, Manifest, Reveal, Share, Withdrawn

Authored = TypeVar("Authored", Advertise, Share, Manifest, Reveal, Withdrawn)
_BOX_TAG_BYTES: Final = 16


def load_envelope(text: str, what: str) -> Envelope:
    """Parse an envelope's text; RemoteProtocolError names what it should have been."""
    try:
        return Envelope.load(text.encode())
    except CryptoError as error:
        raise RemoteProtocolError(f"{what}: {error}") from error


def author_of(terms: Terms, envelope: Envelope, what: str) -> str:
    """Return the member whose key id stands on the envelope's one signature. Says nothing yet about the signature."""
    if len(envelope.signatures) != 1:
        raise RemoteProtocolError(f"{what}: wanted one signature, got {len(envelope.signatures)}")
    keyid = envelope.signatures[0].keyid
    for member in terms.members:
        if member.key.fingerprint == keyid:
            return member.party
    raise RemoteProtocolError(f"{what}: wanted the signature of a member of the agreement, got {keyid[:80]}")


def read_bound(text: str, of: type[Authored], terms: Terms, round_number: int, base: str | None) -> tuple[Envelope, Authored]:
    """Return envelope and statement, verified; `base` None leaves the base version to the caller (ADVERTISE at the gateway)."""
    what = of.__name__.lower()
    envelope = load_envelope(text, what)
    author = author_of(terms, envelope, what)
    try:
        statement = Signed(envelope, of).verify(terms.member(author).key)
    except CryptoError as error:
        raise RemoteProtocolError(f"{what} of {author}: {error}") from error
    if statement.party != author:
        raise RemoteProtocolError(f"{what}: signed by {author}, but it speaks for {statement.party}")
    wanted = (terms.study, terms.digest(), round_number)
    got = (statement.study, statement.agreement, statement.round)
    if got != wanted:
        raise RemoteProtocolError(f"{what} of {author}: wanted study, agreement, round {wanted}, got {got}")
    if base is not None and statement.base != base:
        raise RemoteProtocolError(f"{what} of {author}: wanted base version {base[:16]}…, got {statement.base[:16]}…")
    return envelope, statement


def verify_row(of: type[Statement], content: Mapping[str, Any], author: MemberTerms, signature: bytes, what: str) -> bytes:
    """Return the bytes of the statement that `content` makes, if its author signed exactly it; RemoteProtocolError otherwise.

    `content` is the statement as its class has it, in JSON values: `what` is said of it that differs from what was signed.
    """
    payload = canonical_json(dict(content))
    try:
        author.key.verify(signature, pae(of.kind, payload))
    except CryptoError as error:
        raise RemoteProtocolError(f"{what} of {author.party}: not what it signed in this round: {error}") from error
    return payload


def advert_content(
    bound: Mapping[str, str | int], party: str, *, step: int, parameters: str, channel_key: bytes, mask_key: bytes
) -> dict[str, object]:
    """Return an ADVERTISE statement's content; `bound` are the fields of every statement of the round."""
    keys = {"channel_key": channel_key.hex(), "mask_key": mask_key.hex()}
    return {**bound, "party": party, "step": step, "parameters": parameters, **keys}


def share_content(bound: Mapping[str, str | int], party: str, key_set: str, root: bytes) -> dict[str, object]:
    """Return a SHARE statement's content."""
    return {**bound, "party": party, "keys": key_set, "root": root.hex()}


def manifest_content(
    bound: Mapping[str, str | int], party: str, step: StepTerms, live: tuple[str, ...], box_set: str, body: bytes
) -> dict[str, object]:
    """Return a manifest's content: segments and size follow from which segments are in the round."""
    segments = own_segments(step, live, party)
    rest = {"boxes": box_set, "segments": segments, "size": body_size(step, segments), "body": body.hex()}
    return {**bound, "party": party, **rest}


def check_round_keys(party: str, channel_key: bytes, mask_key: bytes) -> None:
    """Return if both X25519 keys can be used; RemoteProtocolError if they are one, of low order, or not in canonical encoding.

    A key of low order would make every peer's sealing fail once boxes are out; a second encoding would let one key pass for two.
    """
    for name, raw in (("channel", channel_key), ("mask", mask_key)):
        try:
            check_agreement_key(raw)
        except CryptoError as error:
            raise RemoteProtocolError(f"keys of {party}: {name} key: {error}") from error
    if channel_key == mask_key:  # who drops out has its mask key revealed: it must not open boxes
        raise RemoteProtocolError(f"keys of {party}: wanted two keys, got one for channel and masks")


def key_set_digest(digests: Mapping[str, bytes]) -> str:
    """Return the digest of a set of ADVERTISE statements from their digests by author, in id order."""
    return digest(Tag.KEY_SET, *(digests[party] for party in sorted(digests)))


def box_set_digest(terms: Terms, round_number: int, parties: Iterable[str]) -> str:
    """Return the digest of the ids of the members whose boxes are in a round."""
    return digest(Tag.BOX_SET, terms.digest(), round_number, *parties)


def statement_digest(payload: bytes) -> bytes:
    """Return the digest of a statement from its canonical bytes: SHA-256, 32 bytes."""
    return hashlib.sha256(payload).digest()


def secrets_of(step: StepTerms, live: tuple[str, ...], owner: str) -> tuple[str, ...]:
    """Return the names of the secrets that a member shares in a round: its mask key, then a self seed per live segment it is in."""
    return ("mask", *(f"self/{name}" for name in own_segments(step, live, owner)))


def own_segments(step: StepTerms, live: tuple[str, ...], party: str) -> tuple[str, ...]:
    """Return those of the live segments that `party` is a member of, in the step's order."""
    return tuple(name for name in live if party in step.segment(name).member_set)


def box_size(secrets: int) -> int:
    """Return the bytes of a box that carries one share of each of `secrets` secrets: AES-GCM adds its tag."""
    return secrets * SHARE_BYTES + _BOX_TAG_BYTES


def segment_size(step: StepTerms, name: str) -> int:
    """Return the bytes of one segment, sealed or summed: its coordinates, then its two tags (invariant 13)."""
    width = step.encoding.width
    return step.segment(name).length * width // 8 + tag_bytes(width)


def body_size(step: StepTerms, segments: Iterable[str]) -> int:
    """Return the bytes of an upload that carries `segments`, or of their sums."""
    return sum(segment_size(step, name) for name in segments)


def public_state_digest(agreement: str, number: int, certificate: str, parameters: str) -> str:
    """Return the base version digest: of agreement, version number, the certificate that made it, and parameters."""
    return digest(Tag.BASE_VERSION, agreement, number, certificate, parameters)
