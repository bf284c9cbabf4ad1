"""Data quality: great-expectations judges the rows by the suite of `policies/expectations`.

The types of entries that the ledger may hold stand in the suite, who may have acted is told at run time. It
runs over a view of the rows in DuckDB (`suites`: how, and what it does when it cannot). The tallies judge
hashes and order more strictly; this is the independent eye that also looks at names, and whose report people
know from elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb

from workbench.audit import suites
from workbench.audit.suites import SUITES, Quality, Suite

SUITE = SUITES / "ledger.json"
LISTS = ("types", "processes")
TABLE = "entry"

CREATE_VIEW = """
create view entry as
select {first} + file_row_number as place, * exclude (file_row_number),
    case when type is not null then json_extract_string(head, '$.actor') end as actor
from read_parquet('{path}', file_row_number = true, hive_partitioning = false)
"""


def examine(
    rows: Path,
    *,
    first: int,
    prev: bytes,
    actors: Collection[str],
    suite: Path = SUITE,
    docs: Path | None = None,
) -> Quality:
    """Run the suite over a Parquet file of rows.

    Args:
        rows: a file with the columns of `ledger.tally`.
        first: the place of its first row.
        prev: the h that the first row must follow.
        actors: the people and processes who may have acted, besides the suite's own processes.
        suite: the expectations.
        docs: a folder for the Data Docs, if they are wanted.

    """
    read = Suite.read(suite, lists=LISTS)

    def prepare(database: duckdb.DuckDBPyConnection) -> None:
        _prepare(database, rows, read.lists["types"], first=first, prev=prev)

    known = sorted({*actors, *read.lists["processes"]})
    return suites.run(read, prepare, table=TABLE, parameters={"actors": known}, docs=docs)


def _prepare(
    database: duckdb.DuckDBPyConnection, rows: Path, types: Sequence[str], *, first: int, prev: bytes
) -> None:
    path = str(rows).replace("'", "''")
    database.execute(CREATE_VIEW.format(first=int(first), path=path))
    database.execute(
        "create table start as select $first::bigint as first, $prev::blob as prev",
        {"first": first, "prev": prev},
    )
    database.execute(
        "create table known_type as select unnest($types::varchar[]) as pattern", {"types": list(types)}
    )
