"""What a checkpoint of the database writes over is kept: no torn write and no full disk loses an entry."""

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import database, journal, store
from ledger.checkpoint import Checkpoint
from ledger.database import DatabaseError
from ledger.journal import HEADER, Journal, JournalError
from ledger.store import StoreError
from tests.ledger.world import World

ROOT = Path(__file__).resolve().parents[2]
PAGE = 4096


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that makes a disk fail at one point."""
    made = tmp_path_factory.mktemp("disk") / "crash.so"
    source = Path(__file__).with_name("crash.c")
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", str(made), str(source), "-ldl"], check=True, timeout=60)
    return made


@pytest.mark.parametrize("way", ["page", "half", "full"])
def test_every_point(disk: Path, tmp_path: Path, way: str) -> None:
    """A disk that fails at any of the store's writes, torn after a page or a half, or full from then on."""
    command = [sys.executable, "-m", "tests.ledger.crashes", str(tmp_path), way]
    loaded = {**os.environ, "LD_PRELOAD": str(disk)}
    done = subprocess.run(
        command, cwd=ROOT, env=loaded, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["lost"], seen["ended"]) == (0, 1)
    # Nobody is left to tell of a kill, and a full disk is told of, but where only closing meets it.
    assert seen["points"] == (seen["told"] + seen["closed"] if way == "full" else seen["killed"])
    assert seen["points"] > 60
    assert seen["journals"] > 20
    assert seen["acknowledged"] > seen["points"]


DATABASE, WAL, REACHED, JOURNAL = (
    f"ledger.duckdb{suffix}" for suffix in ("", ".wal", ".reached", ".journal")
)


class Torn:
    """A store killed in the middle of a checkpoint: one page of a block is new, its others are old."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.append(*range(6))
        world.check_point()
        world.ledger._database.checkpoint()
        world.append(*range(6, 9))
        self.outside = [world.state()]
        self.entries = [entry.head for entry in world.ledger.entries()]
        before = self.read()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "drop", lambda _: None)
            world.ledger._database.checkpoint()
        after = self.read()
        world.ledger.close()
        self.finished = {**after, REACHED: before[REACHED]}
        page = after[DATABASE][HEADER : HEADER + PAGE]
        torn = before[DATABASE][:HEADER] + page + before[DATABASE][HEADER + PAGE :]
        self.files = {**before, DATABASE: torn, JOURNAL: after[JOURNAL]}
        self.whole = before[DATABASE]

    def read(self) -> dict[str, bytes]:
        """Return the files that are there."""
        paths = [self.world.folder / name for name in (DATABASE, WAL, REACHED, JOURNAL)]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def opens(self, files: dict[str, bytes]) -> bool:
        """Open the store with these files in its folder: it has every entry, or is refused."""
        for name in (DATABASE, WAL, REACHED, JOURNAL):
            (self.world.folder / name).unlink(missing_ok=True)
        for name, raw in files.items():
            (self.world.folder / name).write_bytes(raw)
        try:
            ledger = store.open(
                self.world.path, now=self.world.now, salt=self.world.salt, checkpoints=self.outside
            )
        except StoreError:
            return False
        assert not (self.world.folder / JOURNAL).exists()
        assert [entry.head for entry in ledger.entries()] == self.entries
        ledger.close()
        return True


@pytest.fixture
def torn(world: World) -> Torn:
    """Return such a store."""
    return Torn(world)


def test_a_torn_block(torn: Torn) -> None:
    """The block that was being written goes back, and the WAL has the rest; without a journal all is lost."""
    assert torn.opens(torn.files)
    assert not torn.opens({name: raw for name, raw in torn.files.items() if name != JOURNAL})


def test_a_finished_checkpoint(torn: Torn) -> None:
    """Killed between the header and the journal's end, nothing goes back."""
    assert set(torn.finished) == {DATABASE, REACHED, JOURNAL}
    assert torn.opens(torn.finished)


def test_nothing_was_written_yet(torn: Torn) -> None:
    """Killed between the journal and the first block, what goes back is what is there."""
    assert torn.opens({**torn.files, DATABASE: torn.whole})


