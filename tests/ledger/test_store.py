"""The store: all or nothing, once and for ever, durable before the receipt, never behind itself."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ledger import checkpoint, database, merkle, segments, store
from ledger.chain import Genesis
from ledger.checkpoint import Checkpoint
from ledger.encoding import EncodingError, canonical
from ledger.entry import Entry
from ledger.merkle import Frontier, ProofError
from ledger.store import ConflictError, Head, StoreError
from ledger.trust import TrustRoot
from ledger.verifier import verify
from tests.ledger.world import ORIGIN, SERVICE, START, Folder, World, event, key, public, trust_root

ROOT = Path(__file__).resolve().parents[2]


def test_receipts_and_entries(world: World) -> None:
    """A receipt names the place; entries come back as they were written, with all their parts."""
    receipts = world.append(0, 1) + world.append(2)
    entries = list(world.ledger.entries())
    assert [(entry.seq, entry.h, entry.leaf) for entry in entries] == [
        (receipt.seq, receipt.h, receipt.leaf) for receipt in receipts
    ]
    assert [(entry.id, entry.data, entry.subject) for entry in entries] == [
        (event(number).id, event(number).data, event(number).subject) for number in range(3)
    ]
    assert [entry.time for entry in entries] == [START, START, START + timedelta(microseconds=250_001)]
    assert entries[0].prev == world.ledger.genesis.hash()
    assert entries[2].prev == entries[1].h


def test_ranges(world: World) -> None:
    """Both ends of a range are included; what is not there is not yielded."""
    world.append(*range(5))
    leaves = world.ledger.leaves()

    def seqs(*bounds: int) -> list[int]:
        return [entry.seq for entry in world.ledger.entries(*bounds)]

    assert (seqs(), seqs(1, 3), seqs(4), seqs(3, 99), seqs(3, 2), seqs(5)) == (
        [0, 1, 2, 3, 4],
        [1, 2, 3],
        [4],
        [3, 4],
        [],
        [],
    )
    assert (world.ledger.leaves(1, 3), world.ledger.leaves(0, -1)) == (leaves[1:4], [])


def test_head(world: World) -> None:
    """The head is the tree and the chain over all entries; before the first, it is the genesis."""
    assert world.ledger.head() == Head(0, merkle.EMPTY, world.ledger.genesis.hash())
    receipts = world.append(0, 1, 2)
    expected = Head(3, merkle.root([receipt.leaf for receipt in receipts]), receipts[-1].h)
    assert world.ledger.head() == expected
    assert world.reopen().head() == expected


def test_reading_goes_on_over_pages(world: World) -> None:
    """A reader sees the entries there were when it began, however many pages they fill."""
    world.append(*range(database.PAGE + 2))
    reading = world.ledger.entries()
    first = next(reading)
    world.append(database.PAGE + 2)
    rest = [entry.seq for entry in reading]
    assert [first.seq, *rest] == list(range(database.PAGE + 2))


def test_a_row_that_went(world: World) -> None:
    """A row that goes while the store is open is missed where it stood: nobody reads over the gap."""
    world.append(0, 1, 2)
    world.ledger._database.connection.execute("delete from entry where seq = 1")
    reading = world.ledger.entries()
    assert next(reading).seq == 0
    with pytest.raises(StoreError, match="entry 1 is missing: 2 stands in its place"):
        next(reading)


def test_find(world: World) -> None:
    """An entry is found by its name, before and after a restart."""
    world.append(0, 1)
    for _ in range(2):
        found = world.ledger.find("/desk/1", "event-1")
        assert found is not None
        assert found.seq == 1
        assert world.ledger.find("/desk/2", "event-1") is None
        world.reopen()


def test_proofs(world: World) -> None:
    """Every entry proves that it is in, at every size; every size extends the earlier."""
    receipts = world.append(*range(6))
    leaves = [receipt.leaf for receipt in receipts]
    for size in range(1, 7):
        root = merkle.root(leaves[:size])
        for seq in range(size):
            merkle.verify_inclusion(leaves[seq], seq, size, world.ledger.inclusion(seq, size), root)
        merkle.verify_consistency(
            2, 6, merkle.root(leaves[:2]), merkle.root(leaves), world.ledger.consistency(2, 6)
        )
    for seq, size in ((6, 6), (3, 3), (-1, 3)):
        with pytest.raises(ProofError):
            world.ledger.inclusion(seq, size)
    with pytest.raises(StoreError):
        world.ledger.inclusion(0, 7)


def test_the_same_event_again(world: World) -> None:
    """Sent again, in one batch, in another or after a restart, an event keeps its first receipt."""
    first, second = world.append(0, 1)
    head = world.ledger.head()
    assert world.append(1, 0) == [second, first]
    world.reopen()
    assert world.append(0) == [first]
    assert world.ledger.head() == head
    third, again = world.append(2, 2)
    assert (third, world.ledger.head().size) == (again, 3)


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        pytest.param([event(5), event(0, data={"number": 1})], ConflictError, id="other data under a name"),
        pytest.param([event(5), event(0, actor="bob")], ConflictError, id="another actor under a name"),
        pytest.param([event(5), event(0, data={"truth": 1})], ConflictError, id="1 where True stands"),
        pytest.param(
            [event(5), event(5, type="other")], ConflictError, id="two events of one name in a batch"
        ),
        pytest.param(
            [event(5), event(6, data={"amount": 0.5})], EncodingError, id="a float in the second event"
        ),
        pytest.param([event(5), event(6, data={"x": "y" * 65536})], EncodingError, id="too large"),
        pytest.param([event(number) for number in range(10_001)], StoreError, id="too many"),
    ],
)
def test_all_or_nothing(world: World, batch: list[Any], error: type[Exception]) -> None:
    """A batch with one event that cannot be appended leaves nothing, in memory, on disk or in names."""
    world.ledger.append([event(0, data={"truth": True})])
    head = world.ledger.head()
    with pytest.raises(error):
        world.ledger.append(batch)
    assert world.ledger.head() == head
    assert world.reopen().head() == head
    assert world.ledger.find("/desk/1", "event-5") is None
    assert world.append(5)[0].seq == 1


def test_an_empty_batch(world: World) -> None:
    """Nothing appended, nothing changed."""
    head = world.ledger.head()
    assert world.ledger.append([]) == []
    assert world.ledger.head() == head


def test_how_large_a_batch_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has as many events as the limit says, and not one more."""
    monkeypatch.setattr(store, "BATCH_MAX", 2)
    with pytest.raises(StoreError, match="3 events, limit 2"):
        world.append(0, 1, 2)
    assert world.ledger.head().size == 0
    assert len(world.append(0, 1)) == 2


