"""Rounds of kill -9 under load: a store is written by threads, killed at any moment, opened and compared.

`python -m tests.ledger.nursery FOLDER ROUNDS WAL_MAX SEED` prints one JSON document. This process
imports everything once and never opens a store itself; each round forks a child that writes until it is
killed, and one that looks at what is left. A receipt counts as acknowledged when the child has written it to
a pipe.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb  # noqa: F401 - imported before the forks, opened only after them

from ledger import checkpoint, database, store
from ledger.checkpoint import Checkpoint, split
from ledger.writer import Writer
from tests.ledger.world import ORIGIN, SERVICE, event, key, public

WRITERS, BATCH, NEW_STORE_AFTER = 4, 7, 25
GENESIS = {"v": 1, "ledger_id": "killed", "created": "2026-11-21T00:00:00.000000Z", "trust_root": "00" * 32}


def now() -> datetime:
    """Return the time: of this process, as in production."""
    return datetime.now(UTC)


def salt() -> bytes:
    """Return a salt; the tests need no secrecy."""
    return bytes(32)


def main() -> None:
    """Run the rounds and print what was seen."""
    folder, (rounds, database.WAL_MAX, seed) = Path(sys.argv[1]), map(int, sys.argv[2:])
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    seen: dict[str, int] = dict.fromkeys(("acknowledged", "lost", "unacknowledged", "wals", "checkpoints"), 0)
    acknowledged: dict[str, tuple[int, str]] = {}
    for number in range(rounds):
        if number % NEW_STORE_AFTER == 0:
            path = folder / f"{number}.duckdb"
            child(lambda path=path: store.open(path, now=now, salt=salt, genesis=GENESIS).close())
            acknowledged.clear()
        acks = killed(path, number, after_s=chance.uniform(0.01, 0.12))
        acknowledged |= acks
        seen["wals"] += path.with_name(path.name + ".wal").exists()
        found = child(lambda path=path: look(path))
        seen["acknowledged"] += len(acks)
        seen["lost"] += sum(found["entries"].get(name) != list(place) for name, place in acknowledged.items())
        seen["unacknowledged"] += len(set(found["entries"]) - set(acknowledged))
        seen["checkpoints"] += found["checkpoints"]
        for name, place in found["entries"].items():
            acknowledged[name] = (place[0], place[1])
    print(json.dumps(seen | {"rounds": rounds}))


def killed(path: Path, number: int, *, after_s: float) -> dict[str, tuple[int, str]]:
    """Write from a child, kill it, return what it had acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            write(path, number, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as acks:
        assert acks.readline() == b"ready\n"
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        lines = acks.read().decode().split("\n")[:-1]  # a half-written line was not an acknowledgement
    # A child that ended by itself would have shown nothing of a kill.
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    return {name: (int(seq), h) for name, seq, h in (line.split() for line in lines)}


def write(path: Path, number: int, acks: int) -> None:
    """Append from several threads, sign and record checkpoints, until the end comes."""
    ledger = store.open(path, now=now, salt=salt)
    shared = Writer(ledger)
    os.write(acks, b"ready\n")

    def work(worker: int) -> None:
        for turn in range(1_000_000):
            names = [f"{number}-{worker}-{turn}-{each}" for each in range(BATCH)]
            receipts = shared.append([event(0, id=name) for name in names])
            lines = [f"{name} {got.seq} {got.h.hex()}\n" for name, got in zip(names, receipts, strict=True)]
            os.write(acks, "".join(lines).encode())

    for worker in range(WRITERS):
        threading.Thread(target=work, args=(worker,), daemon=True).start()
    while True:
        head = ledger.head()
        body = Checkpoint(ORIGIN, head.size, head.root, head.h)
        ledger.record_checkpoint(checkpoint.sign(body, SERVICE, public(SERVICE), key(SERVICE).sign))
        time.sleep(0.01)


def look(path: Path) -> dict[str, Any]:
    """Open what is left, which recomputes every hash, and return it."""
    ledger = store.open(path, now=now, salt=salt)
    entries = {entry.id: [entry.seq, entry.h.hex()] for entry in ledger.entries()}
    notes = [split(note)[0] for note in ledger.checkpoints()]
    assert all(note.size <= ledger.head().size for note in notes)
    ledger.close()
    return {"entries": entries, "checkpoints": len(notes)}


def child(work: Any) -> Any:
    """Run this in a child of its own and return its result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            with os.fdopen(writing, "w") as result:
                json.dump(work(), result)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            raise
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as result:
        text = result.read()
    os.waitpid(pid, 0)
    return json.loads(text)


if __name__ == "__main__":
    main()
