from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley_crypto.errors import MalformedError, VerificationError
from parley_crypto.merkle import EMPTY_ROOT, Frontier, Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion

# The leaves and roots that Certificate Transparency implementations have tested with since RFC 6962.
LEAVES = [
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def _tree(size: int) -> Tree:
    return Tree(leaf_hash(b"leaf %d" % index) for index in range(size))


def _slow_root(leaves: list[bytes]) -> bytes:
    """MTH as RFC 9162, section 2.1.1, writes it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + _slow_root(leaves[:split]) + _slow_root(leaves[split:])).digest()


def test_known_roots() -> None:
    tree, frontier = Tree(), Frontier()
    assert tree.root() == frontier.root() == bytes.fromhex(ROOTS[0]) == EMPTY_ROOT
    for leaf, root in zip(LEAVES, ROOTS[1:], strict=True):
        tree.append(leaf_hash(leaf))
        frontier.append(leaf_hash(leaf))
        assert tree.root().hex() == frontier.root().hex() == root
    assert [tree.root(size).hex() for size in range(9)] == ROOTS


def test_the_example_of_the_rfc() -> None:
    """RFC 9162, section 2.1.5: seven leaves d0 … d6, nodes a … l as drawn there."""
    leaves = [leaf_hash(b"d%d" % index) for index in range(7)]
    a, b, c, d, e, f, j = leaves
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k = node_hash(g, h)
    right = node_hash(i, j)
    tree = Tree(leaves)
    assert tree.root() == node_hash(k, right)
    assert tree.inclusion_proof(0) == (b, h, right)
    assert tree.inclusion_proof(3) == (c, g, right)
    assert tree.inclusion_proof(4) == (f, j, k)
    assert tree.inclusion_proof(6) == (i, k)
    assert tree.consistency_proof(3) == (c, d, g, right)
    assert tree.consistency_proof(4) == (right,)
    assert tree.consistency_proof(6) == (i, j, k)
    assert tree.consistency_proof(7) == ()


def test_every_proof_of_small_trees_verifies() -> None:
    tree = _tree(33)
    for size in range(1, 34):
        for index in range(size):
            verify_inclusion(tree.leaf(index), index, size, tree.inclusion_proof(index, size), tree.root(size))
        for old in range(1, size + 1):
            verify_consistency(old, size, tree.consistency_proof(old, size), tree.root(old), tree.root(size))


@given(st.integers(0, 200))
@settings(max_examples=40)
def test_roots_equal_the_definition(size: int) -> None:
    leaves = [leaf_hash(b"%d" % index) for index in range(size)]
    assert Tree(leaves).root() == Frontier(leaves).root() == _slow_root(leaves)


@given(st.data())
@settings(max_examples=200)
def test_an_altered_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    tree = _tree(size)
    proof = list(tree.inclusion_proof(index))
    match data.draw(st.sampled_from(["flip", "drop", "add", "index", "leaf", "root"])):
        case "flip":
            at = data.draw(st.integers(0, len(proof) - 1))
            proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
            claim = (tree.leaf(index), index, size, proof, tree.root())
        case "drop":
            del proof[data.draw(st.integers(0, len(proof) - 1))]
            claim = (tree.leaf(index), index, size, proof, tree.root())
        case "add":
            proof.insert(data.draw(st.integers(0, len(proof))), bytes(32))
            claim = (tree.leaf(index), index, size, proof, tree.root())
        case "index":
            other = data.draw(st.integers(0, size - 1).filter(lambda value: value != index))
            claim = (tree.leaf(index), other, size, proof, tree.root())
        case "leaf":
            claim = (leaf_hash(b"another"), index, size, proof, tree.root())
        case _:
            claim = (tree.leaf(index), index, size, proof, leaf_hash(b"another"))
    with pytest.raises(VerificationError):
        verify_inclusion(*claim)


@given(st.data())
@settings(max_examples=200)
def test_a_rewritten_past_is_refused(data: st.DataObject) -> None:
    """A log that changed any old leaf cannot prove consistency, with the honest proof or with its own."""
    new = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, new - 1))
    changed = data.draw(st.integers(0, old - 1))
    honest = _tree(new)
    forged = Tree(leaf_hash(b"forged") if index == changed else honest.leaf(index) for index in range(new))
    for proof in (honest.consistency_proof(old), forged.consistency_proof(old)):
        with pytest.raises(VerificationError):
            verify_consistency(old, new, proof, honest.root(old), forged.root())
    with pytest.raises(VerificationError):
        verify_consistency(old, new, honest.consistency_proof(old)[:-1], honest.root(old), honest.root())


def test_an_empty_tree_with_a_wrong_root_is_refused() -> None:
    verify_consistency(0, 0, (), EMPTY_ROOT, EMPTY_ROOT)
    wrong = leaf_hash(b"")
    for old_root, new_root in ((wrong, wrong), (EMPTY_ROOT, wrong), (wrong, EMPTY_ROOT)):
        with pytest.raises(VerificationError, match="wanted root"):
            verify_consistency(0, 0, (), old_root, new_root)
    with pytest.raises(VerificationError, match="begins with the empty one"):
        verify_consistency(0, 1, (), EMPTY_ROOT, wrong)


def test_an_inner_node_cannot_pass_for_a_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


def test_misuse_is_named() -> None:
    tree = _tree(3)
    with pytest.raises(MalformedError, match="wanted 32 bytes, got 3"):
        tree.append(b"abc")
    with pytest.raises(MalformedError, match="leaf index: wanted 0 to 2, got 3"):
        tree.inclusion_proof(3)
    with pytest.raises(MalformedError, match="older tree size: wanted 1 to 3, got 0"):
        tree.consistency_proof(0)
    with pytest.raises(MalformedError, match="tree size: wanted 0 to 3, got 4"):
        tree.root(4)
    with pytest.raises(VerificationError, match="0 ≤ index < tree size"):
        verify_inclusion(bytes(32), 3, 3, (), bytes(32))
    with pytest.raises(VerificationError, match="hashes of 32 bytes"):
        verify_inclusion(bytes(32), 0, 1, (), b"")
