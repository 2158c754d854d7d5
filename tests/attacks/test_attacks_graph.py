"""Neighbour graphs under attack: who deals with whom is drawn from a seed that all fixed, and the gateway has no say in it.

52 members, one of which conspires: the smallest study in which members deal with 18 others instead of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import TypeVar

import numpy as np
import pytest
from parley_crypto import sharing
from parley_crypto.keys import AgreementKey, VerifyKey
from parley_crypto.masked import Context, MaskedOpening
from parley_crypto.signing import Envelope, Signature
from parley_policies.negotiation.terms import Terms, graph_of
from parley_protocol import opening, release
from parley_protocol.certificates import Chain, extend
from parley_protocol.cohort import Cohort
from parley_protocol.columns import pack, unpack
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.gateway_relays import boxes_for, keys_for, proposal_of
from parley_protocol.gateway_state import GatewayState
from parley_protocol.ids import Phase
from parley_protocol.messages import Reveal, Survivor, SurvivorList
from parley_protocol.party_round import PartyRound
from parley_protocol.phases import Event
from parley_protocol.relays import Boxes, Certified, ConfirmPost, Keys, Post, Released
from parley_protocol.release import release_of

from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.attacks.observed import KINDS, Relay, altered, answer, believed, content, given_by
from tests.simulator import GRAPH_SEED, Simulation, make_terms, party_ids, party_key

MEMBERS = 52
IDS = tuple(party_ids(MEMBERS))
VICTIM = IDS[7]
Body = TypeVar("Body")


@cache
def large_terms() -> Terms:
    terms = make_terms(MEMBERS)
    graph = graph_of(MEMBERS, terms.max_colluders, terms.threshold)
    assert graph is not None
    return terms.model_copy(update={"graph": graph})


class Sealed:
    """A round in which everybody has sealed and nobody was shown a list; `before` has each party as it was when a message came."""

    def __init__(self) -> None:
        self.before: dict[tuple[str, str], PartyRound] = {}
        self.simulation = Simulation(large_terms(), tamper=self._watch)
        self.simulation.run()
        self.gateway = self.simulation.state
        self.cohort = self.gateway.spec.cohort
        self.states = {party: self._state(party) for party in IDS}

    def _state(self, party: str) -> PartyRound:
        state = self.simulation.parties[party].state
        assert state is not None
        assert state.manifest is not None
        return state

    def _watch(self, to: str, kind: str, raw: bytes) -> bytes | None:
        if kind not in {Event.KEYS, Event.BOXES}:
            return None
        self.before[to, kind] = self._current(to)
        return raw

    def _current(self, party: str) -> PartyRound:
        state = self.simulation.parties[party].state
        assert state is not None
        return state

    def neighbours(self, segment: str = "trunk") -> list[str]:
        return list(self.cohort.masked_with(VICTIM, segment, IDS))


@cache
def sealed() -> Sealed:
    return Sealed()


def shown(state: PartyRound, message: Relay) -> tuple[PartyRound, list[object]]:
    after, effects = answer(state, KINDS[type(message)], message.canonical())
    return after, list(effects)


def sent(effects: Iterable[object], of: type[Body]) -> Body:
    (body,) = [body for effect in effects if isinstance(body := getattr(effect, "body", None), of)]
    return body


# a list that cuts the victim off


def cut_off() -> tuple[SurvivorList, str]:
    """Return the list without all neighbours of the victim but the conspirator: so many may drop out."""
    scene = sealed()
    conspirator, *dropped = scene.neighbours()
    survivors = [party for party in IDS if party not in dropped]
    assert len(survivors) >= large_terms().threshold
    whole = scene.gateway.require_listed()
    rows = tuple(Survivor(party=row.party, manifest=row.manifest) for row in whole.survivors if row.party in survivors)
    return altered(whole, {"survivors": rows}), conspirator


def show_a_list_that_cuts_one_member_off() -> None:
    """All but one of its masks are taken off with the dropouts' keys, and the conspirator knows the last."""
    scene, (listed, conspirator) = sealed(), cut_off()
    proposal = proposal_of(replace(scene.gateway, listed=listed))
    states, rows, signers = {}, [], sorted(listed.parties)
    for party in [VICTIM, *(other for other in signers if other != VICTIM)]:
        states[party], effects = shown(scene.states[party], proposal)
        (raw,) = unpack(sent(effects, ConfirmPost).signature, 64, 1, "signature")
        rows.append((party, raw))
    rows.sort()
    certified = Certified(agreement=listed.agreement, round=listed.round, signers=tuple(signers), signatures=pack(raw for _, raw in rows))
    reveals = {party: content(sent(shown(states[party], certified)[1], Post).statement, Reveal) for party in signers}
    certificate = Envelope(
        SurvivorList.kind, listed.canonical(), tuple(Signature(party_key(party).public.fingerprint, raw) for party, raw in rows)
    )
    gateway = replace(scene.gateway, phase=Phase.REVEAL, listed=listed, certificate=certificate, reveals=reveals)
    assert np.array_equal(alone(gateway, conspirator), scene.simulation.plain[(VICTIM, "trunk")])


