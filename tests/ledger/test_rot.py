"""Disks that rot and hands that cut: no flipped bit and no cut of the store's files opens as another ledger.

DuckDB's checksums find most of it, the recomputed hashes what they leave, and what neither can see, a tail
that is gone, is missed by the checkpoint kept outside and by the count of what was committed.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from ledger import store
from ledger.store import StoreError
from tests.ledger.world import World

FLIPS, SEED = 120, 20261121


@pytest.fixture(params=["in the file", "in the WAL", "past the newest checkpoint", "an anchor at the end"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Return a ledger whose entries, notes and nodes are in the database file, or in the WAL alone.

    The WAL's last record is a note, entries that no checkpoint covers, or an anchor's proof.
    """
    folder = tmp_path / "whole"
    folder.mkdir()
    made = World(folder)
    made.append(*range(8))
    made.check_point()
    made.append(*range(8, 12))
    made.check_point()
    if request.param == "in the file":
        made.ledger._database.checkpoint()
    elif request.param == "past the newest checkpoint":
        made.append(*range(12, 15))
    elif request.param == "an anchor at the end":
        made.ledger.record_anchor(12, b"{}")
    yield made
    made.ledger.close()


def images(world: World) -> dict[str, bytes]:
    """Return the store's files as a copy taken while it runs would have them."""
    names = ("ledger.duckdb", "ledger.duckdb.wal", "ledger.duckdb.reached")
    return {name: (world.folder / name).read_bytes() for name in names if (world.folder / name).exists()}


@dataclass(frozen=True)
class Told:
    """What a store says: every byte of its entries, its notes, and its anchors' proofs."""

    entries: list[bytes]
    notes: list[str]
    anchors: dict[int, bytes]

    @classmethod
    def by(cls, ledger: store.Ledger) -> Self:
        """Ask an open store."""
        return cls(
            [entry.head + (entry.payload or b"") + entry.h for entry in ledger.entries()],
            ledger.checkpoints(),
            ledger.anchors(),
        )


def opened(world: World, folder: Path, files: dict[str, bytes]) -> Told | None:
    """Open these files under the outside checkpoint; return what they say, or None if they are refused."""
    folder.mkdir()
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    try:
        ledger = store.open(
            folder / "ledger.duckdb", now=world.now, salt=world.salt, checkpoints=[world.state()]
        )
    except StoreError:
        # Whoever looks at the refused files later finds them as they were.
        assert {name: (folder / name).read_bytes() for name in files} == files
        return None
    found = Told.by(ledger)
    ledger.close()
    return found


def places(raw: bytes) -> list[int]:
    """Return some places of a file: most of them where something is written."""
    chance = random.Random(SEED)  # noqa: S311 - which bytes are tried must be the same each time
    busy = [place for place, byte in enumerate(raw) if byte]
    return sorted(
        {*chance.sample(busy, min(FLIPS, len(busy))), *chance.choices(range(len(raw)), k=FLIPS // 5)}
    )


def flip(raw: bytes, place: int) -> bytes:
    """Flip one bit."""
    return raw[:place] + bytes([raw[place] ^ (1 << place % 8)]) + raw[place + 1 :]


def attempts(world: World, change: Callable[[bytes, int], bytes], tmp_path: Path) -> None:
    """Open the store with one file changed at one place, many times: it is refused each time."""
    whole = images(world)
    for name, raw in whole.items():
        for place in places(raw):
            folder = tmp_path / "tried"
            found = opened(world, folder, {**whole, name: change(raw, place)})
            shutil.rmtree(folder)
            assert found is None, f"{name} at {place}"


def test_the_unchanged_files(world: World, tmp_path: Path) -> None:
    """The copy that nobody has touched opens: what refuses the others is the change."""
    assert opened(world, tmp_path / "tried", images(world)) == Told.by(world.ledger)


def test_every_flipped_bit(world: World, tmp_path: Path) -> None:
    """A store with a flipped bit is refused."""
    attempts(world, flip, tmp_path)


def test_every_cut(world: World, tmp_path: Path) -> None:
    """A store with a file cut anywhere is refused."""
    attempts(world, lambda raw, place: raw[:place], tmp_path)
