"""The database under the store: DuckDB's tables, statements and habits, and nothing of what they mean.

* A transaction is one write and one fdatasync of the WAL; `fsync_mode` NONE is
  refused, since a receipt would promise what the disk does not hold.
* The WAL is moved into the file only by `checkpoint`, which keeps what it writes
  over (`ledger.journal`): DuckDB's own, left alone, is not safe from a crash.
* Appenders stay open: making one costs a third of a small commit.
* Readers have a connection of their own and never wait for a commit.
* Whatever is changed besides entries and nodes is counted in the same
  transaction: entries count themselves, and an update costs half a commit.
* Rows go in as `row_of` says and come out through `entry_of`, which believes
  the head's bytes and wants the columns to say the same.

Rows that were deleted or updated stay in the file's free blocks until
`compact` writes the file anew.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb

from ledger import journal
from ledger.chain import Genesis
from ledger.checkpoint import Checkpoint
from ledger.clock import microseconds
from ledger.entry import Entry, EntryError
from ledger.files import sync
from ledger.journal import JournalError
from ledger.merkle import Node
from ledger.segments import Manifest

PAGE = 1000  # entries read at once: bounds the memory of a long reading
# DuckDB's default of 16 MB stalls commits for a quarter of a second whenever the WAL reaches it.
WAL_MAX = 256 * 1024 * 1024  # bytes
# DuckDB never starts a checkpoint by itself. One thread: small commits lose a tenth to a third of their rate
# to waking others, and nothing here scans much.
OPTIONS: dict[str, Any] = {"wal_autocheckpoint": "1000TB", "threads": 1}

SCHEMA = """
create table genesis(document varchar not null);
create table entry(
    seq bigint not null, ts_us bigint not null, source varchar not null, id varchar not null,
    type varchar not null, subject varchar, head varchar not null, data varchar, salt blob,
    leaf blob not null, prev blob not null, h blob not null);
create table node(level bigint not null, place bigint not null, hash blob not null);
create table checkpoint(
    size bigint not null, root blob not null, chain blob not null, note varchar not null, anchors varchar);
create table segment(
    first_seq bigint not null, last_seq bigint not null, path varchar not null, sha256 blob not null,
    root blob not null, first_prev blob not null, last_h blob not null);
create table revision(number bigint not null);
insert into revision values (0);
"""
SELECT_GENESIS = "select document from genesis"
INSERT_GENESIS = "insert into genesis values (?)"
COUNT_ENTRIES = "select count(*) from entry"
SELECT_ENTRIES = "select * from entry where seq between ? and ? order by seq"
SELECT_LISTED = "select * from entry where seq in (select unnest(?)) order by seq"
# Who reads them puts them in order: for DuckDB to do it costs as much again.
SELECT_LEAVES = "select seq, leaf from entry where seq between ? and ?"
SELECT_ALL_NODES = "select level, place, hash from node order by level, place"
SELECT_NOTES = "select note from checkpoint order by size"
SELECT_NOTE = "select note from checkpoint order by size desc limit 1"
SELECT_ANCHORS = "select size, anchors from checkpoint where anchors is not null order by size"
SELECT_CHECKPOINT = "select note, anchors from checkpoint where size = ?"
INSERT_CHECKPOINT = "insert into checkpoint values (?, ?, ?, ?, ?)"
DELETE_CHECKPOINT = "delete from checkpoint where size = ?"
SELECT_SEGMENTS = "select first_seq, last_seq, path, sha256, root, first_prev, last_h from segment order by 1"
INSERT_SEGMENT = "insert into segment values (?, ?, ?, ?, ?, ?, ?)"
DELETE_SEGMENT = "delete from segment where first_seq = ?"
# The blocks of metadata, which a checkpoint writes over in place.
SELECT_METADATA = """
select block_id, block_size from pragma_metadata_info('store'), pragma_database_size()
where database_name = 'store'"""
SELECT_REVISION = "select number from revision"
UPDATE_REVISION = "update revision set number = ?"
REDACT_ENTRIES = "update entry set data = null, salt = null where seq in (select unnest(?))"


class DatabaseError(Exception):
    """The file is not a store's, or its rows contradict each other."""


class InDoubtError(DatabaseError):
    """A commit failed, and whether the disk holds it shows only when the file is opened again."""


