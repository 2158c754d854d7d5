"""A certified round recomputed by a member (invariant 13): the sum follows from sealed updates and signatures, not from the gateway's word.

A sum's tags prove it against a gateway alone, not against one that a member gave the members' key. But what a certified round sums to is
fixed by what its members signed: the certificate names each sealed update by digest; each survivor's self-mask seed has a hash, and each
dropout's mask key a public half, that its owner signed before anyone uploaded. So the gateway hands out, besides the sealed updates, an
`Unmasking`: the secrets that it rebuilt, and the signatures. `Recomputation` believes none of it before it is checked, and then sums by the
code that the gateway uses (`opening`). It needs no secret of the member's: where only parties read sums the pads stay on, as they were on
what the gateway signed for.

Whoever holds sealed updates and an unmasking learns the certified sums and nothing else, since the gateway, with any agreed number of
members, holds at least as much (docs/adr, "A member may have a sum recomputed"). `is_recomputable` says where that argument holds. An
unmasking says less than the reveals that it was made of: no share, so nothing of the other secret of anyone.

    work = Recomputation(cohort, listed, unmasking)
    for party, upload in work.uploads.items():      # one at a time: memory is one model's sums and one update
        work.take(party, body_of(party, upload.size))
    work.check(opened)                              # SumNotProvenError names segment and digests
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blake3 import blake3
from parley_crypto import ring
from parley_crypto.keys import KEY_BYTES, SIGNATURE_BYTES
from parley_crypto.statement import Document, canonical_json
from parley_policies.negotiation.terms import PartyId, SegmentName, Terms

from parley_protocol.bound import (
    advert_content,
    body_size,
    box_set_digest,
    key_set_digest,
    manifest_content,
    own_segments,
    segment_size,
    share_content,
    statement_digest,
    verify_row,
)
from parley_protocol.cohort import Cohort
from parley_protocol.columns import pack, unpack
from parley_protocol.commitments import HASH_BYTES, ShareContext, check_seeds_dealt, path_length
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_state import GatewayState
from parley_protocol.ids import Column
from parley_protocol.messages import Advertise, Opened, Share, SurvivorList
from parley_protocol.opening import Masks, check_mask_key, check_seed
from parley_protocol.proving import SumNotProvenError

SECRET_BYTES: Final = 32


class Unmasking(Document):
    """What takes the masks off a certified round, and what shows that it does. Columns are in id order.

    Of everyone with keys in the round the ADVERTISE statement; of each survivor what its SHARE statement says of its seeds, the body's
    digest, and the seeds of the opened segments; of each dropout the mask key.
    """

    parties: tuple[PartyId, ...]  # with keys in the round
    channel_keys: Column
    mask_keys: Column
    adverts: Column  # signatures
    shared: tuple[SegmentName, ...]  # the segments whose seeds were shared
    live: tuple[SegmentName, ...]  # the segments that were sealed
    roots: Column  # of the survivors' SHARE statements
    shares: Column  # signatures
    seed_hashes: Column  # of each survivor those of all its seeds
    paths: Column  # of each survivor the path of its seeds' leaf to the root
    bodies: Column  # of each survivor
    seeds: dict[SegmentName, Column]  # by opened segment, of its survivors
    mask_secrets: Column  # of each dropout


@dataclass(frozen=True, slots=True)
class Upload:
    """One survivor's sealed update, as the certificate names it."""

    body: str  # BLAKE3, hexadecimal
    segments: tuple[str, ...]
    size: int  # bytes; 0 for a member that is in none of the segments


def is_recomputable(terms: Terms) -> bool:
    """Say whether a member may be handed the sealed updates of a certified round under these terms.

    It then knows what a gateway that it helps knows. Where a graph was planned against nobody who helps, one member may sit where two parts
    of it meet; in a full graph fewer than t members learn nothing in any case.
    """
    return terms.graph is None or terms.max_colluders > 0


