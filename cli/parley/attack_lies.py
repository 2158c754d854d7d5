"""The lies themselves: messages made from true ones, as whoever runs a gateway could make them. Pure functions.

Each takes what the gateway had to say and returns what it says instead; `LogKey` is what it can sign with.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from blake3 import blake3
from parley_crypto.checkpoint import Checkpoint, parse_and_verify
from parley_crypto.keys import SigningKey
from parley_crypto.merkle import Tree, leaf_hash
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document
from parley_gateway.app import KEY, KEY_LABEL, log_origin
from parley_gateway.config import NAME as GATEWAY_TOML
from parley_gateway.config import load as load_gateway
from parley_gateway.reading import store_path
from parley_gateway.store import read_leaves
from parley_protocol.bound import load_envelope
from parley_protocol.columns import pack, unpack
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.relays import Certified, Keys, ListProposal, Released, RoundAborted, RoundOpen, SumOpened
from parley_service.keyfile import open_keys

from parley.attack_liar import Said

INVENTED: Final = "lender-zz"
_KEY: Final = 32
_SIGNATURE: Final = 64
M = TypeVar("M", bound=Document)


def as_sent(said: Said, of: type[M]) -> M:
    """Return a message as its class."""
    return of.model_validate_json(json.dumps(said.body))


def changed(message: M, **values: object) -> M:
    """Return a message with other values in some fields."""
    fields = {name: getattr(message, name) for name in type(message).model_fields}
    return type(message).model_validate(fields | values)


# keys


def with_own_keys(keys: Keys, victim: str, channel: bytes, mask: bytes) -> Keys:
    """Return KEYS with the gateway's own keys under a member's name; the member's signature stays, for want of another."""
    index, count = keys.parties.index(victim), len(keys.parties)
    channels = list(unpack(keys.channel_keys, _KEY, count, "keys"))
    masks = list(unpack(keys.mask_keys, _KEY, count, "keys"))
    channels[index], masks[index] = channel, mask
    return changed(keys, channel_keys=pack(channels), mask_keys=pack(masks))


def with_invented(keys: Keys, channel: bytes, mask: bytes) -> Keys:
    """Return KEYS with one member more, whom nobody knows."""
    count = len(keys.parties)
    return changed(
        keys,
        parties=(*keys.parties, INVENTED),
        channel_keys=pack([*unpack(keys.channel_keys, _KEY, count, "keys"), channel]),
        mask_keys=pack([*unpack(keys.mask_keys, _KEY, count, "keys"), mask]),
        signatures=pack([*unpack(keys.signatures, _SIGNATURE, count, "keys"), bytes(_SIGNATURE)]),
    )


def replayed(old: Keys, now: Keys) -> Keys:
    """Return an earlier round's KEYS, every one of them genuine, as this round's; of the reader's own it knows the right ones."""
    return changed(old, round=now.round)


# lists


def without(proposal: ListProposal, left_out: str) -> ListProposal:
    """Return a survivor list without one of its members, with the segments that still reach their floor."""
    index, count = proposal.survivors.index(left_out), len(proposal.survivors)
    bodies = list(unpack(proposal.bodies, _KEY, count, "bodies"))
    signatures = list(unpack(proposal.signatures, _SIGNATURE, count, "signatures"))
    del bodies[index], signatures[index]
    survivors = tuple(party for party in proposal.survivors if party != left_out)
    return changed(proposal, survivors=survivors, bodies=pack(bodies), signatures=pack(signatures))


def opening_only(proposal: ListProposal, segments: Sequence[str]) -> ListProposal:
    """Return a survivor list that opens no other segments than these."""
    return changed(proposal, openable=tuple(name for name in proposal.openable if name in segments))


def certificate_of(proposal: ListProposal, signatures: Mapping[str, bytes]) -> Certified:
    """Return a certificate with the signatures that the gateway holds, on whichever list they are."""
    parties = sorted(signatures)
    return Certified(
        agreement=proposal.agreement, round=proposal.round, signers=tuple(parties), signatures=pack(signatures[party] for party in parties)
    )


# rounds


def aborted(agreement: str, number: int) -> RoundAborted:
    """Return the gateway's bare word that a round is over."""
    return RoundAborted(agreement=agreement, round=number, reason="the operator gave this round up")