class Database:
    """An open file. One thread at a time may write; readers share a connection of their own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading = Lock()
        self._believed = False
        try:
            journal.settle(path)
        except JournalError as error:
            raise DatabaseError(str(error)) from error
        self.rolled_back = False  # whether the last transaction left nothing
        self.revision = 0  # how often something besides entries and nodes was changed
        self._connect()

    def believe(self) -> None:
        """Let closing move the WAL into the file, as usual: what is in both was found to be right."""
        self._believed = True

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a statement."""
        # fetchall frees the connection for the next statement; fetchone would leave it busy.
        with self._reading:
            return self._reader.execute(statement, list(parameters)).fetchall()

    def leaves(self, first: int, last: int) -> list[bytes]:
        """Return the leaf hashes of the entries `first` to `last`, or raise if one of them is not there."""
        rows = sorted(self.read(SELECT_LEAVES, [first, last]))
        if [seq for seq, _ in rows] != list(range(first, last + 1)):
            raise DatabaseError(f"entries {first} to {last} are not all there")
        return [leaf for _, leaf in rows]

    def pages(self, first: int, last: int | None) -> Iterator[Entry]:
        """Yield the entries `first` to `last`, page by page: a slow reader holds no lock and few rows."""
        place = first
        while last is None or place <= last:
            end = place + PAGE - 1 if last is None else min(last, place + PAGE - 1)
            rows = self.read(SELECT_ENTRIES, [place, end])
            if not rows:
                return
            for row in rows:
                yield entry_of(row, expected_seq=place)
                place += 1

    @contextmanager
    def transaction(self, before_commit: Callable[[], None] | None) -> Iterator[None]:
        """Commit what the block writes; an exception of the block leaves nothing written."""
        self.rolled_back = False
        if self._waiting() > WAL_MAX:
            self.checkpoint()
        self._next = self.revision
        self._writer.execute("begin")
        try:
            yield
            if self._next != self.revision:
                self._writer.execute(UPDATE_REVISION, [self._next])
            if before_commit:
                before_commit()
        except BaseException:
            self._entries.clear()
            self._nodes.clear()
            self._writer.execute("rollback")
            self.rolled_back = True
            raise
        try:
            # A crash after this line leaves entries whose receipt nobody has: they are sent again.
            self._writer.execute("commit")
        except duckdb.Error as error:
            raise InDoubtError(f"commit failed, what is on disk is unknown: {error}") from error
        self.revision = self._next

    def insert(self, entries: Iterable[Entry], nodes: Sequence[Node]) -> None:
        """Write entries and the nodes that they complete."""
        self._entries.append_rows([row_of(entry) for entry in entries])
        self._entries.flush()
        if nodes:
            self._nodes.append_rows([(node.level, node.place, node.hash) for node in nodes])
            self._nodes.flush()

    def replace_checkpoint(self, checkpoint: Checkpoint, note: str, anchors: str | None) -> None:
        """Write a checkpoint in place of the one of its size."""
        self._next = self.revision + 1
        self._writer.execute(DELETE_CHECKPOINT, [checkpoint.size])
        row = [checkpoint.size, checkpoint.root, checkpoint.chain, note, anchors]
        self._writer.execute(INSERT_CHECKPOINT, row)

    def replace_segment(self, manifest: Manifest) -> None:
        """Write what is known of a sealed segment, in place of what was known before."""
        self._next = self.revision + 1
        self._writer.execute(DELETE_SEGMENT, [manifest.first_seq])
        row = [manifest.first_seq, manifest.last_seq, manifest.name, manifest.sha256]
        self._writer.execute(INSERT_SEGMENT, [*row, manifest.root, manifest.first_prev, manifest.last_h])

    def redact(self, seqs: Sequence[int]) -> None:
        """Take data and salt out of these rows."""
        self._next = self.revision + 1
        self._writer.execute(REDACT_ENTRIES, [list(seqs)])

    def checkpoint(self) -> None:
        """Move the WAL into the file; if that does not get to its end, the file has to be opened again."""
        if journal.beside(self._path).exists():
            # What it holds is the only whole copy of blocks that may be torn by now.
            raise InDoubtError("a checkpoint did not finish")
        rows = self._writer.execute(SELECT_METADATA).fetchall()
        places = [(journal.HEADER + number * size, size) for number, size in rows]
        try:
            journal.keep(self._path, places)
            self._writer.execute("checkpoint")
            journal.drop(self._path)
        except OSError as error:
            raise DatabaseError(f"the journal of a checkpoint: {error}") from error

    def snapshot(self, path: Path) -> None:
        """Copy everything to a new file."""
        self._writer.execute("attach ? as snapshot", [str(path)])
        try:
            self._writer.execute("copy from database store to snapshot")
            self._writer.execute("checkpoint snapshot")
        finally:
            self._writer.execute("detach snapshot")

    def compact(self) -> None:
        """Write the file anew, so that no free block holds what was taken out; a crash leaves old or new."""
        draft = self._path.with_name(self._path.name + ".new")
        _unlink(draft)
        self.snapshot(draft)
        with self._reading:  # readers wait, and then read the new file
            self.close()
            # Closing has moved the WAL into the file; what is left would be written into the new one.
            if _left(self._path) or _wal(draft).exists():
                raise DatabaseError("a WAL or a journal is left after closing")
            draft.rename(self._path)
            sync(self._path.parent)
            self._connect()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The writer's connection, for sealing."""
        return self._writer

    def close(self) -> None:
        """Close the file; a WAL that could not be moved into it stays beside it, and nothing is lost."""
        if self._believed and self._waiting():
            with suppress(duckdb.Error, DatabaseError, OSError):
                self.checkpoint()
        self._reader.close()
        self._writer.close()

    def _waiting(self) -> int:
        # Bytes of the WAL: DuckDB makes it with the first commit after a checkpoint.
        try:
            return _wal(self._path).stat().st_size
        except FileNotFoundError:
            return 0

    def _connect(self) -> None:
        database = duckdb.connect(config=OPTIONS)
        try:
            # Whoever looks at a refused store needs the file and its WAL; a checkpoint needs a journal.
            database.execute("pragma disable_checkpoint_on_shutdown")
            database.execute("attach ? as store", [str(self._path)])
            database.execute("use store")
            # It would be drawn over whatever the process prints.
            database.execute("set enable_progress_bar = false")
            check_durable(database)
            self._writer, self._reader = database, database.cursor()
            self._reader.execute("use store")
            self._reader.execute("set enable_progress_bar = false")
            self._entries, self._nodes = database.appender("entry"), database.appender("node")
            ((self.revision,),) = database.execute(SELECT_REVISION).fetchall()
        except BaseException:
            database.close()
            raise


