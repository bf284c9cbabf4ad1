"""The RFC 9162 tree over the leaves: short proofs that an entry is in, and that nothing was taken out.

    leaf = SHA256(0x00 ‖ data)        node = SHA256(0x01 ‖ left ‖ right)

The functions that make proofs need the roots of subtrees, however the caller
has them (all leaf hashes, or `ledger.tree` with stored nodes); those that
verify need only the proof and roots that the caller already believes (a
verified checkpoint). Verification raises `ProofError` and returns nothing. A
`Frontier` is the least one must keep to go on growing a tree: a hash for each
set bit of its size.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

HASH_SIZE = 32
EMPTY = hashlib.sha256(b"").digest()
TILE_HEIGHT = 8  # levels between stored nodes: 256 children each, as in C2SP's tlog-tiles

Subtree = Callable[[int, int], bytes]  # the root over the leaves from `first` up to, not including, `last`


class ProofError(ValueError):
    """A proof does not show what it claims."""


@dataclass(frozen=True, slots=True)
class Node:
    """The root of a perfect subtree: the `place`-th of those with 2^`level` leaves."""

    level: int
    place: int
    hash: bytes


class Frontier:
    """The right edge of a growing tree: one perfect subtree's root for each set bit of `size`."""

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)
        if size < 0 or len(self._hashes) != size.bit_count():
            raise ProofError(f"{len(self._hashes)} hashes for a frontier of size {size}")
        if any(len(node) != HASH_SIZE for node in self._hashes):
            raise ProofError(f"a frontier's hash is not {HASH_SIZE} bytes")

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The subtree roots, to be stored; `Frontier(size, hashes)` goes on from them."""
        return tuple(self._hashes)

    def append(self, leaf: bytes, *, stored: list[Node] | None = None) -> None:
        """Grow the tree by one leaf hash; nodes that are worth storing are added to `stored`."""
        size, level = self.size, 0
        while size & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            size >>= 1
            level += 1
            if stored is not None and level % TILE_HEIGHT == 0:
                stored.append(Node(level, size, leaf))
        self._hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        if not self._hashes:
            return EMPTY
        *rest, node = self._hashes
        for left in reversed(rest):
            node = node_hash(left, node)
        return node


def leaf_hash(data: bytes) -> bytes:
    """Hash the bytes of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children into their parent."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaf_hashes:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the path from leaf `index` to the root, lowest first."""
    return inclusion_path(_over(leaf_hashes), index, len(leaf_hashes))


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the proof that the first `old_size` leaves begin this tree."""
    return consistency_path(_over(leaf_hashes), old_size, len(leaf_hashes))


def inclusion_path(subtree: Subtree, index: int, size: int) -> list[bytes]:
    """Return the inclusion proof of leaf `index` in the tree of `size`, out of subtrees' roots."""
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    proof: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + left_size(last - first)
        if index < middle:
            proof.append(subtree(middle, last))
            last = middle
        else:
            proof.append(subtree(first, middle))
            first = middle
    return proof[::-1]


def consistency_path(subtree: Subtree, old_size: int, size: int) -> list[bytes]:
    """Return the consistency proof between the trees of `old_size` and `size`, out of subtrees' roots."""
    if not 0 <= old_size <= size:
        raise ProofError(f"no tree of {old_size} in a tree of {size}")
    if old_size in (0, size):
        return []
    proof: list[bytes] = []
    first, last = 0, size
    while last != old_size:
        middle = first + left_size(last - first)
        if old_size <= middle:
            proof.append(subtree(middle, last))
            last = middle
        else:
            proof.append(subtree(first, middle))
            first = middle
    if first:
        proof.append(subtree(first, last))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Raise unless `leaf` stands at `index` of the tree of `size` leaves (RFC 9162, 2.1.3.2)."""
    _check_hashes(leaf, expected, *proof)
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    position, last = index, size - 1
    node = leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    if node != expected:
        raise ProofError(f"leaf {index} does not lead to the root of size {size}")


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Raise unless the tree of `size2` extends the tree of `size1` (RFC 9162, 2.1.4.2)."""
    _check_hashes(root1, root2, *proof)
    if not 0 <= size1 <= size2:
        raise ProofError(f"a tree of {size2} does not extend one of {size1}")
    if size1 in (0, size2):
        # Every tree extends the empty one, and a tree extends itself: no step to prove.
        if proof or root1 != (root2 if size1 == size2 else EMPTY):
            raise ProofError(f"sizes {size1} and {size2} need equal or empty roots and no proof")
        return
    _climb(size1, size2, root1, root2, list(proof))


def _climb(size1: int, size2: int, root1: bytes, root2: bytes, path: list[bytes]) -> None:
    if size1 & (size1 - 1) == 0:
        path.insert(0, root1)
    if not path:
        raise ProofError("the proof is too short")
    position, last = size1 - 1, size2 - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    if (old, new) != (root1, root2):
        raise ProofError(f"the tree of {size2} does not extend the tree of {size1}")


def left_size(size: int) -> int:
    """Return the largest power of two below `size`: the leaves of a tree's left side."""
    return 1 << (size - 1).bit_length() - 1


def _over(leaf_hashes: Sequence[bytes]) -> Subtree:
    return lambda first, last: root(leaf_hashes[first:last])


def _check_hashes(*hashes: bytes) -> None:
    if any(type(node) is not bytes or len(node) != HASH_SIZE for node in hashes):
        raise ProofError(f"a hash is not {HASH_SIZE} bytes")
