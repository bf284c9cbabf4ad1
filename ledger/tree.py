"""The tree over a store: proofs from stored nodes instead of from every leaf.

Of the tree's nodes only those of level 8, 16, 24, … are stored (one for 256
children), which is 1/255 of the leaves: few enough to stay in memory, too. A
proof then reads the leaves of at most two tiles, and for each stored level at
most two tiles of nodes: some 700 hashes in a tree of five million.

How leaves are read is the caller's business. Nothing here is believed: what a
proof is worth shows when it is verified against a checkpoint.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ledger import merkle
from ledger.merkle import TILE_HEIGHT, Frontier, Node, left_size


class Nodes:
    """The stored nodes in memory, over leaves that are read: from `first` up to, not including, `last`."""

    def __init__(self, leaves: Callable[[int, int], list[bytes]]) -> None:
        self._leaves = leaves
        self._levels: dict[int, list[bytes]] = {}

    def add(self, nodes: Iterable[Node]) -> None:
        """Take in the nodes that new leaves complete, in the order in which a frontier completes them."""
        for node in nodes:
            self._levels.setdefault(node.level, []).append(node.hash)

    def read(self, level: int, first: int, last: int) -> list[bytes]:
        """Return hashes of a level, 0 being the leaves."""
        return self._levels[level][first:last] if level else self._leaves(first, last)


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of `size` leaves; `nodes(level, first, last)` reads stored hashes, level 0 being the leaves."""

    size: int
    nodes: Callable[[int, int, int], list[bytes]]
    _tiles: dict[tuple[int, int], list[bytes]] = field(default_factory=dict, compare=False)

    def root(self) -> bytes:
        """Return the root."""
        return self.subtree(0, self.size) if self.size else merkle.EMPTY

    def frontier(self) -> Frontier:
        """Return the right edge, to go on from."""
        hashes, first = [], 0
        while first < self.size:
            last = first + (1 << (self.size - first).bit_length() - 1)
            hashes.append(self.subtree(first, last))
            first = last
        return Frontier(self.size, hashes)

    def inclusion(self, index: int) -> list[bytes]:
        """Return the proof that leaf `index` is in this tree."""
        return merkle.inclusion_path(self.subtree, index, self.size)

    def consistency(self, old_size: int) -> list[bytes]:
        """Return the proof that this tree extends the tree of `old_size` leaves."""
        return merkle.consistency_path(self.subtree, old_size, self.size)

    def subtree(self, first: int, last: int) -> bytes:
        """Return the root over the leaves `first` up to, not including, `last`: a node of the tree."""
        count = last - first
        if count & (count - 1):
            # Only the right edge is not perfect.
            middle = first + left_size(count)
            return merkle.node_hash(self.subtree(first, middle), self.subtree(middle, last))
        level = (count.bit_length() - 1) // TILE_HEIGHT * TILE_HEIGHT
        return merkle.root(self._read(level, first >> level, last >> level))

    def _read(self, level: int, first: int, last: int) -> list[bytes]:
        # A perfect subtree never leaves its tile, and a proof has several of each: one read for all of them.
        tile = first >> TILE_HEIGHT
        begin = tile << TILE_HEIGHT
        if (level, tile) not in self._tiles:
            end = min(begin + (1 << TILE_HEIGHT), self.size >> level)
            self._tiles[level, tile] = self.nodes(level, begin, end)
        return self._tiles[level, tile][first - begin : last - begin]
