"""A co-signer's memory on a disk that fills up, and between two writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cosigner import memory
from workbench.cosigner.memory import Memory, MemoryCorruptError, Record

GENESIS = bytes(32)

FULL = """
import resource, signal, sys
from pathlib import Path
from tests.cosigner.test_memory import GENESIS, record
from workbench.cosigner.memory import Memory

held = Memory(Path(sys.argv[1]), genesis_hash=GENESIS)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    held.reserve(record(0))
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert not list(Path(sys.argv[1], "signed").iterdir())
held.reserve(record(0))
"""


def record(nonce: int) -> Record:
    """Return a record without a signature."""
    return Record(
        chain_id=1,
        address="0x" + "ab" * 20,
        nonce=nonce,
        intent=f"{nonce:064x}",
        unsigned_tx="00",
        usd_cents=1,
        at="2026-01-01T00:00:00.000000Z",
        raw_tx=None,
        signature=None,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a state root with an empty memory."""
    memory.found(tmp_path, genesis_hash=GENESIS)
    return tmp_path


def test_a_memory_is_founded_once(folder: Path) -> None:
    """Nobody can begin a memory anew over one that exists."""
    with pytest.raises(MemoryCorruptError, match="already"):
        memory.found(folder, genesis_hash=GENESIS)


def test_a_full_disk_leaves_no_half_record(folder: Path) -> None:
    """A record that the disk does not take is not there at all, and is written when there is room again."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=root,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "File too large\n", "")
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (record(0),)


def test_a_nonce_is_taken_once(folder: Path) -> None:
    """The same intent again is the same record; another one under its nonce is refused by the file system."""
    held = Memory(folder, genesis_hash=GENESIS)
    held.reserve(record(0))
    held.reserve(record(0))
    other = Record(**{name: getattr(record(0), name) for name in Record.__slots__} | {"intent": "f" * 64})
    with pytest.raises(FileExistsError):
        held.reserve(other)
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (record(0),)


def test_every_missing_record_is_noticed(folder: Path) -> None:
    """Whichever record is taken away, the memory does not open; put back, it does."""
    held = Memory(folder, genesis_hash=GENESIS)
    for nonce in range(3):
        held.reserve(record(nonce))
        held.complete(record(nonce), raw_tx="02", signature="00")
    for path in sorted((folder / "signed").iterdir()):
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(MemoryCorruptError, match="counts 3 records"):
            Memory(folder, genesis_hash=GENESIS)
        path.write_bytes(kept)
    assert len(Memory(folder, genesis_hash=GENESIS).snapshot().records) == 3


def test_a_crash_between_two_writes_is_no_loss(folder: Path) -> None:
    """One record more than is counted is what a crash leaves; the memory opens with all of them."""
    held = Memory(folder, genesis_hash=GENESIS)
    counted = (folder / "head.json").read_bytes()
    held.reserve(record(0))
    (folder / "head.json").write_bytes(counted)
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (record(0),)


def test_withdrawn_and_signed(folder: Path) -> None:
    """A record without a signature can be withdrawn, one with a signature never."""
    held = Memory(folder, genesis_hash=GENESIS)
    held.reserve(record(0))
    held.withdraw(record(0))
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == ()
    held.reserve(record(0))
    done = held.complete(record(0), raw_tx="02", signature="00")
    with pytest.raises(MemoryCorruptError, match="never forgotten"):
        held.withdraw(done)
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (done,)


def test_the_head_never_goes_back(folder: Path) -> None:
    """Neither the ledger nor the policy set that was seen can be unseen."""
    held = Memory(folder, genesis_hash=GENESIS)
    first = held.snapshot().head
    newer = memory.Head(
        size=2, hashes=(bytes(32),), chain=bytes(32), policy="p", policy_version=2, time_floor="", records=0
    )
    held.advance(newer)
    with pytest.raises(MemoryCorruptError, match="go back"):
        held.advance(first)
    assert Memory(folder, genesis_hash=GENESIS).snapshot().head == newer