@pytest.mark.parametrize("salt", [b"", b"x" * 31])
def test_a_bad_salt_source(world: World, salt: bytes) -> None:
    """A salt of another length appends nothing."""
    world.salt = lambda: salt
    world.reopen()
    with pytest.raises(ValueError, match="salt"):
        world.append(0)
    assert world.ledger.head().size == 0


def test_time_never_goes_back(world: World) -> None:
    """Under a clock that is set back, entries are as late as the last one, after a restart too."""
    times = iter([START, START - timedelta(days=1), START - timedelta(hours=1), START + timedelta(seconds=1)])
    world.now = times.__next__
    world.reopen()
    world.append(0)
    world.append(1)
    world.reopen()
    world.append(2)
    world.append(3)
    stamps = [entry.time for entry in world.ledger.entries()]
    assert stamps == [START, START, START, START + timedelta(seconds=1)]


def test_a_clock_without_zone(world: World) -> None:
    """A naive time is refused, and nothing is written."""
    world.now = lambda: datetime(2026, 1, 1)  # noqa: DTZ001 - the point
    world.reopen()
    with pytest.raises(ValueError, match="time zone"):
        world.append(0)
    assert world.ledger.head().size == 0


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_create_only_once(world: World) -> None:
    """A genesis does not overwrite a store; a missing store is not made up."""
    world.append(0)
    world.ledger.close()
    before = files(world.folder)
    with pytest.raises(StoreError, match="genesis already"):
        store.open(world.path, now=world.now, salt=world.salt, genesis=world.genesis)
    with pytest.raises(StoreError, match="does not exist"):
        store.open(world.folder / "other", now=world.now, salt=world.salt)
    with pytest.raises(StoreError):
        store.open(world.folder / "no" / "folder", now=world.now, salt=world.salt, genesis=world.genesis)
    with pytest.raises(StoreError, match="fields"):
        store.open(world.folder / "bad", now=world.now, salt=world.salt, genesis={"v": 1})
    after = files(world.folder)
    after.pop("bad.lock")
    assert after == before


