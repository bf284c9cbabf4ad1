"""A bundle's entries as rows of a Parquet file, for engines that know nothing of bundles.

The columns are those of `ledger.tally`, a row for each line. What a line does not hold is put beside it:
`leaf` is hashed from the head, `prev` is the h of the line before, `ts_us` and the names are what the head
says. A line or head that cannot be read leaves NULLs, which satisfy nothing: the places behind it stay the
places of the lines, and the fault shows in every tally.

While the lines pass, the blobs that entries cite are looked up in the index, for the verifier does not know
what data means. A person's own events (`external.`) may say what they like and cite nothing.

The file lives as long as the context. Nothing here is believed or verified.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from ledger import bundle, tally_sql
from ledger.bundle import BundleError, Line
from ledger.clock import EPOCH, microseconds
from ledger.entry import EntryError, Envelope, leaf_of, parse_data, parse_head
from ledger.merkle import HASH_SIZE
from ledger.tally import BATCH, COLUMNS, Row

CITING = ("evidence", "files", "inclusion")  # fields of data that name a blob
EXTERNAL = "external."
MISSING_MAX = 1_000  # citations listed; all are counted
ROW_GROUP = 122_880  # rows that a reader holds at once, as in a sealed segment
KINDS_MAX = 12  # types or actors told apart, the most frequent ones; what a chart's reader tells apart
REST = "(others)"
BINS_MAX = 100
HOUR_MIN, DAY_MIN = 60, 1440
STEPS_MIN = (1, 10, HOUR_MIN, DAY_MIN, 7 * DAY_MIN, 30 * DAY_MIN, 365 * DAY_MIN, 36_500 * DAY_MIN)
MINUTE_US = 60_000_000
# A clock that no calendar of a chart has stands at its edge: 1970 and 9000.
DRAWN_US = "least(greatest(ts_us, 0), 221_845_392_000_000_000)"

CREATE = f"create table entry ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})"
COPY = f"copy entry to $path (format parquet, compression zstd, row_group_size {ROW_GROUP})"
SELECT_LEAVES = "select leaf from read_parquet($path)"
SELECT_H = "select h from read_parquet($path) limit 1 offset $offset"
SELECT_SPAN = f"select min({DRAWN_US}), max({DRAWN_US}) from read_parquet($path)"  # noqa: S608 - constants
SELECT_ACTIVITY = f"""
with entries as (
    select {DRAWN_US} as ts_us, type,
        case when type is not null then json_extract_string(head, '$.actor') end as actor
    from read_parquet($path) where ts_us is not null
),
types as (select type from entries group by type order by count(*) desc, type limit $kinds),
actors as (select actor from entries group by actor order by count(*) desc, actor limit $kinds)
select (ts_us - $begin) // $width as bin,
    case when type in (from types) then type else $rest end as type,
    case when actor in (from actors) then actor else $rest end as actor,
    count(*) as number
from entries group by all order by all
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Uncited:
    """An entry that cites a blob which the bundle does not list."""

    seq: int
    field: str
    name: str


