"""The tree: RFC 9162's values, another implementation as the oracle, and proofs that do not hold."""

import hashlib
from collections.abc import Callable

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle
from ledger.merkle import EMPTY, Frontier, ProofError

DATA = [b"entry %d" % number for number in range(40)]
LEAVES = [merkle.leaf_hash(data) for data in DATA]
SIZES = st.integers(1, 40)


def oracle(size: int) -> pymerkle.InmemoryTree:
    """Return another implementation's tree over the same data."""
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for data in DATA[:size]:
        tree.append_entry(data)
    return tree


def test_known_hashes() -> None:
    """The empty root, a leaf and a node are the hashes that RFC 9162 defines."""
    assert merkle.root([]) == EMPTY == hashlib.sha256(b"").digest()
    assert merkle.leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert merkle.node_hash(LEAVES[0], LEAVES[1]) == hashlib.sha256(b"\x01" + LEAVES[0] + LEAVES[1]).digest()
    assert merkle.root(LEAVES[:1]) == LEAVES[0]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 40])
def test_the_oracle_agrees(size: int) -> None:
    """Roots and every inclusion proof are those of another implementation."""
    tree = oracle(size)
    assert merkle.root(LEAVES[:size]) == tree.get_root()
    for index in range(size):
        theirs = tree.prove_inclusion(index + 1)
        pymerkle.verify_inclusion(LEAVES[index], tree.get_root(), theirs)
        assert [LEAVES[index], *merkle.inclusion_proof(LEAVES[:size], index)] == theirs.path


@pytest.mark.parametrize("size", [1, 2, 3, 6, 8, 13, 40])
def test_every_proof_verifies(size: int) -> None:
    """Each leaf proves that it is in, each earlier size that it is a beginning."""
    root = merkle.root(LEAVES[:size])
    for index in range(size):
        proof = merkle.inclusion_proof(LEAVES[:size], index)
        merkle.verify_inclusion(LEAVES[index], index, size, proof, root)
    for old in range(size + 1):
        proof = merkle.consistency_proof(LEAVES[:size], old)
        merkle.verify_consistency(old, size, merkle.root(LEAVES[:old]), root, proof)


@given(SIZES, st.data())
def test_an_inclusion_proof_shows_nothing_else(size: int, data: st.DataObject) -> None:
    """Another leaf, index, size, root, or a proof that is longer, shorter or changed is refused."""
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(LEAVES[:size], index)
    root = merkle.root(LEAVES[:size])
    refused(merkle.verify_inclusion, LEAVES[index][::-1], index, size, proof, root)
    refused(merkle.verify_inclusion, LEAVES[index], index, size, proof, root[::-1])
    refused(merkle.verify_inclusion, LEAVES[index], index, size, [*proof, root], root)
    for changed in spoilt(proof):
        refused(merkle.verify_inclusion, LEAVES[index], index, size, changed, root)
    for other in set(range(-1, size + 1)) - {index}:
        refused(merkle.verify_inclusion, LEAVES[index], other, size, proof, root)


@given(SIZES, st.data())
def test_a_consistency_proof_shows_nothing_else(size: int, data: st.DataObject) -> None:
    """Another old root, new root or size, or a spoilt proof is refused."""
    old = data.draw(st.integers(1, size))
    proof = merkle.consistency_proof(LEAVES[:size], old)
    old_root, root = merkle.root(LEAVES[:old]), merkle.root(LEAVES[:size])
    refused(merkle.verify_consistency, old, size, old_root[::-1], root, proof)
    refused(merkle.verify_consistency, old, size, old_root, root[::-1], proof)
    refused(merkle.verify_consistency, old, size, old_root, root, [*proof, root])
    refused(merkle.verify_consistency, size + 1, size, old_root, root, proof)
    refused(merkle.verify_consistency, -1, size, old_root, root, proof)
    for changed in spoilt(proof):
        refused(merkle.verify_consistency, old, size, old_root, root, changed)


