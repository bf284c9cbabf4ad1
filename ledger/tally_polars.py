"""The tally by polars and polars-hash over Parquet: columns instead of rows, and a tree of its own.

Every rule of `ledger.tally` is an expression over one slice of the rows; two
slices are worked on at a time, and what a slice must know of the row before it
travels with it. Nothing is shared with the other two implementations but the
words of the tally and `CompactRange`, which only joins the slices' subtrees.

Of the names, only short hashes are kept, on disk, and looked through part by
part, so that memory hardly grows with the rows. Equal hashes are a suspicion:
the suspects' names are read again and compared as they are.

A file that cannot be read, or has other columns, raises `TallyError`; polars
reports some malformed files by a panic, which is caught for the same reason.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from polars_hash import BytesNameSpace, CryptographicHashingNameSpace

from ledger.merkle import HASH_SIZE
from ledger.ranges import CompactRange
from ledger.tally import (
    DATAHASH,
    EARLIEST_US,
    LATEST_US,
    REDACTED_MAX,
    TYPES_MAX,
    Fault,
    Faulty,
    Tally,
    TallyError,
    counted,
    in_order,
)

SLICE = 122_880  # rows; a row group of a sealed segment, so that none is decoded twice
WORKERS = 2
PART = 2_000_000  # hashes of names looked through at once: 16 MB, and a few times that to compare them
NAME_MAX = 1024

SCHEMA = {
    "seq": pl.Int64,
    "ts_us": pl.Int64,
    "source": pl.String,
    "id": pl.String,
    "type": pl.String,
    "subject": pl.String,
    "head": pl.String,
    "data": pl.String,
    "salt": pl.Binary,
    "leaf": pl.Binary,
    "prev": pl.Binary,
    "h": pl.Binary,
}
CONTROLS = r"\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}"
BODY = rf'(?:[^"\\{CONTROLS}]|\\["\\])+'
BEGINNING = rf'^\{{"actor":"{BODY}","datahash":"[0-9a-f]{{64}}","dataschema":"{BODY}$'
OWN = rf'^\{{"actor":"{BODY}","datahash":"","dataschema":"{BODY}$'
ACTOR = rf'^\{{"actor":"({BODY})"'
DATASCHEMA = rf'^\{{"actor":"{BODY}","datahash":"[0-9a-f]{{64}}","dataschema":"({BODY})"'
NAMES = ("source", "id", "type", "subject")

NAME_HASH = pl.struct("source", "id").hash().alias("hash")
seq, head, leaf = pl.col("seq"), pl.col("head"), pl.col("leaf")


@dataclass(frozen=True, slots=True)
class _Before:
    # The row before a slice; the clock has none at the very beginning.
    seq: int | None
    ts_us: int | None
    h: bytes | None
    is_row: bool


@dataclass(frozen=True, slots=True)
class _Slice:
    faults: tuple[Faulty, ...]
    redacted: int
    places: tuple[int, ...]
    types: dict[str, int]
    tree: CompactRange
    names: pl.Series


def tally_parquet(paths: Sequence[Path], *, first_seq: int, prev: bytes) -> Tally:
    """Tally the rows of Parquet files that follow each other."""
    with TemporaryDirectory(prefix="ledger-polars-") as folder, _unpanicked():
        count = _Count(_Names(paths, first_seq, Path(folder)), CompactRange(first_seq, first_seq, ()))
        before = _Before(first_seq - 1, None, prev, is_row=False)
        waiting: deque[Future[_Slice]] = deque()
        with ThreadPoolExecutor(WORKERS) as workers:
            place = first_seq
            for frame in _frames(paths):
                waiting.append(workers.submit(_examine, frame, place, before))
                count.see(frame)
                place += frame.height
                last = frame.row(-1, named=True)
                before = _Before(last["seq"], last["ts_us"], last["h"], is_row=True)
                if len(waiting) > WORKERS:
                    count.add(waiting.popleft().result())
            for future in waiting:
                count.add(future.result())
        return count.tally()


@contextmanager
def _unpanicked() -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise TallyError(f"unreadable: {error!s:.500}") from error


def _frames(paths: Sequence[Path]) -> Iterator[pl.DataFrame]:
    for path in paths:
        file = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        if dict(file.collect_schema()) != SCHEMA or list(file.collect_schema()) != list(SCHEMA):
            raise TallyError(f"{path.name}: columns are not those of entry")
        begin = 0
        while (frame := file.slice(begin, SLICE).collect()).height:
            yield frame
            begin += frame.height


def _examine(frame: pl.DataFrame, first: int, before: _Before) -> _Slice:
    rows = frame.with_columns(
        place=pl.int_range(first, first + frame.height, dtype=pl.Int64),
        mark=head.str.find(DATAHASH, literal=True),
    )
    holds = rows.select("place", **_holds(before))
    redacted = (
        rows.lazy().filter(pl.col("data").is_null() & pl.col("salt").is_null()).select("place").collect()
    )
    # A datahash that data and salt give is 64 digits: where all are, no head must be searched for them.
    is_hex = holds[Fault.DATA].all() and not redacted.height
    holds = holds.with_columns(_head_holds(rows, is_hex=is_hex).alias(Fault.HEAD))
    types = frame["type"].drop_nulls().value_counts()
    return _Slice(
        faults=tuple(_faulty(holds)),
        redacted=redacted.height,
        places=tuple(redacted["place"].head(REDACTED_MAX)),
        types=dict(types.iter_rows()),
        tree=_tree(frame["leaf"], first),
        names=frame.select(NAME_HASH).to_series(),
    )


def _faulty(holds: pl.DataFrame) -> Iterator[Faulty]:
    for fault in Fault:
        if fault in holds.columns and not holds[fault].all():
            places = holds.filter(~pl.col(fault))["place"]
            yield Faulty(fault, places.len(), places[0])


def _holds(before: _Before) -> dict[str, pl.Expr]:
    salt, data = pl.col("salt"), pl.col("data").cast(pl.Binary)
    prev, h, ts_us = pl.col("prev"), pl.col("h"), pl.col("ts_us")
    first = pl.int_range(pl.len()) == 0
    seq_before = pl.when(first).then(pl.lit(before.seq, pl.Int64)).otherwise(seq.shift(1))
    h_before = pl.when(first).then(pl.lit(before.h, pl.Binary)).otherwise(h.shift(1))
    ts_before = pl.when(first).then(pl.lit(before.ts_us, pl.Int64)).otherwise(ts_us.shift(1))
    says = head.cast(pl.Binary).bin.slice(pl.col("mark") + len(DATAHASH), 64)
    return {
        # Integers wrap around here: without the first comparison, the smallest would follow the largest.
        Fault.SEQUENCE: ((seq > seq_before) & (seq - seq_before == 1)).fill_null(value=False),
        Fault.LEAF: _is_sha256(leaf, pl.lit(b"\x00") + head.cast(pl.Binary)),
        Fault.DATA: (_sha256(pl.lit(b"\x03") + salt + data).cast(pl.Binary) == says).fill_null(
            salt.is_null() & data.is_null()
        ),
        Fault.LINK: (prev == h_before).fill_null(value=False),
        Fault.CHAIN: _is_sha256(h, pl.lit(b"\x02") + prev + BytesNameSpace(seq).to_be() + leaf),
        Fault.CLOCK: (ts_us >= ts_before).fill_null(value=False) | (first & (not before.is_row)),
    }


def _sha256(message: pl.Expr) -> pl.Expr:
    return CryptographicHashingNameSpace(message).sha2_256()  # in hex


def _is_sha256(column: pl.Expr, message: pl.Expr) -> pl.Expr:
    # Encoding the column is six times as fast as decoding the hash.
    return (_sha256(message) == column.bin.encode("hex")).fill_null(value=False)


def _head_holds(rows: pl.DataFrame, *, is_hex: bool) -> pl.Series:
    # Most slices have nothing to escape in their columns and no long head: these need fewer looks.
    special = (
        pl.concat_str(*NAMES, ignore_nulls=True).str.contains(rf'["\\{CONTROLS}]').any()
        | (head.str.len_bytes() > NAME_MAX).any()
    )
    if not rows.select(special).item():
        rows = rows.with_columns(ending=_ending({name: pl.col(name) for name in NAMES}))
        if is_hex and _are_spelled(rows):
            return pl.repeat(value=True, n=rows.height, eager=True)
        return rows.select(_is_spelled()).to_series()
    escaped = {
        name: pl.col(name)
        .str.replace_all("\\", "\\\\", literal=True)
        .str.replace_all('"', '\\"', literal=True)
        for name in NAMES
    }
    return rows.with_columns(ending=_ending(escaped)).select(_is_spelled() & _are_names()).to_series()


def _ending(names: dict[str, pl.Expr]) -> pl.Expr:
    # The head from the id on: no byte of it is left to choose.
    ts_us, subject = pl.col("ts_us"), names["subject"]
    dated = pl.when(ts_us.is_between(EARLIEST_US, LATEST_US)).then(ts_us)
    return pl.concat_str(
        pl.lit('","id":"'),
        names["id"],
        pl.lit('","seq":'),
        seq,
        pl.lit(',"source":"'),
        names["source"],
        pl.lit('","specversion":"1.0",'),
        pl.concat_str(pl.lit('"subject":"'), subject, pl.lit('",')).fill_null(""),
        pl.lit('"time":"'),
        pl.from_epoch(dated, "us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        pl.lit('","type":"'),
        names["type"],
        pl.lit('"}'),
    ).cast(pl.Binary)


def _are_spelled(rows: pl.DataFrame) -> bool:
    # What is the heads' own, without the datahash, is the same few texts over and over: look once at each.
    raw, mark = head.cast(pl.Binary), pl.col("mark").cast(pl.Int64)
    end = raw.bin.size().cast(pl.Int64) - pl.col("ending").bin.size()
    after = mark + len(DATAHASH) + 64
    own = raw.bin.head(mark + len(DATAHASH)) + raw.bin.slice(after, (end - after).clip(0))
    seen = rows.select(own=own, holds=_has_ending())
    if not seen["holds"].all():
        return False
    return seen["own"].unique().cast(pl.String).str.contains(OWN).fill_null(value=False).all()


def _is_spelled() -> pl.Expr:
    raw, ending = head.cast(pl.Binary), pl.col("ending")
    # Where the head does not end so, a cut might go through the middle of a character.
    length = pl.when(_has_ending()).then(raw.bin.size() - ending.bin.size()).otherwise(0)
    return raw.bin.head(length).cast(pl.String).str.contains(BEGINNING).fill_null(value=False)


def _has_ending() -> pl.Expr:
    named = pl.all_horizontal((pl.col(name) != "").fill_null(value=name == "subject") for name in NAMES)
    ends = head.cast(pl.Binary).bin.ends_with(pl.col("ending"))
    return (ends & seq.is_between(0, 2**53 - 1) & named).fill_null(value=False)


def _are_names() -> pl.Expr:
    own = [head.str.extract(pattern).str.replace_all(r"\\.", "x") for pattern in (ACTOR, DATASCHEMA)]
    names = [pl.col(name) for name in NAMES]
    short = pl.all_horizontal(
        (name.str.len_chars() <= NAME_MAX).fill_null(value=True) for name in (*names, *own)
    )
    return short & ~pl.concat_str(*NAMES, ignore_nulls=True).str.contains(f"[{CONTROLS}]")


def _tree(leaves: pl.Series, first: int) -> CompactRange:
    # Level by level, as in ledger.ranges, but all pairs of a level at once.
    left: list[bytes] = []
    right: list[bytes] = []
    whole = leaves.bin.size().fill_null(0) == HASH_SIZE
    nodes = leaves if whole.all() else leaves.set(~whole, bytes(HASH_SIZE))
    begin = first
    while nodes.len():
        if begin & 1:
            left.append(nodes[0])
            nodes = nodes[1:]
        if nodes.len() & 1:
            right.append(nodes[-1])
            nodes = nodes[:-1]
        pairs = pl.DataFrame({"left": nodes.gather_every(2), "right": nodes.gather_every(2, 1)})
        parents = pairs.select(_sha256(pl.lit(b"\x01") + pl.col("left") + pl.col("right"))).to_series()
        # Half as long as str.decode takes.
        nodes = pl.Series(list(map(bytes.fromhex, parents.to_list())), dtype=pl.Binary)
        begin = (begin + 1) >> 1
    return CompactRange(first, first + leaves.len(), (*left, *reversed(right)))


@dataclass(slots=True)
class _Names:
    paths: Sequence[Path]
    first_seq: int
    folder: Path
    rows: int = 0

    def add(self, hashes: pl.Series) -> None:
        hashes.to_frame().write_ipc(self.folder / f"{self.rows}.arrow")
        self.rows += hashes.len()

    def repeats(self) -> tuple[int, int | None]:
        count, first = 0, None
        parts = -(-self.rows // PART)
        for number in range(parts):
            for place in self.repeated(self.suspects(number, parts)):
                count += 1
                first = place if first is None else min(first, place)
        return count, first

    def suspects(self, number: int, parts: int) -> pl.Series:
        files = pl.scan_ipc(list(self.folder.iterdir()), glob=False)
        hashes = files.filter(pl.col("hash") % parts == number).collect().to_series()
        return hashes.filter(hashes.is_duplicated()).unique()

    def repeated(self, suspects: pl.Series) -> Iterator[int]:
        if not suspects.len():
            return
        seen: set[tuple[str | None, str | None]] = set()
        place = self.first_seq
        for frame in _frames(self.paths):
            names = frame.select("source", "id", place=pl.int_range(place, place + frame.height))
            for source, name, at in names.filter(NAME_HASH.is_in(suspects.implode())).iter_rows():
                if (source, name) in seen:
                    yield at
                seen.add((source, name))
            place += frame.height


@dataclass(slots=True)
class _Count:
    names: _Names
    tree: CompactRange
    rows: int = 0
    first: dict[str, Any] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    redacted: int = 0
    places: tuple[int, ...] = ()
    types: dict[str, int] = field(default_factory=dict)
    faults: dict[Fault, Faulty] = field(default_factory=dict)

    def see(self, frame: pl.DataFrame) -> None:
        self.first = self.first or frame.row(0, named=True)
        self.last = frame.row(-1, named=True)
        self.rows += frame.height

    def add(self, part: _Slice) -> None:
        for faulty in part.faults:
            known = self.faults.get(faulty.fault, Faulty(faulty.fault, 0, faulty.first))
            self.faults[faulty.fault] = Faulty(faulty.fault, known.rows + faulty.rows, known.first)
        self.redacted += part.redacted
        self.places = (self.places + part.places)[:REDACTED_MAX]
        for kind, number in part.types.items():
            self.types[kind] = self.types.get(kind, 0) + number
        if len(self.types) > 2 * TYPES_MAX:
            self.types = counted(self.types)
        self.tree = self.tree.join(part.tree)
        self.names.add(part.names)

    def tally(self) -> Tally:
        repeats, first = self.names.repeats()
        if first is not None:
            self.faults[Fault.NAME] = Faulty(Fault.NAME, repeats, first)
        return Tally(
            rows=self.rows,
            first_seq=self.first.get("seq"),
            last_seq=self.last.get("seq"),
            first_ts_us=self.first.get("ts_us"),
            last_ts_us=self.last.get("ts_us"),
            first_prev=self.first.get("prev"),
            last_h=self.last.get("h"),
            redacted=self.redacted,
            redacted_places=self.places,
            types=tuple(sorted(counted(self.types).items())),
            faults=in_order(self.faults.values()),
            tree=self.tree,
        )
