"""One party's side of a masked round (Bonawitz et al. 2017, against a gateway that may lie), without IO.

`PartyRound` is an immutable state; each event gives the next one and effects, or raises and changes nothing. Everything secret of a round
derives from one fresh 32-byte seed, bound to agreement, round and base version; signatures and boxes are deterministic: replaying the
recorded events gives the same bytes. Erasing the seed destroys the round. Messages of errors are for this party's operator: they may name
its own floors, so they are not sent on.

The security argument, numbered as the code is:
 1. A member seals only into a round whose base version it computed itself and has used in no other round (the caller gives `spec` only
 then, after `check_may_follow`), under terms whose thresholds hold up. 2. Keys count only if signed by the member's identity under this
 agreement, round and base version; fewer than t: refused. 3. Boxes open only under those keys; each share in them matches the hash that
 its owner signed. 4. It confirms one list only, and only one whose sums reach every floor, its own included, and isolate nobody. 5. It
 reveals only under t signatures on exactly that list, and of each member one kind of share: self-mask for survivors, mask key for dropouts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from blake3 import blake3
from parley_crypto import ring, sharing
from parley_crypto.channel import open_box, seal_box
from parley_crypto.derive import derive
from parley_crypto.errors import CryptoError, MalformedError
from parley_crypto.fixedpoint import FixedPoint
from parley_crypto.keys import AgreementKey, SigningKey
from parley_crypto.masked import Context, MaskedSealing
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope
from parley_crypto.tags import Tag
from parley_policies.negotiation.terms import StepTerms, Terms, required_threshold

from parley_protocol.bound import (
    body_size,
    by_party,
    check_round_keys,
    key_set_digest,
    load_envelope,
    own_segments,
    read_bound,
    secrets_of,
    seed_hash,
    share_hash,
)
from parley_protocol.certificates import NO_LISTS, Chain, Lists, openable, verify_certificate
from parley_protocol.effects import Finish, SealNow, Send
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import (
    Advertise,
    Boxes,
    Certified,
    Keys,
    ListProposal,
    Manifest,
    Post,
    Reveal,
    RoundAborted,
    Share,
    SharePost,
    SurvivorList,
)
from parley_protocol.phases import PARTY, Event, require

Effect = Send | SealNow | Finish
SEED_BYTES: Final = 32
HONEST_BESIDE_ONE: Final = 2  # a sum of c + 2 members hides each honest one behind another honest one


def check_may_follow(before: PartyRound, spec: PartySpec) -> None:
    """Return if a party in `before` may enter the round of `spec`; LocalProtocolError if `before` may still be opened (invariant 3).

    Once boxes are here the gateway's word that a round is over proves nothing: it can only be finished, and until then no other round of
    the study is entered. A round left in ADVERTISE or SHARE is given up: the caller destroys its seed first.
    """
    unfinished = before.phase in {Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL}
    if unfinished and (before.spec.terms.study == spec.terms.study or before.spec.base == spec.base):
        raise LocalProtocolError(
            f"round {spec.round} of {spec.terms.study}: wanted round {before.spec.round} finished first, "
            f"got it in {before.phase}, where it may have been opened"
        )


@dataclass(frozen=True, slots=True)
class PartySpec:
    """What one party enters a round with. Made only for a base version that it computed itself and has not used."""

    terms: Terms
    me: str
    round: int
    step: int
    base: str
    parameters: str
    chain: Chain
    counted: frozenset[str]  # the members that this party's policy pins or trusts on first use, itself included
    own_floors: Mapping[str, int]  # its own policy's floor per segment, over counted members; one not named is the agreement's
    earlier: Lists = field(default_factory=lambda: NO_LISTS)  # lists of earlier sums of the same content, in other studies too

    @property
    def workload(self) -> StepTerms:
        """The step of the agreement that this round belongs to."""
        return self.terms.steps[self.step]

    @property
    def agreement(self) -> str:
        """The agreement digest."""
        return self.terms.digest()

    def bound(self) -> dict[str, str | int]:
        """Return the fields that every statement of this party in this round carries."""
        return {"study": self.terms.study, "agreement": self.agreement, "round": self.round, "base": self.base}

    def own_floor(self, segment: str) -> int:
        """Return how many members that this party counts must be in a sum of `segment`; 0 for a segment of others."""
        terms = self.workload.segment(segment)
        return self.own_floors.get(segment, terms.floor if self.me in terms.members else 0)

    def check_entry(self) -> None:
        """Return if a round may be entered under these terms; LocalProtocolError if they, or the base version, do not hold up.

        The negotiation's checker has refused such terms before; what invariants 1 to 3 rest on is looked at again. Once this party has
        sealed, t others can certify a list without it, so its own floor must hold for the smallest list that the agreement allows.
        """
        terms, what = self.terms, f"round {self.round} of {self.terms.study}"
        if self.chain.agreement != self.agreement or self.base in self.chain.bases or self.round <= self.chain.round:
            raise LocalProtocolError(f"{what}: its base version has an opened list, or it lies behind the chain or outside the agreement")
        least = required_threshold(len(terms.members), terms.max_colluders, gateway_may_lie=terms.gateway_may_lie)
        if not least <= terms.threshold <= len(terms.members):
            raise LocalProtocolError(f"{what}: wanted a threshold of {least} to {len(terms.members)}, got {terms.threshold}")
        phantoms = {member.party for member in terms.members} - self.counted
        if len(phantoms) > terms.max_colluders:
            raise LocalProtocolError(
                f"{what}: wanted at most {terms.max_colluders} members that our policy does not count, got {sorted(phantoms)}"
            )
        for segment in self.workload.segments:
            own = self.own_floor(segment.name) + len(phantoms & set(segment.members)) if self.me in segment.members else 0
            floor = max(own, terms.max_colluders + HONEST_BESIDE_ONE)
            if segment.floor < floor:
                raise LocalProtocolError(
                    f"{what}, {segment.name}: wanted a floor of at least {floor}, by our policy and the colluders, got {segment.floor}"
                )

    def live(self, present: frozenset[str]) -> tuple[str, ...]:
        """Return the segments that `present` may open; RemoteProtocolError if that is none or breaks this party's own rules."""
        together = openable(self.terms, self.workload, self.chain, self.parameters, present)
        if not together:
            raise RemoteProtocolError(
                f"round {self.round}: with {', '.join(sorted(present)) or 'nobody'} no shared part could be opened; wanted enough parties "
                f"for a floor, and lists within {self.terms.max_small_changes} small changes"
            )
        if openable(self.terms, self.workload, self.chain, self.parameters, present, self.earlier) != together:
            raise RemoteProtocolError(f"round {self.round}: its sums, with earlier ones over the same data, would isolate too few parties")
        for name in together:
            counted = present & self.counted & frozenset(self.workload.segment(name).members)
            if len(counted) < self.own_floor(name):
                raise RemoteProtocolError(
                    f"round {self.round}, {name}: wanted at least {self.own_floor(name)} parties that our policy counts, "
                    f"got {len(counted)} ({', '.join(sorted(counted))})"
                )
        return together


