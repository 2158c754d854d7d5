"""The chain of certificates, and what a set of members may open together."""

from __future__ import annotations

import pytest
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import body_size, box_size, own_segments, public_state_digest, secrets_of
from parley_protocol.certificates import Chain, OpenedList, extend, openable
from parley_protocol.ids import Phase

from tests.attacks.adversary import SEGMENTS, SIX, Stage
from tests.simulator import START, first_cohort, make_terms, party_ids, party_key

TERMS = make_terms(6, segments=SEGMENTS)
STEP = TERMS.steps[0]


def after(*lists: tuple[str, frozenset[str], str]) -> Chain:
    opened = tuple(OpenedList(*item) for item in lists)
    return Chain(TERMS.digest(), "1" * 64, len(lists), frozenset(), opened)


def test_a_chain_starts_at_the_agreement_and_grows_by_certificates() -> None:
    chain = Chain.start(TERMS.digest())
    assert (chain.head, chain.round, chain.opened) == (TERMS.digest(), 0, ())
    for number in (1, 4):  # rounds in between were given up
        stage = Stage(TERMS, number=number, chain=chain, version=number, parameters=f"{number:064x}").to(Phase.CONFIRM)
        listed = stage.listed()
        chain, read = extend(chain, TERMS, listed.sign(*(party_key(party) for party in SIX)))
        assert read == listed
        assert (chain.head, chain.round) == (listed.digest(), number)
    assert len(chain.bases) == 2
    assert chain.lists("trunk") == (frozenset(SIX),) * 2
    assert chain.lists("head:a") == (frozenset(SIX[:3]),) * 2
    assert chain.lists("nothing") == ()


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (SIX, ("trunk", "head:a", "head:b")),
        (SIX[1:], ("trunk", "head:b")),
        (SIX[:5], ("trunk", "head:a", "head:b")),
        (SIX[:4], ("trunk", "head:a")),
        (SIX[:2], ()),
        ((), ()),
        ((*SIX[:2], "stranger", "phantom"), ()),
    ],
)
def test_segments_open_whose_floor_is_reached(present: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert openable(first_cohort(TERMS), Chain.start(TERMS.digest()), START, frozenset(present)) == expected


def test_lists_of_other_parameters_do_not_isolate() -> None:
    chain = after(("trunk", frozenset(SIX), START))
    assert "trunk" not in openable(first_cohort(TERMS), chain, START, frozenset(SIX[:5]))
    assert "trunk" in openable(first_cohort(TERMS), chain, "d" * 64, frozenset(SIX[:5]))
    assert "trunk" in openable(first_cohort(TERMS), chain, START, frozenset(SIX))


def test_lists_of_other_studies_count_where_they_are_known() -> None:
    chain, earlier = Chain.start(TERMS.digest()), {"trunk": (frozenset(SIX[:5]),)}
    assert "trunk" in openable(first_cohort(TERMS), chain, START, frozenset(SIX))
    assert "trunk" not in openable(first_cohort(TERMS), chain, START, frozenset(SIX), earlier)
    assert "head:a" in openable(first_cohort(TERMS), chain, START, frozenset(SIX), earlier)


@pytest.mark.parametrize(("allowed", "opens"), [(0, False), (1, False), (2, True)])
def test_small_changes_are_counted_over_the_whole_chain(allowed: int, *, opens: bool) -> None:
    terms = make_terms(6, small_changes=allowed)
    chain = after(("trunk", frozenset(SIX), "a" * 64), ("trunk", frozenset(SIX[1:]), "b" * 64), ("trunk", frozenset(SIX[1:]), "c" * 64))
    assert chain.small_changes("trunk", 3) == 1
    assert (openable(first_cohort(terms), chain, "d" * 64, frozenset(SIX)) == ("trunk",)) is opens
    assert openable(first_cohort(terms), chain, "d" * 64, frozenset(SIX[1:])) == ("trunk",)


def test_openable_depends_on_nothing_but_its_arguments() -> None:
    """The order of members, of earlier lists of other parameters, and names of strangers change nothing."""
    ids = party_ids(6)
    lists = [("trunk", frozenset(ids[:5]), "a" * 64), ("trunk", frozenset(ids[:5]), "b" * 64)]
    for present in (frozenset(ids), frozenset(reversed(ids)), frozenset([*ids, "stranger"])):
        for order in (lists, lists[::-1]):
            assert openable(first_cohort(TERMS), after(*order), START, present) == ("trunk", "head:a", "head:b")


def test_the_parts_of_a_member_are_in_the_steps_order() -> None:
    assert own_segments(STEP, ("trunk", "head:a", "head:b"), SIX[2]) == ("trunk", "head:a", "head:b")
    assert own_segments(STEP, ("trunk", "head:b"), SIX[0]) == ("trunk",)
    assert secrets_of(STEP, ("trunk", "head:b"), SIX[3]) == ("mask", "self/trunk", "self/head:b")
    assert body_size(STEP, ("trunk", "head:a")) == (8 + 5) * 4 + 2 * 16  # and two tags of 8 bytes a segment
    assert body_size(STEP, ()) == 0
    assert box_size(3) == 115


def test_a_base_version_covers_all_that_made_it() -> None:
    parts: list[tuple[str, int, str, str]] = [
        ("a", 1, "b", "c"),
        ("x", 1, "b", "c"),
        ("a", 2, "b", "c"),
        ("a", 1, "x", "c"),
        ("a", 1, "b", "x"),
    ]
    assert len({public_state_digest(*row) for row in parts}) == len(parts)


def test_terms_are_the_digest_that_everything_names() -> None:
    other = Terms.model_validate(TERMS.model_dump() | {"max_small_changes": 7})
    assert other.digest() != TERMS.digest()
