"""A chain for a whole module where nothing changes it, and one of its own for a test that does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain.world import World, close_world, open_world


@pytest.fixture(scope="session")
def newswap_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the finished NewSwap chain is kept for the session."""
    return tmp_path_factory.mktemp("newswap")


@pytest.fixture(scope="module")
def world(newswap_cache: Path) -> Iterator[World]:
    """Give a world that tests only read and simulate on."""
    world = open_world(newswap_cache)
    yield world
    close_world(world)


@pytest.fixture
def fresh_world(newswap_cache: Path) -> Iterator[World]:
    """Give a world that a test may change."""
    world = open_world(newswap_cache)
    yield world
    close_world(world)
