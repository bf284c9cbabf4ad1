"""The verifier: what an auditor runs, with a bundle from anybody and a trust root of his own.

The writer of the bundle is the adversary: every byte of the folder may be
chosen by him, the index and the trust root's copy included. What is believed
is the caller's trust root, SHA-256 and Ed25519. The steps, whose numbers stand
in the findings and in the code:

 (1) The folder is what its index lists, file by file.
 (2) The genesis names the ledger and the digest of the caller's trust root.
 (3) Every checkpoint is signed as the trust root demands, and named after its size.
 (4) The start: entry 0 follows the genesis; a range that begins later follows a
     signed checkpoint of exactly that size, which fixes `prev` and `frontier`.
 (5) Lines are canonical and their numbers follow each other without a gap.
 (6) Heads are canonical, have the fields of a head and the number of their line.
 (7) Data and salt are there and give the datahash, or both are gone under a
     redaction that counts (`ledger.redaction`).
 (8) Every h follows from the h before it and the leaf.
 (9) No (source, id) stands twice; time does not go back.
(10) At the size of each checkpoint, the tree has its root and the chain its h.
(11) The entries end where the newest signed checkpoint ends: a cut tail shows.
(12) Every anchor proves that a checkpoint stands in a block (`ledger.anchor`);
     whether that block is in the chain is asked of a node of your own.
(13) Every time-stamp of an authority that the trust root names proves that a checkpoint
     was there by then (`ledger.timestamp`); without the extra, none is proven or counted.

All steps run, whatever an earlier one found, so that one report names every
place. Left out: what the data means, whether `policies/` and what else stands in
`anchors/` are genuine (`Report.unproven` lists them), whether a later checkpoint exists that
the bundle leaves out (ask a witness), and, for a range, names used before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path

from ledger import anchor, bundle, timestamp
from ledger.anchor import Anchored, AnchorError
from ledger.bundle import BundleError, Index, Line
from ledger.chain import Genesis, GenesisError, link
from ledger.checkpoint import Checkpoint, CheckpointError
from ledger.encoding import JSON
from ledger.entry import EntryError, datahash_of, leaf_of, parse_data, parse_head
from ledger.merkle import Frontier
from ledger.names import Names
from ledger.redaction import Redacted, Register, Target
from ledger.timestamp import Stamped, TimestampError
from ledger.trust import LIMIT as TRUST_ROOT_MAX
from ledger.trust import TrustRoot, TrustRootError

FINDINGS_MAX = 10_000  # a bundle of nothing but faults must not fill the auditor's memory
WORDS_MAX = 500  # characters of a place or a detail, for the same reason


class Step(IntEnum):
    """The steps of the procedure; the name in lower case is the finding's code."""

    FOLDER = 1
    GENESIS = 2
    CHECKPOINT = 3
    START = 4
    LINE = 5
    HEAD = 6
    DATA = 7
    CHAIN = 8
    ORDER = 9
    FIT = 10
    END = 11
    ANCHOR = 12
    TIMESTAMP = 13


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a bundle is not sound."""

    step: Step
    place: str
    detail: str

    @property
    def code(self) -> str:
        """The step's name, for machines."""
        return self.step.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was verified, and every finding; sound if there is none."""

    ledger_id: str
    origin: str
    first: int
    size: int  # entries 0 … size−1 lie under `root`; the bundle shows those from `first`
    root: bytes
    h: bytes
    checkpoints: tuple[int, ...]
    redacted: tuple[Redacted, ...]
    anchors: tuple[Anchored, ...]
    stamps: tuple[Stamped, ...]
    unproven: tuple[str, ...]
    findings: tuple[Finding, ...]


class VerificationError(Exception):
    """The bundle is not sound; `report` says where and why."""

    def __init__(self, report: Report) -> None:
        first = report.findings[0]
        super().__init__(
            f"not sound: {len(report.findings)} findings, first: ({first.step}) {first.place}: {first.detail}"
        )
        self.report = report


def verify(bundle_path: str | Path, trust_root: str | Path | JSON) -> Report:
    """Return the report on a sound bundle; raise VerificationError with all findings on any other.

    Raises TrustRootError or OSError if there is nothing to verify with, or no folder to verify.
    """
    path = Path(bundle_path)
    examination = _Examination(path, read_trust_root(trust_root))
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a bundle's folder")
    with examination.names:
        examination.run()
    report = examination.report()
    if report.findings:
        raise VerificationError(report)
    return report


def read_trust_root(trust_root: str | Path | JSON) -> TrustRoot:
    """Take the caller's own trust root, as a file or as its parsed document."""
    if not isinstance(trust_root, str | Path):
        return TrustRoot.of(trust_root)
    with Path(trust_root).open("rb") as file:
        raw = file.read(TRUST_ROOT_MAX + 1)
    return TrustRoot.parse(raw)


