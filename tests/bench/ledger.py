"""`make bench-ledger`: what the ledger costs, as ratios within one run.

(1) Durable appends, one after the other, of 1, 100 and 1000 events: the store, and SQLite (WAL,
    synchronous=FULL) with the same preparation (canonical bytes, hashes, chain); then both databases given
    finished rows, and PostgreSQL, which is named where it is missing.
(2) The service: 1, 4, 64 and 256 events in flight over 4 client processes, in the client library's batches.
(3) Verification of sealed segments by each verifier, against the time that SHA-256 alone takes on both cores:
    for the same messages one by one (`openssl speed`), and for their blocks in one stream, which no verifier
    of short messages can reach; peak memory of a process of its own.
(4) Proofs from stored nodes: size and time.

Figures of one run compare with each other; figures of two runs do not. `--quick` uses fewer rows.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import platform
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import database, segments, store
from ledger.entry import Entry, Event
from ledger.merkle import Frontier, Node, verify_inclusion
from ledger.place import Place, named
from ledger.tree import Nodes, Tree
from tests.bench import postgres
from tests.bench.generate import GENESIS_HASH, frames, generate
from tests.world import living
from workbench.client import Client
from workbench.rules.events import CloudEvent
from workbench.rules.session import CertifiedSession

CORES, CLIENTS = 2, 4
BLOCK, PADDING = 64, 9  # SHA-256 takes 64 bytes at once, and at least 9 of padding
GENESIS = {"v": 1, "ledger_id": "bench", "created": "2026-11-21T00:00:00.000000Z", "trust_root": "00" * 32}
VERIFIERS: tuple[segments.Verifier, ...] = ("hashlib", "sql", "polars")
CREATE = database.SCHEMA.split(";")[1]
INSERT = "insert into entry values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SPAWN = multiprocessing.get_context("spawn")

Line = tuple[str, ...]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, a third of the time")
    quick = parser.parse_args().quick
    print(f"machine: {machine()}\n")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        rate, lines = appends(folder, seconds=1.0 if quick else 3.0)
        show(
            ("durable appends", "store/s", "SQLite/s", "ratio", "DuckDB rows/s", "SQLite rows/s", "ratio"),
            lines,
        )
        show(
            ("service", "events/s", "p50 ms", "p99 ms", f"× {rate:,.0f}/s"), list(service(rate, quick=quick))
        )
        sizes = (100_000, 500_000) if quick else (1_000_000, 5_000_000)
        show(
            ("verification", "rows", "seconds", "rows/s", "of messages", "of stream", "peak MiB"),
            list(verification(folder, sizes)),
        )
        show(
            ("proofs", "rows", "hashes", "bytes", "median ms", "worst ms"),
            list(proofs(folder / str(sizes[1]))),
        )


def machine() -> str:
    """Return what this ran on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{os.cpu_count()} × {name}, {memory:.0f} GiB, Python {platform.python_version()}"


def show(head: Line, lines: Sequence[Line]) -> None:
    """Print one part of the table."""
    widths = [max(len(line[place]) for line in (head, *lines)) for place in range(len(head))]
    for line in (head, *lines):
        cells = [
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells))
    print(flush=True)


def event(number: int) -> Event:
    """Return an event of ordinary size."""
    return Event(
        source="/desk/1",
        id=f"event-{number:08}",
        type="example.note",
        actor="somebody@desk.example",
        dataschema="note/v1",
        data={"number": number, "text": "largely ordinary words", "list": [None, True, {"amount": "10" * 9}]},
        subject=f"note-{number}",
    )


def salts() -> Iterator[bytes]:
    """Yield random salts, drawn many at once as the service does."""
    while True:
        drawn = secrets.token_bytes(32 * 256)
        yield from (drawn[place : place + 32] for place in range(0, len(drawn), 32))


def appends(folder: Path, *, seconds: float) -> tuple[float, list[Line]]:
    """(1) Return SQLite's rate of single commits, and the lines."""
    lines, single = [], 0.0
    ledger = store.open(
        folder / "a.duckdb", now=lambda: datetime.now(UTC), salt=salts().__next__, genesis=GENESIS
    )
    for size in (1, 100, 1000):
        rates: dict[str, list[float]] = {"store": [], "same": [], "duckdb": [], "rows": []}
        # In turns, so that a slow second of the machine falls on all of them.
        for turn in range(3):
            with sqlite(folder / f"s{size}-{turn}.db") as lite:
                kinds: dict[str, Callable[[list[Event]], Any]] = {
                    "store": ledger.append,
                    "same": prepared(lite, h=GENESIS_HASH),
                }
                for kind, append in kinds.items():
                    rates[kind].append(rate_of(append, size, seconds / 3, tag=f"{kind}{turn}{size}"))
                entries = finished(size)
                rows = [database.row_of(entry) for entry in entries]
                rates["rows"].append(rate_of_rows(partial(insert, lite, rows), size, seconds / 3))
                with duckdb_file(folder / f"d{size}-{turn}.duckdb") as file:
                    rates["duckdb"].append(rate_of_rows(partial(commit, file, entries), size, seconds / 3))
        best = {kind: max(each) for kind, each in rates.items()}
        single = best["rows"] if size == 1 else single
        ratios = (best["store"] / best["same"], best["duckdb"] / best["rows"])
        lines.append(
            (
                f"× {size}",
                f"{best['store']:,.0f}",
                f"{best['same']:,.0f}",
                f"{ratios[0]:.2f}",
                f"{best['duckdb']:,.0f}",
                f"{best['rows']:,.0f}",
                f"{ratios[1]:.2f}",
            )
        )
    ledger.close()
    lines += [("PostgreSQL", *each) for each in postgresql(folder, seconds)]
    return single, lines


