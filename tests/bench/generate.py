"""Big sound ledgers, made fast: what the tallies are measured on.

`python -m tests.bench.generate FOLDER ROWS SEGMENT_ROWS` writes sealed
segments of heads of about 270 bytes, the same rows in every run. Heads, data
hashes and leaves are made column by column; only the chain is a loop, because
each of its links needs the one before.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl
from polars_hash import CryptographicHashingNameSpace

from ledger import segments
from ledger.ranges import CompactRange
from ledger.segments import Manifest
from ledger.tally_polars import SCHEMA

START_US = 1_795_222_923_000_004  # 2026-11-21T01:02:03.000004Z
GENESIS_HASH = hashlib.sha256(b"a genesis").digest()
SLICE = 100_000  # rows made at once: some 100 MB


def generate(folder: Path, rows: int, segment_rows: int) -> list[Manifest]:
    """Seal a sound ledger of so many rows into segments of at most `segment_rows`."""
    folder.mkdir(parents=True, exist_ok=True)
    manifests: list[Manifest] = []
    tree, prev = CompactRange(0, 0, ()), GENESIS_HASH
    for first in range(0, rows, segment_rows):
        last = min(first + segment_rows, rows) - 1
        with TemporaryDirectory() as scratch, duckdb.connect() as database:
            h = prev
            for number, frame in enumerate(frames(last - first + 1, first=first, prev=prev)):
                frame.write_parquet(Path(scratch, f"{number:06}.parquet"), compression="uncompressed")
                tree, h = tree.join(CompactRange.of(tree.end, frame["leaf"].to_list())), frame["h"][-1]
            database.execute(f"create view entry as from '{scratch}/*.parquet'")
            borders = {"root": tree.root(), "first_prev": prev, "last_h": h}
            manifests.append(segments.write(database, folder, first=first, last=last, **borders))
            prev = h
    return manifests


def frames(rows: int, *, first: int = 0, prev: bytes = GENESIS_HASH) -> Iterator[pl.DataFrame]:
    """Yield the rows `first` to `first + rows - 1` of a sound ledger, slice by slice."""
    for begin in range(first, first + rows, SLICE):
        frame = _unchained(begin, min(SLICE, first + rows - begin))
        hashes = [prev]
        for seq, leaf in enumerate(frame["leaf"].to_list(), begin):
            hashes.append(hashlib.sha256(b"\x02" + hashes[-1] + seq.to_bytes(8, "big") + leaf).digest())
        prev = hashes[-1]
        yield frame.with_columns(
            prev=pl.Series(hashes[:-1], dtype=pl.Binary), h=pl.Series(hashes[1:], dtype=pl.Binary)
        ).select(*SCHEMA)


def _unchained(begin: int, rows: int) -> pl.DataFrame:
    seq = pl.col("seq")
    number = seq.cast(pl.String).str.zfill(8)
    time = pl.from_epoch(pl.col("ts_us"), "us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    subject = pl.when(seq % 3 == 0).then(pl.format("note-{}", number))
    quoted = pl.format('"subject":"{}",', subject).fill_null("")
    data = '{"list":[null,true,{"amount":"1000000000000000000"}],"number":{},"text":"largely ordinary words"}'
    before, after = data.split("{}")
    return (
        pl.select(seq=pl.int_range(begin, begin + rows, dtype=pl.Int64))
        .with_columns(
            ts_us=START_US + seq * 41,
            source=pl.format("/desk/{}", seq % 7),
            id=pl.format("event-{}", number),
            type=pl.format("example.note.{}", seq % 5),
            subject=subject,
            data=pl.concat_str(pl.lit(before), seq, pl.lit(after)),
            salt=_sha256(pl.format("salt {}", number)).str.decode("hex"),
        )
        .with_columns(datahash=_sha256(pl.lit(b"\x03") + pl.col("salt") + pl.col("data").cast(pl.Binary)))
        .with_columns(
            head=pl.concat_str(
                pl.lit('{"actor":"somebody@desk.example","datahash":"'),
                "datahash",
                pl.lit('","dataschema":"note/v1","id":"'),
                "id",
                pl.lit('","seq":'),
                "seq",
                pl.lit(',"source":"'),
                "source",
                pl.lit('","specversion":"1.0",'),
                quoted,
                pl.lit('"time":"'),
                time,
                pl.lit('","type":"'),
                "type",
                pl.lit('"}'),
            )
        )
        .with_columns(leaf=_sha256(pl.lit(b"\x00") + pl.col("head").cast(pl.Binary)).str.decode("hex"))
    )


def _sha256(message: pl.Expr) -> pl.Expr:
    return CryptographicHashingNameSpace(message).sha2_256()


if __name__ == "__main__":
    generate(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