def test_a_genesis_that_was_read(world: World) -> None:
    """A genesis may be given as it was read elsewhere, and the chain begins with it."""
    read = Genesis.of(world.genesis)
    made = store.open(world.folder / "other", now=world.now, salt=world.salt, genesis=read)
    assert (made.genesis, made.head().h) == (read, read.hash())
    made.close()


def test_another_trust_root(world: World) -> None:
    """A store is not opened under a trust root that its genesis does not name, and stays as it was."""
    world.append(0)
    world.ledger.close()
    before = files(world.folder)
    with pytest.raises(StoreError, match="trust root is not the one in the genesis"):
        world.reopen(trust_root=TrustRoot.of(trust_root(profile="other")))
    assert files(world.folder) == before
    assert world.reopen(trust_root=TrustRoot.of(world.trust)).head().size == 1


def test_an_orphaned_wal(world: World) -> None:
    """A WAL that outlived its store is not replayed into a new one."""
    (world.folder / "fresh.wal").write_bytes(b"")
    with pytest.raises(StoreError, match="without"):
        store.open(world.folder / "fresh", now=world.now, salt=world.salt, genesis=world.genesis)
    assert not (world.folder / "fresh").exists()


def test_a_stale_draft(world: World) -> None:
    """A creation that was interrupted is begun again."""
    (world.folder / "fresh.new").write_bytes(b"half")
    (world.folder / "fresh.new.wal").write_bytes(b"half")
    ledger = store.open(world.folder / "fresh", now=world.now, salt=world.salt, genesis=world.genesis)
    assert ledger.head().size == 0
    ledger.close()


def test_a_second_writer(world: World) -> None:
    """While a store is open, no other opens it: not in this process, not in another."""
    world.append(0)
    with pytest.raises(StoreError, match="another writer"):
        store.open(world.path, now=world.now, salt=world.salt)
    script = f"from ledger import store; store.open({str(world.path)!r}, now=None, salt=None)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "another writer" in done.stderr
    assert world.append(1)[0].seq == 1
    assert world.reopen().head().size == 2


def test_closed(world: World) -> None:
    """A closed store answers nothing and may be closed again."""
    world.append(0)
    world.ledger.close()
    world.ledger.close()
    for attempt in attempts(world):
        with pytest.raises(StoreError, match="the store is closed"):
            attempt()
    assert not (world.folder / "copy").exists()


TAMPERINGS = {
    "a head changed": "update entry set head = replace(head, 'alice', 'mallo') where seq = 1",
    "data changed": "update entry set data = '{}' where seq = 1",
    "data removed": "update entry set data = null, salt = null where seq = 1",
    "salt changed": "update entry set salt = leaf where seq = 1",
    "a leaf changed": "update entry set leaf = prev where seq = 1",
    "an h changed": "update entry set h = prev where seq = 1",
    "prev changed": "update entry set prev = leaf where seq = 1",
    "a column that the head does not say": "update entry set type = 'other' where seq = 1",
    "a subject that the head does not say": "update entry set subject = 'x' where seq = 1",
    "another time in the column": "update entry set ts_us = ts_us + 1 where seq = 1",
    "an entry removed": "delete from entry where seq = 1",
    "the first entry removed": "delete from entry where seq = 0",
    "an entry twice": "insert into entry select * from entry where seq = 1",
    "the last entry twice": "insert into entry select * from entry where seq = 2",
    "an entry beside the sequence": "insert into entry select -1, * exclude (seq) from entry where seq = 2",
    "an entry after a gap": "insert into entry select 9, * exclude (seq) from entry where seq = 2",
    "another genesis": "update genesis set document = replace(document, '2026', '2025')",
    "no genesis": "delete from genesis",
    "two geneses": "insert into genesis select * from genesis",
    "no table": "drop table entry",
    "a node for nothing": "insert into node select 8, 0, leaf from entry where seq = 0",
    "a checkpoint that is none": "update checkpoint set note = 'x'",
    "entries cut below a recorded checkpoint": "delete from entry where seq = 2",
}