def create(path: Path, genesis: Genesis) -> None:
    """Make a new file; it is made under another name and then moved, so that a crash leaves no half of it."""
    if path.exists():
        raise DatabaseError(f"{path.name} exists: it has a genesis already")
    # What is left over from a deleted store would be written into this one.
    if _left(path):
        raise DatabaseError(f"a WAL or a journal of {path.name} exists without {path.name}")
    draft = path.with_name(path.name + ".new")
    _unlink(draft)
    database = duckdb.connect(draft)
    try:
        database.execute(SCHEMA)
        database.execute(INSERT_GENESIS, [genesis.encode().decode()])
        database.execute("checkpoint")
    finally:
        database.close()
    draft.rename(path)
    sync(path.parent)


def check_durable(database: duckdb.DuckDBPyConnection) -> None:
    """Raise if commits do not wait for the disk."""
    ((mode,),) = database.execute("select current_setting('fsync_mode')").fetchall()
    if mode == "NONE":
        raise DatabaseError("fsync_mode is NONE: a receipt would promise what the disk does not hold")


def row_of(entry: Entry) -> tuple[object, ...]:
    """Return an entry as the columns of its row."""
    return (
        entry.seq,
        microseconds(entry.time),
        entry.source,
        entry.id,
        entry.type,
        entry.subject,
        entry.head.decode(),
        None if entry.payload is None else entry.payload.decode(),
        entry.salt,
        entry.leaf,
        entry.prev,
        entry.h,
    )


def entry_of(row: tuple[Any, ...], *, expected_seq: int) -> Entry:
    """Rebuild an entry from its row, or raise if the row contradicts itself."""
    seq, head, data, salt, prev = row[0], row[6], row[7], row[8], row[10]
    if seq != expected_seq:
        raise DatabaseError(f"entry {expected_seq} is missing: {seq} stands in its place")
    try:
        entry = Entry.read(head.encode(), data=None if data is None else data.encode(), salt=salt, prev=prev)
    except EntryError as error:
        raise DatabaseError(f"entry {seq}: {error}") from error
    # Readers query the columns, so they must say what the hashed head says.
    if row_of(entry) != row:
        raise DatabaseError(f"entry {seq}: its columns do not follow from its head and the entry before")
    return entry


def _left(path: Path) -> bool:
    return _wal(path).exists() or journal.beside(path).exists()


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _unlink(draft: Path) -> None:
    for path in (draft, _wal(draft)):
        with suppress(FileNotFoundError):
            path.unlink()
