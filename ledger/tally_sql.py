"""The tally by one DuckDB statement, over Parquet or over the `entry` table of an attached snapshot.

Every rule of `ledger.tally` is an expression of `SELECT_TALLY`; only the tree
is hashed in Python, from the leaf column. The statement keeps few rows: what a
row must know of the one before it comes from a streaming window over narrow
columns, names are grouped by DuckDB, which spills to disk beyond
`memory_limit`.

The window has no ORDER BY on purpose: the rows are judged in the order they
are stored in, and a sort by `seq` would hide that they were moved. An engine
that passed them on in another order could only find faults where none are.

Files are opened with nothing guessed from their names: no patterns, no Hive
columns. A file that cannot be read, or has other columns, raises `TallyError`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from ledger.merkle import HASH_SIZE
from ledger.ranges import CompactRange
from ledger.tally import (
    BATCH,
    COLUMNS,
    EARLIEST_US,
    LATEST_US,
    REDACTED_MAX,
    TYPES_MAX,
    Fault,
    Faulty,
    Tally,
    TallyError,
    in_order,
)

MEMORY_LIMIT = "512MB"
PATTERN_SIGNS = frozenset("*?[")  # DuckDB takes a path with one of these for a pattern

# The two places that rows come from. A file numbers its rows itself, so that threads may share it.
PARQUET_ROWS = """
select ($offsets::bigint[])[(file_index + 1)::bigint] + file_row_number as place, *
from read_parquet($paths, file_row_number = true, hive_partitioning = false, union_by_name = false)
"""
TABLE_ROWS = "select $first_seq + row_number() over () - 1 as place, * from entry"

DESCRIBE_FILE = "select * from read_parquet($path, hive_partitioning = false) limit 0"
DESCRIBE_TABLE = "select * from entry limit 0"
COUNT_FILE = "select num_rows from parquet_file_metadata($path)"
SELECT_LEAVES = "with entries as ({rows}) select leaf from entries"

# What SPEC 3 forbids in a name, and what may stand between the quotes of a canonical one.
CONTROLS = r"\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}"
BODY = rf'(?:[^"\\{CONTROLS}]|\\["\\])+'
BEGINNING = rf'\{{"actor":"{BODY}","datahash":"[0-9a-f]{{64}}","dataschema":"{BODY}'

SELECT_TALLY = r"""
with entries as not materialized (__ROWS__),