@pytest.mark.parametrize("statement", [pytest.param(text, id=name) for name, text in TAMPERINGS.items()])
def test_a_tampered_store_is_not_opened(world: World, statement: str) -> None:
    """Whatever somebody did to the file with a database client, opening recomputes and refuses."""
    world.append(0, 1, 2)
    world.check_point()
    world.ledger.close()
    with duckdb.connect(world.path) as tampered:
        tampered.execute(statement)
    before = files(world.folder)
    with pytest.raises(StoreError):
        store.open(world.path, now=world.now, salt=world.salt)
    assert files(world.folder) == before


def test_names_are_unique_and_time_does_not_go_back_on_disk(world: World) -> None:
    """A chain that is whole but breaks the rules of a ledger is refused as well."""
    entry = next(iter([world.append(0), *world.ledger.entries()][1:]))
    assert isinstance(entry, Entry)
    for forged, message in ((event(0), "twice"), (event(1), "time goes back")):
        time = entry.time - timedelta(seconds=message != "twice")
        bad = Entry.write(forged, seq=1, time=time, salt=bytes(32), prev=entry.h)
        copy = world.folder / "copy"
        world.ledger.snapshot(copy)
        with duckdb.connect(copy) as tampered:
            row = list(database.row_of(bad))
            tampered.execute("insert into entry values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        with pytest.raises(StoreError, match=message):
            store.open(copy, now=world.now, salt=world.salt)
        copy.unlink()


def test_a_truncated_wal(world: World, tmp_path: Path) -> None:
    """A store whose WAL was cut opens silently with fewer entries; the checkpoint kept elsewhere finds it."""
    world.append(0, 1)
    short = (world.folder / "ledger.duckdb.wal").stat().st_size
    world.append(2, 3)
    outside = world.state()
    stolen = tmp_path / "stolen"
    stolen.mkdir()
    shutil.copy(world.path, stolen / "ledger.duckdb")
    wal = (world.folder / "ledger.duckdb.wal").read_bytes()
    (stolen / "ledger.duckdb.wal").write_bytes(wal[:short])
    with pytest.raises(StoreError, match="2 entries and is behind its checkpoint of 4"):
        store.open(stolen / "ledger.duckdb", now=world.now, salt=world.salt, checkpoints=[outside])
    silent = store.open(stolen / "ledger.duckdb", now=world.now, salt=world.salt)
    assert silent.head().size == 2
    silent.close()


def test_a_deleted_wal(world: World, tmp_path: Path) -> None:
    """A store without its WAL is empty, and behind every checkpoint."""
    world.append(0)
    shutil.copy(world.path, tmp_path / "stolen")
    with pytest.raises(StoreError, match="behind"):
        store.open(tmp_path / "stolen", now=world.now, salt=world.salt, checkpoints=[world.state()])


def test_another_history(world: World, tmp_path: Path) -> None:
    """A store that is long enough but another one does not extend the checkpoint kept elsewhere."""
    world.append(0, 1)
    outside = world.state()
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    other.append(1, 0, 2)
    other.ledger.close()
    for state in (outside, Checkpoint(ORIGIN, 0, merkle.EMPTY, bytes(32))):
        with pytest.raises(StoreError, match="does not extend"):
            store.open(other.path, now=other.now, salt=other.salt, checkpoints=[state])
    assert world.reopen(checkpoints=[outside]).head().size == 2


class Power(Exception):  # noqa: N818 - a failure from outside
    """The power fails."""


def fail() -> None:
    """Fail where a hook stands."""
    raise Power


@pytest.mark.parametrize(
    ("hook", "size"),
    [
        pytest.param("testing_only_before_commit", 1, id="refused before the commit"),
        pytest.param("testing_only_after_commit", 2, id="stored, but reported as failed"),
    ],
)
def test_failures_around_the_commit(world: World, hook: str, size: int) -> None:
    """Memory and disk agree after a failure, and sending again gives each event its one place."""
    world.append(0)
    world.reopen(**{hook: fail})
    with pytest.raises(Power):
        world.append(1)
    assert world.ledger.head().size == size
    assert world.reopen().head().size == size
    assert [receipt.seq for receipt in world.append(1, 0, 2)] == [1, 0, 2]
    assert world.reopen().head().size == 3


def test_a_commit_of_unknown_outcome(world: World) -> None:
    """If the commit itself fails, the store answers nothing until it is opened again."""
    world.append(0)
    world.reopen(testing_only_before_commit=lambda: world.ledger._database.connection.execute("rollback"))
    with pytest.raises(StoreError, match="unknown"):
        world.append(1)
    for attempt in attempts(world):
        with pytest.raises(StoreError, match="open the store again"):
            attempt()
    assert not (world.folder / "copy").exists()
    assert world.reopen().head().size == 1
    assert world.append(1)[0].seq == 1


def attempts(world: World) -> list[Callable[[], object]]:
    """Return whatever a store may be asked for, but a rule."""
    ledger = world.ledger
    return [
        lambda: world.append(2),
        lambda: world.append(0),
        ledger.entries,
        ledger.leaves,
        lambda: ledger.find("/desk/1", "event-0"),
        world.check_point,
        lambda: ledger.record_anchor(1, b"{}"),
        ledger.checkpoints,
        ledger.newest_checkpoint,
        ledger.anchors,
        lambda: ledger.seal(0),
        world.write_bundle,
        lambda: ledger.snapshot(world.folder / "copy"),
    ]


KILLED = """
    import os, signal, sys
    from ledger import store
    from tests.ledger.world import clock, event, salts
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)
    ledger = store.open(sys.argv[1], now=clock().__next__, salt=salts().__next__)
    print(*[receipt.seq for receipt in ledger.append([event(0), event(1)])], flush=True)
    setattr(ledger, sys.argv[2], kill)
    ledger.append([event(2), event(3)])
"""


@pytest.mark.parametrize(
    ("hook", "size"),
    [
        pytest.param("_before_commit", 2, id="before the commit"),
        pytest.param("_after_commit", 4, id="after it"),
    ],
)
def test_kill_9(world: World, hook: str, size: int) -> None:
    """Killed before the commit, nothing of a batch is there; killed before the receipt, all of it."""
    world.ledger.close()
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(world.path), hook]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "0 1\n")
    assert world.reopen().head().size == size
    assert [receipt.seq for receipt in world.append(2, 3, 0)] == [2, 3, 0]
    world.check_point()
    assert verify(world.write_bundle().path, world.trust).size == 4


