"""A store on a disk that fills up; run in a mount namespace of its own, with `folder` a small tmpfs.

Prints one JSON document: what was acknowledged, what failed and how, and what was there afterwards.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from ledger import store
from ledger.store import StoreError
from ledger.writer import Writer
from tests.ledger.world import event

GENESIS = {"v": 1, "ledger_id": "full", "created": "2026-11-21T00:00:00.000000Z", "trust_root": "00" * 32}


def reopened(path: Path, genesis: object = None) -> store.Ledger:
    """Open the store."""
    return store.open(path, now=lambda: datetime.now(UTC), salt=lambda: bytes(32), genesis=genesis)


def main() -> None:
    """Fill the disk, look, make room, go on."""
    folder = Path(sys.argv[1])
    path = folder / "ledger.duckdb"
    ledger = reopened(path, GENESIS)
    writer, acknowledged, failures = Writer(ledger), 0, []
    while not failures:
        try:
            acknowledged += len(writer.append([event(acknowledged + number) for number in range(100)]))
        except StoreError as error:
            failures.append(str(error))
    try:
        writer.append([event(10**6)])
    except StoreError as error:
        failures.append(str(error))
    writer.close()
    ledger.close()
    ledger = reopened(path)
    on_full_disk = ledger.head().size
    ledger.close()
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
    ledger = reopened(path)
    seqs = [receipt.seq for receipt in ledger.append([event(acknowledged), event(0)])]
    result = {"acknowledged": acknowledged, "failures": failures, "on_full_disk": on_full_disk, "after": seqs}
    ledger.close()
    print(json.dumps(result | {"size": reopened(path).head().size}))


if __name__ == "__main__":
    main()
