"""Sealed segments: runs of entries as read-only Parquet files that verify apart and join by their borders.

`000000000000-000000099999.parquet` holds the rows, `….json` its manifest:
the file's digest, what the chain was before and after, and the root of the
whole ledger up to here. A segment exists once its manifest does; what an
interrupted sealing leaves behind are drafts, and sealing again replaces them.

`verify` believes nothing in the folder. Its steps, also in the findings:

 (1) The folder holds segments, each beginning where the one before ends, and nothing else.
 (2) Each file is the one its manifest names (SHA-256), with as many rows as it says.
 (3) The rows are sound by themselves: no fault in the tally (`ledger.tally`).
 (4) The borders fit: prev of the first row is the last h of the segment before, time does not go back.
 (5) At the end of each segment, the joined tree has the manifest's root.
 (6) No (source, id) stands in two segments.

Steps 2 and 3 run in workers, one task a segment, and only paths and values
pass between. A malformed file is unsound, never a crash of the caller. With
`since`, verification goes on from what an earlier one established; then names
and times before it are **not looked at** unless the caller starts at 0.

The head that is returned says what the folder says. Whether it is the
ledger's, only signed checkpoints of that size, root and h can tell.
"""

import hashlib
import re
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast

import duckdb

from ledger import files, tally_sql
from ledger.manifest import MANIFEST_MAX, Manifest, SegmentError, Verified
from ledger.merkle import HASH_SIZE
from ledger.ranges import CompactRange
from ledger.tally import BATCH, COLUMNS, Row, Tally, TallyError, tally_rows

__all__ = [
    "Finding",
    "Joined",
    "Manifest",
    "Redacted",
    "SegmentError",
    "UnsoundError",
    "Verified",
    "Verifier",
    "examine",
    "read_manifests",
    "verify",
    "write",
]

ROW_GROUP = 122_880  # rows that a reader holds at once
ROW_GROUP_MAX = 1 << 30  # bytes of a row group when unpacked: 64 KiB heads are the exception
FINDINGS_MAX = 10_000

FILE_NAME = re.compile(r"([0-9]{12}-[0-9]{12})\.(parquet|json|parquet\.draft|json\.draft)")

COPY_ENTRIES = (
    f"copy (select {', '.join(COLUMNS)} from entry where seq between $first and $last order by seq) "  # noqa: S608 - constants
    f"to $path (format parquet, compression zstd, row_group_size {ROW_GROUP})"
)
SELECT_BORDER = "select prev, h from entry where seq = $seq"
SELECT_ROWS = "select * from read_parquet($path, hive_partitioning = false)"
SELECT_GROUPS = """
select row_group_id, any_value(row_group_num_rows), sum(total_uncompressed_size)
from parquet_metadata($path) group by row_group_id
"""