def postgresql(folder: Path, seconds: float) -> Iterator[Line]:
    """Yield PostgreSQL's own rates, in the column of finished rows."""
    programs = postgres.programs()
    if programs is None:
        yield ("", "", "", "", "not installed", "")
        return
    with postgres.session(folder, programs) as client:
        for size in (1, 100, 1000):
            rows = [database.row_of(entry) for entry in finished(size)]
            yield (f"× {size}", "", "", "", f"{postgres.rate(client, rows, seconds):,.0f}", "")


def rate_of(append: Callable[[list[Event]], Any], size: int, seconds: float, *, tag: str) -> float:
    """Return events a second; the events are made beforehand, as a client would have made them."""
    batches = [
        [Event(**{**fields(event(number)), "id": f"{tag}-{turn}-{number}"}) for number in range(size)]
        for turn in range(max(int(3000 / size), 20))
    ]
    done, start = 0, time.perf_counter()
    for batch in batches:
        append(batch)
        done += size
        if time.perf_counter() - start > seconds:
            break
    return done / (time.perf_counter() - start)


def fields(made: Event) -> dict[str, Any]:
    """Return an event's fields."""
    return {name: getattr(made, name) for name in Event.__slots__}


@contextmanager
def sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """Open SQLite as it is when a commit must survive."""
    lite = sqlite3.connect(path, isolation_level=None)
    lite.execute("pragma journal_mode = wal")
    lite.execute("pragma synchronous = full")
    lite.execute(CREATE)
    yield lite
    lite.close()


def prepared(lite: sqlite3.Connection, *, h: bytes) -> Callable[[list[Event]], None]:
    """Return an append to SQLite with the store's own preparation."""
    state = {"size": 0, "h": h}
    frontier, salt = Frontier(), salts()

    def append(events: list[Event]) -> None:
        place = Place(state["size"], state["h"], datetime.now(UTC))
        place.batch(named(events), {}, salt.__next__)
        for entry in place.written.values():
            frontier.append(entry.leaf)
        insert(lite, [database.row_of(entry) for entry in place.written.values()])
        state.update(size=state["size"] + len(events), h=place.h)

    return append


def finished(size: int) -> list[Entry]:
    """Return entries that are ready to be written."""
    place = Place(0, GENESIS_HASH, datetime.now(UTC))
    place.batch(named(event(number) for number in range(size)), {}, salts().__next__)
    return list(place.written.values())


@contextmanager
def duckdb_file(path: Path) -> Iterator[database.Database]:
    """Open an empty store's database."""
    database.create(path, store.Genesis.of(GENESIS))
    opened = database.Database(path)
    yield opened
    opened.close()


def commit(file: database.Database, entries: list[Entry]) -> None:
    """Commit entries as the store does."""
    with file.transaction(None):
        file.insert(entries, [])


