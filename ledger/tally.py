"""The tally: what one pass over rows of `entry` says, and the reference that computes it row by row.

Three implementations give equal tallies for the same rows, sound or not: this
one (hashlib), `ledger.tally_sql` (one DuckDB statement) and
`ledger.tally_polars`. A row is faulty in the class

    sequence   unless seq is one more than in the row before (first row: `first_seq`)
    leaf       unless leaf = SHA256(0x00 ‖ head)
    data       unless data and salt are both missing (redacted), or SHA256(0x03 ‖ salt ‖ data) is, in hex, the
               64 characters after the first `","datahash":"` of the head
    link       unless prev is h of the row before (first row: `prev`)
    chain      unless h = SHA256(0x02 ‖ prev ‖ u64be(seq) ‖ leaf); a negative seq as its two's complement
    head       unless head is the canonical head (SPEC 3) of seq, ts_us, source, id, type and subject; only
               actor, dataschema and datahash are the head's own
    clock      unless ts_us is at least that of the row before
    name       if its (source, id) stood in an earlier row

NULL satisfies nothing: a comparison with it is a fault. Rows keep the order
they come in, and a place is counted from `first_seq`: the column is itself
under suspicion. The tree is over the leaf column; a leaf that is not 32 bytes
stands in it as 32 zero bytes (and is faulty).

Left out: whether data is canonical, whether a redaction was allowed (they are
listed), what lies before and after the rows (joining is `ledger.segments`).
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from heapq import nsmallest
from typing import TypeAlias

from ledger.clock import EPOCH
from ledger.entry import EntryError, datahash_of, leaf_of, parse_head
from ledger.merkle import HASH_SIZE
from ledger.names import Names
from ledger.ranges import CompactRange

COLUMNS = {
    "seq": "BIGINT",
    "ts_us": "BIGINT",
    "source": "VARCHAR",
    "id": "VARCHAR",
    "type": "VARCHAR",
    "subject": "VARCHAR",
    "head": "VARCHAR",
    "data": "VARCHAR",
    "salt": "BLOB",
    "leaf": "BLOB",
    "prev": "BLOB",
    "h": "BLOB",
}
DATAHASH = '","datahash":"'  # ends the actor and begins the datahash: inside a name, a quote is escaped
REDACTED_MAX = 10_000  # places listed; the count is always whole
TYPES_MAX = (
    1_000  # types counted, the first in the order of code points; theirs sum to less if there are more
)
BATCH = 8192  # leaves hashed at once
EARLIEST_US = -62_135_596_800_000_000  # 0001-01-01 to 9999-12-31: the years that have four digits
LATEST_US = 253_402_300_799_999_999

Row: TypeAlias = tuple[
    int | None,  # seq
    int | None,  # ts_us
    str | None,  # source
    str | None,  # id
    str | None,  # type
    str | None,  # subject
    str | None,  # head
    str | None,  # data
    bytes | None,  # salt
    bytes | None,  # leaf
    bytes | None,  # prev
    bytes | None,  # h
]


class TallyError(ValueError):
    """There are no rows to tally: the file is unreadable or its columns are not those of `entry`."""


class Fault(StrEnum):
    """The classes of faults, in the order of the report."""

    SEQUENCE = "sequence"
    LEAF = "leaf"
    DATA = "data"
    LINK = "link"
    CHAIN = "chain"
    HEAD = "head"
    CLOCK = "clock"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Faulty:
    """How many rows are faulty in one class, and the first place."""

    fault: Fault
    rows: int
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the rows say. The outermost values are those of the columns, as they stand."""

    rows: int
    first_seq: int | None
    last_seq: int | None
    first_ts_us: int | None
    last_ts_us: int | None
    first_prev: bytes | None
    last_h: bytes | None
    redacted: int
    redacted_places: tuple[int, ...]
    types: tuple[tuple[str, int], ...]
    faults: tuple[Faulty, ...]
    tree: CompactRange


def tally_rows(rows: Iterable[Row], *, first_seq: int, prev: bytes) -> Tally:
    """Tally rows with hashlib, one after the other."""
    with Names() as names:
        count = _Count(first_seq=first_seq, tree=CompactRange(first_seq, first_seq, ()))
        before: tuple[int | None, int | None, bytes | None] = (first_seq - 1, None, prev)
        for place, row in enumerate(rows, first_seq):
            for fault in _faults(row, before, is_first=place == first_seq):
                count.find(fault, place)
            names.add(row[2], row[3], place)
            count.take(row, place)
            before = (row[0], row[1], row[11])
        repeats, first = names.repeats()
    if first is not None:
        count.faults[Fault.NAME] = Faulty(Fault.NAME, repeats, first)
    return count.tally()