def unmasking_of(state: GatewayState, masks: Masks) -> Unmasking:
    """Return the unmasking of a certified round that the gateway opened with `masks`."""
    listed, adverts = state.require_listed(), [state.adverts[party] for party in sorted(state.adverts)]
    survivors = [survivor.party for survivor in listed.survivors]
    shares = [state.shares[party] for party in survivors]
    return Unmasking(
        parties=tuple(sorted(state.adverts)),
        channel_keys=pack(bytes.fromhex(row.statement.channel_key) for row in adverts),
        mask_keys=pack(bytes.fromhex(row.statement.mask_key) for row in adverts),
        adverts=pack(row.signature for row in adverts),
        shared=state.shared,
        live=state.live,
        roots=pack(bytes.fromhex(row.statement.root) for row in shares),
        shares=pack(row.signature for row in shares),
        seed_hashes=pack(seed for row in shares for seed in row.seeds),
        paths=pack(node for row in shares for node in row.seeds_path),
        bodies=pack(bytes.fromhex(state.manifests[party].statement.body) for party in survivors),
        seeds={name: pack(seeds[party] for party in sorted(seeds)) for name, seeds in masks.seeds.items()},
        mask_secrets=pack(masks.mask_secrets[party] for party in sorted(masks.mask_secrets)),
    )


class _Reader:
    """Checks an unmasking, part by part, against a certified list."""

    def __init__(self, cohort: Cohort, listed: SurvivorList, found: Unmasking) -> None:
        self.cohort: Final = cohort
        self.listed: Final = listed
        self.found: Final = found
        self.survivors: Final = tuple(survivor.party for survivor in listed.survivors)
        self.bound: Final[dict[str, str | int]] = {
            "study": listed.study,
            "agreement": listed.agreement,
            "round": listed.round,
            "base": listed.base,
        }

    def masks(self) -> Masks:
        """Return what takes the masks off; RemoteProtocolError if a part of it is not what its owner signed."""
        advertised, key_set = self._keys()
        signed = self._seed_hashes(key_set)
        cohort, listed = self.cohort, self.listed
        seeds: dict[str, dict[str, bytes]] = {}
        for name in listed.openable:
            members = [party for party in self.survivors if party in cohort.step.segment(name).member_set]
            values = unpack(self.found.seeds.get(name, ""), SECRET_BYTES, len(members), f"seeds of {name}")
            for party, seed in zip(members, values, strict=True):
                check_seed(ShareContext(listed.agreement, listed.round, party), name, seed, signed[party].get(name))
            seeds[name] = dict(zip(members, values, strict=True))
        dropouts = [party for party in listed.boxes_from if party not in listed.parties]
        secrets = dict(zip(dropouts, unpack(self.found.mask_secrets, SECRET_BYTES, len(dropouts), "mask keys"), strict=True))
        for party, secret in secrets.items():
            check_mask_key(listed.round, party, secret, advertised.get(party))
        return Masks(cohort, listed.base, listed.parties, advertised, seeds, secrets)

    def _keys(self) -> tuple[dict[str, bytes], str]:
        """Return everyone's public mask key, and the digest of the set of keys, which each survivor's SHARE names."""
        found, count = self.found, len(self.found.parties)
        columns = zip(
            unpack(found.channel_keys, KEY_BYTES, count, "channel keys"),
            unpack(found.mask_keys, KEY_BYTES, count, "mask keys"),
            unpack(found.adverts, SIGNATURE_BYTES, count, "signatures of keys"),
            strict=True,
        )
        digests = {}
        advertised = {}
        for party, (channel_key, mask_key, signature) in zip(found.parties, columns, strict=True):
            content = advert_content(
                self.bound,
                party,
                step=self.listed.step,
                parameters=self.listed.parameters,
                channel_key=channel_key,
                mask_key=mask_key,
            )
            digests[party] = statement_digest(verify_row(Advertise, content, self.cohort.terms.member(party), signature, "keys"))
            advertised[party] = mask_key
        return advertised, key_set_digest(digests)

    def _seed_hashes(self, key_set: str) -> dict[str, dict[str, bytes]]:
        """Return the hash of each survivor's seeds by segment, as it signed them."""
        step, found, count = self.cohort.step, self.found, len(self.survivors)
        own = {party: own_segments(step, found.shared, party) for party in self.survivors}
        sizes = {party: len(self.cohort.sharing(party, found.parties)) + 1 for party in self.survivors}
        hashes = _split(found.seed_hashes, {party: len(names) for party, names in own.items()}, "seed hashes")
        paths = _split(found.paths, {party: path_length(size - 1, size) for party, size in sizes.items()}, "paths")
        rows = zip(
            self.survivors,
            unpack(found.roots, HASH_BYTES, count, "roots"),
            unpack(found.shares, SIGNATURE_BYTES, count, "signatures of shares"),
            strict=True,
        )
        for party, root, signature in rows:
            verify_row(Share, share_content(self.bound, party, key_set, root), self.cohort.terms.member(party), signature, "share")
            check_seeds_dealt(root, hashes[party], sizes[party], paths[party], party)
        return {party: dict(zip(own[party], hashes[party], strict=True)) for party in self.survivors}

    def uploads(self) -> dict[str, Upload]:
        """Return which updates were summed; RemoteProtocolError if one is not the certificate's."""
        step, listed, live = self.cohort.step, self.listed, self.found.live
        box_set = box_set_digest(self.cohort.terms, listed.round, listed.boxes_from)
        uploads = {}
        bodies = unpack(self.found.bodies, HASH_BYTES, len(self.survivors), "bodies")
        for survivor, body in zip(listed.survivors, bodies, strict=True):
            content = manifest_content(self.bound, survivor.party, step, live, box_set, body)
            if statement_digest(canonical_json(content)).hex() != survivor.manifest:
                raise RemoteProtocolError(f"update of {survivor.party} in round {listed.round}: wanted the one that the certificate names")
            segments = own_segments(step, live, survivor.party)
            uploads[survivor.party] = Upload(body.hex(), segments, body_size(step, segments))
        return uploads


