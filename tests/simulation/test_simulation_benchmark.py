"""The benchmarks of whole rounds: their rows and goals, in rounds too small to time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

import pytest
from parley_crypto import derive as derivation
from parley_crypto.keys import SigningKey, VerifyKey
from parley_protocol.ids import Phase

from benchmarks import masked_rounds, masked_scale
from benchmarks.masked_rounds import OneParty, Primitives, TimedSimulation, check_exact, rows, terms_of

T = TypeVar("T")
MEMBERS: Final = 9


def test_rounds_have_their_rows() -> None:
    found = {row.name: row for row in rows(repeats={5: 1}, keys_repeats=1, length=1_000)}
    with_goal = {name for name, row in found.items() if row.goal is not None}
    assert with_goal == {"keys_k30_over_primitives", "wire_bytes_w32", "wire_bytes_w16"}
    assert found["wire_bytes_w32"].value == 4
    assert found["wire_bytes_w16"].value == 2
    assert {
        "round_n5_ms",
        *(f"round_n5: {phase}" for phase in ("advertise", "share", "collect", "confirm", "reveal", "open")),
    } < found.keys()
    assert all(row.value > 0 for row in found.values())


def test_control_bytes_of_fifty_are_within_the_goal() -> None:
    simulation = masked_rounds.one_round(terms_of(50))
    (row,) = masked_rounds._control_rows(50, simulation)
    assert row.met is True


def test_the_primitives_are_those_that_a_party_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = terms_of(MEMBERS)
    party, calls = OneParty.recorded(terms), Counter[str]()

    def counted(name: str, call: Callable[..., T]) -> Callable[..., T]:
        def counting(*args: object, **kwargs: object) -> T:
            calls[name] += 1
            return call(*args, **kwargs)

        return counting

    monkeypatch.setattr(SigningKey, "sign", counted("sign", SigningKey.sign))
    monkeypatch.setattr(VerifyKey, "verify", counted("verify", VerifyKey.verify))
    monkeypatch.setattr(derivation, "expand", counted("derive", derivation.expand))
    party.take_part()
    primitives = Primitives(MEMBERS, terms.threshold)
    assert calls == {"sign": primitives.signs, "verify": primitives.verifies, "derive": primitives.derivations}


def test_who_takes_part_again_says_the_same() -> None:
    party = OneParty.recorded(terms_of(5))
    assert party.take_part() == party.take_part()


def test_a_wrong_sum_is_not_timed() -> None:
    simulation = TimedSimulation(terms_of(5))
    assert simulation.run() is Phase.CLOSED
    check_exact(simulation)
    simulation.sums["trunk"][2] += 1
    with pytest.raises(ArithmeticError, match="sum of trunk in round 1"):
        check_exact(simulation)


def test_scale_runs_a_round_for_each_phase_and_says_who_dropped_out() -> None:
    names = [row.name for row in masked_scale.rows(members=12)]
    assert names[:2] == ["one round of 12", "a round in which 1 drop out in ADVERTISE"]
    assert "the five rounds together" in names
