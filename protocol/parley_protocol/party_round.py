"""One party's side of a masked round (Bonawitz et al. 2017, against a gateway that may lie), without IO.

`PartyRound` is an immutable state; each event gives the next one and effects, or raises and changes nothing. Everything secret of a round
derives from one fresh 32-byte seed (`round_secrets`); signatures and boxes are deterministic: replaying the recorded events gives the same
bytes. Erasing the seed destroys the round. Messages of errors are for this party's operator: they may name its own floors, so they are not
sent on.

The security argument, numbered as the code is:
 1. A member seals only into a round whose base version it computed itself and has used in no other round, or only in rounds that are proven
 to be never opened (the caller gives `spec` only then, after `check_may_enter`), under terms whose thresholds hold up. 2. Keys count only
 if signed by the member's identity under this agreement, round and base version; fewer than t: refused. 3. Boxes open only under those
 keys; the shares in them are the ones that their owner signed. 4. It confirms one list only, and only one whose sums reach every floor, its
 own included, and isolate nobody. 5. It reveals only under t signatures on exactly that list, and of each member one kind of share:
 self-mask for survivors, mask key for dropouts. 6. It destroys its shares only if it has not revealed, and from then on takes no part;
 what the record of the round allows is `promises.Promise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from blake3 import blake3
from parley_crypto import ring, sumproof
from parley_crypto.errors import MalformedError
from parley_crypto.fixedpoint import FixedPoint
from parley_crypto.keys import KEY_BYTES, SIGNATURE_BYTES, SigningKey
from parley_crypto.masked import Context, MaskedSealing, add_pad
from parley_crypto.ring import RingVector
from parley_crypto.signing import Envelope, Signature
from parley_crypto.tagsize import tag_bits

from parley_protocol.bound import (
    advert_content,
    box_set_digest,
    check_round_keys,
    key_set_digest,
    manifest_content,
    own_segments,
    share_content,
    statement_digest,
    verify_row,
)
from parley_protocol.certificates import verify_certificate
from parley_protocol.columns import pack, unpack
from parley_protocol.commitments import HASH_BYTES, ShareContext, check_dealt, path_length
from parley_protocol.effects import Finish, SealNow, Send
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Reveal, Share, Survivor, SurvivorList
from parley_protocol.party_spec import PartySpec
from parley_protocol.phases import PARTY, Event, require
from parley_protocol.promises import Promise
from parley_protocol.relays import (
    Boxes,
    Certified,
    ConfirmPost,
    Keys,
    ListProposal,
    Post,
    ReleaseAsked,
    Released,
    RoundAborted,
    RoundRelay,
    SharePost,
)
from parley_protocol.release import release_post, verify_released
from parley_protocol.round_secrets import PeerKeys, RoundSecrets

Effect = Send | SealNow | Finish


@dataclass(frozen=True, repr=False)
class PartyRound:
    """The state of one party in one round. Its repr shows no secret."""

    spec: PartySpec
    seed: bytes
    promise: Promise
    phase: Phase = Phase.ADVERTISE
    parties: tuple[str, ...] = ()  # who advertised
    keys: Mapping[str, PeerKeys] = field(default_factory=dict)  # of those that this member deals with, itself included
    key_set: str = ""
    live: tuple[str, ...] = ()  # the segments in the round: at SHARE those with enough keys, from COLLECT on those with enough boxes
    boxes_from: tuple[str, ...] = ()
    held: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)  # owner -> secret -> share
    manifest: Envelope | None = None
    listed: SurvivorList | None = None  # the one it signed
    certificate: Envelope | None = None

    def __repr__(self) -> str:
        return f"PartyRound({self.spec.me}, round {self.spec.round}, {self.phase})"

    @classmethod
    def enter(cls, spec: PartySpec, seed: bytes) -> PartyRound:
        """Return the state before ADVERTISE; LocalProtocolError if these terms or this base version do not hold up."""
        spec.check_entry()
        return cls(spec, seed, Promise(spec.round))

    @cached_property
    def _secrets(self) -> RoundSecrets:
        return RoundSecrets(self.spec, self.seed)

    def _keeping(self, following: PartyRound) -> PartyRound:
        """Return the next state with what was derived from the seed; those that `_over` makes go without it."""
        if "_secrets" in self.__dict__:
            following.__dict__["_secrets"] = self._secrets
        return following

    @cached_property
    def _box_set(self) -> str:
        return box_set_digest(self.spec.terms, self.spec.round, self.boxes_from)

    def _post(self, kind: str, envelope: Envelope) -> Send:
        return Send(None, kind, Post(statement=envelope.dump().decode()))

    def _same_round(self, relay: RoundRelay) -> None:
        if (relay.agreement, relay.round) != (self.spec.agreement, self.spec.round):
            raise RemoteProtocolError(
                f"relay: wanted round {self.spec.round} of our agreement, got round {relay.round} of {relay.agreement[:16]}…"
            )

    def on_relay(self, relay: RoundRelay, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Take what the gateway passed on; RemoteProtocolError if it is out of turn or does not hold up, and nothing changes."""
        taken: tuple[PartyRound, tuple[Effect, ...]]
        match relay:
            case Keys():
                taken = self.on_keys(relay, key)
            case Boxes():
                taken = self.on_boxes(relay)
            case ListProposal():
                taken = self.on_list(relay, key)
            case Certified():
                taken = self.on_certified(relay, key)
            case RoundAborted():
                taken = self.on_aborted(relay)
            case ReleaseAsked():
                taken = self.on_release(relay, key)
            case Released():
                taken = self.on_released(relay)
            case _:
                raise RemoteProtocolError(f"round {self.spec.round}: {type(relay).__name__} is nothing that an open round answers")
        return taken

    # ADVERTISE

    def _advert(self, party: str, keys: PeerKeys) -> dict[str, object]:
        spec = self.spec
        return advert_content(spec.bound(), party, step=spec.step, parameters=spec.parameters, channel_key=keys.channel, mask_key=keys.mask)

    @property
    def _own_keys(self) -> PeerKeys:
        return PeerKeys(self._secrets.channel.public, self._secrets.mask.public)

    def advertise(self, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Enter the round: send this round's fresh keys."""
        advert = Advertise.model_validate(self._advert(self.spec.me, self._own_keys))
        return self, (self._post(Event.ADVERTISE, advert.sign(key)),)

    # SHARE

    def on_keys(self, keys: Keys, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Take all members' keys; send boxed shares of this round's secrets."""
        phase = require(PARTY, self.phase, Event.KEYS, self.spec.round)
        self._same_round(keys)
        taken, key_set = self._checked_keys(keys)
        live = self.spec.live(frozenset(keys.parties))
        state = self._keeping(replace(self, phase=phase, parties=keys.parties, keys=taken, key_set=key_set, live=live))
        return state, (state.share(key),)

    def share(self, key: SigningKey) -> Send:
        """Return SHARE: the boxed shares of this round's secrets, and the signed root over the hashes of shares and seeds."""
        dealt = self._secrets.deal(self.live, self.keys, self.key_set)
        statement = Share.model_validate(share_content(self.spec.bound(), self.spec.me, self.key_set, dealt.tree.root()))
        post = SharePost(
            statement=statement.sign(key).dump().decode(),
            hashes=pack(share for row in dealt.hashes for share in row),
            seeds=pack(dealt.seeds),
            boxes=dealt.boxes,
        )
        return Send(None, Event.SHARE, post)

    def _members_in_order(self, parties: tuple[str, ...], what: str) -> None:
        members = set(self.spec.cohort.members)
        if list(parties) != sorted(set(parties)) or not set(parties) <= members:
            raise RemoteProtocolError(f"{what}: wanted distinct members of the agreement in id order, got {parties}")
        if self.spec.me not in parties:
            raise RemoteProtocolError(f"{what}: our own are missing")
        if len(parties) < self.spec.terms.threshold:
            raise RemoteProtocolError(f"{what}: wanted at least {self.spec.terms.threshold} members, got {len(parties)}")

    def _checked_keys(self, keys: Keys) -> tuple[Mapping[str, PeerKeys], str]:
        spec = self.spec
        self._members_in_order(keys.parties, "keys")
        near = spec.cohort.near(spec.me, keys.parties)
        dealt_with = frozenset(near)
        far = [party for party in keys.parties if party not in dealt_with]
        columns = zip(
            unpack(keys.channel_keys, KEY_BYTES, len(near), "channel keys"),
            unpack(keys.mask_keys, KEY_BYTES, len(near), "mask keys"),
            unpack(keys.signatures, SIGNATURE_BYTES, len(near), "signatures"),
            strict=True,
        )
        taken: dict[str, PeerKeys] = {}
        digests = dict(zip(far, unpack(keys.others, HASH_BYTES, len(far), "other members' keys"), strict=True))
        for party, (channel_key, mask_key, signature) in zip(near, columns, strict=True):
            taken[party] = PeerKeys(channel_key, mask_key)
            payload = verify_row(Advertise, self._advert(party, taken[party]), spec.terms.member(party), signature, "keys")
            digests[party] = statement_digest(payload)
            check_round_keys(party, channel_key, mask_key)
        if taken[spec.me] != self._own_keys:
            raise RemoteProtocolError("keys: our own are altered")
        if len({key for row in taken.values() for key in (row.channel, row.mask)}) != 2 * len(taken):
            raise RemoteProtocolError("keys: one of them occurs twice")
        return taken, key_set_digest(digests)

    # COLLECT

    def on_boxes(self, boxes: Boxes) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Take the boxes of this party; from here on its vector can be sealed."""
        phase = require(PARTY, self.phase, Event.BOXES, self.spec.round)
        self._same_round(boxes)
        spec = self.spec
        self._members_in_order(boxes.parties, "boxes")
        held = {spec.me: self._secrets.own_shares(self.live), **self._opened(boxes)}
        still = spec.live(frozenset(boxes.parties))
        live = tuple(name for name in self.live if name in still)
        taken = self._keeping(replace(self, phase=phase, held=held, boxes_from=boxes.parties, live=live))
        return taken, (SealNow(own_segments(spec.workload, live, spec.me)),)

    def _opened(self, boxes: Boxes) -> dict[str, Mapping[str, bytes]]:
        spec = self.spec
        owners = [party for party in spec.cohort.sharing(spec.me, boxes.parties) if party != spec.me]
        if strangers := set(boxes.parties) - set(self.parties):
            raise RemoteProtocolError(f"boxes: wanted only those of members with keys in this round, got {sorted(strangers)}")
        if len(boxes.boxes) != len(owners) or len(boxes.paths) != len(owners):
            raise RemoteProtocolError(
                f"boxes: wanted a box and a path from each of {owners}, got {len(boxes.boxes)} and {len(boxes.paths)}"
            )
        rows = zip(
            unpack(boxes.roots, HASH_BYTES, len(owners), "roots"),
            unpack(boxes.signatures, SIGNATURE_BYTES, len(owners), "signatures"),
            boxes.boxes,
            boxes.paths,
            strict=True,
        )
        held: dict[str, Mapping[str, bytes]] = {}
        for owner, (root, signature, box, path) in zip(owners, rows, strict=True):
            verify_row(Share, share_content(spec.bound(), owner, self.key_set, root), spec.terms.member(owner), signature, "share")
            shares = self._secrets.open(owner, box, self.keys[owner].channel, self.key_set, self.live)
            self._check_dealt(owner, root, shares, path)
            held[owner] = shares
        return held

    def _check_dealt(self, owner: str, root: bytes, shares: Mapping[str, bytes], path: str) -> None:
        spec = self.spec
        recipients = spec.cohort.sharing(owner, self.parties)
        index, size = recipients.index(spec.me), len(recipients) + 1
        nodes = unpack(path, HASH_BYTES, path_length(index, size), f"path of {owner}")
        context = ShareContext(spec.agreement, spec.round, owner)
        check_dealt(root, [context.share_hash(spec.me, name, share) for name, share in shares.items()], index, size, nodes, owner)

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
        body = bytearray()
        bits = tag_bits(spec.workload.encoding.width)
        for name, vector in vectors.items():
            peers = {peer: self.keys[peer].mask for peer in spec.cohort.masked_with(spec.me, name, self.boxes_from)}
            context = Context(spec.agreement, spec.round, spec.base, name)
            own = self._secrets
            sealing = MaskedSealing.prepare(context, me=spec.me, self_seed=own.self_seed(name), mask_key=own.mask, peers=peers)
            tags = sumproof.tags(vector, context.proof_key(spec.members_key), spec.me)
            if spec.terms.opened_sums_readable_by == "parties":
                add_pad(vector, context.pad_key(spec.members_key, spec.me))
            sealing.seal(vector)
            body += ring.to_bytes(vector) + sealing.seal_tags(tags, bits)
        manifest = Manifest.model_validate(self._manifest(spec.me, blake3(body).digest())).sign(key)
        sealed, effects = self.on_sealed(manifest)
        return sealed, bytes(body), effects

    def _manifest(self, party: str, body: bytes) -> dict[str, object]:
        return manifest_content(self.spec.bound(), party, self.spec.workload, self.live, self._box_set, body)

    def _check_vector(self, name: str, vector: RingVector) -> None:
        terms, encoding = self.spec.workload.segment(name), self.spec.workload.encoding
        if vector.shape != (terms.length,) or vector.dtype != ring.dtype_of(encoding.width):
            raise MalformedError(f"seal {name}: wanted {terms.length} coordinates, got {vector.shape} of {vector.dtype}")
        FixedPoint(encoding.width, encoding.fraction_bits, encoding.bound, len(terms.members)).check_encoded(vector)

    def on_sealed(self, manifest: Envelope) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Take the manifest of the sealed update, fresh or recorded; from here on the base version is spent."""
        phase = require(PARTY, self.phase, Event.SEALED, self.spec.round)
        sealed = self._keeping(replace(self, phase=phase, manifest=manifest, promise=self.promise.uploaded()))
        return sealed, (self._post(Event.COLLECT, manifest),)

    # CONFIRM

    def on_list(self, proposal: ListProposal, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Check the survivor list to the letter, and sign it; a second, different list is refused for ever."""
        phase = require(PARTY, self.phase, Event.LIST, self.spec.round)
        self._same_round(proposal)
        self._check_list(proposal)
        listed = self._listed(proposal)
        promise = self.promise.confirmed(listed.digest())
        signature = Envelope.sign(SurvivorList.kind, listed.canonical(), key).signatures[0].sig
        post = ConfirmPost(agreement=self.spec.agreement, round=self.spec.round, listed=listed.digest(), signature=pack([signature]))
        return self._keeping(replace(self, phase=phase, listed=listed, promise=promise)), (Send(None, Event.CONFIRM, post),)

    def _check_list(self, proposal: ListProposal) -> None:
        spec, parties = self.spec, proposal.survivors
        if list(parties) != sorted(set(parties)) or not set(parties) <= set(self.boxes_from):
            raise RemoteProtocolError(f"survivor list: wanted some of {self.boxes_from} in id order, got {parties}")
        if len(parties) < spec.terms.threshold:
            raise RemoteProtocolError(f"survivor list: wanted at least {spec.terms.threshold} members, got {len(parties)}")
        still = spec.live(frozenset(parties))
        wanted_open = tuple(name for name in self.live if name in still)
        if not wanted_open or proposal.openable != wanted_open:
            raise RemoteProtocolError(f"survivor list: wanted {wanted_open or 'a shared part'} to be opened, got {proposal.openable}")

    def _listed(self, proposal: ListProposal) -> SurvivorList:
        """Return the list that the proposal makes, each of its manifests verified."""
        spec, count = self.spec, len(proposal.survivors)
        bodies = unpack(proposal.bodies, HASH_BYTES, count, "bodies")
        signatures = unpack(proposal.signatures, SIGNATURE_BYTES, count, "signatures")
        survivors = []
        for party, body, signature in zip(proposal.survivors, bodies, signatures, strict=True):
            payload = verify_row(Manifest, self._manifest(party, body), spec.terms.member(party), signature, "manifest")
            if party == spec.me and (self.manifest is None or payload != self.manifest.payload):
                raise RemoteProtocolError("survivor list: it lists an update under our name that is not ours")
            survivors.append(Survivor(party=party, manifest=statement_digest(payload).hex()))
        return SurvivorList.model_validate(
            {
                **spec.bound(),
                "step": spec.step,
                "parameters": spec.parameters,
                "previous": spec.chain.head,
                "boxes_from": self.boxes_from,
                "survivors": tuple(survivors),
                "openable": proposal.openable,
            }
        )

    # REVEAL

    def on_certified(self, certified: Certified, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Reveal shares under a certificate: of each member that sent a box exactly one kind."""
        phase = require(PARTY, self.phase, Event.CERTIFIED, self.spec.round)
        self._same_round(certified)
        certificate = self._certificate(certified)
        listed = verify_certificate(self.spec.terms, certificate, self.listed)
        promise = self.promise.revealed(listed.digest())
        statement = self._reveal(listed)
        state = self._keeping(replace(self, phase=phase, promise=promise, certificate=certificate))
        return state, (self._post(Event.REVEAL, statement.sign(key)),)

    def _certificate(self, certified: Certified) -> Envelope:
        terms = self.spec.terms
        if self.listed is None:
            raise RemoteProtocolError(f"round {self.spec.round}: got a certificate before its survivor list")
        if not set(certified.signers) <= set(self.spec.cohort.members):
            raise RemoteProtocolError(f"certificate: wanted signatures of members, got {certified.signers}")
        signatures = unpack(certified.signatures, SIGNATURE_BYTES, len(certified.signers), "certificate")
        rows = (Signature(terms.member(party).key.fingerprint, raw) for party, raw in zip(certified.signers, signatures, strict=True))
        return Envelope(SurvivorList.kind, self.listed.canonical(), tuple(rows))

    def _reveal(self, listed: SurvivorList) -> Reveal:
        spec, survivors = self.spec, listed.parties
        owners = [owner for owner in self.boxes_from if owner in self.held]
        seeds = {
            name: [owner for owner in owners if owner in survivors and owner in spec.workload.segment(name).member_set]
            for name in listed.openable
        }
        dropouts = [owner for owner in owners if owner not in survivors]
        both = set(dropouts) & {owner for row in seeds.values() for owner in row}
        if both:
            raise LocalProtocolError(f"reveal: both shares of {sorted(both)} in one round are never given")
        return Reveal.model_validate(
            {
                **spec.bound(),
                "party": spec.me,
                "certificate": listed.digest(),
                "seeds": {name: pack(self.held[owner][f"self/{name}"] for owner in row) for name, row in seeds.items()},
                "mask_keys": pack(self.held[owner]["mask"] for owner in dropouts),
            }
        )

    # the end

    def verified(self, certificate: Envelope) -> SurvivorList | None:
        """Return the list of `certificate` if it is the one that this state has verified and keeps."""
        return self.listed if certificate is self.certificate else None

    def _over(self, phase: Phase, promise: Promise) -> PartyRound:
        """Return the state without a secret."""
        return replace(self, phase=phase, promise=promise, seed=b"", held={}, keys={})

    def on_opened(self) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Close the round: its sums are open, and the caller has verified certificate and statement."""
        phase = require(PARTY, self.phase, Event.OPENED, self.spec.round)
        return self._over(phase, self.promise.certified()), (Finish(None),)

    def on_aborted(self, aborted: RoundAborted) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Give the round up. Once boxes are here the gateway's word for it proves nothing, and it is refused (invariant 3)."""
        phase = require(PARTY, self.phase, Event.ABORTED, self.spec.round)
        self._same_round(aborted)
        return self._over(phase, self.promise.given_up()), (Finish(aborted.reason),)

    def on_release(self, asked: ReleaseAsked, key: SigningKey) -> tuple[PartyRound, tuple[Effect, ...]]:
        """Destroy the round's secrets and say so, unless shares were revealed: then the round can only be finished."""
        phase = require(PARTY, self.phase, Event.RELEASE, self.spec.round)
        self._same_round(asked)
        promise = self.promise.released_by_me()
        return self._over(phase, promise), (release_post(self.spec.terms, self.spec.round, self.spec.me, key),)

    def on_released(self, proof: Released) -> tuple[PartyRound, tuple[Effect, ...]]:
        """End the round: enough members have destroyed their shares, so nobody can open it, and its base version can be used again."""
        phase = require(PARTY, self.phase, Event.RELEASED, self.spec.round)
        self._same_round(proof)
        verify_released(self.spec.cohort, proof, self.boxes_from or self.spec.cohort.members)
        return self._over(phase, self.promise.proven_released()), (Finish("released"),)
