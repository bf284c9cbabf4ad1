"""Events, heads, times and the chain's formulas."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ledger import clock
from ledger.chain import Genesis, GenesisError, link
from ledger.encoding import EncodingError, canonical, parse
from ledger.entry import Entry, EntryError, Event, datahash, datahash_of, leaf_of, parse_head
from tests.ledger.world import START, event, trust_root

SALT, PREV = b"s" * 32, b"p" * 32
ENTRY = Entry.write(event(0), seq=7, time=START, salt=SALT, prev=PREV)
HEAD = parse(ENTRY.head)
GENESIS = {"v": 1, "ledger_id": "example", "created": "2026-11-21T00:00:00.000000Z", "trust_root": "00" * 32}


def test_the_formulas() -> None:
    """Datahash, leaf and h are SHA-256 over exactly these bytes."""
    data = canonical(event(0).data)
    assert ENTRY.datahash == hashlib.sha256(b"\x03" + SALT + data).digest() == datahash(SALT, event(0).data)
    assert ENTRY.leaf == hashlib.sha256(b"\x00" + ENTRY.head).digest() == leaf_of(ENTRY.head)
    assert ENTRY.h == hashlib.sha256(b"\x02" + PREV + bytes(7) + b"\x07" + ENTRY.leaf).digest()
    assert link(PREV, 7, ENTRY.leaf) == ENTRY.h
    assert Genesis.of(GENESIS).hash() == hashlib.sha256(b"\x04" + canonical(GENESIS)).digest()


def test_the_fields_of_a_head() -> None:
    """A head is a CloudEvents envelope; subject appears only if there is one."""
    assert {
        "specversion": "1.0",
        "source": "/desk/1",
        "id": "event-0",
        "type": "example.note",
        "subject": "note-0",
        "dataschema": "note/v1",
        "time": "2026-11-21T01:02:03.000004Z",
        "actor": "alice",
        "seq": 7,
        "datahash": ENTRY.datahash.hex(),
    } == HEAD
    assert "subject" not in parse(Entry.write(event(1), seq=1, time=START, salt=SALT, prev=PREV).head)


def test_written_and_read() -> None:
    """An entry read from its bytes is the entry that was written, with or without its data."""
    data = canonical(event(0).data)
    assert Entry.read(ENTRY.head, data=data, salt=SALT, prev=PREV) == ENTRY
    bare = Entry.read(ENTRY.head, data=None, salt=None, prev=PREV)
    assert (bare.h, bare.data) == (ENTRY.h, None)
    assert not bare.holds(event(0))


@pytest.mark.parametrize("seq", [0, 2**53 - 1])
def test_the_first_and_the_last_number(seq: int) -> None:
    """Entries are numbered from 0, as far as JSON can count."""
    assert parse_head(Entry.write(event(0), seq=seq, time=START, salt=SALT, prev=PREV).head)["seq"] == seq


def test_an_entry_keeps_no_reference() -> None:
    """Changing an event's data after it was written changes nothing in the entry."""
    changing = event(0)
    entry = Entry.write(changing, seq=0, time=START, salt=SALT, prev=PREV)
    changing.data["number"] = 1
    assert entry.data == event(0).data


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(event(0, data={"a": 1}), id="data"),
        pytest.param(event(0, type="example.other"), id="type"),
        pytest.param(event(0, actor="bob"), id="actor"),
        pytest.param(event(0, subject=None), id="subject"),
        pytest.param(event(0, dataschema="note/v2"), id="dataschema"),
    ],
)
def test_holds_by_bytes(other: Event) -> None:
    """An entry holds the same event only; True is not 1 for it, though it is for Python."""
    assert ENTRY.holds(event(0))
    assert not ENTRY.holds(other)
    truth = Entry.write(event(0, data={"a": True}), seq=0, time=START, salt=SALT, prev=PREV)
    assert not truth.holds(event(0, data={"a": 1}))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"source": ""}, id="an empty source"),
        pytest.param({"id": None}, id="no id"),
        pytest.param({"id": 7}, id="a number as id"),
        pytest.param({"type": "a\nb"}, id="a newline"),
        pytest.param({"actor": "a\x1b[2J"}, id="a terminal's escape"),
        pytest.param({"actor": "a\x85b"}, id="a C1 control"),
        pytest.param({"actor": "a\u2028b"}, id="a line separator"),
        pytest.param({"subject": ""}, id="an empty subject"),
        pytest.param({"dataschema": "x" * 1025}, id="1025 characters"),
        pytest.param({"data": None}, id="no data"),
        pytest.param({"data": [1]}, id="data that is no object"),
    ],
)
def test_refused_events(changes: dict[str, Any]) -> None:
    """An event that breaks a field's rule cannot be built."""
    with pytest.raises(EntryError):
        event(0, **changes)
    assert event(0, dataschema="é" * 1024)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"amount": 1.5}, id="a float"),
        pytest.param({"text": "x" * 65536}, id="more than 64 KiB"),
        pytest.param({"text": "\udcff"}, id="a lone surrogate"),
    ],
)
def test_refused_data(data: dict[str, Any]) -> None:
    """Data without a canonical form cannot be written."""
    with pytest.raises(EncodingError):
        Entry.write(event(0, data=data), seq=0, time=START, salt=SALT, prev=PREV)


