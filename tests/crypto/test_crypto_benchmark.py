"""The benchmark of masked sums: its rows and goals, on vectors too short to time."""

from __future__ import annotations

import pytest

from benchmarks import masked, masked_peers, masked_seal
from benchmarks.harness import Row

PRINTED = """flwr 1.41 numpy 2.4
N=100 k=30: setup/client 1.00 ms; share_keys/client 2.00 ms; collect_masked/client min 0.109 med 0.111 s; upload bytes/param 8.00
   drop 30%: combine_shares 0.400s for 100; self mask 9.0 ms x70; pair mask 9.1 ms x720; => server unmask 12.00 s per 1M params (…)
"""


def test_sealing_and_opening_have_their_rows() -> None:
    found = {row.name: row for row in masked_seal.rows(length=2_000, repeats=1)}
    with_goal = {name for name, row in found.items() if row.goal is not None}
    assert with_goal == {
        *(f"seal_k{masks}_ms" for masks in (8, 24, 30)),
        "seal_k30_over_limit",
        "sumproof_ms (seal both tags)",
        "sumproof_ms (check)",
        "unmask_n100_drop0_ms",
        "unmask_n100_drop30_ms",
        "add_upload_over_memory",
    }
    assert "floor: 100 masks" in found
    assert all(row.value > 0 for row in found.values())


def test_an_opening_that_gives_another_sum_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_seal, "THRESHOLD", 3)
    cohort = masked_seal._cohort(10, 30)
    cohort.masked[3] += 1
    with pytest.raises(ArithmeticError, match="opened sum of 70 survivors"):
        masked_seal._fastest_unmask(cohort, 1)


def test_what_the_peers_script_prints_becomes_rows() -> None:
    assert list(masked_peers.parse(PRINTED)) == [
        Row("Flower SecAgg+: seal, k = 30", 109.0, "ms"),
        Row("Flower SecAgg+: unmask, n = 100, 30 % dropped", 12_000.0, "ms"),
    ]


def test_parts_that_are_not_there_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked, "PARTS", ("masked_peers", "masked_of_tomorrow"))
    monkeypatch.setattr(masked_peers, "SCRIPT", masked_peers.SCRIPT.with_name("none.py"))
    assert masked.rows() == []