def test_threads(world: World) -> None:
    """Threads that append the same and different events get receipts of one sequence."""
    results: dict[int, list[int]] = {}

    def work(number: int) -> None:
        batches = [world.append(*range(start, start + 3)) for start in (number, 0, number)]
        results[number] = [receipt.seq for batch in batches for receipt in batch]

    threads = [threading.Thread(target=work, args=[10 * number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seq for seqs in results.values() for seq in seqs} == set(range(12))
    assert all(seqs[:3] == seqs[6:] for seqs in results.values())
    assert world.reopen().head().size == 12


def test_checkpoints_are_kept(world: World) -> None:
    """Notes come back by size; a note with a cosignature more takes the place of the older one."""
    assert world.ledger.newest_checkpoint() is None
    empty = world.check_point()
    world.append(0, 1)
    two = world.check_point()
    world.append(2)
    three = world.check_point()
    more = checkpoint.cosign(two, "ann", public("ann"), key("ann").sign, at=START)
    world.ledger.record_checkpoint(more)
    assert world.reopen().checkpoints() == [empty, more, three]
    assert world.ledger.newest_checkpoint() == three


def test_checkpoints_that_do_not_fit(world: World) -> None:
    """A note about another history, a later state or no note at all is not recorded."""
    world.append(0, 1)
    state = world.state()
    world.check_point()

    def note(**changes: Any) -> str:
        fields: dict[str, Any] = {
            "origin": ORIGIN,
            "size": 2,
            "root": state.root,
            "chain": state.chain,
        } | changes
        return checkpoint.sign(Checkpoint(**fields), SERVICE, public(SERVICE), key(SERVICE).sign)

    before = world.ledger.checkpoints()
    for bad in (note(size=3), note(size=1), note(size=0), note(root=bytes(32)), note(chain=bytes(32)), "x"):
        with pytest.raises(StoreError):
            world.ledger.record_checkpoint(bad)
    assert world.reopen().checkpoints() == before


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"last": 3}, id="no checkpoint at the end"),
        pytest.param({"first": 1}, id="no checkpoint at the start"),
        pytest.param({"first": 3}, id="nothing in between"),
        pytest.param({"first": -1}, id="a negative start"),
        pytest.param({"last": 9}, id="beyond the end"),
        pytest.param({"files": {"run.sh": b""}}, id="a file of no known folder"),
        pytest.param({"files": {"policies/../../x": b""}}, id="a file outside"),
        pytest.param({"files": {"blobs/" + "0" * 64: b"x"}}, id="a blob under a false name"),
        pytest.param({"files": {"entries.jsonl": b""}}, id="another file of entries"),
        pytest.param({"files": {"checkpoints/9.txt": b""}}, id="another checkpoint"),
    ],
)
def test_bundles_that_would_not_verify(world: World, options: dict[str, Any]) -> None:
    """A bundle that no auditor could verify is not written."""
    world.append(0, 1, 2)
    world.check_point()
    world.append(3)
    with pytest.raises((StoreError, ValueError)):
        world.write_bundle(**options)
    assert not (world.folder / "bundle").exists()


