"""One entry of a bundle: what it says, that it is in the ledger, and who stands behind that.

    prove(bundle, trust_root, seq) -> Proven        raises unless the bundle is sound and shows the entry

(1) The bundle verifies under the auditor's trust root; an entry of an unsound one is not looked at.
(2) The entry's line: head and data, or the redaction that took the data away.
(3) Its inclusion proof under the first checkpoint that covers it, computed from the leaves and verified.
(4) Who signed and cosigned that checkpoint.
(5) The first anchor that covers it, with an inclusion proof under the anchored checkpoint.

What the data means, and whether the quality suite is met, is left to `workbench.audit.integrity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ledger import bundle, checkpoint, merkle, verifier
from ledger.anchor import Anchored
from ledger.bundle import Index, Line
from ledger.checkpoint import Signer
from ledger.entry import Entry, leaf_of
from ledger.redaction import Redacted
from workbench.audit.head import subtrees


class NotShownError(ValueError):
    """The bundle does not show this entry."""


@dataclass(frozen=True, slots=True)
class Included:
    """The way from a leaf to the root of a checkpoint of this size, verified."""

    size: int
    root: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """An entry of a sound bundle."""

    entry: Entry
    redacted: Redacted | None
    included: Included
    signers: tuple[Signer, ...]
    quorum: int
    anchored: Anchored | None
    anchored_by: Included | None


def prove(bundle_path: str | Path, trust_root: str | Path, seq: int) -> Proven:
    """Verify a bundle and prove one of its entries; raises VerificationError or NotShownError."""
    path = Path(bundle_path)
    believed = verifier.read_trust_root(Path(trust_root))
    report = verifier.verify(path, Path(trust_root))  # (1)
    if not report.first <= seq < report.size:
        raise NotShownError(f"entry {seq}: the bundle shows {report.first} to {report.size - 1}")
    index = Index.parse(bundle.read(path, bundle.INDEX, bundle.INDEX_MAX))
    entry, leaves = _look(path, index, seq)
    subtree = subtrees(index.frontier, leaves)

    def included(size: int) -> Included:  # (3)
        root = believed.verify(_note(path, size)).root
        way = merkle.inclusion_path(subtree, seq, size)
        merkle.verify_inclusion(entry.leaf, seq, size, way, root)
        return Included(size, root, tuple(way))

    covering = min(size for size in report.checkpoints if size > seq)
    anchors = [each for each in report.anchors if each.size > seq]
    anchored = min(anchors, key=lambda each: each.size, default=None)
    signers = checkpoint.signers(_note(path, covering), believed.checkpoint_keys, believed.witnesses)
    return Proven(
        entry=entry,
        redacted=next((each for each in report.redacted if each.seq == seq), None),
        included=included(covering),
        signers=tuple(signers),  # (4)
        quorum=believed.witness_quorum,
        anchored=anchored,
        anchored_by=included(anchored.size) if anchored else None,  # (5)
    )


def _look(path: Path, index: Index, seq: int) -> tuple[Entry, list[bytes]]:  # (2)
    leaves: list[bytes] = []
    found: list[Entry] = []
    prev = index.prev
    for raw in bundle.lines(path):
        line = Line.parse(raw)
        leaves.append(leaf_of(line.head))
        if line.seq == seq:
            # Read once more, so checked once more: data, salt and head of these very bytes fit.
            found.append(Entry.read(line.head, data=line.data, salt=line.salt, prev=prev))
        prev = line.h
    return found[0], leaves


def _note(path: Path, size: int) -> str:
    return bundle.read(path, f"checkpoints/{size}.txt").decode()