def _split(column: str, counts: Mapping[str, int], what: str) -> dict[str, tuple[bytes, ...]]:
    """Return a column of hashes as each party's part of it."""
    values = unpack(column, HASH_BYTES, sum(counts.values()), what)
    parts, start = {}, 0
    for party, count in counts.items():
        parts[party] = values[start : start + count]
        start += count
    return parts


class Recomputation:
    """One certified round on its way from sealed updates to sums."""

    def __init__(self, cohort: Cohort, listed: SurvivorList, found: Unmasking) -> None:
        """RemoteProtocolError or CryptoError: the gateway hands out something else than what the members signed."""
        reader = _Reader(cohort, listed, found)
        self.uploads: Final = reader.uploads()
        self._listed: Final = listed
        self._masks: Final = reader.masks()
        self._openings: Final = {name: self._masks.opening(name) for name in listed.openable}

    def take(self, party: str, body: bytes | bytearray | memoryview) -> None:
        """Add one survivor's sealed update, each once; RemoteProtocolError if it is not the one that the certificate names."""
        upload, step = self.uploads[party], self._masks.cohort.step
        if (len(body), blake3(body).hexdigest()) != (upload.size, upload.body):
            raise RemoteProtocolError(
                f"sealed update of {party}: wanted {upload.size} bytes of {upload.body[:16]}…, got {len(body)} others"
            )
        view, start, width = memoryview(body), 0, step.encoding.width
        for name in upload.segments:
            part, start = view[start : start + segment_size(step, name)], start + segment_size(step, name)
            if (opening := self._openings.get(name)) is not None:  # a segment that was sealed may have stayed shut
                tags_at = step.segment(name).length * width // 8
                opening.combine(ring.from_bytes(part[:tags_at], step.segment(name).length, width))
                opening.combine_tags(part[tags_at:])

    def check(self, opened: Opened) -> None:
        """Return if the sums of all updates are, bit for bit, the ones that the gateway signed for; SumNotProvenError otherwise."""
        for segment in opened.segments:
            vector, tags = self._masks.take_off(segment.name, self._openings[segment.name])
            found = blake3(vector.astype(vector.dtype.newbyteorder("<"), copy=False).data.cast("B")).update(tags).hexdigest()
            if found != segment.body:
                raise SumNotProvenError(
                    f"sum of {segment.name} in round {self._listed.round}, recomputed from the certified updates: the gateway signed for "
                    f"{segment.body}, they give {found}"
                )
