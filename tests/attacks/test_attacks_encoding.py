"""Invariant 7: a sum cannot wrap, and nothing is silently wrong: refused before sealing, and again after opening."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from parley_crypto import ring
from parley_crypto.errors import EncodingError, MalformedError
from parley_crypto.fixedpoint import FixedPoint
from parley_crypto.ring import RingVector
from parley_policies.negotiation.terms import Terms
from parley_protocol.errors import LocalProtocolError
from parley_protocol.ids import Phase
from parley_protocol.party_round import PartyRound

from tests.attacks.adversary import SIX, Stage
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
from tests.simulator import make_terms

VICTIM = SIX[0]


def tight() -> Terms:
    """Return terms whose ring holds six members to the last bit: 6 · 5461 = 32766 < 2^15."""
    terms = make_terms(6, width=16).model_dump()
    terms["steps"][0]["encoding"] = {"width": 16, "fraction_bits": 0, "bound": 5461.0}
    return Terms.model_validate(terms)


def without_headroom() -> Terms:
    terms = make_terms(6, width=16).model_dump()
    terms["steps"][0]["encoding"] = {"width": 16, "fraction_bits": 0, "bound": 5462.0}
    return Terms.model_validate(terms)


def fixed(terms: Terms) -> FixedPoint:
    encoding = terms.steps[0].encoding
    return FixedPoint(encoding.width, encoding.fraction_bits, encoding.bound, len(terms.members))


def open_all(terms: Terms, values: dict[str, float]) -> NDArray[np.float64]:
    """Seal one value a member, in every coordinate, and return the decoded sum."""
    stage = Stage(terms).to(Phase.COLLECT)
    for party, value in values.items():
        stage.seal(party, {"trunk": np.full(8, int(value), dtype=np.int64).astype(ring.dtype_of(terms.steps[0].encoding.width))})
    listed = stage.listed()
    stage.confirm(listed, SIX)
    return fixed(terms).decode(stage.sum_of(SIX, "trunk", stage.reveal(listed, SIX)))


def seal_beyond_the_bound() -> None:
    """Six members that forgot to clip: the sum of six large values comes out negative."""
    total = open_all(tight(), dict.fromkeys(SIX, 6000.0))
    assert (total < 0).all()


def seal_without_headroom() -> None:
    terms = without_headroom()
    total = open_all(terms, dict.fromkeys(SIX, 5462.0))
    assert (total == 6 * 5462 - 65536).all()


def encode_without_headroom() -> None:
    FixedPoint(16, 0, 5462.0, 6)


def encode_what_is_not_finite() -> None:
    with np.errstate(invalid="ignore"):
        fixed(make_terms(6)).encode(np.array([1.0, np.nan]))


def encode_beyond_the_bound() -> None:
    encoding = fixed(tight())
    encoding.encode(np.array([1.0, 70000.0]))


def decode_a_sum_that_members_cannot_give() -> None:
    encoding = fixed(make_terms(6))
    altered = encoding.encode(np.array([8.0])) * np.uint32(7)
    assert encoding.decode(altered).tolist() == [56.0]


def accept_a_sum_beyond_the_clip_bounds() -> None:
    """Every coordinate is within its bound, but members that clip to a norm of 1.0 cannot give this sum."""
    encoding = fixed(make_terms(6))
    encoding.check_norm(encoding.encode(np.full(8, 8.0)), 6.0)


def seal_another_length() -> None:
    stage = Stage(make_terms(6)).to(Phase.COLLECT)
    stage.seal(VICTIM, {"trunk": ring.zeros(9, 32)})


def seal_another_width() -> None:
    stage = Stage(make_terms(6)).to(Phase.COLLECT)
    stage.seal(VICTIM, {"trunk": ring.zeros(8, 64)})


def seal_another_part() -> None:
    stage = Stage(make_terms(6, segments={"trunk": (8, None), "head:a": (8, None)})).to(Phase.COLLECT)
    stage.seal(VICTIM, {"trunk": ring.zeros(8, 32)})


WITHIN, HEADROOM = Guard(FixedPoint, "_check_within", "got more"), Guard(FixedPoint, "__post_init__", "headroom")
NORM = Guard(FixedPoint, "check_norm", "wanted an L2 norm")
LENGTH, WIDTH = (Guard(PartyRound, "_check_vector", "coordinates, got", f"vector.{what} != ") for what in ("shape", "dtype"))
ATTACKS = (
    Attack("beyond the bound", seal_beyond_the_bound, "coordinate 0 of 8: wanted at most 5461.0 in absolute value", (WITHIN,)),
    Attack("no headroom to seal", seal_without_headroom, "headroom: 6 members", (HEADROOM,)),
    Attack("no headroom to encode", encode_without_headroom, "headroom: 6 members", (HEADROOM,)),
    Attack("not finite", encode_what_is_not_finite, "coordinate 1 of 2: wanted a finite", (Guard(FixedPoint, "encode", "a finite value"),)),
    Attack("too large", encode_beyond_the_bound, "coordinate 1 of 2: wanted at most", (Guard(FixedPoint, "encode", "in absolute value"),)),
    Attack("altered sum", decode_a_sum_that_members_cannot_give, "a sum of at most 6 values of at most 8.0", (WITHIN,)),
    Attack("beyond the clip bounds", accept_a_sum_beyond_the_clip_bounds, "wanted an L2 norm of at most 6.0", (NORM,)),
    Attack("another length", seal_another_length, "wanted 8 coordinates", (LENGTH,)),
    Attack("another width", seal_another_width, "wanted 8 coordinates", (WIDTH, Guard(FixedPoint, "_signed", "ring vector"))),
    Attack("another part", seal_another_part, "wanted the segments", (Guard(PartyRound, "seal", "wanted the segments"),)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_would_make_a_sum_wrong_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_the_sum_is_silently_wrong(attack: Attack) -> None:
    check_mutations(attack)


def test_the_largest_values_of_all_members_fit_exactly() -> None:
    assert (open_all(tight(), dict.fromkeys(SIX, 5461.0)) == 6 * 5461).all()
    assert (open_all(tight(), dict.fromkeys(SIX, -5461.0)) == -6 * 5461).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_value_that_is_not_finite_is_refused_by_its_place(value: float, dtype: type[np.floating]) -> None:
    vector = np.zeros(5, dtype=dtype)
    vector[3] = value
    with pytest.raises(EncodingError, match="coordinate 3 of 5: wanted a finite value"):
        fixed(make_terms(6)).encode(vector)


def test_refusals_name_no_value_of_the_update() -> None:
    secret = 123.456789
    encoding = fixed(make_terms(6))
    with pytest.raises(EncodingError) as caught:
        encoding.encode(np.array([0.0, secret]))
    assert "123" not in str(caught.value)
    vector: RingVector = np.array([0, 4_000_000], dtype=np.uint32)
    with pytest.raises(EncodingError) as caught:
        encoding.check_encoded(vector)
    assert "4000000" not in str(caught.value)


def test_a_vector_that_is_refused_is_left_as_it_was() -> None:
    """The first part would have been masked already: sealing it again would put a second mask on it."""
    stage = Stage(make_terms(6, segments={"trunk": (8, None), "head:a": (8, None)})).to(Phase.COLLECT)
    vectors: dict[str, RingVector] = {"trunk": ring.zeros(8, 32), "head:a": ring.zeros(7, 32)}
    with pytest.raises(MalformedError):
        stage.seal(VICTIM, vectors)
    assert not vectors["trunk"].any()
    assert stage.states[VICTIM].phase is Phase.COLLECT
    stage.seal(VICTIM, {"trunk": vectors["trunk"], "head:a": ring.zeros(8, 32)})


def test_an_opened_round_has_no_secrets_left() -> None:
    stage = Stage(make_terms(6)).to(Phase.REVEAL)
    stage.reveal(stage.listed(), SIX)
    closed, _ = stage.states[VICTIM].on_opened()
    assert (closed.seed, dict(closed.held)) == (b"", {})
    with pytest.raises(LocalProtocolError, match="a round that is over has none"):
        closed._secrets.self_seed("trunk")
