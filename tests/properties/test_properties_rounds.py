"""Properties of whole rounds: the opened sum equals the plain sum bit for bit, or the round says why not and whom it waits for.

`foretold` is a model of a round of a few lines, written apart from the state machines: counts of who answered in each phase against
threshold and floors. What it foretells must happen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from parley_policies.negotiation.terms import Terms, required_threshold
from parley_protocol.ids import Phase

from tests.simulator import Simulation, make_terms, party_ids

SILENCES = (Phase.ADVERTISE, Phase.SHARE, Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL)
SLOW = settings(
    max_examples=30,
    deadline=None,
    phases=[Stage.explicit, Stage.reuse, Stage.generate, Stage.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Foretold:
    """How a round ends, or where it waits and for whom; `opened` if it ends well."""

    phase: Phase
    waits_for: frozenset[str] = frozenset()
    opened: tuple[str, ...] = ()


def foretold(terms: Terms, here: frozenset[str], silent: dict[str, Phase]) -> Foretold:
    """Foretell a round of `here`, of whom some fall silent in a phase, before answering in it, and do not come back.

    A round that lacks updates or signatures is released at its deadline, if enough members are left, in the round or not.
    """
    floors = {segment.name: (frozenset(segment.members), segment.floor) for segment in terms.steps[0].segments}

    def answered(members: frozenset[str], phase: Phase) -> frozenset[str]:
        return frozenset(party for party in members if silent.get(party) is not phase)

    def reaching(names: tuple[str, ...], members: frozenset[str]) -> tuple[str, ...]:
        return tuple(name for name in names if len(members & floors[name][0]) >= floors[name][1])

    def unfinished(phase: Phase, waits_for: frozenset[str]) -> Foretold:
        left = here - {party for party, when in silent.items() if SILENCES.index(when) <= SILENCES.index(phase)}
        needed = len(terms.members) - terms.threshold + terms.max_colluders + 1
        return Foretold(Phase.RELEASED) if len(left) >= needed else Foretold(phase, waits_for)

    with_keys = answered(here, Phase.ADVERTISE)
    live = reaching(tuple(floors), with_keys)
    if len(with_keys) < terms.threshold or not live:
        return Foretold(Phase.ABORTED)
    with_boxes = answered(with_keys, Phase.SHARE)
    live = reaching(live, with_boxes)
    if len(with_boxes) < terms.threshold or not live:
        return Foretold(Phase.ABORTED)
    uploaded = answered(with_boxes, Phase.COLLECT)
    opened = reaching(live, uploaded)
    if len(uploaded) < terms.threshold or not opened:
        return unfinished(Phase.COLLECT, with_boxes - uploaded)
    signed = answered(uploaded, Phase.CONFIRM)
    if len(signed) < terms.threshold:
        return unfinished(Phase.CONFIRM, with_boxes - signed)
    revealed = answered(signed, Phase.REVEAL)
    if len(revealed) < terms.threshold:
        return Foretold(Phase.REVEAL, with_boxes - revealed)
    return Foretold(Phase.CLOSED, opened=opened)


@st.composite
def agreements(draw: st.DrawFn) -> Terms:
    """Draw terms of 3 to 12 members with one to four segments of any length, some of them of a few members only."""
    parties = draw(st.integers(3, 12))
    most = max(c for c in range(3) if required_threshold(parties, c, gateway_may_lie=True) <= parties and c + 2 <= parties)
    colluders = draw(st.integers(0, most))
    floor = draw(st.integers(max(3, colluders + 2), max(3, colluders + 2, parties - 2)))
    members = st.lists(st.integers(0, parties - 1), min_size=floor, max_size=parties, unique=True).map(sorted)
    heads = draw(st.lists(st.tuples(st.integers(1, 300), members), max_size=3))
    segments: dict[str, tuple[int, list[int] | None]] = {f"head:h{index}": head for index, head in enumerate(heads)}
    if not heads or draw(st.integers(0, 3)):
        segments = {"trunk": (draw(st.integers(1, 300)), None)} | segments
    return make_terms(parties, colluders=colluders, segments=segments, floor=floor, width=draw(st.sampled_from([16, 32, 64])))


@st.composite
def silences(draw: st.DrawFn, terms: Terms) -> dict[str, Phase]:
    """Draw who falls silent when: mostly as few as the threshold allows, sometimes any number."""
    spare = len(terms.members) - terms.threshold
    most = draw(st.sampled_from([spare, spare, spare + 1, len(terms.members)]))
    parties = st.sampled_from([member.party for member in terms.members])
    return draw(st.dictionaries(parties, st.sampled_from(SILENCES), max_size=most))


def check_exact(simulation: Simulation) -> None:
    """The opened sums are the plain sums of the survivors, to the bit, and of at least the floor."""
    listed = simulation.state.listed
    assert listed is not None
    assert tuple(simulation.sums) == listed.openable
    for name, total in simulation.sums.items():
        segment = simulation.terms.steps[0].segment(name)
        assert len(listed.parties & set(segment.members)) >= segment.floor
        assert np.array_equal(total, simulation.expected_sum(name, listed.parties))


def check_nothing_uploaded(simulation: Simulation) -> None:
    """An aborted round gave a reason, and no party has sealed in it."""
    assert not simulation.bodies
    assert not simulation.sums
    reasons = [raw.decode() for _, kind, raw in simulation.inbox if kind == "aborted"]
    states = [
        party.state for party in simulation.parties.values() if party.state is not None and party.state.spec.round == simulation.round
    ]
    assert all(state.manifest is None for state in states)
    assert all("wanted" in reason and "missing: " in reason for reason in reasons)


def finish_by_returning(simulation: Simulation, order: list[str]) -> None:
    """Let the silent return one by one: the round waits, names whom it waits for, and finishes or, before its certificate, is released."""
    certified = simulation.state.phase is Phase.REVEAL
    for party in order:
        if simulation.sums or simulation.state.phase is Phase.RELEASED:
            break
        assert simulation.state.phase in {Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL}
        assert set(simulation.state.waits_for()) >= simulation.away & set(simulation.state.boxes_from)
        simulation.come_back(party)
    if simulation.state.phase is Phase.RELEASED:
        assert not certified
        assert not simulation.sums
    else:
        assert simulation.finished
        check_exact(simulation)


@SLOW
@given(st.data())
def test_every_opened_sum_is_the_plain_sum_whoever_drops_out_when(data: st.DataObject) -> None:
    terms = data.draw(agreements(), "terms")
    simulation = Simulation(terms)
    for _ in range(data.draw(st.integers(1, 3), "rounds")):
        silent = data.draw(silences(terms), "silent")
        here = frozenset(simulation.parties) - simulation.away
        expected = foretold(terms, here, silent)
        note(f"n={len(terms.members)} t={terms.threshold} away={sorted(simulation.away)}: {expected}")
        assert simulation.run(silent) is expected.phase
        if expected.phase is Phase.CLOSED:
            assert tuple(simulation.sums) == expected.opened
            check_exact(simulation)
        elif expected.phase is Phase.ABORTED:
            check_nothing_uploaded(simulation)
        elif expected.phase is Phase.RELEASED:
            assert not simulation.sums
        else:
            assert set(simulation.state.waits_for()) == expected.waits_for
            finish_by_returning(simulation, data.draw(st.permutations(sorted(simulation.away)), "return"))
        if data.draw(st.booleans(), "all return"):
            simulation.away.clear()
    assert not [refusal for party in simulation.parties.values() for refusal in party.refusals]
    simulation.away.clear()
    simulation.open_round()  # who was away reads what it missed
    assert len({party.base for party in simulation.parties.values()}) == 1
    assert len({party.chain.head for party in simulation.parties.values()}) == 1


@settings(SLOW, max_examples=25)
@given(st.data())
def test_a_hostile_wire_makes_no_sum_wrong_and_no_party_fall(data: st.DataObject) -> None:
    """Messages are held back, altered, swapped and replayed, also from an earlier round: refused, or without effect."""
    parties = data.draw(st.integers(3, 6), "parties")
    seen: list[tuple[str, bytes]] = []
    random = data.draw(st.randoms(use_true_random=False), "tampering")
    often = data.draw(st.sampled_from([0.02, 0.1, 0.4]), "how often")

    def tamper(to: str, kind: str, raw: bytes) -> bytes | None:
        del to
        before = [other for known, other in seen if known == kind]
        seen.append((kind, raw))
        if random.random() >= often:
            return raw
        match random.choice(["drop", "flip", "cut", "replay"]):
            case "flip":
                place = random.randrange(len(raw))
                return raw[:place] + bytes([raw[place] ^ (1 << random.randrange(8))]) + raw[place + 1 :]
            case "cut":
                return raw[: random.randrange(len(raw))]
            case "replay" if before:
                return random.choice(before)
            case _:
                return None

    simulation = Simulation(make_terms(parties, segments={"trunk": (20, None), "head:a": (3, [0, 1, 2])}), tamper)
    for _ in range(2):
        simulation.run()
        if simulation.state.phase is Phase.CLOSED:
            check_exact(simulation)
        elif simulation.state.phase is Phase.ABORTED:
            check_nothing_uploaded(simulation)
        else:
            break  # it waits for answers to what the wire swallowed
    heads = {party.chain.head for party in simulation.parties.values()}
    assert simulation.chain is not None
    assert heads <= {simulation.chain.head, simulation.terms.digest(), *simulation.heads}


@settings(SLOW, max_examples=10)
@given(st.data())
def test_the_order_of_answers_changes_nothing(data: st.DataObject) -> None:
    """Parties answer in any order: the same list, the same sums, the same next version."""
    parties = data.draw(st.integers(3, 7), "parties")
    terms = make_terms(parties, segments={"trunk": (9, None), "head:a": (3, [0, 1, 2])})
    first, second = Simulation(terms), Simulation(terms)
    second.order = data.draw(st.permutations(party_ids(parties)), "order")
    for simulation in (first, second):
        assert simulation.run() is Phase.CLOSED
    assert first.state.listed == second.state.listed
    assert all(np.array_equal(total, second.sums[name]) for name, total in first.sums.items())
