"""The audit of a bundle: everything that can be checked about it, found before anything is judged.

    audit(bundle, trust_root, previous=…, blocks=…) -> Audit      Audit.verdict() -> "sound" or NotSoundError

The steps, whose numbers stand in the faults and in the code:

 (1) The bundle verifies under the auditor's trust root (`ledger.verifier`; its findings are faults).
 (2) The entries, as rows, are tallied by hashlib, one SQL statement and polars: the three tallies find no
     fault, are equal, and end where the verifier ended.
 (3) The bundle extends the head of the previous report.
 (4) Each checkpoint is read once more, for who signed and cosigned it; too few is a finding of (1).
 (5) Anchors: if the auditor lists blocks of his own node, every anchor lies in one of them, and every block
     that he lists holds an anchor.
 (6) Every blob that an entry cites is in the bundle.
 (7) The policy sets are genuine (their people may act), and the quality suite is met.

No step raises for what is wrong in the bundle, so that a report shows all of it; only the verdict does. What
is wrong with the auditor's own arguments (trust root, previous head, blocks) raises at once. The bundle
changes nothing, and nothing is kept of it but the head for the next audit, and that only if it is sound.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from ledger import bundle, checkpoint, segments, verifier
from ledger.anchor import Anchored
from ledger.bundle import BundleError, Index
from ledger.chain import Genesis, GenesisError
from ledger.checkpoint import CheckpointError, Signer
from ledger.clock import EPOCH
from ledger.encoding import parse
from ledger.manifest import Manifest, SegmentError
from ledger.merkle import HASH_SIZE, Frontier
from ledger.ranges import CompactRange
from ledger.segments import Verifier
from ledger.tally import Tally, in_order
from ledger.trust import LIMIT as TRUST_ROOT_MAX
from ledger.trust import TrustRoot
from ledger.verifier import Report, VerificationError, plain
from workbench.audit import people, quality
from workbench.audit.head import Head, HeadError, extend
from workbench.audit.rows import Activities, Rows, Uncited, written
from workbench.audit.suites import Quality
from workbench.rules.codes import RefusedError
from workbench.rules.trust import TrustRoot as DeskTrustRoot

VERIFIERS: tuple[Verifier, ...] = ("hashlib", "sql", "polars")
BLOCK = re.compile(r"0x[0-9a-f]{64}")
BLOCKS_MAX = 100_000
SHOWN_MAX = 20  # faults in the message of an error; all of them stand in `faults`
ENTRY = re.compile(r"entry ([0-9]{1,16})")
# Of a bundle whose own cannot be read.
NOTHING = Index(first=0, last=0, prev=bytes(HASH_SIZE), frontier=Frontier(), files={})


class AuditError(ValueError):
    """The auditor's own arguments are malformed: nothing was audited."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One reason why a bundle is not sound: the step, the place, what is wrong."""

    step: int
    place: str
    detail: str


class NotSoundError(Exception):
    """The bundle is not sound; `place` is the first entry concerned, `faults` says everything."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        self.place = first_place(faults)
        shown = "; ".join(f"({each.step}) {each.place}: {each.detail}" for each in faults[:SHOWN_MAX])
        more = f"; and {len(faults) - SHOWN_MAX} more" if len(faults) > SHOWN_MAX else ""
        super().__init__(f"not sound, first at {self.place}: {len(faults)} faults: {shown}{more}")


@dataclass(frozen=True, slots=True)
class Tallied:
    """What one of the three verifiers says of the rows; without a tally, `problem` says why."""

    name: str
    tally: Tally | None
    root: bytes | None
    problem: str


@dataclass(frozen=True, slots=True)
class Compared:
    """The bundle beside the head of the previous report; without a proof, `problem` says why."""

    previous: Head
    proof: tuple[bytes, ...] | None
    problem: str


@dataclass(frozen=True, slots=True)
class Witnessed:
    """Who signed and cosigned one checkpoint; `problem` says why it does not count."""

    size: int
    signers: tuple[Signer, ...]
    problem: str

    @property
    def witnesses(self) -> tuple[Signer, ...]:
        """Those who cosigned it."""
        return tuple(signer for signer in self.signers if signer.witness)


@dataclass(frozen=True, slots=True)
class Anchoring:
    """An anchor that is proven, and whether the auditor has seen its block; None: he listed no blocks."""

    anchored: Anchored
    seen: bool | None

    @property
    def block(self) -> str:
        """The block's hash, as nodes spell it."""
        return f"0x{self.anchored.block_hash.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Everything that was found."""

    report: Report
    quorum: int
    tallies: tuple[Tallied, ...]
    compared: Compared | None
    checkpoints: tuple[Witnessed, ...]
    anchors: tuple[Anchoring, ...]
    cited: int
    missing: tuple[Uncited, ...]
    quality: Quality
    activities: Activities
    faults: tuple[Fault, ...]

    @property
    def head(self) -> Head | None:
        """What the next audit begins with; nothing begins with a bundle that is not sound."""
        return None if self.faults else Head(self.report.size, self.report.root, self.report.h)

    def verdict(self) -> str:
        """Return "sound", or raise NotSoundError with every fault."""
        if self.faults:
            raise NotSoundError(self.faults)
        return "sound"


