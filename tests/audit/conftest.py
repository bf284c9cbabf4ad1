"""One desk and one bundle for each file; the tests work on copies."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.audit.world import Desk
from tests.ledger.world import Folder
from tests.rules import build


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let kernels share compiled code also where Python is told to keep none: each imports for seconds."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if sys.dont_write_bytecode:
            monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
            monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A ledger of twelve entries."""
    made = Desk(tmp_path_factory.mktemp("desk"), build.build(tmp_path_factory.mktemp("officers")))
    made.live()
    return made


@pytest.fixture(scope="module")
def genuine(desk: Desk) -> Folder:
    """The bundle of the whole ledger; nobody changes it."""
    return desk.bundle()


@pytest.fixture
def copy(genuine: Folder, tmp_path: Path) -> Callable[[], Folder]:
    """Return a copy of the bundle to be changed."""

    def made() -> Folder:
        return Folder(Path(shutil.copytree(genuine.path, tmp_path / "bundle")))

    return made
