"""A gateway that does as it likes, with one member on its side, against real parties: hypothesis chooses what it shows to whom.

After every step the goals of invariants 1 to 3 must hold over everything that honest parties ever signed, sealed and revealed. Most steps
are refused; `go_on` plays honestly, so that deep states are reached too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from parley_crypto.errors import CryptoError
from parley_protocol.certificates import Chain, extend
from parley_protocol.columns import pack
from parley_protocol.errors import ProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import SurvivorList
from parley_protocol.phases import PARTY, Event
from parley_protocol.promises import Promise, check_may_enter

from tests.attacks.adversary import Stage
from tests.attacks.observed import Given, Relay, altered
from tests.simulator import make_terms, party_ids

LEFT_OUT = st.sampled_from([(), (), (), (0,), (1,), (2,), (0, 1)])
BOXED = {Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL}


class LyingGateway(RuleBasedStateMachine):
    """Rounds are opened at will, also several on one base version; each party is in one of them."""

    @initialize(parties=st.sampled_from([4, 5]))
    def agree(self, parties: int) -> None:
        self.terms = make_terms(parties, segments={"trunk": (2, None), "head:a": (2, [0, 1, parties - 1])})
        self.ids = party_ids(parties)
        self.colluder, self.honest = self.ids[-1], self.ids[:-1]
        self.chain, self.version = Chain.start(self.terms.digest()), 0
        self.stages: list[Stage] = []
        self.where: dict[str, Stage] = {}
        self.shown: list[Relay] = []
        self.lists: dict[str, tuple[Stage, SurvivorList]] = {}
        self.signers: dict[str, set[str]] = defaultdict(set)
        self.sealed: dict[tuple[str, str], set[int]] = defaultdict(set)
        self.promises: dict[str, dict[int, Promise]] = defaultdict(dict)
        self.proven: set[tuple[str, int]] = set()
        self.reveals: dict[tuple[int, str], list[Given]] = defaultdict(list)
        self.enter(())

    # what it may do

    @precondition(lambda self: any(state.phase is not Phase.ADVERTISE for state in self.stages[-1].states.values()))
    @rule(left=LEFT_OUT)
    def open(self, left: tuple[int, ...]) -> None:
        """Open a round with whoever follows; who is in a round that may be opened stays there."""
        self.enter(left)

    def enter(self, left: tuple[int, ...]) -> None:
        number = len(self.stages) + 1
        probe = Stage(self.terms, number=number, chain=self.chain, version=self.version, absent=frozenset(self.ids))
        willing = {self.colluder}
        for index, party in enumerate(self.honest):
            try:
                self.promises[party] |= {stage.number: stage.states[party].promise for stage in self.stages if party in stage.states}
                check_may_enter(number, [item for item in self.promises[party].values() if item.round > self.chain.round], None)
                probe.spec(party).check_entry()
            except ProtocolError:
                continue
            if index not in left:
                willing.add(party)
        stage = Stage(self.terms, number=number, chain=self.chain, version=self.version, absent=frozenset(self.ids) - willing)
        for party in willing - {self.colluder}:
            if party in self.where:
                del self.where[party].states[party]
            self.where[party] = stage
        self.stages.append(stage)

    def show(self, stage: Stage, party: str, message: Relay) -> None:
        self.shown.append(message)
        if party not in stage.states:
            return
        try:
            sends = stage.show(party, message)
        except ProtocolError:
            return
        for send in sends:
            if send.kind == "confirm" and party != self.colluder:
                self.signers[stage.signatures[party].payload_digest].add(party)
            if send.kind == "reveal" and party != self.colluder:
                self.reveals[(stage.number, party)].append(stage.reveals[party])
        if stage.states[party].promise.released:
            self.proven.add((party, stage.number))

    def pick(self, data: st.DataObject) -> Stage:
        """Return one of the rounds, most often the newest."""
        return self.stages[data.draw(st.sampled_from([-1, -1, -1, 0, len(self.stages) // 2]))]

    def members(self, stage: Stage, left: Iterable[int]) -> list[str]:
        out = {self.ids[index] for index in left}
        return [party for party in self.ids if party in stage.adverts and party not in out]

    @rule(data=st.data(), to=LEFT_OUT, left=LEFT_OUT)
    def show_keys(self, data: st.DataObject, to: tuple[int, ...], left: tuple[int, ...]) -> None:
        stage = self.pick(data)
        for party in self.members(stage, to):
            self.show(stage, party, stage.keys(self.members(stage, left)))

    @rule(data=st.data(), to=LEFT_OUT, left=LEFT_OUT)
    def show_boxes(self, data: st.DataObject, to: tuple[int, ...], left: tuple[int, ...]) -> None:
        stage = self.pick(data)
        for party in self.members(stage, to):
            senders = [other for other in self.members(stage, left) if other in stage.posts and (party == other or stage.box(other, party))]
            if party in stage.posts:
                self.show(stage, party, stage.boxes(party, senders))

    @rule(data=st.data(), left=LEFT_OUT)
    def let_upload(self, data: st.DataObject, left: tuple[int, ...]) -> None:
        stage = self.pick(data)
        for party in self.members(stage, left):
            if party in stage.states and stage.states[party].phase is Phase.COLLECT:
                stage.seal(party)
                self.sealed[(party, stage.base)].add(stage.number)

    @rule(data=st.data(), to=LEFT_OUT, left=LEFT_OUT, parts=st.sampled_from([None, None, ("trunk",), ("head:a",), ("trunk", "head:a"), ()]))
    def propose(self, data: st.DataObject, to: tuple[int, ...], left: tuple[int, ...], parts: tuple[str, ...] | None) -> None:
        stage = self.pick(data)
        if any(state.boxes_from for state in stage.states.values()):
            uploaded = [party for party in self.members(stage, left) if party in stage.manifests]
            listed = stage.listed(uploaded) if parts is None else stage.listed(uploaded, openable=parts)
            self.lists[listed.digest()] = (stage, listed)
            for party in self.members(stage, to):
                self.show(stage, party, stage.proposal(listed))

    @precondition(lambda self: self.lists)
    @rule(data=st.data(), to=LEFT_OUT)
    def certify(self, data: st.DataObject, to: tuple[int, ...]) -> None:
        """Show whatever signatures it has on some list, its colluder's among them."""
        stage, listed = self.lists[data.draw(st.sampled_from(sorted(self.lists)))]
        for party in self.members(stage, to):
            self.show(stage, party, stage.signed(listed, [*sorted(self.signers[listed.digest()]), self.colluder]))

    @rule(data=st.data(), left=LEFT_OUT)
    def claim_an_abort(self, data: st.DataObject, left: tuple[int, ...]) -> None:
        stage = self.pick(data)
        for party in self.members(stage, left):
            self.show(stage, party, stage.aborted())

    @rule(data=st.data(), left=LEFT_OUT)
    def ask_for_release(self, data: st.DataObject, left: tuple[int, ...]) -> None:
        """Ask whoever is in the round, and who is not: that one says it of a round that it never enters."""
        self.ask(self.pick(data), left)

    def ask(self, stage: Stage, left: tuple[int, ...]) -> None:
        for index, party in enumerate(self.honest):
            if index in left:
                continue
            if party in stage.states:
                self.show(stage, party, stage.asked())
                continue
            known = self.promises[party].get(stage.number, Promise(stage.number))
            try:
                self.promises[party][stage.number] = known.released_by_me()
            except ProtocolError:
                continue
            stage.lends(party)

    @rule(data=st.data(), to=LEFT_OUT, of=st.sampled_from(["this round", "another", "nobody"]))
    def claim_a_release(self, data: st.DataObject, to: tuple[int, ...], of: str) -> None:
        """Show whatever statements it has, its colluder's among them; or those of another round; or ones that nobody made."""
        stage = self.pick(data)
        stage.lends(self.colluder)
        other = stage if of == "this round" else self.pick(data)
        proof = altered(other.released(), {"round": stage.number})
        if of == "nobody":
            proof = altered(proof, {"parties": tuple(self.ids), "signatures": pack([bytes(64)] * len(self.ids))})
        for party in self.members(stage, to):
            self.show(stage, party, proof)

    @rule(left=LEFT_OUT, absent=LEFT_OUT)
    def try_again(self, left: tuple[int, ...], absent: tuple[int, ...]) -> None:
        """Say that the newest round is released, with what statements there are, and go on to another one as far as it goes."""
        stage = self.stages[-1]
        self.ask(stage, left)
        stage.lends(self.colluder)
        for party in self.members(stage, ()):
            self.show(stage, party, stage.released())
        self.enter(absent)
        self.play(self.stages[-1], 5)

    @precondition(lambda self: self.shown)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        stage = self.pick(data)
        message = self.shown[data.draw(st.integers(0, len(self.shown) - 1))]
        self.show(stage, data.draw(st.sampled_from(self.honest)), message)

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """Play a round honestly for one step."""
        self.play(self.pick(data), 1)

    @rule(steps=st.integers(1, 5))
    def go_far(self, steps: int) -> None:
        """Play the newest round honestly for some steps."""
        self.play(self.stages[-1], steps)

    def play(self, stage: Stage, steps: int) -> None:
        for _ in range(steps):
            for party in list(stage.states):
                match stage.states[party].phase:
                    case Phase.ADVERTISE:
                        self.show(stage, party, stage.keys())
                    case Phase.SHARE if all(stage.box(other, party) for other in stage.posts if other != party):
                        self.show(stage, party, stage.boxes(party))
                    case Phase.COLLECT:
                        stage.seal(party)
                        self.sealed[(party, stage.base)].add(stage.number)
                    case Phase.CONFIRM:
                        listed = stage.listed()
                        self.lists[listed.digest()] = (stage, listed)
                        self.show(stage, party, stage.proposal(listed))
                    case Phase.REVEAL if self.lists:
                        for known, listed in self.lists.values():
                            if known is stage:
                                signers = [*sorted(self.signers[listed.digest()]), self.colluder]
                                self.show(stage, party, stage.signed(listed, signers))
                    case _:
                        pass

    @precondition(lambda self: self.lists)
    @rule(data=st.data())
    def tell_the_opening(self, data: st.DataObject) -> None:
        """Tell everyone of an opened round, if its list has t signatures: the next base version follows from it."""
        stage, listed = self.lists[data.draw(st.sampled_from(sorted(self.lists)))]
        try:
            signers = [*sorted(self.signers[listed.digest()]), self.colluder]
            self.chain, _ = extend(self.chain, self.terms, stage.certificate(listed, signers))
        except (ProtocolError, CryptoError):
            return
        self.version += 1
        for party in self.honest:
            if party in self.where and self.where[party].states[party].phase is not Phase.CLOSED:
                state = self.where[party].states[party]
                if Event.OPENED in PARTY.get(state.phase, {}):
                    self.where[party].states[party], _ = state.on_opened()

    # what must hold

    @invariant()
    def one_list_a_round_finds_t_signers(self) -> None:
        certified: dict[int, set[str]] = defaultdict(set)
        for digest, (stage, _) in getattr(self, "lists", {}).items():
            if len(self.signers[digest]) + 1 >= self.terms.threshold:
                certified[stage.number].add(digest)
        assert all(len(digests) == 1 for digests in certified.values())

    @invariant()
    def one_list_a_base_version_can_be_opened(self) -> None:
        """With the colluder's shares: who has revealed for a list, and who may still do so."""
        revealed: dict[tuple[str, str], set[str]] = defaultdict(set)
        bases = {stage.number: stage.base for stage in getattr(self, "stages", [])}
        for (number, party), reveals in getattr(self, "reveals", {}).items():
            for reveal in reveals:
                revealed[(bases[number], reveal.statement.certificate)].add(party)
        opened = [base for (base, _), parties in revealed.items() if len(parties) + 1 >= self.terms.threshold]
        assert len(set(opened)) == len(opened)

    @invariant()
    def what_one_member_holds_for_released_can_never_be_opened(self) -> None:
        for _, number in getattr(self, "proven", set()):
            left = {party for party in self.honest if not self.has_released(party, number)}
            assert len(left) + 1 < self.terms.threshold

    def has_released(self, party: str, number: int) -> bool:
        stage = self.stages[number - 1]
        kept = stage.states[party].promise if party in stage.states else self.promises[party].get(number)
        return kept is not None and kept.destroyed

    @invariant()
    def an_update_is_sealed_again_only_after_a_proof(self) -> None:
        for (party, _), rounds in getattr(self, "sealed", {}).items():
            assert party == self.colluder or all((party, number) in self.proven for number in sorted(rounds)[:-1])

    @invariant()
    def nobody_s_two_secrets_are_both_revealed(self) -> None:
        """Of each honest party, in each round: with the colluder's share, not t shares of its mask key and of a seed."""
        given: dict[tuple[int, str, str], set[str]] = defaultdict(set)
        for (number, revealer), reveals in getattr(self, "reveals", {}).items():
            for reveal in reveals:
                for owner in reveal.mask_keys:
                    given[(number, owner, "mask")].add(revealer)
                for owners in reveal.seeds.values():
                    for owner in owners:
                        given[(number, owner, "seed")].add(revealer)
        for number, owner, _ in list(given):
            counts = [len(given[(number, owner, kind)]) + 1 for kind in ("mask", "seed")]
            assert owner == self.colluder or min(counts) < self.terms.threshold
            assert not given[(number, owner, "mask")] & given[(number, owner, "seed")]

    @invariant()
    def what_is_revealed_reaches_its_floor(self) -> None:
        for reveals in getattr(self, "reveals", {}).values():
            for reveal in reveals:
                _, listed = self.lists[reveal.statement.certificate]
                for name, owners in reveal.seeds.items():
                    segment = self.terms.steps[0].segment(name)
                    assert len(owners) >= segment.floor
                    assert set(owners) == listed.parties & set(segment.members)


LyingGateway.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestLyingGateway = LyingGateway.TestCase
