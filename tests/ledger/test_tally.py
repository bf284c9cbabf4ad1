"""The three tallies: equal on every input, and each class of fault found for what it is."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ledger
from ledger import merkle, tally_polars, tally_sql
from ledger import tally as reference
from ledger.bundle import Line
from ledger.clock import microseconds
from ledger.encoding import canonical, parse
from ledger.entry import parse_head
from ledger.names import Names
from ledger.ranges import CompactRange
from ledger.tally import COLUMNS, REDACTED_MAX, TYPES_MAX, Row, Tally, TallyError, tally_rows
from tests.ledger.world import World, event

NAMES = [
    'say "no"',
    "back\\slash",
    "größer",
    "両替",
    "end\\",
    '"',
    "\\",
    'a,"b":',
    "x" * 1024,
    "\U0001f511" * 1024,
]
# The world's trust root and genesis are always the same, so the chain's beginning is, too.
GENESIS = bytes.fromhex("81b69c085ceb895a4fb495cacf0e5d0e93859b3d644aa2a5299b39c3eaf5a083")
PLACE = {name: place for place, name in enumerate(COLUMNS)}

Edit = Callable[[list[Row]], list[Row]]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Forty sound rows, among them names that need escapes, and every third with a subject."""
    world = World(tmp_path_factory.mktemp("world"))
    for number in range(20):
        world.append(number)
    for number, name in enumerate(NAMES):
        fields = ("source", "id", "type", "subject", "actor", "dataschema")
        changes = {field: name for place, field in enumerate(fields) if (number + place) % 2}
        world.ledger.append([event(20 + number, **changes)])
    for number in range(30, 40):
        world.append(number)
    world.ledger.snapshot(world.folder / "snapshot.duckdb")
    world.ledger.close()
    with duckdb.connect(world.folder / "snapshot.duckdb", read_only=True) as database:
        found: list[Any] = database.execute("select * from entry order by seq").fetchall()
    return found


def tally(rows: list[Row], folder: Path, *, first_seq: int = 0, prev: bytes = GENESIS) -> Tally:
    """Return what all tallies say of rows in memory and in two files."""
    expected = tally_rows(rows, first_seq=first_seq, prev=prev)
    paths = [folder / "1.parquet", folder / "2.parquet"]
    for path, part in zip(paths, (rows[:6], rows[6:]), strict=True):
        frame(part).write_parquet(path, row_group_size=7)
    assert tally_sql.tally_parquet(paths, first_seq=first_seq, prev=prev) == expected
    assert tally_polars.tally_parquet(paths, first_seq=first_seq, prev=prev) == expected
    return expected