def test_refused_salt() -> None:
    """A salt has 32 bytes."""
    for salt in (b"", b"s" * 31, b"s" * 33):
        with pytest.raises(EntryError):
            Entry.write(event(0), seq=0, time=START, salt=salt, prev=PREV)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"extra": 1}, id="an unknown field"),
        pytest.param({"seq": None}, id="no seq"),
        pytest.param({"seq": -1}, id="a negative seq"),
        pytest.param({"seq": True}, id="true as seq"),
        pytest.param({"seq": "7"}, id="seq as text"),
        pytest.param({"specversion": "1.1"}, id="another specversion"),
        pytest.param({"specversion": 1}, id="specversion as number"),
        pytest.param({"subject": None}, id="null subject"),
        pytest.param({"actor": 1}, id="a number as actor"),
        pytest.param({"datahash": "00" * 31}, id="a short datahash"),
        pytest.param({"datahash": "AA" * 32}, id="datahash in capitals"),
        pytest.param({"time": "2026-11-21T01:02:03Z"}, id="time without microseconds"),
        pytest.param({"time": "2026-11-21T01:02:03.000004+00:00"}, id="time with an offset"),
        pytest.param({"time": "2026-11-21t01:02:03.000004z"}, id="time in small letters"),
        pytest.param({"time": "2026-11-21T24:00:00.000000Z"}, id="hour 24"),
        pytest.param({"time": "2026-02-30T00:00:00.000000Z"}, id="30 February"),
        pytest.param({"time": "2026-11-21T01:02:60.000000Z"}, id="a leap second"),
        pytest.param({"time": "٢026-11-21T01:02:03.000004Z"}, id="a digit of another script"),
        pytest.param({"time": 0}, id="time as a number"),
    ],
)
def test_refused_heads(changes: dict[str, Any]) -> None:
    """A head has exactly the fields of a head."""
    with pytest.raises(EntryError):
        parse_head(canonical(HEAD | changes))


@pytest.mark.parametrize("name", sorted(set(HEAD) - {"subject"}))
def test_missing_fields(name: str) -> None:
    """A head lacks none of its fields but perhaps the subject."""
    with pytest.raises(EntryError):
        parse_head(canonical({key: value for key, value in HEAD.items() if key != name}))


@pytest.mark.parametrize("head", [b"", b"[]", b"null", ENTRY.head + b" ", b'"x"'])
def test_not_a_head(head: bytes) -> None:
    """Other bytes are not a head."""
    with pytest.raises(EntryError):
        parse_head(head)


@pytest.mark.parametrize(
    ("data", "salt"),
    [
        pytest.param(canonical({"a": 1}), SALT, id="other data"),
        pytest.param(canonical(event(0).data), b"t" * 32, id="another salt"),
        pytest.param(canonical(event(0).data), None, id="no salt"),
        pytest.param(canonical(event(0).data) + b" ", SALT, id="another spelling"),
        pytest.param(b"[]", SALT, id="not an object"),
    ],
)
def test_data_that_is_not_the_entrys(data: bytes, salt: bytes | None) -> None:
    """Data is read only if the head commits to it."""
    with pytest.raises(EntryError):
        Entry.read(ENTRY.head, data=data, salt=salt, prev=PREV)


@pytest.mark.parametrize("data", [b"[]", b'{"a": 1}', b'"x"', b"{", b"null"])
def test_data_that_is_committed_to_and_malformed(data: bytes) -> None:
    """What a head commits to must be a canonical object all the same."""
    head = canonical(HEAD | {"datahash": datahash_of(SALT, data).hex()})
    with pytest.raises(EntryError, match="data"):
        Entry.read(head, data=data, salt=SALT, prev=PREV)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({**GENESIS, "v": 2}, id="version 2"),
        pytest.param({**GENESIS, "v": True}, id="true as version"),
        pytest.param({**GENESIS, "ledger_id": ""}, id="an empty name"),
        pytest.param({**GENESIS, "ledger_id": 1}, id="a number as name"),
        pytest.param({**GENESIS, "created": "yesterday"}, id="no time"),
        pytest.param({**GENESIS, "trust_root": "00"}, id="a short digest"),
        pytest.param({**GENESIS, "more": 1}, id="an unknown field"),
        pytest.param({"v": 1}, id="missing fields"),
        pytest.param([], id="no object"),
        pytest.param(trust_root(), id="another document"),
    ],
)
def test_refused_genesis(document: Any) -> None:
    """A genesis has exactly four fields."""
    with pytest.raises(GenesisError):
        Genesis.parse(canonical(document))


def test_a_genesis_is_read_as_written() -> None:
    """Reading and writing a genesis gives the same bytes; other spellings are refused."""
    assert Genesis.parse(canonical(GENESIS)).encode() == canonical(GENESIS)
    with pytest.raises(GenesisError):
        Genesis.parse(canonical(GENESIS) + b"\n")


def test_time_is_utc() -> None:
    """The same instant in another zone has the same spelling; without a zone it is no instant."""
    elsewhere = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert clock.text(elsewhere) == clock.text(START) == "2026-11-21T01:02:03.000004Z"
    assert clock.text(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00.000000Z"
    assert clock.microseconds(START) == 1_795_222_923_000_004
    with pytest.raises(ValueError, match="time zone"):
        clock.text(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
