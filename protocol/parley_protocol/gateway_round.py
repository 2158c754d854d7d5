"""The gateway's side of a masked round, without IO.

It collects statements, decides when a phase has waited long enough, and names whom it waits for. It is trusted with nothing but
availability: every check here protects an honest gateway from a broken party; what protects the parties from a broken gateway is in
`party_round`.

A phase closes when every awaited member has answered or is gone (not connected for `grace_seconds`, as the service sees it), or at its
deadline. Before boxes are handed out a round that cannot reach its thresholds is ABORTED; from then on an update may be on its way. Then it
is finished, or all members are asked to destroy their shares (RELEASE): once enough have, the base version can be used again. It asks only
while nobody was sent a certificate, and sends none afterwards, so that no member reveals while another one releases.
"""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, replace

from parley_crypto.signing import Envelope

from parley_protocol.bound import box_set_digest, key_set_digest
from parley_protocol.codec import AnyPost
from parley_protocol.effects import Finish, OpenNow, Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_posts import take, take_withdrawn
from parley_protocol.gateway_relays import asked_of, boxes_for, certified_of, keys_for, proposal_of, released_of
from parley_protocol.gateway_state import GatewaySpec, GatewayState, Moment
from parley_protocol.ids import Phase
from parley_protocol.limits import INLINE_BYTES
from parley_protocol.messages import Survivor, SurvivorList
from parley_protocol.phases import GATEWAY, Event, require
from parley_protocol.relays import Post, RoundAborted, SumOpened

Effect = Send | OpenNow | Finish
Step = tuple["GatewayRound", tuple[Effect, ...]]