def test_the_empty_tree() -> None:
    """Every tree extends the empty one, whose root is fixed; nothing is in it."""
    root = merkle.root(LEAVES)
    merkle.verify_consistency(0, 40, EMPTY, root, [])
    refused(merkle.verify_consistency, 0, 40, root, root, [])
    refused(merkle.verify_consistency, 0, 40, EMPTY, root, [root])
    refused(merkle.verify_consistency, 0, 0, EMPTY, root, [])
    refused(merkle.verify_inclusion, LEAVES[0], 0, 0, [], EMPTY)


def test_an_empty_proof() -> None:
    """Between different sizes nothing is proven by nothing."""
    for old in (1, 2, 3):
        refused(merkle.verify_consistency, old, 4, merkle.root(LEAVES[:old]), merkle.root(LEAVES[:4]), [])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_hashes_of_another_length(length: int) -> None:
    """A hash that is not 32 bytes is refused before anything is computed with it."""
    refused(merkle.verify_inclusion, LEAVES[0], 0, 2, [bytes(length)], merkle.root(LEAVES[:2]))
    refused(merkle.verify_inclusion, bytes(length), 0, 1, [], bytes(length))
    refused(merkle.verify_consistency, 1, 1, bytes(length), bytes(length), [])
    refused(Frontier, 1, [bytes(length)])


def test_nothing_to_prove() -> None:
    """A proof about a leaf or a size that is not there cannot be made."""
    for index in (-1, 3):
        refused(merkle.inclusion_proof, LEAVES[:3], index)
    for old in (-1, 4):
        refused(merkle.consistency_proof, LEAVES[:3], old)


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_frontier_goes_on_from_its_hashes(kept: int, size: int) -> None:
    """A frontier stored at any size grows to the root of the whole tree."""
    kept = min(kept, size)
    before = Frontier()
    for leaf in LEAVES[:kept]:
        before.append(leaf)
    after = Frontier(before.size, before.hashes)
    for leaf in LEAVES[kept:size]:
        after.append(leaf)
    assert (before.size, before.root()) == (kept, merkle.root(LEAVES[:kept]))
    assert (after.size, after.root()) == (size, merkle.root(LEAVES[:size]))


@pytest.mark.parametrize(("size", "count"), [(3, 1), (3, 3), (0, 1), (4, 0), (-1, 1)])
def test_a_frontier_has_a_hash_for_each_bit(size: int, count: int) -> None:
    """A frontier whose hashes do not fit its size is refused."""
    refused(Frontier, size, LEAVES[:count])


def spoilt(proof: list[bytes]) -> list[list[bytes]]:
    """Return the ways to spoil a proof: drop one hash, change one bit of one."""
    changed = []
    for place, node in enumerate(proof):
        changed.append(proof[:place] + proof[place + 1 :])
        changed.append([*proof[:place], bytes([node[0] ^ 1]) + node[1:], *proof[place + 1 :]])
    return changed


def refused(function: Callable[..., object], *arguments: object) -> None:
    """Assert that a call raises ProofError."""
    with pytest.raises(ProofError):
        function(*arguments)


def test_a_proof_says_when_it_ends_too_early() -> None:
    """A consistency proof that lacks its last steps is told apart from one that leads elsewhere."""
    proof = merkle.consistency_proof(LEAVES[:11], 5)
    roots = (merkle.root(LEAVES[:5]), merkle.root(LEAVES[:11]))
    with pytest.raises(ProofError, match="too short"):
        merkle.verify_consistency(5, 11, *roots, proof[:-1])


def test_a_proof_says_when_it_goes_on_too_long() -> None:
    """Steps behind the root are told apart from steps that lead elsewhere, in both kinds of proof."""
    roots = (merkle.root(LEAVES[:5]), merkle.root(LEAVES[:11]))
    longer = [*merkle.consistency_proof(LEAVES[:11], 5), LEAVES[0]]
    with pytest.raises(ProofError, match="too long"):
        merkle.verify_consistency(5, 11, *roots, longer)
    path = [*merkle.inclusion_proof(LEAVES[:11], 3), LEAVES[0]]
    with pytest.raises(ProofError, match="too long"):
        merkle.verify_inclusion(LEAVES[3], 3, 11, path, roots[1])