def audit(
    bundle_path: str | Path,
    trust_root: str | Path,
    *,
    previous: str = "",
    blocks: Collection[str] = (),
    docs: Path | None = None,
) -> Audit:
    """Audit a bundle.

    Args:
        bundle_path: the bundle's folder.
        trust_root: the auditor's own trust root, not the bundle's copy.
        previous: the head that the previous report printed; empty for the first.
        blocks: hashes of blocks that a node of the auditor's own has; empty to leave this open.
        docs: a folder for the Data Docs of the quality suite, if they are wanted.

    Raises AuditError or HeadError for arguments that cannot be read, TrustRootError or OSError if there is
    nothing to audit with or no folder to audit, QualityError if the suite did not run.

    """
    known = Head.parse(previous) if previous else None
    seen = _blocks(blocks)
    examination = _Examination(Path(bundle_path), _read(Path(trust_root)))
    report = examination.verify()
    with examination.rows() as rows:
        tallies = tuple(_tallied(name, rows, examination) for name in VERIFIERS)
        examination.agree(tallies, report)
        compared = examination.compare(known, rows, report) if known else None
        checkpoints = tuple(examination.witnessed())
        anchors = tuple(examination.anchored(report, seen))
        examination.cite(rows)
        judged = examination.judge(rows, tallies, docs)
        activities = rows.activities()
    return Audit(
        report=report,
        quorum=examination.trust_root.witness_quorum,
        tallies=tallies,
        compared=compared,
        checkpoints=checkpoints,
        anchors=anchors,
        cited=rows.cited,
        missing=rows.missing,
        quality=judged,
        activities=activities,
        faults=tuple(sorted(examination.faults, key=lambda fault: fault.step)),
    )


def first_place(faults: Sequence[Fault]) -> str:
    """Return the first entry that a fault names; if none names any, the place of the first fault."""
    numbers = [int(found.group(1)) for each in faults if (found := ENTRY.fullmatch(each.place))]
    return f"entry {min(numbers)}" if numbers else faults[0].place