-- Everything that a row says of itself.
spelled as not materialized (
    select *,
        -- The head from the id on: no byte of it is left to choose.
        '","id":"' || replace(replace(id, '\', '\\'), '"', '\"')
            || '","seq":' || seq
            || ',"source":"' || replace(replace(source, '\', '\\'), '"', '\"')
            || '","specversion":"1.0",'
            || coalesce('"subject":"' || replace(replace(subject, '\', '\\'), '"', '\"') || '",', '')
            || '"time":"' || case when ts_us between $earliest and $latest
                then strftime(make_timestamp(ts_us), '%Y-%m-%dT%H:%M:%S.%f') end
            || 'Z","type":"' || replace(replace(type, '\', '\\'), '"', '\"') || '"}' as ending
    from entries
),
judged as (
    select place,
        (leaf = unhex(sha256('\x00'::blob || encode(head)))) is true as leaf_holds,
        case
            when data is null and salt is null then true
            else (sha256('\x03'::blob || salt || encode(data))
                = substr(head, nullif(strpos(head, $datahash), 0) + 14, 64)) is true
        end as data_holds,
        (h = unhex(sha256('\x02'::blob || prev || unhex(lpad(to_hex(seq), 16, '0')) || leaf))) is true
            as chain_holds,
        (
            ends_with(head, ending)
            and regexp_full_match(left(head, length(head) - length(ending)), $beginning)
            and not regexp_matches(concat(source, id, type, subject), $controls)
            and source <> '' and id <> '' and type <> '' and subject is distinct from ''
            and seq between 0 and 9007199254740991
            -- A head of 1024 characters holds no longer name.
            and case when length(head) > 1024 then
                greatest(length(source), length(id), length(type), coalesce(length(subject), 0)) <= 1024
                and length(regexp_replace(regexp_extract(head, $actor, 1), $escaped, 'x', 'g')) <= 1024
                and length(regexp_replace(regexp_extract(left(head, length(head) - length(ending)),
                    $dataschema, 1), $escaped, 'x', 'g')) <= 1024
                else true end
        ) is true as head_holds
    from spelled
),
alone as (
    select count(*) as number,
        count(*) filter (not leaf_holds) as leaf_rows, min(place) filter (not leaf_holds) as leaf_first,
        count(*) filter (not data_holds) as data_rows, min(place) filter (not data_holds) as data_first,
        count(*) filter (not chain_holds) as chain_rows, min(place) filter (not chain_holds) as chain_first,
        count(*) filter (not head_holds) as head_rows, min(place) filter (not head_holds) as head_first
    from judged
),

-- What a row says of the one before it.
paired as (
    select place,
        (seq = lag(seq::hugeint, 1, $first_seq::hugeint - 1) over () + 1) is true as sequence_holds,
        (prev = lag(h, 1, $prev) over ()) is true as link_holds,
        place = $first_seq or (ts_us >= lag(ts_us) over ()) is true as clock_holds
    from entries
),
together as (
    select count(*) filter (not sequence_holds) as sequence_rows,
        min(place) filter (not sequence_holds) as sequence_first,
        count(*) filter (not link_holds) as link_rows, min(place) filter (not link_holds) as link_first,
        count(*) filter (not clock_holds) as clock_rows, min(place) filter (not clock_holds) as clock_first
    from paired
),

-- What a row says of all before it.
repeated as (
    select source, id, min(place) as first from entries group by source, id having count(*) > 1
),
named as (
    select count(*) as name_rows, min(place) as name_first
    from entries join repeated
        on entries.source is not distinct from repeated.source
        and entries.id is not distinct from repeated.id and place > repeated.first
),

kinds as (
    select type as kind, count(*) as number from entries
    where type is not null group by type order by type limit $types_max
),
redacted as (select place from entries where data is null and salt is null)

select alone.*, together.*, named.*,
    (select count(*) from redacted) as redacted,
    (select list(place order by place) from (from redacted order by place limit $redacted_max)) as places,
    (select list({'kind': kind, 'number': number} order by kind) from kinds) as kinds,
    (select {'seq': seq, 'ts_us': ts_us, 'prev': prev} from entries where place = $first_seq) as first_row,
    (select {'seq': seq, 'ts_us': ts_us, 'h': h} from entries
        where place = $first_seq + alone.number - 1) as last_row
from alone, together, named
"""

SELECT_NAMES_ACROSS = """
with entries as not materialized (
    select ($offsets::bigint[])[(file_index + 1)::bigint] + file_row_number as place, file_index, source, id
    from read_parquet($paths, file_row_number = true, hive_partitioning = false)
),
repeated as (
    select source, id, min(file_index) as first from entries
    group by source, id having min(file_index) < max(file_index)
)
select count(*), min(place)
from entries join repeated
    on entries.source is not distinct from repeated.source
    and entries.id is not distinct from repeated.id and file_index > first
"""


def tally_parquet(
    paths: Sequence[Path], *, first_seq: int, prev: bytes, memory_limit: str = MEMORY_LIMIT
) -> Tally:
    """Tally the rows of Parquet files that follow each other."""
    with engine(memory_limit) as database:
        source = _files(database, paths, first_seq)
        return _tally(database, PARQUET_ROWS, source, first_seq=first_seq, prev=prev)


def names_across(paths: Sequence[Path], *, memory_limit: str = MEMORY_LIMIT) -> tuple[int, int | None]:
    """Return how many rows have a name of an earlier file, and how many rows precede the first of them."""
    with engine(memory_limit) as database:
        answer = database.execute(SELECT_NAMES_ACROSS, _files(database, paths, 0))
        ((rows, first),) = answer.fetchall()
        return rows, first


def tally_table(database: duckdb.DuckDBPyConnection, *, first_seq: int = 0, prev: bytes) -> Tally:
    """Tally the `entry` table that the connection sees under this name."""
    try:
        _check_columns(database.execute(DESCRIBE_TABLE), "entry")
        return _tally(database, TABLE_ROWS, {}, first_seq=first_seq, prev=prev)
    except duckdb.Error as error:
        raise TallyError(f"unreadable: {error}") from error


@contextmanager
def engine(memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """Lend a DuckDB of its own, bounded in memory, whose errors are `TallyError`s."""
    with TemporaryDirectory(prefix="ledger-sql-") as folder:
        # Extensions and progress bars come by themselves unless they are told not to.
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "temp_directory": folder,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        try:
            with duckdb.connect(config=config) as database:
                database.execute("set enable_progress_bar = false")
                yield database
        except (duckdb.Error, RuntimeError, UnicodeDecodeError) as error:
            # A column name that is not UTF-8 fails on its way to Python, as a RuntimeError of the binding.
            raise TallyError(f"unreadable: {error}") from error


def check_file(database: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Return the path as DuckDB takes it, or raise unless it is Parquet with the columns of `entry`."""
    name = os.fspath(path)
    if PATTERN_SIGNS & set(name):
        raise TallyError(f"{path.name}: its path would be read as a pattern")
    _check_columns(database.execute(DESCRIBE_FILE, {"path": name}), path.name)
    return name


def _files(database: duckdb.DuckDBPyConnection, paths: Sequence[Path], first_seq: int) -> dict[str, Any]:
    names = [check_file(database, path) for path in paths]
    offsets = [first_seq]
    for name in names:
        ((rows,),) = database.execute(COUNT_FILE, {"path": name}).fetchall()
        offsets.append(offsets[-1] + rows)
    return {"paths": names, "offsets": offsets}


def _check_columns(answer: duckdb.DuckDBPyConnection, name: str) -> None:
    columns = {column[0]: str(column[1]) for column in answer.description or ()}
    answer.fetchall()
    if list(columns.items()) != list(COLUMNS.items()):
        raise TallyError(f"{name}: columns are not those of entry: {columns!s:.200}")


def _tally(
    database: duckdb.DuckDBPyConnection, rows: str, source: dict[str, Any], *, first_seq: int, prev: bytes
) -> Tally:
    origin = source | ({} if source else {"first_seq": first_seq})
    parameters = source | {
        "first_seq": first_seq,
        "prev": prev,
        "earliest": EARLIEST_US,
        "latest": LATEST_US,
        "datahash": '","datahash":"',
        "controls": f"[{CONTROLS}]",
        "beginning": BEGINNING,
        "actor": rf'^\{{"actor":"({BODY})"',
        "dataschema": rf'","dataschema":"({BODY})$',
        "escaped": r"\\.",
        "types_max": TYPES_MAX,
        "redacted_max": REDACTED_MAX,
    }
    answer = database.execute(SELECT_TALLY.replace("__ROWS__", rows), parameters)
    columns = [column[0] for column in answer.description or ()]
    (values,) = answer.fetchall()
    said: dict[str, Any] = dict(zip(columns, values, strict=True))
    tree = CompactRange(first_seq, first_seq, ())
    for leaves in _leaves(database.execute(SELECT_LEAVES.format(rows=rows), origin)):
        tree = tree.join(CompactRange.of(tree.end, leaves))
    first, last = said["first_row"] or {}, said["last_row"] or {}
    return Tally(
        rows=said["number"],
        first_seq=first.get("seq"),
        last_seq=last.get("seq"),
        first_ts_us=first.get("ts_us"),
        last_ts_us=last.get("ts_us"),
        first_prev=first.get("prev"),
        last_h=last.get("h"),
        redacted=said["redacted"],
        redacted_places=tuple(said["places"] or ()),
        types=tuple((kind["kind"], kind["number"]) for kind in said["kinds"] or ()),
        faults=in_order(
            Faulty(fault, said[f"{fault}_rows"], said[f"{fault}_first"])
            for fault in Fault
            if said[f"{fault}_rows"]
        ),
        tree=tree,
    )


def _leaves(answer: duckdb.DuckDBPyConnection) -> Iterator[list[bytes]]:
    while page := answer.fetchmany(BATCH):
        yield [leaf if leaf is not None and len(leaf) == HASH_SIZE else bytes(HASH_SIZE) for (leaf,) in page]
