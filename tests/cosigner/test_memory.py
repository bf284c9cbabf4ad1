"""A co-signer's memory on a disk that fills up, and between two writes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.encoding import canonical
from workbench.cosigner import memory
from workbench.cosigner.memory import Bytes, Memory, MemoryCorruptError, Record

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
        usd_cents=1,
        at="2026-01-01T00:00:00.000000Z",
        bytes=(Bytes(unsigned_tx="00", cancels=False, raw_tx=None, signature=None),),
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
    other = replace(record(0), intent="f" * 64)
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


def test_every_signed_transaction_of_a_nonce_is_kept(folder: Path) -> None:
    """Bytes follow bytes; what was not signed gives way or is withdrawn, and what was signed stays."""
    held = Memory(folder, genesis_hash=GENESIS)
    held.reserve(record(0))
    first = held.complete(record(0), raw_tx="02", signature="00")
    for withdrawn in (first.then("01", cancels=False), first.then("03", cancels=True)):
        held.reserve(withdrawn)
        assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (withdrawn,)
    held.withdraw(withdrawn)
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (first,)
    held.reserve(first.then("04", cancels=True))
    done = held.complete(first.then("04", cancels=True), raw_tx="05", signature="00")
    assert [(each.raw_tx, each.cancels) for each in done.signed] == [("02", False), ("05", True)]
    for lost in (record(0), first, replace(done, bytes=done.bytes[1:])):
        with pytest.raises(FileExistsError):
            held.reserve(lost)
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (done,)


@pytest.mark.parametrize("kept", [[], [None, "02"]])
def test_a_record_that_nobody_wrote(folder: Path, kept: list[str | None]) -> None:
    """A record without bytes, or with unsigned ones before signed ones, stops the process."""
    held = Memory(folder, genesis_hash=GENESIS)
    held.reserve(record(0))
    (path,) = (folder / "signed").iterdir()
    value = json.loads(path.read_bytes())
    value["bytes"] = [{**value["bytes"][0], "raw_tx": raw} for raw in kept]
    path.write_bytes(canonical(value))
    with pytest.raises(MemoryCorruptError, match="all but the last"):
        Memory(folder, genesis_hash=GENESIS)


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


def test_a_part_that_has_left(folder: Path) -> None:
    """Bytes of whose shared signature a part has left count as signed, known or not, and stay."""
    held = Memory(folder, genesis_hash=GENESIS)
    held.reserve(record(0))
    given = held.give(record(0))
    assert (given.in_doubt, given.pending, given.of("00")) == (True, None, None)
    with pytest.raises(MemoryCorruptError, match="never forgotten"):
        held.withdraw(given)
    again = Memory(folder, genesis_hash=GENESIS)
    assert again.snapshot().records == (given,)
    # other bytes come after it, and giving way to them does not forget it
    after = given.then("01", cancels=True)
    again.reserve(after)
    again.withdraw(after)
    assert again.snapshot().records == (given,)
    with pytest.raises(FileExistsError):
        again.reserve(record(0))
    done = again.complete(given, raw_tx="02", signature="00")
    assert (done.in_doubt, done.of("00")) == (False, done.bytes[0])


def test_what_others_signed(folder: Path) -> None:
    """It is remembered beside what was signed here, and never in its place."""
    held = Memory(folder, genesis_hash=GENESIS)
    held.reserve(record(0))
    mine = held.complete(record(0), raw_tx="02", signature="00")
    theirs = Bytes(unsigned_tx="03", cancels=True, raw_tx="04", signature="00", given=True)
    other = replace(record(1), bytes=(theirs,))
    both = replace(mine, bytes=(*mine.bytes, theirs))
    held.learn((both, other))
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (both, other)
    for lost in (replace(mine, bytes=(theirs,)), replace(both, intent="f" * 64)):
        with pytest.raises(MemoryCorruptError, match="would forget"):
            held.learn((lost,))
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (both, other)
    # taken away again, it is missed as any other
    (folder / "signed" / f"1-{other.address}-1.json").unlink()
    with pytest.raises(MemoryCorruptError, match="counts 2 records"):
        Memory(folder, genesis_hash=GENESIS)


def test_a_doubt_is_learned_away(folder: Path) -> None:
    """The signature that came of a part given takes the doubt's place; bytes only decided on may give way."""
    held = Memory(folder, genesis_hash=GENESIS)
    held.reserve(record(0))
    given = held.give(record(0))
    other = Bytes(unsigned_tx="03", cancels=False, raw_tx="04", signature="00", given=True)
    with pytest.raises(MemoryCorruptError, match="would forget"):
        held.learn((replace(given, bytes=(other,)),))
    known = replace(given, bytes=(replace(given.bytes[0], raw_tx="02", signature="00"),))
    held.learn((known,))
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (known,)
    held.reserve(known.then("05", cancels=False))
    held.learn((known,))
    assert Memory(folder, genesis_hash=GENESIS).snapshot().records == (known,)
