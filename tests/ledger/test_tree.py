"""The tree over stored nodes: the same roots and proofs as over all leaves, from a few reads."""

import hashlib
from collections import Counter

import pytest

from ledger import merkle
from ledger.merkle import EMPTY, Frontier, Node, ProofError
from ledger.place import StoreError
from ledger.tree import Tree
from tests.ledger.world import World, event

SIZES = [0, 1, 2, 3, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, 66_000]
LEAVES = [hashlib.sha256(b"%d" % number).digest() for number in range(max(SIZES))]


class Stored:
    """Leaves and stored nodes in memory, and a count of what is read of them."""

    def __init__(self) -> None:
        nodes: list[Node] = []
        frontier = Frontier()
        for leaf in LEAVES:
            frontier.append(leaf, stored=nodes)
        self.levels = {0: dict(enumerate(LEAVES))}
        for node in nodes:
            self.levels.setdefault(node.level, {})[node.place] = node.hash
        self.read: Counter[int] = Counter()

    def __call__(self, level: int, first: int, last: int) -> list[bytes]:
        """Read nodes of a level."""
        self.read[level] += last - first
        return [self.levels[level][place] for place in range(first, last)]


STORED = Stored()


def test_which_nodes_are_stored() -> None:
    """One for 256 leaves and one for 65,536: each the root of its perfect subtree."""
    assert {level: len(nodes) for level, nodes in STORED.levels.items()} == {0: 66_000, 8: 257, 16: 1}
    assert STORED.levels[8][3] == merkle.root(LEAVES[768:1024])
    assert STORED.levels[16][0] == merkle.root(LEAVES[:65_536])


@pytest.mark.parametrize("size", SIZES)
def test_roots_and_frontiers(size: int) -> None:
    """At every size the root and the frontier are those over all leaves."""
    tree = Tree(size, STORED)
    assert tree.root() == merkle.root(LEAVES[:size])
    assert tree.root() == (EMPTY if size == 0 else tree.root())
    assert tree.frontier().root() == merkle.root(LEAVES[:size])


@pytest.mark.parametrize("size", SIZES[1:])
def test_proofs(size: int) -> None:
    """Every proof is the one made from all leaves."""
    tree = Tree(size, STORED)
    for index in {0, size // 3, size // 2, size - 1}:
        assert tree.inclusion(index) == merkle.inclusion_proof(LEAVES[:size], index)
    for old in {0, 1, size // 3, size - 1, size}:
        assert tree.consistency(old) == merkle.consistency_proof(LEAVES[:size], old)


def test_few_reads() -> None:
    """A proof in a tree of 66,000 leaves reads a tile of each level and the right edge, not the leaves."""
    STORED.read.clear()
    Tree(66_000, STORED).inclusion(12_345)
    assert STORED.read[0] <= 2 * 256
    assert STORED.read[8] <= 2 * 256
    assert STORED.read[16] <= 1


@pytest.mark.parametrize(
    ("size", "index"),
    [
        pytest.param(3, 3, id="behind the end"),
        pytest.param(3, -1, id="negative"),
        pytest.param(0, 0, id="empty"),
    ],
)
def test_what_is_not_there(size: int, index: int) -> None:
    """There is no proof for what is not in the tree."""
    with pytest.raises(ProofError):
        Tree(size, STORED).inclusion(index)
    with pytest.raises(ProofError):
        Tree(size, STORED).consistency(size + 1)


def test_the_store_keeps_them(world: World) -> None:
    """The store writes a node with the entry that completes it, and proves from it, also after a restart."""
    for first in range(0, 600, 100):
        world.ledger.append([event(number) for number in range(first, first + 100)])
    check_proofs(world, 255, 256, 257, 600)
    world.reopen()
    world.ledger.append([event(number) for number in range(600, 800)])
    check_proofs(world, 255, 257, 600, 800)
    assert [place for (place,) in world.ledger._read("select place from node order by 1")] == [0, 1, 2]


def check_proofs(world: World, *sizes: int) -> None:
    """Check the store's proofs against those made from all leaves."""
    leaves = world.ledger.leaves()
    for size in sizes:
        for seq in (0, 200, size - 1):
            assert world.ledger.inclusion(seq, size) == merkle.inclusion_proof(leaves[:size], seq)
        assert world.ledger.consistency(100, size) == merkle.consistency_proof(leaves[:size], 100)


def test_a_tree_that_is_not_there(world: World) -> None:
    """There is no proof for more entries than there are."""
    world.append(*range(3))
    for ask in (
        lambda size: world.ledger.inclusion(0, size),
        lambda size: world.ledger.consistency(1, size),
    ):
        for size in (4, -1):
            with pytest.raises(StoreError, match=f"no tree of {size} entries in a ledger of 3"):
                ask(size)


def test_a_leaf_that_went(world: World) -> None:
    """A row that goes while the store is open is missed: no proof is made from its neighbours."""
    world.ledger.append([event(number) for number in range(10)])
    world.ledger._database.connection.execute("delete from entry where seq = 4")
    with pytest.raises(StoreError, match="entries 0 to 9 are not all there"):
        world.ledger.inclusion(2, 10)
