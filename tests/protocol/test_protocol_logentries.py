"""Entries of the log as they are sent."""

from __future__ import annotations

import pytest
from parley_crypto.errors import MalformedError
from parley_crypto.merkle import leaf_hash
from parley_crypto.signing import Envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.logentries import HiddenLeaf, Reach, dump_entry, hash_of, load_entry, reach_of

from tests.simulator import GATEWAY_KEY


def test_an_entry_survives_the_wire() -> None:
    for entry in (b"a leaf, \xc3\xa9", HiddenLeaf(leaf_hash(b"a leaf"))):
        assert load_entry(dump_entry(entry)) == entry
    assert hash_of(HiddenLeaf(leaf_hash(b"a leaf"))) == hash_of(b"a leaf")


@pytest.mark.parametrize(
    "row", ["text", None, {}, {"leaf": 1}, {"hash": "00"}, {"hash": "G" * 64}, {"hash": "0" * 64, "leaf": "x"}, {"leaf": "x", "more": 1}]
)
def test_what_is_no_entry_is_refused(row: object) -> None:
    with pytest.raises(RemoteProtocolError):
        load_entry(row)


def test_a_leaf_reaches_whom_it_concerns() -> None:
    assert Reach().includes("a", ())
    assert Reach(study="heart").includes("a", {"heart"})
    assert not Reach(study="heart").includes("a", {"lung"})
    assert Reach(party="a").includes("a", ())
    assert not Reach(party="b").includes("a", ())
    assert not Reach(study="heart", party="b").includes("a", {"heart"})
    assert not Reach(study="heart", party="a").includes("a", ())


def test_a_kind_that_nobody_knows_reaches_nobody() -> None:
    with pytest.raises(MalformedError, match="to whom such leaves are shown"):
        reach_of(Envelope.sign("application/vnd.parley.new.v1+json", b"{}", GATEWAY_KEY))