@dataclass(slots=True)
class _Examination:
    path: Path
    raw: bytes
    trust_root: TrustRoot = field(init=False)
    index: Index = field(init=False)
    prev: bytes = field(init=False)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trust_root = TrustRoot.parse(self.raw)

    def find(self, step: int, place: str, detail: str) -> None:
        self.faults.append(Fault(step, plain(place), plain(detail)))

    def verify(self) -> Report:  # (1)
        try:
            report = verifier.verify(self.path, parse(self.raw, limit=TRUST_ROOT_MAX))
        except VerificationError as error:
            report = error.report
        for each in report.findings:
            self.find(1, each.place, f"{each.code}: {each.detail}")
        try:
            self.index = Index.parse(bundle.read(self.path, bundle.INDEX, bundle.INDEX_MAX))
        except (BundleError, OSError):
            self.index = NOTHING  # a finding already; what can be looked at without an index is
        self.prev = self.start()
        return report

    def start(self) -> bytes:
        # The h that the first entry must follow; what the index says of it is a claim.
        try:
            if self.index.first == 0:
                return Genesis.parse(bundle.read(self.path, bundle.GENESIS)).hash()
            note = bundle.read(self.path, f"checkpoints/{self.index.first}.txt").decode()
            return self.trust_root.verify(note).chain
        except (BundleError, CheckpointError, GenesisError, OSError, UnicodeDecodeError):
            return self.index.prev  # a finding already

    def rows(self) -> AbstractContextManager[Rows]:
        files = self.index.files.keys()
        return written(self.path, first=self.index.first, prev=self.index.prev, files=files)

    def agree(self, tallies: Sequence[Tallied], report: Report) -> None:  # (2)
        for each in tallies:
            if each.problem:
                self.find(2, f"the tally by {each.name}", each.problem)
        made = [each for each in tallies if each.tally]
        if len({each.tally for each in made}) > 1:
            self.find(2, "the tallies", "differ: one of the three verifiers is wrong, or deceived")
        ends = (report.size - report.first, report.h, report.root)
        for each in made:
            if each.tally and (each.tally.rows, each.tally.last_h, each.root) != ends:
                self.find(2, f"the tally by {each.name}", "does not end where the bundle ends")
        found = {faulty for each in made if each.tally for faulty in each.tally.faults}
        for faulty in in_order(found):
            self.find(2, f"entry {faulty.first}", f"{faulty.fault}: {faulty.rows} rows")

    def compare(self, previous: Head, rows: Rows, report: Report) -> Compared:  # (3)
        newest = Head(report.size, report.root, report.h)
        try:
            proof = extend(
                previous,
                newest,
                frontier=self.index.frontier,
                leaves=rows.leaves(),
                h_at=lambda size: rows.h(size - 1) if size > self.index.first else self.prev,
            )
        except HeadError as error:
            place = f"entry {newest.size}" if previous.size > newest.size else "the previous head"
            self.find(3, place, f"not an extension: {error}")
            return Compared(previous, None, str(error))
        return Compared(previous, proof, "")

    def witnessed(self) -> Iterator[Witnessed]:  # (4)
        names = [name for name in self.index.files if name.startswith("checkpoints/")]
        for name in sorted(names, key=bundle.checkpoint_size):
            signers: tuple[Signer, ...] = ()
            problem = ""
            try:
                note = bundle.read(self.path, name).decode()
                signers = tuple(
                    checkpoint.signers(note, self.trust_root.checkpoint_keys, self.trust_root.witnesses)
                )
                self.trust_root.verify(note)
            except (BundleError, CheckpointError, OSError, UnicodeDecodeError) as error:
                problem = plain(str(error))
            yield Witnessed(bundle.checkpoint_size(name), signers, problem)

    def anchored(self, report: Report, seen: frozenset[str]) -> Iterator[Anchoring]:  # (5)
        holding = set()
        for each in report.anchors:
            anchoring = Anchoring(each, None)
            holding.add(anchoring.block)
            if seen and anchoring.block not in seen:
                self.find(5, f"anchor {each.size}", f"you have not listed its block {anchoring.block}")
            yield Anchoring(each, anchoring.block in seen if seen else None)
        for block in sorted(seen - holding):
            self.find(5, f"block {block}", "you have listed it, and no anchor of the bundle lies in it")

    def cite(self, rows: Rows) -> None:  # (6)
        for each in rows.missing:
            self.find(6, f"entry {each.seq}", f"its {each.field} is not in the bundle: blob {each.name}")
        if rows.unlisted > len(rows.missing):
            self.find(6, "the blobs", f"{rows.unlisted} citations in all lead nowhere")

    def judge(self, rows: Rows, tallies: Sequence[Tallied], docs: Path | None) -> Quality:  # (7)
        last_us = max((each.tally.last_ts_us or 0 for each in tallies if each.tally), default=0)
        judged = quality.examine(
            rows.path,
            first=self.index.first,
            prev=self.prev,
            actors=self.actors(EPOCH + timedelta(microseconds=last_us)),
            docs=docs,
        )
        for each in judged.expected:
            if not each.passed:
                place = f"entry {each.places[0]}" if each.places else "the rows"
                detail = each.problem or f"{each.unexpected} rows against: {each.says}"
                self.find(7, place, f"{each.name}: {detail}")
        return judged

    def actors(self, now: datetime) -> frozenset[str]:
        try:
            desk = DeskTrustRoot.read(self.raw)
        except RefusedError as error:
            self.find(7, "the trust root", f"is not a desk's: {error}")
            return frozenset()
        try:
            named = people.people(self.path, self.index.files, desk, now=now)
        except RefusedError as error:
            self.find(7, "policies", f"the policy sets do not count, so nobody is known: {error}")
            named = frozenset()
        return named | people.processes(desk)


def _tallied(name: Verifier, rows: Rows, examination: _Examination) -> Tallied:  # (2)
    with rows.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    try:
        claim = Manifest(
            first_seq=rows.first,
            last_seq=rows.first + rows.count - 1,
            sha256=digest,
            root=bytes(HASH_SIZE),
            first_prev=examination.prev,
            last_h=bytes(HASH_SIZE),
        )
    except SegmentError:
        return Tallied(name, None, None, "there are no rows to tally")
    made = segments.examine(str(rows.path), claim.encode(), name)
    if isinstance(made, str):
        return Tallied(name, None, None, plain(made))
    before = CompactRange(0, rows.first, examination.index.frontier.hashes)
    return Tallied(name, made, before.join(made.tree).root(), "")


def _blocks(blocks: Collection[str]) -> frozenset[str]:
    if isinstance(blocks, str) or len(blocks) > BLOCKS_MAX:
        raise AuditError(f"blocks are a list of at most {BLOCKS_MAX} hashes")
    for block in blocks:
        if type(block) is not str or not BLOCK.fullmatch(block):
            raise AuditError(f"{block!r:.80} is not a block's hash such as 0x and 64 lower-case hex digits")
    return frozenset(blocks)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(TRUST_ROOT_MAX + 1)
