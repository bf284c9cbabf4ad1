"""The store: one DuckDB file, one writer, and nothing acknowledged before it is on disk.

* A batch is appended in one transaction: all of it or none of it. The receipt
  is returned after the commit (one write and one fdatasync of the WAL).
* (source, id) names an event for ever. The same event again returns the first
  receipt; another event under the same name is a conflict. A writer that lost
  its acknowledgement simply sends again.
* Opening recomputes every hash. The chain alone cannot show that its tail is
  missing (DuckDB opens silently after a truncated WAL), so the caller passes
  the newest checkpoint it keeps elsewhere, and a store that is behind it or
  does not extend it is refused.
* Time never goes back: an entry is as late as the entry before it, at least.

Trust in the files: `<path>` and `<path>.wal` hold the entries and are believed
after recomputation only; `<path>.lock` holds nothing, its lock is what keeps
a second writer out, in this process too. Signatures of checkpoints are the
caller's business: here a note must only fit the entries.

The names of all events are held in memory (about 300 bytes an entry).
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from ledger import bundle, merkle
from ledger.chain import Genesis
from ledger.checkpoint import Checkpoint, CheckpointError, split
from ledger.clock import microseconds
from ledger.encoding import JSON, canonical
from ledger.entry import Entry, EntryError, Event
from ledger.merkle import Frontier
from ledger.trust import TrustRoot, TrustRootError

BATCH_MAX = 10_000  # events; more would hold the lock for longer than a second
PAGE = 1000  # entries read at once: bounds the memory of a long reading

SCHEMA = """
create table genesis(document varchar not null);
create table entry(
    seq bigint not null, ts_us bigint not null, source varchar not null, id varchar not null,
    type varchar not null, subject varchar, head varchar not null, data varchar, salt blob,
    leaf blob not null, prev blob not null, h blob not null);
create table checkpoint(
    size bigint not null, root blob not null, chain blob not null, note varchar not null, anchors varchar);
create table segment(
    first_seq bigint not null, last_seq bigint not null, path varchar not null, sha256 blob not null,
    root blob not null, first_prev blob not null, last_h blob not null);
