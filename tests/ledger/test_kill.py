"""kill -9 under load: nothing acknowledged is ever lost, and the chain is whole after every round."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("rounds", "wal_max", "wals_min"),
    [
        pytest.param(70, 256 * 1024 * 1024, 60, id="with a live WAL"),
        pytest.param(40, 64 * 1024, 0, id="with checkpoints of the database all the time"),
    ],
)
def test_rounds(tmp_path: Path, rounds: int, wal_max: int, wals_min: int) -> None:
    """Whatever had its receipt is there, at its place, with its hash, round after round."""
    command = [sys.executable, "-m", "tests.ledger.nursery", str(tmp_path), str(rounds), str(wal_max), "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["rounds"], seen["lost"]) == (rounds, 0)
    assert seen["acknowledged"] > rounds
    assert seen["wals"] >= wals_min