def test_killed_while_it_goes_back(torn: Torn) -> None:
    """What goes back in half is torn again, and the next opening puts it back."""
    kept = Journal.parse(torn.files[JOURNAL])
    for place, block in kept.blocks.items():
        half = place + PAGE // 2
        again = torn.files[DATABASE][:place] + block[: PAGE // 2] + torn.files[DATABASE][half:]
        assert torn.opens({**torn.files, DATABASE: again})


def test_a_damaged_journal(torn: Torn) -> None:
    """A flipped bit or a cut in the journal is rot: the opening is refused, and everything is left alone."""
    whole = torn.files[JOURNAL]
    chance = random.Random(20261126)  # noqa: S311 - which bytes are tried must be the same each time
    places = [0, 16, 17, 32, 33, len(whole) - 1, *chance.sample(range(len(whole)), 40)]
    for place in places:
        flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        for raw in (flipped, whole[:place]):
            damaged = {**torn.files, JOURNAL: raw}
            assert not torn.opens(damaged)
            assert torn.read() == damaged


def test_a_journal_of_another_file(torn: Torn) -> None:
    """A journal whose header is not this file's changes nothing."""
    kept = Journal.parse(torn.files[JOURNAL])
    strange = Journal(bytes(HEADER), dict.fromkeys(kept.blocks, bytes(PAGE)))
    assert torn.opens({**torn.files, DATABASE: torn.whole, JOURNAL: strange.encode()})


def test_encoding() -> None:
    """What was encoded is read back; blocks of any place and length, also none."""
    for blocks in ({}, {HEADER: b"a"}, {HEADER: b"", 2**40: bytes(PAGE), 2**41: b"xyz"}):
        made = Journal(b"header", blocks)
        assert Journal.parse(made.encode()) == made
    whole = Journal(b"h", {}).encode()
    for raw in (b"", journal.MAGIC, whole[1:], whole + b"x"):
        with pytest.raises(JournalError, match="is damaged"):
            Journal.parse(raw)


def part(place: int, block: bytes, length: int | None = None) -> bytes:
    """Return a block as a journal has it."""
    return journal.PLACE.pack(place, len(block) if length is None else length) + block


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"x", id="less than a place"),
        pytest.param(part(HEADER, b"block"), id="no header"),
        pytest.param(part(0, b"h") + part(HEADER, b"block", 99), id="a block that is shorter than it says"),
        pytest.param(part(0, b"h") + part(HEADER, b"block") + b"more", id="something behind it"),
        pytest.param(part(0, b"h") + part(2, b"b") + part(1, b"b"), id="blocks in another order"),
        pytest.param(part(0, b"h") + part(1, b"b") + part(1, b"c"), id="two blocks at one place"),
    ],
)
def test_a_journal_made_by_hand(parts: bytes) -> None:
    """A right digest over anything but a journal is refused by name."""
    content = journal.MAGIC + parts
    with pytest.raises(JournalError, match="is none"):
        Journal.parse(content + hashlib.sha256(content).digest())


def test_past_the_end(tmp_path: Path) -> None:
    """What a file does not have is not kept; a block that it has in part is."""
    path = tmp_path / "file"
    path.write_bytes(bytes(HEADER) + b"block")
    journal.keep(path, [(HEADER, 3), (HEADER + 3, 9), (HEADER + 5, 9), (HEADER + 999, 9)])
    kept = Journal.parse(journal.beside(path).read_bytes())
    assert kept == Journal(bytes(HEADER), {HEADER: b"blo", HEADER + 3: b"ck"})


def test_no_second_checkpoint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a journal is there, none is written over it: it may hold the only whole copy of a block."""
    world.append(0)
    place = journal.beside(world.path)
    place.write_bytes(b"the only copy")
    monkeypatch.setattr(database, "WAL_MAX", 1)
    with pytest.raises(StoreError, match="a checkpoint did not finish"):
        world.append(1)
    assert place.read_bytes() == b"the only copy"
    # The store has to be opened again, and says so.
    with pytest.raises(StoreError, match="open the store again"):
        world.append(1)
    world.ledger.close()
    assert place.read_bytes() == b"the only copy"
    place.unlink()
    assert world.reopen().head().size == 1


def test_a_journal_without_its_file(tmp_path: Path, world: World) -> None:
    """What a deleted store has left is written into no new one: neither made nor compacted over it."""
    beside = journal.beside(tmp_path / "new.duckdb")
    beside.write_bytes(b"of another store")
    with pytest.raises(StoreError, match=r"a WAL or a journal of new\.duckdb exists without"):
        store.open(beside.with_suffix(""), now=world.now, salt=world.salt, genesis=world.ledger.genesis)
    assert {path.name for path in tmp_path.glob("new*")} == {"new.duckdb.journal", "new.duckdb.lock"}
    world.append(0)
    journal.beside(world.path).write_bytes(b"of an unfinished checkpoint")
    before = world.path.read_bytes()
    with pytest.raises(DatabaseError, match="a WAL or a journal is left"):
        world.ledger._database.compact()
    assert world.path.read_bytes() == before
    journal.beside(world.path).unlink()
    assert world.reopen().head().size == 1


def test_no_room_for_the_journal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the journal cannot be written, the file is not touched, and nothing is acknowledged."""
    world.append(0)
    before = world.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(database, "WAL_MAX", 1)
        patch.setattr(journal.files, "replace", refuse)
        with pytest.raises(StoreError, match=r"the journal of a checkpoint: .*No space left"):
            world.append(1)
        world.ledger.close()
    assert world.path.read_bytes() == before
    assert world.reopen().head().size == 1
    assert world.append(1)[0].seq == 1


def refuse(*_: object) -> None:
    """Say that the disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_wal_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A WAL above its limit is moved before the next write, one at its limit is not, and no journal stays."""
    wal = world.path.with_name(world.path.name + ".wal")
    world.append(0)
    monkeypatch.setattr(database, "WAL_MAX", wal.stat().st_size)
    before = world.path.read_bytes()
    world.append(1)
    assert world.path.read_bytes() == before
    long = wal.stat().st_size
    world.append(2)
    assert world.path.read_bytes() != before
    assert wal.stat().st_size < long
    assert not journal.beside(world.path).exists()


def test_closing(world: World) -> None:
    """Closing moves the WAL into the file; a store that was refused keeps both as they were."""
    wal = world.path.with_name(world.path.name + ".wal")
    world.append(0)
    assert wal.exists()
    world.ledger.close()
    assert not wal.exists()
    world.reopen()
    world.append(1)
    copy = {path: path.read_bytes() for path in (world.path, wal)}
    ahead = Checkpoint(world.origin, 3, bytes(32), bytes(32))
    world.ledger.close()
    for path, raw in copy.items():
        path.write_bytes(raw)
    with pytest.raises(StoreError, match="behind its checkpoint"):
        store.open(world.path, now=world.now, salt=world.salt, checkpoints=[ahead])
    assert {path: path.read_bytes() for path in copy} == copy
    world.reopen()
