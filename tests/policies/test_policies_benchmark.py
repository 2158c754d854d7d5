from __future__ import annotations

from benchmarks.negotiation import SIZES, Size, federation, first_come, negotiated, rows


def test_the_rows_that_were_promised_stand_first() -> None:
    assert [size.name for size in SIZES] == ["n20", "n50_d5", "n50_d10", "n100"]
    found = rows((Size(9, 0.1, 1.0, "n9"),), (1,))
    assert [row.name for row in found[:3]] == ["solve_n9_s", "solve_n9_gap", "data_used_ratio"]
    values = {row.name: row.value for row in found}
    assert values["solve_n9_gap"] == 0
    assert values["n9: data used"] == values["n9: bound, proven"] >= values["n9: who disagrees is out"]


def test_a_federation_is_the_same_for_the_same_seed() -> None:
    assert federation(8, 0.2, 3)[1] == federation(8, 0.2, 3)[1]
    assert federation(8, 0.2, 3)[1] != federation(8, 0.2, 4)[1]


def test_baselines_are_cohorts_that_every_offer_permits() -> None:
    drawn, offers = federation(10, 0.2, 4)
    inside = first_come(offers)
    parties = {offer.party for offer in inside}
    assert inside
    assert not any(parties & set(offer.apart) for offer in inside)
    assert negotiated(drawn, offers).strictest == 0  # some pairs are denied
    drawn, offers = federation(10, 0.0, 1)
    found = negotiated(drawn, offers)
    assert found.strictest <= found.negotiated.value
    assert found.first_come > 0