@dataclass(frozen=True, slots=True, repr=False)
class PartyRound:
    """The state of one party in one round. Its repr shows no secret."""

    spec: PartySpec
    seed: bytes
    phase: Phase = Phase.ADVERTISE
    adverts: Mapping[str, Advertise] = field(default_factory=dict)
    live: tuple[str, ...] = ()  # the segments in the round: at SHARE those with enough keys, from COLLECT on those with enough boxes
    boxes_from: tuple[str, ...] = ()
    held: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)  # owner -> secret -> share
    manifest: Envelope | None = None
    confirmed: str | None = None
    revealed: str | None = None

    def __repr__(self) -> str:
        return f"PartyRound({self.spec.me}, round {self.spec.round}, {self.phase})"

    def _secret(self, tag: Tag, *parts: str) -> bytes:
        spec = self.spec
        if len(self.seed) != SEED_BYTES:
            raise LocalProtocolError(f"round {spec.round} in {self.phase}: wanted a seed of {SEED_BYTES} bytes; a closed round has none")
        return derive(self.seed, tag, spec.agreement, spec.round, spec.base, spec.me, *parts)

    @property
    def _channel(self) -> AgreementKey:
        return AgreementKey(self._secret(Tag.CHANNEL_KEY))

    @property
    def _mask_secret(self) -> bytes:
        return self._secret(Tag.MASK_KEY)

    def _self_seed(self, segment: str) -> bytes:
        return self._secret(Tag.SELF_SEED, segment)

    def _post(self, kind: str, envelope: Envelope) -> Send:
        return Send(None, kind, Post(statement=envelope.dump().decode()))

    def _same_round(self, agreement: str, number: int) -> None:
        if (agreement, number) != (self.spec.agreement, self.spec.round):
            raise RemoteProtocolError(f"relay: wanted round {self.spec.round} of our agreement, got round {number} of {agreement[:16]}…")

    # ADVERTISE

    def _advert(self) -> Advertise:
        return Advertise.model_validate(
            {
                **self.spec.bound(),
                "party": self.spec.me,
                "step": self.spec.step,
                "parameters": self.spec.parameters,
                "channel_key": self._channel.public.hex(),
                "mask_key": AgreementKey(self._mask_secret).public.hex(),
            }
        )

    def advertise(self, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Enter the round: send this round's fresh keys."""
        self.spec.check_entry()
        return self, (self._post(Event.ADVERTISE, self._advert().sign(key)),)

    # SHARE

    def on_keys(self, keys: Keys, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Take all members' keys; send boxed shares of this round's secrets."""
        phase = require(PARTY, self.phase, Event.KEYS, self.spec.round)
        self._same_round(keys.agreement, keys.round)
        adverts = self._checked_adverts(keys)
        taken = replace(self, phase=phase, adverts=adverts, live=self.spec.live(frozenset(adverts)))
        return taken, (taken.share(key),)

    def share(self, key: SigningKey) -> Send:
        """Return SHARE: the boxed shares of this round's secrets, and the signed hashes of seeds and shares."""
        split = self._split()
        statement, boxes = self._statement(split), self._boxes(split)
        return Send(None, Event.SHARE, SharePost(statement=statement.sign(key).dump().decode(), boxes=boxes))

    def _checked_adverts(self, keys: Keys) -> Mapping[str, Advertise]:
        spec = self.spec
        adverts = by_party((read_bound(text, Advertise, spec.terms, spec.round, spec.base) for text in keys.adverts), "keys")
        for advert in adverts.values():
            if (advert.step, advert.parameters) != (spec.step, spec.parameters):
                raise RemoteProtocolError(f"keys of {advert.party}: wanted step {spec.step} from our parameters, got step {advert.step}")
            check_round_keys(advert)
        if adverts.get(spec.me) != self._advert():
            raise RemoteProtocolError("keys: our own are missing or altered")
        if len({key for advert in adverts.values() for key in (advert.channel_key, advert.mask_key)}) != 2 * len(adverts):
            raise RemoteProtocolError("keys: one of them occurs twice")
        if len(adverts) < spec.terms.threshold:
            raise RemoteProtocolError(f"keys: wanted at least {spec.terms.threshold} members, got {len(adverts)}")
        return adverts

    def _split(self) -> dict[str, tuple[bytes, ...]]:
        spec = self.spec
        plain = {"mask": self._mask_secret}
        plain |= {f"self/{name}": self._self_seed(name) for name in own_segments(spec.workload, self.live, spec.me)}
        return {
            name: sharing.split(
                secret,
                threshold=spec.terms.threshold,
                count=len(spec.terms.members),
                seed=self._secret(Tag.SHAMIR, name),
            )
            for name, secret in plain.items()
        }

    def _statement(self, split: Mapping[str, tuple[bytes, ...]]) -> Share:
        spec = self.spec
        hashes = {
            peer: tuple(
                share_hash(spec.terms, spec.round, owner=spec.me, recipient=peer, secret=name, share=shares[spec.terms.rank(peer) - 1])
                for name, shares in split.items()
            )
            for peer in self.adverts
        }
        return Share.model_validate(
            {
                **spec.bound(),
                "party": spec.me,
                "keys": key_set_digest(self.adverts.values()),
                "seed_hashes": {
                    name: seed_hash(spec.terms, spec.round, owner=spec.me, segment=name, seed=self._self_seed(name))
                    for name in own_segments(spec.workload, self.live, spec.me)
                },
                "share_hashes": hashes,
            }
        )

    def _boxes(self, split: Mapping[str, tuple[bytes, ...]]) -> dict[str, str]:
        spec, channel, keys = self.spec, self._channel, key_set_digest(self.adverts.values())
        boxes: dict[str, str] = {}
        for peer, advert in self.adverts.items():
            if peer != spec.me:
                content = b"".join(shares[spec.terms.rank(peer) - 1] for shares in split.values())
                box = seal_box(channel, bytes.fromhex(advert.channel_key), content, *self._box_context(keys, spec.me, peer))
                boxes[peer] = base64.b64encode(box).decode()
        return boxes

    def _box_context(self, keys: str, sender: str, recipient: str) -> tuple[str | int, ...]:
        # The key set decides what a box holds: bound to it, no box key ever seals two contents, whatever was recorded before a crash.
        return (self.spec.agreement, self.spec.round, self.spec.base, keys, sender, recipient)

    # COLLECT

    def on_boxes(self, boxes: Boxes) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Take the boxes of this party; from here on its vector can be sealed."""
        phase = require(PARTY, self.phase, Event.BOXES, self.spec.round)
        self._same_round(boxes.agreement, boxes.round)
        spec = self.spec
        shares = by_party((read_bound(text, Share, spec.terms, spec.round, spec.base) for text in boxes.shares), "boxes")
        if not set(shares) <= set(self.adverts):
            raise RemoteProtocolError("boxes: wanted only those of members with keys in this round")
        if len(shares) < spec.terms.threshold:
            raise RemoteProtocolError(f"boxes: wanted at least {spec.terms.threshold} members, got {len(shares)}")
        if set(boxes.boxes) != set(shares) - {spec.me}:
            raise RemoteProtocolError(f"boxes: wanted one from each of {sorted(set(shares) - {spec.me})}, got {sorted(boxes.boxes)}")
        split = self._split()
        if shares.get(spec.me) != self._statement(split):
            raise RemoteProtocolError("boxes: our own shares are missing, or not the ones that we signed in this round")
        rank = spec.terms.rank(spec.me) - 1
        held: dict[str, Mapping[str, bytes]] = {spec.me: {name: parts[rank] for name, parts in split.items()}}
        keys = key_set_digest(self.adverts.values())
        held |= {owner: self._opened(statement, keys, boxes) for owner, statement in shares.items() if owner != spec.me}
        still = spec.live(frozenset(shares))
        live = tuple(name for name in self.live if name in still)
        taken = replace(self, phase=phase, held=held, boxes_from=tuple(sorted(shares)), live=live)
        return taken, (SealNow(own_segments(spec.workload, live, spec.me)),)

    def _opened(self, statement: Share, keys: str, boxes: Boxes) -> Mapping[str, bytes]:
        spec, owner = self.spec, statement.party
        if statement.keys != keys:
            raise RemoteProtocolError(f"share of {owner}: it was shown other keys than we were")
        if set(statement.seed_hashes) != set(own_segments(spec.workload, self.live, owner)):
            raise RemoteProtocolError(f"share of {owner}: its self-mask seeds are not those of its segments in this round")
        try:
            sealed = base64.b64decode(boxes.boxes[owner], validate=True)
            theirs = bytes.fromhex(self.adverts[owner].channel_key)
            content = open_box(self._channel, theirs, sealed, *self._box_context(keys, owner, spec.me))
        except (CryptoError, binascii.Error) as error:
            raise RemoteProtocolError(f"box of {owner}: {error}") from error
        names = secrets_of(spec.workload, self.live, owner)
        size = sharing.SHARE_BYTES
        wanted = statement.share_hashes.get(spec.me, ())
        if len(content) != size * len(names) or len(wanted) != len(names):
            raise RemoteProtocolError(f"box of {owner}: wanted {len(names)} shares, got {len(content)} bytes and {len(wanted)} hashes")
        parts = {name: content[index * size : (index + 1) * size] for index, name in enumerate(names)}
        for (name, share), signed in zip(parts.items(), wanted, strict=True):
            if share_hash(spec.terms, spec.round, owner=owner, recipient=spec.me, secret=name, share=share) != signed:
                raise RemoteProtocolError(f"box of {owner}: its share of {name} is not the one it signed")
        return parts

    def seal(self, vectors: Mapping[str, RingVector], key: SigningKey) -> tuple[PartyRound, bytes, tuple[Effect, ...]]:
        """Seal encoded vectors (segment -> ring elements; consumed) and return the upload's body with the manifest to send.

        Vectors outside the agreed shape or bound are refused (MalformedError, EncodingError) and left as they were. The caller records the
        manifest and keeps the body, both durably, before a byte of it leaves; afterwards the base version is spent.
        """
        require(PARTY, self.phase, Event.SEALED, self.spec.round)
        spec = self.spec
        segments = own_segments(spec.workload, self.live, spec.me)
        if tuple(vectors) != segments:
            raise LocalProtocolError(f"seal: wanted the segments {segments}, got {tuple(vectors)}")
        for name, vector in vectors.items():  # all of them first: what is refused is left as it was
            self._check_vector(name, vector)
        mask_key = AgreementKey(self._mask_secret)
        body = bytearray()
        for name, vector in vectors.items():
            terms = spec.workload.segment(name)
            peers = {
                peer: bytes.fromhex(self.adverts[peer].mask_key) for peer in self.boxes_from if peer in terms.members and peer != spec.me
            }
            context = Context(spec.agreement, spec.round, spec.base, name)
            sealing = MaskedSealing.prepare(context, me=spec.me, self_seed=self._self_seed(name), mask_key=mask_key, peers=peers)
            sealing.seal(vector)
            body += ring.to_bytes(vector)
        manifest = Manifest.model_validate(
            {
                **spec.bound(),
                "party": spec.me,
                "boxes_from": self.boxes_from,
                "segments": segments,
                "size": body_size(spec.workload, segments),
                "body": blake3(body).hexdigest(),
            }
        ).sign(key)
        sealed, effects = self.on_sealed(manifest)
        return sealed, bytes(body), effects

    def _check_vector(self, name: str, vector: RingVector) -> None:
        terms, encoding = self.spec.workload.segment(name), self.spec.workload.encoding
        if vector.shape != (terms.length,) or vector.dtype != ring.dtype_of(encoding.width):
            raise MalformedError(f"seal {name}: wanted {terms.length} coordinates, got {vector.shape} of {vector.dtype}")
        FixedPoint(encoding.width, encoding.fraction_bits, encoding.bound, len(terms.members)).check_encoded(vector)

    def on_sealed(self, manifest: Envelope) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Take the manifest of the sealed update, fresh or recorded; from here on the base version is spent."""
        phase = require(PARTY, self.phase, Event.SEALED, self.spec.round)
        return replace(self, phase=phase, manifest=manifest), (self._post(Event.COLLECT, manifest),)

    # CONFIRM

    def on_list(self, proposal: ListProposal, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Check the survivor list to the letter, and sign it; a second, different list is refused for ever."""
        phase = require(PARTY, self.phase, Event.LIST, self.spec.round)
        self._same_round(proposal.agreement, proposal.round)
        try:
            listed = SurvivorList.parse(proposal.payload.encode())
        except CryptoError as error:
            raise RemoteProtocolError(f"survivor list: {error}") from error
        self._check_list(listed)
        self._check_manifests(listed, proposal)
        if self.confirmed not in {None, listed.digest()}:
            raise RemoteProtocolError(f"round {self.spec.round}: we have signed another survivor list for this base version")
        envelope = Envelope.sign(SurvivorList.kind, listed.canonical(), key)
        return replace(self, phase=phase, confirmed=listed.digest()), (self._post(Event.CONFIRM, envelope),)

    def _check_list(self, listed: SurvivorList) -> None:
        spec = self.spec
        bound = (listed.study, listed.agreement, listed.round, listed.base, listed.step, listed.parameters, listed.previous)
        wanted = (spec.terms.study, spec.agreement, spec.round, spec.base, spec.step, spec.parameters, spec.chain.head)
        if bound != wanted:
            raise RemoteProtocolError(f"survivor list: wanted {wanted}, got {bound}")
        parties = [survivor.party for survivor in listed.survivors]
        if listed.boxes_from != self.boxes_from or parties != sorted(set(parties)) or not set(parties) <= set(self.boxes_from):
            raise RemoteProtocolError(f"survivor list: wanted some of {self.boxes_from} in id order, got {parties} of {listed.boxes_from}")
        if len(parties) < spec.terms.threshold:
            raise RemoteProtocolError(f"survivor list: wanted at least {spec.terms.threshold} members, got {len(parties)}")
        still = spec.live(frozenset(parties))
        wanted_open = tuple(name for name in self.live if name in still)
        if not wanted_open or listed.openable != wanted_open:
            raise RemoteProtocolError(f"survivor list: wanted {wanted_open or 'a shared part'} to be opened, got {listed.openable}")

    def _check_manifests(self, listed: SurvivorList, proposal: ListProposal) -> None:
        spec = self.spec
        manifests = by_party((read_bound(text, Manifest, spec.terms, spec.round, spec.base) for text in proposal.manifests), "manifests")
        if set(manifests) != listed.parties:
            raise RemoteProtocolError(f"survivor list: wanted a manifest of each of {sorted(listed.parties)}, got {sorted(manifests)}")
        for survivor in listed.survivors:
            manifest = manifests[survivor.party]
            if manifest.digest() != survivor.manifest:
                raise RemoteProtocolError(f"survivor list: the manifest of {survivor.party} is not the one listed")
            if manifest.boxes_from != self.boxes_from:
                raise RemoteProtocolError(f"survivor list: {survivor.party} used other boxes ({manifest.boxes_from}) than we did")
            if manifest.segments != own_segments(spec.workload, self.live, survivor.party):
                raise RemoteProtocolError(f"survivor list: {survivor.party} sealed {manifest.segments}, not its segments of this round")
        mine = manifests.get(spec.me)
        if mine is not None and (self.manifest is None or mine.digest() != self.manifest.payload_digest):
            raise RemoteProtocolError("survivor list: it lists an update under our name that is not ours")

    # REVEAL

    def on_certified(self, certified: Certified, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Reveal shares under a certificate: of each member that sent a box exactly one kind."""
        phase = require(PARTY, self.phase, Event.CERTIFIED, self.spec.round)
        self._same_round(certified.agreement, certified.round)
        listed = verify_certificate(self.spec.terms, load_envelope(certified.certificate, "certificate"))
        if listed.digest() != self.confirmed:
            raise RemoteProtocolError(f"round {self.spec.round}: the certificate is on another list than the one we checked and signed")
        if self.revealed not in {None, listed.digest()}:
            raise RemoteProtocolError(f"round {self.spec.round}: we have revealed for another list")
        statement = self._reveal(listed)
        return replace(self, phase=phase, revealed=listed.digest()), (self._post(Event.REVEAL, statement.sign(key)),)

    def _reveal(self, listed: SurvivorList) -> Reveal:
        spec, survivors = self.spec, listed.parties
        seeds = {
            name: {
                owner: self.held[owner][f"self/{name}"].hex() for owner in sorted(survivors) if owner in spec.workload.segment(name).members
            }
            for name in listed.openable
        }
        mask_keys = {owner: self.held[owner]["mask"].hex() for owner in self.boxes_from if owner not in survivors}
        both = set(mask_keys) & {owner for owners in seeds.values() for owner in owners}
        if both:
            raise LocalProtocolError(f"reveal: both shares of {sorted(both)} in one round are never given")
        return Reveal.model_validate(
            {**spec.bound(), "party": spec.me, "certificate": listed.digest(), "seeds": seeds, "mask_keys": mask_keys}
        )

    # the end

    def on_opened(self) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Close the round: its sums are open, and the caller has verified certificate and statement."""
        return replace(self, phase=require(PARTY, self.phase, Event.OPENED, self.spec.round), seed=b"", held={}), (Finish(None),)

    def on_aborted(self, aborted: RoundAborted) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Give the round up. Once boxes are here the gateway's word for it proves nothing, and it is refused (invariant 3)."""
        phase = require(PARTY, self.phase, Event.ABORTED, self.spec.round)
        self._same_round(aborted.agreement, aborted.round)
        return replace(self, phase=phase, seed=b"", held={}), (Finish(aborted.reason),)
