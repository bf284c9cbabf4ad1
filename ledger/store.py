"""The store: one DuckDB file, one writer, and nothing acknowledged before it is on disk.

* A batch is appended in one transaction: all of it or none of it. Batches of
  several callers may share a transaction (`append_all`; `ledger.writer`); one
  that is refused leaves the others alone. Receipts are returned after the
  commit (one write and one fdatasync of the WAL).
* (source, id) names an event for ever. The same event again returns the first
  receipt; another event under the same name is a conflict. A writer that lost
  its acknowledgement simply sends again.
* Opening recomputes every hash. The chain alone cannot show that its tail is
  missing (DuckDB opens silently after a truncated WAL), so the caller passes
  the checkpoints that are kept elsewhere (its own file, the witnesses'
  memories), and a store that is behind or does not extend one is refused,
  its files left as they were found.
* What was committed and is gone at the next opening is missed even if no
  checkpoint covers it (`ledger.reached`).
* Time never goes back: an entry is as late as the entry before it, at least.
* Data that is missing without a redaction that counts is refused. A redaction
  and what it takes away are one transaction; then the file is written anew.

Trust in the files: `<path>` and `<path>.wal` hold the entries and are believed
after recomputation only; `<path>.lock` holds nothing, its lock is what keeps
a second writer out, in this process too; `<path>.journal` holds what an unfinished
checkpoint was writing over, and goes back before anything is read;
`<path>.erase` says that a redaction's bytes may still be in free blocks;
`<path>.reached` says how far the store got, and a store that has less is
refused; `segments/` beside it holds what was sealed.
Signatures of checkpoints are the caller's business: here a note must only fit.

A digest of each event's name is held in memory (some 170 bytes an entry).
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from ledger import bundle, files, redaction, segments
from ledger.chain import Genesis
from ledger.checkpoint import Checkpoint, CheckpointError, split
from ledger.database import (
    COUNT_ENTRIES,
    SELECT_ALL_NODES,
    SELECT_ANCHORS,
    SELECT_CHECKPOINT,
    SELECT_GENESIS,
    SELECT_LISTED,
    SELECT_NOTE,
    SELECT_NOTES,
    SELECT_SEGMENTS,
    Database,
    DatabaseError,
    create,
    entry_of,
)
from ledger.encoding import JSON
from ledger.entry import Entry, Event
from ledger.merkle import Frontier, Node
from ledger.names import digest as name_digest
from ledger.place import ConflictError, Named, Place, Receipt, StoreError, named
from ledger.reached import Mark, Reached, ReachedError
from ledger.redaction import Redacted, RedactionError, Register, Target
from ledger.segments import Manifest
from ledger.tree import Nodes, Tree
from ledger.trust import TrustRoot, TrustRootError

BATCH_MAX = 10_000  # events; more would hold the lock for longer than a second
RESERVED = "ledger."  # types that only the ledger's own operations write

__all__ = ["ConflictError", "Head", "Ledger", "Receipt", "StoreError", "open"]

NOTHING: Mapping[int, Target] = {}

Hook = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Head:
    """The state of the ledger after `size` entries."""

    size: int
    root: bytes
    h: bytes


Outcome = list[Receipt] | ValueError | StoreError
"""What became of one batch of several: its receipts, or why nothing of it was written."""


def open(  # noqa: A001 - ledger.store.open is the interface's name
    path: str | Path,
    *,
    now: Callable[[], datetime],
    salt: Callable[[], bytes],
    genesis: Genesis | JSON = None,
    trust_root: TrustRoot | None = None,
    checkpoints: Sequence[Checkpoint] = (),
    testing_only_before_commit: Hook | None = None,
    testing_only_after_commit: Hook | None = None,
) -> "Ledger":
    """Open the store at `path`; with a genesis, create it, and never over an existing one.

    `checkpoints` are those kept elsewhere, which the store must extend. Without
    a trust root nothing may have been redacted.
    """
    path = Path(path)
    if genesis is None and not path.exists():
        raise StoreError(f"{path.name} does not exist, and no genesis is given to create it")
    files = ExitStack()
    try:
        files.callback(os.close, _lock(path.with_name(path.name + ".lock")))
        if genesis is not None:
            create(path, genesis if isinstance(genesis, Genesis) else Genesis.of(genesis))
        database = Database(path)
        files.callback(database.close)
        hooks = (testing_only_before_commit, testing_only_after_commit)
        return Ledger(
            path, database, files, now=now, salt=salt, trust_root=trust_root, outside=checkpoints, hooks=hooks
        )
    except (ValueError, OSError, DatabaseError, ReachedError, duckdb.Error) as error:
        files.close()
        raise StoreError(f"{path.name}: {error}") from error
    except BaseException:
        files.close()
        raise


class Ledger:
    """An open store. One lock around everything that writes: threads may share it."""

    def __init__(
        self,
        path: Path,
        database: Database,
        files: ExitStack,
        *,
        now: Callable[[], datetime],
        salt: Callable[[], bytes],
        trust_root: TrustRoot | None,
        outside: Sequence[Checkpoint],
        hooks: tuple[Hook | None, Hook | None],
    ) -> None:
        self._path = path
        self._database = database
        self._files = files
        self._now = now
        self._salt = salt
        self._before_commit, self._after_commit = hooks
        self._mutex = threading.RLock()
        self._unusable = ""
        self._names: dict[bytes, int] = {}
        self._frontier = Frontier()
        self._nodes = Nodes(lambda first, last: self.leaves(first, last - 1))
        self._last_time: datetime | None = None
        ((document,),) = database.read(SELECT_GENESIS)
        self._genesis = Genesis.parse(document.encode())
        self._h = self._genesis.hash()
        if trust_root is not None and trust_root.digest != self._genesis.trust_root:
            raise StoreError("this trust root is not the one in the genesis")
        self._register = None if trust_root is None else Register(trust_root)
        self._replay(outside)
        self._mark = Mark(path.with_name(path.name + ".reached"), self._reached())
        files.callback(self._mark.close)
        database.believe()
        self._finish_erasing()

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
        (outcome,) = self.append_all([events])
        if not isinstance(outcome, list):
            raise outcome
        return outcome

    def append_all(self, batches: Sequence[Sequence[Event]]) -> list[Outcome]:
        """Append several batches in one transaction; each succeeds or is refused by itself."""
        with self._mutex:
            self._check_usable()
            place = Place(self._frontier.size, self._h, self._time())
            outcomes = [self._place_batch(place, events) for events in batches]
            if place.written:
                self._commit(place.written)
            return outcomes

    def entries(self, first: int = 0, last: int | None = None) -> Iterator[Entry]:
        """Yield the entries `first` to `last`, both included; without `last`, those there are at the call."""
        self._check_usable()
        end = self.head().size - 1
        return self._told(self._database.pages(first, end if last is None else min(last, end)))

    def leaves(self, first: int = 0, last: int | None = None) -> list[bytes]:
        """Return the leaf hashes of the entries `first` to `last`, both included."""
        end = self.head().size - 1 if last is None else last
        self._check_usable()
        try:
            return self._database.leaves(first, end)
        except DatabaseError as error:
            raise StoreError(str(error)) from error

    def find(self, source: str, id: str) -> Entry | None:  # noqa: A002 - CloudEvents' name for it
        """Return the entry that has this name."""
        with self._mutex:
            seq = self._names.get(name_digest(source, id))
        return None if seq is None else next(self.entries(seq, seq))

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """Return the proof that entry `seq` is in the tree of `size` entries."""
        return self._tree(size).inclusion(seq)

    def consistency(self, old_size: int, size: int) -> list[bytes]:
        """Return the proof that the tree of `size` entries extends the tree of `old_size`."""
        return self._tree(size).consistency(old_size)

    def record_checkpoint(self, note_text: str) -> None:
        """Keep a signed checkpoint that fits the entries, in place of an older note of its size."""
        checkpoint = _split(note_text)
        with self._mutex:
            behind = checkpoint.size > self._frontier.size
            state = None if behind else self._state(checkpoint.size)
            _check_fits(checkpoint, state, size=self._frontier.size)
            known = self._read(SELECT_CHECKPOINT, [checkpoint.size])
            with self._commitment(), self._database.transaction(self._before_commit):
                self._database.replace_checkpoint(checkpoint, note_text, known[0][1] if known else None)

    def record_anchor(self, size: int, document: bytes) -> None:
        """Keep the proof that the checkpoint of this size is anchored; it is the verifier's to judge."""
        with self._mutex:
            known = self._read(SELECT_CHECKPOINT, [size])
            if not known:
                raise StoreError(f"no checkpoint of {size} entries is recorded")
            note = str(known[0][0])
            with self._commitment(), self._database.transaction(self._before_commit):
                self._database.replace_checkpoint(_split(note), note, document.decode())

    def anchors(self) -> dict[int, bytes]:
        """Return the anchors' documents by the size of their checkpoints."""
        return {size: document.encode() for size, document in self._read(SELECT_ANCHORS)}

    def checkpoints(self) -> list[str]:
        """Return the recorded notes, smallest first."""
        return [note for (note,) in self._read(SELECT_NOTES)]

    def newest_checkpoint(self) -> str | None:
        """Return the recorded note of the largest size."""
        notes = self._read(SELECT_NOTE)
        return str(notes[0][0]) if notes else None

    def rule(self, kind: str, statement: JSON, signatures: JSON, *, actor: str) -> Receipt:
        """Record a redaction, a hold or its lifting; a redaction takes the data away with it.

        Raises RedactionError unless the statement counts, before anything is written.
        """
        data = {"statement": statement, "signatures": signatures}
        with self._mutex:
            self._check_usable()
            if self._register is None:
                raise RedactionError("the store was opened without a trust root")
            redaction.read(kind, data, self._register.trust_root)
            event = Event(
                source=RESERVED + "rule",
                id=hashlib.sha256(redaction.message(statement)).hexdigest(),
                type=kind,
                actor=actor,
                dataschema="ledger/v1",
                data=data,
            )
            known = self.find(event.source, event.id)
            if known is not None:
                return Receipt(known.seq, known.h, known.leaf)
            taken = self._targets(statement) if kind == redaction.REDACTION else {}
            if kind == redaction.REDACTION:
                self._register.permit(statement, signatures, taken, self._time())
            return self._record_rule(event, taken)

    def redacted(self) -> list[Redacted]:
        """Return the entries whose data was taken away, by which entry, and why."""
        with self._mutex:
            return [] if self._register is None else self._register.redacted()

    def seal(self, last: int) -> Manifest:
        """Write the entries since the last segment, up to `last`, to a read-only Parquet file."""
        with self._mutex:
            sealed = self._read(SELECT_SEGMENTS)
            first = sealed[-1][1] + 1 if sealed else 0
            if not first <= last < self._frontier.size:
                raise StoreError(f"entries {first} to {last} are not there to be sealed")
            return self._write_segment(first, last)

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
        bundle.write(
            Path(path),
            genesis=self._genesis.encode(),
            trust_root=trust_root,
            prev=_split(notes[first]).chain if first else self._genesis.hash(),
            frontier=self._tree(first).frontier(),
            entries=self.entries(first, size - 1),
            checkpoints={number: notes[number] for number in sorted(notes) if first <= number <= size},
            files={**self._anchors_between(first, size), **(files or {})},
        )

    def snapshot(self, path: str | Path) -> None:
        """Copy the database to a new file that readers may open."""
        if Path(path).exists():
            raise StoreError(f"{Path(path).name} exists")
        with self._mutex:
            self._check_usable()
            self._database.snapshot(Path(path))

    def close(self) -> None:
        """Close the file and let another writer in."""
        with self._mutex:
            self._unusable = "the store is closed"
            self._files.close()

    def _replay(self, outside: Sequence[Checkpoint]) -> None:
        # (1) every entry: its bytes, its place, its name, its time  (2) no row beside the sequence
        # (3) nothing missing but what was redacted  (4) the stored nodes  (5) the recorded checkpoints
        # and those kept elsewhere
        checkpoints = [*(_split(note) for note in self.checkpoints()), *outside]
        wanted = {checkpoint.size for checkpoint in checkpoints}
        states = {0: self.head()}
        nodes: list[Node] = []
        for entry in self._database.pages(0, None):  # (1)
            name = name_digest(entry.source, entry.id)
            self._check_next(name, entry)
            self._frontier.append(entry.leaf, stored=nodes)
            self._remember({name: entry}, self._frontier)
            if self._frontier.size in wanted:
                states[self._frontier.size] = self.head()
        ((rows,),) = self._read(COUNT_ENTRIES)
        if rows != self._frontier.size:  # (2)
            raise StoreError(f"{rows} rows, but {self._frontier.size} entries follow each other")
        for seq, reason in self._register.lost() if self._register else ():  # (3)
            raise StoreError(f"entry {seq}: its data is missing: {reason}")
        stored = [Node(*row) for row in self._read(SELECT_ALL_NODES)]
        if stored != sorted(nodes, key=lambda node: (node.level, node.place)):  # (4)
            raise StoreError("the stored nodes are not those of the entries")
        self._nodes.add(nodes)
        for checkpoint in checkpoints:  # (5)
            _check_fits(checkpoint, states.get(checkpoint.size), size=self._frontier.size)

    def _check_next(self, name: bytes, entry: Entry) -> None:
        if entry.prev != self._h:
            raise StoreError(f"entry {entry.seq}: prev is not the h before it")
        if entry.payload is None and self._register is None:
            raise StoreError(f"entry {entry.seq}: its data is missing")
        if name in self._names:
            raise StoreError(f"entry {entry.seq}: ({entry.source}, {entry.id}) stands twice")
        if self._last_time and entry.time < self._last_time:
            raise StoreError(f"entry {entry.seq}: time goes back")

    def _reached(self) -> Reached:
        return Reached(self._frontier.size, self._database.revision)

    def _time(self) -> datetime:
        return max(self._now(), self._last_time) if self._last_time else self._now()

    def _place_batch(self, place: Place, events: Sequence[Event]) -> Outcome:
        try:
            _check_batch(events)
            found = named(events)
            return place.batch(found, self._known(found), self._salt)
        except (ValueError, StoreError) as refused:
            return refused

    def _known(self, events: Sequence[Named]) -> dict[bytes, Entry]:
        # The entries that already have the names of these events.
        seqs = {seq for name, _ in events if (seq := self._names.get(name)) is not None}
        rows = self._read(SELECT_LISTED, [sorted(seqs)]) if seqs else []
        entries = [entry_of(row, expected_seq=row[0]) for row in rows]
        return {name_digest(entry.source, entry.id): entry for entry in entries}

    def _remember(self, written: Mapping[bytes, Entry], frontier: Frontier) -> None:
        self._frontier = frontier
        for name, entry in written.items():
            self._names[name] = entry.seq
            self._h = entry.h
            self._last_time = entry.time
            if entry.payload is None or entry.type in redaction.KINDS:
                self._seen(_target(entry), entry.data)

    def _seen(self, target: Target, data: dict[str, Any] | None) -> None:
        if self._register is not None:
            self._register.see(target, data)

    def _commit(self, written: Mapping[bytes, Entry], redacted: Mapping[int, Target] = NOTHING) -> None:
        ahead, nodes = Frontier(self._frontier.size, self._frontier.hashes), list[Node]()
        for entry in written.values():
            ahead.append(entry.leaf, stored=nodes)
        with self._commitment():
            with self._database.transaction(self._before_commit):
                self._database.insert(written.values(), nodes)
                if redacted:
                    self._database.redact(list(redacted))
            for target in redacted.values():
                self._seen(target, None)
            self._nodes.add(nodes)
            self._remember(written, ahead)

    @contextmanager
    def _commitment(self) -> Iterator[None]:
        # Memory and disk agree before and after: whatever interrupts a commit in between leaves the store
        # unusable until it is opened again, and opening reads the disk.
        try:
            yield
            self._mark.move(self._reached())
        except BaseException as error:
            if not self._database.rolled_back:
                self._unusable = "a commit did not finish: open the store again"
            if isinstance(error, duckdb.Error | DatabaseError | ReachedError):
                raise StoreError(str(error)) from error
            raise
        if self._after_commit:
            self._after_commit()

    def _record_rule(self, event: Event, taken: Mapping[int, Target]) -> Receipt:
        place = Place(self._frontier.size, self._h, self._time())
        (receipt,) = place.batch(named([event]), {}, self._salt)
        if taken:
            # On disk before the redaction is: a crash at any later point is finished at the next opening.
            files.replace(self._erase, b"")
        self._commit(place.written, taken)
        self._finish_erasing()
        return receipt

    def _targets(self, statement: Mapping[str, Any]) -> dict[int, Target]:
        seqs = [item["seq"] for item in statement["entries"]]
        rows = self._read(SELECT_LISTED, [seqs])
        return {row[0]: _target(entry_of(row, expected_seq=row[0])) for row in rows}

    @property
    def _erase(self) -> Path:
        return self._path.with_name(self._path.name + ".erase")

    def _finish_erasing(self) -> None:
        # Free blocks, the WAL and sealed segments may hold what was redacted: write all of them anew.
        if not self._erase.exists():
            return
        for first, last in [(row[0], row[1]) for row in self._read(SELECT_SEGMENTS)]:
            if any(first <= each.seq <= last for each in self.redacted()):
                self._write_segment(first, last)
        try:
            self._database.compact()
        except BaseException:
            self._unusable = "erasing did not finish: open the store again"
            raise
        self._erase.unlink()
        files.sync(self._path.parent)

    def _anchors_between(self, first: int, size: int) -> dict[str, bytes]:
        anchors = {number: raw for number, raw in self.anchors().items() if first <= number <= size}
        return {f"anchors/{number}.json": raw for number, raw in anchors.items()}

    def _write_segment(self, first: int, last: int) -> Manifest:
        folder = self._path.with_name("segments")
        folder.mkdir(mode=0o700, exist_ok=True)
        # What an interrupted sealing left, wherever it was to end, or what holds redacted data.
        for path in sorted(folder.glob(f"{first:012}-*")):
            path.unlink()
        before, after = self._state(first), self._state(last + 1)
        manifest = segments.write(
            self._database.connection,
            folder,
            first=first,
            last=last,
            root=after.root,
            first_prev=before.h,
            last_h=after.h,
        )
        with self._commitment():
            with self._database.transaction(self._before_commit):
                self._database.replace_segment(manifest)
            self._database.checkpoint()
        return manifest

    def _state(self, size: int) -> Head:
        # The head as it was after `size` entries.
        head = self.head()
        if size == head.size:
            return head
        h = next(self.entries(size - 1, size - 1)).h if size else self._genesis.hash()
        return Head(size, self._tree(size).root(), h)

    def _tree(self, size: int) -> Tree:
        if not 0 <= size <= self.head().size:
            raise StoreError(f"no tree of {size} entries in a ledger of {self.head().size}")
        return Tree(size, self._nodes.read)

    def _read(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        self._check_usable()
        return self._database.read(statement, parameters)

    def _told(self, pages: Iterator[Entry]) -> Iterator[Entry]:
        try:
            yield from pages
        except (DatabaseError, duckdb.Error) as error:
            raise StoreError(str(error)) from error

    def _check_usable(self) -> None:
        if self._unusable:
            raise StoreError(self._unusable)


def _check_batch(events: Sequence[Event]) -> None:
    if len(events) > BATCH_MAX:
        raise StoreError(f"{len(events)} events, limit {BATCH_MAX}")
    for event in events:
        if event.type.startswith(RESERVED):
            raise StoreError(f"{event.type} is a type of the ledger's own")


def _target(entry: Entry) -> Target:
    return Target(
        seq=entry.seq,
        time=entry.time,
        type=entry.type,
        subject=entry.subject,
        actor=entry.actor,
        leaf=entry.leaf,
    )


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