def counted(types: dict[str, int]) -> dict[str, int]:
    """Keep the first `TYPES_MAX` types; those left out can never come back as first."""
    return {name: types[name] for name in nsmallest(TYPES_MAX, types)}


def in_order(faults: Iterable[Faulty]) -> tuple[Faulty, ...]:
    """Return the faults as a tally lists them."""
    return tuple(sorted(faults, key=lambda faulty: list(Fault).index(faulty.fault)))


@dataclass(slots=True)
class _Count:
    first_seq: int
    tree: CompactRange
    leaves: list[bytes] = field(default_factory=list)
    first: Row | None = None
    last: Row | None = None
    rows: int = 0
    redacted: int = 0
    places: list[int] = field(default_factory=list)
    types: dict[str, int] = field(default_factory=dict)
    faults: dict[Fault, Faulty] = field(default_factory=dict)

    def find(self, fault: Fault, place: int) -> None:
        known = self.faults.get(fault, Faulty(fault, 0, place))
        self.faults[fault] = Faulty(fault, known.rows + 1, known.first)

    def take(self, row: Row, place: int) -> None:
        self.first = self.first or row
        self.last = row
        self.rows += 1
        if row[7] is None and row[8] is None:
            self.redacted += 1
            if len(self.places) < REDACTED_MAX:
                self.places.append(place)
        if row[4] is not None:
            self.types[row[4]] = self.types.get(row[4], 0) + 1
            if len(self.types) > 2 * TYPES_MAX:
                self.types = counted(self.types)
        leaf = row[9]
        self.leaves.append(leaf if leaf is not None and len(leaf) == HASH_SIZE else bytes(HASH_SIZE))
        if len(self.leaves) == BATCH:
            self.grow()

    def grow(self) -> None:
        self.tree = self.tree.join(CompactRange.of(self.tree.end, self.leaves))
        self.leaves.clear()

    def tally(self) -> Tally:
        self.grow()
        first, last = self.first, self.last
        return Tally(
            rows=self.rows,
            first_seq=first[0] if first else None,
            last_seq=last[0] if last else None,
            first_ts_us=first[1] if first else None,
            last_ts_us=last[1] if last else None,
            first_prev=first[10] if first else None,
            last_h=last[11] if last else None,
            redacted=self.redacted,
            redacted_places=tuple(self.places),
            types=tuple(sorted(counted(self.types).items())),
            faults=in_order(self.faults.values()),
            tree=self.tree,
        )


def _faults(
    row: Row, before: tuple[int | None, int | None, bytes | None], *, is_first: bool
) -> Iterator[Fault]:
    seq, ts_us, _, _, _, _, head, data, salt, leaf, prev, h = row
    seq_before, ts_before, h_before = before
    if seq is None or seq_before is None or seq != seq_before + 1:
        yield Fault.SEQUENCE
    if head is None or leaf != leaf_of(head.encode()):
        yield Fault.LEAF
    if not _commits(head, data, salt):
        yield Fault.DATA
    if prev is None or prev != h_before:
        yield Fault.LINK
    if prev is None or seq is None or leaf is None or h != _link(prev, seq, leaf):
        yield Fault.CHAIN
    if not _says(row):
        yield Fault.HEAD
    if not is_first and (ts_us is None or ts_before is None or ts_us < ts_before):
        yield Fault.CLOCK


def _commits(head: str | None, data: str | None, salt: bytes | None) -> bool:
    if data is None or salt is None:
        return data is None and salt is None
    if head is None or DATAHASH not in head:
        return False
    begin = head.index(DATAHASH) + len(DATAHASH)
    return head[begin : begin + 64] == datahash_of(salt, data.encode()).hex()


def _link(prev: bytes, seq: int, leaf: bytes) -> bytes:
    # Not ledger.chain.link: there a seq below 0 cannot be, here it must be counted and not raise.
    return hashlib.sha256(b"\x02" + prev + (seq % 2**64).to_bytes(8, "big") + leaf).digest()


def _says(row: Row) -> bool:
    seq, ts_us, source, name, kind, subject, head = row[:7]
    if head is None or ts_us is None or not EARLIEST_US <= ts_us <= LATEST_US:
        return False
    try:
        envelope = parse_head(head.encode())
    except EntryError:
        return False
    said = (envelope["seq"], envelope["source"], envelope["id"], envelope["type"], envelope["subject"])
    return said == (seq, source, name, kind, subject) and envelope["time"] == EPOCH + timedelta(
        microseconds=ts_us
    )
