"""The rows of the benchmark over several demos: what is met and what is missed, without running one."""

from __future__ import annotations

from parley.demo_data import DEMO_PARTIES

from benchmarks.demo_seeds import MODELS, Split, rows


def split(*, all_six: float, seconds: float = 80.0, verified: bool = True) -> Split:
    scores = {"local logistic": 0.78, "local MLP": 0.79, "same objective": 0.82, "all six": all_six}
    known = {model: scores.get(model, 0.81) for model in MODELS}
    return Split({party.id: dict(known) for party in DEMO_PARTIES}, seconds, 0.2, verified)


def test_goals_are_met_by_their_means_over_all_splits() -> None:
    found = {row.name: row for row in rows({1: split(all_six=0.79), 2: split(all_six=0.83)})}
    assert found["mean: all six"].value == 0.81
    assert found["mean: all six"].met
    assert found["mean: all six above local MLP"].met
    assert found["logs that verify"].met
    assert found["longest demo"].met
    assert found["parties that all six serves worse than same objective"].value == 6
    assert len(found) == 2 * len(MODELS) + 6 * len(MODELS) + len(MODELS) + 5


def test_what_is_missed_is_shown_as_missed() -> None:
    found = {row.name: row for row in rows({1: split(all_six=0.7, seconds=130.0, verified=False)})}
    missed = {name for name, row in found.items() if row.met is False}
    assert missed == {"mean: all six", "mean: all six above local MLP", "logs that verify", "longest demo"}