def table_of(rows: list[Row]) -> duckdb.DuckDBPyConnection:
    """Return a database whose table `entry` takes anything."""
    database = duckdb.connect()
    database.execute(f"create table entry({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
    appender = database.appender("entry")
    appender.append_rows(rows)
    appender.flush()
    return database


def frame(rows: list[Row]) -> pl.DataFrame:
    """Return rows as a polars frame."""
    return pl.DataFrame(rows, schema=tally_polars.SCHEMA, orient="row")


def faults(found: Tally) -> dict[str, tuple[int, int]]:
    """Return how many rows are faulty in each class, and the first place."""
    return {str(faulty.fault): (faulty.rows, faulty.first) for faulty in found.faults}


def changed(place: int, **columns: Any) -> Edit:
    """Change columns of one row and nothing else."""
    return lambda rows: [*rows[:place], set_columns(rows[place], **columns), *rows[place + 1 :]]


def altered(place: int, **alterations: Callable[[Any], Any]) -> Edit:
    """Change columns of one row by what stands in them."""

    def edit(rows: list[Row]) -> list[Row]:
        columns = {name: alter(rows[place][PLACE[name]]) for name, alter in alterations.items()}
        return changed(place, **columns)(rows)

    return edit


def headed(place: int, **fields: Any) -> Edit:
    """Give one row another canonical head, and the hashes that follow from it; None takes a field away."""

    def edit(rows: list[Row]) -> list[Row]:
        document = json.loads(text(rows[place], "head")) | fields
        document = {name: value for name, value in document.items() if value is not None}
        return resealed(changed(place, head=canonical(document).decode())(rows))

    return edit


def dated(place: int, time: str, ts_us: int) -> Edit:
    """Give one row another time, in its column and in its head."""
    return lambda rows: headed(place, time=time)(changed(place, ts_us=ts_us)(rows))


def respelled(place: int, old: str, new: str) -> Edit:
    """Replace text in one head, and make the hashes that follow from it."""

    def edit(rows: list[Row]) -> list[Row]:
        head = text(rows[place], "head")
        assert old in head
        return resealed(changed(place, head=head.replace(old, new, 1))(rows))

    return edit


def sealed_with(place: int, **columns: Any) -> Edit:
    """Change columns of one row, and make the hashes of all rows follow."""
    return lambda rows: resealed(changed(place, **columns)(rows))


def resealed(rows: list[Row]) -> list[Row]:
    """Recompute leaf, prev and h, as an attacker would who owns the database."""
    prev, made = rows[0][PLACE["prev"]], []
    for row in rows:
        leaf = merkle.leaf_hash(text(row, "head").encode())
        seq: Any = row[0]
        h = hashlib.sha256(b"\x02" + prev + (seq % 2**64).to_bytes(8, "big") + leaf).digest()
        made.append(set_columns(row, leaf=leaf, prev=prev, h=h))
        prev = h
    return made


def set_columns(row: Row, **columns: Any) -> Row:
    """Return a row with other columns."""
    values: Any = tuple({**dict(zip(COLUMNS, row, strict=True)), **columns}.values())
    return values


def text(row: Row, name: str) -> str:
    """Return a column of text."""
    value: Any = row[PLACE[name]]
    return value


def flipped(value: bytes) -> bytes:
    """Flip one bit."""
    return bytes([value[0] ^ 1]) + value[1:]


def one(*classes: str, place: int = 5) -> dict[str, tuple[int, int]]:
    """One row is faulty in these classes, and no other row is."""
    return dict.fromkeys(classes, (1, place))


EDITS = [
    # a column alone
    pytest.param(
        changed(5, seq=6), one("sequence", "chain", "head") | {"sequence": (2, 5)}, id="another seq"
    ),
    pytest.param(changed(5, seq=None), {"sequence": (2, 5), "chain": (1, 5), "head": (1, 5)}, id="no seq"),
    pytest.param(
        changed(5, seq=-1), {"sequence": (2, 5), "chain": (1, 5), "head": (1, 5)}, id="a seq below 0"
    ),
    pytest.param(changed(0, seq=1), {"sequence": (2, 0), "chain": (1, 0), "head": (1, 0)}, id="a late start"),
    pytest.param(altered(5, ts_us=lambda ts: ts + 1), one("head"), id="another time"),
    pytest.param(changed(5, ts_us=0), one("head", "clock"), id="an earlier time"),
    pytest.param(changed(5, ts_us=None), {"head": (1, 5), "clock": (2, 5)}, id="no time"),
    pytest.param(changed(0, ts_us=None), {"head": (1, 0), "clock": (1, 1)}, id="no first time"),
    pytest.param(changed(39, ts_us=2**63 - 1), one("head", place=39), id="the latest time of all"),
    pytest.param(changed(0, ts_us=-(2**63)), one("head", place=0), id="the earliest time of all"),
    pytest.param(changed(39, ts_us=253402300800000000), one("head", place=39), id="the year 10000"),
    pytest.param(changed(0, ts_us=-62135596800000001), one("head", place=0), id="the year 0"),
    pytest.param(
        dated(0, "0001-01-01T00:00:00.000000Z", -62135596800000000), {}, id="the first time there is"
    ),
    pytest.param(
        dated(39, "9999-12-31T23:59:59.999999Z", 253402300799999999), {}, id="the last time there is"
    ),
    pytest.param(changed(5, source="/desk/2"), one("head"), id="another source"),
    pytest.param(changed(5, source=None), one("head"), id="no source"),
    pytest.param(changed(5, id="event-05"), one("head"), id="another id"),
    pytest.param(changed(5, id="event-4"), one("head", "name"), id="the id of the row before"),
    pytest.param(changed(5, id=None), one("head"), id="no id"),
    pytest.param(changed(5, type="example.other"), one("head"), id="another type"),
    pytest.param(changed(5, type=None), one("head"), id="no type"),
    pytest.param(changed(5, subject="note"), one("head"), id="a subject that the head does not have"),
    pytest.param(changed(5, subject=""), one("head"), id="an empty subject where there is none"),
    pytest.param(changed(6, subject=None), one("head", place=6), id="a subject only in the head"),
    pytest.param(altered(5, head=lambda head: head + " "), one("leaf", "head"), id="another head"),
    pytest.param(changed(5, head=""), one("leaf", "data", "head"), id="an empty head"),
    pytest.param(changed(5, head="ö" * 300), one("leaf", "data", "head"), id="a head of two-byte characters"),
    pytest.param(
        changed(5, head="x" + "ö" * 300), one("leaf", "data", "head"), id="the same, shifted by a byte"
    ),
    pytest.param(changed(5, head=None), one("leaf", "data", "head"), id="no head"),
    pytest.param(changed(5, data="{}"), one("data"), id="another payload"),
    pytest.param(changed(5, data=None), one("data"), id="the payload gone, the salt there"),
    pytest.param(changed(5, salt=None), one("data"), id="the salt gone, the payload there"),
    pytest.param(changed(5, salt=b""), one("data"), id="an empty salt"),
    pytest.param(altered(5, salt=flipped), one("data"), id="another salt"),
    pytest.param(changed(5, data="", salt=b""), one("data"), id="both empty is not redacted"),
    pytest.param(changed(5, data=None, salt=None), {}, id="redacted"),
    pytest.param(altered(5, leaf=flipped), one("leaf", "chain"), id="another leaf"),
    pytest.param(changed(5, leaf=None), one("leaf", "chain"), id="no leaf"),
    pytest.param(changed(5, leaf=b""), one("leaf", "chain"), id="an empty leaf"),
    pytest.param(altered(5, leaf=lambda leaf: leaf + b"\0"), one("leaf", "chain"), id="a leaf of 33 bytes"),
    pytest.param(altered(5, prev=flipped), one("link", "chain"), id="another prev"),
    pytest.param(changed(5, prev=None), one("link", "chain"), id="no prev"),
    pytest.param(altered(0, prev=flipped), one("link", "chain", place=0), id="another first prev"),
    pytest.param(altered(5, h=flipped), {"chain": (1, 5), "link": (1, 6)}, id="another h"),
    pytest.param(changed(5, h=None), {"chain": (1, 5), "link": (1, 6)}, id="no h"),
    pytest.param(changed(39, h=b""), one("chain", place=39), id="an empty last h"),
    # a column with everything that is hashed over it
    pytest.param(sealed_with(5, seq=6), {"sequence": (2, 5), "head": (1, 5)}, id="another seq, chained"),
    pytest.param(sealed_with(39, seq=2**63 - 1), one("sequence", "head", place=39), id="the largest seq"),
    pytest.param(sealed_with(39, seq=-(2**63)), one("sequence", "head", place=39), id="the smallest seq"),
    pytest.param(headed(5, seq=6), one("head"), id="another seq in the head"),
    pytest.param(headed(5, id="event-05"), one("head"), id="another id in the head"),
    pytest.param(headed(5, time="2026-11-21T01:02:03.000004Z"), one("head"), id="another time in the head"),
    pytest.param(headed(5, subject="note"), one("head"), id="a subject only in the head, chained"),
    pytest.param(headed(5, subject=""), one("head"), id="an empty subject in the head"),
    pytest.param(headed(5, specversion="1.1"), one("head"), id="another specversion"),
    pytest.param(headed(5, specversion=None), one("head"), id="no specversion"),
    pytest.param(headed(5, extra="field"), one("head"), id="an unknown field between"),
    pytest.param(headed(5, zextra="field"), one("head"), id="an unknown field at the end"),
    pytest.param(headed(5, aaa="field"), one("head"), id="an unknown field at the beginning"),
    pytest.param(headed(5, actor="bob"), {}, id="another actor is the head's own"),
    pytest.param(headed(5, dataschema="note/v2"), {}, id="another dataschema is the head's own"),
    pytest.param(headed(5, actor=""), one("head"), id="an empty actor"),
    pytest.param(headed(5, actor=None), one("head", "data"), id="no actor"),
    pytest.param(headed(5, dataschema=""), one("head"), id="an empty dataschema"),
    pytest.param(headed(5, dataschema=None), one("head"), id="no dataschema"),
    pytest.param(headed(5, actor="x" * 1024), {}, id="an actor of 1024 characters"),
    pytest.param(headed(5, actor="x" * 1025), one("head"), id="an actor of 1025 characters"),
    pytest.param(headed(5, actor='"' * 1024), {}, id="1024 quotes"),
    pytest.param(headed(5, actor="\\" * 1025), one("head"), id="1025 backslashes"),
    pytest.param(headed(5, dataschema="\U0001f511" * 1024), {}, id="1024 keys"),
    pytest.param(headed(5, dataschema="\U0001f511" * 1025), one("head"), id="1025 keys"),
    pytest.param(headed(5, actor="a\nb"), one("head"), id="a newline in the actor"),
    pytest.param(headed(5, actor="a\x7fb"), one("head"), id="a delete in the actor"),
    pytest.param(headed(5, actor="a\x85b"), one("head"), id="a next-line in the actor"),
    pytest.param(headed(5, actor="a\xa0b"), {}, id="a hard space in the actor"),
    pytest.param(headed(5, dataschema="a\u2028b"), one("head"), id="a line separator in the dataschema"),
    pytest.param(headed(5, actor='","datahash":"'), {}, id="an actor that imitates the mark"),
    pytest.param(headed(5, datahash="0" * 64), one("data"), id="another datahash"),
    pytest.param(headed(5, datahash="0" * 63), one("data", "head"), id="a datahash of 63 digits"),
    pytest.param(headed(5, datahash="0" * 65), one("data", "head"), id="a datahash of 65 digits"),
    pytest.param(headed(5, datahash="ö" * 64), one("data", "head"), id="a datahash of 64 letters"),
    pytest.param(headed(5, datahash=None), one("data", "head"), id="no datahash"),
    pytest.param(headed(5, datahash=7), one("data", "head"), id="a datahash that is a number"),
    pytest.param(
        lambda rows: headed(5, datahash="F" * 64)(changed(5, data=None, salt=None)(rows)),
        one("head"),
        id="redacted, the datahash in capitals",
    ),
    pytest.param(respelled(5, '"seq":5', '"seq":05'), one("head"), id="a leading zero"),
    pytest.param(respelled(5, '"seq":5', '"seq":5.0'), one("head"), id="a float"),
    pytest.param(
        respelled(5, '"actor":"alice"', '"actor":"\\u0061lice"'), one("head"), id="a needless escape"
    ),
    pytest.param(respelled(5, '"actor":"alice"', '"actor":"a\\/b"'), one("head"), id="an escaped slash"),
    pytest.param(
        respelled(5, '"actor":"alice"', '"actor":"a\\"'), one("head"), id="a quote that never closes"
    ),
    pytest.param(respelled(5, '"actor":"alice"', '"actor":"a"b"'), one("head"), id="a quote without escape"),
    pytest.param(respelled(5, '"actor"', '"Actor"'), one("head"), id="another key"),
    pytest.param(respelled(5, "{", "{ "), one("head"), id="a space"),
    pytest.param(respelled(5, "{", "\ufeff{"), one("head"), id="a byte order mark"),
    pytest.param(respelled(5, '"note/v1"', '"note/v1\n"'), one("head"), id="a newline inside a string"),
    pytest.param(respelled(5, '"}', '"}\n'), one("head"), id="a newline at the end"),
    pytest.param(
        lambda rows: resealed(changed(5, head='{"actor":"a","datahash":"')(rows)),
        one("data", "head"),
        id="a head that ends with the mark",
    ),
    pytest.param(
        lambda rows: headed(5, id='a"b')(changed(5, id='a"b')(rows)), {}, id="a quote in column and head"
    ),
    pytest.param(
        lambda rows: respelled(5, '"id":"event-5"', '"id":"a"b"')(changed(5, id='a"b')(rows)),
        one("head"),
        id="a quote in column and head, not escaped",
    ),
    pytest.param(
        lambda rows: headed(5, id="a\nb")(changed(5, id="a\nb")(rows)), one("head"), id="a newline in both"
    ),
    pytest.param(
        lambda rows: headed(5, type="")(changed(5, type="")(rows)), one("head"), id="an empty type in both"
    ),
    pytest.param(
        lambda rows: headed(5, subject="")(changed(5, subject="")(rows)),
        one("head"),
        id="an empty subject in both",
    ),
    pytest.param(
        lambda rows: headed(5, id="x" * 1025)(changed(5, id="x" * 1025)(rows)),
        one("head"),
        id="a long id in both",
    ),
    pytest.param(
        lambda rows: headed(39, seq=2**53 - 1)(changed(39, seq=2**53 - 1)(rows)),
        one("sequence", place=39),
        id="a number that JavaScript keeps",
    ),
    # rows
    pytest.param(lambda rows: rows[1:], one("sequence", "link", place=0), id="the first row gone"),
    pytest.param(lambda rows: rows[:5] + rows[6:], one("sequence", "link"), id="a row gone"),
    pytest.param(lambda rows: rows[:-1], {}, id="the last row gone does not show here"),
    pytest.param(lambda _: [], {}, id="no rows"),
    pytest.param(lambda rows: rows[:1], {}, id="one row"),
    pytest.param(
        lambda rows: [*rows[:5], rows[4], *rows[5:]], one("sequence", "link", "name"), id="a row twice"
    ),
    pytest.param(
        lambda rows: [*rows, rows[0]],
        one("sequence", "link", "clock", "name", place=40),
        id="a row again at the end",
    ),
    pytest.param(
        lambda rows: [*rows[:5], rows[6], rows[5], *rows[7:]],
        {"sequence": (3, 5), "link": (3, 5), "clock": (1, 6)},
        id="two rows swapped",
    ),
    pytest.param(
        lambda rows: rows[::-1],
        {"sequence": (40, 0), "link": (40, 0), "clock": (39, 1)},
        id="all rows backwards",
    ),
    pytest.param(
        lambda rows: [set_columns(row, **dict.fromkeys(COLUMNS)) for row in rows],
        dict.fromkeys(("sequence", "leaf", "link", "chain", "head"), (40, 0))
        | {"clock": (39, 1), "name": (39, 1)},
        id="nothing but NULL",
    ),
    pytest.param(
        lambda rows: [set_columns(row, source=None, id=None) for row in rows[:3]],
        {"head": (3, 0), "name": (2, 1)},
        id="no names",
    ),
    pytest.param(
        lambda rows: [
            set_columns(rows[0], source="a:1", id="b"),
            set_columns(rows[1], source="a", id="1:b"),
            set_columns(rows[2], source="a", id=None),
            set_columns(rows[3], source="a", id=""),
            set_columns(rows[4], source=None, id="a"),
            set_columns(rows[5], source="", id="a"),
            set_columns(rows[6], source="-", id="a"),
        ],
        {"head": (7, 0)},
        id="names that are alike only when glued together",
    ),
]


@pytest.mark.parametrize(("edit", "expected"), EDITS)
def test_hostile_edits(
    edit: Edit, expected: dict[str, tuple[int, int]], rows: list[Row], tmp_path: Path
) -> None:
    """Every edit shows as what it is, in all tallies alike."""
    assert faults(tally(edit(list(rows)), tmp_path)) == expected


@pytest.mark.parametrize("edit", [pytest.param(case.values[0], id=case.id) for case in EDITS[::5]])
def test_a_table_says_the_same(edit: Edit, rows: list[Row]) -> None:
    """The statement over the table of a store gives the tally of its rows."""
    with table_of(edit(list(rows))) as database:
        found = tally_sql.tally_table(database, prev=GENESIS)
    assert found == tally_rows(edit(list(rows)), first_seq=0, prev=GENESIS)


def test_sound_rows(rows: list[Row], tmp_path: Path) -> None:
    """Of sound rows, a tally says their borders, their types and their tree."""
    found = tally(rows, tmp_path)
    leaves: Any = [row[PLACE["leaf"]] for row in rows]
    assert (found.faults, found.redacted, found.rows) == ((), 0, len(rows))
    assert (found.first_seq, found.last_seq) == (0, len(rows) - 1)
    assert (found.first_ts_us, found.last_ts_us) == (rows[0][1], rows[-1][1])
    assert (found.first_prev, found.last_h) == (rows[0][PLACE["prev"]], rows[-1][PLACE["h"]])
    assert found.tree.root() == merkle.root(leaves)
    assert dict(found.types) == {
        kind: sum(row[4] == kind for row in rows) for kind in {row[4] for row in rows}
    }


@pytest.mark.parametrize("cut", [1, 7, 13, 39])
def test_rows_from_the_middle(cut: int, rows: list[Row], tmp_path: Path) -> None:
    """Rows that begin later are tallied from their own start, and join the tree of those before."""
    prev: Any = rows[cut][PLACE["prev"]]
    found = tally(rows[cut:], tmp_path, first_seq=cut, prev=prev)
    assert (found.faults, found.first_seq) == ((), cut)
    before = tally(rows[:cut], tmp_path)
    assert before.tree.join(found.tree) == tally(rows, tmp_path).tree


def test_another_start(rows: list[Row], tmp_path: Path) -> None:
    """What the caller expects before the rows is compared with them, not believed from them."""
    assert faults(tally(rows, tmp_path, prev=bytes(32))) == {"link": (1, 0)}
    assert faults(tally(rows, tmp_path, first_seq=7)) == {"sequence": (1, 7)}


def test_a_place_is_counted(rows: list[Row]) -> None:
    """Rows deleted from a table leave no gap in the places of those after them."""
    with table_of([*rows[:3], *rows]) as database:
        database.execute("delete from entry where rowid < 3")
        database.execute("update entry set data = '{}' where seq = 9")
        found = tally_sql.tally_table(database, prev=GENESIS)
    assert (found.rows, faults(found)) == (len(rows), {"data": (1, 9)})


def test_a_snapshot_of_a_store(tmp_path: Path) -> None:
    """What a store hands to its readers has a sound tally, and its head is the store's."""
    world = World(tmp_path)
    world.append(0, 1, 2, 3, 4)
    head = world.ledger.head()
    world.ledger.snapshot(tmp_path / "snapshot.duckdb")
    world.ledger.close()
    with duckdb.connect(tmp_path / "snapshot.duckdb", read_only=True) as database:
        found = tally_sql.tally_table(database, prev=GENESIS)
    assert (found.faults, found.rows, found.last_h, found.tree.root()) == ((), 5, head.h, head.root)


VECTORS = json.loads((Path(ledger.__file__).parent / "vectors" / "chain.json").read_text())["cases"]


def vector_row(case: dict[str, Any]) -> Row | None:
    """Return the row that a line of the vectors would be, or None if it has no such form."""
    try:
        line = Line.parse(case["line"].encode() + b"\n")
        says = parse_head(line.head)
    except ValueError:
        return None
    leaf, data = merkle.leaf_hash(line.head), line.data
    return (
        line.seq,
        microseconds(says["time"]),
        says["source"],
        says["id"],
        says["type"],
        says["subject"],
        line.head.decode(),
        None if data is None else data.decode(),
        line.salt,
        leaf,
        bytes.fromhex(case["prev"]),
        line.h,
    )


@pytest.mark.parametrize("case", [pytest.param(case, id=case["comment"]) for case in VECTORS])
def test_the_chain_vectors(case: dict[str, Any], tmp_path: Path) -> None:
    """A line that follows is a sound row; one that does not is faulty or a payload of another form."""
    row = vector_row(case)
    if row is None:
        assert case["expect"] == "refused"
        return
    found = tally([row], tmp_path, first_seq=row[0] or 0, prev=bytes.fromhex(case["prev"]))
    refused = bool(found.faults or found.redacted or row[7] is None or not is_payload(row[7]))
    assert refused == (case["expect"] == "refused")


def is_payload(data: str) -> bool:
    """Tell whether data is a canonical object, which a tally leaves to the verifier."""
    try:
        return type(parse(data.encode())) is dict
    except ValueError:
        return False


COLUMN_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BIGINT": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 41),
    "VARCHAR": st.none() | st.text(max_size=20) | st.sampled_from(NAMES),
    "BLOB": st.none() | st.binary(max_size=40) | st.binary(min_size=32, max_size=32),
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_anything_in_any_columns(data: st.DataObject, rows: list[Row], tmp_path: Path) -> None:
    """Whatever stands in whichever columns, the tallies are equal."""
    edited = list(rows)
    for _ in range(data.draw(st.integers(1, 4))):
        place, name = data.draw(st.integers(0, 39)), data.draw(st.sampled_from(list(COLUMNS)))
        edited = changed(place, **{name: data.draw(COLUMN_VALUES[COLUMNS[name]])})(edited)
    if data.draw(st.booleans()) and all(type(row[6]) is str and row[0] is not None for row in edited):
        edited = resealed(edited) if edited[0][PLACE["prev"]] is not None else edited
    tally(edited, tmp_path)


@pytest.mark.parametrize(
    ("bigger", "smaller"), [("BUFFER", 3), ("PART", 7), ("SLICE", 8)], ids=["spilt", "in parts", "in slices"]
)
def test_rows_beyond_memory(
    bigger: str, smaller: int, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit into memory at once is tallied as if it did."""
    edited = [*rows, *rows[3:6], rows[0], *rows[9:30]]
    expected = tally_rows(edited, first_seq=0, prev=GENESIS)
    assert faults(expected)["name"] == (25, 40)
    if bigger == "BUFFER":
        with Names(buffer=smaller) as names:
            for place, row in enumerate(edited):
                names.add(row[2], row[3], place)
            assert names.repeats() == (25, 40)
    else:
        monkeypatch.setattr(tally_polars, bigger, smaller)
    assert tally(edited, tmp_path) == expected


def test_what_is_kept_is_bounded(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference keeps few leaves and types, and works them off only when there are too many."""
    monkeypatch.setattr(reference, "BATCH", 3)
    monkeypatch.setattr(reference, "TYPES_MAX", 2)
    count, kept = reference._Count(first_seq=0, tree=CompactRange(0, 0, ())), []
    for place in range(8):
        count.take(set_columns(rows[0], type=str(place)), place)
        kept.append((len(count.leaves), len(count.types)))
    assert kept == [(1, 1), (2, 2), (0, 3), (1, 4), (2, 2), (0, 3), (1, 4), (2, 2)]
    assert (count.tally().types, count.tree.end) == ((("0", 1), ("1", 1)), 8)


def test_polars_keeps_few_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The types of all slices are cut down only when there are too many."""
    monkeypatch.setattr(reference, "TYPES_MAX", 2)
    monkeypatch.setattr(tally_polars, "TYPES_MAX", 2)
    names = tally_polars._Names([], 0, tmp_path)
    count, kept = tally_polars._Count(names, CompactRange(0, 0, ())), []
    for place in range(8):
        rows = pl.Series("hash", [place], dtype=pl.UInt64)
        tree = CompactRange.of(place, [bytes(32)])
        count.add(tally_polars._Slice((), 0, (), {str(place): 1}, tree, rows))
        kept.append(len(count.types))
    assert kept == [1, 2, 3, 4, 2, 3, 4, 2]
    assert count.tally().types == (("0", 1), ("1", 1))


def test_polars_holds_few_slices(rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice for each worker is read ahead, and one more: however many there are, memory does not grow."""
    ahead = [0]
    see, add = tally_polars._Count.see, tally_polars._Count.add

    def seen(count: tally_polars._Count, part: pl.DataFrame) -> None:
        ahead.append(ahead[-1] + 1)
        see(count, part)

    def added(count: tally_polars._Count, part: tally_polars._Slice) -> None:
        ahead.append(ahead[-1] - 1)
        add(count, part)

    monkeypatch.setattr(tally_polars._Count, "see", seen)
    monkeypatch.setattr(tally_polars._Count, "add", added)
    monkeypatch.setattr(tally_polars, "SLICE", 4)
    frame(rows).write_parquet(tmp_path / "1.parquet")
    tally_polars.tally_parquet([tmp_path / "1.parquet"], first_seq=0, prev=GENESIS)
    assert (len(ahead), max(ahead), ahead[-1]) == (21, tally_polars.WORKERS + 1, 0)


def test_names_are_read_again_only_if_suspected(tmp_path: Path) -> None:
    """Where no two hashes of names are equal, the files are left alone."""
    names = tally_polars._Names([tmp_path / "gone.parquet"], 0, tmp_path)
    names.add(pl.Series("hash", [1, 2, 3], dtype=pl.UInt64))
    assert names.repeats() == (0, None)


def test_lists_are_bounded(rows: list[Row], tmp_path: Path) -> None:
    """Redacted rows and types are listed up to a limit; redacted rows are all counted."""
    count = max(REDACTED_MAX, 2 * TYPES_MAX) + 5
    many = [set_columns(rows[0], type=f"{-number:06}", data=None, salt=None) for number in range(count)]
    found = tally(many, tmp_path)
    assert (found.redacted, found.redacted_places) == (count, tuple(range(REDACTED_MAX)))
    assert found.types == tuple(sorted((f"{-number:06}", 1) for number in range(count))[:TYPES_MAX])


WRONG_FILES: list[Any] = [
    pytest.param(lambda whole: whole.drop("salt"), id="a column is missing"),
    pytest.param(lambda whole: whole.with_columns(extra=1), id="a column too many"),
    pytest.param(lambda whole: whole.select(sorted(whole.columns)), id="another order"),
    pytest.param(lambda whole: whole.rename({"h": "H"}), id="another name"),
    pytest.param(lambda whole: whole.cast({"seq": pl.Int32}), id="a smaller integer"),
    pytest.param(lambda whole: whole.cast({"seq": pl.UInt64}), id="an unsigned integer"),
    pytest.param(lambda whole: whole.cast({"ts_us": pl.Datetime("us")}), id="a timestamp"),
    pytest.param(lambda whole: whole.cast({"ts_us": pl.Float64}), id="a float"),
    pytest.param(lambda whole: whole.cast({"head": pl.Binary}), id="bytes for text"),
    pytest.param(
        lambda whole: whole.with_columns(leaf=pl.col("leaf").bin.encode("hex")), id="text for bytes"
    ),
    pytest.param(lambda whole: whole.with_columns(id=pl.concat_list("id")), id="a list"),
    pytest.param(lambda whole: whole.select("seq"), id="one column"),
]


@pytest.mark.parametrize("change", WRONG_FILES)
def test_other_columns(
    change: Callable[[pl.DataFrame], pl.DataFrame], rows: list[Row], tmp_path: Path
) -> None:
    """A file or table whose columns are not those of entry is not tallied."""
    change(frame(rows)).write_parquet(tmp_path / "1.parquet")
    frame(rows).write_parquet(tmp_path / "0.parquet")
    refused([tmp_path / "1.parquet"])
    refused([tmp_path / "0.parquet", tmp_path / "1.parquet"])
    with duckdb.connect() as database:
        database.execute(f"create table entry as from '{tmp_path / '1.parquet'}'")
        with pytest.raises(TallyError):
            tally_sql.tally_table(database, prev=GENESIS)


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"{}", bytes(4096)],
    ids=["empty", "magic alone", "zeros between", "a large footer", "JSON", "zeros"],
)
def test_no_parquet(content: bytes, tmp_path: Path) -> None:
    """A file that is no Parquet is not tallied, and neither is one that is not there."""
    (tmp_path / "1.parquet").write_bytes(content)
    refused([tmp_path / "1.parquet"])
    refused([tmp_path / "2.parquet"])