@dataclass(frozen=True)
class GatewayRound(GatewayState):
    """The state of one round at the gateway, and what each event makes of it."""

    @classmethod
    def open(cls, spec: GatewaySpec) -> GatewayRound:
        """Open a round; the caller sends ROUND_OPEN with each party's log proof."""
        return cls(spec, phase_since=spec.opened_at)

    @classmethod
    def lost(cls, spec: GatewaySpec) -> GatewayRound:
        """Return a round of which only the number is known, after a restore: it can only be released, by all whom it may bind."""
        return cls(spec, phase=Phase.RELEASE, phase_since=spec.opened_at, boxes_from=spec.cohort.members)

    # what came

    def on_post(self, party: str, event: Event, post: AnyPost, at: Moment) -> Step:
        """Take a party's statement; repeated ones change nothing, wrong ones raise RemoteProtocolError."""
        require(GATEWAY, self.phase, event, self.spec.round)
        return take(self, party, event, post).advance(at)

    def on_withdrawn(self, party: str, post: Post, at: Moment) -> Step:
        """Take a party's signed word that it takes no further part."""
        return take_withdrawn(self, party, post).advance(at)

    def on_tick(self, at: Moment) -> Step:
        """Let time pass."""
        return self.advance(at)

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
            case Phase.RELEASE:
                lacking = set(self.spec.cohort.members) - set(self.releases)
            case Phase.CLOSED | Phase.ABORTED | Phase.RELEASED:
                pass
        return tuple(sorted(lacking))

    def _waits(self, at: Moment, seconds: float) -> bool:
        return bool(set(self.waits_for()) - at.gone - set(self.withdrawn)) and at.now - self.phase_since < seconds

    def _signers(self) -> tuple[str, ...]:
        return certified_of(self).signers if self.listed is not None else ()

    def advance(self, at: Moment) -> Step:
        """Close the phase if nothing more is to be waited for."""
        timing = self.spec.terms.timing
        closed: Step = (self, ())
        match self.phase:
            case Phase.ADVERTISE if not self._waits(at, timing.phase_seconds):
                closed = self._close_advertise(at.now)
            case Phase.SHARE if not self._waits(at, timing.phase_seconds):
                closed = self._close_share(at.now)
            case Phase.COLLECT if not self._waits(at, timing.round_seconds):
                closed = self._close_collect(at)
            case Phase.CONFIRM:
                closed = self._close_confirm(at)
            case Phase.REVEAL if self.is_revealed():
                closed = (self, (OpenNow(),))
            case Phase.RELEASE if self.spec.cohort.is_released(self.releases, self.boxes_from):
                closed = self._close_release(at.now)
            case _:
                pass
        return closed

    def _abort(self, what: str, got: int, now: float) -> Step:
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

    def _close_advertise(self, now: float) -> Step:
        # Members whose public state differs from most members' cannot take part: their masks would bind another base version.
        states = Counter((row.statement.base, row.statement.parameters) for _, row in sorted(self.adverts.items()))
        (base, parameters), _ = states.most_common(1)[0] if states else (("", ""), 0)
        adverts = {
            party: row
            for party, row in sorted(self.adverts.items())
            if (row.statement.base, row.statement.parameters) == (base, parameters)
        }
        shared = self.openable(frozenset(adverts), parameters)
        if len(adverts) < self.spec.terms.threshold or not shared:
            return self._abort("keys", len(adverts), now)
        keys = key_set_digest({party: row.digest for party, row in adverts.items()})
        opened = replace(self, phase=Phase.SHARE, phase_since=now, adverts=adverts, key_set=keys)
        state = replace(opened, base=base, parameters=parameters, shared=shared)
        return state, tuple(Send(party, Event.KEYS, keys_for(state, party)) for party in adverts)

    def _close_share(self, now: float) -> Step:
        shares = dict(sorted(self.shares.items()))
        still = self.openable(frozenset(shares), self.parameters)
        live = tuple(name for name in self.shared if name in still)
        if len(shares) < self.spec.terms.threshold or not live:
            return self._abort("boxes", len(shares), now)
        box_set = box_set_digest(self.spec.terms, self.spec.round, shares)
        state = replace(self, phase=Phase.COLLECT, phase_since=now, shares=shares, boxes_from=tuple(shares), box_set=box_set, live=live)
        return state, tuple(Send(party, Event.BOXES, boxes_for(state, party)) for party in shares)

    def _close_collect(self, at: Moment) -> Step:
        manifests = dict(sorted(self.manifests.items()))
        still = self.openable(frozenset(manifests), self.parameters)
        open_now = tuple(name for name in self.live if name in still)
        if len(manifests) < self.spec.terms.threshold or not open_now:
            return self._expire(at, self.spec.terms.timing.round_seconds, f"updates of {len(manifests)} parties")
        listed = SurvivorList(
            study=self.spec.terms.study,
            agreement=self.spec.terms.digest(),
            round=self.spec.round,
            base=self.base,
            step=self.spec.step,
            parameters=self.parameters,
            previous=self.spec.chain.head,
            boxes_from=self.boxes_from,
            survivors=tuple(Survivor(party=party, manifest=row.digest.hex()) for party, row in manifests.items()),
            openable=open_now,
        )
        certificate = Envelope(SurvivorList.kind, listed.canonical(), ())
        state = replace(self, phase=Phase.CONFIRM, phase_since=at.now, manifests=manifests, listed=listed, certificate=certificate)
        proposal = proposal_of(state)
        return state, tuple(Send(party, Event.LIST, proposal) for party in self.boxes_from)

    def _close_confirm(self, at: Moment) -> Step:
        if self.certificate is None or len(self.certificate.signatures) < self.spec.terms.threshold:
            return self._expire(at, self.spec.terms.timing.phase_seconds, f"signatures of {len(self._signers())} parties on the list")
        certified = certified_of(self)
        state = replace(self, phase=Phase.REVEAL, phase_since=at.now)
        return state, tuple(Send(party, Event.CERTIFIED, certified) for party in self.boxes_from)

    def _expire(self, at: Moment, seconds: float, got: str) -> Step:
        """Ask everyone to destroy its shares, if the round cannot be finished in time and enough members are here to release it.

        While those who are here could still finish it, perhaps just back, they get the phase's time once more.
        """
        spec, members = self.spec, frozenset(self.spec.cohort.members)
        left = frozenset(self.boxes_from) - frozenset(self.withdrawn)
        hopeless = len(left) < spec.terms.threshold or not self.openable(left, self.parameters)
        here = left - at.gone
        patience = seconds * (2 if len(here) >= spec.terms.threshold and self.openable(here, self.parameters) else 1)
        if not hopeless and at.now - self.phase_since < patience:
            return self, ()
        if not spec.cohort.is_released(members - at.gone, self.boxes_from):
            return self, ()  # those who come back may still finish it
        reason = (
            f"round {spec.round} cannot be finished in {self.phase}: {got}, wanted {spec.terms.threshold} and enough for one shared part; "
            f"waited for {', '.join(self.waits_for()) or 'nobody'}"
        )
        asked = asked_of(self, reason)
        state = replace(self, phase=require(GATEWAY, self.phase, Event.EXPIRED, spec.round), phase_since=at.now)
        return state, tuple(Send(party, Event.RELEASE, asked) for party in spec.cohort.members)

    def _close_release(self, now: float) -> Step:
        proof = released_of(self)
        sends = tuple(Send(party, Event.RELEASED, proof) for party in self.spec.cohort.members)
        reason = f"round {self.spec.round} was released by {len(self.releases)} parties: nobody can open it"
        return replace(self, phase=Phase.RELEASED, phase_since=now), (*sends, Finish(reason))

    def on_opened(self, opened: Envelope, now: float, sums: bytes = b"") -> Step:
        """Close the round: the sums are open and `opened` states their digests. Small `sums` (all ring bytes) are sent along."""
        phase = require(GATEWAY, self.phase, Event.OPENED, self.spec.round)
        if self.certificate is None:
            raise RemoteProtocolError(f"round {self.spec.round}: opened without a certificate")
        listed, text = self.require_listed(), self.certificate.dump().decode()
        inline = base64.b64encode(sums).decode() if len(sums) <= INLINE_BYTES else ""
        notices = {
            holds: SumOpened(
                agreement=listed.agreement,
                round=listed.round,
                certificate="" if holds else text,
                opened=opened.dump().decode(),
                sums=inline,
            )
            for holds in (True, False)
        }
        holders = listed.parties | frozenset(self.reveals)  # who uploaded was sent list and certificate before this
        sends = tuple(Send(member, Event.OPENED, notices[member in holders]) for member in self.spec.cohort.members)
        return replace(self, phase=phase, phase_since=now, reveals={}), (*sends, Finish(None))
