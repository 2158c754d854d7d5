"""Schedules of faults drawn from seeds (`make sim` runs ten times as many), what they would find, and what they have found."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from parley_crypto.masked import MaskedOpening
from parley_protocol.gateway_round import GatewayRound
from parley_protocol.ids import Phase
from parley_protocol.party_round import PartyRound
from parley_protocol.relays import SumOpened

from tests.attacks.adversary import Stage
from tests.simulation.durable import FindingError, Sealer
from tests.simulation.schedules import Schedule, run_many, run_one
from tests.simulator import Simulation, make_terms

if TYPE_CHECKING:
    from collections.abc import Callable

    from parley_protocol.party_spec import PartySpec
    from parley_protocol.promises import Promise

HAPPENED = {
    *(f"{what}: crash {when}" for what in ("deliver", "post", "seal") for when in ("before", "after")),
    *(f"{what}: {fault}" for what in ("deliver", "post") for fault in ("corrupt", "duplicate", "reorder")),
    *("restarts", "leaves", "returns", "refused by the gateway"),
    *(Phase.CLOSED, Phase.ABORTED, Phase.RELEASED),
}


def silent(done: int, total: Counter[str]) -> None:
    """Show no progress."""
    del done, total


def test_a_thousand_schedules_of_five_parties_hold() -> None:
    """Every sum is that of exactly its survivors, one list a base version opens, and with all back the study goes on."""
    counts = run_many([(seed, 5) for seed in range(1_000)], min(2, os.cpu_count() or 1), silent)
    assert set(counts) >= HAPPENED
    assert counts[Phase.CLOSED] > 1_000
    assert counts[Phase.RELEASED] > 100


@pytest.mark.parametrize("parties", [3, 4, 6])
def test_schedules_of_other_sizes_hold(parties: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(20):
        counts += run_one((seed, parties))
    assert counts[Phase.CLOSED] >= 20


def test_a_schedule_repeats_from_its_seed() -> None:
    one, two = Schedule(7), Schedule(7)
    assert one.run() == two.run()
    assert one.chain == two.chain
    assert Schedule(8).run() != one.counts


# what schedules would find: the machines, broken


def keep_secrets(state: PartyRound, phase: Phase, promise: Promise) -> PartyRound:
    return replace(state, phase=phase, promise=promise)


def enter_with_a_fresh_seed(spec: PartySpec, seed: bytes) -> PartyRound:
    """Draw a seed that is recorded nowhere."""
    del seed
    return entered(spec, os.urandom(32))


def forget_the_round(party: Sealer) -> list[object]:
    """Seal and send, and write down nothing of it."""
    state = party.state
    sends = sealed(party)
    party.state = state
    return list(sends)


def never_released(state: GatewayRound, now: float) -> tuple[GatewayRound, tuple[object, ...]]:
    del now
    return state, ()


def count_one_twice(opening: MaskedOpening, sealed_vector: object) -> None:
    combined(opening, sealed_vector)  # type: ignore[arg-type]
    combined(opening, sealed_vector)  # type: ignore[arg-type]


entered, sealed, combined = PartyRound.enter, Sealer.seal, MaskedOpening.combine
BROKEN: dict[str, tuple[type, str, Callable[..., object], str]] = {
    "secrets kept": (PartyRound, "_over", keep_secrets, "secrets of a round"),
    "a seed not recorded": (PartyRound, "enter", enter_with_a_fresh_seed, "a replay sends something else"),
    "a sealed update not recorded": (Sealer, "seal", forget_the_round, "a replay|another body|no way on|is stuck|in COLLECT"),
    "a double count": (MaskedOpening, "combine", count_one_twice, "wanted the sum of"),
    "a release that never ends": (GatewayRound, "_close_release", never_released, "is stuck in RELEASE"),
}


def run_thirty() -> None:
    for seed in range(30):
        run_one((seed, 5))


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found_within_thirty_schedules(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, broken, words = BROKEN[name]
    monkeypatch.setattr(owner, attribute, broken)
    with pytest.raises(FindingError, match=words) as caught:
        run_thirty()
    assert "python -m tests.simulation.schedules --seed" in str(caught.value)


# what schedules have found


def opened_round() -> tuple[Simulation, SumOpened]:
    simulation = Simulation(make_terms(5))
    assert simulation.run({"party-004": Phase.REVEAL}) is Phase.CLOSED
    notice = next(raw for to, kind, raw in simulation.inbox if (to, kind) == ("party-004", "opened"))
    return simulation, SumOpened.parse(notice)


def test_a_notice_whose_certificate_is_broken_is_refused() -> None:
    """Seed 281: the list was read before its signatures were checked, and bytes that are no list ended the reader."""
    simulation, notice = opened_round()
    party = simulation.parties["party-004"]
    certificate = simulation.state.certificate
    assert certificate is not None
    whole = certificate.dump().decode()
    broken = whole.replace("eyJh", "eyJ/", 1)
    assert broken != whole
    before = (party.chain, party.base)
    assert party.take("opened", notice.model_copy(update={"certificate": broken}).canonical(), lambda _: pytest.fail("sealed")) == []
    assert (party.chain, party.base) == before
    assert "valid signatures of members, got 0" in party.refusals[-1]


def test_a_notice_of_an_opened_round_is_nothing_new_even_without_its_certificate() -> None:
    """Seed 293: delivered again after a restart, when the round's state is gone, it asked for a certificate that was not kept."""
    simulation, notice = opened_round()
    party = simulation.parties["party-001"]
    party.state = None
    before = party.chain
    assert party.take("opened", notice.model_copy(update={"certificate": ""}).canonical(), lambda _: pytest.fail("sealed")) == []
    assert (party.chain, party.refusals) == (before, [])


def test_a_member_that_forgot_an_opened_round_does_not_release_it() -> None:
    """Found while writing the restart: its record of the round is gone, and its word would stand in a proof that nobody can open it."""
    simulation, _ = opened_round()
    party = simulation.parties["party-001"]
    party.state = None
    assert party.take("release", Stage(simulation.terms).asked().canonical(), lambda _: pytest.fail("sealed")) == []
    assert party.refusals == ["round 1: it lies behind the chain, there is nothing to release"]


def test_who_released_a_later_round_keeps_out_until_then() -> None:
    """Seed 84: a question about round 6 was answered in round 2. It costs the member the rounds between, as the gateway could anyhow."""
    party = Simulation(make_terms(5)).parties["party-001"]
    later = Stage(make_terms(5), number=6, absent=frozenset(party.terms.keys())).asked()
    assert [send.kind for send in party.take("release", later.canonical(), lambda _: pytest.fail("sealed"))] == ["release"]
    assert [party.open(number) for number in (3, 6)] == [[], []]
    assert [send.kind for send in party.open(7)] == ["advertise"]


@pytest.mark.parametrize("sums", ["A", "AAA", "AAAAA", "AAAA", "=="])
def test_a_notice_whose_sums_are_broken_is_refused(sums: str) -> None:
    """Texts that look like base64 and are none, and sums whose tags do not hold, end in a refusal and not in the reader."""
    simulation, notice = opened_round()
    party = simulation.parties["party-004"]
    before = (party.chain, party.base)
    assert party.take("opened", notice.model_copy(update={"sums": sums}).canonical(), lambda _: pytest.fail("sealed")) == []
    assert ((party.chain, party.base), len(party.refusals)) == (before, 1)