@pytest.mark.parametrize("name", ["*.parquet", "?.parquet", "[1].parquet"])
def test_a_path_is_no_pattern(name: str, rows: list[Row], tmp_path: Path) -> None:
    """A pattern in a path never makes DuckDB read another file."""
    frame(rows).write_parquet(tmp_path / "1.parquet")
    with pytest.raises(TallyError, match="pattern"):
        tally_sql.tally_parquet([tmp_path / name], first_seq=0, prev=GENESIS)


def test_a_path_adds_no_columns(rows: list[Row], tmp_path: Path) -> None:
    """Folders named after columns change nothing."""
    folder = tmp_path / "seq=7" / "extra=1"
    folder.mkdir(parents=True)
    assert tally(rows, folder).faults == ()


def test_a_table_that_is_not_there() -> None:
    """A database without entries is not tallied."""
    with duckdb.connect() as database, pytest.raises(TallyError):
        tally_sql.tally_table(database, prev=GENESIS)


@pytest.mark.parametrize("module", ["ledger.tally", "ledger.ranges", "ledger.names"])
def test_the_reference_stands_alone(module: str) -> None:
    """The reference loads neither DuckDB nor polars."""
    loaded = f"import sys, {module}; print({{'duckdb', 'polars', 'polars_hash'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def refused(paths: list[Path]) -> None:
    """Assert that neither reader of files takes these."""
    for read in (tally_sql.tally_parquet, tally_polars.tally_parquet):
        with pytest.raises(TallyError):
            read(paths, first_seq=0, prev=GENESIS)
