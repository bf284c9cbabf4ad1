"""One desk for the whole session: the tests change documents, never the desk."""

import pytest

from tests.rules.build import World, build


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return the desk."""
    return build(tmp_path_factory.mktemp("officers"))