def test_a_bundle_under_another_trust_root(world: World) -> None:
    """The trust root that goes into a bundle is the one in the genesis."""
    world.append(0)
    world.check_point()
    for trust in (canonical(trust_root(profile="other")), b"{}", b""):
        with pytest.raises(StoreError, match="trust root"):
            world.ledger.bundle(world.folder / "bundle", trust_root=trust)
    assert not (world.folder / "bundle").exists()


def test_a_bundle_is_not_overwritten(world: World, bundle: Folder) -> None:
    """A second bundle to the same folder is refused and leaves the first as it is."""
    with pytest.raises(FileExistsError):
        world.write_bundle()
    assert verify(bundle.path, world.trust).size == 8


def test_every_bundle_verifies(world: World) -> None:
    """Bundles between any two checkpoints verify under the trust root."""
    for number in range(5):
        world.check_point()
        world.append(number)
    world.check_point()
    for first in range(5):
        for last in range(first, 5):
            part = world.write_bundle(f"{first}-{last}", first=first, last=last)
            assert verify(part.path, world.trust).checkpoints == tuple(range(first, last + 2))


def test_anchors_of_a_range(world: World) -> None:
    """A bundle takes the anchors of its own checkpoints along, both ends included, and no others."""
    with pytest.raises(StoreError, match="no checkpoint of 1 entries"):
        world.ledger.record_anchor(1, b"{}")
    for number in range(4):
        world.append(number)
        world.check_point()
        world.ledger.record_anchor(number + 1, b"{}")
    part = world.write_bundle(first=2, last=2)
    assert {name for name in part.index()["files"] if name.startswith("anchors/")} == {
        "anchors/2.json",
        "anchors/3.json",
    }
    assert verify(part.path, world.trust).size == 3


def test_sealing(world: World) -> None:
    """Each segment begins where the one before ends; what is sealed, or not there, is not sealed."""
    world.append(*range(6))
    folder = world.folder / "segments"
    ends = [(world.ledger.seal(last).first_seq, last) for last in (2, 3)]
    before = files(folder)
    for last in (-1, 2, 3, 6, 7):
        with pytest.raises(StoreError, match="are not there to be sealed"):
            world.ledger.seal(last)
    assert files(folder) == before
    ends.append((world.reopen().seal(5).first_seq, 5))
    assert ends == [(0, 2), (3, 3), (4, 5)]
    genesis = world.ledger.genesis.hash()
    assert segments.verify(folder, genesis_hash=genesis, executor=None).size == 6


def test_nothing_is_redacted_without_rules(world: World) -> None:
    """A store that was opened without a trust root has nothing redacted in it."""
    assert world.ledger.redacted() == []


def test_snapshot(world: World) -> None:
    """A snapshot is a database of its own with the same rows; an existing file is not overwritten."""
    world.append(0, 1, 2)
    copy = world.folder / "it's a copy"
    world.ledger.snapshot(copy)
    with duckdb.connect(copy, read_only=True) as database:
        rows = database.execute("select seq, leaf, h from entry order by seq").fetchall()
    assert rows == [(entry.seq, entry.leaf, entry.h) for entry in world.ledger.entries()]
    with pytest.raises(StoreError, match="exists"):
        world.ledger.snapshot(copy)
    assert world.append(3)[0].seq == 3


