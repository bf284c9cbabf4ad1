"""How far a store got: what was committed once and is gone is missed, and damage to the count is named."""

import errno
import os
from pathlib import Path

import pytest

from ledger import store
from ledger.reached import Mark, Reached, ReachedError
from ledger.store import StoreError
from tests.ledger.test_store import files
from tests.ledger.world import World

HERE = Reached(5, 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file that says five entries and two changes."""
    path = tmp_path / "reached"
    Mark(path, HERE).close()
    assert path.read_bytes() == HERE.line
    return path


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit(bit: int) -> None:
    """Whatever bit of the line changes, it is no line any more."""
    for place in range(len(HERE.line)):
        raw = bytearray(HERE.line)
        raw[place] ^= 1 << bit
        with pytest.raises(ReachedError, match="damaged"):
            Reached.parse(bytes(raw))


@pytest.mark.parametrize("raw", [b"", HERE.line[:-1], HERE.line + b"\n", b"\n" + HERE.line, HERE.line * 2])
def test_other_lines(path: Path, raw: bytes) -> None:
    """A file that is not this one line is refused, and left as it is."""
    path.write_bytes(raw)
    with pytest.raises(ReachedError, match="damaged"):
        Mark(path, HERE)
    assert path.read_bytes() == raw


@pytest.mark.parametrize("less", [Reached(4, 2), Reached(5, 1), Reached(4, 3), Reached(6, 1)])
def test_less_than_before(path: Path, less: Reached) -> None:
    """Fewer entries or fewer changes are refused, even if there is more of the other."""
    with pytest.raises(ReachedError, match="is lost"):
        Mark(path, less)
    assert path.read_bytes() == HERE.line


@pytest.mark.parametrize("more", [HERE, Reached(6, 2), Reached(5, 3), Reached(10**12, 10**12)])
def test_as_much_or_more(path: Path, more: Reached) -> None:
    """What has as much, or got further before it could say so, begins from there."""
    mark = Mark(path, more)
    assert Reached.parse(path.read_bytes()) == more
    mark.move(Reached(more.size + 1, more.revision))
    assert Reached.parse(path.read_bytes()) == Reached(more.size + 1, more.revision)
    mark.close()
    with pytest.raises(ReachedError, match="Bad file descriptor"):
        mark.move(more)


def test_what_a_store_says(world: World) -> None:
    """Entries count themselves, everything else one change a commit; it is said when the receipt is there."""
    path = world.folder / "ledger.duckdb.reached"

    def said() -> tuple[int, int]:
        found = Reached.parse(path.read_bytes())
        return found.size, found.revision

    assert said() == (0, 0)
    world.append(0, 1)
    assert said() == (2, 0)
    world.check_point()
    assert said() == (2, 1)
    world.ledger.record_anchor(2, b"{}")
    assert said() == (2, 2)
    world.ledger.seal(1)
    assert said() == (2, 3)
    assert world.reopen().head().size == 2
    world.append(2)
    assert said() == (3, 3)


def test_a_change_that_is_refused_does_not_count(world: World) -> None:
    """A change that was rolled back is none, and the next one counts once."""
    world.append(0)

    def fail() -> None:
        raise InterruptedError

    world.reopen(testing_only_before_commit=fail)
    with pytest.raises(InterruptedError):
        world.check_point()
    world.reopen()
    world.check_point()
    path = world.folder / "ledger.duckdb.reached"
    assert Reached.parse(path.read_bytes()) == Reached(1, 1)


def test_a_commit_that_could_not_say_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes the commit but not the count leaves a whole store that must be opened again."""
    world.append(0)
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", broken_disk)
        with pytest.raises(StoreError, match="could not be written"):
            world.append(1)
    with pytest.raises(StoreError, match="open the store again"):
        world.append(1)
    assert world.reopen().head().size == 2
    assert world.append(1)[0].seq == 1


def broken_disk(*_: object) -> int:
    """Fail as a disk does."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_older_copy_in_its_place(world: World) -> None:
    """Older files put back beside the count are refused with no checkpoint at all, and stay as they are."""
    world.append(0)
    world.ledger.close()
    older = files(world.folder)
    world.reopen()
    world.append(1)
    world.ledger.close()
    newest = (world.folder / "ledger.duckdb.reached").read_bytes()
    for name, raw in older.items():
        (world.folder / name).write_bytes(raw)
    (world.folder / "ledger.duckdb.wal").unlink(missing_ok=True)
    (world.folder / "ledger.duckdb.reached").write_bytes(newest)
    before = files(world.folder)
    with pytest.raises(StoreError, match="has 1 entries and 0 changes beside them, and once had 2 and 0"):
        store.open(world.path, now=world.now, salt=world.salt)
    assert files(world.folder) == before
