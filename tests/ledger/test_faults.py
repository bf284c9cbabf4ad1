"""The fault table: each write, refused, stored but reported as failed, or killed; then all is verified."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ledger import segments
from ledger.verifier import verify
from tests.ledger.test_redaction import LATER, Redacting, rules
from tests.ledger.world import event, trust_root

ROOT = Path(__file__).resolve().parents[2]


class PowerError(Exception):
    """The power went."""


def fail() -> None:
    """Fail where a hook stands."""
    raise PowerError


WRITES: dict[str, Callable[[Redacting], Any]] = {
    "append": lambda world: world.ledger.append([event(7), event(8)]),
    "checkpoint": lambda world: world.check_point(),
    "hold": lambda world: world.hold(actors=["bob"]),
    "redaction": lambda world: world.redact(1, 2),
    "segment": lambda world: world.ledger.seal(3),
}
HOOKS = {
    "refused": "testing_only_before_commit",
    "stored, but reported as failed": "testing_only_after_commit",
}
UNCOUNTED = "stored, but not counted beside the database"
KILLED = """
    import os, signal, sys
    from pathlib import Path
    from tests.ledger import test_faults as faults
    world = faults.Redacting.__new__(faults.Redacting)
    faults.adopt(world, Path(sys.argv[1]))
    world.reopen()
    with faults.failing(world, sys.argv[3], lambda: os.kill(os.getpid(), signal.SIGKILL)):
        faults.WRITES[sys.argv[2]](world)
"""


@contextmanager
def failing(world: Redacting, fault: str, hook: Callable[[], None]) -> Iterator[None]:
    """Open the store again, so that this hook runs at one of the points of each write."""
    if fault == UNCOUNTED:
        with patch.object(os, "pwrite", lambda *_: hook()):
            yield
    else:
        world.reopen(**{HOOKS[fault]: hook})
        yield


class _Closed:
    def close(self) -> None:
        """There is nothing to close."""


def adopt(world: Redacting, folder: Path) -> None:
    """Take over a store that another process has left."""
    world.folder, world.trust = folder, trust_root(redaction=rules())
    world.origin, world.path = Redacting.origin, folder / "ledger.duckdb"
    world.at = LATER
    world.now, world.salt = (lambda: world.at), (lambda: bytes(32))
    world.ledger = _Closed()  # type: ignore[assignment]  # until it is opened


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Redacting]:
    """Return a ledger of five notes with a checkpoint, late enough to redact."""
    made = Redacting(tmp_path, trust=trust_root(redaction=rules()))
    made.append(0, 1, 2, 3, 4)
    made.check_point()
    made.at = LATER
    yield made
    made.ledger.close()


def state(world: Redacting) -> dict[str, Any]:
    """Return everything that a write may change."""
    return {
        "size": world.ledger.head().size,
        "notes": len(world.ledger.checkpoints()),
        "redacted": len(world.ledger.redacted()),
        "gone": sum(entry.data is None for entry in world.ledger.entries()),
        "holds": sum(entry.type == "ledger.hold" for entry in world.ledger.entries()),
        "sealed": len(world.ledger._read("select * from segment")),
    }


EXPECTED: dict[str, dict[str, int]] = {
    "append": {"size": 7},
    "checkpoint": {},
    "hold": {"size": 6, "holds": 1},
    "redaction": {"size": 6, "redacted": 2, "gone": 2},
    "segment": {"sealed": 1},
}


def whole(world: Redacting) -> None:
    """Verify everything there is: bundle, sealed segments, proofs."""
    world.check_point()
    bundle = world.write_bundle(f"bundle-{world.ledger.head().size}-{len(list(world.folder.iterdir()))}")
    assert verify(bundle.path, world.trust).size == world.ledger.head().size
    if (world.folder / "segments").exists() and world.ledger._read("select * from segment"):
        genesis = world.ledger.genesis.hash()
        assert segments.verify(world.folder / "segments", genesis_hash=genesis, executor=None).size == 4
    assert not list(world.folder.glob("*.erase"))
    assert not list(world.folder.glob("*.new"))


@pytest.mark.parametrize("fault", [*HOOKS, UNCOUNTED])
@pytest.mark.parametrize("write", WRITES)
def test_failures(world: Redacting, write: str, fault: str) -> None:
    """A refused write changes nothing, one that seems to fail is there; the next attempt settles both."""
    before = state(world)
    after = before | EXPECTED[write]
    if write == "checkpoint":
        world.append(5)
        before["size"] = after["size"] = 6
        after["notes"] += 1
    with failing(world, fault, fail), pytest.raises(PowerError):
        WRITES[write](world)
    seen = before if fault == "refused" else after
    world.reopen()
    assert state(world) == seen
    whole(world)
    if write != "segment" or fault == "refused":
        WRITES[write](world)
    assert state(world) | {"notes": 0} == after | {"notes": 0}
    whole(world)


@pytest.mark.parametrize("fault", [*HOOKS, UNCOUNTED])
@pytest.mark.parametrize("write", WRITES)
def test_killed(world: Redacting, write: str, fault: str) -> None:
    """Killed on either side of the commit, a write is whole or not there; the next attempt settles it."""
    if write == "checkpoint":
        world.append(5)
    before = state(world)
    after = before | EXPECTED[write]
    if write == "checkpoint":
        after["notes"] += 1
    world.ledger.close()
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(world.folder), write, fault]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    world.reopen()
    assert state(world) == (before if fault == "refused" else after)
    whole(world)
    if write != "segment" or fault == "refused":
        WRITES[write](world)
    assert state(world) | {"notes": 0} == after | {"notes": 0}
    whole(world)


def test_another_end_after_an_interrupted_sealing(world: Redacting) -> None:
    """What an interrupted sealing leaves does not stand beside the segment that is sealed in its place."""
    world.reopen(testing_only_before_commit=fail)
    with pytest.raises(PowerError):
        world.ledger.seal(2)
    world.reopen()
    world.ledger.seal(4)
    genesis = world.ledger.genesis.hash()
    assert segments.verify(world.folder / "segments", genesis_hash=genesis, executor=None).size == 5
