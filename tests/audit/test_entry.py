"""One entry, proven: under its checkpoint and its anchor, from a sound bundle only."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import merkle
from ledger.anchor import Anchored
from ledger.checkpoint import split
from ledger.merkle import Frontier, ProofError
from ledger.verifier import VerificationError
from tests.audit.world import ANCHORED, SIZE, Desk
from tests.ledger.world import Folder
from workbench.audit import show
from workbench.audit.entry import NotShownError, prove
from workbench.audit.head import subtrees

COVERING = {0: 5, 4: 5, 5: 9, 8: 9, 9: 12, 11: 12}
TABLES = (show.entry, show.data, show.inclusion, show.witnessed, show.anchored, show.conclusion)


@pytest.mark.parametrize("seq", COVERING)
def test_proven(desk: Desk, genuine: Folder, seq: int) -> None:
    """Every entry is proven under the first checkpoint that covers it, and under the anchored one."""
    proven = prove(genuine.path, desk.trust_root, seq)
    genuine_entry = next(desk.ledger.entries(seq, seq))
    assert proven.entry == genuine_entry
    ways = [proven.included, *([proven.anchored_by] if proven.anchored_by else [])]
    for way in ways:
        state = split(genuine.read(f"checkpoints/{way.size}.txt").decode())[0]
        assert way.root == state.root
        merkle.verify_inclusion(genuine_entry.leaf, seq, way.size, way.path, state.root)
    assert proven.included.size == COVERING[seq]
    assert (proven.anchored is not None) == (seq < ANCHORED)
    assert [signer.name for signer in proven.signers] == ["service", "witness-1", "witness-2"]


@pytest.mark.parametrize("seq", [5, 8, 11])
def test_proven_in_a_range(desk: Desk, seq: int) -> None:
    """A range proves what it shows: what lies before it is known by its frontier."""
    path = desk.folder / "part"
    part = Folder(path) if path.exists() else desk.bundle("part", first=5, last=SIZE - 1)
    proven = prove(part.path, desk.trust_root, seq)
    assert proven.included == prove(desk.folder / "bundle", desk.trust_root, seq).included


@pytest.mark.parametrize("seq", [-1, SIZE, 2**60])
def test_not_shown(desk: Desk, genuine: Folder, seq: int) -> None:
    """An entry that the bundle does not hold cannot be proven."""
    with pytest.raises(NotShownError, match="the bundle shows 0 to 11"):
        prove(genuine.path, desk.trust_root, seq)


def test_before_a_range(desk: Desk, genuine: Folder) -> None:
    """Nor one that lies before a range."""
    assert genuine.path.exists()
    part = desk.bundle("later", first=9, last=SIZE - 1)
    with pytest.raises(NotShownError, match="the bundle shows 9 to 11"):
        prove(part.path, desk.trust_root, 8)


def test_of_an_unsound_bundle_nothing_is_shown(desk: Desk, copy: Callable[[], Folder]) -> None:
    """A fault anywhere in the bundle keeps every entry from being proven."""
    folder = copy()
    folder.write("entries.jsonl", folder.read("entries.jsonl").replace(b"approve", b"reprove"))
    for seq in (0, 5, 11):
        with pytest.raises(VerificationError):
            prove(folder.path, desk.trust_root, seq)


def test_what_was_redacted(desk: Desk, genuine: Folder) -> None:
    """A redacted entry is proven by its head, and says who took its data away, and why."""
    proven = prove(genuine.path, desk.trust_root, 2)
    assert proven.entry.data is None
    said = show.data(proven).markup
    assert "redacted by entry 10 because: erasure request 7" in said
    assert "redacted under a quorum" in show.conclusion(proven).markup
    assert "a name" not in "".join(table(proven).markup for table in TABLES)


def test_what_an_entry_says_is_text(desk: Desk, genuine: Folder) -> None:
    """Markup in data is shown, not obeyed."""
    said = show.data(prove(genuine.path, desk.trust_root, 11)).markup
    assert "&lt;b&gt;größer&lt;/b&gt;" in said
    assert "<b>" not in said


def test_the_block_to_ask_for(desk: Desk, genuine: Folder) -> None:
    """The anchor's block hash is what a node is asked for; without an anchor, that is said."""
    proven = prove(genuine.path, desk.trust_root, 3)
    assert isinstance(proven.anchored, Anchored)
    assert f"0x{proven.anchored.block_hash.hex()}" in show.anchored(proven).markup
    later = prove(genuine.path, desk.trust_root, 9)
    assert "none of this bundle covers the entry" in show.anchored(later).markup
    assert "not yet" in show.conclusion(later).markup


@pytest.mark.parametrize("begin", range(1, 20))
def test_subtrees_of_a_range(begin: int) -> None:
    """A range gives the same proofs as the whole tree, of entries and of heads that it shows."""
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(20)]
    frontier = Frontier()
    for leaf in leaves[:begin]:
        frontier.append(leaf)
    subtree = subtrees(frontier, leaves[begin:])
    for size in range(begin, 21):
        for index in range(begin, size):
            assert merkle.inclusion_path(subtree, index, size) == merkle.inclusion_proof(leaves[:size], index)
        for old in range(begin, size + 1):
            assert merkle.consistency_path(subtree, old, size) == merkle.consistency_proof(leaves[:size], old)


def test_what_a_range_does_not_know(tmp_path: Path) -> None:
    """What lies inside the frontier cannot be proven, and is not made up."""
    frontier = Frontier()
    for number in range(4):
        frontier.append(merkle.leaf_hash(b"%d" % number))
    with pytest.raises(ProofError, match="lie before the bundle"):
        merkle.inclusion_path(subtrees(frontier, []), 1, 4)
    assert list(tmp_path.iterdir()) == []
