"""What an adversary reads out of messages and states: statements without checking them, revealed shares, all that an event changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from parley_crypto.keys import VerifyKey
from parley_crypto.sharing import SHARE_BYTES
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document
from parley_crypto.tags import Tag
from parley_protocol.codec import RELAYS, load_relay
from parley_protocol.columns import unpack
from parley_protocol.messages import Reveal
from parley_protocol.party_round import PartyRound
from parley_protocol.relays import Boxes, Certified, Keys, ListProposal, ReleaseAsked, Released, RoundAborted

from tests.simulator import party_key

Message = TypeVar("Message", bound=Document)
Relay = Keys | Boxes | ListProposal | Certified | RoundAborted | ReleaseAsked | Released
KINDS: dict[type[Document], str] = {of: kind for kind, of in RELAYS.items()}


def content(text: str, of: type[Any]) -> Any:  # noqa: ANN401 - whichever statement the envelope holds
    """Return the statement in an envelope, as an adversary reads it: without checking anything."""
    return of.parse(Envelope.load(text.encode()).payload)


def altered(message: Message, changes: Mapping[str, object]) -> Message:
    """Return a message with other values in some fields."""
    return type(message).model_validate({name: getattr(message, name) for name in type(message).model_fields} | dict(changes))


def signature_on(text: str) -> bytes:
    """Return the signature in an envelope."""
    return Envelope.load(text.encode()).signatures[0].sig


def mask_secret(state: PartyRound) -> bytes:
    """Return the private half of a party's mask key."""
    return state._secrets._secret(Tag.MASK_KEY)


@dataclass(frozen=True)
class Given:
    """The shares that a member revealed, by owner: of self-mask seeds in each opened segment, and of mask keys."""

    statement: Reveal
    seeds: Mapping[str, Mapping[str, bytes]]
    mask_keys: Mapping[str, bytes]


def given_by(state: PartyRound, reveal: Reveal) -> Given:
    """Read the columns of a party's REVEAL, whose order everybody knows."""
    assert state.listed is not None
    survivors, owners = state.listed.parties, [owner for owner in state.boxes_from if owner in state.held]
    seeds = {}
    for name in state.listed.openable:
        row = [owner for owner in owners if owner in survivors and owner in state.spec.workload.segment(name).members]
        seeds[name] = dict(zip(row, unpack(reveal.seeds[name], SHARE_BYTES, len(row), name), strict=True))
    dropouts = [owner for owner in owners if owner not in survivors]
    return Given(reveal, seeds, dict(zip(dropouts, unpack(reveal.mask_keys, SHARE_BYTES, len(dropouts), "mask"), strict=True)))


def believed(key: VerifyKey, signature: bytes, message: bytes) -> None:
    """A careless `VerifyKey.verify`: it takes every signature for genuine."""
    del key, signature, message


def snapshot(state: PartyRound) -> tuple[object, ...]:
    """Return all that an event may change in a party's round, as plain values."""
    return (
        state.phase,
        state.promise,
        state.parties,
        sorted(state.keys.items(), key=lambda item: item[0]),
        state.key_set,
        state.live,
        state.boxes_from,
        sorted((owner, sorted(shares.items())) for owner, shares in state.held.items()),
        None if state.manifest is None else state.manifest.dump(),
        None if state.listed is None else state.listed.canonical(),
        None if state.certificate is None else state.certificate.dump(),
        state.seed,
    )


def answer(state: PartyRound, kind: str, raw: bytes) -> tuple[PartyRound, Iterable[object]]:
    """Let a party take the bytes of a gateway's message."""
    key = party_key(state.spec.me)
    moved: tuple[PartyRound, Iterable[object]]
    match load_relay(kind, raw):
        case Keys() as keys:
            moved = state.on_keys(keys, key)
        case Boxes() as boxes:
            moved = state.on_boxes(boxes)
        case ListProposal() as proposal:
            moved = state.on_list(proposal, key)
        case Certified() as certified:
            moved = state.on_certified(certified, key)
        case RoundAborted() as aborted:
            moved = state.on_aborted(aborted)
        case ReleaseAsked() as asked:
            moved = state.on_release(asked, key)
        case Released() as proof:
            moved = state.on_released(proof)
        case _:
            raise AssertionError(kind)
    return moved
