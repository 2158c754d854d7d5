"""The gateway's side of a masked round, without IO.

It collects statements, decides when a phase has waited long enough, and names whom it waits for. It is trusted with nothing but
availability: every check here protects an honest gateway from a broken party; what protects the parties from a broken gateway is in
`party_round`.

A phase closes when every awaited member has answered or is gone (not connected for `grace_seconds`, as the service sees it), or at its
deadline. Before boxes are handed out a round that cannot reach its thresholds is ABORTED; from then on an update may be on its way, so it
is finished, never retried: it waits.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from parley_crypto.errors import CryptoError
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import StepTerms, Terms

from parley_protocol.bound import (
    body_size,
    box_size,
    check_round_keys,
    decoded_size,
    key_set_digest,
    load_envelope,
    own_segments,
    read_bound,
    secrets_of,
    share_hash,
)
from parley_protocol.certificates import Chain, openable
from parley_protocol.effects import Finish, OpenNow, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.limits import INLINE_BYTES
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
    SumOpened,
    Survivor,
    SurvivorList,
    Withdrawn,
)
from parley_protocol.phases import GATEWAY, Event, require

Effect = Send | OpenNow | Finish
T = TypeVar("T", Advertise, Share, Manifest)


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """A round as the gateway opens it: `expected` are the members that were connected."""

    terms: Terms
    round: int
    step: int
    chain: Chain
    expected: frozenset[str]
    opened_at: float  # seconds, the service's clock

    @property
    def workload(self) -> StepTerms:
        """The step of the agreement that this round belongs to."""
        return self.terms.steps[self.step]


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened: the service's clock in seconds, and who has not been connected for the agreed grace."""

    now: float
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """One statement as it came and as it was read, with the boxes beside it."""

    envelope: Envelope
    statement: T
    boxes: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The envelope as it is relayed."""
        return self.envelope.dump().decode()


@dataclass(frozen=True, slots=True)
class GatewayRound:
    """The state of one round at the gateway."""

    spec: GatewaySpec
    phase: Phase = Phase.ADVERTISE
    phase_since: float = 0.0
    adverts: Mapping[str, Received[Advertise]] = field(default_factory=dict)
    base: str = ""
    parameters: str = ""
    shared: tuple[str, ...] = ()  # segments with enough keys: seeds of these were shared
    shares: Mapping[str, Received[Share]] = field(default_factory=dict)
    boxes_from: tuple[str, ...] = ()
    live: tuple[str, ...] = ()  # segments with enough boxes: vectors of these are sealed
    manifests: Mapping[str, Received[Manifest]] = field(default_factory=dict)
    listed: SurvivorList | None = None
    certificate: Envelope | None = None
    reveals: Mapping[str, Reveal] = field(default_factory=dict, repr=False)  # shares of this round's secrets, until it closes
    withdrawn: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, spec: GatewaySpec) -> GatewayRound:
        """Open a round; the caller sends ROUND_OPEN with each party's log proof."""
        return cls(spec, phase_since=spec.opened_at)

    # what came

    def on_post(self, party: str, event: Event, post: Post, at: Moment) -> tuple[GatewayRound, tuple[Effect, ...]]:
        """Take a party's statement; repeated ones change nothing, wrong ones raise RemoteProtocolError."""
        require(GATEWAY, self.phase, event, self.spec.round)
        match event:
            case Event.ADVERTISE:
                taken = self._on_advertise(party, post)
            case Event.SHARE:
                taken = self._on_share(party, post)
            case Event.COLLECT:
                taken = self._on_collect(party, post)
            case Event.CONFIRM:
                taken = self._on_confirm(party, post)
            case Event.REVEAL:
                taken = self._on_reveal(party, post)
            case _:
                raise RemoteProtocolError(f"round {self.spec.round}: {event} is not a party's to post")
        return taken.advance(at)

    def on_withdrawn(self, party: str, post: Post, at: Moment) -> tuple[GatewayRound, tuple[Effect, ...]]:
        """Take a party's signed word that it takes no further part."""
        _, statement = read_bound(post.statement, Withdrawn, self.spec.terms, self.spec.round, None)
        self._same_author(party, statement.party)
        return replace(self, withdrawn={**self.withdrawn, party: statement.reason}).advance(at)

    def on_tick(self, at: Moment) -> tuple[GatewayRound, tuple[Effect, ...]]:
        """Let time pass."""
        return self.advance(at)

    def _same_author(self, party: str, author: str) -> None:
        if party != author:
            raise RemoteProtocolError(f"statement of {author}: posted by {party}")

    def _on_advertise(self, party: str, post: Post) -> GatewayRound:
        envelope, advert = read_bound(post.statement, Advertise, self.spec.terms, self.spec.round, None)
        self._same_author(party, advert.party)
        if advert.step != self.spec.step:
            raise RemoteProtocolError(f"keys of {party}: wanted step {self.spec.step}, got {advert.step}")
        if advert.base in self.spec.chain.bases:
            raise RemoteProtocolError(f"keys of {party}: base version {advert.base[:16]}… has an opened list already")
        check_round_keys(advert)
        taken = {
            key for other, row in self.adverts.items() if other != party for key in (row.statement.channel_key, row.statement.mask_key)
        }
        if {advert.channel_key, advert.mask_key} & taken:
            raise RemoteProtocolError(f"keys of {party}: another member has advertised one of them")
        return replace(self, adverts={**self.adverts, party: Received(envelope, advert)})

    def _on_share(self, party: str, post: Post) -> GatewayRound:
        if not isinstance(post, SharePost):
            raise RemoteProtocolError(f"share of {party}: wanted boxes beside the statement")
        envelope, share = read_bound(post.statement, Share, self.spec.terms, self.spec.round, self.base)
        self._same_author(party, share.party)
        if set(share.seed_hashes) != set(own_segments(self.spec.workload, self.shared, party)):
            raise RemoteProtocolError(f"share of {party}: wanted seeds of its segments in {self.shared}, got {sorted(share.seed_hashes)}")
        peers = set(self.adverts)
        if party not in peers or set(share.share_hashes) != peers or set(post.boxes) != peers - {party}:
            raise RemoteProtocolError(f"share of {party}: wanted hashes and boxes for {sorted(peers)}")
        if share.keys != key_set_digest(row.statement for row in self.adverts.values()):
            raise RemoteProtocolError(f"share of {party}: it answers other keys than the ones sent to it")
        # What no peer could use is refused here and named, before boxes are out and the round can only be finished.
        secrets = len(secrets_of(self.spec.workload, self.shared, party))
        hashes = {len(row) for row in share.share_hashes.values()}
        sizes = {decoded_size(box) for box in post.boxes.values()}
        if hashes != {secrets} or not sizes <= {box_size(secrets)}:
            raise RemoteProtocolError(f"share of {party}: wanted {secrets} hashes and a box of {box_size(secrets)} bytes for each member")
        return replace(self, shares={**self.shares, party: Received(envelope, share, post.boxes)})

    def _on_collect(self, party: str, post: Post) -> GatewayRound:
        envelope, manifest = read_bound(post.statement, Manifest, self.spec.terms, self.spec.round, self.base)
        self._same_author(party, manifest.party)
        segments = own_segments(self.spec.workload, self.live, party)
        wanted = (self.boxes_from, segments, body_size(self.spec.workload, segments))
        if party not in self.boxes_from or (manifest.boxes_from, manifest.segments, manifest.size) != wanted:
            raise RemoteProtocolError(f"manifest of {party}: wanted boxes, segments and bytes {wanted}, got {manifest.size} bytes")
        return replace(self, manifests={**self.manifests, party: Received(envelope, manifest)})

    def _on_confirm(self, party: str, post: Post) -> GatewayRound:
        envelope = load_envelope(post.statement, "signature on the survivor list")
        if self.certificate is None or envelope.payload != self.certificate.payload or envelope.payload_type != SurvivorList.kind:
            raise RemoteProtocolError(f"signature of {party}: wanted one on the proposed survivor list, got one on something else")
        if party not in self.boxes_from:
            raise RemoteProtocolError(f"signature of {party}: wanted one of a member that sent boxes in this round")
        if len(envelope.signatures) != 1:  # a second one beside it would be joined unverified
            raise RemoteProtocolError(f"signature of {party}: wanted one, got {len(envelope.signatures)}")
        try:
            envelope.verify(SurvivorList.kind, self.spec.terms.member(party).key)
        except CryptoError as error:
            raise RemoteProtocolError(f"signature of {party}: {error}") from error
        return replace(self, certificate=self.certificate.joined(envelope))

    def _on_reveal(self, party: str, post: Post) -> GatewayRound:
        listed = self._listed()
        _, reveal = read_bound(post.statement, Reveal, self.spec.terms, self.spec.round, self.base)
        self._same_author(party, reveal.party)
        survivors = listed.parties
        wanted_seeds = {name: {p for p in survivors if p in self.spec.workload.segment(name).members} for name in listed.openable}
        got_seeds = {name: set(owners) for name, owners in reveal.seeds.items()}
        dropouts = set(self.boxes_from) - survivors
        if reveal.certificate != listed.digest() or got_seeds != wanted_seeds or set(reveal.mask_keys) != dropouts:
            raise RemoteProtocolError(f"shares of {party}: wanted self-mask shares of {sorted(survivors)}, mask keys of {sorted(dropouts)}")
        for owner, share in reveal.mask_keys.items():
            self._check_share(party, owner, "mask", share)
        for name, owners in reveal.seeds.items():
            for owner, share in owners.items():
                self._check_share(party, owner, f"self/{name}", share)
        return replace(self, reveals={**self.reveals, party: reveal})

    def _check_share(self, revealer: str, owner: str, secret: str, share: str) -> None:
        names = secrets_of(self.spec.workload, self.shared, owner)
        signed = dict(zip(names, self.shares[owner].statement.share_hashes.get(revealer, ()), strict=False))
        made = share_hash(self.spec.terms, self.spec.round, owner=owner, recipient=revealer, secret=secret, share=bytes.fromhex(share))
        if signed.get(secret) != made:
            raise RemoteProtocolError(f"share of {secret} of {owner}, revealed by {revealer}: not the one that {owner} signed")

    def _listed(self) -> SurvivorList:
        if self.listed is None:
            raise RemoteProtocolError(f"round {self.spec.round}: there is no survivor list yet")
        return self.listed

    # what follows

    def waits_for(self) -> tuple[str, ...]:
        """Return the members whose answer this phase still lacks, in id order."""
        lacking: set[str] = set()
        match self.phase:
            case Phase.ADVERTISE:
                lacking = set(self.spec.expected) - set(self.adverts)
            case Phase.SHARE:
                lacking = set(self.adverts) - set(self.shares)
            case Phase.COLLECT:
                lacking = set(self.boxes_from) - set(self.manifests)
            case Phase.CONFIRM:
                lacking = set(self.boxes_from) - set(self._signers())
            case Phase.REVEAL:
                lacking = set(self.boxes_from) - set(self.reveals)
            case Phase.CLOSED | Phase.ABORTED:
                pass
        return tuple(sorted(lacking))

    def _waits(self, at: Moment, seconds: float) -> bool:
        return bool(set(self.waits_for()) - at.gone - set(self.withdrawn)) and at.now - self.phase_since < seconds

    def _signers(self) -> tuple[str, ...]:
        if self.certificate is None:
            return ()
        by_fingerprint = {member.key.fingerprint: member.party for member in self.spec.terms.members}
        return tuple(by_fingerprint[signature.keyid] for signature in self.certificate.signatures)

    def advance(self, at: Moment) -> tuple[GatewayRound, tuple[Effect, ...]]:
        """Close the phase if nothing more is to be waited for."""
        timing = self.spec.terms.timing
        closed: tuple[GatewayRound, tuple[Effect, ...]] = (self, ())
        match self.phase:
            case Phase.ADVERTISE if not self._waits(at, timing.phase_seconds):
                closed = self._close_advertise(at.now)
            case Phase.SHARE if not self._waits(at, timing.phase_seconds):
                closed = self._close_share(at.now)
            case Phase.COLLECT if not self._waits(at, timing.round_seconds):
                closed = self._close_collect(at.now)
            case Phase.CONFIRM:
                closed = self._close_confirm(at.now)
            case Phase.REVEAL if len(self.reveals) >= self.spec.terms.threshold:
                closed = (self, (OpenNow(),))
            case _:
                pass
        return closed

    def _openable(self, present: frozenset[str], parameters: str) -> tuple[str, ...]:
        return openable(self.spec.terms, self.spec.workload, self.spec.chain, parameters, present)

    def _abort(self, what: str, got: int, now: float) -> tuple[GatewayRound, tuple[Effect, ...]]:
        spec = self.spec
        missing = ", ".join(sorted({member.party for member in spec.terms.members} - set(self.shares or self.adverts))) or "nobody"
        reasons = "".join(f"; {party} withdrew: {reason}" for party, reason in sorted(self.withdrawn.items()))
        reason = (
            f"round {spec.round} given up in {self.phase}: {what} of {got} parties, wanted {spec.terms.threshold} and enough for one "
            f"shared part; missing: {missing}{reasons}"
        )
        aborted = RoundAborted(agreement=spec.terms.digest(), round=spec.round, reason=reason[:2_000])
        sends = tuple(Send(party, Event.ABORTED, aborted) for party in sorted(spec.expected | set(self.adverts)))
        return replace(self, phase=Phase.ABORTED, phase_since=now), (*sends, Finish(reason))

    def _close_advertise(self, now: float) -> tuple[GatewayRound, tuple[Effect, ...]]:
        # Members whose public state differs from most members' cannot take part: their masks would bind another base version.
        states = Counter((row.statement.base, row.statement.parameters) for _, row in sorted(self.adverts.items()))
        (base, parameters), _ = states.most_common(1)[0] if states else (("", ""), 0)
        adverts = {
            party: row
            for party, row in sorted(self.adverts.items())
            if (row.statement.base, row.statement.parameters) == (base, parameters)
        }
        shared = self._openable(frozenset(adverts), parameters)
        if len(adverts) < self.spec.terms.threshold or not shared:
            return self._abort("keys", len(adverts), now)
        state = replace(self, phase=Phase.SHARE, phase_since=now, adverts=adverts, base=base, parameters=parameters, shared=shared)
        keys = Keys(agreement=self.spec.terms.digest(), round=self.spec.round, adverts=tuple(row.text for row in adverts.values()))
        return state, tuple(Send(party, Event.KEYS, keys) for party in adverts)

    def _close_share(self, now: float) -> tuple[GatewayRound, tuple[Effect, ...]]:
        shares = dict(sorted(self.shares.items()))
        still = self._openable(frozenset(shares), self.parameters)
        live = tuple(name for name in self.shared if name in still)
        if len(shares) < self.spec.terms.threshold or not live:
            return self._abort("boxes", len(shares), now)
        state = replace(self, phase=Phase.COLLECT, phase_since=now, shares=shares, boxes_from=tuple(shares), live=live)
        texts = tuple(row.text for row in shares.values())
        sends = []
        for party in shares:
            boxes = {owner: row.boxes[party] for owner, row in shares.items() if owner != party}
            relay = Boxes(agreement=self.spec.terms.digest(), round=self.spec.round, shares=texts, boxes=boxes)
            sends.append(Send(party, Event.BOXES, relay))
        return state, tuple(sends)

    def _close_collect(self, now: float) -> tuple[GatewayRound, tuple[Effect, ...]]:
        manifests = dict(sorted(self.manifests.items()))
        still = self._openable(frozenset(manifests), self.parameters)
        open_now = tuple(name for name in self.live if name in still)
        if len(manifests) < self.spec.terms.threshold or not open_now:
            return self, ()  # an update may have been sent: the round is finished, never retried
        listed = SurvivorList(
            study=self.spec.terms.study,
            agreement=self.spec.terms.digest(),
            round=self.spec.round,
            base=self.base,
            step=self.spec.step,
            parameters=self.parameters,
            previous=self.spec.chain.head,
            boxes_from=self.boxes_from,
            survivors=tuple(Survivor(party=party, manifest=row.statement.digest()) for party, row in manifests.items()),
            openable=open_now,
        )
        state = replace(
            self,
            phase=Phase.CONFIRM,
            phase_since=now,
            manifests=manifests,
            listed=listed,
            certificate=Envelope(SurvivorList.kind, listed.canonical(), ()),
        )
        proposal = ListProposal(
            agreement=listed.agreement,
            round=listed.round,
            payload=listed.canonical().decode(),
            manifests=tuple(row.text for row in manifests.values()),
        )
        return state, tuple(Send(party, Event.LIST, proposal) for party in self.boxes_from)

    def _close_confirm(self, now: float) -> tuple[GatewayRound, tuple[Effect, ...]]:
        if self.certificate is None or len(self.certificate.signatures) < self.spec.terms.threshold:
            return self, ()
        certified = Certified(agreement=self.spec.terms.digest(), round=self.spec.round, certificate=self.certificate.dump().decode())
        state = replace(self, phase=Phase.REVEAL, phase_since=now)
        return state, tuple(Send(party, Event.CERTIFIED, certified) for party in self.boxes_from)

    def on_opened(self, opened: Envelope, now: float, sums: bytes = b"") -> tuple[GatewayRound, tuple[Effect, ...]]:
        """Close the round: the sums are open and `opened` states their digests. Small `sums` (all ring bytes) are sent along."""
        phase = require(GATEWAY, self.phase, Event.OPENED, self.spec.round)
        if self.certificate is None:
            raise RemoteProtocolError(f"round {self.spec.round}: opened without a certificate")
        notice = SumOpened(
            agreement=self.spec.terms.digest(),
            round=self.spec.round,
            certificate=self.certificate.dump().decode(),
            opened=opened.dump().decode(),
            sums=base64.b64encode(sums).decode() if len(sums) <= INLINE_BYTES else "",
        )
        sends = tuple(Send(member.party, Event.OPENED, notice) for member in self.spec.terms.members)
        return replace(self, phase=phase, phase_since=now, reveals={}), (*sends, Finish(None))
