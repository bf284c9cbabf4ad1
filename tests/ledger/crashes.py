"""A store whose disk fails at each of its writes in turn: torn and killed, or full from then on.

`python -m tests.ledger.crashes FOLDER WAY` runs under `crash.c` and prints one JSON document. It imports
everything once; each turn forks a child that writes until its disk fails, and one that looks at what is left.
"""

import ctypes
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import duckdb  # noqa: F401 - imported before the forks, opened only after them

from ledger import checkpoint, database, store
from ledger.checkpoint import Checkpoint
from ledger.manifest import SegmentError
from tests.ledger.nursery import GENESIS, child, look, now, salt
from tests.ledger.world import ORIGIN, SERVICE, event, key, public

WAYS = {"page": 0, "half": 1, "full": 2}
ROUNDS, BATCH, WAL_MAX = 3, 12, 8 * 1024
"""Enough for a checkpoint of the database in nearly every round."""
NAME = "ledger.duckdb"
ENDS = {0: "ended", 2: "told", 3: "closed"}
"""No point was left to fail at; the store said what failed; only closing failed, and left the WAL there."""
LIBRARY = ctypes.CDLL(None)


def main() -> None:
    """Write whole once, to count; then fail at each point."""
    folder, way = Path(sys.argv[1]), WAYS[sys.argv[2]]
    database.WAL_MAX = WAL_MAX
    seen = dict.fromkeys(("lost", "killed", "told", "closed", "ended", "acknowledged", "journals"), 0)
    number = 0
    child(lambda: prepare(folder / "first"))
    while not seen["ended"]:
        shutil.copytree(folder / "first", folder / str(number))
        path = folder / str(number) / NAME
        acknowledged, end = fail(path, number, way)
        seen[end] += 1
        seen["journals"] += path.with_name(path.name + ".journal").exists()
        entries = child(lambda path=path: look_and_go_on(path))
        seen["acknowledged"] += len(acknowledged)
        seen["lost"] += sum(entries.get(name) != place for name, place in acknowledged.items())
        shutil.rmtree(path.parent)
        number += 1
    print(json.dumps(seen | {"points": number - 1}))


def prepare(folder: Path) -> None:
    """Make a store with something in its file."""
    folder.mkdir()
    ledger = store.open(folder / NAME, now=now, salt=salt, genesis=GENESIS)
    ledger.append([event(0, id=f"first-{each}") for each in range(BATCH)])
    ledger.close()


def look_and_go_on(path: Path) -> dict[str, list[Any]]:
    """Return what is left; the next writer can go on from there, and all of it is there after him."""
    found: dict[str, list[Any]] = look(path)["entries"]
    ledger = store.open(path, now=now, salt=salt)
    (receipt,) = ledger.append([event(0, id="last")])
    ledger.close()
    assert look(path)["entries"] == found | {"last": [receipt.seq, receipt.h.hex()]}
    return found


def fail(path: Path, number: int, way: int) -> tuple[dict[str, list[Any]], str]:
    """Write from a child whose disk fails; return what it had acknowledged, and how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            ended = write(path, number, way, writing)
        finally:
            os._exit(ended)
    os.close(writing)
    with os.fdopen(reading, "rb") as acks:
        lines = acks.read().decode().split("\n")[:-1]
    status = os.waitpid(pid, 0)[1]
    acknowledged = {name: [int(seq), h] for name, seq, h in (line.split() for line in lines)}
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return acknowledged, "killed"
    return acknowledged, ENDS[os.WEXITSTATUS(status)]


def write(path: Path, number: int, way: int, acks: int) -> int:
    """Append, sign, seal and close; return the key of `ENDS` that tells what came of it."""
    folder = f"{path.parent}\0".encode()
    ctypes.memmove(ctypes.addressof(ctypes.c_char.in_dll(LIBRARY, "crash_folder")), folder, len(folder))
    ctypes.c_int.in_dll(LIBRARY, "crash_way").value = way
    ctypes.c_long.in_dll(LIBRARY, "crash_at").value = number
    try:
        ledger = store.open(path, now=now, salt=salt)
        try:
            for turn in range(ROUNDS):
                names = [f"{turn}-{each}" for each in range(BATCH)]
                receipts = ledger.append([event(0, id=name) for name in names])
                lines = [
                    f"{name} {got.seq} {got.h.hex()}\n" for name, got in zip(names, receipts, strict=True)
                ]
                os.write(acks, "".join(lines).encode())
                head = ledger.head()
                body = Checkpoint(ORIGIN, head.size, head.root, head.h)
                ledger.record_checkpoint(checkpoint.sign(body, SERVICE, public(SERVICE), key(SERVICE).sign))
            ledger.seal(BATCH)
        finally:
            ledger.close()
    except (store.StoreError, SegmentError):
        return 2
    return 3 if ctypes.c_long.in_dll(LIBRARY, "crash_seen").value > number else 0


if __name__ == "__main__":
    main()