"""
SELECT_ENTRIES = "select * from entry where seq between ? and ? order by seq"
SELECT_LEAVES = "select leaf from entry where seq between ? and ? order by seq"
SELECT_NOTES = "select note from checkpoint order by size"
INSERT_CHECKPOINT = "insert into checkpoint(size, root, chain, note) values (?, ?, ?, ?)"
DELETE_CHECKPOINT = "delete from checkpoint where size = ?"
SELECT_GENESIS = "select document from genesis"
INSERT_GENESIS = "insert into genesis values (?)"
COUNT_ENTRIES = "select count(*) from entry"

Hook = Callable[[], None]


class StoreError(Exception):
    """The store cannot be opened, believed or written."""


class ConflictError(StoreError):
    """Another event already has this (source, id)."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof to the writer that an event has its place."""

    seq: int
    h: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The state of the ledger after `size` entries."""

    size: int
    root: bytes
    h: bytes


def open(  # noqa: A001 - ledger.store.open is the interface's name
    path: str | Path,
    *,
    now: Callable[[], datetime],
    salt: Callable[[], bytes],
    genesis: Genesis | JSON = None,
    checkpoint: Checkpoint | None = None,
    testing_only_before_commit: Hook | None = None,
    testing_only_after_commit: Hook | None = None,
) -> "Ledger":
    """Open the store at `path`; with a genesis, create it, and never over an existing one."""
    path = Path(path)
    if genesis is None and not path.exists():
        raise StoreError(f"{path.name} does not exist, and no genesis is given to create it")
    files = ExitStack()
    try:
        files.callback(os.close, _lock(path.with_name(path.name + ".lock")))
        if genesis is not None:
            _create(path, genesis if isinstance(genesis, Genesis) else Genesis.of(genesis))
        database = _connect(path)
        files.callback(database.close)
        hooks = (testing_only_before_commit, testing_only_after_commit)
        return Ledger(database, files, now=now, salt=salt, checkpoint=checkpoint, hooks=hooks)
    except (ValueError, OSError, duckdb.Error) as error:
        files.close()
        raise StoreError(f"{path.name}: {error}") from error
    except BaseException:
        files.close()
        raise


class Ledger:
    """An open store. One lock around everything: threads may share it."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        files: ExitStack,
        *,
        now: Callable[[], datetime],
        salt: Callable[[], bytes],
        checkpoint: Checkpoint | None,
        hooks: tuple[Hook | None, Hook | None],
    ) -> None:
        self._database = database
        self._files = files
        self._now = now
        self._salt = salt
        self._before_commit, self._after_commit = hooks
        self._mutex = threading.RLock()
        self._unusable = ""
        self._receipts: dict[tuple[str, str], Receipt] = {}
        self._frontier = Frontier()
        self._last_time: datetime | None = None
        self._replay(checkpoint)

    @property
    def genesis(self) -> Genesis:
        """The document that the chain begins with."""
        return self._genesis

    def head(self) -> Head:
        """Return the newest state."""
        with self._mutex:
            return Head(self._frontier.size, self._frontier.root(), self._h)

    def append(self, events: Sequence[Event]) -> list[Receipt]:
        """Append a batch, all or nothing, and return a receipt for each event once they are on disk."""
        if len(events) > BATCH_MAX:
            raise StoreError(f"{len(events)} events, limit {BATCH_MAX}")
        with self._mutex:
            self._check_usable()
            receipts, written = self._place(events)
            if written:
                self._commit(lambda: self._insert(written), lambda: self._remember(written))
            return receipts

    def entries(self, first: int = 0, last: int | None = None) -> Iterator[Entry]:
        """Yield the entries `first` to `last`, both included; without `last`, those there are at the call."""
        end = self.head().size - 1 if last is None else last
        return self._pages(first, min(end, self.head().size - 1))

    def leaves(self, first: int = 0, last: int | None = None) -> list[bytes]:
        """Return the leaf hashes of the entries `first` to `last`, both included."""
        end = self.head().size - 1 if last is None else last
        return [leaf for (leaf,) in self._read(SELECT_LEAVES, [first, end])]

    def find(self, source: str, id: str) -> Entry | None:  # noqa: A002 - CloudEvents' name for it
        """Return the entry that has this name."""
        with self._mutex:
            receipt = self._receipts.get((source, id))
        return None if receipt is None else next(self.entries(receipt.seq, receipt.seq))

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """Return the proof that entry `seq` is in the tree of `size` entries."""
        return merkle.inclusion_proof(self._tree(size), seq)

    def consistency(self, old_size: int, size: int) -> list[bytes]:
        """Return the proof that the tree of `size` entries extends the tree of `old_size`."""
        return merkle.consistency_proof(self._tree(size), old_size)

    def record_checkpoint(self, note_text: str) -> None:
        """Keep a signed checkpoint that fits the entries, in place of an older note of its size."""
        checkpoint = _split(note_text)
        with self._mutex:
            self._check_usable()
            _check_fits(checkpoint, self._state(checkpoint.size), size=self._frontier.size)
            self._commit(lambda: self._replace_checkpoint(checkpoint, note_text), lambda: None)

    def checkpoints(self) -> list[str]:
        """Return the recorded notes, smallest first."""
        return [note for (note,) in self._read(SELECT_NOTES, [])]

    def newest_checkpoint(self) -> str | None:
        """Return the recorded note of the largest size."""
        notes = self.checkpoints()
        return notes[-1] if notes else None

    def bundle(
        self,
        path: str | Path,
        first: int = 0,
        last: int | None = None,
        *,
        trust_root: bytes,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write what an auditor takes away: the entries `first` to `last`, closed by checkpoints.

        A checkpoint of `last` + 1 entries must be recorded, else nobody could
        tell that the tail is whole; without `last`, the newest one decides.
        If `first` is not 0, a checkpoint of `first` entries must be there too.
        """
        notes = {_split(note).size: note for note in self.checkpoints()}
        size = max(notes, default=0) if last is None else last + 1
        if not 0 <= first < size or size not in notes or (first and first not in notes):
            raise StoreError(f"no checkpoints close the entries {first} to {size - 1}: {sorted(notes)}")
        try:
            digest = TrustRoot.parse(trust_root).digest
        except TrustRootError as error:
            raise StoreError(f"trust root: {error}") from None
        if digest != self._genesis.trust_root:
            raise StoreError("this trust root is not the one in the genesis")
        frontier = Frontier()
        for leaf in self.leaves(0, first - 1):
            frontier.append(leaf)
        bundle.write(
            Path(path),
            genesis=self._genesis.encode(),
            trust_root=trust_root,
            prev=_split(notes[first]).chain if first else self._genesis.hash(),
            frontier=frontier,
            entries=self.entries(first, size - 1),
            checkpoints={number: notes[number] for number in sorted(notes) if first <= number <= size},
            files=files or {},
        )

    def snapshot(self, path: str | Path) -> None:
        """Copy the database to a new file that readers may open."""
        if Path(path).exists():
            raise StoreError(f"{Path(path).name} exists")
        with self._mutex:
            self._check_usable()
            self._database.execute("attach ? as snapshot", [str(path)])
            try:
                self._database.execute("copy from database store to snapshot")
            finally:
                self._database.execute("detach snapshot")

    def close(self) -> None:
        """Close the file and let another writer in."""
        with self._mutex:
            self._unusable = "the store is closed"
            self._files.close()

    def _replay(self, outside: Checkpoint | None) -> None:
        # (1) the genesis  (2) every entry: its bytes, its place, its name, its time  (3) no row beside the
        # sequence  (4) the recorded checkpoints and the one kept elsewhere
        ((document,),) = self._read(SELECT_GENESIS, [])
        self._genesis = Genesis.parse(document.encode())  # (1)
        self._h = self._genesis.hash()
        checkpoints = [_split(note) for note in self.checkpoints()]
        if outside is not None:
            checkpoints.append(outside)
        wanted = {checkpoint.size for checkpoint in checkpoints}
        states = {0: self.head()}
        for entry in self._pages(0, None):  # (2)
            self._check_next(entry)
            self._remember([entry])
            if self._frontier.size in wanted:
                states[self._frontier.size] = self.head()
        ((rows,),) = self._read(COUNT_ENTRIES, [])
        if rows != self._frontier.size:  # (3)
            raise StoreError(f"{rows} rows, but {self._frontier.size} entries follow each other")
        for checkpoint in checkpoints:  # (4)
            _check_fits(checkpoint, states.get(checkpoint.size), size=self._frontier.size)

    def _check_next(self, entry: Entry) -> None:
        if entry.prev != self._h:
            raise StoreError(f"entry {entry.seq}: prev is not the h before it")
        if entry.data is None:
            raise StoreError(f"entry {entry.seq}: its data is missing")
        if (entry.source, entry.id) in self._receipts:
            raise StoreError(f"entry {entry.seq}: ({entry.source}, {entry.id}) stands twice")
        if self._last_time and entry.time < self._last_time:
            raise StoreError(f"entry {entry.seq}: time goes back")

    def _place(self, events: Sequence[Event]) -> tuple[list[Receipt], list[Entry]]:
        written: dict[tuple[str, str], Entry] = {}
        receipts = []
        size, h = self._frontier.size, self._h
        time = max(self._now(), self._last_time) if self._last_time else self._now()
        for event in events:
            name = (event.source, event.id)
            entry = written.get(name) or self.find(*name)
            if entry is None:
                seq = size + len(written)
                entry = written[name] = Entry.write(event, seq=seq, time=time, salt=self._salt(), prev=h)
                h = entry.h
            elif not entry.holds(event):
                raise ConflictError(
                    f"({event.source}, {event.id}) is entry {entry.seq}, and says something else"
                )
            receipts.append(Receipt(entry.seq, entry.h, entry.leaf))
        return receipts, list(written.values())

    def _remember(self, written: Sequence[Entry]) -> None:
        for entry in written:
            self._receipts[entry.source, entry.id] = Receipt(entry.seq, entry.h, entry.leaf)
            self._frontier.append(entry.leaf)
            self._h = entry.h
            self._last_time = entry.time

    def _commit(self, write: Hook, remember: Hook) -> None:
        # Memory and disk agree before and after, never in between: whatever interrupts a commit leaves
        # the store unusable until it is opened again, and opening reads the disk.
        self._unusable = "a commit did not finish: open the store again"
        self._database.execute("begin")
        try:
            write()
            if self._before_commit:
                self._before_commit()
        except BaseException:
            self._database.execute("rollback")
            self._unusable = ""
            raise
        try:
            # A crash after this line leaves entries whose receipt nobody has: they are sent again.
            self._database.execute("commit")
        except duckdb.Error as error:
            raise StoreError(f"commit failed, what is on disk is unknown: {error}") from error
        remember()
        self._unusable = ""
        if self._after_commit:
            self._after_commit()

    def _insert(self, written: Sequence[Entry]) -> None:
        appender = self._database.appender("entry")
        appender.append_rows([_row(entry) for entry in written])
        appender.flush()

    def _replace_checkpoint(self, checkpoint: Checkpoint, note: str) -> None:
        self._database.execute(DELETE_CHECKPOINT, [checkpoint.size])
        row = [checkpoint.size, checkpoint.root, checkpoint.chain, note]
        self._database.execute(INSERT_CHECKPOINT, row)

    def _state(self, size: int) -> Head | None:
        # The head as it was after `size` entries.
        head = self.head()
        if size == head.size:
            return head
        if not 0 <= size < head.size:
            return None
        h = next(self.entries(size - 1, size - 1)).h if size else self._genesis.hash()
        return Head(size, merkle.root(self._tree(size)), h)

    def _tree(self, size: int) -> list[bytes]:
        if not 0 <= size <= self.head().size:
            raise StoreError(f"no tree of {size} entries in a ledger of {self.head().size}")
        return self.leaves(0, size - 1)

    def _pages(self, first: int, last: int | None) -> Iterator[Entry]:
        # Page by page, so that a slow reader holds neither the lock nor all rows.
        place = first
        while last is None or place <= last:
            end = place + PAGE - 1 if last is None else min(last, place + PAGE - 1)
            rows = self._read(SELECT_ENTRIES, [place, end])
            if not rows:
                return
            for row in rows:
                yield _entry(row, expected_seq=place)
                place += 1

    def _read(self, statement: str, parameters: list[int]) -> list[tuple[Any, ...]]:
        # fetchall frees the connection for the next statement; fetchone would leave it busy.
        with self._mutex:
            self._check_usable()
            return self._database.execute(statement, parameters).fetchall()

    def _check_usable(self) -> None:
        if self._unusable:
            raise StoreError(self._unusable)


def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.seq,
        microseconds(entry.time),
        entry.source,
        entry.id,
        entry.type,
        entry.subject,
        entry.head.decode(),
        None if entry.data is None else canonical(entry.data).decode(),
        entry.salt,
        entry.leaf,
        entry.prev,
        entry.h,
    )


def _entry(row: tuple[Any, ...], *, expected_seq: int) -> Entry:
    seq, head, data, salt, prev = row[0], row[6], row[7], row[8], row[10]
    if seq != expected_seq:
        raise StoreError(f"entry {expected_seq} is missing: {seq} stands in its place")
    try:
        entry = Entry.read(head.encode(), data=None if data is None else data.encode(), salt=salt, prev=prev)
    except EntryError as error:
        raise StoreError(f"entry {seq}: {error}") from error
    # Readers query the columns, so they must say what the hashed head says.
    if _row(entry) != row:
        raise StoreError(f"entry {seq}: its columns do not follow from its head and the entry before")
    return entry


def _split(note: str) -> Checkpoint:
    try:
        return split(note)[0]
    except CheckpointError as error:
        raise StoreError(f"checkpoint: {error}") from error


def _check_fits(checkpoint: Checkpoint, state: Head | None, *, size: int) -> None:
    # Rollback: a truncated or restored file is shorter than, or differs from, what was signed.
    if state is None:
        raise StoreError(f"the store has {size} entries and is behind its checkpoint of {checkpoint.size}")
    if (checkpoint.root, checkpoint.chain) != (state.root, state.h):
        raise StoreError(f"the store does not extend its checkpoint of {checkpoint.size} entries")


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreError(f"{path.name} is held by another writer") from None
    return descriptor


def _create(path: Path, genesis: Genesis) -> None:
    # Made under another name and then moved: a crash here leaves no half-made store, only a stale draft.
    if path.exists():
        raise StoreError(f"{path.name} exists: it has a genesis already")
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    draft.with_name(draft.name + ".wal").unlink(missing_ok=True)
    database = duckdb.connect(draft)
    try:
        database.execute(SCHEMA)
        database.execute(INSERT_GENESIS, [genesis.encode().decode()])
        database.execute("checkpoint")
    finally:
        database.close()
    # A WAL left over from a deleted store would be replayed into this one.
    if path.with_name(path.name + ".wal").exists():
        raise StoreError(f"{path.name}.wal exists without {path.name}")
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    # The default of 16 MB stalls commits for a quarter of a second whenever the WAL reaches it.
    database = duckdb.connect(config={"wal_autocheckpoint": "256MB"})
    try:
        database.execute("attach ? as store", [str(path)])
        database.execute("use store")
        _check_durable(database)
    except BaseException:
        database.close()
        raise
    return database


def _check_durable(database: duckdb.DuckDBPyConnection) -> None:
    ((mode,),) = database.execute("select current_setting('fsync_mode')").fetchall()
    if mode == "NONE":
        raise StoreError("fsync_mode is NONE: a receipt would promise what the disk does not hold")
