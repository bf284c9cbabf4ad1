"""Compact ranges: whatever is cut is joined again into the tree of RFC 9162."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle
from ledger.merkle import EMPTY, Frontier
from ledger.ranges import CompactRange, RangeError

LEAVES = [hashlib.sha256(b"leaf %d" % number).digest() for number in range(130)]
PLACES = st.integers(0, len(LEAVES))


def part(first: int, end: int) -> CompactRange:
    """Return the range of the leaves from `first` to `end` - 1."""
    return CompactRange.of(first, LEAVES[first:end])


@given(st.lists(PLACES, min_size=3, max_size=6).map(sorted))
def test_cuts_join(cuts: list[int]) -> None:
    """Parts joined from the left and from the right give the range of all their leaves."""
    parts = [part(begin, end) for begin, end in itertools.pairwise(cuts)]
    left, right = parts[0], parts[-1]
    for following in parts[1:]:
        left = left.join(following)
    for before in reversed(parts[:-1]):
        right = before.join(right)
    assert left == right == part(cuts[0], cuts[-1])


@given(PLACES, PLACES)
def test_a_range_from_0_is_the_tree(cut: int, end: int) -> None:
    """From 0, the root is that of the tree, and the hashes are those of its frontier."""
    cut = min(cut, end)
    whole = part(0, cut).join(part(cut, end))
    frontier = Frontier()
    for leaf in LEAVES[:end]:
        frontier.append(leaf)
    assert whole.root() == merkle.root(LEAVES[:end])
    assert whole.hashes == frontier.hashes


@given(PLACES, PLACES)
def test_leaf_by_leaf(first: int, end: int) -> None:
    """Appending leaves one by one gives the range of all of them."""
    first = min(first, end)
    grown = CompactRange(first, first, ())
    for leaf in LEAVES[first:end]:
        grown = grown.append(leaf)
    assert grown == part(first, end)


@pytest.mark.parametrize(
    ("first", "end", "subtrees"),
    [
        pytest.param(0, 0, [], id="nothing"),
        pytest.param(5, 5, [], id="nothing in the middle"),
        pytest.param(0, 8, [(0, 8)], id="a perfect tree"),
        pytest.param(0, 7, [(0, 4), (4, 6), (6, 7)], id="a frontier"),
        pytest.param(1, 8, [(1, 2), (2, 4), (4, 8)], id="all but the first"),
        pytest.param(3, 13, [(3, 4), (4, 8), (8, 12), (12, 13)], id="up and down"),
        pytest.param(6, 10, [(6, 8), (8, 10)], id="neighbours that are no siblings"),
    ],
)
def test_the_subtrees(first: int, end: int, subtrees: list[tuple[int, int]]) -> None:
    """The hashes are the roots of the largest perfect subtrees inside, from left to right."""
    assert list(part(first, end).hashes) == [merkle.root(LEAVES[begin:stop]) for begin, stop in subtrees]


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(lambda: part(0, 3).join(part(4, 6)), id="a gap"),
        pytest.param(lambda: part(0, 3).join(part(2, 6)), id="an overlap"),
        pytest.param(lambda: part(3, 6).join(part(0, 3)), id="the other way round"),
        pytest.param(lambda: part(1, 6).root(), id="the root of a part"),
        pytest.param(lambda: part(6, 6).root(), id="the root of nothing in the middle"),
        pytest.param(lambda: CompactRange(2, 1, ()), id="an end before the beginning"),
        pytest.param(lambda: CompactRange(-1, 0, tuple(LEAVES[:1])), id="a beginning below 0"),
        pytest.param(lambda: CompactRange(0, 3, tuple(LEAVES[:3])), id="too many hashes"),
        pytest.param(lambda: CompactRange(0, 3, tuple(LEAVES[:1])), id="too few hashes"),
        pytest.param(lambda: CompactRange(0, 1, (bytes(31),)), id="a hash of 31 bytes"),
        pytest.param(lambda: CompactRange.of(0, [bytes(33)]), id="a leaf of 33 bytes"),
        pytest.param(lambda: part(0, 3).append(b""), id="an empty leaf"),
        # As many hashes as the range over both and the gap between them would have.
        pytest.param(lambda: part(0, 2).join(part(4, 5)), id="a range behind a gap"),
        pytest.param(lambda: CompactRange.of(-1, LEAVES[:2]), id="leaves that begin below 0"),
    ],
)
def test_refused(attempt: Callable[[], object]) -> None:
    """What is no range, or does not follow, is refused."""
    with pytest.raises(RangeError):
        attempt()


def test_a_range_of_nothing() -> None:
    """The root over no leaves is that of the empty tree, and joining nothing changes nothing."""
    assert part(0, 0).root() == EMPTY
    assert part(3, 9).join(part(9, 9)) == part(3, 3).join(part(3, 9)) == part(3, 9)


def test_another_leaf_is_another_range() -> None:
    """Every leaf counts: changing any one changes the range."""
    for place in range(5, 20):
        leaves = [*LEAVES[5:place], bytes(32), *LEAVES[place + 1 : 20]]
        assert CompactRange.of(5, leaves) != part(5, 20)
