"""The worked example's pool, in figures and on a chain."""

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
    """Give a chain with NewSwap on it."""
    world = open_world(newswap_cache)
    yield world
    close_world(world)


@pytest.fixture
def fresh_world(newswap_cache: Path) -> Iterator[World]:
    """Give a chain with NewSwap on it that a test may change."""
    world = open_world(newswap_cache)
    yield world
    close_world(world)
