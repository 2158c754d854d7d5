"""Amending an agreement: the way through, and every way that must be refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import pytest
from parley_crypto.errors import MalformedError
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms, required_threshold
from parley_protocol import amendments, promises
from parley_protocol.amendments import (
    AmendedTerms,
    AmendingGateway,
    AmendingMember,
    Amendment,
    Amends,
    Stage,
    amended,
    amendment_of,
    check_amended,
    signers_needed,
    verify_amendment,
)
from parley_protocol.certificates import Chain, OpenedList, openable
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.promises import Promise, check_may_enter

from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.simulator import START, first_cohort, make_terms, party_ids, party_key

OLD = make_terms(5)
FIVE = party_ids(5)
JOINER = party_ids(6)[5]
CHAIN = Chain.start(OLD.digest())
OVER = (Promise(1).given_up(), Promise(2).uploaded().confirmed("list").proven_released())


def amended_terms(parties: Collection[str], *, old: Terms = OLD, chain: Chain = CHAIN, first: int = 3, **changes: object) -> AmendedTerms:
    """Terms between other members, as an honest gateway would compute them, with some fields changed."""
    by_id = {member.party: member for member in make_terms(6).members}
    members = tuple(by_id[party] for party in sorted(parties))
    ids = tuple(member.party for member in members)
    segments = tuple(segment.model_copy(update={"members": ids}) for segment in old.steps[0].segments)
    content = {name: getattr(old, name) for name in Terms.model_fields} | {
        "members": members,
        "threshold": required_threshold(len(members), old.max_colluders, gateway_may_lie=True),
        "steps": (old.steps[0].model_copy(update={"segments": segments}),),
        "amends": Amends(agreement=old.digest(), head=chain.head, round=first),
    }
    return AmendedTerms.model_validate(content | changes)


SWAPPED = amended_terms([*FIVE[1:], JOINER])  # one leaves, one joins


@dataclass
class Town:
    """Members of both agreements, each with its promises; the gateway is played by the tests."""

    terms: AmendedTerms
    old: Terms = OLD
    chain: Chain = CHAIN
    rounds: Collection[Promise] = OVER
    pinned: bool = True

    def __post_init__(self) -> None:
        everyone = sorted({member.party for agreement in (self.old, self.terms) for member in agreement.members})
        pins = frozenset(party_key(party).public.fingerprint for party in everyone) if self.pinned else frozenset[str]()
        self.members = {party: AmendingMember(self.old, self.chain, party, pins) for party in everyone}

    def accept(self, parties: Iterable[str] | None = None, terms: AmendedTerms | None = None) -> Envelope:
        its = terms or self.terms
        envelope = its.sign()
        for party in parties if parties is not None else [member.party for member in its.members]:
            self.members[party], signed = self.members[party].accept(its, party_key(party))
            envelope = envelope.joined(signed)
        return envelope

    def bind(self, accepted: Envelope, parties: Iterable[str]) -> Envelope:
        envelope: Envelope | None = None
        for party in parties:
            self.members[party], signed = self.members[party].bind(accepted, self.rounds, party_key(party))
            envelope = signed if envelope is None else envelope.joined(signed)
        assert envelope is not None
        return envelope

    def follow(self, party: str, accepted: Envelope, bound: Envelope) -> Chain:
        self.members[party], terms, chain = self.members[party].follow(accepted, bound, self.rounds)
        assert terms == self.terms
        return chain


def test_an_amendment_comes_into_force() -> None:
    town = Town(SWAPPED)
    accepted = town.accept()
    bound = town.bind(accepted, FIVE[:4])  # who leaves may sign too
    for party in (*FIVE[1:], JOINER):
        chain = town.follow(party, accepted, bound)
        assert (chain.agreement, chain.head, chain.round) == (SWAPPED.digest(), SWAPPED.digest(), 2)
        assert town.members[party].stage is Stage.IN_FORCE
    assert verify_amendment(OLD, CHAIN, accepted, bound) == SWAPPED


def test_what_was_opened_stays_known_and_rounds_go_on() -> None:
    opened = OpenedList("trunk", frozenset(FIVE), START)
    chain = Chain(OLD.digest(), "1" * 64, 7, frozenset({"2" * 64}), (opened,))
    terms = amended_terms(FIVE[1:], chain=chain, first=9)
    check_amended(OLD, chain, terms)
    after = amended(chain, terms)
    assert after == Chain(terms.digest(), terms.digest(), 8, chain.bases, (opened,))
    four = frozenset(FIVE[1:])
    assert openable(first_cohort(terms), Chain.start(terms.digest()), START, four) == ("trunk",)
    assert openable(first_cohort(terms), after, START, four) == ()  # beside the sum of five it would isolate the one that left


def test_an_amended_agreement_can_be_amended() -> None:
    town = Town(SWAPPED)
    accepted = town.accept()
    chain = town.follow(FIVE[1], accepted, town.bind(accepted, FIVE[:4]))
    again = Town(amended_terms(FIVE[1:], old=SWAPPED, chain=chain, first=4), SWAPPED, chain)
    accepted = again.accept()
    assert again.follow(FIVE[2], accepted, again.bind(accepted, FIVE[1:])).round == 3


def test_acceptances_bind_to_nothing() -> None:
    town = Town(SWAPPED)
    town.accept(FIVE[1:])  # the joiner never answers
    check_may_enter(3, OVER, town.members[FIVE[1]].bound_to)
    other = amended_terms(FIVE[1:])
    town.terms = other
    accepted = town.accept()
    assert town.follow(FIVE[4], accepted, town.bind(accepted, FIVE[:4])).agreement == other.digest()


def test_who_is_bound_to_what_fell_follows_what_is_in_force() -> None:
    town = Town(SWAPPED)
    fell = amended_terms(FIVE[1:])
    town.bind(town.accept(terms=fell), FIVE[4:])
    fresh = Town(SWAPPED)
    accepted = fresh.accept()
    assert town.follow(FIVE[4], accepted, fresh.bind(accepted, FIVE[:4])).agreement == SWAPPED.digest()


def test_the_gateway_gathers_acceptances_first() -> None:
    town = Town(SWAPPED)
    gateway = AmendingGateway.start(OLD, CHAIN, SWAPPED)
    with pytest.raises(LocalProtocolError, match="every acceptance before"):
        gateway.on_bound(amendment_of(SWAPPED).sign(party_key(FIVE[0])))
    for party in (*FIVE[1:], JOINER):
        assert not gateway.is_accepted
        gateway = gateway.on_accepted(town.accept([party]))
    for party in FIVE[:4]:
        assert gateway.is_accepted
        assert not gateway.is_in_force
        gateway = gateway.on_bound(town.bind(gateway.accepted, [party]))
    gateway = gateway.on_bound(town.bind(gateway.accepted, FIVE[:1]))  # the same again counts once
    assert (gateway.is_in_force, len(gateway.bound.signatures)) == (True, 4)
    town.follow(JOINER, gateway.accepted, gateway.bound)


@pytest.mark.parametrize("key", [JOINER, "stranger"])
def test_the_gateway_takes_only_signatures_of_old_members(key: str) -> None:
    gateway = replace(AmendingGateway.start(OLD, CHAIN, SWAPPED), accepted=Town(SWAPPED).accept())
    with pytest.raises(RemoteProtocolError, match="wanted one valid signature of a member"):
        gateway.on_bound(amendment_of(SWAPPED).sign(party_key(key)))
    with pytest.raises(RemoteProtocolError, match="joined only on identical payloads"):
        gateway.on_bound(SWAPPED.sign(party_key(FIVE[1])))


def in_force(terms: AmendedTerms = SWAPPED, *, signers: Collection[str] = FIVE[:4], **town: object) -> None:
    """Play an amendment through with terms that somebody proposes."""
    its = Town(terms, **town)  # type: ignore[arg-type]  # the fields of Town, by name
    accepted = its.accept()
    its.follow(terms.members[0].party, accepted, its.bind(accepted, signers))


def too_few_old_signers() -> None:
    in_force(signers=FIVE[:3])


def signers_of_the_new_only() -> None:
    town = Town(SWAPPED)
    accepted = town.accept()
    bound = town.bind(accepted, FIVE[1:4]).joined(amendment_of(SWAPPED).sign(party_key(JOINER)))
    town.follow(JOINER, accepted, bound)


def one_acceptance_lacks() -> None:
    town = Town(SWAPPED)
    town.bind(town.accept(FIVE[1:]), FIVE[:4])


def reuse_a_certified_round_number() -> None:
    chain = replace(CHAIN, round=3)
    in_force(amended_terms(FIVE, chain=chain), chain=chain)


def reuse_a_released_round_number() -> None:
    in_force(amended_terms(FIVE, first=2))


def wrong_head() -> None:
    in_force(chain=replace(CHAIN, head="1" * 64))


def another_agreement() -> None:
    in_force(old=make_terms(5, rounds=7), chain=Chain.start(make_terms(5, rounds=7).digest()))


def chain_of_another_agreement() -> None:
    in_force(chain=replace(CHAIN, agreement="1" * 64))


def second_amendment() -> None:
    town = Town(SWAPPED)
    accepted = town.accept()
    other = town.accept(terms=amended_terms(FIVE[1:]))
    town.bind(accepted, FIVE[1:2])
    town.bind(other, FIVE[1:2])


def accept_when_bound() -> None:
    town = Town(SWAPPED)
    town.bind(town.accept(), FIVE[1:2])
    town.accept(FIVE[1:2])


def unpinned_new_member() -> None:
    in_force(pinned=False)


def unpinned_by_who_binds() -> None:
    accepted = Town(SWAPPED).accept()
    Town(SWAPPED, pinned=False).bind(accepted, FIVE[1:4])


def new_identity_of_who_stays() -> None:
    forged = [m.model_copy(update={"identity": party_key("other").public.hex}) if m.party == FIVE[1] else m for m in SWAPPED.members]
    terms = amended_terms(SWAPPED.keys(), members=tuple(forged))
    accepted = terms.sign(*(party_key("other" if m.party == FIVE[1] else m.party) for m in terms.members))
    Town(SWAPPED).bind(accepted, FIVE[2:3])


def amend_while_the_upload_is_out() -> None:
    town = Town(SWAPPED, rounds=(Promise(1).uploaded(),))
    town.bind(town.accept(), FIVE[1:2])


def follow_while_the_upload_is_out() -> None:
    town = Town(SWAPPED)
    accepted = town.accept()
    bound = town.bind(accepted, FIVE[:4])
    town.rounds = (Promise(1).uploaded(),)
    town.follow(FIVE[1], accepted, bound)


def lower_threshold() -> None:
    in_force(amended_terms(FIVE, threshold=3))


def lower_floor() -> None:
    high = make_terms(5, floor=4)
    chain = Chain.start(high.digest())
    segments = tuple(segment.model_copy(update={"floor": 3}) for segment in high.steps[0].segments)
    terms = amended_terms(FIVE, old=high, chain=chain, steps=(high.steps[0].model_copy(update={"segments": segments}),))
    in_force(terms, old=high, chain=chain)


def more_small_changes() -> None:
    in_force(amended_terms(FIVE, max_small_changes=10_000))


def other_steps() -> None:
    in_force(amended_terms(FIVE, steps=(OLD.steps[0].model_copy(update={"workload": "other@1"}),)))


def bound_to_another_statement() -> None:
    town = Town(SWAPPED)
    accepted = town.accept()
    town.follow(FIVE[1], accepted, amendment_of(amended_terms(FIVE)).sign(*(party_key(party) for party in FIVE)))


def first_terms_as_amended_ones() -> None:
    signed = OLD.sign(*(party_key(party) for party in FIVE))
    AmendingMember(OLD, CHAIN, FIVE[0], frozenset()).bind(signed, (), party_key(FIVE[0]))


def the_wrong_key() -> None:
    AmendingMember(OLD, CHAIN, FIVE[1], frozenset()).accept(amended_terms(FIVE), party_key(FIVE[2]))


def check(function: str, words: str, operand: str = "", owner: object = amendments) -> Guard:
    return Guard(owner, function, words, operand)  # type: ignore[arg-type]  # a module or a class


PLACE = "wanted them to amend"
FLOOR = "wanted a floor of"
ATTACKS = (
    Attack("too few old signers", too_few_old_signers, "wanted at least 4 members", (check("verify_amendment", "wanted at least"),)),
    Attack(
        "signers of the new only", signers_of_the_new_only, "wanted at least 4 members", (check("verify_amendment", "wanted at least"),)
    ),
    Attack(
        "one acceptance lacks", one_acceptance_lacks, "every member's signature", (check("verify_accepted", "every member's signature"),)
    ),
    Attack(
        "certified round number again",
        reuse_a_certified_round_number,
        "first round after round 3",
        (check("check_amended", "wanted its first round after"),),
    ),
    Attack(
        "released round number again",
        reuse_a_released_round_number,
        "wanted a round after",
        (check("check_may_enter", "wanted a round after", owner=promises),),
    ),
    Attack("wrong head", wrong_head, PLACE, (check("check_amended", PLACE, "(amends.agreement, amends.head)"),)),
    Attack("another agreement", another_agreement, PLACE, (check("check_amended", PLACE, "(amends.agreement, amends.head)"),)),
    Attack("chain of another agreement", chain_of_another_agreement, PLACE, (check("check_amended", PLACE, "chain.agreement"),)),
    Attack(
        "second amendment", second_amendment, "we signed another one", (check("check_may_amend", "we signed another one", owner=promises),)
    ),
    Attack(
        "accept when bound",
        accept_when_bound,
        "is BOUND: wanted bind, follow",
        (Patch(amendments.MEMBER, Stage.BOUND, amendments.MEMBER[Stage.ACCEPTED]),),
    ),
    Attack(
        "unpinned new member",
        unpinned_new_member,
        "fingerprint of each new member",
        (check("_check_pins", "each new member", owner=AmendingMember),),
    ),
    Attack(
        "unpinned by who binds",
        unpinned_by_who_binds,
        "fingerprint of each new member",
        (check("_check_pins", "each new member", owner=AmendingMember),),
    ),
    Attack(
        "new identity of who stays",
        new_identity_of_who_stays,
        f"identity key of {FIVE[1]} as it was",
        (check("check_amended", "wanted the identity key of"),),
    ),
    Attack(
        "amend while the upload is out",
        amend_while_the_upload_is_out,
        "round 1 must be finished, released or given up",
        (check("check_may_amend", "given up first", owner=promises), check("check_may_enter", "given up first", owner=promises)),
    ),
    Attack(
        "follow while the upload is out",
        follow_while_the_upload_is_out,
        "wanted round 1 finished, released or given up",
        (check("check_may_enter", "given up first", owner=promises),),
    ),
    Attack("lower threshold", lower_threshold, "wanted a threshold of 4", (check("_check_protection", "wanted a threshold"),)),
    Attack("lower floor", lower_floor, FLOOR, (check("_check_protection", FLOOR),)),
    Attack("more small changes", more_small_changes, "wanted max_small_changes as it was", (Patch(amendments, "UNCHANGED", ()),)),
    Attack("other steps", other_steps, "wanted the steps as they were", (check("_check_protection", "wanted the steps"),)),
    Attack(
        "bound to another statement",
        bound_to_another_statement,
        "signatures on exactly its statement",
        (check("verify_amendment", "on exactly its statement"),),
    ),
    Attack("first terms as amended ones", first_terms_as_amended_ones, "amended-terms.v1", ()),
    Attack("the wrong key", the_wrong_key, "our own identity key", (check("accept", "our own identity key", owner=AmendingMember),)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_it_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.without], ids=str)
def test_without_its_check_it_succeeds(attack: Attack) -> None:
    check_mutations(attack)


@pytest.mark.parametrize("field", amendments.UNCHANGED)
def test_each_protection_stays_as_it_was(field: str) -> None:
    before = SWAPPED.model_copy(update={field: "another value"})
    with pytest.raises(RemoteProtocolError, match=f"wanted {field} as it was"):
        check_amended(OLD, CHAIN, before)


def test_an_amendment_needs_more_than_half_beside_the_conspirators() -> None:
    for members in range(3, 61):
        for colluders in range(members - 1):
            assert members + colluders < 2 * signers_needed(members=members, colluders=colluders) <= 2 * members


def test_who_does_not_take_part_has_nothing_to_sign_or_follow() -> None:
    town = Town(SWAPPED)
    accepted = town.accept()
    bound = town.bind(accepted, FIVE[:4])
    with pytest.raises(LocalProtocolError, match="is no member of them"):
        town.follow(FIVE[0], accepted, bound)
    with pytest.raises(MalformedError, match="wanted a member of the agreement"):
        town.members[JOINER].bind(accepted, (), party_key(JOINER))
    assert Amendment.parse(bound.payload) == amendment_of(SWAPPED)
