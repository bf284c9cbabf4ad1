"""A full disk: the append fails loudly, what was acknowledged stays, and with room it goes on."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOUNTED = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -m tests.ledger.full "$1"'


def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing half-written is acknowledged, nothing acknowledged is lost; with space it goes on."""
    command = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        MOUNTED,
        "sh",
        str(tmp_path),
        sys.executable,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    acknowledged = seen["acknowledged"]
    assert acknowledged > 500
    assert "No space left" in seen["failures"][0]
    assert "a commit failed" in seen["failures"][1]
    assert seen["on_full_disk"] in {acknowledged, acknowledged + 100}
    assert seen["after"] == [acknowledged, 0]
    assert seen["size"] == max(acknowledged + 1, seen["on_full_disk"])