SQL_VERIFIER = """
    with linked as (
        select *, lag(h, 1, $genesis) over (order by seq) as before,
               row_number() over (order by seq) - 1 as place from entry)
    select count(*) filter (where leaf is distinct from unhex(sha256('\\x00'::blob || encode(head)))),
           count(*) filter (where prev is distinct from before),
           count(*) filter (where seq is distinct from place),
           count(*) filter (where h is distinct from
               unhex(sha256('\\x02'::blob || prev || unhex(lpad(to_hex(seq), 16, '0')) || leaf)))
    from linked"""


def test_one_sql_statement_agrees(world: World) -> None:
    """One SQL statement, which shares no line with ours, finds the same chain sound, and its faults."""
    world.append(*range(20))
    copy = world.folder / "copy"
    world.ledger.snapshot(copy)
    with duckdb.connect(copy) as readers:
        genesis = {"genesis": world.ledger.genesis.hash()}
        assert readers.execute(SQL_VERIFIER, genesis).fetchall() == [(0, 0, 0, 0)]
        readers.execute("update entry set head = head || ' ' where seq = 3")
        readers.execute("update entry set seq = 99 where seq = 19")
        assert readers.execute(SQL_VERIFIER, genesis).fetchall() == [(1, 0, 1, 1)]


def test_commits_reach_the_disk(world: World) -> None:
    """The settings that durability hangs on are those that were measured."""
    settings = world.ledger._database.read(
        "select current_setting('fsync_mode'), current_setting('wal_autocheckpoint')"
    )
    assert settings == [("STANDARD", "909.4 TiB")]
    with duckdb.connect() as careless:
        careless.execute("set fsync_mode = 'NONE'")
        with pytest.raises(database.DatabaseError, match="fsync_mode"):
            database.check_durable(careless)


@pytest.mark.parametrize("cut_off", [False, True])
def test_no_careless_connection(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cut_off: bool
) -> None:
    """A store whose commits would not wait for the disk is not opened; file and WAL stay as they were."""
    world.append(0)
    if not cut_off:
        world.ledger.close()
    left = tmp_path / "left"
    shutil.copytree(world.folder, left, ignore=shutil.ignore_patterns("left"))
    before = files(left)
    assert any(name.endswith(".wal") for name in before) == cut_off
    monkeypatch.setitem(database.OPTIONS, "fsync_mode", "NONE")
    with pytest.raises(StoreError, match="fsync_mode"):
        store.open(left / world.path.name, now=world.now, salt=world.salt)
    assert files(left) == before


def test_compacting_keeps_what_a_wal_holds(world: World) -> None:
    """A file whose WAL would outlive it is not replaced: the WAL would be replayed into another one."""
    world.append(0)
    world.ledger.close()
    opened = database.Database(world.path)  # closing it would leave a WAL: nobody has believed it yet
    opened.replace_checkpoint(world.state(), world.note(), None)
    before = files(world.folder)
    with pytest.raises(database.DatabaseError, match="a WAL or a journal is left"):
        opened.compact()
    after = files(world.folder)
    assert {name: after[name] for name in before} == before
    assert world.reopen().checkpoints() == [world.note()]


def test_a_frontier_of_the_store_grows_outside(world: World) -> None:
    """An outside memory follows the root from leaves alone."""
    world.append(0, 1, 2)
    memory = Frontier()
    for leaf in world.ledger.leaves():
        memory.append(leaf)
    world.append(3, 4)
    for leaf in world.ledger.leaves(memory.size):
        memory.append(leaf)
    assert memory.root() == world.ledger.head().root


def test_hooks_are_named_for_what_they_are(world: World) -> None:
    """No hook is set unless a test asks for one."""
    hooks: list[Callable[[], None] | None] = [world.ledger._before_commit, world.ledger._after_commit]
    assert hooks == [None, None]
    assert os.stat(world.folder / "ledger.duckdb.lock").st_size == 0  # noqa: PTH116 - one call
