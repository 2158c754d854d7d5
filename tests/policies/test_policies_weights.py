from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.errors import EncodingError
from parley_crypto.fixedpoint import FixedPoint
from parley_policies.errors import Conflict
from parley_policies.negotiation.encoding import MAX_ROWS, encoding_of, summary_encoding, train_encoding, upload_mib
from parley_policies.negotiation.records import banded, lower_end
from parley_policies.negotiation.weights import CappedSegment, fitted, is_within, wanted_weights

PARTIES = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("granted", "records", "told", "least"),
    [
        ("exact", 1730, "exact:1730", 1730),
        ("rounded:500", 1730, "rounded:1500", 1500),
        ("rounded:500", 1500, "rounded:1500", 1500),
        ("rounded:500", 499, "rounded:0", 0),
        ("hidden", 1730, "hidden", None),
    ],
)
def test_records_are_told_as_granted(granted: str, records: int, told: str, least: int | None) -> None:
    assert banded(granted, records) == told
    assert lower_end(told) == least


def test_hidden_counts_weigh_as_the_lowest_band() -> None:
    assert wanted_weights({"a": "hidden", "b": "rounded:1500", "c": "exact:700"}) == {"a": 700, "b": 1500, "c": 700}
    assert wanted_weights({"a": "hidden", "b": "hidden"}) == {"a": 1, "b": 1}
    assert wanted_weights({"a": "rounded:0", "b": "exact:5"}) == {"a": 1, "b": 5}


def test_equal_weights_become_ones() -> None:
    segment = CappedSegment(PARTIES, 3, dict.fromkeys(PARTIES, 0.4))
    assert fitted(dict.fromkeys(PARTIES, 600), [segment]) == dict.fromkeys(PARTIES, 1)


def test_a_heavy_party_is_lowered_to_its_cap_in_the_smallest_sum() -> None:
    segment = CappedSegment(("a", "b", "c"), 3, {"a": 0.5, "b": 1.0, "c": 1.0})
    weights = fitted({"a": 10_000, "b": 100, "c": 300}, [segment])
    assert weights == {"a": 4, "b": 1, "c": 3}


def test_caps_that_cannot_be_kept_give_no_weights() -> None:
    segment = CappedSegment(("a", "b", "c"), 3, dict.fromkeys("abc", 0.33))
    assert fitted({"a": 1, "b": 1, "c": 1}, [segment]) == {"a": 0, "b": 0, "c": 0}


@given(
    st.dictionaries(st.sampled_from(PARTIES), st.integers(1, 5_000), min_size=3),
    st.dictionaries(st.sampled_from(PARTIES), st.sampled_from([0.2, 0.34, 0.4, 0.5, 0.8, 1.0])),
    st.integers(3, 5),
)
def test_fitted_weights_keep_every_cap_in_every_sum(wanted: dict[str, int], caps: dict[str, float], least: int) -> None:
    members = tuple(sorted(wanted))
    segment = CappedSegment(members, min(least, len(members)), caps)
    weights = fitted(wanted, [segment])
    assert fitted(dict(reversed(wanted.items())), [segment]) == weights
    if not all(weights.values()):
        return
    for size in range(segment.least, len(members) + 1):
        for summed in combinations(members, size):
            for party in summed:
                assert weights[party] <= caps.get(party, 1.0) * sum(weights[other] for other in summed) * (1 + 1e-12)
    assert all(is_within(party, caps.get(party, 1.0), weights, segment) for party in members)


@given(st.integers(3, 200), st.floats(0.01, 50.0))
def test_encodings_are_the_finest_that_fit(members: int, bound: float) -> None:
    encoding = train_encoding(bound, members)
    FixedPoint(encoding.width, encoding.fraction_bits, encoding.bound, members)
    with pytest.raises(EncodingError):
        FixedPoint(encoding.width, encoding.fraction_bits + 1, encoding.bound, members)


@pytest.mark.parametrize("members", [3, 6, 200])
def test_summary_holds_the_largest_number_of_rows(members: int) -> None:
    encoding = summary_encoding(members)
    assert (encoding.width, encoding.bound) == (64, MAX_ROWS)
    assert encoding.fraction_bits >= 26  # means of columns to 2^-26 of their range


def test_a_bound_that_leaves_no_resolution_is_a_conflict() -> None:
    with pytest.raises(Conflict, match=r"sharing\.clip_bound"):
        encoding_of(16, 1_000.0, 6)


def test_upload_size() -> None:
    assert upload_mib(1 << 18, train_encoding(1.0, 3)) == 1.0