def alone(gateway: GatewayState, conspirator: str) -> np.ndarray:
    """Return the victim's vector, from what a gateway and a conspirator have."""
    scene, rebuilt = sealed(), opening.rebuild(gateway)
    context = Context(large_terms().digest(), gateway.spec.round, gateway.base, "trunk")
    length, width = gateway.spec.workload.segment("trunk").length, gateway.spec.workload.encoding.width
    mine = {VICTIM: bytes.fromhex(gateway.adverts[VICTIM].statement.mask_key)}
    single = MaskedOpening(context, length, width)
    single.combine(scene.simulation.upload(VICTIM, "trunk")[0])
    single.remove_self(VICTIM, rebuilt.seeds["trunk"][VICTIM])
    keys = {**rebuilt.mask_keys, conspirator: scene.states[conspirator]._secrets.mask}
    for neighbour in scene.neighbours():
        single.remove_dropout(neighbour, keys[neighbour], mine)
    return single.open()


def have_a_certificate_that_cuts_one_member_off_taken_up() -> None:
    """As history: signed by t members that did not look."""
    listed, _ = cut_off()
    certificate = listed.sign(*(party_key(party) for party in sorted(listed.parties)))
    assert extend(Chain.start(large_terms().digest(), GRAPH_SEED), large_terms(), certificate)[0].round == 1


# RELEASE


def show_a_release_that_one_neighbour_did_not_sign() -> None:
    """With the conspirator, which kept its share, that neighbour rebuilds the victim's mask key."""
    scene = sealed()
    missing, conspirator = [party for party in scene.cohort.holders(VICTIM) if party != VICTIM][:2]
    after, _ = shown(scene.states[VICTIM], release_by([party for party in IDS if party != missing]))
    assert after.phase is Phase.RELEASED
    holders = scene.cohort.holders(VICTIM)
    shares = {holders.index(party) + 1: scene.states[party].held[VICTIM]["mask"] for party in (missing, conspirator)}
    secret = sharing.combine(shares, threshold=scene.cohort.threshold)
    assert AgreementKey(secret).public.hex() == scene.gateway.adverts[VICTIM].statement.mask_key


def release_by(parties: Iterable[str]) -> Released:
    terms, ids = large_terms(), tuple(parties)
    signatures = pack(release_of(terms, 1, party).sign(party_key(party)).signatures[0].sig for party in ids)
    return Released(agreement=terms.digest(), round=1, parties=ids, signatures=signatures)


# keys and boxes of others


def far_from_victim() -> str:
    scene = sealed()
    return next(party for party in IDS if party not in scene.cohort.near(VICTIM, IDS))


def put_a_strangers_keys_in_a_neighbours_place() -> None:
    """The victim masks towards a member that does not mask towards it."""
    scene, neighbour, far = sealed(), sealed().neighbours()[0], far_from_victim()
    honest, near = keys_for(scene.gateway, VICTIM), scene.cohort.near(VICTIM, IDS)
    row, place = scene.gateway.adverts[far], near.index(neighbour)
    columns = {
        "channel_keys": replaced(honest.channel_keys, 32, place, bytes.fromhex(row.statement.channel_key)),
        "mask_keys": replaced(honest.mask_keys, 32, place, bytes.fromhex(row.statement.mask_key)),
        "signatures": replaced(honest.signatures, 64, place, row.signature),
    }
    after, _ = shown(scene.before[VICTIM, Event.KEYS], altered(honest, columns))
    assert after.keys[neighbour].mask.hex() == row.statement.mask_key


