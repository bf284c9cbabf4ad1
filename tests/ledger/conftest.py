"""Fixtures of the ledger's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger.lies import Party
from tests.ledger.world import Folder, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return an empty ledger."""
    made = World(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def bundle(world: World) -> Folder:
    """Return a bundle of eight entries with checkpoints at 3 and 8, and a few documents beside them."""
    world.append(0, 1, 2)
    world.check_point()
    world.append(3, 4)
    world.append(5, 6, 7)
    world.check_point()
    return world.write_bundle(files={"policies/1/manifest.json": b"{}"})


@pytest.fixture(scope="session")
def party(tmp_path_factory: pytest.TempPathFactory) -> Party:
    """Return a time-stamp authority and its friends."""
    return Party(tmp_path_factory.mktemp("party"))