@dataclass(slots=True)
class _Examination:
    path: Path
    trust_root: TrustRoot
    findings: list[Finding] = field(default_factory=list)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    anchors: list[Anchored] = field(default_factory=list)
    stamps: list[Stamped] = field(default_factory=list)
    unproven: tuple[str, ...] = ()
    first: int = 0
    frontier: Frontier = field(default_factory=Frontier)
    h: bytes = bytes(32)
    names: Names = field(default_factory=Names)
    time: datetime | None = None
    register: Register = field(init=False)

    def __post_init__(self) -> None:
        self.register = Register(self.trust_root)

    def run(self) -> None:
        try:
            index = Index.parse(bundle.read(self.path, bundle.INDEX, bundle.INDEX_MAX))
        except (BundleError, OSError) as error:
            self.find(Step.FOLDER, bundle.INDEX, str(error))
            return
        self.examine_folder(index)
        genesis_h = self.examine_genesis()
        self.examine_checkpoints(index)
        self.examine_start(index, genesis_h)
        self.examine_fit()
        expected = index.first
        for raw in self.lines():
            # After a gap, counting goes on from what stands there: one fault, one finding.
            expected = self.examine_line(raw, expected) + 1
            self.examine_fit()
        self.examine_names()
        self.examine_missing()
        self.examine_end(index)
        self.examine_anchors(index, genesis_h)
        self.examine_stamps(index)

    def find(self, step: Step, place: str, detail: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(step, plain(place), plain(detail)))

    def report(self) -> Report:
        return Report(
            ledger_id=self.trust_root.ledger_id,
            origin=self.trust_root.origin,
            first=self.first,
            size=self.frontier.size,
            root=self.frontier.root(),
            h=self.h,
            checkpoints=tuple(sorted(self.checkpoints)),
            redacted=tuple(self.register.redacted()),
            anchors=tuple(self.anchors),
            stamps=tuple(self.stamps),
            unproven=self.unproven,
            findings=tuple(self.findings),
        )

    def examine_folder(self, index: Index) -> None:  # (1)
        try:
            for place, detail in bundle.problems(self.path, index):
                self.find(Step.FOLDER, place, detail)
        except OSError as error:
            self.find(Step.FOLDER, "the folder", f"cannot be read: {error.strerror}")
        # The index is unsigned: its digests say that the folder is whole, not that it is genuine.
        beside = {name for name in index.files if name.startswith(("policies/", "anchors/"))}
        self.unproven = tuple(sorted(beside - {*self.anchoring(index), *self.stamping(index)}))

    def examine_genesis(self) -> bytes | None:  # (2)
        try:
            genesis = Genesis.parse(bundle.read(self.path, bundle.GENESIS))
        except (BundleError, GenesisError, OSError) as error:
            self.find(Step.GENESIS, bundle.GENESIS, str(error))
            return None
        # A chain under other keys, however well made, is another ledger.
        if genesis.trust_root != self.trust_root.digest:
            detail = (
                f"made under trust root {genesis.trust_root.hex()}, yours is {self.trust_root.digest.hex()}"
            )
            self.find(Step.GENESIS, bundle.GENESIS, detail)
        if genesis.ledger_id != self.trust_root.ledger_id:
            detail = f"ledger {genesis.ledger_id}, yours is {self.trust_root.ledger_id}"
            self.find(Step.GENESIS, bundle.GENESIS, detail)
        try:
            copy = TrustRoot.parse(bundle.read(self.path, bundle.TRUST_ROOT))
            if copy.digest != self.trust_root.digest:
                self.find(Step.GENESIS, bundle.TRUST_ROOT, "differs from your trust root")
        except (BundleError, TrustRootError, OSError) as error:
            self.find(Step.GENESIS, bundle.TRUST_ROOT, str(error))
        return genesis.hash()

    def examine_checkpoints(self, index: Index) -> None:  # (3)
        for name in sorted(index.files):
            if not name.startswith("checkpoints/"):
                continue
            place = f"checkpoint {bundle.checkpoint_size(name)}"
            try:
                checkpoint = self.trust_root.verify(bundle.read(self.path, name).decode())
            except UnicodeDecodeError:
                self.find(Step.CHECKPOINT, place, "is not UTF-8")
            except (BundleError, CheckpointError, OSError) as error:
                self.find(Step.CHECKPOINT, place, str(error))
            else:
                if bundle.checkpoint_size(name) != checkpoint.size:
                    self.find(Step.CHECKPOINT, place, f"is signed for {checkpoint.size} entries")
                self.checkpoints[checkpoint.size] = checkpoint

    def examine_start(self, index: Index, genesis_h: bytes | None) -> None:  # (4)
        self.first, self.frontier, self.h = index.first, index.frontier, index.prev
        if index.first == 0:
            if genesis_h is not None and genesis_h != index.prev:
                self.find(Step.START, "the start", "prev is not the genesis")
                self.h = genesis_h
        elif index.first not in self.checkpoints:
            # Nothing else ties a range to the ledger: prev and frontier come from the unsigned index.
            self.find(
                Step.START, "the start", f"no valid checkpoint of {index.first} entries before the range"
            )

    def lines(self) -> Iterator[bytes]:
        try:
            yield from bundle.lines(self.path)
        except (BundleError, OSError) as error:
            self.find(Step.LINE, bundle.ENTRIES, str(error))

    def examine_line(self, raw: bytes, expected: int) -> int:
        place = f"entry {expected}"
        try:
            line = Line.parse(raw)  # (5)
        except BundleError as error:
            self.find(Step.LINE, place, str(error))
            return expected
        if line.seq != expected:
            self.find(Step.LINE, place, f"is missing: {line.seq} stands in its place")
        leaf = leaf_of(line.head)
        self.examine_head(line, leaf, place)
        if link(self.h, line.seq, leaf) != line.h:  # (8)
            self.find(Step.CHAIN, place, "h does not follow from the entry before and the head")
        # Going on from the h that is claimed keeps one fault from showing at every later entry.
        self.h = line.h
        self.frontier.append(leaf)
        return line.seq

    def examine_head(self, line: Line, leaf: bytes, place: str) -> None:
        try:
            envelope = parse_head(line.head)  # (6)
        except EntryError as error:
            self.find(Step.HEAD, place, str(error))
            return
        if envelope["seq"] != line.seq:
            self.find(Step.HEAD, place, f"head says {envelope['seq']}")
        target = Target(
            seq=line.seq,
            time=envelope["time"],
            type=envelope["type"],
            subject=envelope["subject"],
            actor=envelope["actor"],
            leaf=leaf,
        )
        self.examine_data(line, envelope["datahash"], target, place)
        self.names.add(envelope["source"], envelope["id"], line.seq)
        if self.time and envelope["time"] < self.time:
            self.find(Step.ORDER, place, f"time goes back from {self.time} to {envelope['time']}")
        self.time = envelope["time"]

    def examine_data(self, line: Line, commitment: bytes, target: Target, place: str) -> None:  # (7)
        if line.data is None and line.salt is None:
            # Legal only under a redaction that comes later: decided when all entries were seen.
            self.register.see(target, None)
            return
        if line.data is None or line.salt is None:
            self.find(Step.DATA, place, "data or salt is missing")
            return
        try:
            data = parse_data(line.data)
        except EntryError as error:
            self.find(Step.DATA, place, str(error))
        else:
            self.register.see(target, data)
        if datahash_of(line.salt, line.data) != commitment:
            self.find(Step.DATA, place, "data and salt do not give the datahash")

    def examine_fit(self) -> None:  # (10)
        checkpoint = self.checkpoints.get(self.frontier.size)
        if checkpoint is None:
            return
        place = f"checkpoint {checkpoint.size}"
        if checkpoint.root != self.frontier.root():
            self.find(Step.FIT, place, "its root is not the root of the entries")
        if checkpoint.chain != self.h:
            self.find(Step.FIT, place, "its chain is not the h of the entries")

    def examine_names(self) -> None:  # (9)
        count, first = self.names.repeats()
        if first is not None:
            self.find(Step.ORDER, f"entry {first}", f"its (source, id) stood before; so do {count} in all")

    def examine_missing(self) -> None:  # (7)
        for seq, reason in self.register.lost():
            self.find(Step.DATA, f"entry {seq}", f"data is missing: {reason}")

    def examine_end(self, index: Index) -> None:  # (11)
        size = self.frontier.size
        if size != index.last + 1:
            self.find(
                Step.END, f"entry {size}", f"the entries end at {size - 1}, the index says {index.last}"
            )
        newest = max(self.checkpoints, default=0)
        if newest < size:
            self.find(
                Step.END, f"entry {newest}", f"no valid checkpoint covers the entries {newest} to {size - 1}"
            )
        for number in sorted(self.checkpoints):
            if number > size:
                self.find(
                    Step.END, f"entry {size}", f"is missing: checkpoint {number} covers {number} entries"
                )
            elif number < index.first:
                self.find(Step.END, f"checkpoint {number}", "lies before the range")

    def examine_anchors(self, index: Index, genesis_h: bytes | None) -> None:  # (12)
        for name in self.anchoring(index):
            try:
                raw = bundle.read(self.path, name)
                if self.trust_root.anchoring is not None and genesis_h is not None:
                    self.anchors.append(
                        anchor.verify(
                            raw,
                            self.trust_root.anchoring,
                            genesis_hash=genesis_h,
                            checkpoints=self.checkpoints,
                        )
                    )
            except (AnchorError, BundleError, OSError) as error:
                self.find(Step.ANCHOR, name, str(error))

    def anchoring(self, index: Index) -> list[str]:
        # Without a contract in the trust root no document in `anchors/` can prove anything.
        if self.trust_root.anchoring is None:
            return []
        return sorted(name for name in index.files if name.startswith("anchors/") and name.endswith(".json"))

    def examine_stamps(self, index: Index) -> None:  # (13)
        for name in self.stamping(index):
            try:
                raw = bundle.read(self.path, name)
                self.stamps.append(
                    timestamp.judge(name, raw, self.trust_root.authorities, checkpoints=self.checkpoints)
                )
            except (TimestampError, BundleError, OSError) as error:
                self.find(Step.TIMESTAMP, name, str(error))

    def stamping(self, index: Index) -> list[str]:
        return timestamp.judgeable(index.files, self.trust_root.authorities)


def plain(text: str) -> str:
    """Return a bundle's own words so that they neither draw on a terminal nor drown a report."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text[:WORDS_MAX])