def replaced(column: str, size: int, place: int, value: bytes) -> str:
    count = len(unpack(column, size, len(column) * 3 // 4 // size, "column"))
    rows = list(unpack(column, size, count, "column"))
    rows[place] = value
    return pack(rows)


CUT = Patch(Cohort, "is_whole", lambda *_: True)
ATTACKS = [
    Attack("show a list that cuts one member off", show_a_list_that_cuts_one_member_off, "no shared part could be opened", (CUT,)),
    Attack(
        "have a certificate that cuts one member off taken up",
        have_a_certificate_that_cuts_one_member_off_taken_up,
        r"wanted only \(\) to be opened",
        (CUT,),
    ),
    Attack(
        "show a release that one neighbour did not sign",
        show_a_release_that_one_neighbour_did_not_sign,
        "wanted statements of enough members",
        (Guard(release, "verify_released", "wanted statements of enough members"),),
    ),
    Attack(
        "put a stranger's keys in a neighbour's place",
        put_a_strangers_keys_in_a_neighbours_place,
        "not what it signed in this round",
        (Patch(VerifyKey, "verify", believed),),
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_succeeds_without_its_checks(attack: Attack) -> None:
    check_mutations(attack)


def test_what_all_members_signed_is_a_release() -> None:
    after, _ = shown(sealed().states[VICTIM], release_by(IDS))
    assert after.phase is Phase.RELEASED


def test_boxes_of_a_member_that_is_no_neighbour_are_refused() -> None:
    scene, honest = sealed(), boxes_for(sealed().gateway, VICTIM)
    holders = scene.cohort.holders(VICTIM)
    far = next(party for party in IDS if party not in holders)
    row = scene.gateway.shares[far]
    stray = {
        "roots": replaced(honest.roots, 32, 0, bytes.fromhex(row.statement.root)),
        "signatures": replaced(honest.signatures, 64, 0, row.signature),
        "boxes": (next(iter(row.boxes.values())), *honest.boxes[1:]),
        "paths": (pack(next(iter(row.paths.values()))), *honest.paths[1:]),
    }
    more = {"boxes": (*honest.boxes, stray["boxes"][0]), "paths": (*honest.paths, stray["paths"][0])}
    state = scene.before[VICTIM, Event.BOXES]
    for changes, words in ((stray, "share of .* not what it signed"), (more, "wanted a box and a path from each of")):
        with pytest.raises(RemoteProtocolError, match=words):
            shown(state, altered(honest, changes))
    assert isinstance(honest, Boxes)
    assert shown(state, honest)[0].phase is Phase.COLLECT


def test_relays_drawn_from_another_seed_are_refused_by_everyone() -> None:
    scene = sealed()
    chain = replace(scene.gateway.spec.chain, graph_seed=bytes(32))
    other = replace(scene.gateway, spec=replace(scene.gateway.spec, chain=chain))
    for party in IDS[:8]:
        with pytest.raises(RemoteProtocolError, match="keys"):
            shown(scene.before[party, Event.KEYS], keys_for(other, party))
        assert isinstance(keys_for(scene.gateway, party), Keys)


def test_each_member_reveals_for_those_alone_whose_shares_it_was_dealt() -> None:
    """Nothing that the gateway says makes it speak of others: it holds nothing of them."""
    scene = sealed()
    listed = scene.gateway.require_listed()
    states = {party: shown(scene.states[party], proposal_of(scene.gateway)) for party in IDS}
    rows = [unpack(sent(effects, ConfirmPost).signature, 64, 1, "signature")[0] for _, effects in states.values()]
    certified = Certified(agreement=listed.agreement, round=listed.round, signers=IDS, signatures=pack(rows))
    for party in IDS[:8]:
        after, effects = shown(states[party][0], certified)
        given = given_by(after, content(sent(effects, Post).statement, Reveal))
        assert set(given.seeds["trunk"]) == set(scene.cohort.sharing(party, IDS))
        assert given.mask_keys == {}
        assert len(given.seeds["trunk"]) == scene.cohort.terms.graph.degree + 1  # type: ignore[union-attr]  # large_terms has one


def test_the_ring_of_a_round_is_unrelated_to_the_one_before() -> None:
    """Who is joined to whom says nothing of the next round: a conspirator is near each victim at times, and never by its choice."""
    terms = large_terms()
    met = [set(Cohort(terms, terms.steps[0], number, GRAPH_SEED).masked_with(VICTIM, "trunk", IDS)) for number in range(1, 40)]
    assert len({frozenset(each) for each in met}) == len(met)
    times = [sum(party in each for each in met) for party in IDS if party != VICTIM]
    assert min(times) > 0
    assert max(times) < len(met)
