"""Compact ranges: what a run of leaves contributes to the RFC 9162 tree, to be hashed apart and joined.

A range [first, end) is kept as the roots of the largest perfect subtrees that
lie inside it, from left to right: at most two for each binary digit of `end`.
Ranges that touch join into the range over both, in any order of joining. A
range from 0 gives the tree's root, and its hashes are those of a `Frontier`.

Nothing here is believed or verified: a range is as good as the leaves it was
made of, and only a root that somebody signed says which leaves those are.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from ledger.merkle import EMPTY, HASH_SIZE


class RangeError(ValueError):
    """Hashes do not fit a range, or two ranges do not touch."""


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The largest perfect subtrees of the leaves `first` to `end` - 1."""

    first: int
    end: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.end:
            raise RangeError(f"no range from {self.first} to {self.end}")
        count = sum(1 for _ in _subtrees(self.first, self.end))
        if len(self.hashes) != count or any(len(node) != HASH_SIZE for node in self.hashes):
            raise RangeError(f"{len(self.hashes)} hashes, the range needs {count} of {HASH_SIZE} bytes")

    @classmethod
    def of(cls, first: int, leaves: Sequence[bytes]) -> Self:
        """Return the range of leaf hashes that begin at `first`."""
        left: list[bytes] = []
        right: list[bytes] = []
        begin, nodes = first, list(leaves)
        while nodes:
            # An odd begin is a right child, an odd end leaves a left child: their siblings lie outside.
            if begin & 1:
                left.append(nodes.pop(0))
            if (begin + len(nodes) + (begin & 1)) & 1:
                right.append(nodes.pop())
            pairs = iter(nodes)
            nodes = [_node(one, other) for one, other in zip(pairs, pairs, strict=True)]
            begin = (begin + 1) >> 1
        return cls(first, first + len(leaves), (*left, *reversed(right)))

    def append(self, leaf: bytes) -> "CompactRange":
        """Return the range with one more leaf."""
        return self.join(CompactRange(self.end, self.end + 1, (leaf,)))

    def join(self, following: "CompactRange") -> "CompactRange":
        """Return the range over this one and the one that begins where it ends."""
        if following.first != self.end:
            raise RangeError(f"a range from {following.first} does not follow one that ends at {self.end}")
        stack = list(zip(_subtrees(self.first, self.end), self.hashes, strict=True))
        for place, node in zip(_subtrees(following.first, following.end), following.hashes, strict=True):
            (begin, size), joined = place, node
            # Siblings: equal in size, and the left one begins where their parent does.
            while stack and stack[-1][0][1] == size and not stack[-1][0][0] & size:
                (begin, _), sibling = stack.pop()
                joined, size = _node(sibling, joined), 2 * size
            stack.append(((begin, size), joined))
        return CompactRange(self.first, following.end, tuple(node for _, node in stack))

    def root(self) -> bytes:
        """Return the root of the whole tree; only a range from 0 has one."""
        if self.first:
            raise RangeError(f"a range from {self.first} has no root")
        if not self.hashes:
            return EMPTY
        *rest, node = self.hashes
        for left in reversed(rest):
            node = _node(left, node)
        return node


def _subtrees(first: int, end: int) -> Iterator[tuple[int, int]]:
    # Begin and size of each subtree: as large as alignment and the end allow.
    while first < end:
        fitting = 1 << (end - first).bit_length() - 1
        size = min(first & -first, fitting) if first else fitting
        yield first, size
        first += size


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