def reopened(opened: RoundOpen, number: int) -> RoundOpen:
    """Return the invitation to another round from the same certificate."""
    return changed(opened, round=number)


def released_by(agreement: str, number: int, signatures: Mapping[str, bytes]) -> Released:
    """Return a proof of release made of the statements that the gateway holds."""
    parties = sorted(signatures)
    return Released(agreement=agreement, round=number, parties=tuple(parties), signatures=pack(signatures[party] for party in parties))


# sums


def altered_sum(notice: SumOpened, by: int) -> SumOpened:
    """Return the opened sums with the first coordinate altered, under the statement of the true ones."""
    raw = bytearray(base64.b64decode(notice.sums))
    raw[0] = (raw[0] + by) % 256
    return changed(notice, sums=base64.b64encode(raw).decode())


def signed_sum(notice: SumOpened, parts: Sequence[int], key: SigningKey) -> SumOpened:
    """Return a notice whose statement the gateway signed for the bytes as they are; `parts` are the bytes of each opened segment."""
    statement = Opened.parse(load_envelope(notice.opened, "opened sums").payload)
    raw, offset, segments = base64.b64decode(notice.sums), 0, []
    for segment, size in zip(statement.segments, parts, strict=True):
        segments.append(changed(segment, body=blake3(raw[offset : offset + size]).hexdigest()))
        offset += size
    return changed(notice, opened=changed(statement, segments=tuple(segments)).sign(key).dump().decode())


# the log


@dataclass(frozen=True, slots=True)
class LogKey:
    """The gateway's own key, and its log as it stands in its store."""

    folder: Path
    origin: str
    key: SigningKey

    @classmethod
    def of(cls, folder: Path) -> LogKey:
        """Open the key of a gateway's folder, as its operator can."""
        config = load_gateway(folder / GATEWAY_TOML)
        passphrase = config.keys.passphrase.read(config.folder, {})
        return cls(folder, log_origin(config), open_keys(config.keys.dir, (KEY,), passphrase, label=KEY_LABEL).signing(KEY))

    def leaves(self) -> tuple[bytes, ...]:
        """Return the log as it is."""
        return read_leaves(store_path(load_gateway(self.folder / GATEWAY_TOML), {}))[1]

    def note(self, leaves: Sequence[bytes]) -> str:
        """Sign a checkpoint over any leaves."""
        tree = Tree(map(leaf_hash, leaves))
        return Checkpoint(self.origin, tree.size, tree.root()).sign(self.key)

    def fork(self, opened: RoundOpen, leaves: Sequence[bytes]) -> RoundOpen:
        """Return the invitation to a round with proofs from another history, as good as they can be made."""
        size = parse_and_verify(opened.log.checkpoint, self.key.public, self.origin).size
        told = leaves[:size]
        tree = Tree(map(leaf_hash, told))
        log = changed(
            opened.log,
            checkpoint=self.note(told),
            consistency=tuple(node.hex() for node in tree.consistency_proof(opened.log.old_size)),
            inclusion=tuple(node.hex() for node in tree.inclusion_proof(opened.log.index)),
        )
        return changed(opened, log=log)


def certificates_in(leaves: Sequence[bytes]) -> tuple[tuple[int, Envelope], ...]:
    """Return the certificates that stand in a log, each with its place."""
    found = ((index, Envelope.load(leaf)) for index, leaf in enumerate(leaves))
    return tuple((index, leaf) for index, leaf in found if leaf.payload_type == SurvivorList.kind)


def rewritten(leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return a history of the same length in which the second certificate never was: another leaf stands in its place."""
    index, _ = certificates_in(leaves)[1]
    return (*leaves[:index], leaves[index - 1], *leaves[index + 1 :])


def without_round(leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return a history without the first certificate and what was opened under it: the others close the gap."""
    index, _ = certificates_in(leaves)[0]
    return (*leaves[:index], *leaves[index + 2 :])


def head_after_first(leaves: Sequence[bytes]) -> str:
    """Return the digest of a log's first certificate, as the next one must name it."""
    return SurvivorList.parse(certificates_in(leaves)[0][1].payload).digest()


def history_rows(leaves: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the oldest certified round of a log as the gateway serves its history."""
    index, certificate = certificates_in(leaves)[0]
    number = SurvivorList.parse(certificate.payload).round
    return [{"round": number, "certificate": leaves[index].decode(), "opened": leaves[index + 1].decode()}]