Verifier: TypeAlias = Literal["hashlib", "sql", "polars"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why segments are not sound: the step, the segment or entry, what is wrong."""

    step: int
    place: str
    detail: str


class UnsoundError(SegmentError):
    """The segments are not sound; `findings` says where and why."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        first = findings[0]
        super().__init__(
            f"not sound: {len(findings)} findings, first: ({first.step}) {first.place}: {first.detail}"
        )
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Redacted:
    """The entries of one segment whose data was taken away: all are counted, the first 10 000 listed."""

    first_seq: int
    last_seq: int
    count: int
    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The head that sound segments lead to."""

    first: int  # entries first … size-1 were verified
    size: int
    root: bytes
    h: bytes
    redacted: tuple[Redacted, ...]
    verified: Verified


def write(
    database: duckdb.DuckDBPyConnection,
    folder: Path,
    *,
    first: int,
    last: int,
    root: bytes,
    first_prev: bytes,
    last_h: bytes,
) -> Manifest:
    """Seal the rows `first` to `last` of the table `entry`, never over a segment that is there."""
    claim = Manifest(
        first_seq=first,
        last_seq=last,
        sha256=bytes(HASH_SIZE),
        root=root,
        first_prev=first_prev,
        last_h=last_h,
    )
    rows, manifest = (folder / f"{claim.name}.{kind}" for kind in ("parquet", "json"))
    if manifest.exists():
        raise SegmentError(f"{manifest.name} exists")
    _check_borders(database, claim)
    draft = rows.with_name(rows.name + ".draft")
    draft.unlink(missing_ok=True)
    try:
        ((copied,),) = database.execute(
            COPY_ENTRIES, {"first": first, "last": last, "path": str(draft)}
        ).fetchall()
    except duckdb.Error as error:
        draft.unlink(missing_ok=True)
        raise SegmentError(f"{claim.name}: cannot be written: {error}") from error
    if copied != claim.rows:
        draft.unlink()
        raise SegmentError(f"{claim.name}: {copied} rows, not {claim.rows}")
    try:
        return _announce(claim, draft, rows, manifest)
    except OSError as error:
        raise SegmentError(f"{claim.name}: cannot be written: {error}") from error


def _announce(claim: Manifest, draft: Path, rows: Path, manifest: Path) -> Manifest:
    made = replace(claim, sha256=_digest(draft))
    announced = manifest.with_name(manifest.name + ".draft")
    announced.unlink(missing_ok=True)
    announced.write_bytes(made.encode())
    # A crash before the last line leaves drafts, or rows whose manifest is a draft: no segment either way.
    for path in (draft, announced):
        path.chmod(0o444)
        files.sync(path)
    draft.rename(rows)
    announced.rename(manifest)
    files.sync(manifest.parent)
    return made


def read_manifests(folder: Path) -> list[Manifest]:  # (1)
    """Return the manifests of a folder in order, or raise if anything else is in it."""
    names = {}
    for path in sorted(folder.iterdir()):
        if not FILE_NAME.fullmatch(path.name) or not stat.S_ISREG(path.lstat().st_mode):
            raise SegmentError(f"{path.name!r:.80} is not a segment's file")
        names[path.name] = path
    manifests: list[Manifest] = []
    for name, path in names.items():
        stem, _, kind = name.partition(".")
        if kind == "parquet" and not {f"{stem}.json", f"{stem}.json.draft"} & set(names):
            raise SegmentError(f"{name} has no manifest")
        if kind != "json":
            continue
        manifest = Manifest.parse(_read(path, MANIFEST_MAX))
        if manifest.name != stem or f"{stem}.parquet" not in names:
            raise SegmentError(f"{name} is the manifest of {manifest.name}, or its rows are missing")
        if manifests and manifest.first_seq != manifests[-1].last_seq + 1:
            raise SegmentError(f"{manifest.name} does not follow {manifests[-1].name}")
        manifests.append(manifest)
    return manifests


def verify(
    folder: Path,
    *,
    executor: Executor | None,
    genesis_hash: bytes,
    verifier: Verifier = "hashlib",
    since: Verified | None = None,
) -> Joined:
    """Return the head that the segments of a folder lead to; raise UnsoundError with all findings otherwise.

    Without an executor the work is done here. `since` begins at the segment
    that follows it; names and times before are not looked at.
    """
    if not folder.is_dir():
        raise SegmentError(f"{folder.name} is not a folder")
    start = since or Verified(size=0, hashes=(), h=genesis_hash)
    try:
        manifests = [one for one in read_manifests(folder) if one.first_seq >= start.size]
    except (SegmentError, OSError) as error:
        raise UnsoundError((Finding(1, "the folder", str(error)),)) from error
    if manifests and manifests[0].first_seq != start.size:
        raise UnsoundError((Finding(1, "the folder", f"no segment begins at entry {start.size}"),))
    joiner = _Joiner(folder, start.h, CompactRange(0, start.size, start.hashes))
    for manifest, result in _examined(folder, manifests, executor, verifier):
        joiner.take(manifest, result)
    joiner.compare_names(start.size, manifests)
    if joiner.findings:
        raise UnsoundError(tuple(joiner.findings[:FINDINGS_MAX]))
    tree = joiner.tree
    verified = Verified(size=tree.end, hashes=tree.hashes, h=joiner.h)
    return Joined(
        first=start.size,
        size=tree.end,
        root=tree.root(),
        h=joiner.h,
        redacted=tuple(joiner.redacted),
        verified=verified,
    )


def examine(path: str, manifest: bytes, verifier: Verifier) -> Tally | str:
    """Tally one segment in a worker; a text says why there is nothing to tally."""
    claim, file = Manifest.parse(manifest), Path(path)
    try:
        if _digest(file) != claim.sha256:  # (2)
            return "is not the file that its manifest names"
        return _TALLIES[verifier](file, claim)  # (3)
    except (TallyError, OSError) as error:
        return f"cannot be read: {error!s:.300}"


@dataclass(slots=True)
class _Joiner:
    folder: Path
    h: bytes
    tree: CompactRange
    ts_us: int | None = None
    readable: list[Path] = field(default_factory=list)
    redacted: list[Redacted] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    is_whole: bool = True

    def find(self, step: int, place: str, detail: str) -> None:
        self.findings.append(Finding(step, place, detail))

    def take(self, manifest: Manifest, result: Tally | str) -> None:
        place = f"segment {manifest.name}"
        if manifest.first_prev != self.h:  # (4)
            self.find(4, place, "does not follow the h before it")
        # Going on from what is claimed keeps one fault from showing at every later segment.
        self.h = manifest.last_h
        if isinstance(result, str):
            self.find(2, place, result)
            self.ts_us, self.is_whole = None, False
            return
        self.readable.append(self.folder / f"{manifest.name}.parquet")
        self.take_rows(manifest, result, place)
        self.take_tree(manifest, result, place)

    def take_rows(self, manifest: Manifest, tally: Tally, place: str) -> None:
        if tally.rows != manifest.rows:
            self.find(2, place, f"holds {tally.rows} rows, not {manifest.rows}")
        for faulty in tally.faults:  # (3)
            self.find(3, f"entry {faulty.first}", f"{faulty.fault}: {faulty.rows} faulty rows in {place}")
        if tally.last_h != manifest.last_h:  # (4)
            self.find(4, place, "its last row does not have its last h")
        if self.ts_us is not None and tally.first_ts_us is not None and tally.first_ts_us < self.ts_us:
            self.find(4, place, "begins before the segment before it ends: time goes back")
        self.ts_us = tally.last_ts_us
        if tally.redacted:
            seqs = tally.redacted_places
            self.redacted.append(Redacted(manifest.first_seq, manifest.last_seq, tally.redacted, seqs))

    def take_tree(self, manifest: Manifest, tally: Tally, place: str) -> None:  # (5)
        if not self.is_whole or tally.tree.first != self.tree.end or tally.rows != manifest.rows:
            self.is_whole = False
            return
        self.tree = self.tree.join(tally.tree)
        if self.tree.root() != manifest.root:
            self.find(5, place, "its root is not the root of the entries up to its end")

    def compare_names(self, first_seq: int, manifests: list[Manifest]) -> None:  # (6)
        if len(self.readable) <= 1:
            return
        try:
            rows, first = tally_sql.names_across(self.readable)
        except TallyError as error:
            self.find(6, "the names", f"cannot be compared: {error!s:.300}")
            return
        if rows:
            # A place counts rows from the first segment that could be read.
            whole = len(self.readable) == len(manifests)
            place = f"entry {first_seq + first}" if whole and first is not None else "the names"
            self.find(6, place, f"name: {rows} rows repeat a name of an earlier segment")


def _examined(
    folder: Path, manifests: list[Manifest], executor: Executor | None, verifier: Verifier
) -> Iterator[tuple[Manifest, Tally | str]]:
    tasks = [(str(folder / f"{one.name}.parquet"), one.encode(), verifier) for one in manifests]
    if executor is None:
        for manifest, task in zip(manifests, tasks, strict=True):
            yield manifest, examine(*task)
        return
    futures = [_submit(executor, task) for task in tasks]
    for manifest, future in zip(manifests, futures, strict=True):
        try:
            result = future.result()
        except Exception as error:  # noqa: BLE001 - every executor has its own error for a worker that died
            # Bytes that kill their reader are not sound; those that shared its pool must be read again.
            result = f"was not examined: {type(error).__name__}"
        yield manifest, result


def _submit(executor: Executor, task: tuple[str, bytes, Verifier]) -> Future[Tally | str]:
    try:
        return executor.submit(examine, *task)
    except BrokenExecutor as error:
        # A pool that broke under an earlier task takes no more.
        broken: Future[Tally | str] = Future()
        broken.set_exception(error)
        return broken


def _tally_hashlib(path: Path, claim: Manifest) -> Tally:
    with tally_sql.engine() as database:
        name = _check_file(database, path, claim.rows)
        answer = database.execute(SELECT_ROWS, {"path": name})
        return tally_rows(_rows(answer), first_seq=claim.first_seq, prev=claim.first_prev)


def _tally_sql(path: Path, claim: Manifest) -> Tally:
    with tally_sql.engine() as database:
        _check_file(database, path, claim.rows)
    return tally_sql.tally_parquet([path], first_seq=claim.first_seq, prev=claim.first_prev)


def _tally_polars(path: Path, claim: Manifest) -> Tally:
    # Here, because an auditor without polars can use the other two.
    from ledger import tally_polars  # noqa: PLC0415

    with tally_sql.engine() as database:
        _check_file(database, path, claim.rows)
    return tally_polars.tally_parquet([path], first_seq=claim.first_seq, prev=claim.first_prev)


_TALLIES: dict[str, Callable[[Path, Manifest], Tally]] = {
    "hashlib": _tally_hashlib,
    "sql": _tally_sql,
    "polars": _tally_polars,
}


def _rows(answer: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    while page := answer.fetchmany(BATCH):
        yield from cast("list[Row]", page)


def _check_file(database: duckdb.DuckDBPyConnection, path: Path, rows: int) -> str:
    # Memory: every reader unpacks a row group at once, so the metadata must promise small ones.
    name = tally_sql.check_file(database, path)
    groups = database.execute(SELECT_GROUPS, {"path": name}).fetchall()
    if sum(number for _, number, _ in groups) != rows:
        raise TallyError(f"its row groups do not hold {rows} rows")
    if any(number > ROW_GROUP or size > ROW_GROUP_MAX for _, number, size in groups):
        raise TallyError(f"a row group holds more than {ROW_GROUP} rows or {ROW_GROUP_MAX} bytes")
    return name


def _check_borders(database: duckdb.DuckDBPyConnection, claim: Manifest) -> None:
    first = database.execute(SELECT_BORDER, {"seq": claim.first_seq}).fetchall()
    last = database.execute(SELECT_BORDER, {"seq": claim.last_seq}).fetchall()
    if [prev for prev, _ in first] != [claim.first_prev] or [h for _, h in last] != [claim.last_h]:
        raise SegmentError(f"{claim.name}: its first prev or last h is not that of the rows")


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)
