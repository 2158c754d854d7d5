"""Invariant 2: never both shares of one party in one round, whatever certificates the gateway shows."""

from __future__ import annotations

import inspect
import textwrap

import numpy as np
import pytest
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Reveal, SurvivorList
from parley_protocol.party_round import PartyRound
from parley_protocol.phases import PARTY, Event

from tests.attacks.adversary import SEGMENTS, SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.simulator import make_terms

VICTIM = SIX[0]


def at_confirm() -> Stage:
    return Stage(make_terms(6, segments=SEGMENTS)).to(Phase.CONFIRM)


def open_the_victim(stage: Stage, as_survivor: dict[str, Reveal], as_dropout: dict[str, Reveal]) -> None:
    """With both secrets of the victim its clear vector is there."""
    seed = stage.combined({party: reveal.seeds["trunk"][VICTIM] for party, reveal in as_survivor.items()})
    secret = stage.combined({party: reveal.mask_keys[VICTIM] for party, reveal in as_dropout.items()})
    assert np.array_equal(stage.unmasked(VICTIM, "trunk", seed, secret, SIX), stage.plain[(VICTIM, "trunk")])


def a_second_certificate() -> None:
    """The second one bears t signatures that no honest members gave: even then each party holds out."""
    stage = at_confirm()
    first, second = stage.listed(), stage.listed(SIX[1:])
    stage.confirm(first, SIX)
    open_the_victim(stage, stage.reveal(first, SIX), stage.reveal(second, SIX))


def a_second_list_and_its_certificate() -> None:
    stage = at_confirm()
    first, second = stage.listed(SIX[1:]), stage.listed()
    stage.confirm(first, SIX)
    as_dropout = stage.reveal(first, SIX)
    stage.confirm(second, SIX)
    open_the_victim(stage, stage.reveal(second, SIX), as_dropout)


def a_certificate_on_a_list_that_it_never_checked() -> None:
    """The list of the certificate opens a part of two members."""
    stage = Stage(make_terms(6, segments=SEGMENTS)).to(Phase.COLLECT).to(Phase.CONFIRM, silent=SIX[:1])
    unchecked = stage.listed(openable=("trunk", "head:a", "head:b"))
    reveals = stage.reveal(unchecked, SIX[1:])
    assert np.array_equal(stage.sum_of(SIX[1:], "head:a", reveals), stage.truth(SIX[1:3], "head:a"))


def a_list_that_hides_a_dropout() -> None:
    stage = Stage(make_terms(6, segments=SEGMENTS)).to(Phase.COLLECT).to(Phase.CONFIRM, silent=SIX[:1])
    stage.confirm(stage.listed(boxes_from=SIX[1:]), SIX[1:])