@dataclass(frozen=True, slots=True)
class Activity:
    """How many entries of one type one actor left in one stretch of time."""

    begin: datetime
    type: str
    actor: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activities:
    """The entries over time, in stretches of equal length."""

    step: timedelta
    counts: tuple[Activity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The file, and what was seen while it was written."""

    path: Path
    first: int
    count: int
    cited: int
    unlisted: int
    missing: tuple[Uncited, ...]

    def leaves(self) -> list[bytes]:
        """Return the leaf hashes in order; one that is missing is zero."""
        with tally_sql.engine() as database:
            answer = database.execute(SELECT_LEAVES, {"path": str(self.path)})
            return [leaf or bytes(HASH_SIZE) for (leaf,) in answer.fetchall()]

    def h(self, seq: int) -> bytes | None:
        """Return the h that the entry of this number claims, if there is one."""
        with tally_sql.engine() as database:
            answer = database.execute(SELECT_H, {"path": str(self.path), "offset": seq - self.first})
            return next((h for (h,) in answer.fetchall()), None)

    def activities(self) -> Activities:
        """Count the entries by time, type and actor: at most BINS_MAX stretches, the shortest a minute."""
        with tally_sql.engine() as database:
            ((earliest, latest),) = database.execute(SELECT_SPAN, {"path": str(self.path)}).fetchall()
            if earliest is None:
                return Activities(step=timedelta(minutes=STEPS_MIN[0]), counts=())
            minutes = (latest - earliest) // MINUTE_US
            step = next(step for step in STEPS_MIN if minutes // step < BINS_MAX)
            width = step * MINUTE_US
            begin = earliest // width * width
            parameters = {"path": str(self.path), "begin": begin, "width": width}
            answer = database.execute(SELECT_ACTIVITY, parameters | {"kinds": KINDS_MAX, "rest": REST})
            counts = tuple(
                Activity(EPOCH + timedelta(microseconds=begin + place * width), kind, actor, number)
                for place, kind, actor, number in answer.fetchall()
            )
            return Activities(step=timedelta(minutes=step), counts=counts)


@contextmanager
def written(path: Path, *, first: int, prev: bytes, files: Container[str]) -> Iterator[Rows]:
    """Write the lines of a bundle as rows, and lend them until the context ends.

    Args:
        path: the bundle's folder.
        first: the number of its first entry.
        prev: the h that the first row says it follows.
        files: what the index lists.

    """
    reading = _Reading(prev=prev, files=files)
    with TemporaryDirectory(prefix="audit-") as folder:
        target = Path(folder) / "entries.parquet"
        with tally_sql.engine() as database:
            database.execute(CREATE)
            rows = reading.rows(path)
            while batch := list(islice(rows, BATCH)):
                appender = database.appender("entry")
                appender.append_rows(batch)
                appender.flush()
            database.execute(COPY, {"path": str(target)}).fetchall()
        yield Rows(
            path=target,
            first=first,
            count=reading.count,
            cited=reading.cited,
            unlisted=reading.unlisted,
            missing=tuple(reading.missing),
        )


@dataclass(slots=True)
class _Reading:
    prev: bytes | None
    files: Container[str]
    count: int = 0
    cited: int = 0
    unlisted: int = 0
    missing: list[Uncited] = field(default_factory=list)

    def rows(self, path: Path) -> Iterator[Row]:
        try:
            for raw in bundle.lines(path):
                yield self.row(raw)
                self.count += 1
        except (BundleError, OSError):
            # The verifier names this fault; what was read until then is judged all the same.
            return

    def row(self, raw: bytes) -> Row:
        prev, self.prev = self.prev, None
        try:
            line = Line.parse(raw)
        except BundleError:
            return (None,) * len(COLUMNS)  # type: ignore[return-value]  # as many as a row has
        self.prev = line.h
        data = None if line.data is None else line.data.decode()
        try:
            said = parse_head(line.head)
        except EntryError:
            names: tuple[str | int | None, ...] = (None,) * 5
        else:
            self.look_up(line, said)
            names = (
                microseconds(said["time"]),
                said["source"],
                said["id"],
                said["type"],
                said["subject"],
            )
        return (line.seq, *names, line.head.decode(), data, line.salt, leaf_of(line.head), prev, line.h)  # type: ignore[return-value]  # as above

    def look_up(self, line: Line, said: Envelope) -> None:
        if line.data is None or said["type"].startswith(EXTERNAL):
            return
        # Most data cites nothing: its bytes say so sooner than its values.
        if not any(b'"%s":' % name.encode() in line.data for name in CITING):
            return
        try:
            data = parse_data(line.data)
        except EntryError:
            return
        for name in CITING:
            if name in data:
                self.cite(line.seq, name, data[name])

    def cite(self, seq: int, name: str, blob: object) -> None:
        self.cited += 1
        if type(blob) is str and f"blobs/{blob}" in self.files:
            return
        self.unlisted += 1
        if len(self.missing) < MISSING_MAX:
            self.missing.append(Uncited(seq, name, f"{blob!s:.80}"))
