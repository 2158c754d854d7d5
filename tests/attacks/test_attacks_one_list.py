"""Invariant 3, but for RELEASE (`test_attacks_release`): one opened list per base version, whatever the gateway says of a round."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms, required_threshold
from parley_protocol import certificates, promises
from parley_protocol.certificates import Chain, extend, verify_certificate
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Manifest, SurvivorList
from parley_protocol.party_spec import PartySpec
from parley_protocol.phases import PARTY, Event
from parley_protocol.promises import Promise, check_may_amend

from tests.attacks.adversary import SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.attacks.observed import content
from tests.simulator import make_terms, party_key

VICTIM = SIX[0]


def revealed_round() -> tuple[Stage, np.ndarray]:
    """A round whose sum of six the gateway has, while it keeps the news of the opening to itself."""
    stage = Stage(make_terms(6)).to(Phase.REVEAL)
    return stage, stage.sum_of(SIX, "trunk", stage.reveal(stage.listed(), SIX))


def difference_after(stage: Stage, total: np.ndarray) -> None:
    """Open a second round on the same base version without the victim: the difference is its vector."""
    again = Stage(stage.terms, number=2, absent=frozenset({VICTIM}), before=stage.states).to(Phase.REVEAL)
    five = again.sum_of(SIX[1:], "trunk", again.reveal(again.listed(), SIX[1:]))
    assert np.array_equal(total - five, stage.plain[(VICTIM, "trunk")])


def replay_the_round_on_its_base() -> None:
    difference_after(*revealed_round())


def claim_an_abort_after_boxes() -> None:
    stage, total = revealed_round()
    for party in SIX:
        stage.show(party, stage.aborted())
    difference_after(stage, total)


def sign_a_second_list() -> None:
    stage = Stage(make_terms(6)).to(Phase.CONFIRM)
    stage.confirm(stage.listed(), SIX[:1])
    stage.confirm(stage.listed(SIX[1:]), SIX[:1])


def enter_on_a_base_with_an_opened_list() -> None:
    start = Stage(make_terms(6))
    Stage(start.terms, number=2, chain=replace(start.history, bases=frozenset({start.base})))


def enter_behind_the_chain() -> None:
    terms = make_terms(6)
    Stage(terms, number=2, chain=replace(Chain.start(terms.digest()), round=2))


def enter_with_a_chain_of_another_agreement() -> None:
    Stage(make_terms(6), chain=Chain.start("f" * 64))


def certify_a_base_twice() -> None:
    """Two certificates on one base version, both with t signatures: who checks the chain takes only the first."""
    stage = Stage(make_terms(6)).to(Phase.CONFIRM)
    first = stage.listed()
    chain, _ = extend(stage.history, stage.terms, certificate(stage, first))
    second = stage.listed(round=2, previous=first.digest())
    extend(chain, stage.terms, certificate(stage, second))


def certificate(stage: Stage, listed: SurvivorList) -> Envelope:
    return stage.certificate(listed, SIX)


FINISHED = Guard(promises, "check_may_enter", "finished, released or given up first")
TWICE = "has an opened list already"
ENTRY = "has an opened list, or it lies behind"
ATTACKS = (
    Attack("round again", replay_the_round_on_its_base, "finished, released or given up first", (FINISHED,)),
    Attack(
        "abort after boxes",
        claim_an_abort_after_boxes,
        "in REVEAL: wanted",
        (
            Patch(PARTY, Phase.REVEAL, PARTY[Phase.REVEAL] | {Event.ABORTED: Phase.ABORTED}),
            Guard(Promise, "given_up", "an update or a signature is out"),
            FINISHED,
        ),
    ),
    Attack(
        "second list", sign_a_second_list, "survivor list that we signed", (Guard(Promise, "confirmed", "survivor list that we signed"),)
    ),
    Attack("spent base", enter_on_a_base_with_an_opened_list, ENTRY, (Guard(PartySpec, "check_entry", ENTRY, "self.chain.bases"),)),
    Attack("behind the chain", enter_behind_the_chain, ENTRY, (Guard(PartySpec, "check_entry", ENTRY, "self.chain.round"),)),
    Attack(
        "foreign chain", enter_with_a_chain_of_another_agreement, ENTRY, (Guard(PartySpec, "check_entry", ENTRY, "self.chain.agreement"),)
    ),
    Attack(
        "base twice", certify_a_base_twice, "has an opened list already", (Guard(certificates, "extend", "has an opened list already"),)
    ),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_second_list_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_a_second_list_opens(attack: Attack) -> None:
    check_mutations(attack)


@pytest.mark.parametrize("phase", [Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL])
def test_an_abort_is_refused_once_boxes_are_here(phase: Phase) -> None:
    stage = Stage(make_terms(6)).to(phase)
    with pytest.raises(RemoteProtocolError, match=f"in {phase}: wanted"):
        stage.show(VICTIM, stage.aborted())


@pytest.mark.parametrize("phase", [Phase.CONFIRM, Phase.REVEAL])
@pytest.mark.parametrize("silent", [(), SIX[:1]])
def test_no_other_round_is_entered_once_an_update_is_out_or_a_list_signed(phase: Phase, silent: tuple[str, ...]) -> None:
    """Who sealed nothing is bound once it signed."""
    stage = Stage(make_terms(6)).to(Phase.COLLECT).to(Phase.CONFIRM, silent=silent)
    if phase is Phase.REVEAL:
        stage.confirm(stage.listed(), SIX)
    for party in SIX if phase is Phase.REVEAL else SIX[len(silent) :]:
        with pytest.raises(LocalProtocolError, match="round 2: wanted round 1 finished, released or given up first"):
            Stage(stage.terms, number=2, before={party: stage.states[party]})
        with pytest.raises(LocalProtocolError, match="round 1 must be finished, released or given up first"):
            check_may_amend("a" * 64, None, [stage.states[party].promise])


def test_who_has_sealed_nothing_may_leave_a_round_even_with_boxes() -> None:
    """Nothing of it is out, and it takes no part any more: what it enters next is of another round and of other secrets."""
    stage = Stage(make_terms(6)).to(Phase.COLLECT)
    again = Stage(stage.terms, number=2, before=stage.states).to(Phase.REVEAL)
    assert all(stage.states[party].promise.given_up().is_over for party in SIX)
    total = again.sum_of(SIX, "trunk", again.reveal(again.listed(), SIX))
    assert np.array_equal(total, again.truth(SIX, "trunk"))


@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.SHARE])
def test_a_round_without_boxes_may_be_given_up(phase: Phase) -> None:
    stage = Stage(make_terms(6)).to(phase)
    Stage(stage.terms, number=2, before=stage.states).to(Phase.SHARE)
    stage.show(VICTIM, stage.aborted())
    state = stage.states[VICTIM]
    assert (state.phase, state.seed, dict(state.held)) == (Phase.ABORTED, b"", {})
    with pytest.raises(LocalProtocolError, match="a round that is over has none"):
        state.share(party_key(VICTIM))


def two_lists(stage: Stage, colluder: str | None) -> tuple[tuple[SurvivorList, tuple[str, ...]], ...]:
    """Return two different lists that every honest party accepts, each with its manifests."""
    texts = dict(stage.manifests)
    first = stage.listed()
    if colluder is None:
        kept = sorted(texts)[1:]
        return (first, tuple(texts.values())), (stage.listed(kept), tuple(texts[party] for party in kept))
    forged = Manifest.model_validate(content(texts[colluder], Manifest).model_dump() | {"body": "e" * 64})
    stage.manifests[colluder] = forged.sign(party_key(colluder)).dump().decode()
    second = stage.listed()
    return (first, tuple(texts.values())), (second, tuple(stage.manifests.values()))


@pytest.mark.parametrize("parties", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("colluders", [0, 1])
def test_two_lists_never_both_find_t_signers(parties: int, colluders: int) -> None:
    """Exhaustive: every way to show two lists to two halves of the honest parties; colluders sign both."""
    stage = Stage(make_terms(parties, colluders=colluders, segments={"trunk": (2, None)})).to(Phase.CONFIRM)
    threshold = stage.terms.threshold
    if not colluders and parties - 1 < threshold:
        pytest.skip(f"of {parties} none may be missing: there is no second list")
    colluder = stage.ids[-1] if colluders else None
    lists = two_lists(stage, colluder)
    honest = [party for party in stage.ids if party != colluder]
    given = {(party, which): signature_of(stage, party, which, lists) for party in honest for which in (0, 1)}
    for choice in product((0, 1), repeat=len(honest)):
        valid = [certified(stage.terms, lists[which][0], chosen(honest, choice, which), given, colluder, which) for which in (0, 1)]
        assert not all(valid), choice
        assert any(valid) or max(choice.count(0), choice.count(1)) + colluders < threshold


def signature_of(stage: Stage, party: str, which: int, lists: tuple[tuple[SurvivorList, tuple[str, ...]], ...]) -> Envelope:
    """Have one party sign list `which`, after which it refuses the other; then put it back for the other way round."""
    before = stage.states[party]
    (listed, manifests), (other, other_manifests) = lists[which], lists[1 - which]
    stage.confirm(listed, [party], manifests)
    with pytest.raises(RemoteProtocolError, match="survivor list that we signed"):
        stage.confirm(other, [party], other_manifests)
    stage.states[party] = before
    return stage.signatures[party]


def chosen(honest: list[str], choice: tuple[int, ...], which: int) -> list[str]:
    return [party for party, its in zip(honest, choice, strict=True) if its == which]


def certified(
    terms: Terms, listed: SurvivorList, signers: list[str], given: dict[tuple[str, int], Envelope], colluder: str | None, which: int
) -> bool:
    envelope = Envelope(SurvivorList.kind, listed.canonical(), ())
    for party in signers:
        envelope = envelope.joined(given[(party, which)])
    if colluder is not None:
        envelope = envelope.joined(listed.sign(party_key(colluder)))
    try:
        verify_certificate(terms, envelope)
    except RemoteProtocolError:
        return False
    return True


def test_each_bound_on_thresholds_leaves_no_room_for_two_lists() -> None:
    """By counting, for every n up to 60: two lists of t signers share more members than there are colluders."""
    for parties in range(3, 61):
        for colluders in range(parties // 2):
            threshold = required_threshold(parties, colluders, gateway_may_lie=True)
            assert 2 * threshold - parties > colluders
            assert 3 * threshold > 2 * parties