ANOTHER, REVEALED = Guard(PartyRound, "on_certified", "on another list than"), Guard(PartyRound, "on_certified", "revealed for another")
SIGNED = Guard(PartyRound, "on_list", "signed another survivor list")
EARLY = Patch(PARTY, Phase.CONFIRM, PARTY[Phase.CONFIRM] | {Event.CERTIFIED: Phase.REVEAL})
HIDDEN = Guard(PartyRound, "_check_list", "in id order", "listed.boxes_from")
ATTACKS = (
    Attack("second certificate", a_second_certificate, "on another list than", (ANOTHER, REVEALED)),
    Attack("second list", a_second_list_and_its_certificate, "signed another survivor list", (SIGNED, REVEALED)),
    Attack("unchecked list", a_certificate_on_a_list_that_it_never_checked, "in CONFIRM: wanted list", (EARLY, ANOTHER)),
    Attack("hidden dropout", a_list_that_hides_a_dropout, "in id order", (HIDDEN,)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_both_shares_of_one_party_are_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_both_shares_are_given(attack: Attack) -> None:
    check_mutations(attack)


@pytest.mark.parametrize("dropouts", [(), SIX[:1], SIX[3:4]])
def test_a_reveal_gives_one_kind_of_share_of_each_member(dropouts: tuple[str, ...]) -> None:
    stage = Stage(make_terms(6, segments=SEGMENTS)).to(Phase.COLLECT)
    stage.to(Phase.CONFIRM, silent=dropouts)
    listed = stage.listed()
    stage.confirm(listed, SIX)  # also who did not upload signs and reveals
    for reveal in stage.reveal(listed, SIX).values():
        as_survivors = {owner for owners in reveal.seeds.values() for owner in owners}
        assert as_survivors == listed.parties
        assert set(reveal.mask_keys) == set(dropouts)
        assert set(reveal.seeds) == set(listed.openable)


def test_no_seed_is_revealed_of_a_part_that_stays_shut() -> None:
    stage = Stage(make_terms(6, segments=SEGMENTS)).to(Phase.COLLECT)
    stage.to(Phase.CONFIRM, silent=SIX[:1])
    listed = stage.listed()
    assert listed.openable == ("trunk", "head:b")
    stage.confirm(listed, SIX)
    assert all("head:a" not in reveal.seeds for reveal in stage.reveal(listed, SIX).values())


def test_an_upload_that_arrives_after_the_list_stays_masked() -> None:
    """The gateway holds a dropout's upload back, has its mask key revealed, and then takes all pair masks off."""
    stage = at_confirm()
    listed = stage.listed(SIX[1:])
    stage.confirm(listed, SIX)
    reveals = stage.reveal(listed, SIX)
    secret = stage.combined({party: reveal.mask_keys[VICTIM] for party, reveal in reveals.items()})
    assert all(VICTIM not in owners for reveal in reveals.values() for owners in reveal.seeds.values())
    own = stage.states[VICTIM]
    seed = own._self_seed("trunk")
    rest = stage.unmasked(VICTIM, "trunk", bytes(32), secret, SIX)
    assert not np.array_equal(rest, stage.plain[(VICTIM, "trunk")])  # its self mask is still on it
    assert np.array_equal(stage.unmasked(VICTIM, "trunk", seed, secret, SIX), stage.plain[(VICTIM, "trunk")])  # and nothing else was


def test_a_mistake_of_our_own_cannot_give_both_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    source = textwrap.dedent(inspect.getsource(PartyRound._reveal))
    assert source.count(" if owner not in survivors") == 1
    scope: dict[str, object] = {}
    exec(source.replace(" if owner not in survivors", ""), inspect.getmodule(PartyRound).__dict__, scope)  # noqa: S102 - our own code
    monkeypatch.setattr(PartyRound, "_reveal", scope["_reveal"])
    stage = at_confirm().to(Phase.REVEAL)
    with pytest.raises(LocalProtocolError, match="both shares of"):
        stage.reveal(stage.listed(), SIX[:1], SIX)


def test_a_certificate_and_a_list_may_be_shown_again_and_give_the_same_bytes() -> None:
    stage = at_confirm()
    listed = stage.listed()
    stage.confirm(listed, SIX)
    first = {party: stage.signatures[party].dump() for party in SIX}
    given = {party: reveal.digest() for party, reveal in stage.reveal(listed, SIX).items()}
    stage.confirm(listed, SIX)
    assert {party: stage.signatures[party].dump() for party in SIX} == first
    assert {party: reveal.digest() for party, reveal in stage.reveal(listed, SIX).items()} == given


def test_a_party_that_did_not_seal_can_no_longer_seal_once_it_has_signed() -> None:
    stage = Stage(make_terms(6)).to(Phase.COLLECT).to(Phase.CONFIRM, silent=SIX[:1])
    stage.confirm(stage.listed(), SIX)
    with pytest.raises(RemoteProtocolError, match="in REVEAL"):
        stage.seal(VICTIM)


def test_a_list_is_the_same_for_whoever_reads_it() -> None:
    listed = at_confirm().listed()
    assert SurvivorList.parse(listed.canonical()) == listed
