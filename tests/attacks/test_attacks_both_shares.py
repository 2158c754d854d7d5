"""Invariant 2: never both shares of one party in one round, whatever certificates the gateway shows."""

from __future__ import annotations

import inspect
import textwrap
from contextlib import suppress

import numpy as np
import pytest
from parley_crypto.errors import MalformedError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_protocol import certificates
from parley_protocol.certificates import extend, verify_certificate
from parley_protocol.columns import pack
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import SurvivorList
from parley_protocol.party_round import PartyRound
from parley_protocol.phases import PARTY, Event
from parley_protocol.promises import Promise

from tests.attacks.adversary import SEGMENTS, SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.attacks.observed import Given, altered, believed
from tests.simulator import make_terms, party_key

VICTIM = SIX[0]


def at_confirm() -> Stage:
    return Stage(make_terms(6, segments=SEGMENTS)).to(Phase.CONFIRM)


def open_the_victim(stage: Stage, as_survivor: dict[str, Given], as_dropout: dict[str, Given]) -> None:
    """With both secrets of the victim its clear vector is there."""
    seed = stage.combined({party: given.seeds["trunk"][VICTIM] for party, given in as_survivor.items()})
    secret = stage.combined({party: given.mask_keys[VICTIM] for party, given in as_dropout.items()})
    assert np.array_equal(stage.unmasked(VICTIM, "trunk", seed, secret, SIX), stage.plain[(VICTIM, "trunk")])


def a_second_list_and_its_certificate() -> None:
    stage = at_confirm()
    first, second = stage.listed(SIX[1:]), stage.listed()
    stage.confirm(first, SIX)
    as_dropout = stage.reveal(first, SIX)
    stage.confirm(second, SIX)
    open_the_victim(stage, stage.reveal(second, SIX), as_dropout)


def a_certificate_on_a_list_that_it_never_checked() -> None:
    stage = at_confirm()
    with suppress(AttributeError):  # an accident instead of a refusal
        stage.reveal(stage.listed(), SIX)


def a_list_that_hides_a_dropout() -> None:
    """Whose boxes are in the round does not travel: a list that says something else of it finds no signer."""
    stage = Stage(make_terms(6, segments=SEGMENTS)).to(Phase.COLLECT).to(Phase.CONFIRM, silent=SIX[:1])
    hiding = stage.listed(boxes_from=SIX[1:])
    stage.confirm(hiding, SIX[1:])
    rows = tuple(stage.signatures[party].signatures[0] for party in SIX[1:])
    assert verify_certificate(stage.terms, Envelope(SurvivorList.kind, hiding.canonical(), rows)).boxes_from == SIX[1:]


def a_signature_of_a_stranger() -> None:
    stage = at_confirm().to(Phase.REVEAL)
    certified = stage.signed(stage.listed(), SIX[:5])
    with suppress(MalformedError):  # an accident instead of a refusal
        stage.show(VICTIM, altered(certified, {"signers": (*SIX[:4], "stranger")}))


def a_certificate_with_one_signer_twice() -> None:
    """t - 1 members, one of them two times: with the repetition counted, colluders could put down what they like to make up t."""
    stage = at_confirm().to(Phase.REVEAL)
    certified = stage.signed(stage.listed(), SIX[:4])
    rows = (*(stage.signatures[party].signatures[0].sig for party in SIX[:4]), stage.signatures[SIX[3]].signatures[0].sig)
    stage.show(VICTIM, altered(certified, {"signers": (*SIX[:4], SIX[3]), "signatures": pack(rows)}))


REVEALED = Guard(Promise, "revealed", "on another list than", "self.revealed_for")
SIGNED = Guard(Promise, "confirmed", "survivor list that we signed")
EARLY = Patch(PARTY, Phase.CONFIRM, PARTY[Phase.CONFIRM] | {Event.CERTIFIED: Phase.REVEAL})
UNCHECKED = Guard(PartyRound, "_certificate", "before its survivor list")
STRANGER = Guard(PartyRound, "_certificate", "wanted signatures of members")
ATTACKS = (
    Attack("second list", a_second_list_and_its_certificate, "wanted the survivor list that we signed", (SIGNED, REVEALED)),
    Attack("unchecked list", a_certificate_on_a_list_that_it_never_checked, "in CONFIRM: wanted list", (EARLY, UNCHECKED)),
    Attack("hidden dropout", a_list_that_hides_a_dropout, "valid signatures of members, got 0", (Patch(VerifyKey, "verify", believed),)),
    Attack(
        "one signer twice",
        a_certificate_with_one_signer_twice,
        "wanted 5 valid signatures of members, got 4",
        (Guard(certificates, "verify_certificate", "valid signatures of members"),),
    ),
    Attack("a stranger signs", a_signature_of_a_stranger, "wanted signatures of members, got", (STRANGER,)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_both_shares_of_one_party_are_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_both_shares_are_given(attack: Attack) -> None:
    check_mutations(attack)


def test_a_certificate_is_read_on_the_readers_own_list_alone() -> None:
    """One on another list, signed by every member's key, is worth nothing; and were it believed, the reader still gave no second kind."""
    stage = at_confirm()
    first, second = stage.listed(), stage.listed(SIX[1:])
    stage.confirm(first, SIX)
    reveals = stage.reveal(first, SIX)
    with pytest.raises(RemoteProtocolError, match="wanted 5 valid signatures of members, got 0"):
        stage.reveal(second, SIX)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VerifyKey, "verify", believed)
        again = stage.reveal(second, SIX)
    assert again == reveals
    assert not any(given.mask_keys for given in again.values())


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
    seed = own._secrets.self_seed("trunk")
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
    given = {party: reveal.statement.digest() for party, reveal in stage.reveal(listed, SIX).items()}
    stage.confirm(listed, SIX)
    assert {party: stage.signatures[party].dump() for party in SIX} == first
    assert {party: reveal.statement.digest() for party, reveal in stage.reveal(listed, SIX).items()} == given


def test_a_party_that_did_not_seal_can_no_longer_seal_once_it_has_signed() -> None:
    stage = Stage(make_terms(6)).to(Phase.COLLECT).to(Phase.CONFIRM, silent=SIX[:1])
    stage.confirm(stage.listed(), SIX)
    with pytest.raises(RemoteProtocolError, match="in REVEAL"):
        stage.seal(VICTIM)


def test_certificates_of_one_list_by_different_signers_are_one() -> None:
    """The gateway gives each member other t signatures: chain, head and what is revealed are the same for all."""
    stage = at_confirm().to(Phase.REVEAL)
    listed = stage.listed()
    heads = set()
    for party in SIX:
        signers = [other for other in SIX if other != party]
        stage.show(party, stage.signed(listed, signers))
        certificate = stage.states[party].certificate
        assert certificate is not None
        assert [row.keyid for row in certificate.signatures] == [party_key(other).public.fingerprint for other in signers]
        heads.add(extend(stage.history, stage.terms, certificate)[0].head)
    assert heads == {listed.digest()}
    assert np.array_equal(stage.sum_of(SIX, "trunk", stage.reveals), stage.truth(SIX, "trunk"))


def test_a_list_is_the_same_for_whoever_reads_it() -> None:
    listed = at_confirm().listed()
    assert SurvivorList.parse(listed.canonical()) == listed
