"""The head that one audit hands to the next: {size, root, h}, and the proof that a bundle extends it.

A bundle that verifies may still be older than the one before it, or another branch that the same keys signed.
Only somebody who kept a head sees that. The proof is made from the leaves of the bundle at hand and verified
like anybody else's; for a range, what lies before it is known by the frontier alone, so that a head before
the range cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger import merkle
from ledger.encoding import INTEGER_MAX, EncodingError, canonical, parse, unhex
from ledger.merkle import Frontier, ProofError

FIELDS = {"size", "root", "h"}
HEAD_MAX = 256  # characters


class HeadError(ValueError):
    """A head is malformed, or a bundle does not extend it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a report says for the next one to begin with."""

    size: int
    root: bytes
    h: bytes

    @property
    def text(self) -> str:
        """The canonical JSON that a report prints."""
        return canonical({"size": self.size, "root": self.root.hex(), "h": self.h.hex()}).decode()

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read the text of an earlier report, refusing every other spelling of it."""
        try:
            document = parse(text.encode(), limit=HEAD_MAX)
            if type(document) is not dict or set(document) != FIELDS:
                raise HeadError(f"fields are not {sorted(FIELDS)}")
            size = document["size"]
            if type(size) is not int or not 0 <= size <= INTEGER_MAX:
                raise HeadError("size is not a count")
            return cls(size, unhex(document["root"], 32), unhex(document["h"], 32))
        except EncodingError as error:
            raise HeadError(f"not the head of a report: {error}") from None


def subtrees(frontier: Frontier, leaves: Sequence[bytes]) -> merkle.Subtree:
    """Return how the roots of subtrees are found, given what lies before the leaves."""
    known, begin, left = {}, 0, frontier.size
    for node in frontier.hashes:
        width = 1 << (left.bit_length() - 1)
        known[begin, begin + width] = node
        begin, left = begin + width, left - width

    def subtree(first: int, last: int) -> bytes:
        if first >= frontier.size:
            return merkle.root(leaves[first - frontier.size : last - frontier.size])
        if (first, last) in known:
            return known[first, last]
        if last <= frontier.size:
            raise ProofError(f"the leaves {first} to {last - 1} lie before the bundle")
        middle = first + merkle.left_size(last - first)
        return merkle.node_hash(subtree(first, middle), subtree(middle, last))

    return subtree


def extend(
    previous: Head,
    newest: Head,
    *,
    frontier: Frontier,
    leaves: Sequence[bytes],
    h_at: Callable[[int], bytes | None],
) -> tuple[bytes, ...]:
    """Return the consistency proof from an earlier head to the newest, verified; raise unless it extends it.

    Args:
        previous: the head of the earlier report.
        newest: the head of the bundle at hand.
        frontier: what lies before the bundle's first entry.
        leaves: the leaves of its entries.
        h_at: the h after so many entries.

    """
    if previous.size > newest.size:
        raise HeadError(f"the bundle has {newest.size} entries, the earlier report had {previous.size}")
    if previous.size < frontier.size:
        raise HeadError(
            f"the bundle begins at entry {frontier.size}, after the head of {previous.size} entries"
        )
    try:
        proof = merkle.consistency_path(subtrees(frontier, leaves), previous.size, newest.size)
        merkle.verify_consistency(previous.size, newest.size, previous.root, newest.root, proof)
    except ProofError as error:
        raise HeadError(str(error)) from error
    # The tree covers the heads alone, the chain their order and the genesis too.
    if h_at(previous.size) != previous.h:
        raise HeadError(f"h after {previous.size} entries is not that of the earlier report")
    return tuple(proof)