def rate_of_rows(write: Callable[[], None], size: int, seconds: float) -> float:
    """Return rows a second when the rows are there already."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        write()
        done += size
    return done / (time.perf_counter() - start)


def insert(lite: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    """Commit rows."""
    lite.execute("begin")
    lite.executemany(INSERT, rows)
    lite.execute("commit")


def service(rate: float, *, quick: bool) -> Iterator[Line]:
    """(2) Yield a line for each number of events in flight."""
    with living() as world:
        speaker = world.pm
        key = speaker.key.private_bytes_raw()
        certified = speaker.certified.dump()
        for in_flight in (1, 4, 64, 256):
            processes = min(in_flight, CLIENTS)
            task = (str(speaker.service), key, certified, in_flight // processes, 2.0 if quick else 6.0)
            barrier = SPAWN.Barrier(processes)
            results = SPAWN.Queue()
            running = [
                SPAWN.Process(target=client, args=(number, barrier, results, task))
                for number in range(processes)
            ]
            for process in running:
                process.start()
            told = [results.get(timeout=120) for _ in running]
            for process in running:
                process.join()
            waits = sorted(wait for _, mine in told for wait in mine)
            total = sum(rate_ for rate_, _ in told)
            p99 = waits[int(len(waits) * 0.99)]
            yield (
                f"{in_flight} in flight",
                f"{total:,.0f}",
                f"{statistics.median(waits) * 1e3:.1f}",
                f"{p99 * 1e3:.1f}",
                f"{total / rate:.1f}",
            )


def client(
    number: int, barrier: Any, results: Any, task: tuple[str, bytes, dict[str, Any], int, float]
) -> None:
    """Send batches for some seconds, each when the one before is acknowledged."""
    socket, key, certified, batch, seconds = task
    speaker = Client(
        Path(socket), Ed25519PrivateKey.from_private_bytes(key), CertifiedSession.load(certified)
    )
    made = event(0)
    template = {
        "specversion": "1.0",
        "source": "bench",
        "type": "external.bench",
        "dataschema": "note/v1",
        "data": made.data,
    }
    waits, done, turn = [], 0, 0
    prefix = f"{number}-{os.getpid()}"
    speaker.record([CloudEvent.load({**template, "id": f"{prefix}-warm"})])
    barrier.wait()
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        events = [CloudEvent.load({**template, "id": f"{prefix}-{turn}-{each}"}) for each in range(batch)]
        before = time.perf_counter()
        speaker.record(events)
        waits.append(time.perf_counter() - before)
        done += batch
        turn += 1
    results.put((done / (time.perf_counter() - start), waits))


def verification(folder: Path, sizes: Sequence[int]) -> Iterator[Line]:
    """(3) Yield a line for each size and verifier."""
    for rows in sizes:
        made = folder / str(rows)
        made.mkdir()
        generate(made, rows, 500_000 if rows > 500_000 else rows // 2)
        sizes_ = message_sizes()
        messages = 1 / sum(1 / openssl(size) for size in sizes_)
        stream = sha256_alone() / sum((size + PADDING + BLOCK - 1) // BLOCK * BLOCK for size in sizes_)
        for verifier in VERIFIERS:
            reading, writing = SPAWN.Pipe(duplex=False)
            process = SPAWN.Process(target=verified, args=(str(made), verifier, writing))
            process.start()
            seconds, peak = reading.recv()
            process.join()
            speed = rows / seconds
            yield (
                verifier,
                f"{rows:,}",
                f"{seconds:.1f}",
                f"{speed:,.0f}",
                f"{100 * speed / messages:.1f} %",
                f"{100 * speed / stream:.1f} %",
                f"{peak:,.0f}",
            )


def verified(folder: str, verifier: segments.Verifier, answer: Any) -> None:
    """Verify in this process alone, and tell seconds and peak memory."""
    start = time.perf_counter()
    segments.verify(Path(folder), executor=None, genesis_hash=GENESIS_HASH, verifier=verifier)
    seconds = time.perf_counter() - start
    # Not getrusage: its maximum is inherited from the process that started this one.
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    answer.send((seconds, int(peak.split()[1]) / 1024))


def sha256_alone() -> float:
    """Return the bytes a second that SHA-256 takes in on all cores, from large buffers."""
    buffer = bytes(64 * 2**20)
    with ThreadPoolExecutor(CORES) as pool:
        start = time.perf_counter()
        list(pool.map(lambda _: hashlib.sha256(buffer).digest(), range(CORES * 4)))
        return CORES * 4 * len(buffer) / (time.perf_counter() - start)


def message_sizes() -> tuple[int, ...]:
    """Return the bytes of what is hashed for one generated entry: leaf, data, chain and tree."""
    row = next(frames(1000)).row(500, named=True)
    return (1 + len(row["head"]), 33 + len(row["data"]), 1 + 32 + 8 + 32, 1 + 32 + 32)


def openssl(size: int) -> float:
    """Return how many messages of a size OpenSSL hashes in a second, on all cores."""
    command = [
        "openssl",
        "speed",
        "-multi",
        str(CORES),
        "-evp",
        "sha256",
        "-bytes",
        str(size),
        "-seconds",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return float(done.stdout.split()[-1].removesuffix("k")) * 1000 / size


def proofs(made: Path) -> Iterator[Line]:
    """(4) Yield the line of inclusion proofs from a node table over the largest ledger."""
    path = made.with_suffix(".duckdb")
    database.create(path, store.Genesis.of(GENESIS))
    opened = database.Database(path)
    opened.connection.execute("insert into entry select * from read_parquet(?)", [str(made / "*.parquet")])
    frontier, nodes = Frontier(), list[Node]()
    ((rows,),) = opened.read(database.COUNT_ENTRIES)
    for first in range(0, rows, 100_000):
        for leaf in opened.leaves(first, min(first + 100_000, rows) - 1):
            frontier.append(leaf, stored=nodes)
    opened.checkpoint()
    held = Nodes(lambda first, last: opened.leaves(first, last - 1))
    held.add(nodes)
    root, waits, length = frontier.root(), [], 0
    for number in range(200):
        seq = (number * 7_919_317) % rows
        start = time.perf_counter()
        proof = Tree(rows, held.read).inclusion(seq)
        waits.append(time.perf_counter() - start)
        verify_inclusion(opened.leaves(seq, seq)[0], seq, rows, proof, root)
        length = max(length, len(proof))
    opened.close()
    worst, median = max(waits) * 1e3, statistics.median(waits) * 1e3
    yield ("inclusion", f"{rows:,}", f"{length}", f"{32 * length}", f"{median:.2f}", f"{worst:.2f}")


if __name__ == "__main__":
    sys.exit(main())
